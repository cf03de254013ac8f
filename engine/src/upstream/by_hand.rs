//! Caches by hand: `sealer cache export`, `import` and `inspect`.

use std::collections::{HashMap, HashSet};

use cache::remote::{ListedRecord, RemoteError};
use cache::{CacheError, Store, Table};
use rayon::prelude::*;
use solver::{BlobDigest, Descriptor, Layer, MediaType, Record};
use thiserror::Error;

use super::{Bundle, Cached, PackedTree, Shipment, Upstream, same};
use crate::bases::Bases;
use crate::discover::{self, Scan};
use crate::error::OpError;
use crate::frames::{LayerCompression, layer_key};
use crate::history::history;
use crate::images::{Images, ImagesError, ManifestKind, Tagged};
use crate::layer::TimePolicy;
use crate::registry::{Registry, RegistryError};
use crate::session::STACK_SIZE;
use crate::source::http;
use crate::stamp::{self, Stamped};
use crate::tree::Trees;

/// The highest level of any compression.
const LEVEL_LIMIT: u32 = 22;

/// Why a cache could not be exported, imported or inspected.
#[derive(Debug, Error)]
pub enum ByHandError {
    /// The cache cannot be read.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A layer cannot be had.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layer is not what the cache says.
    #[error(transparent)]
    Layer(#[from] OpError),
    /// The store.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// An image of it.
    #[error(transparent)]
    Images(#[from] ImagesError),
}

/// A record of a cache, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key without the table, in hexadecimal digits.
    pub key: String,
    /// The step it is of, which may have no name; `None` for what this version does not understand.
    pub step: Option<String>,
    /// Its layer's format.
    pub layer: Option<MediaType>,
    /// Blobs it needs.
    pub blobs: Vec<Descriptor>,
    /// Its own size, in bytes.
    pub size: u64,
    /// The day it was last used, in days since 1970; 0 in an image.
    pub day: u32,
    /// Whether it is signed: with the key, if one is known.
    pub is_signed: bool,
}

/// What came of an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Steps that the store knows now.
    pub steps: usize,
    /// Layers that came.
    pub layers: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Records that were not imported: unsigned, of another version, without their layer, or of URLs.
    pub left: usize,
}

/// Everything a cache has, by the name of the step.
///
/// # Errors
/// When any of it cannot be read.
pub fn list(cached: &Cached<'_>) -> Result<Vec<Listed>, RemoteError> {
    let all = cached.cache.list()?;
    let of_step = |one: &ListedRecord| Table::Steps.key_in(&one.key).and(Bundle::read(&one.record.value));
    let names: HashMap<&[u8], String> =
        all.iter().filter_map(|one| Some((Table::Steps.key_in(&one.key)?, of_step(one)?.name))).collect();
    let name = |one: &ListedRecord| {
        if Table::Http.key_in(&one.key).is_some() {
            return http::name_of(&one.record.value).map(|name| format!("`{name}` of a URL"));
        }
        let own = Table::Steps.key_in(&one.key)?;
        let target = same::target(&one.record.value);
        names.get(target.as_ref().map_or(own, |key| &key[..])).cloned()
    };
    let listed = |one: &ListedRecord| Listed {
        size: (one.key.len() + one.record.value.len()) as u64,
        key: hex::encode(one.key.get(1..).unwrap_or_default()),
        layer: of_step(one).map(|bundle| bundle.layer.media_type),
        step: name(one),
        blobs: one.record.blobs.clone(),
        day: one.day,
        is_signed: one.is_signed,
    };
    let mut all: Vec<Listed> = all.iter().map(listed).collect();
    all.sort_by(|a, b| (&a.step, &a.key).cmp(&(&b.step, &b.key)));
    Ok(all)
}

/// The steps whose layers the store has, for a cache: all of them, or only those with layers of certain images. Their names are
/// those in the histories of images.
///
/// # Errors
/// When the store or one of the images cannot be read.
pub fn known_steps(
    store: &Store,
    only: Option<&[Tagged]>,
    compression: LayerCompression,
    times: TimePolicy,
) -> Result<Shipment, ByHandError> {
    let names = names_of_layers(store, only)?;
    let trees = Trees::new(store);
    let mut shipment = Shipment::default();
    let compressions = [compression, LayerCompression::NONE];
    store.scan(Table::Steps, &mut |key, record: Option<Stamped<Record>>| {
        let (Ok(key), Some(record)) = (key.try_into(), record.map(Stamped::into_value)) else { return };
        let layer = compressions.iter().find_map(|&compression| {
            let made_by = layer_key(&record.delta, record.links(), times, compression);
            let layer: Layer = store.get(Table::Layers, &made_by)?;
            store.blobs().contains(&layer.blob).then_some((made_by, layer))
        });
        let Some(layer) = layer else { return };
        let name = names.get(&layer.1.blob.digest);
        if only.is_some() && name.is_none() {
            return;
        }
        let scan = discover::key_of(&record.delta);
        let scan = store.get::<Scan>(Table::Scans, &scan).map(|found| (scan, found));
        let name = name.map(String::as_str).unwrap_or_default();
        let (tree, blob) = PackedTree::of(&trees, &record.delta).unzip();
        shipment.blobs.extend(blob.flatten());
        shipment.records.push(Bundle::new(record, layer, scan, name).with_tree(tree).under(&key));
    })?;
    Ok(shipment)
}

/// Names of layers, from the histories of images. An unreadable image is an error only if it was asked for.
fn names_of_layers(
    store: &Store,
    only: Option<&[Tagged]>,
) -> Result<HashMap<BlobDigest, String>, ByHandError> {
    let images = Images::new(store);
    let mut names = HashMap::new();
    let mut add = |tagged: &Tagged| {
        let instances = match tagged.kind {
            ManifestKind::Image => vec![tagged.clone()],
            ManifestKind::Index => images.instances(tagged)?.into_iter().map(|(image, _)| image).collect(),
        };
        for instance in &instances {
            let steps = history(&images.read(instance)?).into_iter();
            names.extend(steps.filter_map(|step| Some((step.layer?.parse().ok()?, step.created_by))));
        }
        Ok::<_, ImagesError>(())
    };
    match only {
        Some(only) => only.iter().try_for_each(add)?,
        None => images.list()?.iter().for_each(|tagged| drop(add(tagged))),
    }
    Ok(names)
}

/// Brings a whole cache into the store: the layers, each of which is indexed and checked, and the records of their steps.
///
/// # Errors
/// When the cache cannot be read, or one of the layers is not there or is not what a record says. What came whole stays.
pub fn import(
    store: &Store,
    registry: &Registry,
    cached: Cached<'_>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Imported, ByHandError> {
    let listed = cached.cache.list()?;
    let keys: Vec<[u8; 32]> =
        listed.iter().filter_map(|record| Table::Steps.key_in(&record.key)?.try_into().ok()).collect();
    let upstream = Upstream::new(vec![cached]);
    let found = upstream.look_up(&keys);
    let steps: Vec<([u8; 32], Bundle)> =
        keys.into_iter().zip(found).filter_map(|(key, bundle)| Some((key, bundle?))).collect();
    let same = by_content(&listed, &steps);
    let (trees, bases) = (Trees::new(store), Bases::new(store, registry).cached(&upstream));
    let mut seen = HashSet::new();
    let is_new = |layer: &&Layer| !store.blobs().contains(&layer.blob) && seen.insert(layer.blob.digest);
    let missing: Vec<&Layer> = steps.iter().map(|(_, bundle)| &bundle.layer).filter(is_new).collect();
    let pool = rayon::ThreadPoolBuilder::new().stack_size(STACK_SIZE).build();
    let pool = pool.map_err(|error| CacheError::Io(std::io::Error::other(error)))?;
    pool.install(|| {
        missing.par_iter().try_for_each(|layer| {
            bases.fetch_layer(layer)?;
            progress(layer.blob.size);
            Ok::<_, RegistryError>(())
        })?;
        steps.par_iter().try_for_each(|(key, bundle)| {
            upstream.look_into(&bundle.layer, &bundle.record.delta, store, &trees)?;
            keep(store, key, bundle);
            Ok::<_, OpError>(())
        })?;
        Ok::<_, ByHandError>(())
    })?;
    same.iter().for_each(|(content, record)| stamp::put(store, Table::Steps, content, *record));
    store.commit::<CacheError>(|| Ok(()))?;
    Ok(Imported {
        steps: steps.len(),
        layers: missing.len(),
        bytes: missing.iter().map(|layer| layer.blob.size).sum(),
        // A cache may answer otherwise to the look-up than to the listing.
        left: listed.len().saturating_sub(steps.len() + same.len()),
    })
}

/// Content keys that lead to imported steps, with the records of these.
fn by_content<'s>(listed: &[ListedRecord], steps: &'s [([u8; 32], Bundle)]) -> Vec<([u8; 32], &'s Record)> {
    let known: HashMap<&[u8; 32], &Record> =
        steps.iter().map(|(key, bundle)| (key, &bundle.record)).collect();
    let one = |listed: &ListedRecord| {
        let content = Table::Steps.key_in(&listed.key)?.try_into().ok()?;
        Some((content, *known.get(&same::target(&listed.record.value)?)?))
    };
    listed.iter().filter_map(one).collect()
}

/// Remembers a step whose layer was checked.
fn keep(store: &Store, key: &[u8; 32], Bundle { record, layer_key, layer, .. }: &Bundle) {
    // A layer made with options that this program does not know is made again when it is needed.
    if could_have(layer_key, record, layer.media_type) {
        store.put(Table::Layers, layer_key, layer);
    }
    store.put(Table::DeltaBlobs, record.delta.as_bytes(), layer);
    stamp::put(store, Table::Steps, key, record);
}

/// Whether a layer key can belong to a step: a cache might give one delta the key of another.
fn could_have(key: &[u8; 32], record: &Record, media_type: MediaType) -> bool {
    let mut ways = (0..=LEVEL_LIMIT).flat_map(|level| {
        let compression = LayerCompression { media_type, level };
        [TimePolicy::Fixed(0), TimePolicy::Keep].map(|times| (times, compression))
    });
    ways.any(|(times, compression)| layer_key(&record.delta, record.links(), times, compression) == *key)
}

#[cfg(test)]
mod tests {
    use solver::{DiffId, Facts, HardLinks, TreeDigest};

    use super::*;

    #[test]
    fn a_layer_is_kept_under_no_key_of_another_delta() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let key = |delta: [u8; 32], times| {
            let delta = TreeDigest::from_bytes(delta);
            layer_key(&delta, &HardLinks::default(), times, LayerCompression::default())
        };
        let layer = Layer {
            blob: crate::oci::described(b"layer"),
            diff_id: DiffId::from_bytes([0; 32]),
            media_type: MediaType::TarZstd,
            frames: Vec::new(),
        };
        let kept = |made_by: [u8; 32]| {
            let record = Record { delta: TreeDigest::from_bytes([1; 32]), facts: Facts::None };
            keep(&store, &[9; 32], &Bundle::new(record, (made_by, layer.clone()), None, ""));
            store.get::<Layer>(Table::Layers, &made_by)
        };
        assert_eq!(kept(key([2; 32], TimePolicy::Fixed(0))), None);
        assert_eq!(kept(key([1; 32], TimePolicy::Fixed(0))), Some(layer.clone()));
        assert_eq!(kept(key([1; 32], TimePolicy::Keep)), Some(layer.clone()));
        assert_eq!(store.get(Table::DeltaBlobs, &[1; 32]), Some(layer.clone()));
    }
}
