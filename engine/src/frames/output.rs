//! The two streams of a layer, tar and blob, hashed in order.

use std::io::Write;

use cache::{CacheError, PrehashedWriter, Store};
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor, DiffId, Layer, MediaType};

use super::make::Made;
use super::reuse::{Checkpoint, HashState, Remembered};
use super::{FrameError, changed};
use crate::pieces::{PieceDigest, whole};

/// Tar bytes between two checkpoints: what is hashed twice at most after an edit.
const CHECKPOINT_INTERVAL: u64 = 16 << 20;

/// A layer being written.
pub(crate) struct Output<'store> {
    blob: PrehashedWriter<'store>,
    tar_hash: Sha256,
    blob_hash: Sha256,
    tar_length: u64,
    blob_length: u64,
    frames: Vec<(u64, u64)>,
    remembered: Remembered,
    /// Pieces of the large file that is passing by for the first time.
    pieces: Vec<PieceDigest>,
}

impl<'store> Output<'store> {
    pub(crate) fn new(store: &'store Store) -> Result<Self, CacheError> {
        Ok(Self {
            blob: store.blobs().prehashed_writer()?,
            tar_hash: Sha256::new(),
            blob_hash: Sha256::new(),
            tar_length: 0,
            blob_length: 0,
            frames: Vec::new(),
            remembered: Remembered::default(),
            pieces: Vec::new(),
        })
    }

    /// Tar bytes so far.
    pub(super) fn tar_length(&self) -> u64 {
        self.tar_length
    }

    /// Takes over the front of another blob up to a checkpoint: its bytes are copied, its hashes are known.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(super) fn resume(
        &mut self,
        from: &fs_err::File,
        front: &[(u64, u64, [u8; 32])],
        checkpoints: &[Checkpoint],
        states: (Sha256, Sha256),
    ) -> Result<(), FrameError> {
        let Some((tar_length, blob_length, _)) = front.last().copied() else { return Ok(()) };
        self.blob.append_front(from, blob_length)?;
        (self.tar_hash, self.blob_hash) = states;
        (self.tar_length, self.blob_length) = (tar_length, blob_length);
        for &(tar_end, blob_end, identity) in front {
            self.push_frame(tar_end, blob_end, Some(identity));
        }
        self.remembered.checkpoints = checkpoints.to_vec();
        Ok(())
    }

    pub(crate) fn take(&mut self, made: Made, progress: &(dyn Fn(u64) + Sync)) -> Result<(), FrameError> {
        if let Some((piece, digest)) = made.read {
            self.pieces.push(digest);
            if piece.is_last() {
                let pieces = std::mem::take(&mut self.pieces);
                if whole(&pieces, piece.size) != Some(piece.content) {
                    return Err(changed(&piece.path));
                }
                self.remembered.pieces.push((piece.content, pieces));
            }
        }
        let bytes = made.blob.as_deref().unwrap_or(&made.tar);
        let Self { blob, tar_hash, blob_hash, .. } = self;
        let (_, written) = rayon::join(
            || tar_hash.update(made.tar.as_slice()),
            || {
                blob_hash.update(bytes);
                blob.write_all(bytes)
            },
        );
        written?;
        self.tar_length += made.tar.len() as u64;
        self.blob_length += bytes.len() as u64;
        self.push_frame(self.tar_length, self.blob_length, made.identity);
        let last = self.remembered.checkpoints.last().map_or(0, |checkpoint| checkpoint.tar.length);
        if self.tar_length - last >= CHECKPOINT_INTERVAL {
            self.remembered.checkpoints.push(Checkpoint {
                frames: self.frames.len() as u64,
                tar: HashState::of(&self.tar_hash, self.tar_length),
                blob: HashState::of(&self.blob_hash, self.blob_length),
            });
        }
        progress(made.tar.len() as u64);
        Ok(())
    }

    /// What later layers can use of this one.
    pub(super) fn remembered(&mut self) -> Remembered {
        std::mem::take(&mut self.remembered)
    }

    pub(crate) fn finish(self, media_type: MediaType) -> Result<Layer, FrameError> {
        let digest = BlobDigest::from_bytes(self.blob_hash.finalize().into());
        let blob = Descriptor { digest, size: self.blob_length };
        self.blob.complete(blob)?;
        let diff_id = DiffId::from_bytes(self.tar_hash.finalize().into());
        Ok(Layer { diff_id, blob, media_type, frames: self.frames })
    }

    fn push_frame(&mut self, tar_end: u64, blob_end: u64, identity: Option<[u8; 32]>) {
        self.frames.push((tar_end, blob_end));
        self.remembered.identities.push(identity);
    }
}
