//! The result leaves the build: config, manifest, names, and the one commit point.

use std::collections::BTreeMap;

use cache::{CacheError, Store};
use solver::{BlobDigest, Descriptor, ImageSpec};

use crate::build::Built;
use crate::error::BuildError;
use crate::image::{Parts, assemble};
use crate::images::{Images, ManifestKind, StoredImage};

/// What an image is called and told beside its text.
#[derive(Debug, Clone)]
pub struct Export {
    /// Full names.
    pub names: Vec<String>,
    /// Whether the store names the image; if not, it only keeps what it needs for the next build.
    pub is_stored: bool,
    /// `kube-installer` or `app-installer`.
    pub image_type: String,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `created`, in seconds since 1970.
    pub created: i64,
    /// When this is stored, in seconds since 1970; shown by `images`, part of no image.
    pub now: i64,
    /// This program's version.
    pub sealer_version: String,
}

/// A stored image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// The manifest.
    pub manifest: Descriptor,
    /// The config's digest: the image id.
    pub config: BlobDigest,
}

/// Assembles an image, stores it with everything it needs and names it: the commit point of a build.
///
/// # Errors
/// When an application cannot be launched, or the store fails; then no name has changed.
pub fn export(
    store: &Store,
    spec: &ImageSpec,
    built: &Built,
    export: &Export,
) -> Result<Exported, BuildError> {
    let images = Images::new(store);
    let base: Option<StoredImage> = match spec.base.digest {
        Some(_) => {
            let tagged = images.find(&spec.base.reference)?;
            Some(images.read(&images.for_platform(&tagged, &spec.platform)?)?)
        }
        None => None,
    };
    let assembled = assemble(&Parts {
        spec,
        base: base.as_ref(),
        layers: &built.layers,
        own_layer: &built.own_layer,
        facts: &built.facts,
        image_type: &export.image_type,
        annotations: &export.annotations,
        created: export.created,
        sealer_version: &export.sealer_version,
    })?;
    let config = store.blobs().put(&assembled.config)?.digest;
    let manifest = store.blobs().put(&assembled.manifest)?;
    store.commit::<BuildError>(|| {
        if export.is_stored {
            images.tag(&export.names, &manifest, ManifestKind::Image, export.now)?;
        }
        Ok(())
    })?;
    store.touch_root(&manifest.digest.hex());
    Ok(Exported { manifest, config })
}

/// Keeps what a failed build finished, so that the next one starts there. Names nothing.
///
/// # Errors
/// When the store fails.
pub fn keep_finished(store: &Store) -> Result<(), CacheError> {
    store.commit(|| Ok(()))
}
