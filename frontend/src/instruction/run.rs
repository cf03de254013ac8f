//! RUN: read, and refused until builds can run commands.

use crate::ast::Statement;
use crate::diagnostic;
use crate::evaluate::Evaluator;

/// Applies RUN.
pub(super) fn apply(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    evaluator.report(diagnostic::run_not_supported_yet(statement.span));
}
