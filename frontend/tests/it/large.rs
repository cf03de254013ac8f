//! Large and hostile texts: time stays in proportion to the text.
//!
//! The limits are wide enough for a busy machine and a debug build; a quadratic pass would take minutes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use frontend::{Diagnostic, Lowered};
use solver::{AppSpec, Op, SourceFile};

use crate::options;

/// Runs the whole road over a text, within a time.
fn within(limit: Duration, name: &str, text: String) -> (Option<Lowered>, Vec<Diagnostic>) {
    let source = SourceFile { name: "Kubefile".into(), text };
    let start = Instant::now();
    let parsed = frontend::parse(&source);
    let (model, checked) = frontend::model(&parsed, &options());
    let (lowered, last) = frontend::lower(&model, &source, &options(), &BTreeMap::new());
    assert!(start.elapsed() < limit, "{name}: {:?}", start.elapsed());
    (lowered, [parsed.diagnostics, checked, last].concat())
}

/// `FROM scratch` and a number of lines.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    std::iter::once("FROM scratch\n".to_owned()).chain((0..count).map(line)).collect()
}

#[test]
fn ten_thousand_applications_lower_quickly() {
    let text = lines(10_000, |index| format!("APP app{index} local://files/app{index}.yaml\n"));
    let (lowered, diagnostics) = within(Duration::from_secs(5), "apps", text);
    assert_eq!(diagnostics, Vec::new());
    let lowered = lowered.expect("no error");
    assert_eq!(lowered.image.apps.len(), 10_000);
    assert_eq!(lowered.definition.len(), 30_000);
    let declared =
        lowered.image.apps.iter().filter(|app| matches!(app, AppSpec::Declared { vertex: Some(_), .. }));
    assert_eq!(declared.count(), 10_000);
    let target = lowered.definition.target().expect("there are steps");
    let (vertex, _) = lowered.definition.get(&target).expect("the target exists");
    assert_eq!(vertex.op, Op::State);
}

#[test]
fn ten_megabytes_of_instructions_are_read_in_linear_time() {
    let line = "APP application local://files/some/where/below.yaml\n";
    let source = SourceFile { name: "Kubefile".into(), text: line.repeat((10 << 20) / line.len()) };
    let start = Instant::now();
    let parsed = frontend::parse(&source);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(parsed.diagnostics, Vec::new());
    assert_eq!(parsed.file.statements.len(), (10 << 20) / line.len());
}

#[test]
fn hostile_texts_cost_no_more_than_their_length() {
    let one_line = |pieces: String| format!("FROM scratch\n{pieces}\n");
    let count = 4_000;
    for (name, text) in [
        ("heredocs that never close", lines(count, |n| format!("APP a <<E{n}\n"))),
        ("a delimiter only with tabs", lines(count, |_| "APP a <<E\n".into()) + "\tE\n"),
        ("many heredocs", one_line(format!("COPY {}/d/\n{}", "<<A ".repeat(count), "A\n".repeat(count)))),
        ("unset variables", lines(count, |n| format!("ARG variable{n}\nLABEL a=$variabel{n}\n"))),
        ("commands of no application", lines(count, |n| format!("APPCMDS a{n} []\n"))),
        ("launches of no application", lines(count, |n| format!("LAUNCH a{n}\n"))),
        ("continuations", one_line(format!("LABEL {}", "a=b \\\n ".repeat(count)))),
        ("open quotes", one_line(format!("LABEL a={}", "\\\"'".repeat(count)))),
        ("a long JSON array", one_line(format!("CMDS [{}\"\"]", "\"a\",".repeat(count)))),
        ("a deep JSON array", one_line(format!("CMDS {}", "[".repeat(count)))),
        ("deep defaults", one_line(format!("LABEL a={}", "${A:-".repeat(count)))),
        ("stages", lines(count, |n| format!("FROM scratch AS a{n}\nCOPY x /\n"))),
        ("unknown instructions", lines(count, |_| "WORKDR x\n".into())),
    ] {
        within(Duration::from_secs(20), name, text);
    }
}

#[test]
fn values_that_double_with_every_line_end_in_an_error() {
    let text = lines(64, |n| match n {
        0 => "ENV A0=0123456789abcdef\n".to_owned(),
        n => format!("ENV A{n}=$A{}$A{}\n", n - 1, n - 1),
    });
    let (lowered, diagnostics) = within(Duration::from_secs(20), "doubling", text);
    assert!(lowered.is_none());
    assert!(diagnostics.iter().any(|found| found.message == "variables expand to too much text"));
}
