//! Charts: a map of files becomes metadata, values, templates, other files, and charts below.
//!
//! Implements what Helm's loader does with a directory or an archive. Names in it are only ever compared and joined to
//! names of templates; nothing is looked up on the host by them.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use serde_json::Value as Json;

use super::ignore::Ignored;
use super::metadata::Metadata;
use super::values::{Table, coalesced};
use super::{ChartError, RenderError};
use crate::decompress::{Bounded, Compression};
use crate::yaml::{from_yaml, from_yaml_as_written};

/// Files of a chart by their path in it.
pub type ChartFiles = BTreeMap<String, Vec<u8>>;

/// Most bytes that a packaged chart unpacks to, the charts packed in it included.
const SIZE_LIMIT: u64 = 64 << 20;
/// Most files of one chart.
const FILE_LIMIT: usize = 50_000;
/// How deep charts may hold charts.
const DEPTH_LIMIT: usize = 16;
/// Most charts in one.
const CHART_LIMIT: usize = 1000;

/// A chart with everything below it.
#[derive(Debug, Clone)]
pub struct Chart {
    pub(super) metadata: Metadata,
    /// `values.yaml`: always a map.
    pub(super) values: Json,
    /// `values.schema.json`
    pub(super) schema: Option<Arc<[u8]>>,
    /// Path in the chart and text.
    pub(super) templates: Vec<(String, Arc<str>)>,
    /// What `.Files` gives.
    pub(super) files: Vec<(String, Arc<[u8]>)>,
    /// Subcharts by name.
    pub(super) charts: Vec<Chart>,
}

impl Chart {
    /// Loads a chart from its files.
    ///
    /// # Errors
    /// When they are no chart, or unreasonably much.
    pub fn load(files: ChartFiles) -> Result<Self, ChartError> {
        let ignored = Ignored::of(files.get(".helmignore").map_or(&[], Vec::as_slice));
        let kept = files.into_iter().filter(|(path, _)| !ignored.matches(path)).collect();
        Self::load_below(kept, 0, &mut Room::new())
    }

    /// Loads a packaged chart (`.tgz`).
    ///
    /// # Errors
    /// When it is no archive of a chart, or unreasonably much.
    pub fn load_archive(bytes: &[u8]) -> Result<Self, ChartError> {
        let mut room = Room::new();
        Self::load_below(unpack(bytes, &mut room)?, 0, &mut room)
    }

    /// The files of a packaged chart, without the directory they are in.
    ///
    /// # Errors
    /// When it is no archive of a chart, or unreasonably much.
    pub fn unpack(bytes: &[u8]) -> Result<ChartFiles, ChartError> {
        unpack(bytes, &mut Room::new())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Its values with those of all charts below it, under values given from outside.
    ///
    /// # Errors
    /// When they do not fit the charts.
    pub(crate) fn values_with(&self, given: &Json) -> Result<Json, RenderError> {
        let none = Table::new();
        Ok(Json::Object(coalesced(self, given.as_object().unwrap_or(&none))?))
    }

    /// Charts that it and the charts below it need and do not have.
    pub(super) fn missing(&self) -> Vec<String> {
        let absent = self.metadata.dependencies.iter().filter(|dependency| !dependency.is_there);
        let own = absent.map(|dependency| format!("{}/charts/{}", self.name(), dependency.key()));
        own.chain(self.charts.iter().flat_map(Self::missing)).collect()
    }

    fn load_below(files: ChartFiles, depth: usize, room: &mut Room) -> Result<Self, ChartError> {
        room.charts = room.charts.checked_sub(1).ok_or(ChartError::TooLarge)?;
        if depth > DEPTH_LIMIT || files.len() > FILE_LIMIT {
            return Err(ChartError::TooLarge);
        }
        let yaml = |name: &str, bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let text = text.trim_start_matches('\u{feff}');
            let read = if name == "values.yaml" { from_yaml(text) } else { from_yaml_as_written(text) };
            read.map_err(|source| ChartError::Yaml { file: name.to_owned(), source })
        };
        let own = files.get("Chart.yaml").ok_or(ChartError::NoChart)?;
        let mut metadata = Metadata::of(&yaml("Chart.yaml", own)?)?;
        let mut values = Json::Object(serde_json::Map::new());
        let (mut schema, mut templates, mut others) = (None, Vec::new(), Vec::new());
        let mut below: BTreeMap<String, ChartFiles> = BTreeMap::new();
        for (path, bytes) in files {
            match path.as_str() {
                "Chart.yaml" | "Chart.lock" => {}
                "values.yaml" => match yaml(&path, &bytes)? {
                    Json::Null => {}
                    map @ Json::Object(_) => values = map,
                    _ => return Err(ChartError::Values),
                },
                "values.schema.json" => schema = Some(bytes.into()),
                "requirements.yaml" => {
                    metadata.add_requirements(&yaml(&path, &bytes)?);
                    if metadata.is_first_version() {
                        others.push((path, bytes.into()));
                    }
                }
                _ if path.starts_with("templates/") => {
                    templates.push((path, String::from_utf8_lossy(&bytes).into()));
                }
                _ => match path.strip_prefix("charts/") {
                    Some(rest) if !path.ends_with(".prov") => {
                        let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
                        below.entry(name.to_owned()).or_default().insert(rest.to_owned(), bytes);
                    }
                    _ => others.push((path, bytes.into())),
                },
            }
        }
        let mut loaded = Vec::new();
        for (name, mut files) in below {
            let chart = match files.remove("") {
                _ if name.starts_with(['_', '.']) => continue,
                Some(bytes) if name.ends_with(".tgz") => unpack(&bytes, room)?,
                Some(_) if files.is_empty() => continue,
                _ => files,
            };
            loaded.push(Self::load_below(chart, depth + 1, room)?);
        }
        for dependency in &mut metadata.dependencies {
            dependency.is_there = loaded.iter().any(|chart: &Self| chart.name() == dependency.name);
        }
        Ok(Self { metadata, values, schema, templates, files: others, charts: loaded })
    }
}

/// How much more there may be of a chart.
struct Room {
    charts: usize,
    bytes: u64,
}

impl Room {
    fn new() -> Self {
        Self { charts: CHART_LIMIT, bytes: SIZE_LIMIT }
    }
}

fn unpack(bytes: &[u8], room: &mut Room) -> Result<ChartFiles, ChartError> {
    let fail = |error: std::io::Error| ChartError::Archive(error.to_string());
    let reader = Compression::of(bytes).reader(bytes).map_err(fail)?;
    let mut archive = tar::Archive::new(Bounded::new(reader, room.bytes));
    let mut files = ChartFiles::new();
    for entry in archive.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).replace('\\', "/");
        let Some((_, path)) = path.trim_start_matches("./").split_once('/') else {
            return Err(ChartError::Archive(format!("`{path}` is outside the chart's directory")));
        };
        let is_wrong = |part: &str| matches!(part, "" | "." | "..");
        if path.split('/').any(is_wrong) {
            return Err(ChartError::Archive(format!("`{path}` is not a path inside the chart")));
        }
        if files.len() >= FILE_LIMIT {
            return Err(ChartError::TooLarge);
        }
        let path = path.to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(fail)?;
        files.insert(path, content);
    }
    Ok(files)
}
