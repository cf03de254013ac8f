//! Bytes by SHA-256. A blob is written under `tmp/`, and stands under its name only after the commit.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fs_err::File;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use crate::CacheError;

/// The blobs of a store, those not yet committed included.
#[derive(Debug)]
pub struct BlobStore {
    dir: PathBuf,
    tmp: PathBuf,
    next: AtomicU64,
    pending: Mutex<BTreeMap<BlobDigest, (PathBuf, u64)>>,
}

impl BlobStore {
    pub(crate) fn new(root: &Path, tmp: PathBuf) -> Self {
        Self { dir: root.join("blobs/sha256"), tmp, next: AtomicU64::new(0), pending: Mutex::default() }
    }

    /// Whether a blob is there with exactly the stated size.
    pub fn contains(&self, blob: &Descriptor) -> bool {
        if let Some((_, size)) = self.lock().get(&blob.digest) {
            return *size == blob.size;
        }
        rustix::fs::stat(self.path(&blob.digest)).is_ok_and(|stat| stat.st_size.cast_unsigned() == blob.size)
    }

    /// Whether a blob is there and is what its name says: reads all of it.
    pub fn verify(&self, blob: &Descriptor) -> bool {
        let hash = || -> Result<Descriptor, CacheError> {
            let mut sink = Hashing::new(io::sink());
            io::copy(&mut self.open(&blob.digest)?, &mut sink)?;
            Ok(sink.finish().0)
        };
        hash().is_ok_and(|found| found == *blob)
    }

    /// Where a blob stands after the commit.
    pub fn path(&self, digest: &BlobDigest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(&self, digest: &BlobDigest) -> Result<File, CacheError> {
        let pending = self.lock().get(digest).map(|(path, _)| path.clone());
        Ok(File::open(pending.unwrap_or_else(|| self.path(digest)))?)
    }

    /// A small blob, read whole and checked against its digest.
    ///
    /// # Errors
    /// When it is absent, larger than `limit` bytes, or something else than its name says.
    pub fn read(&self, digest: &BlobDigest, limit: u64) -> Result<Vec<u8>, CacheError> {
        let mut bytes = Vec::new();
        self.open(digest)?.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(CacheError::TooLarge { digest: *digest, limit });
        }
        let found = BlobDigest::from_bytes(Sha256::digest(&bytes).into());
        if found == *digest { Ok(bytes) } else { Err(CacheError::Digest { expected: *digest, found }) }
    }

    /// A new blob, hashed while it is written.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn writer(&self) -> Result<BlobWriter<'_>, CacheError> {
        fs_err::create_dir_all(&self.tmp)?;
        let path = self.tmp.join(format!("blob-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let out = Hashing::new(File::create(&path)?);
        Ok(BlobWriter { store: self, path, out: Some(out) })
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Descriptor, CacheError> {
        let blob = Descriptor {
            digest: BlobDigest::from_bytes(Sha256::digest(bytes).into()),
            size: bytes.len() as u64,
        };
        if self.contains(&blob) {
            return Ok(blob);
        }
        let mut writer = self.writer()?;
        writer.write_all(bytes)?;
        writer.complete()
    }

    /// Whether anything waits for the commit.
    pub fn has_pending(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Gives every pending blob its name. The caller has made their bytes durable.
    pub(crate) fn publish(&self) -> Result<(), CacheError> {
        let mut pending = self.lock();
        while let Some((digest, (path, _))) = pending.first_key_value() {
            fs_err::rename(path, self.path(digest))?;
            pending.pop_first();
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<BlobDigest, (PathBuf, u64)>> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob being written. Dropped without completing, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'store> {
    store: &'store BlobStore,
    path: PathBuf,
    out: Option<Hashing<File>>,
}

impl BlobWriter<'_> {
    /// Ends the blob; it is stored at the next commit.
    ///
    /// # Errors
    /// When the last bytes cannot be written.
    pub fn complete(mut self) -> Result<Descriptor, CacheError> {
        let (blob, _) = self.out.take().expect("a writer is completed once").finish();
        if self.store.contains(&blob) {
            fs_err::remove_file(&self.path)?;
        } else {
            self.store.lock().insert(blob.digest, (self.path.clone(), blob.size));
        }
        Ok(blob)
    }

    /// Ends the blob if it is what was expected.
    ///
    /// # Errors
    /// When it is something else; then nothing is kept.
    pub fn complete_verified(mut self, expected: &Descriptor) -> Result<(), CacheError> {
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
        let (blob, _) = self.out.take().expect("a writer is completed once").finish();
        self.store.lock().insert(blob.digest, (self.path.clone(), blob.size));
        Ok(())
    }

    /// What was written so far.
    pub fn written(&self) -> Descriptor {
        self.out.as_ref().expect("a writer is completed once").descriptor()
    }

    /// Starts over: what was written is forgotten.
    ///
    /// # Errors
    /// When the file cannot be cut.
    pub fn restart(&mut self) -> Result<(), CacheError> {
        let (_, file) = self.out.take().expect("a writer is completed once").finish();
        file.set_len(0)?;
        let mut file = file;
        io::Seek::rewind(&mut file)?;
        self.out = Some(Hashing::new(file));
        Ok(())
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().expect("nothing is written after completion").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        if self.out.is_some() {
            // Nobody knows this file; if it cannot be removed, the next sweep of tmp/ does it.
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

#[derive(Debug)]
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), size: 0 }
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor { digest: BlobDigest::from_bytes(self.hasher.clone().finalize().into()), size: self.size }
    }

    fn finish(self) -> (Descriptor, W) {
        (self.descriptor(), self.inner)
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
