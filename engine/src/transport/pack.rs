//! An image of the store as the members of a layout.

mod index;

use cache::Store;
use oci_spec::image::MediaType as OciMediaType;
use solver::{Descriptor, Layer, MediaType};

use super::docker::{self, ArchivedImage};
use super::layout::{self, BLOBS, INDEX, LAYOUT, LAYOUT_TEXT, METADATA};
use super::write::{Destination, Member, Source, Writer};
use super::{Format, TransportError, convert};
use crate::cancel::Cancel;
use crate::frames::LayerCompression;
use crate::images::{Images, ManifestKind, StoredImage, Tagged};
use crate::oci::{self, JSON_LIMIT};

/// How an image is saved.
#[expect(missing_debug_implementations, reason = "a function has nothing to show")]
pub struct Save<'a> {
    /// The layout.
    pub format: Format,
    /// Where it goes.
    pub destination: Destination,
    /// The compression every layer shall have, and whether layers of that format are made again for its level; `None`
    /// for as they are.
    pub compression: Option<(LayerCompression, bool)>,
    /// Stops it.
    pub cancel: &'a Cancel,
    /// Hears how many more bytes were written.
    pub progress: &'a dyn Fn(u64),
}

/// An image ready to be laid out.
struct Packable {
    image: StoredImage,
    names: Vec<String>,
    manifest: Vec<u8>,
    config: Vec<u8>,
}

/// Writes an image, or an index with all its images, to its destination under the names given.
///
/// # Errors
/// When a part is missing, or the destination cannot be written; then there is none.
pub fn save(store: &Store, tagged: &Tagged, names: &[String], save: &Save<'_>) -> Result<(), TransportError> {
    let members = match tagged.kind {
        ManifestKind::Image => members(store, &packable(store, tagged, names, save)?, save.format)?,
        ManifestKind::Index => index_members(store, tagged, names, save)?,
    };
    // Converted layers are part of the cache from now on.
    store.commit::<TransportError>(|| Ok(()))?;
    let writer = Writer { store, cancel: save.cancel, progress: save.progress };
    if save.format.is_dir() {
        save.destination.dir(|dir| writer.files(&members, dir))
    } else {
        save.destination.stream(|out| writer.archive(&members, out))
    }
}

fn packable(
    store: &Store,
    tagged: &Tagged,
    names: &[String],
    save: &Save<'_>,
) -> Result<Packable, TransportError> {
    let mut image = Images::new(store).read(tagged)?;
    let config = store.blobs().read(&image.config_blob.digest, JSON_LIMIT)?;
    let mut manifest = store.blobs().read(&tagged.manifest.digest, JSON_LIMIT)?;
    if tagged.is_docker {
        // OCI's layouts hold OCI's manifests; config and layers stay as they are.
        let part = tagged.manifest.digest.to_string();
        manifest = docker::to_oci(&part, &super::load::json_of(&part, &manifest)?)?;
        image.manifest = super::load::manifest_of(&part, &manifest)?;
    }
    let has_zstd = image.layers.iter().any(|layer| layer.media_type == MediaType::TarZstd);
    let wanted = match (save.format, save.compression) {
        (Format::DockerArchive, _) => None,
        // Docker's manifest has no word for zstd.
        (Format::DockerDir, None) if has_zstd => Some((LayerCompression::GZIP, false)),
        (_, wanted) => wanted,
    };
    if let Some((compression, exact)) = wanted {
        convert::recompress(store, &mut image, compression, exact, save.cancel)?;
        manifest = oci::canonical(&image.manifest);
    }
    Ok(Packable { image, names: names.to_vec(), manifest, config })
}

fn members(store: &Store, packable: &Packable, format: Format) -> Result<Vec<Member>, TransportError> {
    match format {
        Format::OciArchive | Format::OciDir => Ok(oci_members(packable)),
        Format::DockerArchive => docker_archive(store, packable),
        Format::DockerDir => Ok(docker_dir(packable)),
    }
}

fn blob(path: String, blob: &Descriptor) -> Member {
    Member { path, size: blob.size, source: Source::Blob(blob.digest) }
}

/// The index stands first, so that a reader of the stream knows what is coming.
fn oci_members(packable: &Packable) -> Vec<Member> {
    let manifest = oci::described(&packable.manifest);
    let descriptor = oci::descriptor(OciMediaType::ImageManifest, &manifest);
    let descriptors = match packable.names.as_slice() {
        [] => vec![layout::named(descriptor, None)],
        names => names.iter().map(|name| layout::named(descriptor.clone(), Some(name))).collect(),
    };
    let mut members = vec![
        Member::bytes(LAYOUT, LAYOUT_TEXT),
        Member::bytes(INDEX, layout::index(descriptors)),
        Member::dir("blobs"),
        Member::dir(BLOBS),
    ];
    members.extend(oci_blobs(packable));
    members
}

fn oci_blobs(packable: &Packable) -> Vec<Member> {
    let manifest = oci::described(&packable.manifest);
    let mut members = vec![
        Member::bytes(&layout::blob_path(&manifest.digest), packable.manifest.clone()),
        Member::bytes(&layout::blob_path(&packable.image.config_blob.digest), packable.config.clone()),
    ];
    let layers = distinct(&packable.image.layers);
    members.extend(layers.map(|layer| blob(layout::blob_path(&layer.blob.digest), &layer.blob)));
    members
}

fn distinct(layers: &[Layer]) -> impl Iterator<Item = &Layer> {
    let mut seen = std::collections::HashSet::new();
    layers.iter().filter(move |layer| seen.insert(layer.blob.digest))
}

fn docker_archive(store: &Store, packable: &Packable) -> Result<Vec<Member>, TransportError> {
    let image = &packable.image;
    let config = format!("{}.json", image.config_blob.digest.hex());
    let path = |layer: &Layer| format!("{}.tar", layer.diff_id.hex());
    // Docker takes tags there, and loads nothing of an archive that has a digest in their place.
    let tags = packable.names.iter().filter(|name| !name.contains('@')).cloned().collect::<Vec<_>>();
    let archived = ArchivedImage {
        config: config.clone(),
        repo_tags: Some(tags).filter(|tags| !tags.is_empty()),
        layers: image.layers.iter().map(path).collect(),
    };
    let mut members = vec![
        Member::bytes(docker::MANIFEST, oci::canonical(&[archived])),
        Member::bytes(&config, packable.config.clone()),
    ];
    for layer in distinct(&image.layers) {
        let size = convert::tar_size(store, layer)?;
        let source = Source::Tar(layer.blob.digest, layer.media_type);
        members.push(Member { path: path(layer), size, source });
    }
    Ok(members)
}

fn docker_dir(packable: &Packable) -> Vec<Member> {
    let image = &packable.image;
    let mut members = vec![
        Member::bytes(docker::VERSION, docker::VERSION_TEXT),
        Member::bytes(docker::MANIFEST, docker::schema_2(image)),
        Member::bytes(&image.config_blob.digest.hex(), packable.config.clone()),
    ];
    members.extend(distinct(&image.layers).map(|layer| blob(layer.blob.digest.hex(), &layer.blob)));
    members
}

/// sealer's list layout for archives; for an OCI directory the index itself, which every OCI tool reads.
fn index_members(
    store: &Store,
    tagged: &Tagged,
    names: &[String],
    save: &Save<'_>,
) -> Result<Vec<Member>, TransportError> {
    let shown = names.first().cloned().unwrap_or_else(|| tagged.manifest.digest.to_string());
    match save.format {
        Format::OciArchive | Format::DockerArchive => {
            let instances = Images::new(store).instances(tagged)?;
            let packables = instances.iter().map(|(instance, _)| packable(store, instance, &[], save));
            let packables = packables.collect::<Result<Vec<_>, _>>()?;
            if packables.is_empty() {
                let reason = "it is an index without an image".to_owned();
                return Err(TransportError::Json { part: shown, reason });
            }
            let name = names.first().cloned().unwrap_or_default();
            let mut members = vec![Member::bytes(METADATA, name)];
            for packable in &packables {
                let path = format!("{}.tar", packable.image.config_blob.digest.hex());
                members.push(Member::archive(path, self::members(store, packable, save.format)?));
            }
            Ok(members)
        }
        Format::OciDir => index::members(store, tagged, names, save),
        Format::DockerDir => Err(TransportError::Several { name: shown }),
    }
}
