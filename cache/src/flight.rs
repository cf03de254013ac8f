//! Single flight across processes: equal work that several builds have at hand is done by one of them (design §8).
//!
//! A build announces the keys of the steps it is about to make, in a file of its own directory below `tmp/` that it
//! holds locked until its results can be read. Whoever announces later waits for those before it that have keys of its
//! own, and for nobody else: waiting always leads to somebody earlier, so nobody waits in a circle. A lock ends with
//! its process, however it ends.

use std::collections::HashSet;
use std::fs::{Metadata, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err::{File, OpenOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CacheError, codec};

/// Name of an announcement in its process's directory.
const FILE: &str = "flight";
/// How often a waiting process looks whether it should still wait.
const INTERVAL: Duration = Duration::from_millis(10);

/// Keys this process makes, announced until it is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    own: File,
    /// Announcements of others, made before this one, that have keys of it.
    before: Vec<File>,
}

impl Flight {
    /// Announces keys. `own` is a directory of this process below `tmp`; what it has announced `already` stays so.
    ///
    /// Work comes in turns: the keys of a later turn are no one's of an earlier one, and who waits in one turn has not
    /// announced the next. So this, too, leads to no circle.
    pub(crate) fn announce(
        root: &Path,
        own: &Path,
        already: Option<Self>,
        keys: &[[u8; 32]],
    ) -> Result<Self, CacheError> {
        let order = lock_file(&root.join("flight.lock"))?;
        order.file().lock()?;
        let mine: HashSet<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
        let mut before = Vec::new();
        for dir in fs_err::read_dir(root.join("tmp"))? {
            let dir = dir?.path();
            let Ok(mut file) = File::open(dir.join(FILE)) else { continue };
            if dir == own {
                continue;
            }
            // Whoever does not hold its announcement has ended.
            if !matches!(file.file().try_lock_shared(), Err(TryLockError::WouldBlock)) {
                continue;
            }
            let mut theirs = Vec::new();
            file.read_to_end(&mut theirs)?;
            if theirs.chunks_exact(32).any(|key| mine.contains(key)) {
                before.push(file);
            }
        }
        let mut own = match already {
            Some(already) => already.own,
            None => {
                let file = lock_file(&own.join(FILE))?;
                file.file().lock()?;
                file
            }
        };
        own.write_all(keys.as_flattened())?;
        Ok(Self { own, before })
    }

    /// Whether others were first.
    pub(crate) fn is_second(&self) -> bool {
        !self.before.is_empty()
    }

    /// Waits until those that were first have ended, or `is_over` says that it is not worth it any more.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub(crate) fn wait(&mut self, is_over: &dyn Fn() -> bool) -> Result<(), CacheError> {
        while let Some(file) = self.before.last() {
            match file.file().try_lock_shared() {
                Ok(()) => _ = self.before.pop(),
                Err(TryLockError::WouldBlock) if is_over() => return Ok(()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(INTERVAL),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Held, alone, by the one process that does a piece of work; it can leave a word for whoever comes next.
#[derive(Debug)]
pub struct WorkLock {
    path: PathBuf,
    file: File,
}

impl Drop for WorkLock {
    fn drop(&mut self) {
        // With a word in it, it stays for those that come before the word's writer has committed; the store removes it then.
        if self.file.metadata().is_ok_and(|file| file.len() == 0) {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

impl WorkLock {
    /// Waits for a piece of work. `None` when `is_over` says that it is not worth it any more.
    pub(crate) fn acquire(path: PathBuf, is_over: &dyn Fn() -> bool) -> Result<Option<Self>, CacheError> {
        let mut file = lock_file(&path)?;
        loop {
            match file.file().try_lock() {
                Ok(()) if stands_at(&file, &path) => return Ok(Some(Self { path, file })),
                // Whoever had it has removed it: who comes now locks another file.
                Ok(()) => file = lock_file(&path)?,
                Err(TryLockError::WouldBlock) if is_over() => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(INTERVAL),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }

    /// What the last holder left; `None` if nothing.
    pub fn word<V: DeserializeOwned>(&mut self) -> Option<V> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).ok()?;
        codec::decode(&bytes)
    }

    /// Where the word stands.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves a word. If that fails, the next one does the work again.
    pub(crate) fn leave(&mut self, value: &impl Serialize) {
        let mut leave = || -> io::Result<()> {
            use std::io::Seek;
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(&codec::encode(value))
        };
        let _ = leave();
    }
}

/// Whether an open file is still the one under its name.
fn stands_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let (own, there) = (file.metadata().map(identity), fs_err::metadata(path).map(identity));
    own.is_ok_and(|own| there.is_ok_and(|there| own == there))
}

fn lock_file(path: &Path) -> Result<File, CacheError> {
    Ok(OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(root: &Path, name: &str, keys: &[u8]) -> Flight {
        announced_too(root, name, None, keys)
    }

    fn announced_too(root: &Path, name: &str, already: Option<Flight>, keys: &[u8]) -> Flight {
        let own = root.join("tmp").join(name);
        fs_err::create_dir_all(&own).unwrap();
        let keys: Vec<[u8; 32]> = keys.iter().map(|key| [*key; 32]).collect();
        Flight::announce(root, &own, already, &keys).unwrap()
    }

    #[test]
    fn who_comes_later_waits_for_who_makes_the_same() {
        let root = tempfile::tempdir().unwrap();
        let first = announced(root.path(), "1", &[1, 2]);
        assert!(!first.is_second());
        assert!(!announced(root.path(), "2", &[3]).is_second(), "other work is nobody's business");
        let mut third = announced(root.path(), "3", &[2, 3]);
        assert!(third.is_second());
        third.wait(&|| true).unwrap();
        assert!(third.is_second(), "the first is still at it");
        drop(first);
        third.wait(&|| false).unwrap();
        assert!(!third.is_second());
        drop(third);
        assert!(!announced(root.path(), "4", &[1, 2, 3]).is_second(), "what was left behind is not held");
    }

    #[test]
    fn a_later_turn_is_announced_beside_the_first() {
        let root = tempfile::tempdir().unwrap();
        let first = announced(root.path(), "1", &[1]);
        let first = announced_too(root.path(), "1", Some(first), &[7]);
        assert!(!first.is_second(), "nobody waits for himself");
        assert!(announced(root.path(), "2", &[1]).is_second());
        assert!(announced(root.path(), "3", &[7]).is_second());
    }

    #[test]
    fn who_waited_for_a_lock_that_was_removed_has_the_one_that_others_see() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("work");
        let first = std::cell::RefCell::new(WorkLock::acquire(path.clone(), &|| true).unwrap());
        let ends_meanwhile = || first.take().is_none();
        let second = WorkLock::acquire(path.clone(), &ends_meanwhile).unwrap();
        assert!(second.is_some());
        assert!(WorkLock::acquire(path, &|| true).unwrap().is_none(), "it is held");
    }

    #[test]
    fn a_word_is_left_for_those_that_wait() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("work");
        let acquire = |is_over: bool| WorkLock::acquire(path.clone(), &move || is_over).unwrap();
        let mut first = acquire(true).unwrap();
        assert_eq!(first.word::<String>(), None);
        assert!(acquire(true).is_none(), "it is held");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| acquire(false).unwrap().word::<String>());
            std::thread::sleep(INTERVAL * 5);
            first.leave(&"longer than the next".to_owned());
            first.leave(&"done".to_owned());
            drop(first);
            assert_eq!(second.join().unwrap().as_deref(), Some("done"));
        });
        assert!(path.exists(), "for those that come later");
        fs_err::remove_file(&path).unwrap();
        drop(acquire(true));
        assert!(!path.exists(), "without a word nobody needs it");
    }
}
