//! Our own golden cases: `tests/golden/CASE/Kubefile` with what is expected of it in `expected.txt`.
//!
//! A file `options` beside them may give `build-arg NAME=VALUE`, `target NAME`, `platform OS/ARCH`, `context NAME` and
//! `context-image NAME=REFERENCE`, one a line. Base images are the three of [`base`]. `UPDATE_EXPECT=1` writes what is
//! found instead of comparing it: read the diff.

use std::collections::BTreeMap;
use std::path::Path;

use frontend::{BaseRequest, NamedContext, Options, Severity};
use solver::{Application, Base, ManifestDigest, Platform, SourceFile};

use crate::{dump, paths_in, read, updates, write};

#[test]
fn golden_cases_say_what_they_said() {
    let cases = paths_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    let mut different = Vec::new();
    for case in &cases {
        let text = read(&case.join("Kubefile")).expect("every case has a Kubefile");
        let found = run(text, &options(&read(&case.join("options")).unwrap_or_default()));
        let path = case.join("expected.txt");
        if read(&path).as_deref() == Some(found.as_str()) {
            continue;
        }
        if updates() {
            write(&path, &found);
        } else {
            different.push(format!("=== {}\n{found}", case.display()));
        }
    }
    assert!(different.is_empty(), "UPDATE_EXPECT=1 accepts these:\n{}", different.join("\n"));
    assert!(cases.len() > 20, "only {} cases", cases.len());
}

fn run(text: String, options: &Options) -> String {
    let source = SourceFile { name: "Kubefile".into(), text };
    let mut out = String::new();
    let parsed = frontend::parse(&source);
    let (model, checked) = frontend::model(&parsed, options);
    let found = [parsed.diagnostics, checked].concat();
    dump::diagnostics(&mut out, &source, &found).expect("text takes everything");
    if found.iter().any(|found| found.severity == Severity::Error) {
        return out;
    }
    let mut bases = BTreeMap::new();
    let mut wanted = model.bases();
    while !wanted.is_empty() {
        dump::bases(&mut out, &wanted).expect("text takes everything");
        bases.extend(
            wanted.into_iter().map(|BaseRequest { image, .. }| (image.clone(), base(&image.reference))),
        );
        wanted = model.further_bases(options, &bases);
    }
    let (lowered, found) = frontend::lower(&model, &source, options, &bases);
    dump::diagnostics(&mut out, &source, &found).expect("text takes everything");
    let failed = found.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(lowered.is_none(), failed, "nothing is lowered exactly if there is an error");
    if let Some(lowered) = lowered {
        dump::lowered(&mut out, &lowered).expect("text takes everything");
    }
    out
}

/// `kube` has a typed and an untyped application, `untyped` one that nothing can launch; all others are plain.
fn base(reference: &str) -> Base {
    let app = |name: &str, kind: Option<&str>, cmds: &[&str]| Application {
        name: name.into(),
        kind: kind.map(str::to_owned),
        version: "v1".into(),
        env: BTreeMap::from([("FROM_BASE".into(), "1".into())]),
        cmds: cmds.iter().map(|&cmd| cmd.to_owned()).collect(),
        ..Application::default()
    };
    let applications = match reference {
        "kube" => vec![app("mysql", Some("kube"), &[]), app("redis", None, &["start redis"])],
        "untyped" => vec![app("old", None, &[])],
        _ => Vec::new(),
    };
    Base {
        reference: format!("localhost/{reference}:latest"),
        env: vec![("PATH".into(), "/base/bin".into()), ("HOME".into(), "/base".into())],
        labels: BTreeMap::from([("from".into(), "base".into())]),
        author: Some("the base".into()),
        applications,
        working_dir: "/work".into(),
        user: String::new(),
        digest: Some(ManifestDigest::from_bytes([7; 32])),
    }
}

fn options(text: &str) -> Options {
    let mut options = crate::options();
    for line in text.lines() {
        match line.split_once(' ').expect("an option has a value") {
            ("build-arg", pair) => {
                let (name, value) = pair.split_once('=').expect("NAME=VALUE");
                options.build_args.insert(name.into(), value.into());
            }
            ("context", name) => {
                options.contexts.insert(name.into(), NamedContext::Files);
            }
            ("context-image", pair) => {
                let (name, reference) = pair.split_once('=').expect("NAME=REFERENCE");
                options.contexts.insert(name.into(), NamedContext::Image(reference.into()));
            }
            ("target", stage) => options.target = Some(stage.into()),
            ("platform", platform) => {
                let (os, architecture) = platform.split_once('/').expect("OS/ARCH");
                options.platform =
                    Platform { os: os.into(), architecture: architecture.into(), variant: None };
            }
            (other, _) => panic!("unknown option {other}"),
        }
    }
    options
}
