//! What is typed wrong is said before anything is done; what is printed arrives, or is told to be lost.

use std::process::Stdio;

use crate::space::{Space, run};

fn space() -> Space {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\n");
    space
}

/// It fails with these texts, and no store is made.
fn refused(words: &[&str], texts: &[&str]) {
    let space = space();
    let run = space.run(words);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{words:?}: {}", run.stderr);
    for text in texts {
        assert!(run.stderr.contains(text), "{words:?}: `{text}` is not in:\n{}", run.stderr);
    }
    assert!(!space.store().exists(), "{words:?}");
}

#[test]
fn the_word_alpha_of_older_scripts_stands_where_they_have_it() {
    let space = space();
    space.built(&[]);
    for words in [
        &["alpha", "manifest", "inspect", "x:1"][..],
        &["-q", "--root", "../store", "alpha", "manifest", "inspect", "x:1"],
    ] {
        let run = space.run(words);
        assert!(run.code == Some(0) && run.stdout.contains("manifests"), "{words:?}: {}", run.stderr);
    }
    refused(&["nope", "alpha"], &["unrecognized subcommand 'nope'"]);
    refused(&["alpha", "alpha", "nope"], &["unrecognized subcommand 'nope'"]);
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
fn what_cannot_be_meant_is_refused_before_anything_is_done() {
    let long = "a".repeat(256);
    let build = |words: &[&str], texts: &[&str]| {
        refused(&[&["build", "-t", "x:1", "--build-mode", "lite"], words, &["."]].concat(), texts);
    };
    build(&["--iidfile", "nowhere/id"], &["`--iidfile nowhere/id` cannot be written: there is no directory"]);
    build(&["--metadata-file", "."], &["`--metadata-file .` cannot be written: it is a directory"]);
    for kind in ["tar", "oci-archive", "oci-dir", "rootfs"] {
        let output = format!("type={kind},dest=nowhere/x");
        build(&["--output", &output], &["`--output nowhere/x` cannot be written: there is no directory"]);
    }
    build(&["--output", "type=rootfs,dest=."], &["`--output .` exists and is not empty", "hint: remove it"]);
    build(&["--output", "type=oci-dir,dest=a.yaml"], &["`--output a.yaml` is no directory"]);
    build(&["--root", "a.yaml"], &["a.yaml", "hint: a store is a directory"]);
    build(&["-t", "a..b"], &["`a..b` is not an image name"]);
    build(&["--pull="], &["unsupported pull policy \"\""]);
    build(&["--annotation", "sealer.image.extension=x"], &["is written by the build itself"]);
    build(&["-t", &long], &["a name has 255 characters at most"]);
    build(
        &["--build-arg", "A=1,2"],
        &["not `2`", r#"hint: a comma stands between two; quotes keep it: `--build-arg '"A=1,2"'`"#],
    );
    refused(&["build", "-t", "x", "a.yaml/x"], &["`a.yaml/x` is no build context: "]);
    refused(&["graph", "-o", "x.png", "."], &["`x.png` does not say how", "--format"]);
    refused(&["build", "."], &["--tag should be specified", "hint: `-t NAME`"]);
    refused(&["build", "-t", "x", ".", "more"], &["Usage: sealer build [OPTIONS] [PATH|URL|-]\n"]);
}

#[test]
fn variables_that_are_set_to_nothing_say_nothing() {
    let space = space();
    let variables = ["CONFIG", "COLOR", "ERROR_FORMAT", "STRICT", "INSECURE_REGISTRY", "REGISTRY_MIRROR"]
        .iter()
        .chain(&["PROGRESS", "JOBS", "COMPRESSION", "MAX_DOWNLOAD"])
        .map(|name| format!("SEALER_{name}"))
        .chain(["SOURCE_DATE_EPOCH", "REGISTRY_AUTH_FILE"].map(str::to_owned));
    let empty: Vec<(String, &str)> = variables.map(|name| (name, "")).collect();
    for words in [&["build", "-q", "-t", "x:1", "--build-mode", "lite", "."][..], &["config"]] {
        let run = run(space.command().args(words).envs(empty.clone()));
        assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
        assert!(!run.stdout.contains("environment SEALER_JOBS"), "{}", run.stdout);
    }
    let home = space.root().join("home");
    let mut command = space.command();
    command.args(["config"]).env("SEALER_ROOT", "").env("XDG_DATA_HOME", &home);
    let root = run(&mut command);
    assert!(root.code == Some(0) && !root.stdout.contains("environment SEALER_ROOT"), "{}", root.stdout);
}

#[test]
fn wrong_usage_is_told_as_it_is_asked_for() {
    let space = space();
    for (words, is_coloured) in
        [(&["--color", "always", "nope"][..], true), (&["--color=never", "nope"], false)]
    {
        let run = space.run(words);
        assert_eq!((run.code, run.stderr.contains('\u{1b}')), (Some(1), is_coloured), "{}", run.stderr);
    }
    let json =
        run(space.command().args(["--error-format", "text", "nope"]).env("SEALER_ERROR_FORMAT", "json"));
    assert!(json.stderr.starts_with("error: "), "a flag is stronger: {}", json.stderr);
}

#[test]
fn a_graph_is_what_the_ending_says() {
    let space = space();
    let shown = space.run(&["graph", "-o", "-", "."]);
    assert!(shown.stdout.starts_with("digraph") && !space.context().join("-").exists(), "{}", shown.stderr);
    for (flags, start) in [
        (&["-o", "g.gv"][..], "digraph"),
        (&["-o", "g.svg"], "<svg"),
        (&["-o", "g.x", "--format", "json"], "{"),
    ] {
        let run = space.run(&[&["graph"], flags, &["."]].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let text = fs_err::read_to_string(space.context().join(flags[1])).unwrap();
        assert!(text.trim_start().starts_with(start), "{text}");
    }
}

#[test]
fn an_image_id_goes_into_files_and_devices() {
    let space = space();
    space.built(&["--iidfile", "../id"]);
    space.built(&["--iidfile", "/dev/null"]);
    assert!(fs_err::read_to_string(space.root().join("id")).unwrap().starts_with("sha256:"));
}

#[test]
fn what_an_earlier_build_told_of_itself_does_not_outlive_a_failure() {
    let space = space();
    space.built(&["--iidfile", "../id"]);
    space.kubefile("FROM scratch\nCOPY nowhere /\n");
    assert_eq!(space.build(&["--iidfile", "../id"]).code, Some(1));
    for file in ["id", "metadata.json"] {
        assert!(!space.root().join(file).exists(), "{file}");
    }
    let same = space.build(&["--iidfile", "../context/../metadata.json"]);
    assert!(
        same.stderr.contains("`--iidfile` and `--metadata-file` cannot both be written"),
        "{}",
        same.stderr
    );
}

#[test]
fn a_missing_kubefile_is_told_once() {
    let space = Space::new();
    let run = space.run(&["build", "-t", "x:1", "."]);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stderr, "error: there is no `Kubefile` in this directory\nhint: name it with `-f FILE`\n");
    fs_err::create_dir(space.context().join("d")).unwrap();
    let run = space.run(&["build", "-t", "x:1", "d"]);
    assert!(run.stderr.contains("neither `d/Kubefile` nor `Kubefile`"), "{}", run.stderr);
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
    // A command's own flags come first, those of all commands last.
    let order = [
        "--no-cache",
        "--image-archive",
        "\nRegistries:",
        "--cacert",
        "\nOptions of every command:",
        "--root",
    ];
    let places =
        order.map(|text| help.stdout.find(text).unwrap_or_else(|| panic!("{text}: {}", help.stdout)));
    assert!(places.is_sorted(), "{}", help.stdout);
}
