//! Live progress on a terminal: draws the lines of [`Screen`] a few times a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use solver::{Event, EventSink};

use super::Watcher;
use super::screen::Screen;

/// Time between two drawings. A build that is over before the first shows nothing.
const TICK: Duration = Duration::from_millis(100);
/// A terminal that does not tell its size.
const UNKNOWN_SIZE: (u16, u16) = (24, 80);

/// The terminal.
#[derive(Debug)]
pub(crate) struct Tty {
    screen: Arc<Mutex<Screen>>,
    start: Instant,
    bar: ProgressBar,
}

impl Tty {
    pub(crate) fn new() -> Self {
        let screen: Arc<Mutex<Screen>> = Arc::default();
        let start = Instant::now();
        let shown = Arc::clone(&screen);
        let lines = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            // Asked for at every drawing, so that a resized terminal is drawn at its new size.
            let (rows, columns) = console::Term::stderr().size_checked().unwrap_or(UNKNOWN_SIZE);
            let screen = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let lines = screen.lines(start.elapsed(), columns.into(), rows.into());
            // Writing to a string cannot fail.
            let _ = out.write_str(&lines.join("\n"));
        };
        let style = ProgressStyle::with_template("{lines}").expect("the template is right");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style.with_key("lines", lines));
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.enable_steady_tick(TICK);
        Self { screen, start, bar }
    }
}

impl EventSink for Tty {
    fn event(&self, event: Event) {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).event(event, self.start.elapsed());
    }
}

impl Watcher for Tty {
    fn close(&self) {
        self.bar.finish_and_clear();
    }
}
