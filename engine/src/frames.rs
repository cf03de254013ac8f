//! A delta written as a layer blob in independently compressed frames.
//!
//! A frame ends after an entry whose path hashes below a threshold proportional to its size, so cuts stay where they
//! are when other entries come, go or grow. Frames are made in parallel and hashed in order; two SHA-256 streams
//! and the compressor are different threads. What is read is checked against the tree that named it.

use std::io::{self, Read, Write};

use cache::{CacheError, Store};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use solver::{ContentDigest, Descriptor, DiffId, Hasher, Layer, MediaType, TreeDigest};
use thiserror::Error;

use crate::cancel::Cancel;
use crate::contents::{ContentError, Contents};
use crate::layer::{self, LAYER_FORMAT, TimePolicy};
use crate::tree::{Entry, Node, TreeError, Trees};

/// Mean length of a frame: large enough to compress well, small enough to make again for one changed file.
const MEAN: u64 = 1 << 20;
/// Longest frame, and the largest file that shares one.
const LONGEST: u64 = 4 << 20;
/// What one entry costs beside its content.
const HEADER_COST: u64 = layer::BLOCK;

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerCompression {
    /// The format.
    pub media_type: MediaType,
    /// The format's own level; 0 for none.
    pub level: u32,
}

impl LayerCompression {
    /// gzip as other tools make it.
    pub const GZIP: Self = Self { media_type: MediaType::TarGzip, level: 6 };
}

impl Default for LayerCompression {
    fn default() -> Self {
        Self { media_type: MediaType::TarZstd, level: 3 }
    }
}

/// A layer that cannot be made.
#[derive(Debug, Error)]
pub enum FrameError {
    /// A file cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A file is not what it was.
    #[error("`{path}` changed while the build was reading it; build again")]
    Changed {
        /// Path in the image.
        path: String,
    },
    /// A directory is missing.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Compressing or writing failed.
    #[error("cannot write a layer: {0}")]
    Io(#[from] io::Error),
    /// The build was stopped.
    #[error("the build was cancelled")]
    Cancelled,
}

/// Identity of the blob a delta becomes: everything its bytes depend on.
pub fn layer_key(delta: &TreeDigest, times: TimePolicy, compression: LayerCompression) -> [u8; 32] {
    let mut hasher = Hasher::new("layer");
    hasher.number(LAYER_FORMAT);
    hasher.bytes(delta.as_bytes());
    times.feed(&mut hasher);
    hasher.number(compression.media_type as u64);
    hasher.number(compression.level.into());
    if compression.media_type == MediaType::TarZstd {
        hasher.number(zstd::zstd_safe::version_number().into());
    }
    hasher.finish()
}

/// One entry, or a piece of one too large to share a frame.
#[derive(Debug)]
enum Part {
    Entry { path: Vec<u8>, entry: Entry },
    Piece { path: Vec<u8>, content: ContentDigest, offset: u64, length: u64, last: bool },
}

/// What a frame became.
pub(crate) struct Made {
    tar: Vec<u8>,
    blob: Option<Vec<u8>>,
    /// For pieces of a large file: where its content lies in `tar`, and whether it is the last.
    piece: Option<(std::ops::Range<usize>, ContentDigest, bool, Vec<u8>)>,
}

/// Everything needed to write layers.
#[derive(Debug, Clone, Copy)]
pub struct LayerWriter<'a> {
    /// Blobs.
    pub store: &'a Store,
    /// Directories.
    pub trees: &'a Trees<'a>,
    /// File contents.
    pub contents: &'a Contents<'a>,
    /// Times.
    pub times: TimePolicy,
    /// Format and level.
    pub compression: LayerCompression,
    /// Stops it.
    pub cancel: &'a Cancel,
}

impl LayerWriter<'_> {
    /// Writes a delta as a blob. `progress` hears of tar bytes.
    ///
    /// # Errors
    /// When a file cannot be read or is not what the tree says; then no blob is kept.
    pub fn write(&self, delta: &TreeDigest, progress: &(dyn Fn(u64) + Sync)) -> Result<Layer, FrameError> {
        self.contents.provide(self.trees, delta)?;
        let frames = self.cut(delta)?;
        let mut out = Output::new(self.store)?;
        let wide = rayon::current_num_threads().clamp(1, 4);
        let mut batches = frames.chunks(wide).enumerate();
        let total = frames.len().div_ceil(wide).max(1);
        let mut before: Vec<Made> = Vec::new();
        loop {
            let next = batches.next();
            let (written, made) = rayon::join(
                || before.drain(..).try_for_each(|made| out.take(made, progress)),
                || match next {
                    Some((n, batch)) => self.make(batch, n + 1 == total).map(Some),
                    None => Ok(None),
                },
            );
            written?;
            match made? {
                Some(made) => before = made,
                None => break,
            }
        }
        if frames.is_empty() {
            let made = compressed(layer::END.to_vec(), self.compression)?;
            out.take(made, progress)?;
        }
        out.finish(self.compression.media_type)
    }

    fn cut(&self, delta: &TreeDigest) -> Result<Vec<Vec<Part>>, TreeError> {
        let mut frames: Vec<Vec<Part>> = Vec::new();
        let mut frame = Vec::new();
        let mut length = 0;
        let mut add = |path: &[u8], entry: &Entry| {
            let (size, content) = match entry.node {
                Node::File { size, content } => (size, Some(content)),
                _ => (0, None),
            };
            let cost = HEADER_COST + size.next_multiple_of(layer::BLOCK);
            if length > 0 && length + cost > LONGEST {
                frames.push(std::mem::take(&mut frame));
                length = 0;
            }
            let path = path.to_vec();
            let hash = path_hash(&path);
            frame.push(Part::Entry { path: path.clone(), entry: entry.clone() });
            length += cost;
            if let Some(content) = content.filter(|_| size > LONGEST) {
                frames.push(std::mem::take(&mut frame));
                length = 0;
                for offset in (0..size).step_by(MEAN as usize) {
                    let length = MEAN.min(size - offset);
                    let last = offset + length == size;
                    frames.push(vec![Part::Piece { path: path.clone(), content, offset, length, last }]);
                }
            } else if u128::from(hash) * u128::from(MEAN) < u128::from(cost) << 64 {
                frames.push(std::mem::take(&mut frame));
                length = 0;
            }
        };
        let root = self.trees.load(delta)?;
        if root.opaque {
            add(b".wh..wh..opq", &opaque_mark());
        }
        self.trees.walk::<TreeError>(delta, &mut |path, entry| {
            add(path, entry);
            if let Node::Dir(child) = &entry.node
                && self.trees.load(child)?.opaque
            {
                add(&[path, b"/.wh..wh..opq"].concat(), &opaque_mark());
            }
            Ok(())
        })?;
        if !frame.is_empty() {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn make(&self, batch: &[Vec<Part>], ends: bool) -> Result<Vec<Made>, FrameError> {
        let last = batch.len() - 1;
        batch
            .par_iter()
            .enumerate()
            .map(|(n, parts)| {
                if self.cancel.is_cancelled() {
                    return Err(FrameError::Cancelled);
                }
                let (mut tar, piece) = self.tar_of(parts)?;
                if ends && n == last {
                    tar.extend_from_slice(&layer::END);
                }
                Ok(Made { piece, ..compressed(tar, self.compression)? })
            })
            .collect()
    }

    #[expect(clippy::type_complexity, reason = "the pair is taken apart by its one caller")]
    fn tar_of(
        &self,
        parts: &[Part],
    ) -> Result<(Vec<u8>, Option<(std::ops::Range<usize>, ContentDigest, bool, Vec<u8>)>), FrameError> {
        let mut tar = Vec::new();
        let mut piece = None;
        for part in parts {
            match part {
                Part::Entry { path, entry } => {
                    layer::write_header(&mut tar, path, entry, self.times);
                    if let Node::File { content, size } = entry.node
                        && size <= LONGEST
                    {
                        let start = tar.len();
                        self.append(&mut tar, &content, path, 0, size)?;
                        if *blake3::hash(&tar[start..]).as_bytes() != *content.as_bytes() {
                            return Err(changed(path));
                        }
                        layer::pad(&mut tar);
                    }
                }
                Part::Piece { path, content, offset, length, last } => {
                    self.append(&mut tar, content, path, *offset, *length)?;
                    piece = Some((0..tar.len(), *content, *last, path.clone()));
                    if *last {
                        layer::pad(&mut tar);
                    }
                }
            }
        }
        Ok((tar, piece))
    }

    /// Appends exactly `length` bytes of a file; one more or less means it changed.
    fn append(
        &self,
        tar: &mut Vec<u8>,
        content: &ContentDigest,
        path: &[u8],
        offset: u64,
        length: u64,
    ) -> Result<(), FrameError> {
        if length == 0 {
            return Ok(());
        }
        let mut file = self.contents.open(content)?;
        if offset > 0 {
            file.seek_to(offset)?;
        }
        let start = tar.len();
        tar.reserve(length as usize);
        file.take(length).read_to_end(tar)?;
        if (tar.len() - start) as u64 == length { Ok(()) } else { Err(changed(path)) }
    }
}

/// One frame of a tar that is there already.
pub(crate) fn compressed(tar: Vec<u8>, compression: LayerCompression) -> Result<Made, FrameError> {
    let blob = match compression.media_type {
        MediaType::Tar => None,
        MediaType::TarGzip => Some(gzip(&tar, compression.level)?),
        MediaType::TarZstd => Some(zstd_frame(&tar, compression.level)?),
    };
    Ok(Made { tar, blob, piece: None })
}

/// The two streams in order.
pub(crate) struct Output<'store> {
    blob: cache::BlobWriter<'store>,
    tar_hash: Sha256,
    tar_length: u64,
    blob_length: u64,
    frames: Vec<(u64, u64)>,
    large: blake3::Hasher,
}

impl<'store> Output<'store> {
    pub(crate) fn new(store: &'store Store) -> Result<Self, CacheError> {
        Ok(Self {
            blob: store.blobs().writer()?,
            tar_hash: Sha256::new(),
            tar_length: 0,
            blob_length: 0,
            frames: Vec::new(),
            large: blake3::Hasher::new(),
        })
    }

    pub(crate) fn take(&mut self, made: Made, progress: &(dyn Fn(u64) + Sync)) -> Result<(), FrameError> {
        if let Some((range, content, last, path)) = made.piece {
            self.large.update(&made.tar[range]);
            if last {
                let whole = self.large.finalize();
                self.large.reset();
                if whole.as_bytes() != content.as_bytes() {
                    return Err(changed(&path));
                }
            }
        }
        let bytes = made.blob.as_deref().unwrap_or(&made.tar);
        let (_, written) = rayon::join(|| self.tar_hash.update(&made.tar), || self.blob.write_all(bytes));
        written?;
        self.tar_length += made.tar.len() as u64;
        self.blob_length += bytes.len() as u64;
        self.frames.push((self.tar_length, self.blob_length));
        progress(made.tar.len() as u64);
        Ok(())
    }

    pub(crate) fn finish(self, media_type: MediaType) -> Result<Layer, FrameError> {
        let blob: Descriptor = self.blob.complete()?;
        let diff_id = DiffId::from_bytes(self.tar_hash.finalize().into());
        Ok(Layer { diff_id, blob, media_type, frames: self.frames })
    }
}

fn opaque_mark() -> Entry {
    let content = crate::contents::content_digest(b"");
    Entry { meta: crate::tree::Meta::with_mode(0o644), node: Node::File { content, size: 0 } }
}

fn changed(path: &[u8]) -> FrameError {
    FrameError::Changed { path: String::from_utf8_lossy(path).into_owned() }
}

fn path_hash(path: &[u8]) -> u64 {
    let hash = blake3::hash(path);
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// One complete zstd frame with a checksum, made by one thread: the same bytes wherever it is made.
fn zstd_frame(tar: &[u8], level: u32) -> io::Result<Vec<u8>> {
    thread_local! {
        static COMPRESSOR: std::cell::RefCell<Option<(u32, zstd::bulk::Compressor<'static>)>> =
            const { std::cell::RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some((made_for, compressor)) if *made_for == level => compressor,
            _ => {
                let mut compressor = zstd::bulk::Compressor::new(level.try_into().unwrap_or(i32::MAX))?;
                compressor.include_checksum(true)?;
                &mut slot.insert((level, compressor)).1
            }
        };
        compressor.compress(tar)
    })
}

/// One gzip member (RFC 1952 allows any number in a file), without name or time.
fn gzip(tar: &[u8], level: u32) -> io::Result<Vec<u8>> {
    thread_local! {
        static COMPRESSOR: std::cell::RefCell<Option<(u32, libdeflater::Compressor)>> =
            const { std::cell::RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some((made_for, compressor)) if *made_for == level => compressor,
            _ => {
                let wanted = libdeflater::CompressionLvl::new(level.try_into().unwrap_or(i32::MAX))
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no such gzip level"))?;
                &mut slot.insert((level, libdeflater::Compressor::new(wanted))).1
            }
        };
        let mut out = vec![0; compressor.gzip_compress_bound(tar.len())];
        let length =
            compressor.gzip_compress(tar, &mut out).map_err(|error| io::Error::other(error.to_string()))?;
        out.truncate(length);
        Ok(out)
    })
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
