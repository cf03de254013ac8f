//! How far a copy of an image, or a look at all of its bytes, has come, on terminals: one line, gone when it ends.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::settings;

/// Time before the line appears. What is over before shows nothing.
const TICK: Duration = Duration::from_millis(100);

/// A copy on its way.
#[derive(Debug)]
pub(crate) struct Copying {
    bar: ProgressBar,
    is_shown: bool,
}

impl Copying {
    /// Starts counting bytes that are `done`, in one word; nothing is shown where nobody looks.
    pub(crate) fn start(quiet: bool, done: &str) -> Self {
        let style = ProgressStyle::with_template(&format!(
            "{{elapsed:>5}} {{decimal_bytes}} {done}, {{decimal_bytes_per_sec}}"
        ));
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(style.expect("the template is right"));
        Self { bar, is_shown: !quiet && !settings::terminal_is_dumb() }
    }

    /// So many bytes more.
    pub(crate) fn more(&self, bytes: u64) {
        self.bar.inc(bytes);
        if self.is_shown && self.bar.is_hidden() && self.bar.elapsed() > TICK {
            // indicatif itself sees whether standard error is a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
