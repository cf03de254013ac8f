//! What was found, and why it counts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::search::Search;
use super::units::Unit;

/// A container image named in a file of the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundImage {
    /// The file, as a path in the image; of a packaged chart, the archive.
    pub path: String,
    /// Line in it, from 1; none in what was rendered, whose lines are nobody's.
    pub line: Option<u64>,
    /// The reference as written.
    pub reference: String,
    /// What made it a find.
    pub by: FoundBy,
    /// The chart that was rendered to find it.
    pub chart: Option<ChartOf>,
    /// The application it belongs to.
    pub application: Option<String>,
}

/// What made a text an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FoundBy {
    /// A field of an object.
    Field {
        /// Kind of the object.
        kind: String,
        /// Path of the field.
        field: String,
    },
    /// Sealer's line rule: what stands before the colon ends in `image`.
    Line,
    /// `manifests/imageList`
    List,
}

/// The chart, and the template in it, that a find is in the output of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChartOf {
    /// `CHART`, or `CHART/charts/NAME` for a chart below it.
    pub chart: String,
    /// `CHART/templates/NAME`
    pub template: String,
    /// Whether Helm would render it with the values that the chart has and is given.
    pub enabled: bool,
}

impl fmt::Display for FoundImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reference)?;
        let mut reasons = Vec::new();
        if let FoundBy::Field { kind, field } = &self.by {
            reasons.push(format!("{field} of {kind}"));
        }
        if let Some(chart) = &self.chart {
            let state = if chart.enabled { "" } else { ", which is not enabled" };
            reasons.push(format!("chart {}{state}", chart.chart));
        }
        if reasons.is_empty() { Ok(()) } else { write!(f, " ({})", reasons.join(", ")) }
    }
}

/// A word, or a line of a list, that stands where an image could, and was passed over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SkippedWord {
    /// The file.
    pub path: String,
    /// Line in it, where it has one.
    pub line: Option<u64>,
    /// The word.
    pub word: String,
}

/// How a chart was searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchedChart {
    /// Its directory or archive, as a path in the image.
    pub path: String,
    /// How its templates were read.
    pub rendering: Rendering,
    /// Charts below that are not enabled and could not be rendered.
    pub notes: Vec<String>,
}

/// Who rendered a chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rendering {
    /// This program.
    Inside,
    /// A `helm` program, because this one could not.
    Helm {
        /// Why not.
        reason: String,
    },
    /// Nobody as a whole: what this program could render counts, and values and templates were read as they are.
    Static {
        /// Why this program could not.
        reason: String,
        /// What `helm` said, if there was one.
        helm: Option<String>,
    },
}

/// Everything the files of a state name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// The finds, by path and line.
    pub images: Vec<FoundImage>,
    /// Words that were passed over.
    pub skipped: Vec<SkippedWord>,
    /// The charts.
    pub charts: Vec<SearchedChart>,
    /// Files that are no YAML, though they are called so: searched by lines alone.
    pub unparsed: Vec<String>,
    /// Symbolic links that lead out of the place they are in, or nowhere.
    pub unfollowed: Vec<String>,
}

/// How many places a warning names.
const NAMED: usize = 5;

impl Discovered {
    /// Adds what is in a place.
    pub(super) fn add(&mut self, unit: &Unit, search: &Search) {
        let place = unit.path();
        let at = |path: &str| if path.is_empty() { place.clone() } else { format!("{place}/{path}") };
        self.images.extend(search.finds.iter().map(|find| FoundImage {
            path: at(&find.path),
            line: (find.line > 0).then_some(find.line),
            reference: find.reference.clone(),
            by: find.by.clone(),
            chart: find.chart.clone(),
            application: unit.application(),
        }));
        self.skipped.extend(search.skipped.iter().map(|(path, line, word)| SkippedWord {
            path: at(path),
            line: (*line > 0).then_some(*line),
            word: word.clone(),
        }));
        self.charts.extend(search.charts.iter().map(|chart| SearchedChart {
            path: at(&chart.path),
            rendering: chart.rendering.clone(),
            notes: chart.notes.clone(),
        }));
        self.unparsed.extend(search.unparsed.iter().map(|path| at(path)));
        self.unfollowed.extend(search.unfollowed.iter().map(|path| at(path)));
    }

    /// Whether an application has a chart.
    pub(crate) fn has_chart(&self, application: &str) -> bool {
        let place = Unit::Application(application.as_bytes().to_vec()).path();
        let is_below = |path: &str| {
            path.strip_prefix(&place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.charts.iter().any(|chart| is_below(&chart.path))
    }

    /// What whoever builds the image should know, each with what to do about it.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let mut warnings: Vec<(String, String)> = self.charts.iter().flat_map(chart_warnings).collect();
        if !self.skipped.is_empty() {
            let words: Vec<String> = self
                .skipped
                .iter()
                .map(|skipped| match skipped.line {
                    Some(line) => format!("{}:{line} (`{}`)", skipped.path, skipped.word),
                    None => format!("{} (`{}`)", skipped.path, skipped.word),
                })
                .collect();
            warnings.push((
                format!("words that cannot be container images were passed over: {}", some(&words)),
                "write a container image as one reference, and give it a tag where its name is such a word"
                    .to_owned(),
            ));
        }
        if !self.unparsed.is_empty() {
            warnings.push((
                format!(
                    "not YAML, and searched for container images by lines alone: {}",
                    some(&self.unparsed)
                ),
                "templates are best called `.tmpl`".to_owned(),
            ));
        }
        if !self.unfollowed.is_empty() {
            warnings.push((
                format!(
                    "symbolic links that lead nowhere in the directory they belong to were not followed: {}",
                    some(&self.unfollowed)
                ),
                "container images that only their targets name are not found: copy what they lead to"
                    .to_owned(),
            ));
        }
        warnings
    }
}

fn chart_warnings(chart: &SearchedChart) -> Vec<(String, String)> {
    let path = &chart.path;
    let mut warnings: Vec<(String, String)> = Vec::new();
    match &chart.rendering {
        Rendering::Inside => {}
        Rendering::Helm { reason } => warnings.push((
            format!("chart `{path}` was rendered by the `helm` on this machine: {reason}"),
            "charts below it that are not enabled were not looked at".to_owned(),
        )),
        Rendering::Static { reason, helm } => {
            let helm = helm.as_ref().map_or_else(String::new, |said| format!("; `helm` said: {said}"));
            warnings.push((
                format!(
                    "chart `{path}` could not be rendered as a whole, its files were also searched as they are: {reason}{helm}"
                ),
                "container images that only its rendered templates name are not found: list them in \
                 `manifests/imageList`"
                    .to_owned(),
            ));
        }
    }
    if !chart.notes.is_empty() {
        warnings.push((
            format!(
                "chart `{path}`: what is not enabled in it could not all be rendered: {}",
                some(&chart.notes)
            ),
            "container images that only those templates name are not found".to_owned(),
        ));
    }
    warnings
}

fn some(all: &[String]) -> String {
    let mut text = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text.push_str(&format!(" and {} more", all.len() - NAMED));
    }
    text
}
