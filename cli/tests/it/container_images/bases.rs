//! What a base carries is there, whoever built it, and what names lead to can be locked.

use super::{apps, build, built, carried, layers_of};
use crate::image_registry::{Image, ImageRegistry};
use crate::registry_server::Registry;
use crate::space::{Run, Space, run};

fn at(space: &Space, store: &str, words: &[&str]) -> Run {
    let mut command = space.command();
    command.env("SEALER_ROOT", space.root().join(store)).arg("build").args(words).arg(".");
    run(&mut command)
}

fn good(space: &Space, store: &str, words: &[&str]) -> String {
    let run = at(space, store, words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    run.stderr
}

#[test]
fn an_application_on_a_remote_base_fetches_nothing_of_it() {
    let Some(server) = Registry::open() else { return };
    let registry = ImageRegistry::start();
    let (old, new) = (Image::new("old"), Image::new("new"));
    let (old_name, new_name) = (registry.with("team/old", "v1", &old), registry.with("team/new", "v1", &new));
    let space = Space::new();
    let base = server.name("team/base:1");
    apps(&space, &[("a", &old_name)]);
    good(&space, "maker", &["-t", &base, "--push"]);
    registry.asked();

    apps(&space, &[("b", &new_name), ("c", &old_name)]);
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&text.replace("FROM scratch", &format!("FROM {base}")));
    let child = server.name("team/child:1");
    let root = space.root().join("user");
    let words = ["build", "-q", "-t", &child, "--push", "."];
    let pushed = run(space.command().env("SEALER_ROOT", &root).args(words));
    assert_eq!(pushed.code, Some(0), "{}", pushed.stderr);
    let asked = registry.asked();
    // The base has the one, and nobody was asked for it.
    assert_eq!(
        (asked.tags.as_slice(), asked.blobs),
        (["team/new:v1".to_owned()].as_slice(), {
            let mut blobs = new.blobs();
            blobs.sort();
            blobs
        })
    );
    let seen = Space::new();
    let pulled = run(seen.command().args(["pull", &base]));
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    for layer in seen.manifest(&base)["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        assert!(!root.join("blobs/sha256").join(&digest[7..]).exists(), "{digest}");
    }
    let pulled = run(seen.command().args(["pull", &child]));
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    let tagged = run(seen.command().args(["tag", &child, "x:1"]));
    assert_eq!(tagged.code, Some(0), "{}", tagged.stderr);
    let mut wanted = vec![
        format!("a {old_name} linux/amd64"),
        format!("b {new_name} linux/amd64"),
        format!("c {old_name} linux/amd64"),
    ];
    wanted.sort();
    let mut listed = carried(&seen, &[]);
    listed.sort();
    assert_eq!(listed, wanted);
    let rootfs = seen.rootfs(&child);
    for blob in old.blobs().iter().chain(&new.blobs()) {
        let path = format!("registry/docker/registry/v2/blobs/sha256/{}/{}/data", &blob[7..9], &blob[7..]);
        assert!(rootfs.contains_key(&path), "{path}");
    }
}

#[test]
fn a_base_that_was_not_searched_is_searched() {
    let registry = ImageRegistry::start();
    let names: Vec<String> =
        ["a", "b", "c"].map(|name| registry.with(&format!("team/{name}"), "v1", &Image::new(name))).to_vec();
    let space = Space::new();
    apps(&space, &[("a", &names[0])]);
    let all = ["build", "-q", "-t", "all:1", "."];
    assert_eq!(space.run(&all).code, Some(0));
    // A child in mode lite lists what its base does, and that is not all.
    apps(&space, &[("b", &names[1])]);
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&text.replace("FROM scratch", "FROM all:1"));
    assert_eq!(space.run(&["build", "-q", "-t", "lite:1", "--build-mode", "lite", "."]).code, Some(0));
    registry.asked();
    apps(&space, &[("c", &names[2])]);
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&text.replace("FROM scratch", "FROM lite:1"));
    built(&space, &[]);
    // The first is in the base's registry, whoever says so.
    assert_eq!(registry.asked().tags, ["team/b:v1", "team/c:v1"]);
    assert_eq!(carried(&space, &[]).len(), 3);
    assert_eq!(layers_of(&space).len(), 6);
    // An application of the base that is replaced is searched again.
    apps(&space, &[("a", &names[2])]);
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&text.replace("FROM scratch", "FROM all:1"));
    built(&space, &[]);
    assert_eq!(carried(&space, &[]), [format!("a {} linux/amd64", names[2])]);
}

#[test]
fn a_list_names_what_the_base_carries_and_nobody_is_asked() {
    let registry = ImageRegistry::start();
    let name = registry.with("team/a", "v1", &Image::new("a"));
    let space = Space::new();
    apps(&space, &[("a", &name)]);
    assert_eq!(space.run(&["build", "-q", "-t", "base:1", "."]).code, Some(0));
    registry.asked();
    space.file("list", &name);
    space.kubefile("FROM base:1\nLABEL a=b\n");
    built(&space, &["--image-list", "list", "--offline"]);
    assert_eq!(registry.asked(), crate::image_registry::Asked::default());
    assert_eq!(layers_of(&space).len(), 2);
    let mut listed = vec![format!("- {name} linux/amd64"), format!("a {name} linux/amd64")];
    listed.sort();
    assert_eq!(carried(&space, &[]), listed);
    // A base that does not say what it carries has the files all the same.
    assert_eq!(space.run(&["build", "-q", "-t", "lite:1", "--build-mode", "lite", "."]).code, Some(0));
    space.kubefile("FROM lite:1\nLABEL a=b\n");
    built(&space, &["--image-list", "list", "--offline"]);
    assert_eq!(layers_of(&space).len(), 2);
}

#[test]
fn an_image_that_takes_the_place_of_the_bases_is_told() {
    let (one, other) = (ImageRegistry::start(), ImageRegistry::start());
    let names = [&one, &other].map(|registry| registry.with("team/a", "v1", &Image::new("a")));
    let space = Space::new();
    apps(&space, &[("a", &names[0])]);
    assert_eq!(space.run(&["build", "-q", "-t", "base:1", "."]).code, Some(0));
    apps(&space, &[("b", &names[1])]);
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&text.replace("FROM scratch", "FROM base:1"));
    let run = build(&space, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let told = format!("`{}` takes the place of `{}`, which the base carries", names[1], names[0]);
    assert!(run.stderr.contains(&told), "{}", run.stderr);

    // The host of what a list with credentials names is not known afterwards.
    let host = one.name("");
    let host = host.trim_end_matches('/');
    space
        .file("list", format!("- {{registry: '{host}', username: u, password: p, images: ['team/a:v1']}}\n"));
    let words = ["--image-list-with-auth", "list"];
    space.kubefile("FROM scratch\nCOPY a.yaml /a\n");
    assert_eq!(space.run(&[&["build", "-q", "-t", "base:1"], &words[..], &["."]].concat()).code, Some(0));
    space.kubefile("FROM base:1\nLABEL a=b\n");
    built(&space, &words);
}

#[test]
fn an_application_that_a_base_copied_is_searched_with_its_files() {
    let registry = ImageRegistry::start();
    let (old, new) = (Image::new("old"), Image::new("new"));
    let name = registry.with("team/a", "old", &old);
    registry.put("team/a", "new", &new);
    let repository = name.trim_end_matches(":old");
    let space = Space::new();
    space.file("chart/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n");
    space.file("chart/values.yaml", "tag: old\n");
    space.file("chart/templates/pod.yaml", format!("image: {repository}:{{{{ .Values.tag }}}}\n"));
    space.kubefile("FROM scratch\nCOPY chart application/apps/c/\n");
    assert_eq!(space.run(&["build", "-q", "-t", "base:1", "."]).code, Some(0));
    space.file("values.yaml", "tag: new\n");
    space.kubefile("FROM base:1\nCOPY values.yaml application/apps/c/\n");
    built(&space, &[]);
    assert_eq!(carried(&space, &[]), [format!("c {repository}:new linux/amd64")]);
}

#[test]
fn a_lock_file_says_what_tags_lead_to() {
    let registry = ImageRegistry::start();
    let name = registry.with("team/a", "v1", &Image::new("first"));
    let space = Space::new();
    apps(&space, &[("a", &name)]);
    let first = built(&space, &["--lock"]);
    let text = fs_err::read_to_string(space.context().join("Kubefile.lock")).unwrap();
    assert!(text.contains(&name) && text.contains(&Image::new("first").digest()), "{text}");
    registry.put("team/a", "v1", &Image::new("second"));
    registry.asked();
    for words in [[].as_slice(), &["--locked"], &["--locked", "--offline"]] {
        assert_eq!(built(&space, words), first, "{words:?}");
        assert_eq!(registry.asked(), crate::image_registry::Asked::default(), "{words:?}");
    }
    // A store that knows nothing asks for digests only.
    good(&space, "empty", &["-q", "-t", "x:1", "--locked"]);
    let asked = registry.asked();
    assert!(asked.heads.is_empty() && asked.tags.is_empty() && asked.by_digest.len() == 1, "{asked:?}");
    let moved = built(&space, &[&format!("--update={name}")]);
    assert_ne!(moved, first);
    assert_eq!(built(&space, &["--locked"]), moved);
    // What is not locked is a failure, where locking is demanded.
    let other = registry.with("team/b", "v1", &Image::new("other"));
    apps(&space, &[("a", &name), ("b", &other)]);
    let run = build(&space, &["--locked"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains(&other) && run.stderr.contains("--lock"), "{}", run.stderr);
    let run = build(&space, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("does not have"), "{}", run.stderr);
}
