//! Frames that stand in older blobs, and hashes that need not start over.
//!
//! A frame's identity leads to a blob that has its bytes. As far as the new layer's frames are the first frames of one
//! blob, in order, they are copied in the kernel and neither read nor hashed: SHA-256 goes on from a checkpoint that was
//! kept with that blob.

use std::cell::RefCell;
use std::io::{self, Read};

use cache::{Store, Table};
use serde::{Deserialize, Serialize};
use solver::{ContentDigest, Descriptor, Layer, MediaType};

use super::buffers::FrameBuffer;
use super::cut::Frame;
use super::make::Made;
use super::output::Output;
use super::{FrameError, LayerWriter};
use crate::pieces::PieceDigest;
use crate::sha::StreamHash;

/// A frame that stands in a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownFrame {
    pub(crate) blob: Descriptor,
    /// In the blob, in bytes.
    pub(super) offset: u64,
    /// In the blob, in bytes.
    pub(super) length: u64,
    /// Uncompressed, in bytes.
    pub(super) tar_length: u64,
}

/// A SHA-256 that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HashState {
    /// Bytes hashed.
    pub(super) length: u64,
    state: Vec<u8>,
}

impl HashState {
    pub(super) fn of(hash: &StreamHash) -> Self {
        Self { length: hash.length(), state: hash.state() }
    }

    fn hash(&self) -> Option<StreamHash> {
        StreamHash::resumed(&self.state, self.length)
    }
}

/// Both hashes of a layer after some of its frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// How many.
    pub(super) frames: u64,
    pub(super) tar: HashState,
    pub(super) blob: HashState,
}

/// What later layers can use of one.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// One for each frame.
    pub(super) identities: Vec<Option<[u8; 32]>>,
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Large files that were read for the first time.
    pub(super) pieces: Vec<(ContentDigest, Vec<PieceDigest>)>,
}

impl Remembered {
    /// Leaves it in the store for the layer it belongs to.
    pub(super) fn keep(&self, store: &Store, layer: &Layer) {
        let mut start = (0, 0);
        for (&(tar_end, blob_end), identity) in layer.frames.iter().zip(&self.identities) {
            if let Some(identity) = identity {
                let (offset, length) = (start.1, blob_end - start.1);
                let known = KnownFrame { blob: layer.blob, offset, length, tar_length: tar_end - start.0 };
                store.put(Table::Frames, identity, &known);
            }
            start = (tar_end, blob_end);
        }
        if !self.checkpoints.is_empty() {
            store.put(Table::Checkpoints, layer.blob.digest.as_bytes(), &self.checkpoints);
        }
        for (content, pieces) in &self.pieces {
            store.put(Table::Pieces, content.as_bytes(), pieces);
        }
    }
}

impl LayerWriter<'_> {
    /// Where older blobs have these frames.
    pub(super) fn known_frames(&self, frames: &[Frame]) -> Vec<Option<KnownFrame>> {
        if !self.reuse {
            return vec![None; frames.len()];
        }
        // A frame without an identity is looked up under zeros, where nothing is stored.
        let keys: Vec<[u8; 32]> = frames.iter().map(|frame| frame.identity.unwrap_or_default()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
        let mut checked: Option<(Descriptor, bool)> = None;
        let mut is_there = |blob: &Descriptor| match checked {
            Some((last, is_there)) if last == *blob => is_there,
            _ => checked.insert((*blob, self.store.blobs().contains(blob))).1,
        };
        let known = self.store.get_many(Table::Frames, &keys).into_iter();
        known.map(|known: Option<KnownFrame>| known.filter(|known| is_there(&known.blob))).collect()
    }

    /// Takes over the front of the layer that a blob and its checkpoints have. How many frames that is.
    pub(super) fn resume(
        &self,
        out: &mut Output<'_>,
        frames: &[Frame],
        known: &[Option<KnownFrame>],
    ) -> Result<usize, FrameError> {
        let Some(first) = known.first().and_then(Option::as_ref) else { return Ok(0) };
        let mut front = Vec::new();
        let (mut tar_end, mut blob_end) = (0, 0);
        for (frame, known) in frames.iter().zip(known) {
            let (Some(identity), Some(known)) = (frame.identity, known) else { break };
            if known.blob != first.blob || known.offset != blob_end {
                break;
            }
            tar_end += known.tar_length;
            blob_end += known.length;
            front.push((tar_end, blob_end, identity));
        }
        let checkpoints: Vec<Checkpoint> =
            self.store.get(Table::Checkpoints, first.blob.digest.as_bytes()).unwrap_or_default();
        let fits = |checkpoint: &Checkpoint| {
            let end = (checkpoint.frames as usize).checked_sub(1).and_then(|last| front.get(last));
            end.is_some_and(|&(tar, blob, _)| (tar, blob) == (checkpoint.tar.length, checkpoint.blob.length))
        };
        let count = checkpoints.iter().take_while(|checkpoint| fits(checkpoint)).count();
        let Some(last) = count.checked_sub(1).map(|last| &checkpoints[last]) else { return Ok(0) };
        let (Some(tar), Some(blob)) = (last.tar.hash(), last.blob.hash()) else { return Ok(0) };
        let done = last.frames as usize;
        let from = self.store.blobs().open(&first.blob.digest)?;
        out.resume(&from, &front[..done], &checkpoints[..count], (tar, blob))?;
        Ok(done)
    }

    /// A frame as an older blob has it; `None` if it has not.
    pub(super) fn copied(&self, frame: &Frame, known: &KnownFrame) -> Option<Made> {
        let blob = self.store.blobs().read_range(&known.blob.digest, known.offset, known.length).ok()?;
        let tar_length = usize::try_from(known.tar_length).ok()?;
        let identity = frame.identity;
        let mut tar = FrameBuffer::with_room(tar_length);
        match self.compression.media_type {
            MediaType::Tar => {
                // No checksum of a compressor stands for these bytes.
                let is_right = self.is_tar_of(frame, &blob);
                return is_right.then_some(Made { tar: blob.into(), blob: None, identity, read: None });
            }
            MediaType::TarZstd => zstd_frame(&blob, &mut tar).ok()?,
            MediaType::TarGzip => {
                let mut member = flate2::read::GzDecoder::new(blob.as_slice()).take(known.tar_length + 1);
                member.read_to_end(&mut tar).ok()?;
            }
        }
        (tar.len() == tar_length).then_some(Made { tar, blob: Some(blob.into()), identity, read: None })
    }
}

/// Fills an empty buffer that has the room with what a zstd frame holds.
fn zstd_frame(blob: &[u8], tar: &mut Vec<u8>) -> io::Result<()> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress_to_buffer(blob, tar).map(drop)
    })
}
