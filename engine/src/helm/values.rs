//! Values of charts brought together: what is given, what the parent says, what the chart itself has.
//!
//! The rules are Helm's coalescing: the more outward value wins, tables are united, `null` removes a default, and
//! `global` reaches every chart below.

use serde_json::{Map, Value as Json};

use super::RenderError;
use super::chart::Chart;

/// A table of values.
pub(super) type Table = Map<String, Json>;

const GLOBAL: &str = "global";

/// The values of a chart and of all charts below it, for what was given.
///
/// # Errors
/// When a chart below has something else than a table.
pub(super) fn coalesced(chart: &Chart, given: &Table) -> Result<Table, RenderError> {
    let mut values = given.clone();
    coalesce_chart(chart, &mut values)?;
    Ok(values)
}

fn coalesce_chart(chart: &Chart, values: &mut Table) -> Result<(), RenderError> {
    if let Json::Object(defaults) = &chart.values {
        for (key, default) in defaults {
            match values.get_mut(key) {
                None => _ = values.insert(key.clone(), default.clone()),
                Some(Json::Null) => _ = values.remove(key),
                Some(Json::Object(table)) => {
                    if let Json::Object(default) = default {
                        add_missing(table, default);
                    }
                }
                Some(_) => {}
            }
        }
    }
    for below in &chart.charts {
        let globals = values.get(GLOBAL).cloned();
        let table = values.entry(below.name()).or_insert_with(|| Json::Object(Table::new()));
        let Json::Object(table) = table else {
            return Err(RenderError::Values(format!("the values of `{}` are no table", below.name())));
        };
        add_globals(table, globals);
        coalesce_chart(below, table)?;
    }
    Ok(())
}

/// Adds what a table lacks; what is `null` in it removes the default.
pub(super) fn add_missing(table: &mut Table, defaults: &Table) {
    for (key, default) in defaults {
        match (table.get_mut(key), default) {
            (None, _) => _ = table.insert(key.clone(), default.clone()),
            (Some(Json::Null), _) => _ = table.remove(key),
            (Some(Json::Object(table)), Json::Object(default)) => add_missing(table, default),
            (Some(_), _) => {}
        }
    }
}

/// Hands the globals of a parent down: they win over those of the chart.
fn add_globals(values: &mut Table, globals: Option<Json>) {
    let globals = match globals {
        None => Table::new(),
        Some(Json::Object(globals)) => globals,
        Some(_) => return,
    };
    let own = values.entry(GLOBAL).or_insert_with(|| Json::Object(Table::new()));
    let Json::Object(own) = own else { return };
    for (key, global) in globals {
        match (global, own.get(&key)) {
            (Json::Object(mut global), Some(Json::Object(table))) => {
                add_missing(&mut global, table);
                own.insert(key, Json::Object(global));
            }
            (Json::Object(global), None) => _ = own.insert(key, Json::Object(global)),
            (Json::Object(_), Some(_)) | (_, Some(Json::Object(_))) => {}
            (global, _) => _ = own.insert(key, global),
        }
    }
}

/// What stands at a path of dots.
pub(super) fn at_path<'v>(values: &'v Table, path: &str) -> Option<&'v Json> {
    let mut parts = path.split('.');
    let mut found = values.get(parts.next()?)?;
    for part in parts {
        found = found.as_object()?.get(part)?;
    }
    Some(found)
}

/// A table in tables, as deep as a path of dots says; `.` is no path.
pub(super) fn nested(path: &str, table: Table) -> Table {
    if path == "." {
        return table;
    }
    path.rsplit('.').fold(table, |table, key| Table::from_iter([(key.to_owned(), Json::Object(table))]))
}
