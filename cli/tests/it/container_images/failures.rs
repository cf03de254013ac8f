//! Container images that cannot be had: all of them are told together, with who names them, and nothing bad is kept.

use std::net::TcpListener;

use super::{apps, build, built, listed};
use crate::image_registry::{Format, Image, ImageRegistry, blobs_of, layer};
use crate::server::{Response, Stored};
use crate::space::{Run, Space};

/// The part of what was said that is about one image.
fn page<'a>(run: &'a Run, name: &str) -> &'a str {
    let start = format!("container image `{name}` cannot be had");
    let pages: Vec<&str> = run.stderr.split("\nerror").collect();
    let found = pages.iter().find(|page| page.contains(&start));
    found.unwrap_or_else(|| panic!("{name} is not told: {}", run.stderr))
}

/// Nothing was made: no name, nothing half-done.
fn check_nothing(space: &Space, run: &Run) {
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let images = space.run(&["images", "-q"]);
    assert_eq!((images.code, images.stdout.as_str()), (Some(0), ""), "{}", images.stderr);
    assert_eq!(fs_err::read_dir(space.store().join("tmp")).map_or(0, Iterator::count), 0);
}

fn is_kept(space: &Space, digest: &str) -> bool {
    space.store().join("blobs/sha256").join(&digest[7..]).exists()
}

#[test]
fn all_that_cannot_be_resolved_are_told_together() {
    let registry = ImageRegistry::start();
    let good = Image::new("good");
    let arm64 = Image::of(Format::Oci, "arm64", &[layer("arm64", 100)]);
    let index = Image::index(Format::Oci, &[("arm64", arm64)]);
    // A port that was free a moment ago.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let names = [
        registry.with("team/good", "v1", &good),
        registry.name("team/none:v1"),
        registry.deny("team/secret", "v1"),
        registry.with("team/arm", "v1", &index),
        format!("{closed}/team/lost:v1"),
    ];
    let space = Space::new();
    let named = ["good", "none", "secret", "arm", "lost"];
    let all: Vec<(&str, &str)> = named.into_iter().zip(names.iter().map(String::as_str)).collect();
    apps(&space, &all);
    let run = build(&space, &["--platform", "linux/amd64"]);
    check_nothing(&space, &run);
    let whys = [
        "is not in the registry",
        "log in: `sealer login",
        "has no image for linux/amd64, only for linux/arm64",
        "look whether the registry runs",
    ];
    for (at, why) in (1..5).zip(whys) {
        let page = page(&run, &names[at]);
        let app = named[at];
        let line = at + 2;
        for text in [
            why.to_owned(),
            format!("application {app}, application/apps/{app}/{app}.yaml:4"),
            format!("Kubefile:{line}:1"),
        ] {
            assert!(page.contains(&text), "`{text}` is not in {page}");
        }
    }
    assert!(!run.stderr.contains(&names[0]), "{}", run.stderr);
    assert!(run.stderr.contains("--ignored-image-list"), "{}", run.stderr);

    // What was found is known; only the others are asked for again.
    registry.asked();
    for (repository, image) in [("team/none", "none"), ("team/secret", "secret")] {
        registry.put(repository, "v1", &Image::new(image));
    }
    apps(&space, &all[..3]);
    built(&space, &[]);
    let asked = registry.asked();
    assert_eq!(asked.tags, ["team/none:v1", "team/secret:v1"]);
    assert_eq!(asked.heads, ["team/good:v1"]);
}

#[test]
fn blobs_that_are_not_what_they_should_be_are_refused_and_the_others_kept() {
    type Answer = fn(&[u8]) -> Response;
    let short: Answer = |bytes| Response::ok(&bytes[..1000]);
    let wrong: Answer = |bytes| Response::ok(bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>());
    let gone: Answer = |_| Response::status(404);
    for (answer, why) in
        [(short, "its descriptor says"), (wrong, "is not what it should be"), (gone, "is not in")]
    {
        let registry = ImageRegistry::start();
        let bad = Image::of(Format::Docker, "amd64", &[layer("bad", 5000)]);
        let good = [Image::new("a"), Image::new("b"), Image::new("c")];
        let name = registry.with("team/bad", "v1", &bad);
        let blob = bad.blobs()[1].clone();
        let bytes = bad.blob(&blob);
        // Late enough that the others are there.
        registry.answer("team/bad", &blob, move |_, _| {
            std::thread::sleep(std::time::Duration::from_millis(400));
            answer(&bytes)
        });
        let mut all = vec![("bad", name.clone())];
        for (app, image) in ["a", "b", "c"].into_iter().zip(&good) {
            all.push((app, registry.with(&format!("team/{app}"), "v1", image)));
        }
        let all: Vec<(&str, &str)> = all.iter().map(|(app, name)| (*app, name.as_str())).collect();
        let space = Space::new();
        apps(&space, &all);
        let run = build(&space, &[]);
        check_nothing(&space, &run);
        let page = page(&run, &name);
        for text in [why, "application bad, application/apps/bad/bad.yaml:4", "Kubefile:2:1", &blob] {
            assert!(page.contains(text), "`{text}` is not in {page}");
        }
        assert!(!is_kept(&space, &blob));
        assert_eq!(space.run(&["cache", "verify"]).code, Some(0));

        // Mended, nothing that came before is fetched again.
        registry.asked();
        let bytes = bad.blob(&blob);
        registry.answer("team/bad", &blob, move |request, _| Stored::new(bytes.as_slice()).answer(request));
        built(&space, &[]);
        let asked = registry.asked().blobs;
        assert!(
            asked.contains(&blob)
                && blobs_of(&[&bad]).iter().filter(|blob| asked.contains(blob)).count() == asked.len(),
            "{why}: {asked:?}"
        );
        super::blobs_in(&space.rootfs("localhost/x:1"));
    }
}

#[test]
fn two_images_that_want_one_place_are_told_of() {
    let (one, other) = (ImageRegistry::start(), ImageRegistry::start());
    let image = Image::new("same");
    let names = [one.with("team/a", "v1", &image), other.with("team/a", "v1", &image)];
    let space = Space::new();
    apps(&space, &[("one", &names[0]), ("other", &names[1])]);
    built(&space, &[]);
    // The domain is not part of the place, so it is there once.
    assert_eq!(one.asked().blobs.len() + other.asked().blobs.len(), 2);
    assert_eq!(super::layers_of(&space).len(), 2 + 1);
    assert_eq!(super::carried(&space, &[]).len(), 2);

    other.put("team/a", "v1", &Image::new("different"));
    let fresh = Space::new();
    apps(&fresh, &[("one", &names[0]), ("other", &names[1])]);
    let run = build(&fresh, &[]);
    check_nothing(&fresh, &run);
    for text in [&names[0], &names[1], "`team/a:v1`", "--ignored-image-list", "application o"] {
        assert!(run.stderr.contains(text), "`{text}` is not in {}", run.stderr);
    }
    assert!(run.stderr.contains("Kubefile:2:1") || run.stderr.contains("Kubefile:3:1"), "{}", run.stderr);
    assert_eq!(
        one.asked().blobs.len() + other.asked().blobs.len(),
        0,
        "it is known before anything is fetched"
    );

    // By digest, or under another tag, both have their places.
    other.put("team/a", "v2", &Image::new("different"));
    let digest = format!("{}@{}", other.name("team/a"), Image::new("different").digest());
    listed(&fresh, &[names[0].clone(), digest, other.name("team/a:v2")]);
    built(&fresh, &[]);
}
