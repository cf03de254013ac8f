//! From names of container images to manifests: what an image is made of, byte for byte as its registry has it.
//!
//! A name is resolved once, whatever the number of platforms. What it led to is remembered, manifests included, so that
//! the next build asks one question a tag.

use cache::{CacheError, Store, Table, at_once};
use oci_spec::image::ImageManifest;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor, Hasher, Platform, Span};
use thiserror::Error;

use super::archive::Archives;
use super::wanted::NamedBy;
use crate::bases::PullPolicy;
use crate::error::OpError;
use crate::images::{Images, ImagesError, ManifestKind, Tagged};
use crate::lock::{LockError, Locking, image_key};
use crate::oci::{self, JSON_LIMIT};
use crate::registry::{RawManifest, Reference, Registry, RegistryError, Repository, repositories_of};
use crate::stamp;

/// Names resolved at once.
const AT_ONCE: usize = 64;
/// Indexes in indexes followed.
const DEPTH_LIMIT: usize = 3;
/// Most blobs of one image.
const BLOBS_LIMIT: usize = 1000;

/// Why a container image cannot be had.
#[derive(Debug, Error)]
pub enum ContainerError {
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The lock file.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store's images.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// The store.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A blob of it, or its files.
    #[error(transparent)]
    Step(OpError),
    /// No registry may be asked, and nothing here has it.
    #[error("`{name}` is in no archive and not in the store, and registries are not asked (`--pull never`)")]
    NotAsked {
        /// The name.
        name: String,
    },
    /// Another image has its place in the registry of the image.
    #[error(
        "`{name}` and `{other}` have the same place in the image's registry, `{path}`, and are not the same image"
    )]
    Collision {
        /// The one.
        name: String,
        /// The other.
        other: String,
        /// Repository and tag.
        path: String,
    },
}

impl ContainerError {
    /// Whether this only says that the build was stopped.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_cancelled())
    }
}

/// A container image that cannot be had, and who names it.
#[derive(Debug)]
pub struct FailedImage {
    /// Its name, complete.
    pub name: String,
    /// Who names it.
    pub named_by: Vec<NamedBy>,
    /// Where the applications that name it are declared.
    pub spans: Vec<Span>,
    /// Why not.
    pub source: ContainerError,
}

/// A container image for one platform.
#[derive(Debug, Clone)]
pub(super) struct ResolvedImage {
    /// The name.
    pub(super) reference: Reference,
    /// What the name leads to: the manifest, or an index it is in.
    pub(super) root: RawManifest,
    /// The image's own.
    pub(super) manifest: RawManifest,
    /// Config and layers.
    pub(super) blobs: Vec<Descriptor>,
    /// Repositories that have it.
    pub(super) repositories: Vec<Repository>,
    /// Whether it is in an archive.
    pub(super) is_archived: bool,
}

/// What a name led to, when it was last asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Known {
    root: BlobDigest,
}

/// Where names are looked up.
pub(super) struct Resolver<'a> {
    pub(super) store: &'a Store,
    pub(super) registry: &'a Registry,
    pub(super) archives: &'a Archives,
    pub(super) lock: Option<&'a Locking>,
    pub(super) policy: PullPolicy,
    /// Hears of what went wrong although the build goes on.
    pub(super) warn: &'a (dyn Fn(String, &str) + Sync),
}

/// A root and where it was found.
struct Root {
    manifest: RawManifest,
    repositories: Vec<Repository>,
}

impl Resolver<'_> {
    /// Resolves names, each for its platforms; the answers stand in the order of the questions.
    pub(super) fn resolve_all(
        &self,
        wanted: &[(&Reference, &[Platform])],
    ) -> Vec<Result<Vec<ResolvedImage>, ContainerError>> {
        at_once(wanted, AT_ONCE, |(reference, platforms)| self.resolve(reference, platforms))
    }

    fn resolve(
        &self,
        reference: &Reference,
        platforms: &[Platform],
    ) -> Result<Vec<ResolvedImage>, ContainerError> {
        let Root { manifest: root, repositories } = self.root(reference)?;
        let instance = |platform: &Platform| -> Result<ResolvedImage, ContainerError> {
            let manifest = self.instance(reference, &root, platform)?;
            let blobs = blobs_of(reference, &manifest)?;
            let is_archived = self.archives.manifest(&manifest.blob.digest).is_some();
            let (root, reference, repositories) = (root.clone(), reference.clone(), repositories.clone());
            Ok(ResolvedImage { reference, root, manifest, blobs, repositories, is_archived })
        };
        platforms.iter().map(instance).collect()
    }

    /// What a name leads to, by the lock file or by asking.
    fn root(&self, reference: &Reference) -> Result<Root, ContainerError> {
        let key = image_key(&reference.to_string());
        let (Some(lock), Some(key)) = (self.lock, key) else { return self.asked(reference) };
        let root = match lock.image(&key)? {
            Some(digest) => {
                let manifest = self.manifest(reference, digest)?;
                Root { manifest, repositories: vec![reference.repository.clone()] }
            }
            None => self.asked(reference)?,
        };
        lock.saw_image(&key, root.manifest.blob.digest);
        Ok(root)
    }

    /// What a name leads to now.
    fn asked(&self, reference: &Reference) -> Result<Root, ContainerError> {
        let in_registry = |manifest| Root { manifest, repositories: vec![reference.repository.clone()] };
        if let Some(archived) = self.archives.find(reference) {
            return Ok(in_registry(archived.manifest.clone()));
        }
        if let Some(digest) = reference.digest {
            return Ok(in_registry(self.manifest(reference, digest)?));
        }
        if reference.repository.host == "localhost" {
            return self.in_store(reference)?.ok_or_else(|| not_found(reference));
        }
        let key = key(reference);
        let known: Option<Known> = stamp::get(self.store, Table::Resolved, &key);
        let known = known.and_then(|known| self.kept(&known.root));
        let root = match (known, self.policy) {
            (Some(known), PullPolicy::Missing | PullPolicy::Never) => return Ok(in_registry(known)),
            (Some(known), PullPolicy::IfNewer) if self.registry.fetcher().is_offline() => {
                return Ok(in_registry(known));
            }
            (None, PullPolicy::Never) => {
                let found = self.in_store(reference)?;
                return found.ok_or_else(|| ContainerError::NotAsked { name: reference.to_string() });
            }
            (Some(known), _) => match self.registry.digest_of(reference) {
                Ok(Some(digest)) if digest == known.blob.digest => return Ok(in_registry(known)),
                Ok(_) => self.registry.manifest(reference)?,
                Err(error) if self.policy == PullPolicy::IfNewer && error.is_unreachable() => {
                    (self.warn)(
                        format!("what `{reference}` leads to now is not known: {error}"),
                        "what it led to in the last build was taken; `--pull always` makes this an error",
                    );
                    return Ok(in_registry(known));
                }
                Err(error) => return Err(error.into()),
            },
            (None, _) => match self.registry.manifest(reference) {
                Ok(manifest) => manifest,
                // An image that was made or loaded here and never pushed.
                Err(error) if error.is_absent() || error.is_unreachable() => {
                    return match self.in_store(reference)? {
                        Some(found) => Ok(found),
                        None => Err(error.into()),
                    };
                }
                Err(error) => return Err(error.into()),
            },
        };
        self.keep(&root);
        stamp::put(self.store, Table::Resolved, &key, &Known { root: root.blob.digest });
        Ok(in_registry(root))
    }

    /// The image's manifest for a platform.
    fn instance(
        &self,
        reference: &Reference,
        root: &RawManifest,
        platform: &Platform,
    ) -> Result<RawManifest, ContainerError> {
        let mut manifest = root.clone();
        for _ in 0..DEPTH_LIMIT {
            if manifest.kind == ManifestKind::Image {
                return Ok(manifest);
            }
            let digest = crate::registry::choose(reference, &manifest, platform)?;
            manifest = self.manifest(reference, digest)?;
        }
        let reason = "it is an index of indexes of indexes".to_owned();
        Err(RegistryError::Json { what: "the index", name: reference.to_string(), reason }.into())
    }

    /// A manifest by its digest.
    fn manifest(&self, reference: &Reference, digest: BlobDigest) -> Result<RawManifest, ContainerError> {
        if let Some(kept) = self.kept(&digest) {
            return Ok(kept);
        }
        if let Some(archived) = self.archives.manifest(&digest) {
            return Ok(archived.manifest.clone());
        }
        // What was pulled or built here is in the store.
        if let Ok(bytes) = self.store.blobs().read(&digest, JSON_LIMIT)
            && let Ok(manifest) = RawManifest::new(&reference.to_string(), bytes, None)
        {
            return Ok(manifest);
        }
        if self.policy == PullPolicy::Never {
            return Err(ContainerError::NotAsked { name: reference.to_string() });
        }
        let manifest = self.registry.manifest(&Reference { digest: Some(digest), ..reference.clone() })?;
        self.keep(&manifest);
        Ok(manifest)
    }

    /// A manifest that was seen before.
    fn kept(&self, digest: &BlobDigest) -> Option<RawManifest> {
        let Kept { bytes, media_type } = stamp::get(self.store, Table::Manifests, digest.as_bytes())?;
        let is_whole = *digest == BlobDigest::from_bytes(Sha256::digest(&bytes).into());
        let name = digest.to_string();
        RawManifest::new(&name, bytes, Some(&media_type)).ok().filter(|_| is_whole)
    }

    fn keep(&self, manifest: &RawManifest) {
        let kept = Kept { bytes: manifest.bytes.clone(), media_type: manifest.media_type.to_string() };
        stamp::put(self.store, Table::Manifests, manifest.blob.digest.as_bytes(), &kept);
    }

    /// An image of the store.
    fn in_store(&self, reference: &Reference) -> Result<Option<Root>, ContainerError> {
        let images = Images::new(self.store);
        let line: Tagged = match images.find(&reference.full_name()) {
            Ok(line) => line,
            Err(ImagesError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = self.store.blobs().read(&line.manifest.digest, JSON_LIMIT)?;
        let media_type = line.media_type().to_string();
        let manifest = RawManifest::new(&reference.to_string(), bytes, Some(&media_type))?;
        Ok(Some(Root { manifest, repositories: repositories_of(&line) }))
    }
}

/// A manifest of the database.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// As the registry said it; the bytes may not.
    media_type: String,
}

/// What a name is remembered by.
fn key(reference: &Reference) -> [u8; 32] {
    let mut hasher = Hasher::new("name of a container image");
    hasher.bytes(reference.to_string().as_bytes());
    hasher.finish()
}

fn not_found(reference: &Reference) -> ContainerError {
    ImagesError::NotFound { name: reference.to_string(), tried: vec![reference.full_name()] }.into()
}

/// Config and layers of a manifest.
fn blobs_of(reference: &Reference, manifest: &RawManifest) -> Result<Vec<Descriptor>, RegistryError> {
    let wrong = |reason: &str| RegistryError::Json {
        what: "the manifest",
        name: reference.to_string(),
        reason: reason.to_owned(),
    };
    let parsed = serde_json::from_slice::<ImageManifest>(&manifest.bytes)
        .map_err(|error| wrong(&error.to_string()))?;
    if parsed.layers().len() >= BLOBS_LIMIT {
        return Err(wrong("it has more than 1000 layers"));
    }
    let all = std::iter::once(parsed.config()).chain(parsed.layers());
    let blobs: Option<Vec<Descriptor>> = all.map(oci::from_descriptor).collect();
    let mut blobs = blobs.ok_or_else(|| wrong("a blob has no SHA-256 digest"))?;
    blobs.sort_by_key(|blob| blob.digest);
    blobs.dedup();
    Ok(blobs)
}
