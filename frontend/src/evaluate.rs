//! Statements to stages: variables expanded, every rule checked, nothing lowered yet.
//!
//! It runs twice. Without bases (`model`) it says all that the text alone decides; what needs a base image is *open*
//! and passed over. With bases (`lower`) nothing is open.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use solver::{Base, Span};

use crate::Options;
use crate::ast::{Arguments, File, Quoting, Statement, Word};
use crate::context::context_name;
use crate::diagnostic::{self, AppHelp, Diagnostic};
use crate::expand::{self, Lookup};
use crate::instruction;
use crate::model::ImageKey;
use crate::stage::{App, Stage, StageBase};
use crate::suggest::nearest;

/// What evaluation found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evaluation {
    pub(crate) stages: Vec<Stage>,
    /// The stage to build; `None` if there is none.
    pub(crate) target: Option<usize>,
    /// Whether each stage is needed for the target.
    pub(crate) reachable: Vec<bool>,
    /// LAUNCH names with their stages and places.
    pub(crate) launched: Vec<(usize, String, Span)>,
    /// Whether a stage, an image or a context is named by variables that a base may set.
    pub(crate) is_from_open: bool,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The state of an evaluation; instructions work on it.
pub(crate) struct Evaluator<'a> {
    pub(crate) file: &'a File,
    pub(crate) options: &'a Options,
    pub(crate) bases: Option<&'a BTreeMap<ImageKey, Base>>,
    pub(crate) stages: Vec<Stage>,
    /// Stages by lower-case name.
    pub(crate) stage_names: HashMap<String, usize>,
    /// ARGs before the first FROM.
    pub(crate) globals: BTreeMap<String, Lookup>,
    /// Names of all ARGs: these consume build args.
    pub(crate) declared_args: HashSet<String>,
    /// LAUNCH names, checked when all applications are known.
    pub(crate) launched: Vec<(usize, String, Span)>,
    /// Where each application is declared last, as written; made when first asked for.
    pub(crate) last_declared: Option<HashMap<&'a str, Span>>,
    /// Where the last stage of each name, in lower case, gets it; made when first asked for.
    pub(crate) last_named: Option<HashMap<String, Span>>,
    /// Named contexts that something refers to.
    pub(crate) used_contexts: BTreeSet<String>,
    pub(crate) is_from_open: bool,
    /// By stage, what cannot be built yet: an error only where the stage is built.
    unsupported: Vec<(usize, Diagnostic)>,
    /// Bytes that variables may still expand to.
    expansion_budget: usize,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Evaluates a file; `bases` are given by [`crate::lower`] alone.
pub(crate) fn evaluate(
    file: &File,
    options: &Options,
    bases: Option<&BTreeMap<ImageKey, Base>>,
) -> Evaluation {
    let mut evaluator = Evaluator {
        file,
        options,
        bases,
        stages: Vec::new(),
        stage_names: HashMap::new(),
        globals: BTreeMap::new(),
        declared_args: HashSet::new(),
        launched: Vec::new(),
        last_declared: None,
        last_named: None,
        used_contexts: BTreeSet::new(),
        is_from_open: false,
        unsupported: Vec::new(),
        expansion_budget: EXPANSION_BUDGET,
        diagnostics: Vec::new(),
    };
    evaluator.statements();
    instruction::launch_rules(&mut evaluator);
    evaluator.check_launched();
    evaluator.check_build_args();
    evaluator.check_contexts();
    let (target, reachable) = evaluator.choose_target();
    let needed = |stage: usize| reachable.get(stage) == Some(&true);
    let unsupported = std::mem::take(&mut evaluator.unsupported).into_iter();
    let unsupported = unsupported.filter(|(stage, _)| needed(*stage)).map(|(_, diagnostic)| diagnostic);
    evaluator.diagnostics.extend(unsupported);
    instruction::check_cmd(&mut evaluator, target, &reachable);
    evaluator.check_commands(target);
    evaluator.diagnostics.sort_by_key(Diagnostic::start);
    let Evaluator { stages, launched, is_from_open, diagnostics, .. } = evaluator;
    Evaluation { stages, target, reachable, launched, is_from_open, diagnostics }
}

impl Evaluator<'_> {
    fn statements(&mut self) {
        let file = self.file;
        let has_from = file.statements.iter().any(|statement| statement.keyword == "FROM");
        if let (false, Some(first)) = (has_from, file.statements.first()) {
            self.report(diagnostic::no_from(first.span));
            // The rest is checked as if there were one.
            self.stages.push(Stage { span: first.span, ..instruction::on_unknown() });
        }
        for statement in &file.statements {
            if self.stages.is_empty() && !matches!(statement.keyword, "FROM" | "ARG") {
                self.report(diagnostic::before_from(statement.keyword_span, statement.keyword));
                continue;
            }
            if let Some(instruction) = instruction::find(statement.keyword) {
                (instruction.apply)(self, statement);
            }
        }
    }

    /// Adds a finding.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Adds what cannot be built yet in the current stage; it counts only if that stage is built.
    pub(crate) fn report_unsupported(&mut self, diagnostic: Diagnostic) {
        self.unsupported.push((self.stages.len() - 1, diagnostic));
    }

    /// The stage being filled; instructions other than FROM and ARG run only when there is one.
    pub(crate) fn stage(&mut self) -> &mut Stage {
        self.stages.last_mut().expect("instructions before the first FROM are not applied")
    }

    /// Expands a word in the scope of the current stage, or in the global one before and in FROM.
    ///
    /// `None` if the word is faulty (reported) or only the base image can complete it.
    pub(crate) fn expand(&mut self, word: &Word, scope: Scope) -> Option<String> {
        let lookup = |name: &str| self.lookup(name, scope);
        let exact = word.span.end - word.span.start == word.text.len();
        let part =
            |range: Range<usize>| Span::new(word.span.start + range.start, word.span.start + range.end);
        let expanded =
            expand::expand(&word.text, word.quoting, self.file.escape, self.expansion_budget, &lookup);
        match expanded {
            Err((error, range)) => {
                // A heredoc is too much text to look for the mistake in; a word is not.
                let is_heredoc = exact && word.quoting == Quoting::Literal;
                let place = if is_heredoc { part(range) } else { word.span };
                self.report(diagnostic::expansion_failed(place, error));
                None
            }
            Ok(expansion) => {
                let added = expansion.text.len().saturating_sub(word.text.len());
                self.expansion_budget = self.expansion_budget.saturating_sub(added);
                for (name, range) in expansion.unset {
                    if self.is_declared(&name, scope) {
                        continue;
                    }
                    let place = if exact { part(range) } else { word.span };
                    let known = self.helps().then(|| nearest(&name, self.names(scope))).flatten();
                    let diagnostic = diagnostic::unset_variable(place, &name, known);
                    self.report(diagnostic);
                }
                (!expansion.unknown).then_some(expansion.text)
            }
        }
    }

    /// Whether to look for similar names: nobody reads the thousandth finding, and each look costs.
    fn helps(&self) -> bool {
        self.diagnostics.len() < 1000
    }

    fn lookup(&self, name: &str, scope: Scope) -> Lookup {
        let value = |value: &Option<String>| value.clone().map_or(Lookup::Unknown, Lookup::Value);
        let stage = match scope {
            Scope::Global => None,
            Scope::Stage => self.stages.last(),
        };
        let Some(stage) = stage else {
            return match self.globals.get(name) {
                Some(known) => known.clone(),
                None => self.predefined(name).map_or(Lookup::Unset, Lookup::Value),
            };
        };
        if let Some(known) = stage.env.get(name) {
            return value(known);
        }
        if stage.open {
            // The base may set it, and ENV goes before ARG.
            return Lookup::Unknown;
        }
        match stage.args.get(name) {
            Some(known) => known.clone(),
            None => self.predefined(name).map_or(Lookup::Unset, Lookup::Value),
        }
    }

    /// Whether an ARG declares a name in a scope, with a value or without.
    fn is_declared(&self, name: &str, scope: Scope) -> bool {
        match (scope, self.stages.last()) {
            (Scope::Stage, Some(stage)) => stage.args.contains_key(name),
            _ => self.globals.contains_key(name),
        }
    }

    /// Names to suggest. Lazy: a text full of mistakes must not list them all each time.
    fn names(&self, scope: Scope) -> impl Iterator<Item = &str> {
        let stage = self.stages.last().filter(|_| scope == Scope::Stage);
        let globals = self.globals.keys().filter(move |_| stage.is_none());
        let env = stage.into_iter().flat_map(|stage| stage.env.names());
        let args = stage.into_iter().flat_map(|stage| stage.args.keys());
        PREDEFINED
            .iter()
            .copied()
            .chain(args.map(String::as_str))
            .chain(env)
            .chain(globals.map(String::as_str))
    }

    /// Variables that are always there.
    pub(crate) fn predefined(&self, name: &str) -> Option<String> {
        let target = &self.options.platform;
        Some(match name {
            "ARCH" | "TARGETARCH" => target.architecture.clone(),
            "TARGETOS" => target.os.clone(),
            "TARGETVARIANT" => target.variant.clone().unwrap_or_default(),
            "TARGETPLATFORM" => target.to_string(),
            "BUILDPLATFORM" => format!("linux/{}", build_architecture()),
            "BUILDOS" => "linux".to_owned(),
            "BUILDARCH" => build_architecture().to_owned(),
            "BUILDVARIANT" => String::new(),
            _ => return None,
        })
    }

    /// The stage a word names: by name in any case, or by index.
    pub(crate) fn find_stage(&self, name: &str) -> Option<usize> {
        let by_name = self.stage_names.get(&name.to_lowercase()).copied();
        by_name.or_else(|| name.parse().ok().filter(|&index| index < self.stages.len()))
    }

    fn check_launched(&mut self) {
        let launched = std::mem::take(&mut self.launched);
        for (stage, name, span) in &launched {
            let stage = &self.stages[*stage];
            if stage.open || stage.apps_open || stage.apps.contains(name) {
                continue;
            }
            let elsewhere = || self.stages.iter().find(|stage| stage.apps.contains(name));
            let help = match self.helps().then(elsewhere) {
                None => AppHelp::Nearest(None),
                Some(Some(stage)) => AppHelp::OtherStage(&stage.name),
                Some(None) => AppHelp::Nearest(nearest(name, stage.apps.names())),
            };
            let diagnostic = diagnostic::unknown_app(*span, "LAUNCH", name, help);
            self.report(diagnostic);
        }
        self.launched = launched;
    }

    /// Applications that nothing tells the type of need commands. Only the target's are applications of the image,
    /// and a stage may give the commands of what it takes over.
    fn check_commands(&mut self, target: Option<usize>) {
        let target = target.and_then(|target| self.stages.get(target));
        // Where a name is not known yet, the commands may be this application's.
        let Some(stage) = target.filter(|stage| !stage.apps_open) else { return };
        let given = |name: &str| stage.apps.overrides.get(name).is_some_and(|given| given.cmds.is_some());
        let without = stage.apps.list.iter().filter(|app| !given(app.name()));
        let found: Vec<Diagnostic> = without
            .filter_map(|app| match app {
                App::Declared(app) if app.sources == 0 => {
                    Some(diagnostic::app_needs_commands(app.span, &app.name))
                }
                App::Inherited(app) if app.kind.is_none() && app.cmds.is_empty() => {
                    Some(diagnostic::inherited_app_needs_commands(stage.span, &app.name))
                }
                App::Declared(_) | App::Inherited(_) => None,
            })
            .collect();
        self.diagnostics.extend(found);
    }

    fn check_build_args(&mut self) {
        let Some(from) = self.stages.first().map(|stage| stage.span) else { return };
        let given = self.options.build_args.keys().map(String::as_str);
        let unused: Vec<&str> = given
            .filter(|name| !self.declared_args.contains(*name))
            .filter(|name| !PROXY.iter().any(|proxy| proxy.eq_ignore_ascii_case(name)))
            .collect();
        if unused.is_empty() {
            return;
        }
        let mut diagnostic = diagnostic::unused_build_args(from, unused.iter().copied());
        let mut declared: Vec<&str> = self.declared_args.iter().map(String::as_str).collect();
        declared.sort_unstable();
        for name in unused {
            if let Some(known) = nearest(name, declared.iter().copied()) {
                diagnostic = diagnostic::build_arg_suggestion(diagnostic, known);
            }
        }
        self.report(diagnostic);
    }

    fn check_contexts(&mut self) {
        // What is not named yet may be any of them.
        let Some(from) = self.stages.first().filter(|_| !self.is_from_open).map(|stage| stage.span) else {
            return;
        };
        let given = self.options.contexts.keys().filter(|name| !self.used_contexts.contains(*name));
        let unused: Vec<&str> = given.map(String::as_str).collect();
        if !unused.is_empty() {
            let diagnostic = diagnostic::unused_contexts(from, unused);
            self.report(diagnostic);
        }
    }

    fn choose_target(&mut self) -> (Option<usize>, Vec<bool>) {
        let Some(last) = self.stages.len().checked_sub(1) else { return (None, Vec::new()) };
        let target = match &self.options.target {
            None => last,
            Some(name) => self.find_stage(name).unwrap_or_else(|| {
                let mut named: Vec<&str> =
                    self.stages.iter().filter(|stage| stage.named).map(|stage| stage.name.as_str()).collect();
                named.sort_unstable();
                let known = nearest(name, named.iter().copied());
                let diagnostic =
                    diagnostic::unknown_target(self.stages[last].span, name, known, named.clone());
                self.report(diagnostic);
                last
            }),
        };
        let reachable = self.reachable(target);
        let from_last = self.reachable(last);
        for index in 0..last {
            // Who puts something else in the place of a stage knows that it is not built.
            let is_replaced = self.used_contexts.contains(&context_name(&self.stages[index].name));
            let is_used = reachable[index] || from_last[index] || is_replaced || self.is_from_open;
            if !is_used {
                let diagnostic = diagnostic::unused_stage(self.stages[index].span, &self.stages[index].name);
                self.report(diagnostic);
            }
        }
        (Some(target), reachable)
    }

    /// Stages only refer to earlier ones, so one walk backwards finds all.
    fn reachable(&self, target: usize) -> Vec<bool> {
        let mut reachable = vec![false; self.stages.len()];
        reachable[target] = true;
        for index in (0..=target).rev() {
            if reachable[index] {
                let stage = &self.stages[index];
                if let StageBase::Stage(below) = stage.base {
                    reachable[below] = true;
                }
                stage.copies_from.iter().for_each(|&from| reachable[from] = true);
            }
        }
        reachable
    }
}

/// More than any text that people write expands to; values made of values double with every line.
const EXPANSION_BUDGET: usize = 64 << 20;

/// Which variables a word sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// ARGs before the first FROM.
    Global,
    /// ARG and ENV of the current stage.
    Stage,
}

const PREDEFINED: &[&str] = &[
    "ARCH",
    "TARGETARCH",
    "TARGETOS",
    "TARGETVARIANT",
    "TARGETPLATFORM",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
];

/// Build args that are passed everywhere and need no ARG.
pub(crate) const PROXY: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// The machine the build runs on, in OCI's words.
fn build_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The words of a statement whose form gives words.
pub(crate) fn words(statement: &Statement) -> &[Word] {
    match &statement.arguments {
        Arguments::Words(words) => words,
        _ => &[],
    }
}
