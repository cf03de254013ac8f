//! Config and manifest of an image, as a pure function of its layers and what its text says (spec §2, §9).

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use oci_spec::image::{ImageManifestBuilder, MediaType as OciMediaType};
use serde::Serialize;
use serde_json::{Value, json};
use solver::{AppFacts, AppSpec, Application, ImageSpec, Layer, VertexDigest};

use crate::container::{Carried, annotate};
use crate::error::{BuildError, UntypedApp};
use crate::extension::{BuildClient, Extension, SCHEMA_VERSION, go_json};
use crate::images::StoredImage;
use crate::oci::{
    self, BASE_DIGEST, BASE_NAME, CONTAINER_IMAGES_COMPLETE, EXTENSION, INLINE_CACHE, STEP_COMMENT,
};

/// Version of every application entry (spec §2.2).
const APP_VERSION: &str = "v1";

/// What the image is made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// What the text says.
    pub spec: &'a ImageSpec,
    /// The base; `None` for scratch.
    pub base: Option<&'a StoredImage>,
    /// Layers this build adds, oldest first.
    pub layers: &'a [Layer],
    /// For each step of the history that makes a layer, in order: whether the layer is its own, or one it shares with
    /// an earlier step.
    pub own_layer: &'a [bool],
    /// Container images it carries.
    pub carried: &'a Carried,
    /// Facts of the applications by vertex.
    pub facts: &'a HashMap<VertexDigest, AppFacts>,
    /// `kube-installer` or `app-installer`.
    pub image_type: &'a str,
    /// `--annotation`.
    pub annotations: &'a BTreeMap<String, String>,
    /// The cache in the image, if it is to have one.
    pub inline_cache: Option<&'a str>,
    /// `created`, in seconds since 1970.
    pub created: i64,
    /// This program's version.
    pub sealer_version: &'a str,
}

/// An image as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// The config's bytes.
    pub config: Vec<u8>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
}

/// Puts config and manifest together.
///
/// # Errors
/// [`BuildError::UntypedApps`] for applications nobody knows how to launch.
pub(crate) fn assemble(parts: &Parts<'_>) -> Result<Assembled, BuildError> {
    let config = config(parts);
    let blob = oci::described(&config);
    let base_layers = parts.base.map(|base| base.layers.as_slice()).unwrap_or_default();
    let layers = base_layers.iter().chain(parts.layers).chain(&parts.carried.layers);
    let layers: Vec<_> =
        layers.map(|layer| oci::descriptor(oci::layer_media_type(layer.media_type), &layer.blob)).collect();
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(OciMediaType::ImageManifest)
        .config(oci::descriptor(OciMediaType::ImageConfig, &blob))
        .layers(layers)
        .annotations(annotations(parts)?)
        .build()
        .expect("all required fields are set");
    Ok(Assembled { config, manifest: oci::canonical(&manifest) })
}

/// The config's bytes.
fn config(parts: &Parts<'_>) -> Vec<u8> {
    let spec = parts.spec;
    let created = rfc3339(parts.created);
    let mut config = parts.base.map_or_else(|| json!({}), |base| base.config.clone());
    config["created"] = json!(created);
    config["architecture"] = json!(spec.platform.architecture);
    config["os"] = json!(spec.platform.os);
    if let Some(variant) = &spec.platform.variant {
        config["variant"] = json!(variant);
    }
    if let Some(author) = &spec.author {
        config["author"] = json!(author);
    }
    if !config["config"].is_object() {
        config["config"] = json!({});
    }
    config["config"]["Env"] = spec.env.iter().map(|(key, value)| json!(format!("{key}={value}"))).collect();
    if !spec.labels.is_empty() {
        config["config"]["Labels"] = json!(spec.labels);
    }
    let base_layers = parts.base.map(|base| base.layers.as_slice()).unwrap_or_default();
    let diff_ids: Vec<String> = base_layers
        .iter()
        .chain(parts.layers)
        .chain(&parts.carried.layers)
        .map(|layer| layer.diff_id.to_string())
        .collect();
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    let mut own_layer = parts.own_layer.iter();
    let before = config["history"].as_array().into_iter().flatten().cloned().map(Entry::Base);
    let steps = spec.history.iter().map(|step| {
        let makes_layer = step.vertex.is_some() && own_layer.next().copied().unwrap_or(false);
        let (created_by, empty_layer) = (&step.text, !makes_layer);
        Entry::Step(Step { comment: STEP_COMMENT, created: &created, created_by, empty_layer })
    });
    let carried = parts.carried.history.iter().map(|(text, makes_layer)| {
        let empty_layer = !makes_layer;
        Entry::Step(Step { comment: STEP_COMMENT, created: &created, created_by: text, empty_layer })
    });
    let history = before.chain(steps).chain(carried).collect();
    let Some(fields) = config.as_object() else { unreachable!("a config was made an object above") };
    let mut fields: BTreeMap<&str, Field<'_>> =
        fields.iter().map(|(key, value)| (key.as_str(), Field::Value(value))).collect();
    fields.insert("history", Field::History(history));
    serde_json::to_vec(&fields).expect("plain data is JSON")
}

/// A field of a config. The history can be most of it, and is written without being made a value first.
#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Value(&'a Value),
    History(Vec<Entry<'a>>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Base(Value),
    Step(Step<'a>),
}

/// A step of this build; its fields are sorted, as all of the config's.
#[derive(Serialize)]
struct Step<'a> {
    comment: &'static str,
    created: &'a str,
    created_by: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

fn annotations(parts: &Parts<'_>) -> Result<HashMap<String, String>, BuildError> {
    let mut annotations = HashMap::new();
    if let Some(base) = parts.base {
        annotations.extend(base.manifest.annotations().clone().unwrap_or_default());
        annotations.remove(INLINE_CACHE);
        annotations.insert(BASE_NAME.to_owned(), parts.spec.base.reference.clone());
        annotations.insert(BASE_DIGEST.to_owned(), base.digest.to_string());
    }
    match &parts.carried.list {
        Some(list) => annotate(list.clone(), true, &mut annotations),
        // One that was not searched lists what its base does, which may not be all.
        None => _ = annotations.remove(CONTAINER_IMAGES_COMPLETE),
    }
    annotations.extend(parts.annotations.clone());
    annotations.extend(parts.inline_cache.map(|cache| (INLINE_CACHE.to_owned(), cache.to_owned())));
    annotations.insert(EXTENSION.to_owned(), go_json(&extension(parts)?));
    Ok(annotations)
}

fn extension(parts: &Parts<'_>) -> Result<Extension, BuildError> {
    let (mut applications, mut untyped) = (Vec::new(), Vec::new());
    for app in &parts.spec.apps {
        match application(app, parts.facts) {
            Ok(application) => applications.push(application),
            Err(app) => untyped.push(app),
        }
    }
    if !untyped.is_empty() {
        return Err(BuildError::UntypedApps(untyped));
    }
    Ok(Extension {
        build_client: BuildClient {
            sealer_version: parts.sealer_version.to_owned(),
            buildah_version: String::new(),
        },
        schema_version: SCHEMA_VERSION.to_owned(),
        image_type: parts.image_type.to_owned(),
        applications: applications.iter().map(Into::into).collect(),
        labels: BTreeMap::new(),
        env: parts.spec.extension_env.clone(),
        launch: (&parts.spec.launch).into(),
    })
}

/// An application as it is stored. One without type needs commands, its own or those of a packaged chart.
fn application(app: &AppSpec, facts: &HashMap<VertexDigest, AppFacts>) -> Result<Application, UntypedApp> {
    let (name, vertex, env, cmds, single_source, span) = match app {
        AppSpec::Inherited(application) => return Ok(application.clone()),
        AppSpec::Declared { name, vertex, env, cmds, single_source, span, .. } => {
            (name, vertex, env, cmds, *single_source, *span)
        }
    };
    let facts = vertex.and_then(|vertex| facts.get(&vertex).cloned()).unwrap_or_default();
    let mut application = Application {
        name: name.clone(),
        kind: facts.kind.map(|kind| kind.as_str().to_owned()),
        files: facts.files,
        version: APP_VERSION.to_owned(),
        env: env.clone(),
        cmds: cmds.clone().unwrap_or_default(),
    };
    if application.kind.is_none() && cmds.is_none() {
        match facts.packaged_chart.filter(|_| single_source) {
            Some(file) => {
                application.kind = Some(solver::AppKind::Helm.as_str().to_owned());
                application.cmds = vec![format!("helm install {name} {file}")];
            }
            None => {
                return Err(UntypedApp { name: name.clone(), span, several_sources: !single_source });
            }
        }
    }
    Ok(application)
}

/// The last second since 1970 that RFC 3339 has a text for: the end of 9999.
pub const LAST_SECOND: i64 = 253_402_300_799;

/// Seconds since 1970 as RFC 3339; what is before 1970 is 1970, and what is after 9999 its end.
pub fn rfc3339(seconds: i64) -> String {
    let seconds = seconds.clamp(0, LAST_SECOND).cast_unsigned();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}
