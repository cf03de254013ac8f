//! The one printer of errors and warnings, and the table of exit codes: 0 success, 1 every failure, 130 and 143 after a
//! signal.
//!
//! Every finding is one page: what failed, the Kubefile's lines, what was tried, the causes, the hints.

mod failure;
mod page;
mod sandbox;

use std::sync::{Arc, Mutex, PoisonError};

use solver::{Lines, Position, SourceFile};

pub(crate) use self::failure::{Failure, UNREADABLE, hint_of_local, hint_of_registry};
pub(crate) use self::page::Page;
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
        let tunables = match &args.command {
            Command::Build(build) => Some(&build.tunables),
            Command::Graph(graph) => Some(&graph.planning.tunables),
            _ => None,
        };
        let is_json = tunables.is_some_and(|tunables| tunables.progress == Progress::Json);
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

    /// Prints findings now, and not at the end; warnings only to whom wants more than results and errors.
    pub(crate) fn show(&self, pages: &[Page]) {
        self.print(pages.iter().filter(|page| page.is_error() || !self.quiet));
    }

    /// Prints a line for people: programs read pages, and take nothing else for one.
    pub(crate) fn summary(&self, text: &str) {
        if !self.quiet && self.format == ErrorFormat::Text {
            ui::message(text);
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
    pub(crate) fn end(&self, result: Result<(), Failure>) -> u8 {
        let lost = lost();
        let result = result.and_then(|()| self.check_strict()).and_then(|()| match lost {
            Some(page) => Err(page.into()),
            None => Ok(()),
        });
        let warnings = std::mem::take(&mut *self.lock());
        if !self.quiet {
            self.print(&warnings);
        }
        match result {
            Ok(()) => 0,
            Err(Failure::Pages(pages)) => {
                self.print(&pages);
                1
            }
            Err(Failure::Told(code)) => code,
            Err(Failure::Cancelled { signal, what }) => {
                self.print([&Page::error("cancelled", what)]);
                128 + signal
            }
        }
    }

    fn print<'p>(&self, pages: impl IntoIterator<Item = &'p Page>) {
        let coloured = ui::coloured(self.color);
        let mut known: Option<(&Arc<SourceFile>, Lines<'_>)> = None;
        for page in pages {
            // There is one text, and there may be thousands of pages about it.
            if let Some((source, _)) = &page.place
                && !known.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, source))
            {
                known = Some((source, source.lines()));
            }
            let position = |offset| known.as_ref().map_or(START, |(_, lines)| lines.position(offset));
            ui::message(&match self.format {
                ErrorFormat::Text => page.text(coloured, &position),
                ErrorFormat::Json => page.json(&position).to_string(),
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Page>> {
        // A panic while holding the lock leaves only whole pages behind.
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Data that was lost, on a full disk for one, is a failure whatever else went well.
fn lost() -> Option<Page> {
    let page = |error| Page::error("output", format!("standard output cannot be written: {error}"));
    ui::lost().map(page)
}

/// Where every text starts.
const START: Position = Position { line: 1, column: 1 };

/// Prints what clap has to say. Help and versions are data; wrong usage is a failure like every other.
pub(crate) fn usage(error: &clap::Error, format: ErrorFormat) -> u8 {
    if error.use_stderr() && format == ErrorFormat::Json {
        let text = error.render().to_string();
        let mut lines = text.trim_end().lines();
        let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let rest = lines.map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
        let page = Page { hints: rest.collect(), ..Page::error("usage", message) };
        ui::message(&page.json(&|_| START).to_string());
        return 1;
    }
    let printed = error.print();
    if error.use_stderr() {
        return 1;
    }
    ui::keep(printed);
    let Some(page) = lost() else { return 0 };
    ui::message(&match format {
        ErrorFormat::Text => page.text(false, &|_| START),
        ErrorFormat::Json => page.json(&|_| START).to_string(),
    });
    1
}
