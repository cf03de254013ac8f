//! Old forms, and lines that are not what they look like.

use solver::Span;

use super::Subject;
use crate::ast::Arguments;
use crate::diagnostic::{self, Diagnostic};

/// `legacy-pair`
pub(super) fn legacy_pair(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for statement in &subject.file.statements {
        let Arguments::Pairs(pairs) = &statement.arguments else { continue };
        let [pair] = pairs.as_slice() else { continue };
        let Some(value) = &pair.value else { continue };
        let between = subject.text(Span::new(pair.key.span.end, value.span.start));
        if !between.contains('=') {
            found.push(diagnostic::legacy_pair(pair.span, statement.keyword, &pair.key.text));
        }
    }
    found
}

/// `misplaced-directive`
pub(super) fn misplaced_directive(subject: &Subject<'_>) -> Vec<Diagnostic> {
    subject.file.misplaced.iter().map(|span| diagnostic::misplaced_directive(*span)).collect()
}
