//! Files put into a directory that nobody else writes to: root file systems, and layers made real for commands.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};

use super::{RootfsReport, Sink, copy_exactly};
use crate::layer::TimePolicy;
use crate::transport::TransportError;
use crate::tree::{Entry, Node};

pub(crate) struct Dir<'a> {
    pub(crate) root: &'a Path,
    pub(crate) times: TimePolicy,
    pub(crate) is_root: bool,
    pub(crate) report: RootfsReport,
}

impl Dir<'_> {
    pub(crate) fn path(&self, path: &[u8]) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(path))
    }

    /// Owner, attributes, permissions and time, in the order in which one does not undo another.
    pub(crate) fn attributes(&mut self, path: &Path, entry: &Entry) -> Result<(), TransportError> {
        let fail = |error: rustix::io::Errno| {
            let text = format!("attributes of `{}`: {}", path.display(), io::Error::from(error));
            TransportError::Io(io::Error::new(io::Error::from(error).kind(), text))
        };
        let is_link = matches!(entry.node, Node::Symlink(_));
        if self.is_root {
            let uid = rustix::fs::Uid::from_raw(entry.meta.uid);
            let gid = rustix::fs::Gid::from_raw(entry.meta.gid);
            match rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
                // This user namespace has no such user.
                Err(rustix::io::Errno::INVAL) => self.report.owners_not_set += 1,
                done => done.map_err(fail)?,
            }
        } else if (entry.meta.uid, entry.meta.gid) != (0, 0) {
            self.report.owners_not_set += 1;
        }
        let mut is_complete = true;
        for (name, value) in &*entry.meta.xattrs {
            match set_xattr(path, name, value) {
                Err(rustix::io::Errno::PERM) if !self.is_root => is_complete = false,
                done => done.map_err(fail)?,
            }
        }
        self.report.attributes_not_set += usize::from(!is_complete);
        if !is_link {
            rustix::fs::chmod(path, Mode::from_raw_mode(entry.meta.mode & 0o7777)).map_err(fail)?;
        }
        let time = Timespec { tv_sec: self.times.of(&entry.meta), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)
    }
}

/// Sets an extended attribute, unless an overlay mount would take it for an order of its own.
pub(crate) fn set_xattr(path: &Path, name: &[u8], value: &[u8]) -> Result<(), rustix::io::Errno> {
    if is_of_overlay(name) {
        return Ok(());
    }
    let name = std::ffi::OsStr::from_bytes(name);
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())
}

/// Whether an attribute is overlayfs's own.
pub(crate) fn is_of_overlay(name: &[u8]) -> bool {
    name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.")
}

impl Sink for Dir<'_> {
    fn other(&mut self, path: &[u8], entry: &Entry) -> Result<(), TransportError> {
        let at = self.path(path);
        match &entry.node {
            Node::Dir(_) => {
                // Its own attributes come last.
                return Ok(fs_err::create_dir(at)?);
            }
            Node::Symlink(target) => {
                fs_err::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), &at)?;
            }
            Node::Device { kind, major, minor } => {
                let kind = match kind {
                    'c' => rustix::fs::FileType::CharacterDevice,
                    'b' => rustix::fs::FileType::BlockDevice,
                    _ => rustix::fs::FileType::Fifo,
                };
                let device = rustix::fs::makedev(*major, *minor);
                match rustix::fs::mknodat(CWD, &at, kind, Mode::RUSR, device) {
                    Err(rustix::io::Errno::PERM) => {
                        self.report.devices_left_out += 1;
                        return Ok(());
                    }
                    made => made.map_err(io::Error::from)?,
                }
            }
            Node::File { .. } | Node::Whiteout => return Ok(()),
        }
        self.attributes(&at, entry)
    }

    fn file(
        &mut self,
        path: &[u8],
        entry: &Entry,
        size: u64,
        bytes: &mut dyn Read,
    ) -> Result<(), TransportError> {
        let at = self.path(path);
        let mut file: File = in_place(&at, || fs_err::File::create_new(&at))?.into_parts().0;
        copy_exactly(path, size, bytes, &mut file)?;
        self.attributes(&at, entry)
    }

    fn link(&mut self, path: &[u8], _: &Entry, target: &[u8]) -> Result<(), TransportError> {
        let at = self.path(path);
        Ok(in_place(&at, || fs_err::hard_link(self.path(target), &at))?)
    }
}

/// Makes something where another file may be. That one's further names keep what it was.
fn in_place<T>(at: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs_err::remove_file(at)?;
            make()
        }
        made => made,
    }
}
