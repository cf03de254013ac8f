//! Blobs on their way into the store: files below `tmp/`.

use std::io::{self, Write};

use fs_err::File;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use super::BlobStore;
use super::unnamed::Unnamed;
use crate::CacheError;

/// A blob being written. Dropped without completing, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'store> {
    pub(super) store: &'store BlobStore,
    pub(super) out: Hashing<Unnamed>,
}

impl BlobWriter<'_> {
    /// Ends the blob; it is stored at the next commit, in the place of what may stand under its name.
    ///
    /// # Errors
    /// When its last bytes cannot be written.
    pub fn complete(self) -> Result<Descriptor, CacheError> {
        let blob = self.written();
        self.store.keep(blob, self.out.inner)?;
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
        self.store.keep(found, self.out.inner)
    }

    /// What was written so far.
    pub fn written(&self) -> Descriptor {
        self.out.descriptor()
    }

    /// Starts over: what was written is forgotten.
    ///
    /// # Errors
    /// When the file cannot be cut.
    pub fn restart(&mut self) -> Result<(), CacheError> {
        self.out.inner.restart()?;
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
    /// Ends the blob under a digest that the caller computed from the very bytes it wrote. It replaces what may stand under its
    /// name.
    ///
    /// # Errors
    /// When its last bytes cannot be written.
    pub fn complete(self, blob: Descriptor) -> Result<(), CacheError> {
        self.store.keep(blob, self.file)
    }

    /// Begins with the first `length` bytes of another blob, copied in the kernel where it can.
    ///
    /// # Errors
    /// When it is shorter, or cannot be read or written.
    pub fn append_front(&mut self, from: &File, length: u64) -> io::Result<()> {
        self.file.begin_with(from, length)
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

/// Bytes that are written and then hashed in one go: so few that they are still in the core's first cache.
pub const NEAR: usize = 4096;

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
        let written = self.inner.write(&bytes[..bytes.len().min(NEAR)])?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
