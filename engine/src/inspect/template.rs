//! `inspect --format`: Go templates over the fields sealer documents (spec §2.4), flat and below `.ImageExtension`.

use gotmpl::{MissingKey, Template};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::Inspection;

/// A template that cannot be used.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// Nothing in it is a template.
    #[error("error invalid format provided: {0}")]
    Format(String),
    /// It does not parse, or names what is not there.
    #[error("template `{template}`: {reason}")]
    Template {
        /// As given.
        template: String,
        /// Why.
        reason: String,
    },
}

/// Keys whose Go field is not their name with a capital letter.
const NAMES: [(&str, &str); 20] = [
    ("id", "ID"),
    ("ociv1", "OCIv1"),
    ("manifestv1", "ManifestV1"),
    ("os", "OS"),
    ("os.version", "OSVersion"),
    ("os.features", "OSFeatures"),
    ("rootfs", "RootFS"),
    ("diff_ids", "DiffIDs"),
    ("created_by", "CreatedBy"),
    ("empty_layer", "EmptyLayer"),
    ("app_names", "AppNames"),
    ("appName", "AppName"),
    ("mediaType", "MediaType"),
    ("schemaVersion", "SchemaVersion"),
    ("buildClient", "BuildClient"),
    ("sealerVersion", "SealerVersion"),
    ("buildahVersion", "BuildahVersion"),
    ("containerImageList", "ContainerImageList"),
    ("artifactType", "ArtifactType"),
    ("urls", "URLs"),
];

/// Keys below which keys are data.
const DATA: [&str; 6] = ["labels", "annotations", "env", "Labels", "ExposedPorts", "Volumes"];

/// Renders a Go template. Fields that an image may lack are there and empty; a field that does not exist is an error.
///
/// # Errors
/// When it is no template, or does not fit.
pub fn format(shown: &Inspection, template: &str) -> Result<String, TemplateError> {
    if !template.find("{{").is_some_and(|start| template[start..].contains("}}")) {
        return Err(TemplateError::Format(template.to_owned()));
    }
    let fail = |error: gotmpl::TemplateError| TemplateError::Template {
        template: template.to_owned(),
        reason: error.to_string(),
    };
    let data = gotmpl::to_value(&data(shown)).map_err(fail)?;
    Template::new("format")
        .missing_key(MissingKey::Error)
        .func("json", |values| {
            let text = values.first().map(|value| to_json(value).to_string()).unwrap_or_default();
            Ok(gotmpl::Value::String(text.into()))
        })
        .parse(template)
        .and_then(|template| template.execute_to_string(&data))
        .map_err(fail)
}

fn data(shown: &Inspection) -> Value {
    let shown = serde_json::to_value(shown).expect("an inspection is JSON");
    let mut data = named(&shown);
    let top = data.as_object_mut().expect("an inspection is an object");
    let empty = [
        ("Type", json!("")),
        ("Env", json!({})),
        ("Labels", json!({})),
        ("Applications", json!([])),
        ("ContainerImageList", json!([])),
    ];
    empty.into_iter().for_each(|(name, value)| _ = top.entry(name).or_insert(value));
    fill(top, "OCIv1", &[("Author", ""), ("Created", ""), ("Variant", ""), ("OSVersion", "")]);
    fill(top, "ManifestV1", &[("MediaType", "")]);
    if let Some(manifest) = top.get_mut("ManifestV1").and_then(Value::as_object_mut) {
        manifest.entry("Annotations").or_insert_with(|| json!({}));
    }
    if let Some(launch) = top.get_mut("Launch").and_then(Value::as_object_mut) {
        launch.entry("Cmds").or_insert_with(|| json!([]));
        launch.entry("AppNames").or_insert_with(|| json!([]));
    }
    for app in top.get_mut("Applications").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(app) = app.as_object_mut() else { continue };
        let files = app.remove("Launchfiles").unwrap_or_else(|| json!([]));
        app.insert("LaunchFiles".to_owned(), files.clone());
        app.insert("Files".to_owned(), files);
        app.entry("Type").or_insert_with(|| json!(""));
        app.entry("Env").or_insert_with(|| json!({}));
        app.entry("Cmds").or_insert_with(|| json!([]));
    }
    let extension = ["BuildClient", "SchemaVersion", "Type", "Applications", "Labels", "Env", "Launch"];
    let extension: Map<String, Value> =
        extension.iter().filter_map(|name| Some(((*name).to_owned(), top.get(*name)?.clone()))).collect();
    top.insert("ImageExtension".to_owned(), Value::Object(extension));
    data
}

fn fill(top: &mut Map<String, Value>, of: &str, texts: &[(&str, &str)]) {
    if let Some(object) = top.get_mut(of).and_then(Value::as_object_mut) {
        texts.iter().for_each(|(name, text)| _ = object.entry(*name).or_insert_with(|| json!(text)));
    }
}

/// The same value with the names Go gives its fields.
fn named(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let entry = |(key, value): (&String, &Value)| {
                let value = if DATA.contains(&key.as_str()) { value.clone() } else { named(value) };
                (go_name(key), value)
            };
            Value::Object(object.iter().map(entry).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(named).collect()),
        other => other.clone(),
    }
}

fn go_name(key: &str) -> String {
    if let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == key) {
        return (*name).to_owned();
    }
    let mut letters = key.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn to_json(value: &gotmpl::Value) -> Value {
    match value {
        gotmpl::Value::Bool(value) => json!(value),
        gotmpl::Value::Int(value) => json!(value),
        gotmpl::Value::Uint(value) => json!(value),
        gotmpl::Value::Float(value) => json!(value),
        gotmpl::Value::String(value) => json!(&**value),
        gotmpl::Value::List(items) => items.iter().map(to_json).collect(),
        gotmpl::Value::Map(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.to_string(), to_json(value))).collect())
        }
        _ => Value::Null,
    }
}
