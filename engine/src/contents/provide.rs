//! Files brought out of layers, and layers brought here for it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, PoisonError};

use cache::Table;
use solver::{ContentDigest, Layer, TreeDigest};

use super::{ContentError, Contents, Location, copy_hashed};
use crate::bases::Bases;
use crate::cancel::Stopping;
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
        let Some(layer) = of_image.or_else(|| self.own_layer(delta)) else { return Ok(None) };
        Ok(self.bring(delta, &layer)?.then_some(layer))
    }

    fn own_layer(&self, delta: &TreeDigest) -> Option<Layer> {
        match self.bases {
            Some(bases) => bases.layer_of(delta),
            None => self.store.get(Table::DeltaBlobs, delta.as_bytes()),
        }
    }

    /// Brings a layer here where it is elsewhere, if it can be had. One of a cache must hold the delta that it is said to.
    fn bring(&self, delta: &TreeDigest, layer: &Layer) -> Result<bool, ContentError> {
        let is_here = || self.store.blobs().contains(&layer.blob);
        if let Some(bases) = self.bases.filter(|_| !is_here()) {
            bases.fetch_layer(layer).map_err(Box::new)?;
            let upstream = bases.upstream().filter(|upstream| is_here() && upstream.has(&layer.blob));
            if let Some(upstream) = upstream {
                upstream.look_into(layer, delta, self.store, &Trees::new(self.store))?;
            }
        }
        Ok(is_here())
    }

    /// Makes sure that the tree of a layer is known, if it is a cache's.
    fn look_at(&self, trees: &Trees<'_>, tree: &TreeDigest, layer: &Layer) -> Result<(), ContentError> {
        let Some(upstream) = self.bases.and_then(Bases::upstream) else { return Ok(()) };
        if trees.load(tree).is_err() {
            upstream.look_at(std::slice::from_ref(tree), trees);
        }
        if trees.load(tree).is_err() && self.bring(tree, layer)? {
            upstream.look_into(layer, tree, self.store, trees)?;
        }
        Ok(())
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
        if !missing.is_empty() {
            self.read_listings();
            let registry = self.lock();
            missing.retain(|content, _| !registry.places.contains_key(content));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.spooling.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = self.image_layers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = self.own_layer(delta).map(|layer| (*delta, layer));
        let mut layers: Vec<&(TreeDigest, Layer)> = own.iter().chain(&layers).collect();
        // What is known may be enough.
        layers.sort_by_key(|(tree, _)| trees.load(tree).is_err());
        for (tree, layer) in layers {
            if missing.is_empty() {
                break;
            }
            self.look_at(trees, tree, layer)?;
            let wanted = self.wanted_of(trees, tree, &missing)?;
            if wanted.is_empty() {
                continue;
            }
            if self.bring(tree, layer)? {
                let brought = self.bring_out(trees, tree, layer, &wanted);
                let is_known = |digest: &ContentDigest| self.lock().places.contains_key(digest);
                // Of one that was not read to its end nobody knows what is in it.
                let is_read = !matches!(brought, Err(ContentError::Cancelled));
                if is_read && (brought.is_err() || !wanted.iter().all(is_known)) {
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
        let blob = Stopping { bytes: self.store.blobs().open(&layer.blob.digest)?, cancel: &self.cancel };
        let read = layer::for_each_file(blob, layer.media_type, &mut |path, reader| {
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
        });
        match read {
            Err(_) if self.cancel.is_cancelled() => Err(ContentError::Cancelled),
            read => Ok(read?),
        }
    }
}
