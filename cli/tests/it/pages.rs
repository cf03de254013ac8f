//! Errors and warnings are pages of one kind, as text and as JSON.

use serde_json::Value;

use crate::server::{Response, Server};
use crate::space::{Run, Space};

fn pages(run: &Run) -> Vec<Value> {
    run.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn every_failure_is_a_page_of_json_if_asked() {
    let space = Space::new();
    space
        .file("a.yaml", "kind: A\n")
        .kubefile("FROM scratch\nAPP redis local://a.yaml\nLAUNCH redsi\nCOPY a\n");
    let pages_of = |words: &[&str]| {
        let run = space.run(words);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
        pages(&run)
    };
    let build = ["build", "-t", "x:1", "--build-mode", "lite", "--error-format", "json", "."];
    let all = pages_of(&build);
    assert_eq!(all.len(), 3, "{all:?}");
    for page in &all {
        let mut keys: Vec<&String> = page.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["causes", "code", "hints", "level", "message", "places", "tried"]);
        assert_eq!(page["level"], "error");
    }
    let launch = all.iter().find(|page| page["message"].as_str().unwrap().contains("redsi")).unwrap();
    let place = &launch["places"][0];
    assert_eq!(
        (&place["file"], &place["line"], &place["column"]),
        (&"Kubefile".into(), &3.into(), &8.into())
    );
    assert_eq!((&place["end_line"], &place["end_column"]), (&3.into(), &13.into()));
    assert!(launch["hints"][0].as_str().unwrap().contains("redis"), "{launch}");

    space.kubefile("FROM nope:1\n");
    let base = pages_of(&build);
    assert!(base[0]["message"].as_str().unwrap().contains("failed to process from"));
    let inspect = pages_of(&["inspect", "nope", "--error-format=json"]);
    assert!(inspect[0]["tried"].as_array().unwrap().contains(&"the file `nope`".into()), "{inspect:?}");
    let usage = pages_of(&["images", "--nope", "--error-format=json"]);
    assert_eq!(usage[0]["code"], "usage");
    assert!(usage[0]["message"].as_str().unwrap().contains("--nope"));
    assert_eq!(pages_of(&["build", "--error-format=json"])[0]["code"], "usage");

    let server = Server::start();
    server.route("/x.yaml", |_| Response::status(503).header("Retry-After", "0"));
    space.kubefile(&format!("FROM scratch\nAPP a {}\n", server.url("/x.yaml")));
    let run = space.run(&build);
    let failed = pages_of_stderr(&run.stderr);
    let page = failed.iter().find(|page| page["code"] == "step-failed").unwrap();
    assert!(page["message"].as_str().unwrap().contains("503"), "{page}");
    assert_eq!(page["tried"].as_array().unwrap().len(), 1, "{page}");
    assert!(page["tried"][0].as_str().unwrap().contains("times"), "{page}");
}

fn pages_of_stderr(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn warnings_come_once_at_the_end_and_strict_makes_them_errors() {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nLABEL a=$NOPE\nAPP a local://a.yaml\n");
    let run = space.build(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let (built, warning) =
        (run.stderr.find("built localhost").unwrap(), run.stderr.find("warning: ").unwrap());
    assert!(built < warning, "{}", run.stderr);
    assert_eq!(run.stderr.matches("warning: ").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("Kubefile:2:"), "{}", run.stderr);
    assert_eq!(space.build(&["-q"]).stderr, "");

    let strict = Space::new();
    strict.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nLABEL a=$NOPE\nAPP a local://a.yaml\n");
    let run = strict.build(&["--strict"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("error: ") && run.stderr.contains("without `--strict` this is a warning"),
        "{}",
        run.stderr
    );
    assert!(!strict.store().join("index.json").exists(), "nothing was built");
    for (word, code) in [("1", 1), ("yes", 1), ("0", 0), ("false", 0), ("", 0), ("maybe", 1)] {
        let checked =
            crate::space::run(strict.command().env("SEALER_STRICT", word).args(["build", "--check", "."]));
        assert_eq!(checked.code, Some(code), "SEALER_STRICT={word}: {}", checked.stderr);
    }
    // Warnings of running steps stop it before the image gets its name.
    strict.kubefile("FROM scratch\nAPP a local://a.yaml\nCOPY sock /s\n");
    let _listener = {
        fs_err::create_dir(strict.context().join("sock")).unwrap();
        std::os::unix::net::UnixListener::bind(strict.context().join("sock/s")).unwrap()
    };
    let run = strict.build(&["--strict"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("is a socket and was left out"), "{}", run.stderr);
    assert!(run.stderr.contains("hint: name it in .sealerignore"), "{}", run.stderr);
    assert!(!strict.store().join("index.json").exists(), "nothing was named");
    assert_eq!(strict.build(&[]).code, Some(0));
    assert!(pages(&strict.build(&["--progress", "json"])).len() > 2, "events and a warning");
}

#[test]
fn texts_from_other_systems_are_shown_as_people_see_them() {
    let space = Space::new();
    space.kubefile("FROM scratch\r\nLAUNCH no\\\r\npe\r\nLAUNCH nope");
    let run = space.build(&[]);
    assert!(run.stderr.contains("--> Kubefile:2:8\n"), "{}", run.stderr);
    assert!(!run.stderr.contains(['\r', '␍']), "{}", run.stderr);
    space.file("Kubefile", b"FROM scratch\nLABEL a=\xe4\n");
    let run = space.build(&[]);
    assert!(
        run.stderr.contains("`Kubefile` is not UTF-8 text: byte 0xe4 in line 2 is wrong\nhint: "),
        "{}",
        run.stderr
    );
}
