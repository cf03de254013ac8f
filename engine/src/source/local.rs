//! `local://` and COPY sources: a path set of the build context, identified and turned into a tree.
//!
//! The walk holds directory file descriptors and never follows a link it did not resolve itself, so no path can
//! leave the context. Owner becomes 0:0, setuid and setgid go, and file capabilities stay, as in sealer; what the
//! process's umask, user or working directory are shows nowhere.

mod attributes;
mod context;
mod error;
mod locate;
mod look;
mod walk;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use solver::{LocalSource, TreeDigest};

use self::walk::{PATH_LIMIT, Place, each, names, open_below, run_of};
use crate::cancel::Cancel;
use crate::contents::Contents;
use crate::ignore::Matched;
use crate::pattern::Pattern;
use crate::stat::{Below, Seen, StatCache};
use crate::tree::{Directory, Entry, Meta, Name, Node, Trees, components, push_name};

pub use context::Context;
pub use error::LocalError;
pub use look::Look;

pub(super) use attributes::is_of_image;
pub(super) use locate::{Located, Standing, follow};

/// What a scan needs beside the pattern.
#[derive(Clone, Copy)]
pub(crate) struct Scan<'a> {
    /// The context.
    pub(crate) context: &'a Context,
    /// Where directories go.
    pub(crate) trees: &'a Trees<'a>,
    /// Where file locations go.
    pub(crate) contents: &'a Contents<'a>,
    /// What is known of the context's files.
    pub(crate) stats: &'a StatCache<'a>,
    /// Whether modification times count.
    pub(crate) keep_mtime: bool,
    /// Stops it.
    pub(crate) cancel: &'a Cancel,
    /// Takes names of sockets that were left out.
    pub(crate) skipped: &'a (dyn Fn(&Path) + Sync),
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
    pub(crate) fn select(&self, source: &LocalSource) -> Result<TreeDigest, LocalError> {
        let pattern = Pattern::new(&source.pattern)?;
        let prefix: Vec<Name> = components(pattern.literal_prefix().as_bytes()).map(<[u8]>::to_vec).collect();
        let direct = if pattern.is_literal() { self.context.open_directly(&prefix) } else { None };
        let direct = direct.map(|dir| self.opened(&dir, &prefix)).transpose()?.flatten();
        let (selected, is_left_out) = match direct {
            Some(entry) => (Some(entry), false),
            None => match self.context.locate(&prefix, &source.pattern)? {
                Located::At(real) if pattern.is_literal() => match self.entry(&real)? {
                    None => {
                        let is_left_out = self.context.ignore.is_ignored(&joined(&real));
                        return Err(self.absent(&real, source, is_left_out));
                    }
                    entry => (entry, false),
                },
                Located::At(real) => (self.matches(&pattern, &joined(&prefix), &real)?, false),
                Located::LeftOut => (None, pattern.is_literal()),
                Located::Nowhere => (None, false),
            },
        };
        let Some(entry) = selected else { return Err(self.absent(&prefix, source, is_left_out)) };
        let entry = below(self.trees, &prefix, entry, |depth| match source.parents {
            true => self.dir_meta(&joined(&prefix[..depth])),
            false => Ok(Meta::with_mode(0o755)),
        })?;
        match entry.node {
            Node::Dir(tree) => Ok(tree),
            _ => Err(self.absent(&prefix, source, false)),
        }
    }

    /// Why a source gives nothing; `path` is how far its links were followed.
    fn absent(&self, path: &[Name], source: &LocalSource, ignored: bool) -> LocalError {
        let (host, context) = (self.context.host(path), self.context.root.clone());
        let pattern = LocalSource::shown(&source.pattern).into_owned();
        let kind = rustix::fs::lstat(&host).ok().map(|stat| FileType::from_raw_mode(stat.st_mode));
        match (kind, fs_err::read_link(&host)) {
            (Some(FileType::Socket), _) if !ignored => LocalError::Special { path: host, kind: "socket" },
            (Some(FileType::Symlink), Ok(target)) if !ignored => {
                LocalError::Dangling { path: pattern, target: target.display().to_string(), context }
            }
            _ => LocalError::NotFound { pattern, context, ignored },
        }
    }

    fn dir_meta(&self, path: &[u8]) -> Result<Meta, LocalError> {
        let host = self.context.root.join(OsStr::from_bytes(path));
        let stat = rustix::fs::lstat(&host).map_err(|e| LocalError::Io { path: host, source: e.into() })?;
        Ok(Seen::of(&stat, self.keep_mtime).meta(self.keep_mtime))
    }

    /// The entry at a resolved path, read whole.
    fn entry(&self, path: &[Name]) -> Result<Option<Entry>, LocalError> {
        let Some((name, above)) = path.split_last() else {
            let root = &self.context.root;
            let dir = open_dir(root)?;
            let stat = rustix::fs::fstat(&dir)
                .map_err(|e| LocalError::Io { path: root.clone(), source: e.into() })?;
            let Below { tree, .. } = self.directory(&dir, &stat, root, b"", &Matched::default())?;
            let meta = Seen::of(&stat, self.keep_mtime).meta(self.keep_mtime);
            return Ok(Some(Entry { meta, node: Node::Dir(tree) }));
        };
        // Anything else is an error here, and found to be what it is below.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(dir) = rustix::fs::open(self.context.host(path), flags, Mode::empty()) {
            return self.opened(&dir, path);
        }
        let matched = self.matched_by(above);
        let parent = self.context.host(above);
        let dir = open_dir(&parent)?;
        let place = Place { dir: &dir, host: &parent.into(), path: &joined(above), matched: &matched };
        self.one(&place, name)
    }

    /// The entry at a resolved path, a directory that is not the root and is open.
    fn opened(&self, dir: &OwnedFd, path: &[Name]) -> Result<Option<Entry>, LocalError> {
        self.whole(dir, &self.context.host(path), &joined(path), &self.matched_by(&path[..path.len() - 1]))
    }

    /// What the ignore rules say of a directory, from the root down.
    fn matched_by(&self, path: &[Name]) -> Matched {
        if self.context.ignore.is_empty() {
            return Matched::default();
        }
        (1..=path.len()).fold(Matched::default(), |above, depth| {
            self.context.ignore.enter(&above, &joined(&path[..depth]))
        })
    }

    /// Everything below a resolved directory that a pattern with wildcards selects.
    fn matches(&self, pattern: &Pattern, prefix: &[u8], real: &[Name]) -> Result<Option<Entry>, LocalError> {
        let host = self.context.host(real);
        let Ok(dir) = open_dir(&host) else { return Ok(None) };
        let (path, matched) = (joined(real), self.matched_by(real));
        let place = Place { dir: &dir, host: &host.into(), path: &path, matched: &matched };
        let Some(tree) = self.matching(pattern, prefix, &place)? else { return Ok(None) };
        Ok(Some(Entry { meta: self.dir_meta(&path)?, node: Node::Dir(tree) }))
    }

    /// The same of an open directory; `written` is how the pattern spells it.
    fn matching(
        &self,
        pattern: &Pattern,
        written: &[u8],
        place: &Place<'_>,
    ) -> Result<Option<TreeDigest>, LocalError> {
        let fail = |source| LocalError::Io { path: place.host.to_path_buf(), source };
        if place.path.len() > PATH_LIMIT {
            return Err(fail(Errno::NAMETOOLONG.into()));
        }
        let stat = rustix::fs::fstat(place.dir).map_err(|errno| fail(errno.into()))?;
        let mut names = names(place.dir).map_err(fail)?;
        names.sort_unstable();
        let selected = each(&names, run_of(&stat, place.path), |name| {
            let entry = self.selected(pattern, written, place, name)?;
            Ok(entry.map(|entry| (name.as_slice(), entry)))
        })?;
        let mut directory = Directory::default();
        for (name, entry) in selected {
            directory.entries.insert(name, entry);
        }
        Ok((!directory.entries.is_empty()).then(|| self.trees.add(directory)))
    }

    /// What a pattern selects by one name: all that has it, or something below.
    fn selected(
        &self,
        pattern: &Pattern,
        written: &[u8],
        place: &Place<'_>,
        name: &[u8],
    ) -> Result<Option<Entry>, LocalError> {
        let (mut written, mut real) = (written.to_vec(), place.path.to_vec());
        push_name(&mut written, name);
        push_name(&mut real, name);
        if pattern.matches(&written) {
            return self.matched(place, &real, name);
        }
        if !pattern.could_match_below(&written) {
            return Ok(None);
        }
        let Ok(dir) = open_below(place.dir, name) else { return Ok(None) };
        let host = place.host.join(OsStr::from_bytes(name)).into();
        let matched = self.context.ignore.enter(place.matched, &real);
        let below = Place { dir: &dir, host: &host, path: &real, matched: &matched };
        let Some(tree) = self.matching(pattern, &written, &below)? else { return Ok(None) };
        Ok(Some(Entry { meta: self.dir_meta(&real)?, node: Node::Dir(tree) }))
    }

    /// A match itself: a link is followed, inside the context, and keeps its name. One that leads nowhere is for the copy to judge.
    fn matched(&self, place: &Place<'_>, real: &[u8], name: &[u8]) -> Result<Option<Entry>, LocalError> {
        match self.one(place, name)? {
            Some(link @ Entry { node: Node::Symlink(_), .. }) => {
                let path: Vec<Name> = components(real).map(<[u8]>::to_vec).collect();
                match self.context.locate(&path, &lossy(real))? {
                    Located::At(target) => self.entry(&target),
                    Located::LeftOut => Ok(None),
                    Located::Nowhere => Ok(Some(link)),
                }
            }
            entry => Ok(entry),
        }
    }
}

/// An entry at a path: inside the directories above it, whose headers are asked for by how deep they lie.
pub(super) fn below<E>(
    trees: &Trees<'_>,
    path: &[Name],
    entry: Entry,
    header: impl Fn(usize) -> Result<Meta, E>,
) -> Result<Entry, E> {
    let mut entry = entry;
    for depth in (0..path.len()).rev() {
        let mut parent = Directory::default();
        parent.entries.insert(path[depth].as_slice(), entry);
        let meta = if depth > 0 { header(depth)? } else { Meta::with_mode(0o755) };
        entry = Entry { meta, node: Node::Dir(trees.add(parent)) };
    }
    Ok(entry)
}

fn open_dir(path: &Path) -> Result<OwnedFd, LocalError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| LocalError::Io { path: path.to_owned(), source: e.into() })
}

pub(super) fn joined(names: &[Name]) -> Vec<u8> {
    names.join(&b'/')
}

pub(super) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
