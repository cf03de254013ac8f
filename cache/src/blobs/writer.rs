//! Blobs on their way into the store: files below `tmp/`.

use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use fs_err::File;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use super::BlobStore;
use crate::CacheError;

/// Bytes written before the kernel is asked to start writing them back.
const WRITE_BACK: u64 = 4 << 20;

/// Most bytes reserved for a blob that is expected.
const RESERVE_LIMIT: u64 = 4 << 30;

/// Bytes copied from blob to blob before the kernel is asked to start writing them back.
const COPY: u64 = 64 << 20;

/// A blob being written. Dropped without completing, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'store> {
    pub(super) store: &'store BlobStore,
    pub(super) out: Hashing<Unnamed>,
}

impl BlobWriter<'_> {
    /// Ends the blob; it is stored at the next commit. One that is there already is not stored again.
    ///
    /// # Errors
    /// None today: what a file system refuses, it refuses in a write or in the commit.
    pub fn complete(self) -> Result<Descriptor, CacheError> {
        let blob = self.written();
        self.store.keep_if_new(blob, self.out.inner);
        Ok(blob)
    }

    /// Ends the blob if it is what was expected. It replaces what may stand under its name.
    ///
    /// # Errors
    /// When it is something else; then nothing is kept.
    pub fn complete_verified(self, expected: &Descriptor) -> Result<(), CacheError> {
        let found = self.written();
        if found.size != expected.size {
            return Err(CacheError::Size {
                digest: expected.digest,
                expected: expected.size,
                found: found.size,
            });
        }
        if found.digest != expected.digest {
            return Err(CacheError::Digest { expected: expected.digest, found: found.digest });
        }
        self.store.keep(found, self.out.inner);
        Ok(())
    }

    /// What was written so far.
    pub fn written(&self) -> Descriptor {
        self.out.descriptor()
    }

    /// Tells the file system how much is coming, which takes half the work out of writing it. It may not listen, and
    /// what somebody else says of a size is believed up to a limit.
    pub fn expect(&self, bytes: u64) {
        let length = bytes.min(RESERVE_LIMIT);
        if length >= WRITE_BACK {
            let _ =
                rustix::fs::fallocate(&self.out.inner.file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, length);
        }
    }

    /// Starts over: what was written is forgotten.
    ///
    /// # Errors
    /// When the file cannot be cut.
    pub fn restart(&mut self) -> Result<(), CacheError> {
        let file = &mut self.out.inner.file;
        file.set_len(0)?;
        file.rewind()?;
        (self.out.inner.written, self.out.inner.on_its_way) = (0, 0);
        self.out.hasher.reset();
        self.out.size = 0;
        Ok(())
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A blob being written while somebody else hashes it. Dropped without completing, it leaves nothing.
#[derive(Debug)]
pub struct PrehashedWriter<'store> {
    pub(super) store: &'store BlobStore,
    pub(super) file: Unnamed,
}

impl PrehashedWriter<'_> {
    /// Ends the blob under a digest that the caller computed from the very bytes it wrote.
    pub fn complete(self, blob: Descriptor) {
        self.store.keep_if_new(blob, self.file);
    }
}

impl PrehashedWriter<'_> {
    /// Appends the first `length` bytes of another blob, in the kernel where it can.
    ///
    /// # Errors
    /// When it is shorter, or cannot be read or written.
    pub fn append_front(&mut self, from: &File, length: u64) -> io::Result<()> {
        let mut rest = length;
        while rest > 0 {
            let copied = io::copy(&mut from.file().take(rest.min(COPY)), &mut self.file.file.file())?;
            if copied == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.file.written += copied;
            self.file.write_back();
            rest -= copied;
        }
        Ok(())
    }
}

impl Write for PrehashedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file under `tmp/`, removed when dropped unless a pending blob has taken it over.
#[derive(Debug)]
pub(super) struct Unnamed {
    path: PathBuf,
    file: File,
    is_kept: bool,
    written: u64,
    /// Bytes the kernel was asked to write back.
    on_its_way: u64,
}

impl Unnamed {
    /// A file that was just made.
    pub(super) fn new(path: PathBuf, file: File) -> Self {
        Self { path, file, is_kept: false, written: 0, on_its_way: 0 }
    }

    /// Leaves the file where it is; somebody knows it now.
    pub(super) fn into_path(mut self) -> PathBuf {
        self.is_kept = true;
        self.path.clone()
    }

    /// Has the kernel start writing to the disk what it was given, so that the commit's sync finds little left to do.
    /// The advice that says so also lets clean pages go; these are dirty, and stay.
    fn write_back(&mut self) {
        let length = std::num::NonZeroU64::new(self.written - self.on_its_way);
        // Advice: whether it is taken changes nothing but the time.
        let _ = rustix::fs::fadvise(&self.file, self.on_its_way, length, rustix::fs::Advice::DontNeed);
        self.on_its_way = self.written;
    }
}

impl Write for Unnamed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        if self.written - self.on_its_way >= WRITE_BACK {
            self.write_back();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nobody knows this file; if it cannot be removed, it goes with the directory.
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

#[derive(Debug)]
pub(super) struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), size: 0 }
    }

    pub(super) fn descriptor(&self) -> Descriptor {
        Descriptor { digest: BlobDigest::from_bytes(self.hasher.clone().finalize().into()), size: self.size }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
