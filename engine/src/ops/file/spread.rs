//! Archives over a state: directories that an archive only implies are those that are there, wherever links lead.
//!
//! `bin/tool` on a state where `bin` is a link to `usr/bin` is `usr/bin/tool`, as it is for whoever extracts entry by
//! entry. A directory with an entry of its own is another matter: it replaces the link.

use std::collections::BTreeMap;

use solver::{HardLinks, TreeDigest};

use super::{FileError, Prepared, resolve};
use crate::delta::OpenDir;
use crate::state::{Found, Resolved, State};
use crate::tree::{Entry, Node, Trees, push_name};

/// Directories that an archive only implies, and where each is in the state below.
pub(super) type Implied = BTreeMap<Vec<u8>, Resolved>;

impl Prepared<'_> {
    /// Looks for the directories an archive implies.
    pub(super) fn find_implied(
        below: &State,
        trees: &Trees<'_>,
        destination: &[u8],
        dirs: Vec<Vec<u8>>,
    ) -> Result<Implied, FileError> {
        let find = |dir: Vec<u8>| {
            let mut path = destination.to_vec();
            push_name(&mut path, &dir);
            let place = resolve(below, trees, &path)?;
            Ok((dir, place))
        };
        dirs.into_iter().map(find).collect()
    }

    /// Adds what an archive holds, from its directory `path` on, to where that is.
    pub(super) fn spread(
        &self,
        root: &mut OpenDir,
        trees: &Trees<'_>,
        (tree, path): (&TreeDigest, &[u8]),
        to: &Resolved,
        implied: &Implied,
    ) -> Result<(), FileError> {
        if !has_implied(implied, path) {
            self.directory(root, trees, to, &[], true)?.add_all(trees, tree)?;
            return Ok(());
        }
        for (name, entry) in trees.load(tree)?.entries.iter() {
            let mut path = path.to_vec();
            push_name(&mut path, name);
            let Node::Dir(child) = &entry.node else {
                self.directory(root, trees, to, &[], true)?.put(trees, name, entry.clone())?;
                continue;
            };
            match implied.get(&path) {
                Some(there) if !matches!(there.found, Found::Other(_)) => {
                    self.spread(root, trees, (child, &path), there, implied)?;
                }
                None if has_implied(implied, &path) && is_directory(trees, &to.found, name)? => {
                    let mut place = to.path.clone();
                    push_name(&mut place, name);
                    let there = resolve(&self.below, trees, &place)?;
                    self.directory(root, trees, &there, &[], true)?.set_meta(entry.meta.clone());
                    self.spread(root, trees, (child, &path), &there, implied)?;
                }
                _ => _ = self.directory(root, trees, to, &[], true)?.put(trees, name, entry.clone())?,
            }
        }
        Ok(())
    }
}

impl Prepared<'_> {
    /// Where names of an archive are in the delta, as far as that is plain.
    pub(super) fn landed(&self, names: &[Vec<u8>], implied: &Implied) -> Vec<Vec<u8>> {
        let landed = |name: &Vec<u8>| {
            let ends = (0..name.len()).rev().filter(|at| name[*at] == b'/');
            let (dir, rest) = ends
                .filter_map(|at| Some((implied.get(&name[..at])?, &name[at + 1..])))
                .next()
                .unwrap_or((&self.destination, name));
            let mut path = dir.path.clone();
            push_name(&mut path, rest);
            path
        };
        names.iter().map(landed).collect()
    }
}

/// The names of each file that are there with the same bytes and header: others may have replaced some of them.
pub(super) fn still_one(
    trees: &Trees<'_>,
    delta: &TreeDigest,
    links: Vec<Vec<Vec<u8>>>,
) -> Result<HardLinks, FileError> {
    let state = State::of(vec![*delta]);
    let mut kept = Vec::new();
    for names in links {
        let mut there = Vec::with_capacity(names.len());
        for name in names {
            if let Found::Other(entry @ Entry { node: Node::File { .. }, .. }) =
                state.look_up(trees, &name)?
            {
                there.push((name, entry));
            }
        }
        let Some((_, first)) = there.first().cloned() else { continue };
        let same = there.into_iter().filter(|(_, entry)| *entry == first);
        kept.push(same.map(|(name, _)| name).collect());
    }
    Ok(HardLinks::new(kept))
}

/// Whether an archive implies a directory below one of its own.
fn has_implied(implied: &Implied, path: &[u8]) -> bool {
    let mut start = path.to_vec();
    if !start.is_empty() {
        start.push(b'/');
    }
    implied.range(start.clone()..).next().is_some_and(|(dir, _)| dir.starts_with(&start))
}

fn is_directory(trees: &Trees<'_>, found: &Found, name: &[u8]) -> Result<bool, FileError> {
    let Found::Dir { parts, .. } = found else { return Ok(false) };
    Ok(matches!(State::child(trees, parts, name)?, Found::Dir { .. }))
}
