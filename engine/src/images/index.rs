//! `index.json`: one descriptor a name, and what the store itself knows of each image.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;

use cache::{CacheError, Store};
use oci_spec::image::{Descriptor as OciDescriptor, ImageIndexBuilder, MediaType as OciMediaType};
use serde::Deserialize;
use solver::{BlobDigest, Descriptor};

use super::ImagesError;
use crate::oci::{self, FORMER_NAMES, IMAGE_ID, IMAGE_SIZE, REF_NAME, STORED_AT};

/// What a descriptor of an index leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestKind {
    /// One image.
    Image,
    /// An image index: one image for each platform.
    Index,
}

impl ManifestKind {
    /// The kind a media type states; `None` for neither.
    pub fn of(media_type: &OciMediaType) -> Option<Self> {
        match media_type {
            OciMediaType::ImageManifest => Some(Self::Image),
            OciMediaType::ImageIndex => Some(Self::Index),
            _ => None,
        }
    }

    /// Its media type.
    pub fn media_type(self) -> OciMediaType {
        match self {
            Self::Image => OciMediaType::ImageManifest,
            Self::Index => OciMediaType::ImageIndex,
        }
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
}

/// All lines, in the order the images were stored.
pub(super) fn read(store: &Store) -> Result<Vec<Tagged>, ImagesError> {
    let path = store.root().join("index.json");
    let text = match fs_err::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(CacheError::Io)?,
    };
    let index: Index<'_> = serde_json::from_slice(&text).map_err(|error| ImagesError::Json {
        what: "the index",
        name: path.display().to_string(),
        reason: error.to_string(),
    })?;
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
}

/// A text that is copied only where it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Replaces the file whole. The caller holds the index's lock.
pub(super) fn write(store: &Store, all: &[Tagged]) -> Result<(), ImagesError> {
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(OciMediaType::ImageIndex)
        .manifests(all.iter().map(descriptor).collect::<Vec<_>>())
        .build()
        .expect("all required fields are set");
    let path = store.root().join("index.json");
    let tmp = store.tmp_dir()?.join("index.json");
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
    let mut descriptor = oci::descriptor(tagged.kind.media_type(), &tagged.manifest);
    descriptor.set_annotations(Some(annotations));
    descriptor
}

fn tagged(line: &Line<'_>) -> Option<Tagged> {
    let none = Annotations::default();
    let Annotations { name, stored_at, id, size, former_names } = line.annotations.as_ref().unwrap_or(&none);
    let summary = || Some(Summary { id: id.as_ref()?.0.parse().ok()?, size: size.as_ref()?.0.parse().ok()? });
    Some(Tagged {
        name: name.as_ref().map(|name| name.0.clone().into_owned()),
        manifest: Descriptor { digest: line.digest.parse().ok()?, size: line.size },
        kind: ManifestKind::of(&OciMediaType::from(&*line.media_type))?,
        stored_at: stored_at.as_ref().and_then(|seconds| seconds.0.parse().ok()).unwrap_or(0),
        summary: summary(),
        former_names: former_names.iter().flat_map(|names| names.0.split(',').map(str::to_owned)).collect(),
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
        };
        let bare =
            Tagged { name: None, stored_at: 0, summary: None, former_names: Vec::new(), ..line.clone() };
        for wanted in [line, bare] {
            let text = serde_json::to_string(&descriptor(&wanted)).unwrap();
            assert_eq!(tagged(&serde_json::from_str(&text).unwrap()), Some(wanted));
        }
    }
}
