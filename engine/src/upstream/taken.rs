//! What a build takes from remote caches, until its layers are here.

use std::collections::HashMap;
use std::sync::PoisonError;

use cache::{Store, Table};
use rayon::prelude::*;
use solver::{Layer, Record, TreeDigest};

use super::{Bundle, Upstream};
use crate::discover::{self, Scan};
use crate::error::OpError;
use crate::session::STACK_SIZE;
use crate::stamp;
use crate::tree::Trees;

/// What a cache says of a delta. It counts for this build; the store learns of it once its layer is here and was checked.
#[derive(Debug)]
pub(super) struct Taken {
    layer_key: [u8; 32],
    pub(super) layer: Layer,
    /// Places for container images. No digest covers them, so the store never learns of them.
    scan: Option<Scan>,
    /// The steps that it answers for, by their keys.
    steps: Vec<([u8; 32], Record)>,
}

impl Upstream<'_> {
    /// Notes that a step was taken from a cache. The first layer of a delta counts.
    pub(crate) fn took(&self, key: &[u8; 32], bundle: Bundle) {
        let Bundle { record, layer_key, layer, scan, .. } = bundle;
        let scan = scan.filter(|(key, _)| *key == discover::key_of(&record.delta)).map(|(_, scan)| scan);
        let new = || Taken { layer_key, layer, scan, steps: Vec::new() };
        self.lock_taken().entry(record.delta).or_insert_with(new).steps.push((*key, record));
    }

    /// The layer of a delta that was taken.
    pub(crate) fn layer_of(&self, delta: &TreeDigest) -> Option<Layer> {
        self.of_taken(delta, |taken| Some(taken.layer.clone()))
    }

    /// The same, if it was made by this key.
    pub(crate) fn layer_by(&self, delta: &TreeDigest, key: &[u8; 32]) -> Option<Layer> {
        self.of_taken(delta, |taken| (taken.layer_key == *key).then(|| taken.layer.clone()))
    }

    /// The places for container images in a delta that was taken.
    pub(crate) fn scan_of(&self, delta: &TreeDigest) -> Option<Scan> {
        self.of_taken(delta, |taken| taken.scan.clone())
    }

    fn of_taken<T>(&self, delta: &TreeDigest, read: impl FnOnce(&Taken) -> Option<T>) -> Option<T> {
        if self.is_distrusted() {
            return None;
        }
        self.lock_taken().get(delta).and_then(read)
    }

    /// Checks the layers that came from caches, and remembers their steps.
    ///
    /// # Errors
    /// When one cannot be read, or does not hold what its record says.
    pub(crate) fn settle(&self, store: &Store) -> Result<(), OpError> {
        let trees = Trees::new(store);
        let here: Vec<(TreeDigest, Taken)> =
            self.lock_taken().extract_if(|_, taken| store.blobs().contains(&taken.layer.blob)).collect();
        if here.is_empty() || self.is_distrusted() {
            return Ok(());
        }
        let pool = rayon::ThreadPoolBuilder::new().stack_size(STACK_SIZE).build();
        let pool = pool.map_err(|error| OpError::Thread(std::io::Error::other(error)))?;
        pool.install(|| {
            here.par_iter().try_for_each(|(delta, Taken { layer_key, layer, steps, .. })| {
                self.look_into(layer, delta, store, &trees)?;
                store.put(Table::Layers, layer_key, layer);
                store.put(Table::DeltaBlobs, delta.as_bytes(), layer);
                steps.iter().for_each(|(key, record)| stamp::put(store, Table::Steps, key, record));
                Ok(())
            })
        })
    }

    pub(super) fn lock_taken(&self) -> std::sync::MutexGuard<'_, HashMap<TreeDigest, Taken>> {
        // A panic leaves only whole entries behind.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use solver::{DiffId, Facts, MediaType};

    use super::*;

    #[test]
    fn what_was_taken_falls_with_distrust() {
        let upstream = Upstream::default();
        let delta = TreeDigest::from_bytes([1; 32]);
        let layer = Layer {
            blob: crate::oci::described(b"layer"),
            diff_id: DiffId::from_bytes([2; 32]),
            media_type: MediaType::Tar,
            frames: Vec::new(),
        };
        let scan = |delta| Some((discover::key_of(&delta), Scan::Delta(Vec::new())));
        let bundle =
            |scan| Bundle::new(Record { delta, facts: Facts::None }, ([3; 32], layer.clone()), scan, "");
        upstream.took(&[4; 32], bundle(scan(delta)));
        assert_eq!(upstream.layer_by(&delta, &[3; 32]), Some(layer.clone()));
        assert_eq!(upstream.layer_by(&delta, &[4; 32]), None);
        assert!(upstream.layer_of(&delta).is_some() && upstream.scan_of(&delta).is_some());
        upstream.distrust();
        assert!(upstream.layer_of(&delta).is_none() && upstream.scan_of(&delta).is_none());
        // What is said of another delta is not said of this one.
        let upstream = Upstream::default();
        upstream.took(&[4; 32], bundle(scan(TreeDigest::from_bytes([5; 32]))));
        assert!(upstream.scan_of(&delta).is_none());
    }
}
