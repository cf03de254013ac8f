//! `# check=` directives: which warnings a text wants to hear, and whether they are errors.

use std::collections::BTreeSet;

use solver::Span;

use crate::diagnostic::{self, Diagnostic};
use crate::lint::{self, LINTS};
use crate::suggest::nearest;

/// What the `# check=` directives of a text ask for, all of them together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// `skip=all`.
    pub skips_all: bool,
    /// `skip=NAME,NAME`: lints that are not told.
    pub skipped: BTreeSet<&'static str>,
    /// `error=true`: warnings are errors.
    pub error: bool,
}

impl Checks {
    /// Adds a directive: `skip=NAME,NAME;error=true`. `start` is where it stands in the source.
    pub(crate) fn read(&mut self, value: &str, start: usize) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for (at, option) in pieces(value, ';', start) {
            let wrong = || diagnostic::check_option(Span::new(at, at + option.len()), option);
            match option.split_once('=').map(|(key, value)| (key.trim_end(), value)) {
                Some(("skip", names)) if !names.trim().is_empty() => {
                    let from = at + option.len() - names.len();
                    pieces(names, ',', from).for_each(|(at, name)| found.extend(self.skip(name, at)));
                }
                Some(("error", value)) => match value.trim().to_lowercase().as_str() {
                    "true" | "1" => self.error = true,
                    "false" | "0" => self.error = false,
                    _ => found.push(wrong()),
                },
                _ => found.push(wrong()),
            }
        }
        found
    }

    fn skip(&mut self, name: &str, at: usize) -> Option<Diagnostic> {
        if name == "all" {
            self.skips_all = true;
            return None;
        }
        if let Some(lint) = lint::find(name) {
            self.skipped.insert(lint.name);
            return None;
        }
        let known = nearest(name, LINTS.iter().map(|lint| lint.name));
        Some(diagnostic::unknown_lint(Span::new(at, at + name.len()), name, known))
    }

    /// Leaves out what is skipped, and makes the rest errors if that is asked for. Errors stay.
    pub(crate) fn apply(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let is_told =
            |found: &Diagnostic| found.is_error() || !(self.skips_all || self.skipped.contains(found.code));
        let told = found.into_iter().filter(is_told);
        told.map(|found| if self.error && !found.is_error() { diagnostic::as_error(found) } else { found })
            .collect()
    }
}

/// The non-empty pieces of a text between separators, trimmed, with where each starts.
fn pieces(text: &str, separator: char, start: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut at = start;
    text.split(separator).filter_map(move |piece| {
        let from = at + piece.len() - piece.trim_start().len();
        at += piece.len() + separator.len_utf8();
        let piece = piece.trim();
        (!piece.is_empty()).then_some((from, piece))
    })
}
