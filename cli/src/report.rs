//! The one printer of errors, and the table of exit codes: 0 success, 1 every failure, 130 and 143 after a signal.

use std::process::ExitCode;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use engine::{BuildError, ImagesError, OpError, StepError};
use frontend::{Diagnostic, Label, Severity};
use solver::{SourceFile, Span};

use crate::args::Color;
use crate::ui;

/// Why a command failed, with all that is needed to say so.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something that has no place in a Kubefile.
    Plain {
        /// What failed.
        message: String,
        /// What to try.
        hints: Vec<String>,
    },
    /// What is wrong with a text; warnings may be among it.
    Diagnostics(SourceFile, Vec<Diagnostic>),
    /// A signal stopped it.
    Cancelled(u8),
}

impl Failure {
    /// A failure of the command line or the world.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Plain { message: message.into(), hints: Vec::new() }
    }

    /// Adds what to try.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Plain { hints, .. } = &mut self {
            hints.push(hint.into());
        }
        self
    }

    /// A failed build, told at the lines it comes from.
    pub(crate) fn build(error: BuildError, source: &SourceFile, signal: u8) -> Self {
        let diagnostics = match error {
            BuildError::Cancelled => return Self::Cancelled(signal),
            BuildError::Steps(steps) => steps.iter().map(step).collect(),
            BuildError::UntypedApp { span, several_sources, .. } => {
                vec![untyped_app(&error, span, several_sources)]
            }
            BuildError::ContainerImages(found) => return container_images(&found),
            other => return Self::usage(with_causes(&other)),
        };
        Self::Diagnostics(source.clone(), diagnostics)
    }
}

impl From<cache::CacheError> for Failure {
    fn from(error: cache::CacheError) -> Self {
        Self::usage(with_causes(&error))
    }
}

impl From<ImagesError> for Failure {
    fn from(error: ImagesError) -> Self {
        let failure = Self::usage(with_causes(&error));
        match error {
            ImagesError::NotFound { .. } => failure.hint("`sealer images` lists what is in the store"),
            _ => failure,
        }
    }
}

/// Prints a failure and gives its exit code.
pub(crate) fn failure(failure: &Failure, color: Color) -> ExitCode {
    match failure {
        Failure::Plain { message, hints } => {
            ui::message(&format!("error: {message}"));
            print_hints(hints);
            ExitCode::from(1)
        }
        Failure::Diagnostics(source, all) => {
            diagnostics(source, all, color);
            ExitCode::from(1)
        }
        Failure::Cancelled(signal) => {
            ui::message("error: the build was cancelled; what it finished is kept");
            ExitCode::from(128 + signal)
        }
    }
}

/// Prints what clap has to say. Help and versions are data; wrong usage is a failure like every other.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Whether it can be printed changes nothing about the exit code.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

/// Prints diagnostics, each with its place as plain text.
pub(crate) fn diagnostics(source: &SourceFile, all: &[Diagnostic], color: Color) {
    for diagnostic in all {
        ui::message(&render(source, diagnostic, ui::coloured(color)));
        print_hints(&diagnostic.hints);
    }
}

fn print_hints(hints: &[String]) {
    if !hints.is_empty() {
        ui::message("");
    }
    for hint in hints {
        ui::message(&format!("hint: {hint}"));
    }
    if !hints.is_empty() {
        ui::message("");
    }
}

fn render(source: &SourceFile, diagnostic: &Diagnostic, coloured: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
    let title = level.primary_title(diagnostic.message.as_str());
    let Some(primary) = diagnostic.labels.first() else {
        return renderer.render(&[annotate_snippets::Group::with_title(title)]);
    };
    let place =
        |label: &Label| label.span.start.min(source.text.len())..label.span.end.min(source.text.len());
    let snippet = Snippet::source(source.text.as_str()).path(source.name.as_str()).annotations(
        diagnostic.labels.iter().enumerate().map(|(number, label)| {
            let kind = if number == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let text = Some(label.text.as_str()).filter(|text| !text.is_empty());
            kind.span(place(label)).label(text)
        }),
    );
    let rendered = renderer.render(&[title.element(snippet)]);
    // The place must be there as editors and greps find it, whatever the renderer makes of odd positions.
    let position = source.position(primary.span.start);
    let place = format!("{}:{}:{}", source.name, position.line, position.column);
    if rendered.contains(&place) { rendered } else { format!("{rendered}\n  --> {place}") }
}

fn error_at(code: &'static str, message: String, spans: &[Span], hints: Vec<String>) -> Diagnostic {
    let labels = spans.iter().map(|span| Label { span: *span, text: String::new() }).collect();
    Diagnostic { severity: Severity::Error, code, message, labels, hints }
}

fn step(error: &StepError) -> Diagnostic {
    error_at("step-failed", with_causes(&error.source), &error.spans, hints_of(&error.source))
}

fn untyped_app(error: &BuildError, span: Span, several_sources: bool) -> Diagnostic {
    let mut hints = vec!["say how it is launched: APPCMDS NAME [\"COMMAND\"]".to_owned()];
    if several_sources {
        hints.push(
            "a packaged chart launches by itself only when it is the application's one source".to_owned(),
        );
    }
    error_at("untyped-app", error.to_string(), &[span], hints)
}

fn container_images(found: &[engine::FoundImage]) -> Failure {
    let mut message =
        String::from("container images are not supported yet, and files of the image name some:");
    for image in found.iter().take(20) {
        message.push_str(&format!("\n  {}:{}: {}", image.path, image.line, image.reference));
    }
    if found.len() > 20 {
        message.push_str(&format!("\n  and {} more", found.len() - 20));
    }
    Failure::usage(message).hint("`--build-mode lite` builds the image without container images")
}

fn hints_of(error: &OpError) -> Vec<String> {
    let hint = match error {
        OpError::Local(engine::LocalError::NotFound { ignored: false, context, .. }) => {
            format!(
                "sources are relative to the build context `{}`, whatever the working directory",
                context.display()
            )
        }
        OpError::Local(engine::LocalError::NotFound { .. }) => {
            "the first of .sealerignore, .containerignore and .dockerignore in the context decides".to_owned()
        }
        OpError::Local(engine::LocalError::Escapes { .. }) => {
            "copy the file into the context, or make the context the directory that holds both".to_owned()
        }
        OpError::Http(engine::source::http::HttpError::Fetch(engine::FetchError::TooLarge { .. })) => {
            "`--max-download SIZE` allows more".to_owned()
        }
        OpError::Http(engine::source::http::HttpError::Checksum { .. }) => {
            "if the new content is what you want, change the checksum in the Kubefile".to_owned()
        }
        OpError::Images(ImagesError::NotFound { .. }) => {
            "base images come from the local store; pulling from registries is not supported yet".to_owned()
        }
        _ => return Vec::new(),
    };
    vec![hint]
}

/// An error with the causes its own text does not already hold.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
