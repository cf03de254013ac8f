//! Findings about directives.

use solver::Span;

use super::Diagnostic;

pub(crate) fn unknown_lint(span: Span, name: &str, nearest: Option<&str>) -> Diagnostic {
    let message = format!("there is no lint `{name}`, so nothing is skipped for it");
    Diagnostic::warning("unknown-lint", span, message, "not a lint").did_you_mean(nearest)
}

pub(crate) fn check_option(span: Span, text: &str) -> Diagnostic {
    let message = format!("`{text}` means nothing to `# check=`");
    Diagnostic::warning("check-option", span, message, "has no effect")
        .hint("write `skip=NAME,NAME`, `skip=all` or `error=true`, with `;` between them")
}

pub(crate) fn misplaced_directive(span: Span) -> Diagnostic {
    let message = "a directive below the first line that is none has no effect";
    Diagnostic::warning("misplaced-directive", span, message, "a comment like others")
        .hint("move it to the top, before comments, blank lines and instructions")
}

/// What `# check=error=true` makes of a warning.
pub(crate) fn as_error(warning: Diagnostic) -> Diagnostic {
    let severity = super::Severity::Error;
    Diagnostic { severity, ..warning }.hint("without `# check=error=true` this is a warning")
}
