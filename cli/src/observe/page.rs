//! The page of `--timings`: one file that needs nothing else and asks nobody for anything.
//!
//! What it shows comes from Kubefiles, which may be anybody's: every text is escaped at the one place where it is written,
//! and a policy in the page lets nothing run but the page's own script.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use solver::{Activity, Lane, StepOutcome};

use super::chart::{Chart, Step, took};
use super::plot::plot;
use crate::progress::bytes;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// SHA-256 of the two, for the policy; a test says what they are.
const STYLE_HASH: &str = "3vppPARHVVPKPh9b/RQfZkCqkczmoSchliYH5IlLbm4=";
const SCRIPT_HASH: &str = "J60aBxEkM1EmoLxHhrZl8PoY+PVlW6El40Ms6liNWUA=";

/// A text in HTML or XML, in content or in quotes. What XML has no place for is shown as such.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;"),
                '<' => f.write_str("&lt;"),
                '>' => f.write_str("&gt;"),
                '"' => f.write_str("&quot;"),
                '\'' => f.write_str("&#39;"),
                '\n' => f.write_char('\n'),
                letter if letter.is_control() => f.write_char(' '),
                '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}'),
                letter => f.write_char(letter),
            }?;
        }
        Ok(())
    }
}

/// What an activity is called.
pub(super) fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Open => "open the store",
        Activity::Read => "read the Kubefile",
        Activity::Understand => "understand it",
        Activity::Bases => "resolve base images",
        Activity::Graph => "make the graph",
        Activity::Pin => "pin sources",
        Activity::Plan => "plan",
        Activity::Run => "run steps",
        Activity::Layers => "assemble layers",
        Activity::ContainerImages => "container images",
        Activity::Search => "look for container images",
        Activity::Resolve => "resolve container images",
        Activity::Image => "write the image",
        Activity::Commit => "commit to the disk",
        Activity::Outputs => "write outputs",
        Activity::Push => "push",
        Activity::Caches => "write caches",
        Activity::Maintain => "tidy the store",
    }
}

/// What a lane is called.
pub(crate) fn lane(lane: Lane) -> &'static str {
    match lane {
        Lane::Cpu => "cpu",
        Lane::Net => "net",
    }
}

/// What an outcome is called.
pub(super) fn outcome(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Cached => "cached",
        StepOutcome::Done => "done",
        StepOutcome::Failed => "failed",
        StepOutcome::Skipped => "skipped",
    }
}

/// `3.4 ms`, `1.25 s`, `3 min 04 s`
pub(super) fn seconds(time: Duration) -> String {
    let (whole, exact) = (time.as_secs(), time.as_secs_f64());
    if time.is_zero() || (0.1..1.0).contains(&exact) {
        format!("{:.0} ms", exact * 1000.0)
    } else if exact < 0.1 {
        format!("{:.1} ms", exact * 1000.0)
    } else if whole < 100 {
        format!("{exact:.2} s")
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

/// The page.
pub(super) fn page(chart: &Chart) -> String {
    let title = Escaped(&chart.title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; script-src 'sha256-{SCRIPT_HASH}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Timings of {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Timings of {title}</h1>\n"
    );
    page.push_str(&facts(chart));
    page.push_str(
        "<div class=\"legend\"><span><i class=\"activity\"></i>activity</span><span><i class=\"cpu\"></i>cpu step</span>\
         <span><i class=\"net\"></i>net step</span><span><i class=\"cached\"></i>found by content</span>\
         <span><i class=\"failed\"></i>✖ failed</span><span><i class=\"critical\"></i>◆ critical path</span>\
         <label>wider <input id=\"wide\" type=\"range\" min=\"0\" max=\"6\" step=\"0.25\" value=\"0\"></label></div>\n",
    );
    page.push_str(&plot(chart));
    page.push_str(&activities(chart));
    page.push_str(&steps(chart));
    // Writing to a string cannot fail.
    let _ = write!(page, "<script>{SCRIPT}</script>\n</body>\n</html>\n");
    page
}

/// The numbers that matter most.
fn facts(chart: &Chart) -> String {
    let used = chart.samples.last().copied().unwrap_or_default();
    let cores = used.cpu.as_secs_f64() / chart.wall.as_secs_f64().max(f64::MIN_POSITIVE);
    let (failed, skipped) = (chart.count(StepOutcome::Failed), chart.count(StepOutcome::Skipped));
    let mut facts = vec![
        ("", seconds(chart.wall), if chart.is_built { "wall time" } else { "until it failed" }.to_owned()),
        ("", chart.steps.len().to_string(), format!("steps, {} cached", chart.count(StepOutcome::Cached))),
        ("", seconds(chart.critical_time()), format!("critical path, {} long", chart.critical.len())),
        ("", seconds(used.cpu), format!("processor time, {cores:.1} cores")),
        ("", bytes(used.received), "received".to_owned()),
        ("", bytes(used.sent), "sent".to_owned()),
    ];
    if !chart.is_built {
        facts.push(("bad", failed.to_string(), format!("failed, {skipped} never reached")));
    }
    let item = |(class, number, what): (&str, String, String)| {
        format!("<li class=\"{class}\"><b>{}</b>{}</li>", Escaped(&number), Escaped(&what))
    };
    format!("<ul class=\"facts\">{}</ul>\n", facts.into_iter().map(item).collect::<String>())
}

/// Where the wall time went; what is inside of another activity is counted there.
fn activities(chart: &Chart) -> String {
    let mut table = String::from(
        "<h2>Where the wall time went</h2>\n<table><thead><tr><th>activity</th><th class=\"n\">start</th>\
         <th class=\"n\">took</th><th class=\"n\">of the whole</th></tr></thead>\n<tbody>\n",
    );
    let share = |time: Duration| {
        let share = time.as_secs_f64() / chart.wall.as_secs_f64().max(f64::MIN_POSITIVE) * 100.0;
        format!("{share:.1} %")
    };
    let mut row = |depth: usize, name: &str, start: String, time: Duration| {
        let class = if depth > 0 { " class=\"sub\"" } else { "" };
        let cells = [start, seconds(time), share(time)].map(|cell| format!("<td class=\"n\">{cell}</td>"));
        let _ = writeln!(table, "<tr{class}><td class=\"name\">{name}</td>{}</tr>", cells.concat());
    };
    for span in &chart.spans {
        row(span.depth, activity(span.activity), seconds(span.start), took(span, chart.wall));
    }
    row(0, "everything else", String::new(), chart.rest());
    table.push_str("</tbody></table>\n");
    table
}

/// Every step, as it began.
fn steps(chart: &Chart) -> String {
    let heads = ["step", "start", "took", "lane", "bytes", "outcome", "critical"];
    let head = |name: &str| {
        let class = if matches!(name, "start" | "took" | "bytes") { " class=\"n\"" } else { "" };
        format!("<th{class}><button>{name}</button></th>")
    };
    let mut table = format!(
        "<h2>Steps</h2>\n<p><input id=\"find\" type=\"search\" placeholder=\"find a step\" aria-label=\"find a step\"></p>\n\
         <table id=\"steps\"><thead><tr>{}</tr></thead>\n<tbody>\n",
        heads.map(head).concat()
    );
    chart.steps.iter().enumerate().for_each(|(number, step)| table.push_str(&row(number, step)));
    table.push_str("</tbody></table>\n");
    table
}

fn row(number: usize, step: &Step) -> String {
    let name = outcome(step.outcome);
    let class = if step.is_critical { format!("{name} critical") } else { name.to_owned() };
    let is_timed = step.outcome != StepOutcome::Skipped;
    let cell = |time: Duration, is_shown: bool| {
        let shown = if is_shown { seconds(time) } else { String::new() };
        format!("<td class=\"n\" data-v=\"{}\">{shown}</td>", time.as_micros())
    };
    let slot = step.slot.map_or_else(String::new, |slot| format!(" {}", slot + 1));
    let size = if step.bytes > 0 { bytes(step.bytes) } else { String::new() };
    format!(
        "<tr id=\"s{number}\" class=\"{class}\"><td class=\"name\">{}</td>{}{}<td>{}{slot}</td>\
         <td class=\"n\" data-v=\"{}\">{size}</td><td class=\"outcome\">{name}</td><td class=\"mark\">{}</td></tr>\n",
        Escaped(&step.name),
        cell(step.start, is_timed),
        cell(step.took, is_timed && step.ran()),
        lane(step.lane),
        step.bytes,
        if step.is_critical { "◆ yes" } else { "" },
    )
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
