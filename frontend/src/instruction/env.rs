//! ARG, ENV, LABEL, MAINTAINER and KUBEVERSION: what an image says beside its files.

use crate::ast::{Arguments, Pair, Quoting, Statement, Word};
use crate::diagnostic;
use crate::evaluate::{self, Evaluator, Scope};
use crate::expand::Lookup;
use crate::stage::History;

/// Applies ARG: `--build-arg`, else the default, else what it has already.
pub(super) fn arg(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let words = evaluate::words(statement);
    if words.is_empty() {
        evaluator.report(diagnostic::missing_arguments(statement.span, statement.keyword));
    }
    let scope = if evaluator.stages.is_empty() { Scope::Global } else { Scope::Stage };
    for word in words {
        let (name, default) = match word.text.find('=') {
            None => (word.text.as_str(), None),
            Some(equals) => (&word.text[..equals], Some(part(word, equals + 1))),
        };
        if name.is_empty() {
            evaluator.report(diagnostic::blank_name(word.span, statement.keyword));
            continue;
        }
        evaluator.declared_args.insert(name.to_owned());
        let default =
            default.map(|word| evaluator.expand(&word, scope).map_or(Lookup::Unknown, Lookup::Value));
        let inherited = || inherited(evaluator, scope, name);
        let value = match evaluator.options.build_args.get(name) {
            Some(given) => Lookup::Value(given.clone()),
            None => default.unwrap_or_else(inherited),
        };
        match scope {
            Scope::Global => evaluator.globals.insert(name.to_owned(), value),
            Scope::Stage => evaluator.stage().args.insert(name.to_owned(), value),
        };
    }
    if scope == Scope::Stage {
        record(evaluator, statement);
    }
}

/// What an ARG without a default has: what is set before the first FROM, else what it had above, else what is always there.
fn inherited(evaluator: &Evaluator<'_>, scope: Scope, name: &str) -> Lookup {
    let above = evaluator.stages.last().and_then(|stage| stage.args.get(name));
    let known = [evaluator.globals.get(name), above.filter(|_| scope == Scope::Stage)];
    let mut set = known.into_iter().flatten().filter(|value| **value != Lookup::Unset);
    let predefined = || evaluator.predefined(name).map_or(Lookup::Unset, Lookup::Value);
    set.next().cloned().unwrap_or_else(predefined)
}

/// Applies ENV; values see the environment before the instruction.
pub(super) fn env(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    for (name, value) in expand_pairs(evaluator, statement) {
        let stage = evaluator.stage();
        if let Some(value) = &value {
            stage.extension_env.insert(name.clone(), value.clone());
        }
        stage.env.set(&name, value);
    }
    record(evaluator, statement);
}

/// Applies LABEL.
pub(super) fn label(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    for (name, value) in expand_pairs(evaluator, statement) {
        evaluator.stage().labels.insert(name, value.unwrap_or_default());
    }
    record(evaluator, statement);
}

/// Applies MAINTAINER.
pub(super) fn maintainer(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    match raw(statement).filter(|word| !word.text.is_empty()) {
        Some(word) => {
            if let Some(author) = evaluator.expand(word, Scope::Stage) {
                evaluator.stage().author = Some(author);
            }
            record(evaluator, statement);
        }
        None => evaluator.report(diagnostic::missing_arguments(statement.span, statement.keyword)),
    }
}

/// Applies KUBEVERSION.
pub(super) fn kubeversion(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let Some(word) = raw(statement).filter(|word| !word.text.is_empty()) else {
        evaluator.report(diagnostic::kubeversion_without_value(statement.span));
        return;
    };
    if let Some(range) = evaluator.expand(word, Scope::Stage) {
        evaluator.stage().labels.insert(SUPPORTED_VERSION.to_owned(), range);
    }
    record(evaluator, statement);
}

/// The label KUBEVERSION sets (spec §1.2).
const SUPPORTED_VERSION: &str = "app.alpha.sealer.io/supported-kube-version";

fn raw(statement: &Statement) -> Option<&Word> {
    match &statement.arguments {
        Arguments::Raw(word) => Some(word),
        _ => None,
    }
}

fn record(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    evaluator.stage().history.push(History { text: statement.line.clone(), step: None });
}

/// All pairs of a statement, expanded before any is set; a value may be unknown, a name may not.
fn expand_pairs(evaluator: &mut Evaluator<'_>, statement: &Statement) -> Vec<(String, Option<String>)> {
    let Arguments::Pairs(pairs) = &statement.arguments else { return Vec::new() };
    let mut expanded = Vec::with_capacity(pairs.len());
    for Pair { key, value, .. } in pairs {
        let Some(name) = evaluator.expand(key, Scope::Stage) else { continue };
        if name.is_empty() {
            evaluator.report(diagnostic::blank_name(key.span, statement.keyword));
            continue;
        }
        let value = value.as_ref().and_then(|word| evaluator.expand(word, Scope::Stage));
        expanded.push((name, value));
    }
    expanded
}

/// The rest of a word from an offset on.
fn part(word: &Word, from: usize) -> Word {
    let exact = word.span.end - word.span.start == word.text.len();
    let mut span = word.span;
    if exact {
        span.start += from;
    }
    Word { text: word.text[from..].to_owned(), span, quoting: Quoting::Shell }
}
