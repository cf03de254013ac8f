//! How container images become layers: one each while there is room, and a change moves few.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ROOT, apps, build, built, layers_of, listed};
use crate::image_registry::{Format, Image, ImageRegistry, layer};
use crate::server::Stored;
use crate::space::{Space, tar_listing};

/// Most layers an image may have.
const LIMIT: usize = 120;

fn seeded(seed: &str) -> Image {
    Image::of(Format::Oci, "amd64", &[layer("shared", 900), layer(seed, 100)])
}

/// The paths of a layer that nobody compressed.
fn paths(space: &Space, digest: &str) -> BTreeSet<String> {
    tar_listing(space.blob(digest).as_slice()).into_keys().collect()
}

/// As many entries of the history have a layer as there are layers.
fn check_history(space: &Space) {
    let config = space.config("localhost/x:1");
    let history = config["history"].as_array().unwrap();
    let own = history.iter().filter(|entry| entry["empty_layer"] != Value::Bool(true)).count();
    let layers = layers_of(space).len();
    assert_eq!((own, config["rootfs"]["diff_ids"].as_array().unwrap().len()), (layers, layers));
}

#[test]
fn each_image_is_a_layer_and_the_first_by_name_has_what_is_shared() {
    let registry = ImageRegistry::start();
    // The files are written in another order than that of the names.
    let names = ["c", "a", "b"].map(|seed| registry.with(&format!("team/{seed}"), "v1", &seeded(seed)));
    let space = Space::new();
    listed(&space, &names);
    built(&space, &[]);
    let layers = layers_of(&space);
    assert_eq!(layers.len(), 1 + names.len());
    check_history(&space);
    let manifest = space.manifest("localhost/x:1");
    for (seed, at) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(manifest["layers"][at]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
        let paths = paths(&space, &layers[at]);
        let has =
            |blob: &str| paths.contains(&format!("{ROOT}/blobs/sha256/{}/{}/data", &blob[7..9], &blob[7..]));
        let [config, shared, own] = &seeded(seed).blobs()[..] else { panic!("three blobs") };
        assert_eq!(
            [has(config), has(own), has(&seeded(seed).digest()), has(shared)],
            [true, true, true, seed == "a"]
        );
        assert!(
            paths.contains(&format!("{ROOT}/repositories/team/{seed}/_layers/sha256/{}/link", &shared[7..]))
        );
    }
    let history = space.config("localhost/x:1")["history"].to_string();
    assert!(names.iter().all(|name| history.contains(name)), "{history}");
}

#[test]
fn one_more_application_adds_its_layers_and_touches_no_other() {
    let registry = ImageRegistry::start();
    let names = ["b", "c", "a"].map(|seed| registry.with(&format!("team/{seed}"), "v1", &seeded(seed)));
    let space = Space::new();
    apps(&space, &[("b", &names[0]), ("c", &names[1])]);
    built(&space, &[]);
    let before: BTreeSet<String> = layers_of(&space).into_iter().collect();
    // Its name is the last of all.
    let last = registry.with("team/z", "v1", &seeded("z"));
    apps(&space, &[("b", &names[0]), ("c", &names[1]), ("z", &last)]);
    built(&space, &[]);
    let after: BTreeSet<String> = layers_of(&space).into_iter().collect();
    assert!(after.is_superset(&before), "{before:?} {after:?}");
    assert_eq!(after.len(), before.len() + 2);
    check_history(&space);
    // An image of its own, shared with nobody, moves nothing wherever its name stands.
    let first = registry.with("other/a", "v1", &Image::new("alone"));
    apps(&space, &[("a", &first), ("b", &names[0]), ("c", &names[1])]);
    built(&space, &[]);
    let after: BTreeSet<String> = layers_of(&space).into_iter().collect();
    assert!(after.is_superset(&before), "{before:?} {after:?}");
    assert_eq!(after.len(), before.len() + 2);
}

#[test]
fn more_images_than_layers_are_grouped_and_one_more_moves_few() {
    let registry = ImageRegistry::start();
    let name =
        |number: usize| registry.with(&format!("team/n{number}"), "v1", &Image::new(&format!("n{number}")));
    let mut names: Vec<String> = (0..150).map(name).collect();
    let space = Space::new();
    listed(&space, &names);
    built(&space, &[]);
    let before: BTreeSet<String> = layers_of(&space).into_iter().collect();
    assert!((30..=LIMIT).contains(&before.len()), "{}", before.len());
    check_history(&space);
    let blobs = super::blobs_in(&space.rootfs("localhost/x:1"));
    assert_eq!(blobs.len(), 150 * 3);
    names.push(name(150));
    listed(&space, &names);
    built(&space, &[]);
    let after: BTreeSet<String> = layers_of(&space).into_iter().collect();
    assert!(after.len() <= LIMIT, "{}", after.len());
    let new = after.difference(&before).count();
    assert!(new <= 3, "the list's layer, and that of the new image: {new} of {}", after.len());
    assert_eq!(registry.asked().blobs.len(), 151 * 2, "nothing was fetched again");
}

#[test]
fn many_steps_leave_room_for_images() {
    let registry = ImageRegistry::start();
    let names: Vec<String> =
        (0..5).map(|n| registry.with(&format!("team/n{n}"), "v1", &seeded(&format!("n{n}")))).collect();
    let space = Space::new();
    listed(&space, &names);
    let mut text = "FROM scratch\nCOPY manifests manifests\n".to_owned();
    for step in 0..118 {
        space.file(&format!("f{step}"), format!("{step}\n"));
        text.push_str(&format!("COPY f{step} /files/{step}\n"));
    }
    space.kubefile(&text);
    let run = build(&space, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let layers = layers_of(&space);
    assert!(layers.len() <= LIMIT, "{}", layers.len());
    check_history(&space);
    // Those of the images are the last, one each.
    for (number, digest) in layers[layers.len() - 5..].iter().enumerate() {
        let tag = format!("{ROOT}/repositories/team/n{number}/_manifests/tags/v1/current/link");
        assert!(paths(&space, digest).contains(&tag), "{number}");
    }
    let rootfs = space.rootfs("localhost/x:1");
    assert!((0..118).all(|step| rootfs.contains_key(&format!("files/{step}"))));
    // As many steps as there may be layers need no layer where no image is named.
    space.kubefile(&text.replace("COPY manifests manifests\n", ""));
    built(&space, &[]);
    check_history(&space);
}

#[test]
fn large_blobs_of_images_that_share_a_layer_come_right_into_it() {
    const SIZE: usize = 1_100_000;
    let registry = ImageRegistry::start();
    let images: Vec<Image> = (0..24)
        .map(|n| Image::of(Format::Oci, "amd64", &[layer("shared", 900), layer(&format!("n{n}"), SIZE)]))
        .collect();
    let name = |(n, image)| registry.with(&format!("team/n{n}"), "v1", image);
    let names: Vec<String> = images.iter().enumerate().map(name).collect();
    let mut text = "FROM scratch\nCOPY manifests manifests\n".to_owned();
    text.extend((0..100).map(|step| format!("COPY Kubefile /files/{step}\n")));
    let space = Space::new();
    let lists = |count: usize| {
        listed(&space, &names[..count]);
        space.kubefile(&text);
    };
    lists(24);
    registry.asked();
    // What comes is another blob, once: the layer that it should have come into is made of files then.
    let blob = images[5].blobs()[2].clone();
    let bytes = images[5].blob(&blob);
    registry.answer("team/n5", &blob, move |request, attempt| {
        let wrong = bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
        Stored::new(if attempt == 1 { wrong } else { bytes.clone() }).answer(request)
    });
    let run = build(&space, &["--progress", "json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(registry.hits("team/n5", &blob), 2);
    let digest = space.digest();
    let sizes = run
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["total_bytes"].as_u64());
    let most = sizes.max().unwrap_or(0);
    assert!(most >= 2 * SIZE as u64, "no layer was received for several images: {most}");
    assert!(layers_of(&space).len() <= LIMIT);
    check_history(&space);
    assert_eq!(super::blobs_in(&space.rootfs("localhost/x:1")).len(), 24 * 3 + 1);
    let kept = fs_err::read_dir(space.store().join("blobs/sha256")).unwrap();
    let kept: u64 = kept.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(kept < 25 * SIZE as u64, "{kept}");
    assert_eq!(space.run(&["cache", "verify"]).code, Some(0));

    // Whoever had some of the images comes to the same, and asks for nothing again.
    registry.answer("team/n5", &blob, {
        let bytes = images[5].blob(&blob);
        move |request, _| Stored::new(bytes.as_slice()).answer(request)
    });
    let other = space.root().join("other").display().to_string();
    lists(12);
    build(&space, &["--root", &other]);
    registry.asked();
    lists(24);
    assert_eq!(built(&space, &["--root", &other]), digest);
    assert_eq!(registry.asked().blobs.len(), 12 * 2);
}

#[test]
fn a_layer_of_many_large_blobs_is_made_of_files() {
    const SIZE: usize = 1 << 20;
    let registry = ImageRegistry::start();
    for (count, most) in [(32, 32), (33, 1)] {
        let layers: Vec<_> = (0..count).map(|n| layer(&format!("{count}n{n}"), SIZE)).collect();
        let name = registry.with(&format!("team/a{count}"), "v1", &Image::of(Format::Oci, "amd64", &layers));
        let space = Space::new();
        listed(&space, &[name]);
        let run = build(&space, &["--progress", "json"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let sizes = run
            .stderr
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["total_bytes"].as_u64());
        assert_eq!(sizes.max(), Some((most * SIZE) as u64), "{count}");
        assert_eq!(super::blobs_in(&space.rootfs("localhost/x:1")).len(), count + 2);
    }
}

#[test]
fn something_may_stand_on_a_full_base() {
    let registry = ImageRegistry::start();
    let space = Space::new();
    space.file("f", "f");
    let text: String = (0..LIMIT).map(|n| format!("COPY f /{n}\n")).collect();
    space.kubefile(&format!("FROM scratch\n{text}"));
    assert_eq!(space.run(&["build", "-q", "-t", "x:1", "--build-mode", "lite", "."]).code, Some(0));
    assert_eq!(layers_of(&space).len(), LIMIT);
    for layers in [122, 124, 125] {
        let image = registry.with(&format!("team/n{layers}"), "v1", &seeded(&layers.to_string()));
        let list = format!("manifests/{layers}.yaml");
        space.file(&list, format!("image: {image}\n"));
        space.kubefile(&format!("FROM x:1\nCOPY {list} manifests/\nCOPY f /{layers}\n"));
        // The last has no room for what it names.
        let mode = if layers == 125 { "lite" } else { "all" };
        let run = build(&space, &["--build-mode", mode]);
        assert_eq!(run.code, Some(0), "{layers}: {}", run.stderr);
        assert_eq!(layers_of(&space).len(), layers);
    }
    let run = build(&space, &[]);
    assert_eq!(run.code, Some(1));
    let told = "the base image has 125 layers; an image may have 125";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    let rootfs = space.rootfs("localhost/x:1");
    assert!(["0", "119", "122", "124", "125"].iter().all(|path| rootfs.contains_key(*path)));
    assert!(rootfs.contains_key(&format!("{ROOT}/repositories/team/n124/_manifests/tags/v1/current/link")));
}
