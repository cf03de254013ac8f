//! The frontend against real sealer's behaviour: the golden Kubefiles, where they are at hand.

mod cases;
mod dump;
mod large;
mod lints;
mod reference;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use frontend::{Diagnostic, Options, Severity};
use solver::{Application, Base, ManifestDigest, Platform, SourceFile};

fn options() -> Options {
    let platform = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
    Options {
        build_args: BTreeMap::new(),
        platform,
        target: None,
        allows_insecure: false,
        has_one_user: false,
        contexts: BTreeMap::new(),
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
#[expect(clippy::disallowed_methods, reason = "where the data is, only the environment knows")]
fn golden() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    let directory = std::env::var_os("SEALER_GOLDEN").map(PathBuf::from).unwrap_or(beside);
    if !directory.is_dir() {
        eprintln!("skipped: {} does not exist", directory.display());
        return None;
    }
    Some(directory)
}

fn base() -> Base {
    let application = |name: &str| Application {
        name: name.into(),
        kind: Some("kube".into()),
        version: "v1".into(),
        ..Application::default()
    };
    Base {
        reference: "localhost/base-a:v1".into(),
        applications: ["mysql", "elasticsearch", "redis", "businessApp"].map(application).to_vec(),
        digest: Some(ManifestDigest::from_bytes([7; 32])),
        ..Base::default()
    }
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<&str> {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    errors.map(|diagnostic| diagnostic.message.as_str()).collect()
}

/// Errors that only fetched or read content can show.
const LATER: &[&str] = &["01-seed-exact", "07c-mixed-sh-yaml", "10a-remote-404-yaml"];

#[test]
fn golden_kubefiles_pass_and_fail_as_in_sealer() {
    let Some(directory) = golden() else { return };
    let mut count = 0;
    for entry in paths_in(&directory) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (Some(text), Some(result)) = (read(&entry.join("Kubefile")), read(&entry.join("result.json")))
        else {
            continue;
        };
        let result: serde_json::Value = serde_json::from_str(&result).expect("golden results are JSON");
        let expected = result["error"].as_str().filter(|_| !LATER.contains(&name.as_str()));
        let source = SourceFile { name: "Kubefile".into(), text };
        let parsed = frontend::parse(&source);
        let (model, checked) = frontend::model(&parsed, &options());
        let all: Vec<Diagnostic> = parsed.diagnostics.iter().cloned().chain(checked).collect();
        count += 1;
        match expected {
            Some(error) => {
                assert!(errors(&all).iter().any(|message| message.contains(error)), "{name}: {all:#?}")
            }
            None => {
                assert_eq!(errors(&all), Vec::<&str>::new(), "{name}");
                let bases = model.bases().into_iter().map(|request| (request.image, base())).collect();
                let (lowered, diagnostics) = frontend::lower(&model, &source, &options(), &bases);
                assert!(lowered.is_some(), "{name}: {diagnostics:#?}");
            }
        }
    }
    assert!(count > 30, "only {count} golden cases");
}

fn paths_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the golden directory is readable");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

#[expect(clippy::disallowed_methods, reason = "a missing file is an answer here")]
fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Whether goldens are written instead of compared.
#[expect(clippy::disallowed_methods, reason = "the one switch of the tests")]
fn updates() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

#[expect(clippy::disallowed_methods, reason = "frontend has no fs_err; the path is in the message")]
fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A generated file says what it should; `UPDATE_EXPECT=1` makes it so.
fn fresh(path: &Path, text: &str) {
    if updates() {
        write(path, text);
    }
    let is_fresh = read(path).as_deref() == Some(text);
    assert!(is_fresh, "{} is stale: UPDATE_EXPECT=1 writes it anew", path.display());
}

#[test]
fn launching_an_application_the_base_lacks_is_an_error_of_lowering() {
    let source = SourceFile { name: "Kubefile".into(), text: "FROM base\nLAUNCH mysq\n".into() };
    let (model, diagnostics) = frontend::model(&frontend::parse(&source), &options());
    assert_eq!(diagnostics, Vec::new());
    let bases = model.bases().into_iter().map(|request| (request.image, base())).collect();
    let (lowered, diagnostics) = frontend::lower(&model, &source, &options(), &bases);
    assert!(lowered.is_none());
    assert_eq!(errors(&diagnostics), ["application mysq does not exist in the image"]);
    assert_eq!(diagnostics[0].hints, ["did you mean `mysql`?"]);
}
