//! Small values by key. Two implementations, one conformance suite.

mod memory;
mod rocks;

use std::fmt::Debug;

pub use memory::MemoryRecords;
pub use rocks::RocksRecords;

use crate::CacheError;

/// What kind of value a key leads to; the first byte of every key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Table {
    /// Definition or content key → `solver::Record`.
    Steps = 1,
    /// Tree digest → encoded directory.
    Trees = 2,
    /// Layer key → `solver::Layer`.
    Layers = 3,
    /// URL → validator, digests, file name.
    Http = 4,
    /// Layer blob digest → tree digest of what it holds.
    LayerIndex = 5,
    /// Tree digest of a delta → the newest `solver::Layer` made of it.
    DeltaBlobs = 6,
    /// Rules, place and tree digest → container images named there.
    Scans = 7,
    /// Diff id and compression → the `solver::Layer` a layer was converted to.
    Converted = 8,
    /// Identity of a step from build to build → what it read and made when it last ran.
    Traces = 9,
    /// Device and inode of a directory → what says whether it is as it was.
    Stat = 10,
    /// Identity of a frame → the blob that has it, and where.
    Frames = 11,
    /// Layer blob digest → states of its hashes on the way.
    Checkpoints = 12,
    /// Content digest of a large file → digests of its pieces.
    Pieces = 13,
    /// Image repository → what its last build came to.
    Outcomes = 14,
    /// Tree digests of the deltas of a group, hashed → tree digest of all of them.
    Groups = 15,
    /// Identity of what was fetched (a commit, a part of it) → its tree and the blobs that have its files.
    Packed = 16,
    /// Content digest of an archive → directories that it only implies.
    Archives = 17,
    /// Blob digest → its content digest, and the layer that has its bytes, if they are no blob of their own.
    Places = 18,
    /// Name of a container image, hashed → the manifest it led to.
    Resolved = 19,
    /// Digest of a container image's manifest or index → its bytes.
    Manifests = 20,
    /// Identity of a step from build to build → milliseconds it took when it last ran.
    Durations = 21,
    /// Device and inode of a directory → its entries as a scan found them.
    Listings = 22,
}

impl Table {
    /// The full key of a value: the table's byte, and the key.
    pub fn key(self, key: &[u8]) -> Vec<u8> {
        let mut full = Vec::with_capacity(key.len() + 1);
        full.push(self as u8);
        full.extend_from_slice(key);
        full
    }

    /// The key in a full key of this table; `None` for one of another table.
    pub fn key_in(self, full: &[u8]) -> Option<&[u8]> {
        full.split_first().filter(|(table, _)| **table == self as u8).map(|(_, key)| key)
    }
}

/// Full keys with their values.
pub type Batch = Vec<(Vec<u8>, Vec<u8>)>;

/// A durable map from keys to values. Keys carry their [`Table`] in the first byte.
pub trait Records: Send + Sync + Debug {
    /// Does what the first read would do before it reads, so that it need not.
    fn prepare(&self) {}

    /// The values of many keys at once, `None` where there is none.
    ///
    /// # Errors
    /// When the store fails; callers count that as a miss.
    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, CacheError>;

    /// Writes all values, durably, before it returns.
    ///
    /// # Errors
    /// When the store fails; nothing, or all, is written.
    fn commit(&self, batch: Batch) -> Result<(), CacheError>;

    /// Shows every key and value whose key begins with a prefix, in the order of the keys.
    ///
    /// # Errors
    /// When the store fails.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), CacheError>;

    /// Forgets keys and gives their space back, before it returns. Keys that are not there do not matter.
    ///
    /// # Errors
    /// When the store fails; nothing, or all, is forgotten.
    fn forget(&self, keys: &[Vec<u8>]) -> Result<(), CacheError>;

    /// Whether nothing was ever committed. Reads nothing.
    fn is_blank(&self) -> bool {
        false
    }

    /// Sees what others have committed since the first look. Whether there is anything.
    fn refresh(&self) -> bool {
        false
    }

    /// Whether there is a database that cannot be read; if so, it is deleted: all it held can be made again.
    ///
    /// # Errors
    /// When it cannot be deleted.
    fn heal(&self) -> Result<bool, CacheError> {
        Ok(false)
    }

    /// Work that may wait until the user has the result.
    fn maintain(&self) {}

    /// What the user should know about how well this works.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
