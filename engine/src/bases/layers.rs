//! Layers of bases, and of steps that caches have: fetched when something needs them.

use std::sync::{Arc, PoisonError};

use cache::{Table, at_once};
use solver::{Descriptor, Layer, TreeDigest};

use super::{BaseImage, Bases};
use crate::contents::Contents;
use crate::registry::{LayerProgress, LayerSource, RegistryError};
use crate::source::image;
use crate::state::State;
use crate::tree::Trees;
use crate::upstream::Upstream;

/// Layers fetched at once; each registry has a limit of its own.
const FETCHES: usize = 16;

impl<'a> Bases<'a> {
    /// Whether a layer is here, or in one of those caches.
    pub(crate) fn can_have(&self, blob: &Descriptor) -> bool {
        self.store.blobs().contains(blob) || self.upstream.is_some_and(|upstream| upstream.has(blob))
    }

    /// The layer of a delta: the store's, or that of one of those caches where it is not here.
    pub(crate) fn layer_of(&self, delta: &TreeDigest) -> Option<Layer> {
        let own: Option<Layer> = self.store.get(Table::DeltaBlobs, delta.as_bytes());
        let here = own.clone().filter(|layer| self.store.blobs().contains(&layer.blob));
        here.or_else(|| self.upstream?.layer_of(delta)).or(own)
    }

    /// Layers that are not in the store.
    pub(crate) fn absent(&self, layers: &[Layer]) -> Vec<Layer> {
        layers.iter().filter(|layer| !self.store.blobs().contains(&layer.blob)).cloned().collect()
    }

    /// The state of a base. Layers that were never indexed are read now, and fetched first where they are not here.
    ///
    /// # Errors
    /// When a layer cannot be had, or is not what the image says.
    pub(crate) fn state(
        &self,
        base: &BaseImage,
        trees: &Trees<'_>,
        contents: &Contents<'_>,
        progress: &LayerProgress<'_>,
    ) -> Result<State, RegistryError> {
        let source = self.source(base);
        source.fetch(&base.image.layers, Some(trees), progress).map_err(|error| error.of(&shown(base)))?;
        Ok(image::state(&base.image, self.store, trees, contents, self.registry.fetcher().cancel())?)
    }

    /// Makes sure that all layers of a base are in the store.
    ///
    /// # Errors
    /// When one cannot be had.
    pub(crate) fn complete(
        &self,
        base: &BaseImage,
        progress: &LayerProgress<'_>,
    ) -> Result<(), RegistryError> {
        let source = self.source(base);
        source.fetch(&base.image.layers, None, progress).map_err(|error| error.of(&shown(base)))
    }

    /// Fetches one layer of whichever base has it.
    pub(crate) fn fetch_layer(&self, layer: &Layer) -> Result<(), RegistryError> {
        let known: Vec<_> =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let has_it = |base: &&Arc<BaseImage>| base.image.layers.iter().any(|own| own.blob == layer.blob);
        match known.iter().find(has_it) {
            Some(base) => self.source(base).fetch(std::slice::from_ref(layer), None, &|_, _| {}),
            None => self.fetch_cached(layer),
        }
    }

    /// Fetches several layers in parallel: a distant registry takes as long for one as for all.
    pub(crate) fn fetch_layers(&self, layers: &[Layer]) -> Result<(), RegistryError> {
        // All of them, whatever fails: what caches do not give out is known at once then, and not one by one.
        at_once(layers, FETCHES, |layer| self.fetch_layer(layer)).into_iter().collect()
    }

    /// Fetches a layer from the cache that has it, if one does. After a failure that cache counts as not having it.
    fn fetch_cached(&self, layer: &Layer) -> Result<(), RegistryError> {
        let Some(upstream) = self.upstream else { return Ok(()) };
        self.fetch_from(upstream, layer).inspect_err(|error| {
            if !error.is_cancelled() {
                upstream.lose(&layer.blob);
            }
        })
    }

    fn fetch_from(&self, upstream: &Upstream<'_>, layer: &Layer) -> Result<(), RegistryError> {
        if upstream.bring(self.store, &layer.blob)? {
            return Ok(());
        }
        let Some(repository) = upstream.repository(&layer.blob) else { return Ok(()) };
        let (registry, store, repositories) = (self.registry, self.store, vec![repository]);
        LayerSource { registry, store, repositories }.fetch(std::slice::from_ref(layer), None, &|_, _| {})
    }

    fn source(&self, base: &BaseImage) -> LayerSource<'a> {
        LayerSource { registry: self.registry, store: self.store, repositories: base.repositories() }
    }
}

fn shown(base: &BaseImage) -> String {
    base.line.name.clone().unwrap_or_else(|| base.image.digest.to_string())
}
