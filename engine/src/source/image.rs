//! `FROM` an image of the store: its layers as deltas, each indexed once in its life.

use std::io;

use cache::{CacheError, Store, Table};
use sha2::{Digest, Sha256};
use solver::{DiffId, Layer, TreeDigest};
use thiserror::Error;

use crate::contents::Contents;
use crate::images::StoredImage;
use crate::layer;
use crate::state::State;
use crate::tree::Trees;
use crate::untar::{Flavour, UntarError, read_tar};

/// An image whose layers cannot be used.
#[derive(Debug, Error)]
pub enum ImageError {
    /// A layer's tar cannot be read.
    #[error("layer `{digest}`: {source}")]
    Untar {
        /// The blob.
        digest: solver::BlobDigest,
        /// Why.
        source: UntarError,
    },
    /// A layer is not what the config says.
    #[error("layer `{digest}` has the diff id `{found}`, the image's config says `{expected}`")]
    DiffId {
        /// The blob.
        digest: solver::BlobDigest,
        /// By the config.
        expected: DiffId,
        /// Found.
        found: DiffId,
    },
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// The state an image is, its layers registered so that their files can be copied.
///
/// # Errors
/// When a layer is missing, damaged or refused.
pub fn state(
    image: &StoredImage,
    store: &Store,
    trees: &Trees<'_>,
    contents: &Contents<'_>,
) -> Result<State, ImageError> {
    let mut state = State::default();
    for layer in &image.layers {
        let known: Option<TreeDigest> = store.get(Table::LayerIndex, layer.blob.digest.as_bytes());
        let delta = match known.filter(|tree| trees.load(tree).is_ok()) {
            Some(tree) => tree,
            None => index(layer, store, trees)?,
        };
        contents.add_image_layer(delta, layer.clone());
        state.deltas.push(delta);
    }
    Ok(state)
}

/// Reads a layer once: entries, content digests, and whether it is what the config says.
fn index(layer: &Layer, store: &Store, trees: &Trees<'_>) -> Result<TreeDigest, ImageError> {
    let digest = layer.blob.digest;
    let fail = |source| ImageError::Untar { digest, source };
    let blob = store.blobs().open(&digest)?;
    let tar = layer::uncompressed(blob, layer.media_type).map_err(|e| fail(e.into()))?;
    let mut tar = Hashed { inner: tar, hasher: Sha256::new() };
    let tree = read_tar(&mut tar, trees, Flavour::Layer, false, &mut |_, file| {
        crate::contents::copy_hashed(file, &mut io::sink())
    })
    .map_err(fail)?;
    let found = DiffId::from_bytes(tar.hasher.finalize().into());
    if found != layer.diff_id {
        return Err(ImageError::DiffId { digest, expected: layer.diff_id, found });
    }
    trees.persist(&tree).map_err(|e| fail(e.into()))?;
    store.put(Table::LayerIndex, digest.as_bytes(), &tree);
    Ok(tree)
}

struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: io::Read> io::Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
