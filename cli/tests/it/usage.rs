//! What is typed wrong is said before anything is done; what is printed arrives, or is told to be lost.

use std::process::Stdio;

use crate::space::{Space, run};

fn space() -> Space {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\n");
    space
}

#[test]
fn data_that_is_lost_is_a_failure() {
    let space = space();
    space.file("b", "").kubefile("FROM scratch\nCOPY b /\n").built(&["-t", "y:1"]);
    space.kubefile("FROM scratch\nAPP a local://a.yaml\n").built(&[]);
    for words in [
        &["inspect", "x:1"][..],
        &["inspect", "-f", "{{.Type}}", "x:1"],
        &["images"],
        &["history", "x:1"],
        &["graph", "."],
        &["diff", "x:1", "y:1"],
        &["save", "x:1", "-o", "-"],
        &["version"],
        &["completion", "bash"],
        &["--help"],
        &["build", "-q", "-t", "x:1", "--build-mode", "lite", "."],
    ] {
        let full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, told) = run_into(&space, words, full.into_file().into());
        assert_eq!(code, Some(1), "{words:?}: {told}");
        assert!(told.contains("No space left on device"), "{words:?}: {told}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let space = space();
    for words in [&["--help"][..], &["version"], &["completion", "bash"], &["graph", "."]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (code, told) = run_into(&space, words, writer.into());
        assert_eq!(code, Some(0), "{words:?}: {told}");
        assert!(!told.contains("error"), "{words:?}: {told}");
    }
}

fn run_into(space: &Space, words: &[&str], out: Stdio) -> (Option<i32>, String) {
    let output = space.command().args(words).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn several_pairs_stand_in_one_flag() {
    let space = space();
    space.kubefile("FROM scratch\nARG A\nARG B\nLABEL a=$A b=$B\nCOPY a.yaml /\n");
    space.built(&["--build-arg", r#""A=1,2",B=3"#, "--label", "l=x,m=y", "--annotation", "n=z"]);
    let labels = space.config("localhost/x:1")["config"]["Labels"].clone();
    assert_eq!(labels, serde_json::json!({ "a": "1,2", "b": "3", "l": "x", "m": "y" }));
    let help = run(space.command().args(["build", "--help"]));
    assert!(help.stdout.contains("--build-arg <KEY=VALUE,…>"), "{}", help.stdout);
}
