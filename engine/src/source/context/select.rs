//! What a pattern selects of files that are a tree, by the very rules by which a directory of the host is searched
//! (`source/local`): links are followed inside the context alone, ignore files count, owners and set-id bits do not.

use std::cell::Cell;
use std::path::PathBuf;

use solver::{LocalSource, TreeDigest};

use super::ContextError;
use super::files::Files;
use crate::ignore::Matched;
use crate::pattern::Pattern;
use crate::source::local::{LocalError, Located, Standing, below, follow, is_of_image, joined, lossy};
use crate::tree::{Directory, Entry, Meta, Name, Node, TreeError, Trees, components, push_name};

impl Files<'_> {
    /// The tree a source selects: matches at their context-relative paths.
    pub(crate) fn select(&self, source: &LocalSource, into: &Trees<'_>) -> Result<TreeDigest, ContextError> {
        let pattern = Pattern::new(&source.pattern).map_err(LocalError::from)?;
        let prefix: Vec<Name> = components(pattern.literal_prefix().as_bytes()).map(<[u8]>::to_vec).collect();
        let (selected, is_left_out) = match self.locate(&prefix, &source.pattern)? {
            Located::At(real) if pattern.is_literal() => (self.entry(&real, into)?, true),
            Located::At(real) => (self.matches(&pattern, &joined(&prefix), &real, into)?, false),
            Located::LeftOut => (None, pattern.is_literal()),
            Located::Nowhere => (None, false),
        };
        let not_found = |ignored| LocalError::NotFound {
            pattern: LocalSource::shown(&source.pattern).into_owned(),
            context: PathBuf::from(&self.shown),
            ignored,
        };
        let Some(entry) = selected else {
            let is_nowhere = pattern.is_literal() && !is_left_out;
            let there = if is_nowhere { self.at(&prefix)?.map(|entry| entry.node) } else { None };
            return Err(match there {
                Some(Node::Symlink(target)) => {
                    let (path, target) = (source.pattern.clone(), lossy(&target));
                    LocalError::Dangling { path, target, context: PathBuf::from(&self.shown) }.into()
                }
                _ => not_found(is_left_out).into(),
            });
        };
        let entry = below(into, &prefix, entry, |depth| match source.parents {
            true => {
                Ok::<_, TreeError>(self.at(&prefix[..depth])?.map_or_else(plain, |entry| dressed(&entry)))
            }
            false => Ok(plain()),
        })?;
        match entry.node {
            Node::Dir(tree) => Ok(tree),
            _ => Err(not_found(false).into()),
        }
    }

    /// What stands at a path, no link followed; the root is a plain directory.
    pub(super) fn at(&self, path: &[Name]) -> Result<Option<Entry>, TreeError> {
        let mut entry = Entry::plain_dir(self.root);
        for name in path {
            let Node::Dir(tree) = entry.node else { return Ok(None) };
            match self.trees.load(&tree)?.entries.get(name) {
                Some(child) => entry = child.clone(),
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    /// Follows the links of a literal path inside the context. `None` when nothing is there.
    pub(super) fn resolve(&self, path: &[Name], shown: &str) -> Result<Option<Vec<Name>>, ContextError> {
        self.followed(path, shown, &|_| true)
    }

    /// The same; a link that is not seen leads nowhere.
    fn followed(
        &self,
        path: &[Name],
        shown: &str,
        is_seen: &dyn Fn(&[Name]) -> bool,
    ) -> Result<Option<Vec<Name>>, ContextError> {
        let standing = |at: &[Name]| -> Result<Standing, ContextError> {
            Ok(match self.at(at)?.map(|entry| entry.node) {
                None => Standing::Nothing,
                Some(Node::Symlink(target)) if is_seen(at) => Standing::Link(target.to_vec()),
                Some(Node::Symlink(_)) => Standing::Nothing,
                Some(_) => Standing::Other,
            })
        };
        follow(path, shown, standing, inside)
    }

    /// The same, for what no ignore file leaves out.
    fn locate(&self, path: &[Name], shown: &str) -> Result<Located, ContextError> {
        let is_left_out = Cell::new(false);
        let is_seen = |at: &[Name]| {
            is_left_out.set(self.ignore.is_ignored(&joined(at)));
            !is_left_out.get()
        };
        let Some(at) = self.followed(path, shown, &is_seen)? else {
            return Ok(if is_left_out.get() { Located::LeftOut } else { Located::Nowhere });
        };
        let real = joined(&at);
        let left_out = !real.is_empty() && self.ignore.is_ignored(&real) && self.ignore.can_prune(&real);
        Ok(if left_out { Located::LeftOut } else { Located::At(at) })
    }

    /// The entry at a resolved path, with everything below it.
    fn entry(&self, path: &[Name], into: &Trees<'_>) -> Result<Option<Entry>, ContextError> {
        let Some(entry) = self.at(path)? else { return Ok(None) };
        match (path.split_last(), &entry.node) {
            (Some((_, above)), _) => self.taken(&entry, &joined(path), &self.matched_by(above), into),
            (None, Node::Dir(tree)) => {
                let tree = self.directory(tree, b"", &Matched::default(), into)?;
                Ok(Some(Entry { meta: dressed(&entry), node: Node::Dir(tree) }))
            }
            (None, _) => Ok(None),
        }
    }

    /// What the ignore rules say of a directory, from the root down.
    fn matched_by(&self, path: &[Name]) -> Matched {
        let enter = |above, depth: usize| self.ignore.enter(&above, &joined(&path[..depth]));
        (1..=path.len()).fold(Matched::default(), enter)
    }

    /// An entry as it is copied; `None` if it is left out.
    fn taken(
        &self,
        entry: &Entry,
        path: &[u8],
        above: &Matched,
        into: &Trees<'_>,
    ) -> Result<Option<Entry>, ContextError> {
        let is_ignored = self.ignore.is_ignored_in(above, path);
        let special =
            |kind| ContextError::Local(LocalError::Special { path: PathBuf::from(lossy(path)), kind });
        let node = match &entry.node {
            Node::Dir(tree) => {
                let matched = self.ignore.enter(above, path);
                if is_ignored && self.ignore.can_prune_in(&matched, path) {
                    return Ok(None);
                }
                let tree = self.directory(tree, path, &matched, into)?;
                if is_ignored && tree == into.empty() {
                    return Ok(None);
                }
                Node::Dir(tree)
            }
            _ if is_ignored => return Ok(None),
            Node::Device { kind: 'p', .. } => return Err(special("FIFO")),
            Node::Device { .. } | Node::Whiteout => return Err(special("device")),
            node => node.clone(),
        };
        Ok(Some(Entry { meta: dressed(entry), node }))
    }

    fn directory(
        &self,
        tree: &TreeDigest,
        path: &[u8],
        matched: &Matched,
        into: &Trees<'_>,
    ) -> Result<TreeDigest, ContextError> {
        let mut directory = Directory::default();
        for (name, entry) in self.trees.load(tree)?.entries.iter() {
            let mut path = path.to_vec();
            push_name(&mut path, name);
            if let Some(entry) = self.taken(entry, &path, matched, into)? {
                directory.entries.insert(name, entry);
            }
        }
        Ok(into.add(directory))
    }

    /// Everything below a resolved directory that a pattern with wildcards selects.
    fn matches(
        &self,
        pattern: &Pattern,
        prefix: &[u8],
        real: &[Name],
        into: &Trees<'_>,
    ) -> Result<Option<Entry>, ContextError> {
        let Some(entry) = self.at(real)? else { return Ok(None) };
        let Node::Dir(tree) = &entry.node else { return Ok(None) };
        let found = self.matching(pattern, prefix, tree, real, into)?;
        Ok(found.map(|tree| Entry { meta: dressed(&entry), node: Node::Dir(tree) }))
    }

    fn matching(
        &self,
        pattern: &Pattern,
        written: &[u8],
        tree: &TreeDigest,
        real: &[Name],
        into: &Trees<'_>,
    ) -> Result<Option<TreeDigest>, ContextError> {
        let mut directory = Directory::default();
        for (name, entry) in self.trees.load(tree)?.entries.iter() {
            let mut written = written.to_vec();
            push_name(&mut written, name);
            let real = [real, &[name.to_vec()]].concat();
            let found = if pattern.matches(&written) {
                self.matched(entry, &real, into)?
            } else {
                match &entry.node {
                    Node::Dir(child) if pattern.could_match_below(&written) => {
                        let found = self.matching(pattern, &written, child, &real, into)?;
                        found.map(|tree| Entry { meta: dressed(entry), node: Node::Dir(tree) })
                    }
                    _ => None,
                }
            };
            if let Some(entry) = found {
                directory.entries.insert(name, entry);
            }
        }
        Ok((!directory.entries.is_empty()).then(|| into.add(directory)))
    }

    /// A match itself: a link is followed, inside the context, and keeps its name. One that leads nowhere is for the copy to judge.
    fn matched(&self, entry: &Entry, real: &[Name], into: &Trees<'_>) -> Result<Option<Entry>, ContextError> {
        let above = &real[..real.len() - 1];
        match self.taken(entry, &joined(real), &self.matched_by(above), into)? {
            Some(link @ Entry { node: Node::Symlink(_), .. }) => {
                match self.locate(real, &lossy(&joined(real)))? {
                    Located::At(target) => self.entry(&target, into),
                    Located::LeftOut => Ok(None),
                    Located::Nowhere => Ok(Some(link)),
                }
            }
            taken => Ok(taken),
        }
    }
}

fn plain() -> Meta {
    Meta::with_mode(0o755)
}

/// Owner is 0:0, setuid and setgid go, and those attributes stay that belong into images, as it is for files of the host.
fn dressed(entry: &Entry) -> Meta {
    let plain = Meta { mtime: entry.meta.mtime, ..Meta::with_mode(entry.meta.mode & 0o1777) };
    if matches!(entry.node, Node::Symlink(_)) {
        return Meta { mode: 0o777, ..plain };
    }
    let xattrs = entry.meta.xattrs.iter().filter(|(name, _)| is_of_image(name)).cloned().collect();
    Meta { xattrs, ..plain }
}

/// Where a link's target lies inside the context; `None` when it leaves it.
fn inside(at: &[Name], target: &[u8]) -> Option<Vec<Name>> {
    let mut path: Vec<Name> = at.to_vec();
    if target.starts_with(b"/") {
        return None;
    }
    for name in components(target) {
        if name == b".." {
            path.pop()?;
        } else {
            path.push(name.to_vec());
        }
    }
    Some(path)
}
