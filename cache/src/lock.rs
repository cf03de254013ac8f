//! Lock files: who may do what to a store while others work on it.

use std::fs::TryLockError;
use std::path::Path;

use fs_err::{File, OpenOptions};

use crate::CacheError;

/// Held, shared, by every process that works on a store.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the lock shared. If nobody else holds it, `alone` runs first, with the lock held exclusively.
    pub(crate) fn shared(root: &Path, alone: impl FnOnce()) -> Result<Self, CacheError> {
        let file = open(&root.join("lock"))?;
        match file.file().try_lock() {
            Ok(()) => {
                alone();
                // On Linux a lock is converted in place.
                file.file().lock_shared()?;
            }
            Err(TryLockError::WouldBlock) => file.file().lock_shared()?,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Self { _file: file })
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
        file.file().lock()?;
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> Result<File, CacheError> {
    Ok(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?)
}
