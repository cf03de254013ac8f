//! Remote caches as a build uses them: what the store does not know of a step, they may (`docs/design/remote-cache.md`).
//!
//! What travels of a step is one value: its record and its layer. The layer's bytes stay where they are until somebody
//! reads them; then they must hold what the record says, or the cache is not asked again.

mod by_hand;
mod inline;
mod same;
mod taken;
mod trees;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cache::remote::{Exported, Limits, MacKey, NewRecord, RemoteCache, RemoteError};
use cache::{Store, Table};
use serde::{Deserialize, Serialize};
use solver::{BlobDigest, Descriptor, Layer, Record, TreeDigest};

use crate::contents::ContentError;
use crate::discover::Scan;
use crate::frames::LayerCompression;
use crate::registry::{Registry, RegistryError, RegistryRemote, Repository};
use crate::remote::DirectoryRemote;
use crate::source::image;
use crate::tree::Trees;

pub use self::by_hand::{ByHandError, Imported, Listed, import, known_steps, list};
pub use self::inline::{InlineError, inline};
pub(crate) use self::same::same;
use self::taken::Taken;
pub use self::trees::Shipment;
pub(crate) use self::trees::{PackedTree, TreeBlob};

/// Form of what travels.
const VERSION: u8 = 3;
/// Longest name of a step that travels, in characters.
const NAME_LENGTH: usize = 200;
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
    /// All that have a layer of their own, those of stages too.
    #[default]
    Max,
}

/// A step of a build as caches may have it.
#[derive(Debug, Clone)]
pub struct StepRecord {
    pub(crate) record: NewRecord,
    /// The blob of its tree, if it has one that is known here.
    pub(crate) tree: Option<TreeBlob>,
    /// How its layer is compressed; `None` where no build wants it otherwise.
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

    /// The records of a cache that wants such layers.
    pub fn choose(of: &[Self], mode: Mode, compression: LayerCompression) -> Shipment {
        let is_wanted = |step: &&Self| {
            (mode == Mode::Max || step.is_in_image) && step.compression.is_none_or(|own| own == compression)
        };
        let mut shipment = Shipment::default();
        of.iter().filter(is_wanted).for_each(|step| shipment.add(step));
        shipment
    }
}

/// Where layers of a cache are.
#[derive(Debug)]
enum Layers<'a> {
    Registry(Arc<RegistryRemote<'a>>),
    Directory(Arc<DirectoryRemote>),
}

/// One cache.
#[derive(Debug)]
pub struct Cached<'a> {
    cache: RemoteCache<'a>,
    place: CachePlace,
    layers: Layers<'a>,
}

impl<'a> Cached<'a> {
    /// A cache to write to, that nothing was asked of yet.
    pub fn new(registry: &'a Registry, place: &CachePlace, key: Option<MacKey>) -> Self {
        Self::open(place, key, |reference| RegistryRemote::new(registry, reference))
    }

    /// A cache to read, that nothing was asked of yet. It may be in an image, see [`inline`].
    pub fn to_read(registry: &'a Registry, place: &CachePlace, key: Option<MacKey>) -> Self {
        Self::open(place, key, |reference| RegistryRemote::new(registry, reference).reading_images())
    }

    fn open(
        place: &CachePlace,
        key: Option<MacKey>,
        of_registry: impl FnOnce(&crate::registry::Reference) -> RegistryRemote<'a>,
    ) -> Self {
        match place {
            CachePlace::Registry(reference) => {
                let remote = Arc::new(of_registry(reference));
                let cache = RemoteCache::open(Arc::<RegistryRemote<'a>>::clone(&remote), key);
                Self { cache, place: place.clone(), layers: Layers::Registry(remote) }
            }
            CachePlace::Directory(dir) => {
                let remote = Arc::new(DirectoryRemote::new(dir));
                let cache = RemoteCache::open(Arc::<DirectoryRemote>::clone(&remote), key);
                Self { cache, place: place.clone(), layers: Layers::Directory(remote) }
            }
        }
    }

    /// Reads its head, if nobody did; what goes wrong is told with the first lookup.
    pub(crate) fn prepare(&self) {
        self.cache.prepare();
    }

    /// Where it is.
    pub fn place(&self) -> &CachePlace {
        &self.place
    }

    /// Where it is, for people.
    pub fn name(&self) -> String {
        self.cache.remote().name()
    }

    /// Whether there is one.
    ///
    /// # Errors
    /// When nobody answers, or something else is there.
    pub fn is_there(&self) -> Result<bool, RemoteError> {
        Ok(self.cache.remote().head()?.is_some())
    }

    /// What the user should know.
    pub fn warnings(&self) -> Vec<String> {
        self.cache.warnings()
    }

    /// Whether a blob is known to be there, without a request.
    fn names(&self, blob: &Descriptor) -> bool {
        match &self.layers {
            Layers::Registry(remote) => remote.names(&blob.digest),
            Layers::Directory(remote) => remote.has(blob),
        }
    }

    /// Whether a layer that a record needs may be there: an image has its own, and no others.
    fn may_have(&self, blob: &Descriptor) -> bool {
        match &self.layers {
            Layers::Registry(remote) => remote.may_have(&blob.digest),
            Layers::Directory(_) => true,
        }
    }

    /// Sends what a build came to: layers and trees that are not there, then the records.
    ///
    /// # Errors
    /// When nobody answers, or it is not allowed.
    pub fn export(
        &self,
        store: &Store,
        near: &[Repository],
        shipment: &Shipment,
        limits: &Limits,
    ) -> Result<Exported, RemoteError> {
        let records = shipment.records.iter();
        let mut blobs: Vec<Descriptor> = records.flat_map(|record| record.blobs.clone()).collect();
        blobs.sort_by_key(|blob| (std::cmp::Reverse(blob.size), blob.digest));
        blobs.dedup();
        // What the cache names already need not be asked for one by one.
        self.cache.prepare();
        // A small one is sent before an answer would have come, and a new one is hardly there; of the others many may be.
        let (unasked, asked): (Vec<Descriptor>, Vec<Descriptor>) = blobs
            .into_iter()
            .partition(|blob| shipment.blobs.contains_key(&blob.digest) || shipment.is_new(blob, near));
        let has = self.cache.remote().has_blobs(&asked)?;
        let is_here =
            |blob: &Descriptor| shipment.blobs.contains_key(&blob.digest) || store.blobs().contains(blob);
        let absent = asked.iter().zip(has).filter(|(_, has)| !has).map(|(blob, _)| blob);
        let absent = absent.chain(unasked.iter().filter(|blob| !self.names(blob)));
        // What is neither here nor there was left in another cache. Without its layer a record does not go at all.
        let (missing, lost): (Vec<&Descriptor>, Vec<&Descriptor>) = absent.partition(|blob| is_here(blob));
        let records = shipment.without_trees(|blob| lost.contains(&blob));
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), RemoteError> {
            while let Some(blob) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.put(store, shipment, near, blob)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..missing.len().min(AT_ONCE)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("sending does not panic"))
        })?;
        self.cache.export(&records, limits)
    }

    fn put(
        &self,
        store: &Store,
        shipment: &Shipment,
        near: &[Repository],
        blob: &Descriptor,
    ) -> Result<(), RemoteError> {
        let open = || -> Result<Box<dyn std::io::Read + Send>, RegistryError> {
            match shipment.blobs.get(&blob.digest) {
                Some(bytes) => Ok(Box::new(std::io::Cursor::new(Arc::clone(bytes)))),
                None => Ok(Box::new(store.blobs().open(&blob.digest)?)),
            }
        };
        match &self.layers {
            Layers::Registry(remote) if shipment.is_new(blob, near) => {
                remote.offer_blob(blob, &open, &|_| {}).map(drop).map_err(RemoteError::transport)
            }
            Layers::Registry(remote) => {
                remote.put_blob(blob, near, &open, &|_| {}).map(drop).map_err(RemoteError::transport)
            }
            Layers::Directory(remote) => {
                remote.put_blob(blob, &mut open().map_err(RemoteError::transport)?).map(drop)
            }
        }
    }
}

/// The caches that a build asks, in order.
#[derive(Debug, Default)]
pub struct Upstream<'a> {
    caches: Vec<Cached<'a>>,
    /// Layers that are in one of them.
    lazy: Mutex<HashMap<BlobDigest, usize>>,
    /// Layers that a cache names and that could not be had, with its number.
    lost: Mutex<HashSet<(usize, BlobDigest)>>,
    /// Trees that are in one of them.
    trees: trees::Known,
    /// What the build took from them, by delta.
    taken: Mutex<HashMap<TreeDigest, Taken>>,
    /// One of them was found to lie.
    is_distrusted: AtomicBool,
}

/// What travels of a step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bundle {
    version: u8,
    pub(crate) record: Record,
    pub(crate) layer_key: [u8; 32],
    pub(crate) layer: Layer,
    /// Places for container images in its delta, and what they name.
    pub(crate) scan: Option<(Vec<u8>, Scan)>,
    /// The tree of its delta.
    pub(crate) tree: Option<PackedTree>,
    /// What the step is called, for people.
    pub(crate) name: String,
}

impl Bundle {
    pub(crate) fn new(
        record: Record,
        (layer_key, layer): ([u8; 32], Layer),
        scan: Option<(Vec<u8>, Scan)>,
        name: &str,
    ) -> Self {
        let name = name.chars().take(NAME_LENGTH).collect();
        let layer = Layer { frames: Vec::new(), ..layer };
        Self { version: VERSION, record, layer_key, layer, scan, tree: None, name }
    }

    /// The same with the tree of its delta.
    pub(crate) fn with_tree(self, tree: Option<PackedTree>) -> Self {
        Self { tree, ..self }
    }

    /// Reads what travelled; `None` for another form.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        postcard::from_bytes::<Self>(value).ok().filter(|bundle| bundle.version == VERSION)
    }

    /// As a record of a cache.
    pub(crate) fn under(&self, key: &[u8; 32]) -> NewRecord {
        let value = postcard::to_stdvec(self).expect("plain data with known lengths always encodes");
        let tree = self.tree.as_ref().and_then(PackedTree::blob);
        NewRecord {
            key: Table::Steps.key(key),
            value,
            blobs: [self.layer.blob].into_iter().chain(tree).collect(),
        }
    }
}

impl<'a> Upstream<'a> {
    /// These caches.
    pub fn new(caches: Vec<Cached<'a>>) -> Self {
        Self { caches, ..Self::default() }
    }

    /// The caches.
    pub fn caches(&self) -> &[Cached<'a>] {
        &self.caches
    }

    /// What is known of steps, by their keys.
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
            self.lock().insert(bundle.layer.blob.digest, number);
            Some(bundle)
        })
    }

    /// What is found under full keys. Of several caches the first counts that has something which can be read; `read` is
    /// told which key and which cache it is.
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
        self.lock().get(&blob.digest).copied().filter(|_| !self.is_distrusted())
    }

    /// A layer could not be had from the cache that names it. There it counts as absent from now on.
    pub(crate) fn lose(&self, blob: &Descriptor) {
        let Some(number) = self.lock().remove(&blob.digest) else { return };
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

    /// Brings a layer out of a cache in a directory. Whether it was in one.
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

    /// Reads a layer, which must hold a delta. If it does not, nothing of it is kept, and none of them is asked any more.
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
        if image::index(layer, store, trees).is_ok_and(|found| found == *delta) {
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

    /// One of them was found to lie: none is asked any more.
    pub(crate) fn distrust(&self) {
        self.is_distrusted.store(true, Ordering::Relaxed);
    }

    /// Whether one of them was found to lie.
    pub fn is_distrusted(&self) -> bool {
        self.is_distrusted.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<BlobDigest, usize>> {
        // Only whole entries are put behind it.
        self.lazy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_lost(&self) -> std::sync::MutexGuard<'_, HashSet<(usize, BlobDigest)>> {
        // As above.
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
