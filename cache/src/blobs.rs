//! Bytes by SHA-256. A blob is written under `tmp/`, and stands under its name only after the commit.
//!
//! What stands under a name was durable before it got the name, but a disk forgets: a blob found to be damaged is
//! counted as absent from then on, so that it can be made again and put in its place.

mod behind;
mod direct;
mod unnamed;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use fs_err::File;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use crate::CacheError;
use crate::tmp::TmpDir;

use self::behind::WriteBehind;
pub use self::direct::PartReader;
use self::unnamed::{Kept, Unnamed};
use self::writer::Hashing;
pub use self::writer::{BlobWriter, NEAR, PrehashedWriter};

/// Bytes hashed before who looks at a blob is asked whether to go on: some milliseconds.
const STRIDE: u64 = 4 << 20;

/// The blobs of a store, those not yet committed included.
#[derive(Debug)]
pub struct BlobStore {
    dir: PathBuf,
    tmp: TmpDir,
    next: AtomicU64,
    behind: Arc<WriteBehind>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Complete files under `tmp/`, with their sizes.
    pending: BTreeMap<BlobDigest, (Kept, u64)>,
    /// What stands under these names is something else.
    damaged: BTreeSet<BlobDigest>,
}

impl BlobStore {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            dir: root.join("blobs/sha256"),
            tmp: TmpDir::new(root.join("tmp")),
            next: AtomicU64::new(0),
            behind: Arc::default(),
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
        matches!(self.is_whole(blob, &|_| true), Ok(Some(true)))
    }

    /// As [`Self::verify`], for who deletes what is damaged. `read` hears how many more bytes were read and says whether to
    /// go on; where it did not, nobody knows.
    ///
    /// # Errors
    /// When this process may not, or cannot now, read it: that says nothing about the blob.
    pub fn is_whole(
        &self,
        blob: &Descriptor,
        read: &dyn Fn(u64) -> bool,
    ) -> Result<Option<bool>, CacheError> {
        let hash = || -> io::Result<Option<Descriptor>> {
            let mut file = self.opened(&blob.digest, |path| File::open(path))?;
            let mut sink = Hashing::new(io::sink());
            loop {
                match io::copy(&mut (&mut file).take(STRIDE), &mut sink)? {
                    0 => return Ok(Some(sink.descriptor())),
                    bytes if !read(bytes) => return Ok(None),
                    _ => {}
                }
            }
        };
        let found = match hash() {
            Err(error) if is_of_reader(&error) => return Err(error.into()),
            Err(_) => return Ok(Some(false)),
            Ok(None) => return Ok(None),
            Ok(Some(found)) => found,
        };
        if found.digest != blob.digest {
            self.lock().damaged.insert(blob.digest);
        }
        Ok(Some(found == *blob))
    }

    /// Every blob that stands under a name, with its size and when it was written.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn list(&self) -> Result<Vec<(Descriptor, SystemTime)>, CacheError> {
        let mut all = Vec::new();
        for entry in fs_err::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(Ok(digest)) = name.to_str().map(|hex| format!("sha256:{hex}").parse()) else { continue };
            let metadata = entry.metadata()?;
            all.push((Descriptor { digest, size: metadata.len() }, metadata.modified()?));
        }
        Ok(all)
    }

    /// Deletes a blob. The store is open alone.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(&self, digest: &BlobDigest) -> Result<(), CacheError> {
        Ok(fs_err::remove_file(self.path(digest))?)
    }

    /// Where a blob stands after the commit.
    pub fn path(&self, digest: &BlobDigest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// The error of a blob that is not here as it should be.
    pub fn lost(&self, digest: &BlobDigest) -> CacheError {
        let path = self.path(digest);
        let what = if path.exists() { "damaged" } else { "missing" };
        CacheError::Lost { path, what }
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(&self, digest: &BlobDigest) -> Result<File, CacheError> {
        Ok(self.opened(digest, |path| File::open(path))?)
    }

    /// Opens a blob where it stands, once all of it is there. Somebody else may complete the same bytes meanwhile: then it stands
    /// in another file, which may not have all of them yet.
    fn opened<T>(&self, digest: &BlobDigest, open: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        let mut whole: Option<PathBuf> = None;
        loop {
            // Under the lock: a commit in between would rename the file away.
            let known = self.lock();
            let kept = match known.pending.get(digest) {
                None => return open(&self.path(digest)),
                Some((kept, _)) if whole.as_ref() == Some(&kept.path) => return open(&kept.path),
                Some((kept, _)) => kept.clone(),
            };
            drop(known);
            kept.progress.wait()?;
            whole = Some(kept.path);
        }
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

    /// A part of a blob, for whoever reads it once: what is large does not go through the page cache.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_part(&self, digest: &BlobDigest, offset: u64, length: u64) -> Result<PartReader, CacheError> {
        Ok(self.opened(digest, |path| PartReader::open(path, offset, length))?)
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
        if let Some((kept, _)) = self.lock().pending.remove(digest) {
            // Nobody knows this file; if it cannot be removed, it goes with the directory.
            let _ = fs_err::remove_file(kept.path);
        }
    }

    /// Where a blob that waits for the commit is until then, all of it.
    pub fn pending_path(&self, digest: &BlobDigest) -> Option<PathBuf> {
        let (kept, _) = self.lock().pending.get(digest).cloned()?;
        kept.progress.wait().is_ok().then_some(kept.path)
    }

    /// Takes over a blob that waits for another process's commit. `false` if it is not what it should be, or not there
    /// any more.
    pub fn adopt(&self, path: &Path, blob: &Descriptor) -> bool {
        self.adopt_part(path, 0, blob)
    }

    /// As [`Self::adopt`], of a blob that stands in a larger one, from an offset.
    pub fn adopt_part(&self, path: &Path, offset: u64, blob: &Descriptor) -> bool {
        if self.contains(blob) {
            return true;
        }
        let copy = || -> Result<(), CacheError> {
            let mut writer = self.writer()?;
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            io::copy(&mut file.take(blob.size), &mut writer)?;
            writer.complete_verified(blob)
        };
        // It may have got its name between the two looks.
        copy().is_ok() || self.contains(blob)
    }

    /// How many blobs were found to be something else than their names say.
    pub fn damaged(&self) -> usize {
        self.lock().damaged.len()
    }

    /// Looks whether a blob is what its name says; one that is not counts as absent from now on.
    pub fn doubt(&self, digest: &BlobDigest) {
        if let Ok(metadata) = fs_err::metadata(self.path(digest)) {
            self.verify(&Descriptor { digest: *digest, size: metadata.len() });
        }
    }

    /// Stores bytes. They are few, so what stands under their name already is read, and replaced where it is something else.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Descriptor, CacheError> {
        let blob = Descriptor {
            digest: BlobDigest::from_bytes(Sha256::digest(bytes).into()),
            size: bytes.len() as u64,
        };
        if self.contains(&blob) && self.holds(&blob.digest, bytes) {
            return Ok(blob);
        }
        let mut out = self.unnamed()?;
        out.write_all(bytes)?;
        self.keep(blob, out)?;
        Ok(blob)
    }

    /// Whether a blob can be read and is these bytes.
    fn holds(&self, digest: &BlobDigest, bytes: &[u8]) -> bool {
        let mut found = Vec::with_capacity(bytes.len() + 1);
        let read = self
            .open(digest)
            .is_ok_and(|file| file.take(bytes.len() as u64 + 1).read_to_end(&mut found).is_ok());
        read && found == bytes
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
        ready.values().try_for_each(|(kept, _)| kept.progress.wait())?;
        let dir = File::open(root)?;
        rustix::fs::syncfs(&dir)
            .map_err(|error| CacheError::Sync { path: root.to_owned(), source: error.into() })?;
        for (digest, (Kept { path, .. }, _)) in ready {
            let mut known = self.lock();
            // One that was replaced since is newer than the sync.
            if known.pending.get(&digest).is_some_and(|(kept, _)| kept.path == path) {
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
        Ok(Unnamed::new(path, file, &self.behind))
    }

    /// Keeps a blob for the commit. It replaces what stands under its name: the disk may have changed that, and these bytes
    /// were just hashed.
    fn keep(&self, blob: Descriptor, file: Unnamed) -> Result<(), CacheError> {
        let replaced = self.lock().pending.insert(blob.digest, (file.keep()?, blob.size));
        if let Some((kept, _)) = replaced {
            // The same bytes twice at once; if it cannot be removed, it goes with the directory.
            let _ = fs_err::remove_file(kept.path);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what keeps a file from being read is no fault of the file.
fn is_of_reader(error: &io::Error) -> bool {
    use rustix::io::Errno;
    // Who adds the file's name keeps of the system's error a kind, which not all have, and the words.
    let is_full = |code: Errno| error.to_string().contains(&io::Error::from(code).to_string());
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::OutOfMemory)
        || [Errno::MFILE, Errno::NFILE].into_iter().any(is_full)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blob of which nothing is written yet, as if the disk were slow.
    fn begun(dir: &Path, name: &str) -> Kept {
        let path = dir.join(name);
        fs_err::write(&path, b"").unwrap();
        let kept = Kept { path, progress: Arc::default() };
        kept.progress.begun();
        kept
    }

    #[test]
    fn who_waits_for_a_blob_that_is_replaced_waits_for_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        let (first, second) = (begun(dir.path(), "first"), begun(dir.path(), "second"));
        let digest = BlobDigest::from_bytes([1; 32]);
        let put = |kept: &Kept| blobs.lock().pending.insert(digest, (kept.clone(), 5));
        put(&first);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| blobs.opened(&digest, |path| fs_err::read(path)).unwrap());
            // The test, the blob and the reader.
            while Arc::strong_count(&first.progress) < 3 {
                std::thread::yield_now();
            }
            put(&second);
            first.progress.ended(Ok(()));
            while Arc::strong_count(&second.progress) < 3 && !reader.is_finished() {
                std::thread::yield_now();
            }
            fs_err::write(&second.path, b"whole").unwrap();
            second.progress.ended(Ok(()));
            assert_eq!(reader.join().unwrap(), b"whole");
        });
    }
}
