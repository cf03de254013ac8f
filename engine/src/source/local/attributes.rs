//! Extended attributes of context files, as far as they belong into an image.
//!
//! Those are file capabilities and what users put there (`user.`), as buildah and Docker have it. Labels of the host's
//! security modules and access lists say something of the host; what overlay file systems note for themselves would
//! be believed by the next one.

use std::os::fd::AsFd;

use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;

use crate::tree::Xattrs;

/// Longest list of names, and longest value, as Linux has them (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MOST_BYTES: usize = 64 << 10;
/// Most bytes of one file's attributes together; a PAX header could not hold many times that.
const TOTAL_LIMIT: usize = 1 << 20;

/// The attributes of an open file or directory; none where the file system has none.
pub(super) fn attributes(file: impl AsFd) -> Result<Xattrs, Errno> {
    let file = file.as_fd();
    let names = match read(|buffer| flistxattr(file, buffer)) {
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Xattrs::default()),
        names => names?,
    };
    let mut found = Vec::new();
    let mut total = 0;
    for name in names.split(|&byte| byte == 0).filter(|name| is_of_image(name)) {
        match read(|buffer| fgetxattr(file, name, buffer)) {
            // It went away since the names were listed; what comes and goes is seen by the file's times.
            Err(Errno::NODATA) => {}
            value => found.push((name.to_vec(), value?)),
        }
        total += found.last().map_or(0, |(name, value)| name.len() + value.len());
        if total > TOTAL_LIMIT {
            return Err(Errno::TOOBIG);
        }
    }
    found.sort();
    Ok(found.into())
}

/// Whether an attribute belongs into an image.
pub(in crate::source) fn is_of_image(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// Reads what is nearly always short, and seldom anything at all.
fn read(ask: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut short = [0; 256];
    match ask(&mut short) {
        Ok(length) => Ok(short[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut long = vec![0; MOST_BYTES];
            let length = ask(&mut long)?;
            long.truncate(length);
            Ok(long)
        }
        Err(error) => Err(error),
    }
}
