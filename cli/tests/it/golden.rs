//! What the real sealer produced, compared with what we produce (see the README beside the data).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::server::Server;
use crate::space::{Space, skipped};

/// Cases that differ, and the row of spec §9 that says so.
const DIFFERENT: [(&str, &str); 4] = [
    ("01-seed-exact", "`.tgz` charts have no type"),
    ("10a-remote-404-yaml", "local:// stat against CWD, remote only with `.`, 404 accepted"),
    ("13a-env-appenv", "ENV in the extension"),
    ("17a-copy-multi", "COPY drops flags/sources"),
];
/// A case of which the data has `inspect` alone.
const PLATFORMS: &str = "23b-multi-platform";

fn golden() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    if !found.is_dir() {
        skipped(&format!("the golden data is not at {}", found.display()));
        return None;
    }
    Some(found)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

/// A space with the golden context, whose Kubefiles name port 8090, and a server for their remote sources.
struct Golden {
    space: Space,
    server: Server,
}

impl Golden {
    fn new(data: &Path) -> Self {
        let space = Space::new();
        let unpack = Command::new("tar")
            .args(["--same-owner", "-xpf"])
            .arg(data.join("context.tar"))
            .arg("-C")
            .arg(space.root())
            .status();
        assert!(unpack.unwrap().success());
        let server = Server::start();
        for chart in ["mysql.tgz", "elasticsearch.tgz"] {
            server.file(&format!("/{chart}"), fs_err::read(space.context().join(chart)).unwrap());
        }
        // Its content is not in the data, its length is.
        server.file("/extra.yaml", vec![b'#'; 55]);
        Self { space, server }
    }

    fn build(&self, case: &Path, command: &str) -> crate::space::Run {
        let text = fs_err::read_to_string(case.join("Kubefile")).unwrap();
        let served = self.server.url("");
        let served = served.trim_end_matches('/');
        self.space.kubefile(&text.replace("http://127.0.0.1:8090", served));
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        self.space.run(&words)
    }
}

#[test]
fn real_sealers_results_are_ours() {
    let Some(data) = golden() else { return };
    let mut wrong = Vec::new();
    let mut cases: Vec<PathBuf> =
        fs_err::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases
        .retain(|path| path.file_name().unwrap().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()));
    cases.sort();
    assert!(cases.len() > 40, "{}", cases.len());
    for case in &cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        if name == PLATFORMS {
            continue;
        }
        let differences = compare(&data, case);
        let expected = DIFFERENT.iter().any(|(different, _)| *different == name);
        if expected && differences.is_empty() {
            wrong.push(format!("{name}: does not differ, though the table says so"));
        }
        if !expected {
            wrong.extend(differences.into_iter().map(|difference| format!("{name}: {difference}")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The keys of each object of printed JSON, by the keys that lead to it; of the objects of an array together.
fn key_order(text: &str) -> BTreeMap<Vec<String>, Vec<String>> {
    let (mut order, mut path) = (BTreeMap::<_, Vec<String>>::new(), Vec::<(usize, String)>::new());
    for line in text.lines() {
        let line_text = line.trim_start();
        let indent = line.len() - line_text.len();
        let Some((key, _)) = line_text.strip_prefix('"').and_then(|rest| rest.split_once("\": ")) else {
            continue;
        };
        path.retain(|(above, _)| *above < indent);
        let keys = order.entry(path.iter().map(|(_, key)| key.clone()).collect()).or_default();
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
        path.push((indent, key.to_owned()));
    }
    order
}

#[test]
fn keys_stand_where_sealer_has_them() {
    let Some(data) = golden() else { return };
    let golden = Golden::new(&data);
    let case = data.join("05-duplicate-app");
    let command = read(&case.join("result.json"))["command"].as_str().unwrap().to_owned();
    assert_eq!(golden.build(&case, &command).code, Some(0));
    let check = |theirs: &str, ours: &str, least: usize| {
        let (theirs, ours) = (key_order(theirs), key_order(ours));
        let mut compared = 0;
        for (path, keys) in &theirs {
            let Some(own) = ours.get(path) else { continue };
            let of_both = |keys: &[String], other: &[String]| -> Vec<String> {
                keys.iter().filter(|key| other.contains(key)).cloned().collect()
            };
            assert_eq!(of_both(own, keys), of_both(keys, own), "{path:?}");
            compared += 1;
        }
        assert!(compared >= least, "{compared} objects of {theirs:?} are in {ours:?}");
    };
    let theirs = fs_err::read_to_string(case.join("inspect.json")).unwrap();
    check(&theirs, &golden.space.run(&["inspect", "c-05-duplicate-app:v1"]).stdout, 7);
    let theirs = fs_err::read_to_string(data.join("cli/images-json.txt")).unwrap();
    let (_, theirs) = theirs.split_once('[').and_then(|(_, rest)| rest.split_once("] [")).unwrap();
    check(theirs, &golden.space.run(&["images", "--json"]).stdout, 1);
}

#[test]
fn several_platforms_are_one_name_however_often_they_are_built() {
    let Some(data) = golden() else { return };
    let case = data.join(PLATFORMS);
    let golden = Golden::new(&data);
    let result = read(&case.join("result.json"));
    // The real one fails the second time.
    for _ in 0..2 {
        let run = golden.build(&case, result["command"].as_str().unwrap());
        assert_eq!(run.code.map(i64::from), result["exit"].as_i64(), "{}", run.stderr);
    }
    let name = "c-23b-multi-platform:v1";
    let list = golden.space.run(&["images", "-q"]).stdout;
    assert_eq!(list.lines().count(), 1, "{list}");
    let theirs = read(&case.join("inspect.json"));
    let host = golden.space.run(&["inspect", name]);
    let ours: Value = serde_json::from_str(&host.stdout).unwrap();
    assert_eq!(ours["ociv1"]["architecture"], theirs["ociv1"]["architecture"]);
    assert_eq!(ours["ociv1"]["config"]["Env"], theirs["ociv1"]["config"]["Env"]);
    assert_eq!(ours["type"], theirs["imageExtension"]["type"]);
    assert_eq!(ours["launch"], theirs["imageExtension"]["launch"]);
    assert_eq!(ours["applications"][0]["name"], theirs["imageExtension"]["applications"][0]["name"]);
    let arm =
        golden.space.run(&["inspect", "--platform", "linux/arm64", "-f", "{{.OCIv1.Architecture}}", name]);
    assert_eq!(arm.stdout, "arm64", "{}", arm.stderr);
    let index = golden.space.run(&["alpha", "manifest", "inspect", name]);
    let index: Value = serde_json::from_str(&index.stdout).unwrap();
    let platforms: Vec<&Value> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["platform"]["architecture"])
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    // Each has its own file, and they share what does not depend on the platform.
    let layers = |at: usize| -> Vec<Value> {
        let manifest = golden.space.json(index["manifests"][at]["digest"].as_str().unwrap());
        manifest["layers"].as_array().unwrap().clone()
    };
    let (one, other) = (layers(0), layers(1));
    assert_ne!(one[0]["digest"], other[0]["digest"]);
    assert_eq!(one[1]["digest"], other[1]["digest"]);
}

fn compare(data: &Path, case: &Path) -> Vec<String> {
    let golden = Golden::new(data);
    let wants_base = fs_err::read_to_string(case.join("Kubefile")).unwrap().contains("localhost/base-a:v1");
    if wants_base {
        let base = data.join("03-helm-dirs");
        let built = golden.build(&base, read(&base.join("result.json"))["command"].as_str().unwrap());
        assert_eq!(built.code, Some(0), "{}", built.stderr);
    }
    let result = read(&case.join("result.json"));
    let command = result["command"].as_str().unwrap();
    let run = golden.build(case, command);
    let mut differences = Vec::new();
    if run.code.map(i64::from) != result["exit"].as_i64() {
        return vec![format!("exit {:?} instead of {}: {}", run.code, result["exit"], run.stderr)];
    }
    if let Some(error) = result["error"].as_str() {
        if !run.stderr.contains(error) {
            differences.push(format!("`{error}` is not in {}", run.stderr));
        }
        return differences;
    }
    let tag = command.split_whitespace().skip_while(|word| *word != "-t").nth(1).unwrap();
    let name = format!("localhost/{tag}");
    let mut check = |what: &str, ours: Value, theirs: Value| {
        if ours != theirs {
            differences.push(format!("{what}\n  ours   {ours}\n  theirs {theirs}"));
        }
    };
    let manifest = read(&case.join("manifest.json"));
    let config = read(&case.join("config.json"));
    let (our_manifest, our_config) = (golden.space.manifest(&name), golden.space.config(&name));
    check("extension", extension(&our_manifest), extension(&manifest));
    check("annotations", annotations(&our_manifest), annotations(&manifest));
    check("labels", labels(&our_config), labels(&config));
    for key in ["/config/Env", "/architecture", "/os", "/author"] {
        check(
            key,
            our_config.pointer(key).cloned().unwrap_or_default(),
            config.pointer(key).cloned().unwrap_or_default(),
        );
    }
    let ours: BTreeMap<String, String> =
        golden.space.rootfs(&name).into_iter().map(|(path, node)| (path, node.header)).collect();
    // The Kubefile itself lies in the context; its size depends on the server's port.
    let apart = |mut root: BTreeMap<String, String>| {
        root.retain(|path, _| !path.ends_with("Kubefile"));
        json!(root)
    };
    check("root file system", apart(ours), apart(listing(&case.join("layers.txt"))));
    differences
}

fn extension(manifest: &Value) -> Value {
    let text = manifest["annotations"]["sealer.image.extension"].as_str().unwrap();
    let mut extension: Value = serde_json::from_str(text).unwrap();
    extension.as_object_mut().unwrap().remove("buildClient");
    if let Some(apps) = extension.get_mut("applications").and_then(Value::as_array_mut) {
        apps.sort_by_key(|app| app["name"].to_string());
    }
    extension
}

fn annotations(manifest: &Value) -> Value {
    let mut annotations = manifest["annotations"].as_object().unwrap().clone();
    // Sealer says what an image carries, and never that this is all; we do.
    let is_ours = |key: &str| key == "sealer.image.container.images.complete";
    annotations
        .retain(|key, _| !key.contains(".image.base.") && key != "sealer.image.extension" && !is_ours(key));
    json!(annotations)
}

fn labels(config: &Value) -> Value {
    let mut labels = config.pointer("/config/Labels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.retain(|key, _| !key.starts_with("io."));
    json!(labels)
}

/// The merged listing of all layers: `drwxr-xr-x 0/0 0 DATE TIME path/`.
fn listing(path: &Path) -> BTreeMap<String, String> {
    let mut root = BTreeMap::new();
    for line in fs_err::read_to_string(path)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, size, _, _, path, rest @ ..] = words.as_slice() else { panic!("{line}") };
        let kind = mode.chars().next().unwrap();
        let bits = mode[1..].chars().fold(0_u32, |bits, c| bits << 1 | u32::from(c != '-'));
        let target = if kind == 'l' { format!(" {}", rest.join(" ")) } else { String::new() };
        let header = format!("{kind} {bits:04o} {owner} {size}{target}");
        root.insert(path.trim_end_matches('/').to_owned(), header);
    }
    root
}

#[test]
fn the_documentations_example_builds_and_its_charts_launch() {
    let Some(data) = golden() else { return };
    let golden = Golden::new(&data);
    let case = data.join("01-seed-exact");
    let run = golden.build(&case, "sealer build -f Kubefile -t doc:v1 --type=app-installer .");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let extension = golden.space.extension("localhost/doc:v1");
    let mysql =
        extension["applications"].as_array().unwrap().iter().find(|app| app["name"] == "mysql").unwrap();
    assert_eq!(
        *mysql,
        json!({"name": "mysql", "type": "helm", "version": "v1", "cmds": ["helm install mysql mysql.tgz"]})
    );
}

#[test]
fn one_kubefile_with_every_instruction() {
    let Some(data) = golden() else { return };
    let space = Space::new();
    let all = data.join("spec-all");
    let copy = Command::new("cp").arg("-a").arg(all.join("context/.")).arg(space.context()).status();
    assert!(copy.unwrap().success());
    let run = space.run(&["build", "-t", "all:1", "--type", "app-installer", "--build-mode", "lite", "."]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let manifest = read(&all.join("manifest.json"));
    let mut theirs = extension(&manifest);
    let mut ours = extension(&space.manifest("localhost/all:1"));
    // Sealer keeps the quotes of an ENV's value (spec §1.3); the row "ENV in the extension" of §9 does not.
    theirs.as_object_mut().unwrap().remove("env");
    let env = ours.as_object_mut().unwrap().remove("env");
    assert_eq!(ours, theirs);
    assert_eq!(env, Some(json!({"GK": "gv", "GK2": "quoted value"})));
    assert_eq!(labels(&space.config("localhost/all:1")), labels(&read(&all.join("config.json"))));
}

#[test]
fn published_charts_are_packed_and_launch_by_themselves() {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/charts");
    if !charts.is_dir() {
        skipped(&format!("the real charts are not at {}", charts.display()));
        return;
    }
    let space = Space::new();
    let mut text = String::from("FROM scratch\n");
    for chart in fs_err::read_dir(&charts).unwrap().map(|entry| entry.unwrap().path()) {
        let file = chart.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((name, _)) = file.split_once("-1.").or_else(|| file.rsplit_once('-')) else { continue };
        if file.ends_with(".tgz") {
            fs_err::copy(&chart, space.context().join(&file)).unwrap();
            text.push_str(&format!("APP {name} local://{file}\n"));
        }
    }
    space.kubefile(&text).built(&[]);
    let extension = space.extension("localhost/x:1");
    let apps = extension["applications"].as_array().unwrap();
    assert_eq!(apps.len(), 12);
    for app in apps {
        let name = app["name"].as_str().unwrap();
        assert_eq!(app["type"], "helm", "{name}");
        let command = app["cmds"][0].as_str().unwrap();
        assert!(command.starts_with(&format!("helm install {name} {name}-")), "{command}");
    }
}
