//! Base images: found in the store or in a registry, pinned once per build, their layers fetched when something needs them.
//!
//! A build that only puts files on its base and pushes the result to the base's registry never fetches the base's layers.

mod find;
mod layers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cache::Store;
use solver::{BlobDigest, ManifestDigest, Platform};

use crate::images::{Images, StoredImage, Tagged};
use crate::lock::{Locking, image_key};
use crate::registry::{LayerProgress, Registry, RegistryError, Repository, repositories_of};
use crate::upstream::Upstream;

/// When a registry is asked for a base (`--pull`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Always; what the store has already is not fetched again.
    Always,
    /// Where the name leads to something else than the store has. A registry that does not answer counts as having nothing newer;
    /// offline it is not asked.
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

    /// Finds and pins a base, by the lock file if that has it. `warn` hears why a registry could not help although the build goes
    /// on.
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
                // `--update` means that the registry is asked.
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

    /// One value per image, however often it is asked for.
    fn know(&self, base: BaseImage) -> Arc<BaseImage> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(base.image.digest).or_insert_with(|| Arc::new(base)))
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
}
