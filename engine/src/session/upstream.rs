//! What a build takes from remote caches, and gives them.

use cache::Table;
use cache::remote::NewRecord;
use solver::{Record, TreeDigest};

use super::Session;
use crate::build::Built;
use crate::discover;
use crate::error::OpError;
use crate::frames::layer_key;
use crate::upstream::{Bundle, Taken};

impl Session<'_> {
    /// Looks steps up in remote caches. Layers of what is found may be elsewhere.
    pub(crate) fn import(&self, keys: &[[u8; 32]]) -> Vec<Option<Record>> {
        let Some(upstream) = self.bases.upstream() else { return keys.iter().map(|_| None).collect() };
        let found = upstream.look_up(keys).into_iter().zip(keys);
        found.map(|(bundle, key)| self.take(key, bundle?)).collect()
    }

    /// Takes over what travelled of a step; `None` if its layer is not as this build wants it.
    fn take(&self, key: &[u8; 32], bundle: Bundle) -> Option<Record> {
        let Bundle { record, layer, scan, layer_key: made_by, .. } = bundle;
        if let solver::Facts::Exec(links) = &record.facts {
            self.add_links(record.delta, links);
        }
        let links = self.links_of(&record.delta);
        if made_by != layer_key(&record.delta, &links, self.options.times, self.options.compression) {
            return None;
        }
        // Its own record is kept once its layer is here and was looked into; until then it is worth nothing without the cache.
        self.bases.upstream()?.took(Taken { key: *key, record: record.clone(), layer: layer.clone() });
        self.store.put(Table::Layers, &made_by, &layer);
        self.store.put(Table::DeltaBlobs, record.delta.as_bytes(), &layer);
        if let Some((key, scan)) = scan.filter(|(key, _)| *key == discover::key_of(&record.delta)) {
            self.store.put(Table::Scans, &key, &scan);
        }
        Some(record)
    }

    /// Makes sure that the files of a delta can be looked at: one that came without them has its layer fetched and read.
    ///
    /// # Errors
    /// When it cannot be had, or holds something else than the cache said.
    pub(crate) fn readable(&self, delta: &TreeDigest) -> Result<(), OpError> {
        let Some(upstream) = self.bases.upstream() else { return Ok(()) };
        if self.trees.load(delta).is_ok() {
            return Ok(());
        }
        let Some(layer) = self.contents.layer_of(delta)? else { return Ok(()) };
        upstream.look_into(&layer, delta, self.store, &self.trees)?;
        self.contents.add_image_layer(*delta, layer);
        Ok(())
    }

    /// Adds what others may want of the steps of a build: those that have a layer of their own, with all that is known of them
    /// by now.
    pub fn add_records(&self, built: &mut Built) {
        let steps = std::mem::take(&mut built.steps);
        built.records.extend(self.bundles(&steps));
    }

    fn bundles(&self, steps: &[([u8; 32], Record)]) -> Vec<NewRecord> {
        let bundle = |(key, record): &([u8; 32], Record)| {
            let layer = self.known_layer(&record.delta)?;
            let links = self.links_of(&record.delta);
            let made_by = layer_key(&record.delta, &links, self.options.times, self.options.compression);
            let scan = discover::key_of(&record.delta);
            let scan = self.store.get(Table::Scans, &scan).map(|found| (scan, found));
            Some(Bundle::new(record.clone(), made_by, layer, scan).under(key))
        };
        steps.iter().filter_map(bundle).collect()
    }
}
