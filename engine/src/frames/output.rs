//! The two streams of a layer, tar and blob, hashed in order.

use std::io::Write;

use cache::{CacheError, PrehashedWriter, Store};
use solver::{BlobDigest, Descriptor, DiffId, Layer, MediaType};

use super::make::Made;
use super::reuse::{Checkpoint, HashState, Remembered};
use super::{FrameError, changed};
use crate::pieces::{PieceDigest, whole};
use crate::sha::StreamHash;

/// Tar bytes between two checkpoints: what is hashed twice at most after an edit.
const CHECKPOINT_INTERVAL: u64 = 16 << 20;

/// A layer being written.
pub(crate) struct Output<'store> {
    blob: PrehashedWriter<'store>,
    tar_hash: StreamHash,
    blob_hash: StreamHash,
    frames: Vec<(u64, u64)>,
    remembered: Remembered,
    /// Pieces of the large file that is passing by for the first time.
    pieces: Vec<PieceDigest>,
}

impl<'store> Output<'store> {
    pub(crate) fn new(store: &'store Store) -> Result<Self, CacheError> {
        Ok(Self {
            blob: store.blobs().prehashed_writer()?,
            tar_hash: StreamHash::default(),
            blob_hash: StreamHash::default(),
            frames: Vec::new(),
            remembered: Remembered::default(),
            pieces: Vec::new(),
        })
    }

    /// Tar bytes so far.
    pub(super) fn tar_length(&self) -> u64 {
        self.tar_hash.length()
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
        hashes: (StreamHash, StreamHash),
    ) -> Result<(), FrameError> {
        (self.tar_hash, self.blob_hash) = hashes;
        self.blob.append_front(from, self.blob_hash.length())?;
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
        let Self { tar_hash, blob_hash, .. } = self;
        StreamHash::update_both([(tar_hash, made.tar.as_slice()), (blob_hash, bytes)]);
        self.blob.write_all(bytes)?;
        let (tar_length, blob_length) = (self.tar_hash.length(), self.blob_hash.length());
        self.push_frame(tar_length, blob_length, made.identity);
        let last = self.remembered.checkpoints.last().map_or(0, |checkpoint| checkpoint.tar.length);
        if tar_length - last >= CHECKPOINT_INTERVAL {
            self.remembered.checkpoints.push(Checkpoint {
                frames: self.frames.len() as u64,
                tar: HashState::of(&self.tar_hash),
                blob: HashState::of(&self.blob_hash),
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
        let size = self.blob_hash.length();
        let blob = Descriptor { digest: BlobDigest::from_bytes(self.blob_hash.finish()), size };
        self.blob.complete(blob)?;
        let diff_id = DiffId::from_bytes(self.tar_hash.finish());
        Ok(Layer { diff_id, blob, media_type, frames: self.frames })
    }

    fn push_frame(&mut self, tar_end: u64, blob_end: u64, identity: Option<[u8; 32]>) {
        self.frames.push((tar_end, blob_end));
        self.remembered.identities.push(identity);
    }
}
