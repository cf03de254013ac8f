//! Container images named in an image's files: in manifests, lists, and in what charts render to (spec §3.5).
//!
//! Until images are carried, a find stops the build in mode `all`. What was found is remembered, so a build that
//! changes nothing searches nothing.

mod charts;
mod collect;
mod documents;
mod external;
mod found;
mod lines;
mod search;
mod units;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use cache::{Store, Table};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use solver::TreeDigest;

pub use self::found::{ChartOf, Discovered, FoundBy, FoundImage, Rendering, SearchedChart, SkippedWord};
pub(crate) use self::lines::listed;
pub(crate) use self::search::Searcher;
pub(crate) use self::units::Unit;
pub use self::values::ValuesError;
pub(crate) use self::values::{FILE_LIMIT, Values};

use self::search::Search;
use self::units::{Part, parts, visible};
use crate::error::BuildError;
use crate::state::State;

/// Number of the rules by which the same files give the same finds. Whoever changes the rules, or how charts are
/// rendered, counts it up, and everything is searched again.
const RULES: u8 = 5;

/// What is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Scan {
    /// Of a delta: what it has of the places that are searched.
    Delta(Vec<Part>),
    /// Of a tree of a place: the deltas that have parts of it, and what is in it. For trees merged of several, and for
    /// those whose charts are rendered with given values.
    Merged(Vec<TreeDigest>, Search),
}

impl Scan {
    /// The deltas it is good for; none, if other rules made it.
    pub(crate) fn deltas(self, key: &[u8]) -> Vec<TreeDigest> {
        match (self, key) {
            (Self::Delta(_), [RULES, 0, digest @ ..]) => {
                digest.try_into().map(TreeDigest::from_bytes).into_iter().collect()
            }
            (Self::Merged(deltas, _), [RULES, ..]) => deltas,
            _ => Vec::new(),
        }
    }
}

/// What is asked beside the files.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// Values for the charts of applications.
    pub(crate) values: BTreeMap<String, Values>,
    /// Applications that are not looked at.
    pub(crate) skip: &'a BTreeSet<String>,
    /// The only places that are looked at, if not all are.
    pub(crate) only: Option<BTreeSet<Unit>>,
}

/// The places that some deltas change; `None` if they take all applications away.
///
/// # Errors
/// When a directory is missing.
pub(crate) fn changed_places(
    deltas: &[TreeDigest],
    store: &Store,
    searcher: &Searcher<'_>,
) -> Result<Option<BTreeSet<Unit>>, BuildError> {
    let deltas = Deltas::look_up(deltas, store, searcher)?;
    Ok(deltas.parts.iter().flatten().map(|part| part.unit.clone()).collect())
}

/// The key of a delta, or of a tree of a place: the same files mean different things in different places, and with
/// different values.
fn key(unit: Option<&Unit>, tree: &TreeDigest, values: Option<&Values>) -> Vec<u8> {
    let place = match unit {
        None => 0,
        Some(Unit::Manifests) => 1,
        Some(Unit::Charts) => 2,
        Some(Unit::Application(_)) => 3,
    };
    let values = values.map(Values::digest).unwrap_or_default();
    [&[RULES, place][..], tree.as_bytes(), &values].concat()
}

/// What the places of a delta are remembered by.
pub(crate) fn key_of(delta: &TreeDigest) -> Vec<u8> {
    key(None, delta, None)
}

/// Finds the container images that the files of a state name.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn discover(
    state: &State,
    asked: &Asked<'_>,
    store: &Store,
    searcher: &Searcher<'_>,
    pool: &rayon::ThreadPool,
) -> Result<Discovered, BuildError> {
    let mut deltas = Deltas::look_up(&state.deltas, store, searcher)?;
    let mut units = visible(&deltas.parts);
    units.retain(|unit, _| !unit.application().is_some_and(|name| asked.skip.contains(&name)));
    units.retain(|unit, _| asked.only.as_ref().is_none_or(|only| only.contains(unit)));
    // Charts are rendered with the stack of the pool's threads.
    let searches: Vec<Result<Searching, BuildError>> = pool.install(|| {
        let search = |(unit, shown): (&Unit, &Vec<(usize, usize)>)| {
            let values = unit.application().and_then(|name| asked.values.get(&name));
            let searcher = Searcher { values: values.filter(|values| !values.is_empty()), ..*searcher };
            deltas.search(unit, shown, store, &searcher)
        };
        units.par_iter().map(search).collect()
    });
    let mut discovered = Discovered::default();
    for ((unit, shown), search) in units.iter().zip(searches) {
        let Searching { search, is_new } = search?;
        discovered.add(unit, &search);
        if let (true, [(delta, part)]) = (is_new, shown.as_slice()) {
            deltas.parts[*delta][*part].search = Some(search);
            deltas.changed[*delta] = true;
        }
    }
    for ((delta, parts), changed) in deltas.digests.iter().zip(deltas.parts).zip(deltas.changed) {
        if changed {
            store.put(Table::Scans, &key(None, delta, None), &Scan::Delta(parts));
        }
    }
    discovered.images.sort();
    discovered.images.dedup();
    Ok(discovered)
}

/// What is in a place, and whether that is new to the delta that has it alone.
struct Searching {
    search: Search,
    is_new: bool,
}

/// The deltas of a state, with what is known of them.
struct Deltas<'a> {
    digests: &'a [TreeDigest],
    parts: Vec<Vec<Part>>,
    /// Whether there is something new to remember.
    changed: Vec<bool>,
}

impl<'a> Deltas<'a> {
    fn look_up(
        digests: &'a [TreeDigest],
        store: &Store,
        searcher: &Searcher<'_>,
    ) -> Result<Self, BuildError> {
        let keys: Vec<Vec<u8>> = digests.iter().map(|delta| key(None, delta, None)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut found = Self { digests, parts: Vec::new(), changed: Vec::new() };
        for (delta, known) in digests.iter().zip(store.get_many(Table::Scans, &keys)) {
            let (known, changed) = match known {
                Some(Scan::Delta(known)) => (known, false),
                _ => match searcher.taken(delta) {
                    Some(known) => (known, false),
                    None => (parts(searcher.trees, delta)?, true),
                },
            };
            found.parts.push(known);
            found.changed.push(changed);
        }
        Ok(found)
    }

    /// What is in a place: as remembered, or searched now.
    fn search(
        &self,
        unit: &Unit,
        shown: &[(usize, usize)],
        store: &Store,
        searcher: &Searcher<'_>,
    ) -> Result<Searching, BuildError> {
        let known = |search| Ok(Searching { search, is_new: false });
        let newest_first = shown.iter().rev();
        let trees: Vec<TreeDigest> =
            newest_first.filter_map(|(delta, part)| self.parts[*delta][*part].tree).collect();
        let tree = match (shown, trees.as_slice()) {
            ([(delta, part)], [tree]) if searcher.values.is_none() => {
                return match &self.parts[*delta][*part].search {
                    Some(search) if searcher.is_content_with(search) => known(search.clone()),
                    _ => Ok(Searching { search: searcher.search(unit, tree)?, is_new: true }),
                };
            }
            (_, [tree]) => *tree,
            (_, several) => State::merged(searcher.trees, several)?,
        };
        let key = key(Some(unit), &tree, searcher.values);
        if let Some(Scan::Merged(_, search)) = store.get(Table::Scans, &key)
            && searcher.is_content_with(&search)
        {
            return known(search);
        }
        let search = searcher.search(unit, &tree)?;
        let deltas = shown.iter().map(|(delta, _)| self.digests[*delta]).collect();
        store.put(Table::Scans, &key, &Scan::Merged(deltas, search.clone()));
        known(search)
    }
}
