//! The lint table: everything that is a warning, by name. One row a lint, one page a row in `docs/lint/`.
//!
//! Some are found on the way from text to definition and told by every build; the rules below `lint/` run for
//! `--check` alone, so that a build stays quiet. A rule looks at an evaluated text and opens nothing.

mod base;
mod case;
mod form;
mod launch;
mod overwrite;
mod secret;
mod selection;
mod url;

use std::collections::BTreeMap;
use std::fmt;

use solver::{LocalSource, SourceFile, SourceKind, Span};

use crate::ast::{File, Statement, Word};
use crate::check::Selection;
use crate::diagnostic::Diagnostic;
use crate::evaluate::{self, Evaluation};
use crate::paths;
use crate::stage::{App, CopyFrom, Stage, Step, Work};

/// A row of the table.
#[derive(Clone, Copy)]
pub struct Lint {
    /// The code of its diagnostics, and the name of its page.
    pub name: &'static str,
    /// What it finds, in one line.
    pub doc: &'static str,
    pub(crate) rule: Rule,
}

/// How a lint finds what it finds.
#[derive(Clone, Copy)]
pub(crate) enum Rule {
    /// While the text is read and evaluated.
    Always,
    /// By looking through an evaluated text.
    Check(fn(&Subject<'_>) -> Vec<Diagnostic>),
}

impl fmt::Debug for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lint").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Lint {
    /// Its page, from the root of the project.
    pub fn page(&self) -> String {
        format!("docs/lint/{}.md", self.name)
    }

    /// Whether every build tells it, not only `--check`.
    pub fn is_always_told(&self) -> bool {
        matches!(self.rule, Rule::Always)
    }
}

const fn always(name: &'static str, doc: &'static str) -> Lint {
    Lint { name, doc, rule: Rule::Always }
}

const fn check(name: &'static str, doc: &'static str, rule: fn(&Subject<'_>) -> Vec<Diagnostic>) -> Lint {
    Lint { name, doc, rule: Rule::Check(rule) }
}

/// Every lint, by name.
pub const LINTS: &[Lint] = &[
    check(
        "app-not-launched",
        "an application that neither LAUNCH nor a command launches",
        launch::not_launched,
    ),
    always("app-redeclared", "an application declared twice, whose files of both declarations stay"),
    always("app-wildcard", "a wildcard in a source of an application, where sources are paths"),
    always("appenv-ignored", "a word of APPENV that is not KEY=VALUE"),
    check(
        "base-app-replaced",
        "an application that the base has already, whose files of both stay",
        overwrite::base_app,
    ),
    check("base-latest", "a base with the tag `latest`, or without any", base::latest),
    always("base-like-stage", "a base that is taken as an image, though a stage has its name or nearly"),
    always("blank-continuation", "a blank line in the middle of an instruction"),
    always("check-option", "something in a `# check=` directive that means nothing"),
    always("cmd-deprecated", "CMD, which is deprecated"),
    always("cmd-not-final", "CMD of a stage whose commands nothing takes over"),
    check(
        "constant-platform",
        "a base whose platform does not follow the one built for",
        base::constant_platform,
    ),
    check("copy-into-app", "a COPY or ADD into the directory of an application", overwrite::into_app),
    check("from-as-case", "`as` in another case than its FROM", case::from_as),
    check("ignored-source", "a source that an ignore file leaves out", selection::ignored),
    always("json-invalid", "something that looks like a JSON array, and is read as words"),
    always("keep-git-dir", "--keep-git-dir without a git repository"),
    check("keyword-case", "a keyword in another case than most", case::keyword),
    check("launched-twice", "an application that LAUNCH names twice", launch::twice),
    check("legacy-pair", "ENV or LABEL without a `=`", form::legacy_pair),
    check(
        "misplaced-directive",
        "a directive that is not at the top, and so is a comment",
        form::misplaced_directive,
    ),
    check("nothing-selected", "a source that selects nothing in the build context", selection::nothing),
    check("overwritten-file", "a file that a later source overwrites", overwrite::file),
    check("plain-http", "a file fetched over plain http, without a checksum", url::plain_http),
    check("reserved-stage-name", "a stage named `scratch`, which none can start from", case::reserved_stage),
    always("same-file-name", "two sources of an application with one file name"),
    check("secret-variable", "a variable that looks like a secret", secret::variable),
    check("stage-name-case", "a stage name with capital letters", case::stage_name),
    always("trailing-comment", "a `#` in the middle of a line, where it starts no comment"),
    always("unknown-lint", "a name in `# check=skip=` that no lint has"),
    check("unpinned-url", "a file fetched over https, without a checksum", url::unpinned),
    always("unset-variable", "a variable that is not set, and expands to nothing"),
    always("unused-build-arg", "a --build-arg that no ARG declares"),
    always("unused-build-context", "a --build-context that nothing uses"),
    always("unused-stage", "a stage that is neither built nor used"),
];

/// The row of a name.
pub(crate) fn find(name: &str) -> Option<&'static Lint> {
    LINTS.iter().find(|lint| lint.name == name)
}

/// What a rule looks at.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) source: &'a SourceFile,
    pub(crate) file: &'a File,
    pub(crate) evaluation: &'a Evaluation,
    /// What sources select, where somebody looked.
    pub(crate) selections: &'a BTreeMap<String, Selection>,
    /// Whether the text has errors, so that what is missing may only be unreadable.
    pub(crate) has_errors: bool,
}

/// A source that the build context must have.
pub(crate) struct ContextSource {
    pub(crate) pattern: String,
    /// As written.
    pub(crate) span: Span,
}

impl<'a> Subject<'a> {
    /// The text as it stands.
    pub(super) fn text(&self, span: Span) -> &'a str {
        self.source.text.get(span.start..span.end).unwrap_or_default()
    }

    /// The statement that starts where a span does.
    pub(super) fn statement(&self, span: Span) -> Option<&'a Statement> {
        let statements = &self.file.statements;
        let found = statements.binary_search_by_key(&span.start, |statement| statement.span.start);
        statements.get(found.ok()?)
    }

    /// Stages with their FROM; one that stands for a missing FROM is left out.
    pub(super) fn stages(&self) -> impl Iterator<Item = (&'a Stage, &'a Statement)> {
        let froms = self.file.statements.iter().filter(|statement| statement.keyword == "FROM");
        let has_from = froms.clone().next().is_some();
        self.evaluation.stages.iter().filter(move |_| has_from).zip(froms)
    }

    /// The sources of a COPY or ADD with the words they are made of; the last word is the destination's.
    pub(super) fn copied(&self, step: &'a Step) -> Option<(Vec<(&'a CopyFrom, &'a Word)>, &'a Word)> {
        let Work::Copy(copy) = &step.work else { return None };
        let (destination, words) = evaluate::words(self.statement(step.span)?).split_last()?;
        Some((copy.sources.iter().zip(words).collect(), destination))
    }

    /// What the stages to build want of the context.
    pub(crate) fn context_sources(&self) -> impl Iterator<Item = ContextSource> {
        let Subject { evaluation, .. } = *self;
        let is_built = |index: usize| evaluation.reachable.get(index) == Some(&true);
        let stages = evaluation.stages.iter().enumerate().filter(move |(index, _)| is_built(*index));
        let subject = *self;
        let sources =
            stages.flat_map(|(_, stage)| &stage.steps).flat_map(move |step| subject.sources_of(step));
        sources.chain(self.values_files())
    }

    /// The values files of the applications of the image.
    fn values_files(&self) -> impl Iterator<Item = ContextSource> {
        let Subject { evaluation, .. } = *self;
        let target = evaluation.target.and_then(|target| evaluation.stages.get(target));
        let files = target.into_iter().flat_map(|stage| &stage.apps.list).flat_map(|app| match app {
            App::Declared(app) => app.values.files.as_slice(),
            App::Inherited(_) => &[],
        });
        files.map(|(file, span)| ContextSource { pattern: file.pattern.clone(), span: *span })
    }

    fn sources_of(&self, step: &'a Step) -> Vec<ContextSource> {
        if let Work::App { sources, .. } = &step.work {
            let local = sources.iter().filter(|source| source.kind == SourceKind::Local);
            let source = |source: &crate::stage::AppFrom| ContextSource {
                pattern: paths::literal_pattern(&source.place),
                span: source.span,
            };
            return local.map(source).collect();
        }
        let Some((sources, _)) = self.copied(step) else { return Vec::new() };
        let local = |(source, word): (&CopyFrom, &Word)| match source {
            CopyFrom::Local { context, pattern } if context == LocalSource::OWN => {
                Some(ContextSource { pattern: paths::without_pivot(pattern), span: word.span })
            }
            _ => None,
        };
        sources.into_iter().filter_map(local).collect()
    }
}
