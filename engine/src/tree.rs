//! Merkle directories: filesystem trees as data.
//!
//! A directory is a sorted list of entries; files stand in it by content digest, directories by the digest of *their*
//! list. Equal trees are one object, a subtree is reused by naming its digest, and resolving `/bin/x` in a tree of
//! 100,000 files loads three directories. A delta is a tree too: it may hold whiteouts and opaque directories.

mod entries;
pub(crate) mod packed;

use std::sync::{Arc, Mutex, PoisonError};

use cache::{Store, Table};
use serde::{Deserialize, Serialize};
use solver::{ContentDigest, DigestMap, Hasher, TreeDigest};
use thiserror::Error;

pub use self::entries::Entries;
use crate::stat::Listed;

/// Bytes of a name: any but NUL and `/`.
pub type Name = Vec<u8>;

/// Extended attributes: names and values, sorted by name.
pub type Xattrs = Box<[(Vec<u8>, Vec<u8>)]>;

/// A tree that cannot be read.
#[derive(Debug, Error)]
pub enum TreeError {
    /// The store does not have a directory that a record names.
    #[error("directory object `{0}` is not in the store; `--no-cache` builds it again")]
    Missing(TreeDigest),
}

/// Owner, permissions and other facts every entry has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Permission bits, setuid, setgid and sticky included.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Modification time in seconds since 1970; only with `--timestamp=keep`.
    pub mtime: Option<i64>,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Meta {
    /// Owned by 0:0, without a time.
    pub fn with_mode(mode: u32) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Hash of what is in it beside mode and owner; empty where that is nothing.
    pub(crate) fn others_digest(&self) -> Vec<u8> {
        if self.mtime.is_none() && self.xattrs.is_empty() {
            return Vec::new();
        }
        let mut hasher = Hasher::new("attributes");
        hasher.bytes(&encode(&(self.mtime, &self.xattrs)));
        hasher.finish().to_vec()
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// A regular file.
    File {
        /// Its bytes' identity.
        content: ContentDigest,
        /// Its length in bytes.
        size: u64,
    },
    /// A directory.
    Dir(TreeDigest),
    /// A symbolic link and what it points at.
    Symlink(Vec<u8>),
    /// A character (`c`) or block (`b`) device or a FIFO (`p`).
    Device {
        /// Type letter.
        kind: char,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// In a delta: what stood here below is gone.
    Whiteout,
}

impl Node {
    /// Bytes of its own; of a directory where they are.
    fn bytes(&self) -> Result<u64, TreeDigest> {
        match self {
            Self::File { size, .. } => Ok(*size),
            Self::Dir(tree) => Err(*tree),
            Self::Symlink(_) | Self::Device { .. } | Self::Whiteout => Ok(0),
        }
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Owner and permissions.
    pub meta: Meta,
    /// What it is.
    pub node: Node,
}

impl Entry {
    /// A directory of ours: 0755, 0:0.
    pub fn plain_dir(tree: TreeDigest) -> Self {
        Self { meta: Meta::with_mode(0o755), node: Node::Dir(tree) }
    }

    /// Writes the entry over what is in a buffer, as it stands in a directory.
    pub(crate) fn encode_to(&self, buffer: &mut Vec<u8>) {
        let mut bytes = std::mem::take(buffer);
        bytes.clear();
        *buffer = postcard::to_extend(self, bytes).expect("plain data with known lengths always encodes");
    }

    /// Identity of the entry with everything below it.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Hasher::new("entry");
        hasher.bytes(&encode(self));
        hasher.finish()
    }
}

/// A sorted list of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// The entries by name.
    pub entries: Entries,
    /// In a delta: nothing of what stood here below shows through.
    pub opaque: bool,
}

/// Takes an entry with its path.
pub type Visitor<'a, E> = dyn FnMut(&[u8], &Entry) -> Result<(), E> + 'a;

/// The directories a build knows: those it made, in memory, and those of the store.
#[derive(Debug)]
pub struct Trees<'store> {
    store: &'store Store,
    loaded: Mutex<DigestMap<TreeDigest, (Arc<Directory>, bool)>>,
    /// Directories of the host, made when somebody wants to see them.
    remembered: Mutex<DigestMap<TreeDigest, Remembered>>,
}

/// A directory of the host that is as it was.
#[derive(Debug, Clone)]
struct Remembered {
    listed: Arc<Listed>,
    keep_mtime: bool,
    /// Bytes of all files in it and below.
    bytes: u64,
}

impl<'store> Trees<'store> {
    /// An empty set over a store.
    pub fn new(store: &'store Store) -> Self {
        Self { store, loaded: Mutex::default(), remembered: Mutex::default() }
    }

    /// Names a directory; it is kept in memory, and reaches the store only through [`Trees::persist`].
    pub fn add(&self, mut directory: Directory) -> TreeDigest {
        let digest = digest_of(&encode(&directory));
        directory.entries.shrink();
        self.lock().entry(digest).or_insert_with(|| (Arc::new(directory), false));
        digest
    }

    /// Knows a directory of the host by its listing, with the bytes of all files in it and below. Nothing is made or read of
    /// it until somebody loads it.
    pub(crate) fn remember(&self, tree: TreeDigest, listed: Arc<Listed>, bytes: u64, keep_mtime: bool) {
        self.lock_remembered().insert(tree, Remembered { listed, keep_mtime, bytes });
    }

    /// The empty directory.
    pub fn empty(&self) -> TreeDigest {
        self.add(Directory::default())
    }

    /// A directory by its digest.
    ///
    /// # Errors
    /// If neither this build nor the store knows it, or what the store has is something else.
    pub fn load(&self, digest: &TreeDigest) -> Result<Arc<Directory>, TreeError> {
        if let Some((directory, _)) = self.lock().get(digest) {
            return Ok(Arc::clone(directory));
        }
        let remembered = self.lock_remembered().get(digest).cloned();
        // What was remembered may have been damaged where it was kept.
        let remembered = remembered
            .map(|known| known.listed.get(self.store).directory(known.keep_mtime))
            .filter(|directory| digest_of(&encode(directory)) == *digest);
        let (directory, is_stored) = match remembered {
            Some(directory) => (directory, false),
            None => {
                let bytes = self.store.get_bytes(Table::Trees, digest.as_bytes());
                let bytes = bytes.filter(|bytes| digest_of(bytes) == *digest);
                (bytes.and_then(|bytes| decode(&bytes)).ok_or(TreeError::Missing(*digest))?, true)
            }
        };
        let directory = Arc::new(directory);
        self.lock().insert(*digest, (Arc::clone(&directory), is_stored));
        Ok(directory)
    }

    /// Lets go of a directory that was loaded.
    pub(crate) fn forget(&self, digest: &TreeDigest) {
        self.lock().remove(digest);
    }

    /// Writes a tree, with everything below, into the store's pending records.
    ///
    /// # Errors
    /// If a part of it is unknown.
    pub fn persist(&self, root: &TreeDigest) -> Result<(), TreeError> {
        let mut pending = vec![*root];
        while let Some(digest) = pending.pop() {
            let is_stored = match self.lock().get_mut(&digest) {
                Some((_, stored)) => std::mem::replace(stored, true),
                None => false,
            };
            // What the store has, it has with everything below.
            if is_stored || self.store.get_bytes(Table::Trees, digest.as_bytes()).is_some() {
                continue;
            }
            let directory = self.load(&digest)?;
            self.store.put_bytes(Table::Trees, digest.as_bytes(), encode(&*directory));
            pending.extend(directory.entries.values().filter_map(|entry| match entry.node {
                Node::Dir(child) => Some(child),
                _ => None,
            }));
        }
        Ok(())
    }

    /// Visits every entry below a root, in the order of a sorted tar: a directory right before its content. The
    /// path has no leading `/`.
    ///
    /// # Errors
    /// If a directory is unknown, or what `visit` returns.
    pub fn walk<E: From<TreeError>>(&self, root: &TreeDigest, visit: &mut Visitor<'_, E>) -> Result<(), E> {
        let mut path = Vec::new();
        self.walk_below(&mut path, root, visit)
    }

    fn walk_below<E: From<TreeError>>(
        &self,
        path: &mut Vec<u8>,
        directory: &TreeDigest,
        visit: &mut Visitor<'_, E>,
    ) -> Result<(), E> {
        let directory = self.load(directory)?;
        for (name, entry) in directory.entries.iter() {
            let length = path.len();
            push_name(path, name);
            visit(path, entry)?;
            if let Node::Dir(child) = &entry.node {
                self.walk_below(path, child, visit)?;
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// Bytes of the files below a root, of so many entries at most; directories that are unknown count as empty. Of directories
    /// of the host that are as they were it is known, and nothing is read.
    pub(crate) fn bytes_below(&self, root: &TreeDigest, most: usize) -> u64 {
        let (mut bytes, mut counted, mut pending) = (0_u64, 0, vec![*root]);
        while let Some(digest) = pending.pop().filter(|_| counted < most) {
            if let Some(known) = self.lock_remembered().get(&digest) {
                bytes = bytes.saturating_add(known.bytes);
                continue;
            }
            let Ok(directory) = self.load(&digest) else { continue };
            for entry in directory.entries.values() {
                counted += 1;
                match entry.node.bytes() {
                    Ok(size) => bytes = bytes.saturating_add(size),
                    Err(below) => pending.push(below),
                }
            }
        }
        bytes
    }

    fn lock_remembered(&self) -> std::sync::MutexGuard<'_, DigestMap<TreeDigest, Remembered>> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DigestMap<TreeDigest, (Arc<Directory>, bool)>> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends `/name` to a path without a leading `/`.
pub fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// The components of a path; empty ones and `.` do not count.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

fn digest_of(bytes: &[u8]) -> TreeDigest {
    let mut hasher = Hasher::new("tree 1");
    hasher.bytes(bytes);
    TreeDigest::from_bytes(hasher.finish())
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data with known lengths always encodes")
}

fn decode(bytes: &[u8]) -> Option<Directory> {
    postcard::from_bytes(bytes).ok()
}
