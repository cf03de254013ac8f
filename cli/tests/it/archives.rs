//! Container images out of the archives that tools write.

use std::path::{Path, PathBuf};
use std::process::Command;

use cache::Store;
use engine::container::{Archived, Archives};
use engine::transport::{Input, Load, load};
use engine::{Cancel, Images, Reference};
use serde_json::Value;
use solver::Descriptor;

use crate::docker::Docker;
use crate::space::{Space, has_peer, is_root, run, skipped};
use crate::transport::{ok, sample, two_platforms, write_layout};

fn open(input: &Path) -> Archives {
    Archives::open(&[input.to_owned()], &Cancel::new()).unwrap()
}

fn find<'a>(archives: &'a Archives, name: &str) -> &'a Archived {
    archives
        .find(&Reference::parse(name).unwrap())
        .unwrap_or_else(|| panic!("{name} is not in {:?}", archives.unused()))
}

/// Brings all of an image into a new store; for an index, of every image that is here. Gives the platforms' layers.
fn brought(archives: &Archives, image: &Archived) -> Vec<Vec<Vec<u8>>> {
    let read = |one: &Value| Descriptor {
        digest: one["digest"].as_str().unwrap().parse().unwrap(),
        size: one["size"].as_u64().unwrap(),
    };
    let json: Value = serde_json::from_slice(&image.manifest.bytes).unwrap();
    if let Some(below) = json["manifests"].as_array() {
        let below = below.iter().filter_map(|one| archives.manifest(&read(one).digest));
        return below.flat_map(|one| brought(archives, one)).collect();
    }
    let layers: Vec<Descriptor> = json["layers"].as_array().unwrap().iter().map(read).collect();
    let wanted = [layers.as_slice(), &[read(&json["config"])]].concat();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    archives.bring(&store, &wanted, &Cancel::new(), &|_| {}).unwrap();
    vec![layers.iter().map(|layer| store.blobs().read(&layer.digest, 1 << 20).unwrap()).collect()]
}

fn skopeo(words: &[&str]) {
    let ended = run(Command::new("skopeo").arg("--insecure-policy").args(words));
    assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
}

/// A layout with one image of two plain layers, and the bytes of its manifest.
fn layout(space: &Space) -> (PathBuf, Vec<Vec<u8>>, Vec<u8>) {
    let layer = |path: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        tar.append_data(&mut header, path, b"text".as_slice()).unwrap();
        tar.into_inner().unwrap()
    };
    let layers = vec![layer("first"), layer("second")];
    let dir = write_layout(&space.root().join("nginx"), &layers, "docker.io/library/nginx:1.25");
    let index: Value = serde_json::from_slice(&fs_err::read(dir.join("index.json")).unwrap()).unwrap();
    let digest =
        index["manifests"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    let manifest = fs_err::read(dir.join("blobs/sha256").join(digest)).unwrap();
    (dir, layers, manifest)
}

#[test]
fn archives_of_skopeo_have_their_images() {
    if !has_peer("skopeo") {
        return skipped("archives are written with skopeo");
    }
    let space = Space::new();
    let (dir, layers, manifest) = layout(&space);
    let from = format!("oci:{}:docker.io/library/nginx:1.25", dir.display());
    let mut of_docker = Vec::new();
    for kind in ["oci", "oci-archive", "docker-archive"] {
        let out = space.root().join(kind);
        let to = format!("{kind}:{}:docker.io/library/nginx:1.25", out.display());
        // It would compress the layers of a layout.
        let kept = if kind == "docker-archive" { "-q" } else { "--preserve-digests" };
        skopeo(&["copy", "-q", kept, &from, &to]);
        let mut inputs = vec![out.clone()];
        if kind != "oci" {
            assert_eq!(run(Command::new("gzip").arg("-k").arg(&out)).code, Some(0));
            inputs.push(out.with_extension("gz"));
        }
        for input in inputs {
            let archives = open(&input);
            let found = find(&archives, "nginx:1.25");
            assert_eq!(archives.unused(), [""; 0]);
            assert!(brought(&archives, found) == [layers.as_slice()], "{}", input.display());
            match kind {
                "docker-archive" => of_docker.push(found.manifest.blob),
                _ => assert_eq!(found.manifest.bytes, manifest, "{}", input.display()),
            }
        }
    }
    assert_eq!(of_docker[0], of_docker[1]);

    let out = space.root().join("unnamed");
    for tag in ["", ":1.25"] {
        skopeo(&["copy", "-q", &from, &format!("oci-archive:{}{tag}", out.display())]);
        let error = Archives::open(std::slice::from_ref(&out), &Cancel::new()).unwrap_err().to_string();
        assert!(error.ends_with("has no name"), "{error}");
    }
    let out = space.root().join("dir");
    skopeo(&["copy", "-q", &from, &format!("dir:{}", out.display())]);
    let error = Archives::open(&[out], &Cancel::new()).unwrap_err().to_string();
    assert!(error.starts_with("the image of a `dir:` directory in "), "{error}");
}

#[test]
fn an_index_of_skopeo_keeps_its_bytes() {
    if !has_peer("skopeo") {
        return skipped("archives are written with skopeo");
    }
    let space = sample();
    let from = two_platforms(&space);
    let index = find(&open(&from), "localhost/both:1").clone();
    let out = space.root().join("both.tar");
    let (from, to) = (format!("oci:{}", from.display()), format!("oci-archive:{}", out.display()));
    skopeo(&["copy", "-q", "--all", &from, &format!("{to}:quay.io/team/both:1")]);
    let archives = open(&out);
    let found = find(&archives, "quay.io/team/both:1");
    assert_eq!(found.manifest, index.manifest);
    assert_eq!(brought(&archives, found).len(), 2);
}

#[test]
fn our_own_archives_have_their_images() {
    let space = sample();
    let digest = ok(&space, &["inspect", "x:1", "-f", "{{.Digest}}"]);
    for format in ["oci-archive", "oci-dir", "docker-archive"] {
        let out = space.root().join(format);
        ok(&space, &["save", "x:1", "--format", format, "-o", out.to_str().unwrap()]);
        let archives = open(&out);
        let found = find(&archives, "localhost/x:1");
        if format != "docker-archive" {
            assert_eq!(found.manifest.blob.digest.to_string(), digest);
        }
        let layers = space.manifest("localhost/x:1")["layers"].as_array().unwrap().len();
        assert_eq!(brought(&archives, found)[0].len(), layers);
    }
}

#[test]
fn a_list_of_ours_is_the_index_that_load_makes_of_it() {
    let space = sample();
    ok(&space, &["load", "-i", two_platforms(&space).to_str().unwrap()]);
    for format in ["oci-archive", "docker-archive", "oci-dir"] {
        let out = space.root().join(format!("list-{format}"));
        ok(&space, &["save", "both:1", "--format", format, "-o", out.to_str().unwrap()]);
        let archives = open(&out);
        assert_eq!(archives.unused(), ["localhost/both:1"]);
        let found = find(&archives, "localhost/both:1");
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let options = Load { names: &[], now: 0, cancel: &Cancel::new(), progress: &|_| {} };
        load(&store, &Input::Path(out), &options).unwrap();
        let loaded = Images::new(&store).find("both:1").unwrap();
        assert_eq!(found.manifest.blob, loaded.manifest, "{format}");
        assert_eq!(brought(&archives, found).len(), 2, "{format}");
    }
}

#[test]
fn what_docker_saves_has_its_images() {
    if !is_root() {
        return skipped("a Docker daemon needs root");
    }
    let Some(docker) = Docker::start() else { return };
    let space = Space::new();
    let (dir, layers, _) = layout(&space);
    let (tar, saved) = (space.root().join("in.tar"), space.root().join("saved.tar"));
    ok(&space, &["load", "-i", dir.to_str().unwrap()]);
    ok(&space, &["save", "nginx:1.25", "--format", "docker-archive", "-o", tar.to_str().unwrap()]);
    docker.ok(&["load", "-i", tar.to_str().unwrap()]);
    docker.ok(&["tag", "nginx:1.25", "quay.io/team/plain:7"]);
    docker.ok(&["save", "nginx:1.25", "quay.io/team/plain:7", "-o", saved.to_str().unwrap()]);
    let archives = open(&saved);
    assert_eq!(archives.unused(), ["docker.io/library/nginx:1.25", "quay.io/team/plain:7"]);
    let found = find(&archives, "nginx:1.25");
    assert!(brought(&archives, found) == [layers]);
    assert_eq!(find(&archives, "quay.io/team/plain:7"), found);
    assert_eq!(archives.unused(), [""; 0]);
}
