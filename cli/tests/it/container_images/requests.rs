//! What registries are asked: each thing once, and nothing that is known.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{apps, build, built, layers_of, listed};
use crate::image_registry::{Asked, Format, Image, ImageRegistry, blobs_of, layer};
use crate::server::Stored;
use crate::space::Space;

/// Three images on one shared layer, in two repositories.
struct Three {
    registry: ImageRegistry,
    images: [Image; 3],
    names: [String; 3],
}

impl Three {
    fn new() -> Self {
        let registry = ImageRegistry::start();
        let image = |seed: &str| Image::of(Format::Oci, "amd64", &[layer("shared", 5000), layer(seed, 500)]);
        let images = [image("a"), image("b"), image("c")];
        let names = [("team/a", "v1"), ("team/a", "v2"), ("team/b", "v1")];
        let names = std::array::from_fn(|at| registry.with(names[at].0, names[at].1, &images[at]));
        Self { registry, images, names }
    }

    fn blobs(&self) -> Vec<String> {
        blobs_of(&self.images.each_ref())
    }
}

/// One question a tag, and nothing else.
fn one_question_each() -> Asked {
    let heads = ["team/a:v1", "team/a:v2", "team/b:v1"].map(str::to_owned).into();
    Asked { heads, ..Asked::default() }
}

#[test]
fn everything_is_asked_for_once() {
    let three = Three::new();
    let Three { registry, names, .. } = &three;
    let space = Space::new();
    listed(&space, names);
    let digest = built(&space, &[]);
    let asked = registry.asked();
    let tags = one_question_each().heads;
    assert_eq!(asked, Asked { tags, blobs: three.blobs(), ..Asked::default() });

    assert_eq!(built(&space, &[]), digest);
    assert_eq!(registry.asked(), one_question_each());
    space.kubefile("FROM scratch\nCOPY manifests manifests\nCMDS [\"true\"]\n");
    let before = layers_of(&space);
    assert_ne!(built(&space, &[]), digest);
    assert_eq!(registry.asked(), one_question_each());
    assert_eq!(layers_of(&space), before);

    // Running every step again is no reason to download what is here.
    listed(&space, names);
    assert_eq!(built(&space, &["--no-cache"]), digest);
    assert_eq!(registry.asked(), one_question_each());

    // Whoever has nothing comes to the same.
    let other = space.root().join("other").display().to_string();
    assert_eq!(built(&space, &["--root", &other]), digest);
    assert_eq!(registry.asked().blobs, three.blobs());
}

#[test]
fn only_what_is_new_is_fetched() {
    let three = Three::new();
    let Three { registry, names, images } = &three;
    let space = Space::new();
    listed(&space, names);
    built(&space, &[]);
    registry.asked();

    let more = Image::of(Format::Oci, "amd64", &[layer("shared", 5000), layer("more", 500)]);
    let name = registry.with("team/c", "v1", &more);
    listed(&space, &[names.as_slice(), &[name]].concat());
    built(&space, &[]);
    let asked = registry.asked();
    assert_eq!(asked.heads, one_question_each().heads);
    assert_eq!((asked.tags, asked.by_digest), (vec!["team/c:v1".to_owned()], vec![]));
    let own = [more.blobs()[0].clone(), more.blobs()[2].clone()];
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(asked.blobs, sorted(own.to_vec()), "the shared layer is in a layer of this store");

    // A tag that moved.
    let moved = Image::of(Format::Oci, "amd64", &[layer("b", 500), layer("moved", 500)]);
    registry.put("team/a", "v2", &moved);
    listed(&space, names);
    built(&space, &[]);
    let asked = registry.asked();
    assert_eq!((asked.heads, asked.tags), (one_question_each().heads, vec!["team/a:v2".to_owned()]));
    let own = [moved.blobs()[0].clone(), moved.blobs()[2].clone()];
    assert_eq!(asked.blobs, sorted(own.to_vec()));
    // And back again, all of which is still known.
    registry.put("team/a", "v2", &images[1]);
    built(&space, &[]);
    let asked = registry.asked();
    assert_eq!((asked.tags.len(), asked.blobs), (1, vec![]));
}

#[test]
fn pull_policies_say_when_tags_are_asked() {
    let three = Three::new();
    let Three { registry, names, images } = &three;
    let space = Space::new();
    apps(&space, &[("a", &names[0]), ("b", &names[1])]);
    let run = build(&space, &["--pull", "never"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for text in [&names[0], &names[1], "--pull never", "application b, application/apps/b/b.yaml:4"] {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
    assert_eq!(registry.asked(), Asked::default());

    let digest = built(&space, &["--pull", "missing"]);
    assert_eq!(registry.asked().tags.len(), 2);
    for policy in ["missing", "never"] {
        assert_eq!(built(&space, &["--pull", policy]), digest);
        assert_eq!(registry.asked(), Asked::default(), "{policy}");
    }
    registry.put("team/a", "v1", &images[2]);
    built(&space, &["--pull", "missing"]);
    assert_eq!((registry.asked(), space.digest()), (Asked::default(), digest.clone()));
    assert_ne!(built(&space, &["--pull", "always"]), digest);
    let asked = registry.asked();
    assert_eq!((asked.heads.len(), asked.tags.as_slice()), (2, ["team/a:v1".to_owned()].as_slice()));
    // One more is asked for, those that are known are not.
    apps(&space, &[("a", &names[0]), ("b", &names[1]), ("c", &names[2])]);
    built(&space, &["--pull", "missing"]);
    let asked = registry.asked();
    assert_eq!((asked.heads, asked.tags), (vec![], vec!["team/b:v1".to_owned()]));
    assert_eq!(asked.blobs, [""; 0], "the same image is known by another name");
}

#[test]
fn builds_at_once_fetch_each_blob_once() {
    let three = Three::new();
    let Three { registry, names, images } = &three;
    for (image, repository) in images.iter().zip(["team/a", "team/a", "team/b"]) {
        for digest in image.blobs() {
            let bytes = image.blob(&digest);
            registry.answer(repository, &digest, move |request, _| {
                std::thread::sleep(Duration::from_millis(150));
                Stored::new(bytes.as_slice()).answer(request)
            });
        }
    }
    let space = Space::new();
    listed(&space, names);
    // One that is the same, and one that only shares some of it.
    apps(&space, &[("b", &names[1])]);
    fs_err::rename(space.context().join("Kubefile"), space.context().join("Other")).unwrap();
    listed(&space, names);
    std::thread::scope(|scope| {
        for (tag, file) in [("one:1", "./Kubefile"), ("two:1", "./Kubefile"), ("three:1", "./Other")] {
            let space = &space;
            scope.spawn(move || {
                let run = space.run(&["build", "-t", tag, "-f", file, "."]);
                assert_eq!(run.code, Some(0), "{}", run.stderr);
            });
        }
    });
    assert_eq!(registry.asked().blobs, three.blobs());
    assert_eq!(space.manifest("localhost/one:1"), space.manifest("localhost/two:1"));
    assert_eq!(space.run(&["cache", "verify"]).code, Some(0));
}

#[test]
fn what_another_build_committed_meanwhile_is_not_fetched_again() {
    let registry = ImageRegistry::start();
    let large = layer("large", 1 << 20);
    let image = |seed: &str| Image::of(Format::Oci, "amd64", &[large.clone(), layer(seed, 500)]);
    let (first, second) = (image("a"), image("b"));
    let names = [registry.with("team/a", "v1", &first), registry.with("team/b", "v1", &second)];
    // The first build waits for its config until the second one has ended.
    let (config, blob) = (first.blobs()[0].clone(), first.blobs()[1].clone());
    let bytes = first.blob(&config);
    let (has_begun, begun) = std::sync::mpsc::channel();
    let (goes_on, gate) = std::sync::mpsc::channel::<()>();
    let both = std::sync::Mutex::new((has_begun, gate));
    registry.answer("team/a", &config, move |request, _| {
        let (has_begun, gate) = &*both.lock().unwrap();
        has_begun.send(()).unwrap();
        // An end is as good as a word: the test has failed then.
        let _ = gate.recv();
        Stored::new(bytes.as_slice()).answer(request)
    });
    let space = Space::new();
    apps(&space, &[("b", &names[0])]);
    fs_err::rename(space.context().join("Kubefile"), space.context().join("Other")).unwrap();
    listed(&space, &names[1..]);
    std::thread::scope(|scope| {
        let space = &space;
        let waiting = scope.spawn(move || space.run(&["build", "-t", "one:1", "-f", "./Other", "."]));
        begun.recv().unwrap();
        let run = space.run(&["build", "-t", "two:1", "."]);
        drop(goes_on);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let run = waiting.join().unwrap();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    });
    assert_eq!((registry.hits("team/a", &blob), registry.hits("team/b", &blob)), (0, 1));
    assert_eq!(space.run(&["cache", "verify"]).code, Some(0));
}

#[test]
fn a_build_killed_in_the_middle_of_a_download_is_built_again() {
    let three = Three::new();
    let Three { registry, names, images } = &three;
    let clean = Space::new();
    listed(&clean, names);
    let digest = built(&clean, &[]);
    let space = Space::new();
    listed(&space, names);
    let (shared, is_silent) = (&images[1].blobs()[1], Arc::new(AtomicBool::new(true)));
    let asked = || registry.hits("team/a", shared) + registry.hits("team/b", shared);
    for repository in ["team/a", "team/b"] {
        let (bytes, is_silent) = (images[1].blob(shared), Arc::clone(&is_silent));
        registry.answer(repository, shared, move |request, _| {
            let answer = Stored::new(bytes.as_slice()).answer(request);
            if is_silent.load(Ordering::Acquire) { answer.stall_after(1000) } else { answer }
        });
    }
    let before = asked();
    let mut command = space.command();
    command.args(["build", "-q", "-t", "x:1", "."]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    while asked() == before {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(50));
    is_silent.store(false, Ordering::Release);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(built(&space, &[]), digest);
    assert_eq!(fs_err::read_dir(space.store().join("tmp")).unwrap().count(), 0);
    assert_eq!(space.run(&["cache", "verify"]).code, Some(0));
}

#[test]
fn a_download_that_breaks_off_goes_on() {
    let registry = ImageRegistry::start();
    let image = Image::of(Format::Docker, "amd64", &[layer("long", 100_000)]);
    let name = registry.with("team/a", "v1", &image);
    let digest = image.blobs()[1].clone();
    let bytes = image.blob(&digest);
    registry.answer("team/a", &digest, move |request, attempt| {
        let answer = Stored::new(bytes.as_slice()).answer(request);
        if attempt == 1 { answer.drop_after(50_000) } else { answer }
    });
    let space = Space::new();
    listed(&space, &[name]);
    let run = build(&space, &[]);
    assert_eq!((run.code, registry.hits("team/a", &digest)), (Some(0), 2), "{}", run.stderr);
    // What was cut off on the way is whole.
    assert!(super::blobs_in(&space.rootfs("localhost/x:1")).contains(&digest));
}
