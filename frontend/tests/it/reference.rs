//! `docs/kubefile.md`: the frame in `tests/reference/frame.md` around what the instruction table says.
//!
//! `UPDATE_EXPECT=1` writes it; without, a page that is not what the table says is a failure.

use std::path::Path;

use frontend::{INSTRUCTIONS, Instruction, Severity};
use solver::SourceFile;

use crate::fresh;

/// Where the instructions go in the frame.
const PLACE: &str = "<!-- instructions -->\n";

#[test]
fn the_language_reference_is_what_the_instruction_table_says() {
    let frame = include_str!("../reference/frame.md");
    assert_eq!(frame.matches(PLACE).count(), 1);
    let page = frame.replace(PLACE, &instructions());
    let note = "<!-- Made by `UPDATE_EXPECT=1 cargo test -p frontend`: edit frontend/tests/reference/frame.md and the instruction table. -->\n";
    fresh(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kubefile.md"), &format!("{note}{page}"));
}

fn instructions() -> String {
    let mut page = String::from("| instruction | what it does |\n|---|---|\n");
    for instruction in INSTRUCTIONS {
        let Instruction { keyword, doc, .. } = instruction;
        page.push_str(&format!("| [`{keyword}`](#{}) | {doc} |\n", keyword.to_lowercase()));
    }
    for instruction in INSTRUCTIONS {
        page.push_str(&format!(
            "\n### {}\n\n```text\n{}\n```\n\n{}",
            instruction.keyword,
            instruction.syntax,
            instruction.text.trim_start()
        ));
        if !instruction.flags.is_empty() {
            page.push_str("\n| flag | what it does |\n|---|---|\n");
        }
        for flag in instruction.flags {
            let often = if flag.repeats { "; may be given several times" } else { "" };
            // In a table a bar parts cells, in code too.
            let written = flag.written().replace('|', "\\|");
            page.push_str(&format!("| `{written}` | {}{often} |\n", flag.doc));
        }
    }
    page
}

/// The fenced Kubefiles of a page.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```Dockerfile\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_instruction_has_an_example_and_all_examples_are_kubefiles() {
    let frame = include_str!("../reference/frame.md");
    for instruction in INSTRUCTIONS {
        let has_it = |example: &String| {
            let source = SourceFile { name: "example".into(), text: example.clone() };
            let parsed = frontend::parse(&source);
            parsed.file.statements.iter().any(|statement| statement.keyword == instruction.keyword)
        };
        assert!(examples(instruction.text).iter().any(has_it), "{} has no example", instruction.keyword);
    }
    let texts = INSTRUCTIONS.iter().map(|instruction| instruction.text).chain([frame]);
    for text in texts.flat_map(examples) {
        let source = SourceFile { name: "example".into(), text };
        let parsed = frontend::parse(&source);
        let (_, found) = frontend::model(&parsed, &crate::options());
        // The examples of CMD and RUN show what they are about.
        let known = |code: &str| matches!(code, "cmd-deprecated" | "not-supported-yet");
        let wrong: Vec<_> =
            parsed.diagnostics.iter().chain(&found).filter(|found| !known(found.code)).collect();
        assert!(wrong.is_empty(), "{}\n{wrong:#?}", source.text);
    }
}

#[test]
fn the_syntax_of_an_instruction_names_its_flags_and_no_others() {
    for instruction in INSTRUCTIONS {
        let written: Vec<&str> = instruction
            .syntax
            .split("[--")
            .skip(1)
            .map(|rest| rest.split(['=', ']']).next().unwrap_or_default())
            .collect();
        let supported = instruction.flags.iter().filter(|flag| !flag.doc.starts_with("not supported yet"));
        let supported: Vec<&str> = supported.map(|flag| flag.name).collect();
        // RUN names its flags, though it is refused as a whole.
        if instruction.keyword != "RUN" {
            assert_eq!(written, supported, "{}", instruction.keyword);
        }
        for name in written {
            assert!(
                instruction.flags.iter().any(|flag| flag.name == name),
                "{} --{name}",
                instruction.keyword
            );
        }
    }
}

#[test]
fn each_flag_is_accepted_and_given_twice_only_where_the_table_says_so() {
    for instruction in INSTRUCTIONS {
        for flag in instruction.flags {
            let once = format!("--{}=x", flag.name);
            let codes = |flags: &str| -> Vec<&'static str> {
                let text = format!("{} {flags} a b", instruction.keyword);
                let parsed = frontend::parse(&SourceFile { name: "Kubefile".into(), text });
                let errors = parsed.diagnostics.iter().filter(|found| found.severity == Severity::Error);
                errors.map(|found| found.code).collect()
            };
            assert_eq!(codes(&once), Vec::<&str>::new(), "{} {once}", instruction.keyword);
            let twice = if flag.repeats { vec![] } else { vec!["duplicate-flag"] };
            assert_eq!(codes(&format!("{once} {once}")), twice, "{} {once}", instruction.keyword);
        }
    }
}
