//! Adding: read, unite, publish, and again when somebody else was faster.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use solver::{BlobDigest, Descriptor};

use super::format::{self, Body, Entries, Shard};
use super::merge::Union;
use super::{Exported, Head, Limits, NewRecord, Publication, Published, RemoteCache, RemoteError};

/// Tries before others are said to be in the way all the time.
const TRIES: u32 = 10;
/// First wait after a conflict, at most; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A cache as an export finds it.
#[derive(Default)]
struct There {
    version: Option<String>,
    head: Vec<u8>,
    objects: HashSet<BlobDigest>,
    entries: Vec<Entries>,
    /// What could not be read, and is replaced.
    damage: Option<RemoteError>,
}

impl RemoteCache<'_> {
    /// Adds records to those that are there, whoever else does so at the same time, and drops what is beyond the limits.
    /// The blobs that the records need are there already. Nothing is sent when nothing would change.
    ///
    /// What is damaged is replaced, with a warning; what is newer, or something else, is not touched.
    ///
    /// # Errors
    /// When what is there cannot be read, or the new cannot be written.
    pub fn export(&self, records: &[NewRecord], limits: &Limits) -> Result<Exported, RemoteError> {
        let mut missing = HashSet::new();
        let mut exported = Exported::default();
        for attempt in 0..TRIES {
            let mut there = self.there()?;
            there.objects.retain(|digest| !missing.contains(digest));
            let mut union = Union::of(there.entries, limits.today);
            let is_small = |record: &&NewRecord| record.size() <= format::RECORD_LIMIT;
            let small = records.iter().filter(is_small);
            small.for_each(|record| union.add(record, self.key.as_ref(), limits.today));
            union.drop_needing(&missing);
            union.limit(limits);
            exported.added = exported.added.max(union.added);
            exported.expired = exported.expired.max(union.expired);
            let entries = union.into_entries();
            let (shards, objects) = format::encode(&entries);
            let head = format::encode_head(&shards);
            exported.records = entries.len();
            exported.too_large = records.len() - records.iter().filter(is_small).count();
            let is_whole = there.damage.is_none();
            if is_whole && head == there.head || (there.version.is_none() && entries.is_empty()) {
                return Ok(exported);
            }
            let (kept, objects): (Vec<_>, Vec<_>) =
                objects.into_iter().partition(|(object, _)| there.objects.contains(&object.digest));
            let kept = kept.into_iter().map(|(object, _)| object).collect();
            let blobs = blobs_of(&entries);
            let publication = Publication { based_on: there.version, head, objects, kept, blobs };
            let published = self.remote.publish(&publication)?;
            exported.objects_sent += publication.objects.len() + 1;
            let sent = publication.objects.iter().map(|(object, _)| object.size);
            exported.bytes_sent += sent.sum::<u64>() + publication.head.len() as u64;
            match published {
                Published::Done => {
                    there.damage.into_iter().for_each(|error| self.fail(error));
                    return Ok(exported);
                }
                Published::Conflict => std::thread::sleep(wait(attempt)),
                Published::Missing(blobs) => missing.extend(blobs),
            }
        }
        Err(RemoteError::Contended { tries: TRIES })
    }

    /// Everything that is there.
    fn there(&self) -> Result<There, RemoteError> {
        let found = match self.take_first() {
            Some(first) => first.map(|(bytes, version)| Head { content: Ok(bytes), version }),
            None => self.remote.head()?,
        };
        let Some(Head { content, version }) = found else { return Ok(There::default()) };
        let mut there = There { version: Some(version), ..There::default() };
        let shards = content.and_then(|bytes| {
            let shards = format::decode_head(&bytes)?;
            there.head = bytes;
            Ok(shards)
        });
        let shards = match shards {
            Ok(shards) => shards,
            Err(error) if error.is_damage() => {
                there.damage = Some(error);
                return Ok(there);
            }
            Err(error) => return Err(error),
        };
        let known: Vec<Option<Arc<Entries>>> = shards.iter().map(|shard| self.known(shard)).collect();
        let unknown: Vec<&Shard> =
            shards.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(shard, _)| shard).collect();
        let mut fetched = self.fetch(&unknown).into_iter();
        for (shard, known) in shards.iter().zip(known) {
            let entries = match known {
                Some(entries) => Ok(entries.to_vec()),
                None => fetched.next().expect("every other shard was asked for"),
            };
            match entries {
                Ok(entries) => {
                    there.entries.push(entries);
                    if let Body::Object { object, .. } = &shard.body {
                        there.objects.insert(object.digest);
                    }
                }
                Err(error) if error.is_damage() => drop(there.damage.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(there)
    }
}

impl NewRecord {
    pub(super) fn size(&self) -> usize {
        self.key.len() + self.value.len() + self.blobs.len() * size_of::<Descriptor>()
    }
}

/// The blobs that records need, each once, sorted.
fn blobs_of(entries: &Entries) -> Vec<Descriptor> {
    let blobs = entries.iter().flat_map(|(_, entry)| &entry.blobs);
    blobs.map(|blob| (blob.digest, *blob)).collect::<BTreeMap<_, _>>().into_values().collect()
}

/// How long to wait before the next try: by chance, so that two do not meet again and again.
fn wait(attempt: u32) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let seed = (now, std::process::id(), std::thread::current().id());
    let chance = blake3::hash(format!("{seed:?}").as_bytes()).as_bytes()[0];
    let most = FIRST_WAIT.saturating_mul(1 << attempt).min(LONGEST_WAIT);
    most.mul_f64(f64::from(chance) / 255.0)
}
