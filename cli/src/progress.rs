//! Progress: consumers of the engine's events. Each writes to standard error only; warnings are not theirs to tell.

mod copying;
mod json;
mod plain;
mod screen;
mod tty;

use std::io::IsTerminal;

use solver::{Event, EventSink};

pub(crate) use self::copying::Copying;
use crate::args::{Global, Progress};
use crate::settings;

/// A consumer that can be told that nothing more comes.
pub(crate) trait Watcher: EventSink {
    /// Ends the display; what is printed afterwards stands below it.
    fn close(&self);
}

/// The consumer the user asked for.
pub(crate) fn watcher(wanted: Progress, global: &Global) -> Box<dyn Watcher> {
    let terminal = std::io::stderr().is_terminal() && !settings::terminal_is_dumb();
    match wanted {
        _ if global.quiet => Box::new(Quiet),
        Progress::Quiet => Box::new(Quiet),
        Progress::Json => Box::new(json::Json),
        Progress::Plain => Box::<plain::Plain>::default(),
        // Without a terminal there is nothing to draw on.
        Progress::Tty | Progress::Auto if terminal => Box::new(tty::Tty::new()),
        Progress::Tty | Progress::Auto => Box::<plain::Plain>::default(),
    }
}

/// Says nothing.
struct Quiet;

impl EventSink for Quiet {
    fn event(&self, _: Event) {}
}

impl Watcher for Quiet {
    fn close(&self) {}
}

/// A text that does nothing to a terminal but show.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// So many of something: `1 step`, `2 steps`, `3 directories`.
pub(crate) fn counted<N: std::fmt::Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if count == N::from(1) => format!("{count} {noun}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {noun}s"),
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}
