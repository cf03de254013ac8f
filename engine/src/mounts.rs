//! Root file systems of images, mounted read-only below the store.
//!
//! The merged root file system is unpacked once and bound onto itself read-only, without set-user-id files and devices
//! taking effect: an image is somebody else's. What is mounted is what the kernel says is mounted.
//!
//! ```text
//! $SEALER_ROOT/mounts/ID/rootfs    what was unpacked
//!                       /boot      since which start of the machine it is mounted
//! ```

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cache::Store;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use thiserror::Error;

use crate::cancel::Cancel;
use crate::images::StoredImage;
use crate::layer::TimePolicy;
use crate::snapshot::boot_id;
use crate::transport::{Destination, TransportError, write_rootfs};

/// What the kernel says of mounts (proc(5)).
const MOUNTINFO: &str = "/proc/self/mountinfo";
const ROOTFS: &str = "rootfs";
const BOOT: &str = "boot";

/// An image that was not mounted, or not unmounted.
#[derive(Debug, Error)]
pub enum MountError {
    /// The kernel lets only root mount.
    #[error("mounting needs root, or a user namespace of one's own")]
    NotRoot,
    /// The kernel refused.
    #[error("`{}` could not be {what}: {source}", path.display())]
    Kernel {
        /// Where.
        path: PathBuf,
        /// `mounted` or `unmounted`.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The image could not be unpacked.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The store's directory.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A mounted image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The image id.
    pub id: String,
    /// Where its root file system is.
    pub path: PathBuf,
}

pub(crate) fn dir_of(store_root: &Path) -> PathBuf {
    store_root.join("mounts")
}

/// Whether a directory of an image is nothing but a rest: its mounting was stopped, or the machine has been started again
/// since. What is mounted now may be so in a mount namespace that is not seen from here. The store is open alone.
pub(crate) fn is_rest(own: &Path) -> bool {
    let (Ok(boot), Ok(mountinfo)) = (boot_id(), fs_err::read(MOUNTINFO)) else { return false };
    let own = fs_err::canonicalize(own).unwrap_or_else(|_| own.to_owned());
    let is_mounted = mount_points(&mountinfo).any(|path| path.starts_with(&own));
    !is_mounted && fs_err::read_to_string(own.join(BOOT)).map_or(true, |since| since != boot)
}

/// The images of a store that are mounted, by id.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn mounted(store_root: &Path) -> Result<Vec<Mounted>, MountError> {
    let dir = dir_of(store_root);
    // Links on the way to the store do not show in the kernel's list.
    let Ok(dir) = fs_err::canonicalize(&dir) else { return Ok(Vec::new()) };
    let mut found: Vec<Mounted> = Vec::new();
    for path in mount_points(&fs_err::read(MOUNTINFO)?) {
        let Ok(below) = path.strip_prefix(&dir) else { continue };
        let mut parts = below.iter();
        if let (Some(id), Some(name), None) = (parts.next(), parts.next(), parts.next())
            && name == ROOTFS
            && found.iter().all(|known| known.path != path)
        {
            found.push(Mounted { id: id.to_string_lossy().into_owned(), path: path.clone() });
        }
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

/// Mounts an image. One that is mounted already stays as it is; whether it was.
///
/// # Errors
/// When this is not root, or the image cannot be unpacked; then nothing is left.
pub fn mount(store: &Store, image: &StoredImage, cancel: &Cancel) -> Result<(Mounted, bool), MountError> {
    let id = image.config_blob.digest.hex();
    if let Some(known) = mounted(store.root())?.into_iter().find(|known| known.id == id) {
        return Ok((known, true));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(MountError::NotRoot);
    }
    let dir = dir_of(store.root());
    if !dir.exists() {
        // What an image holds is not for every user of the machine.
        fs_err::create_dir(&dir)?;
        fs_err::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
    }
    let own = fs_err::canonicalize(&dir)?.join(&id);
    // What an earlier one left that was stopped; nothing is mounted there.
    remove(&own)?;
    fs_err::create_dir(&own)?;
    let path = own.join(ROOTFS);
    let done = write_rootfs(store, image, TimePolicy::Keep, &Destination::Path(path.clone()), cancel);
    let since = || Ok(fs_err::write(own.join(BOOT), boot_id()?)?);
    let done = done.map_err(MountError::from).and_then(|_| since()).and_then(|()| bind(&path));
    match done {
        Ok(()) => Ok((Mounted { id, path }, false)),
        Err(error) => {
            remove(&own)?;
            Err(error)
        }
    }
}

fn bind(path: &Path) -> Result<(), MountError> {
    let fail = |source: rustix::io::Errno| MountError::Kernel {
        path: path.to_owned(),
        what: "mounted",
        source: source.into(),
    };
    rustix::mount::mount_bind(path, path).map_err(fail)?;
    let safe = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    let done = rustix::mount::mount_change(path, MountPropagationFlags::PRIVATE)
        .and_then(|()| rustix::mount::mount_remount(path, safe, ""));
    done.map_err(|error| {
        // Half mounted it is of no use. If it cannot be unmounted, the next listing shows it.
        let _ = rustix::mount::unmount(path, UnmountFlags::DETACH);
        fail(error)
    })
}

/// Unmounts an image and removes what was unpacked for it.
///
/// # Errors
/// When somebody uses it; then it stays.
pub fn unmount(store_root: &Path, mounted: &Mounted) -> Result<(), MountError> {
    let fail = |source: rustix::io::Errno| {
        let path = mounted.path.clone();
        MountError::Kernel { path, what: "unmounted", source: source.into() }
    };
    rustix::mount::unmount(&mounted.path, UnmountFlags::NOFOLLOW).map_err(fail)?;
    remove(&fs_err::canonicalize(dir_of(store_root))?.join(&mounted.id))
}

/// Removes a directory that nothing is mounted in.
fn remove(dir: &Path) -> Result<(), MountError> {
    if mount_points(&fs_err::read(MOUNTINFO)?).any(|path| path.starts_with(dir)) {
        let source = io::ErrorKind::ResourceBusy.into();
        return Err(MountError::Kernel { path: dir.to_owned(), what: "removed", source });
    }
    match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The fifth field of every line, `\040` and the like undone.
fn mount_points(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> {
    mountinfo.split(|&byte| byte == b'\n').filter_map(|line| {
        let escaped = line.split(|&byte| byte == b' ').nth(4)?;
        let mut path = Vec::with_capacity(escaped.len());
        let mut at = 0;
        while let Some(&byte) = escaped.get(at) {
            let octal = escaped.get(at + 1..at + 4).filter(|_| byte == b'\\');
            let octal =
                octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
            path.push(octal.unwrap_or(byte));
            at += if octal.is_some() { 4 } else { 1 };
        }
        Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_understood() {
        let text = b"36 35 98:0 / /mnt/a\\040b rw - ext4 /dev/x rw\n37 35 98:0 / /mnt/c rw,ro shared:1 - tmpfs t rw\n\n";
        let points: Vec<PathBuf> = mount_points(text).collect();
        assert_eq!(points, [Path::new("/mnt/a b"), Path::new("/mnt/c")]);
    }
}
