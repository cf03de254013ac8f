//! Progress: consumers of the engine's events. Each writes to standard error only.

mod json;
mod plain;
mod tty;

use std::io::IsTerminal;

use solver::{Event, EventSink};

use crate::args::{Global, Progress};
use crate::ui;

/// A consumer that can be told that nothing more comes.
pub(crate) trait Watcher: EventSink {
    /// Ends the display; what is printed afterwards stands below it.
    fn close(&self);
}

/// The consumer the user asked for.
pub(crate) fn watcher(wanted: Progress, global: &Global) -> Box<dyn Watcher> {
    let terminal = std::io::stderr().is_terminal() && console::Term::stderr().features().is_attended();
    match wanted {
        _ if global.quiet => Box::new(Quiet),
        Progress::Quiet => Box::new(Quiet),
        Progress::Json => Box::new(json::Json),
        Progress::Plain => Box::<plain::Plain>::default(),
        Progress::Tty => Box::<tty::Tty>::default(),
        Progress::Auto if terminal => Box::<tty::Tty>::default(),
        Progress::Auto => Box::<plain::Plain>::default(),
    }
}

/// Says warnings and nothing else.
struct Quiet;

impl EventSink for Quiet {
    fn event(&self, event: Event) {
        if let Event::Warning { text, .. } = event {
            ui::warning(&text);
        }
    }
}

impl Watcher for Quiet {
    fn close(&self) {}
}

/// A number of bytes for people.
fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}
