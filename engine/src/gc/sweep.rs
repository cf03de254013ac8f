//! Records that lead nowhere any more.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use cache::{CacheError, Store, Table};
use solver::{BlobDigest, ContentDigest, Descriptor, Layer, Record, TreeDigest};

use crate::container::{Kept, Known, Place};
use crate::discover::Scan;
use crate::explain::Trace;
use crate::frames::{Checkpoint, KnownFrame};
use crate::outcome::Outcome;
use crate::pieces::LARGE;
use crate::source::http::HttpRecord;
use crate::source::packed::Packed;
use crate::stamp::Stamped;
use crate::stat::Summary;
use crate::tree::{Node, Trees};

/// Every record that needs a blob which is not kept, and, where an age is given, every record that nothing kept leads to
/// and that has not been used for so long.
pub(super) fn find(
    store: &Store,
    kept: &HashMap<BlobDigest, u64>,
    unused_for: Option<Duration>,
) -> Result<Vec<(Table, Vec<u8>)>, CacheError> {
    let mut sweep = Sweep { store, kept, unused_for, live: HashSet::new(), gone: Vec::new() };
    sweep.blobs()?;
    if unused_for.is_some() {
        sweep.steps()?;
        sweep.trees()?;
    }
    Ok(sweep.gone)
}

struct Sweep<'a> {
    store: &'a Store,
    kept: &'a HashMap<BlobDigest, u64>,
    unused_for: Option<Duration>,
    /// Deltas that something kept leads to.
    live: HashSet<TreeDigest>,
    gone: Vec<(Table, Vec<u8>)>,
}

impl Sweep<'_> {
    fn has(&self, blob: &Descriptor) -> bool {
        self.kept.get(&blob.digest) == Some(&blob.size)
    }

    fn is_old<T>(&self, stamped: &Stamped<T>) -> bool {
        self.unused_for.is_some_and(|limit| stamped.age() >= limit)
    }

    /// Goes through a table; what cannot be read goes too.
    fn each<V: serde::de::DeserializeOwned>(
        &mut self,
        table: Table,
        mut is_kept: impl FnMut(&Self, &[u8], V) -> bool,
    ) -> Result<(), CacheError> {
        let mut gone = Vec::new();
        self.store.scan(table, &mut |key, value: Option<V>| {
            if !value.is_some_and(|value| is_kept(self, key, value)) {
                gone.push((table, key.to_vec()));
            }
        })?;
        self.gone.append(&mut gone);
        Ok(())
    }

    /// Records that stand for a blob, and the deltas that kept ones are of.
    fn blobs(&mut self) -> Result<(), CacheError> {
        for table in [Table::Layers, Table::DeltaBlobs, Table::Converted] {
            self.each(table, |sweep, _, layer: Layer| sweep.has(&layer.blob))?;
        }
        self.each(Table::Frames, |sweep, _, frame: KnownFrame| sweep.has(&frame.blob))?;
        self.each(Table::Http, |sweep, _, record: HttpRecord| sweep.has(&record.blob))?;
        let is_kept = |sweep: &Self, key: &[u8]| {
            key.try_into().is_ok_and(|digest| sweep.kept.contains_key(&BlobDigest::from_bytes(digest)))
        };
        self.each(Table::Checkpoints, |sweep, key, _: Vec<Checkpoint>| is_kept(sweep, key))?;
        self.each(Table::Places, |sweep, key, place: Place| {
            place.is_kept(key, |layer| sweep.has(layer), |key| is_kept(sweep, key))
        })?;
        let mut live = Vec::new();
        self.each(Table::Packed, |sweep, _, packed: Packed| {
            let is_whole = packed.parts.iter().all(|(_, layer)| sweep.has(&layer.blob));
            if is_whole {
                live.extend(packed.parts.iter().map(|(tree, _)| *tree).chain([packed.tree]));
            }
            is_whole
        })?;
        self.each(Table::LayerIndex, |sweep, key, tree: TreeDigest| {
            let is_kept = is_kept(sweep, key);
            live.extend(is_kept.then_some(tree));
            is_kept
        })?;
        self.each(Table::Outcomes, |sweep, _, outcome: Outcome| {
            let is_whole = outcome.layers().all(|layer| sweep.has(&layer.blob));
            if is_whole {
                live.extend(
                    outcome.images.iter().flat_map(|image| &image.records).map(|record| record.delta),
                );
            }
            is_whole
        })?;
        self.live.extend(live);
        Ok(())
    }

    /// Steps, and what is remembered of single things; those that are young stay, and what they lead to.
    fn steps(&mut self) -> Result<(), CacheError> {
        self.stamped(Table::Steps, |record: Record| record.delta)?;
        self.stamped(Table::Traces, |trace: Trace| trace.delta)?;
        self.each(Table::Groups, |sweep, _, tree: TreeDigest| sweep.live.contains(&tree))?;
        self.each(Table::Scans, |sweep, key, scan: Scan| {
            let deltas = scan.deltas(key);
            !deltas.is_empty() && deltas.iter().all(|delta| sweep.live.contains(delta))
        })?;
        self.each(Table::Resolved, |sweep, _, known: Stamped<Known>| !sweep.is_old(&known))?;
        self.each(Table::Manifests, |sweep, _, kept: Stamped<Kept>| !sweep.is_old(&kept))?;
        self.each(Table::Durations, |sweep, _, millis: Stamped<u64>| !sweep.is_old(&millis))?;
        self.each(Table::Archives, |sweep, _, dirs: Stamped<Vec<Vec<u8>>>| !sweep.is_old(&dirs))?;
        self.directories()
    }

    /// What is remembered of directories of the host: the entries as long as what says whether they are as they were.
    fn directories(&mut self) -> Result<(), CacheError> {
        let mut kept = HashSet::new();
        self.each(Table::Stat, |sweep, key, summary: Stamped<Option<Summary>>| {
            let is_kept = !sweep.is_old(&summary);
            if is_kept {
                kept.insert(key.to_vec());
            }
            is_kept
        })?;
        self.keys(Table::Listings, |key| kept.contains(key))
    }

    /// Goes through a table by its keys alone.
    fn keys(&mut self, table: Table, is_kept: impl Fn(&[u8]) -> bool) -> Result<(), CacheError> {
        let gone = &mut self.gone;
        self.store.scan_keys(table, &mut |key| {
            if !is_kept(key) {
                gone.push((table, key.to_vec()));
            }
        })
    }

    /// Records that lead to a delta: kept while they are young, or while something else leads to it.
    fn stamped<T: serde::de::DeserializeOwned>(
        &mut self,
        table: Table,
        delta: impl Fn(T) -> TreeDigest,
    ) -> Result<(), CacheError> {
        let mut live = Vec::new();
        self.each(table, |sweep, _, stamped: Stamped<T>| {
            let is_old = sweep.is_old(&stamped);
            let delta = delta(stamped.into_value());
            let is_kept = !is_old || sweep.live.contains(&delta);
            live.extend(is_kept.then_some(delta));
            is_kept
        })?;
        self.live.extend(live);
        Ok(())
    }

    /// Directories, and the pieces of large files in them.
    fn trees(&mut self) -> Result<(), CacheError> {
        let trees = Trees::new(self.store);
        let mut reached = HashSet::new();
        let mut large: HashSet<ContentDigest> = HashSet::new();
        let mut pending: Vec<TreeDigest> = self.live.iter().copied().collect();
        while let Some(tree) = pending.pop() {
            if !reached.insert(tree) {
                continue;
            }
            // One that is missing already is missed by whoever needs it.
            let Ok(directory) = trees.load(&tree) else { continue };
            trees.forget(&tree);
            for entry in directory.entries.values() {
                match entry.node {
                    Node::Dir(child) => pending.push(child),
                    Node::File { content, size } if size > LARGE => _ = large.insert(content),
                    _ => {}
                }
            }
        }
        let digest = |key: &[u8]| <[u8; 32]>::try_from(key).ok();
        self.keys(Table::Trees, |key| {
            digest(key).is_some_and(|key| reached.contains(&TreeDigest::from_bytes(key)))
        })?;
        self.keys(Table::Pieces, |key| {
            digest(key).is_some_and(|key| large.contains(&ContentDigest::from_bytes(key)))
        })
    }
}
