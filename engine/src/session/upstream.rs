//! What a build takes from remote caches and gives to them.

use std::collections::HashSet;
use std::sync::PoisonError;

use cache::Table;
use rayon::prelude::*;
use solver::{BlobDigest, Layer, Record, TreeDigest};

use super::Session;
use crate::build::{Built, KeptStep};
use crate::discover;
use crate::error::OpError;
use crate::frames::{LayerCompression, layer_key};
use crate::upstream::{Bundle, PackedTree, StepRecord, TreeBlob, same};

impl Session<'_> {
    /// Looks steps up in remote caches. The layers of what is found may still be there.
    pub(crate) fn import(&self, keys: &[[u8; 32]]) -> Vec<Option<Record>> {
        let Some(upstream) = self.bases.upstream() else { return keys.iter().map(|_| None).collect() };
        let found = upstream.look_up(keys).into_iter().zip(keys);
        found.map(|(bundle, key)| self.take(key, bundle?)).collect()
    }

    /// Takes the record of a step that read the same from a remote cache, for the step with the definition key `own`.
    pub(crate) fn import_same(&self, content: &[u8; 32], own: &[u8; 32]) -> Option<Record> {
        let upstream = self.bases.upstream()?;
        let key = upstream.same_as(content).unwrap_or(*content);
        let bundle = upstream.look_up(&[key]).pop().flatten()?;
        self.take(own, bundle)
    }

    /// Takes over a step from a cache; `None` if its layer was made with other options than this build's.
    fn take(&self, key: &[u8; 32], bundle: Bundle) -> Option<Record> {
        let record = bundle.record.clone();
        let made_by = layer_key(&record.delta, record.links(), self.options.times, self.options.compression);
        if bundle.layer_key != made_by {
            return None;
        }
        self.bases.upstream()?.took(key, bundle);
        Some(record)
    }

    /// Makes sure that the trees of deltas are known. A missing one is asked for; if no cache has it, its layer is fetched and read.
    /// The contents of files are not fetched yet.
    ///
    /// # Errors
    /// When it cannot be had, or holds something else than the cache said.
    pub(crate) fn readable(&self, deltas: &[TreeDigest]) -> Result<(), OpError> {
        let Some(upstream) = self.bases.upstream() else { return Ok(()) };
        let is_unknown = |delta: &TreeDigest| self.trees.load(delta).is_err();
        if !deltas.iter().any(is_unknown) {
            return Ok(());
        }
        let _one_at_a_time = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown: Vec<TreeDigest> = deltas.iter().copied().filter(is_unknown).collect();
        upstream.look_at(&unknown, &self.trees);
        for delta in unknown {
            let layer = match self.trees.load(&delta) {
                Ok(_) => self.bases.layer_of(&delta),
                Err(_) => {
                    let layer = self.contents.layer_of(&delta)?;
                    layer
                        .iter()
                        .try_for_each(|layer| upstream.look_into(layer, &delta, self.store, &self.trees))?;
                    layer
                }
            };
            layer.into_iter().for_each(|layer| self.contents.add_image_layer(delta, layer));
        }
        Ok(())
    }

    /// Adds the records that caches may want: the steps that have a layer of their own, with all that is known of them by now,
    /// and the pins of URLs.
    pub fn add_records(&self, built: &mut Built) {
        let layers = built.images.iter().flat_map(|image| image.layers.iter().chain(&image.carried.layers));
        let in_image: HashSet<BlobDigest> = layers.map(|layer| layer.blob.digest).collect();
        let made = self.layers_made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let steps = std::mem::take(&mut built.steps);
        let of_one = |step: &KeptStep| {
            let layer = self.known_layer(&step.record.delta, step.record.links())?;
            let is_in_image = in_image.contains(&layer.blob.digest);
            let (tree, blob) = self.packed(&step.record.delta);
            let with = |compression: &LayerCompression| {
                let layer = match *compression == self.options.compression {
                    true => layer.clone(),
                    false => self.recompressed(step, *compression)?,
                };
                let is_new = made.contains(&layer.blob.digest);
                let bundle = self.bundle(step, layer, *compression).with_tree(tree.clone());
                let (record, tree) = (bundle.under(&step.key), blob.clone());
                let record =
                    StepRecord { record, tree, compression: Some(*compression), is_in_image, is_new };
                let same = step.content.and_then(|content| same(&content, &record));
                Some([record].into_iter().chain(same))
            };
            Some(self.options.exports.iter().filter_map(with).flatten().collect::<Vec<_>>())
        };
        let found: Vec<_> = self.pool.install(|| steps.par_iter().filter_map(of_one).collect());
        built.records.extend(found.into_iter().flatten());
        built.records.extend(self.seen_urls().into_iter().map(StepRecord::of_url));
    }

    /// The tree of a delta for a cache: packed, or as it came from another cache if nobody looked at it. With its blob, if it is new.
    fn packed(&self, delta: &TreeDigest) -> (Option<PackedTree>, Option<TreeBlob>) {
        let packed = PackedTree::of(&self.trees, delta).map(|(tree, blob)| (Some(tree), blob));
        let as_it_came = || self.bases.upstream().and_then(|upstream| upstream.tree_of(delta));
        packed.unwrap_or_else(|| (as_it_came(), None))
    }

    fn bundle(&self, step: &KeptStep, layer: Layer, compression: LayerCompression) -> Bundle {
        let delta = &step.record.delta;
        let made_by = layer_key(delta, step.record.links(), self.options.times, compression);
        let key = discover::key_of(delta);
        let taken = || self.bases.upstream().and_then(|upstream| upstream.scan_of(delta));
        let scan = self.store.get(Table::Scans, &key).or_else(taken).map(|found| (key, found));
        Bundle::new(step.record.clone(), (made_by, layer), scan, &self.graph.metadata(step.index).name)
    }

    /// The layer of a step with the compression that a cache wants. If it cannot be made, the step stays out of the cache.
    fn recompressed(&self, step: &KeptStep, compression: LayerCompression) -> Option<Layer> {
        let delta = &step.record.delta;
        let key = layer_key(delta, step.record.links(), self.options.times, compression);
        let known = self.store.get(Table::Layers, &key);
        if let Some(layer) = known.filter(|layer: &Layer| self.store.blobs().contains(&layer.blob)) {
            return Some(layer);
        }
        let made = self
            .readable(std::slice::from_ref(delta))
            .and_then(|()| Ok(self.write_layer(delta, step.record.links(), compression, &|_| {})?));
        match made {
            Ok(layer) => {
                self.store.put(Table::Layers, &key, &layer);
                self.store.put(Table::LayerIndex, layer.blob.digest.as_bytes(), delta);
                Some(layer)
            }
            Err(error) => {
                let text = format!("the layer of this step is not compressed again for the cache: {error}");
                self.warn(step.index, text, "leave `compression` of `--cache-to` out");
                None
            }
        }
    }
}
