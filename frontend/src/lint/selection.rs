//! Sources and the build context, where somebody looked there.

use solver::LocalSource;

use super::{ContextSource, Subject};
use crate::check::Selection;
use crate::diagnostic::{self, Diagnostic};

/// `nothing-selected`
pub(super) fn nothing(subject: &Subject<'_>) -> Vec<Diagnostic> {
    selected(subject, Selection::Nothing, |source, written| {
        diagnostic::nothing_selected(source.span, written)
    })
}

/// `ignored-source`
pub(super) fn ignored(subject: &Subject<'_>) -> Vec<Diagnostic> {
    selected(subject, Selection::Ignored, |source, written| diagnostic::ignored_source(source.span, written))
}

fn selected(
    subject: &Subject<'_>,
    selection: Selection,
    diagnostic: impl Fn(&ContextSource, &str) -> Diagnostic,
) -> Vec<Diagnostic> {
    let sources = subject.context_sources();
    let such = sources.filter(|source| subject.selections.get(&source.pattern) == Some(&selection));
    such.map(|source| diagnostic(&source, &LocalSource::shown(&source.pattern))).collect()
}
