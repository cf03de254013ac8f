//! The tier of records that travels: one [`Remote`] holds them for many machines, a [`RemoteCache`] reads and adds.
//!
//! ```text
//! head    shards by prefix of the key's hash, with a filter for each; the only thing that moves
//!   └── shard …   sorted records, compressed, named by SHA-256
//!         └── record   full key, value, layer blobs it needs, day of last use, optional MAC
//! ```
//!
//! A record is found by the BLAKE3 of its full key (table byte and key). Nothing is read before the first lookup, then the
//! head, then the shards that may have what is asked for, each once. Whatever goes wrong with reading is a miss and one
//! warning. An export reads, unites and publishes; when somebody else published in between, it does so again. This room
//! knows bytes and rules; where they are kept is a [`Remote`]'s business, and layer blobs are moved by others.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
mod export;
mod filter;
mod format;
mod lookup;
mod mac;
mod memory;
mod merge;

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use solver::{BlobDigest, Descriptor};

pub use self::error::RemoteError;
pub use self::format::HEAD_LIMIT;
pub use self::lookup::RemoteCache;
pub use self::mac::MacKey;
pub use self::memory::MemoryRemote;

/// Where a cache is kept: one head that moves, and objects and blobs that are named by their SHA-256.
///
/// That is a registry's tag with manifests and blobs, a directory, and could be an action cache with its content store. Calls
/// block, and several come at once.
pub trait Remote: Send + Sync + Debug {
    /// Where it is, for people, such as `registry.example/team/app:cache`.
    fn name(&self) -> String;

    /// The head, or `None` where there is no cache yet.
    ///
    /// # Errors
    /// When nobody answers, or [`RemoteError::Foreign`] for what is there and no cache. A cache whose head is damaged is no
    /// error here, see [`Head::content`].
    fn head(&self) -> Result<Option<Head>, RemoteError>;

    /// An object. What comes back may be anything of at most the stated size: the caller checks the digest.
    ///
    /// # Errors
    /// When it is not there, or nobody answers.
    fn object(&self, object: &Descriptor) -> Result<Vec<u8>, RemoteError>;

    /// Makes a new head known, after its objects: whoever sees it finds everything. Objects and blobs that the publication
    /// does not name may be deleted at any time after that.
    ///
    /// # Errors
    /// When nobody answers, or it is not allowed.
    fn publish(&self, publication: &Publication) -> Result<Published, RemoteError>;

    /// Which blobs are there.
    ///
    /// # Errors
    /// When nobody answers.
    fn has_blobs(&self, blobs: &[Descriptor]) -> Result<Vec<bool>, RemoteError>;
}

/// A head as it was found.
#[derive(Debug)]
pub struct Head {
    /// Its bytes, or why they cannot be had although a cache is there; then they can be replaced.
    pub content: Result<Vec<u8>, RemoteError>,
    /// Which version of the cache this is; another head is another version.
    pub version: String,
}

/// What becomes of a cache.
#[derive(Debug)]
pub struct Publication {
    /// The version this was made from; `None` where there was no cache.
    pub based_on: Option<String>,
    /// The new head.
    pub head: Vec<u8>,
    /// New objects.
    pub objects: Vec<(Descriptor, Vec<u8>)>,
    /// Objects of earlier publications that are still needed.
    pub kept: Vec<Descriptor>,
    /// Blobs that records need; they are there already.
    pub blobs: Vec<Descriptor>,
}

/// How publishing went.
#[derive(Debug, PartialEq, Eq)]
pub enum Published {
    /// Everybody sees it.
    Done,
    /// It is not based on what is there, or was replaced at once: unite again.
    Conflict,
    /// These blobs are not there after all, and nothing was changed.
    Missing(Vec<BlobDigest>),
}

/// A record to be exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The full key, see [`Table::key`](crate::Table::key).
    pub key: Vec<u8>,
    /// The value, as `Store::get_bytes` gives it.
    pub value: Vec<u8>,
    /// Blobs without which it is worth nothing.
    pub blobs: Vec<Descriptor>,
}

/// A record that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRecord {
    /// The value, for `Store::put_bytes`.
    pub value: Vec<u8>,
    /// Blobs without which it is worth nothing.
    pub blobs: Vec<Descriptor>,
}

/// A record of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRecord {
    /// The full key.
    pub key: Vec<u8>,
    /// What is found under it.
    pub record: RemoteRecord,
    /// The day it was last used, in days since 1970; what was used again within a week may still have the older day.
    pub day: u32,
    /// Whether it carries a MAC: the right one, where a key is known.
    pub is_signed: bool,
}

/// What an export keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The day of the export, see [`today`].
    pub today: u32,
    /// Records that were not used for longer are dropped.
    pub max_age_days: Option<u32>,
    /// Most bytes of records and blobs together; beyond it the blobs go that were not used for the longest time, with the
    /// records that need them.
    pub max_bytes: Option<u64>,
}

impl Limits {
    /// Today, without limits.
    pub fn none() -> Self {
        Self { today: today(), max_age_days: None, max_bytes: None }
    }
}

/// What an export came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Records that are there now.
    pub records: usize,
    /// Records that were not there before, or had another value.
    pub added: usize,
    /// Records dropped by the limits.
    pub expired: usize,
    /// Records that are too large to travel.
    pub too_large: usize,
    /// Objects sent, the head among them; 0 when nothing had changed.
    pub objects_sent: usize,
    /// Their bytes.
    pub bytes_sent: u64,
}

/// A whole cache as one piece of bytes, for those who have a place for just that; [`MemoryRemote::holding`] reads it.
/// Records that are too large to travel are left out.
pub fn pack(records: &[NewRecord], today: u32, key: Option<&MacKey>) -> Vec<u8> {
    let mut union = merge::Union::default();
    let small = records.iter().filter(|record| record.size() <= format::RECORD_LIMIT);
    small.for_each(|record| union.add(record, key, today));
    format::encode_whole(&union.into_entries())
}

/// The number of this day, in days since 1970.
pub fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() / (24 * 60 * 60)).unwrap_or(u32::MAX)
}
