//! Capital letters: keywords, `AS`, stage names. And the one name that a stage should not have.

use super::Subject;
use crate::ast::{Statement, Word};
use crate::diagnostic::{self, Diagnostic};
use crate::evaluate;

/// `keyword-case`
pub(super) fn keyword(subject: &Subject<'_>) -> Vec<Diagnostic> {
    // A keyword with a continuation in it has no case of its own.
    let written = subject.file.statements.iter().filter_map(|statement| {
        let written = subject.text(statement.keyword_span);
        written.bytes().all(|b| b.is_ascii_alphabetic()).then_some((statement, written))
    });
    let written: Vec<(&Statement, &str)> = written.collect();
    let upper = written.iter().filter(|(_, keyword)| is_upper(keyword)).count();
    let lower = written.iter().filter(|(_, keyword)| is_lower(keyword)).count();
    let expected = |statement: &Statement| match lower > upper {
        true => statement.keyword.to_lowercase(),
        false => statement.keyword.to_owned(),
    };
    let unlike = written.into_iter().filter(|(statement, written)| expected(statement) != *written);
    unlike
        .map(|(statement, _)| diagnostic::keyword_case(statement.keyword_span, &expected(statement)))
        .collect()
}

/// `from-as-case`
pub(super) fn from_as(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (_, statement) in subject.stages() {
        let [_, word, _] = evaluate::words(statement) else { continue };
        if !word.text.eq_ignore_ascii_case("as") {
            continue;
        }
        let from = subject.text(statement.keyword_span);
        let expected = match (is_upper(from), is_lower(from)) {
            (true, _) => "AS",
            (_, true) => "as",
            _ => continue,
        };
        if word.text != expected {
            found.push(diagnostic::from_as_case(word.span, expected));
        }
    }
    found
}

/// `stage-name-case`
pub(super) fn stage_name(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let capital = names(subject).filter(|word| !is_lower(&word.text));
    capital.map(|word| diagnostic::stage_name_case(word.span, &word.text)).collect()
}

/// `reserved-stage-name`
pub(super) fn reserved_stage(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let reserved = names(subject).filter(|word| word.text.eq_ignore_ascii_case("scratch"));
    reserved.map(|word| diagnostic::reserved_stage_name(word.span, "scratch")).collect()
}

/// The names of stages as they are written.
fn names<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Word> {
    let named = subject.stages().filter(|(stage, _)| stage.named);
    named.filter_map(|(_, statement)| evaluate::words(statement).get(2))
}

fn is_upper(text: &str) -> bool {
    !text.contains(|c: char| c.is_ascii_lowercase())
}

fn is_lower(text: &str) -> bool {
    !text.contains(|c: char| c.is_ascii_uppercase())
}
