//! Docker's JSON: the manifest of an archive, and manifests of schema 2 turned into OCI's and back.

use oci_spec::image::{
    Descriptor as OciDescriptor, ImageManifest, ImageManifestBuilder, MediaType as OciMediaType,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use solver::{Descriptor, MediaType};

use super::TransportError;
use super::load::json_of;
use crate::images::StoredImage;
use crate::oci;

pub(super) const MANIFEST: &str = "manifest.json";
/// The marker file of a `dir:` directory.
pub(super) const VERSION: &str = "version";
pub(super) const VERSION_TEXT: &str = "Directory Transport Version: 1.1\n";
pub(super) const SCHEMA_2: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const LAYER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// One image of a `docker save` archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ArchivedImage {
    /// Path of the config.
    pub(super) config: String,
    /// Names, `null` for none.
    pub(super) repo_tags: Option<Vec<String>>,
    /// Paths of the layers, oldest first.
    pub(super) layers: Vec<String>,
}

/// The images that `manifest.json` lists in a `docker save` archive; `None` for that of a `dir:` directory, which is the manifest
/// of its one image.
pub(super) fn archived_images(
    part: &str,
    bytes: &[u8],
) -> Result<Option<Vec<ArchivedImage>>, TransportError> {
    let manifest = json_of(part, bytes)?;
    if !manifest.is_array() {
        return Ok(None);
    }
    let all = serde_json::from_value(manifest);
    all.map(Some).map_err(|error| TransportError::Json { part: part.to_owned(), reason: error.to_string() })
}

/// The Docker manifest of an image whose layers are gzip or plain.
pub(super) fn schema_2(image: &StoredImage) -> Vec<u8> {
    let described = |media_type: &str, blob: &Descriptor| json!({ "mediaType": media_type, "size": blob.size, "digest": blob.digest.to_string() });
    let layer = |layer: &solver::Layer| {
        let media_type = if layer.media_type == MediaType::TarGzip { LAYER_GZIP } else { LAYER_TAR };
        described(media_type, &layer.blob)
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": SCHEMA_2,
        "config": described(CONFIG, &image.config_blob),
        "layers": image.layers.iter().map(layer).collect::<Vec<_>>(),
    });
    oci::canonical(&manifest)
}

/// Whether JSON is a manifest of schema 2, rather than OCI's.
pub(super) fn is_schema_2(manifest: &Value) -> bool {
    manifest["mediaType"] == SCHEMA_2
}

/// The OCI manifest that says what a manifest of schema 2 says. The config stays as it is, and so the image id.
pub(super) fn to_oci(part: &str, manifest: &Value) -> Result<Vec<u8>, TransportError> {
    let wrong = |reason: String| TransportError::Json { part: part.to_owned(), reason };
    let read = |value: &Value| -> Result<OciDescriptor, TransportError> {
        serde_json::from_value(value.clone()).map_err(|error| wrong(error.to_string()))
    };
    let mut config = read(&manifest["config"])?;
    config.set_media_type(OciMediaType::ImageConfig);
    let layers = manifest["layers"].as_array().ok_or_else(|| wrong("it has no list of layers".to_owned()))?;
    let layer = |value: &Value| -> Result<OciDescriptor, TransportError> {
        let mut layer = read(value)?;
        let Some(compression) = oci::layer_compression(layer.media_type()) else {
            return Err(TransportError::Unsupported {
                part: part.to_owned(),
                what: format!("a manifest with a layer of type `{}`", layer.media_type()),
            });
        };
        layer.set_media_type(oci::layer_media_type(compression));
        Ok(layer)
    };
    let layers = layers.iter().map(layer).collect::<Result<Vec<_>, _>>()?;
    Ok(oci_manifest(config, layers))
}

/// An OCI manifest as bytes.
pub(super) fn oci_manifest(config: OciDescriptor, layers: Vec<OciDescriptor>) -> Vec<u8> {
    let manifest: ImageManifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(OciMediaType::ImageManifest)
        .config(config)
        .layers(layers)
        .build()
        .expect("all required fields are set");
    oci::canonical(&manifest)
}
