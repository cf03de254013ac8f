//! A directory below `tmp/` that no other process has.
//!
//! A process id does not make a name unique: builds in containers that share a store are all process 1. Whoever
//! makes the directory owns it; `mkdir` decides.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Made when first asked for, removed with all it holds when dropped.
#[derive(Debug)]
pub(crate) struct TmpDir {
    parent: PathBuf,
    own: Mutex<Option<PathBuf>>,
}

impl TmpDir {
    pub(crate) fn new(parent: PathBuf) -> Self {
        Self { parent, own: Mutex::default() }
    }

    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &*own {
            return Ok(path.clone());
        }
        fs_err::create_dir_all(&self.parent)?;
        Ok(own.insert(make(&self.parent)?).clone())
    }
}

impl Drop for TmpDir {
    fn drop(&mut self) {
        if let Some(path) = self.own.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // What stays is swept by the next process that finds itself alone.
            let _ = fs_err::remove_dir_all(path);
        }
    }
}

fn make(parent: &Path) -> io::Result<PathBuf> {
    let mut number = 0_u64;
    loop {
        let path = parent.join(format!("{}-{number}", std::process::id()));
        match fs_err::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|()| path),
        }
    }
}

/// Removes everything below `tmp/`. The caller knows that nobody is at work.
pub(crate) fn sweep(tmp: &Path) {
    let Ok(leftovers) = fs_err::read_dir(tmp) else { return };
    for leftover in leftovers.flatten() {
        // What cannot be removed now is in nobody's way.
        let _ = match leftover.file_type() {
            Ok(kind) if kind.is_dir() => fs_err::remove_dir_all(leftover.path()),
            _ => fs_err::remove_file(leftover.path()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_owners_of_one_process_id_never_share_a_directory() {
        let parent = tempfile::tempdir().unwrap();
        let (first, second) = (TmpDir::new(parent.path().to_owned()), TmpDir::new(parent.path().to_owned()));
        assert_ne!(first.path().unwrap(), second.path().unwrap());
        assert_eq!(first.path().unwrap(), first.path().unwrap(), "an owner keeps its directory");
        let kept = second.path().unwrap();
        drop(first);
        assert!(kept.exists());
        assert_eq!(fs_err::read_dir(parent.path()).unwrap().count(), 1);
    }
}
