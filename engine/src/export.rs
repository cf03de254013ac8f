//! The result leaves the build: config, manifest, names, and the one commit point.

use std::collections::BTreeMap;

use cache::{CacheError, Store};
use solver::{Activity, BlobDigest, Descriptor, EventSink, ImageSpec, Layer, Platform, during};

use crate::bases::{BaseImage, Bases};
use crate::build::{Built, BuiltImage};
use crate::error::{BuildError, StepError};
use crate::image::{Parts, assemble};
use crate::images::{Images, ManifestKind, Tagged};
use crate::oci::{self, INLINE_CACHE};
use crate::registry::Repository;
use crate::told::Told;
use crate::transport::layout;

/// Names and other facts of an image that are not in its text.
#[derive(Debug, Clone)]
pub struct Export {
    /// Full names.
    pub names: Vec<String>,
    /// Whether the store names the image; if not, it only keeps what it needs for the next build.
    pub is_stored: bool,
    /// The registry that gets the image, and that may have the base's layers already.
    pub pushed_to: Option<String>,
    /// Layers that are in registries may stay there.
    pub is_lazy: bool,
    /// `kube-installer` or `app-installer`.
    pub image_type: String,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// The cache in the image, see [`inline`](crate::upstream::inline); that of several stands in their index.
    pub inline_cache: Option<String>,
    /// `created`, in seconds since 1970.
    pub created: i64,
    /// When this is stored, in seconds since 1970; shown by `images`, part of no image.
    pub now: i64,
    /// This program's version.
    pub sealer_version: String,
}

/// A stored image, or an index of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its line of the index; the first of its names, if the store names it.
    pub line: Tagged,
    /// The image id: the config's digest, or the index's own.
    pub id: BlobDigest,
    /// The images, one for each platform.
    pub instances: Vec<(Platform, Descriptor)>,
}

/// Fetches the layers of steps that have to be here for the export, and looks into those that came from caches. Nothing is
/// written yet: a build that cannot have them may begin again.
///
/// # Errors
/// When a layer cannot be had, or does not hold what a cache says.
pub fn gather(
    store: &Store,
    built: &Built,
    export: &Export,
    bases: &Bases<'_>,
    events: &dyn EventSink,
) -> Result<(), BuildError> {
    during(events, Activity::Image, || {
        let absent = built.images.iter().flat_map(|image| absent(image, bases));
        let wanted: Vec<Layer> = absent.filter(|layer| export.place_of(layer, bases).is_none()).collect();
        bases.fetch_layers(&wanted)?;
        let Some(upstream) = bases.upstream() else { return Ok(()) };
        let lied = |source| StepError { name: "cache".to_owned(), spans: Vec::new(), source };
        upstream.settle(store).map_err(|error| BuildError::Steps(vec![lied(error)]))
    })
}

/// Layers of an image above its base that are not here.
fn absent<'i>(image: &'i BuiltImage, bases: &Bases<'_>) -> impl Iterator<Item = Layer> + use<'i> {
    let layers = [&image.layers, &image.carried.layers].map(|layers| bases.absent(layers));
    layers.into_iter().flatten()
}

/// Assembles the images, stores them with everything they need and names them: the commit point of a build. Several
/// are named together, by an index, which replaces whatever had the name. Their layers were brought by [`gather`].
///
/// # Errors
/// When an application cannot be launched, a layer of a base cannot be had, or the store fails; then no name has changed.
pub fn export(
    store: &Store,
    specs: &[ImageSpec],
    built: &Built,
    export: &Export,
    bases: &Bases<'_>,
    events: &dyn EventSink,
) -> Result<Exported, BuildError> {
    let Made { instances, mut remotes, id } =
        during(events, Activity::Image, || make(store, specs, built, export, bases, events))?;
    let (manifest, kind) = match instances.as_slice() {
        [(_, only)] => (*only, ManifestKind::Image),
        several => {
            (store.blobs().put(&index_of(several, export.inline_cache.as_deref()))?, ManifestKind::Index)
        }
    };
    remotes.sort();
    remotes.dedup();
    let mut line = Tagged { remotes, ..Tagged::new(manifest, kind, export.now) };
    let images = Images::new(store);
    let name_all = || -> Result<(), BuildError> {
        for base in bases.new_lines() {
            let names: Vec<String> = base.name.clone().into_iter().collect();
            images.put(&names, base)?;
        }
        if export.is_stored {
            images.put(&export.names, line.clone())?;
        }
        Ok(())
    };
    during(events, Activity::Commit, || store.commit(name_all))?;
    store.touch_root(&manifest.digest.hex());
    line.name = export.names.first().cloned();
    let id = if kind == ManifestKind::Image { id.unwrap_or(manifest.digest) } else { manifest.digest };
    Ok(Exported { line, id, instances })
}

/// Manifests, before anything has a name.
#[derive(Default)]
struct Made {
    instances: Vec<(Platform, Descriptor)>,
    /// Repositories that have layers which are not here.
    remotes: Vec<String>,
    /// The last config.
    id: Option<BlobDigest>,
}

/// Writes configs and manifests, and fetches the layers of bases that have to be here.
fn make(
    store: &Store,
    specs: &[ImageSpec],
    built: &Built,
    export: &Export,
    bases: &Bases<'_>,
    events: &dyn EventSink,
) -> Result<Made, BuildError> {
    let mut made = Made::default();
    for (spec, image) in specs.iter().zip(&built.images) {
        let base = image.base.and_then(|digest| bases.get(&digest));
        let assembled = assemble(&Parts {
            spec,
            base: base.as_ref().map(|base| &base.image),
            layers: &image.layers,
            own_layer: &image.own_layer,
            carried: &image.carried,
            facts: &image.facts,
            image_type: &export.image_type,
            annotations: &export.annotations,
            inline_cache: export.inline_cache.as_deref().filter(|_| specs.len() == 1),
            created: export.created,
            sealer_version: &export.sealer_version,
        })?;
        if let Some(base) = base.filter(|base| !bases.absent(&base.image.layers).is_empty()) {
            if export.is_remote_enough(&base) {
                made.remotes.extend(base.repositories().iter().map(Repository::to_string));
            } else {
                let told = Told::new(events);
                bases.complete(&base, &|layer, bytes| told.more(layer, bytes))?;
            }
        }
        let staying = absent(image, bases).filter_map(|layer| export.place_of(&layer, bases));
        made.remotes.extend(staying.map(|repository| repository.to_string()));
        made.id = Some(store.blobs().put(&assembled.config)?.digest);
        let instance = (spec.platform.clone(), store.blobs().put(&assembled.manifest)?);
        // A text that names its platform gives one image, however many are built for.
        if !made.instances.contains(&instance) {
            made.instances.push(instance);
        }
    }
    Ok(made)
}

impl Export {
    /// Whether the layers of a base may stay where they are.
    fn is_remote_enough(&self, base: &BaseImage) -> bool {
        base.repositories().iter().any(|repository| self.may_stay(repository))
    }

    /// The repository of a cache that a layer may stay in.
    fn place_of(&self, layer: &Layer, bases: &Bases<'_>) -> Option<Repository> {
        let repository = bases.upstream()?.repository(&layer.blob)?;
        self.may_stay(&repository).then_some(repository)
    }

    /// Whether what a repository has need not come here.
    fn may_stay(&self, repository: &Repository) -> bool {
        self.is_lazy || Some(&repository.host) == self.pushed_to.as_ref()
    }
}

/// The index of some images, as bytes.
fn index_of(instances: &[(Platform, Descriptor)], inline_cache: Option<&str>) -> Vec<u8> {
    let entry = |(platform, manifest): &(Platform, Descriptor)| {
        let mut entry = oci::descriptor(ManifestKind::Image.media_type(), manifest);
        entry.set_platform(Some(oci::to_platform(platform)));
        entry
    };
    let annotations = inline_cache.map(|cache| (INLINE_CACHE.to_owned(), cache.to_owned()));
    layout::annotated_index(instances.iter().map(entry).collect(), annotations.into_iter().collect())
}

/// Keeps what a failed build finished, so that the next one starts there. Names nothing.
///
/// # Errors
/// When the store fails.
pub fn keep_finished(store: &Store) -> Result<(), CacheError> {
    store.commit(|| Ok(()))
}
