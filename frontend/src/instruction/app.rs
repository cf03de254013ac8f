//! APP, CNI, CSI and what is said of applications: APPCMDS, APPENV (spec §1.5, §1.6).

use std::collections::HashMap;

use solver::{SourceKind, Span};

use super::copy::checksum;
use crate::ast::{Arguments, Statement, Word};
use crate::diagnostic::{self, AppHelp};
use crate::evaluate::{self, Evaluator, Scope};
use crate::paths;
use crate::stage::{App, AppFrom, DeclaredApp, History, Overrides, Step, Work};
use crate::suggest::nearest;
use crate::words::{self, JsonList};

/// Applies APP, CNI and CSI.
pub(super) fn apply(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let Some((name, sources)) = evaluate::words(statement).split_first() else {
        evaluator.report(diagnostic::app_without_name(statement.span, statement.keyword));
        return;
    };
    let name = app_name(evaluator, statement, name);
    let mut sources: Vec<Option<AppFrom>> =
        sources.iter().map(|word| source(evaluator, statement, word)).collect();
    pin(evaluator, statement, &mut sources);
    let (Some(name), Some(sources)) = (name, sources.into_iter().collect::<Option<Vec<_>>>()) else {
        let stage = evaluator.stage();
        stage.apps_open = true;
        stage.has_files = true;
        return;
    };
    warn_same_names(evaluator, &sources);
    declare(evaluator, statement, name, sources);
}

fn app_name(evaluator: &mut Evaluator<'_>, statement: &Statement, word: &Word) -> Option<String> {
    let name = evaluator.expand(word, Scope::Stage)?;
    if name.is_empty() {
        evaluator.report(diagnostic::app_without_name(word.span, statement.keyword));
        return None;
    }
    let valid = !name.starts_with(['.', '-'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !valid {
        evaluator.report(diagnostic::invalid_app_name(word.span, &name));
        return None;
    }
    Some(name)
}

fn source(evaluator: &mut Evaluator<'_>, statement: &Statement, word: &Word) -> Option<AppFrom> {
    let text = evaluator.expand(word, Scope::Stage)?;
    if let Some(path) = text.strip_prefix("local://") {
        if path.is_empty() {
            evaluator.report(diagnostic::empty_path(word.span, "the path of a source"));
            return None;
        }
        return Some(AppFrom {
            kind: SourceKind::Local,
            place: paths::clean(path),
            checksum: None,
            trailing_slash: path.ends_with('/'),
            span: word.span,
        });
    }
    if text.is_empty() {
        evaluator.report(diagnostic::empty_path(word.span, "a source"));
        return None;
    }
    if !paths::is_remote(&text) {
        let path_like = !text.contains("://");
        evaluator.report(diagnostic::source_without_scheme(word.span, statement.keyword, &text, path_like));
        return None;
    }
    if paths::is_git(&text) {
        evaluator.report(diagnostic::flag_not_supported_yet(word.span, "a git repository as a source"));
        return None;
    }
    if !paths::url_has_host(&text) {
        evaluator.report(diagnostic::remote_without_host(word.span, &text));
        return None;
    }
    Some(AppFrom {
        kind: SourceKind::Remote,
        place: text,
        checksum: None,
        trailing_slash: false,
        span: word.span,
    })
}

/// `--checksum` belongs to the one remote source.
fn pin(evaluator: &mut Evaluator<'_>, statement: &Statement, sources: &mut [Option<AppFrom>]) {
    let Some(flag) = statement.flags.iter().find(|flag| flag.name == "checksum") else { return };
    let Some(pinned) = checksum(evaluator, flag) else { return };
    if sources.iter().any(Option::is_none) {
        return;
    }
    let mut remote = sources.iter_mut().flatten().filter(|source| source.kind == SourceKind::Remote);
    match (remote.next(), remote.next()) {
        (Some(only), None) => only.checksum = Some(pinned),
        _ => evaluator.report(diagnostic::checksum_needs_one_remote(flag.span)),
    }
}

/// Two files of one name meet in the application's directory. What has no extension may be a directory.
fn warn_same_names(evaluator: &mut Evaluator<'_>, sources: &[AppFrom]) {
    if sources.len() < 2 {
        return;
    }
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for source in sources {
        let name = match source.kind {
            SourceKind::Local => source.place.rsplit('/').next(),
            SourceKind::Remote => paths::url_file_name(&source.place),
        };
        let Some(name) = name.filter(|name| name.trim_matches('.').contains('.') && !source.trailing_slash)
        else {
            continue;
        };
        match seen.get(name) {
            Some(&first) => evaluator.report(diagnostic::same_file_name(source.span, first, name)),
            None => {
                seen.insert(name, source.span);
            }
        }
    }
}

fn declare(evaluator: &mut Evaluator<'_>, statement: &Statement, name: String, sources: Vec<AppFrom>) {
    let stage_index = evaluator.stages.len() - 1;
    let stage = evaluator.stage();
    let single_source = sources.len() == 1;
    let step = (!sources.is_empty()).then_some(stage.steps.len());
    if step.is_some() {
        stage.has_files = true;
        let work = Work::App { name: name.clone(), sources };
        stage.steps.push(Step { line: statement.line.clone(), span: statement.span, work });
        stage.history.push(History { text: statement.line.clone(), step });
    }
    if statement.keyword != "APP" {
        let label = format!("cluster.alpha.sealer.io/kube-{}-{name}", statement.keyword.to_lowercase());
        stage.history.push(History { text: format!("LABEL {label}=\"true\""), step: None });
        stage.labels.insert(label, "true".to_owned());
    }
    let app = DeclaredApp {
        name: name.clone(),
        step: step.map(|step| (stage_index, step)),
        single_source,
        span: statement.span,
    };
    if let Some(App::Declared(first)) = stage.apps.put(App::Declared(app)) {
        evaluator.report(diagnostic::app_redeclared(statement.span, first.span, &name));
    }
}

/// Applies APPCMDS.
pub(super) fn commands(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let Arguments::Named(name, rest) = &statement.arguments else { return };
    let Some(name) = name else {
        evaluator.report(diagnostic::app_without_name(statement.span, statement.keyword));
        return;
    };
    let cmds = match words::json_list(&rest.text, 0) {
        JsonList::Strings(strings) => Some(strings.into_iter().map(|(string, _)| string).collect()),
        JsonList::NotOnlyStrings => {
            let error = "json: cannot unmarshal a value that is no string into Go value of type string";
            evaluator.report(diagnostic::app_commands_format(rest.span, error));
            None
        }
        JsonList::Invalid(error) => {
            evaluator.report(diagnostic::app_commands_format(rest.span, &error));
            None
        }
    };
    if let Some(overrides) = known_app(evaluator, statement, name)
        && let Some(cmds) = cmds
    {
        overrides.cmds = Some(cmds);
    }
}

/// Applies APPENV; words without `=` are ignored, as sealer does, but not silently.
pub(super) fn env(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let Some((name, pairs)) = evaluate::words(statement).split_first() else {
        evaluator.report(diagnostic::app_without_name(statement.span, statement.keyword));
        return;
    };
    for word in pairs.iter().filter(|word| !word.text.contains('=')) {
        evaluator.report(diagnostic::app_env_ignored(word.span, &word.text));
    }
    let Some(overrides) = known_app(evaluator, statement, name) else { return };
    for (key, value) in pairs.iter().filter_map(|word| word.text.split_once('=')) {
        overrides.env.insert(key.to_owned(), value.to_owned());
    }
}

/// What is said of an application that must be declared above, here or by the base.
fn known_app<'a>(
    evaluator: &'a mut Evaluator<'_>,
    statement: &Statement,
    word: &Word,
) -> Option<&'a mut Overrides> {
    let Some(name) = evaluator.expand(word, Scope::Stage) else {
        // It may be any application's.
        evaluator.stage().apps_open = true;
        return None;
    };
    let stage = evaluator.stages.last()?;
    if !stage.open && !stage.apps_open && !stage.apps.contains(&name) {
        let help = match declared_below(evaluator, statement, &name) {
            Some(span) => AppHelp::DeclaredBelow(span),
            None => AppHelp::Nearest(nearest(&name, stage.apps.names())),
        };
        let diagnostic = diagnostic::unknown_app(word.span, statement.keyword, &name, help);
        evaluator.report(diagnostic);
        return None;
    }
    Some(evaluator.stage().apps.overrides.entry(name).or_default())
}

fn declared_below(evaluator: &Evaluator<'_>, statement: &Statement, name: &str) -> Option<Span> {
    let below = evaluator.file.statements.iter().skip_while(|other| other.span != statement.span);
    below
        .filter(|other| matches!(other.keyword, "APP" | "CNI" | "CSI"))
        .find(|other| evaluate::words(other).first().is_some_and(|word| word.text == name))
        .map(|other| other.span)
}
