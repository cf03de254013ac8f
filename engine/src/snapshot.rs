//! Deltas made real as directories, for commands to run on: the lower directories of overlay mounts.
//!
//! ```text
//! $SEALER_ROOT/snapshots/BOOT/DELTA/…    whiteouts and opaque marks as overlayfs has them
//! ```
//!
//! A delta is extracted once, whatever images and stages it stands in. Nothing here is synced: what a crash of the machine
//! may have left half-written belongs to another boot, and is not looked at again.

mod extract;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cache::{CacheError, OnceMap, Store};
use solver::TreeDigest;
use thiserror::Error;

pub(crate) use self::extract::{OPAQUE, extract as extract_into};
use crate::contents::{ContentError, Contents};
use crate::transport::TransportError;
use crate::tree::{TreeError, Trees};

/// Where snapshots are, in the store.
const DIR: &str = "snapshots";
/// Different after every start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A delta that cannot be made real.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// A directory object.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The bytes of a file.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The store.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A layer that cannot be read, or a file that cannot be written.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The file system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A layer does not have what its tree says.
    #[error("`{path}` is not in the layer it should be in")]
    Unfound {
        /// Path in the image.
        path: String,
    },
}

/// The snapshots of a store, as a build sees them.
#[derive(Debug)]
pub(crate) struct Snapshots<'a> {
    store: &'a Store,
    dir: OnceLock<PathBuf>,
    known: OnceMap<TreeDigest, PathBuf>,
}

impl<'a> Snapshots<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, dir: OnceLock::new(), known: OnceMap::default() }
    }

    /// The directory of a delta, extracted if it is not there yet.
    pub(crate) fn of(
        &self,
        trees: &Trees<'_>,
        contents: &Contents<'_>,
        delta: TreeDigest,
    ) -> Result<PathBuf, SnapshotError> {
        self.known.get_or_run(delta, || {
            let place = self.dir()?.join(delta.hex());
            if place.exists() {
                return Ok(place);
            }
            let fresh = self.store.tmp_dir()?.join(format!("snapshot-{}", delta.hex()));
            fs_err::create_dir(&fresh)?;
            extract::extract(&fresh, trees, contents, self.store, &delta)?;
            self.publish(&fresh, &place)?;
            Ok(place)
        })
    }

    /// Takes over a directory that holds a delta already; where its files are from now on.
    pub(crate) fn adopt(&self, delta: TreeDigest, from: &Path) -> Result<PathBuf, SnapshotError> {
        let place = self.dir()?.join(delta.hex());
        if place.exists() || fs_err::rename(from, &place).is_err() {
            // Another run has made the same; this one's files stay where they are until the build ends.
            return Ok(from.to_owned());
        }
        Ok(place)
    }

    fn publish(&self, fresh: &Path, place: &Path) -> io::Result<()> {
        match fs_err::rename(fresh, place) {
            // Another build was faster.
            Err(_) if place.exists() => fs_err::remove_dir_all(fresh),
            done => done,
        }
    }

    fn dir(&self) -> Result<&Path, SnapshotError> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir);
        }
        let all = self.store.root().join(DIR);
        let dir = all.join(fs_err::read_to_string(BOOT_ID)?.trim());
        if !dir.exists() {
            fs_err::create_dir_all(&dir)?;
            // Set-user-id programs of images are not for the users of this machine.
            fs_err::set_permissions(&all, std::fs::Permissions::from_mode(0o700))?;
        }
        Ok(self.dir.get_or_init(|| dir))
    }
}

/// Removes the snapshots of a store; how many bytes they were. The caller has the store alone.
///
/// # Errors
/// Those of the file system.
pub fn remove_all(store: &Store) -> io::Result<u64> {
    remove_tree(&store.root().join(DIR))
}

/// Removes a directory that may not be there; how many bytes its files were.
pub(crate) fn remove_tree(dir: &Path) -> io::Result<u64> {
    let bytes = size(dir)?;
    match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        done => done.map(|()| bytes),
    }
}

/// What the files of a store's snapshots take, in bytes.
///
/// # Errors
/// Those of the file system.
pub fn size_of_all(store: &Store) -> io::Result<u64> {
    size(&store.root().join(DIR))
}

/// What the files below a directory take; nothing if there is none.
pub(crate) fn size(dir: &Path) -> io::Result<u64> {
    let entries = match fs_err::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
