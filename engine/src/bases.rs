//! Base images: found in the store or in a registry, pinned once a build, their layers fetched when somebody needs them.
//!
//! A build that writes nothing onto its base and sends the result to the registry the base is in never sees its layers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cache::Store;
use solver::{Layer, ManifestDigest, Platform};

use crate::contents::Contents;
use crate::images::{Images, ImagesError, StoredImage, Tagged};
use crate::registry::{
    self, LayerProgress, LayerSource, Reference, Registry, RegistryError, Repository, repositories_of,
};
use crate::source::image;
use crate::state::State;
use crate::tree::Trees;

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
    is_new: bool,
    state: OnceLock<State>,
    fetching: Mutex<()>,
}

impl BaseImage {
    fn new(image: StoredImage, line: Tagged, is_new: bool) -> Arc<Self> {
        Arc::new(Self { image, line, is_new, state: OnceLock::new(), fetching: Mutex::default() })
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
    known: Mutex<BTreeMap<ManifestDigest, Arc<BaseImage>>>,
}

impl<'a> Bases<'a> {
    /// Bases of a store, and of registries.
    pub fn new(store: &'a Store, registry: &'a Registry) -> Self {
        Self { store, registry, known: Mutex::default() }
    }

    /// The way to registries.
    pub fn registry(&self) -> &'a Registry {
        self.registry
    }

    /// Finds and pins a base. `warn` hears why a registry was not of use although the build goes on.
    ///
    /// # Errors
    /// When neither the store nor a registry has it.
    pub fn resolve(
        &self,
        name: &str,
        platform: &Platform,
        policy: PullPolicy,
        now: i64,
        warn: &dyn Fn(String),
    ) -> Result<Arc<BaseImage>, RegistryError> {
        let policy = match policy {
            PullPolicy::IfNewer if self.registry.fetcher().is_offline() => PullPolicy::Missing,
            policy => policy,
        };
        let images = Images::new(self.store);
        let here = images.find(name).and_then(|line| Ok((images.for_platform(&line, platform)?, line)));
        let here = match here {
            Ok((instance, line)) => {
                let image = images.read(&instance)?;
                // What is for another platform may be there for the right one.
                (image.platform() == *platform || policy == PullPolicy::Never)
                    .then_some((image, instance, line))
            }
            Err(ImagesError::NotFound { .. } | ImagesError::Platform { .. })
                if policy != PullPolicy::Never =>
            {
                None
            }
            Err(error) => return Err(error.into()),
        };
        let is_local = match &here {
            Some((.., line)) => line.name.as_ref().is_none_or(|name| name.starts_with("localhost/")),
            None => name.starts_with("localhost/"),
        };
        let base = match (here, policy) {
            (Some((image, mut instance, line)), _)
                if is_local || !self.is_asked(name, &line, policy, warn) =>
            {
                instance.name = line.name;
                let image = StoredImage { name: instance.name.clone(), ..image };
                BaseImage::new(image, instance, false)
            }
            (None, _) if is_local => {
                let tried = vec![name.to_owned()];
                return Err(ImagesError::NotFound { name: name.to_owned(), tried }.into());
            }
            _ => {
                let reference = Reference::parse(name)?;
                let found = registry::resolve(self.store, self.registry, &reference, platform, now)?;
                BaseImage::new(found.image, found.line, true)
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(known.entry(base.image.digest).or_insert(base)))
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
        if let Some(state) = base.state.get() {
            return Ok(state.clone());
        }
        let _one_at_a_time = base.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = base.state.get() {
            return Ok(state.clone());
        }
        let source = self.source(base);
        source.fetch(&base.image.layers, Some(trees), progress).map_err(|error| error.of(&shown(base)))?;
        let state = image::state(&base.image, self.store, trees, contents)?;
        Ok(base.state.get_or_init(|| state).clone())
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
            None => Ok(()),
        }
    }

    fn source(&self, base: &BaseImage) -> LayerSource<'a> {
        LayerSource { registry: self.registry, store: self.store, repositories: base.repositories() }
    }
}

fn shown(base: &BaseImage) -> String {
    base.line.name.clone().unwrap_or_else(|| base.image.digest.to_string())
}
