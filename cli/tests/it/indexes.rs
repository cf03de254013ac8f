//! Indexes as other tools make them, and what else than images stands in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::registry_faults::{Fake, image, layer};
use crate::registry_server::Registry;
use crate::server::Response;
use crate::space::{Space, run};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn ok(space: &Space, words: &[&str]) -> String {
    let run = space.run(words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    run.stdout
}

/// An OCI layout made by hand.
struct Layout {
    dir: PathBuf,
}

impl Layout {
    fn new(space: &Space) -> Self {
        let dir = space.root().join("layout");
        fs_err::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs_err::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir }
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs_err::write(self.dir.join("blobs/sha256").join(&hex), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    fn json(&self, media_type: &str, mut value: Value) -> Value {
        value["schemaVersion"] = json!(2);
        value["mediaType"] = json!(media_type);
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// An image with one file; its config names some more layers than it has.
    fn image(&self, architecture: &str, surplus: usize) -> Value {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(architecture.len() as u64);
        tar.append_data(&mut header, "architecture", architecture.as_bytes()).unwrap();
        let layer = self.blob(LAYER, &tar.into_inner().unwrap());
        let diff_ids = vec![layer["digest"].clone(); 1 + surplus];
        let config = json!({ "architecture": architecture, "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = self.blob(CONFIG, config.to_string().as_bytes());
        self.json(MANIFEST, json!({ "config": config, "layers": [layer] }))
    }

    /// An artifact whose config is no JSON, with a layer of a kind that images have.
    fn artifact(&self) -> Value {
        let config = self.blob("application/vnd.example.config", b"");
        let layer = self.blob(LAYER, b"no tar at all");
        self.json(
            MANIFEST,
            json!({ "config": config, "layers": [layer], "annotations": { "odd \"text\"": "\u{1}" } }),
        )
    }

    fn named(&self, name: &str, mut descriptor: Value) -> &str {
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        fs_err::write(self.dir.join("index.json"), index.to_string()).unwrap();
        self.dir.to_str().unwrap()
    }
}

fn blobs(layout: &Path) -> BTreeSet<String> {
    let entries = fs_err::read_dir(layout.join("blobs/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn json_of(layout: &Path, descriptor: &Value) -> Value {
    let hex = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
    serde_json::from_slice(&fs_err::read(layout.join("blobs/sha256").join(hex)).unwrap()).unwrap()
}

/// An index with all that one may have: an image with more said of it, one of which the config alone says what it is for, another
/// index, and something that is no image.
fn index(layout: &Layout) -> Value {
    let mut told = layout.image("amd64", 0);
    told["platform"] = json!({ "os": "linux", "architecture": "amd64", "os.version": "10.0" });
    told["annotations"] = json!({ "of": "entry" });
    let nested = layout.json(INDEX, json!({ "manifests": [layout.image("s390x", 0)] }));
    let entries = [told, layout.image("arm64", 0), nested, layout.artifact()];
    layout.json(INDEX, json!({ "manifests": entries, "annotations": { "of": "index" } }))
}

#[test]
fn an_index_goes_into_a_directory_as_it_is() {
    let space = Space::new();
    let layout = Layout::new(&space);
    let index = index(&layout);
    ok(&space, &["load", "-i", layout.named("localhost/all:1", index.clone())]);
    let saved = space.root().join("saved");
    ok(&space, &["save", "all:1", "--format", "oci-dir", "-o", saved.to_str().unwrap()]);
    let top: Value = serde_json::from_slice(&fs_err::read(saved.join("index.json")).unwrap()).unwrap();
    assert_eq!(top["manifests"][0]["digest"], index["digest"]);
    assert_eq!(blobs(&saved), blobs(&layout.dir));
    let other = Space::new();
    ok(&other, &["load", "-i", saved.to_str().unwrap()]);
    assert!(ok(&other, &["images", "--digests"]).contains(index["digest"].as_str().unwrap()));
}

#[test]
fn an_index_of_layers_made_anew_says_what_it_said() {
    let space = Space::new();
    let layout = Layout::new(&space);
    let index = index(&layout);
    ok(&space, &["load", "-i", layout.named("localhost/all:1", index.clone())]);
    let saved = space.root().join("saved");
    let words =
        ["save", "all:1", "--format", "oci-dir", "--compression", "gzip", "-o", saved.to_str().unwrap()];
    ok(&space, &words);
    let top: Value = serde_json::from_slice(&fs_err::read(saved.join("index.json")).unwrap()).unwrap();
    let (old, new) = (json_of(&layout.dir, &index), json_of(&saved, &top["manifests"][0]));
    assert_eq!(new["annotations"], old["annotations"]);
    let (old, new) = (old["manifests"].as_array().unwrap(), new["manifests"].as_array().unwrap());
    for key in ["annotations", "platform", "mediaType"] {
        assert!(old.iter().zip(new).all(|(old, new)| old[key] == new[key]), "{key}");
    }
    assert_eq!(new[3], old[3], "an artifact stays what it is");
    for (image, architecture) in [(&new[0], "amd64"), (&new[1], "arm64")] {
        let manifest = json_of(&saved, image);
        assert_eq!(json_of(&saved, &manifest["config"])["architecture"], architecture);
        assert!(manifest["layers"][0]["mediaType"].as_str().unwrap().ends_with("gzip"));
    }
}

#[test]
fn images_are_found_in_an_index_that_does_not_say_what_they_are_for() {
    let space = Space::new();
    let layout = Layout::new(&space);
    ok(&space, &["load", "-i", layout.named("localhost/all:1", index(&layout))]);
    assert_eq!(ok(&space, &["images", "-n", "-a"]).lines().count(), 1 + 3);
    for architecture in ["amd64", "arm64", "s390x"] {
        let platform = format!("linux/{architecture}");
        let words = ["inspect", "all:1", "--platform", &platform, "-f", "{{.OCIv1.Architecture}}"];
        assert_eq!(ok(&space, &words), architecture);
    }
    let list = space.root().join("list.tar");
    ok(&space, &["save", "all:1", "-o", list.to_str().unwrap()]);
    let other = Space::new();
    ok(&other, &["load", "-i", list.to_str().unwrap()]);
    assert_eq!(ok(&other, &["images", "-n", "-a"]).lines().count(), 1 + 3);
}

#[test]
fn a_manifest_goes_to_a_registry_before_every_index_that_names_it() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let layout = Layout::new(&space);
    let image = layout.image("amd64", 0);
    let nested = layout.json(INDEX, json!({ "manifests": [image] }));
    let index = layout.json(INDEX, json!({ "manifests": [nested, image] }));
    ok(&space, &["load", "-i", layout.named("localhost/all:1", index)]);
    ok(&space, &["push", "all:1", &format!("{}/all:1", registry.address)]);
}

#[test]
fn what_is_said_of_the_bytes_of_a_layer_is_not_said_of_others() {
    let space = Space::new();
    let layout = Layout::new(&space);
    let image = layout.image("amd64", 0);
    let mut manifest = json_of(&layout.dir, &image);
    manifest["layers"][0]["annotations"] =
        json!({ "io.github.containers.zstd-chunked.manifest-position": "1:2:3:1", "of": "layer" });
    let image = layout.json(MANIFEST, manifest);
    ok(&space, &["load", "-i", layout.named("localhost/x:1", image)]);
    for (compression, annotations) in [("uncompressed", 2), ("gzip", 1)] {
        let saved = space.root().join(compression);
        let words = ["save", "x:1", "--format", "oci-dir", "--compression", compression, "-o"];
        ok(&space, &[&words[..], &[saved.to_str().unwrap()]].concat());
        let top: Value = serde_json::from_slice(&fs_err::read(saved.join("index.json")).unwrap()).unwrap();
        let left = json_of(&saved, &top["manifests"][0])["layers"][0]["annotations"].clone();
        assert_eq!((left.as_object().unwrap().len(), &left["of"]), (annotations, &json!("layer")));
    }
}

#[test]
fn the_bytes_of_a_layer_say_how_it_is_compressed() {
    let space = Space::new();
    let layout = Layout::new(&space);
    let image = layout.image("amd64", 0);
    for (name, media_type) in [
        ("gzip:1", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("zstd:1", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("foreign:1", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    ] {
        let mut manifest = json_of(&layout.dir, &image);
        manifest["layers"][0]["mediaType"] = json!(media_type);
        let image = layout.json(MANIFEST, manifest);
        ok(&space, &["load", "-i", layout.named(&format!("localhost/{name}"), image)]);
        let path = space.root().join("archive");
        ok(&space, &["save", name, "--format", "docker-archive", "-o", path.to_str().unwrap()]);
        let rootfs = space.root().join(name);
        space.kubefile(&format!("FROM {name}\nCOPY --from={name} architecture /again\n"));
        space.built(&["-o", &format!("type=rootfs,dest={}", rootfs.display())]);
        for file in ["architecture", "again"] {
            assert_eq!(fs_err::read_to_string(rootfs.join(file)).unwrap(), "amd64", "{name}");
        }
    }
}

#[test]
fn images_are_looked_at_beside_what_is_none() {
    let space = Space::new();
    let layout = Layout::new(&space);
    let nested = layout.json(INDEX, json!({ "manifests": [layout.image("amd64", 0)] }));
    let mut artifact = layout.artifact();
    for what in ["a config that is no JSON", "an empty one"] {
        let index = layout.json(INDEX, json!({ "manifests": [artifact, nested] }));
        let dir = layout.named("localhost/all:1", index);
        let tar = space.root().join("layout.tar");
        let packed = run(Command::new("tar").arg("-cf").arg(&tar).args(["-C", dir, "."]));
        assert_eq!(packed.code, Some(0), "{}", packed.stderr);
        for path in [dir, tar.to_str().unwrap()] {
            let words = ["inspect", path, "-f", "{{.Name}} {{.OCIv1.Architecture}}"];
            assert_eq!(ok(&space, &words), "localhost/all:1 amd64", "{what}");
        }
        let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
        artifact = layout.json(MANIFEST, json!({ "config": config, "layers": [] }));
        artifact["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    }
    let run = space.run(&["inspect", layout.named("localhost/a:1", layout.artifact())]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
}

#[test]
fn an_index_that_others_name_over_and_over_is_looked_at_once() {
    let space = Space::new();
    let layout = Layout::new(&space);
    let mut index = layout.image("amd64", 0);
    for _ in 0..4 {
        index = layout.json(INDEX, json!({ "manifests": vec![index; 100] }));
    }
    let dir = layout.named("localhost/all:1", index.clone());
    assert_eq!(ok(&space, &["inspect", dir, "-f", "{{.OCIv1.Architecture}}"]), "amd64");
    ok(&space, &["load", "-i", dir]);
    let saved = space.root().join("saved");
    ok(&space, &["save", "localhost/all:1", "--format", "oci-dir", "-o", saved.to_str().unwrap()]);
    assert_eq!(blobs(&saved), blobs(&layout.dir));
    let dir = layout.named("localhost/deep:1", layout.json(INDEX, json!({ "manifests": [index] })));
    for words in [&["inspect", dir][..], &["load", "-i", dir]] {
        let run = space.run(words);
        assert_eq!(run.code, Some(1), "{words:?}");
        assert!(run.stderr.contains("an index in an index in an index"), "{words:?}: {}", run.stderr);
    }
}

#[test]
fn an_image_in_dockers_words_is_in_ocis_when_its_layers_are_made_anew() {
    let fake = Fake::new(|_, layer| Response::ok(layer));
    let (_, manifest) = image(&layer());
    let text = String::from_utf8(manifest).unwrap();
    let docker = text
        .replace(MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
        .replace(CONFIG, "application/vnd.docker.container.image.v1+json")
        .replace(LAYER, "application/vnd.docker.image.rootfs.diff.tar");
    fake.server.route("/v2/x/y/manifests/1", move |_| Response::ok(docker.clone()));
    let space = Space::new();
    ok(&space, &["pull", &fake.name()]);
    let saved = space.root().join("saved");
    let words = ["--format", "oci-dir", "--compression", "zstd", "-o", saved.to_str().unwrap()];
    ok(&space, &[&["save", &fake.name()], &words[..]].concat());
    let top: Value = serde_json::from_slice(&fs_err::read(saved.join("index.json")).unwrap()).unwrap();
    let manifest = json_of(&saved, &top["manifests"][0]);
    let types =
        [&manifest, &manifest["config"], &manifest["layers"][0]].map(|part| part["mediaType"].clone());
    assert_eq!(types, [MANIFEST, CONFIG, "application/vnd.oci.image.layer.v1.tar+zstd"]);
}

#[test]
fn an_image_that_nobody_could_use_is_not_loaded() {
    let space = Space::new();
    let layout = Layout::new(&space);
    let run = space.run(&["load", "-i", layout.named("localhost/x:1", layout.image("amd64", 1))]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stderr.contains("it does not have one diff id for each layer"), "{}", run.stderr);
    assert_eq!(ok(&space, &["images", "-q"]), "");
}

#[test]
fn an_artifact_is_loaded_whatever_its_config_is() {
    let space = Space::new();
    let layout = Layout::new(&space);
    let artifact = layout.artifact();
    ok(&space, &["load", "-i", layout.named("localhost/x:1", artifact.clone())]);
    assert!(ok(&space, &["images", "--digests"]).contains(artifact["digest"].as_str().unwrap()));
}

#[test]
fn what_an_index_says_outlives_a_change_of_it() {
    let space = Space::new();
    let layout = Layout::new(&space);
    ok(&space, &["load", "-i", layout.named("localhost/all:1", index(&layout))]);
    let before = json_of(&layout.dir, &index(&layout));
    let shown =
        |name: &str| -> Value { serde_json::from_str(&ok(&space, &["manifest", "inspect", name])).unwrap() };
    assert_eq!(shown("all:1"), before);
    let digest = |number: usize| before["manifests"][number]["digest"].as_str().unwrap().to_owned();
    let annotate = |number: usize, flags: &[&str]| {
        ok(&space, &[&["manifest", "annotate", "all:1", &digest(number)], flags].concat());
    };
    let mut expected = before.clone();
    annotate(0, &["--os-features", "a,b", "--annotation", "k=v"]);
    expected["manifests"][0]["platform"]["os.features"] = json!(["a", "b"]);
    expected["manifests"][0]["annotations"]["k"] = json!("v");
    // An artifact is for no platform; what an image is for that has not been said of stands in its config.
    annotate(3, &["--annotation", "k=v"]);
    expected["manifests"][3]["annotations"] = json!({ "k": "v" });
    annotate(1, &["--variant", "v8"]);
    expected["manifests"][1]["platform"] = json!({ "os": "linux", "architecture": "arm64", "variant": "v8" });
    assert_eq!(shown("all:1"), expected);
    ok(&space, &["manifest", "create", "copy:1", "all:1"]);
    let copied = shown("copy:1")["manifests"].clone();
    assert_eq!(copied.as_array().unwrap().len(), 3, "images, those of the index in it too");
    assert_eq!([&copied[0], &copied[1]], [&expected["manifests"][0], &expected["manifests"][1]]);
    assert_eq!(copied[2]["platform"]["architecture"], "s390x");
}

#[test]
fn what_an_index_says_stays_when_images_of_it_become_others_or_are_not_there() {
    let space = Space::new();
    let layout = Layout::new(&space);
    let image = |architecture: &str| {
        let mut entry = layout.image(architecture, 0);
        let mut manifest = json_of(&layout.dir, &entry);
        manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
        manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar");
        entry = layout.json("application/vnd.docker.distribution.manifest.v2+json", manifest);
        entry["platform"] = json!({ "os": "linux", "architecture": architecture, "os.version": "10.0" });
        entry["annotations"] = json!({ "of": "entry" });
        entry
    };
    let (kept, also, gone) = (image("amd64"), image("arm64"), image("s390x"));
    let hex = gone["digest"].as_str().unwrap().trim_start_matches("sha256:");
    fs_err::remove_file(layout.dir.join("blobs/sha256").join(hex)).unwrap();
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let value = json!({ "manifests": [kept, also, gone], "annotations": { "of": "index" } });
    ok(&space, &["load", "-i", layout.named("localhost/all:1", layout.json(list, value))]);
    let shown: Value = serde_json::from_str(&ok(&space, &["manifest", "inspect", "all:1"])).unwrap();
    assert_eq!((&shown["mediaType"], &shown["annotations"]), (&json!(INDEX), &json!({ "of": "index" })));
    assert_eq!(shown["manifests"].as_array().unwrap().len(), 2);
    for (old, new) in [kept, also].iter().zip(shown["manifests"].as_array().unwrap()) {
        assert_eq!((&new["platform"], &new["annotations"]), (&old["platform"], &old["annotations"]));
        assert_eq!(new["mediaType"], MANIFEST);
    }
}
