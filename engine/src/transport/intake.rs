//! Streams taken in as blobs: written, hashed and, where compressed, decompressed and hashed again, side by side.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use cache::Store;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor, DiffId, MediaType};

use super::TransportError;
use crate::cancel::Cancel;
use crate::decompress::{Bounded, Compression, expansion_limit};

/// Bytes that pass from hand to hand.
const CHUNK: usize = 1 << 20;
/// Chunks that may wait for a slower hand.
const WAITING: usize = 4;

/// A part that was taken in.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) blob: Descriptor,
    /// What a layer's content is; `None` where the bytes are no whole compressed stream.
    pub(super) diff_id: Option<DiffId>,
    /// How a layer would be compressed.
    pub(super) media_type: MediaType,
}

/// Takes parts in, and remembers which of them an image needs.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    pub(super) store: &'a Store,
    pub(super) cancel: &'a Cancel,
    taken: Mutex<BTreeSet<BlobDigest>>,
    needed: Mutex<BTreeSet<BlobDigest>>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(store: &'a Store, cancel: &'a Cancel) -> Self {
        Self { store, cancel, taken: Mutex::default(), needed: Mutex::default() }
    }

    /// Takes in what a stream holds. Bytes of a blob the store has already are read and checked, but not kept twice.
    pub(super) fn take(
        &self,
        part: &str,
        reader: &mut dyn Read,
        size: u64,
        expected: Option<BlobDigest>,
    ) -> Result<Taken, TransportError> {
        let has_it = expected.is_some_and(|digest| self.store.blobs().contains(&Descriptor { digest, size }));
        let mut writer = if has_it { None } else { Some(self.store.blobs().prehashed_writer()?) };
        let taken = self.pass(reader, &mut |chunk| match &mut writer {
            Some(writer) => writer.write_all(chunk),
            None => Ok(()),
        })?;
        if expected.is_some_and(|digest| digest != taken.blob.digest) {
            return Err(TransportError::Digest { part: part.to_owned(), found: taken.blob.digest });
        }
        if let Some(writer) = writer {
            writer.complete(taken.blob);
            lock(&self.taken).insert(taken.blob.digest);
        }
        Ok(taken)
    }

    /// Stores bytes made here.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<Descriptor, TransportError> {
        let blob = self.store.blobs().put(bytes)?;
        self.need(blob.digest);
        Ok(blob)
    }

    /// An image needs this blob.
    pub(super) fn need(&self, digest: BlobDigest) {
        lock(&self.needed).insert(digest);
    }

    /// Forgets what was taken in and no image needs.
    pub(super) fn discard_needless(&self) {
        let needed = lock(&self.needed);
        lock(&self.taken).difference(&needed).for_each(|digest| self.store.blobs().discard(digest));
    }

    fn pass(
        &self,
        reader: &mut dyn Read,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Taken, TransportError> {
        let first = chunk(reader)?;
        let compression = Compression::of(&first);
        if first.len() < CHUNK {
            write(&first)?;
            let digest = BlobDigest::from_bytes(Sha256::digest(&first).into());
            let diff_id = diff_id(compression, first.as_slice(), digest, first.len() as u64);
            return Ok(taken(Descriptor { digest, size: first.len() as u64 }, diff_id, compression));
        }
        std::thread::scope(|scope| {
            let (to_hash, hashing) = sync_channel::<Arc<Vec<u8>>>(WAITING);
            let (to_decompress, decompressing) = sync_channel::<Arc<Vec<u8>>>(WAITING);
            let hash = scope.spawn(move || hash(&hashing));
            let decompress = is_layer(compression).then(|| {
                scope.spawn(move || content_hash(compression, Chunks::new(decompressing), u64::MAX))
            });
            let written = self.feed(reader, first, write, &[to_hash, to_decompress]);
            let digest = hash.join().expect("hashing does not panic");
            let content = decompress.map(|thread| thread.join().unwrap_or(None));
            let size = written?;
            let diff_id = match content {
                None => Some(DiffId::from_bytes(*digest.as_bytes())),
                Some(content) => {
                    content.filter(|(_, length)| *length <= expansion_limit(size)).map(|(id, _)| id)
                }
            };
            Ok(taken(Descriptor { digest, size }, diff_id, compression))
        })
    }

    /// Reads, hands each chunk on, and writes it. The channels close when this ends.
    fn feed(
        &self,
        reader: &mut dyn Read,
        first: Vec<u8>,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        to: &[SyncSender<Arc<Vec<u8>>>],
    ) -> Result<u64, TransportError> {
        let mut size = 0;
        let mut next = first;
        while !next.is_empty() {
            if self.cancel.is_cancelled() {
                return Err(TransportError::Cancelled);
            }
            let bytes = Arc::new(next);
            // Who has heard enough has hung up.
            to.iter().for_each(|to| drop(to.send(Arc::clone(&bytes))));
            write(&bytes)?;
            size += bytes.len() as u64;
            next = chunk(reader)?;
        }
        Ok(size)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while holding the lock leaves only whole insertions behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken(blob: Descriptor, diff_id: Option<DiffId>, compression: Compression) -> Taken {
    let media_type = match compression {
        Compression::Gzip => MediaType::TarGzip,
        Compression::Zstd => MediaType::TarZstd,
        Compression::None | Compression::Bzip2 | Compression::Xz => MediaType::Tar,
    };
    Taken { blob, diff_id, media_type }
}

/// The compressions a layer may have.
fn is_layer(compression: Compression) -> bool {
    matches!(compression, Compression::Gzip | Compression::Zstd)
}

fn diff_id(compression: Compression, bytes: &[u8], digest: BlobDigest, size: u64) -> Option<DiffId> {
    if is_layer(compression) {
        content_hash(compression, bytes, expansion_limit(size)).map(|(id, _)| id)
    } else {
        Some(DiffId::from_bytes(*digest.as_bytes()))
    }
}

/// Identity and length of what is compressed; `None` for what cannot be decompressed, or expands beyond the limit.
fn content_hash(compression: Compression, bytes: impl Read, limit: u64) -> Option<(DiffId, u64)> {
    let mut reader = Bounded::new(compression.reader(bytes).ok()?, limit);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        match reader.read(&mut buffer).ok()? {
            0 => return Some((DiffId::from_bytes(hasher.finalize().into()), length)),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

fn hash(chunks: &Receiver<Arc<Vec<u8>>>) -> BlobDigest {
    let mut hasher = Sha256::new();
    chunks.iter().for_each(|chunk| hasher.update(chunk.as_slice()));
    BlobDigest::from_bytes(hasher.finalize().into())
}

/// The next chunk of a stream, full unless it is the last.
fn chunk(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(CHUNK);
    reader.take(CHUNK as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Chunks of a channel as a stream. What it may expand to grows with what has come in.
struct Chunks {
    from: Receiver<Arc<Vec<u8>>>,
    at: Arc<Vec<u8>>,
    used: usize,
}

impl Chunks {
    fn new(from: Receiver<Arc<Vec<u8>>>) -> Self {
        Self { from, at: Arc::default(), used: 0 }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.at.len() {
            let Ok(next) = self.from.recv() else { return Ok(0) };
            (self.at, self.used) = (next, 0);
        }
        let length = buffer.len().min(self.at.len() - self.used);
        buffer[..length].copy_from_slice(&self.at[self.used..self.used + length]);
        self.used += length;
        Ok(length)
    }
}
