//! The places of a state are what a look into the state itself shows.

use cache::Store;
use proptest::prelude::*;

use super::*;
use crate::contents::content_digest;
use crate::delta::OpenDir;
use crate::state::{Found, State};
use crate::tree::{Entry, Meta};

const PATHS: [&str; 7] = [
    "manifests",
    "charts",
    "application",
    "application/apps",
    "application/apps/a",
    "application/apps/b",
    "application/apps/a/charts",
];

/// What a delta does to a path: a file below it, nothing any more, opaque, or a file in its place.
fn change() -> impl Strategy<Value = (&'static str, u8)> {
    (proptest::sample::select(PATHS.to_vec()), 0_u8..6)
}

fn delta(trees: &Trees<'_>, changes: &[(&'static str, u8)]) -> TreeDigest {
    let mut root = OpenDir::root();
    let plain = Meta::with_mode(0o755);
    let file = |byte| Entry {
        meta: Meta::default(),
        node: Node::File { content: content_digest(&[byte]), size: 1 },
    };
    for (path, kind) in changes {
        let names: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
        let (name, parents) = names.split_last().unwrap();
        let mut at = &mut root;
        for parent in parents {
            at = at.dir(trees, parent, &plain).unwrap();
        }
        match kind {
            0 => _ = at.put(trees, name, Entry { meta: Meta::default(), node: Node::Whiteout }).unwrap(),
            1 => at.dir(trees, name, &plain).unwrap().set_opaque(),
            2 => _ = at.put(trees, name, file(9)).unwrap(),
            kind => _ = at.dir(trees, name, &plain).unwrap().put(trees, b"f", file(*kind)).unwrap(),
        }
    }
    root.finish(trees)
}

proptest! {
    #[test]
    fn places_show_what_the_state_shows(
        changes in proptest::collection::vec(proptest::collection::vec(change(), 0..4), 0..5),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let trees = Trees::new(&store);
        let deltas: Vec<TreeDigest> = changes.iter().map(|changes| delta(&trees, changes)).collect();
        let all: Vec<Vec<Part>> = deltas.iter().map(|delta| parts(&trees, delta).unwrap()).collect();
        let units = visible(&all);
        let state = State::of(deltas);
        let application = |name: &[u8]| Unit::Application(name.to_vec());
        for unit in [Unit::Manifests, Unit::Charts, application(b"a"), application(b"b")] {
            let expected = match state.look_up(&trees, unit.path().as_bytes()).unwrap() {
                Found::Dir { parts, .. } => parts,
                Found::Absent | Found::Other(_) => Vec::new(),
            };
            let shown = units.get(&unit).map_or(&[][..], Vec::as_slice);
            let found: Vec<TreeDigest> =
                shown.iter().rev().filter_map(|(delta, part)| all[*delta][*part].tree).collect();
            prop_assert_eq!(found, expected, "{:?}", unit);
        }
    }
}
