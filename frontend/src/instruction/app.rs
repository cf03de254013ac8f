//! APP, CNI, CSI and what is said of applications: APPCMDS, APPENV (spec §1.5, §1.6).

use std::collections::HashMap;

use solver::{ChartValues, GitSource, LocalSource, SourceKind, Span};

use super::copy::{checksum, value};
use crate::ast::{Arguments, Flag, Statement, Word};
use crate::diagnostic::{self, AppHelp};
use crate::evaluate::{self, Evaluator, Scope};
use crate::instruction;
use crate::paths;
use crate::stage::{App, AppFrom, DeclaredApp, History, Overrides, Step, Work};
use crate::suggest::nearest;
use crate::words::{self, JsonList};

/// What `--set` takes.
const SET: &str = "KEY=VALUE, as in Helm's --set";

/// Applies APP, CNI and CSI.
pub(super) fn apply(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let Some((name, sources)) = evaluate::words(statement).split_first() else {
        evaluator
            .report(diagnostic::app_without_name(statement.span, instruction::syntax(statement.keyword)));
        return;
    };
    let name = app_name(evaluator, statement, name);
    let mut sources: Vec<Option<AppFrom>> =
        sources.iter().map(|word| source(evaluator, statement, word)).collect();
    pin(evaluator, statement, &mut sources);
    let values = values(evaluator, statement);
    let written = sources.len();
    evaluator.stage().has_files |= written > 0;
    let Some(name) = name else {
        evaluator.stage().apps_open = true;
        return;
    };
    // With a faulty source the name still counts: what refers to it is not wrong.
    let sources: Vec<AppFrom> = sources.into_iter().collect::<Option<_>>().unwrap_or_default();
    warn_same_names(evaluator, &sources);
    declare(
        evaluator,
        statement,
        DeclaredApp { name, step: None, sources: written, values, span: statement.span },
        sources,
    );
}

fn app_name(evaluator: &mut Evaluator<'_>, statement: &Statement, word: &Word) -> Option<String> {
    let name = evaluator.expand(word, Scope::Stage)?;
    if name.is_empty() {
        evaluator.report(diagnostic::app_without_name(word.span, instruction::syntax(statement.keyword)));
        return None;
    }
    let valid = paths::unfit_name(&name).is_none()
        && !name.starts_with(['.', '-'])
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
            evaluator.report(diagnostic::empty_path(word, "the path of a source"));
            return None;
        }
        if path.contains(['*', '?']) {
            evaluator.report(diagnostic::app_wildcard(word.span, statement.keyword));
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
        evaluator.report(diagnostic::empty_path(word, "a source"));
        return None;
    }
    if GitSource::is_meant(&text) {
        evaluator.report(diagnostic::app_from_git(word.span, statement.keyword));
        return None;
    }
    if !paths::is_remote(&text) {
        let path_like = !text.contains("://");
        evaluator.report(diagnostic::source_without_scheme(word.span, statement.keyword, &text, path_like));
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

/// `--values` and `--set`. What is not known yet is left out: an evaluation that counts knows all variables.
fn values(evaluator: &mut Evaluator<'_>, statement: &Statement) -> ChartValues {
    let mut values = ChartValues::default();
    for flag in &statement.flags {
        match flag.name.as_str() {
            "values" => values.files.extend(values_file(evaluator, flag).map(|file| (file, flag.span))),
            "set" => values.set.extend(value(evaluator, flag, SET).map(|text| (text, flag.span))),
            _ => {}
        }
    }
    values
}

fn values_file(evaluator: &mut Evaluator<'_>, flag: &Flag) -> Option<LocalSource> {
    const EXPECTED: &str = "the path of a file of the build context";
    let path = value(evaluator, flag, EXPECTED)?;
    let cleaned = paths::clean(&path);
    if path.contains("://") || path.ends_with('/') || cleaned == "." {
        evaluator.report(diagnostic::flag_value(flag.span, &flag.name, EXPECTED));
        return None;
    }
    let pattern = paths::literal_pattern(&cleaned);
    Some(LocalSource { context: LocalSource::OWN.to_owned(), pattern, parents: false })
}

/// Two files of one name meet in the application's directory.
fn warn_same_names(evaluator: &mut Evaluator<'_>, sources: &[AppFrom]) {
    if sources.len() < 2 {
        return;
    }
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for source in sources {
        let name = match source.kind {
            SourceKind::Local if source.trailing_slash => None,
            SourceKind::Local => source.place.rsplit('/').next().filter(|name| paths::has_file_ending(name)),
            SourceKind::Remote => paths::url_file_name(&source.place),
        };
        let Some(name) = name else { continue };
        match seen.get(name) {
            Some(&first) => evaluator.report(diagnostic::same_file_name(source.span, first, name)),
            None => {
                seen.insert(name, source.span);
            }
        }
    }
}

/// Puts an application with the sources it has; none, if one of those in the text is faulty.
fn declare(
    evaluator: &mut Evaluator<'_>,
    statement: &Statement,
    mut app: DeclaredApp,
    sources: Vec<AppFrom>,
) {
    let stage_index = evaluator.stages.len() - 1;
    let stage = evaluator.stage();
    let name = app.name.clone();
    let step = (!sources.is_empty()).then_some(stage.steps.len());
    if step.is_some() {
        let work = Work::App { name: name.clone(), sources };
        stage.steps.push(Step { line: statement.line.clone(), span: statement.span, work });
        stage.history.push(History { text: statement.line.clone(), step });
    }
    app.step = step.map(|step| (stage_index, step));
    if statement.keyword != "APP" {
        let label = format!("cluster.alpha.sealer.io/kube-{}-{name}", statement.keyword.to_lowercase());
        stage.history.push(History { text: format!("LABEL {label}=\"true\""), step: None });
        stage.labels.insert(label, "true".to_owned());
    }
    if let Some(App::Declared(first)) = stage.apps.put(App::Declared(app)) {
        evaluator.report(diagnostic::app_redeclared(statement.span, first.span, &name));
    }
}

/// Applies APPCMDS.
pub(super) fn commands(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let Arguments::Named(name, rest) = &statement.arguments else { return };
    let Some(name) = name else {
        evaluator
            .report(diagnostic::app_without_name(statement.span, instruction::syntax(statement.keyword)));
        return;
    };
    let cmds = match words::json_list(&rest.text, 0) {
        JsonList::Strings(strings) => Some(strings.into_iter().map(|(string, _)| string).collect()),
        JsonList::NotOnlyStrings(error) | JsonList::Invalid(error) => {
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

/// Applies APPENV; words without a name or `=` are ignored, as sealer does, but not silently.
pub(super) fn env(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let Some((name, pairs)) = evaluate::words(statement).split_first() else {
        evaluator
            .report(diagnostic::app_without_name(statement.span, instruction::syntax(statement.keyword)));
        return;
    };
    let pair = |word: &'_ Word| {
        let (key, value) = word.text.split_once('=').filter(|(key, _)| !key.is_empty())?;
        Some((key.to_owned(), value.to_owned()))
    };
    for word in pairs.iter().filter(|word| pair(word).is_none()) {
        evaluator.report(diagnostic::app_env_ignored(word.span, &word.text));
    }
    let Some(overrides) = known_app(evaluator, statement, name) else { return };
    overrides.env.extend(pairs.iter().filter_map(pair));
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
    let stage = evaluator.stage();
    if !stage.open && !stage.apps_open && !stage.apps.contains(&name) {
        let below = declared_below(evaluator, statement, &name);
        let help = match below {
            Some(span) => AppHelp::DeclaredBelow(span),
            None => AppHelp::Nearest(nearest(&name, evaluator.stage().apps.names())),
        };
        let diagnostic = diagnostic::unknown_app(word.span, statement.keyword, &name, help);
        evaluator.report(diagnostic);
        return None;
    }
    Some(evaluator.stage().apps.overrides.entry(name).or_default())
}

/// The last declaration of a name, if it stands below a statement.
fn declared_below(evaluator: &mut Evaluator<'_>, statement: &Statement, name: &str) -> Option<Span> {
    let file = evaluator.file;
    let declared = evaluator.last_declared.get_or_insert_with(|| {
        let apps = file.statements.iter().filter(|other| matches!(other.keyword, "APP" | "CNI" | "CSI"));
        apps.filter_map(|other| Some((evaluate::words(other).first()?.text.as_str(), other.span))).collect()
    });
    declared.get(name).copied().filter(|below| below.start > statement.span.start)
}
