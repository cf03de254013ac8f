//! Streams taken in as blobs: written, hashed and, where compressed, decompressed and hashed again, side by side.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use cache::Store;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor, DiffId, MediaType};

use super::TransportError;
use crate::cancel::{Cancel, Stopping};
use crate::decompress::{Bounded, Compression, expansion_limit};

/// Bytes that pass from hand to hand: few enough to stay in a core's cache on the way.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait for a slower hand.
const WAITING: usize = 32;

/// Parts whose content is still being hashed while the next ones come in.
const IN_FLIGHT: usize = 2;

/// Bytes that several hands read.
type Chunk = Arc<Vec<u8>>;

/// A part that was taken in.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) blob: Descriptor,
    /// How a layer would be compressed.
    pub(super) media_type: MediaType,
    content: Arc<Content>,
}

impl Taken {
    /// What a layer's content is; `None` where the bytes are no whole compressed stream. Waits for the answer.
    pub(super) fn diff_id(&self) -> Option<DiffId> {
        self.content.diff_id()
    }
}

/// The identity of what is in a part, once it is known.
#[derive(Debug)]
struct Content {
    known: OnceLock<Option<DiffId>>,
    hashing: Mutex<Option<JoinHandle<Option<DiffId>>>>,
    /// Ends the hashing.
    stop: Cancel,
}

impl Content {
    fn known(diff_id: Option<DiffId>) -> Arc<Self> {
        Arc::new(Self { known: OnceLock::from(diff_id), hashing: Mutex::default(), stop: Cancel::new() })
    }

    /// Decompresses and hashes the incoming chunks on a thread of its own, until `stop` says that the result is not needed.
    fn hashing(compression: Compression, from: Receiver<Chunk>, size: u64, stop: Cancel) -> Arc<Self> {
        let own = stop.clone();
        let hash = move || content_hash(compression, Chunks::new(from), expansion_limit(size), &own);
        let hashing = Mutex::new(Some(std::thread::spawn(hash)));
        Arc::new(Self { known: OnceLock::new(), hashing, stop })
    }

    fn diff_id(&self) -> Option<DiffId> {
        // A decoder that panics has not understood the bytes.
        *self.known.get_or_init(|| lock(&self.hashing).take()?.join().unwrap_or(None))
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Takes parts in, and remembers which of them an image needs.
pub(super) struct Intake<'a> {
    pub(super) store: &'a Store,
    pub(super) cancel: &'a Cancel,
    progress: &'a dyn Fn(u64),
    /// Whether anybody will ask what is in what is compressed.
    looks_inside: bool,
    taken: Mutex<BTreeSet<BlobDigest>>,
    needed: Mutex<BTreeSet<BlobDigest>>,
    in_flight: Mutex<VecDeque<Arc<Content>>>,
    /// Memory of chunks, to be used again when all hands are done with it.
    used: Mutex<VecDeque<Chunk>>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(store: &'a Store, cancel: &'a Cancel, progress: &'a dyn Fn(u64)) -> Self {
        Self {
            store,
            cancel,
            progress,
            looks_inside: true,
            taken: Mutex::default(),
            needed: Mutex::default(),
            in_flight: Mutex::default(),
            used: Mutex::default(),
        }
    }

    /// For blobs that stay closed: nobody asks for their diff ids.
    pub(super) fn of_blobs(store: &'a Store, cancel: &'a Cancel, progress: &'a dyn Fn(u64)) -> Self {
        Self { looks_inside: false, ..Self::new(store, cancel, progress) }
    }

    /// Takes in what a stream of so many bytes holds. Bytes of a blob the store has already are read and checked, but not kept twice.
    pub(super) fn take(
        &self,
        part: &str,
        reader: &mut dyn Read,
        size: u64,
        expected: Option<BlobDigest>,
    ) -> Result<Taken, TransportError> {
        let has_it = expected.is_some_and(|digest| self.store.blobs().contains(&Descriptor { digest, size }));
        let mut writer = if has_it { None } else { Some(self.store.blobs().prehashed_writer()?) };
        let taken = self.pass(reader, size, &mut |chunk| match &mut writer {
            Some(writer) => writer.write_all(chunk),
            None => Ok(()),
        })?;
        if expected.is_some_and(|digest| digest != taken.blob.digest) {
            return Err(TransportError::Digest { part: part.to_owned(), found: taken.blob.digest });
        }
        if let Some(writer) = writer {
            writer.complete(taken.blob)?;
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
        size: u64,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Taken, TransportError> {
        let first = fill(reader, Vec::new())?;
        let compression = Compression::of(&first);
        if first.len() < CHUNK {
            write(&first)?;
            (self.progress)(first.len() as u64);
            let digest = BlobDigest::from_bytes(Sha256::digest(&first).into());
            let diff_id = if self.looks_inside { self.diff_id(compression, &first, digest) } else { None };
            let blob = Descriptor { digest, size: first.len() as u64 };
            return Ok(taken(blob, compression, Content::known(diff_id)));
        }
        let (to_hash, hashing) = sync_channel(WAITING);
        let mut hands = vec![to_hash];
        let content = (self.looks_inside && is_layer(compression)).then(|| {
            let (to_decompress, decompressing) = sync_channel(WAITING);
            hands.push(to_decompress);
            // Not waited for here: the next part comes in meanwhile.
            Content::hashing(compression, decompressing, size, self.cancel.part())
        });
        let hash = std::thread::spawn(move || hash(&hashing));
        let written = self.feed(reader, first, write, &hands);
        drop(hands);
        let digest = hash.join().expect("hashing does not panic");
        let size = written?;
        let itself = || Some(DiffId::from_bytes(*digest.as_bytes()));
        let content = content.unwrap_or_else(|| Content::known(self.looks_inside.then(itself).flatten()));
        let mut in_flight = lock(&self.in_flight);
        in_flight.push_back(Arc::clone(&content));
        if in_flight.len() > IN_FLIGHT
            && let Some(oldest) = in_flight.pop_front()
        {
            oldest.diff_id();
        }
        Ok(taken(Descriptor { digest, size }, compression, content))
    }

    fn diff_id(&self, compression: Compression, bytes: &[u8], digest: BlobDigest) -> Option<DiffId> {
        if is_layer(compression) {
            content_hash(compression, bytes, expansion_limit(bytes.len() as u64), self.cancel)
        } else {
            Some(DiffId::from_bytes(*digest.as_bytes()))
        }
    }

    /// Reads, hands each chunk on, and writes it. The channels close when this ends. Memory of chunks that all hands are
    /// done with is used again: fresh memory costs more than what is done with it.
    fn feed(
        &self,
        reader: &mut dyn Read,
        first: Vec<u8>,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        to: &[SyncSender<Chunk>],
    ) -> Result<u64, TransportError> {
        let mut size = 0;
        let mut used = lock(&self.used);
        let mut next = first;
        while !next.is_empty() {
            if self.cancel.is_cancelled() {
                return Err(TransportError::Cancelled);
            }
            let bytes = Arc::new(next);
            // A receiver that needs no more has hung up.
            to.iter().for_each(|to| drop(to.send(Arc::clone(&bytes))));
            write(&bytes)?;
            size += bytes.len() as u64;
            (self.progress)(bytes.len() as u64);
            used.push_back(bytes);
            let free = match used.pop_front().map(Arc::try_unwrap) {
                Some(Ok(bytes)) => bytes,
                Some(Err(bytes)) => {
                    used.push_front(bytes);
                    Vec::new()
                }
                None => Vec::new(),
            };
            next = fill(reader, free)?;
        }
        Ok(size)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while holding the lock leaves only whole insertions behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken(blob: Descriptor, compression: Compression, content: Arc<Content>) -> Taken {
    let media_type = match compression {
        Compression::Gzip => MediaType::TarGzip,
        Compression::Zstd => MediaType::TarZstd,
        Compression::None | Compression::Bzip2 | Compression::Xz => MediaType::Tar,
    };
    Taken { blob, media_type, content }
}

/// The compressions a layer may have.
fn is_layer(compression: Compression) -> bool {
    matches!(compression, Compression::Gzip | Compression::Zstd)
}

/// Identity of what bytes are when decompressed; `None` for what cannot be, expands beyond the limit, or is given up.
fn content_hash(compression: Compression, bytes: impl Read, limit: u64, cancel: &Cancel) -> Option<DiffId> {
    let bytes = Stopping { bytes: compression.reader(bytes).ok()?, cancel };
    let mut reader = Bounded::new(bytes, limit);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer).ok()? {
            0 => return Some(DiffId::from_bytes(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn hash(chunks: &Receiver<Chunk>) -> BlobDigest {
    let mut hasher = Sha256::new();
    chunks.iter().for_each(|chunk| hasher.update(chunk.as_slice()));
    BlobDigest::from_bytes(hasher.finalize().into())
}

/// The next chunk of a stream, full unless it is the last.
fn fill(reader: &mut dyn Read, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    bytes.resize(CHUNK, 0);
    let mut filled = 0;
    while filled < CHUNK {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Chunks of a channel as a stream.
struct Chunks {
    from: Receiver<Chunk>,
    at: Chunk,
    used: usize,
}

impl Chunks {
    fn new(from: Receiver<Chunk>) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A gzip stream of that many zeros.
    fn zeros(length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let zeros = io::repeat(0).take(length);
        flate2::read::GzEncoder::new(zeros, flate2::Compression::fast()).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn only_a_whole_layer_within_its_limit_has_an_identity() {
        let bytes = zeros(1 << 20);
        let cancel = Cancel::new();
        let hash = |bytes: &[u8], limit| content_hash(Compression::Gzip, bytes, limit, &cancel);
        assert!(hash(&bytes, 1 << 20).is_some());
        assert_eq!(hash(&bytes, (1 << 20) - 1), None);
        assert_eq!(hash(&bytes[..bytes.len() - 1], 1 << 20), None);
    }

    #[test]
    fn a_layer_is_decompressed_for_no_longer_than_somebody_may_ask() {
        let is_given_up = |give_up: &dyn Fn(&Cancel, Arc<Content>)| {
            let (to, from) = sync_channel(1);
            let cancel = Cancel::new();
            let content = Content::hashing(Compression::Gzip, from, 0, cancel.part());
            let hashing = lock(&content.hashing).take().unwrap();
            give_up(&cancel, content);
            // The sender is still there, and so is more to come.
            to.send(Arc::new(zeros(1 << 20))).unwrap();
            hashing.join().unwrap().is_none()
        };
        assert!(is_given_up(&|cancel, _| cancel.cancel()));
        assert!(is_given_up(&|_, content| drop(content)));
    }
}
