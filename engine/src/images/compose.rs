//! Indexes put together by hand: entries are added, described and taken out, and the name moves to the new index.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use solver::{BlobDigest, Descriptor, Hasher, Platform};

use super::{Images, ImagesError, ManifestKind, Tagged};
use crate::oci::{self, JSON_LIMIT};

/// An index as it is written. What this engine has no word for stays in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    manifests: Vec<Entry>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// What an index says of an image or an artifact.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    media_type: String,
    digest: String,
    size: u64,
    /// What is said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_nothing")]
    pub annotations: BTreeMap<String, String>,
    /// What it is for; artifacts are for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<EntryPlatform>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// What an image of an index is for. The crate `oci-spec` has other keys than the specification here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EntryPlatform {
    /// The architecture, in Go's words.
    #[serde(default)]
    pub architecture: String,
    /// The operating system, in Go's words.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features the operating system must have.
    #[serde(default, rename = "os.features", skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Go writes `null` where there is nothing.
fn or_nothing<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An index on its way from one form to the next.
#[derive(Debug, Clone)]
pub struct Composition {
    /// Its entries and annotations.
    pub index: Index,
    /// Repositories that have blobs of its images which are not here.
    pub remotes: Vec<String>,
}

impl Default for Composition {
    fn default() -> Self {
        let media_type = ManifestKind::Index.media_type().to_string();
        let index = Index { schema_version: 2, media_type, manifests: Vec::new(), rest: BTreeMap::new() };
        Self { index, remotes: Vec::new() }
    }
}

impl Composition {
    /// Puts an image in; one with the same digest is replaced.
    pub fn add(&mut self, entry: Entry, of: &Tagged) {
        let entries = &mut self.index.manifests;
        match entries.iter_mut().find(|known| known.digest == entry.digest) {
            Some(known) => *known = entry,
            None => entries.push(entry),
        }
        let new =
            of.remotes.iter().filter(|remote| !self.remotes.contains(remote)).cloned().collect::<Vec<_>>();
        self.remotes.extend(new);
    }

    /// The entry of a digest, to be described.
    pub fn entry(&mut self, digest: &BlobDigest) -> Option<&mut Entry> {
        let wanted = digest.to_string();
        self.index.manifests.iter_mut().find(|entry| entry.digest == wanted)
    }

    /// Takes an image out. Whether it was there.
    pub fn remove(&mut self, digest: &BlobDigest) -> bool {
        let (entries, wanted) = (&mut self.index.manifests, digest.to_string());
        let count = entries.len();
        entries.retain(|entry| entry.digest != wanted);
        entries.len() < count
    }
}

impl Images<'_> {
    /// Reads an index.
    ///
    /// # Errors
    /// When it cannot be read, or is an image.
    pub fn composition(&self, tagged: &Tagged) -> Result<Composition, ImagesError> {
        let name = super::shown(tagged);
        let wrong = |reason: String| ImagesError::Json { what: "the index", name: name.clone(), reason };
        if tagged.kind == ManifestKind::Image {
            return Err(wrong("it is a single image".to_owned()));
        }
        let mut index = self.index_at(&tagged.manifest.digest, &name)?;
        index.media_type = ManifestKind::Index.media_type().to_string();
        Ok(Composition { index, remotes: tagged.remotes.clone() })
    }

    fn index_at(&self, digest: &BlobDigest, name: &str) -> Result<Index, ImagesError> {
        let bytes = self.store.blobs().read(digest, JSON_LIMIT)?;
        serde_json::from_slice::<Index>(&bytes).map_err(|error| ImagesError::Json {
            what: "the index",
            name: name.to_owned(),
            reason: error.to_string(),
        })
    }

    /// An image as an entry of an index: what it is for stands in its config.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn entry_of(&self, instance: &Tagged) -> Result<Entry, ImagesError> {
        let image = self.read(instance)?;
        let Platform { os, architecture, variant } = image.platform();
        let features = image.config.get("os.features").and_then(Value::as_array);
        let platform = EntryPlatform {
            architecture,
            os,
            os_version: image.config.get("os.version").and_then(Value::as_str).map(str::to_owned),
            os_features: features
                .map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            variant,
            rest: BTreeMap::new(),
        };
        Ok(Entry {
            media_type: instance.media_type().to_string(),
            digest: instance.manifest.digest.to_string(),
            size: instance.manifest.size,
            annotations: BTreeMap::new(),
            platform: Some(platform),
            rest: BTreeMap::new(),
        })
    }

    /// An image as an entry; of an index all its images, with what that says of them.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn entries_of(&self, tagged: &Tagged) -> Result<Vec<(Tagged, Entry)>, ImagesError> {
        if tagged.kind == ManifestKind::Image {
            return Ok(vec![(tagged.clone(), self.entry_of(tagged)?)]);
        }
        let mut said = self.said_in(tagged)?;
        let entry = |(instance, _): (Tagged, Platform)| {
            let entry = self.entry_of(&instance)?;
            let entry = match said.remove(&entry.digest) {
                Some(said) => Entry { platform: said.platform.or(entry.platform), ..said },
                None => entry,
            };
            Ok((instance, entry))
        };
        self.instances(tagged)?.into_iter().map(entry).collect()
    }

    /// The entries of an index, and of those in it, by digest.
    fn said_in(&self, tagged: &Tagged) -> Result<HashMap<String, Entry>, ImagesError> {
        let name = super::shown(tagged);
        let (mut said, mut seen) = (HashMap::new(), HashSet::new());
        let mut left = vec![tagged.manifest.digest];
        while let Some(digest) = left.pop() {
            if !seen.insert(digest) {
                continue;
            }
            for entry in self.index_at(&digest, &name)?.manifests {
                if ManifestKind::of(&entry.media_type.as_str().into()) == Some(ManifestKind::Index) {
                    left.extend(entry.digest.parse::<BlobDigest>().ok());
                } else {
                    said.entry(entry.digest.clone()).or_insert(entry);
                }
            }
        }
        Ok(said)
    }

    /// Changes the index of a name, or makes one, while nobody else does.
    ///
    /// # Errors
    /// What `change` returns, or when the store fails; then the name leads where it did.
    pub fn compose<E: From<ImagesError>>(
        &self,
        name: &str,
        now: i64,
        change: impl FnOnce(Option<Composition>) -> Result<Composition, E>,
    ) -> Result<Descriptor, E> {
        let mut hasher = Hasher::new("index of a name");
        hasher.bytes(name.as_bytes());
        let fail = |error: cache::CacheError| E::from(ImagesError::from(error));
        let _alone = self.store.lock_work(&hasher.finish(), &|| false).map_err(fail)?;
        let old = self.list()?.into_iter().find(|line| line.name.as_deref() == Some(name));
        let before = old.as_ref().map(|line| self.composition(line)).transpose()?;
        let composition = change(before)?;
        let blob = self.store.blobs().put(&oci::canonical(&composition.index)).map_err(fail)?;
        let line = Tagged { remotes: composition.remotes, ..Tagged::new(blob, ManifestKind::Index, now) };
        self.store.commit::<ImagesError>(|| {
            self.put(&[name.to_owned()], line)?;
            // A form between two others is nothing anybody wants to see.
            self.remove_where(|line| {
                line.name.is_none() && old.as_ref().is_some_and(|old| old.manifest == line.manifest)
            })?;
            Ok(())
        })?;
        Ok(blob)
    }
}
