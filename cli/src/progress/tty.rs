//! Live progress on a terminal: one line for each running step, and one for the whole.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use solver::{Event, EventSink, StepOutcome, VertexDigest};

use super::Watcher;

/// Running steps that get a line; more would push the summary off small screens.
const SHOWN: usize = 12;
/// How often elapsed times move.
const TICK: Duration = Duration::from_millis(120);

/// The lines on the screen.
#[derive(Debug)]
pub(crate) struct Tty {
    screen: MultiProgress,
    total: ProgressBar,
    running: Mutex<HashMap<VertexDigest, ProgressBar>>,
}

impl Default for Tty {
    fn default() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = screen.add(ProgressBar::new(0));
        total.set_style(style("{elapsed:>5} {pos}/{len} steps {msg}"));
        Self { screen, total, running: Mutex::default() }
    }
}

impl EventSink for Tty {
    fn event(&self, event: Event) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Planned { steps, cached } => {
                // Downloads ended before the plan was made; they are no steps.
                self.total.set_position(0);
                self.total.set_length(steps as u64);
                self.total.set_message(format!("({cached} cached)"));
                self.total.enable_steady_tick(TICK);
            }
            Event::Started { vertex, name } if running.len() < SHOWN => {
                let line = self.screen.insert_before(&self.total, ProgressBar::new_spinner());
                line.set_style(style("{elapsed:>5} {spinner} {wide_msg} {decimal_bytes}"));
                line.set_message(name);
                line.enable_steady_tick(TICK);
                running.insert(vertex, line);
            }
            Event::Started { .. } => {}
            Event::Progress { vertex, done_bytes, total_bytes } => {
                if let Some(line) = running.get(&vertex) {
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
                let elapsed = running.remove(&vertex).map(|line| {
                    let elapsed = line.elapsed();
                    line.finish_and_clear();
                    elapsed
                });
                self.total.inc(1);
                let seconds = elapsed.unwrap_or_default().as_secs_f64();
                // A line that cannot be written is not worth ending a build for.
                let _ = match outcome {
                    StepOutcome::Cached => self.screen.println(format!("CACHED {name}")),
                    StepOutcome::Done => self.screen.println(format!("{seconds:5.1}s {name}")),
                    StepOutcome::Failed => self.screen.println(format!("FAILED {name}")),
                    StepOutcome::Skipped => Ok(()),
                };
            }
            Event::Warning { text, .. } => _ = self.screen.println(format!("warning: {text}")),
        }
    }
}

impl Watcher for Tty {
    fn close(&self) {
        self.total.finish_and_clear();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // The screen is left as it is if it cannot be cleared.
        let _ = self.screen.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are right")
}
