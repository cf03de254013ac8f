//! A store: blobs and records in one directory, with one commit point a build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lock::StoreLock;
use crate::{BlobStore, CacheError, Records, RocksRecords, Table, codec};

/// The format of the directory as a whole; what is in `db/` has formats of its own.
const STORE_VERSION: u64 = 1;
/// `oci-layout` (image-spec, image layout).
const OCI_LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";

/// An open store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    tmp: PathBuf,
    blobs: BlobStore,
    records: Box<dyn Records>,
    pending: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    warnings: Mutex<Vec<String>>,
    _lock: StoreLock,
}

impl Store {
    /// Opens a store, creating what is missing, and takes its lock shared. If nobody else is at work, leftovers of
    /// killed processes are swept.
    ///
    /// # Errors
    /// When it cannot be created, or a newer sealer wrote it.
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        if !root.join("oci-layout").exists() {
            fs_err::create_dir_all(root.join("blobs/sha256"))?;
            fs_err::create_dir_all(root.join("used"))?;
            fs_err::create_dir_all(root.join("tmp"))?;
            // Two processes may create one store: each file appears whole, whoever wins.
            write_whole(&root.join("version"), &STORE_VERSION.to_string())?;
            write_whole(&root.join("oci-layout"), OCI_LAYOUT)?;
        }
        Self::lock_existing(root)
    }

    /// Opens a store for looking at it; `None` when there is none.
    ///
    /// # Errors
    /// When a newer sealer wrote it.
    pub fn open_existing(root: &Path) -> Result<Option<Self>, CacheError> {
        if !root.join("oci-layout").exists() {
            return Ok(None);
        }
        Self::lock_existing(root).map(Some)
    }

    fn lock_existing(root: &Path) -> Result<Self, CacheError> {
        let version = root.join("version");
        let found = fs_err::read_to_string(&version)?;
        let found = found.trim().parse().map_err(|_| CacheError::Version { path: version })?;
        if found > STORE_VERSION {
            return Err(CacheError::NewerStore { path: root.to_owned(), found, known: STORE_VERSION });
        }
        let lock = StoreLock::shared(root, || sweep(&root.join("tmp")))?;
        let tmp = root.join("tmp").join(own_name());
        Ok(Self {
            root: root.to_owned(),
            blobs: BlobStore::new(root, tmp.clone()),
            tmp,
            records: Box::new(RocksRecords::new(&root.join("db"))),
            pending: Mutex::default(),
            warnings: Mutex::default(),
            _lock: lock,
        })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The blobs.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// A directory for this process alone, on the file system of the blobs; gone when the store is closed.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn tmp_dir(&self) -> Result<PathBuf, CacheError> {
        fs_err::create_dir_all(&self.tmp)?;
        Ok(self.tmp.clone())
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
    /// records follow. Nothing pending costs nothing. Records that cannot be written are a warning: the image is
    /// there, and only time is lost.
    ///
    /// # Errors
    /// When blobs cannot be made durable, or what `publish` returns.
    pub fn commit<E: From<CacheError>>(&self, publish: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.blobs.has_pending() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir =
                rustix::fs::open(&self.root, flags, Mode::empty()).map_err(|e| CacheError::Io(e.into()))?;
            rustix::fs::syncfs(&dir).map_err(|e| CacheError::Io(e.into()))?;
            self.blobs.publish()?;
        }
        publish()?;
        let batch: Vec<_> = std::mem::take(&mut *self.lock_pending()).into_iter().collect();
        if !batch.is_empty()
            && let Err(error) = self.records.commit(batch)
        {
            let text = format!("nothing of this build could be put into the cache: {error}");
            self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        Ok(())
    }

    /// Work that may wait until the user has the result.
    pub fn maintain(&self) {
        self.records.maintain();
    }

    /// Notes that a root was used now. Not durable and never an error: it only guides what is pruned first.
    pub fn touch_root(&self, key: &str) {
        let path = self.root.join("used").join(key);
        let now = std::time::SystemTime::now();
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
            Err(error) => {
                let text = format!("{error}; counted as not cached");
                let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                if !warnings.contains(&text) {
                    warnings.push(text);
                }
            }
        }
        values
    }

    fn lock_pending(&self) -> std::sync::MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.tmp.exists() {
            // What stays is swept by the next process that finds itself alone.
            let _ = fs_err::remove_dir_all(&self.tmp);
        }
    }
}

fn sweep(tmp: &Path) {
    let Ok(leftovers) = fs_err::read_dir(tmp) else { return };
    for leftover in leftovers.flatten() {
        // What cannot be removed now is in nobody's way.
        let _ = fs_err::remove_dir_all(leftover.path());
    }
}

/// A name no other store of this or another running process has.
fn own_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn write_whole(path: &Path, text: &str) -> Result<(), CacheError> {
    let tmp = path.with_extension(own_name());
    fs_err::write(&tmp, text)?;
    Ok(fs_err::rename(tmp, path)?)
}
