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
    pub(super) body: Body,
}

/// Where a shard's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Body {
    /// In the head: it is the only shard, or all of them are there.
    Inline(Vec<u8>),
    /// An object, with a filter for what is in it.
    Object { filter: Vec<u8>, object: Descriptor },
}

impl Shard {
    fn has(&self, hash: &KeyHash) -> bool {
        self.bits == 0 || (word(hash) ^ self.prefix) >> (64 - u32::from(self.bits)) == 0
    }

    /// The last hash that it may have, by its first 64 bits.
    fn last(&self) -> u64 {
        self.prefix | u64::MAX.checked_shr(self.bits.into()).unwrap_or(0)
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
    let is_sorted = shards.windows(2).all(|pair| pair[0].last() < pair[1].prefix);
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
        let mask = if bits == 0 { 0 } else { u64::MAX << (64 - u32::from(bits)) };
        let prefix = word(&range[0].0) & mask;
        let body = if only && bytes.len() <= SHARD_SIZE {
            Body::Inline(bytes)
        } else {
            let object = described(&bytes);
            objects.push((object, bytes));
            Body::Object { filter: filter::build(range.iter().map(|(hash, _)| hash)), object }
        };
        Shard { prefix, bits, body }
    };
    (found.into_iter().map(one).collect(), objects)
}

/// Records, ascending by hash, as a head that needs no objects.
pub(super) fn encode_whole(entries: &Entries) -> Vec<u8> {
    let (mut shards, objects) = encode(entries);
    let mut objects = objects.into_iter();
    for shard in &mut shards {
        if let Body::Object { .. } = shard.body {
            let (_, bytes) = objects.next().expect("objects are in the order of their shards");
            shard.body = Body::Inline(bytes);
        }
    }
    encode_head(&shards)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(count: u32, length: usize) -> Entries {
        let entry = |n: u32| {
            let key = n.to_le_bytes().to_vec();
            let blobs = vec![described(&key)];
            (hash_of(&key), Entry { value: vec![n as u8; length], key, blobs, day: 20_000 + n, mac: None })
        };
        let mut all: Entries = (0..count).map(entry).collect();
        all.sort_by_key(|(hash, _)| *hash);
        all
    }

    #[test]
    fn bytes_are_what_they_were() {
        let blob = Descriptor { digest: BlobDigest::from_bytes([9; 32]), size: 300 };
        let (key, value) = (vec![1, 2], vec![3]);
        let entry = Entry { key, value, blobs: vec![blob], day: 20_000, mac: Some([7; 32]) };
        let (digest, mac) = ("09".repeat(32), "07".repeat(32));
        let (fields, blobs, rest) = ("0201020103", format!("01{digest}ac02"), format!("a09c0101{mac}"));
        let wanted = format!("{fields}{blobs}{rest}");
        assert_eq!(hex::encode(entry.encode()), wanted);
        let object = Body::Object { filter: vec![5], object: blob };
        let inline = Shard { prefix: 0, bits: 1, body: Body::Inline(vec![4]) };
        let shards = [inline, Shard { prefix: 1 << 63, bits: 1, body: object }];
        let head = encode_head(&shards);
        let wanted = format!("{}0102", hex::encode(HEAD))
            + "0001000104" /* the first half, inline */
            + &format!("8080808080808080800101010105{digest}ac02" /* the second, elsewhere */);
        assert_eq!(hex::encode(&head), wanted);
        assert_eq!(decode_head(&head).unwrap(), shards);
    }

    #[test]
    fn shards_are_bounded_and_together_they_are_all() {
        for (count, length) in [(0, 0), (1, 10), (1, RECORD_LIMIT), (300, 5_000), (20_000, 50)] {
            let all = entries(count, length);
            let (shards, objects) = encode(&all);
            assert!(objects.iter().all(|(_, bytes)| bytes.len() <= SHARD_SIZE || count == 1));
            let bytes = |digest| objects.iter().find(|(object, _)| object.digest == digest).unwrap();
            let decoded = shards.iter().flat_map(|shard| match &shard.body {
                Body::Inline(bytes) => shard.decode(bytes).unwrap(),
                Body::Object { object, .. } => shard.decode(&bytes(object.digest).1).unwrap(),
            });
            assert!(decoded.collect::<Entries>() == all);
            let whole = decode_head(&encode_whole(&all)).unwrap();
            assert!(whole.iter().all(|shard| matches!(shard.body, Body::Inline(_))));
            assert_eq!(whole.len(), shards.len());
        }
    }

    #[test]
    fn a_record_in_the_wrong_shard_is_damage() {
        let (shards, objects) = encode(&entries(20_000, 50));
        assert!(shards[0].decode(&objects[0].1).is_ok());
        assert!(matches!(shards[0].decode(&objects[1].1), Err(RemoteError::Damaged { .. })));
    }

    #[test]
    fn shards_that_share_hashes_are_damage() {
        let shard = |prefix, bits| Shard { prefix, bits, body: Body::Inline(Vec::new()) };
        let (half, quarter) = (1 << 63, 1 << 62);
        let is_read = |shards: &[Shard]| decode_head(&encode_head(shards)).is_ok();
        assert!(is_read(&[shard(0, 0)]));
        assert!(is_read(&[shard(0, 2), shard(quarter, 2), shard(half, 1)]));
        assert!(is_read(&[shard(half, 64), shard(half + 1, 64)]));
        for [first, second] in
            [[(0, 0), (half, 1)], [(0, 1), (quarter, 2)], [(half, 1), (0, 1)], [(0, 1), (0, 1)]]
        {
            assert!(!is_read(&[shard(first.0, first.1), shard(second.0, second.1)]), "{first:?} {second:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, at: prop::sample::Index) {
            let _ = decode_head(&[&start(HEAD)[..], &bytes].concat());
            let shard = Shard { prefix: 0, bits: 0, body: Body::Inline(Vec::new()) };
            let _ = shard.decode(&[&start(SHARD)[..], &bytes].concat());
            let (shards, _) = encode(&entries(10, 10));
            let Body::Inline(mut good) = shards[0].body.clone() else { panic!("ten records are few") };
            let at = at.index(good.len());
            good[at] ^= 1;
            let _ = shard.decode(&good);
        }
    }
}
