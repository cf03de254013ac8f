//! `load`: archives and directories become images of the store. Every digest is checked, of blobs and of what is in
//! them, before anything gets a name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cache::Store;
use oci_spec::image::{Descriptor as OciDescriptor, ImageManifest, MediaType as OciMediaType};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use super::TransportError;
use super::docker::{self, ArchivedImage};
use super::intake::{Intake, Taken};
use super::layout::{self, INDEX, METADATA};
use super::unpack::{self, Archive};
use crate::cancel::Cancel;
use crate::images::{Images, ManifestKind, StoredImage};
use crate::name;
use crate::oci::{self, JSON_LIMIT};

/// Indexes in indexes followed.
const DEPTH_LIMIT: usize = 4;

/// What is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// An archive or a directory.
    Path(PathBuf),
}

impl Input {
    /// What it is called in messages.
    pub fn shown(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::Path(path) => path.display().to_string(),
        }
    }

    /// The file, open; `None` for a directory.
    pub(super) fn open(&self) -> Result<Option<std::fs::File>, TransportError> {
        match self {
            Self::Stdin => Ok(Some(rustix::io::dup(std::io::stdin()).map_err(std::io::Error::from)?.into())),
            Self::Path(path) if path.is_dir() => Ok(None),
            Self::Path(path) => Ok(Some(fs_err::File::open(path)?.into_parts().0)),
        }
    }
}

/// How images are loaded.
#[expect(missing_debug_implementations, reason = "a function has nothing to show")]
pub struct Load<'a> {
    /// More names for the one image.
    pub names: &'a [String],
    /// The time of the names, in seconds since 1970.
    pub now: i64,
    /// Stops it.
    pub cancel: &'a Cancel,
    /// Hears how many more bytes of blobs were read.
    pub progress: &'a dyn Fn(u64),
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its full names.
    pub names: Vec<String>,
    /// The manifest, or the index of several.
    pub manifest: Descriptor,
    /// Which of the two.
    pub kind: ManifestKind,
}

/// Loads every image of an input and names it: with its own names, and with those given where there is one image.
///
/// # Errors
/// When anything is missing or is not what its digest says; then nothing has changed.
pub fn load(store: &Store, input: &Input, load: &Load<'_>) -> Result<Vec<Loaded>, TransportError> {
    let (names, now) = (load.names, load.now);
    let intake = Intake::new(store, load.cancel, load.progress);
    let shown = input.shown();
    let mut loaded = match take_in(input, &shown, &intake) {
        // What a reader that was stopped says is not the input's fault.
        Err(_) if load.cancel.is_cancelled() => return Err(TransportError::Cancelled),
        loaded => loaded?,
    };
    if let [only] = loaded.as_mut_slice() {
        only.names
            .extend(names.iter().filter(|name| !only.names.contains(name)).cloned().collect::<Vec<_>>());
    } else if !names.is_empty() {
        return Err(TransportError::Unsupported {
            part: shown,
            what: format!("{} images for one name", loaded.len()),
        });
    }
    intake.discard_needless();
    let images = Images::new(store);
    store.commit::<TransportError>(|| {
        loaded.iter().try_for_each(|one| Ok(images.tag(&one.names, &one.manifest, one.kind, now)?))
    })?;
    Ok(loaded)
}

fn take_in(input: &Input, shown: &str, intake: &Intake<'_>) -> Result<Vec<Loaded>, TransportError> {
    match (input.open()?, input) {
        (Some(file), _) => {
            let goes_on = || intake.cancel.goes_on();
            let opened = unpack::open(file, &goes_on)
                .map_err(|source| TransportError::Archive { input: shown.to_owned(), source })?;
            let archive = unpack::unpack(shown, opened, intake)?;
            of_archive(shown, &archive, intake)
        }
        (None, Input::Path(dir)) => Loader::new(intake, Parts::Dir(dir)).images(shown),
        (None, Input::Stdin) => Ok(Vec::new()),
    }
}

fn of_archive(input: &str, archive: &Archive, intake: &Intake<'_>) -> Result<Vec<Loaded>, TransportError> {
    let loader = |archive| Loader::new(intake, Parts::Archive(archive));
    let Some(name) = archive.small.get(METADATA) else { return loader(archive).images(input) };
    let mut instances = Vec::new();
    for nested in &archive.nested {
        instances.extend(loader(nested).images(input)?);
    }
    let entries = instances.iter().filter(|loaded| loaded.kind == ManifestKind::Image);
    let entries: Vec<OciDescriptor> =
        entries.map(|loaded| described(intake.store, &loaded.manifest)).collect::<Result<_, _>>()?;
    if entries.is_empty() {
        return Err(TransportError::NoImage { input: input.to_owned() });
    }
    let index = intake.put(&layout::index(entries))?;
    let name = String::from_utf8_lossy(name);
    let list = Loaded {
        names: name::full_name(name.trim()).into_iter().collect(),
        manifest: index,
        kind: ManifestKind::Index,
    };
    // Instances that have names of their own keep them; the others are found through the list.
    instances.retain(|instance| !instance.names.is_empty());
    instances.push(list);
    Ok(instances)
}

/// An image as an entry of an index, its platform read from its config.
fn described(store: &Store, manifest: &Descriptor) -> Result<OciDescriptor, TransportError> {
    let bytes = store.blobs().read(&manifest.digest, JSON_LIMIT)?;
    let read = manifest_of(&manifest.digest.to_string(), &bytes)?;
    let config = layout::ours("the config", read.config())?;
    let config = store.blobs().read(&config.digest, JSON_LIMIT)?;
    let image = StoredImage::new(None, manifest.digest, read, &config)?;
    let mut entry = oci::descriptor(OciMediaType::ImageManifest, manifest);
    entry.set_platform(Some(oci::to_platform(&image.platform())));
    Ok(entry)
}

/// Indexes in indexes are followed so far and no further.
pub(super) fn check_depth(part: &str, depth: usize) -> Result<(), TransportError> {
    if depth < DEPTH_LIMIT {
        return Ok(());
    }
    let what = "an index in an index in an index".to_owned();
    Err(TransportError::Unsupported { part: part.to_owned(), what })
}

pub(super) fn manifest_of(part: &str, bytes: &[u8]) -> Result<ImageManifest, TransportError> {
    serde_json::from_slice::<ImageManifest>(bytes)
        .map_err(|error| TransportError::Json { part: part.to_owned(), reason: error.to_string() })
}

pub(super) fn json_of(part: &str, bytes: &[u8]) -> Result<Value, TransportError> {
    serde_json::from_slice(bytes)
        .map_err(|error| TransportError::Json { part: part.to_owned(), reason: error.to_string() })
}

/// Where parts are found by path.
#[derive(Clone, Copy)]
enum Parts<'a> {
    Archive(&'a Archive),
    Dir(&'a Path),
}

struct Loader<'a> {
    intake: &'a Intake<'a>,
    parts: Parts<'a>,
    /// What parts are that were looked at, by path and size: several descriptors may name one.
    known: RefCell<HashMap<(String, u64), Option<Manifest>>>,
}

/// A manifest or an index that was loaded.
type Manifest = (Descriptor, ManifestKind);

impl<'a> Loader<'a> {
    fn new(intake: &'a Intake<'a>, parts: Parts<'a>) -> Self {
        Self { intake, parts, known: RefCell::default() }
    }
}

impl Loader<'_> {
    /// Every image of a layout.
    fn images(&self, input: &str) -> Result<Vec<Loaded>, TransportError> {
        if let Some(index) = self.json(INDEX)? {
            return self.of_index(&index);
        }
        let Some(bytes) = self.json(docker::MANIFEST)? else {
            return Err(TransportError::NoImage { input: input.to_owned() });
        };
        if let Some(all) = docker::archived_images(docker::MANIFEST, &bytes)? {
            return all.iter().map(|one| self.archived(one)).collect();
        }
        let found = self.of_bytes(docker::MANIFEST, &bytes, &|digest| digest.hex(), 0)?;
        let list = |(manifest, kind)| Loaded { names: Vec::new(), manifest, kind };
        Ok(found.map(list).into_iter().collect())
    }

    /// A part that is JSON; `None` if it is not there.
    fn json(&self, path: &str) -> Result<Option<Vec<u8>>, TransportError> {
        match self.parts {
            Parts::Archive(archive) => match (archive.small.get(path), archive.taken(path)) {
                (Some(bytes), _) => Ok(Some(bytes.clone())),
                (None, Some(taken)) => {
                    Ok(Some(self.intake.store.blobs().read(&taken.blob.digest, JSON_LIMIT)?))
                }
                (None, None) => Ok(None),
            },
            Parts::Dir(dir) => super::parts::small_file(&dir.join(path)),
        }
    }

    /// A part as a blob.
    fn take(
        &self,
        path: &str,
        named_by: &str,
        expected: Option<&Descriptor>,
    ) -> Result<Taken, TransportError> {
        let missing = || TransportError::Missing { part: path.to_owned(), named_by: named_by.to_owned() };
        let taken = match self.parts {
            Parts::Archive(archive) => archive.taken(path).ok_or_else(missing)?.clone(),
            Parts::Dir(dir) => {
                let mut file = super::parts::open(&dir.join(path))?.ok_or_else(missing)?;
                let size = file.metadata()?.len();
                self.intake.take(path, &mut file, size, expected.map(|blob| blob.digest))?
            }
        };
        if let Some(expected) = expected {
            let (part, found) = (path.to_owned(), taken.blob.digest);
            if found != expected.digest {
                return Err(TransportError::Digest { part, found });
            }
            if taken.blob.size != expected.size {
                return Err(TransportError::Size { part, expected: expected.size, found: taken.blob.size });
            }
        }
        self.intake.need(taken.blob.digest);
        Ok(taken)
    }

    fn of_index(&self, bytes: &[u8]) -> Result<Vec<Loaded>, TransportError> {
        let mut all: Vec<Loaded> = Vec::new();
        for descriptor in layout::read_index(INDEX, bytes)?.manifests() {
            let blob = layout::ours(INDEX, descriptor)?;
            let path = layout::blob_path(&blob.digest);
            let Some((manifest, kind)) = self.of_blob(&blob, &path, 0)? else {
                return Err(TransportError::Missing { part: path, named_by: INDEX.to_owned() });
            };
            let names = layout::name_of(descriptor);
            match all.iter_mut().find(|loaded| loaded.manifest == manifest) {
                Some(loaded) => loaded.names.extend(names),
                None => all.push(Loaded { names: names.into_iter().collect(), manifest, kind }),
            }
        }
        Ok(all)
    }

    /// The manifest or index a descriptor names; `None` if it is not there.
    fn of_blob(
        &self,
        blob: &Descriptor,
        path: &str,
        depth: usize,
    ) -> Result<Option<Manifest>, TransportError> {
        let key = (path.to_owned(), blob.size);
        let known = self.known.borrow().get(&key).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = self.of_part(blob, path, depth)?;
        self.known.borrow_mut().insert(key, found);
        Ok(found)
    }

    fn of_part(
        &self,
        blob: &Descriptor,
        path: &str,
        depth: usize,
    ) -> Result<Option<Manifest>, TransportError> {
        let Some(bytes) = self.json(path)? else { return Ok(None) };
        let found = BlobDigest::from_bytes(Sha256::digest(&bytes).into());
        if found != blob.digest {
            return Err(TransportError::Digest { part: path.to_owned(), found });
        }
        if bytes.len() as u64 != blob.size {
            let (part, found) = (path.to_owned(), bytes.len() as u64);
            return Err(TransportError::Size { part, expected: blob.size, found });
        }
        let is_dir = !path.contains('/');
        let path_of = |digest: &BlobDigest| if is_dir { digest.hex() } else { layout::blob_path(digest) };
        self.of_bytes(path, &bytes, &path_of, depth)
    }

    fn of_bytes(
        &self,
        part: &str,
        bytes: &[u8],
        path_of: &dyn Fn(&BlobDigest) -> String,
        depth: usize,
    ) -> Result<Option<Manifest>, TransportError> {
        let json = json_of(part, bytes)?;
        if json["manifests"].is_array() {
            return self.list(part, bytes, path_of, depth).map(Some);
        }
        let bytes = if docker::is_schema_2(&json) { docker::to_oci(part, &json)? } else { bytes.to_vec() };
        let manifest = manifest_of(part, &bytes)?;
        let config = layout::ours(part, manifest.config())?;
        let path = path_of(&config.digest);
        let diff_ids = diff_ids(&path, &self.take_json(&path, part, &config)?, &manifest)?;
        for (number, layer) in manifest.layers().iter().enumerate() {
            let blob = layout::ours(part, layer)?;
            let path = path_of(&blob.digest);
            let taken = self.take(&path, part, Some(&blob))?;
            if let Some(diff_ids) = diff_ids.as_ref().filter(|_| is_files(layer)) {
                check_content(&path, &taken, &diff_ids[number])?;
            }
        }
        Ok(Some((self.intake.put(&bytes)?, ManifestKind::Image)))
    }

    /// JSON that an image needs as a blob.
    fn take_json(
        &self,
        path: &str,
        named_by: &str,
        expected: &Descriptor,
    ) -> Result<Vec<u8>, TransportError> {
        let missing = || TransportError::Missing { part: path.to_owned(), named_by: named_by.to_owned() };
        let bytes = self.json(path)?.ok_or_else(missing)?;
        let found = BlobDigest::from_bytes(Sha256::digest(&bytes).into());
        if found != expected.digest {
            return Err(TransportError::Digest { part: path.to_owned(), found });
        }
        self.intake.put(&bytes)?;
        Ok(bytes)
    }

    /// An index. Images that it names and that are not there are left out of it: Docker saves one platform of many.
    fn list(
        &self,
        part: &str,
        bytes: &[u8],
        path_of: &dyn Fn(&BlobDigest) -> String,
        depth: usize,
    ) -> Result<Manifest, TransportError> {
        check_depth(part, depth)?;
        let index = layout::read_index(part, bytes)?;
        let mut is_same = index.media_type().as_ref().is_none_or(|of| *of == OciMediaType::ImageIndex);
        let mut json = json_of(part, bytes)?;
        let said = json["manifests"].as_array().cloned().unwrap_or_default();
        let (mut found, mut entries) = (Vec::new(), Vec::new());
        for (entry, mut said) in index.manifests().iter().zip(said) {
            let blob = layout::ours(part, entry)?;
            let path = path_of(&blob.digest);
            let path = if path.contains('/') { path } else { format!("{path}.manifest.json") };
            let Some((manifest, kind)) = self.of_blob(&blob, &path, depth + 1)? else {
                is_same = false;
                continue;
            };
            is_same &= manifest == blob;
            if manifest != blob {
                said["mediaType"] = json!(kind.media_type());
                said["digest"] = json!(manifest.digest.to_string());
                said["size"] = json!(manifest.size);
                said.as_object_mut().map(|said| said.remove("data"));
            }
            found.push((manifest, kind));
            entries.push(said);
        }
        match found.as_slice() {
            [] => Err(TransportError::NoImage { input: part.to_owned() }),
            [(manifest, kind)] if !is_same => Ok((*manifest, *kind)),
            _ if is_same => Ok((self.intake.put(bytes)?, ManifestKind::Index)),
            _ => {
                // What else the index says is as true of what is here.
                json["manifests"] = entries.into();
                json["mediaType"] = json!(ManifestKind::Index.media_type());
                Ok((self.intake.put(&oci::canonical(&json))?, ManifestKind::Index))
            }
        }
    }

    /// An image of a `docker save` archive. Its config stays as it is, and so its id.
    fn archived(&self, image: &ArchivedImage) -> Result<Loaded, TransportError> {
        let named_by = docker::MANIFEST;
        let missing =
            || TransportError::Missing { part: image.config.clone(), named_by: named_by.to_owned() };
        let path = unpack::normal(image.config.as_bytes());
        let config = self.json(&path)?.ok_or_else(missing)?;
        let diff_ids = json_of(&path, &config)?["rootfs"]["diff_ids"].clone();
        if diff_ids.as_array().map_or(0, Vec::len) != image.layers.len() {
            return Err(not_one_each(&path));
        }
        let mut layers = Vec::new();
        for (number, layer) in image.layers.iter().enumerate() {
            let path = unpack::normal(layer.as_bytes());
            let taken = self.take(&path, named_by, None)?;
            check_content(&path, &taken, &diff_ids[number])?;
            layers.push(oci::descriptor(oci::layer_media_type(taken.media_type), &taken.blob));
        }
        let config = oci::descriptor(OciMediaType::ImageConfig, &self.intake.put(&config)?);
        let manifest = self.intake.put(&docker::oci_manifest(config, layers))?;
        let names = image.repo_tags.iter().flatten().filter_map(|tag| name::docker_name(tag).ok());
        Ok(Loaded { names: names.collect(), manifest, kind: ManifestKind::Image })
    }
}

/// What an image's layers are by its config, one for each; `None` for what is no image of files, whose config may be anything.
fn diff_ids(
    part: &str,
    config: &[u8],
    manifest: &ImageManifest,
) -> Result<Option<Vec<Value>>, TransportError> {
    if !manifest.layers().iter().any(is_files) {
        return Ok(None);
    }
    let is_image = *manifest.config().media_type() == OciMediaType::ImageConfig;
    let stated = match json_of(part, config) {
        Err(_) if !is_image => return Ok(None),
        json => json?["rootfs"]["diff_ids"].as_array().cloned(),
    };
    match stated {
        None if !is_image => Ok(None),
        Some(stated) if stated.len() == manifest.layers().len() => Ok(Some(stated)),
        _ => Err(not_one_each(part)),
    }
}

fn not_one_each(part: &str) -> TransportError {
    let reason = "it does not have one diff id for each layer".to_owned();
    TransportError::Json { part: part.to_owned(), reason }
}

/// Whether a layer is of a kind that images have.
fn is_files(layer: &OciDescriptor) -> bool {
    oci::layer_compression(layer.media_type()).is_some()
}

/// Whether a layer holds what the config says it holds.
fn check_content(part: &str, taken: &Taken, stated: &Value) -> Result<(), TransportError> {
    let wrong = |reason: &str| TransportError::Json { part: part.to_owned(), reason: reason.to_owned() };
    let stated = stated.as_str().and_then(|text| text.parse().ok());
    let expected = stated.ok_or_else(|| wrong("the image's config has no diff id for it"))?;
    let found = taken.diff_id().ok_or_else(|| wrong("it is no whole gzip or zstd stream, or a bomb"))?;
    if found == expected {
        return Ok(());
    }
    Err(TransportError::DiffId { part: part.to_owned(), expected, found })
}
