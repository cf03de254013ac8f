//! The layer limit: which deltas share a layer when there are more than an image may have.
//!
//! Deltas that touch disjoint paths can stand in any order, so they are spread over a power of two of groups by a
//! hash of what they are called. A new or changed app remakes its group and moves no other.

use std::collections::{BTreeMap, HashMap, HashSet};

use solver::{Hasher, TreeDigest};

use crate::delta::OpenDir;
use crate::tree::{Entry, Meta, Node, TreeError, Trees};

/// Most layers of an image, the base's included; overlay and Docker stop near 128.
pub(crate) const LAYER_LIMIT: usize = 120;
/// Most layers of an image whose base has that many: more Docker does not take (`maxLayerDepth`). A base may have more, as
/// long as nothing is put on top of it.
pub(crate) const MOST_LAYERS: usize = 125;

/// A delta of the final stage and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its root.
    pub delta: TreeDigest,
    /// A name that does not depend on its neighbours: the app's, or the destination.
    pub name: String,
    /// The directory it writes to and nobody else does, where that is known without looking.
    pub own_dir: Option<Vec<u8>>,
}

/// Deltas that become one layer, by their positions, ascending. Groups stand in the order of their first member.
pub(crate) type Groups = Vec<Vec<usize>>;

/// Spreads deltas over at most `budget` layers.
///
/// # Errors
/// When a directory object is missing.
pub(crate) fn groups(trees: &Trees<'_>, members: &[Member], budget: usize) -> Result<Groups, TreeError> {
    if members.len() <= budget {
        return Ok((0..members.len()).map(|member| vec![member]).collect());
    }
    let runs = disjoint_runs(trees, members)?;
    if runs.len() > budget {
        // Deltas that overwrite each other keep their order only together with their neighbours.
        let size = members.len().div_ceil(budget);
        let all: Vec<usize> = (0..members.len()).collect();
        return Ok(all.chunks(size).map(<[usize]>::to_vec).collect());
    }
    let mut groups = Groups::new();
    for run in &runs {
        // What a run may use beyond its one layer, by its share of the members.
        let share = 1 + (budget - runs.len()) * run.len() / members.len();
        let bits = share.ilog2();
        let mut buckets: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for &member in run {
            let hash =
                u64::from_be_bytes(first_eight(blake3::hash(members[member].name.as_bytes()).as_bytes()));
            let bucket = if bits == 0 { 0 } else { hash >> (64 - bits) };
            buckets.entry(bucket).or_default().push(member);
        }
        groups.extend(buckets.into_values());
    }
    groups.sort_by_key(|group| group[0]);
    Ok(groups)
}

/// Identity of what [`merged`] makes of a group.
pub(crate) fn group_key(members: &[Member], group: &[usize]) -> [u8; 32] {
    let mut hasher = Hasher::new("group");
    group.iter().for_each(|member| hasher.bytes(members[*member].delta.as_bytes()));
    hasher.finish()
}

/// One tree with everything that deltas add, later ones over earlier ones.
///
/// # Errors
/// When a directory object is missing.
pub(crate) fn merged(trees: &Trees<'_>, deltas: &[TreeDigest]) -> Result<TreeDigest, TreeError> {
    if let [only] = deltas {
        return Ok(*only);
    }
    let mut root = OpenDir::root();
    for delta in deltas {
        root.add_all(trees, delta)?;
    }
    Ok(root.finish(trees))
}

/// Cuts the members into runs in which no two write the same path.
fn disjoint_runs(trees: &Trees<'_>, members: &[Member]) -> Result<Vec<Vec<usize>>, TreeError> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut taken = Taken::default();
    for (number, member) in members.iter().enumerate() {
        let own = match &member.own_dir {
            Some(dir) => Own::dir(dir),
            None => Own::walked(trees, &member.delta)?,
        };
        if runs.is_empty() || taken.clashes(&own) {
            taken = Taken::default();
            runs.push(Vec::new());
        }
        taken.add(own);
        runs.last_mut().expect("a run was pushed above").push(number);
    }
    Ok(runs)
}

/// What a member writes: paths, directories with their headers, and perhaps a directory that is all its own.
struct Own {
    paths: Vec<(Vec<u8>, Option<Meta>)>,
    dir: Option<Vec<u8>>,
}

impl Own {
    fn walked(trees: &Trees<'_>, delta: &TreeDigest) -> Result<Self, TreeError> {
        let mut paths = Vec::new();
        trees.walk::<TreeError>(delta, &mut |path, Entry { meta, node }| {
            // What hides everything older does not go well with anything older.
            let is_shared = match node {
                Node::Dir(tree) => !trees.load(tree)?.opaque,
                _ => false,
            };
            paths.push((path.to_vec(), is_shared.then(|| meta.clone())));
            Ok(())
        })?;
        Ok(Self { paths, dir: None })
    }

    /// All below one directory; those above it are plain.
    fn dir(dir: &[u8]) -> Self {
        let ends = dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        let paths = ends.map(|end| (dir[..end].to_vec(), Some(Meta::with_mode(0o755)))).collect();
        Self { paths, dir: Some(dir.to_vec()) }
    }
}

/// What the members of a run write.
#[derive(Default)]
struct Taken {
    paths: HashMap<Vec<u8>, Option<Meta>>,
    dirs: HashSet<Vec<u8>>,
}

impl Taken {
    /// Two may share a directory if they agree on its header, and nothing else.
    fn clashes(&self, own: &Own) -> bool {
        let in_the_way = |(path, dir): &(Vec<u8>, Option<Meta>)| {
            // Whoever writes below a directory writes the directory too.
            self.dirs.contains(path)
                || self.paths.get(path).is_some_and(|other| dir.is_none() || other != dir)
        };
        own.dir.as_ref().is_some_and(|dir| self.dirs.contains(dir) || self.paths.contains_key(dir))
            || own.paths.iter().any(in_the_way)
    }

    fn add(&mut self, own: Own) {
        self.paths.extend(own.paths);
        self.dirs.extend(own.dir);
    }
}

fn first_eight(bytes: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *bytes;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
