//! A build context: a directory, and what its ignore file leaves out of it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{LocalError, open_dir};
use crate::ignore::{IgnoreRules, ignore_file_names};

/// A build context on this host.
#[derive(Debug)]
pub struct Context {
    /// Canonical path of its root.
    pub root: PathBuf,
    /// What its ignore file leaves out.
    pub ignore: IgnoreRules,
    /// Its root: where paths begin. It is never listed, since all who do would share one place in the list.
    pub(super) dir: OwnedFd,
}

impl Context {
    /// Opens a directory as a context: finds its ignore file and reads it.
    ///
    /// # Errors
    /// When it is no directory, or its ignore file is wrong.
    pub fn open(dir: &Path) -> Result<Self, LocalError> {
        let fail = |source| LocalError::Io { path: dir.to_owned(), source };
        let root = fs_err::canonicalize(dir).map_err(fail)?;
        if !root.is_dir() {
            return Err(fail(std::io::ErrorKind::NotADirectory.into()));
        }
        let found = ignore_file_names().into_iter().map(|name| root.join(name)).find(|path| path.is_file());
        let ignore = match found {
            None => IgnoreRules::none(),
            Some(path) => {
                let text =
                    fs_err::read(&path).map_err(|source| LocalError::Io { path: path.clone(), source })?;
                IgnoreRules::parse(&String::from_utf8_lossy(&text))
                    .map_err(|source| LocalError::IgnoreFile { path, source })?
            }
        };
        let dir = open_dir(&root)?;
        Ok(Self { root, ignore, dir })
    }
}
