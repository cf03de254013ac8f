//! Base images: found in the store or in a registry, pinned once a build, their layers fetched when somebody needs them.
//!
//! A build that writes nothing onto its base and sends the result to the registry the base is in never sees its layers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cache::{Store, Table};
use solver::{BlobDigest, Descriptor, Layer, ManifestDigest, Platform, TreeDigest};

use crate::contents::Contents;
use crate::images::{Images, ImagesError, ManifestKind, StoredImage, Tagged};
use crate::lock::{Locking, image_key};
use crate::registry::{
    self, LayerProgress, LayerSource, Reference, Registry, RegistryError, Repository, repositories_of,
};
use crate::source::image;
use crate::state::State;
use crate::tree::Trees;
use crate::upstream::Upstream;

/// Layers fetched at once; each registry has a limit of its own.
const FETCHES: usize = 16;

/// When a registry is asked for a base (`--pull`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Always; what the store has already is not fetched again.
    Always,
    /// Where the name leads to something else than the store has. A registry that does not answer has nothing newer, and
    /// who may not connect does not ask.
    IfNewer,
    /// Where the store has no such image.
    Missing,
    /// Never.
    Never,
}

/// A base image, pinned.
#[derive(Debug)]
pub struct BaseImage {
    /// The image.
    pub image: StoredImage,
    /// Its line of the index; from a registry it is stored with the result of the build.
    pub line: Tagged,
    /// What its name led to: the manifest, or an index it is in.
    root: BlobDigest,
    /// The name it was locked under; its line may have another.
    locked_as: Option<String>,
    is_new: bool,
}

impl BaseImage {
    fn new(image: StoredImage, line: Tagged, root: BlobDigest, is_new: bool) -> Self {
        Self { image, line, root, locked_as: None, is_new }
    }

    /// What it is called by whoever asked for it: the same with a lock file and without.
    pub fn reference(&self, asked: &str) -> String {
        self.locked_as.clone().or_else(|| self.line.name.clone()).unwrap_or_else(|| asked.to_owned())
    }

    /// Repositories that have its layers, as far as is known.
    pub(crate) fn repositories(&self) -> Vec<Repository> {
        let mut repositories = repositories_of(&self.line);
        // A blob that was lost from the store should still be where the image came from.
        let own = self.line.name.as_deref().filter(|_| self.line.origin.is_some()).and_then(Repository::of);
        repositories.extend(own.filter(|own| !repositories.contains(own)));
        repositories
    }
}

/// The base images of a build.
#[derive(Debug)]
pub struct Bases<'a> {
    store: &'a Store,
    registry: &'a Registry,
    lock: Option<&'a Locking>,
    upstream: Option<&'a Upstream<'a>>,
    known: Mutex<BTreeMap<ManifestDigest, Arc<BaseImage>>>,
}

impl<'a> Bases<'a> {
    /// Bases of a store, and of registries.
    pub fn new(store: &'a Store, registry: &'a Registry) -> Self {
        Self { store, registry, lock: None, upstream: None, known: Mutex::default() }
    }

    /// The same for a build with a lock file.
    pub fn locked(self, lock: Option<&'a Locking>) -> Self {
        Self { lock, ..self }
    }

    /// The lock file, for whoever pins something else.
    pub fn lock(&self) -> Option<&'a Locking> {
        self.lock
    }

    /// The way to registries.
    pub fn registry(&self) -> &'a Registry {
        self.registry
    }

    /// The same, with caches that may have layers of steps.
    #[must_use]
    pub fn cached(self, upstream: &'a Upstream<'a>) -> Self {
        Self { upstream: Some(upstream), ..self }
    }

    /// Caches that are asked for what the store does not know.
    pub fn upstream(&self) -> Option<&'a Upstream<'a>> {
        self.upstream
    }

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

    /// Finds and pins a base, as the lock file has it if there is one. `warn` hears why a registry was not of use although
    /// the build goes on.
    ///
    /// # Errors
    /// When neither the store nor a registry has it, or the lock file should and does not.
    pub fn resolve(
        &self,
        name: &str,
        platform: &Platform,
        policy: PullPolicy,
        now: i64,
        warn: &dyn Fn(String),
    ) -> Result<Arc<BaseImage>, RegistryError> {
        let keyed = self.lock.and_then(|lock| Some((lock, lock.base_key(name)?)));
        let Some((lock, key)) = keyed else {
            return Ok(self.know(self.find(name, platform, policy, now, warn)?));
        };
        let is_own = |base: &BaseImage| base.line.name.as_deref().and_then(image_key).as_ref() != Some(&key);
        match lock.base(&key, platform) {
            Ok(Some(root)) => {
                let base = self.find_root(&key, platform, root, now)?;
                lock.saw_base(&key, platform, root);
                Ok(self.know(base))
            }
            Ok(None) => {
                // Who wants to know anew wants somebody asked.
                let is_asked = policy == PullPolicy::Missing && lock.refreshes_base(&key);
                let policy = if is_asked { PullPolicy::IfNewer } else { policy };
                let base = self.find(name, platform, policy, now, warn)?;
                if !is_own(&base) {
                    lock.saw_base(&key, platform, base.root);
                }
                Ok(self.know(base))
            }
            // This machine's own images stand in no lock file.
            Err(missing) => match self.find(name, platform, PullPolicy::Never, now, warn) {
                Ok(base) if is_own(&base) => Ok(self.know(base)),
                _ => Err(missing.into()),
            },
        }
    }

    /// One value for each image, whoever asks for it.
    fn know(&self, base: BaseImage) -> Arc<BaseImage> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(base.image.digest).or_insert_with(|| Arc::new(base)))
    }

    /// A base by what its name led to once. The registry is asked for that if the store does not have it, never for the name.
    fn find_root(
        &self,
        key: &str,
        platform: &Platform,
        root: BlobDigest,
        now: i64,
    ) -> Result<BaseImage, RegistryError> {
        let base = match self.stored(key, platform, root)? {
            Some(base) => base,
            None => {
                let reference = Reference { digest: Some(root), ..Reference::parse(key)? };
                let mut found = registry::resolve(self.store, self.registry, &reference, platform, now)?;
                // The name itself may lead elsewhere by now, and each platform's image needs one to stay.
                let name = format!("{}@{}", reference.repository, found.line.manifest.digest);
                (found.line.name, found.image.name) = (Some(name.clone()), Some(name));
                BaseImage::new(found.image, found.line, root, true)
            }
        };
        Ok(BaseImage { locked_as: Some(key.to_owned()), ..base })
    }

    /// The image of a platform that a manifest or an index leads to, under whatever name the store has it.
    fn stored(
        &self,
        key: &str,
        platform: &Platform,
        root: BlobDigest,
    ) -> Result<Option<BaseImage>, RegistryError> {
        let images = Images::new(self.store);
        let mut lines = images.list()?;
        lines.retain(|line| line.manifest.digest == root || line.origin == Some(root));
        lines.sort_by_key(|line| line.name.as_deref() != Some(key));
        for line in lines {
            // What cannot be read, or is not for the platform, may be there once more.
            let Ok(mut instance) = images.for_platform(&line, platform) else { continue };
            let Ok(image) = images.read(&instance) else { continue };
            let is_only = line.kind == ManifestKind::Image && line.manifest.digest == root;
            if is_only || image.platform() == *platform {
                instance.name.clone_from(&line.name);
                let image = StoredImage { name: line.name, ..image };
                return Ok(Some(BaseImage::new(image, instance, root, false)));
            }
        }
        Ok(None)
    }

    fn find(
        &self,
        name: &str,
        platform: &Platform,
        policy: PullPolicy,
        now: i64,
        warn: &dyn Fn(String),
    ) -> Result<BaseImage, RegistryError> {
        let policy = match policy {
            PullPolicy::IfNewer if self.registry.fetcher().is_offline() => PullPolicy::Missing,
            policy => policy,
        };
        let images = Images::new(self.store);
        let here = images.find(name).and_then(|line| Ok((images.for_platform(&line, platform)?, line)));
        // What is here for another platform may be there for the right one.
        let mut other = None;
        let here = match here {
            Ok((instance, line)) => {
                let image = images.read(&instance)?;
                if image.platform() == *platform || policy == PullPolicy::Never {
                    Some((image, instance, line))
                } else {
                    let offered = vec![image.platform().to_string()];
                    let name = line.name.unwrap_or_else(|| name.to_owned());
                    other = Some(ImagesError::Platform { name, wanted: platform.clone(), offered });
                    None
                }
            }
            Err(ImagesError::NotFound { .. }) if policy != PullPolicy::Never => None,
            Err(error @ ImagesError::Platform { .. }) if policy != PullPolicy::Never => {
                other = Some(error);
                None
            }
            Err(error) => return Err(error.into()),
        };
        let is_local = match &here {
            Some((.., line)) => line.name.as_ref().is_none_or(|name| name.starts_with("localhost/")),
            None => name.starts_with("localhost/"),
        };
        match (here, policy) {
            (Some((image, mut instance, line)), _)
                if is_local || !self.is_asked(name, &line, policy, warn) =>
            {
                let root = line.origin.unwrap_or(line.manifest.digest);
                instance.name = line.name;
                let image = StoredImage { name: instance.name.clone(), ..image };
                Ok(BaseImage::new(image, instance, root, false))
            }
            (None, _) if is_local => {
                let tried = vec![name.to_owned()];
                let not_found = || ImagesError::NotFound { name: name.to_owned(), tried };
                Err(other.unwrap_or_else(not_found).into())
            }
            _ => {
                let reference = Reference::parse(name)?;
                let found = registry::resolve(self.store, self.registry, &reference, platform, now);
                let found = found.map_err(|error| match other {
                    Some(here) if !error.is_cancelled() => {
                        RegistryError::OtherPlatform { here: Box::new(here), source: Box::new(error) }
                    }
                    _ => error,
                })?;
                let root = found.line.origin.unwrap_or(found.line.manifest.digest);
                Ok(BaseImage::new(found.image, found.line, root, true))
            }
        }
    }

    /// Whether the registry has to be asked for more than what a name leads to.
    fn is_asked(&self, name: &str, line: &Tagged, policy: PullPolicy, warn: &dyn Fn(String)) -> bool {
        let Ok(reference) = Reference::parse(name) else { return false };
        if reference.digest.is_some() || matches!(policy, PullPolicy::Missing | PullPolicy::Never) {
            return false;
        }
        match self.registry.digest_of(&reference) {
            Ok(Some(digest)) => digest != line.manifest.digest && line.origin != Some(digest),
            Ok(None) => true,
            // An image that was made here and never pushed.
            Err(error) if policy == PullPolicy::IfNewer => {
                if !error.is_absent() {
                    warn(format!("whether `{name}` is the newest is not known: {error}"));
                }
                false
            }
            // The same question again gives the same error, and it is shown.
            Err(_) => true,
        }
    }

    /// Fetches what is missing of an image and gives it its name in the store.
    ///
    /// # Errors
    /// When a layer cannot be had; then it has no name.
    pub fn keep(&self, base: &BaseImage, progress: &LayerProgress<'_>) -> Result<(), RegistryError> {
        self.complete(base, progress)?;
        let images = Images::new(self.store);
        self.store.commit::<RegistryError>(|| {
            for line in self.new_lines() {
                images.put(&line.name.clone().into_iter().collect::<Vec<_>>(), line)?;
            }
            Ok(())
        })
    }

    /// A base that was resolved.
    pub fn get(&self, digest: &ManifestDigest) -> Option<Arc<BaseImage>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// The lines of bases that came from registries, as they are now.
    pub(crate) fn new_lines(&self) -> Vec<Tagged> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = |base: &Arc<BaseImage>| {
            let mut line = base.line.clone();
            line.remotes.clear();
            if !self.absent(&base.image.layers).is_empty() {
                line.remotes = base.repositories().iter().map(Repository::to_string).collect();
            }
            (base.is_new || line != base.line).then_some(line)
        };
        known.values().filter_map(now).collect()
    }

    /// Layers that are not in the store.
    pub(crate) fn absent(&self, layers: &[Layer]) -> Vec<Layer> {
        layers.iter().filter(|layer| !self.store.blobs().contains(&layer.blob)).cloned().collect()
    }

    /// The state a base is; layers that nobody looked into before are read now, and fetched first where they are not here.
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
        Ok(image::state(&base.image, self.store, trees, contents)?)
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

    /// Fetches several, many at a time: a registry that is far away takes as long for one as for all.
    pub(crate) fn fetch_layers(&self, layers: &[Layer]) -> Result<(), RegistryError> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), RegistryError> {
            let mut result = Ok(());
            while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                // What caches do not give out is known at once then, and not one by one.
                result = result.and(self.fetch_layer(layer));
            }
            result
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..layers.len().min(FETCHES)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("fetching does not panic"))
        })
    }

    /// Fetches a layer that a cache has, if one does. After a failure it does not.
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
