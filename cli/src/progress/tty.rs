//! Live progress on a terminal: one line for each running step, and one for the whole.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use solver::{Event, EventSink, StepOutcome, VertexDigest};

use super::{Watcher, bytes};

/// Running steps that get a line; more would push the summary off small screens.
const SHOWN: usize = 12;
/// How often elapsed times move, and at most how often ended steps scroll up: each time redraws everything below.
const TICK: Duration = Duration::from_millis(120);
/// Redraws a second.
const REDRAWS: u8 = 10;

/// The lines on the screen.
#[derive(Debug)]
pub(crate) struct Tty {
    screen: MultiProgress,
    total: ProgressBar,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    running: HashMap<VertexDigest, ProgressBar>,
    /// Lines of ended steps that wait to be shown together.
    ended: Vec<String>,
    shown: Instant,
}

impl Default for Tty {
    fn default() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS));
        let total = screen.add(ProgressBar::new(0));
        total.set_style(style("{elapsed:>5} {pos}/{len} steps {msg}"));
        let lines = Lines { running: HashMap::new(), ended: Vec::new(), shown: Instant::now() };
        Self { screen, total, lines: Mutex::new(lines) }
    }
}

impl Tty {
    fn show_ended(&self, lines: &mut Lines) {
        if !lines.ended.is_empty() {
            // A line that cannot be written is not worth ending a build for.
            let _ = self.screen.println(lines.ended.join("\n"));
            lines.ended.clear();
            lines.shown = Instant::now();
        }
    }
}

impl EventSink for Tty {
    fn event(&self, event: Event) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Planned { steps, cached } => {
                // Downloads ended before the plan was made; they are no steps.
                self.total.set_position(0);
                self.total.set_length(steps as u64);
                self.total.set_message(format!("({cached} cached)"));
                self.total.enable_steady_tick(TICK);
            }
            Event::Started { vertex, name } if lines.running.len() < SHOWN => {
                let line = self.screen.insert_before(&self.total, ProgressBar::new_spinner());
                line.set_style(style("{elapsed:>5} {spinner} {wide_msg} {decimal_bytes}"));
                line.set_message(name);
                line.enable_steady_tick(TICK);
                lines.running.insert(vertex, line);
            }
            Event::Started { .. } => {}
            Event::Progress { vertex, done_bytes, total_bytes } => {
                if let Some(line) = lines.running.get(&vertex) {
                    if let Some(total) = total_bytes.filter(|_| line.length().is_none()) {
                        line.set_length(total);
                        line.set_style(style(
                            "{elapsed:>5} {spinner} {wide_msg} {decimal_bytes}/{decimal_total_bytes}",
                        ));
                    }
                    line.set_position(done_bytes);
                }
            }
            Event::Finished { vertex, name, outcome } => {
                let (seconds, done_bytes) = lines.running.remove(&vertex).map_or((0.0, 0), |line| {
                    line.finish_and_clear();
                    (line.elapsed().as_secs_f64(), line.position())
                });
                let size = if done_bytes > 0 { format!(" ({})", bytes(done_bytes)) } else { String::new() };
                self.total.inc(1);
                match outcome {
                    StepOutcome::Cached => lines.ended.push(format!("CACHED {name}")),
                    StepOutcome::Done => lines.ended.push(format!("{seconds:5.1}s {name}{size}")),
                    StepOutcome::Failed => lines.ended.push(format!("FAILED {name}")),
                    StepOutcome::Skipped => {}
                }
                if lines.shown.elapsed() > TICK {
                    self.show_ended(&mut lines);
                }
            }
            Event::Warning { text, .. } => lines.ended.push(format!("warning: {text}")),
        }
    }
}

impl Watcher for Tty {
    fn close(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.running.drain().for_each(|(_, line)| line.finish_and_clear());
        self.show_ended(&mut lines);
        self.total.finish_and_clear();
        // The screen is left as it is if it cannot be cleared.
        let _ = self.screen.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are right")
}
