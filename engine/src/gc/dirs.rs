//! What commands leave beside blobs and records: extracted layers, and cache mounts. All of it costs time only.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cache::Store;

use crate::{cache_mounts, mounts, snapshot};

/// What a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirKind {
    /// A layer, extracted.
    Snapshot,
    /// What `RUN --mount=type=cache` keeps.
    Mount,
    /// An image, unpacked to be mounted, that is mounted no more.
    Rootfs,
}

impl DirKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Mount => "mount",
            Self::Rootfs => "rootfs",
        }
    }

    /// Why it may go, for people.
    pub fn why(self) -> &'static str {
        match self {
            Self::Snapshot | Self::Mount => "commands make it again when they need it",
            Self::Rootfs => "it is not mounted any more",
        }
    }
}

/// A directory of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDir {
    /// What it is called.
    pub id: String,
    /// What it is.
    pub kind: DirKind,
    /// What its files take, in bytes.
    pub size: u64,
    /// When it was last used.
    pub last_used: SystemTime,
    path: PathBuf,
}

/// Whether a store has any, as far as this user can tell.
pub fn has_dirs(root: &Path) -> bool {
    let of = [snapshot::dir_in(root), cache_mounts::dir_in(root), mounts::dir_of(root)];
    of.iter().any(|dir| fs_err::read_dir(dir).is_ok_and(|mut dirs| dirs.next().is_some()))
}

/// All of a store.
///
/// # Errors
/// Those of the file system.
pub(super) fn list(store: &Store) -> io::Result<Vec<KeptDir>> {
    let mut dirs = Vec::new();
    for boot in subdirs(&snapshot::dir_in(store.root()))? {
        for path in subdirs(&boot)? {
            dirs.push(kept(DirKind::Snapshot, path.clone(), &snapshot::mark_of(&path), &path)?);
        }
    }
    for path in subdirs(&cache_mounts::dir_in(store.root()))? {
        dirs.push(kept(DirKind::Mount, path.clone(), &cache_mounts::lock_of(&path), &path)?);
    }
    for path in subdirs(&mounts::dir_of(store.root()))?.into_iter().filter(|path| mounts::is_rest(path)) {
        dirs.push(kept(DirKind::Rootfs, path.clone(), &path, &path)?);
    }
    dirs.sort_by_key(|dir| (dir.last_used, dir.id.clone()));
    Ok(dirs)
}

/// Those to delete, oldest first: unused for so long, and only as many as bring a size below a limit.
pub(super) fn choose(
    dirs: &[KeptDir],
    unused_for: Duration,
    now: SystemTime,
    mut excess_bytes: Option<u64>,
) -> Vec<KeptDir> {
    let is_old = |dir: &&KeptDir| now.duration_since(dir.last_used).unwrap_or_default() >= unused_for;
    let mut is_wanted = |dir: &&KeptDir| match &mut excess_bytes {
        None => true,
        Some(0) => false,
        Some(excess) => {
            *excess = excess.saturating_sub(dir.size);
            true
        }
    };
    dirs.iter().filter(|dir| is_old(dir) && is_wanted(dir)).cloned().collect()
}

/// Deletes a directory. The store is open alone.
pub(super) fn remove(dir: &KeptDir) -> io::Result<()> {
    fs_err::remove_dir_all(&dir.path)?;
    there(fs_err::remove_file(snapshot::mark_of(&dir.path)))?;
    if let (DirKind::Snapshot, Some(boot)) = (dir.kind, dir.path.parent()) {
        // That of an earlier start of the machine goes with the last one in it.
        let _ = fs_err::remove_dir(boot);
    }
    Ok(())
}

fn kept(kind: DirKind, path: PathBuf, mark: &Path, counted: &Path) -> io::Result<KeptDir> {
    let marked = fs_err::metadata(mark).or_else(|_| fs_err::metadata(&path))?;
    let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(KeptDir { id, kind, size: size(counted, &mut HashSet::new())?, last_used: marked.modified()?, path })
}

fn subdirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in there(fs_err::read_dir(dir))?.into_iter().flatten() {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// What the files below a directory take; one with several names once. Commands may be at work in it, so what has gone
/// meanwhile takes nothing.
fn size(dir: &Path, seen: &mut HashSet<u64>) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in there(fs_err::read_dir(dir))?.into_iter().flatten() {
        let entry = entry?;
        let Some(metadata) = there(entry.metadata())? else { continue };
        bytes += match metadata.is_dir() {
            true => size(&entry.path(), seen)?,
            false if metadata.nlink() > 1 && !seen.insert(metadata.ino()) => 0,
            false => metadata.len(),
        };
    }
    Ok(bytes)
}

/// What was found; `None` for what is not there any more.
pub(super) fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_several_names_takes_its_size_once_and_what_is_gone_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        fs_err::create_dir(&sub).unwrap();
        fs_err::write(dir.path().join("one"), [0; 100]).unwrap();
        fs_err::write(dir.path().join("two"), [0; 10]).unwrap();
        (0..3).for_each(|n| fs_err::hard_link(dir.path().join("two"), sub.join(n.to_string())).unwrap());
        assert_eq!(size(dir.path(), &mut HashSet::new()).unwrap(), 110);
        assert_eq!(size(&dir.path().join("gone"), &mut HashSet::new()).unwrap(), 0);
    }

    #[test]
    fn the_oldest_go_until_it_is_enough() {
        let now = SystemTime::now();
        let dir = |id: &str, age: u64, size| KeptDir {
            id: id.to_owned(),
            kind: DirKind::Snapshot,
            size,
            last_used: now - Duration::from_secs(age),
            path: PathBuf::new(),
        };
        let dirs = [dir("old", 90, 10), dir("middle", 60, 10), dir("new", 1, 10)];
        let ids = |unused, excess| -> Vec<String> {
            let chosen = choose(&dirs, Duration::from_secs(unused), now, excess);
            chosen.into_iter().map(|dir| dir.id).collect()
        };
        assert_eq!(ids(0, None), ["old", "middle", "new"]);
        assert_eq!(ids(30, None), ["old", "middle"]);
        assert_eq!(ids(0, Some(5)), ["old"]);
        assert_eq!(ids(0, Some(0)), [""; 0]);
    }
}
