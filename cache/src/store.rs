//! A store: blobs and records in one directory, with one commit point a build.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lock::StoreLock;
use crate::{BlobStore, CacheError, Flight, Records, RocksRecords, Table, WorkLock, codec, tmp};

/// The format of the directory as a whole; what is in `db/` has formats of its own.
const STORE_VERSION: u64 = 1;
const VERSION_FILE: &str = "version";
const LAYOUT_FILE: &str = "oci-layout";
/// What `oci-layout` holds (image-spec, image layout).
const OCI_LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// An open store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    blobs: BlobStore,
    records: Box<dyn Records>,
    pending: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Values that are written when something else is, and otherwise forgotten.
    soft: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    warnings: Mutex<Vec<String>>,
    flight: Mutex<Option<Flight>>,
    words: Words,
    /// Last, so that the blobs have removed their files before another process may find itself alone.
    _lock: Option<StoreLock>,
}

impl Store {
    /// Opens a store, creating what is missing, and takes its lock shared. If nobody else is at work, leftovers of
    /// killed processes are swept.
    ///
    /// # Errors
    /// When it cannot be created, or a newer sealer wrote it.
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        let is_new = !fs_err::exists(root.join(LAYOUT_FILE))?;
        if is_new {
            for dir in ["blobs/sha256", "used", "tmp"] {
                fs_err::create_dir_all(root.join(dir))?;
            }
        } else {
            check_version(root)?;
        }
        let lock = StoreLock::shared(root, || tmp::sweep(&root.join("tmp")))?;
        let store = Self::with_lock(root, Some(lock));
        if is_new {
            store.create()?;
        }
        Ok(store)
    }

    /// Opens a store whose records are kept elsewhere than in its `db/`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(root: &Path, records: Box<dyn Records>) -> Result<Self, CacheError> {
        Ok(Self { records, ..Self::open(root)? })
    }

    /// Opens a store for looking at it; `None` when there is none. Creates and sweeps nothing.
    ///
    /// # Errors
    /// When a newer sealer wrote it.
    pub fn open_existing(root: &Path) -> Result<Option<Self>, CacheError> {
        if !fs_err::exists(root.join(LAYOUT_FILE))? {
            return Ok(None);
        }
        check_version(root)?;
        Ok(Some(Self::with_lock(root, StoreLock::shared_existing(root)?)))
    }

    /// Opens a store to delete from it: nobody else is at work then. `None` when there is none. With `wait` it waits for
    /// the others.
    ///
    /// # Errors
    /// [`CacheError::Busy`], or when a newer sealer wrote the store.
    pub fn open_alone(root: &Path, wait: bool) -> Result<Option<Self>, CacheError> {
        if !fs_err::exists(root.join(LAYOUT_FILE))? {
            return Ok(None);
        }
        check_version(root)?;
        let lock = StoreLock::alone(root, wait)?;
        tmp::sweep(&root.join("tmp"));
        Ok(Some(Self::with_lock(root, Some(lock))))
    }

    fn with_lock(root: &Path, lock: Option<StoreLock>) -> Self {
        Self {
            root: root.to_owned(),
            blobs: BlobStore::new(root),
            records: Box::new(RocksRecords::new(&root.join("db"))),
            pending: Mutex::default(),
            soft: Mutex::default(),
            warnings: Mutex::default(),
            flight: Mutex::default(),
            words: Words::default(),
            _lock: lock,
        }
    }

    /// Two processes may create one store: each file appears whole, whoever wins. The layout file is the last: where
    /// it is, all is.
    fn create(&self) -> Result<(), CacheError> {
        if fs_err::exists(self.root.join(VERSION_FILE))? {
            check_version(&self.root)?;
        } else {
            self.write_whole(VERSION_FILE, &STORE_VERSION.to_string())?;
        }
        self.write_whole(LAYOUT_FILE, OCI_LAYOUT)
    }

    fn write_whole(&self, name: &str, text: &str) -> Result<(), CacheError> {
        let tmp = self.tmp_dir()?.join(name);
        let mut file = fs_err::File::create(&tmp)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(fs_err::rename(tmp, self.root.join(name))?)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether no record was ever kept.
    pub fn is_blank(&self) -> bool {
        self.records.is_blank()
    }

    /// Does what the first look at a record would do before it looks: a millisecond, for a thread that has nothing else to do.
    pub fn prepare(&self) {
        self.records.prepare();
    }

    /// The blobs.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// A directory for this open store alone, on the file system of the blobs; gone when the store is closed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn tmp_dir(&self) -> Result<PathBuf, CacheError> {
        self.blobs.tmp_dir()
    }

    /// Announces the keys of steps that this process is about to make, until its next commit is done, or until
    /// [`Store::land`]. If others are at some of them already, `waits` hears of it, and it returns when they have ended, or
    /// when `is_over` says that it is not worth it any more. Whether there may be more records than before.
    ///
    /// # Errors
    /// When the announcement cannot be written.
    pub fn announce(
        &self,
        keys: &[[u8; 32]],
        waits: impl FnOnce(),
        is_over: &dyn Fn() -> bool,
    ) -> Result<bool, CacheError> {
        let already = self.flight.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut flight = Flight::announce(&self.root, &self.tmp_dir()?, already, keys)?;
        if flight.is_second() {
            waits();
            flight.wait(is_over)?;
        }
        *self.flight.lock().unwrap_or_else(PoisonError::into_inner) = Some(flight);
        // Somebody may have ended between the first look and the announcement.
        Ok(self.records.refresh())
    }

    /// Takes the announcement back.
    pub fn land(&self) {
        *self.flight.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits for a piece of work that only one process at a time should do. `None` when `is_over` says that it is not
    /// worth it any more.
    ///
    /// # Errors
    /// When its lock file cannot be made.
    pub fn lock_work(
        &self,
        key: &[u8; 32],
        is_over: &dyn Fn() -> bool,
    ) -> Result<Option<WorkLock>, CacheError> {
        let dir = self.root.join("tmp");
        fs_err::create_dir_all(&dir)?;
        WorkLock::acquire(dir.join(format!("work-{}", hex::encode(key))), is_over)
    }

    /// Leaves a word for whoever waits for a piece of work, or comes for it before this process has committed.
    pub fn leave_word(&self, lock: &mut WorkLock, value: &impl Serialize) {
        lock.leave(value);
        self.words.0.lock().unwrap_or_else(PoisonError::into_inner).push(lock.path().to_owned());
    }

    /// Sees what others have committed since the first look.
    pub fn refresh(&self) {
        self.records.refresh();
    }

    /// A value; `None` when there is none, or what is there cannot be read.
    pub fn get<V: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Option<V> {
        codec::decode(&self.get_bytes(table, key)?)
    }

    /// Many values at once.
    pub fn get_many<V: DeserializeOwned>(&self, table: Table, keys: &[&[u8]]) -> Vec<Option<V>> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| table.key(key)).collect();
        self.get_raw(&keys).into_iter().map(|bytes| codec::decode(&bytes?)).collect()
    }

    /// Bytes that carry a format of their own.
    pub fn get_bytes(&self, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        self.get_raw(&[table.key(key)]).pop().flatten()
    }

    /// Keeps a value for the commit.
    pub fn put<V: Serialize>(&self, table: Table, key: &[u8], value: &V) {
        self.put_bytes(table, key, codec::encode(value));
    }

    /// Keeps a value for the commit, if there is one: alone it is not worth opening the database for writing. It is not
    /// read back before.
    pub fn put_soft<V: Serialize>(&self, table: Table, key: &[u8], value: &V) {
        self.lock_soft().insert(table.key(key), codec::encode(value));
    }

    /// Makes what was kept softly worth a commit of its own.
    pub fn keep_soft(&self) {
        let mut soft = std::mem::take(&mut *self.lock_soft());
        self.lock_pending().append(&mut soft);
    }

    /// Keeps bytes for the commit.
    pub fn put_bytes(&self, table: Table, key: &[u8], value: Vec<u8>) {
        self.lock_pending().insert(table.key(key), value);
    }

    /// What the user should know.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.records.warnings();
        warnings.extend(self.warnings.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        warnings
    }

    /// The one commit point: pending blobs become durable and get their names, `publish` makes the image known, then
    /// records follow. With nothing pending only `publish` runs. Records that cannot be written are a warning: the image is
    /// there, and only time is lost.
    ///
    /// # Errors
    /// When blobs cannot be made durable, or what `publish` returns.
    pub fn commit<E: From<CacheError>>(&self, publish: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        self.blobs.commit(&self.root)?;
        publish()?;
        // Held until the records can be read from the database: in between nothing would be found.
        let mut pending = self.lock_pending();
        if pending.is_empty() {
            self.land();
            return Ok(());
        }
        pending.append(&mut self.lock_soft());
        let batch = std::mem::take(&mut *pending).into_iter().collect();
        if let Err(error) = self.records.commit(batch) {
            self.warn(format!("nothing of this build could be put into the cache: {error}"));
        }
        self.land();
        Ok(())
    }

    /// Work that may wait until the user has the result.
    pub fn maintain(&self) {
        self.records.maintain();
    }

    /// Deletes a database that cannot be read; whether there was one. The store is open alone.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub fn heal_records(&self) -> Result<bool, CacheError> {
        self.records.heal()
    }

    /// Shows every value of a table that is in the database. `None` stands for what cannot be read.
    ///
    /// # Errors
    /// When the database fails.
    pub fn scan<V: DeserializeOwned>(
        &self,
        table: Table,
        visit: &mut dyn FnMut(&[u8], Option<V>),
    ) -> Result<(), CacheError> {
        self.records.scan(&table.key(&[]), &mut |key, value| visit(&key[1..], codec::decode(value)))
    }

    /// Shows every key of a table that is in the database.
    ///
    /// # Errors
    /// When the database fails.
    pub fn scan_keys(&self, table: Table, visit: &mut dyn FnMut(&[u8])) -> Result<(), CacheError> {
        self.records.scan(&table.key(&[]), &mut |key, _| visit(&key[1..]))
    }

    /// Forgets records, now. The store is open alone.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget(&self, keys: &[(Table, Vec<u8>)]) -> Result<(), CacheError> {
        if keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<Vec<u8>> = keys.iter().map(|(table, key)| table.key(key)).collect();
        self.records.forget(&keys)
    }

    /// When a root was last used, as [`Store::touch_root`] has noted.
    pub fn root_used(&self, key: &str) -> Option<SystemTime> {
        fs_err::metadata(self.root.join("used").join(key)).ok()?.modified().ok()
    }

    /// Forgets when roots were used that are no more.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn retain_roots(&self, is_kept: impl Fn(&str) -> bool) -> Result<(), CacheError> {
        for entry in fs_err::read_dir(self.root.join("used"))? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&is_kept) {
                fs_err::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Notes that a root was used now. Not durable and never an error: it only guides what is pruned first. A key is
    /// lower-case hexadecimal digits; another one is not noted.
    pub fn touch_root(&self, key: &str) {
        if key.is_empty() || !key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return;
        }
        let path = self.root.join("used").join(key);
        let now = SystemTime::now();
        if let Ok(file) = fs_err::OpenOptions::new().create(true).append(true).open(path) {
            let _ = file.file().set_modified(now);
        }
    }

    fn get_raw(&self, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let mut values: Vec<Option<Vec<u8>>> = {
            let pending = self.lock_pending();
            keys.iter().map(|key| pending.get(key).cloned()).collect()
        };
        let missing: Vec<usize> = (0..keys.len()).filter(|&i| values[i].is_none()).collect();
        if missing.is_empty() {
            return values;
        }
        let asked: Vec<Vec<u8>> = missing.iter().map(|&i| keys[i].clone()).collect();
        match self.records.get_many(&asked) {
            Ok(found) => missing.into_iter().zip(found).for_each(|(i, value)| values[i] = value),
            // A damaged database is a miss; the build says so once.
            Err(error) => self.warn(format!("{error}; counted as not cached")),
        }
        values
    }

    fn warn(&self, text: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    fn lock_soft(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.soft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_pending(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Words left for other processes, which nobody needs once this one has committed.
#[derive(Debug, Default)]
struct Words(Mutex<Vec<PathBuf>>);

impl Drop for Words {
    fn drop(&mut self) {
        for word in self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // What stays is swept by the next process that finds itself alone.
            let _ = fs_err::remove_file(word);
        }
    }
}

fn check_version(root: &Path) -> Result<(), CacheError> {
    let path = root.join(VERSION_FILE);
    let found = fs_err::read_to_string(&path)?;
    let found = found.trim().parse().map_err(|_| CacheError::Version { path })?;
    if found > STORE_VERSION {
        return Err(CacheError::NewerStore { path: root.to_owned(), found, known: STORE_VERSION });
    }
    Ok(())
}
