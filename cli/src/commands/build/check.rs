//! `sealer build --check`: everything that is wrong with a Kubefile and everything that a lint finds, and no build.
//!
//! Bases are those the store has: no registry is asked, and no store is made or written. Of the context only names are
//! looked at.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use cache::Store;
use engine::{Bases, Context, ImagesError, LocalError, Look, PullPolicy, Reference, RegistryError};
use frontend::{Check, Diagnostic, ImageKey, Label, Model, Options, Selection, Severity};
use serde_json::{Value, json};
use solver::{Base, SourceFile, Span};

use super::options::Settings;
use super::{kubefile, sarif};
use crate::args::{Build, CheckFormat, Global};
use crate::interrupt::Interrupt;
use crate::report::{self, Failure, Page, Reporter};
use crate::{settings, ui};

/// The version of the JSON object; it is one more when a reader has to know.
const FORMAT_VERSION: u32 = 1;

/// Looks a Kubefile through and tells what it found.
pub(super) fn run(
    args: &Build,
    settings: &Settings,
    global: &Global,
    reporter: &Reporter,
    root: &Path,
) -> Result<(), Failure> {
    // It may come through a pipe that stays silent: until it is here, a signal simply ends the process.
    let source = Arc::new(kubefile::read_here(args, settings.contexts.own())?);
    let interrupt = Interrupt::listen()?;
    let registry = settings::registry(&args.registry, global, &interrupt.cancel)?;
    let store = Store::open_existing(root)?;
    let bases = store.as_ref().map(|store| Bases::new(store, &registry));

    let parsed = frontend::parse(&source);
    let mut checker = Checker {
        bases: bases.as_ref(),
        args,
        interrupt: &interrupt,
        context: None,
        selections: BTreeMap::new(),
        found: parsed.diagnostics.clone(),
        unresolved: BTreeSet::new(),
    };
    for options in &settings.frontends {
        let (model, said) = frontend::model(&parsed, options);
        checker.found.extend(said);
        checker.check(&model, &source, options)?;
    }
    let Checker { found, unresolved, .. } = checker;
    let checked = Checked { pages: pages(&source, found, global.strict), unresolved, source };
    checked.tell(args.format.unwrap_or(CheckFormat::Text), reporter);
    if checked.errors() > 0 { Err(Failure::Told(1)) } else { Ok(()) }
}

/// Findings on the way.
struct Checker<'a> {
    bases: Option<&'a Bases<'a>>,
    args: &'a Build,
    interrupt: &'a Interrupt,
    /// Opened when the first source asks for it.
    context: Option<Context>,
    /// What is known of sources; several platforms ask for the same.
    selections: BTreeMap<String, Selection>,
    found: Vec<Diagnostic>,
    /// Bases that nothing is known of.
    unresolved: BTreeSet<String>,
}

impl Checker<'_> {
    fn check(&mut self, model: &Model, source: &SourceFile, options: &Options) -> Result<(), Failure> {
        let bases = self.resolve(model, options)?;
        let check = Check::new(model, source, options, &bases);
        for (pattern, places) in check.sources() {
            self.look(&pattern, &places)?;
        }
        let has_errors = self.found.iter().any(|found| found.severity == Severity::Error);
        self.found.extend(check.findings(&self.selections, has_errors));
        Ok(())
    }

    /// The bases that the store has. A wrong name is an error; of the rest a registry may know more.
    fn resolve(&mut self, model: &Model, options: &Options) -> Result<BTreeMap<ImageKey, Base>, Failure> {
        let mut known = BTreeMap::new();
        for request in model.bases() {
            let wanted = match &request.image.platform {
                Some(platform) => settings::platform(std::slice::from_ref(platform))?,
                None => options.platform.clone(),
            };
            let name = request.image.reference.as_str();
            let base = match self.bases {
                Some(bases) => bases.resolve(name, &wanted, PullPolicy::Never, settings::now(), &|_| {}),
                None => Err(ImagesError::NotFound { name: name.to_owned(), tried: Vec::new() }.into()),
            };
            match base {
                Ok(base) if wanted.runs(&base.image.platform()) => {
                    let full = base.line.name.clone().unwrap_or_else(|| name.to_owned());
                    known.insert(request.image.clone(), base.image.as_base(&full));
                }
                Ok(_) => {
                    self.unresolved.insert(name.to_owned());
                }
                Err(RegistryError::Images(ImagesError::NotFound { .. } | ImagesError::Platform { .. })) => {
                    self.unresolved.insert(name.to_owned());
                    if let Err(error) = Reference::parse(name) {
                        self.found.push(wrong_base(&error.into(), request.span));
                    }
                }
                Err(error) => self.found.push(wrong_base(&error, request.span)),
            }
        }
        Ok(known)
    }

    /// Asks the context what a source selects, once.
    fn look(&mut self, pattern: &str, places: &[Span]) -> Result<(), Failure> {
        if self.selections.contains_key(pattern) {
            return Ok(());
        }
        let context = match self.context.take() {
            Some(context) => context,
            None => Context::open(&self.args.path).map_err(|error| wrong_context(&error))?,
        };
        let look = self.context.insert(context).look(pattern, &self.interrupt.cancel);
        let selection = match look {
            Ok(Look::File) => Selection::File,
            Ok(Look::Directory) => Selection::Directory,
            Ok(Look::Several) => Selection::Several,
            Ok(Look::Nothing) => Selection::Nothing,
            Ok(Look::Ignored) => Selection::Ignored,
            Err(LocalError::Cancelled) => {
                let what = "the check was cancelled";
                return Err(Failure::Cancelled { signal: self.interrupt.signal(), what });
            }
            Err(error) => {
                let hint = report::hint_of_local(&error);
                let error = |place: &Span| error_at(*place, "step-failed", error.to_string(), hint.clone());
                self.found.extend(places.iter().map(error));
                return Ok(());
            }
        };
        self.selections.insert(pattern.to_owned(), selection);
        Ok(())
    }
}

fn error_at(span: Span, code: &'static str, message: String, hint: Option<String>) -> Diagnostic {
    let labels = vec![Label { span, text: String::new() }];
    Diagnostic { severity: Severity::Error, code, message, labels, hints: hint.into_iter().collect() }
}

/// As a build says it.
fn wrong_base(error: &RegistryError, span: Span) -> Diagnostic {
    let message = format!("failed to process from: {error}");
    error_at(span, "base-image", message, report::hint_of_registry(error))
}

fn wrong_context(error: &LocalError) -> Failure {
    Page::of("context", error).into()
}

/// Findings as pages, each once, in the order of the text.
fn pages(source: &Arc<SourceFile>, mut found: Vec<Diagnostic>, strict: bool) -> Vec<Page> {
    let mut seen = HashSet::new();
    found.retain(|one| seen.insert(one.clone()));
    found.sort_by_key(|found| found.labels.first().map(|label| label.span.start));
    let page = |diagnostic| {
        let page = Page::of_diagnostic(source, diagnostic);
        if strict && !page.is_error() { page.into_error() } else { page }
    };
    found.into_iter().map(page).collect()
}

/// What was found.
struct Checked {
    source: Arc<SourceFile>,
    pages: Vec<Page>,
    unresolved: BTreeSet<String>,
}

impl Checked {
    fn errors(&self) -> usize {
        self.pages.iter().filter(|page| page.is_error()).count()
    }

    fn tell(&self, format: CheckFormat, reporter: &Reporter) {
        match format {
            CheckFormat::Text => {
                reporter.show(&self.pages);
                reporter.summary(&self.summary());
            }
            CheckFormat::Json => ui::data(&format!("{:#}", self.json())),
            CheckFormat::Sarif => ui::data(&format!("{:#}", sarif::document(&self.source, &self.pages))),
        }
    }

    fn summary(&self) -> String {
        let errors = self.errors();
        let count = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            many => Some(format!("{many} {what}s")),
        };
        let counts = [count(errors, "error"), count(self.pages.len() - errors, "warning")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        let found = if counts.is_empty() { "nothing to say".to_owned() } else { counts.join(" and ") };
        let unresolved: Vec<&str> = self.unresolved.iter().map(String::as_str).collect();
        let unknown = match unresolved.as_slice() {
            [] => String::new(),
            names => format!("; not in the store, so not looked into: {}", names.join(", ")),
        };
        format!("checked {}: {found}{unknown}", self.source.name)
    }

    fn json(&self) -> Value {
        let lines = self.source.lines();
        let finding = |page: &Page| {
            let mut finding = page.json(&|offset| lines.position(offset));
            finding["page"] = json!(page.lint().map(frontend::Lint::page));
            finding
        };
        let errors = self.errors();
        json!({
            "version": FORMAT_VERSION,
            "file": self.source.name,
            "errors": errors,
            "warnings": self.pages.len() - errors,
            "unresolved_bases": self.unresolved,
            "findings": self.pages.iter().map(finding).collect::<Vec<_>>(),
        })
    }
}
