//! The one printer of errors and warnings, and the table of exit codes: 0 success, 1 every failure, 130 and 143 after a
//! signal.
//!
//! Every finding is one page: what failed, the Kubefile's lines, what was tried, the causes, the hints.

mod failure;
mod page;
mod sandbox;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

pub(crate) use self::failure::{Failure, hint_of_registry};
pub(crate) use self::page::{Page, causes};
use crate::args::{Args, Color, Command, ErrorFormat, Progress};
use crate::ui;

/// Collects warnings while a command runs, and tells how it ended.
#[derive(Debug)]
pub(crate) struct Reporter {
    color: Color,
    format: ErrorFormat,
    quiet: bool,
    strict: bool,
    warnings: Mutex<Vec<Page>>,
}

impl Reporter {
    /// A reporter as the flags want it. Who reads progress as JSON reads the rest as JSON too.
    pub(crate) fn new(args: &Args) -> Self {
        let is_json =
            matches!(&args.command, Command::Build(build) if build.tunables.progress == Progress::Json);
        Self {
            color: args.global.color,
            format: if is_json { ErrorFormat::Json } else { args.global.error_format },
            quiet: args.global.quiet,
            strict: args.global.strict,
            warnings: Mutex::default(),
        }
    }

    /// Keeps a warning for the end; one that was given before is told once.
    pub(crate) fn warn(&self, page: Page) {
        let mut warnings = self.lock();
        if !warnings.contains(&page) {
            warnings.push(page);
        }
    }

    /// With `--strict`, the point after which nothing has happened yet: warnings so far are the failure.
    pub(crate) fn check_strict(&self) -> Result<(), Failure> {
        if !self.strict || self.lock().is_empty() {
            return Ok(());
        }
        Err(Failure::Pages(std::mem::take(&mut *self.lock()).into_iter().map(Page::into_error).collect()))
    }

    /// Prints the warnings, then the failure, and gives the exit code.
    pub(crate) fn end(&self, result: Result<(), Failure>) -> ExitCode {
        let result = result.and_then(|()| self.check_strict());
        let warnings = std::mem::take(&mut *self.lock());
        if !self.quiet {
            warnings.iter().for_each(|page| self.print(page));
        }
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure::Pages(pages)) => {
                pages.iter().for_each(|page| self.print(page));
                ExitCode::from(1)
            }
            Err(Failure::Told(code)) => ExitCode::from(code),
            Err(Failure::Cancelled { signal, what }) => {
                self.print(&Page::error("cancelled", what));
                ExitCode::from(128 + signal)
            }
        }
    }

    fn print(&self, page: &Page) {
        match self.format {
            ErrorFormat::Text => ui::message(&page.text(ui::coloured(self.color))),
            ErrorFormat::Json => ui::message(&page.json().to_string()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Page>> {
        // A panic while holding the lock leaves only whole pages behind.
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints what clap has to say. Help and versions are data; wrong usage is a failure like every other.
pub(crate) fn usage(error: &clap::Error, format: ErrorFormat) -> ExitCode {
    if error.use_stderr() && format == ErrorFormat::Json {
        let text = error.render().to_string();
        let mut lines = text.trim_end().lines();
        let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let rest = lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
        ui::message(&Page { hints: rest.collect(), ..Page::error("usage", message) }.json().to_string());
        return ExitCode::from(1);
    }
    // Whether it can be printed changes nothing about the exit code.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS }
}
