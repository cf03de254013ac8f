//! Pulling: from a name to a manifest, a config, and layers.

use cache::Store;
use oci_spec::image::{ImageIndex, ImageManifest};
use solver::{BlobDigest, Platform};

use super::Registry;
use super::api::RawManifest;
use super::download::{LayerProgress, LayerSource};
use super::error::RegistryError;
use super::reference::Reference;
use crate::images::{Images, ManifestKind, StoredImage, Tagged};
use crate::oci::{self, JSON_LIMIT};
use crate::tree::Trees;

/// Indexes in indexes followed.
const DEPTH_LIMIT: usize = 3;

/// An image of a registry: its manifest and config are in the store, its layers may not be.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The image.
    pub image: StoredImage,
    /// Its line of the index, not stored yet; it says that layers are in the registry where they are not here.
    pub line: Tagged,
    /// Where it was found.
    pub reference: Reference,
}

impl Resolved {
    /// Where its layers are.
    pub fn layers<'a>(&self, store: &'a Store, registry: &'a Registry) -> LayerSource<'a> {
        LayerSource { registry, store, repositories: vec![self.reference.repository.clone()] }
    }
}

/// Reads an image's manifest and config from a registry into the store; of an index, those of one platform.
///
/// # Errors
/// When there is none for the platform, or what there is is not what its digest says. Nothing is kept then.
pub fn resolve(
    store: &Store,
    registry: &Registry,
    reference: &Reference,
    platform: &Platform,
    now: i64,
) -> Result<Resolved, RegistryError> {
    let Read { image, manifest, config, origin } =
        read(Some(store), registry, reference, platform).map_err(|error| error.of(reference))?;
    store.blobs().put(&manifest.bytes)?;
    store.blobs().put(&config)?;
    let mut line = Tagged::new(manifest.blob, ManifestKind::Image, now);
    line.name.clone_from(&image.name);
    line.is_docker = manifest.media_type != ManifestKind::Image.media_type();
    line.origin = Some(origin);
    if !image.layers.iter().all(|layer| store.blobs().contains(&layer.blob)) {
        line.remotes = vec![reference.repository.to_string()];
    }
    Ok(Resolved { image, line, reference: reference.clone() })
}

/// Looks at an image of a registry; nothing is kept of it.
///
/// # Errors
/// As [`resolve`].
pub fn look(
    registry: &Registry,
    reference: &Reference,
    platform: &Platform,
) -> Result<StoredImage, RegistryError> {
    read(None, registry, reference, platform).map(|read| read.image).map_err(|error| error.of(reference))
}

/// What a registry says of an image.
struct Read {
    image: StoredImage,
    manifest: RawManifest,
    config: Vec<u8>,
    /// What the name leads to: the manifest, or an index it is in.
    origin: BlobDigest,
}

/// Reads manifest and config of an image; what the store has of them is not asked for.
fn read(
    store: Option<&Store>,
    registry: &Registry,
    reference: &Reference,
    platform: &Platform,
) -> Result<Read, RegistryError> {
    let mut manifest = registry.manifest(reference)?;
    let origin = manifest.blob.digest;
    for _ in 0..DEPTH_LIMIT {
        if manifest.kind == ManifestKind::Image {
            break;
        }
        let digest = choose(reference, &manifest, platform)?;
        let instance = Reference { digest: Some(digest), ..reference.clone() };
        manifest = match store.and_then(|store| known(store, &instance, digest)) {
            Some(known) => known,
            None => registry.manifest(&instance)?,
        };
    }
    let wrong =
        |reason: String| RegistryError::Json { what: "the manifest", name: reference.to_string(), reason };
    if manifest.kind == ManifestKind::Index {
        return Err(wrong("it is an index of indexes of indexes".to_owned()));
    }
    let parsed =
        serde_json::from_slice::<ImageManifest>(&manifest.bytes).map_err(|error| wrong(error.to_string()))?;
    let blob = oci::from_descriptor(parsed.config())
        .ok_or_else(|| wrong("its config has no SHA-256 digest".to_owned()))?;
    let here = store.filter(|store| store.blobs().contains(&blob));
    let config = match here.and_then(|store| store.blobs().read(&blob.digest, JSON_LIMIT).ok()) {
        Some(known) => known,
        None => registry.small_blob(&reference.repository, &blob)?,
    };
    let image = StoredImage::new(Some(reference.full_name()), manifest.blob.digest, parsed, &config)?;
    Ok(Read { image, manifest, config, origin })
}

/// A manifest the store has.
fn known(store: &Store, reference: &Reference, digest: BlobDigest) -> Option<RawManifest> {
    let bytes = store.blobs().read(&digest, JSON_LIMIT).ok()?;
    RawManifest::new(&reference.to_string(), bytes, None).ok()
}

/// The entry of an index for a platform; the only one, if it does not say what it is for.
pub(crate) fn choose(
    reference: &Reference,
    index: &RawManifest,
    wanted: &Platform,
) -> Result<BlobDigest, RegistryError> {
    let parsed = serde_json::from_slice::<ImageIndex>(&index.bytes).map_err(|error| RegistryError::Json {
        what: "the index",
        name: reference.to_string(),
        reason: error.to_string(),
    })?;
    let entries: Vec<_> =
        parsed.manifests().iter().filter(|entry| ManifestKind::of(entry.media_type()).is_some()).collect();
    let of = |entry: &oci_spec::image::Descriptor| entry.platform().as_ref().map(oci::platform);
    let fit = |fitting: &Platform| entries.iter().find(|entry| of(entry).as_ref() == Some(fitting));
    let found = wanted.fitting().iter().find_map(fit);
    let found = found.or(match entries.as_slice() {
        [only] if only.platform().is_none() => Some(only),
        _ => None,
    });
    let digest = found.and_then(|entry| entry.digest().to_string().parse().ok());
    let unstated = || "what it does not state".to_owned();
    digest.ok_or_else(|| RegistryError::Platform {
        reference: reference.to_string(),
        wanted: wanted.to_string(),
        offered: entries.iter().map(|entry| of(entry).map_or_else(unstated, |of| of.to_string())).collect(),
    })
}

/// An image that was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: StoredImage,
    /// Its line of the index.
    pub line: Tagged,
}

/// Fetches what is missing of an image and names it. With `trees` its layers are indexed on the way.
///
/// # Errors
/// When a layer cannot be had; then it has no name.
pub fn pull_layers(
    store: &Store,
    registry: &Registry,
    resolved: Resolved,
    trees: Option<&Trees<'_>>,
    progress: &LayerProgress<'_>,
) -> Result<Pulled, RegistryError> {
    let Resolved { image, mut line, reference } = resolved;
    let source = LayerSource { registry, store, repositories: vec![reference.repository.clone()] };
    source.fetch(&image.layers, trees, progress).map_err(|error| error.of(&reference))?;
    line.remotes.clear();
    let names: Vec<String> = line.name.clone().into_iter().collect();
    store.commit::<RegistryError>(|| Ok(Images::new(store).put(&names, line.clone())?))?;
    Ok(Pulled { image, line })
}

/// Fetches what a line of the index lacks, so that everything it needs is in the store.
///
/// # Errors
/// When a layer cannot be had.
pub fn complete(
    store: &Store,
    registry: &Registry,
    tagged: &Tagged,
    progress: &LayerProgress<'_>,
) -> Result<Tagged, RegistryError> {
    let mut whole = tagged.clone();
    if tagged.remotes.is_empty() {
        return Ok(whole);
    }
    let images = Images::new(store);
    let repositories = repositories_of(tagged);
    let instances = match tagged.kind {
        ManifestKind::Image => vec![tagged.clone()],
        ManifestKind::Index => images.instances(tagged)?.into_iter().map(|(instance, _)| instance).collect(),
    };
    let shown = tagged.name.clone().unwrap_or_else(|| tagged.manifest.digest.to_string());
    for instance in instances {
        let image = images.read(&instance)?;
        let source = LayerSource { registry, store, repositories: repositories.clone() };
        source.fetch(&image.layers, None, progress).map_err(|error| error.of(&shown))?;
    }
    whole.remotes.clear();
    store.commit::<RegistryError>(|| match &whole.name {
        Some(name) => Ok(images.put(std::slice::from_ref(name), whole.clone())?),
        // One image of an index, of which others may still be elsewhere.
        None => Ok(()),
    })?;
    Ok(whole)
}

/// The repositories a line names.
pub(crate) fn repositories_of(tagged: &Tagged) -> Vec<super::Repository> {
    tagged.remotes.iter().filter_map(|text| super::Repository::of(&format!("{text}:latest"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_index_that_states_no_platform_is_told_so() {
        let entry = |at| json!({ "mediaType": ManifestKind::Image.media_type(), "digest": format!("sha256:{at:064}"), "size": 2 });
        let index = json!({ "schemaVersion": 2, "manifests": [entry(1), entry(2)] }).to_string().into_bytes();
        let index = RawManifest::new("x", index, None).unwrap();
        let error = choose(&Reference::parse("x").unwrap(), &index, &Platform::new("linux", "amd64", None));
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with("only for what it does not state, what it does not state"), "{text}");
    }

    #[test]
    fn images_of_older_processors_stand_in_for_those_that_are_not_there() {
        let platform = |text: &str| {
            let parts: Vec<&str> = text.split('/').collect();
            Platform::new(parts[0], parts[1], parts.get(2).copied())
        };
        for (wanted, offered, chosen) in [
            ("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"][..], Some(1)),
            ("linux/arm64/v9", &["linux/arm64"], Some(0)),
            ("linux/arm64", &["linux/arm64/v9", "linux/arm/v7"], None),
            ("linux/arm", &["linux/arm/v6", "linux/arm/v7"], Some(1)),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"], Some(1)),
            ("linux/arm/v7", &["linux/arm/v6", "linux/arm"], Some(1)),
            ("linux/arm/v6", &["linux/arm", "linux/arm/v7", "linux/arm/v5"], Some(2)),
            ("linux/arm/v5", &["linux/arm/v6"], None),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some(1)),
            ("linux/amd64", &["linux/amd64/v2", "linux/amd64/v1"], Some(1)),
            ("linux/amd64", &["windows/amd64", "linux/386"], None),
        ] {
            let digest = |at: usize| format!("sha256:{at:064}");
            let entry = |(at, text): (usize, &&str)| {
                let parts: Vec<&str> = text.split('/').collect();
                let mut of = json!({ "os": parts[0], "architecture": parts[1] });
                if let Some(variant) = parts.get(2) {
                    of["variant"] = json!(variant);
                }
                let media_type = ManifestKind::Image.media_type().to_string();
                json!({ "mediaType": media_type, "digest": digest(at), "size": 2, "platform": of })
            };
            let entries: Vec<_> = offered.iter().enumerate().map(entry).collect();
            let index = json!({ "schemaVersion": 2, "manifests": entries }).to_string().into_bytes();
            let index = RawManifest::new("x", index, None).unwrap();
            let found = choose(&Reference::parse("x").unwrap(), &index, &platform(wanted)).ok();
            assert_eq!(found.map(|found| found.to_string()), chosen.map(digest), "{wanted} of {offered:?}");
        }
    }
}
