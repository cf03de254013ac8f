//! Layouts as other tools make them, and what else than images stands in them.

use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::space::Space;

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
