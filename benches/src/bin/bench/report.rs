//! The tables, as Markdown for people and as JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bars::{Bar, State};
use crate::floors::Floors;
use crate::results::{Case, Cell, Column, Measured};
use crate::tools::Leaves;

/// Everything as Markdown.
pub(crate) fn markdown(machine: &str, all: &[Measured], bars: &[Bar]) -> String {
    let mut text = format!("# Figures\n\n{machine}\n");
    for measured in all {
        workload(&mut text, measured);
    }
    text.push_str("\n## Bars\n\n");
    text + &bar_table(bars)
}

/// The bars alone.
pub(crate) fn bar_table(bars: &[Bar]) -> String {
    let mut text =
        String::from("| workload | bar | measured | allowed | ratio | |\n|---|---|---|---|---|---|\n");
    for bar in bars {
        let (measured, allowed, ratio) = match bar.state.figures() {
            Some(figures) => {
                (figures.measured.clone(), figures.allowed.clone(), format!("{:.2}", figures.ratio))
            }
            None => Default::default(),
        };
        let state = match &bar.state {
            State::Met(_) => "met".to_owned(),
            State::Missed(_) => "NOT met".to_owned(),
            State::NotChecked(why) => format!("not checked: {why}"),
        };
        row(&mut text, &[&bar.workload, &bar.what, &measured, &allowed, &ratio, &state]);
    }
    text
}

fn workload(text: &mut String, measured: &Measured) {
    let _ = write!(text, "\n## {}\n\n", measured.title);
    let header = [
        "case",
        "tool",
        "median s",
        "spread s",
        "rounds",
        "CPU s",
        "peak MB",
        "times ours",
        "leaves",
        "image MB",
        "disk MB",
        "result",
    ];
    row(text, &header);
    row(text, &header.map(|_| "---"));
    for case in Case::ALL {
        let ours = measured.ours().and_then(|ours| ours.median(case));
        for column in &measured.columns {
            if let Some(cell) = column.cells.get(&case) {
                cell_row(text, case, column, cell, ours);
            }
        }
    }
    for column in &measured.columns {
        for (case, (requests, bytes)) in &column.traffic {
            let kib = bytes.div_ceil(1024);
            let _ = write!(
                text,
                "\n{}, {}: {requests} requests, {kib} KiB of answers.\n",
                column.tool,
                case.name()
            );
        }
    }
    let floor = |of: &dyn Fn(&Floors) -> Duration| measured.floor(of).map_or("-".into(), ms);
    let bytes = measured.floors.first().map_or(0, |floors| floors.bytes);
    let _ = write!(
        text,
        "\nThe same {} MB in {} files cost, one thread each: ",
        bytes / 1_000_000,
        measured.files
    );
    let _ = writeln!(
        text,
        "stat walk {}, cp {}, SHA-256 {}, zstd -3 {}, gzip -6 {}, SHA-256 of the result {}, dd conv=fsync of it {}. \
         Both SHA-256 and zstd on all processors at once: {}.",
        floor(&|floors| floors.walk),
        floor(&|floors| floors.copy),
        floor(&|floors| floors.hash),
        floor(&|floors| floors.zstd),
        floor(&|floors| floors.gzip),
        floor(&|floors| floors.hash_packed),
        floor(&|floors| floors.sync),
        floor(&|floors| floors.at_once),
    );
}

fn cell_row(text: &mut String, case: Case, column: &Column, cell: &Cell, ours: Option<Duration>) {
    let median = cell.median();
    let failure = cell.failure.as_deref().map(|why| format!("failed: {}", shortened(why)));
    let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
    let ratio =
        median.zip(ours).map(|(time, ours)| format!("{:.1}", time.as_secs_f64() / ours.as_secs_f64()));
    let megabytes = |bytes: Option<u64>| match (case, bytes) {
        (Case::Cold, Some(bytes)) => format!("{:.1}", bytes as f64 / 1e6),
        _ => String::new(),
    };
    let result = match (case, &column.difference) {
        (Case::Launch, Some(None)) => "the same".to_owned(),
        (Case::Launch, Some(Some(found))) => format!("DIFFERS: {}", shortened(found)),
        _ => failure.unwrap_or_default(),
    };
    row(
        text,
        &[
            case.name(),
            &column.tool,
            &median.map(seconds).unwrap_or_default(),
            &if cell.samples.is_empty() { String::new() } else { seconds(cell.spread()) },
            &cell.samples.len().to_string(),
            &if cell.samples.is_empty() { String::new() } else { format!("{:.2}", cell.cpu().as_secs_f64()) },
            &if cell.samples.is_empty() { String::new() } else { (cell.peak_kib() >> 10).to_string() },
            &ratio.unwrap_or_default(),
            leaves(column.leaves),
            &megabytes(column.image_bytes),
            &megabytes(column.disk_bytes),
            &result,
        ],
    );
}

fn leaves(leaves: Leaves) -> &'static str {
    match leaves {
        Leaves::Image => "image",
        Leaves::Snapshots => "snapshots",
    }
}

/// What fits into a cell of a table.
fn shortened(text: &str) -> String {
    text.chars().take(120).map(|c| if c == '|' || c == '\n' { ' ' } else { c }).collect()
}

fn row(text: &mut String, cells: &[&str]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// A time in the unit that suits it.
pub(crate) fn ms(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

/// Everything as JSON: seconds, bytes, and every single sample.
pub(crate) fn json(machine: &str, all: &[Measured], bars: &[Bar]) -> Value {
    json!({
        "version": 1,
        "machine": machine,
        "workloads": all.iter().map(workload_json).collect::<Vec<_>>(),
        "bars": bars.iter().map(bar_json).collect::<Vec<_>>(),
    })
}

fn workload_json(measured: &Measured) -> Value {
    let floors = |floors: &Floors| {
        json!({
            "walk_s": floors.walk.as_secs_f64(),
            "cp_s": floors.copy.as_secs_f64(),
            "sha256_s": floors.hash.as_secs_f64(),
            "zstd_s": floors.zstd.as_secs_f64(),
            "sha256_packed_s": floors.hash_packed.as_secs_f64(),
            "packed_at_once_s": floors.at_once.as_secs_f64(),
            "gzip_s": floors.gzip.as_secs_f64(),
            "dd_fsync_s": floors.sync.as_secs_f64(),
            "bytes": floors.bytes,
            "zstd_bytes": floors.zstd_bytes,
            "gzip_bytes": floors.gzip_bytes,
        })
    };
    json!({
        "name": measured.name,
        "title": measured.title,
        "files": measured.files,
        "sources": measured.sources,
        "floors": measured.floors.iter().map(floors).collect::<Vec<_>>(),
        "tools": measured.columns.iter().map(column_json).collect::<Vec<_>>(),
    })
}

fn column_json(column: &Column) -> Value {
    let cell = |(case, cell): (&Case, &Cell)| {
        let samples = cell.samples.iter().map(|sample| {
            json!({"wall_s": sample.wall.as_secs_f64(), "cpu_s": sample.cpu.as_secs_f64(), "peak_kib": sample.peak_kib})
        });
        json!({"case": case.name(), "samples": samples.collect::<Vec<_>>(), "failure": cell.failure})
    };
    json!({
        "tool": column.tool,
        "leaves": leaves(column.leaves),
        "image_bytes": column.image_bytes,
        "disk_bytes": column.disk_bytes,
        "is_same": column.difference.as_ref().map(Option::is_none),
        "cases": column.cells.iter().map(cell).collect::<Vec<_>>(),
    })
}

fn bar_json(bar: &Bar) -> Value {
    let figures = bar.state.figures();
    let (state, why) = match &bar.state {
        State::Met(_) => ("met", None),
        State::Missed(_) => ("not met", None),
        State::NotChecked(why) => ("not checked", Some(why)),
    };
    json!({"workload": bar.workload, "what": bar.what, "state": state, "why": why, "ratio": figures.map(|found| found.ratio)})
}
