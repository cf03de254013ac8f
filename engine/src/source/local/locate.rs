//! Where a path of the context leads: links are followed one by one, and never out of it.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};

use super::error::LINK_LIMIT;
use super::{Context, LocalError, joined, lossy};
use crate::tree::{Name, components};

/// What stands at a path.
#[derive(Debug)]
pub(in crate::source) enum Located {
    /// Something, at this path without links.
    At(Vec<Name>),
    /// Something that the ignore file leaves out.
    LeftOut,
    /// Nothing.
    Nowhere,
}

/// What stands at one path, no link followed.
pub(in crate::source) enum Standing {
    Nothing,
    /// A link, and its target.
    Link(Vec<u8>),
    Other,
}

/// Follows the links of a literal path one by one. `standing` looks, `inside` says where a link's target lies, `None` when that is
/// outside; the result is `None` when nothing is there.
pub(in crate::source) fn follow<E: From<LocalError>>(
    path: &[Name],
    shown: &str,
    standing: impl Fn(&[Name]) -> Result<Standing, E>,
    inside: impl Fn(&[Name], &[u8]) -> Option<Vec<Name>>,
) -> Result<Option<Vec<Name>>, E> {
    let mut ahead: Vec<Name> = path.iter().rev().cloned().collect();
    let mut at: Vec<Name> = Vec::new();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            at.pop();
            continue;
        }
        at.push(name);
        let target = match standing(&at)? {
            Standing::Nothing => return Ok(None),
            Standing::Link(target) => target,
            Standing::Other => continue,
        };
        links += 1;
        if links > LINK_LIMIT {
            return Err(LocalError::LinkLoop { path: shown.to_owned() }.into());
        }
        let link = joined(&at);
        at.pop();
        let inside = inside(&at, &target).ok_or_else(|| LocalError::Escapes {
            path: shown.to_owned(),
            link: lossy(&link),
            target: lossy(&target),
        })?;
        at.clear();
        ahead.extend(inside.into_iter().rev());
    }
    Ok(Some(at))
}

impl Context {
    /// Opens the directory at a path of which no part is a link: the usual case, in one call. `None` for all that is looked at part by
    /// part, and where the kernel does not know the call (before Linux 5.6, or where a sandbox forbids it).
    pub(super) fn open_directly(&self, path: &[Name]) -> Option<OwnedFd> {
        if path.is_empty() || path.iter().any(|name| name == b"..") {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&self.dir, joined(path), flags, Mode::empty(), resolve).ok()
    }

    /// Follows the links of a literal path inside the context. A link that is left out leads nowhere.
    pub(super) fn locate(&self, path: &[Name], shown: &str) -> Result<Located, LocalError> {
        let is_left_out = Cell::new(false);
        let standing = |at: &[Name]| -> Result<Standing, LocalError> {
            let host = self.host(at);
            let Ok(stat) = rustix::fs::lstat(&host) else { return Ok(Standing::Nothing) };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                return Ok(Standing::Other);
            }
            if self.ignore.is_ignored(&joined(at)) {
                is_left_out.set(true);
                return Ok(Standing::Nothing);
            }
            let target = fs_err::read_link(&host).map_err(|source| LocalError::Io { path: host, source })?;
            Ok(Standing::Link(target.into_os_string().into_vec()))
        };
        let inside = |at: &[Name], target: &[u8]| self.inside(at, target);
        let Some(at) = follow(path, shown, standing, inside)? else {
            return Ok(if is_left_out.get() { Located::LeftOut } else { Located::Nowhere });
        };
        let path = joined(&at);
        let left_out = !path.is_empty() && self.ignore.is_ignored(&path) && self.ignore.can_prune(&path);
        Ok(if left_out { Located::LeftOut } else { Located::At(at) })
    }

    /// Where a link's target lies inside the context; `None` when it leaves it.
    fn inside(&self, at: &[Name], target: &[u8]) -> Option<Vec<Name>> {
        let mut path: Vec<Name> = at.to_vec();
        let mut rest = target;
        if target.starts_with(b"/") {
            path.clear();
            let root = self.root.as_os_str().as_bytes();
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

    pub(super) fn host(&self, path: &[Name]) -> PathBuf {
        let mut host = self.root.clone();
        host.extend(path.iter().map(|name| std::ffi::OsStr::from_bytes(name)));
        host
    }
}
