//! Where the bytes of container images' blobs are: in layers of this store, at an offset, once.

use cache::{Store, Table};
use serde::{Deserialize, Serialize};
use solver::{BlobDigest, ContentDigest, Descriptor, Layer, MediaType, TreeDigest};

use super::layout::blob_at;
use crate::contents::{Contents, Location, copy_hashed};
use crate::layer::{self, BLOCK, TimePolicy};
use crate::registry::tell_moved;
use crate::tree::{Node, TreeError, Trees};

/// What is known of a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Our identity of its bytes.
    pub(super) content: ContentDigest,
    /// The layer that has them, an uncompressed tar, and where in it they begin; `None` for a blob of its own.
    pub(super) layer: Option<(Descriptor, u64)>,
}

impl Place {
    /// Whether its bytes are there, where `has` tells which blobs are; `blob` is its digest.
    pub(crate) fn is_kept(
        &self,
        blob: &[u8],
        has: impl Fn(&Descriptor) -> bool,
        is_there: impl Fn(&[u8]) -> bool,
    ) -> bool {
        match &self.layer {
            Some((layer, _)) => has(layer),
            None => is_there(blob),
        }
    }
}

/// Where the bytes of a blob are that is one of its own. They are read once.
pub(super) fn whole(blob: &Descriptor) -> Location {
    Location::Part { blob: blob.digest, offset: 0, length: blob.size }
}

/// Looks whether the bytes of a blob are in the store, and lets the build read them.
pub(super) fn at_hand(store: &Store, contents: &Contents<'_>, blob: &Descriptor) -> Option<ContentDigest> {
    let key = blob.digest.as_bytes();
    let place: Option<Place> = store.get(Table::Places, key);
    if let Some(Place { content, layer: Some((layer, offset)) }) = &place
        && store.blobs().contains(layer)
    {
        let part = Location::Part { blob: layer.digest, offset: *offset, length: blob.size };
        contents.add(*content, part);
        return Some(*content);
    }
    if !store.blobs().contains(blob) {
        return None;
    }
    let content = match place {
        Some(place) => place.content,
        None => {
            let mut file = store.blobs().open(&blob.digest).ok()?;
            let content = copy_hashed(&mut file, &mut std::io::sink()).ok()?;
            store.put(Table::Places, key, &Place { content, layer: None });
            content
        }
    };
    contents.add(content, whole(blob));
    Some(content)
}

/// Remembers which blobs stand in a layer that was made of a delta. What waited for the commit as a blob of its own is
/// dropped: its bytes are there twice.
///
/// # Errors
/// When a directory is missing.
pub(super) fn settle(
    store: &Store,
    trees: &Trees<'_>,
    delta: &TreeDigest,
    made: &Layer,
    times: TimePolicy,
    is_dropped: &dyn Fn(&BlobDigest) -> bool,
) -> Result<(), TreeError> {
    if made.media_type != MediaType::Tar {
        return Ok(());
    }
    let mut offset = 0;
    let mut header = Vec::new();
    trees.walk::<TreeError>(delta, &mut |path, entry| {
        header.clear();
        layer::write_header(&mut header, path, entry, times);
        offset += header.len() as u64;
        if let Node::File { content, size } = entry.node {
            if let Some(digest) = blob_at(path) {
                let place = Place { content, layer: Some((made.blob, offset)) };
                store.put(Table::Places, digest.as_bytes(), &place);
                if is_dropped(&digest) {
                    tell_moved(store, &digest, &made.blob.digest, offset);
                    store.blobs().discard(&digest);
                }
            }
            offset += size.next_multiple_of(BLOCK);
        }
        Ok(())
    })
}
