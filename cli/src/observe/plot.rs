//! The drawing of a chart: a row for each slot of a lane, curves below, one axis of time. Places along it are percentages,
//! so that it can be made wider without anything in it being stretched; a label shows where its bar has room for it.

use std::fmt::Write;
use std::time::Duration;

use solver::{Lane, StepOutcome};

use super::chart::{Chart, Step, took};
use super::page::{Escaped, activity, outcome, seconds};
use super::recorder::Span;
use super::sampler::Sample;
use crate::progress::bytes;

/// Height of the axis, of a row, of the bar in it, and of a curve, in pixels; those of the names are in `page.css`.
const AXIS: usize = 22;
const ROW: usize = 22;
const BAR: usize = 17;
const CURVE: usize = 72;
/// Longest label of a bar, in characters: none shows more, however wide it is made.
const LABEL: usize = 120;
/// Curves have no more points than can be told apart.
const POINTS: usize = 500;

/// A line of the drawing, with what stands beside it.
struct Row {
    name: String,
    class: &'static str,
    height: usize,
    drawing: String,
}

/// The drawing with the names of its rows, as HTML.
pub(super) fn plot(chart: &Chart) -> String {
    let mut rows = activities(chart);
    rows.extend(lanes(chart, Lane::Cpu, "cpu", chart.cpu_slots));
    rows.extend(lanes(chart, Lane::Net, "net", chart.net_slots));
    rows.extend(curves(chart));
    let height = AXIS + rows.iter().map(|row| row.height).sum::<usize>();
    let (mut names, mut drawing) = ("<div class=\"lane\"></div>".to_owned(), axis(chart, height));
    let mut top = AXIS;
    for row in rows {
        // Writing to a string cannot fail.
        let _ = write!(names, "<div class=\"{}\">{}</div>", row.class, Escaped(&row.name));
        let _ = write!(drawing, "<g transform=\"translate(0 {top})\">{}</g>", row.drawing);
        top += row.height;
    }
    format!(
        "<div class=\"gantt\"><div class=\"names\">{names}</div><div class=\"scroll\">\
         <svg class=\"plot\" width=\"100%\" height=\"{height}\" role=\"img\" aria-label=\"Gantt chart\">{drawing}</svg></div></div>\n"
    )
}

/// Where a time is along the axis, in percent.
fn percent(chart: &Chart, time: Duration) -> f64 {
    let wall = chart.wall.as_secs_f64();
    if wall > 0.0 { (time.as_secs_f64() / wall * 100.0).clamp(0.0, 100.0) } else { 0.0 }
}

fn axis(chart: &Chart, height: usize) -> String {
    let mut axis = String::new();
    let step = tick(chart.wall);
    let mut at = Duration::ZERO;
    while at <= chart.wall {
        let place = percent(chart, at);
        // The last label would stand outside.
        let anchor = if place > 96.0 { " text-anchor=\"end\" dx=\"-4\"" } else { " dx=\"4\"" };
        let _ = write!(
            axis,
            "<line x1=\"{place:.3}%\" x2=\"{place:.3}%\" y1=\"0\" y2=\"{height}\"/>\
             <text class=\"tick\" x=\"{place:.3}%\" y=\"15\"{anchor}>{}</text>",
            seconds(at)
        );
        at += step;
    }
    axis
}

/// A round time that fits into another ten times at most.
fn tick(wall: Duration) -> Duration {
    let mut unit = Duration::from_millis(1);
    loop {
        for factor in [1, 2, 5] {
            if wall <= unit * factor * 10 {
                return unit * factor;
            }
        }
        unit *= 10;
    }
}

fn activities(chart: &Chart) -> Vec<Row> {
    let depth = chart.spans.iter().map(|span| span.depth + 1).max().unwrap_or(0);
    let row = |depth: usize| {
        let spans = chart.spans.iter().filter(|span| span.depth == depth);
        let drawing: String = spans.map(|span| span_bar(chart, span)).collect();
        let name = if depth == 0 { "build" } else { "" };
        Row { name: name.to_owned(), class: "lane", height: ROW, drawing }
    };
    (0..depth).map(row).collect()
}

fn span_bar(chart: &Chart, span: &Span) -> String {
    let (name, took) = (activity(span.activity), took(span, chart.wall));
    let tip = format!("{name}\n{} from {}", seconds(took), seconds(span.start));
    bar(chart, span.start, took, "activity", name, &tip)
}

fn lanes(chart: &Chart, lane: Lane, name: &str, slots: usize) -> Vec<Row> {
    let mut drawings = vec![String::new(); slots];
    for (number, step) in chart.steps.iter().enumerate().filter(|(_, step)| step.lane == lane) {
        if let Some(drawing) = step.slot.and_then(|slot| drawings.get_mut(slot)) {
            let _ = write!(drawing, "<g data-step=\"{number}\">{}</g>", step_bar(chart, step));
        }
    }
    let row =
        |(slot, drawing)| Row { name: format!("{name} {}", slot + 1), class: "lane", height: ROW, drawing };
    drawings.into_iter().enumerate().map(row).collect()
}

fn step_bar(chart: &Chart, step: &Step) -> String {
    let class = match (step.outcome, step.lane) {
        (StepOutcome::Failed, _) => "failed",
        (StepOutcome::Cached, _) => "cached",
        (_, Lane::Cpu) => "cpu",
        (_, Lane::Net) => "net",
    };
    let class = if step.is_critical { format!("{class} critical") } else { class.to_owned() };
    // Nothing is told by colour alone.
    let mark = match (step.outcome, step.is_critical) {
        (StepOutcome::Failed, _) => "✖ ",
        (_, true) => "◆ ",
        _ => "",
    };
    let mut tip = format!("{}\n{} from {}", step.name, seconds(step.took), seconds(step.start));
    if step.bytes > 0 {
        let _ = write!(tip, ", {}", bytes(step.bytes));
    }
    let _ = write!(tip, ", {}", outcome(step.outcome));
    if step.is_critical {
        tip.push_str(", on the critical path");
    }
    bar(chart, step.start, step.took, &class, &format!("{mark}{}", step.name), &tip)
}

fn bar(chart: &Chart, start: Duration, took: Duration, class: &str, label: &str, tip: &str) -> String {
    let (x, width) = (percent(chart, start), percent(chart, took));
    let shown: String = label.chars().take(LABEL).collect();
    format!(
        "<g><title>{}</title><rect class=\"bar {class}\" x=\"{x:.4}%\" y=\"2\" width=\"{width:.4}%\" height=\"{BAR}\" rx=\"2\"/>\
         <svg x=\"{x:.4}%\" y=\"2\" width=\"{width:.4}%\" height=\"{BAR}\"><text x=\"5\" y=\"12.5\">{}</text></svg></g>",
        Escaped(tip),
        Escaped(&shown)
    )
}

/// Curves of what was used over time; those that stay at nothing are left out, but for the processor's.
fn curves(chart: &Chart) -> Vec<Row> {
    let rate = |of: fn(&Sample) -> f64| rates(&chart.samples, of);
    let cores = rate(|sample| sample.cpu.as_secs_f64());
    let received = rate(|sample| sample.received as f64);
    let sent = rate(|sample| sample.sent as f64);
    let top = |rates: &[(Duration, f64)]| rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let per_second = |most: f64| format!("{}/s", bytes(most as u64));
    let mut rows = vec![curve(chart, format!("CPU, at most {:.1} cores", top(&cores)), "cpu", &cores, 1.0)];
    for (name, class, rates) in [("received", "net", received), ("sent", "sent", sent)] {
        if top(&rates) > 0.0 {
            rows.push(curve(
                chart,
                format!("{name}, at most {}", per_second(top(&rates))),
                class,
                &rates,
                0.0,
            ));
        }
    }
    rows
}

/// What was used between looks, a second; neighbours are put together where there are many.
fn rates(samples: &[Sample], of: fn(&Sample) -> f64) -> Vec<(Duration, f64)> {
    let stride = samples.len().div_ceil(POINTS).max(1);
    let kept: Vec<&Sample> = samples
        .iter()
        .enumerate()
        .filter(|(at, _)| at % stride == 0 || at + 1 == samples.len())
        .map(|(_, one)| one)
        .collect();
    let rate = |pair: &[&Sample]| {
        let time = pair[1].at.saturating_sub(pair[0].at).as_secs_f64();
        (pair[1].at, if time > 0.0 { (of(pair[1]) - of(pair[0])).max(0.0) / time } else { 0.0 })
    };
    kept.windows(2).map(rate).collect()
}

/// Steps of a curve, in a box of 1000 by 100 that is stretched; the highest is at the top, or `least` if that is more.
fn curve(chart: &Chart, name: String, class: &str, rates: &[(Duration, f64)], least: f64) -> Row {
    let most = rates.iter().map(|(_, rate)| *rate).fold(least, f64::max).max(f64::MIN_POSITIVE);
    let mut path = String::from("M0 100");
    let mut from = 0.0;
    for (at, rate) in rates {
        let (to, height) = (percent(chart, *at) * 10.0, 100.0 - rate / most * 100.0);
        let _ = write!(path, "L{from:.1} {height:.1}L{to:.1} {height:.1}");
        from = to;
    }
    let _ = write!(path, "L{from:.1} 100Z");
    let drawing = format!(
        "<svg x=\"0\" y=\"8\" width=\"100%\" height=\"{}\" viewBox=\"0 0 1000 100\" preserveAspectRatio=\"none\"><title>{}</title>\
         <path class=\"area {class}\" d=\"{path}\"/></svg>",
        CURVE - 10,
        Escaped(&name),
    );
    Row { name, class: "curve", height: CURVE, drawing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_about_ten() {
        for millis in [1, 9, 37, 100, 101, 999, 12_345, 100_000, 86_400_000] {
            let wall = Duration::from_millis(millis);
            let ticks = wall.as_secs_f64() / tick(wall).as_secs_f64();
            assert!(ticks <= 10.0 && (ticks > 3.0 || millis < 10), "{millis}: {ticks}");
            let digits = tick(wall).as_millis().to_string();
            assert!(matches!(digits.trim_end_matches('0'), "1" | "2" | "5"), "{digits}");
        }
    }
}
