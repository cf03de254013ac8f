//! What is fuzzed: one function a target, each taking any bytes and panicking only on a bug. The fuzzer calls them with
//! bytes it invents, a test with the seeds, among them everything that ever failed.

#![allow(dead_code, reason = "each fuzz target uses one of them")]

use std::io::Read;
use std::sync::OnceLock;

use cache::{Store, Table};
use engine::State;
use engine::decompress::{Bounded, Compression};
use engine::tree::{Node, TreeError, Trees};
use engine::untar::{Flavour, Untarred, read_tar};

/// Takes bytes nobody vouches for.
pub(crate) type Target = fn(&[u8]);

/// The targets by name, as in `seeds/`.
pub(crate) const ALL: [(&str, Target); 6] = [
    ("kubefile", kubefile),
    ("layer", layer),
    ("archive", archive),
    ("ignore", ignore),
    ("record", record),
    ("load", load),
];

/// Bytes anything may expand to here; a bomb must not take the fuzzer's memory.
const EXPANSION: u64 = 16 << 20;

fn store() -> &'static (tempfile::TempDir, Store) {
    static STORE: OnceLock<(tempfile::TempDir, Store)> = OnceLock::new();
    STORE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&dir.path().join("store")).expect("a store is made");
        (dir, store)
    })
}

/// Text to definition, diagnostics included: every span lies in the text.
pub(crate) fn kubefile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = solver::SourceFile { name: "Kubefile".into(), text: text.to_owned() };
    let options = frontend::Options {
        build_args: Default::default(),
        platform: solver::Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        target: None,
        allows_insecure: false,
        has_one_user: false,
        contexts: Default::default(),
    };
    let parsed = frontend::parse(&source);
    let (model, wrong) = frontend::model(&parsed, &options);
    let base = |reference: &str| solver::Base {
        reference: reference.to_owned(),
        digest: Some(solver::ManifestDigest::from_bytes([1; 32])),
        env: Default::default(),
        working_dir: String::new(),
        user: String::new(),
        labels: Default::default(),
        author: None,
        applications: Vec::new(),
    };
    let bases =
        model.bases().iter().map(|request| (request.image.clone(), base(&request.image.reference))).collect();
    let (lowered, more) = frontend::lower(&model, &source, &options, &bases);
    let check = frontend::Check::new(&model, &source, &options, &bases);
    let selections = check.sources().into_keys().map(|pattern| (pattern, frontend::Selection::File));
    let looked = check.findings(&selections.collect(), false);
    for diagnostic in parsed.diagnostics.iter().chain(&wrong).chain(&more).chain(&looked) {
        for label in &diagnostic.labels {
            assert!(label.span.start <= label.span.end && label.span.end <= text.len(), "{diagnostic:?}");
            source.position(label.span.start);
        }
    }
    if let Some(lowered) = lowered {
        solver::Graph::new(&lowered.definition).expect("what is lowered is a graph");
    }
}

/// A layer read into a tree: no name climbs or is empty.
pub(crate) fn layer(bytes: &[u8]) {
    tree_of(bytes, Flavour::Layer(&State::default()));
}

/// A compressed archive to be extracted, read into a tree.
pub(crate) fn archive(bytes: &[u8]) {
    let Ok(reader) = Compression::of(bytes).reader(bytes) else { return };
    let mut content = Vec::new();
    if Bounded::new(reader, EXPANSION).read_to_end(&mut content).is_ok() {
        tree_of(&content, Flavour::Archive);
    }
}

fn tree_of(bytes: &[u8], flavour: Flavour<'_>) {
    let trees = Trees::new(&store().1);
    let mut reader = bytes;
    let tree = read_tar(&mut reader, &trees, flavour, true, &mut |_, file| {
        engine::contents::copy_hashed(file, &mut std::io::sink())
    });
    let Ok(Untarred { tree, .. }) = tree else { return };
    let checked = trees.walk::<TreeError>(&tree, &mut |path, entry| {
        for name in path.split(|byte| *byte == b'/') {
            assert!(!name.is_empty() && name != b"." && name != b".." && !name.contains(&0), "{path:?}");
        }
        assert!(matches!(flavour, Flavour::Layer(_)) || entry.node != Node::Whiteout, "{path:?}");
        Ok(())
    });
    checked.expect("a tree just made is whole");
}

/// Patterns before the first NUL byte, a path after it.
pub(crate) fn ignore(bytes: &[u8]) {
    let place = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (patterns, path) = bytes.split_at(place);
    let Ok(rules) = engine::ignore::IgnoreRules::parse(&String::from_utf8_lossy(patterns)) else { return };
    let path: Vec<&[u8]> = path
        .split(|byte| matches!(byte, 0 | b'/'))
        .filter(|name| !name.is_empty() && *name != b"..")
        .collect();
    let mut pruned = false;
    let mut above = engine::ignore::Matched::default();
    for depth in 1..=path.len() {
        let path = path[..depth].join(&b'/');
        let is_ignored = rules.is_ignored(&path);
        assert_eq!(is_ignored, rules.is_ignored_in(&above, &path), "a walk and a question agree");
        assert!(is_ignored || !pruned, "what was pruned holds nothing that is wanted");
        above = rules.enter(&above, &path);
        pruned |= rules.can_prune_in(&above, &path);
    }
}

/// Values of the database as any disk may give them back.
pub(crate) fn record(bytes: &[u8]) {
    let store = &store().1;
    store.put_bytes(Table::Steps, b"key", bytes.to_vec());
    store.get::<solver::Record>(Table::Steps, b"key");
    store.get::<solver::Layer>(Table::Steps, b"key");
    store.get::<engine::source::http::HttpRecord>(Table::Steps, b"key");
    let digest = solver::TreeDigest::from_bytes([7; 32]);
    store.put_bytes(Table::Trees, digest.as_bytes(), bytes.to_vec());
    assert!(Trees::new(store).load(&digest).is_err(), "a directory is checked against its digest");
}

/// An archive of unknown make, looked at and loaded. What is refused leaves nothing.
pub(crate) fn load(bytes: &[u8]) {
    let (dir, store) = store();
    let path = dir.path().join("input");
    fs_err::write(&path, bytes).expect("a file is written");
    let input = engine::transport::Input::Path(path);
    let _ = engine::transport::peek(&input);
    let cancel = engine::Cancel::new();
    let _ = engine::container::Archives::open(&[dir.path().join("input")], &cancel);
    let options = engine::transport::Load { names: &[], now: 0, cancel: &cancel, progress: &|_| {} };
    if engine::transport::load(store, &input, &options).is_ok() {
        for tagged in engine::Images::new(store).list().expect("the index stays readable") {
            let _ = engine::Images::new(store).read(&tagged);
        }
    }
}
