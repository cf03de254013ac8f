//! Records in RocksDB, under the rules of design §8.
//!
//! Reading opens the database read-only: 0.6 ms and no lock, so any number of builds read at once. Writing opens it
//! for one batch and one flush and closes it again; nobody ever holds the writer for the length of a build. All
//! values live in one column family, so a flush writes one file. Another format is another column family.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rocksdb::{DB, DBCompactionStyle, LogLevel, Options, ReadOptions, WriteBatch, WriteOptions};

use super::{Batch, Records};
use crate::CacheError;

/// The column family of this format.
const FAMILY: &str = "sealer.v1";
/// Attempts at a read-only open. It can meet a writer that just replaced files.
const READ_ATTEMPTS: u32 = 4;
/// How long a commit waits for another process's window. A window is some ten milliseconds.
const WRITE_PATIENCE: Duration = Duration::from_secs(20);
/// Files in level 0 before a window's owner compacts: each costs every later open 40 µs.
const LEVEL_ZERO_LIMIT: u64 = 8;

/// A RocksDB database, opened when first needed.
#[derive(Debug)]
pub struct RocksRecords {
    path: PathBuf,
    reader: Mutex<Reader>,
    warnings: Mutex<Vec<String>>,
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
        Self { path: path.to_owned(), reader: Mutex::default(), warnings: Mutex::default() }
    }

    fn open_reader(&self) -> Reader {
        if !self.path.join("CURRENT").exists() {
            return Reader::Absent;
        }
        let mut last = String::new();
        for attempt in 0..READ_ATTEMPTS {
            match DB::open_cf_with_opts_for_read_only(&options(), &self.path, [(FAMILY, options())], false) {
                Ok(db) => return Reader::Open(db),
                Err(error) if error.to_string().contains("Column family not found") => return Reader::Absent,
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(Duration::from_millis(5 << attempt));
        }
        self.warn(format!(
            "the cache in `{}` could not be opened and counts as empty for this build ({last}); delete the directory if this stays",
            self.path.display()
        ));
        Reader::Absent
    }

    fn warn(&self, text: String) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn fail(&self, error: &rocksdb::Error) -> CacheError {
        CacheError::Records { path: self.path.clone(), message: error.to_string() }
    }

    /// Opens for writing; waits while another window is open.
    fn open_writer(&self) -> Result<DB, CacheError> {
        let start = Instant::now();
        let mut creating = options();
        creating.create_if_missing(true);
        creating.create_missing_column_families(true);
        let mut wait = Duration::from_millis(2);
        loop {
            // Families of newer formats are opened too: RocksDB demands it, and their values stay untouched.
            let mut families = DB::list_cf(&creating, &self.path).unwrap_or_default();
            if !families.iter().any(|family| family == FAMILY) {
                families.push(FAMILY.to_owned());
            }
            let families = families.into_iter().map(|family| (family, options()));
            match DB::open_cf_with_opts(&creating, &self.path, families) {
                Ok(db) => return Ok(db),
                Err(error) => {
                    let text = error.to_string();
                    let locked = text.contains("lock") || text.contains("No locks available");
                    if !locked || start.elapsed() > WRITE_PATIENCE {
                        return Err(self.fail(&error));
                    }
                }
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
    fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, CacheError> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Reader::Unopened = *reader {
            *reader = self.open_reader();
        }
        let Reader::Open(db) = &*reader else { return Ok(vec![None; keys.len()]) };
        let Some(family) = db.cf_handle(FAMILY) else { return Ok(vec![None; keys.len()]) };
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        let pinned = db.batched_multi_get_cf_opt(&family, keys, false, &options);
        pinned
            .into_iter()
            .map(|value| {
                value.map(|value| value.map(|bytes| bytes.to_vec())).map_err(|error| self.fail(&error))
            })
            .collect()
    }

    fn commit(&self, batch: Batch) -> Result<(), CacheError> {
        let db = self.open_writer()?;
        let family = db.cf_handle(FAMILY).expect("open_writer opens the family");
        let mut writes = WriteBatch::default();
        for (key, value) in &batch {
            writes.put_cf(&family, key, value);
        }
        // Without the log the flush is the only thing that has to reach the disk, and no later open replays a log.
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        db.write_opt(writes, &options).map_err(|error| self.fail(&error))?;
        db.flush_cf(&family).map_err(|error| self.fail(&error))?;
        drop(db);
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Reader::Unopened;
        Ok(())
    }

    fn maintain(&self) {
        let crowded = match &*self.reader.lock().unwrap_or_else(PoisonError::into_inner) {
            Reader::Open(db) => level_zero_files(db) > LEVEL_ZERO_LIMIT,
            Reader::Unopened => match self.open_reader() {
                Reader::Open(db) => level_zero_files(&db) > LEVEL_ZERO_LIMIT,
                _ => false,
            },
            Reader::Absent => false,
        };
        if crowded && let Ok(db) = self.open_writer() {
            if let Some(family) = db.cf_handle(FAMILY) {
                db.compact_range_cf(&family, None::<&[u8]>, None::<&[u8]>);
            }
            drop(db);
            *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Reader::Unopened;
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn level_zero_files(db: &DB) -> u64 {
    // A text property: RocksDB has no number for it.
    let property = rocksdb::properties::num_files_at_level(0);
    db.cf_handle(FAMILY)
        .and_then(|family| db.property_value_cf(&family, property).ok().flatten())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

fn thread_number() -> u32 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    std::thread::current().id().hash(&mut hasher);
    (hasher.finish() & 0xffff_ffff) as u32
}

/// What makes an open cheap and a window short; each line was measured or switches off a background habit.
fn options() -> Options {
    let mut options = Options::default();
    options.set_skip_stats_update_on_db_open(true);
    options.set_keep_log_file_num(1);
    options.set_log_level(LogLevel::Fatal);
    // Readers hold every file open, so another process's compaction cannot take one away.
    options.set_max_open_files(-1);
    options.set_write_buffer_size(64 << 20);
    options.set_max_background_jobs(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Compaction is ours to start, after the user has the result.
    options.set_disable_auto_compactions(true);
    // One level: a compaction merges all files into one. With several, files whose keys do not overlap would only
    // be moved down, and each would still cost every open.
    options.set_compaction_style(DBCompactionStyle::Universal);
    options.set_num_levels(1);
    options.set_level_zero_slowdown_writes_trigger(1 << 20);
    options.set_level_zero_stop_writes_trigger(1 << 20);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options
}
