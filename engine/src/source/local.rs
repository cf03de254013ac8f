//! `local://` and COPY sources: a path set of the build context, identified and turned into a tree.
//!
//! The walk holds directory file descriptors and never follows a link it did not resolve itself, so no path can
//! leave the context. Owner becomes 0:0 and setuid and setgid go, as in sealer; what the process's umask, user or
//! working directory are shows nowhere.

mod context;
mod error;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use solver::{ContentDigest, LocalSource, TreeDigest};

use crate::cancel::Cancel;
use crate::contents::{Contents, Location};
use crate::ignore::Matched;
use crate::pattern::Pattern;
use crate::tree::{Directory, Entry, Meta, Name, Node, Trees, components, push_name};

pub use context::Context;
pub use error::LocalError;

use error::LINK_LIMIT;

/// Longest path below the context in bytes, as Linux has it (`PATH_MAX`): what bounds the recursion.
const PATH_LIMIT: usize = 4096;
/// Files are read in pieces of this size; larger ones are hashed on several threads by nobody: files are many.
const READ_SIZE: usize = 128 * 1024;

/// An open directory of the context.
struct Place<'p> {
    dir: &'p OwnedFd,
    /// Host path.
    host: &'p Arc<Path>,
    /// Context-relative path.
    path: &'p [u8],
    /// What the ignore rules say of it.
    matched: &'p Matched,
}

/// What a scan needs beside the pattern.
#[derive(Clone, Copy)]
pub struct Scan<'a> {
    /// The context.
    pub context: &'a Context,
    /// Where directories go.
    pub trees: &'a Trees<'a>,
    /// Where file locations go.
    pub contents: &'a Contents<'a>,
    /// Whether modification times count.
    pub keep_mtime: bool,
    /// Stops it.
    pub cancel: &'a Cancel,
    /// Takes names of sockets that were left out.
    pub skipped: &'a (dyn Fn(&Path) + Sync),
}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("context", self.context).finish_non_exhaustive()
    }
}

impl Scan<'_> {
    /// The tree a source selects: matches at their context-relative paths.
    ///
    /// # Errors
    /// [`LocalError`]; in particular when nothing matches.
    pub fn select(&self, source: &LocalSource) -> Result<TreeDigest, LocalError> {
        let pattern = Pattern::new(&source.pattern)?;
        let prefix: Vec<Name> = components(pattern.literal_prefix().as_bytes()).map(<[u8]>::to_vec).collect();
        let selected = match self.locate(&prefix, &source.pattern)? {
            None => None,
            Some(real) if pattern.is_literal() => self.entry(&real)?,
            Some(real) => self.matches(&pattern, &joined(&prefix), &real)?,
        };
        let not_found = |ignored| LocalError::NotFound {
            pattern: source.pattern.clone(),
            context: self.context.root.clone(),
            ignored,
        };
        let Some(mut entry) = selected else {
            let there = pattern.is_literal() && self.locate_unfiltered(&prefix);
            return Err(not_found(there));
        };
        for depth in (0..prefix.len()).rev() {
            let mut parent = Directory::default();
            parent.entries.insert(prefix[depth].clone(), entry);
            let meta = if source.parents && depth > 0 {
                self.dir_meta(&joined(&prefix[..depth]))?
            } else {
                Meta::with_mode(0o755)
            };
            entry = Entry { meta, node: Node::Dir(self.trees.add(parent)) };
        }
        match entry.node {
            Node::Dir(tree) => Ok(tree),
            _ => Err(not_found(false)),
        }
    }

    /// Follows the links of a literal path inside the context. `None` when nothing is there or it is left out.
    fn locate(&self, path: &[Name], shown: &str) -> Result<Option<Vec<Name>>, LocalError> {
        let mut ahead: Vec<Name> = path.iter().rev().cloned().collect();
        let mut at: Vec<Name> = Vec::new();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                at.pop();
                continue;
            }
            at.push(name);
            let host = self.host(&at);
            let Ok(stat) = rustix::fs::lstat(&host) else { return Ok(None) };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                continue;
            }
            links += 1;
            if links > LINK_LIMIT {
                return Err(LocalError::LinkLoop { path: shown.to_owned() });
            }
            let target =
                fs_err::read_link(&host).map_err(|source| LocalError::Io { path: host.clone(), source })?;
            let link = at.clone();
            at.pop();
            let inside =
                self.inside(&at, target.as_os_str().as_bytes()).ok_or_else(|| LocalError::Escapes {
                    path: shown.to_owned(),
                    link: lossy(&joined(&link)),
                    target: target.display().to_string(),
                })?;
            at.clear();
            ahead.extend(inside.into_iter().rev());
        }
        let path = joined(&at);
        let left_out =
            !path.is_empty() && self.context.ignore.is_ignored(&path) && !self.is_dir_with_exceptions(&path);
        Ok((!left_out).then_some(at))
    }

    fn is_dir_with_exceptions(&self, path: &[u8]) -> bool {
        !self.context.ignore.can_prune(path)
    }

    fn locate_unfiltered(&self, path: &[Name]) -> bool {
        rustix::fs::lstat(self.host(path)).is_ok()
    }

    /// Where a link's target lies inside the context; `None` when it leaves it.
    fn inside(&self, at: &[Name], target: &[u8]) -> Option<Vec<Name>> {
        let mut path: Vec<Name> = at.to_vec();
        let mut rest = target;
        if target.starts_with(b"/") {
            path.clear();
            let root = self.context.root.as_os_str().as_bytes();
            rest = target.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))?;
        }
        for name in components(rest) {
            if name == b".." {
                path.pop()?;
            } else {
                path.push(name.to_vec());
            }
        }
        Some(path)
    }

    fn host(&self, path: &[Name]) -> PathBuf {
        let mut host = self.context.root.clone();
        host.extend(path.iter().map(|name| std::ffi::OsStr::from_bytes(name)));
        host
    }

    fn dir_meta(&self, path: &[u8]) -> Result<Meta, LocalError> {
        let host = self.context.root.join(std::ffi::OsStr::from_bytes(path));
        let stat = rustix::fs::lstat(&host).map_err(|e| LocalError::Io { path: host, source: e.into() })?;
        Ok(self.meta(&stat))
    }

    fn meta(&self, stat: &rustix::fs::Stat) -> Meta {
        Meta {
            mode: stat.st_mode & 0o1777,
            mtime: self.keep_mtime.then_some(stat.st_mtime),
            ..Meta::default()
        }
    }

    /// The entry at a resolved path, read whole.
    fn entry(&self, path: &[Name]) -> Result<Option<Entry>, LocalError> {
        let host = self.host(path);
        let parent = if path.is_empty() { host.clone() } else { self.host(&path[..path.len() - 1]) };
        let dir = open_dir(&parent)?;
        if path.is_empty() {
            let tree = self.directory(dir, &host, b"", &Matched::default())?;
            let meta = self.dir_meta(b"")?;
            return Ok(Some(Entry { meta, node: Node::Dir(tree) }));
        }
        let above = &path[..path.len() - 1];
        let place =
            Place { dir: &dir, host: &parent.into(), path: &joined(above), matched: &self.matched_by(above) };
        self.child(&place, &path[path.len() - 1])
    }

    /// What the ignore rules say of a directory, from the root down.
    fn matched_by(&self, path: &[Name]) -> Matched {
        (1..=path.len()).fold(Matched::default(), |above, depth| {
            self.context.ignore.enter(&above, &joined(&path[..depth]))
        })
    }

    /// The entry `name` of an open directory. `None` for sockets and for what an ignore file leaves out.
    fn child(&self, place: &Place<'_>, name: &[u8]) -> Result<Option<Entry>, LocalError> {
        if self.cancel.is_cancelled() {
            return Err(LocalError::Cancelled);
        }
        let dir = place.dir;
        let host = || place.host.join(std::ffi::OsStr::from_bytes(name));
        let fail = |e: rustix::io::Errno| LocalError::Io { path: host(), source: e.into() };
        let mut path = place.path.to_vec();
        push_name(&mut path, name);
        if path.len() > PATH_LIMIT {
            return Err(fail(rustix::io::Errno::NAMETOOLONG));
        }
        let ignored = self.context.ignore.is_ignored_in(place.matched, &path);
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if ignored && kind != FileType::Directory {
            return Ok(None);
        }
        if name.starts_with(b".wh.") {
            return Err(LocalError::WhiteoutName { path: host() });
        }
        let node = match kind {
            FileType::RegularFile => self.file(dir, place.host, name)?,
            FileType::Directory => {
                let matched = self.context.ignore.enter(place.matched, &path);
                if ignored && self.context.ignore.can_prune_in(&matched, &path) {
                    return Ok(None);
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let child = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(fail)?;
                let tree = self.directory(child, &host(), &path, &matched)?;
                if ignored && self.trees.load(&tree).is_ok_and(|directory| directory.entries.is_empty()) {
                    return Ok(None);
                }
                Node::Dir(tree)
            }
            FileType::Symlink => {
                Node::Symlink(rustix::fs::readlinkat(dir, name, Vec::new()).map_err(fail)?.into_bytes())
            }
            FileType::Socket => {
                (self.skipped)(&host());
                return Ok(None);
            }
            FileType::Fifo => return Err(LocalError::Special { path: host(), kind: "FIFO" }),
            _ => return Err(LocalError::Special { path: host(), kind: "device" }),
        };
        let mut meta = self.meta(&stat);
        if matches!(node, Node::Symlink(_)) {
            meta.mode = 0o777;
        }
        Ok(Some(Entry { meta, node }))
    }

    /// Everything below an open directory; files and subdirectories in parallel.
    fn directory(
        &self,
        dir: OwnedFd,
        host: &Path,
        path: &[u8],
        matched: &Matched,
    ) -> Result<TreeDigest, LocalError> {
        let names = names(&dir).map_err(|source| LocalError::Io { path: host.to_owned(), source })?;
        let host: Arc<Path> = host.into();
        let place = Place { dir: &dir, host: &host, path, matched };
        let read = |name: Name| -> Result<Option<(Name, Entry)>, LocalError> {
            Ok(self.child(&place, &name)?.map(|entry| (name, entry)))
        };
        let entries: Vec<Option<(Name, Entry)>> =
            names.into_par_iter().with_min_len(8).map(read).collect::<Result<_, _>>()?;
        let entries: BTreeMap<Name, Entry> = entries.into_iter().flatten().collect();
        Ok(self.trees.add(Directory { entries, opaque: false }))
    }

    fn file(&self, dir: &OwnedFd, host_dir: &Arc<Path>, name: &[u8]) -> Result<Node, LocalError> {
        let fail = |source: io::Error| LocalError::Io {
            path: host_dir.join(std::ffi::OsStr::from_bytes(name)),
            source,
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|e| fail(e.into()))?;
        let (content, size) = self.identify(std::fs::File::from(file)).map_err(fail)?;
        if self.cancel.is_cancelled() {
            return Err(LocalError::Cancelled);
        }
        let location = Location::Host { dir: Arc::clone(host_dir), name: OsString::from_vec(name.to_vec()) };
        self.contents.add(content, location);
        Ok(Node::File { content, size })
    }

    fn identify(&self, mut file: std::fs::File) -> io::Result<(ContentDigest, u64)> {
        thread_local! {
            static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_SIZE]);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut hasher = blake3::Hasher::new();
            let mut size = 0;
            loop {
                match file.read(buffer)? {
                    0 => return Ok((ContentDigest::from_bytes(*hasher.finalize().as_bytes()), size)),
                    _ if self.cancel.is_cancelled() => return Err(io::ErrorKind::Interrupted.into()),
                    read => {
                        hasher.update(&buffer[..read]);
                        size += read as u64;
                    }
                }
            }
        })
    }

    /// Everything below a resolved directory that a pattern with wildcards selects.
    fn matches(&self, pattern: &Pattern, prefix: &[u8], real: &[Name]) -> Result<Option<Entry>, LocalError> {
        let host = self.host(real);
        let Ok(dir) = open_dir(&host) else { return Ok(None) };
        let Some(tree) = self.matching(pattern, prefix, &dir, &host, &joined(real))? else { return Ok(None) };
        Ok(Some(Entry { meta: self.dir_meta(&joined(real))?, node: Node::Dir(tree) }))
    }

    fn matching(
        &self,
        pattern: &Pattern,
        written: &[u8],
        dir: &OwnedFd,
        host: &Path,
        real: &[u8],
    ) -> Result<Option<TreeDigest>, LocalError> {
        let names = names(dir).map_err(|source| LocalError::Io { path: host.to_owned(), source })?;
        let host_dir: Arc<Path> = host.into();
        let mut directory = Directory::default();
        for name in names {
            let mut written = written.to_vec();
            push_name(&mut written, &name);
            let mut real = real.to_vec();
            push_name(&mut real, &name);
            let entry = if pattern.matches(&written) {
                self.matched(dir, &host_dir, &real, &name)?
            } else if pattern.could_match_below(&written) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(dir, name.as_slice(), flags, Mode::empty()) {
                    Err(_) => None,
                    Ok(child) => self
                        .matching(
                            pattern,
                            &written,
                            &child,
                            &host.join(std::ffi::OsStr::from_bytes(&name)),
                            &real,
                        )?
                        .map(|tree| {
                            Ok::<_, LocalError>(Entry { meta: self.dir_meta(&real)?, node: Node::Dir(tree) })
                        })
                        .transpose()?,
                }
            } else {
                None
            };
            directory.entries.extend(entry.map(|entry| (name, entry)));
        }
        Ok((!directory.entries.is_empty()).then(|| self.trees.add(directory)))
    }

    /// A match itself: a link is followed, inside the context, and keeps its name.
    fn matched(
        &self,
        dir: &OwnedFd,
        host: &Arc<Path>,
        real: &[u8],
        name: &[u8],
    ) -> Result<Option<Entry>, LocalError> {
        let path: Vec<Name> = components(real).map(<[u8]>::to_vec).collect();
        let above = &path[..path.len() - 1];
        let place = Place { dir, host, path: &joined(above), matched: &self.matched_by(above) };
        match self.child(&place, name)? {
            Some(Entry { node: Node::Symlink(_), .. }) => {
                self.locate(&path, &lossy(real))?.map_or(Ok(None), |target| self.entry(&target))
            }
            entry => Ok(entry),
        }
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, LocalError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| LocalError::Io { path: path.to_owned(), source: e.into() })
}

fn names(dir: &OwnedFd) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn joined(names: &[Name]) -> Vec<u8> {
    names.join(&b'/')
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
