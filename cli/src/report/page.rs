//! One error or warning, as text and as JSON.

use std::fmt::Write;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use frontend::{Diagnostic, Label, Severity};
use serde_json::{Value, json};
use solver::{SourceFile, Span};

use crate::progress::printable;

/// What failed or is not as it should be, and everything that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) severity: Severity,
    /// A stable kebab-case name.
    pub(crate) code: &'static str,
    /// What happened.
    pub(crate) message: String,
    /// Where it stands in a text; the first label is the primary one.
    pub(crate) place: Option<(Arc<SourceFile>, Vec<Label>)>,
    /// What was tried before giving up.
    pub(crate) tried: Vec<String>,
    /// Why, nearest first.
    pub(crate) causes: Vec<String>,
    /// The last lines of a command.
    pub(crate) log: Vec<String>,
    /// What to do.
    pub(crate) hints: Vec<String>,
}

impl Page {
    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            place: None,
            tried: Vec::new(),
            causes: Vec::new(),
            log: Vec::new(),
            hints: Vec::new(),
        }
    }

    pub(crate) fn warning(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let hints = vec![hint.into()];
        Self { severity: Severity::Warning, hints, ..Self::error(code, message) }
    }

    /// What the store has to say about its own health.
    pub(crate) fn of_store(text: String) -> Self {
        Self::warning("store", text, "the image is not affected; builds may be slower")
    }

    /// An error with its causes, leaving out those its own text already holds.
    pub(crate) fn of(code: &'static str, error: &dyn std::error::Error) -> Self {
        let mut page = Self::error(code, error.to_string());
        page.causes = causes(error);
        page
    }

    pub(crate) fn of_diagnostic(source: &Arc<SourceFile>, diagnostic: Diagnostic) -> Self {
        Self {
            severity: diagnostic.severity,
            place: Some((Arc::clone(source), diagnostic.labels)),
            hints: diagnostic.hints,
            ..Self::error(diagnostic.code, diagnostic.message)
        }
    }

    /// The same at some statements.
    pub(crate) fn at(mut self, source: &Arc<SourceFile>, spans: &[Span]) -> Self {
        if !spans.is_empty() {
            let labels = spans.iter().map(|span| Label { span: *span, text: String::new() }).collect();
            self.place = Some((Arc::clone(source), labels));
        }
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What `--strict` makes of a warning.
    pub(crate) fn into_error(self) -> Self {
        Self { severity: Severity::Error, ..self }.hint("without `--strict` this is a warning")
    }

    fn level(&self) -> &'static str {
        match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }

    /// For people; several lines, without a newline at the end.
    pub(crate) fn text(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str());
        let mut text = match &self.place {
            Some((source, labels)) if !labels.is_empty() => {
                self.with_snippet(source, labels, &renderer, title)
            }
            _ if coloured => renderer.render(&[annotate_snippets::Group::with_title(title)]),
            _ => format!("{}: {}", self.level(), self.message),
        };
        for line in &self.log {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  | {}", printable(line));
        }
        let notes = [("tried", &self.tried), ("cause", &self.causes), ("hint", &self.hints)];
        for (word, lines) in notes {
            for line in lines {
                // Writing to a string cannot fail.
                let _ = write!(text, "\n{word}: {line}");
            }
        }
        text
    }

    fn with_snippet(
        &self,
        source: &SourceFile,
        labels: &[Label],
        renderer: &Renderer,
        title: annotate_snippets::Title<'_>,
    ) -> String {
        let range =
            |label: &Label| label.span.start.min(source.text.len())..label.span.end.min(source.text.len());
        let annotations = labels.iter().enumerate().map(|(number, label)| {
            let kind = if number == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let text = Some(label.text.as_str()).filter(|text| !text.is_empty());
            kind.span(range(label)).label(text)
        });
        let snippet =
            Snippet::source(source.text.as_str()).path(source.name.as_str()).annotations(annotations);
        let rendered = renderer.render(&[title.element(snippet)]);
        // The place must be there as editors and greps find it, whatever the renderer makes of odd positions.
        let position = source.position(labels[0].span.start);
        let place = format!("{}:{}:{}", source.name, position.line, position.column);
        if rendered.contains(&place) { rendered } else { format!("{rendered}\n  --> {place}") }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let places = self.place.iter().flat_map(|(source, labels)| {
            labels.iter().map(|label| {
                let (start, end) = (source.position(label.span.start), source.position(label.span.end));
                json!({
                    "file": source.name, "line": start.line, "column": start.column,
                    "end_line": end.line, "end_column": end.column, "text": label.text,
                })
            })
        });
        json!({
            "level": self.level(),
            "code": self.code,
            "message": self.message,
            "places": places.collect::<Vec<_>>(),
            "tried": self.tried,
            "causes": self.causes,
            "log": self.log,
            "hints": self.hints,
        })
    }
}
/// The causes of an error, leaving out those its own text already holds.
pub(crate) fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let message = error.to_string();
    let mut causes: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) && !causes.iter().any(|other| other.contains(&text)) {
            causes.push(text);
        }
        cause = error.source();
    }
    causes
}
