//! A step as it travels: its record, its layer's descriptor, and what else is known of its delta.

use cache::Table;
use cache::remote::NewRecord;
use serde::{Deserialize, Serialize};
use solver::{Layer, Record};

use super::PackedTree;
use crate::discover::Scan;

/// Version of the encoding.
const VERSION: u8 = 3;
/// Longest name of a step that travels, in characters.
const NAME_LENGTH: usize = 200;

/// A step as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bundle {
    version: u8,
    pub(crate) record: Record,
    pub(crate) layer_key: [u8; 32],
    pub(crate) layer: Layer,
    /// Places for container images in its delta, and what they name.
    pub(crate) scan: Option<(Vec<u8>, Scan)>,
    /// The tree of its delta.
    pub(crate) tree: Option<PackedTree>,
    /// What the step is called, for people.
    pub(crate) name: String,
}

impl Bundle {
    pub(crate) fn new(
        record: Record,
        (layer_key, layer): ([u8; 32], Layer),
        scan: Option<(Vec<u8>, Scan)>,
        name: &str,
    ) -> Self {
        let name = name.chars().take(NAME_LENGTH).collect();
        let layer = Layer { frames: Vec::new(), ..layer };
        Self { version: VERSION, record, layer_key, layer, scan, tree: None, name }
    }

    /// The same with the tree of its delta.
    pub(crate) fn with_tree(self, tree: Option<PackedTree>) -> Self {
        Self { tree, ..self }
    }

    /// Decodes a value of a cache; `None` for another version.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        postcard::from_bytes::<Self>(value).ok().filter(|bundle| bundle.version == VERSION)
    }

    /// As a record of a cache.
    pub(crate) fn under(&self, key: &[u8; 32]) -> NewRecord {
        let value = postcard::to_stdvec(self).expect("plain data with known lengths always encodes");
        let tree = self.tree.as_ref().and_then(PackedTree::blob);
        NewRecord {
            key: Table::Steps.key(key),
            value,
            blobs: [self.layer.blob].into_iter().chain(tree).collect(),
        }
    }
}
