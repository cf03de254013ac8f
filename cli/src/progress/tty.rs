//! Live progress on a terminal: draws the lines of [`Screen`] a few times a second.
//!
//! Each drawing is one write: up to the first line, every line over its predecessor, and what is left below is erased.
//! Nothing is cleared before it is drawn, so nothing flickers. No line is as wide as the terminal, so none wraps; a
//! terminal made narrower meanwhile may keep some old lines above, but loses nothing that was there before.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use solver::{Event, EventSink};

use super::Watcher;
use super::screen::Screen;

/// Time between two drawings. A build that is over before the first shows nothing.
const TICK: Duration = Duration::from_millis(100);
/// A terminal that does not tell its size: rows and columns.
const UNKNOWN_SIZE: (u16, u16) = (24, 80);

/// The terminal.
#[derive(Debug)]
pub(crate) struct Tty {
    screen: Arc<Mutex<Screen>>,
    start: Instant,
    drawing: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Tty {
    pub(crate) fn new() -> Self {
        let screen: Arc<Mutex<Screen>> = Arc::default();
        let start = Instant::now();
        let shown = Arc::clone(&screen);
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut height = 0;
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                // Asked for at every drawing, so that a resized terminal is drawn at its new size.
                let (rows, columns) = console::Term::stderr().size_checked().unwrap_or(UNKNOWN_SIZE);
                let lines = shown.lock().unwrap_or_else(PoisonError::into_inner).lines(
                    start.elapsed(),
                    columns.into(),
                    rows.into(),
                );
                print(&drawn(&lines, height));
                height = lines.len();
            }
            print(&drawn(&[], height));
        });
        Self { screen, start, drawing: Mutex::new(Some((stop, thread))) }
    }
}

impl EventSink for Tty {
    fn event(&self, event: Event) {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).event(event, self.start.elapsed());
    }
}

impl Watcher for Tty {
    fn close(&self) {
        let drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = drawing {
            drop(stop);
            // A display that failed is not worth failing a build for.
            let _ = thread.join();
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.close();
    }
}

/// What draws some lines over those drawn before. The cursor stands at the end of the last line.
fn drawn(lines: &[String], height_before: usize) -> String {
    let mut out = String::new();
    if height_before > 1 {
        // Writing to a string cannot fail.
        let _ = write!(out, "\u{1b}[{}A", height_before - 1);
    }
    if height_before > 0 {
        out.push('\r');
    }
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            out.push_str("\r\n");
        }
        out.push_str(line);
        out.push_str("\u{1b}[K");
    }
    if height_before > 0 {
        out.push_str("\u{1b}[J");
    }
    out
}

fn print(text: &str) {
    let mut terminal = std::io::stderr().lock();
    // A line that cannot be written is not worth ending a build for.
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_covers_the_one_before_and_no_more() {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let first = drawn(&lines(&["one", "two"]), 0);
        assert_eq!(first, "one\u{1b}[K\r\ntwo\u{1b}[K");
        let second = drawn(&lines(&["three"]), 2);
        assert_eq!(second, "\u{1b}[1A\rthree\u{1b}[K\u{1b}[J");
        let mut screen = vt100::Parser::new(5.try_into().unwrap(), 20.try_into().unwrap(), 0);
        screen.process(b"$ before\r\n");
        screen.process(first.as_bytes());
        assert_eq!(screen.screen().contents(), "$ before\none\ntwo");
        screen.process(second.as_bytes());
        assert_eq!(screen.screen().contents(), "$ before\nthree");
        screen.process(drawn(&[], 1).as_bytes());
        assert_eq!(screen.screen().contents().trim_end(), "$ before");
    }
}
