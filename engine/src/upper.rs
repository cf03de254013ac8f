//! The upper directory of an overlay mount read as a delta: what a command added, changed and removed.
//!
//! overlayfs says "gone" with a device 0:0 and "nothing older shows through" with an attribute. It copies a file up when it
//! is opened for writing and a directory when anything in it changes, so what equals the state below is no change. It is taken
//! out of the directory, and what is left gets the times of layers: it is the delta and nothing else, and may stand for it on
//! any other state.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{FileType, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use solver::{ContentDigest, HardLinks, TreeDigest};
use thiserror::Error;

use crate::contents::{Contents, Location, copy_hashed};
use crate::layer::TimePolicy;
use crate::sandbox;
use crate::snapshot::OPAQUE;
use crate::state::{Found, State};
use crate::transport::RootfsReport;
use crate::transport::rootfs::Sink;
use crate::transport::rootfs::dir::{Dir, is_of_overlay};
use crate::tree::{Directory, Entry, Meta, Node, TreeError, Trees, Xattrs, push_name};

/// Most bytes of the names or of one value of a file's attributes, as Linux has it (`XATTR_SIZE_MAX`).
const XATTR_LIMIT: usize = 64 << 10;

/// An upper directory that cannot be read.
#[derive(Debug, Error)]
pub enum UpperError {
    /// The file system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A directory object of the state below.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A name that layers have a meaning for.
    #[error("the command made `{0}`: names that start with `.wh.` mark deletions in image layers")]
    WhiteoutName(String),
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) delta: TreeDigest,
    pub(crate) links: HardLinks,
    files: Vec<(ContentDigest, PathBuf)>,
    /// Sockets, which no layer can hold.
    pub(crate) sockets: Vec<String>,
}

impl Left {
    /// Tells where the files of the delta are.
    pub(crate) fn register(&self, root: &Path, contents: &Contents<'_>) {
        let mut dirs: HashMap<PathBuf, Arc<Path>> = HashMap::new();
        let locations = self.files.iter().map(|(content, path)| {
            let parent = path.parent().unwrap_or(Path::new(""));
            let dir = dirs.entry(parent.to_owned()).or_insert_with(|| root.join(parent).into());
            let name = path.file_name().unwrap_or_default().to_owned();
            (*content, Location::Host { dir: Arc::clone(dir), name })
        });
        contents.add_all(locations.collect::<Vec<_>>());
    }
}

/// Reads an upper directory over the state it was mounted on, and leaves in it what the delta has.
pub(crate) fn read(
    root: &Path,
    state: &State,
    trees: &Trees<'_>,
    times: TimePolicy,
) -> Result<Left, UpperError> {
    let reader = Reader { trees, times, found: Mutex::default() };
    let Found::Dir { parts, .. } = state.root() else { unreachable!("the root of a state is a directory") };
    let directory = reader.directory(root, &[], Some(&parts))?;
    plain(root, times)?;
    let delta = trees.add(directory);
    let found = reader.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let links = HardLinks::new(found.inodes.into_values());
    Ok(Left { delta, links, files: found.files, sockets: found.sockets })
}

#[derive(Debug, Default)]
struct Collected {
    files: Vec<(ContentDigest, PathBuf)>,
    /// Paths of files that have several names, by inode.
    inodes: BTreeMap<u64, Vec<Vec<u8>>>,
    sockets: Vec<String>,
}

struct Reader<'a> {
    trees: &'a Trees<'a>,
    times: TimePolicy,
    found: Mutex<Collected>,
}

impl Reader<'_> {
    /// What of a directory differs from the parts of it below; `None` where nothing is below.
    fn directory(
        &self,
        host: &Path,
        path: &[u8],
        below: Option<&[TreeDigest]>,
    ) -> Result<Directory, UpperError> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in fs_err::read_dir(host)? {
            names.push(entry?.file_name().into_vec());
        }
        names.sort_unstable();
        let read = |name: Vec<u8>| -> Result<Option<(Vec<u8>, Entry)>, UpperError> {
            let mut path = path.to_vec();
            push_name(&mut path, &name);
            if name.starts_with(b".wh.") {
                return Err(UpperError::WhiteoutName(String::from_utf8_lossy(&path).into_owned()));
            }
            let found = match below {
                Some(parts) => State::child(self.trees, parts, &name)?,
                None => Found::Absent,
            };
            let host = host.join(OsStr::from_bytes(&name));
            let entry = self.entry(&host, &path, &found)?;
            if entry.is_none() {
                remove(&host)?;
            }
            Ok(entry.map(|entry| (name, entry)))
        };
        let entries: Vec<Option<(Vec<u8>, Entry)>> =
            names.into_par_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Directory { entries: entries.into_iter().flatten().collect(), opaque: false })
    }

    /// An entry, if it differs from what is below.
    fn entry(&self, host: &Path, path: &[u8], below: &Found) -> Result<Option<Entry>, UpperError> {
        let metadata = fs_err::symlink_metadata(host)?;
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            let gone = Entry { meta: Meta::with_mode(0o644), node: Node::Whiteout };
            return Ok((*below != Found::Absent).then_some(gone));
        }
        let (xattrs, is_opaque) = attributes(host)?;
        let meta = Meta {
            mode: if kind.is_symlink() { 0o777 } else { metadata.mode() & 0o7777 },
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: (self.times == TimePolicy::Keep).then(|| metadata.mtime()),
            xattrs,
        };
        if kind.is_dir() {
            return self.subdirectory(host, path, meta, is_opaque, below);
        }
        let node = if kind.is_file() {
            let (content, size) = hash(host)?;
            Node::File { content, size }
        } else if kind.is_symlink() {
            Node::Symlink(fs_err::read_link(host)?.into_os_string().into_vec())
        } else if kind.is_socket() {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.sockets.push(String::from_utf8_lossy(path).into_owned());
            return Ok(None);
        } else {
            device(kind, metadata.rdev())
        };
        let entry = Entry { meta, node };
        if matches!(below, Found::Other(known) if same(known, &entry)) {
            return Ok(None);
        }
        if !kind.is_file() && metadata.nlink() > 1 {
            self.part(host, &entry)?;
        }
        set_time(host, self.times.of(&entry.meta))?;
        if let Node::File { content, .. } = entry.node {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            found.files.push((content, PathBuf::from(OsStr::from_bytes(path))));
            if metadata.nlink() > 1 {
                found.inodes.entry(metadata.ino()).or_default().push(path.to_vec());
            }
        }
        Ok(Some(entry))
    }

    /// Makes a link or a device that has further names one of its own, as it comes out of a layer.
    fn part(&self, host: &Path, entry: &Entry) -> Result<(), UpperError> {
        let (Some(root), Some(name)) = (host.parent(), host.file_name()) else { return Ok(()) };
        remove(host)?;
        let report = RootfsReport::default();
        let mut dir = Dir { root, times: self.times, is_root: rustix::process::geteuid().is_root(), report };
        Ok(dir.other(name.as_bytes(), entry).map_err(io::Error::other)?)
    }

    fn subdirectory(
        &self,
        host: &Path,
        path: &[u8],
        meta: Meta,
        is_opaque: bool,
        below: &Found,
    ) -> Result<Option<Entry>, UpperError> {
        let (known, parts) = match below {
            Found::Dir { meta, parts } if !is_opaque => (Some(meta), Some(parts.as_slice())),
            _ => (None, None),
        };
        let mut directory = self.directory(host, path, parts)?;
        // Where there was nothing, there is nothing to hide.
        directory.opaque = is_opaque && matches!(below, Found::Dir { .. });
        if is_opaque && !directory.opaque {
            rustix::fs::lremovexattr(host, OPAQUE).map_err(io::Error::from)?;
        }
        if directory.entries.is_empty() && known.is_some_and(|known| same_meta(known, &meta)) {
            return Ok(None);
        }
        // Last: reading what is in it took something out of it.
        set_time(host, self.times.of(&meta))?;
        Ok(Some(Entry { meta, node: Node::Dir(self.trees.add(directory)) }))
    }
}

/// Sets when something was modified, in seconds since 1970.
pub(crate) fn set_time(host: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, host, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives a root the header of all roots: a delta has none for it.
pub(crate) fn plain(root: &Path, times: TimePolicy) -> io::Result<()> {
    fs_err::set_permissions(root, Permissions::from_mode(0o755))?;
    if rustix::process::geteuid().is_root() {
        sandbox::give(root, 0, 0)?;
    }
    set_time(root, times.fixed())
}

/// Removes what is no part of a delta; of a directory everything in it is gone already.
fn remove(host: &Path) -> io::Result<()> {
    if fs_err::symlink_metadata(host)?.is_dir() {
        fs_err::remove_dir(host)
    } else {
        fs_err::remove_file(host)
    }
}

/// Whether an entry is the one below. Times are no change: only `--timestamp=keep` knows them at all.
fn same(known: &Entry, entry: &Entry) -> bool {
    let is_device = matches!(entry.node, Node::Device { .. });
    !is_device && known.node == entry.node && same_meta(&known.meta, &entry.meta)
}

fn same_meta(known: &Meta, meta: &Meta) -> bool {
    Meta { mtime: None, ..known.clone() } == Meta { mtime: None, ..meta.clone() }
}

fn device(kind: FileType, rdev: u64) -> Node {
    let letter = if kind.is_char_device() {
        'c'
    } else if kind.is_block_device() {
        'b'
    } else {
        'p'
    };
    let (major, minor) = match letter {
        'p' => (0, 0),
        _ => (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
    };
    Node::Device { kind: letter, major, minor }
}

fn hash(host: &Path) -> io::Result<(ContentDigest, u64)> {
    let mut file = fs_err::File::open(host)?;
    let size = file.metadata()?.len();
    Ok((copy_hashed(&mut file, &mut io::sink())?, size))
}

/// Extended attributes, sorted, and whether overlayfs's own say that the directory is opaque.
fn attributes(host: &Path) -> io::Result<(Xattrs, bool)> {
    let mut names = vec![0; XATTR_LIMIT];
    let length = match rustix::fs::llistxattr(host, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok((Xattrs::default(), false)),
        length => length?,
    };
    let mut found = Vec::new();
    let mut is_opaque = false;
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // A label of this host's policy is nothing of the image.
        if name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; XATTR_LIMIT];
        let length = rustix::fs::lgetxattr(host, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(length);
        if is_of_overlay(name) {
            is_opaque |= name == OPAQUE.as_bytes() && value == b"y";
        } else {
            found.push((name.to_vec(), value));
        }
    }
    found.sort_unstable();
    Ok((found.into(), is_opaque))
}
