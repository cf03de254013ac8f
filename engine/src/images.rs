//! The images of a store: names in `index.json`, manifests and configs behind them.
//!
//! Readers take no lock: the file is replaced whole. Writers re-read, change and rename it under `index.lock`. A tag
//! that moves leaves the old image without a name.

use std::io::Write;

use cache::{CacheError, IndexLock, Store};
use oci_spec::image::{
    Descriptor as OciDescriptor, ImageIndex, ImageIndexBuilder, ImageManifest, MediaType as OciMediaType,
};
use serde_json::Value;
use solver::{Base, Descriptor, DiffId, Layer, ManifestDigest, Platform};
use thiserror::Error;

use crate::extension::Extension;
use crate::oci::{self, EXTENSION, JSON_LIMIT, REF_NAME, STORED_AT};

/// An image of the store that cannot be used.
#[derive(Debug, Error)]
pub enum ImagesError {
    /// Nothing has that name.
    #[error("`{name}`: image not known")]
    NotFound {
        /// As asked for.
        name: String,
    },
    /// The name is not one.
    #[error("`{name}` is not an image name: {reason}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong.
        reason: &'static str,
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

/// One line of the store's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// Full name; `None` for an image whose tag moved on.
    pub name: Option<String>,
    /// The manifest.
    pub manifest: Descriptor,
    /// When it was stored, in seconds since 1970.
    pub stored_at: i64,
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
    /// Config labels.
    pub fn labels(&self) -> std::collections::BTreeMap<String, String> {
        let labels = self.config.pointer("/config/Labels").and_then(Value::as_object);
        let text =
            |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap_or_default().to_owned());
        labels.map(|labels| labels.iter().map(text).collect()).unwrap_or_default()
    }

    /// The platform its config states.
    pub fn platform(&self) -> Platform {
        let text = |key: &str| self.config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let variant = Some(text("variant")).filter(|variant| !variant.is_empty());
        Platform { os: text("os"), architecture: text("architecture"), variant }
    }

    /// What a build on top of it needs to know.
    pub fn as_base(&self, reference: &str) -> Base {
        let env = self.config.pointer("/config/Env").and_then(Value::as_array).into_iter().flatten();
        let pair = |text: &str| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        Base {
            reference: reference.to_owned(),
            digest: Some(self.digest),
            env: env.filter_map(Value::as_str).filter_map(pair).collect(),
            labels: self.labels(),
            author: self.config.get("author").and_then(Value::as_str).map(str::to_owned),
            applications: self.extension.as_ref().map(Extension::applications).unwrap_or_default(),
        }
    }
}

/// The names of a store.
#[derive(Debug, Clone, Copy)]
pub struct Images<'store> {
    store: &'store Store,
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
        Ok(self.index()?.iter().flat_map(ImageIndex::manifests).filter_map(tagged).collect())
    }

    /// Finds an image by name, short name, or the first digits of its id or digest.
    ///
    /// # Errors
    /// When nothing, or more than one image, is meant.
    pub fn find(&self, asked: &str) -> Result<Tagged, ImagesError> {
        let all = self.list()?;
        for name in candidates(asked)? {
            if let Some(found) = all.iter().find(|tagged| tagged.name.as_deref() == Some(name.as_str())) {
                return Ok(found.clone());
            }
        }
        let digits = asked.strip_prefix("sha256:").unwrap_or(asked);
        let not_found = || ImagesError::NotFound { name: asked.to_owned() };
        if digits.len() < 3 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let by_digest = |tagged: &&Tagged| {
            tagged.manifest.digest.hex().starts_with(digits)
                || self
                    .manifest(tagged)
                    .is_ok_and(|manifest| manifest.config().digest().digest().starts_with(digits))
        };
        all.iter().find(by_digest).cloned().ok_or_else(not_found)
    }

    /// Reads an image.
    ///
    /// # Errors
    /// When its manifest or config is missing or wrong.
    pub fn read(&self, tagged: &Tagged) -> Result<StoredImage, ImagesError> {
        let manifest = self.manifest(tagged)?;
        let name = tagged.name.clone().unwrap_or_else(|| tagged.manifest.digest.to_string());
        let json = |what, reason: String| ImagesError::Json { what, name: name.clone(), reason };
        let config_blob = oci::from_descriptor(manifest.config())
            .ok_or_else(|| json("the manifest", "its config has no SHA-256 digest".into()))?;
        let bytes = self.store.blobs().read(&config_blob.digest, JSON_LIMIT)?;
        let config: Value = serde_json::from_slice(&bytes).map_err(|e| json("the config", e.to_string()))?;
        let diff_ids =
            config.pointer("/rootfs/diff_ids").and_then(Value::as_array).cloned().unwrap_or_default();
        if diff_ids.len() != manifest.layers().len() {
            return Err(json("the config", "it does not have one diff id for each layer".into()));
        }
        let layer = |(layer, diff_id): (&OciDescriptor, &Value)| -> Option<Layer> {
            let diff_id: DiffId = diff_id.as_str()?.parse().ok()?;
            let media_type = oci::layer_compression(layer.media_type())?;
            Some(Layer { diff_id, blob: oci::from_descriptor(layer)?, media_type, frames: Vec::new() })
        };
        let layers: Option<Vec<Layer>> = manifest.layers().iter().zip(&diff_ids).map(layer).collect();
        let layers =
            layers.ok_or_else(|| json("the manifest", "a layer has an unknown type or digest".into()))?;
        let annotation = manifest.annotations().as_ref().and_then(|annotations| annotations.get(EXTENSION));
        let extension = annotation
            .map(|text| serde_json::from_str(text).map_err(|e| json("the extension", e.to_string())))
            .transpose()?;
        let digest = tagged.manifest.digest.into();
        Ok(StoredImage {
            name: tagged.name.clone(),
            digest,
            manifest,
            config,
            config_blob,
            layers,
            extension,
        })
    }

    /// Gives a manifest names; images that had them lose them. A name that is right already changes nothing.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn tag(&self, names: &[String], manifest: &Descriptor, now: i64) -> Result<(), ImagesError> {
        let is_right = |all: &[Tagged], name: &String| {
            all.iter().any(|tagged| tagged.name.as_ref() == Some(name) && tagged.manifest == *manifest)
        };
        let all = self.list()?;
        if names.iter().all(|name| is_right(&all, name))
            && (!names.is_empty() || all.iter().any(|tagged| tagged.manifest == *manifest))
        {
            return Ok(());
        }
        let _lock = IndexLock::acquire(self.store.root())?;
        let mut all = self.list()?;
        for tagged in &mut all {
            if tagged.name.as_ref().is_some_and(|name| names.contains(name)) {
                tagged.name = None;
            }
        }
        let named = |digest| all.iter().any(|other| other.name.is_some() && other.manifest.digest == digest);
        let mut kept: Vec<Tagged> = Vec::new();
        for tagged in &all {
            let digest = tagged.manifest.digest;
            let replaced = tagged.name.is_none()
                && (digest == manifest.digest
                    || named(digest)
                    || kept.iter().any(|other| other.name.is_none() && other.manifest.digest == digest));
            if !replaced {
                kept.push(tagged.clone());
            }
        }
        let new = |name| Tagged { name, manifest: *manifest, stored_at: now };
        if names.is_empty() {
            kept.push(new(None));
        }
        kept.extend(names.iter().map(|name| new(Some(name.clone()))));
        self.write(&kept)
    }

    fn manifest(&self, tagged: &Tagged) -> Result<ImageManifest, ImagesError> {
        let bytes = self.store.blobs().read(&tagged.manifest.digest, JSON_LIMIT)?;
        ImageManifest::from_reader(bytes.as_slice()).map_err(|error| ImagesError::Json {
            what: "the manifest",
            name: tagged.name.clone().unwrap_or_else(|| tagged.manifest.digest.to_string()),
            reason: error.to_string(),
        })
    }

    fn index(&self) -> Result<Option<ImageIndex>, ImagesError> {
        let path = self.store.root().join("index.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = fs_err::read(&path).map_err(CacheError::Io)?;
        let index = ImageIndex::from_reader(text.as_slice()).map_err(|error| ImagesError::Json {
            what: "the index",
            name: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Some(index))
    }

    fn write(&self, all: &[Tagged]) -> Result<(), ImagesError> {
        let manifests = all.iter().map(|tagged| {
            let mut descriptor = oci::descriptor(OciMediaType::ImageManifest, &tagged.manifest);
            let mut annotations =
                std::collections::HashMap::from([(STORED_AT.to_owned(), tagged.stored_at.to_string())]);
            annotations.extend(tagged.name.clone().map(|name| (REF_NAME.to_owned(), name)));
            descriptor.set_annotations(Some(annotations));
            descriptor
        });
        let index = ImageIndexBuilder::default()
            .schema_version(2_u32)
            .media_type(OciMediaType::ImageIndex)
            .manifests(manifests.collect::<Vec<_>>())
            .build()
            .expect("all required fields are set");
        let path = self.store.root().join("index.json");
        let tmp = self.store.tmp_dir()?.join("index.json");
        let write = || -> std::io::Result<()> {
            let mut file = fs_err::File::create(&tmp)?;
            file.write_all(&oci::canonical(&index))?;
            file.sync_all()?;
            fs_err::rename(&tmp, &path)
        };
        Ok(write().map_err(CacheError::Io)?)
    }
}

fn tagged(descriptor: &OciDescriptor) -> Option<Tagged> {
    let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key)).cloned();
    Some(Tagged {
        name: annotation(REF_NAME),
        manifest: oci::from_descriptor(descriptor)?,
        stored_at: annotation(STORED_AT).and_then(|seconds| seconds.parse().ok()).unwrap_or(0),
    })
}

/// The full name an image is stored under: `localhost/` before short names, `:latest` where no tag is given.
///
/// # Errors
/// When it is not a name by the rules of the distribution spec.
pub fn full_name(name: &str) -> Result<String, ImagesError> {
    let fail = |reason| ImagesError::Name { name: name.to_owned(), reason };
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    if name.contains('@') {
        return Err(fail("a digest cannot be given to a new image"));
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if let Some(tag) = tag
        && (tag.is_empty()
            || tag.len() > 128
            || !tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
            || !word(tag.as_bytes()[0]))
    {
        return Err(fail("the tag may have letters, digits, `_`, `.` and `-` only, 128 at most"));
    }
    let (domain, rest) = split_domain(path);
    if !domain.is_none_or(is_domain) {
        return Err(fail("what stands before the first `/` is not a host"));
    }
    let good = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        !part.is_empty()
            && part.bytes().all(|b| inner(b) || matches!(b, b'.' | b'_' | b'-'))
            && part.bytes().next().is_some_and(inner)
            && part.bytes().last().is_some_and(inner)
    };
    if !rest.split('/').all(good) {
        return Err(fail(
            "each part may have lower-case letters, digits and single `.`, `_`, `-` between them only",
        ));
    }
    Ok(format!("{}/{rest}:{}", domain.unwrap_or("localhost"), tag.unwrap_or("latest")))
}

/// `host[:port]` (distribution's grammar).
fn is_domain(domain: &str) -> bool {
    let (host, port) = domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        edge(label.bytes().next())
            && edge(label.bytes().last())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// The domain of a name, if its first part looks like one (distribution's rule).
fn split_domain(path: &str) -> (Option<&str>, &str) {
    match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, path),
    }
}

/// Names a short name may stand for, best first.
fn candidates(asked: &str) -> Result<Vec<String>, ImagesError> {
    let Ok(local) = full_name(asked) else { return Ok(Vec::new()) };
    let mut names = vec![local];
    if split_domain(asked).0.is_none() {
        let library = if asked.contains('/') { "" } else { "library/" };
        names.extend(full_name(&format!("docker.io/{library}{asked}")));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        for (given, full) in [
            ("app", "localhost/app:latest"),
            ("app:1.0", "localhost/app:1.0"),
            ("team/app", "localhost/team/app:latest"),
            ("quay.io/team/app:v1", "quay.io/team/app:v1"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
        ] {
            assert_eq!(full_name(given).unwrap(), full);
        }
        for wrong in ["", "App", "a//b", "a:", "a:b c", "../x", "a@sha256:00", "-a"] {
            assert!(full_name(wrong).is_err(), "{wrong}");
        }
    }
}
