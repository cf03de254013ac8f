//! Trees in memory: making, walking and comparing them.

use divan::Bencher;
use divan::counter::ItemsCount;
use engine::tree::{Directory, Entry, Meta, Node, TreeError, Trees};
use engine::{State, StoredImage};
use serde_json::json;
use solver::{BlobDigest, ContentDigest, TreeDigest};

/// Files of a tree, a hundred a directory.
const FILES: [usize; 2] = [5000, 100_000];

#[divan::bench(args = FILES)]
fn make_tree(bencher: Bencher<'_, '_>, files: usize) {
    let (_dir, store) = super::store::empty();
    bencher.counter(ItemsCount::new(files)).bench(|| tree(&Trees::new(&store), files, 0));
}

#[divan::bench(args = FILES)]
fn walk_tree(bencher: Bencher<'_, '_>, files: usize) {
    let (_dir, store) = super::store::empty();
    let trees = Trees::new(&store);
    let root = tree(&trees, files, 0);
    bencher.counter(ItemsCount::new(files)).bench(|| {
        let mut bytes = 0;
        let walked = trees.walk::<TreeError>(&root, &mut |path, _| {
            bytes += path.len();
            Ok(())
        });
        walked.map(|()| bytes)
    });
}

/// Two images, one file of which differs: the directories they share are not gone into.
#[divan::bench(args = FILES)]
fn diff_of_one_file(bencher: Bencher<'_, '_>, files: usize) {
    diff(bencher, files, &|trees| (tree(trees, files, 0), tree(trees, files, 1)));
}

/// An image with everything, and one with nothing.
#[divan::bench(args = FILES)]
fn diff_of_everything(bencher: Bencher<'_, '_>, files: usize) {
    diff(bencher, files, &|trees| (tree(trees, files, 0), trees.empty()));
}

fn diff(bencher: Bencher<'_, '_>, files: usize, make: &dyn Fn(&Trees<'_>) -> (TreeDigest, TreeDigest)) {
    let (_dir, store) = super::store::empty();
    let trees = Trees::new(&store);
    let (before, after) = make(&trees);
    let image = image();
    let state = |tree| State { deltas: vec![tree], ..State::default() };
    let (before, after) = (state(before), state(after));
    bencher.counter(ItemsCount::new(files)).bench(|| {
        engine::diff::diff(&trees, (&image, &before), (&image, &after)).map(|diff| diff.files.len())
    });
}

/// A tree of so many files; `edited` is the content of the last one.
pub(crate) fn tree(trees: &Trees<'_>, files: usize, edited: u64) -> TreeDigest {
    let dirs = files.div_ceil(100);
    let entries = (0..dirs).map(|dir| {
        let file = |number: usize| {
            let is_last = dir + 1 == dirs && number == 99;
            let content = (dir * 100 + number) as u64 ^ if is_last { edited << 32 } else { 0 };
            let node = Node::File { content: content_of(content), size: 1024 };
            (format!("file{number}.yaml").into_bytes(), Entry { meta: Meta::with_mode(0o644), node })
        };
        let directory = Directory { entries: (0..100).map(file).collect(), opaque: false };
        (format!("dir{dir}").into_bytes(), Entry::plain_dir(trees.add(directory)))
    });
    trees.add(Directory { entries: entries.collect(), opaque: false })
}

fn content_of(number: u64) -> ContentDigest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    ContentDigest::from_bytes(bytes)
}

/// An image without layers: only the states count here.
fn image() -> StoredImage {
    let config =
        br#"{"os":"linux","architecture":"amd64","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
    let digest = BlobDigest::from_bytes([1; 32]);
    let media_type = "application/vnd.oci.image.config.v1+json";
    let manifest = json!({"schemaVersion": 2, "layers": [],
        "config": {"mediaType": media_type, "digest": digest.to_string(), "size": config.len()}});
    let manifest = serde_json::from_value(manifest).expect("it is a manifest");
    StoredImage::new(None, digest, manifest, config).expect("it is an image")
}
