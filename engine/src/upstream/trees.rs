//! Trees of deltas as they travel: what can be seen of a step's files without its layer.
//!
//! ```text
//! small   in the record itself: nobody asks for it apart
//! else    a blob beside the layer: "sealerT" version length(4, LE) zstd(packed tree)      length: before compression
//! ```
//!
//! A tree is read when somebody looks at the state a step made. It is known by its own digest, so a blob that is gone or is
//! something else is only a miss: then the layer is read.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use cache::remote::NewRecord;
use cache::{Table, at_once};
use serde::{Deserialize, Serialize};
use solver::{BlobDigest, Descriptor, TreeDigest};

use super::{AT_ONCE, Bundle, Cached, StepRecord, Upstream};
use crate::oci;
use crate::registry::Repository;
use crate::tree::Trees;
use crate::tree::packed::{self, pack, unpack};

const MAGIC: &[u8; 8] = b"sealerT\x01";
/// Largest packed tree that stands in its record, in bytes. An application of a few files is half of that; the records of a hundred
/// of them are still one answer of a server.
const INLINE_LIMIT: usize = 192;
/// Digests do not get smaller, and the rest does at any level.
const LEVEL: i32 = 3;

/// A blob with a tree, by its digest.
pub(crate) type TreeBlob = (BlobDigest, Arc<[u8]>);

/// Where the tree of a delta is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PackedTree {
    /// Here.
    Inline(Vec<u8>),
    /// In a blob of the cache.
    Blob(Descriptor),
}

impl PackedTree {
    /// The tree of a delta, and the bytes of its blob, if it has one; `None` where it is not known here or does not travel.
    pub(crate) fn of(trees: &Trees<'_>, delta: &TreeDigest) -> Option<(Self, Option<TreeBlob>)> {
        let packed = pack(trees, delta)?;
        if packed.len() <= INLINE_LIMIT {
            return Some((Self::Inline(packed), None));
        }
        let length = u32::try_from(packed.len()).expect("what is packed is bounded");
        let compressed = zstd::bulk::compress(&packed, LEVEL).expect("memory can be compressed");
        let blob = [&MAGIC[..], &length.to_le_bytes(), &compressed].concat();
        let described = oci::described(&blob);
        Some((Self::Blob(described), Some((described.digest, blob.into()))))
    }

    /// The blob it is in.
    pub(crate) fn blob(&self) -> Option<Descriptor> {
        match self {
            Self::Inline(_) => None,
            Self::Blob(blob) => Some(*blob),
        }
    }
}

/// The packed tree in a blob.
fn read(blob: &Descriptor, bytes: &[u8]) -> Option<Vec<u8>> {
    if oci::described(bytes) != *blob {
        return None;
    }
    let (length, compressed) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    let is_bounded = length <= packed::LIMIT;
    is_bounded.then(|| zstd::bulk::decompress(compressed, length).ok()).flatten()
}

/// What a cache gets.
#[derive(Debug, Clone, Default)]
pub struct Shipment {
    /// Its records.
    pub(crate) records: Vec<NewRecord>,
    /// Blobs that no store has.
    pub(crate) blobs: HashMap<BlobDigest, Arc<[u8]>>,
    /// Layers that were made just now.
    pub(crate) new: HashSet<BlobDigest>,
}

impl Shipment {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a blob was made just now, and no image with it went to `near`: only who made the same at the same time has sent it.
    pub(super) fn is_new(&self, blob: &Descriptor, near: &[Repository]) -> bool {
        near.is_empty() && self.new.contains(&blob.digest)
    }

    pub(crate) fn add(&mut self, step: &StepRecord) {
        self.records.push(step.record.clone());
        if let Some((blob, bytes)) = &step.tree {
            self.blobs.insert(*blob, Arc::clone(bytes));
        }
        if step.is_new {
            self.new.extend(step.record.blobs.first().map(|layer| layer.digest));
        }
    }

    /// The records, without trees in blobs that cannot be had.
    pub(crate) fn without_trees(&self, is_absent: impl Fn(&Descriptor) -> bool) -> Vec<NewRecord> {
        let one = |record: &NewRecord| match record.blobs.iter().skip(1).any(&is_absent) {
            true => bare(record).unwrap_or_else(|| record.clone()),
            false => record.clone(),
        };
        self.records.iter().map(one).collect()
    }
}

/// A record of a step without the blob of its tree.
pub(super) fn bare(record: &NewRecord) -> Option<NewRecord> {
    edited(record, |_| ())
}

/// The same without what was found in its files.
pub(super) fn unsearched(record: &NewRecord) -> Option<NewRecord> {
    edited(record, |bundle| bundle.scan = None)
}

fn edited(record: &NewRecord, edit: impl FnOnce(&mut Bundle)) -> Option<NewRecord> {
    let mut bundle = Bundle::read(&record.value)?;
    let key: &[u8; 32] = Table::Steps.key_in(&record.key)?.try_into().ok()?;
    bundle.tree = bundle.tree.filter(|tree| tree.blob().is_none());
    edit(&mut bundle);
    Some(bundle.under(key))
}

/// Where trees are that nobody looked at yet, with the number of the cache.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<TreeDigest, (usize, PackedTree)>>);

impl Known {
    pub(super) fn add(&self, delta: TreeDigest, cache: usize, tree: PackedTree) {
        // Only whole entries are put behind it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(delta, (cache, tree));
    }

    fn get(&self, delta: &TreeDigest) -> Option<(usize, PackedTree)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(delta).cloned()
    }
}

impl Upstream<'_> {
    /// Where the tree of a delta is, for another cache.
    pub(crate) fn tree_of(&self, delta: &TreeDigest) -> Option<PackedTree> {
        self.trees.get(delta).map(|(_, tree)| tree)
    }

    /// Makes the trees of deltas known, as far as they can be had without layers.
    pub(crate) fn look_at(&self, deltas: &[TreeDigest], trees: &Trees<'_>) {
        // What cannot be had is told by whoever reads the layer instead.
        at_once(deltas, AT_ONCE, |delta| _ = self.look_at_one(delta, trees));
    }

    fn look_at_one(&self, delta: &TreeDigest, trees: &Trees<'_>) -> Option<()> {
        match self.trees.get(delta)? {
            (_, PackedTree::Inline(packed)) => unpack(trees, delta, &packed),
            (cache, PackedTree::Blob(blob)) => {
                unpack(trees, delta, &read(&blob, &self.caches[cache].tree(&blob)?)?)
            }
        }
    }
}

impl Cached<'_> {
    /// The bytes of a blob with a tree.
    fn tree(&self, blob: &Descriptor) -> Option<Vec<u8>> {
        let is_bounded = blob.size <= packed::LIMIT as u64;
        is_bounded.then(|| self.cache.remote().object(blob).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use cache::Store;

    use super::*;
    use crate::tree::{Directory, Entry, Meta, Node};

    #[test]
    fn large_trees_are_blobs_and_small_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let trees = Trees::new(&store);
        let tree = |count: u8| {
            let file = |n: u8| {
                let node = Node::File { content: crate::contents::content_digest(&[n]), size: 1 };
                (vec![b'a', b'a' + n], Entry { meta: Meta::with_mode(0o644), node })
            };
            trees.add(Directory { entries: (0..count).map(file).collect(), opaque: false })
        };
        let (small, bytes) = PackedTree::of(&trees, &tree(3)).unwrap();
        assert!(small.blob().is_none() && bytes.is_none());
        let (large, bytes) = PackedTree::of(&trees, &tree(20)).unwrap();
        let (blob, (_, bytes)) = (large.blob().unwrap(), bytes.unwrap());
        let packed = pack(&trees, &tree(20)).unwrap();
        assert_eq!(read(&blob, &bytes), Some(packed.clone()));
        // Another blob, one that is cut off, one of another version, and one that says it is endless.
        assert_eq!(read(&oci::described(b"x"), &bytes), None);
        let mut endless = bytes.to_vec();
        endless[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut newer = bytes.to_vec();
        newer[7] += 1;
        let mut longer = bytes.to_vec();
        longer[8] -= 1;
        for bad in [&bytes[..20], &bytes[..9], &[], &endless, &newer, &longer] {
            assert_eq!(read(&oci::described(bad), bad), None);
        }
    }
}
