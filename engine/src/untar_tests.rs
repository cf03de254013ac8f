//! A layer read back is the delta it was made of.

use cache::Store;
use proptest::prelude::*;

use super::*;
use crate::contents::{Contents, Location, content_digest, copy_hashed};
use crate::frames::{LayerCompression, LayerWriter};
use crate::layer::{TimePolicy, uncompressed};

fn node() -> impl Strategy<Value = (Node, Vec<u8>)> {
    let file = prop::collection::vec(any::<u8>(), 0..2000)
        .prop_map(|bytes| (Node::File { content: content_digest(&bytes), size: bytes.len() as u64 }, bytes));
    let link = prop::collection::vec(11_u8.., 1..300).prop_map(|target| (Node::Symlink(target), Vec::new()));
    let device = (prop::sample::select(vec!['c', 'b']), 0_u32..1000, 0_u32..1000)
        .prop_map(|(kind, major, minor)| (Node::Device { kind, major, minor }, Vec::new()));
    prop_oneof![4 => file, 1 => link, 1 => device, 1 => Just((Node::Whiteout, Vec::new()))]
}

fn meta() -> impl Strategy<Value = Meta> {
    let value = prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n')], 0..30);
    let xattr = (prop::collection::vec(b'a'..=b'z', 1..9), value);
    (
        0_u32..0o10000,
        any::<u32>(),
        0_u32..9,
        prop::collection::btree_map(xattr.clone().prop_map(|(k, _)| k), xattr.prop_map(|(_, v)| v), 0..3),
    )
        .prop_map(|(mode, uid, gid, xattrs)| Meta {
            mode,
            uid,
            gid,
            mtime: None,
            xattrs: xattrs.into_iter().collect(),
        })
}

fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..20),
        prop::collection::vec(b'a'..=b'c', 1..3),
        prop::collection::vec(b'x'..=b'z', 90..220),
    ]
    .prop_filter("a name", |name| {
        !name.contains(&0)
            && !name.contains(&b'/')
            && name != b"."
            && name != b".."
            && !name.starts_with(b".wh.")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_layer_read_back_is_its_delta(
        entries in prop::collection::vec((prop::collection::vec(name(), 0..3), name(), meta(), node(), any::<bool>()), 0..12)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let trees = Trees::new(&store);
        let contents = Contents::new(&store, false);
        let mut root = OpenDir::root();
        for (parents, name, meta, (node, bytes), opaque) in entries {
            contents.add(content_digest(&bytes), Location::Inline(bytes.into()));
            let at = open(&mut root, &trees, &parents, &mut { DIRECTORIES_LIMIT }).unwrap();
            if opaque && !parents.is_empty() {
                at.set_opaque();
            }
            // Links have no mode of their own, and a whiteout is only a name.
            let meta = match node {
                Node::Symlink(_) => Meta { mode: 0o777, ..meta },
                Node::Whiteout => Meta { mode: 0, ..Meta::default() },
                _ => meta,
            };
            at.put(&trees, &name, Entry { meta, node }).unwrap();
        }
        let delta = root.finish(&trees);
        let (times, compression) = (TimePolicy::Fixed(0), LayerCompression::default());
        let cancel = &crate::Cancel::new();
        let writer = LayerWriter { store: &store, trees: &trees, contents: &contents, links: &solver::HardLinks::default(), times, compression, reuse: true, cancel };
        let layer = writer.write(&delta, &|_| {}).unwrap();
        let mut tar = uncompressed(store.blobs().open(&layer.blob.digest).unwrap(), layer.media_type).unwrap();
        let again = read_tar(&mut tar, &trees, Flavour::Layer(&State::default()), false, &mut |_, file| {
            copy_hashed(file, &mut io::sink())
        }).unwrap();
        prop_assert_eq!(again.tree, delta);
    }
}

#[test]
fn a_time_that_a_header_has_no_room_for_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    for mtime in [0, 1, -1, (1 << 33) - 1, 1 << 33, i64::MIN, i64::MAX] {
        let meta = Meta { mtime: Some(mtime), ..Meta::with_mode(0o644) };
        let entry = Entry { meta, node: Node::Symlink(b"x".to_vec()) };
        let mut tar = Vec::new();
        crate::layer::write_header(&mut tar, b"l", &entry, TimePolicy::Keep);
        tar.extend_from_slice(&crate::layer::END);
        let sink: &mut FileSink<'_> = &mut |_, file| copy_hashed(file, &mut io::sink());
        let tree = read_tar(&mut tar.as_slice(), &trees, Flavour::Layer(&State::default()), true, sink)
            .unwrap()
            .tree;
        let found = trees.load(&tree).unwrap().entries.get(b"l").unwrap().clone();
        assert_eq!(found.meta.mtime, Some(mtime));
    }
}

fn tar_of(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    builder.into_inner().unwrap()
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o640);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[test]
fn a_hard_link_is_a_file_like_its_partner() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let tar = tar_of(|tar| {
        tar.append_data(&mut header(tar::EntryType::Regular, 3), "a/one", &b"abc"[..]).unwrap();
        tar.append_link(&mut header(tar::EntryType::Link, 0), "two", "a/one").unwrap();
    });
    let sink: &mut FileSink<'_> = &mut |_, file| copy_hashed(file, &mut io::sink());
    let tree =
        read_tar(&mut tar.as_slice(), &trees, Flavour::Layer(&State::default()), false, sink).unwrap().tree;
    let two = trees.load(&tree).unwrap().entries.get(b"two").unwrap().clone();
    assert_eq!(two.node, Node::File { content: content_digest(b"abc"), size: 3 });
}

#[test]
fn links_are_kept_wherever_they_point_and_nothing_is_written_through_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let read = |flavour, names: &[&str]| {
        let tar = tar_of(|tar| {
            for (name, target) in [("up", "../../x"), ("away", "/x")] {
                tar.append_link(&mut header(tar::EntryType::Symlink, 0), name, target).unwrap();
            }
            for name in names {
                tar.append_data(&mut header(tar::EntryType::Regular, 1), name, &b"f"[..]).unwrap();
            }
        });
        let sink: &mut FileSink<'_> = &mut |_, file| copy_hashed(file, &mut io::sink());
        read_tar(&mut tar.as_slice(), &trees, flavour, false, sink)
    };
    for flavour in [Flavour::Archive, Flavour::Files] {
        assert!(read(flavour, &[]).is_ok());
        assert!(matches!(read(flavour, &["up/f"]), Err(UntarError::ThroughLink { .. })));
    }
}

#[test]
fn what_is_no_tar_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let sink: &mut FileSink<'_> = &mut |_, file| copy_hashed(file, &mut io::sink());
    assert!(
        read_tar(&mut &[7_u8; 2000][..], &trees, Flavour::Layer(&State::default()), false, sink).is_err()
    );
}

#[test]
fn directories_that_an_archive_only_implies_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let tar = tar_of(|tar| {
        tar.append_data(&mut header(tar::EntryType::Regular, 1), "a/b/f", &b"f"[..]).unwrap();
        tar.append_data(&mut header(tar::EntryType::Directory, 0), "c/", io::empty()).unwrap();
        tar.append_data(&mut header(tar::EntryType::Regular, 1), "c/d/f", &b"f"[..]).unwrap();
        // Named, though only after something in it.
        tar.append_data(&mut header(tar::EntryType::Directory, 0), "./a", io::empty()).unwrap();
    });
    let read = |flavour| {
        let sink: &mut FileSink<'_> = &mut |_, file| copy_hashed(file, &mut io::sink());
        read_tar(&mut tar.as_slice(), &trees, flavour, false, sink).unwrap().implied
    };
    assert_eq!(read(Flavour::Archive), [b"a/b".to_vec(), b"c/d".to_vec()]);
    assert!(read(Flavour::Layer(&State::default())).is_empty());
}

#[test]
fn directories_that_paths_imply_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let path = |text: &str| safe_path(text.as_bytes()).unwrap();
    let mut root = OpenDir::root();
    let mut left = 4 * DIRECTORY;
    open(&mut root, &trees, &path("a/b/c"), &mut left).unwrap();
    assert_eq!(left, DIRECTORY - "a/a/b/a/b/c/".len(), "their paths count as well");
    let here = left;
    open(&mut root, &trees, &path("a/b/c"), &mut left).unwrap();
    assert_eq!(left, here, "what is there is not made again");
    let error = open(&mut root, &trees, &path("a/d"), &mut left).unwrap_err();
    assert!(error.to_string().starts_with("the archive has more directories"), "{error}");
}

#[test]
fn a_link_is_found_however_far_up_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let read = |link: &str, path: &str| {
        let tar = tar_of(|tar| {
            tar.append_link(&mut header(tar::EntryType::Symlink, 0), link, "x").unwrap();
            tar.append_data(&mut header(tar::EntryType::Regular, 1), path, &b"f"[..]).unwrap();
        });
        let sink: &mut FileSink<'_> = &mut |_, file| copy_hashed(file, &mut io::sink());
        read_tar(&mut tar.as_slice(), &trees, Flavour::Files, false, sink)
    };
    for link in ["a", "a/b", "a/b/c"] {
        let error = read(link, "a/b/c/d").unwrap_err();
        assert!(matches!(&error, UntarError::ThroughLink { link: found, .. } if found == link), "{error}");
    }
    assert!(read("a/b", "a/b").is_ok(), "a link may be replaced");
}

#[test]
fn holes_without_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let mut sparse = tar::Header::new_gnu();
    sparse.set_entry_type(tar::EntryType::GNUSparse);
    sparse.set_path("f").unwrap();
    sparse.set_mode(0o644);
    sparse.set_size(0);
    sparse.as_gnu_mut().unwrap().set_real_size(1 << 60);
    sparse.as_gnu_mut().unwrap().sparse[0].set_offset(1 << 60);
    sparse.as_gnu_mut().unwrap().sparse[0].set_length(0);
    sparse.set_cksum();
    let tar = [sparse.as_bytes().as_slice(), &[0; 1024]].concat();
    let read = read_tar(&mut tar.as_slice(), &trees, Flavour::Files, false, &mut |_, _| {
        panic!("nothing of it is read")
    });
    assert!(matches!(read, Err(UntarError::TooLarge(_))), "{read:?}");
}
