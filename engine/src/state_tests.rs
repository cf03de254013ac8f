//! Overlay rules, compared with a model that really applies each delta.

use std::collections::BTreeMap;

use cache::Store;
use proptest::prelude::*;

use super::*;
use crate::contents::content_digest;
use crate::delta::OpenDir;

/// One change of a delta: a path of up to three letters, and what it becomes.
#[derive(Debug, Clone)]
enum Change {
    File(Vec<u8>, u8),
    Dir(Vec<u8>),
    Gone(Vec<u8>),
    Opaque(Vec<u8>),
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"abc".to_vec()), 1..4)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(path, byte)| Change::File(path, byte)),
        2 => path().prop_map(Change::Dir),
        1 => path().prop_map(Change::Gone),
        1 => path().prop_map(Change::Opaque),
    ]
}

fn file(byte: u8) -> Entry {
    let node = Node::File { content: content_digest(&[byte]), size: 1 };
    Entry { meta: Meta::with_mode(0o644), node }
}

/// A delta as a tree.
fn delta(trees: &Trees<'_>, changes: &[Change]) -> TreeDigest {
    let mut root = OpenDir::root();
    let dir = Meta::with_mode(0o755);
    for change in changes {
        let (Change::File(path, _) | Change::Dir(path) | Change::Gone(path) | Change::Opaque(path)) = change;
        let mut at = &mut root;
        for name in &path[..path.len() - 1] {
            at = at.dir(trees, &[*name], &dir).unwrap();
        }
        let name = &[path[path.len() - 1]];
        match change {
            Change::File(_, byte) => _ = at.put(trees, name, file(*byte)).unwrap(),
            Change::Dir(_) => _ = at.dir(trees, name, &dir).unwrap(),
            Change::Gone(_) => {
                _ = at.put(trees, name, Entry { meta: Meta::default(), node: Node::Whiteout }).unwrap();
            }
            Change::Opaque(_) => at.dir(trees, name, &dir).unwrap().set_opaque(),
        }
    }
    root.finish(trees)
}

/// Applies a delta the way a container engine does: entry by entry, to a plain map of paths.
fn apply(trees: &Trees<'_>, model: &mut BTreeMap<Vec<u8>, Option<u8>>, delta: &TreeDigest, bytes: &[u8]) {
    let byte_of = |entry: &Entry| bytes.iter().copied().find(|byte| file(*byte).node == entry.node);
    let mut entries = Vec::new();
    trees
        .walk::<TreeError>(delta, &mut |path, entry| {
            entries.push((path.to_vec(), entry.clone()));
            Ok(())
        })
        .unwrap();
    let below = |path: &[u8]| [path, b"/"].concat();
    for (path, entry) in entries {
        match &entry.node {
            Node::Dir(tree) => {
                if trees.load(tree).unwrap().opaque {
                    model.retain(|other, _| !other.starts_with(&below(&path)));
                }
                model.insert(path, None);
            }
            Node::Whiteout => model.retain(|other, _| *other != path && !other.starts_with(&below(&path))),
            _ => {
                model.retain(|other, _| !other.starts_with(&below(&path)));
                model.insert(path, byte_of(&entry));
            }
        }
    }
}

proptest! {
    #[test]
    fn a_state_is_what_applying_its_deltas_gives(
        deltas in prop::collection::vec(prop::collection::vec(change(), 0..8), 1..6)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let trees = Trees::new(&store);
        let bytes: Vec<u8> = deltas.iter().flatten().filter_map(|change| match change {
            Change::File(_, byte) => Some(*byte),
            _ => None,
        }).collect();
        let mut model = BTreeMap::new();
        let mut state = State::default();
        for changes in &deltas {
            let delta = delta(&trees, changes);
            apply(&trees, &mut model, &delta, &bytes);
            state.deltas.push(delta);
        }
        let Found::Dir { parts, .. } = state.root() else { unreachable!() };
        let merged = State::merged(&trees, &parts).unwrap();
        let mut seen = BTreeMap::new();
        trees.walk::<TreeError>(&merged, &mut |path, entry| {
            seen.insert(path.to_vec(), bytes.iter().copied().find(|byte| file(*byte).node == entry.node));
            Ok(())
        }).unwrap();
        prop_assert_eq!(&seen, &model);
        for first in 0..state.deltas.len() {
            let (below, above) = state.deltas.split_at(first);
            let mut one = OpenDir::root();
            above.iter().for_each(|delta| _ = one.add_all(&trees, delta).unwrap());
            let parts: Vec<_> = [one.finish(&trees)].into_iter().chain(below.iter().rev().copied()).collect();
            let same = State::merged(&trees, &parts).unwrap();
            prop_assert_eq!(same, merged, "deltas from {} on are another thing when they are one", first);
        }
        for (path, byte) in &model {
            let found = state.look_up(&trees, path).unwrap();
            let right = match byte {
                None => matches!(found, Found::Dir { .. }),
                Some(byte) => found == Found::Other(file(*byte)),
            };
            prop_assert!(right, "{:?} is {:?}", path, found);
        }
    }
}

#[test]
fn links_are_followed_inside_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let mut root = OpenDir::root();
    let meta = Meta::with_mode(0o755);
    let link = |target: &str| Entry { meta: Meta::with_mode(0o777), node: Node::Symlink(target.into()) };
    root.dir(&trees, b"usr", &meta)
        .unwrap()
        .dir(&trees, b"bin", &meta)
        .unwrap()
        .put(&trees, b"x", file(1))
        .unwrap();
    for (name, target) in [
        ("bin", "usr/bin"),
        ("abs", "/usr"),
        ("up", "../../usr/./bin"),
        ("loop", "loop"),
        ("gone", "no/where"),
    ] {
        root.put(&trees, name.as_bytes(), link(target)).unwrap();
    }
    let state = State::of(vec![root.finish(&trees)]);
    for (asked, ends) in [
        ("/bin/x", "usr/bin/x"),
        ("abs/bin/x", "usr/bin/x"),
        ("up/x", "usr/bin/x"),
        ("../../bin/../bin/x", "usr/bin/x"),
        ("gone/y", "no/where/y"),
        ("loop", "loop"),
        ("new/dir", "new/dir"),
    ] {
        let resolved = state.resolve(&trees, asked.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&resolved.path), ends, "{asked}");
        assert_eq!(resolved.is_loop(), asked == "loop", "{asked}");
    }
    let resolved = state.resolve(&trees, b"bin/x/y").unwrap();
    assert_eq!((resolved.found, resolved.parents.len()), (Found::Absent, 4));
    assert!(
        resolved.facts.iter().any(|fact| fact.path == b"bin" && fact.header.as_ref().unwrap().kind == 'l')
    );
}
