//! Applications and what launches them. Only the stage to build counts.

use std::collections::{HashMap, HashSet};

use solver::Span;

use super::Subject;
use crate::diagnostic::{self, Diagnostic};
use crate::evaluate;
use crate::stage::{App, DeclaredApp, Stage};

/// `app-not-launched`
pub(super) fn not_launched(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let Some((target, stage)) = target(subject) else { return Vec::new() };
    // A name that only the base completes may be any application's.
    if subject.has_errors || stage.apps_open || (stage.open && has_variables(subject)) {
        return Vec::new();
    }
    let declared: Vec<&DeclaredApp> = stage.apps.list.iter().filter_map(declared).collect();
    let Some(first) = declared.first() else { return Vec::new() };
    let place = |app: &DeclaredApp| {
        let name = subject.statement(app.span).and_then(|statement| evaluate::words(statement).first());
        name.map_or(app.span, |word| word.span)
    };
    let launches = subject.evaluation.launched.iter().filter(|(stage, ..)| *stage == target);
    let launched: HashSet<&str> = launches.map(|(_, name, _)| name.as_str()).collect();
    let forgotten = |launched: &HashSet<&str>| {
        let (some, others): (Vec<&DeclaredApp>, Vec<_>) =
            declared.iter().partition(|app| launched.contains(app.name.as_str()));
        // Of network plugins, and of storage plugins, an image may bring several to choose from.
        let chosen: HashSet<_> = some.iter().filter_map(|app| plugin(subject, app)).collect();
        others.into_iter().filter(move |app| plugin(subject, app).is_none_or(|kind| !chosen.contains(kind)))
    };
    if !stage.launch.cmds.is_empty() {
        // Commands run instead of applications, whatever LAUNCH may say (spec §4.2).
        let commands = last(subject, &["CMDS", "CMD"]).unwrap_or(stage.span);
        let named: HashSet<&str> = stage.launch.cmds.iter().flat_map(|cmd| names(cmd)).collect();
        let told = |app: &DeclaredApp| diagnostic::app_not_in_commands(place(app), commands, &app.name);
        return forgotten(&named).map(told).collect();
    }
    if launched.is_empty() {
        return vec![diagnostic::nothing_launched(place(first), declared.len())];
    }
    let launch = last(subject, &["LAUNCH"]).unwrap_or(stage.span);
    forgotten(&launched).map(|app| diagnostic::app_not_launched(place(app), launch, &app.name)).collect()
}

/// CNI or CSI, if one of them declares it.
fn plugin(subject: &Subject<'_>, app: &DeclaredApp) -> Option<&'static str> {
    let keyword = subject.statement(app.span)?.keyword;
    matches!(keyword, "CNI" | "CSI").then_some(keyword)
}

fn target<'a>(subject: &Subject<'a>) -> Option<(usize, &'a Stage)> {
    let target = subject.evaluation.target?;
    Some((target, subject.evaluation.stages.get(target)?))
}

fn declared(app: &App) -> Option<&DeclaredApp> {
    match app {
        App::Declared(app) => Some(app),
        App::Inherited(_) => None,
    }
}

/// What could be the name of an application in a command: a word, or a component of a path.
fn names(command: &str) -> impl Iterator<Item = &str> {
    command.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
}

fn has_variables(subject: &Subject<'_>) -> bool {
    let launches = subject.file.statements.iter().filter(|statement| statement.keyword == "LAUNCH");
    launches.flat_map(evaluate::words).any(|word| word.text.contains('$'))
}

fn last(subject: &Subject<'_>, keywords: &[&str]) -> Option<Span> {
    let statements = subject.file.statements.iter().rev();
    let mut named = statements.filter(|statement| keywords.contains(&statement.keyword));
    named.next().map(|statement| statement.span)
}

/// `launched-twice`
pub(super) fn twice(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let Some((target, _)) = target(subject) else { return Vec::new() };
    let mut seen: HashMap<&str, Span> = HashMap::new();
    let mut found = Vec::new();
    for (_, name, span) in subject.evaluation.launched.iter().filter(|(stage, ..)| *stage == target) {
        match seen.get(name.as_str()) {
            Some(first) => found.push(diagnostic::launched_twice(*span, *first, name)),
            None => {
                seen.insert(name, *span);
            }
        }
    }
    found
}
