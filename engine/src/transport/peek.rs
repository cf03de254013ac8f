//! Images of an archive or a directory looked at without loading them: headers and JSON are read, layers are not.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};
use std::path::Path;

use oci_spec::image::{Descriptor as OciDescriptor, MediaType as OciMediaType};
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use super::TransportError;
use super::docker::{self, ArchivedImage};
use super::layout::{self, INDEX, METADATA};
use super::load::{Input, json_of, manifest_of};
use super::unpack::{is_nested, is_small, normal};
use crate::decompress::{Bounded, Compression, expansion_limit};
use crate::images::StoredImage;
use crate::name;
use crate::oci::{self, JSON_LIMIT};

/// Largest blob of an archive taken for JSON, in bytes; registries take no larger manifest.
const BLOB_LIMIT: u64 = 4 << 20;
/// Most JSON kept in memory, in bytes.
const TOTAL_LIMIT: u64 = 128 << 20;

/// The images of an archive or a directory, in its order. Layers are described, not checked.
///
/// # Errors
/// When it holds none, or a manifest or config of one is missing or wrong.
pub fn peek(input: &Input) -> Result<Vec<StoredImage>, TransportError> {
    let shown = input.shown();
    let parts = match (input.open()?, input) {
        (Some(file), _) => Parts::of_file(&shown, file)?,
        (None, Input::Path(dir)) => Parts::Dir(dir),
        (None, Input::Stdin) => return Err(TransportError::NoImage { input: shown }),
    };
    let mut found = parts.images(&shown)?;
    if let Parts::Archive { nested, .. } = &parts {
        for inner in nested.values() {
            found.extend(inner.images(&shown)?);
        }
        if found.is_empty() {
            return Err(TransportError::NoImage { input: shown });
        }
    }
    Ok(found)
}

/// A file that is JSON or a marker; `None` if it is not there.
pub(super) fn small_file(path: &Path) -> Result<Option<Vec<u8>>, TransportError> {
    let file = match fs_err::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(JSON_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > JSON_LIMIT {
        let (input, limit) = (path.display().to_string(), JSON_LIMIT);
        return Err(TransportError::TooLarge { input, limit, what: "JSON" });
    }
    Ok(Some(bytes))
}

enum Parts<'a> {
    Dir(&'a Path),
    Archive { json: BTreeMap<String, Vec<u8>>, sizes: BTreeMap<String, u64>, nested: BTreeMap<String, Self> },
}

impl Parts<'_> {
    fn of_file(input: &str, mut file: std::fs::File) -> Result<Self, TransportError> {
        let fail = |source| TransportError::Archive { input: input.to_owned(), source };
        let mut magic = Vec::new();
        (&mut file).take(6).read_to_end(&mut magic)?;
        let compression = Compression::of(&magic);
        let limit = expansion_limit(file.metadata()?.len());
        let mut pass = |is_list: bool| -> io::Result<Self> {
            file.rewind()?;
            let mut found = Found { is_list, total: 0 };
            if compression == Compression::None {
                let mut archive = tar::Archive::new(&mut file);
                return found.collect(archive.entries_with_seek()?, true);
            }
            let mut archive = tar::Archive::new(Bounded::new(compression.reader(&mut file)?, limit));
            found.collect(archive.entries()?, true)
        };
        let first = pass(false).map_err(fail)?;
        match &first {
            // A list that says only at its end that it is one is read again.
            Self::Archive { json, nested, .. } if json.contains_key(METADATA) && nested.is_empty() => {
                pass(true).map_err(fail)
            }
            _ => Ok(first),
        }
    }

    fn json(&self, path: &str) -> Result<Option<Vec<u8>>, TransportError> {
        match self {
            Self::Dir(dir) => small_file(&dir.join(path)),
            Self::Archive { json, .. } => Ok(json.get(path).cloned()),
        }
    }

    /// JSON that something names by digest.
    fn blob(&self, path: &str, named_by: &str, blob: &BlobDigest) -> Result<Vec<u8>, TransportError> {
        let missing = || TransportError::Missing { part: path.to_owned(), named_by: named_by.to_owned() };
        let bytes = self.json(path)?.ok_or_else(missing)?;
        let found = BlobDigest::from_bytes(Sha256::digest(&bytes).into());
        if found == *blob { Ok(bytes) } else { Err(TransportError::Digest { part: path.to_owned(), found }) }
    }

    fn images(&self, input: &str) -> Result<Vec<StoredImage>, TransportError> {
        if let Some(index) = self.json(INDEX)? {
            let mut found = Vec::new();
            self.of_index(INDEX, &index, None, &mut found)?;
            return Ok(found);
        }
        let Some(bytes) = self.json(docker::MANIFEST)? else {
            return match self {
                Self::Archive { json, .. } if json.contains_key(METADATA) => Ok(Vec::new()),
                _ => Err(TransportError::NoImage { input: input.to_owned() }),
            };
        };
        let manifest = json_of(docker::MANIFEST, &bytes)?;
        if manifest.is_array() {
            let all: Vec<ArchivedImage> = serde_json::from_value(manifest).map_err(|error| {
                TransportError::Json { part: docker::MANIFEST.to_owned(), reason: error.to_string() }
            })?;
            return all.iter().map(|one| self.archived(one)).collect();
        }
        Ok(vec![self.of_manifest(None, docker::MANIFEST, &bytes, &|digest| digest.hex())?])
    }

    fn of_index(
        &self,
        part: &str,
        bytes: &[u8],
        name: Option<&String>,
        found: &mut Vec<StoredImage>,
    ) -> Result<(), TransportError> {
        for descriptor in layout::read_index(part, bytes)?.manifests() {
            let blob = layout::ours(part, descriptor)?;
            let path = layout::blob_path(&blob.digest);
            let own = layout::name_of(descriptor);
            let name = own.as_ref().or(name);
            // Names of one image stand in several descriptors, and an index may name what is not here.
            if found.iter().any(|image| image.digest == blob.digest.into()) || self.json(&path)?.is_none() {
                continue;
            }
            let bytes = self.blob(&path, part, &blob.digest)?;
            if json_of(&path, &bytes)?["manifests"].is_array() && part == INDEX {
                self.of_index(&path, &bytes, name, found)?;
            } else {
                found.push(self.of_manifest(name.cloned(), &path, &bytes, &layout::blob_path)?);
            }
        }
        Ok(())
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
            let size = match self {
                Self::Archive { sizes, .. } => sizes.get(&normal(path.as_bytes())).copied()?,
                Self::Dir(_) => 0,
            };
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

/// What is known while an archive is read.
struct Found {
    is_list: bool,
    /// Bytes of JSON so far.
    total: u64,
}

impl Found {
    /// Reads headers and what may be JSON; everything else is passed over.
    fn collect<'r, R: Read + 'r>(
        &mut self,
        entries: tar::Entries<'r, R>,
        is_outer: bool,
    ) -> io::Result<Parts<'static>> {
        let (mut json, mut sizes, mut nested) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for entry in entries {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = normal(&entry.path_bytes());
            let size = entry.size();
            if is_outer && self.is_list && is_nested(&path) {
                let mut inner = tar::Archive::new(&mut entry as &mut dyn Read);
                nested.insert(path, self.collect(inner.entries()?, false)?);
                continue;
            }
            let may_be_json = layout::digest_of(&path).is_some() && size <= BLOB_LIMIT;
            if may_be_json || (is_small(&path) && size <= JSON_LIMIT) {
                let mut bytes = Vec::new();
                (&mut entry).take(1).read_to_end(&mut bytes)?;
                if is_small(&path) || bytes == b"{" {
                    self.total += size;
                    if self.total > TOTAL_LIMIT {
                        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it holds too much JSON"));
                    }
                    entry.read_to_end(&mut bytes)?;
                    self.is_list |= path == METADATA;
                    json.insert(path.clone(), bytes);
                }
            }
            sizes.insert(path, size);
        }
        Ok(Parts::Archive { json, sizes, nested })
    }
}
