//! Indexes put together by hand: entries are added, described and taken out, and the name moves to the new index.

use oci_spec::image::{
    Descriptor as OciDescriptor, ImageIndex, ImageIndexBuilder, MediaType as OciMediaType,
};
use solver::{BlobDigest, Descriptor, Hasher};

use super::{Images, ImagesError, ManifestKind, Tagged};
use crate::oci::{self, JSON_LIMIT};

/// An index on its way from one form to the next.
#[derive(Debug, Clone)]
pub struct Composition {
    /// Its entries and annotations.
    pub index: ImageIndex,
    /// Repositories that have blobs of its images which are not here.
    pub remotes: Vec<String>,
}

impl Default for Composition {
    fn default() -> Self {
        let index = ImageIndexBuilder::default()
            .schema_version(2_u32)
            .media_type(OciMediaType::ImageIndex)
            .manifests(Vec::new())
            .build()
            .expect("all required fields are set");
        Self { index, remotes: Vec::new() }
    }
}

impl Composition {
    /// Puts an image in; one with the same digest is replaced.
    pub fn add(&mut self, entry: OciDescriptor, of: &Tagged) {
        let mut entries = self.index.manifests().clone();
        match entries.iter_mut().find(|known| known.digest() == entry.digest()) {
            Some(known) => *known = entry,
            None => entries.push(entry),
        }
        self.index.set_manifests(entries);
        let new =
            of.remotes.iter().filter(|remote| !self.remotes.contains(remote)).cloned().collect::<Vec<_>>();
        self.remotes.extend(new);
    }

    /// The entry of a digest, to be described.
    pub fn entry(&mut self, digest: &BlobDigest) -> Option<OciDescriptor> {
        let wanted = digest.to_string();
        self.index.manifests().iter().find(|entry| entry.digest().to_string() == wanted).cloned()
    }

    /// Takes an image out. Whether it was there.
    pub fn remove(&mut self, digest: &BlobDigest) -> bool {
        let mut entries = self.index.manifests().clone();
        let count = entries.len();
        entries.retain(|entry| entry.digest().to_string() != digest.to_string());
        let is_less = entries.len() < count;
        self.index.set_manifests(entries);
        is_less
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
        let bytes = self.store.blobs().read(&tagged.manifest.digest, JSON_LIMIT)?;
        let mut index =
            serde_json::from_slice::<ImageIndex>(&bytes).map_err(|error| wrong(error.to_string()))?;
        index.set_media_type(Some(OciMediaType::ImageIndex));
        Ok(Composition { index, remotes: tagged.remotes.clone() })
    }

    /// An image as an entry of an index: what it is for stands in its config.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn entry_of(&self, instance: &Tagged) -> Result<OciDescriptor, ImagesError> {
        let image = self.read(instance)?;
        let mut platform = oci::to_platform(&image.platform());
        let text = |key: &str| image.config.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
        platform.set_os_version(text("os.version"));
        let mut entry = oci::descriptor(instance.media_type(), &instance.manifest);
        entry.set_platform(Some(platform));
        Ok(entry)
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
