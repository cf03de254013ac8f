//! Layers of single deltas: found, or made and remembered.

use std::sync::PoisonError;

use cache::Table;
use solver::{HardLinks, Layer, Op, TreeDigest, VertexIndex};

use super::Session;
use crate::frames::{FrameError, LayerCompression, LayerWriter, layer_key};
use crate::group::Member;
use crate::ops::app;

impl Session<'_> {
    /// The layer of a delta, if the store or a cache has it as these options want it.
    pub(crate) fn known_layer(&self, delta: &TreeDigest, links: &HardLinks) -> Option<Layer> {
        let key = layer_key(delta, links, self.options.times, self.options.compression);
        let own =
            self.store.get(Table::Layers, &key).filter(|layer: &Layer| self.bases.can_have(&layer.blob));
        own.or_else(|| self.bases.upstream()?.layer_by(delta, &key))
    }

    /// The same, of which nothing counts but what this build made if it runs every step.
    pub(crate) fn usable_layer(&self, delta: &TreeDigest, links: &HardLinks) -> Option<Layer> {
        let made = || self.layers_made.lock().unwrap_or_else(PoisonError::into_inner);
        let is_usable = |layer: &Layer| !self.options.no_cache || made().contains(&layer.blob.digest);
        self.known_layer(delta, links).filter(is_usable)
    }

    /// The layer of a delta: from the store, or made now.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn layer(
        &self,
        delta: TreeDigest,
        links: &HardLinks,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Layer, FrameError> {
        let key = layer_key(&delta, links, self.options.times, self.options.compression);
        self.layers.get_or_race(key, || {
            if let Some(layer) = self.usable_layer(&delta, links) {
                return Ok(layer);
            }
            let layer = self.write_layer(&delta, links, self.options.compression, progress)?;
            self.keep_layer(&delta, links, &layer)?;
            Ok(layer)
        })
    }

    pub(super) fn write_layer(
        &self,
        delta: &TreeDigest,
        links: &HardLinks,
        compression: LayerCompression,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Layer, FrameError> {
        let writer = LayerWriter {
            store: self.store,
            trees: &self.trees,
            contents: &self.contents,
            links,
            times: self.options.times,
            compression,
            reuse: !self.options.no_cache,
            cancel: &self.options.cancel,
        };
        writer.write(delta, progress)
    }

    /// Remembers a layer that was made of a delta.
    ///
    /// # Errors
    /// When a directory is missing.
    pub(crate) fn keep_layer(
        &self,
        delta: &TreeDigest,
        links: &HardLinks,
        layer: &Layer,
    ) -> Result<(), FrameError> {
        let key = layer_key(delta, links, self.options.times, self.options.compression);
        self.layers_made.lock().unwrap_or_else(PoisonError::into_inner).insert(layer.blob.digest);
        self.trees.persist(delta)?;
        self.store.put(Table::Layers, &key, layer);
        self.store.put(Table::DeltaBlobs, delta.as_bytes(), layer);
        self.store.put(Table::LayerIndex, layer.blob.digest.as_bytes(), delta);
        Ok(())
    }

    /// What a step of the final image is called, for grouping.
    pub(crate) fn member(&self, index: VertexIndex, delta: TreeDigest) -> Member {
        match &self.graph.vertex(index).op {
            Op::App(app) => Member { delta, name: app.name.clone(), own_dir: Some(app::dir(&app.name)) },
            Op::File(file) => Member { delta, name: format!("/{}", file.destination), own_dir: None },
            Op::Exec(_) => Member { delta, name: self.graph.metadata(index).name.clone(), own_dir: None },
            Op::ContainerImage(image) => Member { delta, name: image.name.clone(), own_dir: None },
            Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Image(_) | Op::Blob(_) | Op::State => {
                Member { delta, name: String::new(), own_dir: None }
            }
        }
    }
}
