//! Deltas made real as directories, for commands to run on: the lower directories of overlay mounts.
//!
//! ```text
//! $SEALER_ROOT/snapshots/BOOT[-USERS]/DELTA[-LINKS]/…    whiteouts and opaque marks as overlayfs has them
//! ```
//!
//! Owners stand in them as this process's user namespace has them; one with other users has snapshots of its own.
//! A delta is extracted once, whatever images and stages it stands in. Nothing here is synced: what a crash of the machine
//! may have left half-written belongs to another boot, and is not looked at again.

mod extract;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use cache::{CacheError, OnceMap, Store};
use solver::{HardLinks, Hasher, TreeDigest};
use thiserror::Error;

pub(crate) use self::extract::{OPAQUE, Wanted, extract as extract_into};
use crate::contents::{ContentError, Contents};
use crate::layer::TimePolicy;
use crate::transport::TransportError;
use crate::tree::{TreeError, Trees};

/// Where snapshots are, in the store.
const DIR: &str = "snapshots";
/// Different after every start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What users and groups of this process's namespace are outside of it (user_namespaces(7)).
const USER_MAPS: [&str; 2] = ["/proc/self/uid_map", "/proc/self/gid_map"];
/// Such a map of the first namespace.
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

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
    times: TimePolicy,
    dir: OnceLock<PathBuf>,
    known: OnceMap<String, PathBuf>,
}

impl<'a> Snapshots<'a> {
    pub(crate) fn new(store: &'a Store, times: TimePolicy) -> Self {
        Self { store, times, dir: OnceLock::new(), known: OnceMap::default() }
    }

    /// The directory of a delta, extracted if it is not there yet. Of a delta that differs in which files are one, another.
    pub(crate) fn of(
        &self,
        trees: &Trees<'_>,
        contents: &Contents<'_>,
        delta: TreeDigest,
        links: &HardLinks,
    ) -> Result<PathBuf, SnapshotError> {
        let name = name_of(&delta, links);
        self.known.get_or_run(name.clone(), || {
            let place = self.dir()?.join(name);
            touch(&place);
            if place.exists() {
                return Ok(place);
            }
            let fresh = tempfile::Builder::new()
                .prefix("snapshot-")
                .permissions(std::fs::Permissions::from_mode(0o755))
                .tempdir_in(self.store.tmp_dir()?)?;
            let wanted = Wanted { delta: &delta, links, times: self.times };
            extract::extract(fresh.path(), trees, contents, self.store, &wanted)?;
            self.publish(&fresh.keep(), &place)?;
            Ok(place)
        })
    }

    /// Takes over a directory that holds a delta already; where its files are from now on.
    pub(crate) fn adopt(
        &self,
        delta: TreeDigest,
        links: &HardLinks,
        from: &Path,
    ) -> Result<PathBuf, SnapshotError> {
        let place = self.dir()?.join(name_of(&delta, links));
        if place.exists() || fs_err::rename(from, &place).is_err() {
            // Another run has made the same; this one's files stay where they are until the build ends.
            return Ok(from.to_owned());
        }
        touch(&place);
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
        let all = dir_in(self.store.root());
        let dir = all.join(format!("{}{}", boot_id()?, users()?));
        if !dir.exists() {
            fs_err::create_dir_all(&dir)?;
            // Set-user-id programs of images are not for the users of this machine.
            fs_err::set_permissions(&all, std::fs::Permissions::from_mode(0o700))?;
        }
        // Overlay mounts name their directories from elsewhere.
        let dir = fs_err::canonicalize(dir)?;
        Ok(self.dir.get_or_init(|| dir))
    }
}

fn name_of(delta: &TreeDigest, links: &HardLinks) -> String {
    if links.0.is_empty() {
        return delta.hex();
    }
    let mut hasher = Hasher::new("links");
    links.feed(&mut hasher);
    format!("{}-{}", delta.hex(), hex::encode(&hasher.finish()[..8]))
}

/// Which start of the machine this is.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs_err::read_to_string(BOOT_ID)?.trim().to_owned())
}

/// Whose numbers the owners of files are, as the end of a name: nothing where they are this machine's own.
fn users() -> io::Result<String> {
    let maps = USER_MAPS.iter().map(fs_err::read_to_string).collect::<io::Result<Vec<_>>>()?;
    let is_machine = maps.iter().all(|map| map.split_whitespace().eq(ALL_USERS));
    let digest = || blake3::hash(maps.concat().as_bytes()).to_hex();
    Ok(if is_machine { String::new() } else { format!("-{}", &digest()[..16]) })
}

/// Where the snapshots of a store are: by boot and users, then by delta.
pub(crate) fn dir_in(root: &Path) -> PathBuf {
    root.join(DIR)
}

/// The file whose modification time says when a snapshot was last used.
pub(crate) fn mark_of(snapshot: &Path) -> PathBuf {
    snapshot.with_extension("used")
}

/// Notes that a snapshot is used now. Never an error: it only guides what is pruned first.
fn touch(snapshot: &Path) {
    let marked = fs_err::OpenOptions::new().create(true).append(true).open(mark_of(snapshot));
    let _ = marked.map(|file| file.file().set_modified(SystemTime::now()));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::contents::{Location, content_digest};
    use crate::tree::{Directory, Entry, Meta, Node};

    #[test]
    fn what_could_not_be_extracted_leaves_nothing_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (trees, contents) = (Trees::new(&store), Contents::new(&store, false));
        let content = content_digest(b"here");
        let file = Entry { meta: Meta::with_mode(0o644), node: Node::File { content, size: 4 } };
        let entries = std::iter::once((b"file".to_vec(), file)).collect();
        let delta = trees.add(Directory { entries, opaque: false });
        let snapshots = Snapshots::new(&store, TimePolicy::Fixed(7));
        let nowhere = snapshots.of(&trees, &contents, delta, HardLinks::none());
        assert!(matches!(nowhere, Err(SnapshotError::Content(ContentError::Unknown { .. }))), "{nowhere:?}");
        assert_eq!(fs_err::read_dir(store.tmp_dir().unwrap()).unwrap().count(), 0);
        contents.add(content, Location::Inline((*b"here").into()));
        let place = snapshots.of(&trees, &contents, delta, HardLinks::none()).unwrap();
        assert_eq!(fs_err::read(place.join("file")).unwrap(), b"here");
        assert_eq!(fs_err::metadata(place.join("file")).unwrap().mtime(), 7);
    }
}
