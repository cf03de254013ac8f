//! Which charts below a chart take part: conditions, tags, aliases; and values they hand up (`import-values`).

use serde_json::Value as Json;

use super::RenderError;
use super::chart::Chart;
use super::metadata::{Dependency, Import};
use super::values::{Table, add_missing, at_path, coalesced, nested};
use super::versions::is_compatible;

/// Which dependencies are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Those that Helm would take.
    Enabled,
    /// All of them, whatever conditions and tags say.
    All,
}

/// A chart with the charts below it that take part, under the names they have in it, and their values imported.
///
/// # Errors
/// When the values do not fit the charts.
pub(super) fn resolved(chart: &Chart, given: &Table, taken: Taken) -> Result<Chart, RenderError> {
    let mut chart = chart.clone();
    take(&mut chart, given, "", taken)?;
    import(&mut chart)?;
    Ok(chart)
}

fn take(chart: &mut Chart, values: &Table, path: &str, taken: Taken) -> Result<(), RenderError> {
    let dependencies = chart.metadata.dependencies.clone();
    if dependencies.is_empty() {
        return Ok(());
    }
    // No version fits where none is asked for: such a chart is one that is not listed, with its own name.
    let fits = |dependency: &Dependency, below: &Chart| {
        below.name() == dependency.name && is_compatible(&dependency.version, &below.metadata.version)
    };
    let unlisted = |below: &&Chart| !dependencies.iter().any(|dependency| fits(dependency, below));
    let mut charts: Vec<Chart> = chart.charts.iter().filter(unlisted).cloned().collect();
    for dependency in &dependencies {
        if let Some(below) = chart.charts.iter().find(|below| fits(dependency, below)) {
            let mut below = below.clone();
            below.metadata.name = dependency.key().to_owned();
            charts.push(below);
        }
    }
    chart.charts = charts;
    let values = coalesced(chart, values)?;
    if taken == Taken::Enabled {
        let is_off = |name: &str| {
            dependencies
                .iter()
                .any(|dependency| dependency.key() == name && !is_enabled(dependency, &values, path))
        };
        chart.charts.retain(|below| !is_off(below.name()));
        chart.metadata.dependencies.retain(|dependency| !is_off(dependency.key()));
    }
    for below in &mut chart.charts {
        let path = format!("{path}{}.", below.name());
        take(below, &values, &path, taken)?;
    }
    Ok(())
}

/// Tags decide first, then the first condition that is a boolean.
fn is_enabled(dependency: &Dependency, values: &Table, path: &str) -> bool {
    let tags = values.get("tags").and_then(Json::as_object);
    let tags = dependency.tags.iter().filter_map(|tag| tags?.get(tag)?.as_bool());
    let (on, off): (Vec<bool>, Vec<bool>) = tags.partition(|tag| *tag);
    let by_tags = !on.is_empty() || off.is_empty();
    let conditions = dependency.condition.trim().split(',').filter(|condition| !condition.is_empty());
    let mut decided =
        conditions.filter_map(|condition| at_path(values, &format!("{path}{condition}"))?.as_bool());
    decided.next().unwrap_or(by_tags)
}

/// Values that dependencies hand up, the deepest charts first.
fn import(chart: &mut Chart) -> Result<(), RenderError> {
    for below in &mut chart.charts {
        import(below)?;
    }
    if chart.metadata.dependencies.iter().all(|dependency| dependency.import_values.is_empty()) {
        return Ok(());
    }
    let mut values = coalesced(chart, &Table::new())?;
    let mut exported = Table::new();
    let mut is_own_first = false;
    for dependency in &chart.metadata.dependencies {
        for wanted in &dependency.import_values {
            let Some(Import { child, parent }) = Import::of(wanted) else { continue };
            let path = format!("{}.{child}", dependency.key());
            let Some(Json::Object(table)) = at_path(&values, &path) else { continue };
            let table = nested(parent, table.clone());
            if wanted.is_object() {
                // What the chart has itself stays, and with it whatever else is imported gives way.
                add_missing(&mut values, &table);
                is_own_first = true;
            } else {
                add_missing(&mut exported, &table);
            }
        }
    }
    let (mut first, second) = if is_own_first { (values, exported) } else { (exported, values) };
    add_missing(&mut first, &second);
    chart.values = Json::Object(first);
    Ok(())
}
