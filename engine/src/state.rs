//! States: ordered lists of deltas, read as one merged tree without ever merging it.
//!
//! A state belongs to a stage or an image. Looking a path up asks the deltas from the newest down, so a COPY pays for
//! the path it writes to and for nothing else below it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use solver::{DestinationFact, HardLinks, Header, Record, TreeDigest};

use crate::tree::{Directory, Entry, Meta, Node, TreeError, Trees, components, push_name};

/// Most links followed for one path, as Linux does (`MAXSYMLINKS`).
const LINK_LIMIT: usize = 40;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A directory: its newest header, and the layers of directories that make up its content, newest first.
    Dir {
        /// Header.
        meta: Meta,
        /// The directories of the deltas that show through, newest first.
        parts: Vec<TreeDigest>,
    },
    /// Anything else.
    Other(Entry),
}

/// A path after resolving links: what was looked at on the way, and where it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Canonical path, no leading `/`.
    pub path: Vec<u8>,
    /// For each component of `path`: the header of the directory that stands there, if one does.
    pub parents: Vec<Option<Meta>>,
    /// What stands at the end.
    pub found: Found,
    /// Everything the resolution saw.
    pub facts: Vec<DestinationFact>,
}

/// The state after some steps: deltas, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Roots of the deltas, oldest first.
    pub deltas: Vec<TreeDigest>,
    /// Which files of the deltas of steps are one, where some are.
    pub links: BTreeMap<TreeDigest, Arc<HardLinks>>,
}

impl Resolved {
    /// Whether it ended at a link because too many were followed.
    pub fn is_loop(&self) -> bool {
        // Any other link would have been followed.
        self.facts.iter().filter(|fact| fact.header.as_ref().is_some_and(|header| header.kind == 'l')).count()
            > LINK_LIMIT
    }
}

impl State {
    /// Of deltas whose files have one name each.
    pub fn of(deltas: Vec<TreeDigest>) -> Self {
        Self { deltas, links: BTreeMap::new() }
    }

    /// Adds the result of a step. Of equal deltas the last one shows.
    pub fn push(&mut self, record: &Record) {
        self.deltas.push(record.delta);
        let links = record.links();
        if links.0.is_empty() {
            self.links.remove(&record.delta);
        } else {
            self.links.insert(record.delta, Arc::new(links.clone()));
        }
    }

    /// Which files of one of its deltas are one.
    pub fn links_of(&self, delta: &TreeDigest) -> &HardLinks {
        self.links.get(delta).map_or(HardLinks::none(), Arc::as_ref)
    }

    /// The root directory.
    pub fn root(&self) -> Found {
        Found::Dir { meta: Meta::with_mode(0o755), parts: self.deltas.iter().rev().copied().collect() }
    }

    /// What stands under a name in a directory made of parts.
    ///
    /// # Errors
    /// If a directory object is missing.
    pub fn child(trees: &Trees<'_>, parts: &[TreeDigest], name: &[u8]) -> Result<Found, TreeError> {
        let mut found: Option<(Meta, Vec<TreeDigest>)> = None;
        for part in parts {
            let directory = trees.load(part)?;
            match directory.entries.get(name) {
                Some(Entry { meta, node: Node::Dir(child) }) => {
                    let (_, children) = found.get_or_insert_with(|| (meta.clone(), Vec::new()));
                    children.push(*child);
                    if trees.load(child)?.opaque {
                        break;
                    }
                }
                // A whiteout, or something that is not a directory, hides all that is older.
                Some(Entry { node: Node::Whiteout, .. }) => break,
                Some(entry) if found.is_none() => return Ok(Found::Other(entry.clone())),
                Some(_) => break,
                None => {}
            }
            if directory.opaque {
                break;
            }
        }
        Ok(found.map_or(Found::Absent, |(meta, parts)| Found::Dir { meta, parts }))
    }

    /// Resolves a path as a process inside the image would, following every link, the last one included; links that
    /// climb above the root end at the root. A component that is not a directory, or is absent, ends the resolving:
    /// the rest is taken as it is.
    ///
    /// # Errors
    /// If a directory object is missing.
    pub fn resolve(&self, trees: &Trees<'_>, path: &[u8]) -> Result<Resolved, TreeError> {
        let mut ahead: Vec<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        ahead.reverse();
        let mut at: Vec<(Vec<u8>, Found)> = Vec::new();
        let mut facts = Vec::new();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                at.pop();
                continue;
            }
            let found = match at.last().map_or_else(|| self.root(), |(_, found)| found.clone()) {
                Found::Dir { parts, .. } => Self::child(trees, &parts, &name)?,
                Found::Absent | Found::Other(_) => Found::Absent,
            };
            let here = joined(at.iter().map(|(name, _)| name.as_slice()).chain([name.as_slice()]));
            facts.push(DestinationFact { path: here, header: header(&found) });
            match &found {
                Found::Other(Entry { node: Node::Symlink(target), .. }) if links < LINK_LIMIT => {
                    links += 1;
                    if target.starts_with(b"/") {
                        at.clear();
                    }
                    let mut expansion: Vec<Vec<u8>> = components(target).map(<[u8]>::to_vec).collect();
                    expansion.reverse();
                    ahead.extend(expansion);
                }
                _ => at.push((name, found)),
            }
        }
        let parents = at.iter().map(|(_, found)| dir_meta(found)).collect();
        let path = joined(at.iter().map(|(name, _)| name.as_slice()));
        let found = at.pop().map_or_else(|| self.root(), |(_, found)| found);
        Ok(Resolved { path, parents, found, facts })
    }

    /// Names visible in a directory, with what stands there.
    ///
    /// # Errors
    /// If a directory object is missing.
    pub fn list(trees: &Trees<'_>, parts: &[TreeDigest]) -> Result<BTreeMap<Vec<u8>, Found>, TreeError> {
        let mut names = BTreeSet::new();
        for part in parts {
            names.extend(trees.load(part)?.entries.names().map(<[u8]>::to_vec));
        }
        let mut listing = BTreeMap::new();
        for name in names {
            match Self::child(trees, parts, &name)? {
                Found::Absent => {}
                found => _ = listing.insert(name, found),
            }
        }
        Ok(listing)
    }

    /// One tree that looks like a directory of this state: the parts merged, without whiteouts. A directory made of
    /// a single part that hides nothing is that part itself.
    ///
    /// # Errors
    /// If a directory object is missing.
    pub fn merged(trees: &Trees<'_>, parts: &[TreeDigest]) -> Result<TreeDigest, TreeError> {
        let mut merged = Directory::default();
        for (name, found) in Self::list(trees, parts)? {
            let entry = match found {
                Found::Absent => continue,
                Found::Other(entry) => entry,
                Found::Dir { meta, parts } => Entry { meta, node: Node::Dir(Self::merged(trees, &parts)?) },
            };
            merged.entries.insert(name, entry);
        }
        Ok(trees.add(merged))
    }

    /// What stands at a path, without following a link in its last component.
    ///
    /// # Errors
    /// If a directory object is missing.
    pub fn look_up(&self, trees: &Trees<'_>, path: &[u8]) -> Result<Found, TreeError> {
        let mut found = self.root();
        for name in components(path) {
            found = match found {
                Found::Dir { parts, .. } => Self::child(trees, &parts, name)?,
                Found::Absent | Found::Other(_) => return Ok(Found::Absent),
            };
        }
        Ok(found)
    }
}

fn joined<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut path = Vec::new();
    names.for_each(|name| push_name(&mut path, name));
    path
}

fn dir_meta(found: &Found) -> Option<Meta> {
    match found {
        Found::Dir { meta, .. } => Some(meta.clone()),
        Found::Absent | Found::Other(_) => None,
    }
}

fn header(found: &Found) -> Option<Header> {
    let of = |kind, meta: &Meta, target: &[u8]| {
        let (target, others) = (target.to_vec(), meta.others_digest());
        Some(Header { kind, mode: meta.mode, uid: meta.uid, gid: meta.gid, target, others })
    };
    match found {
        Found::Absent => None,
        Found::Dir { meta, .. } => of('d', meta, b""),
        Found::Other(entry) => match &entry.node {
            Node::Symlink(target) => of('l', &entry.meta, target),
            Node::Device { kind, .. } => of(*kind, &entry.meta, b""),
            Node::File { .. } | Node::Dir(_) | Node::Whiteout => of('f', &entry.meta, b""),
        },
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
