//! Layers: headers of the tar, and frames compressed on all threads.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use engine::contents::{Contents, Location, content_digest};
use engine::frames::LayerWriter;
use engine::tree::{Directory, Entry, Meta, Node, Trees};
use engine::{Cancel, LayerCompression, TimePolicy};
use solver::{HardLinks, TreeDigest};

/// Files of the layer, and bytes of each.
const FILES: usize = 256;
const FILE_SIZE: usize = 64 << 10;

/// Headers and padding of small files, written after each other.
#[divan::bench(args = [100_000])]
fn tar_headers(bencher: Bencher<'_, '_>, files: usize) {
    let content = content_digest(b"x");
    let entry = Entry { meta: Meta::with_mode(0o644), node: Node::File { content, size: 1 } };
    let paths: Vec<String> =
        (0..files).map(|n| format!("application/apps/a{}/file{n}.yaml", n / 100)).collect();
    bencher.counter(ItemsCount::new(files)).bench(|| {
        let mut tar = Vec::with_capacity(files << 10);
        for path in &paths {
            engine::layer::write_header(&mut tar, path.as_bytes(), &entry, TimePolicy::Fixed(0));
            tar.push(b'x');
            engine::layer::pad(&mut tar);
        }
        tar.len()
    });
}

/// A tar as a blob, not compressed: both hashes and the writing.
#[divan::bench(args = [1, 2])]
fn tar_16_mib(bencher: Bencher<'_, '_>, threads: usize) {
    write(bencher, threads, LayerCompression::NONE);
}

#[divan::bench(args = [1, 2])]
fn zstd_frames_16_mib(bencher: Bencher<'_, '_>, threads: usize) {
    write(bencher, threads, LayerCompression::default());
}

#[divan::bench(args = [1, 2])]
fn gzip_members_16_mib(bencher: Bencher<'_, '_>, threads: usize) {
    write(bencher, threads, LayerCompression::GZIP);
}

fn write(bencher: Bencher<'_, '_>, threads: usize, compression: LayerCompression) {
    let (_dir, store) = super::store::empty();
    let trees = Trees::new(&store);
    let contents = Contents::new(&store, false);
    let (delta, links, cancel) = (delta(&trees, &contents), HardLinks::default(), Cancel::new());
    let writer = LayerWriter {
        store: &store,
        trees: &trees,
        contents: &contents,
        links: &links,
        times: TimePolicy::Fixed(0),
        compression,
        reuse: false,
        cancel: &cancel,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
    bencher
        .counter(BytesCount::new(FILES * FILE_SIZE))
        .bench_local(|| pool.install(|| writer.write(&delta, &|_| ()).map(|layer| layer.blob.size)));
}

/// Files in memory, in sixteen directories.
fn delta(trees: &Trees<'_>, contents: &Contents<'_>) -> TreeDigest {
    let mut random = benches::Random::new(16);
    let mut root = Directory::default();
    for dir in 0..16 {
        let mut directory = Directory::default();
        for file in 0..FILES / 16 {
            let bytes = random.bytes(FILE_SIZE);
            let content = content_digest(&bytes);
            contents.add(content, Location::Inline(Arc::from(bytes)));
            let node = Node::File { content, size: FILE_SIZE as u64 };
            let entry = Entry { meta: Meta::with_mode(0o644), node };
            directory.entries.insert(format!("file{file}").into_bytes(), entry);
        }
        root.entries.insert(format!("dir{dir}").into_bytes(), Entry::plain_dir(trees.add(directory)));
    }
    trees.add(root)
}
