//! Images of an archive or a directory looked at without loading them: headers and JSON are read, layers are not.

use std::collections::HashSet;

use oci_spec::image::{Descriptor as OciDescriptor, MediaType as OciMediaType};
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use super::TransportError;
use super::docker::{self, ArchivedImage};
use super::layout::{self, INDEX};
use super::load::{Input, check_depth, json_of, manifest_of};
use super::parts::{Looked, Parts};
use super::unpack::normal;
use crate::cancel::Cancel;
use crate::images::StoredImage;
use crate::name;
use crate::oci;

/// The images of an archive or a directory, in its order. Layers are described, not checked.
///
/// # Errors
/// When it holds none, or a manifest or config of one is missing or wrong.
pub fn peek(input: &Input) -> Result<Vec<StoredImage>, TransportError> {
    let shown = input.shown();
    let looked = match (input.open()?, input) {
        (Some(mut file), _) => Looked::of_file(&shown, &mut file, &Cancel::new())?,
        (None, Input::Path(dir)) => Looked::of_dir(dir),
        (None, Input::Stdin) => return Err(TransportError::NoImage { input: shown }),
    };
    if looked.list_name().is_none() {
        return looked.parts.images(&shown);
    }
    let mut found = Vec::new();
    for (_, inner) in &looked.nested {
        found.extend(inner.images(&shown)?);
    }
    if found.is_empty() { Err(TransportError::NoImage { input: shown }) } else { Ok(found) }
}

impl Parts {
    fn images(&self, input: &str) -> Result<Vec<StoredImage>, TransportError> {
        if let Some(index) = self.json(INDEX)? {
            let mut search = Search { parts: self, seen: HashSet::new(), found: Vec::new(), other: None };
            search.index(INDEX, &index, None, 0)?;
            return match search.other {
                Some(error) if search.found.is_empty() => Err(error),
                _ => Ok(search.found),
            };
        }
        let Some(bytes) = self.json(docker::MANIFEST)? else {
            return Err(TransportError::NoImage { input: input.to_owned() });
        };
        match docker::archived_images(docker::MANIFEST, &bytes)? {
            Some(all) => all.iter().map(|one| self.archived(one)).collect(),
            None => Ok(vec![self.of_manifest(None, docker::MANIFEST, &bytes, &|digest| digest.hex())?]),
        }
    }

    fn of_manifest(
        &self,
        name: Option<String>,
        part: &str,
        bytes: &[u8],
        path_of: &dyn Fn(&BlobDigest) -> String,
    ) -> Result<StoredImage, TransportError> {
        let json = json_of(part, bytes)?;
        let bytes = if docker::is_schema_2(&json) { docker::to_oci(part, &json)? } else { bytes.to_vec() };
        let manifest = manifest_of(part, &bytes)?;
        let config = layout::ours(part, manifest.config())?.digest;
        let config = self.blob(&path_of(&config), part, &config)?;
        let digest = BlobDigest::from_bytes(Sha256::digest(&bytes).into());
        Ok(StoredImage::new(name, digest, manifest, &config)?)
    }

    /// An image of a `docker save` archive: its layers are taken for what the config says they are.
    fn archived(&self, image: &ArchivedImage) -> Result<StoredImage, TransportError> {
        let path = normal(image.config.as_bytes());
        let missing =
            || TransportError::Missing { part: path.clone(), named_by: docker::MANIFEST.to_owned() };
        let config = self.json(&path)?.ok_or_else(missing)?;
        let json = json_of(&path, &config)?;
        let diff_ids = json["rootfs"]["diff_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
        let layer = |(path, diff_id): (&String, &serde_json::Value)| -> Option<OciDescriptor> {
            let digest = diff_id.as_str()?.parse().ok()?;
            let size = self.file(&normal(path.as_bytes())).ok()??.1.size;
            Some(oci::descriptor(OciMediaType::ImageLayer, &Descriptor { digest, size }))
        };
        let layers = image.layers.iter().zip(diff_ids).filter_map(layer).collect();
        let blob = Descriptor {
            digest: BlobDigest::from_bytes(Sha256::digest(&config).into()),
            size: config.len() as u64,
        };
        let manifest = docker::oci_manifest(oci::descriptor(OciMediaType::ImageConfig, &blob), layers);
        let digest = BlobDigest::from_bytes(Sha256::digest(&manifest).into());
        let name = image.repo_tags.iter().flatten().find_map(|tag| name::docker_name(tag).ok());
        Ok(StoredImage::new(name, digest, manifest_of(docker::MANIFEST, &manifest)?, &config)?)
    }
}

/// Looks for the images of an index, and of those in it. Attestations, artifacts and the like are no images.
struct Search<'p> {
    parts: &'p Parts,
    /// What was looked at: the names of one image stand in several descriptors, and indexes may name each other's.
    seen: HashSet<BlobDigest>,
    found: Vec<StoredImage>,
    /// Why something is no image, for where there is nothing else.
    other: Option<TransportError>,
}

impl Search<'_> {
    fn index(
        &mut self,
        part: &str,
        bytes: &[u8],
        name: Option<&String>,
        depth: usize,
    ) -> Result<(), TransportError> {
        for descriptor in layout::read_index(part, bytes)?.manifests() {
            let blob = layout::ours(part, descriptor)?;
            let path = layout::blob_path(&blob.digest);
            let own = layout::name_of(descriptor);
            let name = own.as_ref().or(name);
            // An index may name what is not here.
            if !self.seen.insert(blob.digest) || self.parts.json(&path)?.is_none() {
                continue;
            }
            let bytes = self.parts.blob(&path, part, &blob.digest)?;
            if json_of(&path, &bytes)?["manifests"].is_array() {
                check_depth(&path, depth)?;
                self.index(&path, &bytes, name, depth + 1)?;
                continue;
            }
            match self.parts.of_manifest(name.cloned(), &path, &bytes, &layout::blob_path) {
                Ok(image) => self.found.push(image),
                // Of JSON in archives only an image's is kept.
                Err(error @ (TransportError::Images(_) | TransportError::Missing { .. })) => {
                    self.other.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
