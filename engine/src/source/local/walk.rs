//! Looking at directories of the context: what the stat cache knows is taken from it, the rest is read.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;
use solver::ContentDigest;

use super::attributes::attributes;
use super::{LocalError, Scan};
use crate::contents::Location;
use crate::ignore::Matched;
use crate::pieces::{LARGE, PIECE, PieceDigest, piece_digest, whole};
use crate::stat::{
    Below, DirKey, Glance, Itself, Known, Listed, Listing, Names, Seen, Summary, Times, What, glances_digest,
};
use crate::tree::{Entry, Meta, Name, Node, Xattrs, push_name};

/// Longest path below the context in bytes, as Linux has it (`PATH_MAX`): what bounds the recursion.
pub(super) const PATH_LIMIT: usize = 4096;
/// Files are read in pieces of this size.
const READ_SIZE: usize = 128 * 1024;
/// Directories are listed in pieces of this size, in bytes.
const NAMES_SIZE: usize = 64 * 1024;
/// Entries that one thread looks at in a row, and how much it reads of them, in bytes: less is not worth sharing.
const RUN: usize = 32;
const RUN_BYTES: u64 = 128 * 1024;
/// How deep directories lie at most that are looked at by several threads. Deeper ones are enough for one thread, and a thread that
/// waits for another begins a further one on its stack.
const SHARED_DEPTH: usize = 8;

/// An open directory of the context.
pub(super) struct Place<'p> {
    pub(super) dir: &'p OwnedFd,
    /// Host path.
    pub(super) host: &'p Arc<Path>,
    /// Context-relative path.
    pub(super) path: &'p [u8],
    /// What the ignore rules say of it.
    pub(super) matched: &'p Matched,
}

impl Place<'_> {
    fn fail(&self, name: &[u8], errno: Errno) -> LocalError {
        LocalError::Io { path: self.host.join(OsStr::from_bytes(name)), source: errno.into() }
    }
}

impl Scan<'_> {
    /// The entry `name` of an open directory, by itself. `None` for sockets and for what an ignore file leaves out.
    pub(super) fn one(&self, place: &Place<'_>, name: &[u8]) -> Result<Option<Entry>, LocalError> {
        let Some(glance) = self.glance(place, name)? else { return Ok(None) };
        let key = self.dir_key(place)?;
        let listing = self.stats.listing(&key);
        let before = listing.get(name).filter(|before| before.is(&glance));
        let known = match before {
            Some(before) => before.clone(),
            None => self.read(place, &glance)?,
        };
        let entry = known.entry(self.keep_mtime);
        if let What::File(content) = known.what {
            let (dir, name) = (Arc::clone(place.host), OsString::from_vec(name.to_vec()));
            self.contents.add(content, Location::Host { dir, name });
        }
        if before.is_none() {
            self.stats.found(&key, known);
        }
        Ok(Some(entry))
    }

    /// The entry of an open directory that is not the context's root, with everything below it; `None` for what an ignore file
    /// leaves out. What is above it is not looked at.
    pub(super) fn whole(
        &self,
        dir: &OwnedFd,
        host: &Path,
        path: &[u8],
        above: &Matched,
    ) -> Result<Option<Entry>, LocalError> {
        let fail = |errno: Errno| LocalError::Io { path: host.to_owned(), source: errno.into() };
        if path.len() > PATH_LIMIT {
            return Err(fail(Errno::NAMETOOLONG));
        }
        if path.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.starts_with(b".wh.")) {
            return Err(LocalError::WhiteoutName { path: host.to_owned() });
        }
        let ignore = &self.context.ignore;
        let (ignored, matched) = (ignore.is_ignored_in(above, path), ignore.enter(above, path));
        if ignored && ignore.can_prune_in(&matched, path) {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(dir).map_err(fail)?;
        let found = self.inside(dir, &stat, host, path, &matched, ignored)?;
        let meta = Seen::of(&stat, self.keep_mtime).meta(self.keep_mtime);
        Ok(found
            .map(|Below { tree, xattrs, .. }| Entry { meta: Meta { xattrs, ..meta }, node: Node::Dir(tree) }))
    }

    /// Everything below an open directory, and its own attributes; files and subdirectories in parallel.
    pub(super) fn directory(
        &self,
        dir: &OwnedFd,
        stat: &Stat,
        host: &Path,
        path: &[u8],
        matched: &Matched,
    ) -> Result<Below, LocalError> {
        let fail = |source| LocalError::Io { path: host.to_owned(), source };
        let place = Place { dir, host: &host.into(), path, matched };
        let (key, times) = (DirKey::new(stat, self.keep_mtime), Times::of(stat));
        let before = self.stats.summary(&key);
        let itself = before.as_ref().and_then(|before| before.itself.as_ref());
        // No entry came or went: which it has is known without listing it.
        let same = itself.filter(|itself| itself.times == times);
        let mut listed;
        let (names, xattrs): (Vec<&[u8]>, Xattrs) = match same {
            Some(itself) => (itself.names.iter().collect(), itself.xattrs.clone()),
            None => {
                listed = names(dir).map_err(fail)?;
                listed.sort_unstable();
                let xattrs = attributes(dir).map_err(|errno| fail(errno.into()))?;
                (listed.iter().map(Vec::as_slice).collect(), xattrs)
            }
        };
        let glances = each(&names, run_of(stat, path), |name| self.glance(&place, name))?;
        let bytes = glances.iter().map(Glance::bytes).fold(0, u64::saturating_add);
        let itself = || {
            let is_complete = glances.len() == names.len();
            let names = || Names::new(names.iter().copied());
            is_complete.then(|| Itself { times, xattrs: xattrs.clone(), names: names() })
        };
        let (tree, listed) = match &before {
            Some(before) if before.entries == glances_digest(&glances) => {
                if same.is_none()
                    && let Some(itself) = itself()
                {
                    self.stats.found_itself(&key, Summary { itself: Some(itself), ..before.clone() });
                }
                let listed = Arc::new(Listed::stored(key));
                self.trees.remember(before.tree, Arc::clone(&listed), bytes, self.keep_mtime);
                (before.tree, listed)
            }
            _ => {
                let listing = Arc::new(self.listing(&place, &key, &glances, bytes)?);
                let tree = self.trees.add(listing.directory(self.keep_mtime));
                let summary = Summary { entries: listing.digest(), tree, itself: itself() };
                self.stats.found_all(&key, summary, Arc::clone(&listing));
                (tree, Listed::read(key, listing).into())
            }
        };
        self.contents.add_dir(Arc::clone(place.host), listed);
        Ok(Below { tree, xattrs, bytes })
    }

    /// The entries of a directory that is not as it was: what is new of them is read.
    fn listing(
        &self,
        place: &Place<'_>,
        key: &DirKey,
        glances: &[Glance<'_>],
        bytes: u64,
    ) -> Result<Listing, LocalError> {
        let before = self.stats.listing(key);
        let run = (RUN_BYTES * glances.len() as u64).checked_div(bytes).map_or(RUN, |run| run as usize);
        let known = each(glances, run.clamp(1, RUN), |glance| match before.get(glance.name) {
            Some(before) if before.is(glance) => Ok(Some(before.clone())),
            _ => self.read(place, glance).map(Some),
        })?;
        Ok(Listing { known })
    }

    /// What `name` is by its stat, and by that of everything below it; `None` for sockets and for what is ignored.
    fn glance<'n>(&self, place: &Place<'_>, name: &'n [u8]) -> Result<Option<Glance<'n>>, LocalError> {
        if self.cancel.is_cancelled() {
            return Err(LocalError::Cancelled);
        }
        if place.path.len() + 1 + name.len() > PATH_LIMIT {
            return Err(place.fail(name, Errno::NAMETOOLONG));
        }
        let stat = rustix::fs::statat(place.dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| place.fail(name, e))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut path = Vec::new();
        if kind == FileType::Directory || !self.context.ignore.is_empty() {
            path.extend_from_slice(place.path);
            push_name(&mut path, name);
        }
        let ignored = self.context.ignore.is_ignored_in(place.matched, &path);
        if ignored && kind != FileType::Directory {
            return Ok(None);
        }
        let host = || place.host.join(OsStr::from_bytes(name));
        if name.starts_with(b".wh.") {
            return Err(LocalError::WhiteoutName { path: host() });
        }
        let below = match kind {
            FileType::Directory => match self.below(place, name, &path, ignored)? {
                None => return Ok(None),
                Some(below) => Some(below.into()),
            },
            FileType::RegularFile | FileType::Symlink => None,
            FileType::Socket => {
                (self.skipped)(&host());
                return Ok(None);
            }
            FileType::Fifo => return Err(LocalError::Special { path: host(), kind: "FIFO" }),
            _ => return Err(LocalError::Special { path: host(), kind: "device" }),
        };
        Ok(Some(Glance { name, seen: Seen::of(&stat, self.keep_mtime), below }))
    }

    /// What an entry is that is not what it was.
    fn read(&self, place: &Place<'_>, glance: &Glance<'_>) -> Result<Known, LocalError> {
        let (name, mut seen) = (glance.name, glance.seen);
        let (what, xattrs) = match &glance.below {
            Some(below) => (What::Dir(below.tree), below.xattrs.clone()),
            None if seen.kind() == FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(place.dir, name, Vec::new()).map_err(|e| place.fail(name, e))?;
                (What::Link(target.into_bytes().into()), Xattrs::default())
            }
            None => {
                let (content, xattrs, after) = self.file(place, name)?;
                seen = Seen::of(&after, self.keep_mtime);
                (What::File(content), xattrs)
            }
        };
        Ok(Known { name: name.into(), seen, what, xattrs })
    }

    /// What a subdirectory is, with everything in it; `None` if it is ignored and nothing in it is an exception.
    fn below(
        &self,
        place: &Place<'_>,
        name: &[u8],
        path: &[u8],
        ignored: bool,
    ) -> Result<Option<Below>, LocalError> {
        let matched = self.context.ignore.enter(place.matched, path);
        if ignored && self.context.ignore.can_prune_in(&matched, path) {
            return Ok(None);
        }
        let dir = open_below(place.dir, name).map_err(|e| place.fail(name, e))?;
        let host = place.host.join(OsStr::from_bytes(name));
        let stat = rustix::fs::fstat(&dir).map_err(|errno| place.fail(name, errno))?;
        self.inside(&dir, &stat, &host, path, &matched, ignored)
    }

    /// The same, of one that is open.
    fn inside(
        &self,
        dir: &OwnedFd,
        stat: &Stat,
        host: &Path,
        path: &[u8],
        matched: &Matched,
        ignored: bool,
    ) -> Result<Option<Below>, LocalError> {
        let below = self.directory(dir, stat, host, path, matched)?;
        Ok((!ignored || below.tree != self.trees.empty()).then_some(below))
    }

    /// Content and attributes of a file, and its stat after they were read: what was written while they were is too new to
    /// be remembered.
    fn file(&self, place: &Place<'_>, name: &[u8]) -> Result<(ContentDigest, Xattrs, Stat), LocalError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file =
            rustix::fs::openat(place.dir, name, flags, Mode::empty()).map_err(|e| place.fail(name, e))?;
        let file = std::fs::File::from(file);
        let fail = |source| match self.cancel.is_cancelled() {
            true => LocalError::Cancelled,
            false => LocalError::Io { path: place.host.join(OsStr::from_bytes(name)), source },
        };
        let before = rustix::fs::fstat(&file).map_err(|e| fail(e.into()))?;
        let size = before.st_size.cast_unsigned();
        let content = if size > LARGE { self.large(&file, size) } else { self.identify(&file) };
        let content = content.map_err(fail)?;
        let xattrs = attributes(&file).map_err(|e| fail(e.into()))?;
        let after = rustix::fs::fstat(&file).map_err(|e| fail(e.into()))?;
        let written = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if written(&before) != written(&after) {
            return Err(LocalError::Changed { path: place.host.join(OsStr::from_bytes(name)) });
        }
        self.stats.read(size);
        Ok((content, xattrs, after))
    }

    fn identify(&self, mut file: &std::fs::File) -> io::Result<ContentDigest> {
        thread_local! {
            static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_SIZE]);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut hasher = blake3::Hasher::new();
            loop {
                match file.read(buffer)? {
                    0 => return Ok(ContentDigest::from_bytes(*hasher.finalize().as_bytes())),
                    _ if self.cancel.is_cancelled() => return Err(io::ErrorKind::Interrupted.into()),
                    read => hasher.update(&buffer[..read]),
                };
            }
        })
    }

    /// A large file, its pieces in parallel.
    fn large(&self, file: &std::fs::File, size: u64) -> io::Result<ContentDigest> {
        thread_local! {
            static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; PIECE as usize]);
        }
        let piece = |offset: u64| {
            if self.cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            BUFFER.with_borrow_mut(|buffer| {
                let bytes = &mut buffer[..PIECE.min(size - offset) as usize];
                file.read_exact_at(bytes, offset)?;
                Ok(piece_digest(offset, bytes))
            })
        };
        let count = size.div_ceil(PIECE);
        let pieces: Vec<PieceDigest> =
            (0..count).into_par_iter().map(|number| piece(number * PIECE)).collect::<io::Result<_>>()?;
        let content = whole(&pieces, size).ok_or(io::ErrorKind::InvalidData)?;
        self.contents.add_pieces(content, pieces);
        Ok(content)
    }

    fn dir_key(&self, place: &Place<'_>) -> Result<DirKey, LocalError> {
        let stat = rustix::fs::fstat(place.dir)
            .map_err(|e| LocalError::Io { path: place.host.to_path_buf(), source: e.into() })?;
        Ok(DirKey::new(&stat, self.keep_mtime))
    }
}

/// How many entries of a directory one thread looks at in a row: one, if they are directories with entries of their own. Most file
/// systems count subdirectories as links to the one they are in.
pub(super) fn run_of(dir: &Stat, path: &[u8]) -> usize {
    let is_leaf = dir.st_nlink == 2;
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    if is_leaf || depth >= SHARED_DEPTH { RUN } else { 1 }
}

/// Does something for each entry, by several threads if there are more than a run; leaves out those of which nothing came.
pub(super) fn each<'i, T: Sync, F: Send>(
    entries: &'i [T],
    run: usize,
    look: impl Fn(&'i T) -> Result<Option<F>, LocalError> + Sync,
) -> Result<Vec<F>, LocalError> {
    let look = |entry| look(entry).transpose();
    if entries.len() <= run {
        entries.iter().filter_map(look).collect()
    } else {
        entries.par_iter().with_min_len(run).filter_map(look).collect()
    }
}

/// Opens a subdirectory, never through a link.
pub(super) fn open_below(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// All names in a directory that was just opened.
pub(super) fn names(dir: &OwnedFd) -> io::Result<Vec<Name>> {
    thread_local! {
        static BUFFER: std::cell::RefCell<Vec<std::mem::MaybeUninit<u8>>> =
            std::cell::RefCell::new(vec![std::mem::MaybeUninit::uninit(); NAMES_SIZE]);
    }
    BUFFER.with_borrow_mut(|buffer| {
        let mut names = Vec::new();
        let mut entries = RawDir::new(dir, buffer);
        while let Some(entry) = entries.next() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(names)
    })
}
