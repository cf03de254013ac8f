//! What the images of an archive are: their names, their manifests, and where their blobs are.

use std::collections::BTreeMap;

use oci_spec::image::{Descriptor as OciDescriptor, MediaType as OciMediaType};
use serde_json::Value;
use solver::{BlobDigest, Descriptor, DiffId, MediaType, Platform};

use super::Places;
use crate::decompress::Compression;
use crate::images::{ManifestKind, StoredImage};
use crate::oci;
use crate::registry::{RawManifest, Reference, RegistryError};
use crate::transport::TransportError;
use crate::transport::docker::{self, ArchivedImage};
use crate::transport::layout::{self, INDEX};
use crate::transport::load::{json_of, manifest_of};
use crate::transport::parts::{Part, Parts};
use crate::transport::unpack::normal;

/// Digests of layers and of what is in them, by the paths of the layers.
pub(super) type Hashed = BTreeMap<String, (Descriptor, DiffId)>;

/// An image of the archive.
struct Found {
    digest: BlobDigest,
    names: Vec<Reference>,
    /// A word that would be a tag, if there were a name.
    tag: Option<String>,
    /// Known of the images of a list.
    platform: Option<Platform>,
}

pub(super) struct Reader<'a> {
    shown: &'a str,
    hashed: &'a Hashed,
    found: Vec<Found>,
    pub(super) manifests: BTreeMap<BlobDigest, RawManifest>,
    pub(super) blobs: Places,
}

impl<'a> Reader<'a> {
    pub(super) fn new(shown: &'a str, hashed: &'a Hashed) -> Self {
        Self { shown, hashed, found: Vec::new(), manifests: BTreeMap::new(), blobs: Places::new() }
    }

    /// A part in messages.
    fn part(&self, path: &str) -> String {
        format!("{}: {path}", self.shown)
    }

    /// Reads the images of an archive. With a prefix it is one of a list, and the prefix is its path.
    pub(super) fn images(&mut self, prefix: &str, parts: &Parts) -> Result<(), TransportError> {
        if let Some(index) = parts.json(INDEX)? {
            for (digest, (path, size)) in parts.blobs()? {
                self.blobs.entry(digest).or_insert_with(|| (format!("{prefix}{path}"), size));
            }
            return self.of_index(prefix, parts, &index);
        }
        match archived_images(self.shown, parts)? {
            Some(all) => all.iter().try_for_each(|one| self.archived(prefix, parts, one)),
            None => Err(self.unnamed("the image of a `dir:` directory".to_owned())),
        }
    }

    fn unnamed(&self, what: String) -> TransportError {
        TransportError::Unnamed { what, archive: self.shown.to_owned() }
    }

    fn of_index(&mut self, prefix: &str, parts: &Parts, index: &[u8]) -> Result<(), TransportError> {
        let part = self.part(INDEX);
        let mut places: BTreeMap<BlobDigest, usize> = BTreeMap::new();
        for descriptor in layout::read_index(&part, index)?.manifests() {
            let digest = layout::ours(&part, descriptor)?.digest;
            self.reach(parts, &part, descriptor)?;
            let place = *places.entry(digest).or_insert(self.found.len());
            if place == self.found.len() {
                let platform = if prefix.is_empty() { None } else { self.platform(parts, &digest)? };
                self.found.push(Found { digest, names: Vec::new(), tag: None, platform });
            }
            // Names of one image stand in several descriptors.
            match layout::reference_of(descriptor) {
                Ok(name) => self.found[place].names.extend(name),
                Err(tag) => self.found[place].tag = Some(tag),
            }
        }
        Ok(())
    }

    /// Keeps a manifest, and what an index names as far as it is here.
    fn reach(&mut self, parts: &Parts, named_by: &str, top: &OciDescriptor) -> Result<(), TransportError> {
        let top_digest = layout::ours(named_by, top)?.digest;
        let mut left = vec![top.clone()];
        while let Some(descriptor) = left.pop() {
            let Some(blob) = oci::from_descriptor(&descriptor) else { continue };
            if self.manifests.contains_key(&blob.digest) {
                continue;
            }
            let Some(manifest) = self.manifest(parts, &descriptor, &blob)? else {
                if blob.digest == top_digest {
                    let part = layout::blob_path(&blob.digest);
                    return Err(TransportError::Missing { part, named_by: named_by.to_owned() });
                }
                continue;
            };
            if manifest.kind == ManifestKind::Index {
                let part = self.part(&layout::blob_path(&blob.digest));
                let below = layout::read_index(&part, &manifest.bytes)?;
                let is_image = |entry: &&OciDescriptor| ManifestKind::of(entry.media_type()).is_some();
                left.extend(below.manifests().iter().filter(is_image).cloned());
            }
            self.manifests.insert(blob.digest, manifest);
        }
        Ok(())
    }

    /// A manifest or an index as it is; `None` if it is not here.
    fn manifest(
        &self,
        parts: &Parts,
        descriptor: &OciDescriptor,
        blob: &Descriptor,
    ) -> Result<Option<RawManifest>, TransportError> {
        let path = layout::blob_path(&blob.digest);
        let part = self.part(&path);
        let Some(bytes) = parts.json(&path)? else {
            let reason = "it is no manifest, or larger than any registry takes".to_owned();
            return match parts.file(&path)? {
                Some(_) => Err(TransportError::Json { part, reason }),
                None => Ok(None),
            };
        };
        let found = oci::described(&bytes);
        if found.digest != blob.digest {
            return Err(TransportError::Digest { part, found: found.digest });
        }
        if found.size != blob.size {
            return Err(TransportError::Size { part, expected: blob.size, found: found.size });
        }
        self.raw(part, bytes, descriptor.media_type()).map(Some)
    }

    fn raw(
        &self,
        part: String,
        bytes: Vec<u8>,
        media_type: &OciMediaType,
    ) -> Result<RawManifest, TransportError> {
        RawManifest::new(&part, bytes, Some(media_type.as_ref())).map_err(|error| match error {
            RegistryError::Json { reason, .. } => TransportError::Json { part, reason },
            other => TransportError::Json { part, reason: other.to_string() },
        })
    }

    /// The platform an image's config states; `None` for an index.
    fn platform(&self, parts: &Parts, digest: &BlobDigest) -> Result<Option<Platform>, TransportError> {
        let manifest = &self.manifests[digest];
        if manifest.kind == ManifestKind::Index {
            return Ok(None);
        }
        let part = self.part(&layout::blob_path(digest));
        let read = manifest_of(&part, &manifest.bytes)?;
        let config = layout::ours(&part, read.config())?.digest;
        let config = parts.blob(&layout::blob_path(&config), &part, &config)?;
        Ok(Some(StoredImage::new(None, *digest, read, &config)?.platform()))
    }

    /// An image of a `docker save` archive: the manifest is made here. What an uncompressed layer is, its diff id says.
    fn archived(&mut self, prefix: &str, parts: &Parts, image: &ArchivedImage) -> Result<(), TransportError> {
        let named_by = self.part(docker::MANIFEST);
        let missing =
            |path: &str| TransportError::Missing { part: path.to_owned(), named_by: named_by.clone() };
        let config_path = normal(image.config.as_bytes());
        let config = parts.json(&config_path)?.ok_or_else(|| missing(&config_path))?;
        let (config_path, _) = parts.file(&config_path)?.ok_or_else(|| missing(&config_path))?;
        let diff_ids = diff_ids(&self.part(&config_path), &config, image.layers.len())?;
        let mut layers = Vec::new();
        for (layer, diff_id) in image.layers.iter().zip(diff_ids) {
            let path = normal(layer.as_bytes());
            let (path, part) = parts.file(&path)?.ok_or_else(|| missing(&path))?;
            let path = format!("{prefix}{path}");
            let (media_type, blob) = self.layer(&path, part, diff_id)?;
            layers.push(oci::descriptor(oci::layer_media_type(media_type), &blob));
            self.blobs.insert(blob.digest, (path, blob.size));
        }
        let config_blob = oci::described(&config);
        self.blobs.insert(config_blob.digest, (format!("{prefix}{config_path}"), config_blob.size));
        let manifest = docker::oci_manifest(oci::descriptor(OciMediaType::ImageConfig, &config_blob), layers);
        let digest = oci::described(&manifest).digest;
        let platform = match prefix {
            "" => None,
            _ => {
                Some(StoredImage::new(None, digest, manifest_of(&named_by, &manifest)?, &config)?.platform())
            }
        };
        self.manifests.insert(digest, self.raw(named_by, manifest, &OciMediaType::ImageManifest)?);
        let names = image.repo_tags.iter().flatten().filter_map(|tag| Reference::parse(tag).ok());
        self.found.push(Found { digest, names: names.collect(), tag: None, platform });
        Ok(())
    }

    /// A layer as it is in the archive.
    fn layer(
        &self,
        path: &str,
        part: Part,
        diff_id: DiffId,
    ) -> Result<(MediaType, Descriptor), TransportError> {
        let media_type = match part.compression {
            Compression::None => {
                let digest = BlobDigest::from_bytes(*diff_id.as_bytes());
                return Ok((MediaType::Tar, Descriptor { digest, size: part.size }));
            }
            Compression::Gzip => MediaType::TarGzip,
            Compression::Zstd => MediaType::TarZstd,
            Compression::Bzip2 | Compression::Xz => {
                let what = "a layer in a compression that no manifest has a word for".to_owned();
                return Err(TransportError::Unsupported { part: self.part(path), what });
            }
        };
        let part = self.part(path);
        match self.hashed.get(path) {
            Some((blob, found)) if *found == diff_id => Ok((media_type, *blob)),
            Some((_, found)) => Err(TransportError::DiffId { part, expected: diff_id, found: *found }),
            // A file of a directory that has changed meanwhile.
            None => Err(TransportError::Missing { part, named_by: self.part(docker::MANIFEST) }),
        }
    }

    /// Makes one image for several platforms of the images of a list, as `load` does. Those with names keep them.
    pub(super) fn join(&mut self, name: &str) -> Result<(), TransportError> {
        let entry = |found: &Found| {
            let platform = oci::to_platform(found.platform.as_ref()?);
            let mut entry = oci::descriptor(OciMediaType::ImageManifest, &self.manifests[&found.digest].blob);
            entry.set_platform(Some(platform));
            Some(entry)
        };
        let entries: Vec<OciDescriptor> = self.found.iter().filter_map(entry).collect();
        if entries.is_empty() {
            return Err(TransportError::NoImage { input: self.shown.to_owned() });
        }
        let index = layout::index(entries);
        let digest = oci::described(&index).digest;
        self.manifests.insert(digest, self.raw(self.part("the list"), index, &OciMediaType::ImageIndex)?);
        self.found.retain(|found| !found.names.is_empty());
        let names = Reference::parse(name).into_iter().collect();
        self.found.push(Found { digest, names, tag: None, platform: None });
        Ok(())
    }

    /// The images by their names; each must have one.
    pub(super) fn named(&mut self) -> Result<Vec<(Reference, BlobDigest)>, TransportError> {
        let mut named = Vec::new();
        for Found { digest, names, tag, .. } in std::mem::take(&mut self.found) {
            if names.is_empty() {
                let tag = tag.map_or(String::new(), |tag| format!(", with the tag `{tag}` alone,"));
                return Err(self.unnamed(format!("image `{digest}`{tag}")));
            }
            if let Some(name) = names.iter().find(|name| name.digest.is_some_and(|stated| stated != digest)) {
                return Err(TransportError::Digest { part: self.part(&name.to_string()), found: digest });
            }
            named.extend(names.into_iter().map(|name| (name, digest)));
        }
        Ok(named)
    }
}

/// The images of a `docker save` archive; `None` for a `dir:` directory.
fn archived_images(shown: &str, parts: &Parts) -> Result<Option<Vec<ArchivedImage>>, TransportError> {
    let Some(bytes) = parts.json(docker::MANIFEST)? else {
        return Err(TransportError::NoImage { input: shown.to_owned() });
    };
    docker::archived_images(&format!("{shown}: {}", docker::MANIFEST), &bytes)
}

/// The layers whose digests nothing tells: those that Docker's archives have compressed.
pub(super) fn compressed_layers(
    shown: &str,
    parts: &Parts,
) -> Result<BTreeMap<String, Part>, TransportError> {
    let mut found = BTreeMap::new();
    if parts.json(INDEX)?.is_some() {
        return Ok(found);
    }
    for image in archived_images(shown, parts)?.unwrap_or_default() {
        for layer in &image.layers {
            if let Some((path, part)) = parts.file(&normal(layer.as_bytes()))?
                && matches!(part.compression, Compression::Gzip | Compression::Zstd)
            {
                found.insert(path, part);
            }
        }
    }
    Ok(found)
}

/// The diff ids of a config, one for each layer.
fn diff_ids(part: &str, config: &[u8], layers: usize) -> Result<Vec<DiffId>, TransportError> {
    let json = json_of(part, config)?;
    let stated = json["rootfs"]["diff_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
    let read: Option<Vec<DiffId>> = stated.iter().map(|id: &Value| id.as_str()?.parse().ok()).collect();
    let one_each = read.filter(|ids| ids.len() == layers);
    let reason = "it does not have one diff id for each layer".to_owned();
    one_each.ok_or_else(|| TransportError::Json { part: part.to_owned(), reason })
}
