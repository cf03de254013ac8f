//! What the frontend has to say about a text, as data; named constructors, one a finding.
//!
//! Messages that sealer has keep sealer's words, because people grep for them; what helps goes into hints.

mod build;
mod directive;
mod files;
mod lints;
mod syntax;

pub(crate) use build::*;
pub(crate) use directive::*;
pub(crate) use files::*;
pub(crate) use lints::*;
pub(crate) use syntax::*;

use solver::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The build cannot go on.
    Error,
    /// The build goes on; something is likely not meant.
    Warning,
}

/// A place with what is to be said there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// The caret's text; may be empty.
    pub text: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable kebab-case name.
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// Where; the first is the primary one, and there always is one.
    pub labels: Vec<Label>,
    /// What to try.
    pub hints: Vec<String>,
}

impl Diagnostic {
    fn new(severity: Severity, code: &'static str, span: Span, message: String, label: &str) -> Self {
        let labels = vec![Label { span, text: label.to_owned() }];
        Self { severity, code, message, labels, hints: Vec::new() }
    }

    fn error(code: &'static str, span: Span, message: impl Into<String>, label: &str) -> Self {
        Self::new(Severity::Error, code, span, message.into(), label)
    }

    fn warning(code: &'static str, span: Span, message: impl Into<String>, label: &str) -> Self {
        Self::new(Severity::Warning, code, span, message.into(), label)
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn also(mut self, span: Span, text: &str) -> Self {
        self.labels.push(Label { span, text: text.to_owned() });
        self
    }

    fn did_you_mean(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// Whether the build cannot go on.
    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Where it starts, for sorting.
    pub(crate) fn start(&self) -> usize {
        self.labels.first().map_or(0, |label| label.span.start)
    }
}

/// `a`, `b` and `c`.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
