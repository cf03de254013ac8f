//! LAUNCH, CMDS and CMD: what the image starts (spec §1.7).

use solver::Span;

use crate::ast::{Arguments, Statement};
use crate::diagnostic;
use crate::evaluate::{self, Evaluator, Scope};

/// Applies LAUNCH.
pub(super) fn launch(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let stage = evaluator.stages.len() - 1;
    for word in evaluate::words(statement) {
        let Some(name) = evaluator.expand(word, Scope::Stage) else { continue };
        let name = name.trim();
        if name.is_empty() {
            evaluator.report(diagnostic::empty_path(word, "the name of an application"));
            continue;
        }
        evaluator.launched.push((stage, name.to_owned(), word.span));
        evaluator.stage().launch.app_names.push(name.to_owned());
    }
}

/// Applies CMDS; variables are the shell's.
pub(super) fn cmds(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    let cmds = evaluate::words(statement).iter().map(|word| word.text.clone());
    evaluator.stage().launch.cmds.extend(cmds);
}

/// Applies CMD: the text as it stands, JSON or not (golden 06f).
pub(super) fn cmd(evaluator: &mut Evaluator<'_>, statement: &Statement) {
    match &statement.arguments {
        Arguments::Raw(word) if !word.text.is_empty() => {
            evaluator.stage().launch.cmds.push(word.text.clone());
        }
        _ => evaluator.report(diagnostic::missing_arguments(statement.span, statement.keyword)),
    }
}

/// A CMD says once that it is deprecated, and says so where nothing takes it over.
pub(crate) fn check_cmd(evaluator: &mut Evaluator<'_>, target: Option<usize>, reachable: &[bool]) {
    let mut stages = 0;
    let mut seen = false;
    for statement in &evaluator.file.statements {
        stages += usize::from(statement.keyword == "FROM");
        if statement.keyword != "CMD" {
            continue;
        }
        if !std::mem::replace(&mut seen, true) {
            evaluator.report(diagnostic::cmd_deprecated(statement.keyword_span));
        }
        let stage = stages.checked_sub(1);
        if stage != target && stage.is_some_and(|stage| reachable.get(stage) == Some(&true)) {
            evaluator.report(diagnostic::cmd_not_final(statement.span));
        }
    }
}

/// The rules between LAUNCH, CMDS and CMD, over the whole text.
pub(crate) fn launch_rules(evaluator: &mut Evaluator<'_>) {
    let file = evaluator.file;
    let last = file.statements.last();
    let mut cmd: Option<Span> = None;
    let mut first = [("LAUNCH", None), ("CMDS", None)];
    for statement in &file.statements {
        if statement.keyword == "CMD" {
            cmd.get_or_insert(statement.span);
        }
        let Some((keyword, seen)) = first.iter_mut().find(|(keyword, _)| *keyword == statement.keyword)
        else {
            continue;
        };
        if let Some(last) = last.filter(|last| last.span != statement.span) {
            evaluator.report(diagnostic::not_last(statement.span, last.span, keyword));
        }
        match *seen {
            Some(seen) => evaluator.report(diagnostic::more_than_one(statement.span, seen, keyword)),
            None => *seen = Some(statement.span),
        }
        if let (Some(cmd), "LAUNCH") = (cmd, statement.keyword) {
            evaluator.report(diagnostic::cmd_with_launch(statement.span, cmd));
        }
    }
}
