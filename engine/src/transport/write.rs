//! Members of a layout, written as a tar stream or as files of a directory. A destination appears whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cache::Store;
use solver::{BlobDigest, MediaType};

use super::TransportError;
use crate::cancel::Cancel;
use crate::layer::{self, BLOCK};

/// Bytes copied at once.
const CHUNK: usize = 256 << 10;

/// Where the bytes of a member come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A directory.
    Dir,
    /// Bytes at hand.
    Bytes(Vec<u8>),
    /// A blob as it is.
    Blob(BlobDigest),
    /// The tar of a layer blob.
    Tar(BlobDigest, MediaType),
    /// An archive in the archive.
    Archive(Vec<Member>),
}

/// One file of a layout.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: String,
    /// In bytes.
    pub(super) size: u64,
    pub(super) source: Source,
}

impl Member {
    pub(super) fn bytes(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { path: path.to_owned(), size: bytes.len() as u64, source: Source::Bytes(bytes) }
    }

    pub(super) fn dir(path: &str) -> Self {
        Self { path: path.to_owned(), size: 0, source: Source::Dir }
    }

    pub(super) fn archive(path: String, members: Vec<Self>) -> Self {
        Self { path, size: archive_size(&members), source: Source::Archive(members) }
    }
}

/// Length of the tar of some members.
fn archive_size(members: &[Member]) -> u64 {
    let one = |member: &Member| BLOCK + member.size.next_multiple_of(BLOCK);
    members.iter().map(one).sum::<u64>() + layer::END.len() as u64
}

/// Where an image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, or a directory for layouts that are one.
    Path(PathBuf),
}

impl Destination {
    /// Opens the destination for a stream, has it written, and gives it its name.
    pub(super) fn stream(
        &self,
        write: impl FnOnce(&mut File) -> Result<(), TransportError>,
    ) -> Result<(), TransportError> {
        let path = match self {
            Self::Stdout => {
                let mut stdout = File::from(rustix::io::dup(io::stdout()).map_err(io::Error::from)?);
                return write(&mut stdout).map_err(|error| named(error, Path::new("-")));
            }
            Self::Path(path) => path,
        };
        let write = |out: &mut File| write(out).map_err(|error| named(error, path));
        let fail = |source: io::Error| TransportError::Write { path: path.clone(), source };
        match path.metadata() {
            // A pipe or a device has nothing to replace.
            Ok(there) if !there.is_file() && !there.is_dir() => {
                let file = fs_err::OpenOptions::new().write(true).open(path).map_err(fail)?;
                return write(&mut file.into_parts().0);
            }
            Ok(there) if there.is_dir() => return Err(fail(io::ErrorKind::IsADirectory.into())),
            _ => {}
        }
        // Through a link, not over it.
        let path = &path.canonicalize().unwrap_or_else(|_| path.clone());
        let mut file = tempfile::Builder::new()
            .prefix(".sealer-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(parent(path))
            .map_err(fail)?;
        write(file.as_file_mut())?;
        file.persist(path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    /// Makes a directory, has it filled, and gives it its name.
    pub(super) fn dir<T>(
        &self,
        fill: impl FnOnce(&Path) -> Result<T, TransportError>,
    ) -> Result<T, TransportError> {
        let Self::Path(path) = self else {
            return Err(TransportError::Write {
                path: "-".into(),
                source: io::Error::other("a directory cannot go to standard output"),
            });
        };
        let fail = |source: io::Error| TransportError::Write { path: path.clone(), source };
        match fs_err::read_dir(path) {
            Ok(mut there) => {
                if there.next().is_some() {
                    return Err(TransportError::NotEmpty { path: path.clone() });
                }
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            Err(_) => {}
        }
        // Through a link, not over it.
        let real = if path.is_symlink() { path.canonicalize().map_err(fail)? } else { path.clone() };
        let dir = tempfile::Builder::new()
            .prefix(".sealer-")
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(parent(&real))
            .map_err(fail)?;
        let filled = fill(dir.path()).map_err(|error| named(error, path))?;
        fs_err::rename(dir.path(), &real).map_err(fail)?;
        // It has another name now: there is nothing left to remove.
        let _ = dir.keep();
        Ok(filled)
    }
}

/// An error of the system that no other file gave its name to is that of what is written.
fn named(error: TransportError, path: &Path) -> TransportError {
    match error {
        TransportError::Io(source) if source.raw_os_error().is_some() => {
            TransportError::Write { path: path.to_owned(), source }
        }
        other => other,
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Copies members out of a store.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub(super) store: &'a Store,
    pub(super) cancel: &'a Cancel,
    pub(super) progress: &'a dyn Fn(u64),
}

impl Writer<'_> {
    /// Writes a whole tar.
    pub(super) fn archive(self, members: &[Member], out: &mut File) -> Result<(), TransportError> {
        for member in members {
            let mut header = tar::Header::new_gnu();
            let is_dir = matches!(member.source, Source::Dir);
            header.set_entry_type(if is_dir { tar::EntryType::Directory } else { tar::EntryType::Regular });
            header.set_path(&member.path)?;
            header.set_size(member.size);
            header.set_mode(if is_dir { 0o755 } else { 0o644 });
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_cksum();
            out.write_all(header.as_bytes())?;
            self.content(member, out)?;
            let padding = member.size.next_multiple_of(BLOCK) - member.size;
            out.write_all(&layer::END[..padding as usize])?;
        }
        Ok(out.write_all(&layer::END)?)
    }

    /// Writes members as files.
    pub(super) fn files(self, members: &[Member], dir: &Path) -> Result<(), TransportError> {
        for member in members {
            let path = dir.join(&member.path);
            if matches!(member.source, Source::Dir) {
                fs_err::create_dir(path)?;
                continue;
            }
            self.content(member, &mut fs_err::File::create_new(path)?.into_parts().0)?;
        }
        Ok(())
    }

    fn content(self, member: &Member, out: &mut File) -> Result<(), TransportError> {
        let written = match &member.source {
            Source::Dir => 0,
            Source::Bytes(bytes) => {
                out.write_all(bytes)?;
                bytes.len() as u64
            }
            Source::Blob(digest) => self.copy(&mut self.store.blobs().open(digest)?, out)?,
            Source::Tar(digest, media_type) => {
                let blob = self.store.blobs().open(digest)?;
                self.copy(&mut layer::uncompressed(blob, *media_type)?, out)?
            }
            Source::Archive(members) => {
                self.archive(members, out)?;
                member.size
            }
        };
        if written == member.size {
            return Ok(());
        }
        Err(TransportError::Size { part: member.path.clone(), expected: member.size, found: written })
    }

    /// Everything of a stream, in pieces that stay in a core's cache. Content lies at odd offsets in a tar: the kernel's
    /// own copying from file to file is slower there.
    fn copy(self, from: &mut dyn Read, out: &mut File) -> Result<u64, TransportError> {
        let mut buffer = vec![0; CHUNK];
        let mut written = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(TransportError::Cancelled);
            }
            match from.read(&mut buffer)? {
                0 => return Ok(written),
                read => {
                    out.write_all(&buffer[..read])?;
                    written += read as u64;
                    (self.progress)(read as u64);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_filled_through_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (dir, link) = (root.path().join("dir"), root.path().join("link"));
        let destination = Destination::Path(link.clone());
        let fill = |path: &Path| Ok(fs_err::write(path.join("file"), "x")?);
        std::os::unix::fs::symlink("dir", &link).unwrap();
        assert!(destination.dir(fill).is_err(), "it leads nowhere");
        fs_err::create_dir(&dir).unwrap();
        destination.dir(fill).unwrap();
        assert!(link.is_symlink() && dir.join("file").exists());
        assert_eq!(fs_err::read_dir(root.path()).unwrap().count(), 2);
    }
}
