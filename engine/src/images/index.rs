//! `index.json`: one descriptor a name, and what the store itself knows of each image.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;

use cache::{CacheError, Store};
use oci_spec::image::{Descriptor as OciDescriptor, ImageIndexBuilder, MediaType as OciMediaType};
use serde::Deserialize;
use solver::{BlobDigest, Descriptor};

use super::ImagesError;
use crate::oci::{self, FORMER_NAMES, IMAGE_ID, IMAGE_SIZE, ORIGIN, REF_NAME, REMOTES, STORED_AT};

/// Docker's manifest of one image (schema 2).
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of manifests.
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Images whose every blob is here.
const WHOLE: &str = "index.json";
/// Images of which blobs are still in a registry (design §8): the same form, read by this program alone.
const LAZY: &str = "lazy.json";

/// What a descriptor of an index leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestKind {
    /// One image.
    Image,
    /// An image index: one image for each platform.
    Index,
}

impl ManifestKind {
    /// The kind a media type states, OCI's or Docker's; `None` for neither.
    pub fn of(media_type: &OciMediaType) -> Option<Self> {
        match media_type {
            OciMediaType::ImageManifest => Some(Self::Image),
            OciMediaType::ImageIndex => Some(Self::Index),
            OciMediaType::Other(other) if other == DOCKER_MANIFEST => Some(Self::Image),
            OciMediaType::Other(other) if other == DOCKER_LIST => Some(Self::Index),
            _ => None,
        }
    }

    /// Its media type in OCI's words.
    pub fn media_type(self) -> OciMediaType {
        match self {
            Self::Image => OciMediaType::ImageManifest,
            Self::Index => OciMediaType::ImageIndex,
        }
    }

    /// Its media type in Docker's words.
    pub fn docker_media_type(self) -> OciMediaType {
        OciMediaType::Other(if self == Self::Image { DOCKER_MANIFEST } else { DOCKER_LIST }.to_owned())
    }
}

/// What a list of images shows, kept beside the name so that showing it opens nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The image id: the config's digest, or the index's own.
    pub id: BlobDigest,
    /// Size of the layers as stored, in bytes.
    pub size: u64,
}

/// One line of the store's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// Full name; `None` for an image whose tag moved on.
    pub name: Option<String>,
    /// The manifest, or the index of several.
    pub manifest: Descriptor,
    /// Which of the two.
    pub kind: ManifestKind,
    /// When it was stored, in seconds since 1970.
    pub stored_at: i64,
    /// Id and size; `None` where another tool wrote the line.
    pub summary: Option<Summary>,
    /// Names it had and lost, oldest first.
    pub former_names: Vec<String>,
    /// Whether the manifest is in Docker's words, as the registry has it.
    pub is_docker: bool,
    /// What its name led to in the registry: this manifest, or an index it is in.
    pub origin: Option<BlobDigest>,
    /// Repositories that have the blobs which are not here; none if the image is whole.
    pub remotes: Vec<String>,
}

impl Tagged {
    /// A line without a name, for an image that is whole.
    pub fn new(manifest: Descriptor, kind: ManifestKind, stored_at: i64) -> Self {
        Self {
            name: None,
            manifest,
            kind,
            stored_at,
            summary: None,
            former_names: Vec::new(),
            is_docker: false,
            origin: None,
            remotes: Vec::new(),
        }
    }

    /// The media type of the manifest.
    pub fn media_type(&self) -> OciMediaType {
        if self.is_docker { self.kind.docker_media_type() } else { self.kind.media_type() }
    }
}

/// All lines, in the order the images were stored: of both files, and the younger where a crash left a name in both.
pub(super) fn read(store: &Store) -> Result<Vec<Tagged>, ImagesError> {
    let mut all = read_file(store, WHOLE)?;
    let lazy = read_file(store, LAZY)?;
    if lazy.is_empty() {
        return Ok(all);
    }
    for line in lazy {
        match all.iter_mut().find(|other| other.name.is_some() && other.name == line.name) {
            Some(other) if other.stored_at >= line.stored_at => {}
            Some(other) => *other = line,
            None => all.push(line),
        }
    }
    all.sort_by_key(|line| line.stored_at);
    Ok(all)
}

fn read_file(store: &Store, name: &str) -> Result<Vec<Tagged>, ImagesError> {
    let path = store.root().join(name);
    let text = match fs_err::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(CacheError::Io)?,
    };
    let index: Index<'_> = serde_json::from_slice(&text)
        .map_err(|error| ImagesError::Index { path, reason: error.to_string() })?;
    Ok(index.manifests.iter().filter_map(tagged).collect())
}

/// The index as far as a list of images needs it. Every build reads it, and moved tags leave lines behind, so that there
/// can be thousands.
#[derive(Deserialize)]
struct Index<'a> {
    #[serde(borrow)]
    manifests: Vec<Line<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow)]
    media_type: Cow<'a, str>,
    #[serde(borrow)]
    digest: Cow<'a, str>,
    size: u64,
    #[serde(borrow, default)]
    annotations: Option<Annotations<'a>>,
}

/// What the store itself writes; names are those of [`crate::oci`].
#[derive(Default, Deserialize)]
struct Annotations<'a> {
    #[serde(borrow, rename = "org.opencontainers.image.ref.name")]
    name: Option<Text<'a>>,
    #[serde(borrow, rename = "sealer.created")]
    stored_at: Option<Text<'a>>,
    #[serde(borrow, rename = "sealer.id")]
    id: Option<Text<'a>>,
    #[serde(borrow, rename = "sealer.size")]
    size: Option<Text<'a>>,
    #[serde(borrow, rename = "sealer.former-names")]
    former_names: Option<Text<'a>>,
    #[serde(borrow, rename = "sealer.origin")]
    origin: Option<Text<'a>>,
    #[serde(borrow, rename = "sealer.remotes")]
    remotes: Option<Text<'a>>,
}

/// A text that is copied only where it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Replaces the files whole. The caller holds the index's lock.
pub(super) fn write(store: &Store, all: &[Tagged]) -> Result<(), ImagesError> {
    let (whole, lazy): (Vec<&Tagged>, Vec<&Tagged>) = all.iter().partition(|line| line.remotes.is_empty());
    // A name that leaves one file for the other is in both for a moment, not in neither.
    if !lazy.is_empty() || store.root().join(LAZY).exists() {
        let before = read_file(store, LAZY)?;
        if lazy.iter().any(|line| !before.contains(line)) {
            let union: Vec<&Tagged> =
                lazy.iter().copied().chain(before.iter().filter(|line| !all.contains(line))).collect();
            write_file(store, LAZY, &union)?;
        }
        write_file(store, WHOLE, &whole)?;
        return write_file(store, LAZY, &lazy);
    }
    write_file(store, WHOLE, &whole)
}

fn write_file(store: &Store, name: &str, lines: &[&Tagged]) -> Result<(), ImagesError> {
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(OciMediaType::ImageIndex)
        .manifests(lines.iter().map(|line| descriptor(line)).collect::<Vec<_>>())
        .build()
        .expect("all required fields are set");
    let path = store.root().join(name);
    let tmp = store.tmp_dir()?.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = fs_err::File::create(&tmp)?;
        file.write_all(&oci::canonical(&index))?;
        file.sync_all()?;
        fs_err::rename(&tmp, &path)
    };
    Ok(write().map_err(CacheError::Io)?)
}

fn descriptor(tagged: &Tagged) -> OciDescriptor {
    let mut annotations = HashMap::from([(STORED_AT.to_owned(), tagged.stored_at.to_string())]);
    annotations.extend(tagged.name.clone().map(|name| (REF_NAME.to_owned(), name)));
    if let Some(summary) = &tagged.summary {
        annotations.insert(IMAGE_ID.to_owned(), summary.id.to_string());
        annotations.insert(IMAGE_SIZE.to_owned(), summary.size.to_string());
    }
    if !tagged.former_names.is_empty() {
        annotations.insert(FORMER_NAMES.to_owned(), tagged.former_names.join(","));
    }
    annotations.extend(tagged.origin.map(|origin| (ORIGIN.to_owned(), origin.to_string())));
    if !tagged.remotes.is_empty() {
        annotations.insert(REMOTES.to_owned(), tagged.remotes.join(","));
    }
    let mut descriptor = oci::descriptor(tagged.media_type(), &tagged.manifest);
    descriptor.set_annotations(Some(annotations));
    descriptor
}

fn tagged(line: &Line<'_>) -> Option<Tagged> {
    let none = Annotations::default();
    let Annotations { name, stored_at, id, size, former_names, origin, remotes } =
        line.annotations.as_ref().unwrap_or(&none);
    let words =
        |text: &Option<Text<'_>>| text.iter().flat_map(|text| text.0.split(',').map(str::to_owned)).collect();
    let media_type = OciMediaType::from(&*line.media_type);
    let kind = ManifestKind::of(&media_type)?;
    let summary = || Some(Summary { id: id.as_ref()?.0.parse().ok()?, size: size.as_ref()?.0.parse().ok()? });
    Some(Tagged {
        name: name.as_ref().map(|name| name.0.clone().into_owned()),
        manifest: Descriptor { digest: line.digest.parse().ok()?, size: line.size },
        kind,
        stored_at: stored_at.as_ref().and_then(|seconds| seconds.0.parse().ok()).unwrap_or(0),
        summary: summary(),
        former_names: words(former_names),
        is_docker: media_type != kind.media_type(),
        origin: origin.as_ref().and_then(|digest| digest.0.parse().ok()),
        remotes: words(remotes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_under_the_same_names() {
        let manifest = Descriptor { digest: BlobDigest::from_bytes([7; 32]), size: 5 };
        let line = Tagged {
            name: Some("localhost/\"quoted\":1".into()),
            manifest,
            kind: ManifestKind::Index,
            stored_at: 77,
            summary: Some(Summary { id: manifest.digest, size: 9 }),
            former_names: vec!["a:1".into(), "b:2".into()],
            is_docker: true,
            origin: Some(manifest.digest),
            remotes: vec!["r:5000/a".into(), "r:5000/b".into()],
        };
        let bare = Tagged::new(manifest, ManifestKind::Image, 0);
        for wanted in [line, bare] {
            let text = serde_json::to_string(&descriptor(&wanted)).unwrap();
            assert_eq!(tagged(&serde_json::from_str(&text).unwrap()), Some(wanted));
        }
    }
}
