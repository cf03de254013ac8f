//! The places of an image that are searched, each a tree of its own: `manifests`, `charts`, and every application.
//!
//! What a delta has of them is remembered by the delta, and what is found in one of its trees with it: so a build that
//! changes nothing looks one record up for each delta, and one that changes an application searches that one again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use solver::TreeDigest;

use super::search::Search;
use crate::tree::{Directory, Node, TreeError, Trees};

/// A place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Unit {
    /// `manifests/`
    Manifests,
    /// `charts/`
    Charts,
    /// `application/apps/NAME/`
    Application(Vec<u8>),
}

impl Unit {
    /// Its path in the image.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Manifests => "manifests".to_owned(),
            Self::Charts => "charts".to_owned(),
            Self::Application(name) => format!("application/apps/{}", String::from_utf8_lossy(name)),
        }
    }

    /// The application it is.
    pub(crate) fn application(&self) -> Option<String> {
        match self {
            Self::Application(name) => Some(String::from_utf8_lossy(name).into_owned()),
            Self::Manifests | Self::Charts => None,
        }
    }
}

/// What a delta says about a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// `None` means every application.
    pub(super) unit: Option<Unit>,
    /// What it has there; nothing, where it only takes away.
    pub(super) tree: Option<TreeDigest>,
    /// Nothing of what older deltas have there shows through.
    pub(super) hides: bool,
    /// What is in the tree, if somebody looked.
    pub(super) search: Option<Search>,
}

impl Part {
    /// Whether its files need not be looked at again.
    pub(crate) fn is_searched(&self) -> bool {
        self.tree.is_none() || self.search.is_some()
    }
}

/// What a delta has of the places.
///
/// # Errors
/// If a directory object is missing.
pub(super) fn parts(trees: &Trees<'_>, delta: &TreeDigest) -> Result<Vec<Part>, TreeError> {
    let mut parts = Vec::new();
    let root = trees.load(delta)?;
    for (name, unit) in [(&b"manifests"[..], Unit::Manifests), (b"charts", Unit::Charts)] {
        parts.extend(part(trees, &root, name, Some(unit))?);
    }
    let applications = part(trees, &root, b"application", None)?;
    let Some(Part { tree: Some(tree), .. }) = applications else {
        parts.extend(applications);
        return Ok(parts);
    };
    parts.extend(applications.filter(|part| part.hides).map(|part| Part { tree: None, ..part }));
    let apps = part(trees, &*trees.load(&tree)?, b"apps", None)?;
    let Some(Part { tree: Some(tree), .. }) = apps else {
        parts.extend(apps);
        return Ok(parts);
    };
    parts.extend(apps.filter(|part| part.hides).map(|part| Part { tree: None, ..part }));
    let apps = trees.load(&tree)?;
    for name in apps.entries.names() {
        parts.extend(part(trees, &apps, name, Some(Unit::Application(name.to_vec())))?);
    }
    Ok(parts)
}

fn part(
    trees: &Trees<'_>,
    directory: &Directory,
    name: &[u8],
    unit: Option<Unit>,
) -> Result<Option<Part>, TreeError> {
    let (tree, hides) = match directory.entries.get(name).map(|entry| &entry.node) {
        Some(Node::Dir(tree)) => (Some(*tree), directory.opaque || trees.load(tree)?.opaque),
        // A whiteout, or something that is no directory.
        Some(_) => (None, true),
        None if directory.opaque => (None, true),
        None => return Ok(None),
    };
    Ok(Some(Part { unit, tree, hides, search: None }))
}

/// The places of a state: for each the parts that show through, oldest first, as indices of delta and part.
pub(super) fn visible(deltas: &[Vec<Part>]) -> BTreeMap<Unit, Vec<(usize, usize)>> {
    let mut units: BTreeMap<Unit, Vec<(usize, usize)>> = BTreeMap::new();
    for (delta, parts) in deltas.iter().enumerate() {
        for (at, part) in parts.iter().enumerate() {
            match &part.unit {
                None => units.retain(|unit, _| !matches!(unit, Unit::Application(_))),
                Some(unit) => {
                    let shown = units.entry(unit.clone()).or_default();
                    if part.hides {
                        shown.clear();
                    }
                    shown.extend(part.tree.map(|_| (delta, at)));
                }
            }
        }
    }
    units.retain(|_, parts| !parts.is_empty());
    units
}

#[cfg(test)]
#[path = "units_tests.rs"]
mod tests;
