//! What a terminal shows of a running build, as a pure function of what has happened: running steps, the last
//! failures, one line for the whole. Never higher than a few lines, never wider than the terminal.

use std::collections::VecDeque;
use std::time::Duration;

use solver::{Event, StepOutcome, VertexDigest};

use super::{bytes, printable};

/// Running steps that get a line.
const RUNNING: usize = 10;
/// Last lines of output that show below a running command.
const LOG_LINES: usize = 4;
/// Failures that stay in sight.
const FAILURES: usize = 3;

/// What has happened so far. Times are counted from the start of the build.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    steps: Option<usize>,
    done: usize,
    cached: usize,
    running: Vec<Running>,
    failures: VecDeque<String>,
}

#[derive(Debug)]
struct Running {
    vertex: VertexDigest,
    name: String,
    since: Duration,
    done_bytes: u64,
    total_bytes: Option<u64>,
    /// The last lines its command wrote.
    log: VecDeque<String>,
}

impl Screen {
    /// Takes an event that came now.
    pub(crate) fn event(&mut self, event: Event, now: Duration) {
        match event {
            Event::Planned { steps, cached } => {
                // Downloads ended before the plan was made; they are no steps.
                (self.steps, self.done, self.cached) = (Some(steps), 0, cached);
            }
            Event::Started { vertex, name } => {
                let log = VecDeque::new();
                self.running.push(Running {
                    vertex,
                    name,
                    since: now,
                    done_bytes: 0,
                    total_bytes: None,
                    log,
                });
            }
            Event::Progress { vertex, done_bytes, total_bytes } => {
                if let Some(step) = self.running.iter_mut().find(|step| step.vertex == vertex) {
                    step.done_bytes = done_bytes;
                    step.total_bytes = total_bytes.or(step.total_bytes);
                }
            }
            Event::Log { vertex, line } => {
                if let Some(step) = self.running.iter_mut().find(|step| step.vertex == vertex) {
                    if step.log.len() == LOG_LINES {
                        step.log.pop_front();
                    }
                    step.log.push_back(line);
                }
            }
            Event::Finished { vertex, name, outcome } => {
                self.running.retain(|step| step.vertex != vertex);
                self.done += 1;
                if outcome == StepOutcome::Failed {
                    if self.failures.len() == FAILURES {
                        self.failures.pop_front();
                    }
                    self.failures.push_back(name);
                }
            }
            Event::Warning { .. } => {}
        }
    }

    /// The lines to show on a terminal of so many columns and rows.
    pub(crate) fn lines(&self, now: Duration, columns: usize, rows: usize) -> Vec<String> {
        // A full last column makes some terminals begin a new line.
        let width = columns.saturating_sub(1).max(20);
        let room = rows.saturating_sub(2 + self.failures.len()).clamp(1, RUNNING);
        let mut lines: Vec<String> =
            self.failures.iter().map(|name| fit("FAILED ", name, "", width)).collect();
        let mut left = room;
        for (number, step) in self.running.iter().enumerate() {
            if left == 0 {
                break;
            }
            lines.push(step_line(step, now, width));
            left -= 1;
            // The newest lines, where other steps leave room for them.
            let spare = left.saturating_sub(self.running.len() - number - 1);
            let shown = step.log.len().min(spare);
            lines.extend(
                step.log.iter().skip(step.log.len() - shown).map(|line| fit("       ", line, "", width)),
            );
            left -= shown;
        }
        lines.push(self.summary(now, room, width));
        lines
    }

    fn summary(&self, now: Duration, room: usize, width: usize) -> String {
        let head = format!("{} ", seconds(now));
        let Some(steps) = self.steps else {
            return fit(&head, "looking at sources", "", width);
        };
        let hidden = self.running.len().saturating_sub(room);
        let more = if hidden > 0 { format!(", {hidden} more running") } else { String::new() };
        fit(
            &head,
            &format!("{}/{steps} steps, {} cached{more}", self.done.min(steps), self.cached),
            "",
            width,
        )
    }
}

fn step_line(step: &Running, now: Duration, width: usize) -> String {
    let size = match (step.done_bytes, step.total_bytes) {
        (0, None) => String::new(),
        (done, None) => bytes(done),
        (done, Some(total)) => format!("{} / {}", bytes(done), bytes(total)),
    };
    fit(&format!("{} ", seconds(now.saturating_sub(step.since))), &step.name, &size, width)
}

/// `  1.2s`, `  3m04`
fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    if whole < 100 {
        format!("{:5.1}s", time.as_secs_f64())
    } else {
        format!("{:3}m{:02}", whole / 60, whole % 60)
    }
}

/// Head, middle and tail in exactly one line: the tail stands at the right end, the middle loses its own middle.
fn fit(head: &str, middle: &str, tail: &str, width: usize) -> String {
    // A name with an escape code or a line break in it must not reach the terminal.
    let clean = printable(middle);
    let measure = console::measure_text_width;
    let gap = if tail.is_empty() { 0 } else { measure(tail) + 1 };
    let room = width.saturating_sub(measure(head) + gap);
    let shown = shortened(&clean, room);
    let padding = if tail.is_empty() { 0 } else { room - measure(&shown).min(room) + 1 };
    format!("{head}{shown}{}{tail}", " ".repeat(padding))
}

fn shortened(text: &str, room: usize) -> String {
    if console::measure_text_width(text) <= room {
        return text.to_owned();
    }
    let keep = room.saturating_sub(1);
    // The end of a step names its source; its start, what it is.
    let take = |letters: &mut dyn Iterator<Item = char>, most: usize| {
        let mut used = 0;
        letters
            .take_while(|letter| {
                used += console::measure_text_width(letter.encode_utf8(&mut [0; 4]));
                used <= most
            })
            .collect::<Vec<char>>()
    };
    let start = take(&mut text.chars(), keep.div_ceil(2));
    let mut end = take(&mut text.chars().rev(), keep / 2);
    end.reverse();
    start.into_iter().chain(['…']).chain(end).collect()
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
