//! The stat cache: what directories of the host looked like when they were read, so that a second look is a walk
//! (design §5).
//!
//! A directory is known under its device and inode. A file is trusted if inode, size, mode, mtime and ctime are
//! what they were, and both times were already past when the build that read it began: what was written within the
//! clock's granularity of a scan may have been written again after it (git's racy rule), and is never remembered. By the
//! same rule the times of a directory say which entries it has: they change when one comes or goes. One hash of all that
//! a walk sees of a directory says whether it is as it was; then neither its entries nor their contents are read until
//! something needs one.

mod entry;
mod listing;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache::{Store, Table};

pub(crate) use self::entry::{Below, Glance, Known, Seen, Times, What};
pub(crate) use self::listing::{DirKey, Itself, Listed, Listing, Names, Summary, glances_digest};
use crate::stamp;

/// Bytes read again before what was learned is worth a write of its own.
const WORTH_BYTES: u64 = 16 << 20;
/// Files read again before it is.
const WORTH_FILES: u64 = 1000;

/// A directory in this build: what was remembered of it, and what was found since.
#[derive(Debug, Default)]
struct Looked {
    /// `None` until it is wanted.
    before: Option<Arc<Listing>>,
    /// Entries looked at one by one.
    found: BTreeMap<Box<[u8]>, Known>,
    /// The newest of all entries.
    news: Option<Summary>,
    /// All entries, if something is new in them.
    whole: Option<Arc<Listing>>,
}

/// The cache for the length of a build.
#[derive(Debug)]
pub(crate) struct StatCache<'store> {
    store: &'store Store,
    /// When the build began to look, since 1970.
    start: Duration,
    /// Trust nothing, read everything.
    is_paranoid: bool,
    looked: Mutex<HashMap<DirKey, Looked>>,
    read_bytes: AtomicU64,
    read_files: AtomicU64,
}

impl<'store> StatCache<'store> {
    /// A cache over a store.
    pub(crate) fn new(store: &'store Store, is_paranoid: bool) -> Self {
        Self {
            store,
            start: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            is_paranoid,
            looked: Mutex::default(),
            read_bytes: AtomicU64::new(0),
            read_files: AtomicU64::new(0),
        }
    }

    /// What says whether a directory is as it was, if all its entries are remembered.
    pub(crate) fn summary(&self, key: &DirKey) -> Option<Summary> {
        if self.is_paranoid {
            return None;
        }
        stamp::get(self.store, Table::Stat, key.as_bytes()).flatten()
    }

    /// What is remembered of the entries of a directory; read from the store once a build.
    pub(crate) fn listing(&self, key: &DirKey) -> Arc<Listing> {
        if let Some(before) = self.lock().get(key).and_then(|looked| looked.before.clone()) {
            return before;
        }
        let stored = if self.is_paranoid { Listing::default() } else { Listing::read(self.store, key) };
        Arc::clone(self.lock().entry(*key).or_default().before.get_or_insert_with(|| stored.into()))
    }

    /// One entry that is not what was remembered.
    pub(crate) fn found(&self, key: &DirKey, known: Known) {
        self.lock().entry(*key).or_default().found.insert(known.name.clone(), known);
    }

    /// A directory has the entries that it had, and its own times are others.
    pub(crate) fn found_itself(&self, key: &DirKey, summary: Summary) {
        self.lock().entry(*key).or_default().news = Some(summary);
    }

    /// All entries of a directory that is not what was remembered.
    pub(crate) fn found_all(&self, key: &DirKey, summary: Summary, whole: Arc<Listing>) {
        let mut looked = self.lock();
        let looked = looked.entry(*key).or_default();
        (looked.news, looked.whole) = (Some(summary), Some(whole));
    }

    /// A file was read.
    pub(crate) fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.read_files.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers what was found, except for what may still change unnoticed. It is written with the build's commit, or by itself if
    /// reading it took a while.
    pub(crate) fn keep(&self) {
        for (key, looked) in self.lock().drain() {
            self.keep_news(&key, looked);
        }
        let is_worth_it = self.read_bytes.load(Ordering::Relaxed) > WORTH_BYTES
            || self.read_files.load(Ordering::Relaxed) > WORTH_FILES;
        if is_worth_it {
            self.store.keep_soft();
        }
    }

    fn keep_news(&self, key: &DirKey, looked: Looked) {
        let mut summary = looked.news;
        let listing = match looked.whole {
            Some(whole) => Some(Arc::unwrap_or_clone(whole)),
            None if looked.found.is_empty() => None,
            None => {
                // The hash belonged to other entries.
                summary = None;
                Some(merged(looked.before.as_deref(), looked.found))
            }
        };
        if let Some(mut listing) = listing {
            let count = listing.known.len();
            listing.known.retain(|known| known.seen.is_settled(self.start));
            summary = summary.filter(|_| listing.known.len() == count);
            self.store.put_soft(Table::Listings, key.as_bytes(), &listing);
        } else if summary.is_none() {
            return;
        }
        if let Some(summary) = &mut summary {
            summary.itself.take_if(|itself| !itself.times.is_settled(self.start));
        }
        stamp::put_soft(self.store, Table::Stat, key.as_bytes(), &summary);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DirKey, Looked>> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was remembered, with what was found one by one.
fn merged(before: Option<&Listing>, found: BTreeMap<Box<[u8]>, Known>) -> Listing {
    let before = before.into_iter().flat_map(|listing| &listing.known);
    let mut known: Vec<Known> = before.filter(|known| !found.contains_key(&known.name)).cloned().collect();
    known.extend(found.into_values());
    known.sort_by(|a, b| a.name.cmp(&b.name));
    Listing { known }
}

#[cfg(test)]
mod tests {
    use solver::{ContentDigest, TreeDigest};

    use super::*;
    use crate::tree::Xattrs;

    fn known(name: &str, content: u8, time: i64) -> Known {
        let what = What::File(ContentDigest::from_bytes([content; 32]));
        let seen = Seen::at((time, 1), (time, 1));
        Known { name: name.as_bytes().into(), seen, what, xattrs: Xattrs::default() }
    }

    #[test]
    fn a_tree_is_remembered_with_exactly_its_entries() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = DirKey::new(&rustix::fs::stat(dir.path()).unwrap(), false);
        let look = |news: &dyn Fn(&StatCache<'_>)| -> (Option<Summary>, Vec<Known>) {
            let stats = StatCache::new(&store, false);
            stats.listing(&key);
            news(&stats);
            stats.keep();
            store.keep_soft();
            store.commit::<cache::CacheError>(|| Ok(())).unwrap();
            let again = StatCache::new(&store, false);
            (again.summary(&key), again.listing(&key).known.clone())
        };
        let summary = |known: &[Known], seconds| {
            let names = Names::new(known.iter().map(|known| &*known.name));
            let itself =
                Itself { times: Times::at((seconds, 1), (seconds, 1)), xattrs: Xattrs::default(), names };
            let entries = Listing { known: known.to_vec() }.digest();
            Summary { entries, tree: TreeDigest::from_bytes([9; 32]), itself: Some(itself) }
        };
        let whole = vec![known("a", 1, 5), known("b", 2, 5)];
        let found = |stats: &StatCache<'_>, known: &Vec<Known>, seconds| {
            stats.found_all(&key, summary(known, seconds), Listing { known: known.clone() }.into());
        };
        let kept = (Some(summary(&whole, 5)), whole.clone());
        assert_eq!(look(&|stats| found(stats, &whole, 5)), kept);
        assert_eq!(look(&|_| ()), kept, "nothing new changes nothing");
        assert_eq!(look(&|stats| stats.found_itself(&key, summary(&whole, 7))).0, Some(summary(&whole, 7)));

        let fresh = i64::try_from(StatCache::new(&store, false).start.as_secs()).unwrap() + 9;
        let (touched, entries) = look(&|stats| found(stats, &whole, fresh));
        let without = Summary { itself: None, ..summary(&whole, 5) };
        assert_eq!((touched, &entries), (Some(without), &whole), "an entry may have come since");
        let racy = vec![known("a", 1, 5), known("b", 2, fresh)];
        assert_eq!(look(&|stats| found(stats, &racy, 5)), (None, vec![known("a", 1, 5)]));

        look(&|stats| found(stats, &whole, 5));
        let kept = look(&|stats| stats.found(&key, known("b", 3, 5)));
        assert_eq!(kept, (None, vec![known("a", 1, 5), known("b", 3, 5)]));
    }
}
