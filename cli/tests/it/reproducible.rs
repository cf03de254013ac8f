//! The same inputs give the same image, and a second build does only what changed.

use std::process::Command;

use serde_json::json;

use crate::space::{Space, run};

fn sample() -> Space {
    let space = Space::new();
    space.file("one/a.yaml", "kind: A\n").file("two/b.sh", "echo b\n").file("big.bin", vec![7; 9 << 20]);
    for n in 0..300 {
        space.file(&format!("many/{n}.txt"), format!("{n}").repeat(997));
    }
    space.kubefile("FROM scratch\nCOPY big.bin /\nCOPY many /many\nAPP one local://one\nAPP two local://two\nLAUNCH [\"one\"]\n");
    space
}

#[test]
fn who_builds_where_and_how_does_not_show() {
    let first = sample();
    first.built(&["--jobs", "1"]);
    let second = sample();
    let elsewhere = second.root().join("with space");
    fs_err::create_dir(&elsewhere).unwrap();
    let script = "umask 077; find ../context -exec touch -d @77777777 {} +; exec \"$0\" build -t x:1 --build-mode lite --jobs 8 --metadata-file ../metadata.json ../context";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_sealer")]).current_dir(&elsewhere);
    let built = run(shell.env("SEALER_ROOT", second.store()).env("TZ", "Asia/Tokyo"));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    assert_eq!(first.digest(), second.digest());
}

#[test]
fn every_compression_has_one_result_and_re_runs_nothing() {
    let space = sample();
    space.built(&[]);
    let root = space.rootfs("localhost/x:1");
    for format in ["gzip", "gzip:1", "uncompressed", "zstd:9"] {
        let cost = space.built(&["--compression", format, "--jobs", "1"]);
        assert_eq!(cost["executed"], 0, "{format}");
        let one = space.digest();
        space.built(&["--compression", format, "--jobs", "4", "--no-cache"]);
        assert_eq!(one, space.digest(), "{format}");
        assert_eq!(space.rootfs("localhost/x:1"), root, "{format}");
    }
}

#[test]
fn nothing_changed_costs_nothing() {
    let space = sample();
    let cost = space.built(&[]);
    assert_eq!((&cost["executed"], &cost["layers_made"]), (&json!(4), &json!(4)));
    let digest = space.digest();
    let index = fs_err::metadata(space.store().join("index.json")).unwrap().modified().unwrap();
    let cost = space.built(&[]);
    assert_eq!((&cost["cached"], &cost["executed"], &cost["layers_made"]), (&json!(4), &json!(0), &json!(0)));
    assert_eq!(digest, space.digest());
    assert_eq!(index, fs_err::metadata(space.store().join("index.json")).unwrap().modified().unwrap());
}

#[test]
fn what_is_only_said_of_the_image_remakes_no_layer() {
    let space = sample();
    space.built(&[]);
    let (digest, text) = (space.digest(), fs_err::read_to_string(space.context().join("Kubefile")).unwrap());
    space.kubefile(&text.replace(
        "LAUNCH [\"one\"]",
        "ENV A=1\nLABEL l=m\nAPPENV two K=V\nAPPCMDS two [\"x\"]\nLAUNCH [\"two\"]",
    ));
    let cost = space.built(&["--type", "app-installer", "--annotation", "\"k=a,b\",j=c"]);
    assert_eq!((&cost["executed"], &cost["layers_made"]), (&json!(0), &json!(0)));
    assert_ne!(digest, space.digest());
    let extension = space.extension("localhost/x:1");
    assert_eq!(extension["launch"], json!({"app_names": ["two"]}));
    assert_eq!(extension["type"], "app-installer");
    assert_eq!(space.manifest("localhost/x:1")["annotations"]["k"], "a,b");
    assert_eq!(space.manifest("localhost/x:1")["annotations"]["j"], "c");
}

#[test]
fn one_changed_app_is_one_step_and_a_new_base_is_none() {
    let space = sample();
    space.built(&[]);
    space.file("one/a.yaml", "kind: B\n");
    let cost = space.built(&[]);
    assert_eq!((&cost["executed"], &cost["layers_made"]), (&json!(1), &json!(1)));
    space.kubefile("FROM scratch\nLABEL base=1\nCOPY two /base\n");
    assert_eq!(space.run(&["build", "-t", "base:1", "--build-mode", "lite", "."]).code, Some(0));
    space
        .kubefile("FROM base:1\nCOPY big.bin /\nCOPY many /many\nAPP one local://one\nAPP two local://two\n");
    let cost = space.built(&[]);
    assert_eq!((&cost["executed"], &cost["layers_made"]), (&json!(0), &json!(0)));
    assert_eq!(space.config("localhost/x:1")["config"]["Labels"]["base"], "1");
}

#[test]
fn a_copy_out_of_a_stage_depends_on_what_it_copies_only() {
    let space = Space::new();
    space.file("a", "a").file("b", "b");
    space.kubefile(
        "FROM scratch AS one\nCOPY a /out/a\nCOPY b /other/b\nFROM scratch\nCOPY --from=one /out /x\n",
    );
    space.built(&[]);
    let digest = space.digest();
    space.file("b", "changed");
    let cost = space.built(&[]);
    // The changed step of the stage runs; what is copied out of it is the same, so nothing above does.
    assert_eq!((&cost["executed"], &cost["layers_made"]), (&json!(1), &json!(0)));
    assert_eq!(digest, space.digest());
}

#[test]
fn a_foreign_platform_shares_what_its_text_does_not_change() {
    let space = Space::new();
    space.file("amd64/bin", "x86").file("arm64/bin", "arm").file("app.yaml", "kind: A\n");
    space.kubefile("FROM scratch\nCOPY ${ARCH}/bin /bin/\nAPP a local://app.yaml\n");
    space.built(&["--platform", "linux/amd64"]);
    let cost = space.built(&["--platform", "linux/arm64"]);
    assert_eq!((&cost["cached"], &cost["executed"]), (&json!(1), &json!(1)));
    assert_eq!(space.rootfs("localhost/x:1")["bin/bin"].content, b"arm");
    assert_eq!(space.config("localhost/x:1")["architecture"], "arm64");
}

#[test]
fn an_image_says_the_platform_that_its_text_names() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM --platform=linux/arm64 scratch AS base\nCOPY a /\nFROM base\n");
    space.built(&["--platform", "linux/amd64,linux/arm64"]);
    assert_eq!(space.config("localhost/x:1")["architecture"], "arm64");
    // What differs stays two images, each with what it is for.
    space.kubefile("FROM --platform=linux/arm64 scratch\nCOPY a /\nENV ON=$TARGETPLATFORM\n");
    space.built(&["--platform", "linux/amd64,linux/arm64"]);
    let index = space.manifest("localhost/x:1");
    for entry in index["manifests"].as_array().unwrap() {
        let manifest = space.json(entry["digest"].as_str().unwrap());
        let config = space.json(manifest["config"]["digest"].as_str().unwrap());
        assert_eq!(
            (&entry["platform"]["architecture"], &config["architecture"]),
            (&json!("arm64"), &json!("arm64"))
        );
    }
}

#[test]
fn same_size_and_time_but_other_content_is_noticed() {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\n");
    let path = space.context().join("a.yaml");
    let time = fs_err::metadata(&path).unwrap().modified().unwrap();
    space.built(&[]);
    let digest = space.digest();
    space.file("a.yaml", "kind: B\n");
    fs_err::OpenOptions::new().append(true).open(&path).unwrap().file().set_modified(time).unwrap();
    space.built(&[]);
    assert_ne!(digest, space.digest());
}

#[test]
fn times_are_fixed_unless_asked_for() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /\n");
    let touch = Command::new("touch").args(["-d", "@1234567890"]).arg(space.context().join("a")).status();
    assert!(touch.unwrap().success());
    let mtime = || {
        let layer = space.blob(space.manifest("localhost/x:1")["layers"][0]["digest"].as_str().unwrap());
        let tar = zstd::decode_all(layer.as_slice()).unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        archive.entries().unwrap().next().unwrap().unwrap().header().mtime().unwrap()
    };
    space.built(&[]);
    assert_eq!(
        (mtime(), space.config("localhost/x:1")["created"].clone()),
        (0, json!("1970-01-01T00:00:00Z"))
    );
    space.built(&["--timestamp", "keep"]);
    assert_eq!(mtime(), 1_234_567_890);
    let mut command = space.command();
    let build = ["build", "-t", "x:1", "--build-mode", "lite", "."];
    assert_eq!(run(command.args(build).env("SOURCE_DATE_EPOCH", "86400")).code, Some(0));
    assert_eq!(
        (mtime(), space.config("localhost/x:1")["created"].clone()),
        (86_400, json!("1970-01-02T00:00:00Z"))
    );
}

#[test]
fn many_apps_share_layers_and_keep_them() {
    let space = Space::new();
    let text = |apps: usize| {
        let lines: String = (0..apps).map(|n| format!("APP a{n} local://a{n}.yaml\n")).collect();
        format!("FROM scratch\n{lines}")
    };
    (0..301).for_each(|n| _ = space.file(&format!("a{n}.yaml"), format!("kind: K{n}\n")));
    space.kubefile(&text(300)).built(&[]);
    let before = space.manifest("localhost/x:1")["layers"].as_array().unwrap().len();
    assert!((60..=120).contains(&before), "{before} layers");
    assert_eq!(space.rootfs("localhost/x:1").len(), 2 + 2 * 300);
    let history = space.config("localhost/x:1")["history"].as_array().unwrap().clone();
    assert_eq!(history.iter().filter(|entry| entry.get("empty_layer").is_none()).count(), before);
    let cost = space.kubefile(&text(301)).built(&[]);
    assert_eq!((&cost["executed"], &cost["layers_made"]), (&json!(1), &json!(1)));
    assert_eq!(space.rootfs("localhost/x:1").len(), 2 + 2 * 301);
}

#[test]
fn what_was_built_without_images_leaves_no_trace_in_what_may_carry_some() {
    let space = Space::new();
    let copies: String = (0..110).map(|n| format!("COPY <<f /{n}\n{n}\nf\n")).collect();
    space.kubefile(&format!("FROM scratch\n{copies}"));
    let layers = || space.manifest("localhost/x:1")["layers"].as_array().unwrap().len();
    space.built(&[]);
    assert_eq!(layers(), 110);
    let in_all = |words: &[&str]| {
        let run = space.run(&[&["build", "-q", "-t", "x:1"], words, &["."]].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        (layers(), run.stdout)
    };
    let after = in_all(&[]);
    assert!(after.0 < 110, "{} layers leave too few for images", after.0);
    assert_eq!(after, in_all(&["--no-cache"]));
}

#[test]
fn builds_at_once_on_one_store_all_succeed() {
    let space = sample();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let space = &space;
            scope.spawn(move || {
                let name = format!("at-once:{n}");
                let run = space.run(&["build", "-t", &name, "--build-mode", "lite", "."]);
                assert_eq!(run.code, Some(0), "{}", run.stderr);
                assert!(!run.stderr.contains("warning"), "{}", run.stderr);
            });
        }
    });
    let digests: std::collections::BTreeSet<String> = (0..4)
        .map(|n| space.manifest(&format!("localhost/at-once:{n}"))["config"]["digest"].to_string())
        .collect();
    assert_eq!(digests.len(), 1);
}

#[test]
fn ids_and_quiet_output_are_data() {
    let space = sample();
    let built = space.build(&["-q", "--iidfile", "../iid"]);
    let id = fs_err::read_to_string(space.root().join("iid")).unwrap();
    assert_eq!((built.stdout.trim(), built.stderr.as_str()), (id.as_str(), ""));
    let shown = space.run(&["inspect", "x:1"]).stdout;
    let keys = [
        "\"id\"",
        "\"name\"",
        "\"digest\"",
        "\"manifestv1\"",
        "\"ociv1\"",
        "\"buildClient\"",
        "\"schemaVersion\"",
        "\"type\"",
        "\"applications\"",
        "\"launch\"",
    ];
    let places: Vec<usize> = keys.iter().map(|key| shown.find(&format!("\n    {key}")).expect(key)).collect();
    assert!(places.is_sorted(), "{shown}");
    assert!(shown.contains("\"launchfiles\""));
    assert!(space.run(&["images"]).stdout.contains("localhost/x"));
}
