//! Files brought out of layers, and layers brought here for it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use cache::Table;
use solver::{ContentDigest, Layer, TreeDigest};

use super::{ContentError, Contents, Location, copy_hashed};
use crate::layer;
use crate::tree::{Node, TreeError, Trees};

impl Contents<'_> {
    /// The layer that holds a delta's files, brought into the store where it is elsewhere; `None` where the delta is no
    /// layer.
    ///
    /// # Errors
    /// When it is in a registry and cannot be had.
    pub(crate) fn layer_of(&self, delta: &TreeDigest) -> Result<Option<Layer>, ContentError> {
        let of_images = self.image_layers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_image = of_images.iter().find(|(tree, _)| tree == delta).map(|(_, layer)| layer.clone());
        drop(of_images);
        let own = || self.store.get::<Layer>(Table::DeltaBlobs, delta.as_bytes());
        let Some(layer) = of_image.or_else(own) else { return Ok(None) };
        if let Some(bases) = self.bases.filter(|_| !self.store.blobs().contains(&layer.blob)) {
            bases.fetch_layer(&layer).map_err(Box::new)?;
        }
        Ok(self.store.blobs().contains(&layer.blob).then_some(layer))
    }

    /// Makes sure that every file of a delta can be opened, bringing files out of layers where needed.
    ///
    /// # Errors
    /// [`ContentError::Unknown`] with the first path whose bytes are nowhere.
    pub fn provide(&self, trees: &Trees<'_>, delta: &TreeDigest) -> Result<(), ContentError> {
        let mut files = Vec::new();
        trees.walk::<TreeError>(delta, &mut |path, entry| {
            if let Node::File { content, size: 1.. } = entry.node {
                files.push((content, path.to_vec()));
            }
            Ok(())
        })?;
        self.provide_files(trees, delta, files.iter().map(|(content, path)| (*content, path.as_slice())))
    }

    /// The same for some files of a delta, by content and path.
    ///
    /// # Errors
    /// [`ContentError::Unknown`] with the first path whose bytes are nowhere.
    pub fn provide_files<'f>(
        &self,
        trees: &Trees<'_>,
        delta: &TreeDigest,
        files: impl Iterator<Item = (ContentDigest, &'f [u8])>,
    ) -> Result<(), ContentError> {
        let mut missing: HashMap<ContentDigest, String> = {
            let mut registry = self.lock();
            registry.index();
            let missing = files.filter(|(content, _)| !registry.places.contains_key(content));
            missing.map(|(content, path)| (content, String::from_utf8_lossy(path).into_owned())).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.spooling.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = self.image_layers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = self.store.get::<Layer>(Table::DeltaBlobs, delta.as_bytes()).map(|layer| (*delta, layer));
        for (tree, layer) in own.iter().chain(&layers) {
            let wanted = self.wanted_of(trees, tree, &missing)?;
            if wanted.is_empty() {
                continue;
            }
            if let Some(bases) = self.bases.filter(|_| !self.store.blobs().contains(&layer.blob)) {
                bases.fetch_layer(layer).map_err(Box::new)?;
            }
            if self.store.blobs().contains(&layer.blob) {
                let brought = self.bring_out(trees, tree, layer, &wanted);
                let is_known = |digest: &ContentDigest| self.lock().places.contains_key(digest);
                if brought.is_err() || !wanted.iter().all(is_known) {
                    self.store.blobs().doubt(&layer.blob.digest);
                }
                brought?;
                missing.retain(|digest, _| !is_known(digest));
            }
        }
        match missing.into_iter().next() {
            None => Ok(()),
            Some((digest, path)) => Err(ContentError::Unknown { path, digest }),
        }
    }

    fn wanted_of(
        &self,
        trees: &Trees<'_>,
        tree: &TreeDigest,
        missing: &HashMap<ContentDigest, String>,
    ) -> Result<HashSet<ContentDigest>, TreeError> {
        let mut wanted = HashSet::new();
        trees.walk::<TreeError>(tree, &mut |_, entry| {
            if let Node::File { content, .. } = entry.node
                && missing.contains_key(&content)
            {
                wanted.insert(content);
            }
            Ok(())
        })?;
        Ok(wanted)
    }

    /// One pass over a layer's tar: files whose path stands in its tree with a wanted digest are written out and
    /// checked against it.
    fn bring_out(
        &self,
        trees: &Trees<'_>,
        tree: &TreeDigest,
        layer: &Layer,
        wanted: &HashSet<ContentDigest>,
    ) -> Result<(), ContentError> {
        let dir: Arc<Path> = self.store.tmp_dir()?.into();
        let mut by_path = HashMap::new();
        trees.walk::<TreeError>(tree, &mut |path, entry| {
            if let Node::File { content, .. } = entry.node
                && wanted.contains(&content)
            {
                by_path.insert(path.to_vec(), content);
            }
            Ok(())
        })?;
        let blob = self.store.blobs().open(&layer.blob.digest)?;
        layer::for_each_file(blob, layer.media_type, &mut |path, reader| {
            let Some(content) = by_path.get(path) else { return Ok(()) };
            // The same bytes under another path: whoever reads those that are there must not lose them.
            if self.lock().places.contains_key(content) {
                return Ok(());
            }
            let name = content.hex();
            let mut out = fs_err::File::create(dir.join(&name))?;
            let found = copy_hashed(reader, &mut out)?;
            if found == *content {
                self.add(found, Location::Host { dir: Arc::clone(&dir), name: name.into() });
            }
            Ok(())
        })?;
        Ok(())
    }
}
