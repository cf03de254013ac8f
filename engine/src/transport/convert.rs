//! Layers in another compression: the same tar, so the same diff ids, config and image id. Nothing is run again.

use std::io::Read;

use cache::{Store, Table};
use rayon::prelude::*;
use solver::{Hasher, Layer, MediaType, TreeDigest};

use super::TransportError;
use crate::cancel::Cancel;
use crate::frames::{self, FrameBuffer, LayerCompression, Output};
use crate::images::StoredImage;
use crate::layer;
use crate::oci;

/// Frames read before they are compressed together.
const BATCH: usize = 8;
/// Length of a frame where nothing is known of how the layer was cut.
const FRAME: u64 = 1 << 20;

/// The layer's own record, with its frames, if this store made it.
pub(super) fn known(store: &Store, layer: &Layer) -> Option<Layer> {
    let delta: TreeDigest = store.get(Table::LayerIndex, layer.blob.digest.as_bytes())?;
    let known: Layer = store.get(Table::DeltaBlobs, delta.as_bytes())?;
    (known.blob == layer.blob).then_some(known)
}

/// Gives every layer of an image the compression that is wanted. `exact` converts layers of the right format too, as
/// nobody knows their level. The converted blobs wait for the store's commit.
pub(super) fn recompress(
    store: &Store,
    image: &mut StoredImage,
    wanted: LayerCompression,
    exact: bool,
    cancel: &Cancel,
) -> Result<(), TransportError> {
    let to_convert =
        image.layers.par_iter_mut().filter(|layer| exact || layer.media_type != wanted.media_type);
    to_convert.try_for_each(|layer| {
        *layer = converted(store, layer, wanted, cancel)?;
        Ok::<_, TransportError>(())
    })?;
    let descriptors = image.layers.iter().zip(image.manifest.layers()).map(|(layer, old)| {
        let mut new = oci::descriptor(oci::layer_media_type(layer.media_type), &layer.blob);
        let mut annotations = old.annotations().clone();
        if new.digest() != old.digest() {
            annotations =
                annotations.map(|all| all.into_iter().filter(|(key, _)| !is_of_bytes(key)).collect());
        }
        new.set_annotations(annotations.filter(|all| !all.is_empty()));
        new
    });
    let descriptors = descriptors.collect::<Vec<_>>();
    image.manifest.set_layers(descriptors);
    Ok(())
}

/// Whether an annotation says where things are in the bytes of a layer: of other bytes it is a lie, by which containers' tools
/// and lazy snapshotters find nothing, or the wrong thing.
fn is_of_bytes(key: &str) -> bool {
    ["io.github.containers.zstd-chunked.", "io.containers.estargz.", "containerd.io/snapshot/"]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

fn converted(
    store: &Store,
    layer: &Layer,
    wanted: LayerCompression,
    cancel: &Cancel,
) -> Result<Layer, TransportError> {
    let key = key(layer, wanted);
    let known_copy: Option<Layer> = store.get(Table::Converted, &key);
    if let Some(copy) = known_copy.filter(|copy| store.blobs().contains(&copy.blob)) {
        return Ok(copy);
    }
    let cuts = known(store, layer).map(|known| known.frames).unwrap_or_default();
    let mut lengths = cuts.windows(2).map(|pair| pair[1].0 - pair[0].0);
    let mut first = cuts.first().map(|cut| cut.0);
    let blob = store.blobs().open(&layer.blob.digest)?;
    let mut tar = layer::uncompressed(blob, layer.media_type)?;
    let mut out = Output::new(store)?;
    loop {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let length = first.take().or_else(|| lengths.next()).unwrap_or(FRAME);
            let mut frame = FrameBuffer::with_room(length.min(FRAME) as usize);
            (&mut tar).take(length).read_to_end(&mut frame)?;
            if frame.is_empty() {
                break;
            }
            batch.push(frame);
        }
        if batch.is_empty() {
            break;
        }
        if cancel.is_cancelled() {
            return Err(TransportError::Cancelled);
        }
        let made: Vec<_> =
            batch.into_par_iter().map(|tar| frames::compressed(tar, wanted)).collect::<Result<_, _>>()?;
        made.into_iter().try_for_each(|made| out.take(made, &|_| {}))?;
    }
    let made = out.finish(wanted.media_type)?;
    if made.diff_id != layer.diff_id {
        return Err(TransportError::DiffId {
            part: layer.blob.digest.to_string(),
            expected: layer.diff_id,
            found: made.diff_id,
        });
    }
    if let Some(delta) = store.get_bytes(Table::LayerIndex, layer.blob.digest.as_bytes()) {
        store.put_bytes(Table::LayerIndex, made.blob.digest.as_bytes(), delta);
    }
    store.put(Table::Converted, &key, &made);
    Ok(made)
}

fn key(layer: &Layer, wanted: LayerCompression) -> [u8; 32] {
    let mut hasher = Hasher::new("converted layer");
    hasher.bytes(layer.diff_id.as_bytes());
    wanted.feed(&mut hasher);
    hasher.finish()
}

/// Length of a layer's tar, in bytes: known for layers made here, else found by reading it through.
pub(super) fn tar_size(store: &Store, layer: &Layer) -> Result<u64, TransportError> {
    if layer.media_type == MediaType::Tar {
        return Ok(layer.blob.size);
    }
    if let Some((length, _)) = known(store, layer).and_then(|known| known.frames.last().copied()) {
        return Ok(length);
    }
    let blob = store.blobs().open(&layer.blob.digest)?;
    Ok(std::io::copy(&mut layer::uncompressed(blob, layer.media_type)?, &mut std::io::sink())?)
}
