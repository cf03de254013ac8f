//! `sealer graph`: the steps of a build as a picture, and which of them the cache has.

mod dot;
mod json;
mod layout;
mod svg;
mod view;

use std::path::Path;

use self::view::View;
use crate::args::{Global, Graph, GraphFormat};
use crate::commands::build;
use crate::files;
use crate::report::{Failure, Reporter};
use crate::ui;

/// Plans a build and draws it.
pub(crate) fn run(args: &Graph, global: &Global, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let place = args.output.as_deref().map(|path| files::place("--output", path)).transpose()?;
    let show = |source: &_, graph: &_, planned: &engine::Planned| View::new(source, graph, planned.plan());
    let view = build::foreseen(&args.planning, global, reporter, root, show)?;
    let text = match args.format.unwrap_or_else(|| format_of(args.output.as_deref())) {
        GraphFormat::Dot => dot::dot(&view),
        GraphFormat::Svg => svg::svg(&view),
        GraphFormat::Json => json::json(&view),
    };
    match place {
        Some(path) => files::replace(&path, text.as_bytes()).map_err(|error| {
            Failure::usage(format!("`--output {}` is not written: {error}", path.display()))
        }),
        None => {
            ui::data(text.trim_end());
            Ok(())
        }
    }
}

/// What the name of a file says it is.
fn format_of(path: Option<&Path>) -> GraphFormat {
    let extension = path.and_then(Path::extension).and_then(|extension| extension.to_str());
    match extension {
        Some("svg") => GraphFormat::Svg,
        Some("json") => GraphFormat::Json,
        _ => GraphFormat::Dot,
    }
}
