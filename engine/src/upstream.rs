//! Remote caches as a build uses them: they may know a step that the store does not know (`docs/design/remote-cache.md`).
//!
//! A step is one value there: its record, and where its layer is. The layer itself stays in the cache until something reads it.
//! If it does not hold what the record says, no cache is asked again.

mod bundle;
mod by_hand;
mod cached;
mod inline;
mod same;
mod taken;
mod trees;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use cache::remote::NewRecord;
use cache::{Store, Table};
use solver::{BlobDigest, Descriptor, Layer, TreeDigest};

use crate::cancel::Cancel;
use crate::contents::ContentError;
use crate::frames::LayerCompression;
use crate::registry::{RegistryError, Repository};
use crate::source::image;
use crate::tree::Trees;

pub(crate) use self::bundle::Bundle;
pub use self::by_hand::{ByHandError, Imported, Listed, import, known_steps, list};
pub use self::cached::Cached;
use self::cached::Layers;
pub use self::inline::{InlineError, Inlined, inline};
pub(crate) use self::same::same;
use self::taken::Taken;
pub use self::trees::Shipment;
pub(crate) use self::trees::{PackedTree, TreeBlob};

/// Layers sent at once.
const AT_ONCE: usize = 6;

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// A tag of a registry.
    Registry(crate::registry::Reference),
    /// A directory.
    Directory(std::path::PathBuf),
}

/// Which steps of a build a cache gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Those whose layers the image has.
    Min,
    /// All that have a layer of their own, including those of stages.
    #[default]
    Max,
}

/// A step of a build as caches may have it.
#[derive(Debug, Clone)]
pub struct StepRecord {
    pub(crate) record: NewRecord,
    /// The blob of its tree, if it has one that is known here.
    pub(crate) tree: Option<TreeBlob>,
    /// How its layer is compressed; `None` for records without a layer.
    pub(crate) compression: Option<LayerCompression>,
    /// Whether the image has its layer.
    pub(crate) is_in_image: bool,
    /// Whether this build made its layer.
    pub(crate) is_new: bool,
}

impl StepRecord {
    /// A record of a URL, which every cache may have.
    pub(crate) fn of_url(record: NewRecord) -> Self {
        Self { record, tree: None, compression: None, is_in_image: true, is_new: false }
    }

    /// The records for a cache with this mode and compression.
    pub fn choose(of: &[Self], mode: Mode, compression: LayerCompression) -> Shipment {
        let is_wanted = |step: &&Self| {
            (mode == Mode::Max || step.is_in_image) && step.compression.is_none_or(|own| own == compression)
        };
        let mut shipment = Shipment::default();
        of.iter().filter(is_wanted).for_each(|step| shipment.add(step));
        shipment
    }
}

/// The caches that a build asks, in order.
#[derive(Debug, Default)]
pub struct Upstream<'a> {
    caches: Vec<Cached<'a>>,
    /// Layers that are in one of them.
    lazy: Mutex<HashMap<BlobDigest, usize>>,
    /// Layers that a cache, by its number, names but did not give out.
    lost: Mutex<HashSet<(usize, BlobDigest)>>,
    /// Trees that are in one of them.
    trees: trees::Known,
    /// What the build took from them, by delta.
    taken: Mutex<HashMap<TreeDigest, Taken>>,
    /// Whether one of them was caught lying: then none is asked any more.
    is_distrusted: AtomicBool,
}

impl<'a> Upstream<'a> {
    /// Caches to ask in this order.
    pub fn new(caches: Vec<Cached<'a>>) -> Self {
        Self { caches, ..Self::default() }
    }

    /// The caches.
    pub fn caches(&self) -> &[Cached<'a>] {
        &self.caches
    }

    /// The steps under some keys, as far as a cache has them.
    pub(crate) fn look_up(&self, keys: &[[u8; 32]]) -> Vec<Option<Bundle>> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| Table::Steps.key(key)).collect();
        self.values(&keys, |_, number, value| {
            let is_there = |bundle: &Bundle| {
                let layer = &bundle.layer.blob;
                self.caches[number].may_have(layer) && !self.lock_lost().contains(&(number, layer.digest))
            };
            let mut bundle = Bundle::read(value).filter(is_there)?;
            if let Some(tree) = bundle.tree.take() {
                self.trees.add(bundle.record.delta, number, tree);
            }
            self.lock_lazy().insert(bundle.layer.blob.digest, number);
            Some(bundle)
        })
    }

    /// The values under full keys. The first cache counts whose value can be read; `read` gets the position of the key, the
    /// number of the cache, and the value.
    pub(crate) fn values<T>(
        &self,
        keys: &[Vec<u8>],
        read: impl Fn(usize, usize, &[u8]) -> Option<T>,
    ) -> Vec<Option<T>> {
        let mut found: Vec<Option<T>> = keys.iter().map(|_| None).collect();
        if self.is_distrusted() {
            return found;
        }
        for (number, cached) in self.caches.iter().enumerate() {
            let missing: Vec<usize> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
            let asked: Vec<Vec<u8>> = missing.iter().map(|at| keys[*at].clone()).collect();
            for (at, answer) in missing.into_iter().zip(cached.cache.lookup(&asked)) {
                found[at] = answer.and_then(|answer| read(at, number, &answer.value));
            }
        }
        found
    }

    /// Whether a layer can be had from one of them.
    pub(crate) fn has(&self, blob: &Descriptor) -> bool {
        self.cache_with(blob).is_some()
    }

    fn cache_with(&self, blob: &Descriptor) -> Option<usize> {
        self.lock_lazy().get(&blob.digest).copied().filter(|_| !self.is_distrusted())
    }

    /// Notes that the cache which names a layer does not give it out: from now on the layer is absent there.
    pub(crate) fn lose(&self, blob: &Descriptor) {
        let Some(number) = self.lock_lazy().remove(&blob.digest) else { return };
        if let Layers::Directory(remote) = &self.caches[number].layers {
            remote.lose(&blob.digest);
        }
        self.lock_taken().retain(|_, taken| taken.layer.blob != *blob);
        self.lock_lost().insert((number, blob.digest));
    }

    /// How many layers could not be had so far.
    pub fn lost(&self) -> usize {
        self.lock_lost().len()
    }

    /// The repository that has a layer, if it is in a registry.
    pub(crate) fn repository(&self, blob: &Descriptor) -> Option<Repository> {
        match &self.caches[self.cache_with(blob)?].layers {
            Layers::Registry(remote) => Some(remote.repository().clone()),
            Layers::Directory(_) => None,
        }
    }

    /// Copies a layer from a cache in a directory into the store, and says whether there was one.
    ///
    /// # Errors
    /// When it cannot be read, or is something else.
    pub(crate) fn bring(&self, store: &Store, blob: &Descriptor) -> Result<bool, RegistryError> {
        let Some(number) = self.cache_with(blob) else { return Ok(false) };
        let Layers::Directory(remote) = &self.caches[number].layers else { return Ok(false) };
        let mut file = remote.open_blob(blob)?;
        let mut writer = store.blobs().writer()?;
        std::io::copy(&mut file, &mut writer)?;
        writer.complete_verified(blob)?;
        Ok(true)
    }

    /// Indexes a layer, which must hold a certain delta. If it does not, the layer is discarded and no cache is asked any more.
    ///
    /// # Errors
    /// [`ContentError::CacheLied`].
    pub(crate) fn look_into(
        &self,
        layer: &Layer,
        delta: &TreeDigest,
        store: &Store,
        trees: &Trees<'_>,
    ) -> Result<(), ContentError> {
        // To the end, whoever waits: what was not read is not a lie.
        if image::index(layer, store, trees, &Cancel::new()).is_ok_and(|found| found == *delta) {
            return Ok(());
        }
        self.look_at(std::slice::from_ref(delta), trees);
        if image::holds_timed(layer, delta, store, trees) {
            return Ok(());
        }
        self.distrust();
        store.blobs().discard(&layer.blob.digest);
        Err(ContentError::CacheLied { digest: layer.blob.digest })
    }

    /// Asks none of the caches any more: one was caught lying.
    pub(crate) fn distrust(&self) {
        self.is_distrusted.store(true, Ordering::Relaxed);
    }

    /// Whether one of the caches was caught lying.
    pub fn is_distrusted(&self) -> bool {
        self.is_distrusted.load(Ordering::Relaxed)
    }

    fn lock_lazy(&self) -> std::sync::MutexGuard<'_, HashMap<BlobDigest, usize>> {
        // A panic leaves only whole entries behind.
        self.lazy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_lost(&self) -> std::sync::MutexGuard<'_, HashSet<(usize, BlobDigest)>> {
        // As above.
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
