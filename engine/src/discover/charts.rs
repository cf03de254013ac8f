//! Searches one chart: what it renders to, or, where it cannot be rendered, what its files say as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::external;
use super::found::{ChartOf, Rendering};
use super::search::{Search, Searcher};
use super::values::Values;
use crate::helm::{Capabilities, Chart, ChartError, ChartFiles, Release, Rendered, render};
use crate::yaml::to_yaml;

/// A chart that was searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Searched {
    /// Its directory or archive, below the place.
    pub(super) path: String,
    pub(super) rendering: Rendering,
    pub(super) notes: Vec<String>,
}

/// What the chart is rendered as: sealer's name for it. No image has anything to do with it.
fn release() -> Release {
    Release { name: "dryrun".to_owned(), namespace: "default".to_owned() }
}

/// Searches a packaged chart; an archive of anything else is none.
pub(super) fn search_archive(path: &str, bytes: &[u8], searcher: &Searcher<'_>, search: &mut Search) {
    match Chart::load_archive(bytes) {
        // Most archives are no charts.
        Err(ChartError::NoChart | ChartError::Archive(_) | ChartError::TooLarge) => {}
        loaded => {
            search_chart(path, loaded, searcher, search, || Chart::unpack(bytes).unwrap_or_default());
        }
    }
}

/// Searches a chart, or, if it could not be loaded, its files.
pub(super) fn search_chart(
    path: &str,
    loaded: Result<Chart, ChartError>,
    searcher: &Searcher<'_>,
    search: &mut Search,
    files: impl FnOnce() -> ChartFiles,
) {
    let given = searcher.values.map_or(Json::Null, Values::together);
    let rendered = loaded.as_ref().map_err(ToString::to_string).and_then(|chart| {
        let rendered = render(chart, &given, &release(), &Capabilities::default());
        rendered.map_err(|error| error.to_string())
    });
    let (reason, rendered) = match rendered {
        Ok(rendered) => (rendered.failed.first().map(ToString::to_string), rendered),
        Err(reason) => (Some(reason), Rendered::default()),
    };
    let rendering = match reason {
        None => {
            search_rendered(path, &rendered, search);
            Rendering::Inside
        }
        Some(reason) => {
            let files = files();
            let asked = searcher.helm.map(|helm| external::template(helm, &files, &release(), searcher));
            match asked {
                Some(Ok(text)) => {
                    search_output(path, &text, search);
                    Rendering::Helm { reason }
                }
                failed => {
                    search_rendered(path, &rendered, search);
                    search_files(path, &files, search);
                    if searcher.values.is_some() {
                        // Given values name images in parts too, and the other parts may be the chart's own.
                        let all = loaded.ok().and_then(|chart| chart.values_with(&given).ok());
                        search.made(path, &to_yaml(&all.unwrap_or(given)));
                    }
                    Rendering::Static { reason, helm: failed.and_then(Result::err) }
                }
            }
        }
    };
    search.charts.push(Searched { path: path.to_owned(), rendering, notes: rendered.notes });
}

fn search_rendered(path: &str, rendered: &Rendered, search: &mut Search) {
    for document in &rendered.documents {
        let (chart, template) = (document.chart.clone(), document.path.clone());
        search_document(path, ChartOf { chart, template, enabled: document.enabled }, &document.text, search);
    }
}

fn search_document(path: &str, chart: ChartOf, text: &str, search: &mut Search) {
    let is_yaml = [".yaml", ".yml", ".tpl", ".json"].iter().any(|ending| chart.template.ends_with(ending));
    // What is rendered to something else than YAML is searched by lines, as all of it is by sealer.
    search.text(path, text, is_yaml, Some(&chart));
}

/// What `helm template` prints: documents, each with a comment that names its template.
fn search_output(path: &str, text: &str, search: &mut Search) {
    let mut templates: BTreeMap<&str, String> = BTreeMap::new();
    for part in text.split("\n---\n").map(|part| part.strip_prefix("---\n").unwrap_or(part)) {
        let (template, body) = match part.strip_prefix("# Source: ").and_then(|rest| rest.split_once('\n')) {
            Some(parts) => parts,
            None => ("", part),
        };
        templates.entry(template).or_default().push_str(&format!("---\n{body}\n"));
    }
    for (template, text) in templates {
        let chart = template.split_once("/templates/").map_or(template, |(chart, _)| chart).to_owned();
        let chart = ChartOf { chart, template: template.to_owned(), enabled: true };
        search.text(path, &text, true, Some(&chart));
    }
}

/// The files of a chart as they are: fields of the values, and lines of everything that a template or values may be.
fn search_files(path: &str, files: &ChartFiles, search: &mut Search) {
    for (name, bytes) in files {
        let is_values = name == "values.yaml" || name.ends_with("/values.yaml");
        let is_template = name.starts_with("templates/") || name.contains("/templates/");
        if is_values || is_template {
            let at = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let text = String::from_utf8_lossy(bytes);
            // Values name images in parts; their lines would give the parts for images.
            if !is_values || !search.fields(&at, &text) {
                search.text(&at, &text, false, None);
            }
        }
    }
}
