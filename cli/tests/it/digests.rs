//! Names with a digest.

use serde_json::Value;

use crate::registry_faults::{Fake, image, layer};
use crate::server::Response;
use crate::space::Space;

/// An image that was pulled by its digest, and its name.
fn pulled() -> (Space, Fake, String) {
    let fake = Fake::new(|_, layer| Response::ok(layer));
    let (_, manifest) = image(&layer());
    let path = format!("/v2/x/y/manifests/{}", fake.manifest);
    fake.server.route(&path, move |_| Response::ok(manifest.clone()));
    let name = format!("{}/x/y@{}", fake.server.address(), fake.manifest);
    let space = Space::new();
    let run = space.run(&["pull", &name]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    (space, fake, name)
}

#[test]
fn an_archive_of_dockers_has_no_digest_for_a_tag() {
    let (space, _fake, name) = pulled();
    let path = space.root().join("x.tar");
    let run = space.run(&["save", &name, "--format", "docker-archive", "-o", path.to_str().unwrap()]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut archive = tar::Archive::new(fs_err::File::open(&path).unwrap());
    let first = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!(&*first.path_bytes(), b"manifest.json");
    let manifest: Value = serde_json::from_reader(first).unwrap();
    assert_eq!(manifest[0]["RepoTags"], Value::Null, "{manifest}");
}

#[test]
fn a_push_goes_to_a_tag_or_to_the_digest_of_the_image() {
    let (space, fake, name) = pulled();
    let asked = fake.server.requests().len();
    let (repository, digest) = name.split_once('@').unwrap();
    for (to, wanted) in [
        (format!("{repository}:1@{digest}"), "has a tag and a digest"),
        (format!("{repository}@sha256:{:064}", 0), "not that of"),
    ] {
        let run = space.run(&["push", &name, &to]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains(wanted), "{}", run.stderr);
    }
    assert_eq!(fake.server.requests().len(), asked);
}

#[test]
fn a_digest_takes_no_name_away_from_another_repository() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /\n").built(&[]);
    let digest = space.digest();
    let run = space.run(&["rmi", &format!("other@{digest}")]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stderr.contains("image not known"), "{}", run.stderr);
    let run = space.run(&["rmi", &format!("x@{digest}")]);
    assert_eq!(run.stdout.lines().next(), Some("untagged: localhost/x:1"), "{}", run.stderr);
}
