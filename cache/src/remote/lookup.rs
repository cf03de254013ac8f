//! Reading: the head once, shards as somebody asks for what may be in them, several at a time.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::format::{self, Body, Entries, Entry, Shard};
use super::{Head, ListedRecord, MacKey, Remote, RemoteError, RemoteRecord};
use crate::{at_once, with_causes};

/// Objects asked for at once; what the engine allows itself with one registry.
const AT_ONCE: usize = 8;

/// A remote cache as one process sees it. Nothing is read before the first lookup.
#[derive(Debug)]
pub struct RemoteCache<'a> {
    pub(super) remote: Arc<dyn Remote + 'a>,
    pub(super) key: Option<MacKey>,
    head: OnceLock<Vec<Slot>>,
    /// The head that was read for lookups: what an export is based on at first.
    first: Mutex<Option<First>>,
    failure: Mutex<Option<Arc<RemoteError>>>,
}

/// A head as it was found; `None` where there was none.
pub(super) type First = Option<(Vec<u8>, String)>;

/// A shard, and its records once they were asked for; `None` when they cannot be had.
#[derive(Debug)]
struct Slot {
    shard: Shard,
    entries: OnceLock<Option<Arc<Entries>>>,
}

impl<'a> RemoteCache<'a> {
    /// A cache that is kept somewhere. With a key, only records that are signed with it are found, and what is exported is
    /// signed.
    pub fn open(remote: Arc<dyn Remote + 'a>, key: Option<MacKey>) -> Self {
        Self { remote, key, head: OnceLock::new(), first: Mutex::default(), failure: Mutex::default() }
    }

    /// Where it is kept.
    pub fn remote(&self) -> &(dyn Remote + 'a) {
        &*self.remote
    }

    /// The records under many full keys at once. It never fails: what cannot be had is a miss, see
    /// [`RemoteCache::failure`].
    pub fn lookup(&self, keys: &[Vec<u8>]) -> Vec<Option<RemoteRecord>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let slots = self.slots();
        let hashes: Vec<_> = keys.iter().map(|key| format::hash_of(key)).collect();
        let places = hashes.iter().map(|hash| {
            let at = slots.partition_point(|slot| slot.shard.is_before(hash)).checked_sub(1)?;
            slots[at].shard.may_have(hash).then_some(at)
        });
        let places: Vec<Option<usize>> = places.collect();
        self.load(slots, places.iter().flatten().copied().collect());
        let found = places.iter().zip(&hashes).map(|(at, hash)| {
            let entries = slots[(*at)?].entries.get()?.as_ref()?;
            let at = entries.binary_search_by(|(known, _)| known.cmp(hash)).ok()?;
            self.checked(&entries[at].1)
        });
        found.collect()
    }

    /// Every record, ascending by the hash of its key.
    ///
    /// # Errors
    /// When any of it cannot be read.
    pub fn list(&self) -> Result<Vec<ListedRecord>, RemoteError> {
        let Some(Head { content, .. }) = self.remote.head()? else { return Ok(Vec::new()) };
        let shards = format::decode_head(&content?)?;
        let mut listed = Vec::new();
        for entries in self.fetch(&shards.iter().collect::<Vec<_>>()) {
            for (_, Entry { key, value, blobs, day, mac }) in entries? {
                let is_signed = match &self.key {
                    Some(own) => own.verify(&key, &value, &blobs, mac.as_ref()),
                    None => mac.is_some(),
                };
                listed.push(ListedRecord { key, record: RemoteRecord { value, blobs }, day, is_signed });
            }
        }
        Ok(listed)
    }

    /// The first thing that went wrong with reading, for callers who cannot do without the cache.
    pub fn failure(&self) -> Option<Arc<RemoteError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the user should know: one text at most.
    pub fn warnings(&self) -> Vec<String> {
        let text = |error: Arc<RemoteError>| {
            format!("cache `{}`: {}; counted as not cached", self.remote.name(), with_causes(&*error))
        };
        self.failure().map(text).into_iter().collect()
    }

    /// Reads the head, if nobody did. What goes wrong with it is a miss of every lookup.
    pub fn prepare(&self) {
        self.slots();
    }

    fn keep_first(&self, first: First) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
    }

    /// The head that was read for lookups, once: whoever publishes hears whether it is still the one.
    pub(super) fn take_first(&self) -> Option<First> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn fail(&self, error: RemoteError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(Arc::new(error));
    }

    /// The records of shards, each asked for, in their order.
    pub(super) fn fetch(&self, shards: &[&Shard]) -> Vec<Result<Entries, RemoteError>> {
        at_once(shards, AT_ONCE, |shard| self.fetch_one(shard))
    }

    fn fetch_one(&self, shard: &Shard) -> Result<Entries, RemoteError> {
        match &shard.body {
            Body::Inline(bytes) => shard.decode(bytes),
            Body::Object { object, .. } => {
                format::check_size(object)?;
                let bytes = self.remote.object(object)?;
                format::check(&bytes, object)?;
                shard.decode(&bytes)
            }
        }
    }

    /// The records that this process has read of a shard.
    pub(super) fn known(&self, shard: &Shard) -> Option<Arc<Entries>> {
        let slot = self.head.get()?.iter().find(|slot| slot.shard == *shard)?;
        slot.entries.get()?.clone()
    }

    fn slots(&self) -> &[Slot] {
        self.head.get_or_init(|| {
            let shards = match self.remote.head() {
                Ok(None) => {
                    self.keep_first(None);
                    Ok(Vec::new())
                }
                Ok(Some(Head { content, version })) => content.and_then(|bytes| {
                    let shards = format::decode_head(&bytes);
                    self.keep_first(Some((bytes, version)));
                    shards
                }),
                Err(error) => Err(error),
            };
            let shards = shards.unwrap_or_else(|error| {
                self.fail(error);
                Vec::new()
            });
            shards.into_iter().map(|shard| Slot { shard, entries: OnceLock::new() }).collect()
        })
    }

    /// Sees to it that shards are there, or known to be of no use.
    fn load(&self, slots: &[Slot], mut wanted: Vec<usize>) {
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|&at| slots[at].entries.get().is_none());
        at_once(&wanted, AT_ONCE, |&at| {
            let slot = &slots[at];
            slot.entries.get_or_init(|| {
                let entries = self.fetch_one(&slot.shard).map(Arc::new);
                entries.map_err(|error| self.fail(error)).ok()
            });
        });
    }

    fn checked(&self, entry: &Entry) -> Option<RemoteRecord> {
        let Entry { key, value, blobs, mac, .. } = entry;
        if self.key.as_ref().is_some_and(|own| !own.verify(key, value, blobs, mac.as_ref())) {
            self.fail(RemoteError::Unsigned);
            return None;
        }
        Some(RemoteRecord { value: value.clone(), blobs: blobs.clone() })
    }
}
