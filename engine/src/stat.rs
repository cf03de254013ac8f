//! The stat cache: what directories of the host looked like when they were read, so that a second look is a walk
//! (design §5).
//!
//! One packed value a directory, under its device and inode. A file is trusted if inode, size, mode, mtime and ctime are
//! what they were, and both times were already past when the build that read it began: what was written within the
//! clock's granularity of a scan may have been written again after it (git's racy rule), and is never remembered. A
//! directory that is as it was keeps its tree's digest; neither its entries nor their contents are touched until somebody
//! needs one. By the same rule its own times say which entries it has: they change when one comes or goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache::{Store, Table};
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};
use solver::{ContentDigest, TreeDigest};

use crate::stamp;
use crate::tree::{Directory, Entry, Meta, Node, Xattrs};

/// Another number forgets everything.
const FORMAT: u8 = 3;
/// A time this close to the scan may belong to a write after it: kernels stamp files with a clock that ticks every 1 to
/// 10 ms.
const TICK: Duration = Duration::from_millis(50);
/// The same where times are whole seconds, or two of them (FAT).
const COARSE_TICK: Duration = Duration::from_millis(2500);
/// Bytes read again before what was learned is worth a write of its own.
const WORTH_BYTES: u64 = 16 << 20;
/// Files read again before it is.
const WORTH_FILES: u64 = 1000;

/// When something was changed: seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Times {
    mtime: (i64, u32),
    ctime: (i64, u32),
}

impl Times {
    /// Those of a stat.
    pub(crate) fn of(stat: &Stat) -> Self {
        // Nanoseconds are below 10⁹ whatever their type.
        let time = |seconds, nanos: u64| (seconds, u32::try_from(nanos).unwrap_or(u32::MAX));
        Self {
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether nothing can have been written after a scan that began then without showing.
    fn is_settled(&self, start: Duration) -> bool {
        let is_coarse = self.mtime.1 == 0 && self.ctime.1 == 0;
        let tick = if is_coarse { COARSE_TICK } else { TICK };
        let (seconds, nanos) = self.mtime.max(self.ctime);
        let Ok(seconds) = u64::try_from(seconds) else { return false };
        Duration::new(seconds, nanos).checked_add(tick).is_some_and(|settled| settled < start)
    }
}

/// Identity of an entry as far as a `stat` can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    inode: u64,
    size: u64,
    times: Times,
    mode: u32,
}

impl Seen {
    /// What a stat says. A directory's own times say nothing of what is in it: of those only the modification time
    /// counts, and only where times are kept.
    pub(crate) fn of(stat: &Stat, keep_mtime: bool) -> Self {
        let (times, mode) = (Times::of(stat), stat.st_mode);
        if FileType::from_raw_mode(mode) == FileType::Directory {
            let mtime = if keep_mtime { (times.mtime.0, 0) } else { (0, 0) };
            return Self { inode: 0, size: 0, times: Times { mtime, ctime: (0, 0) }, mode };
        }
        Self { inode: stat.st_ino, size: stat.st_size.cast_unsigned(), times, mode }
    }

    /// What it is.
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Owner is 0:0, setuid and setgid go, as in sealer.
    pub(crate) fn meta(&self, keep_mtime: bool) -> Meta {
        let mode = if self.kind() == FileType::Symlink { 0o777 } else { self.mode & 0o1777 };
        Meta { mode, mtime: keep_mtime.then_some(self.times.mtime.0), ..Meta::default() }
    }

    /// Whether nothing can have been written after a scan that began then without showing.
    fn is_settled(&self, start: Duration) -> bool {
        self.kind() == FileType::Directory || self.times.is_settled(start)
    }
}

/// What an entry of a directory was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    File(ContentDigest),
    Link(Box<[u8]>),
    /// A subdirectory; only its own scan knows what is in it.
    Dir(TreeDigest),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) name: Box<[u8]>,
    pub(crate) seen: Seen,
    pub(crate) what: What,
    /// Extended attributes that belong into an image.
    pub(crate) xattrs: Xattrs,
}

impl Known {
    /// Bytes of its own; of a directory where they are.
    pub(crate) fn bytes(&self) -> Result<u64, TreeDigest> {
        match &self.what {
            What::File(_) => Ok(self.seen.size),
            What::Link(_) => Ok(0),
            What::Dir(tree) => Err(*tree),
        }
    }

    /// Whether it is a directory with this tree and these attributes.
    pub(crate) fn is_dir(&self, tree: &TreeDigest, xattrs: &Xattrs) -> bool {
        self.what == What::Dir(*tree) && self.xattrs == *xattrs
    }

    /// The entry it is in a tree.
    pub(crate) fn entry(&self, keep_mtime: bool) -> Entry {
        let node = match &self.what {
            What::File(content) => Node::File { content: *content, size: self.seen.size },
            What::Link(target) => Node::Symlink(target.to_vec()),
            What::Dir(tree) => Node::Dir(*tree),
        };
        Entry { meta: Meta { xattrs: self.xattrs.clone(), ..self.seen.meta(keep_mtime) }, node }
    }
}

/// A directory as a scan found it, sorted by name; entries that were left out do not stand in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) known: Vec<Known>,
    /// The tree of exactly these entries, if they are a whole directory.
    pub(crate) tree: Option<TreeDigest>,
    /// The directory itself, if nothing but these entries is in it.
    pub(crate) itself: Option<Itself>,
}

/// What a directory was when exactly the entries of its listing were in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Itself {
    pub(crate) times: Times,
    pub(crate) xattrs: Xattrs,
}

impl Listing {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Known> {
        let place = self.known.binary_search_by(|known| (*known.name).cmp(name)).ok()?;
        Some(&self.known[place])
    }

    /// The directory it is in a tree.
    pub(crate) fn directory(&self, keep_mtime: bool) -> Directory {
        let entries = self.known.iter().map(|known| (known.name.clone(), known.entry(keep_mtime)));
        Directory { entries: entries.collect(), opaque: false }
    }
}

/// Identity of a directory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DirKey([u8; 18]);

impl DirKey {
    /// With modification times the trees are others.
    pub(crate) fn new(dir: &Stat, keep_mtime: bool) -> Self {
        let mut key = [0; 18];
        key[0] = FORMAT;
        key[1] = keep_mtime.into();
        key[2..10].copy_from_slice(&dir.st_dev.to_le_bytes());
        key[10..].copy_from_slice(&dir.st_ino.to_le_bytes());
        Self(key)
    }
}

/// A directory in this build: what was remembered of it, and what was found since.
#[derive(Debug)]
struct Looked {
    before: Arc<Listing>,
    /// Entries looked at one by one.
    found: BTreeMap<Box<[u8]>, Known>,
    /// All entries, if all were looked at and something is new.
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

    /// What is remembered of a directory; read from the store once a build.
    pub(crate) fn listing(&self, key: &DirKey) -> Arc<Listing> {
        if let Some(looked) = self.lock().get(key) {
            return Arc::clone(&looked.before);
        }
        let stored = if self.is_paranoid { None } else { stamp::get(self.store, Table::Stat, &key.0) };
        let before: Arc<Listing> = Arc::new(stored.unwrap_or_default());
        let looked = Looked { before, found: BTreeMap::new(), whole: None };
        Arc::clone(&self.lock().entry(*key).or_insert(looked).before)
    }

    /// One entry that is not what was remembered.
    pub(crate) fn found(&self, key: &DirKey, known: Known) {
        if let Some(looked) = self.lock().get_mut(key) {
            looked.found.insert(known.name.clone(), known);
        }
    }

    /// All entries of a directory that is not what was remembered.
    pub(crate) fn found_all(&self, key: &DirKey, whole: Arc<Listing>) {
        if let Some(looked) = self.lock().get_mut(key) {
            looked.whole = Some(whole);
        }
    }

    /// A file was read.
    pub(crate) fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.read_files.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers what was found, but for what may still change unseen: at the build's commit, or for its own sake if
    /// reading it took a while.
    pub(crate) fn keep(&self) {
        for (key, looked) in self.lock().drain() {
            let Some(mut listing) = news(looked) else { continue };
            let count = listing.known.len();
            listing.known.retain(|known| known.seen.is_settled(self.start));
            if listing.known.len() < count {
                (listing.tree, listing.itself) = (None, None);
            }
            listing.itself = listing.itself.filter(|itself| itself.times.is_settled(self.start));
            stamp::put_soft(self.store, Table::Stat, &key.0, &listing);
        }
        let is_worth_it = self.read_bytes.load(Ordering::Relaxed) > WORTH_BYTES
            || self.read_files.load(Ordering::Relaxed) > WORTH_FILES;
        if is_worth_it {
            self.store.keep_soft();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DirKey, Looked>> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A directory as it is known now, if that is more than was remembered.
fn news(looked: Looked) -> Option<Listing> {
    match (looked.whole, looked.found) {
        (Some(whole), _) => Some(Arc::unwrap_or_clone(whole)),
        (None, found) if found.is_empty() => None,
        (None, found) => {
            let before = looked.before.known.iter().filter(|known| !found.contains_key(&known.name)).cloned();
            let mut known: Vec<Known> = before.collect();
            known.extend(found.into_values());
            known.sort_by(|a, b| a.name.cmp(&b.name));
            // The tree belonged to other entries.
            Some(Listing { known, ..Listing::default() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(mtime: (i64, u32), ctime: (i64, u32)) -> Seen {
        Seen { inode: 1, size: 1, times: Times { mtime, ctime }, mode: 0o100_644 }
    }

    fn known(name: &str, content: u8, time: i64) -> Known {
        let what = What::File(ContentDigest::from_bytes([content; 32]));
        let name = name.as_bytes().into();
        Known { name, seen: seen((time, 1), (time, 1)), what, xattrs: Xattrs::default() }
    }

    #[test]
    fn what_was_written_around_the_scan_is_not_trusted() {
        let start = Duration::new(1000, 0);
        for (file, is_settled) in [
            (seen((900, 1), (900, 1)), true),
            (seen((999, 900_000_000), (999, 900_000_000)), true),
            (seen((999, 960_000_000), (900, 1)), false),
            (seen((900, 1), (999, 960_000_000)), false),
            (seen((1001, 1), (1001, 1)), false),
            (seen((998, 0), (998, 0)), false),
            (seen((990, 0), (990, 0)), true),
            (seen((-5, 3), (-5, 3)), false),
        ] {
            assert_eq!(file.is_settled(start), is_settled, "{file:?}");
        }
    }

    #[test]
    fn a_tree_is_remembered_with_exactly_its_entries() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (key, tree) = (DirKey([7; 18]), Some(TreeDigest::from_bytes([9; 32])));
        let look = |news: &dyn Fn(&StatCache<'_>)| -> Listing {
            let stats = StatCache::new(&store, false);
            stats.listing(&key);
            news(&stats);
            stats.keep();
            store.keep_soft();
            store.commit::<cache::CacheError>(|| Ok(())).unwrap();
            StatCache::new(&store, false).listing(&key).as_ref().clone()
        };
        let times = |seconds| Times { mtime: (seconds, 1), ctime: (seconds, 1) };
        let itself = |seconds| Some(Itself { times: times(seconds), xattrs: Xattrs::default() });
        let whole = Listing { known: vec![known("a", 1, 5), known("b", 2, 5)], tree, itself: itself(5) };
        assert_eq!(look(&|stats| stats.found_all(&key, whole.clone().into())), whole);
        assert_eq!(look(&|_| ()), whole, "nothing new changes nothing");

        let fresh = i64::try_from(StatCache::new(&store, false).start.as_secs()).unwrap() + 9;
        let touched = Listing { itself: itself(fresh), ..whole.clone() };
        let kept = look(&|stats| stats.found_all(&key, touched.clone().into()));
        assert_eq!(kept, Listing { itself: None, ..whole.clone() }, "an entry may have come since");
        let racy = Listing { known: vec![known("a", 1, 5), known("b", 2, fresh)], ..whole.clone() };
        let kept = look(&|stats| stats.found_all(&key, racy.clone().into()));
        assert_eq!(kept, Listing { known: vec![known("a", 1, 5)], ..Listing::default() });

        look(&|stats| stats.found_all(&key, whole.clone().into()));
        let kept = look(&|stats| stats.found(&key, known("b", 3, 5)));
        assert_eq!(kept, Listing { known: vec![known("a", 1, 5), known("b", 3, 5)], ..Listing::default() });
    }
}
