//! Heads and shards as bytes. Sizes are bounded before anything is taken for a number of bytes.
//!
//! ```text
//! head   = "sealerH" version postcard(shards)
//! shard  = "sealerS" version length(4, LE) zstd(postcard(records))      length: before compression
//! ```
//!
//! Records are sorted by the hash of their key. A range of hashes is one shard if that is small, else each half of it is
//! looked at in the same way. So the same records are the same bytes, and a new one changes one shard and the head.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use solver::{BlobDigest, Descriptor};

use super::mac::Mac;
use super::{RemoteError, filter};

/// Version of all of this; a newer one is a miss.
pub(super) const VERSION: u8 = 1;
const HEAD: &[u8; 7] = b"sealerH";
const SHARD: &[u8; 7] = b"sealerS";
const MAGIC: usize = 7;
/// A shard of this size is not split, in bytes: one such answer costs about as much as the request for it.
const SHARD_SIZE: usize = 32 << 10;
/// A shard of this size before compression is split without a look at what compression makes of it: half of what
/// a record holds are digests.
const SHARD_RAW: usize = 4 * SHARD_SIZE;
/// Largest record that travels, in bytes.
pub(super) const RECORD_LIMIT: usize = 1 << 20;
/// Largest shard read, before and after compression: one record may be alone in it.
const SHARD_LIMIT: u64 = RECORD_LIMIT as u64 + (64 << 10);
/// Largest head read, in bytes: some ten million records.
pub const HEAD_LIMIT: u64 = 16 << 20;
/// Small records gain little from more, and a build waits for the export.
const LEVEL: i32 = 6;

/// BLAKE3 of a full key.
pub(super) type KeyHash = [u8; 32];

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) blobs: Vec<Descriptor>,
    pub(super) day: u32,
    pub(super) mac: Option<Mac>,
}

impl Entry {
    /// About its share of a shard, in bytes.
    pub(super) fn size(&self) -> u64 {
        (self.key.len() + self.value.len() + self.blobs.len() * size_of::<Descriptor>()) as u64
    }

    fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data with known lengths always encodes")
    }
}

/// Records of a range, ascending by hash.
pub(super) type Entries = Vec<(KeyHash, Entry)>;

pub(super) fn hash_of(key: &[u8]) -> KeyHash {
    *blake3::hash(key).as_bytes()
}

/// A part of the hashes, and where its records are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shard {
    /// Its hashes begin with these bits, the first `bits` of them; the others are 0.
    pub(super) prefix: u64,
    pub(super) bits: u8,
    pub(super) records: u32,
    pub(super) body: Body,
}

/// Where a shard's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Body {
    /// In the head: it is the only shard.
    Inline(Vec<u8>),
    /// An object, with a filter for what is in it.
    Object { filter: Vec<u8>, object: Descriptor },
}

impl Shard {
    fn has(&self, hash: &KeyHash) -> bool {
        self.bits == 0 || (word(hash) ^ self.prefix) >> (64 - u32::from(self.bits)) == 0
    }

    /// Whether its hashes begin before this one, or with it: of several such shards the last may have it.
    pub(super) fn is_before(&self, hash: &KeyHash) -> bool {
        self.prefix <= word(hash)
    }

    pub(super) fn may_have(&self, hash: &KeyHash) -> bool {
        self.has(hash)
            && match &self.body {
                Body::Inline(_) => true,
                Body::Object { filter, .. } => filter::may_have(filter, hash),
            }
    }

    /// The records in the bytes of this shard.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Entries, RemoteError> {
        let damaged = |reason| RemoteError::Damaged { what: "shard", reason };
        let rest = versioned(bytes, SHARD, "shard")?;
        let (length, packed) = rest.split_first_chunk().ok_or_else(|| damaged("it is cut off"))?;
        let length = u32::from_le_bytes(*length);
        if u64::from(length) > SHARD_LIMIT {
            return Err(too_large("shard", u64::from(length), SHARD_LIMIT));
        }
        let raw = zstd::bulk::decompress(packed, length as usize)
            .map_err(|_| damaged("it cannot be decompressed"))?;
        let entries = match postcard::take_from_bytes::<Vec<Entry>>(&raw) {
            Ok((entries, [])) => entries,
            _ => return Err(damaged("its records cannot be read")),
        };
        let keyed: Entries = entries.into_iter().map(|entry| (hash_of(&entry.key), entry)).collect();
        let is_sorted = keyed.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !is_sorted || !keyed.iter().all(|(hash, _)| self.has(hash)) {
            return Err(damaged("its records are not where they belong"));
        }
        Ok(keyed)
    }
}

/// Checks that bytes are what a descriptor says.
pub(super) fn check(bytes: &[u8], object: &Descriptor) -> Result<(), RemoteError> {
    let found = described(bytes).digest;
    if found == object.digest { Ok(()) } else { Err(RemoteError::Digest { expected: object.digest, found }) }
}

/// Refuses an object that is larger than any shard, before it is asked for.
pub(super) fn check_size(object: &Descriptor) -> Result<(), RemoteError> {
    if object.size > SHARD_LIMIT {
        return Err(too_large("shard", object.size, SHARD_LIMIT));
    }
    Ok(())
}

pub(super) fn encode_head(shards: &[Shard]) -> Vec<u8> {
    postcard::to_extend(shards, start(HEAD)).expect("plain data with known lengths always encodes")
}

pub(super) fn decode_head(bytes: &[u8]) -> Result<Vec<Shard>, RemoteError> {
    let damaged = |reason| RemoteError::Damaged { what: "head", reason };
    if bytes.len() as u64 > HEAD_LIMIT {
        return Err(too_large("head", bytes.len() as u64, HEAD_LIMIT));
    }
    let rest = versioned(bytes, HEAD, "head")?;
    let shards = match postcard::take_from_bytes::<Vec<Shard>>(rest) {
        Ok((shards, [])) => shards,
        _ => return Err(damaged("its list of shards cannot be read")),
    };
    let is_sorted = shards.windows(2).all(|pair| pair[0].prefix < pair[1].prefix);
    if !is_sorted || shards.iter().any(|shard| shard.bits > 64) {
        return Err(damaged("its shards are in no order"));
    }
    Ok(shards)
}

/// Records, ascending by hash, as shards and the objects that hold them.
pub(super) fn encode(entries: &Entries) -> (Vec<Shard>, Vec<(Descriptor, Vec<u8>)>) {
    let encoded: Vec<Vec<u8>> = entries.iter().map(|(_, entry)| entry.encode()).collect();
    let mut found = Vec::new();
    split(entries, &encoded, 0, &mut found);
    let only = found.len() == 1;
    let mut objects = Vec::new();
    let one = |(range, bits, bytes): (&[(KeyHash, Entry)], u8, Vec<u8>)| {
        let records = u32::try_from(range.len()).expect("a shard is small");
        let mask = if bits == 0 { 0 } else { u64::MAX << (64 - u32::from(bits)) };
        let prefix = word(&range[0].0) & mask;
        let body = if only && bytes.len() <= SHARD_SIZE {
            Body::Inline(bytes)
        } else {
            let object = described(&bytes);
            objects.push((object, bytes));
            Body::Object { filter: filter::build(range.iter().map(|(hash, _)| hash)), object }
        };
        Shard { prefix, bits, records, body }
    };
    (found.into_iter().map(one).collect(), objects)
}

type Range<'a> = (&'a [(KeyHash, Entry)], u8, Vec<u8>);

fn split<'a>(entries: &'a [(KeyHash, Entry)], encoded: &[Vec<u8>], bits: u8, found: &mut Vec<Range<'a>>) {
    if entries.is_empty() {
        return;
    }
    let raw: usize = encoded.iter().map(Vec::len).sum();
    let is_last = entries.len() == 1 || bits == 64;
    if is_last || raw <= SHARD_RAW {
        let bytes = shard(encoded);
        if is_last || bytes.len() <= SHARD_SIZE {
            found.push((entries, bits, bytes));
            return;
        }
    }
    let half = entries.partition_point(|(hash, _)| word(hash) >> (63 - u32::from(bits)) & 1 == 0);
    split(&entries[..half], &encoded[..half], bits + 1, found);
    split(&entries[half..], &encoded[half..], bits + 1, found);
}

/// One shard's bytes. A list in postcard is its length and then its members.
fn shard(encoded: &[Vec<u8>]) -> Vec<u8> {
    let mut raw = postcard::to_stdvec(&encoded.len()).expect("a number encodes");
    encoded.iter().for_each(|record| raw.extend_from_slice(record));
    let mut bytes = start(SHARD);
    bytes.extend_from_slice(&u32::try_from(raw.len()).expect("a shard is small").to_le_bytes());
    bytes.extend(zstd::bulk::compress(&raw, LEVEL).expect("memory can be compressed"));
    bytes
}

fn start(magic: &[u8; MAGIC]) -> Vec<u8> {
    [&magic[..], &[VERSION]].concat()
}

fn versioned<'a>(bytes: &'a [u8], magic: &[u8; MAGIC], what: &'static str) -> Result<&'a [u8], RemoteError> {
    let damaged = |reason| Err(RemoteError::Damaged { what, reason });
    match bytes.strip_prefix(magic).map(<[u8]>::split_first) {
        None => damaged("it is something else"),
        Some(None) => damaged("it is cut off"),
        Some(Some((&VERSION, rest))) => Ok(rest),
        Some(Some((&found, _))) if found > VERSION => Err(RemoteError::Newer { what, found, known: VERSION }),
        Some(Some(_)) => damaged("its format is no format"),
    }
}

fn word(hash: &KeyHash) -> u64 {
    u64::from_be_bytes(*hash.first_chunk().expect("a hash has 32 bytes"))
}

pub(super) fn described(bytes: &[u8]) -> Descriptor {
    Descriptor { digest: BlobDigest::from_bytes(Sha256::digest(bytes).into()), size: bytes.len() as u64 }
}

fn too_large(what: &'static str, size: u64, limit: u64) -> RemoteError {
    RemoteError::TooLarge { what, size, limit }
}
