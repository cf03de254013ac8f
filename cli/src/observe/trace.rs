//! The Trace Event Format of Chrome, which Perfetto and `chrome://tracing` read: complete events for activities and steps,
//! counters for processors and the network, arrows from steps to those that waited for them.

use std::time::Duration;

use serde_json::{Value, json};
use solver::Lane;

use super::chart::{Chart, Step, took};
use super::page::{activity, lane, outcome};

/// The one process.
const PID: u32 = 1;
/// Where activities are; lanes follow.
const ACTIVITIES: usize = 1;
const CPU: usize = 100;
const NET: usize = 1000;

/// The trace as a JSON object.
pub(super) fn trace(chart: &Chart) -> String {
    let mut events = vec![
        json!({ "ph": "M", "name": "process_name", "pid": PID, "args": { "name": "sealer build" } }),
        json!({ "ph": "M", "name": "process_labels", "pid": PID, "args": { "labels": chart.title } }),
    ];
    events.extend(thread(ACTIVITIES, "build"));
    (0..chart.cpu_slots).for_each(|slot| events.extend(thread(CPU + slot, &format!("cpu {}", slot + 1))));
    (0..chart.net_slots).for_each(|slot| events.extend(thread(NET + slot, &format!("net {}", slot + 1))));
    events.push(json!({
        "ph": "X", "name": "build", "cat": "activity", "pid": PID, "tid": ACTIVITIES,
        "ts": 0, "dur": micros(chart.wall), "args": { "outcome": if chart.is_built { "built" } else { "failed" } },
    }));
    events.extend(chart.spans.iter().map(|span| {
        json!({
            "ph": "X", "name": activity(span.activity), "cat": "activity", "pid": PID, "tid": ACTIVITIES,
            "ts": micros(span.start), "dur": micros(took(span, chart.wall)),
        })
    }));
    events.extend(chart.steps.iter().map(|step| complete(chart, step)));
    events.extend(arrows(chart));
    events.extend(counters(chart));
    json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn thread(tid: usize, name: &str) -> [Value; 2] {
    [
        json!({ "ph": "M", "name": "thread_name", "pid": PID, "tid": tid, "args": { "name": name } }),
        json!({ "ph": "M", "name": "thread_sort_index", "pid": PID, "tid": tid, "args": { "sort_index": tid } }),
    ]
}

/// What took no time is shown among the activities.
fn tid(step: &Step) -> usize {
    match (step.slot, step.lane) {
        (None, _) => ACTIVITIES,
        (Some(slot), Lane::Cpu) => CPU + slot,
        (Some(slot), Lane::Net) => NET + slot,
    }
}

fn complete(chart: &Chart, step: &Step) -> Value {
    let inputs: Vec<&str> = step.inputs.iter().map(|input| chart.steps[*input].name.as_str()).collect();
    let mut event = json!({
        "ph": if step.ran() { "X" } else { "i" }, "name": step.name, "cat": "step", "pid": PID, "tid": tid(step),
        "ts": micros(step.start),
        "args": {
            "key": step.key, "lane": lane(step.lane), "outcome": outcome(step.outcome), "bytes": step.bytes,
            "critical": step.is_critical, "inputs": inputs,
        },
    });
    if step.ran() {
        event["dur"] = json!(micros(step.took));
    } else {
        // An instant of the thread it stands on.
        event["s"] = json!("t");
    }
    event
}

/// From a step to the beginning of another that waited for it: from its end, or from where it had a result and went on.
fn arrows(chart: &Chart) -> impl Iterator<Item = Value> {
    let ran = chart.steps.iter().filter(|step| step.ran());
    let pairs = ran.flat_map(move |to| to.inputs.iter().map(move |from| (&chart.steps[*from], to)));
    let pairs = pairs.filter(|(from, to)| from.ran() && from.start <= to.start);
    pairs.enumerate().flat_map(|(id, (from, to))| {
        // An arrow begins inside of what it comes from.
        let leaves = micros(from.end()).saturating_sub(1).min(micros(to.start)).max(micros(from.start));
        let arrow = |phase: &str, step: &Step, ts: u64| {
            json!({
                "ph": phase, "id": id, "name": "waits for", "cat": "dependency", "pid": PID,
                "tid": tid(step), "ts": ts, "bp": "e",
            })
        };
        [arrow("s", from, leaves), arrow("f", to, micros(to.start))]
    })
}

/// Cores in use between two looks, and bytes so far.
fn counters(chart: &Chart) -> impl Iterator<Item = Value> {
    chart.samples.windows(2).flat_map(|pair| {
        let [before, now] = pair else { unreachable!("windows are of two") };
        let time = now.at.saturating_sub(before.at).as_secs_f64();
        let used = now.cpu.saturating_sub(before.cpu).as_secs_f64();
        let cores = if time > 0.0 { used / time } else { 0.0 };
        let counter = |name: &str, at: Duration, args: Value| {
            json!({ "ph": "C", "name": name, "pid": PID, "ts": micros(at), "args": args })
        };
        [
            counter("cpu", before.at, json!({ "cores": (cores * 1000.0).round() / 1000.0 })),
            counter("network bytes", now.at, json!({ "received": now.received, "sent": now.sent })),
        ]
    })
}
