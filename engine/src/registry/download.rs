//! Layers on their way into the store: written, hashed and, where they are needed as trees, indexed, in one pass.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;
use cache::{Store, WorkLock};
use serde::{Deserialize, Serialize};
use solver::{BlobDigest, ContentDigest, Descriptor, Hasher, Layer};

use super::Registry;
use super::error::RegistryError;
use super::mirrors::Place;
use super::reference::Repository;
use super::repositories_of;
use crate::images::Tagged;
use crate::source::image;
use crate::tree::Trees;

/// Layers fetched at once.
const AT_ONCE: usize = 6;
/// Chunks that may wait for the indexing; each has some 400 KiB at most.
const WAITING: usize = 16;

/// Freed once, a block of so many bytes makes glibc keep twice as many of freed memory instead of giving them back.
const KEPT: usize = 16 << 20;

/// Hears of bytes that came: of which layer, and how many more.
pub type LayerProgress<'a> = dyn Fn(&Layer, u64) + Sync + 'a;

/// Where layers that are not in the store can be had.
#[derive(Debug, Clone)]
pub struct LayerSource<'a> {
    /// The way to registries.
    pub registry: &'a Registry,
    /// Where layers are put.
    pub store: &'a Store,
    /// Repositories that have them, best first.
    pub repositories: Vec<Repository>,
}

impl<'a> LayerSource<'a> {
    /// Where an image of the store has the layers that are not here.
    pub fn of(store: &'a Store, registry: &'a Registry, tagged: &Tagged) -> Self {
        Self { registry, store, repositories: repositories_of(tagged) }
    }

    /// Fetches layers that the store does not have, many at once, the largest first. With `trees` it is what is in
    /// them that is wanted: they are indexed on the way, and layers that were before are not fetched.
    ///
    /// # Errors
    /// The first that cannot be had. What was fetched whole stays for the next try.
    pub fn fetch(
        &self,
        layers: &[Layer],
        trees: Option<&Trees<'_>>,
        progress: &LayerProgress<'_>,
    ) -> Result<(), RegistryError> {
        let looking = trees.map_or(Looking::Not, Looking::AtFiles);
        let is_wanted = |layer: &&Layer| match trees {
            Some(trees) => image::known_tree(layer, self.store, trees).is_none(),
            None => !self.store.blobs().contains(&layer.blob),
        };
        let mut wanted: Vec<&Layer> = layers.iter().filter(is_wanted).collect();
        wanted.sort_by_key(|layer| (std::cmp::Reverse(layer.blob.size), layer.blob.digest));
        wanted.dedup_by_key(|layer| layer.blob.digest);
        keep_memory();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let failed = std::sync::atomic::AtomicBool::new(false);
        let work = || -> Result<(), RegistryError> {
            use std::sync::atomic::Ordering::Relaxed;
            while let Some(layer) = wanted.get(next.fetch_add(1, Relaxed)).filter(|_| !failed.load(Relaxed)) {
                self.fetch_one(layer, looking, &|bytes| progress(layer, bytes))
                    .inspect_err(|_| failed.store(true, Relaxed))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..wanted.len().min(AT_ONCE))
                .map(|_| {
                    std::thread::Builder::new()
                        .stack_size(crate::session::STACK_SIZE)
                        .spawn_scoped(scope, work)
                })
                .collect();
            let mut result = Ok(());
            for worker in workers {
                let done = worker
                    .map_err(RegistryError::from)
                    .and_then(|worker| worker.join().expect("a download does not panic"));
                result = result.and(done);
            }
            result
        })
    }

    /// Fetches one blob that nobody looks into.
    pub(super) fn fetch_blob(&self, blob: &Descriptor) -> Result<(), RegistryError> {
        self.fetch_one(&opaque(blob), Looking::Not, &|_| {})
    }

    /// Fetches one blob, and says what our identity of its bytes is; `None` if it is not needed any more, as `is_at_hand`
    /// says once nobody else is at it.
    ///
    /// # Errors
    /// When nobody has it, or what comes is something else.
    pub(crate) fn fetch_content(
        &self,
        blob: &Descriptor,
        progress: &dyn Fn(u64),
        is_at_hand: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<ContentDigest>, RegistryError> {
        let content = OnceLock::new();
        self.fetch_one(&opaque(blob), Looking::AtBytes(&content, is_at_hand), progress)?;
        match content.get() {
            Some(content) => Ok(Some(*content)),
            // It came from another build, or was there.
            None if self.store.blobs().contains(blob) => {
                let mut file = self.store.blobs().open(&blob.digest)?;
                Ok(Some(crate::contents::copy_hashed(&mut file, &mut io::sink())?))
            }
            None => Ok(None),
        }
    }

    /// Receives one blob, byte after byte, from one place: what another one sends does not go on where it stopped. Its
    /// digest is for the sink to check.
    ///
    /// # Errors
    /// When that place does not have it, or what the sink returns.
    pub(crate) fn receive(
        &self,
        blob: &Descriptor,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), RegistryError> {
        let absent = |repository: String| RegistryError::BlobUnknown { digest: blob.digest, repository };
        let repository = self.repositories.first().ok_or_else(|| self.store.blobs().lost(&blob.digest))?;
        let mut has_begun = false;
        keep_memory();
        self.registry.read(repository, &mut |place| {
            if has_begun {
                return Err(absent(repository.to_string()));
            }
            self.registry.fetch_blob(place, blob, &mut |chunk| {
                has_begun = true;
                sink(chunk)
            })
        })
    }

    fn fetch_one(
        &self,
        layer: &Layer,
        trees: Looking<'_>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        keep_memory();
        let cancel = self.registry.fetcher.cancel();
        let mut lock = None;
        if !self.store.blobs().contains(&layer.blob) {
            // Of several builds that need a blob one downloads it, and the others take its file.
            lock = self.store.lock_work(&key(&layer.blob.digest), &|| cancel.is_cancelled())?;
            let word: Option<Word> = lock.as_mut().and_then(WorkLock::word);
            let pending = word.is_some_and(|word| word.adopt(self.store, &layer.blob));
            if !pending && !self.store.blobs().contains(&layer.blob) {
                return match trees {
                    Looking::AtBytes(_, is_at_hand) if is_at_hand() => Ok(()),
                    _ => self.download(layer, trees, lock, progress),
                };
            }
        }
        drop(lock);
        match trees {
            Looking::AtFiles(trees) => match image::index(layer, self.store, trees, cancel) {
                // What is below it has to be known first.
                Err(error) if error.is_link_below() => Ok(()),
                indexed => Ok(indexed.map(drop)?),
            },
            Looking::AtBytes(..) | Looking::Not => Ok(()),
        }
    }

    fn download(
        &self,
        layer: &Layer,
        trees: Looking<'_>,
        lock: Option<WorkLock>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let mut failure = None;
        // What comes again from another place is no progress.
        let shown = Cell::new(0);
        for repository in &self.repositories {
            let mut from = |place: &Place| {
                let at = Cell::new(0);
                let progress = |bytes: u64| {
                    at.set(at.get() + bytes);
                    let more = at.get().saturating_sub(shown.get());
                    if more > 0 {
                        shown.set(at.get());
                        progress(more);
                    }
                };
                self.download_from(place, layer, trees, &progress)
            };
            match self.registry.read(repository, &mut from) {
                Ok(()) => {
                    if let (Some(mut lock), Some(path)) =
                        (lock, self.store.blobs().pending_path(&layer.blob.digest))
                    {
                        self.store.leave_word(&mut lock, &Word { path: bytes_of(path), part: None });
                    }
                    return Ok(());
                }
                Err(error) => match error.plain() {
                    RegistryError::BlobUnknown { .. } | RegistryError::Unauthorized { .. } => {
                        failure = failure.or(Some(error));
                    }
                    _ => return Err(error),
                },
            }
        }
        Err(failure.unwrap_or_else(|| self.store.blobs().lost(&layer.blob.digest).into()))
    }

    fn download_from(
        &self,
        place: &Place,
        layer: &Layer,
        looking: Looking<'_>,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let mut writer = self.store.blobs().writer()?;
        let Looking::AtFiles(trees) = looking else {
            let mut hasher = blake3::Hasher::new();
            self.registry.fetch_blob(place, &layer.blob, &mut |chunk| {
                if let Looking::AtBytes(..) = looking {
                    hasher.update(chunk);
                }
                writer.write_all(chunk)?;
                progress(chunk.len() as u64);
                Ok(())
            })?;
            complete(writer, &place.repository, &layer.blob)?;
            if let Looking::AtBytes(content, _) = looking {
                content.get_or_init(|| ContentDigest::from_bytes(*hasher.finalize().as_bytes()));
            }
            return Ok(());
        };
        std::thread::scope(|scope| {
            let (to, from) = sync_channel(WAITING);
            let indexing = std::thread::Builder::new().stack_size(crate::session::STACK_SIZE);
            let indexing = indexing.spawn_scoped(scope, move || {
                image::read_layer(layer, Chunks { from, at: Bytes::new() }, trees)
            })?;
            let fetched = self.registry.fetch_blob(place, &layer.blob, &mut |chunk| {
                // Who cannot make sense of it has hung up; the digest is looked at first.
                drop(to.send(chunk.clone()));
                writer.write_all(chunk)?;
                progress(chunk.len() as u64);
                Ok(())
            });
            drop(to);
            let indexed = indexing.join().expect("reading a layer does not panic");
            fetched?;
            complete(writer, &place.repository, &layer.blob)?;
            match indexed {
                Err(error) if error.is_link_below() => Ok(()),
                indexed => Ok(image::keep_tree(layer, indexed?, self.store, trees)?),
            }
        })
    }
}

/// Chunks come and go on two threads; a fresh page for each of their bytes costs a tenth of the time.
fn keep_memory() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| crate::memory::keep(KEPT));
}

/// What else is wanted of bytes that come.
#[derive(Clone, Copy)]
enum Looking<'a> {
    Not,
    /// The tree of a layer.
    AtFiles(&'a Trees<'a>),
    /// Our identity; and whether they are not needed any more.
    AtBytes(&'a OnceLock<ContentDigest>, &'a (dyn Fn() -> bool + Sync)),
}

/// A blob of which nothing is known but its digest.
fn opaque(blob: &Descriptor) -> Layer {
    let diff_id = solver::DiffId::from_bytes(*blob.digest.as_bytes());
    Layer { diff_id, blob: *blob, media_type: solver::MediaType::Tar, frames: Vec::new() }
}

fn complete(
    writer: cache::BlobWriter<'_>,
    repository: &Repository,
    blob: &Descriptor,
) -> Result<(), RegistryError> {
    writer.complete_verified(blob).map_err(|error| match error {
        cache::CacheError::Digest { found, .. } => {
            RegistryError::Digest { what: format!("{repository}@{}", blob.digest), found }
        }
        other => other.into(),
    })
}

/// Where a blob is until the commit.
#[derive(Serialize, Deserialize)]
struct Word {
    path: Vec<u8>,
    /// The layer that the path is of, and where in it the blob begins; `None` for a blob of its own.
    part: Option<(BlobDigest, u64)>,
}

impl Word {
    /// Takes over the blob, wherever it is by now.
    fn adopt(&self, store: &Store, blob: &Descriptor) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(OsStr::from_bytes(&self.path));
        match &self.part {
            None => store.blobs().adopt(path, blob),
            Some((layer, offset)) => {
                let adopt = |path: &Path| store.blobs().adopt_part(path, *offset, blob);
                adopt(path) || adopt(&store.blobs().path(layer))
            }
        }
    }
}

fn bytes_of(path: PathBuf) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    path.into_os_string().into_vec()
}

/// Takes a blob upon this build; `None` if another build is at it, or was and left word where it is.
pub(crate) fn claim(store: &Store, blob: &BlobDigest) -> Result<Option<WorkLock>, RegistryError> {
    let Some(mut lock) = store.lock_work(&key(blob), &|| true)? else { return Ok(None) };
    Ok(lock.word::<Word>().is_none().then_some(lock))
}

/// Leaves word that a blob stands in a layer of this build.
pub(crate) fn leave_moved(store: &Store, lock: &mut WorkLock, layer: &BlobDigest, offset: u64) {
    let path = store.blobs().pending_path(layer).unwrap_or_else(|| store.blobs().path(layer));
    store.leave_word(lock, &Word { path: bytes_of(path), part: Some((*layer, offset)) });
}

/// Tells other builds that a blob of this one is no file of its own any more, but stands in a layer, which may wait for
/// the commit.
pub(crate) fn tell_moved(store: &Store, blob: &BlobDigest, layer: &BlobDigest, offset: u64) {
    // Whoever holds it takes the file that is still there. If the word cannot be left, the next one downloads.
    let Ok(Some(mut lock)) = store.lock_work(&key(blob), &|| false) else { return };
    leave_moved(store, &mut lock, layer, offset);
}

fn key(blob: &BlobDigest) -> [u8; 32] {
    let mut hasher = Hasher::new("download of a blob");
    hasher.bytes(blob.as_bytes());
    hasher.finish()
}

/// Chunks of a channel as a stream.
struct Chunks {
    from: Receiver<Bytes>,
    at: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at.is_empty() {
            let Ok(next) = self.from.recv() else { return Ok(0) };
            self.at = next;
        }
        let length = buffer.len().min(self.at.len());
        buffer[..length].copy_from_slice(&self.at.split_to(length));
        Ok(length)
    }
}
