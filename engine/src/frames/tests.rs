//! Layers as bytes: the same wherever they are made, and cut so that a change stays where it is.

use std::collections::{BTreeMap, HashSet};

use std::io::Read;

use sha2::{Digest, Sha256};
use solver::{DiffId, HardLinks};

use super::cut::LONGEST;
use super::*;
use crate::contents::{Location, content_digest};
use crate::delta::OpenDir;
use crate::layer;
use crate::tree::{Entry, Meta, Node};

struct Lab {
    _dir: tempfile::TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Self { _dir: dir, store }
    }

    /// Writes files as a layer with a number of threads; gives the layer and its bytes.
    fn layer(
        &self,
        files: &BTreeMap<String, Vec<u8>>,
        media_type: MediaType,
        threads: usize,
    ) -> Result<(Layer, Vec<u8>), FrameError> {
        self.layer_of(files, &|_| true, media_type, threads)
    }

    /// The same; only some of the files can be read.
    fn layer_of(
        &self,
        files: &BTreeMap<String, Vec<u8>>,
        is_readable: &dyn Fn(&str) -> bool,
        media_type: MediaType,
        threads: usize,
    ) -> Result<(Layer, Vec<u8>), FrameError> {
        let trees = Trees::new(&self.store);
        let contents = Contents::new(&self.store, false);
        let mut root = OpenDir::root();
        for (name, bytes) in files {
            let content = content_digest(bytes);
            if is_readable(name) {
                contents.add(content, Location::Inline(bytes.clone().into()));
            }
            let node = Node::File { content, size: bytes.len() as u64 };
            root.put(&trees, name.as_bytes(), Entry { meta: Meta::with_mode(0o644), node })?;
        }
        let delta = root.finish(&trees);
        let writer = LayerWriter {
            links: &HardLinks::default(),
            store: &self.store,
            trees: &trees,
            contents: &contents,
            times: TimePolicy::Fixed(0),
            compression: LayerCompression {
                media_type,
                level: if media_type == MediaType::Tar { 0 } else { 3 },
            },
            reuse: true,
            cancel: &Cancel::new(),
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let layer = pool.install(|| writer.write(&delta, &|_| {}))?;
        let mut bytes = Vec::new();
        self.store.blobs().open(&layer.blob.digest)?.read_to_end(&mut bytes)?;
        Ok((layer, bytes))
    }
}

fn files(count: usize, size: usize) -> BTreeMap<String, Vec<u8>> {
    let byte = |n: usize, i: usize| (n * 31 + i * i / 7) as u8;
    (0..count).map(|n| (format!("f{n:05}"), (0..size).map(|i| byte(n, i)).collect())).collect()
}

/// The tar bytes of each frame.
fn frames(layer: &Layer, tar: &[u8]) -> Vec<Vec<u8>> {
    let mut start = 0;
    let mut cut = |&(end, _): &(u64, u64)| {
        let frame = tar[start..end as usize].to_vec();
        start = end as usize;
        frame
    };
    layer.frames.iter().map(&mut cut).collect()
}

#[test]
fn the_release_of_libdeflate_is_the_one_that_keys_say() {
    let lock = include_str!("../../../Cargo.lock");
    let package = format!("name = \"libdeflate-sys\"\nversion = \"{DEFLATE_VERSION}\"");
    assert!(lock.contains(&package), "what it writes may be other bytes now");
}

#[test]
fn every_format_holds_the_same_tar_and_threads_do_not_show() {
    let sizes = [0, 1, 511, 512, 513, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9 << 20];
    let mut sample = files(300, 9000);
    sample.extend(sizes.iter().map(|&size| (format!("size{size}"), vec![7; size])));
    let (plain, tar) = Lab::new().layer(&sample, MediaType::Tar, 1).unwrap();
    assert_eq!(DiffId::from_bytes(Sha256::digest(&tar).into()), plain.diff_id);
    for media_type in [MediaType::TarZstd, MediaType::TarGzip] {
        let (first, bytes) = Lab::new().layer(&sample, media_type, 1).unwrap();
        let mut unpacked = Vec::new();
        layer::uncompressed(bytes.as_slice(), media_type).unwrap().read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == tar, "{media_type:?}");
        assert_eq!(first.diff_id, plain.diff_id);
        for threads in [2, 3, 8] {
            let (again, other) = Lab::new().layer(&sample, media_type, threads).unwrap();
            assert!(bytes == other, "{media_type:?} with {threads} threads");
            assert_eq!(first, again);
        }
    }
    let mut archive = tar::Archive::new(tar.as_slice());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert!(content == sample[&name], "{name}");
    }
}

#[test]
fn frames_are_about_a_mebibyte_and_at_most_four() {
    let (layer, tar) = Lab::new().layer(&files(4000, 10_000), MediaType::Tar, 2).unwrap();
    let frames = frames(&layer, &tar);
    assert!(
        frames.iter().all(|frame| frame.len() as u64 <= LONGEST + 1024),
        "no frame is longer than the limit"
    );
    assert!((20..=80).contains(&frames.len()), "{} frames of 40 MB", frames.len());
}

#[test]
fn a_change_remakes_the_frames_it_touches_and_no_others() {
    let before = files(4000, 5000);
    let cut = |files: &BTreeMap<String, Vec<u8>>| {
        let (layer, tar) = Lab::new().layer(files, MediaType::Tar, 2).unwrap();
        frames(&layer, &tar)
    };
    let known: HashSet<Vec<u8>> = cut(&before).into_iter().collect();
    type Change = fn(&mut BTreeMap<String, Vec<u8>>);
    let changes: [(&str, Change); 4] = [
        ("grow", |files| files.get_mut("f01234").unwrap().extend(vec![1; 70_000])),
        ("edit", |files| files.get_mut("f01234").unwrap()[7] ^= 1),
        ("insert", |files| _ = files.insert("f01234x".into(), vec![2; 3000])),
        ("delete", |files| _ = files.remove("f01234")),
    ];
    for (what, change) in changes {
        let mut after = before.clone();
        change(&mut after);
        let new = cut(&after).into_iter().filter(|frame| !known.contains(frame)).count();
        assert!(new <= 3, "{what} remade {new} frames");
    }
}

#[test]
fn an_empty_delta_is_an_empty_archive() {
    for media_type in [MediaType::Tar, MediaType::TarZstd, MediaType::TarGzip] {
        let (layer, bytes) = Lab::new().layer(&BTreeMap::new(), media_type, 2).unwrap();
        let mut tar = Vec::new();
        layer::uncompressed(bytes.as_slice(), media_type).unwrap().read_to_end(&mut tar).unwrap();
        assert_eq!(tar, layer::END);
        assert_eq!(layer.frames, [(1024, bytes.len() as u64)]);
    }
}

#[test]
fn a_file_that_changed_after_it_was_identified_is_an_error_and_no_blob() {
    for (size, now) in [(5, 5), (5, 4), (6 << 20, 6 << 20), (6 << 20, 5 << 20)] {
        let lab = Lab::new();
        let trees = Trees::new(&lab.store);
        let contents = Contents::new(&lab.store, false);
        let content = content_digest(&vec![1; size]);
        let mut bytes = vec![1; now];
        bytes[now - 1] = 2;
        contents.add(content, Location::Inline(bytes.into()));
        let mut root = OpenDir::root();
        let node = Node::File { content, size: size as u64 };
        root.put(&trees, b"f", Entry { meta: Meta::with_mode(0o644), node }).unwrap();
        let delta = root.finish(&trees);
        let (times, compression) = (TimePolicy::Fixed(0), LayerCompression::default());
        let cancel = &Cancel::new();
        let writer = LayerWriter {
            links: &HardLinks::default(),
            store: &lab.store,
            trees: &trees,
            contents: &contents,
            times,
            compression,
            reuse: true,
            cancel,
        };
        let result = writer.write(&delta, &|_| {});
        assert!(matches!(result, Err(FrameError::Changed { ref path }) if path == "f"), "{result:?}");
        assert!(!lab.store.blobs().has_pending());
    }
}

#[test]
fn gnu_tar_lists_names_of_every_kind() {
    let names = ["plain".to_owned(), "new\nline".to_owned(), "ü".repeat(100), "x".repeat(255)];
    let sample: BTreeMap<String, Vec<u8>> = names.iter().map(|name| (name.clone(), b"c".to_vec())).collect();
    let (_, tar) = Lab::new().layer(&sample, MediaType::Tar, 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("l.tar"), tar).unwrap();
    let unpack = std::process::Command::new("tar").args(["-xf", "l.tar"]).current_dir(dir.path()).status();
    assert!(unpack.unwrap().success());
    assert!(names.iter().all(|name| dir.path().join(name).is_file()));
}

#[test]
fn a_layer_key_depends_on_everything_its_bytes_depend_on() {
    let tree = |byte| TreeDigest::from_bytes([byte; 32]);
    let with = |media_type, level| LayerCompression { media_type, level };
    let zstd = with(MediaType::TarZstd, 3);
    let keys = HashSet::from([
        layer_key(&tree(1), &HardLinks::default(), TimePolicy::Fixed(0), zstd),
        layer_key(&tree(2), &HardLinks::default(), TimePolicy::Fixed(0), zstd),
        layer_key(&tree(1), &HardLinks(vec![vec![b"a".to_vec(), b"b".to_vec()]]), TimePolicy::Fixed(0), zstd),
        layer_key(&tree(1), &HardLinks::default(), TimePolicy::Fixed(1), zstd),
        layer_key(&tree(1), &HardLinks::default(), TimePolicy::Keep, zstd),
        layer_key(&tree(1), &HardLinks::default(), TimePolicy::Fixed(0), with(MediaType::TarZstd, 4)),
        layer_key(&tree(1), &HardLinks::default(), TimePolicy::Fixed(0), with(MediaType::TarGzip, 3)),
    ]);
    assert_eq!(keys.len(), 7);
}

/// Small files around one of 34 MiB, which is long enough for checkpoints.
fn files_around_a_large_one() -> BTreeMap<String, Vec<u8>> {
    let mut files = files(1500, 5000);
    let large = (0..34_u64 << 20).map(|i| ((i * i) >> 12) as u8).collect();
    files.insert("f00750-large".into(), large);
    files
}

const FORMATS: [MediaType; 3] = [MediaType::TarZstd, MediaType::TarGzip, MediaType::Tar];

#[test]
fn what_an_older_blob_has_is_copied_and_the_bytes_are_those_of_a_clean_store() {
    let before = files_around_a_large_one();
    type Change = fn(&mut BTreeMap<String, Vec<u8>>);
    let changes: [(&str, &str, Change); 6] = [
        ("first", "f00000", |files| files.get_mut("f00000").unwrap()[7] ^= 1),
        ("last", "f01499", |files| files.get_mut("f01499").unwrap()[7] ^= 1),
        ("middle of the large one", "f00750-large", |files| {
            files.get_mut("f00750-large").unwrap()[20 << 20] ^= 1
        }),
        ("end of the large one", "f00750-large", |files| files.get_mut("f00750-large").unwrap().push(5)),
        ("insert", "f00900", |files| _ = files.insert("f00900x".into(), vec![2; 3000])),
        ("delete", "f00900", |files| _ = files.remove("f00900")),
    ];
    for media_type in FORMATS {
        let lab = Lab::new();
        let (old, _) = lab.layer(&before, media_type, 2).unwrap();
        lab.store.commit::<CacheError>(|| Ok(())).unwrap();
        // One format sees all changes, the others those that differ in kind.
        let some = if media_type == MediaType::TarZstd { &changes[..] } else { &changes[2..4] };
        for (what, near, change) in some {
            let mut after = before.clone();
            change(&mut after);
            // Frames hold less than 4 MiB: what is farther away is in none that must be made.
            let number = |name: &str| name[1..6].parse::<i64>().unwrap();
            let is_near = |name: &str| (number(name) - number(near)).abs() * 5000 < 4 << 20;
            let (layer, bytes) = lab.layer_of(&after, &is_near, media_type, 2).unwrap();
            let (clean, expected) = Lab::new().layer(&after, media_type, 2).unwrap();
            assert!(layer == clean && bytes == expected, "{what} as {media_type:?}");
            assert_ne!(layer.blob, old.blob, "{what} as {media_type:?}");
        }
        let (again, _) = lab.layer_of(&before, &|_| false, media_type, 2).unwrap();
        assert_eq!(again, old, "nothing is read if everything is there");
    }
}

#[test]
fn a_damaged_frame_is_made_again() {
    let mut files = files(3000, 5000);
    for media_type in FORMATS {
        let lab = Lab::new();
        let (old, _) = lab.layer(&files, media_type, 2).unwrap();
        lab.store.commit::<CacheError>(|| Ok(())).unwrap();
        let path = lab.store.blobs().path(&old.blob.digest);
        let mut blob = fs_err::read(&path).unwrap();
        let at = blob.len() - 3000;
        blob[at] ^= 0x55;
        fs_err::write(&path, blob).unwrap();
        files.get_mut("f00001").unwrap()[3] ^= 1;
        let (layer, bytes) = lab.layer(&files, media_type, 2).unwrap();
        let (clean, expected) = Lab::new().layer(&files, media_type, 2).unwrap();
        assert!(layer == clean && bytes == expected, "{media_type:?}");
    }
}
