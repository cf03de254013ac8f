//! One JSON object a line for each event, on standard error: for programs.

use serde_json::{Value, json};
use solver::{Event, EventSink, StepOutcome};

use super::Watcher;
use crate::ui;

/// Writes events as they come.
#[derive(Debug)]
pub(crate) struct Json;

fn object(event: Event) -> Value {
    match event {
        Event::Planned { steps, cached } => json!({"event": "planned", "steps": steps, "cached": cached}),
        Event::Started { vertex, name } => {
            json!({"event": "started", "vertex": vertex.to_string(), "name": name})
        }
        Event::Progress { vertex, done_bytes, total_bytes } => {
            json!({"event": "progress", "vertex": vertex.to_string(), "done_bytes": done_bytes, "total_bytes": total_bytes})
        }
        Event::Log { vertex, line } => {
            json!({"event": "log", "vertex": vertex.to_string(), "line": line})
        }
        Event::Finished { vertex, name, outcome } => {
            let outcome = match outcome {
                StepOutcome::Cached => "cached",
                StepOutcome::Done => "done",
                StepOutcome::Failed => "failed",
                StepOutcome::Skipped => "skipped",
            };
            json!({"event": "finished", "vertex": vertex.to_string(), "name": name, "outcome": outcome})
        }
        Event::Warning { text, hint, .. } => json!({"event": "warning", "text": text, "hint": hint}),
    }
}

impl EventSink for Json {
    fn event(&self, event: Event) {
        ui::message(&object(event).to_string());
    }
}

impl Watcher for Json {
    fn close(&self) {}
}
