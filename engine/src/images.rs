//! The images of a store: names in `index.json`, manifests and configs behind them.
//!
//! Readers take no lock: the file is replaced whole. Writers re-read, change and rename it under `index.lock`. A tag
//! that moves leaves the old image without a name.

mod compose;
mod edit;
mod index;

use std::collections::HashSet;
use std::path::PathBuf;

use cache::{CacheError, Store};
use oci_spec::image::{Descriptor as OciDescriptor, ImageIndex, ImageManifest, MediaType as OciMediaType};
use serde_json::Value;
use solver::{Base, BlobDigest, Descriptor, DiffId, Layer, ManifestDigest, Platform};
use thiserror::Error;

pub use self::compose::{Composition, Entry, EntryPlatform, Index};
pub use self::edit::Removed;
pub use self::index::{ManifestKind, Summary, Tagged};
use crate::extension::Extension;
use crate::name;
use crate::oci::{self, EXTENSION, JSON_LIMIT};

/// An image of the store that cannot be used.
#[derive(Debug, Error)]
pub enum ImagesError {
    /// Nothing has that name.
    #[error("`{name}`: image not known")]
    NotFound {
        /// As asked for.
        name: String,
        /// Full names it might have meant.
        tried: Vec<String>,
    },
    /// The digits stand for more than one image.
    #[error("`{asked}` could be {}", .images.join(" or "))]
    Ambiguous {
        /// As asked for.
        asked: String,
        /// Some of the images.
        images: Vec<String>,
    },
    /// An id to be removed has several names.
    #[error("image `{asked}` has {} names: {}", .names.len(), .names.join(", "))]
    SeveralNames {
        /// As asked for.
        asked: String,
        /// Its names.
        names: Vec<String>,
    },
    /// An index without an image for a platform.
    #[error("`{name}` has no image for {wanted}, only for {}", .offered.join(", "))]
    Platform {
        /// The index.
        name: String,
        /// The platform asked for.
        wanted: Platform,
        /// Those it has.
        offered: Vec<String>,
    },
    /// The name is not one.
    #[error("`{name}` is not an image name: {reason}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The list of the store's images.
    #[error("`{}` cannot be read: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// JSON that is not what it should be.
    #[error("{what} of image `{name}` cannot be read: {reason}")]
    Json {
        /// `the manifest`, `the config`, `the extension`, `the index`.
        what: &'static str,
        /// Name or digest.
        name: String,
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl ImagesError {
    /// Whether a blob of the image is gone, or is something else than its name says.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Cache(CacheError::Digest { .. } | CacheError::TooLarge { .. }) => true,
            Self::Cache(CacheError::Io(error)) => error.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// An image, read and understood.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// Full name, if it has one.
    pub name: Option<String>,
    /// Digest of the manifest.
    pub digest: ManifestDigest,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The config as it is, fields this engine does not know included.
    pub config: Value,
    /// The config's descriptor.
    pub config_blob: Descriptor,
    /// Layers, oldest first.
    pub layers: Vec<Layer>,
    /// The extension; `None` for images that are not sealer's.
    pub extension: Option<Extension>,
}

impl StoredImage {
    /// Understands a manifest and its config.
    ///
    /// # Errors
    /// When one of them is not what it should be.
    pub fn new(
        name: Option<String>,
        manifest_digest: BlobDigest,
        manifest: ImageManifest,
        config: &[u8],
    ) -> Result<Self, ImagesError> {
        let shown = name.clone().unwrap_or_else(|| manifest_digest.to_string());
        let json = |what, reason: String| ImagesError::Json { what, name: shown.clone(), reason };
        let config_blob = oci::from_descriptor(manifest.config())
            .ok_or_else(|| json("the manifest", "its config has no SHA-256 digest".into()))?;
        let config: Value = serde_json::from_slice(config).map_err(|e| json("the config", e.to_string()))?;
        let diff_ids = config.pointer("/rootfs/diff_ids").and_then(Value::as_array);
        let diff_ids = diff_ids.map(Vec::as_slice).unwrap_or_default();
        if diff_ids.len() != manifest.layers().len() {
            return Err(json("the config", "it does not have one diff id for each layer".into()));
        }
        let layer = |(layer, diff_id): (&OciDescriptor, &Value)| -> Option<Layer> {
            let diff_id: DiffId = diff_id.as_str()?.parse().ok()?;
            let media_type = oci::layer_compression(layer.media_type())?;
            Some(Layer { diff_id, blob: oci::from_descriptor(layer)?, media_type, frames: Vec::new() })
        };
        let layers: Option<Vec<Layer>> = manifest.layers().iter().zip(diff_ids).map(layer).collect();
        let layers =
            layers.ok_or_else(|| json("the manifest", "a layer has an unknown type or digest".into()))?;
        let annotation = manifest.annotations().as_ref().and_then(|annotations| annotations.get(EXTENSION));
        let extension = annotation
            .map(|text| serde_json::from_str(text).map_err(|e| json("the extension", e.to_string())))
            .transpose()?;
        let digest = manifest_digest.into();
        Ok(Self { name, digest, manifest, config, config_blob, layers, extension })
    }

    /// Config labels.
    pub fn labels(&self) -> std::collections::BTreeMap<String, String> {
        let labels = self.config.pointer("/config/Labels").and_then(Value::as_object);
        let text =
            |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap_or_default().to_owned());
        labels.map(|labels| labels.iter().map(text).collect()).unwrap_or_default()
    }

    /// The platform its config states; Docker's tools write `v8` into those for arm64.
    pub fn platform(&self) -> Platform {
        let text = |key: &str| self.config.get(key).and_then(Value::as_str);
        let (os, architecture) = (text("os").unwrap_or_default(), text("architecture").unwrap_or_default());
        Platform::new(os, architecture, text("variant"))
    }

    /// What a build on top of it needs to know.
    pub fn as_base(&self, reference: &str) -> Base {
        let env = self.config.pointer("/config/Env").and_then(Value::as_array).into_iter().flatten();
        let pair = |text: &str| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        Base {
            reference: reference.to_owned(),
            digest: Some(self.digest),
            env: env.filter_map(Value::as_str).filter_map(pair).collect(),
            working_dir: self.config_text("WorkingDir"),
            user: self.config_text("User"),
            labels: self.labels(),
            author: self.config.get("author").and_then(Value::as_str).map(str::to_owned),
            applications: self.extension.as_ref().map(Extension::applications).unwrap_or_default(),
        }
    }

    fn config_text(&self, key: &str) -> String {
        let found = self.config.get("config").and_then(|config| config.get(key));
        found.and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// The names of a store.
#[derive(Debug, Clone, Copy)]
pub struct Images<'store> {
    store: &'store Store,
}

/// What a text means in a list of images.
struct Match {
    tagged: Tagged,
    by_name: bool,
}

impl<'store> Images<'store> {
    /// The names of a store.
    pub fn new(store: &'store Store) -> Self {
        Self { store }
    }

    /// All images, in the order they were stored.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn list(&self) -> Result<Vec<Tagged>, ImagesError> {
        index::read(self.store)
    }

    /// Finds an image by name, short name, or the first digits of its id or digest.
    ///
    /// # Errors
    /// When nothing, or more than one image, is meant.
    pub fn find(&self, asked: &str) -> Result<Tagged, ImagesError> {
        Ok(find_in(self, &self.list()?, asked)?.tagged)
    }

    /// The image of a platform: the line itself, or one of an index's images, which then has no name of its own.
    ///
    /// # Errors
    /// When an index has none for the platform.
    pub fn for_platform(&self, tagged: &Tagged, platform: &Platform) -> Result<Tagged, ImagesError> {
        if tagged.kind == ManifestKind::Image {
            return Ok(tagged.clone());
        }
        let instances = self.instances(tagged)?;
        let found = instances.iter().find(|(_, of)| of == platform).map(|(instance, _)| instance.clone());
        found.ok_or_else(|| ImagesError::Platform {
            name: shown(tagged),
            wanted: platform.clone(),
            offered: instances.into_iter().map(|(_, platform)| platform.to_string()).collect(),
        })
    }

    /// The images of an index with their platforms, in order, those of indexes in it too; attestations and the like are
    /// left out.
    ///
    /// # Errors
    /// When an index, or an image of which it does not say what it is for, cannot be read.
    pub fn instances(&self, tagged: &Tagged) -> Result<Vec<(Tagged, Platform)>, ImagesError> {
        let mut found = Vec::new();
        self.instances_below(tagged, &tagged.manifest, &mut HashSet::new(), &mut found)?;
        Ok(found)
    }

    fn instances_below(
        &self,
        tagged: &Tagged,
        index: &Descriptor,
        seen: &mut HashSet<BlobDigest>,
        found: &mut Vec<(Tagged, Platform)>,
    ) -> Result<(), ImagesError> {
        if !seen.insert(index.digest) {
            return Ok(());
        }
        let bytes = self.store.blobs().read(&index.digest, JSON_LIMIT)?;
        let index = serde_json::from_slice::<ImageIndex>(&bytes).map_err(|error| ImagesError::Json {
            what: "the index",
            name: shown(tagged),
            reason: error.to_string(),
        })?;
        for entry in index.manifests() {
            let (Some(kind), Some(manifest)) =
                (ManifestKind::of(entry.media_type()), oci::from_descriptor(entry))
            else {
                continue;
            };
            if kind == ManifestKind::Index {
                self.instances_below(tagged, &manifest, seen, found)?;
                continue;
            }
            let mut instance = Tagged::new(manifest, kind, tagged.stored_at);
            instance.is_docker = *entry.media_type() != OciMediaType::ImageManifest;
            instance.remotes.clone_from(&tagged.remotes);
            let platform = match entry.platform() {
                Some(platform) => oci::platform(platform),
                // The index need not say it, and the config does. What cannot be understood is something else than an image.
                None => match self.read(&instance) {
                    Err(ImagesError::Json { .. }) => continue,
                    image => image?.platform(),
                },
            };
            if !matches!(platform.os.as_str(), "" | "unknown") {
                found.push((instance, platform));
            }
        }
        Ok(())
    }

    /// Id and size: from the index where it has them, else from the manifest.
    ///
    /// # Errors
    /// When the manifest is needed and cannot be read.
    pub fn summary(&self, tagged: &Tagged) -> Result<Summary, ImagesError> {
        if let Some(summary) = tagged.summary {
            return Ok(summary);
        }
        if tagged.kind == ManifestKind::Index {
            let mut size = 0_u64;
            for (instance, _) in self.instances(tagged)? {
                size = size.saturating_add(self.summary(&instance)?.size);
            }
            return Ok(Summary { id: tagged.manifest.digest, size });
        }
        let manifest = self.manifest(tagged)?;
        let id = oci::from_descriptor(manifest.config()).ok_or_else(|| ImagesError::Json {
            what: "the manifest",
            name: shown(tagged),
            reason: "its config has no SHA-256 digest".into(),
        })?;
        // Sizes are stated by whoever made the image; a sum that does not fit says nothing.
        let size = manifest.layers().iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size()));
        Ok(Summary { id: id.digest, size })
    }

    /// Reads an image.
    ///
    /// # Errors
    /// When its manifest or config is missing or wrong, or it is an index.
    pub fn read(&self, tagged: &Tagged) -> Result<StoredImage, ImagesError> {
        let manifest = self.manifest(tagged)?;
        let name = shown(tagged);
        let wrong = |reason: &str| ImagesError::Json {
            what: "the manifest",
            name: name.clone(),
            reason: reason.to_owned(),
        };
        let config = oci::from_descriptor(manifest.config())
            .ok_or_else(|| wrong("its config has no SHA-256 digest"))?;
        let bytes = self.store.blobs().read(&config.digest, JSON_LIMIT)?;
        StoredImage::new(tagged.name.clone(), tagged.manifest.digest, manifest, &bytes)
    }

    fn manifest(&self, tagged: &Tagged) -> Result<ImageManifest, ImagesError> {
        let bytes = self.store.blobs().read(&tagged.manifest.digest, JSON_LIMIT)?;
        serde_json::from_slice::<ImageManifest>(&bytes).map_err(|error| ImagesError::Json {
            what: "the manifest",
            name: shown(tagged),
            reason: error.to_string(),
        })
    }
}

fn shown(tagged: &Tagged) -> String {
    tagged.name.clone().unwrap_or_else(|| tagged.manifest.digest.to_string())
}

fn find_in(images: &Images<'_>, all: &[Tagged], asked: &str) -> Result<Match, ImagesError> {
    let tried = name::candidates(asked);
    let named = |name: &str| all.iter().find(|tagged| tagged.name.as_deref() == Some(name));
    // Other tools write names that are not complete.
    if let Some(found) = tried.iter().map(String::as_str).chain([asked]).find_map(named) {
        return Ok(Match { tagged: found.clone(), by_name: true });
    }
    let not_found = |tried| Err(ImagesError::NotFound { name: asked.to_owned(), tried });
    let asked_digest = asked.rsplit_once('@').map_or(asked, |(_, digest)| digest);
    let digits = asked_digest.strip_prefix("sha256:").unwrap_or(asked_digest);
    if digits.len() < 3 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return not_found(tried);
    }
    let is_meant = |tagged: &&Tagged| {
        tagged.manifest.digest.hex().starts_with(digits)
            || images.summary(tagged).is_ok_and(|summary| summary.id.hex().starts_with(digits))
    };
    let mut meant = all.iter().filter(is_meant);
    let Some(first) = meant.next() else { return not_found(tried) };
    match meant.find(|other| other.manifest.digest != first.manifest.digest) {
        Some(other) => {
            Err(ImagesError::Ambiguous { asked: asked.to_owned(), images: vec![shown(first), shown(other)] })
        }
        None => Ok(Match { tagged: first.clone(), by_name: false }),
    }
}
