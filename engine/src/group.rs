//! The layer limit: which deltas share a layer when there are more than an image may have.
//!
//! Deltas that touch disjoint paths can stand in any order, so they are spread over a power of two of groups by a
//! hash of what they are called. A new or changed app remakes its group and moves no other.

use std::collections::{BTreeMap, HashMap};

use solver::TreeDigest;

use crate::delta::OpenDir;
use crate::tree::{Entry, Node, TreeError, Trees};

/// Most layers of an image, the base's included; overlay and Docker stop near 128.
pub const LAYER_LIMIT: usize = 120;

/// A delta of the final stage and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its root.
    pub delta: TreeDigest,
    /// A name that does not depend on its neighbours: the app's, or the destination.
    pub name: String,
}

/// Deltas that become one layer, by their positions, ascending. Groups stand in the order of their first member.
pub type Groups = Vec<Vec<usize>>;

/// Spreads deltas over at most `budget` layers.
///
/// # Errors
/// When a directory object is missing.
pub fn groups(trees: &Trees<'_>, members: &[Member], budget: usize) -> Result<Groups, TreeError> {
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

/// One tree with everything a group adds, later members over earlier ones.
///
/// # Errors
/// When a directory object is missing.
pub fn merged(trees: &Trees<'_>, members: &[Member], group: &[usize]) -> Result<TreeDigest, TreeError> {
    if let [only] = group {
        return Ok(members[*only].delta);
    }
    let mut root = OpenDir::root();
    for &member in group {
        root.add_all(trees, &members[member].delta)?;
    }
    Ok(root.finish(trees))
}

/// Cuts the members into runs in which no two write the same path.
fn disjoint_runs(trees: &Trees<'_>, members: &[Member]) -> Result<Vec<Vec<usize>>, TreeError> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut taken: HashMap<Vec<u8>, Option<crate::tree::Meta>> = HashMap::new();
    for (number, member) in members.iter().enumerate() {
        let mut own: Vec<(Vec<u8>, Option<crate::tree::Meta>)> = Vec::new();
        trees.walk::<TreeError>(&member.delta, &mut |path, Entry { meta, node }| {
            own.push((path.to_vec(), matches!(node, Node::Dir(_)).then(|| meta.clone())));
            Ok(())
        })?;
        // Two may share a directory if they agree on its header, and nothing else.
        let clash =
            own.iter().any(|(path, dir)| taken.get(path).is_some_and(|other| dir.is_none() || other != dir));
        if clash || runs.is_empty() {
            taken.clear();
            runs.push(Vec::new());
        }
        taken.extend(own);
        runs.last_mut().expect("a run was pushed above").push(number);
    }
    Ok(runs)
}

fn first_eight(bytes: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *bytes;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
