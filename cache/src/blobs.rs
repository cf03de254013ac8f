//! Bytes by SHA-256. A blob is written under `tmp/`, and stands under its name only after the commit.
//!
//! What stands under a name was durable before it got the name, but a disk forgets: a blob found to be damaged is
//! counted as absent from then on, so that it can be made again and put in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs_err::File;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use crate::CacheError;
use crate::tmp::TmpDir;

/// Bytes written before the kernel is asked to start writing them back.
const WRITE_BACK: u64 = 4 << 20;

/// Bytes copied from blob to blob before the kernel is asked to start writing them back.
const COPY: u64 = 64 << 20;

/// The blobs of a store, those not yet committed included.
#[derive(Debug)]
pub struct BlobStore {
    dir: PathBuf,
    tmp: TmpDir,
    next: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Complete files under `tmp/`, with their sizes.
    pending: BTreeMap<BlobDigest, (PathBuf, u64)>,
    /// What stands under these names is something else.
    damaged: BTreeSet<BlobDigest>,
}

impl BlobStore {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            dir: root.join("blobs/sha256"),
            tmp: TmpDir::new(root.join("tmp")),
            next: AtomicU64::new(0),
            known: Mutex::default(),
        }
    }

    /// Whether a blob is there with exactly the stated size. One `stat`: the bytes are not looked at.
    pub fn contains(&self, blob: &Descriptor) -> bool {
        {
            let known = self.lock();
            if let Some((_, size)) = known.pending.get(&blob.digest) {
                return *size == blob.size;
            }
            if known.damaged.contains(&blob.digest) {
                return false;
            }
        }
        rustix::fs::stat(self.path(&blob.digest)).is_ok_and(|stat| stat.st_size.cast_unsigned() == blob.size)
    }

    /// Whether a blob is there and is what its name says: reads all of it. One that is not counts as absent from now
    /// on, and the next one completed under its name replaces it at the commit.
    pub fn verify(&self, blob: &Descriptor) -> bool {
        let hash = || -> Result<Descriptor, CacheError> {
            let mut sink = Hashing::new(io::sink());
            io::copy(&mut self.open(&blob.digest)?, &mut sink)?;
            Ok(sink.descriptor())
        };
        let Ok(found) = hash() else { return false };
        if found.digest != blob.digest {
            self.lock().damaged.insert(blob.digest);
        }
        found == *blob
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
        // Opened under the lock: a commit in between would rename the file away.
        if let Some((path, _)) = self.lock().pending.get(digest) {
            return Ok(File::open(path)?);
        }
        Ok(File::open(self.path(digest))?)
    }

    /// A small blob, read whole and checked against its digest.
    ///
    /// # Errors
    /// When it is absent, larger than `limit` bytes, or something else than its name says.
    pub fn read(&self, digest: &BlobDigest, limit: u64) -> Result<Vec<u8>, CacheError> {
        let mut bytes = Vec::new();
        self.open(digest)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(CacheError::TooLarge { digest: *digest, limit });
        }
        let found = BlobDigest::from_bytes(Sha256::digest(&bytes).into());
        if found != *digest {
            self.lock().damaged.insert(*digest);
            return Err(CacheError::Digest { expected: *digest, found });
        }
        Ok(bytes)
    }

    /// `length` bytes of a blob from an offset. They are not checked.
    ///
    /// # Errors
    /// When it is absent or shorter.
    pub fn read_range(&self, digest: &BlobDigest, offset: u64, length: u64) -> Result<Vec<u8>, CacheError> {
        let file = self.open(digest)?;
        let end =
            offset.checked_add(length).filter(|end| file.metadata().is_ok_and(|file| *end <= file.len()));
        if end.is_none() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut bytes = vec![0; length as usize];
        std::os::unix::fs::FileExt::read_exact_at(file.file(), &mut bytes, offset)?;
        Ok(bytes)
    }

    /// A new blob, hashed while it is written.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn writer(&self) -> Result<BlobWriter<'_>, CacheError> {
        Ok(BlobWriter { store: self, out: Hashing::new(self.unnamed()?) })
    }

    /// A new blob whose digest the caller computes beside the writing, on threads of its own.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn prehashed_writer(&self) -> Result<PrehashedWriter<'_>, CacheError> {
        Ok(PrehashedWriter { store: self, file: self.unnamed()? })
    }

    /// Forgets a blob that waits for the commit; one that stands under its name stays.
    pub fn discard(&self, digest: &BlobDigest) {
        if let Some((path, _)) = self.lock().pending.remove(digest) {
            // Nobody knows this file; if it cannot be removed, it goes with the directory.
            let _ = fs_err::remove_file(path);
        }
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
        let mut out = self.unnamed()?;
        out.write_all(bytes)?;
        self.keep(blob, out);
        Ok(blob)
    }

    /// Whether anything waits for the commit.
    pub fn has_pending(&self) -> bool {
        !self.lock().pending.is_empty()
    }

    pub(crate) fn tmp_dir(&self) -> Result<PathBuf, CacheError> {
        Ok(self.tmp.path()?)
    }

    /// Makes every pending blob durable with one `syncfs` of `root`'s file system, then gives each its name. A blob
    /// completed meanwhile stays pending: its bytes may not have been part of the sync.
    pub(crate) fn commit(&self, root: &Path) -> Result<(), CacheError> {
        let ready = self.lock().pending.clone();
        if ready.is_empty() {
            return Ok(());
        }
        let dir = File::open(root)?;
        rustix::fs::syncfs(&dir)
            .map_err(|error| CacheError::Sync { path: root.to_owned(), source: error.into() })?;
        for (digest, (path, size)) in ready {
            let mut known = self.lock();
            // One that was replaced since is newer than the sync.
            if known.pending.get(&digest) == Some(&(path.clone(), size)) {
                // Whoever else published the same digest published the same bytes: replacing them changes nothing.
                fs_err::rename(&path, self.path(&digest))?;
                known.pending.remove(&digest);
                known.damaged.remove(&digest);
            }
        }
        Ok(())
    }

    fn unnamed(&self) -> Result<Unnamed, CacheError> {
        let path = self.tmp.path()?.join(format!("blob-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let file = File::create_new(&path)?;
        Ok(Unnamed { path, file, is_kept: false, written: 0, on_its_way: 0 })
    }

    fn keep_if_new(&self, blob: Descriptor, file: Unnamed) {
        if !self.contains(&blob) {
            self.keep(blob, file);
        }
    }

    fn keep(&self, blob: Descriptor, mut file: Unnamed) {
        file.is_kept = true;
        let replaced = self.lock().pending.insert(blob.digest, (file.path.clone(), blob.size));
        if let Some((path, _)) = replaced {
            // The same bytes twice at once; if it cannot be removed, it goes with the directory.
            let _ = fs_err::remove_file(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob being written. Dropped without completing, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'store> {
    store: &'store BlobStore,
    out: Hashing<Unnamed>,
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
    store: &'store BlobStore,
    file: Unnamed,
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
struct Unnamed {
    path: PathBuf,
    file: File,
    is_kept: bool,
    written: u64,
    /// Bytes the kernel was asked to write back.
    on_its_way: u64,
}

impl Unnamed {
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
