//! The parts of an OCI image layout, and the descriptors in its index (image-spec, image layout).

use std::collections::HashMap;

use oci_spec::image::{
    Descriptor as OciDescriptor, ImageIndex, ImageIndexBuilder, MediaType as OciMediaType,
};
use solver::BlobDigest;

use super::TransportError;
use crate::name::full_name;
use crate::oci::{self, REF_NAME};
use crate::registry::Reference;

pub(crate) const LAYOUT: &str = "oci-layout";
pub(crate) const INDEX: &str = "index.json";
pub(crate) const BLOBS: &str = "blobs/sha256";
/// What `oci-layout` holds.
pub(crate) const LAYOUT_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file of sealer's list layout that holds the list's name (spec §5.1).
pub(super) const METADATA: &str = "Metadata";
/// Where containerd and Docker keep the full name; they put the tag alone into the other annotation.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Path of a blob.
pub(crate) fn blob_path(digest: &BlobDigest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

/// The digest a path names, if it is a blob's.
pub(super) fn digest_of(path: &str) -> Option<BlobDigest> {
    let hex = path.strip_prefix(BLOBS)?.strip_prefix('/')?;
    format!("sha256:{hex}").parse().ok()
}

/// An index of some descriptors, as bytes.
pub(crate) fn index(manifests: Vec<OciDescriptor>) -> Vec<u8> {
    annotated_index(manifests, HashMap::new())
}

/// The same with annotations, if there are any.
pub(crate) fn annotated_index(
    manifests: Vec<OciDescriptor>,
    annotations: HashMap<String, String>,
) -> Vec<u8> {
    let mut index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(OciMediaType::ImageIndex)
        .manifests(manifests);
    if !annotations.is_empty() {
        index = index.annotations(annotations);
    }
    oci::canonical(&index.build().expect("all required fields are set"))
}

pub(super) fn read_index(part: &str, bytes: &[u8]) -> Result<ImageIndex, TransportError> {
    serde_json::from_slice::<ImageIndex>(bytes)
        .map_err(|error| TransportError::Json { part: part.to_owned(), reason: error.to_string() })
}

/// The full name a descriptor carries, if it is one.
pub(super) fn name_of(descriptor: &OciDescriptor) -> Option<String> {
    let annotations = descriptor.annotations().as_ref()?;
    let name = annotations.get(CONTAINERD_NAME).or_else(|| annotations.get(REF_NAME))?;
    full_name(name).ok()
}

/// The full name of a container image that a descriptor carries, completed as Docker does. A word alone is a tag, and no
/// name: it is given back.
pub(super) fn reference_of(descriptor: &OciDescriptor) -> Result<Option<Reference>, String> {
    let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key));
    let is_name = |text: &&String| text.contains(['/', ':', '@']);
    let mut texts = [CONTAINERD_NAME, REF_NAME].into_iter().filter_map(annotation);
    match texts.clone().filter(is_name).find_map(|text| Reference::parse(text).ok()) {
        Some(name) => Ok(Some(name)),
        None => texts.next_back().map_or(Ok(None), |text| Err(text.clone())),
    }
}

/// A descriptor of ours with a name.
pub(super) fn named(mut descriptor: OciDescriptor, name: Option<&String>) -> OciDescriptor {
    descriptor.set_annotations(name.map(|name| [(REF_NAME.to_owned(), name.clone())].into()));
    descriptor
}

/// A descriptor of ours, or the error that names the part with a foreign digest.
pub(super) fn ours(part: &str, descriptor: &OciDescriptor) -> Result<solver::Descriptor, TransportError> {
    oci::from_descriptor(descriptor).ok_or_else(|| TransportError::Unsupported {
        part: part.to_owned(),
        what: format!("described by `{}`", descriptor.digest()),
    })
}
