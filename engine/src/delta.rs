//! Builds a delta: a tree put together path by path, reusing whole subtrees where nothing in them changes.

use std::collections::BTreeMap;

use solver::TreeDigest;

use crate::tree::{Directory, Entry, Meta, Name, Node, TreeError, Trees};

#[derive(Debug)]
enum Item {
    Closed(Entry),
    Open(OpenDir),
}

/// A directory that is still growing.
#[derive(Debug, Default)]
pub(crate) struct OpenDir {
    meta: Meta,
    children: BTreeMap<Name, Item>,
    opaque: bool,
}

impl OpenDir {
    /// The root of a delta.
    pub(crate) fn root() -> Self {
        Self { meta: Meta::with_mode(0o755), ..Self::default() }
    }

    /// The directory `name`, opened, or made with `meta` where it is missing or is something else.
    ///
    /// # Errors
    /// If the subtree that stands there is unknown.
    pub(crate) fn dir(
        &mut self,
        trees: &Trees<'_>,
        name: &[u8],
        meta: &Meta,
    ) -> Result<&mut Self, TreeError> {
        let item = match self.children.remove(name) {
            Some(Item::Open(open)) => open,
            Some(Item::Closed(Entry { meta, node: Node::Dir(tree) })) => Self::open(trees, meta, &tree)?,
            // What was deleted, or replaced by a file, stays hidden below what comes in its place.
            Some(Item::Closed(_)) => Self { meta: meta.clone(), opaque: true, ..Self::default() },
            None => Self { meta: meta.clone(), ..Self::default() },
        };
        match self.children.entry(name.to_vec()).or_insert(Item::Open(item)) {
            Item::Open(open) => Ok(open),
            Item::Closed(_) => unreachable!("the entry was removed above and is inserted open"),
        }
    }

    /// Sets the header.
    pub(crate) fn set_meta(&mut self, meta: Meta) {
        self.meta = meta;
    }

    /// Marks the directory opaque: nothing older shows through.
    pub(crate) fn set_opaque(&mut self) {
        self.opaque = true;
    }

    /// Whether a directory stands under a name that is growing as well.
    pub(crate) fn is_open(&self, name: &[u8]) -> bool {
        matches!(self.children.get(name), Some(Item::Open(_)))
    }

    /// The entry at a path that is not a directory, if one was put there.
    pub(crate) fn find(&self, path: &[Name]) -> Option<&Entry> {
        self.first_closed(path).filter(|(depth, _)| *depth == path.len()).map(|(_, entry)| entry)
    }

    /// The first entry on the way to a path that is not a growing directory, and how many names lead to it.
    pub(crate) fn first_closed(&self, path: &[Name]) -> Option<(usize, &Entry)> {
        let mut dir = self;
        for (depth, name) in (1..).zip(path) {
            match dir.children.get(name)? {
                Item::Open(open) => dir = open,
                Item::Closed(entry) => return Some((depth, entry)),
            }
        }
        None
    }

    /// Puts an entry under a name. A directory over a directory adds its content and takes over its header; anything
    /// else replaces what is there. Returns whether something that is not a directory was replaced.
    ///
    /// # Errors
    /// If a subtree is unknown.
    pub(crate) fn put(&mut self, trees: &Trees<'_>, name: &[u8], entry: Entry) -> Result<bool, TreeError> {
        let Node::Dir(tree) = &entry.node else {
            return Ok(self.children.insert(name.to_vec(), Item::Closed(entry)).is_some());
        };
        if trees.load(tree)?.opaque {
            return Ok(self.children.insert(name.to_vec(), Item::Closed(entry)).is_some());
        }
        let Some(there) = self.children.get(name) else {
            self.children.insert(name.to_vec(), Item::Closed(entry));
            return Ok(false);
        };
        let is_dir = |entry: &Entry| matches!(entry.node, Node::Dir(_) | Node::Whiteout);
        let replaces = matches!(there, Item::Closed(entry) if !is_dir(entry));
        let open = self.dir(trees, name, &entry.meta)?;
        open.meta = entry.meta;
        Ok(open.add_all(trees, tree)? || replaces)
    }

    /// Adds everything a directory holds. Returns whether a file was replaced.
    ///
    /// # Errors
    /// If a subtree is unknown.
    pub(crate) fn add_all(&mut self, trees: &Trees<'_>, tree: &TreeDigest) -> Result<bool, TreeError> {
        let mut replaced = false;
        for (name, entry) in trees.load(tree)?.entries.iter() {
            replaced |= self.put(trees, name, entry.clone())?;
        }
        Ok(replaced)
    }

    /// Names the finished tree.
    pub(crate) fn finish(self, trees: &Trees<'_>) -> TreeDigest {
        let close = |item| match item {
            Item::Closed(entry) => entry,
            Item::Open(open) => {
                let meta = open.meta.clone();
                Entry { meta, node: Node::Dir(open.finish(trees)) }
            }
        };
        let entries = self.children.into_iter().map(|(name, item)| (name, close(item))).collect();
        trees.add(Directory { entries, opaque: self.opaque })
    }

    fn open(trees: &Trees<'_>, meta: Meta, tree: &TreeDigest) -> Result<Self, TreeError> {
        let directory = trees.load(tree)?;
        let closed = |(name, entry): (&[u8], &Entry)| (name.to_vec(), Item::Closed(entry.clone()));
        Ok(Self { meta, children: directory.entries.iter().map(closed).collect(), opaque: directory.opaque })
    }
}
