//! Files of the user that a command writes: places that are checked before it works, and contents that appear whole.

use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::report::Failure;

/// The place an option names, as far as can be seen before: a file of a directory that can be written.
///
/// # Errors
/// What is wrong with it, with the option's name.
pub(crate) fn place(option: &str, path: &Path) -> Result<PathBuf, Failure> {
    let wrong = |reason: String| {
        Failure::usage(format!("`{option} {}` cannot be written: {reason}", path.display()))
            .hint(format!("`{option}` takes a file of a directory that exists"))
    };
    // Whoever works elsewhere later means the same.
    let absolute = std::path::absolute(path).map_err(|error| wrong(error.to_string()))?;
    if path.as_os_str().to_string_lossy().ends_with('/') || absolute.is_dir() {
        return Err(wrong("it is a directory".to_owned()));
    }
    if absolute.exists() && !absolute.is_file() {
        return Err(wrong("it is no file".to_owned()));
    }
    let dir = absolute.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        return Err(wrong(format!("there is no directory `{}`", dir.display())));
    }
    let real = real(&absolute).map_err(|error| wrong(error.to_string()))?;
    let dir = real.parent().unwrap_or(Path::new("/"));
    access(dir, Access::WRITE_OK)
        .map_err(|error| wrong(format!("`{}`: {}", dir.display(), std::io::Error::from(error))))?;
    Ok(real)
}

/// Two names of one file are one place, whether it is there or not.
fn real(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    fs_err::canonicalize(&absolute).or_else(|_| {
        let dir = fs_err::canonicalize(absolute.parent().unwrap_or(Path::new("/")))?;
        Ok(dir.join(absolute.file_name().unwrap_or_default()))
    })
}

/// As [`place`], for a file that is written as it is, which may be a device or a pipe, too.
pub(crate) fn check(option: &str, path: &Path) -> Result<(), Failure> {
    if !fs_err::metadata(path).is_ok_and(|found| !found.is_dir()) {
        return place(option, path).map(drop);
    }
    access(path, Access::WRITE_OK).map_err(|error| {
        let error = std::io::Error::from(error);
        Failure::usage(format!("`{option} {}` cannot be written: {error}", path.display()))
    })
}

/// Says which two options name one file or directory. A device may be named twice: it takes what it gets.
pub(crate) fn distinct(places: &[(&str, Option<&Path>)]) -> Result<(), Failure> {
    let mut known: Vec<(&str, PathBuf)> = Vec::new();
    for (option, path) in places {
        let Some(path) = path.filter(|path| !path.exists() || path.is_file() || path.is_dir()) else {
            continue;
        };
        let real = real(path).unwrap_or_else(|_| path.to_owned());
        if let Some((other, _)) = known.iter().find(|(_, known)| *known == real) {
            return Err(Failure::usage(format!(
                "`{other}` and `{option}` cannot both be written to `{}`",
                real.display()
            )));
        }
        known.push((option, real));
    }
    Ok(())
}

/// Takes away what an earlier command wrote: who reads it after a failure would take it for new. What is no plain file stays.
pub(crate) fn discard(path: &Path) {
    if fs_err::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        // Where this is not allowed, the file is written over in the end.
        let _ = fs_err::remove_file(path);
    }
}

/// As [`check`], for a directory that is to be made, or is there and empty.
pub(crate) fn check_dir(option: &str, path: &Path) -> Result<(), Failure> {
    let fail = |reason: String, hint: &str| {
        Err(Failure::usage(format!("`{option} {}` {reason}", path.display())).hint(hint))
    };
    match fs_err::read_dir(path).map(|mut files| files.next().is_some()) {
        Ok(false) => return Ok(()),
        Ok(true) => {
            return fail("exists and is not empty".to_owned(), "remove it, or choose another directory");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(_) => return fail("is no directory".to_owned(), "choose another directory"),
    }
    // A `/` at its end is right here.
    let path: PathBuf = path.components().collect();
    place(option, &path).map(drop)
}

/// Replaces a file whole; where it is a link, what that leads to.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let tmp = PathBuf::from(name);
    let write = || {
        let mut file = fs_err::File::create(&tmp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs_err::rename(&tmp, &path)
    };
    write().inspect_err(|_| _ = fs_err::remove_file(&tmp))
}
