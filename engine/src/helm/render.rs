//! Runs all templates of a chart and of the charts below it, in Helm's order.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use super::capabilities::Capabilities;
use super::chart::Chart;
use super::dependencies::{Taken, resolved};
use super::fault::{FaultKind, Outcome};
use super::schema;
use super::templates::{Run, Scope, Templates};
use super::value::{Map, Object, Value};
use super::values::{Table, coalesced};
use super::{Document, Release, RenderError, Rendered};

/// Renders a chart: what Helm would, and marked apart, what charts that are not enabled would give.
///
/// Takes up to `session::STACK_SIZE` of stack.
///
/// One template that fails does not keep the others from being rendered: whoever wants Helm's answer asks whether all
/// of them did.
///
/// # Errors
/// When the values do not fit the charts at all.
pub fn render(
    chart: &Chart,
    given: &Json,
    release: &Release,
    capabilities: &Capabilities,
) -> Result<Rendered, RenderError> {
    let given = match given {
        Json::Object(table) => table.clone(),
        Json::Null => Table::new(),
        _ => return Err(RenderError::Values("the given values are no table".to_owned())),
    };
    let enabled = resolved(chart, &given, Taken::Enabled)?;
    let values = coalesced(&enabled, &given)?;
    let mut rendered = Rendered::default();
    let missing = enabled.missing();
    if !missing.is_empty() {
        rendered.failed.push(RenderError::Missing(missing));
    }
    rendered.failed.extend(schema::check(&enabled, &values).err());
    let rendering = Rendering::new(&enabled, &values, release, capabilities);
    let mut templates = Templates::default();
    let mut broken = BTreeSet::new();
    for entry in &rendering.entries {
        if let Err(fault) = templates.parse(&entry.path, &entry.text) {
            rendered.failed.push(fault.into());
            broken.insert(Rc::clone(&entry.path));
        }
    }
    let is_whole = |entry: &&Entry| entry.is_document() && !broken.contains(&entry.path);
    for entry in rendering.entries.iter().filter(is_whole) {
        match rendering.execute(entry, &templates) {
            Ok(text) => rendered.documents.push(entry.document(true, text)),
            Err(fault) => {
                let is_limit = fault.kind == FaultKind::Limit;
                rendered.failed.push(fault.into());
                if is_limit {
                    break;
                }
            }
        }
    }
    let known = rendering.entries.iter().map(|entry| Rc::clone(&entry.path)).collect();
    drop(rendering);
    render_disabled(chart, &given, (release, capabilities), &known, &mut rendered);
    rendered.documents.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(rendered)
}

/// Adds the documents of the charts that are not enabled: those with paths that are not known.
fn render_disabled(
    chart: &Chart,
    given: &Table,
    (release, capabilities): (&Release, &Capabilities),
    known: &BTreeSet<Rc<str>>,
    rendered: &mut Rendered,
) {
    let whole = resolved(chart, given, Taken::All).and_then(|all| Ok((coalesced(&all, given)?, all)));
    let (values, all) = match whole {
        Ok(whole) => whole,
        Err(error) => {
            rendered.notes.push(format!("charts that are not enabled: {error}"));
            return;
        }
    };
    let rendering = Rendering::new(&all, &values, release, capabilities);
    if rendering.entries.len() == known.len() {
        return;
    }
    let mut templates = Templates::default();
    for entry in &rendering.entries {
        if let Err(fault) = templates.parse(&entry.path, &entry.text) {
            rendered.notes.push(RenderError::from(fault).to_string());
        }
    }
    for entry in rendering.entries.iter().filter(|entry| entry.is_document() && !known.contains(&entry.path))
    {
        match rendering.execute(entry, &templates) {
            Ok(text) => rendered.documents.push(entry.document(false, text)),
            Err(fault) => rendered.notes.push(RenderError::from(fault).to_string()),
        }
    }
}

/// A template of one chart.
struct Entry {
    path: Rc<str>,
    text: Arc<str>,
    /// Path of its chart.
    chart: Rc<str>,
    /// What it sees as `.`
    data: Rc<Map>,
}

impl Entry {
    /// Whether its output counts: partials are there to be included.
    fn is_document(&self) -> bool {
        !file_name(&self.path).starts_with('_')
    }

    fn document(&self, enabled: bool, text: String) -> Document {
        Document { path: self.path.to_string(), chart: self.chart.to_string(), enabled, text }
    }
}

/// The templates of a chart and all charts below it.
struct Rendering {
    run: Run,
    /// The deepest paths first, which is the order they are parsed and run in.
    entries: Vec<Entry>,
}

impl Rendering {
    fn new(chart: &Chart, values: &Table, release: &Release, capabilities: &Capabilities) -> Self {
        let pairs = |pairs: Vec<(&str, Value)>| {
            Value::map(pairs.into_iter().map(|(key, value)| (Rc::from(key), value)))
        };
        let release = pairs(vec![
            ("Name", Value::text(release.name.as_str())),
            ("Namespace", Value::text(release.namespace.as_str())),
            ("IsInstall", Value::Bool(true)),
            ("IsUpgrade", Value::Bool(false)),
            ("Revision", Value::Int(1)),
            ("Service", Value::text("Helm")),
        ]);
        let capabilities = pairs(vec![
            ("KubeVersion", Value::object(Object::KubeVersion(capabilities.kube_version.clone()))),
            ("APIVersions", Value::object(Object::ApiVersions(capabilities.api_versions.clone()))),
            ("HelmVersion", pairs(capabilities.helm_version())),
        ]);
        let mut collected = Vec::new();
        let values = Value::from_values(&Json::Object(values.clone()));
        collect(chart, chart.name(), (&values, &release, &capabilities), &mut collected);
        collected.sort_by_cached_key(|entry: &Entry| {
            Reverse((entry.path.matches('/').count(), Rc::clone(&entry.path)))
        });
        Self { run: Run::new(), entries: collected }
    }

    fn execute(&self, entry: &Entry, templates: &Templates) -> Outcome<String> {
        let base = format!("{}/templates", entry.chart);
        let template = [("Name", Value::Text(Rc::clone(&entry.path))), ("BasePath", Value::text(base))];
        let template = template.map(|(key, value)| (Rc::from(key), value));
        entry.data.set("Template", Value::map(template));
        let scope = Scope { own: templates, outer: None };
        let text = scope.execute(&self.run, &entry.path, &Value::Map(Rc::clone(&entry.data)))?;
        // What is missing prints as this, and Helm takes it out.
        Ok(text.replace("<no value>", ""))
    }
}

impl Drop for Rendering {
    fn drop(&mut self) {
        // `.Subcharts` and whatever the templates wrote into it may lead back.
        self.entries.iter().for_each(|entry| entry.data.clear());
    }
}

/// Adds the templates of a chart and of those below it; gives what the chart's templates see as `.`.
fn collect(
    chart: &Chart,
    path: &str,
    above: (&Value, &Value, &Value),
    collected: &mut Vec<Entry>,
) -> Rc<Map> {
    let (values, release, capabilities) = above;
    let files = chart.files.iter().map(|(name, bytes)| (name.clone(), Rc::from(&**bytes))).collect();
    let is_root = !path.contains('/');
    let below = Rc::<Map>::default();
    let data: Rc<Map> = Rc::new(
        [
            ("Chart", chart.metadata.to_value(is_root)),
            ("Files", Value::object(Object::Files(files))),
            ("Release", release.clone()),
            ("Capabilities", capabilities.clone()),
            ("Values", values.clone()),
            ("Subcharts", Value::Map(Rc::clone(&below))),
        ]
        .into_iter()
        .map(|(key, value)| (Rc::from(key), value))
        .collect(),
    );
    for chart in &chart.charts {
        let own = match values {
            Value::Map(values) => values.get(chart.name()).unwrap_or_else(|| Value::map([])),
            _ => Value::map([]),
        };
        let path = format!("{path}/charts/{}", chart.name());
        let seen = collect(chart, &path, (&own, release, capabilities), collected);
        below.set(chart.name(), Value::Map(seen));
    }
    // A library has nothing but partials.
    let is_library = chart.metadata.kind.eq_ignore_ascii_case("library");
    for (name, text) in &chart.templates {
        if !is_library || file_name(name).starts_with('_') {
            collected.push(Entry {
                path: format!("{path}/{name}").into(),
                text: Arc::clone(text),
                chart: path.into(),
                data: Rc::clone(&data),
            });
        }
    }
    data
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
