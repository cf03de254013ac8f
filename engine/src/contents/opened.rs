//! Files as they are read, and bytes as they are identified.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use cache::PartReader;
use rustix::buffer::spare_capacity;
use solver::ContentDigest;

use super::{ContentError, Contents};

/// An open file, wherever its bytes are.
#[derive(Debug)]
pub enum Opened {
    /// A file of the host or the store.
    File(fs_err::File),
    /// A part of a blob.
    Part(PartReader),
    /// Bytes in memory.
    Bytes(io::Cursor<Arc<[u8]>>),
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Part(part) => part.read(buffer),
            Self::Bytes(bytes) => bytes.read(buffer),
        }
    }
}

impl Opened {
    /// Length in bytes.
    ///
    /// # Errors
    /// That of the file system.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Part(part) => Ok(part.size()),
            Self::Bytes(bytes) => Ok(bytes.get_ref().len() as u64),
        }
    }

    /// Appends the next `length` bytes, or fewer where it ends, in as few calls as it takes. How many.
    ///
    /// # Errors
    /// That of the file system.
    pub fn append_to(&mut self, out: &mut Vec<u8>, length: usize) -> io::Result<usize> {
        let start = out.len();
        out.reserve(length);
        match self {
            // Straight into the memory behind, which need not be cleared first.
            Self::File(file) => {
                let mut read = || rustix::io::retry_on_intr(|| rustix::io::read(&*file, spare_capacity(out)));
                let mut rest = length;
                while let bytes @ 1.. = read()? {
                    rest = rest.saturating_sub(bytes);
                    if rest == 0 {
                        break;
                    }
                }
                // There may have been more room.
                out.truncate(start + length);
            }
            Self::Part(_) | Self::Bytes(_) => drop(self.take(length as u64).read_to_end(out)?),
        }
        Ok(out.len() - start)
    }

    /// Moves to a byte offset from the start.
    ///
    /// # Errors
    /// That of the file system.
    pub fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        use io::Seek;
        match self {
            Self::File(file) => file.seek(io::SeekFrom::Start(offset)).map(drop),
            Self::Part(part) => {
                part.seek_to(offset);
                Ok(())
            }
            Self::Bytes(bytes) => bytes.seek(io::SeekFrom::Start(offset)).map(drop),
        }
    }
}

/// Copies a stream and identifies it on the way.
///
/// # Errors
/// Those of reading and writing.
pub fn copy_hashed(reader: &mut dyn Read, writer: &mut dyn io::Write) -> io::Result<ContentDigest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(ContentDigest::from_bytes(*hasher.finalize().as_bytes())),
            read => {
                hasher.update(&buffer[..read]);
                writer.write_all(&buffer[..read])?;
            }
        }
    }
}

/// Identity of bytes in memory.
pub fn content_digest(bytes: &[u8]) -> ContentDigest {
    ContentDigest::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// A file that is identified again while it is read, because what is made of it is remembered under its digest.
#[derive(Debug)]
pub(crate) struct Checked {
    opened: Opened,
    hasher: blake3::Hasher,
    digest: ContentDigest,
}

impl Checked {
    /// One that was opened, at its start.
    pub(crate) fn new(opened: Opened, digest: ContentDigest) -> Self {
        Self { opened, hasher: blake3::Hasher::new(), digest }
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.opened.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

impl Contents<'_> {
    /// Reads the rest of a file, and compares it with what it was when it was identified.
    ///
    /// # Errors
    /// [`ContentError::Changed`] with its path if it is something else.
    pub(crate) fn check(&self, mut file: Checked, path: &[u8]) -> Result<(), ContentError> {
        io::copy(&mut file, &mut io::sink())?;
        let found = ContentDigest::from_bytes(*file.hasher.finalize().as_bytes());
        self.confirm(&file.digest, &found, path)
    }

    /// Compares what a file was when it was identified with what was read of it now.
    ///
    /// # Errors
    /// [`ContentError::Changed`] with its path if it is something else.
    pub(crate) fn confirm(
        &self,
        digest: &ContentDigest,
        found: &ContentDigest,
        path: &[u8],
    ) -> Result<(), ContentError> {
        if found == digest {
            return Ok(());
        }
        self.doubt(digest);
        Err(ContentError::Changed { path: PathBuf::from(OsStr::from_bytes(path)) })
    }

    /// The first `limit` bytes of a file that is what it was when it was identified.
    ///
    /// # Errors
    /// Those of [`Contents::open`], or [`ContentError::Changed`] with its path.
    pub(crate) fn read(
        &self,
        digest: &ContentDigest,
        path: &[u8],
        limit: u64,
    ) -> Result<Vec<u8>, ContentError> {
        let mut file = Checked::new(self.open(digest)?, *digest);
        let mut bytes = Vec::new();
        file.by_ref().take(limit).read_to_end(&mut bytes)?;
        self.check(file, path)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use cache::Store;

    use super::*;
    use crate::contents::Location;

    #[test]
    fn a_file_that_is_not_what_it_was_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let contents = Contents::new(&store, false);
        let digest = content_digest(b"before");
        let place = Location::Host { dir: dir.path().into(), name: "f".into() };
        contents.add(digest, place);
        fs_err::write(dir.path().join("f"), "before").unwrap();
        assert_eq!(contents.read(&digest, b"x/f", 3).unwrap(), b"bef");
        assert_eq!(contents.read(&digest, b"x/f", 100).unwrap(), b"before");

        for now in ["before, and more", "bef", "beforE"] {
            fs_err::write(dir.path().join("f"), now).unwrap();
            let error = contents.read(&digest, b"x/f", 3).unwrap_err().to_string();
            assert_eq!(error, "`x/f` changed while the build was reading it; build again");
        }
    }
}
