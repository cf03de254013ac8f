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
        .func("index", index)
        .parse(template)
        .and_then(|template| template.execute_to_string(&data))
        .map_err(fail)
}

/// What a field of one of Go's structs is where an image says nothing of it.
#[derive(Debug, Clone, Copy)]
enum Zero {
    Text,
    No,
    List,
    Object,
}

use Zero::{List, No, Object, Text};

type Fields = [(&'static str, Zero)];

const EXTENSION: &Fields = &[
    ("BuildClient", Object),
    ("SchemaVersion", Text),
    ("Type", Text),
    ("Applications", List),
    ("Labels", Object),
    ("Env", Object),
    ("Launch", Object),
];
const APPLICATION: &Fields =
    &[("Type", Text), ("Launchfiles", List), ("Version", Text), ("Env", Object), ("Cmds", List)];
const LAUNCH: &Fields = &[("Cmds", List), ("AppNames", List)];
const CONTAINER_IMAGE: &Fields = &[("AppName", Text), ("Platform", Object)];
const PLATFORM: &Fields = &[("Architecture", Text), ("OS", Text), ("Variant", Text)];
const MANIFEST: &Fields =
    &[("MediaType", Text), ("Config", Object), ("Layers", List), ("Annotations", Object)];
const DESCRIPTOR: &Fields = &[("URLs", List), ("Annotations", Object)];
const IMAGE: &Fields = &[
    ("Created", Text),
    ("Author", Text),
    ("Variant", Text),
    ("OSVersion", Text),
    ("OSFeatures", List),
    ("Config", Object),
    ("History", List),
];
const CONFIG: &Fields = &[
    ("User", Text),
    ("ExposedPorts", Object),
    ("Env", List),
    ("Entrypoint", List),
    ("Cmd", List),
    ("Volumes", Object),
    ("WorkingDir", Text),
    ("Labels", Object),
    ("StopSignal", Text),
];
const HISTORY: &Fields =
    &[("Created", Text), ("CreatedBy", Text), ("Author", Text), ("Comment", Text), ("EmptyLayer", No)];

/// Names of an application's fields in sealer's structs, which are the only way to some of them there.
const ALIASES: [(&str, &str); 8] = [
    ("Launchfiles", "LaunchFiles"),
    ("Launchfiles", "Files"),
    ("Launchfiles", "FilesVar"),
    ("Name", "NameVar"),
    ("Type", "TypeVar"),
    ("Version", "VersionVar"),
    ("Env", "AppEnv"),
    ("Cmds", "AppCMDs"),
];

/// As Go does it on its maps of strings: what is not there is empty.
fn index(values: &[gotmpl::Value]) -> gotmpl::Result<gotmpl::Value> {
    let mut found = values.first().cloned().unwrap_or(gotmpl::Value::Nil);
    for key in values.get(1..).unwrap_or_default() {
        found = match found.index(key)? {
            gotmpl::Value::Nil => gotmpl::Value::String("".into()),
            found => found,
        };
    }
    Ok(found)
}

fn data(shown: &Inspection) -> Value {
    let shown = serde_json::to_value(shown).expect("an inspection is JSON");
    let mut data = named(&shown);
    fill(&mut data, EXTENSION);
    fill(&mut data, &[("ContainerImageList", List)]);
    fill(&mut data["Launch"], LAUNCH);
    for app in items(&mut data["Applications"]) {
        fill(app, APPLICATION);
        ALIASES.iter().for_each(|(from, to)| app[*to] = app[*from].clone());
        app.as_object_mut().and_then(|app| app.remove("Launchfiles"));
    }
    for image in items(&mut data["ContainerImageList"]) {
        fill(image, CONTAINER_IMAGE);
        fill(&mut image["Platform"], PLATFORM);
    }
    let manifest = &mut data["ManifestV1"];
    fill(manifest, MANIFEST);
    fill(&mut manifest["Config"], DESCRIPTOR);
    items(&mut manifest["Layers"]).for_each(|layer| fill(layer, DESCRIPTOR));
    let image = &mut data["OCIv1"];
    fill(image, IMAGE);
    fill(&mut image["Config"], CONFIG);
    items(&mut image["History"]).for_each(|step| fill(step, HISTORY));
    let extension: Map<String, Value> =
        EXTENSION.iter().map(|(name, _)| ((*name).to_owned(), data[*name].clone())).collect();
    data["ImageExtension"] = Value::Object(extension);
    data
}

/// Adds the fields that an object lacks.
fn fill(value: &mut Value, fields: &Fields) {
    let Some(object) = value.as_object_mut() else { return };
    for (name, zero) in fields {
        let zero = match zero {
            Text => json!(""),
            No => json!(false),
            List => json!([]),
            Object => json!({}),
        };
        let field = object.entry(*name).or_insert(Value::Null);
        if field.is_null() {
            *field = zero;
        }
    }
}

fn items(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
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
