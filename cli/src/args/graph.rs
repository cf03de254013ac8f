//! `sealer graph`

use std::path::PathBuf;

use clap::ValueEnum;

use super::Planning;

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// For graphviz.
    Dot,
    /// A drawing, which needs no other program.
    Svg,
    /// One JSON object; `docs/design/observing.md` describes it.
    Json,
}

/// `sealer graph`
#[derive(Debug, clap::Args)]
pub(crate) struct Graph {
    #[command(flatten)]
    pub(crate) planning: Planning,
    /// How the graph is written [default: what the ending of the file's name says; dot without one]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<GraphFormat>,
    /// Write the graph to a file; `-` is standard output, and the default
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
