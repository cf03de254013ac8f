//! RUN: read, and refused until builds can run commands.

use crate::ast::Statement;
use crate::diagnostic;
use crate::evaluate::Evaluator;

/// Applies RUN.
pub(super) fn apply(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    // It may make files; COPY --from of this stage is not wrong because of it.
    evaluator.stage().has_files = true;
    evaluator.report_unsupported(diagnostic::run_not_supported_yet(statement.span));
}
