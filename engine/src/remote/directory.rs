//! A remote cache in a directory: an OCI image layout, so that other tools can copy it.
//!
//! ```text
//! DIR/oci-layout, index.json, blobs/sha256/   one manifest, named `cache`
//! DIR/index.lock                              held while index.json is replaced
//! ```

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache::remote::{HEAD_LIMIT, Head, Publication, Published, Remote, RemoteError};
use cache::{CacheError, IndexLock};
use fs_err::File;
use fs_err::os::unix::fs::OpenOptionsExt;
use oci_spec::image::{ImageIndex, MediaType};
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use super::{Content, Manifest};
use crate::oci::{self, JSON_LIMIT, REF_NAME};
use crate::source::image::Hashed;
use crate::transport::layout::{BLOBS, INDEX, LAYOUT, LAYOUT_TEXT, blob_path, index};

/// What the manifest is called in index.json.
const NAME: &str = "cache";
/// Largest manifest read, in bytes: it names a million blobs.
const MANIFEST_LIMIT: u64 = 256 << 20;
/// What a store has and a cache has not. A store is a layout too, and what nobody names in it is not ours to delete.
const STORE: &str = "used";
/// What is being written.
const TEMPORARY: &[u8] = b".tmp";
/// What nobody names is deleted after so long: somebody may be about to name it, or be reading an older head.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// A cache in a directory of its own. Several machines may share it where the file system knows locks.
#[derive(Debug)]
pub struct DirectoryRemote {
    dir: PathBuf,
    /// Blobs that could not be had although files of their names are there.
    lost: Mutex<HashSet<BlobDigest>>,
}

/// The manifest of a cache, if it can be had.
struct Found {
    digest: BlobDigest,
    read: Result<Manifest, RemoteError>,
}

impl DirectoryRemote {
    /// A cache in a directory, which is made with the first thing that is put there.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), lost: Mutex::default() }
    }

    /// Opens a layer blob. Its bytes are for the caller to check.
    ///
    /// # Errors
    /// When it is not there, or has another size.
    pub fn open_blob(&self, blob: &Descriptor) -> io::Result<File> {
        let path = self.path(&blob.digest);
        let file = open(&path)?;
        let size = file.metadata()?.len();
        if size == blob.size {
            return Ok(file);
        }
        let text = format!("`{}` has {size} bytes, and {} were stated", path.display(), blob.size);
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// A blob could not be had: it counts as absent until it is put there again.
    pub(crate) fn lose(&self, digest: &BlobDigest) {
        self.lock_lost().insert(*digest);
    }

    fn lock_lost(&self) -> MutexGuard<'_, HashSet<BlobDigest>> {
        // Only whole entries are put behind it.
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a layer blob there, if it is not there yet, or is something else than its name says. Whether it was written.
    ///
    /// # Errors
    /// When it cannot be written, or the bytes are not it.
    pub fn put_blob(&self, blob: &Descriptor, bytes: &mut dyn Read) -> Result<bool, RemoteError> {
        self.prepare()?;
        let path = self.path(&blob.digest);
        if self.has(blob) && digest_of(&mut File::open(&path)?, &mut io::sink())? == *blob {
            // It is wanted again: whoever deletes what is old leaves it.
            let now = std::time::SystemTime::now();
            File::options().append(true).open(&path)?.file().set_modified(now)?;
            return Ok(false);
        }
        let mut file = self.temporary()?;
        let found = digest_of(bytes, &mut file)?;
        if found != *blob {
            return Err(RemoteError::Digest { expected: blob.digest, found: found.digest });
        }
        persist(file, &path)?;
        self.lock_lost().remove(&blob.digest);
        Ok(true)
    }

    fn path(&self, digest: &BlobDigest) -> PathBuf {
        self.dir.join(blob_path(digest))
    }

    pub(crate) fn has(&self, blob: &Descriptor) -> bool {
        !self.lock_lost().contains(&blob.digest)
            && fs_err::metadata(self.path(&blob.digest)).is_ok_and(|found| found.len() == blob.size)
    }

    /// Makes the directory an image layout. One with other things in it is left alone.
    fn prepare(&self) -> Result<(), RemoteError> {
        let layout = self.dir.join(LAYOUT);
        if fs_err::exists(self.dir.join(STORE))? {
            return Err(RemoteError::Foreign { reason: "a store of images".to_owned() });
        }
        if fs_err::exists(&layout)? {
            return Ok(());
        }
        fs_err::create_dir_all(&self.dir)?;
        let is_ours = |name: &std::ffi::OsStr| {
            let name = name.as_encoded_bytes();
            matches!(name, b"blobs" | b"index.lock" | b"oci-layout") || name.starts_with(TEMPORARY)
        };
        for entry in fs_err::read_dir(&self.dir)? {
            if !is_ours(&entry?.file_name()) {
                return Err(RemoteError::Foreign { reason: "a directory with other files".to_owned() });
            }
        }
        fs_err::create_dir_all(self.dir.join(BLOBS))?;
        self.write(&layout, LAYOUT_TEXT.as_bytes())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), RemoteError> {
        let mut file = self.temporary()?;
        file.write_all(bytes)?;
        Ok(persist(file, path)?)
    }

    fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new().prefix(".tmp").permissions(readable()).tempfile_in(&self.dir)
    }

    /// The manifest that the index names; `None` where there is no cache.
    fn manifest(&self) -> Result<Option<Found>, RemoteError> {
        let bytes = match open(&self.dir.join(INDEX)) {
            Ok(file) => limited(file, JSON_LIMIT, "index")?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let foreign = |reason: &str| RemoteError::Foreign { reason: reason.to_owned() };
        let index = ImageIndex::from_reader(&bytes[..]).map_err(|_| foreign("its index.json is no index"))?;
        let manifest = match index.manifests().as_slice() {
            [] => return Ok(None),
            [only] => oci::from_descriptor(only).ok_or_else(|| foreign("its digest is not SHA-256"))?,
            _ => return Err(foreign("a layout with several images")),
        };
        let read = match self.verified(&manifest, MANIFEST_LIMIT, "manifest") {
            Ok(bytes) => Ok(Manifest::read(&bytes)?),
            Err(error) => Err(error),
        };
        Ok(Some(Found { digest: manifest.digest, read }))
    }

    fn verified(&self, blob: &Descriptor, limit: u64, what: &'static str) -> Result<Vec<u8>, RemoteError> {
        if blob.size > limit {
            return Err(RemoteError::TooLarge { what, size: blob.size, limit });
        }
        let bytes = self.object(blob)?;
        let found = oci::described(&bytes).digest;
        let expected = blob.digest;
        if found == expected { Ok(bytes) } else { Err(RemoteError::Digest { expected, found }) }
    }

    /// Deletes what the cache does not name and nobody has touched for so long. What cannot be deleted stays for the next.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn sweep(&self, grace: Duration) -> Result<(), RemoteError> {
        let _lock = self.lock()?;
        self.sweep_locked(grace)
    }

    fn sweep_locked(&self, grace: Duration) -> Result<(), RemoteError> {
        let Some(Found { digest, read: Ok(manifest) }) = self.manifest()? else { return Ok(()) };
        let layers = manifest.layers.iter().map(|layer| layer.digest);
        let named: HashSet<BlobDigest> = layers.chain([digest, manifest.head.digest]).collect();
        let is_old = |path: &Path| {
            let modified = fs_err::metadata(path).and_then(|found| found.modified());
            modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= grace))
        };
        let unnamed = fs_err::read_dir(self.dir.join(BLOBS))?.filter_map(Result::ok).filter(|entry| {
            let digest = entry.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
            digest.is_some_and(|digest: BlobDigest| !named.contains(&digest))
        });
        let left = fs_err::read_dir(&self.dir)?.filter_map(Result::ok);
        let left = left.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(TEMPORARY));
        for entry in unnamed.chain(left).filter(|entry| is_old(&entry.path())) {
            let _ = fs_err::remove_file(entry.path());
        }
        Ok(())
    }

    fn lock(&self) -> Result<IndexLock, RemoteError> {
        IndexLock::acquire(&self.dir).map_err(|error| match error {
            CacheError::Io(error) => RemoteError::Io(error),
            other => RemoteError::Transport(Box::new(other)),
        })
    }
}

impl Remote for DirectoryRemote {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn head(&self) -> Result<Option<Head>, RemoteError> {
        let Some(Found { digest, read }) = self.manifest()? else { return Ok(None) };
        let content = read.and_then(|manifest| self.verified(&manifest.head, HEAD_LIMIT, "head"));
        Ok(Some(Head { content, version: digest.to_string() }))
    }

    fn object(&self, object: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        match open(&self.path(&object.digest)) {
            Ok(file) => limited(file, object.size, "object"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(RemoteError::Missing { digest: object.digest })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn publish(&self, publication: &Publication) -> Result<Published, RemoteError> {
        self.prepare()?;
        let _lock = self.lock()?;
        let there = self.manifest()?.map(|found| found.digest.to_string());
        if there != publication.based_on {
            return Ok(Published::Conflict);
        }
        let missing = publication.kept.iter().chain(&publication.blobs).filter(|blob| !self.has(blob));
        let missing: Vec<BlobDigest> = missing.map(|blob| blob.digest).collect();
        if !missing.is_empty() {
            return Ok(Published::Missing(missing));
        }
        for (object, bytes) in &publication.objects {
            self.write(&self.path(&object.digest), bytes)?;
        }
        let head = oci::described(&publication.head);
        self.write(&self.path(&head.digest), &publication.head)?;
        let mut shards = publication.kept.clone();
        shards.extend(publication.objects.iter().map(|(object, _)| *object));
        shards.sort_by_key(|shard| shard.digest);
        let bytes = Content { head: &head, shards: &shards, layers: &publication.blobs }.whole();
        let manifest = oci::described(&bytes);
        self.write(&self.path(&manifest.digest), &bytes)?;
        let mut named = oci::descriptor(MediaType::ImageManifest, &manifest);
        named.set_annotations(Some([(REF_NAME.to_owned(), NAME.to_owned())].into()));
        self.write(&self.dir.join(INDEX), &index(vec![named]))?;
        // It only costs space.
        let _ = self.sweep_locked(GRACE);
        Ok(Published::Done)
    }

    fn has_blobs(&self, blobs: &[Descriptor]) -> Result<Vec<bool>, RemoteError> {
        Ok(blobs.iter().map(|blob| self.has(blob)).collect())
    }
}

/// Opens a file. Nobody waits for a pipe, and what is no file counts as absent.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("`{}` is no file", path.display())))
}

fn limited(file: File, limit: u64, what: &'static str) -> Result<Vec<u8>, RemoteError> {
    let size = file.metadata()?.len();
    if size > limit {
        return Err(RemoteError::TooLarge { what, size, limit });
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Copies bytes; which blob they are.
fn digest_of(bytes: &mut dyn Read, out: &mut dyn Write) -> io::Result<Descriptor> {
    let mut bytes = Hashed { inner: bytes, hasher: Sha256::new() };
    let size = io::copy(&mut bytes, out)?;
    Ok(Descriptor { digest: BlobDigest::from_bytes(bytes.hasher.finalize().into()), size })
}

/// A file appears whole under its name, or not at all.
fn persist(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// A cache is for others too; the user's mask says for which.
fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_pipe_or_reads_more_than_was_stated() {
        let dir = tempfile::tempdir().unwrap();
        let remote = DirectoryRemote::new(dir.path());
        let blob = oci::described(b"layer");
        remote.put_blob(&blob, &mut &b"layer"[..]).unwrap();
        assert!(remote.open_blob(&blob).is_ok());
        let path = remote.path(&blob.digest);
        fs_err::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(remote.open_blob(&blob).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let pipe = |path: &Path| {
            let _ = fs_err::remove_file(path);
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        };
        pipe(&path);
        assert_eq!(remote.open_blob(&blob).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(matches!(remote.object(&blob), Err(RemoteError::Missing { .. })));
        pipe(&dir.path().join(INDEX));
        assert!(remote.head().unwrap().is_none());
    }

    #[test]
    fn a_store_is_no_place_for_a_cache() {
        let dir = tempfile::tempdir().unwrap();
        let store = cache::Store::open(dir.path()).unwrap();
        let blob = store.blobs().put(b"layer").unwrap();
        store.commit::<CacheError>(|| Ok(())).unwrap();
        let remote = DirectoryRemote::new(dir.path());
        let put = remote.put_blob(&blob, &mut &b"layer"[..]);
        assert!(matches!(put, Err(RemoteError::Foreign { .. })), "{put:?}");
        let (based_on, objects, kept, blobs) = (None, Vec::new(), Vec::new(), Vec::new());
        let publication = Publication { based_on, head: Vec::new(), objects, kept, blobs };
        assert!(remote.publish(&publication).is_err() && remote.head().unwrap().is_none());
    }

    #[test]
    fn a_blob_that_rotted_is_replaced_and_a_rotten_one_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let remote = DirectoryRemote::new(dir.path());
        let (blob, path) = (oci::described(b"layer"), remote.path(&oci::described(b"layer").digest));
        let put = |mut bytes: &[u8]| remote.put_blob(&blob, &mut bytes);
        assert!(matches!(put(b"rotte"), Err(RemoteError::Digest { .. })));
        assert!(!remote.has(&blob) && put(b"layer").unwrap() && !put(b"layer").unwrap());
        fs_err::write(&path, b"rotte").unwrap();
        assert!(put(b"layer").unwrap());
        assert_eq!(fs_err::read(&path).unwrap(), b"layer");
        remote.lose(&blob.digest);
        assert!(!remote.has(&blob));
        fs_err::write(&path, b"rotte").unwrap();
        assert!(put(b"layer").unwrap() && remote.has(&blob));
    }
}
