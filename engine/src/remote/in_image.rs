//! A cache in an image: an annotation of its manifest, or of the index of several, with a whole head in it.
//!
//! Nothing else than the image travels, and it is found where the image is. It has the records of the image's own layers.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cache::remote::RemoteError;
use oci_spec::image::ImageManifest;
use serde::Deserialize;
use solver::{BlobDigest, Descriptor};

use crate::oci::{self, INLINE_CACHE};

/// What a manifest or an index says of a cache in it.
#[derive(Debug)]
pub(crate) struct InImage {
    pub(crate) head: Vec<u8>,
    /// Of a manifest: its layers.
    pub(crate) layers: Vec<Descriptor>,
    /// Of an index: its images.
    pub(crate) instances: Vec<BlobDigest>,
}

/// What manifests and indexes have in common.
#[derive(Debug, Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: HashMap<String, String>,
    #[serde(default)]
    manifests: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    digest: String,
}

impl InImage {
    /// The annotation's text for a head.
    pub(crate) fn text(head: &[u8]) -> String {
        STANDARD.encode(head)
    }

    /// Reads it.
    pub(crate) fn read(manifest: &[u8]) -> Result<Self, RemoteError> {
        let foreign = |reason: &str| RemoteError::Foreign { reason: reason.to_owned() };
        let found: Annotated =
            serde_json::from_slice(manifest).map_err(|_| foreign("it is no manifest of an image"))?;
        let text =
            found.annotations.get(INLINE_CACHE).ok_or_else(|| foreign("an image without a cache in it"))?;
        let head = STANDARD.decode(text).map_err(|_| RemoteError::Damaged {
            what: "head",
            reason: "the image's annotation is no base64",
        })?;
        let instances: Vec<BlobDigest> =
            found.manifests.iter().filter_map(|instance| instance.digest.parse().ok()).collect();
        let layers = if instances.is_empty() { Self::layers(manifest)? } else { Vec::new() };
        Ok(Self { head, layers, instances })
    }

    /// The layers of a manifest.
    pub(crate) fn layers(manifest: &[u8]) -> Result<Vec<Descriptor>, RemoteError> {
        let manifest = ImageManifest::from_reader(manifest).map_err(|error| RemoteError::Foreign {
            reason: format!("it is no manifest of an image: {error}"),
        })?;
        // One without SHA-256 is none of ours.
        Ok(manifest.layers().iter().filter_map(oci::from_descriptor).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_image_is_read_again() {
        let layer = oci::described(b"layer");
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{0}","size":5}},"layers":[{{"mediaType":"a/b",
            "digest":"{0}","size":5}}],"annotations":{{"{INLINE_CACHE}":"{1}"}}}}"#,
            layer.digest,
            InImage::text(b"head")
        );
        let found = InImage::read(manifest.as_bytes()).unwrap();
        assert_eq!((found.head, found.layers, found.instances), (b"head".to_vec(), vec![layer], Vec::new()));
        let index = format!(
            r#"{{"manifests":[{{"digest":"{}"}},{{"digest":"md5:1"}}],"annotations":{{"{INLINE_CACHE}":"AA=="}}}}"#,
            layer.digest
        );
        let found = InImage::read(index.as_bytes()).unwrap();
        assert_eq!((found.head, found.instances), (vec![0], vec![layer.digest]));
    }

    #[test]
    fn what_has_no_cache_is_foreign_and_what_is_broken_damaged() {
        for bytes in ["", "{}", "[]", r#"{"annotations":{}}"#, r#"{"annotations":7}"#] {
            assert!(matches!(InImage::read(bytes.as_bytes()), Err(RemoteError::Foreign { .. })), "{bytes}");
        }
        let broken = format!(r#"{{"annotations":{{"{INLINE_CACHE}":"!"}}}}"#);
        assert!(matches!(InImage::read(broken.as_bytes()), Err(RemoteError::Damaged { .. })));
    }
}
