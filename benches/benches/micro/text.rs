//! From the text of a Kubefile to a definition.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use solver::{Definition, Platform, SourceFile};

/// A Kubefile of so many one-directory applications.
pub(crate) fn kubefile(apps: usize) -> SourceFile {
    let lines: String = (0..apps).map(|app| format!("APP a{app} local://app{app}\n")).collect();
    SourceFile { name: "Kubefile".into(), text: format!("FROM scratch\n{lines}") }
}

/// What a text comes to.
pub(crate) fn definition(source: &SourceFile) -> Definition {
    let options = options();
    let parsed = frontend::parse(source);
    let (model, _) = frontend::model(&parsed, &options);
    let (lowered, _) = frontend::lower(&model, source, &options, &Default::default());
    lowered.expect("the text is right").definition
}

fn options() -> frontend::Options {
    frontend::Options {
        build_args: Default::default(),
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        target: None,
        allows_insecure: false,
        has_one_user: false,
        contexts: Default::default(),
    }
}

/// Lines, words and statements: the lexer and the parser, which knows no keyword.
#[divan::bench(args = [100, 10_000])]
fn lex_and_parse(bencher: Bencher<'_, '_>, apps: usize) {
    let source = kubefile(apps);
    bencher
        .counter(BytesCount::new(source.text.len()))
        .counter(ItemsCount::new(apps))
        .bench(|| frontend::parse(&source));
}

/// What the statements mean.
#[divan::bench(args = [100, 10_000])]
fn model(bencher: Bencher<'_, '_>, apps: usize) {
    let (source, options) = (kubefile(apps), options());
    let parsed = frontend::parse(&source);
    bencher.counter(ItemsCount::new(apps)).bench(|| frontend::model(&parsed, &options));
}

/// The graph they come to.
#[divan::bench(args = [100, 10_000])]
fn lower(bencher: Bencher<'_, '_>, apps: usize) {
    let (source, options) = (kubefile(apps), options());
    let parsed = frontend::parse(&source);
    let (model, _) = frontend::model(&parsed, &options);
    bencher
        .counter(ItemsCount::new(apps))
        .bench(|| frontend::lower(&model, &source, &options, &Default::default()));
}
