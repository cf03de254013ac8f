//! What the store keeps of container images: each byte once, and nothing that cannot be had again.

use std::path::PathBuf;

use super::{build, built, layers_of, listed};
use crate::image_registry::{Format, Image, ImageRegistry, blobs_of, layer};
use crate::space::Space;

/// Two images of about a megabyte each, of which they share the half.
struct Two {
    registry: ImageRegistry,
    images: [Image; 2],
    space: Space,
}

impl Two {
    fn new() -> Self {
        let registry = ImageRegistry::start();
        let image =
            |seed: &str| Image::of(Format::Oci, "amd64", &[layer("shared", 500_000), layer(seed, 500_000)]);
        let images = [image("a"), image("b")];
        let names = [registry.with("team/a", "v1", &images[0]), registry.with("team/b", "v1", &images[1])];
        let space = Space::new();
        listed(&space, &names);
        Self { registry, images, space }
    }

    fn blobs(&self) -> Vec<String> {
        blobs_of(&self.images.each_ref())
    }
}

fn path(space: &Space, digest: &str) -> PathBuf {
    space.store().join("blobs/sha256").join(&digest[7..])
}

/// Bytes of all blobs, and of those that are layers of `x:1`.
fn sizes(space: &Space) -> (u64, u64) {
    let all = fs_err::read_dir(space.store().join("blobs/sha256")).unwrap();
    let all = all.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    let layers =
        layers_of(space).iter().map(|layer| fs_err::metadata(path(space, layer)).unwrap().len()).sum();
    (all, layers)
}

fn ok(space: &Space, words: &[&str]) {
    let run = space.run(words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
}

#[test]
fn blobs_are_not_kept_beside_the_layers() {
    let two = Two::new();
    built(&two.space, &[]);
    let (all, layers) = sizes(&two.space);
    assert!(layers > 1_500_000 && all as f64 <= layers as f64 * 1.05, "{all} of {layers}");
    assert!(two.blobs().iter().all(|blob| !path(&two.space, blob).exists()));
    assert_eq!(fs_err::read_dir(two.space.store().join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_was_pruned_is_fetched_again() {
    let two = Two::new();
    let Two { registry, space, .. } = &two;
    let digest = built(space, &[]);
    registry.asked();
    // A name keeps what it needs, and with it all blobs.
    ok(space, &["cache", "prune"]);
    assert_eq!(built(space, &[]), digest);
    assert_eq!(registry.asked().blobs, [""; 0]);

    ok(space, &["rmi", "x:1"]);
    ok(space, &["cache", "prune"]);
    assert!(layers_of_store(space) < 10_000);
    assert_eq!(built(space, &[]), digest);
    let asked = registry.asked();
    assert_eq!(asked.blobs, two.blobs());
    ok(space, &["cache", "verify"]);
    let (all, layers) = sizes(space);
    assert!(all as f64 <= layers as f64 * 1.05, "{all} of {layers}");
}

fn layers_of_store(space: &Space) -> u64 {
    fs_err::read_dir(space.store().join("blobs/sha256"))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn a_layer_that_is_gone_or_damaged_is_made_again() {
    let two = Two::new();
    let Two { registry, space, images } = &two;
    let digest = built(space, &[]);
    registry.asked();
    let layers = layers_of(space);
    for (at, what) in [(1, "gone"), (2, "gone"), (1, "short"), (2, "wrong")] {
        let path = path(space, &layers[at]);
        let good = fs_err::read(&path).unwrap();
        match what {
            "gone" => fs_err::remove_file(&path).unwrap(),
            "short" => fs_err::write(&path, &good[..good.len() / 2]).unwrap(),
            _ => {
                let mut wrong = good.clone();
                let middle = wrong.len() / 2;
                wrong[middle] ^= 1;
                fs_err::write(&path, wrong).unwrap();
                // A size tells nothing of this one.
                assert_eq!(space.run(&["cache", "verify"]).code, Some(1));
            }
        }
        assert_eq!(built(space, &[]), digest, "{at} {what}");
        assert_eq!(fs_err::read(&path).unwrap(), good, "{at} {what}");
        let asked = registry.asked().blobs;
        assert!(!asked.is_empty(), "{at} {what}");
        let own = blobs_of(&[&images[at - 1]]);
        assert!(asked.iter().all(|blob| own.contains(blob)), "{at} {what}: only what is in it: {asked:?}");
        ok(space, &["cache", "verify"]);
        assert_eq!(built(space, &[]), digest);
        assert_eq!(registry.asked().blobs, [""; 0]);
    }
}

#[test]
fn a_damaged_layer_that_a_new_image_would_read_is_not_believed() {
    let two = Two::new();
    let Two { registry, space, images } = &two;
    built(space, &[]);
    let shared = &images[0].blobs()[1];
    let digest = layers_of(space)[1].clone();
    let mut bytes = fs_err::read(path(space, &digest)).unwrap();
    let needle = layer("shared", 500_000);
    let at = bytes.windows(100).position(|window| window == &needle[..100]).unwrap();
    bytes[at + 1000] ^= 1;
    fs_err::write(path(space, &digest), bytes).unwrap();
    // Sorted before the others, it takes over what is shared.
    let more = Image::of(Format::Oci, "amd64", &[layer("shared", 500_000), layer("0", 100)]);
    let name = registry.with("team/0", "v1", &more);
    listed(space, &[name, registry.name("team/a:v1"), registry.name("team/b:v1")]);
    registry.asked();
    let run = build(space, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("a blob of the store is damaged"), "{}", run.stderr);
    assert!(registry.asked().blobs.contains(shared));
    super::blobs_in(&space.rootfs("localhost/x:1"));
    // What is left of it is of the image that had the name before.
    ok(space, &["cache", "prune"]);
    ok(space, &["cache", "verify"]);
}
