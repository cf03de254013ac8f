//! A delta written as a layer blob in independently compressed frames.
//!
//! A frame ends after an entry whose path hashes below a threshold proportional to its size, so cuts stay where they
//! are when other entries come, go or grow. Frames are made in parallel and hashed in order; two SHA-256 streams
//! and the compressor are different threads. What is read is checked against the tree that named it. A frame that an
//! older blob has is copied from there, and hashing starts where the old and the new layer part.

mod buffers;
mod cut;
mod line;
mod make;
mod output;
mod reuse;

use std::io;

use cache::{CacheError, Store};
use solver::{HardLinks, Hasher, Layer, MediaType, TreeDigest};
use thiserror::Error;

pub(crate) use self::buffers::FrameBuffer;
use self::cut::{Frame, cut};
use self::line::in_order;
pub(crate) use self::make::compressed;
pub(crate) use self::output::Output;
pub(crate) use self::reuse::{Checkpoint, KnownFrame};
use crate::cancel::Cancel;
use crate::contents::{ContentError, Contents};
use crate::layer::{LAYER_FORMAT, TimePolicy};
use crate::tree::{TreeError, Trees};

/// The release of libdeflate, which does not tell its own: another one may write other bytes.
const DEFLATE_VERSION: &str = "1.26.1";

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

    /// None, for what is compressed already.
    pub const NONE: Self = Self { media_type: MediaType::Tar, level: 0 };

    /// Feeds everything that decides compressed bytes.
    pub(crate) fn feed(self, hasher: &mut Hasher) {
        hasher.number(self.media_type as u64);
        hasher.number(self.level.into());
        match self.media_type {
            MediaType::TarZstd => hasher.number(zstd::zstd_safe::version_number().into()),
            MediaType::TarGzip => hasher.bytes(DEFLATE_VERSION.as_bytes()),
            MediaType::Tar => {}
        }
    }
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
pub fn layer_key(
    delta: &TreeDigest,
    links: &HardLinks,
    times: TimePolicy,
    compression: LayerCompression,
) -> [u8; 32] {
    let mut hasher = Hasher::new("layer");
    hasher.number(LAYER_FORMAT);
    hasher.bytes(delta.as_bytes());
    links.feed(&mut hasher);
    times.feed(&mut hasher);
    compression.feed(&mut hasher);
    hasher.finish()
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
    /// Files of the delta that have several names.
    pub links: &'a HardLinks,
    /// Times.
    pub times: TimePolicy,
    /// Format and level.
    pub compression: LayerCompression,
    /// Whether frames of older blobs may be copied.
    pub reuse: bool,
    /// Stops it.
    pub cancel: &'a Cancel,
}

impl LayerWriter<'_> {
    /// Writes a delta as a blob. `progress` hears of tar bytes.
    ///
    /// # Errors
    /// When a file cannot be read or is not what the tree says; then no blob is kept.
    pub fn write(&self, delta: &TreeDigest, progress: &(dyn Fn(u64) + Sync)) -> Result<Layer, FrameError> {
        let frames = cut(self, delta)?;
        let known = self.known_frames(&frames);
        self.provide(
            delta,
            frames.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(frame, _)| frame),
        )?;
        let mut out = Output::new(self.store)?;
        let done = self.resume(&mut out, &frames, &known)?;
        progress(out.tar_length());

        let (frames, known) = (&frames[done..], &known[done..]);
        let window = 2 * rayon::current_num_threads().clamp(1, 4);
        let make = |number: usize| self.frame(delta, &frames[number], known[number].as_ref());
        in_order(frames.len(), window, make, |made| out.take(made, progress))?;
        let remembered = out.remembered();
        let layer = out.finish(self.compression.media_type)?;
        remembered.keep(self.store, &layer);
        Ok(layer)
    }

    /// One frame: copied where an older blob has it, else made.
    fn frame(
        &self,
        delta: &TreeDigest,
        frame: &Frame,
        known: Option<&KnownFrame>,
    ) -> Result<make::Made, FrameError> {
        if self.cancel.is_cancelled() {
            return Err(FrameError::Cancelled);
        }
        if let Some(known) = known {
            if let Some(made) = self.copied(frame, known) {
                return Ok(made);
            }
            // It stood in a blob that is damaged.
            self.provide(delta, [frame])?;
        }
        self.made(frame)
    }

    /// Makes sure that the files of frames can be read.
    fn provide<'f>(
        &self,
        delta: &TreeDigest,
        frames: impl IntoIterator<Item = &'f Frame>,
    ) -> Result<(), ContentError> {
        let files = frames.into_iter().flat_map(Frame::files);
        self.contents.provide_files(self.trees, delta, files)
    }
}

fn changed(path: &[u8]) -> FrameError {
    FrameError::Changed { path: String::from_utf8_lossy(path).into_owned() }
}

#[cfg(test)]
mod tests;
