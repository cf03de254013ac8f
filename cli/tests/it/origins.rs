//! Stages, and images that files are copied from: what is needed is built and fetched, once and at once, and nothing else.

use serde_json::Value;

use crate::git_server::{Manners, Repositories, Smart};
use crate::registry_server::Registry;
use crate::server::Server;
use crate::space::{Run, Space, run};

/// An image of the store by another name than the one tests build.
fn image(space: &Space, name: &str, kubefile: &str, words: &[&str]) {
    space.file("Kubefile.image", kubefile);
    let all =
        [&["build", "-t", name, "--build-mode", "lite", "-f", "Kubefile.image"], words, &["."]].concat();
    let run = space.run(&all);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

fn fails(space: &Space, words: &[&str], texts: &[&str]) -> Run {
    let run = space.build(words);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for text in texts {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    run
}

fn paths(space: &Space) -> Vec<String> {
    space.rootfs("localhost/x:1").into_keys().collect()
}

#[test]
fn files_are_copied_from_an_image_and_its_applications_stay_there() {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").file("tool", "t");
    let text = "FROM scratch\nCOPY tool /bin/\nAPP theirs local://a.yaml\nENV TOOLS=tools:1\nLAUNCH theirs\n";
    image(&space, "tools:1", text, &[]);
    space.kubefile(
        "FROM scratch\nCOPY --from=tools:1 --chown=3 /bin/t* /opt/\nAPP mine local://a.yaml\nLAUNCH mine\n",
    );
    assert_eq!(space.built(&[])["executed"], 2);
    assert_eq!(paths(&space)[4..], ["opt", "opt/tool"]);
    assert_eq!(space.rootfs("localhost/x:1")["opt/tool"].header, "- 0644 3/3 1");
    let extension = space.extension("localhost/x:1");
    let names: Vec<&Value> =
        extension["applications"].as_array().unwrap().iter().map(|app| &app["name"]).collect();
    assert_eq!(names, ["mine"]);
    assert_eq!(space.built(&[])["executed"], 0);

    // Another image with the same files changes nothing, one with other files does.
    image(&space, "tools:1", "FROM scratch\nCOPY tool /bin/\nLABEL a=b\nENV TOOLS=tools:1\n", &[]);
    assert_eq!(space.built(&[])["executed"], 0);
    space.file("tool", "u");
    image(&space, "tools:1", "FROM scratch\nCOPY tool /bin/\nENV TOOLS=tools:1\n", &[]);
    assert_eq!(space.built(&[])["executed"], 1);
    assert_eq!(space.rootfs("localhost/x:1")["opt/tool"].content, b"u");

    space.kubefile("FROM scratch\nCOPY --from=tools:1 /bin /bin\nLAUNCH theirs\n");
    fails(&space, &[], &["Kubefile:3:8", "application theirs does not exist in the image"]);
    // The name of the image may come from the base.
    space.kubefile("FROM tools:1\nCOPY --from=$TOOLS /bin/tool /again\n");
    space.built(&[]);
    assert_eq!(paths(&space), ["again", "bin", "bin/tool"]);
}

#[test]
fn an_image_that_cannot_be_had_is_told_at_its_line() {
    let space = Space::new();
    space.file("a", "a");
    space.kubefile("FROM scratch AS builder\nCOPY a /a\nFROM scratch\nCOPY --from=localhost/nope:1 a /a\nCOPY --from=localhost/nope:1 b /b\n");
    let run = fails(
        &space,
        &[],
        &["Kubefile:4:6", "failed to process --from", "image not known", "COPY --from=localhost/nope:1 b"],
    );
    assert_eq!(run.stderr.matches("image not known").count(), 1, "{}", run.stderr);
    space.kubefile("FROM scratch AS builder\nCOPY a /a\nFROM scratch\nCOPY --from=biulder a /a\n");
    fails(
        &space,
        &["--pull", "never"],
        &["did you mean `builder`?", "Kubefile:4:6", "failed to process --from"],
    );
    image(&space, "tools:1", "FROM scratch\nCOPY a /a\n", &[]);
    space.kubefile("FROM scratch\nCOPY --from=tools:1 nope /a\n");
    fails(&space, &[], &["Kubefile:2:1", "`nope` is not in the stage"]);
}

#[test]
fn images_of_the_platform_that_is_built_are_copied_from() {
    let space = Space::new();
    space.file("amd64", "amd64").file("arm64", "arm64");
    image(
        &space,
        "tools:1",
        "FROM scratch\nARG ARCH\nCOPY $ARCH /arch\n",
        &["--platform", "linux/amd64,linux/arm64"],
    );
    space.kubefile("FROM scratch\nCOPY --from=tools:1 arch /found\n");
    for arch in ["arm64", "amd64"] {
        space.built(&["--platform", &format!("linux/{arch}")]);
        assert_eq!(space.rootfs("localhost/x:1")["found"].content, arch.as_bytes());
    }
}

#[test]
fn layers_of_an_image_come_when_somebody_copies_and_not_before() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let name = registry.name("team/tools:1");
    let noise: Vec<u8> = (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    space.file("tool", &noise).file("other", noise.iter().rev().copied().collect::<Vec<u8>>());
    let maker = |words: &[&str]| {
        let run = run(space.command().env("SEALER_ROOT", space.root().join("maker")).args(words));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    };
    let push = |text: &str| {
        space.file("Kubefile.image", text);
        maker(&["build", "-t", &name, "--build-mode", "lite", "--push", "-f", "Kubefile.image", "."]);
    };
    push("FROM scratch\nCOPY tool /bin/\nCOPY other /share/\n");

    space.kubefile(&format!("FROM scratch\nCOPY --from={name} /bin/tool /tool\n"));
    let built = space.built(&[]);
    assert!(built["bytes_fetched"].as_u64().unwrap() > 1 << 20, "{built}");
    let first = space.digest();
    // Without its layers, the image is still known to be the same.
    for words in [&["rmi", &name][..], &["cache", "prune"]] {
        let run = space.run(words);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    let stored = fs_err::read_dir(space.store().join("blobs/sha256")).unwrap();
    let stored: u64 = stored.map(|blob| blob.unwrap().metadata().unwrap().len()).sum();
    assert!(stored < 3 << 19, "only the image's own layer is left: {stored}");
    let built = space.built(&["--pull", "always"]);
    assert_eq!((&built["executed"], space.digest()), (&0.into(), first));
    assert!(built["bytes_fetched"].as_u64().unwrap() < 10_000, "{built}");
    // And by its digest nobody is asked whether a name leads elsewhere.
    push("FROM scratch\nCOPY other /bin/tool\n");
    assert_eq!(space.built(&[])["executed"], 1);
}

#[test]
fn what_is_not_needed_is_neither_built_nor_asked_for() {
    let server = Server::start();
    let space = Space::new();
    space.file("a", "a");
    space.kubefile(&format!(
        "FROM {0}/x:1 AS one\nCOPY --from={0}/y:1 /a /a\nFROM scratch AS two\nCOPY missing /\nADD {1} /\nADD {1}#main /git\nCOPY --from=one /a /a\nFROM scratch\nCOPY a /a\n",
        server.address(),
        server.url("/r.git"),
    ));
    let run = space.build(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for (stage, place) in [("one", "Kubefile:1:1"), ("two", "Kubefile:3:1")] {
        assert!(
            run.stderr.contains(&format!("stage `{stage}` is not used and is not built")),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains(place), "{}", run.stderr);
    }
    assert_eq!(server.requests().len(), 0);
    assert_eq!(paths(&space), ["a"]);
    // With a target the last stage is not built either, and nobody is told of it.
    let run = space.build(&["--target", "two", "--pull", "never"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("Kubefile:1:1") && run.stderr.contains("Kubefile:2:6"), "{}", run.stderr);
}

#[test]
fn independent_stages_are_built_at_once() {
    let Some(repositories) = Repositories::new() else { return };
    repositories.commit("a.git", &[("a", "1")]);
    repositories.commit("b.git", &[("b", "2")]);
    // It gives nothing until both are asked for.
    let smart = Smart::start(&repositories.root(), Manners { meet: 2, ..Manners::default() });
    let space = Space::new();
    space.kubefile(&format!(
        "FROM scratch AS a\nADD {} /\nFROM scratch AS b\nADD {} /\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n",
        smart.url("a.git"),
        smart.url("b.git")
    ));
    space.built(&["--jobs", "2"]);
    assert_eq!(paths(&space), ["a", "b"]);
    assert_eq!(smart.fetches(), 2);
}

#[test]
fn applications_come_from_the_stages_the_image_stands_on() {
    let space = Space::new();
    space.file("x.yaml", "kind: X\n");
    let text = "FROM scratch AS first\nAPP a local://x.yaml\nFROM scratch AS side\nAPP c local://x.yaml\nFROM first AS second\nAPP b local://x.yaml\nFROM second\nCOPY --from=side /application/apps/c /c\n";
    space.kubefile(&format!("{text}LAUNCH a b\n"));
    space.built(&[]);
    let extension = space.extension("localhost/x:1");
    let names: Vec<&Value> =
        extension["applications"].as_array().unwrap().iter().map(|app| &app["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(paths(&space).contains(&"c/x.yaml".to_owned()));
    space.kubefile(&format!("{text}LAUNCH c\n"));
    let hint = "stage `side` declares it, but only the stage to build and those it starts from count";
    fails(&space, &[], &["Kubefile:9:8", "application c does not exist in the image", hint]);
}
