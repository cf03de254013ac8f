//! One cache: read by a build, and sent its results.

use std::sync::Arc;

use cache::remote::{Exported, Limits, MacKey, RemoteCache, RemoteError};
use cache::{Store, try_at_once};
use solver::Descriptor;

use super::{AT_ONCE, CachePlace, Shipment};
use crate::registry::{Reference, Registry, RegistryError, RegistryRemote, Repository};
use crate::remote::DirectoryRemote;

/// Where layers of a cache are.
#[derive(Debug)]
pub(super) enum Layers<'a> {
    Registry(Arc<RegistryRemote<'a>>),
    Directory(Arc<DirectoryRemote>),
}

/// One cache.
#[derive(Debug)]
pub struct Cached<'a> {
    pub(super) cache: RemoteCache<'a>,
    place: CachePlace,
    pub(super) layers: Layers<'a>,
}

impl<'a> Cached<'a> {
    /// A cache to write to. Nothing is asked yet.
    pub fn new(registry: &'a Registry, place: &CachePlace, key: Option<MacKey>) -> Self {
        Self::open(place, key, |reference| RegistryRemote::new(registry, reference))
    }

    /// A cache to read, which may be in an image, see [`inline`](super::inline()). Nothing is asked yet.
    pub fn to_read(registry: &'a Registry, place: &CachePlace, key: Option<MacKey>) -> Self {
        Self::open(place, key, |reference| RegistryRemote::new(registry, reference).reading_images())
    }

    fn open(
        place: &CachePlace,
        key: Option<MacKey>,
        of_registry: impl FnOnce(&Reference) -> RegistryRemote<'a>,
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

    /// Reads its head, unless that was done; a failure shows at the first look-up.
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

    /// Whether the layer of a record may be there: a cache in an image has only the layers of that image.
    pub(super) fn may_have(&self, blob: &Descriptor) -> bool {
        match &self.layers {
            Layers::Registry(remote) => remote.may_have(&blob.digest),
            Layers::Directory(_) => true,
        }
    }

    /// Sends the results of a build: layers and trees that are not there yet, then the records.
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
        // Blobs that the head names are there, and need no question.
        self.cache.prepare();
        // Small blobs are sent without asking, as sending takes no longer; so are new ones, which are hardly there. The others may
        // well be there.
        let (unasked, asked): (Vec<Descriptor>, Vec<Descriptor>) = blobs
            .into_iter()
            .partition(|blob| shipment.blobs.contains_key(&blob.digest) || shipment.is_new(blob, near));
        let has = self.cache.remote().has_blobs(&asked)?;
        let is_here =
            |blob: &Descriptor| shipment.blobs.contains_key(&blob.digest) || store.blobs().contains(blob);
        let absent = asked.iter().zip(has).filter(|(_, has)| !has).map(|(blob, _)| blob);
        let absent = absent.chain(unasked.iter().filter(|blob| !self.names(blob)));
        // What is neither here nor there is in another cache. A record whose layer is lost is not sent at all.
        let (missing, lost): (Vec<&Descriptor>, Vec<&Descriptor>) = absent.partition(|blob| is_here(blob));
        let records = shipment.without_trees(|blob| lost.contains(&blob));
        try_at_once(&missing, AT_ONCE, |blob| self.put(store, shipment, near, blob))?;
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
