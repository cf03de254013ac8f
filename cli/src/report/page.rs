//! One error or warning, as text and as JSON.

use std::fmt::Write;
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use frontend::{Diagnostic, LINTS, Label, Lint, Severity};
use serde_json::{Value, json};
use solver::{Position, SourceFile, Span};

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
        page.causes = cache::causes(error);
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

    /// Whether it is more than a warning.
    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The lint that found it, if one did.
    pub(crate) fn lint(&self) -> Option<&'static Lint> {
        LINTS.iter().find(|lint| lint.name == self.code)
    }

    pub(crate) fn level(&self) -> &'static str {
        match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }

    /// For people; several lines, without a newline at the end. `position` tells where an offset of the text is.
    pub(crate) fn text(&self, coloured: bool, position: &dyn Fn(usize) -> Position) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let message = printable_lines(&self.message);
        let title = level.primary_title(message.as_str());
        let mut text = match &self.place {
            Some((source, labels)) if !labels.is_empty() => {
                with_snippets(source, labels, position, &renderer, title)
            }
            _ if coloured => renderer.render(&[annotate_snippets::Group::with_title(title)]),
            _ => format!("{}: {message}", self.level()),
        };
        for line in &self.log {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  | {}", printable(line));
        }
        let notes = [("tried", &self.tried), ("cause", &self.causes), ("hint", &self.hints)];
        for (word, lines) in notes {
            for line in lines {
                // Writing to a string cannot fail.
                let _ = write!(text, "\n{word}: {}", printable_lines(line));
            }
        }
        if let Some(lint) = self.lint() {
            let _ = write!(text, "\nlint: {} ({})", lint.name, lint.page());
        }
        text
    }

    /// For programs. `position` tells where an offset of the text is.
    pub(crate) fn json(&self, position: &dyn Fn(usize) -> Position) -> Value {
        let places = self.place.iter().flat_map(|(source, labels)| {
            labels.iter().map(|label| {
                let (start, end) = (position(label.span.start), position(label.span.end));
                json!({
                    "file": source.name, "line": start.line, "column": start.column,
                    "end_line": end.line, "end_column": end.column, "text": label.text,
                })
            })
        });
        let mut page = json!({
            "level": self.level(),
            "code": self.code,
            "message": self.message,
            "places": places.collect::<Vec<_>>(),
            "tried": self.tried,
            "causes": self.causes,
            "hints": self.hints,
        });
        if !self.log.is_empty() {
            page["log"] = json!(self.log);
        }
        page
    }
}

/// A text of several lines that does nothing to a terminal but show: names and answers in it may be anybody's.
fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Labels further apart than this, in bytes, are shown by themselves: what lies between is read for each page, and a
/// text may have ten thousand.
const FAR: usize = 16 << 10;

/// The title, and the lines of the text with labels in them: the primary label's first.
fn with_snippets(
    source: &SourceFile,
    labels: &[Label],
    position: &dyn Fn(usize) -> Position,
    renderer: &Renderer,
    title: annotate_snippets::Title<'_>,
) -> String {
    let near = |label: &&Label| label.span.start.abs_diff(labels[0].span.start) <= FAR;
    let (near, far): (Vec<&Label>, Vec<&Label>) = labels.iter().partition(near);
    let mut group = title.element(snippet(source, &near, position, AnnotationKind::Primary));
    for label in far {
        group = group.element(snippet(source, &[label], position, AnnotationKind::Context));
    }
    let rendered = renderer.render(&[group]);
    // The place must be there as editors and greps find it, whatever the renderer makes of odd positions.
    let place = position(labels[0].span.start);
    let place = format!("{}:{}:{}", source.name, place.line, place.column);
    if rendered.contains(&place) { rendered } else { format!("{rendered}\n  --> {place}") }
}

/// The lines of some labels; `kind` is that of the first.
fn snippet<'a>(
    source: &'a SourceFile,
    labels: &[&'a Label],
    position: &dyn Fn(usize) -> Position,
    kind: AnnotationKind,
) -> Snippet<'a, Annotation<'a>> {
    let text = source.text.as_str();
    let first = labels.iter().map(|label| label.span.start).min().unwrap_or_default().min(text.len());
    let last = labels.iter().map(|label| label.span.end).max().unwrap_or_default().clamp(first, text.len());
    let start = text[..first].rfind('\n').map_or(0, |newline| newline + 1);
    // Nobody sees a byte order mark, so it is not shown as a column.
    let mark = if start == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let start = (start + mark).min(last);
    let end = text[last..].find('\n').map_or(text.len(), |newline| last + newline);
    let annotations = labels.iter().enumerate().map(|(number, label)| {
        let kind = if number == 0 { kind } else { AnnotationKind::Context };
        let text = Some(label.text.as_str()).filter(|text| !text.is_empty());
        let range = label.span.start.clamp(start, end) - start..label.span.end.clamp(start, end) - start;
        kind.span(range).label(text)
    });
    // The first half of a line end of Windows is nothing to see either; a blank keeps its place.
    let mut shown = text[start..end].replace("\r\n", " \n");
    if shown.ends_with('\r') {
        shown.replace_range(shown.len() - 1.., " ");
    }
    Snippet::source(shown)
        .line_start(position(start).line)
        .path(source.name.as_str())
        .annotations(annotations)
}
