//! Lock files: who may do what to a store while others work on it.

use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use fs_err::{File, OpenOptions};

use crate::CacheError;

/// Held, shared, by every process that works on a store.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the lock shared; waits while somebody deletes. If nobody else holds it, `alone` runs first, with the lock
    /// held exclusively.
    pub(crate) fn shared(root: &Path, alone: impl FnOnce()) -> Result<Self, CacheError> {
        let file = open(&root.join("lock"))?;
        match file.file().try_lock() {
            // The conversion lets go of the lock for a moment; nothing that `alone` did has to be held for.
            Ok(()) => alone(),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        share(&file)?;
        Ok(Self { _file: file })
    }

    /// Takes the lock exclusively: at once, or with `wait` as soon as nobody else is at work.
    pub(crate) fn alone(root: &Path, wait: bool) -> Result<Self, CacheError> {
        let file = open(&root.join("lock"))?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if wait => waiting(|| file.lock())?,
            Err(TryLockError::WouldBlock) => {
                return Err(CacheError::Busy { path: root.to_owned(), count: holders(&file).max(1) });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Self { _file: file })
    }

    /// Takes the lock shared for looking only: nothing is created, and a store one may not lock is looked at without.
    pub(crate) fn shared_existing(root: &Path) -> Result<Option<Self>, CacheError> {
        match File::open(root.join("lock")) {
            Ok(file) => {
                share(&file)?;
                Ok(Some(Self { _file: file }))
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether this process waits for a store that somebody else has alone. Nothing of its work is begun then: whoever is to end
/// may do so at once.
pub fn is_waiting() -> &'static Arc<AtomicBool> {
    static IS_WAITING: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
    &IS_WAITING
}

fn waiting<T>(wait: impl FnOnce() -> T) -> T {
    is_waiting().store(true, Ordering::Relaxed);
    let waited = wait();
    is_waiting().store(false, Ordering::Relaxed);
    waited
}

fn share(file: &File) -> io::Result<()> {
    match file.file().try_lock_shared() {
        Err(TryLockError::WouldBlock) => waiting(|| file.lock_shared()),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    }
}

/// Held, alone, while `index.json` is read, changed and renamed.
#[derive(Debug)]
pub struct IndexLock {
    _file: File,
}

impl IndexLock {
    /// Waits for the lock of a store's index.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn acquire(root: &Path) -> Result<Self, CacheError> {
        let file = open(&root.join("index.lock"))?;
        file.lock()?;
        Ok(Self { _file: file })
    }
}

/// How many processes hold a lock, as /proc/locks tells (proc(5)).
fn holders(file: &File) -> usize {
    use std::os::unix::fs::MetadataExt;
    let (Ok(metadata), Ok(locks)) = (file.metadata(), fs_err::read_to_string("/proc/locks")) else {
        return 0;
    };
    let inode = format!(":{}", metadata.ino());
    let holds = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("FLOCK") && words.nth(3).is_some_and(|place| place.ends_with(&inode))
    };
    locks.lines().filter(holds).count()
}

fn open(path: &Path) -> Result<File, CacheError> {
    Ok(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?)
}
