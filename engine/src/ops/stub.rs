//! Places for what is mounted while a command runs, where the image has none.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::exec::ExecError;
use crate::layer::TimePolicy;
use crate::sandbox::{self, SandboxError};
use crate::state::{Found, State};
use crate::transport::rootfs::dir::set_xattr;
use crate::tree::{Meta, Trees, components};
use crate::upper::set_time;

/// The lowest directories that runs write to by themselves: where something is mounted that the state has no place for.
/// As a directory of its own below the command it never shows in what the command leaves.
pub(super) struct Stub<'a> {
    pub(super) trees: &'a Trees<'a>,
    pub(super) state: &'a State,
    pub(super) root: PathBuf,
}

impl Stub<'_> {
    /// Makes sure that something can be mounted at a path; where that is, links resolved.
    pub(super) fn place(&self, path: &[u8], is_dir: bool) -> Result<String, ExecError> {
        let resolved = self.state.resolve(self.trees, path)?;
        let target = format!("/{}", String::from_utf8_lossy(&resolved.path));
        let mut at = self.root.clone();
        make(&at, &Meta::with_mode(0o755))?;
        if resolved.found != Found::Absent {
            return Ok(target);
        }
        let names: Vec<&[u8]> = components(&resolved.path).collect();
        let Some((last, parents)) = names.split_last() else { return Ok(target) };
        for (name, meta) in parents.iter().zip(&resolved.parents) {
            at.push(OsStr::from_bytes(name));
            make(&at, meta.as_ref().unwrap_or(&Meta::with_mode(0o755)))?;
        }
        at.push(OsStr::from_bytes(last));
        if is_dir {
            make(&at, &Meta::with_mode(0o755))?;
        } else if !at.exists() {
            fs_err::write(&at, "").map_err(SandboxError::from)?;
        }
        Ok(target)
    }

    /// Gives directories the times that they have below, and those that are not there the time of the build: places that were made
    /// in them have changed them.
    pub(super) fn settle(&self, lowers: &[PathBuf], times: TimePolicy) -> io::Result<()> {
        self.settle_in(&mut PathBuf::new(), lowers, times)
    }

    fn settle_in(&self, path: &mut PathBuf, lowers: &[PathBuf], times: TimePolicy) -> io::Result<()> {
        let dir = self.root.join(&*path);
        for entry in fs_err::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                path.push(entry.file_name());
                self.settle_in(path, lowers, times)?;
                path.pop();
            }
        }
        let below = lowers.iter().find_map(|lower| fs_err::symlink_metadata(lower.join(&*path)).ok());
        let below = below.filter(Metadata::is_dir);
        set_time(&dir, below.map_or(times.fixed(), |below| below.mtime()))
    }
}

/// A directory with the header the state has for it.
fn make(path: &Path, meta: &Meta) -> Result<(), SandboxError> {
    if path.exists() {
        return Ok(());
    }
    fs_err::create_dir(path)?;
    fs_err::set_permissions(path, PermissionsExt::from_mode(meta.mode))?;
    if rustix::process::geteuid().is_root() {
        sandbox::give(path, meta.uid, meta.gid)?;
    }
    let mut attributes = meta.xattrs.iter();
    Ok(attributes.try_for_each(|(name, value)| set_xattr(path, name, value)).map_err(std::io::Error::from)?)
}
