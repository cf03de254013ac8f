//! Debian's `docker-registry`, with its root on what an image carries, serves every container image in it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{build, listed};
use crate::image_registry::digest;
use crate::registry_server::Registry;
use crate::space::{Space, has_peer, run};

fn skopeo(words: &[&str]) -> String {
    let ended = run(Command::new("skopeo").arg("--insecure-policy").args(words));
    assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    ended.stdout
}

/// An image of ours in a registry.
fn pushed(space: &Space, name: &str, words: &[&str]) {
    space.file("app/a.yaml", format!("kind: {}\n", name.rsplit('/').next().unwrap()));
    space.kubefile("FROM scratch\nARG TARGETARCH\nCOPY app /opt/\nLABEL on=$TARGETARCH\n");
    let all = [&["build", "-q", "-t", name, "--build-mode", "lite", "--push"], words, &["."]].concat();
    let run = space.run(&all);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

/// The digest of what a name leads to, an index or a manifest, as the registry says and by its bytes.
fn raw(name: &str) -> (String, Value) {
    let bytes = skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    (digest(bytes.as_bytes()), serde_json::from_str(&bytes).unwrap())
}

/// Pulls an image whole, and gives the digest of its manifest.
fn pulled(name: &str, platform: &str, to: &Path) -> String {
    let (from, dir) = (format!("docker://{name}"), format!("dir:{}", to.display()));
    skopeo(&["--override-arch", platform, "copy", "--src-tls-verify=false", &from, &dir]);
    let manifest = fs_err::read(to.join("manifest.json")).unwrap();
    let parsed: Value = serde_json::from_slice(&manifest).unwrap();
    let blobs = parsed["layers"].as_array().unwrap().iter().chain([&parsed["config"]]);
    for blob in blobs {
        let named = blob["digest"].as_str().unwrap();
        assert_eq!(digest(&fs_err::read(to.join(&named[7..])).unwrap()), named);
    }
    digest(&manifest)
}

#[test]
fn a_registry_serves_what_an_image_carries() {
    if !has_peer("skopeo") {
        return;
    }
    let Some(source) = Registry::open() else { return };
    let maker = Space::new();
    pushed(&maker, &source.name("team/oci:v1"), &[]);
    pushed(&maker, &source.name("team/gzip:v1"), &["--compression", "gzip"]);
    pushed(&maker, &source.name("team/deep/multi:1.2"), &["--platform", "linux/amd64,linux/arm64"]);
    let docker = format!("docker://{}", source.name("docker:latest"));
    let from = format!("docker://{}", source.name("team/gzip:v1"));
    skopeo(&[
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--format",
        "v2s2",
        &from,
        &docker,
    ]);
    let paths = ["team/oci:v1", "team/gzip:v1", "team/deep/multi:1.2", "docker:latest"];
    let names = paths.map(|path| source.name(path));
    assert_eq!(raw(&names[3]).1["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert!(raw(&names[2]).1["manifests"].is_array());

    for platform in ["amd64", "arm64"] {
        let space = Space::new();
        // A tag that is not written is `latest`.
        let mut list = names.to_vec();
        list[3] = source.name("docker");
        listed(&space, &list);
        let run =
            build(&space, &["--platform", &format!("linux/{platform}"), "-o", "type=rootfs,dest=../rootfs"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let Some(carried) = Registry::serving(&space.root().join("rootfs/registry")) else { return };
        for (number, (path, name)) in paths.iter().zip(&names).enumerate() {
            let (root, _) = raw(name);
            let theirs = carried.name(path);
            assert_eq!(raw(&theirs).0, root, "{path}");
            let repository = path.split_once(':').unwrap().0;
            let by_digest = carried.name(&format!("{repository}@{root}"));
            assert_eq!(raw(&by_digest).0, root, "{path}");
            let dir = |kind: &str| space.root().join(format!("{kind}-{number}"));
            let expected = pulled(name, platform, &dir("source"));
            assert_eq!(pulled(&theirs, platform, &dir("tag")), expected, "{path}");
            assert_eq!(pulled(&by_digest, platform, &dir("digest")), expected, "{path}");
            let instance = carried.name(&format!("{repository}@{expected}"));
            assert_eq!(pulled(&instance, platform, &dir("instance")), expected, "{path}");
        }
        let tags = skopeo(&[
            "list-tags",
            "--tls-verify=false",
            &format!("docker://{}", carried.name("team/deep/multi")),
        ]);
        let tags: Value = serde_json::from_str(&tags).unwrap();
        assert_eq!(tags["Tags"], serde_json::json!(["1.2"]));
    }
}
