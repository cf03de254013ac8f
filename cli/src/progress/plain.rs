//! One line for each event, numbered by step: for logs and dumb terminals.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use solver::{Event, EventSink, StepOutcome, VertexDigest};

use super::{Watcher, bytes, counted, printable};
use crate::ui;

/// Numbers and starting times of the steps seen so far.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    steps: Mutex<HashMap<VertexDigest, Step>>,
}

#[derive(Debug)]
struct Step {
    number: usize,
    start: Instant,
    done_bytes: u64,
}

impl Plain {
    fn lines(&self, event: Event) -> Vec<String> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let number = steps.len() + 1;
        let fresh = || Step { number, start: Instant::now(), done_bytes: 0 };
        match event {
            Event::Planned { steps, cached } => {
                vec![format!("plan: {}, {cached} cached", counted(steps, "step"))]
            }
            Event::Started { vertex, name } => {
                let step = steps.entry(vertex).or_insert_with(fresh);
                vec![format!("#{} {}", step.number, printable(&name))]
            }
            Event::Progress { vertex, done_bytes, .. } => {
                if let Some(step) = steps.get_mut(&vertex) {
                    step.done_bytes = done_bytes;
                }
                Vec::new()
            }
            Event::Log { vertex, line } => {
                let step = steps.entry(vertex).or_insert_with(fresh);
                vec![format!(
                    "#{} {:.3} {}",
                    step.number,
                    step.start.elapsed().as_secs_f64(),
                    printable(&line)
                )]
            }
            Event::Finished { vertex, name, outcome } => {
                let known = steps.contains_key(&vertex);
                let step = steps.entry(vertex).or_insert_with(fresh);
                let seconds = step.start.elapsed().as_secs_f64();
                let size =
                    if step.done_bytes > 0 { format!(", {}", bytes(step.done_bytes)) } else { String::new() };
                let ended = match outcome {
                    StepOutcome::Cached => "CACHED".to_owned(),
                    StepOutcome::Done => format!("DONE {seconds:.2}s{size}"),
                    StepOutcome::Failed => format!("FAILED {seconds:.2}s"),
                    StepOutcome::Skipped => "SKIPPED".to_owned(),
                };
                let head = if known { None } else { Some(format!("#{} {}", step.number, printable(&name))) };
                head.into_iter().chain([format!("#{} {ended}", step.number)]).collect()
            }
            Event::Warning { .. } => Vec::new(),
        }
    }
}

impl EventSink for Plain {
    fn event(&self, event: Event) {
        let lines = self.lines(event);
        if !lines.is_empty() {
            ui::message(&lines.join("\n"));
        }
    }
}

impl Watcher for Plain {
    fn close(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_and_hits_are_one_glance() {
        let plain = Plain::default();
        let (a, b) = (VertexDigest::from_bytes([1; 32]), VertexDigest::from_bytes([2; 32]));
        assert_eq!(plain.lines(Event::Planned { steps: 2, cached: 1 }), ["plan: 2 steps, 1 cached"]);
        assert_eq!(plain.lines(Event::Planned { steps: 1, cached: 0 }), ["plan: 1 step, 0 cached"]);
        let hit = Event::Finished { vertex: a, name: "APP a".into(), outcome: StepOutcome::Cached };
        assert_eq!(plain.lines(hit), ["#1 APP a", "#1 CACHED"]);
        assert_eq!(plain.lines(Event::Started { vertex: b, name: "APP b".into() }), ["#2 APP b"]);
        assert!(plain.lines(Event::Progress { vertex: b, done_bytes: 2048, total_bytes: None }).is_empty());
        let done =
            plain.lines(Event::Finished { vertex: b, name: "APP b".into(), outcome: StepOutcome::Done });
        assert!(done[0].starts_with("#2 DONE 0.") && done[0].ends_with("2.00 KiB"), "{done:?}");
    }
}
