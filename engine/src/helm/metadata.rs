//! `Chart.yaml`.

use std::borrow::Cow;
use std::rc::Rc;

use serde_json::Value as Json;

use super::ChartError;
use super::records::{Field, Record};
use super::value::{Object, Value};
use crate::yaml::short_float_text;

/// What a chart says about itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) kind: String,
    api_version: String,
    pub(super) dependencies: Vec<Dependency>,
    /// The whole file, for what only templates ask.
    all: Json,
}

/// Which values a chart wants of one below it.
#[derive(Debug)]
pub(super) struct Import<'j> {
    /// Path below the dependency.
    pub(super) child: Cow<'j, str>,
    /// Path in the chart; `.` is no path.
    pub(super) parent: &'j str,
}

impl<'j> Import<'j> {
    /// `NAME`, which is short for what stands below `exports`, or `child` and `parent`.
    pub(super) fn of(json: &'j Json) -> Option<Self> {
        match json {
            Json::String(name) => Some(Self { child: format!("exports.{name}").into(), parent: "." }),
            other => Some(Self { child: other["child"].as_str()?.into(), parent: other["parent"].as_str()? }),
        }
    }
}

/// A chart that this one needs.
#[derive(Debug, Clone)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) alias: String,
    /// Paths of values, separated by commas: the first one that is a boolean decides.
    pub(super) condition: String,
    pub(super) tags: Vec<String>,
    pub(super) import_values: Vec<Json>,
    repository: String,
    /// Whether a chart of its name is there. Its version may be another: Helm takes no such chart for the dependency,
    /// and does not miss it either.
    pub(super) is_there: bool,
}

impl Dependency {
    fn of(json: &Json) -> Self {
        let texts = |key: &str| json[key].as_array().into_iter().flatten();
        Self {
            name: text(&json["name"]),
            version: text(&json["version"]),
            alias: text(&json["alias"]),
            condition: text(&json["condition"]),
            tags: texts("tags").map(text).collect(),
            import_values: texts("import-values").cloned().collect(),
            repository: text(&json["repository"]),
            is_there: false,
        }
    }

    /// An item of `.Chart.Dependencies`.
    fn to_value(&self) -> Value {
        let imports = self.import_values.iter().filter_map(Import::of).map(|import| {
            let pairs = [("child", &*import.child), ("parent", import.parent)];
            Value::map(pairs.map(|(key, path)| (Rc::from(key), Value::text(path))))
        });
        let string = |name, json, text: &str| Field::of(name, json, Value::text(text));
        let tags = self.tags.iter().map(|tag| Value::text(tag.as_str()));
        Value::object(Object::Record(Record::new(
            "*chart.Dependency",
            vec![
                string("Name", "name", self.key()),
                string("Version", "version", &self.version),
                string("Repository", "repository", &self.repository).kept(),
                string("Condition", "condition", &self.condition),
                Field::of("Tags", "tags", Value::list_or_nil(tags.collect())),
                Field::of("Enabled", "enabled", Value::Bool(true)),
                Field::of("ImportValues", "import-values", Value::list_or_nil(imports.collect())),
                string("Alias", "alias", &self.alias),
            ],
        )))
    }

    /// What it is called in the values.
    pub(super) fn key(&self) -> &str {
        if self.alias.is_empty() { &self.name } else { &self.alias }
    }
}

impl Metadata {
    /// Reads the file.
    ///
    /// # Errors
    /// When there is no name in it.
    pub(super) fn of(json: &Json) -> Result<Self, ChartError> {
        let name = text(&json["name"]);
        if name.is_empty() {
            return Err(ChartError::NoName);
        }
        let dependencies =
            json["dependencies"].as_array().into_iter().flatten().map(Dependency::of).collect();
        let api_version = match text(&json["apiVersion"]) {
            version if version.is_empty() => "v1".to_owned(),
            version => version,
        };
        let (version, kind) = (text(&json["version"]), text(&json["type"]));
        Ok(Self { name, version, kind, api_version, dependencies, all: json.clone() })
    }

    /// Whether dependencies stand in a file of their own, which is one of the chart's files then.
    pub(super) fn is_first_version(&self) -> bool {
        self.api_version == "v1"
    }

    /// Takes the dependencies of `requirements.yaml`, if it has some.
    pub(super) fn add_requirements(&mut self, json: &Json) {
        if let Some(dependencies) = json["dependencies"].as_array() {
            self.dependencies = dependencies.iter().map(Dependency::of).collect();
        }
    }

    /// `.Chart`
    pub(super) fn to_value(&self, is_root: bool) -> Value {
        let string = |key: &str| Value::text(text(&self.all[key]));
        let texts = |key: &str| {
            let texts = self.all[key].as_array().into_iter().flatten();
            Value::list_or_nil(texts.map(|json| Value::text(text(json))).collect())
        };
        let maintainers = self.all["maintainers"].as_array().into_iter().flatten().map(maintainer);
        let dependencies = self.dependencies.iter().map(Dependency::to_value);
        let annotations = self.all["annotations"].as_object().into_iter().flatten();
        let annotations = annotations.map(|(key, value)| (Rc::from(key.as_str()), text(value).into()));
        let own = Record::new(
            "chart.Metadata",
            vec![
                Field::of("Name", "name", Value::text(self.name.as_str())),
                Field::of("Home", "home", string("home")),
                Field::of("Sources", "sources", texts("sources")),
                Field::of("Version", "version", Value::text(self.version.as_str())),
                Field::of("Description", "description", string("description")),
                Field::of("Keywords", "keywords", texts("keywords")),
                Field::of("Maintainers", "maintainers", Value::list_or_nil(maintainers.collect())),
                Field::of("Icon", "icon", string("icon")),
                Field::of("APIVersion", "apiVersion", Value::text(self.api_version.as_str())),
                Field::of("Condition", "condition", string("condition")),
                Field::of("Tags", "tags", string("tags")),
                Field::of("AppVersion", "appVersion", string("appVersion")),
                Field::of(
                    "Deprecated",
                    "deprecated",
                    Value::Bool(self.all["deprecated"].as_bool().unwrap_or(false)),
                ),
                Field::of("Annotations", "annotations", Value::map_of_texts(annotations)),
                Field::of("KubeVersion", "kubeVersion", string("kubeVersion")),
                Field::of("Dependencies", "dependencies", Value::list_or_nil(dependencies.collect())),
                Field::of("Type", "type", Value::text(self.kind.as_str())),
            ],
        );
        Value::object(Object::Record(Record::new(
            "struct { chart.Metadata; IsRoot bool }",
            vec![
                Field::embedded("Metadata", own),
                Field::of("IsRoot", "IsRoot", Value::Bool(is_root)).kept(),
            ],
        )))
    }
}

fn maintainer(json: &Json) -> Value {
    let part = |name, key: &'static str| Field::of(name, key, Value::text(text(&json[key])));
    let parts = vec![part("Name", "name"), part("Email", "email"), part("URL", "url")];
    Value::object(Object::Record(Record::new("*chart.Maintainer", parts)))
}

/// A field that is text in Go, whatever it looks like in YAML.
fn text(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        // Whole numbers as they are, others with the digits of a 32-bit float.
        Json::Number(number) if !number.is_f64() => number.to_string(),
        Json::Number(number) => short_float_text(number.as_f64().unwrap_or_default()),
        Json::Bool(value) => value.to_string(),
        Json::Null | Json::Array(_) | Json::Object(_) => String::new(),
    }
}
