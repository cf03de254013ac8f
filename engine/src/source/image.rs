//! `FROM` an image of the store: its layers as deltas, each indexed once in its life.

use std::io;

use cache::{CacheError, Store, Table};
use sha2::{Digest, Sha256};
use solver::{DiffId, Layer, TreeDigest};
use thiserror::Error;

use crate::cancel::{Cancel, Stopping};
use crate::contents::Contents;
use crate::decompress::{Bounded, expansion_limit};
use crate::images::StoredImage;
use crate::layer::{self, TimePolicy};
use crate::state::State;
use crate::tree::{Directory, Node, TreeError, Trees};
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
    /// The work was stopped.
    #[error("the work was cancelled")]
    Cancelled,
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// The state an image is, its layers registered so that their files can be copied. Layers that are not indexed yet are
/// read once; they must be in the store.
///
/// # Errors
/// When a layer is missing, damaged or refused, or the work is cancelled.
pub fn state(
    image: &StoredImage,
    store: &Store,
    trees: &Trees<'_>,
    contents: &Contents<'_>,
    cancel: &Cancel,
) -> Result<State, ImageError> {
    let state = state_only(image, store, trees, cancel)?;
    for (delta, layer) in state.deltas.iter().zip(&image.layers) {
        contents.add_given_layer(*delta, layer.clone());
    }
    Ok(state)
}

/// The state an image is, whose files nobody will copy.
///
/// # Errors
/// When a layer is missing, damaged or refused, or the work is cancelled.
pub fn state_only(
    image: &StoredImage,
    store: &Store,
    trees: &Trees<'_>,
    cancel: &Cancel,
) -> Result<State, ImageError> {
    let mut state = State::default();
    for layer in &image.layers {
        state.deltas.push(index_on(layer, &state, (store, trees), cancel)?);
    }
    Ok(state)
}

/// The tree of a layer of the store that stands on others. One with hard links to files of those is another tree on others:
/// it is not known by the layer, and read each time. Hardly anybody makes such layers.
fn index_on(
    layer: &Layer,
    below: &State,
    (store, trees): (&Store, &Trees<'_>),
    cancel: &Cancel,
) -> Result<TreeDigest, ImageError> {
    match index(layer, store, trees, cancel) {
        Err(error) if error.is_link_below() && !below.deltas.is_empty() => {
            let blob = Stopping { bytes: store.blobs().open(&layer.blob.digest)?, cancel };
            let read = read_with(layer, blob, (trees, below), TimePolicy::Fixed(0));
            read.map_err(|error| error.unless(cancel))
        }
        indexed => indexed,
    }
}

impl ImageError {
    /// Whether a layer has a hard link to what it does not have itself.
    pub(crate) fn is_link_below(&self) -> bool {
        matches!(self, Self::Untar { source: UntarError::LinkTarget { .. }, .. })
    }

    /// What a reader that was stopped says is not the layer's fault.
    fn unless(self, cancel: &Cancel) -> Self {
        if cancel.is_cancelled() { Self::Cancelled } else { self }
    }
}

/// The tree of a layer that was read before.
pub(crate) fn known_tree(layer: &Layer, store: &Store, trees: &Trees<'_>) -> Option<TreeDigest> {
    let known: TreeDigest = store.get(Table::LayerIndex, layer.blob.digest.as_bytes())?;
    trees.load(&known).is_ok().then_some(known)
}

/// The tree of a layer of the store: as it is known, or read now.
pub(crate) fn index(
    layer: &Layer,
    store: &Store,
    trees: &Trees<'_>,
    cancel: &Cancel,
) -> Result<TreeDigest, ImageError> {
    if let Some(known) = known_tree(layer, store, trees) {
        return Ok(known);
    }
    let blob = Stopping { bytes: store.blobs().open(&layer.blob.digest)?, cancel };
    let tree = read_layer(layer, blob, trees).map_err(|error| error.unless(cancel)).inspect_err(|error| {
        if !matches!(error, ImageError::Cancelled) {
            store.blobs().doubt(&layer.blob.digest);
        }
    })?;
    keep_tree(layer, tree, store, trees)?;
    Ok(tree)
}

/// Whether a layer of the store holds a delta whose tree is known, with the times of its files. Then that is what is known of
/// the layer. A tar has a time for everything: what has none in the tree has 0 there.
pub(crate) fn holds_timed(layer: &Layer, delta: &TreeDigest, store: &Store, trees: &Trees<'_>) -> bool {
    let found = || -> Result<TreeDigest, ImageError> {
        let blob = store.blobs().open(&layer.blob.digest)?;
        read_with(layer, blob, (trees, &State::default()), TimePolicy::Keep)
    };
    let Ok(wanted) = timed(trees, delta) else { return false };
    found().is_ok_and(|found| found == wanted) && keep_tree(layer, *delta, store, trees).is_ok()
}

fn timed(trees: &Trees<'_>, tree: &TreeDigest) -> Result<TreeDigest, TreeError> {
    let mut directory = Directory::clone(&*trees.load(tree)?);
    for entry in directory.entries.values_mut() {
        entry.meta.mtime.get_or_insert(0);
        if let Node::Dir(below) = &mut entry.node {
            *below = timed(trees, below)?;
        }
    }
    Ok(trees.add(directory))
}

/// Reads a layer once: entries, content digests, and whether it is what the config says.
pub(crate) fn read_layer(
    layer: &Layer,
    blob: impl io::Read,
    trees: &Trees<'_>,
) -> Result<TreeDigest, ImageError> {
    read_with(layer, blob, (trees, &State::default()), TimePolicy::Fixed(0))
}

fn read_with(
    layer: &Layer,
    blob: impl io::Read,
    (trees, below): (&Trees<'_>, &State),
    times: TimePolicy,
) -> Result<TreeDigest, ImageError> {
    let digest = layer.blob.digest;
    let fail = |source| ImageError::Untar { digest, source };
    let tar = layer::uncompressed(blob, layer.media_type).map_err(|e| fail(e.into()))?;
    let tar = Bounded::new(tar, expansion_limit(layer.blob.size));
    let mut tar = Hashed { inner: tar, hasher: Sha256::new() };
    let (flavour, keep_mtime) = (Flavour::Layer(below), times == TimePolicy::Keep);
    let read = read_tar(&mut tar, trees, flavour, keep_mtime, &mut |_, file| {
        crate::contents::copy_hashed(file, &mut io::sink())
    });
    let tree = read.map_err(fail)?.tree;
    let found = DiffId::from_bytes(tar.hasher.finalize().into());
    if found == layer.diff_id {
        Ok(tree)
    } else {
        Err(ImageError::DiffId { digest, expected: layer.diff_id, found })
    }
}

/// Remembers the tree of a layer whose bytes were checked.
pub(crate) fn keep_tree(
    layer: &Layer,
    tree: TreeDigest,
    store: &Store,
    trees: &Trees<'_>,
) -> Result<(), ImageError> {
    let digest = layer.blob.digest;
    trees.persist(&tree).map_err(|error| ImageError::Untar { digest, source: error.into() })?;
    store.put(Table::LayerIndex, digest.as_bytes(), &tree);
    Ok(())
}

/// A reader that hashes what it reads.
pub(crate) struct Hashed<R> {
    pub(crate) inner: R,
    pub(crate) hasher: Sha256,
}

impl<R: io::Read> io::Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use solver::MediaType;

    use super::*;

    #[test]
    fn a_layer_that_was_not_read_to_its_end_is_not_to_blame() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let trees = Trees::new(&store);
        // The end of a tar, and nothing before it.
        let tar = [0; 1024];
        let blob = store.blobs().put(&tar).unwrap();
        let diff_id = DiffId::from_bytes(Sha256::digest(tar).into());
        let layer = Layer { diff_id, blob, media_type: MediaType::Tar, frames: Vec::new() };
        let stopped = Cancel::new();
        stopped.cancel();
        let read = index(&layer, &store, &trees, &stopped);
        assert!(matches!(read, Err(ImageError::Cancelled)), "{read:?}");
        assert!(known_tree(&layer, &store, &trees).is_none());
        let read = index(&layer, &store, &trees, &Cancel::new());
        assert_eq!(known_tree(&layer, &store, &trees), read.ok());
    }
}
