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
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    let place = output.map(|path| files::place("--output", path)).transpose()?;
    let show = |source: &_, graph: &_, planned: &engine::Planned| View::new(source, graph, planned.plan());
    let format = match args.format {
        Some(format) => format,
        None => format_of(output)?,
    };
    let view = build::foreseen(&args.planning, global, reporter, root, show)?;
    let text = match format {
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
fn format_of(path: Option<&Path>) -> Result<GraphFormat, Failure> {
    let Some((path, ending)) = path.and_then(|path| Some((path, path.extension()?))) else {
        return Ok(GraphFormat::Dot);
    };
    match ending.to_str() {
        Some("dot" | "gv") => Ok(GraphFormat::Dot),
        Some("svg") => Ok(GraphFormat::Svg),
        Some("json") => Ok(GraphFormat::Json),
        _ => Err(Failure::usage(format!(
            "the name `{}` does not say how the graph is written",
            path.display()
        ))
        .hint("let it end in .dot, .svg or .json, or say it with `--format`")),
    }
}
