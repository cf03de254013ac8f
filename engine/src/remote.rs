//! Places that a remote cache is kept at, and the OCI manifest that names what it needs.
//!
//! ```text
//! manifest   config: the head; layers: shards, then layer blobs of records
//!   └── of more than 1,000: the layers stand in manifests of their own, by digest, named by an annotation
//! ```
//!
//! So a cache is an ordinary image of its registry: whoever copies it copies all of it, and a garbage collector keeps all of
//! it. What the bytes of heads and shards mean is the cache's business (`cache::remote`).

mod directory;
mod in_image;

use cache::remote::RemoteError;
use oci_spec::image::{Descriptor as OciDescriptor, ImageManifest, ImageManifestBuilder, MediaType};
use solver::{BlobDigest, Descriptor};

pub use self::directory::DirectoryRemote;
pub(crate) use self::in_image::InImage;
use crate::oci;
pub use crate::registry::RegistryRemote;

/// Media type of the head without its version; a newer one is still a cache.
const HEAD_TYPE: &str = "application/vnd.sealer.cache.head.v";
const HEAD_VERSION: &str = "1";
const SHARD_TYPE: &str = "application/vnd.sealer.cache.shard.v1";
/// Layers are compressed in one way or another; nobody unpacks a cache.
const LAYER_TYPE: &str = "application/vnd.sealer.cache.layer.v1";
/// The config of a manifest that has none (image-spec, guidance for an empty descriptor).
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const EMPTY: &[u8] = b"{}";
/// Annotation with the digests of the manifests that name the rest, with commas between them.
const PARTS: &str = "sealer.cache.parts";
/// Most parts believed: each is written again when it is needed no more.
const PARTS_LIMIT: usize = 1 << 14;
/// Layers of one manifest: some 170 KiB, where registries stop at 4 MiB.
const LAYERS: usize = 1000;

/// What a cache consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) head: &'a Descriptor,
    pub(crate) shards: &'a [Descriptor],
    pub(crate) layers: &'a [Descriptor],
}

/// The manifest of a cache, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) head: Descriptor,
    /// What it names beside the head.
    pub(crate) layers: Vec<Descriptor>,
    /// The manifests that name the rest.
    pub(crate) parts: Vec<BlobDigest>,
}

impl Content<'_> {
    /// One manifest that names everything.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let head_type = format!("{HEAD_TYPE}{HEAD_VERSION}");
        let mut layers = self.all();
        if layers.is_empty() {
            // Some registries want to see a layer in every image.
            layers.push(descriptor(&head_type, self.head));
        }
        manifest(descriptor(&head_type, self.head), layers, &[])
    }

    /// The manifest, and the parts that it names if there is too much for one. A part has what begins with the same bits, so
    /// that a new layer changes one of them.
    pub(crate) fn parted(&self) -> (Vec<u8>, Vec<Vec<u8>>) {
        if !self.has_parts() {
            return (self.whole(), Vec::new());
        }
        let mut all = self.all();
        all.sort_by(|a, b| a.digest().digest().cmp(b.digest().digest()));
        // Twice as many as needed: digests are not spread evenly.
        let count = (2 * all.len()).div_ceil(LAYERS).next_power_of_two();
        let place = |layer: &OciDescriptor| {
            let first = u32::from_str_radix(&layer.digest().digest()[..8], 16).unwrap_or_default();
            (u64::from(first) * count as u64) >> 32
        };
        let part = |layers: &[OciDescriptor]| manifest(empty(), layers.to_vec(), &[]);
        let parts: Vec<Vec<u8>> = all.chunk_by(|a, b| place(a) == place(b)).map(part).collect();
        let digests: Vec<_> = parts.iter().map(|part| oci::described(part).digest).collect();
        let head = descriptor(&format!("{HEAD_TYPE}{HEAD_VERSION}"), self.head);
        (manifest(head.clone(), vec![head], &digests), parts)
    }

    /// Whether it is too much for one manifest.
    pub(crate) fn has_parts(&self) -> bool {
        self.shards.len() + self.layers.len() > LAYERS
    }

    fn all(&self) -> Vec<OciDescriptor> {
        let shards = self.shards.iter().map(|shard| descriptor(SHARD_TYPE, shard));
        shards.chain(self.layers.iter().map(|layer| descriptor(LAYER_TYPE, layer))).collect()
    }
}

impl Manifest {
    /// Reads the manifest of a cache.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, RemoteError> {
        let foreign = |reason: String| RemoteError::Foreign { reason };
        let manifest = ImageManifest::from_reader(bytes)
            .map_err(|error| foreign(format!("it is no manifest of an image: {error}")))?;
        let media_type = manifest.config().media_type().to_string();
        if !media_type.starts_with(HEAD_TYPE) {
            return Err(foreign(format!("an image with a config of type `{media_type}`")));
        }
        let ours = |descriptor: &OciDescriptor| {
            oci::from_descriptor(descriptor)
                .ok_or_else(|| foreign("it has a digest that is not SHA-256".to_owned()))
        };
        let parts = manifest.annotations().as_ref().and_then(|all| all.get(PARTS));
        let parts = parts.into_iter().flat_map(|parts| parts.split(','));
        Ok(Self {
            head: ours(manifest.config())?,
            layers: manifest.layers().iter().map(ours).collect::<Result<_, _>>()?,
            parts: parts.take(PARTS_LIMIT).filter_map(|part| part.parse().ok()).collect(),
        })
    }
}

/// What stands where a part stood that is needed no more, so that its blobs are not kept for ever.
pub(crate) fn no_part() -> Vec<u8> {
    manifest(empty(), vec![empty()], &[])
}

fn empty() -> OciDescriptor {
    descriptor(EMPTY_TYPE, &oci::described(EMPTY))
}

fn descriptor(media_type: &str, blob: &Descriptor) -> OciDescriptor {
    oci::descriptor(MediaType::Other(media_type.to_owned()), blob)
}

fn manifest(config: OciDescriptor, layers: Vec<OciDescriptor>, parts: &[BlobDigest]) -> Vec<u8> {
    let mut builder = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(layers);
    if !parts.is_empty() {
        let parts = parts.iter().map(BlobDigest::to_string).collect::<Vec<_>>().join(",");
        builder = builder.annotations([(PARTS.to_owned(), parts)]);
    }
    oci::canonical(&builder.build().expect("all required fields are set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(count: u32) -> Vec<Descriptor> {
        (0..count).map(|n| oci::described(&n.to_le_bytes())).collect()
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let (head, layers) = (oci::described(b"head"), blobs(3));
        let content = Content { head: &head, shards: &layers[..1], layers: &layers[1..] };
        let (main, parts) = content.parted();
        assert!(parts.is_empty() && main == content.whole());
        assert_eq!(Manifest::read(&main).unwrap(), Manifest { head, layers, parts: Vec::new() });
        let nothing = Content { head: &head, shards: &[], layers: &[] };
        assert_eq!(Manifest::read(&nothing.whole()).unwrap().layers, [head], "an image has a layer");
    }

    #[test]
    fn what_is_no_cache_is_foreign() {
        let config = descriptor("application/vnd.oci.image.config.v1+json", &oci::described(b"{}"));
        for bytes in [&manifest(config, Vec::new(), &[])[..], b"", b"{}", br#"{"manifests":[]}"#] {
            assert!(matches!(Manifest::read(bytes), Err(RemoteError::Foreign { .. })));
        }
    }

    #[test]
    fn many_layers_stand_in_parts_of_which_one_changes() {
        let head = oci::described(b"head");
        let layers = blobs(20_001);
        let parted = |layers| Content { head: &head, shards: &[], layers }.parted();
        let ((main, parts), (_, before)) = (parted(&layers), parted(&layers[1..]));
        let read = Manifest::read(&main).unwrap();
        assert_eq!((read.parts.len(), read.layers.len()), (parts.len(), 1));
        assert!(parts.len() > 20 && main.len() < 16 << 10);
        assert!(parts.iter().all(|part| part.len() < 512 << 10));
        assert_eq!(parts.iter().filter(|part| !before.contains(part)).count(), 1);
        let named = parts.iter().map(|part| ImageManifest::from_reader(&part[..]).unwrap().layers().len());
        assert_eq!(named.sum::<usize>(), 20_001);
    }
}
