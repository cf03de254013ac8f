//! `sealer build --check`: a text with what is known of its bases and its context, looked through by every lint.
//!
//! What a source selects only the context knows, and it is somebody else's: the list of sources goes out, answers come in.

use std::collections::{BTreeMap, HashSet};

use solver::{Base, SourceFile, Span};

use crate::diagnostic::Diagnostic;
use crate::evaluate::{Evaluation, evaluate};
use crate::lint::{LINTS, Rule, Subject};
use crate::model::{ImageKey, Model};
use crate::{Options, Severity};

/// What a source selects in the build context, as names alone tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// One file, named without wildcards.
    File,
    /// A directory, named without wildcards.
    Directory,
    /// Whatever wildcards match.
    Several,
    /// Nothing.
    Nothing,
    /// Nothing but what an ignore file leaves out.
    Ignored,
}

/// A text to be looked through.
#[derive(Debug)]
pub struct Check<'a> {
    model: &'a Model,
    source: &'a SourceFile,
    evaluation: Evaluation,
}

impl<'a> Check<'a> {
    /// Prepares a check. `bases` are those of [`Model::bases`] that are known; of others nothing is said.
    pub fn new(
        model: &'a Model,
        source: &'a SourceFile,
        options: &Options,
        bases: &BTreeMap<ImageKey, Base>,
    ) -> Self {
        Self { model, source, evaluation: evaluate(&model.file, options, Some(bases)) }
    }

    /// The patterns by which the stages to build select files of the context, and where they stand.
    pub fn sources(&self) -> BTreeMap<String, Vec<Span>> {
        let none = BTreeMap::new();
        let mut sources: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for source in self.subject(&none, false).context_sources() {
            sources.entry(source.pattern).or_default().push(source.span);
        }
        sources
    }

    /// What only the bases show, and what the lints find; what [`crate::model`] said already is not repeated.
    ///
    /// `selections` are answers to [`Check::sources`]; nothing is said of sources that have none. `has_errors` is whether
    /// something is wrong with the text already: then what is missing may be what could not be read.
    pub fn findings(&self, selections: &BTreeMap<String, Selection>, has_errors: bool) -> Vec<Diagnostic> {
        let mut found = self.evaluation.diagnostics.clone();
        let has_errors = has_errors || found.iter().any(|found| found.severity == Severity::Error);
        let subject = self.subject(selections, has_errors);
        for lint in LINTS {
            if let Rule::Check(rule) = lint.rule {
                found.extend(rule(&subject));
            }
        }
        found.sort_by_key(Diagnostic::start);
        let known: HashSet<&Diagnostic> = self.model.evaluation.diagnostics.iter().collect();
        found.retain(|found| !known.contains(found));
        self.model.file.checks.apply(found)
    }

    fn subject<'s>(&'s self, selections: &'s BTreeMap<String, Selection>, has_errors: bool) -> Subject<'s> {
        let (source, file, evaluation) = (self.source, &self.model.file, &self.evaluation);
        Subject { source, file, evaluation, selections, has_errors }
    }
}
