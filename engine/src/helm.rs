//! Helm charts rendered without Helm: charts loaded from bytes, values brought together, templates run.
//!
//! It knows nothing of images, stores and the host: files go in, texts come out, and the same files give the same
//! texts. Templates are parsed by `gotmpl`; everything they do is here, bounded (`work`), because charts come from
//! anywhere. What it lacks it says ([`RenderError::Lacking`]), so that somebody else can be asked.

mod capabilities;
mod chart;
mod comments;
mod dependencies;
mod eval;
mod fault;
mod files;
mod functions;
mod given;
mod ignore;
mod metadata;
mod objects;
mod print;
mod records;
mod render;
mod schema;
mod set;
mod templates;
mod value;
mod values;
mod versions;
mod work;

use thiserror::Error;

use self::fault::{Fault, FaultKind};
use crate::yaml::YamlError;

pub use self::capabilities::Capabilities;
pub use self::chart::{Chart, ChartFiles};
pub use self::given::{Given, GivenError};
pub use self::render::render;
pub use self::set::SetError;
pub use self::versions::Version;

/// A chart that cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChartError {
    /// There is no `Chart.yaml`.
    #[error("`Chart.yaml` is missing")]
    NoChart,
    /// `Chart.yaml` has no name.
    #[error("`Chart.yaml` has no `name`")]
    NoName,
    /// `values.yaml` is a list or a scalar.
    #[error("`values.yaml` is no mapping")]
    Values,
    /// A file of the chart is no YAML.
    #[error("`{file}`: {source}")]
    Yaml {
        /// Path in the chart.
        file: String,
        /// Why.
        source: YamlError,
    },
    /// A packaged chart is broken.
    #[error("a packaged chart cannot be read: {0}")]
    Archive(String),
    /// More than is reasonable.
    #[error("it has too many files or charts")]
    TooLarge,
}

/// A chart that cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// The chart stops: Helm would stop too.
    #[error("{}{reason}", place(.at))]
    Template {
        /// Template and line.
        at: Option<(String, usize)>,
        /// Why.
        reason: String,
    },
    /// The chart uses something that is not implemented here.
    #[error("{}{what} is not implemented", place(.at))]
    Lacking {
        /// Template and line.
        at: Option<(String, usize)>,
        /// What it uses.
        what: String,
    },
    /// The chart does more than is reasonable.
    #[error("{}{reason}", place(.at))]
    Limit {
        /// Template and line.
        at: Option<(String, usize)>,
        /// What it does too much of.
        reason: String,
    },
    /// Values that do not fit the charts.
    #[error("{0}")]
    Values(String),
    /// Charts that are needed and not there.
    #[error("charts it depends on are missing: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// Values that the chart's schema refuses.
    #[error("the values do not fit the schema: {}", .0.join("; "))]
    Schema(Vec<String>),
}

fn place(at: &Option<(String, usize)>) -> String {
    at.as_ref().map_or_else(String::new, |(template, line)| format!("{template}:{line}: "))
}

impl From<Box<Fault>> for RenderError {
    fn from(fault: Box<Fault>) -> Self {
        let Fault { kind, reason, at } = *fault;
        let at = at.map(|(template, line)| (template.to_string(), line));
        match kind {
            FaultKind::Failed => Self::Template { at, reason },
            FaultKind::Lacking => Self::Lacking { at, what: reason },
            FaultKind::Limit => Self::Limit { at, reason },
        }
    }
}

/// What a chart is rendered as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Name of the release.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// What a chart gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Every template that is no partial, by path.
    pub documents: Vec<Document>,
    /// Why Helm would have stopped, or we had to: each time a template that is missing among the documents.
    pub failed: Vec<RenderError>,
    /// What went wrong in charts that are not enabled.
    pub notes: Vec<String>,
}

/// The output of one template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// `CHART/templates/NAME`, below `charts/` for charts below.
    pub path: String,
    /// The chart it belongs to: `CHART` or `CHART/charts/NAME`.
    pub chart: String,
    /// Whether Helm would render it with these values.
    pub enabled: bool,
    /// The text.
    pub text: String,
}

#[cfg(test)]
mod tests;
