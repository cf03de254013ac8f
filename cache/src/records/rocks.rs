//! Records in RocksDB, under the rules of design §8.
//!
//! Reading opens the database read-only: half a millisecond and no lock, so any number of builds read at once. Writing
//! opens it for one batch and one flush and closes it again; nobody ever holds the writer for the length of a build.
//! All values live in one column family, so a flush writes one file. Another format is another column family.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBCompactionStyle, DEFAULT_COLUMN_FAMILY_NAME, Direction,
    InfoLogger, IteratorMode, LogLevel, LruCacheOptions, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::{Batch, Records};
use crate::CacheError;

/// The column family of this format.
const FAMILY: &str = "sealer.v1";
/// Attempts at an open that fails for another reason than a lock: it can meet a writer that just replaced files.
const OPEN_ATTEMPTS: u32 = 4;
/// How long a commit waits for another process's window. A window is some ten milliseconds.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// Files in level 0 before a window's owner compacts: each costs every later open 40 µs.
const LEVEL_ZERO_LIMIT: u64 = 8;

/// Blocks kept in memory, in bytes.
const BLOCK_CACHE: usize = 32 << 20;
/// Two to this power are the parts of a cache that threads do not wait for each other at.
const CACHE_SHARD_BITS: i32 = 2;

/// A RocksDB database, opened when first needed.
#[derive(Debug)]
pub struct RocksRecords {
    path: PathBuf,
    reader: RwLock<Reader>,
    warnings: Mutex<Vec<String>>,
    /// The files there were before the reader opened them.
    opened: Mutex<BTreeSet<OsString>>,
}

#[derive(Debug, Default)]
enum Reader {
    #[default]
    Unopened,
    /// There is no database, or none that opens: everything is a miss.
    Absent,
    Open(DB),
}

impl RocksRecords {
    /// Records at a path; nothing is opened or created yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            reader: RwLock::default(),
            warnings: Mutex::default(),
            opened: Mutex::default(),
        }
    }

    /// Calls `read` with the database open; `None` when there is none.
    fn with_reader<T>(
        &self,
        read: impl FnOnce(&DB, &ColumnFamily) -> Result<T, rocksdb::Error>,
    ) -> Result<Option<T>, CacheError> {
        let mut reader = self.reader.read().unwrap_or_else(PoisonError::into_inner);
        while let Reader::Unopened = *reader {
            drop(reader);
            {
                let mut opening = self.reader.write().unwrap_or_else(PoisonError::into_inner);
                if let Reader::Unopened = *opening {
                    *opening = self.open_reader();
                }
            }
            reader = self.reader.read().unwrap_or_else(PoisonError::into_inner);
        }
        let Reader::Open(db) = &*reader else { return Ok(None) };
        let Some(family) = db.cf_handle(FAMILY) else { return Ok(None) };
        read(db, family).map(Some).map_err(|error| self.fail(&error))
    }

    fn open_reader(&self) -> Reader {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = self.files();
        self.try_open_reader().unwrap_or_else(|error| {
            self.warn(format!(
                "the cache in `{}` could not be opened and counts as empty for this build ({error}); delete the directory if this stays",
                self.path.display()
            ));
            Reader::Absent
        })
    }

    fn try_open_reader(&self) -> Result<Reader, rocksdb::Error> {
        if !self.has_database() {
            return Ok(Reader::Absent);
        }
        let mut attempt = 1;
        loop {
            let options = options();
            // RocksDB opens its own family too, with a cache of its own if nobody names it.
            let families = [FAMILY, DEFAULT_COLUMN_FAMILY_NAME].map(|family| (family, options.clone()));
            match DB::open_cf_with_opts_for_read_only(&options, &self.path, families, false) {
                Ok(db) => return Ok(Reader::Open(db)),
                Err(error) if error.to_string().contains("Column family not found") => {
                    return Ok(Reader::Absent);
                }
                Err(error) if attempt == OPEN_ATTEMPTS => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(5 << attempt)),
            }
            attempt += 1;
        }
    }

    /// Reads all there is.
    fn read_all(&self) -> Result<(), rocksdb::Error> {
        let Reader::Open(db) = self.try_open_reader()? else { return Ok(()) };
        let Some(family) = db.cf_handle(FAMILY) else { return Ok(()) };
        db.iterator_cf(family, IteratorMode::Start).try_for_each(|item| item.map(drop))
    }

    /// Closes the reader; the next read opens a newer one.
    fn forget_reader(&self) {
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = Reader::Unopened;
    }

    fn files(&self) -> BTreeSet<OsString> {
        let entries = fs_err::read_dir(&self.path).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect()
    }

    fn has_database(&self) -> bool {
        self.path.join("CURRENT").exists()
    }

    fn warn(&self, text: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    fn fail(&self, error: &rocksdb::Error) -> CacheError {
        CacheError::Records { path: self.path.clone(), message: error.to_string() }
    }

    /// Opens for writing once.
    fn try_open_writer(&self) -> Result<DB, rocksdb::Error> {
        let mut options = options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        // Families of newer formats are opened too: RocksDB demands it, and their values stay untouched.
        let mut families = if self.has_database() { DB::list_cf(&options, &self.path)? } else { Vec::new() };
        if !families.iter().any(|family| family == FAMILY) {
            families.push(FAMILY.to_owned());
        }
        let families = families.into_iter().map(|family| (family, options.clone()));
        DB::open_cf_with_opts(&options, &self.path, families)
    }

    /// Opens for writing; waits while another window is open.
    fn open_writer(&self) -> Result<DB, CacheError> {
        let start = Instant::now();
        let mut wait = Duration::from_millis(2);
        let mut failures = 0;
        loop {
            match self.try_open_writer() {
                Ok(db) => return Ok(db),
                Err(error) if is_locked(&error) && start.elapsed() < WRITE_PATIENCE => {}
                Err(error) if is_locked(&error) || failures + 1 == OPEN_ATTEMPTS => {
                    return Err(self.fail(&error));
                }
                Err(_) => failures += 1,
            }
            // Processes that met once must not meet again: the wait depends on who waits.
            let jitter = Duration::from_micros(
                u64::from(std::process::id() % 1000) + 17 * u64::from(thread_number() % 100),
            );
            std::thread::sleep(wait + jitter);
            wait = (wait * 2).min(Duration::from_millis(50));
        }
    }
}

impl Records for RocksRecords {
    fn prepare(&self) {
        // Whether it opens shows when something is read.
        let _ = self.with_reader(|_, _| Ok(()));
    }

    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, CacheError> {
        let values = self.with_reader(|db, family| {
            let pinned = db.batched_multi_get_cf_opt(family, keys, false, &ReadOptions::default());
            pinned.into_iter().map(|value| Ok(value?.map(|bytes| bytes.to_vec()))).collect()
        })?;
        Ok(values.unwrap_or_else(|| vec![None; keys.len()]))
    }

    fn commit(&self, batch: Batch) -> Result<(), CacheError> {
        let db = self.open_writer()?;
        let family = db.cf_handle(FAMILY).expect("open_writer opens the family");
        let mut writes = WriteBatch::default();
        for (key, value) in &batch {
            writes.put_cf(family, key, value);
        }
        // One batch goes into one memory table whatever its size, so all of it or nothing is seen after a crash.
        // Without the log the flush is the only thing that has to reach the disk, and no later open replays a log.
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        db.write_opt(writes, &options).map_err(|error| self.fail(&error))?;
        db.flush_cf(family).map_err(|error| self.fail(&error))?;
        drop(db);
        self.forget_reader();
        Ok(())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), CacheError> {
        let scanned = self.with_reader(|db, family| {
            for item in db.iterator_cf(family, IteratorMode::From(prefix, Direction::Forward)) {
                let (key, value) = item?;
                if !key.starts_with(prefix) {
                    break;
                }
                visit(&key, &value);
            }
            Ok(())
        });
        scanned.map(|_| ())
    }

    fn forget(&self, keys: &[Vec<u8>]) -> Result<(), CacheError> {
        let db = self.open_writer()?;
        let family = db.cf_handle(FAMILY).expect("open_writer opens the family");
        let mut writes = WriteBatch::default();
        keys.iter().for_each(|key| writes.delete_cf(family, key));
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        db.write_opt(writes, &options).map_err(|error| self.fail(&error))?;
        db.flush_cf(family).map_err(|error| self.fail(&error))?;
        db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
        drop(db);
        self.forget_reader();
        Ok(())
    }

    fn is_blank(&self) -> bool {
        !self.has_database()
    }

    fn refresh(&self) -> bool {
        // Every commit makes a file, and no name comes twice.
        let is_newer = *self.opened.lock().unwrap_or_else(PoisonError::into_inner) != self.files();
        if is_newer {
            self.forget_reader();
        }
        is_newer
    }

    fn heal(&self) -> Result<bool, CacheError> {
        self.forget_reader();
        match self.read_all() {
            Ok(()) => return Ok(false),
            Err(error) if is_of_reader(&error) => return Err(self.fail(&error)),
            Err(_) => {}
        }
        fs_err::remove_dir_all(&self.path)?;
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(true)
    }

    fn maintain(&self) {
        let files = self.with_reader(|db, family| Ok(level_zero_files(db, family)));
        if !matches!(files, Ok(Some(files)) if files > LEVEL_ZERO_LIMIT) {
            return;
        }
        // One attempt: whoever has the window open now compacts after it, and nobody waits for housekeeping.
        if let Ok(db) = self.try_open_writer() {
            if let Some(family) = db.cf_handle(FAMILY) {
                db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
            }
            drop(db);
            self.forget_reader();
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether another window is open. RocksDB has no kind for it: another process's lock fails on the `LOCK` file, one of
/// this process is "lock hold by current process". A message about a damaged *block* is something else.
fn is_locked(error: &rocksdb::Error) -> bool {
    let text = error.to_string();
    text.contains("While lock file") || text.contains("lock hold by current process")
}

/// Whether what keeps files from being read is no fault of theirs. RocksDB has no kinds for it but the system's words.
fn is_of_reader(error: &rocksdb::Error) -> bool {
    let text = error.to_string();
    let words = ["Permission denied", "Too many open files", "Cannot allocate memory"];
    words.iter().any(|words| text.contains(words))
}

fn level_zero_files(db: &DB, family: &ColumnFamily) -> u64 {
    // A text property: RocksDB has no number for it.
    let property = rocksdb::properties::num_files_at_level(0);
    db.property_value_cf(family, property)
        .ok()
        .flatten()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

fn thread_number() -> u32 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    std::thread::current().id().hash(&mut hasher);
    (hasher.finish() & 0xffff_ffff) as u32
}

/// What makes an open cheap and a window short; each line was measured or switches off a background habit. They are made
/// once for an open: each `Options::default()` makes a cache of 32 MiB.
fn options() -> Options {
    let mut options = Options::default();
    options.set_skip_stats_update_on_db_open(true);
    // A silent logger instead of LOG files: what went wrong comes back as an error.
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
    // Readers hold every file open, so another process's compaction cannot take one away.
    options.set_max_open_files(-1);
    // Sixteen by default, started at every open: 1.6 ms instead of 0.45 for ten files.
    options.set_max_file_opening_threads(1);
    options.set_max_background_jobs(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Sixty-four by default, for more threads than ever read at once.
    options.set_table_cache_num_shard_bits(CACHE_SHARD_BITS);
    // Compaction is ours to start, after the user has the result.
    options.set_disable_auto_compactions(true);
    // One level: a compaction merges all files into one. With several, files whose keys do not overlap would only
    // be moved down, and each would still cost every open.
    options.set_compaction_style(DBCompactionStyle::Universal);
    options.set_num_levels(1);
    options.set_level_zero_slowdown_writes_trigger(1 << 20);
    options.set_level_zero_stop_writes_trigger(1 << 20);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    // A key is looked for in every file of level 0; ten bits a key tell all but one in a hundred that it is not there.
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    // The default one reserves 6 MiB of addresses and touches both ends of them.
    let mut cache = LruCacheOptions::default();
    cache.set_capacity(BLOCK_CACHE);
    cache.set_num_shard_bits(CACHE_SHARD_BITS);
    table.set_block_cache(&Cache::new_lru_cache_opts(&cache));
    options.set_block_based_table_factory(&table);
    options
}
