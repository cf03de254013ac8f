//! An image in the shape `inspect` documents (spec §2.4, §9): the extension's fields at the top level.

mod template;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::container::ContainerImage;
use crate::extension::{BuildClient, Extension, StoredLaunch};
use crate::images::StoredImage;
use crate::oci::{CONTAINER_IMAGES, CONTAINER_IMAGES_COMPLETE, EXTENSION};

pub use self::template::{TemplateError, format};

/// Labels that stand for one CNI or CSI plugin each, and the key they are shown under together.
const FOLDED: [(&str, &str); 2] = [
    ("cluster.alpha.sealer.io/kube-cni-", "cluster.alpha.sealer.io/kube-cni"),
    ("cluster.alpha.sealer.io/kube-csi-", "cluster.alpha.sealer.io/kube-csi"),
];

/// What `inspect` prints; fields stand in the documented order.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Config digest without algorithm.
    pub id: String,
    /// Full name, empty for an untagged image.
    pub name: String,
    /// Manifest digest.
    pub digest: String,
    /// The manifest without sealer's annotations.
    pub manifestv1: Ordered,
    /// The config without labels.
    pub ociv1: Ordered,
    /// Who built it.
    pub build_client: BuildClient,
    /// Version of the extension.
    pub schema_version: String,
    /// `kube-installer` or `app-installer`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub image_type: String,
    /// Applications in order.
    pub applications: Vec<ShownApplication>,
    /// What is launched.
    pub launch: StoredLaunch,
    /// ENV.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Config labels, plugins folded.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Container images inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_image_list: Option<Vec<ContainerImage>>,
}

/// An application as documented: its files are `launchfiles`.
#[derive(Debug, Clone, Serialize)]
pub struct ShownApplication {
    /// Name.
    pub name: String,
    /// Type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Launch files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub launchfiles: Vec<String>,
    /// Version.
    pub version: String,
    /// APPENV.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Commands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmds: Vec<String>,
}

/// JSON whose objects have their keys in a given order, at every depth, and others after them; maps are sorted by key.
#[derive(Debug, Clone)]
pub struct Ordered {
    order: &'static [&'static str],
    value: Value,
}

impl Serialize for Ordered {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Part { order: self.order, value: &self.value }.serialize(serializer)
    }
}

struct Part<'a> {
    order: &'static [&'static str],
    value: &'a Value,
}

impl Serialize for Part<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let part = |value| Part { order: self.order, value };
        match self.value {
            Value::Array(items) => serializer.collect_seq(items.iter().map(part)),
            Value::Object(object) => {
                let first = self.order.iter().filter_map(|key| object.get_key_value(*key));
                let rest = object.iter().filter(|(key, _)| !self.order.contains(&key.as_str()));
                let in_order = |(key, value)| {
                    let order: &[&str] = if MAPS.contains(&key) { &[] } else { self.order };
                    (key, Part { order, value })
                };
                serializer.collect_map(first.chain(rest).map(|(key, value)| in_order((key.as_str(), value))))
            }
            other => other.serialize(serializer),
        }
    }
}

/// Keys whose objects have keys of the user's.
const MAPS: [&str; 4] = ["annotations", "ExposedPorts", "Volumes", "Labels"];

/// Of manifests and descriptors (image-spec, as its Go types have them).
const MANIFEST_ORDER: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "digest",
    "size",
    "urls",
    "annotations",
    "data",
    "platform",
    "artifactType",
];

/// Of configs, their `config`, `rootfs` and `history`.
const CONFIG_ORDER: &[&str] = &[
    "created",
    "created_by",
    "author",
    "comment",
    "empty_layer",
    "architecture",
    "variant",
    "os",
    "os.version",
    "os.features",
    "config",
    "rootfs",
    "history",
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "StopSignal",
    "type",
    "diff_ids",
];

/// Shows an image.
pub fn inspect(image: &StoredImage) -> Inspection {
    let mut manifest = serde_json::to_value(&image.manifest).expect("a manifest is JSON");
    if let Some(annotations) = manifest.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(EXTENSION);
        annotations.remove(CONTAINER_IMAGES);
        annotations.remove(CONTAINER_IMAGES_COMPLETE);
    }
    if manifest.get("annotations").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
        manifest.as_object_mut().expect("a manifest is an object").remove("annotations");
    }
    let mut config = image.config.clone();
    if let Some(inner) = config.get_mut("config").and_then(Value::as_object_mut) {
        inner.remove("Labels");
    }
    let list = image.manifest.annotations().as_ref().and_then(|all| all.get(CONTAINER_IMAGES));
    let extension = image.extension.clone().unwrap_or_default();
    Inspection {
        id: image.config_blob.digest.hex(),
        name: image.name.clone().unwrap_or_default(),
        digest: image.digest.to_string(),
        manifestv1: Ordered { order: MANIFEST_ORDER, value: manifest },
        ociv1: Ordered { order: CONFIG_ORDER, value: config },
        applications: applications(&extension),
        build_client: extension.build_client,
        schema_version: extension.schema_version,
        image_type: extension.image_type,
        launch: extension.launch,
        env: extension.env,
        labels: folded(image.labels()),
        container_image_list: list.and_then(|text| serde_json::from_str(text).ok()),
    }
}

fn applications(extension: &Extension) -> Vec<ShownApplication> {
    let shown = |app: solver::Application| ShownApplication {
        name: app.name,
        kind: app.kind,
        launchfiles: app.files,
        version: app.version,
        env: app.env,
        cmds: app.cmds,
    };
    extension.applications().into_iter().map(shown).collect()
}

/// All labels of one kind of plugin become one, whose value is the JSON list of their names.
fn folded(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    let mut plugins: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, value) in labels {
        match FOLDED.iter().find_map(|(prefix, folded)| key.strip_prefix(prefix).map(|name| (*folded, name)))
        {
            Some((folded, name)) => plugins.entry(folded).or_default().push(name.to_owned()),
            None => _ = shown.insert(key, value),
        }
    }
    shown.extend(plugins.into_iter().map(|(key, names)| {
        (key.to_owned(), serde_json::to_string(&names).expect("a list of texts is JSON"))
    }));
    shown
}
