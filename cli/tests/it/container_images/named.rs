//! Container images that lists of the command line name or leave out, and those that come out of archives.

use super::{apps, build, built, carried, layers_of, listed};
use crate::image_registry::{Image, ImageRegistry};
use crate::registry_server::{PASSWORD, Registry, USER};
use crate::space::{Space, run};

#[test]
fn lists_add_and_leave_out() {
    let registry = ImageRegistry::start();
    let names: Vec<String> =
        ["a", "b", "c"].map(|name| registry.with(&format!("team/{name}"), "v1", &Image::new(name))).to_vec();
    let space = Space::new();
    listed(&space, &names[..2]);
    space.file("more", format!("# besides\n\n{} # a comment\n", names[2]));
    space.file("less", format!("{}/team/[b]*\n", registry.name("").trim_end_matches('/')));
    built(&space, &["--image-list", "more", "--ignored-image-list", "less"]);
    let listed: Vec<String> = [&names[0], &names[2]].map(|name| format!("- {name} linux/amd64")).to_vec();
    assert_eq!(carried(&space, &[]), listed);
    assert_eq!(layers_of(&space).len(), 3);

    space.file("wrong", "nginx\nNo Name\n");
    for (words, wanted) in [
        (["--image-list", "wrong"].as_slice(), "wrong:2: `No Name` is not an image name"),
        (&["--ignored-image-list", "none"], "a list of images cannot be read"),
        (
            &["--image-list", "more", "--build-mode", "lite"],
            "`--image-list` says nothing to a build without container images",
        ),
        (
            &["--image-archive", "more", "--build-mode", "lite"],
            "`--image-archive` says nothing to a build without container images",
        ),
    ] {
        let run = build(&space, words);
        assert_eq!(run.code, Some(1), "{words:?}: {}", run.stderr);
        assert!(run.stderr.contains(wanted), "{words:?}: {}", run.stderr);
    }
}

#[test]
fn a_list_says_who_may_fetch_and_nobody_else_hears_it() {
    let Some(registry) = Registry::private() else { return };
    let space = Space::new();
    let (name, certificate) = (registry.name("team/secret:1"), registry.certificate().display().to_string());
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /a\n");
    let auth = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"bWU6aHVudGVyMg==\"}}}}}}", registry.address);
    space.file("auth.json", auth);
    let push = [
        "build",
        "-q",
        "-t",
        &name,
        "--push",
        "--build-mode",
        "lite",
        "--cacert",
        &certificate,
        "--authfile",
    ];
    let pushed = run(space
        .command()
        .env("SEALER_ROOT", space.root().join("maker"))
        .args(push)
        .args(["auth.json", "."]));
    assert_eq!(pushed.code, Some(0), "{}", pushed.stderr);

    space.kubefile("FROM scratch\nCOPY a /b\n");
    let list = format!(
        "- registry: {}\n  username: {USER}\n  password: {PASSWORD}\n  images:\n  - team/secret:1\n",
        registry.address
    );
    space.file("list.yaml", list);
    let nobody = ["--cacert", &certificate, "--authfile", "/dev/null"];
    let known = build(&space, &[&nobody[..], &["--image-list-with-auth", "list.yaml"]].concat());
    assert_eq!(known.code, Some(0), "{}", known.stderr);
    assert_eq!(carried(&space, &[]), ["- team/secret:1 linux/amd64"]);
    assert!(!known.stderr.contains(PASSWORD), "{}", known.stderr);
    space.file("names", &name);
    let stranger = Space::new();
    stranger.file("names", &name).file("a", "a").kubefile("FROM scratch\nCOPY a /b\n");
    let denied = build(&stranger, &[&nobody[..], &["--image-list", "names"]].concat());
    assert_eq!(denied.code, Some(1));
    assert!(denied.stderr.contains("names:1") && denied.stderr.contains("sealer login"), "{}", denied.stderr);

    space.file("list.yaml", format!("- registry: {}\n  username: {USER}\n  images: [x]\n", registry.address));
    let wrong = build(&space, &["--image-list-with-auth", "list.yaml"]);
    let wanted = "list.yaml:1: must set username and password at imageListWithAuth.yaml";
    assert!(wrong.code == Some(1) && wrong.stderr.contains(wanted), "{}", wrong.stderr);
}

/// An archive of an image that holds a text, of the given name.
fn archive(space: &Space, name: &str, file: &str, kind: &str) {
    space.file("Kubefile.image", "FROM scratch\nARG TEXT\nCOPY <<EOT /about\n${TEXT}\nEOT\n");
    let output = format!("type={kind},dest={file}");
    let text = format!("TEXT={name}");
    let words = ["build", "-q", "-t", name, "-f", "Kubefile.image", "--build-mode", "lite", "--build-arg"];
    let run = space.run(&[&words[..], &[&text, "-o", &output, "."]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn archives_bring_images_without_a_registry() {
    let space = Space::new();
    archive(&space, "r.example/team/one:1", "../one.tar", "oci-archive");
    archive(&space, "r.example/team/two:1", "../two.tar", "docker-archive");
    archive(&space, "r.example/team/three:1", "../three", "oci-dir");
    apps(
        &space,
        &[("a", "r.example/team/one:1"), ("b", "r.example/team/two:1"), ("c", "r.example/team/three:1")],
    );
    let archives =
        ["--image-archive", "../one.tar", "--image-archive", "../two.tar", "--image-archive", "../three"];
    let all = [&["--offline"], &archives[..]].concat();
    let first = built(&space, &all);
    assert_eq!(carried(&space, &[]).len(), 3);
    assert_eq!(layers_of(&space).len(), 6);
    assert_eq!(built(&space, &all), first);
    // What is in the store by now is not read again; what nobody names is told.
    apps(&space, &[("a", "r.example/team/one:1")]);
    let run = build(&space, &all);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let wanted = "images of the archives that nothing names are not carried: r.example/team/three:1, r.example/team/two:1";
    assert!(run.stderr.contains(wanted), "{}", run.stderr);
    // Without the archive, and nobody to ask.
    let other = Space::new();
    apps(&other, &[("a", "r.example/team/one:1")]);
    let run = build(&other, &["--offline"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("application a, application/apps/a/a.yaml:4: r.example/team/one:1"),
        "{}",
        run.stderr
    );
    let run = build(&other, &["--image-archive", "a.yaml"]);
    assert!(run.code == Some(1) && run.stderr.contains("a.yaml"), "{}", run.stderr);
}
