//! OCI JSON: media types, descriptors, and canonical bytes.

use oci_spec::image::{Descriptor as OciDescriptor, MediaType as OciMediaType};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use solver::{BlobDigest, Descriptor, MediaType, Platform};

/// Largest manifest, index or config read, in bytes; registries stop at 4 MiB.
pub const JSON_LIMIT: u64 = 32 << 20;
/// Annotation with the full name of an image in an index (image-spec, annotations).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation of the store's index: when the image was stored here, in seconds since 1970.
pub const STORED_AT: &str = "sealer.created";
/// Annotation of the store's index: the image id, so that a list opens no manifest.
pub const IMAGE_ID: &str = "sealer.id";
/// Annotation of the store's index: size of the layers, in bytes.
pub const IMAGE_SIZE: &str = "sealer.size";
/// Annotation of the store's index: names the image had, with commas between them.
pub const FORMER_NAMES: &str = "sealer.former-names";
/// Annotation of the store's index: the digest its name had in the registry.
pub const ORIGIN: &str = "sealer.origin";
/// Annotation of the store's index: repositories with the blobs that are not here, with commas between them.
pub const REMOTES: &str = "sealer.remotes";
/// Annotation with the sealer extension (spec §2.1).
pub const EXTENSION: &str = "sealer.image.extension";
/// Annotation with the list of container images (spec §2.1).
pub const CONTAINER_IMAGES: &str = "sealer.image.container.images";
/// Annotation that says that the list is all there is: the image was searched.
pub const CONTAINER_IMAGES_COMPLETE: &str = "sealer.image.container.images.complete";
/// What the history says beside each step of ours.
pub const STEP_COMMENT: &str = "sealer";
/// Annotation with the records of the image's own layers, for those who build it again: a cache in the image.
pub const INLINE_CACHE: &str = "sealer.cache.v1";
/// Annotation with the base's name.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Annotation with the base's manifest digest.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// JSON with sorted keys and no spaces: the same value is the same bytes.
pub fn canonical(value: &impl Serialize) -> Vec<u8> {
    let value = serde_json::to_value(value).expect("plain data is JSON");
    value.to_string().into_bytes()
}

/// The OCI media type of a layer.
pub fn layer_media_type(media_type: MediaType) -> OciMediaType {
    match media_type {
        MediaType::Tar => OciMediaType::ImageLayer,
        MediaType::TarGzip => OciMediaType::ImageLayerGzip,
        MediaType::TarZstd => OciMediaType::ImageLayerZstd,
    }
}

/// How a layer of a manifest is compressed; `None` for what this engine does not read.
pub fn layer_compression(media_type: &OciMediaType) -> Option<MediaType> {
    match media_type {
        OciMediaType::ImageLayer | OciMediaType::ImageLayerNonDistributable => Some(MediaType::Tar),
        OciMediaType::ImageLayerGzip | OciMediaType::ImageLayerNonDistributableGzip => {
            Some(MediaType::TarGzip)
        }
        OciMediaType::ImageLayerZstd | OciMediaType::ImageLayerNonDistributableZstd => {
            Some(MediaType::TarZstd)
        }
        OciMediaType::Other(name) => match name.as_str() {
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Some(MediaType::TarGzip),
            "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar" => Some(MediaType::Tar),
            _ => None,
        },
        _ => None,
    }
}

/// Digest and size of bytes.
pub fn described(bytes: &[u8]) -> Descriptor {
    Descriptor { digest: BlobDigest::from_bytes(Sha256::digest(bytes).into()), size: bytes.len() as u64 }
}

/// A descriptor in OCI's words.
pub fn descriptor(media_type: OciMediaType, blob: &Descriptor) -> OciDescriptor {
    let digest: oci_spec::image::Digest =
        blob.digest.to_string().parse().expect("a SHA-256 digest is an OCI digest");
    OciDescriptor::new(media_type, blob.size, digest)
}

/// A descriptor in ours; `None` for digests that are not SHA-256.
pub fn from_descriptor(descriptor: &OciDescriptor) -> Option<Descriptor> {
    let digest: BlobDigest = descriptor.digest().to_string().parse().ok()?;
    Some(Descriptor { digest, size: descriptor.size() })
}

/// A platform in our words.
pub fn platform(platform: &oci_spec::image::Platform) -> Platform {
    let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
    Platform::new(&os, &architecture, platform.variant().as_deref())
}

/// A platform in OCI's words.
pub fn to_platform(platform: &Platform) -> oci_spec::image::Platform {
    let mut builder = oci_spec::image::PlatformBuilder::default()
        .os(platform.os.as_str())
        .architecture(platform.architecture.as_str());
    if let Some(variant) = &platform.variant {
        builder = builder.variant(variant.clone());
    }
    builder.build().expect("all required fields are set")
}
