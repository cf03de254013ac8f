//! `sealer build --check`: what it says and how, that it leaves no trace, and that the pages of `docs/lint/` are true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::space::{Run, Space};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lint")
}

fn check(space: &Space, words: &[&str]) -> Run {
    space.run(&[&["build", "--check"], words, &["."]].concat())
}

/// The object of `--format json`.
fn json(space: &Space, words: &[&str]) -> Value {
    let run = check(space, &[&["--format", "json"], words].concat());
    assert_eq!(run.stderr, "");
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stdout))
}

fn codes(found: &Value) -> Vec<&str> {
    found["findings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect()
}

/// The fenced blocks of a kind.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    page.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// What examples copy, where their page does not say.
const FILES: &str = "redis.yaml\nshop.yaml\ninstall.sh\netc/app.conf\ncharts/shop/Chart.yaml\n";

#[test]
fn every_lint_has_a_page_whose_bad_example_it_finds_and_whose_good_one_is_clean() {
    let mut pages = BTreeSet::new();
    for entry in fs_err::read_dir(docs()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "README" {
            continue;
        }
        let page = fs_err::read_to_string(&path).unwrap();
        let lint = frontend::LINTS.iter().find(|lint| lint.name == name);
        let lint = lint.unwrap_or_else(|| panic!("{name} is the page of no lint"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        let told = if lint.is_always_told() { "Told by every build" } else { "Told by `--check` alone" };
        assert!(page.contains(told), "{name}");
        check_examples(&name, &page);
        pages.insert(name);
    }
    assert_eq!(pages, frontend::LINTS.iter().map(|lint| lint.name.to_owned()).collect());
}

fn check_examples(name: &str, page: &str) {
    let space = Space::new();
    for line in blocks(page, "context").first().copied().unwrap_or(FILES).lines() {
        let (path, content) = line.split_once(": ").unwrap_or((line, "kind: A\n"));
        space.file(path, content);
    }
    for base in blocks(page, "Dockerfile base") {
        let run = space.kubefile(base).run(&["build", "-t", "base:1.0", "--build-mode", "lite", "."]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    let command =
        page.split("`sealer build --check ").nth(1).map_or(".", |rest| rest.split('`').next().unwrap());
    let flags: Vec<&str> = command.split(' ').filter(|word| *word != ".").collect();
    let (bad, good) = page.split_once("\n## Good\n").unwrap();
    let (_, bad) = bad.split_once("\n## Bad\n").unwrap();
    for (text, expected) in [(bad, BTreeSet::from([name])), (good, BTreeSet::new())] {
        let examples = blocks(text, "Dockerfile");
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            space.kubefile(example);
            let found = json(&space, &flags);
            assert_eq!(codes(&found).into_iter().collect::<BTreeSet<_>>(), expected, "{example}\n{found:#}");
            assert_eq!(found["errors"], 0, "{example}\n{found:#}");
        }
    }
}

#[test]
fn the_json_of_the_documentation_is_what_is_printed() {
    let page = fs_err::read_to_string(docs().join("README.md")).unwrap();
    let section = page.split("\n## JSON\n").nth(1).unwrap();
    let space = Space::new();
    space.kubefile(blocks(section, "Dockerfile")[0]);
    let run = check(&space, &["--format", "json"]);
    assert_eq!(run.stdout, blocks(section, "json")[0], "{}", run.stdout);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}

/// A Kubefile with letters of several bytes before what is found, and a finding with two places.
const ODD: &str = "\u{feff}FROM scratch AS é\r\nLABEL ü=\"日本\" 𝄞=$NÖ \\\r\n  x=$NO\r\nAPP a local://a.yaml\r\nAPP a local://b.yaml\r\n";

#[expect(clippy::disallowed_methods, reason = "the one switch of the tests")]
fn updates() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

#[test]
fn sarif_is_what_it_was() {
    let space = Space::new();
    space.file("a.yaml", "").file("b.yaml", "").file("dir/Kube file.ü", ODD);
    let run = check(&space, &["--format", "sarif", "-f", "dir/Kube file.ü"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/check.sarif");
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    let found = run.stdout.replace(&version, "\"version\": \"0\"");
    if updates() {
        fs_err::write(&golden, &found).unwrap();
    }
    assert_eq!(found, fs_err::read_to_string(&golden).unwrap(), "UPDATE_EXPECT=1 accepts this");

    // What the golden must say, whatever it says: the places, in characters.
    let log: Value = serde_json::from_str(&run.stdout).unwrap();
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(rules.len() > frontend::LINTS.len(), "errors that were found are rules too");
    let lines: Vec<&str> = ODD.trim_start_matches('\u{feff}').split("\r\n").collect();
    for result in run["results"].as_array().unwrap() {
        assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], result["ruleId"]);
        let region = &result["locations"][0]["physicalLocation"]["region"];
        let number = |key: &str| region[key].as_u64().unwrap() as usize;
        assert_eq!(number("startLine"), number("endLine"), "{region}");
        let line: Vec<char> = lines[number("startLine") - 1].chars().collect();
        let text: String = line[number("startColumn") - 1..number("endColumn") - 1].iter().collect();
        let expected = match result["ruleId"].as_str().unwrap() {
            "invalid-stage-name" => "é",
            "unset-variable" => "$N",
            "app-redeclared" => "APP a local://b.yaml",
            other => panic!("{other}: {text}"),
        };
        assert!(text.starts_with(expected), "{result:#}\n{text}");
        let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(uri, "dir/Kube%20file.%C3%BC");
    }
    let related = |result: &&Value| result["relatedLocations"].as_array().is_some_and(|more| more.len() == 1);
    let redeclared = run["results"].as_array().unwrap().iter().find(related).unwrap();
    assert_eq!(redeclared["relatedLocations"][0]["physicalLocation"]["region"]["startLine"], 4);
}

#[test]
fn text_goes_to_standard_error_and_ends_in_one_line() {
    let space = Space::new();
    space.file("a.yaml", "").kubefile("FROM scratch\nAPP a local://a.yaml\nLABEL x=$NO\nLAUNCH a\n");
    let run = check(&space, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(
        run.stderr.contains("Kubefile:3:9") && run.stderr.contains("lint: unset-variable"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.ends_with("\nchecked Kubefile: 1 warning\n"), "{}", run.stderr);
    assert_eq!(check(&space, &["-q"]).stderr, "");
    let json = check(&space, &["--error-format", "json"]);
    let lines = json.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.map(|page| page["code"].clone()).collect::<Vec<_>>(), ["unset-variable"]);

    let strict = check(&space, &["--strict"]);
    assert_eq!(strict.code, Some(1));
    assert!(strict.stderr.contains("error: ") && strict.stderr.contains("1 error\n"), "{}", strict.stderr);
    space.kubefile("# check=error=true\nFROM scratch\nLABEL x=$NO\n");
    assert_eq!(check(&space, &[]).code, Some(1));
    assert_eq!(space.build(&[]).code, Some(1), "a build too");
    space.kubefile("# check=skip=unset-variable\nFROM scratch\nLABEL x=$NO\n");
    assert_eq!(check(&space, &[]).stderr, "checked Kubefile: nothing to say\n");
    assert!(!space.build(&[]).stderr.contains("not set"));
    space.kubefile("FROM scratch\nCOPY a\nADD https://h/x /x\n");
    let run = check(&space, &[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.ends_with("checked Kubefile: 1 error and 1 warning\n"), "{}", run.stderr);
}

#[test]
fn a_check_leaves_no_trace_and_asks_nobody() {
    let space = Space::new();
    space.file("a.yaml", "").kubefile(
        "FROM 127.0.0.1:1/team/base:1\nAPP a local://a.yaml\nADD https://127.0.0.1:1/x /x\nLAUNCH a mysql\n",
    );
    let run = check(&space, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        run.stderr.contains("not in the store, so not looked into: 127.0.0.1:1/team/base:1"),
        "{}",
        run.stderr
    );
    assert!(!space.store().exists());

    // A base of the store is looked into.
    space.kubefile("FROM scratch\nAPP a local://a.yaml\n").built(&[]);
    let listing = |space: &Space| {
        let find =
            std::process::Command::new("find").arg(space.store()).args(["-printf", "%P %s %T@\n"]).output();
        String::from_utf8(find.unwrap().stdout).unwrap()
    };
    let before = listing(&space);
    space.kubefile("FROM x:1\nLAUNCH b\n");
    let found = json(&space, &[]);
    assert_eq!((codes(&found), &found["unresolved_bases"]), (vec!["unknown-app"], &json!([])));
    space.kubefile("FROM x:1\nLAUNCH a\n");
    assert_eq!(codes(&json(&space, &[])), Vec::<&str>::new());
    // What the store has for another platform, a registry may have for this one.
    assert_eq!(json(&space, &["--platform", "linux/s390x"])["unresolved_bases"], json!(["x:1"]));
    space.kubefile("FROM Not:a:Name\n");
    assert_eq!(codes(&json(&space, &[])), ["base-image"]);
    assert_eq!(listing(&space), before);
}

#[test]
fn the_context_is_asked_for_names_alone() {
    let space = Space::new();
    space.file(".dockerignore", "*.md\n").file("a.md", "").file("dir/x.yaml", "").file("b.yaml", "");
    std::os::unix::fs::symlink("/etc", space.context().join("out")).unwrap();
    // Nobody can read it, and nobody has to.
    std::os::unix::fs::symlink("b.yaml", space.context().join("link.yaml")).unwrap();
    space.kubefile(
        "FROM scratch\nCOPY a.md no/*.x dir link.yaml /d/\nAPP a local://dir local://no\nCOPY out/passwd /p\nCOPY --exclude=x [ab /q\nLAUNCH a\n",
    );
    let found = json(&space, &[]);
    assert_eq!(
        codes(&found),
        ["ignored-source", "nothing-selected", "nothing-selected", "step-failed", "step-failed"],
        "{found:#}"
    );
    let line = |at: usize| found["findings"][at]["places"][0]["line"].as_u64().unwrap();
    assert_eq!((0..5).map(line).collect::<Vec<_>>(), [2, 2, 3, 4, 5]);
    assert!(found["findings"][3]["message"].as_str().unwrap().contains("leaves the build context"));
    let run = space.run(&["build", "--check", "-f", "Kubefile", "nowhere"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("nowhere"), "{}", run.stderr);
}

#[test]
fn flags_that_a_check_has_no_use_for_are_refused() {
    let space = Space::new();
    space.kubefile("FROM scratch\n");
    for words in [
        &["build", "-t", "x", "--format", "json", "."][..],
        &["build", "."],
        &["build", "--check", "--explain", "."],
        &["build", "--check", "--iidfile", "id", "."],
        &["build", "--check", "--format", "xml", "."],
        &["build", "--check", "--platform", "nonsense", "."],
        &["build", "--check", "-f", "nowhere", "."],
    ] {
        let run = space.run(words);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{words:?} {}", run.stderr);
    }
    assert_eq!(check(&space, &["-t", "x:1", "--type", "app-installer"]).code, Some(0));
}

#[test]
fn odd_kubefiles_are_checked_in_time_that_grows_with_them() {
    let space = Space::new();
    for (text, expected) in [
        ("", vec!["empty-kubefile"]),
        ("# nothing\n\n# check=x=y\n", vec!["empty-kubefile", "misplaced-directive"]),
        ("FROM scratch\r\nLAUNCH\r\n", vec![]),
        ("\u{feff}\r\n\\\n", vec!["empty-kubefile"]),
        ("FROM scratch\nCOPY <<E /x", vec!["unterminated-heredoc"]),
    ] {
        space.kubefile(text);
        assert_eq!(codes(&json(&space, &[])), expected, "{text:?}");
    }
    space.file("a.yaml", "");
    let text: String = (0..10_000).map(|n| format!("APP a local://a.yaml # {n} $NO\n")).collect();
    space.kubefile(&format!("FROM scratch\n{text}"));
    for format in ["json", "sarif", "text"] {
        let start = Instant::now();
        let run = check(&space, &["--format", format]);
        assert!(start.elapsed() < Duration::from_secs(60), "{format}: {:?}", start.elapsed());
        assert!(run.stdout.len() + run.stderr.len() > 1_000_000, "{format}");
    }
}
