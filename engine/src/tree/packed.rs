//! A whole tree as one sequence of bytes, so that it can be seen without its files.
//!
//! ```text
//! postcard([directory])   each directory once, after those below it; the root is the last
//! directory               opaque, [name, meta, node], sorted by name; a directory in it is a number in the list
//! ```
//!
//! Digests of directories are not written down: the reader computes them, and the last one shows whether this is the tree that was
//! asked for. So the bytes need not be trusted, only bounded: names are those that a layer can have, and depth and number of paths are
//! no more than a layer's.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use solver::{ContentDigest, TreeDigest};

use super::{Directory, Entry, Meta, Node, Trees};

/// Largest packed tree, in bytes: some two hundred thousand files.
pub(crate) const LIMIT: usize = 16 << 20;
/// As deep as a path of 4096 bytes can be; trees are walked by recursion.
const DEPTH_LIMIT: usize = 2048;
/// Most paths, as in a layer: equal directories stand here once, and few bytes could be very many paths.
const PATHS_LIMIT: u64 = 10_000_000;

#[derive(Serialize, Deserialize)]
struct PackedDirectory {
    opaque: bool,
    entries: Vec<(Box<[u8]>, Meta, PackedNode)>,
}

/// As [`Node`].
#[derive(Serialize, Deserialize)]
enum PackedNode {
    File { content: ContentDigest, size: u64 },
    Dir(u32),
    Symlink(Vec<u8>),
    Device { kind: char, major: u32, minor: u32 },
    Whiteout,
}

/// What is below a directory, itself counted.
#[derive(Debug, Clone, Copy)]
struct Extent {
    depth: usize,
    paths: u64,
}

impl Extent {
    /// That of a directory of `entries` with some directories among them; `None` where it is too large.
    fn of(entries: usize, below: impl Iterator<Item = Extent>) -> Option<Self> {
        let mut own = Self { depth: 1, paths: entries as u64 + 1 };
        for extent in below {
            own.depth = own.depth.max(extent.depth + 1);
            own.paths = own.paths.saturating_add(extent.paths);
        }
        (own.depth <= DEPTH_LIMIT && own.paths <= PATHS_LIMIT).then_some(own)
    }
}

/// Packs a tree; `None` where a part of it is unknown, or it is too large. Equal trees are equal bytes.
pub(crate) fn pack(trees: &Trees<'_>, root: &TreeDigest) -> Option<Vec<u8>> {
    let mut packer = Packer { trees, known: HashMap::new(), packed: Vec::new() };
    packer.add(root, 1)?;
    let bytes = postcard::to_stdvec(&packer.packed).expect("plain data with known lengths always encodes");
    (bytes.len() <= LIMIT).then_some(bytes)
}

struct Packer<'a, 'store> {
    trees: &'a Trees<'store>,
    known: HashMap<TreeDigest, (u32, Extent)>,
    packed: Vec<PackedDirectory>,
}

impl Packer<'_, '_> {
    fn add(&mut self, tree: &TreeDigest, depth: usize) -> Option<(u32, Extent)> {
        if let Some(known) = self.known.get(tree) {
            return Some(*known);
        }
        let directory = self.trees.load(tree).ok().filter(|_| depth <= DEPTH_LIMIT)?;
        let mut below = Vec::new();
        let mut entries = Vec::with_capacity(directory.entries.len());
        for (name, entry) in directory.entries.iter() {
            let node = match &entry.node {
                Node::Dir(child) => {
                    let (number, extent) = self.add(child, depth + 1)?;
                    below.push(extent);
                    PackedNode::Dir(number)
                }
                Node::File { content, size } => PackedNode::File { content: *content, size: *size },
                Node::Symlink(target) => PackedNode::Symlink(target.clone()),
                &Node::Device { kind, major, minor } => PackedNode::Device { kind, major, minor },
                Node::Whiteout => PackedNode::Whiteout,
            };
            entries.push((name.into(), entry.meta.clone(), node));
        }
        let extent = Extent::of(entries.len(), below.into_iter())?;
        let number = u32::try_from(self.packed.len()).ok()?;
        self.packed.push(PackedDirectory { opaque: directory.opaque, entries });
        self.known.insert(*tree, (number, extent));
        Some((number, extent))
    }
}

/// Makes a packed tree known; `None`, and nothing is, if it is not the one that is asked for.
pub(crate) fn unpack(trees: &Trees<'_>, root: &TreeDigest, bytes: &[u8]) -> Option<()> {
    if bytes.len() > LIMIT {
        return None;
    }
    let (packed, rest) = postcard::take_from_bytes::<Vec<PackedDirectory>>(bytes).ok()?;
    let mut known: Vec<(TreeDigest, Extent)> = Vec::with_capacity(packed.len());
    let mut directories = Vec::with_capacity(packed.len());
    for PackedDirectory { opaque, entries } in packed {
        let is_sorted = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !is_sorted || !entries.iter().all(|(name, ..)| is_name(name)) {
            return None;
        }
        let mut below = Vec::new();
        let mut directory = Directory { opaque, ..Directory::default() };
        let count = entries.len();
        for (name, meta, node) in entries {
            let node = match node {
                PackedNode::Dir(number) => {
                    let (tree, extent) = known.get(number as usize)?;
                    below.push(*extent);
                    Node::Dir(*tree)
                }
                PackedNode::File { content, size } => Node::File { content, size },
                PackedNode::Symlink(target) => Node::Symlink(target),
                PackedNode::Device { kind: kind @ ('c' | 'b' | 'p'), major, minor } => {
                    Node::Device { kind, major, minor }
                }
                PackedNode::Device { .. } => return None,
                PackedNode::Whiteout => Node::Whiteout,
            };
            directory.entries.insert(name, Entry { meta, node });
        }
        let extent = Extent::of(count, below.into_iter())?;
        known.push((super::digest_of(&super::encode(&directory)), extent));
        directories.push(directory);
    }
    if !rest.is_empty() || known.last().is_none_or(|(last, _)| last != root) {
        return None;
    }
    for directory in directories {
        trees.add(directory);
    }
    Some(())
}

/// Whether a layer can have such a name in it.
fn is_name(name: &[u8]) -> bool {
    let is_special = matches!(name, b"" | b"." | b"..") || name.starts_with(b".wh.");
    !is_special && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

#[cfg(test)]
mod tests {
    use cache::Store;
    use proptest::prelude::*;

    use super::*;

    fn file(n: u8) -> Entry {
        let node = Node::File { content: ContentDigest::from_bytes([n; 32]), size: n.into() };
        Entry { meta: Meta::with_mode(0o644), node }
    }

    fn directory<'n>(entries: impl IntoIterator<Item = (&'n str, Entry)>) -> Directory {
        let entries = entries.into_iter().map(|(name, entry)| (name.as_bytes().to_vec(), entry)).collect();
        Directory { entries, opaque: false }
    }

    /// One of everything, a directory twice.
    fn tree(trees: &Trees<'_>) -> TreeDigest {
        let shared = Entry::plain_dir(trees.add(directory([("f", file(1)), ("g", file(2))])));
        let hidden = trees.add(Directory { opaque: true, ..directory([("a", shared.clone())]) });
        let of = |node| Entry { meta: Meta::default(), node };
        trees.add(directory([
            ("a", shared.clone()),
            ("b", Entry::plain_dir(hidden)),
            ("c", of(Node::Symlink(b"../x".to_vec()))),
            ("d", of(Node::Device { kind: 'b', major: 1, minor: 2 })),
            ("e", of(Node::Whiteout)),
        ]))
    }

    fn with_store(test: impl FnOnce(&Store)) {
        let dir = tempfile::tempdir().unwrap();
        test(&Store::open(dir.path()).unwrap());
    }

    #[test]
    fn what_is_packed_is_unpacked_elsewhere() {
        with_store(|store| {
            let here = Trees::new(store);
            let root = tree(&here);
            let bytes = pack(&here, &root).unwrap();
            assert_eq!(postcard::from_bytes::<Vec<PackedDirectory>>(&bytes).unwrap().len(), 3);
            let there = Trees::new(store);
            assert_eq!(pack(&there, &root), None, "it is not known there");
            assert_eq!(unpack(&there, &root, &bytes), Some(()));
            assert_eq!(pack(&there, &root), Some(bytes.clone()));
            let paths = |trees: &Trees<'_>| {
                let mut paths = Vec::new();
                let mut visit = |path: &[u8], entry: &Entry| {
                    paths.push((path.to_vec(), entry.clone()));
                    Ok::<_, super::super::TreeError>(())
                };
                trees.walk(&root, &mut visit).unwrap();
                paths
            };
            assert_eq!((paths(&there), paths(&here).len()), (paths(&here), 10));
            // Another one, more than it, less than it, nothing.
            let other = Trees::new(store);
            let empty = here.empty();
            for (root, bytes) in [
                (&empty, &bytes[..]),
                (&root, &[&bytes[..], &[0]].concat()),
                (&root, &bytes[..bytes.len() - 1]),
                (&root, &[0]),
            ] {
                assert_eq!(unpack(&other, root, bytes), None);
                assert!(other.load(root).is_err());
            }
        });
    }

    #[test]
    fn a_small_tree_is_few_bytes() {
        with_store(|store| {
            let trees = Trees::new(store);
            let etc = trees.add(directory([("motd", file(1))]));
            let root = trees.add(directory([("etc", Entry::plain_dir(etc))]));
            let wanted = ["0200", "0104", "6d6f7464", "a40300000000", "00", &"01".repeat(32), "01"].concat()
                + &["0001", "03", "657463", "ed0300000000", "01", "00"].concat();
            assert_eq!(hex::encode(pack(&trees, &root).unwrap()), wanted);
        });
    }

    #[test]
    fn what_no_layer_holds_is_refused() {
        with_store(|store| {
            let trees = Trees::new(store);
            let dir = |below: u32, names: &[&str]| PackedDirectory {
                opaque: false,
                entries: names
                    .iter()
                    .map(|name| (name.as_bytes().into(), Meta::default(), PackedNode::Dir(below)))
                    .collect(),
            };
            // What its root is called does not matter: the digest is the right one.
            let check = |packed: &[PackedDirectory]| {
                let mut known: Vec<TreeDigest> = Vec::new();
                for PackedDirectory { entries, .. } in packed {
                    let entry = |(name, meta, node): &(Box<[u8]>, Meta, PackedNode)| {
                        let PackedNode::Dir(below) = node else { panic!("only directories are made here") };
                        let tree = known.get(*below as usize).copied();
                        let node = Node::Dir(tree.unwrap_or_else(|| TreeDigest::from_bytes([0; 32])));
                        (name.clone(), Entry { meta: meta.clone(), node })
                    };
                    let entries = entries.iter().map(entry).collect();
                    let bytes = super::super::encode(&Directory { entries, opaque: false });
                    known.push(super::super::digest_of(&bytes));
                }
                unpack(&trees, known.last().unwrap(), &postcard::to_stdvec(packed).unwrap()).is_some()
            };
            assert!(check(&[dir(0, &[]), dir(0, &["a", "b"])]));
            for name in ["", ".", "..", "a/b", "a\0", ".wh.a"] {
                assert!(!check(&[dir(0, &[]), dir(0, &[name])]), "{name:?}");
            }
            assert!(!check(&[dir(0, &[]), dir(0, &["b", "a"])]), "unsorted");
            assert!(!check(&[dir(0, &["a"])]), "a directory in itself");
            assert!(!check(&[dir(0, &[]), dir(2, &["a"]), dir(0, &[])]), "one that comes later");
            let chain = |names: &[&str], length: u32| -> Vec<PackedDirectory> {
                std::iter::once(dir(0, &[])).chain((0..length).map(|n| dir(n, names))).collect()
            };
            assert!(check(&chain(&["a"], 2047)) && !check(&chain(&["a"], 2048)), "depth");
            assert!(check(&chain(&["a", "b"], 20)) && !check(&chain(&["a", "b"], 30)), "paths");
        });
    }

    proptest! {
        #[test]
        fn any_bytes_are_the_tree_or_refused(bytes: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            with_store(|store| {
                let here = Trees::new(store);
                let root = tree(&here);
                let mut good = pack(&here, &root).unwrap();
                let there = Trees::new(store);
                assert_eq!(unpack(&there, &root, &bytes), None);
                let at = at.index(good.len());
                good[at] ^= 1u8 << bit;
                if unpack(&there, &root, &good).is_some() {
                    assert_eq!(pack(&there, &root), pack(&here, &root), "another way to write a number");
                }
            });
        }
    }
}
