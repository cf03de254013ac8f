//! Many builds on one store, and builds that are killed: nothing is lost, nothing is done twice, nothing is left behind.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Response, Server};
use crate::space::{Space, run};

/// Builds beside each other.
const BUILDS: usize = 8;
/// How often a build is killed.
const KILLS: usize = 200;

fn files(path: &std::path::Path) -> usize {
    fs_err::read_dir(path).map_or(0, Iterator::count)
}

/// Sums one figure of the metadata of all builds.
fn sum(space: &Space, key: &str) -> u64 {
    let metadata = |n: usize| -> Value {
        let text = fs_err::read(space.root().join(format!("meta-{n}.json"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    (0..BUILDS).map(|n| metadata(n)["sealer.build"][key].as_u64().unwrap()).sum()
}

/// Builds the Kubefile under eight names at once.
fn build_all(space: &Space) {
    std::thread::scope(|scope| {
        for n in 0..BUILDS {
            scope.spawn(move || {
                let (name, meta) = (format!("n{n}:1"), format!("../meta-{n}.json"));
                let words = ["build", "-t", &name, "--build-mode", "lite", "--metadata-file", &meta, "."];
                let run = space.run(&words);
                assert_eq!(run.code, Some(0), "{}", run.stderr);
                assert!(!run.stderr.contains("warning"), "{}", run.stderr);
            });
        }
    });
}

#[test]
fn equal_builds_at_once_are_one_build() {
    let server = Server::start();
    server.route("/r.yaml", |_| {
        std::thread::sleep(Duration::from_millis(150));
        Response::ok("kind: Remote\n").header("ETag", "\"1\"")
    });
    let space = Space::new();
    for n in 0..20 {
        space.file(&format!("dir/{n}.bin"), vec![n; 300_000]);
    }
    space.file("app/a.yaml", "kind: A\n");
    space.kubefile(&format!(
        "FROM scratch\nCOPY dir /dir\nAPP a local://app\nAPP r {}\n",
        server.url("/r.yaml")
    ));
    build_all(&space);
    assert_eq!((sum(&space, "executed"), sum(&space, "layers_made")), (3, 3), "each step ran once in all");
    let bodies = server.requests().iter().filter(|request| request.header("if-none-match").is_none()).count();
    assert_eq!(bodies, 1, "the file was downloaded once");
    let digests: std::collections::BTreeSet<String> =
        (0..BUILDS).map(|n| space.manifest(&format!("localhost/n{n}:1")).to_string()).collect();
    assert_eq!(digests.len(), 1);
    assert_eq!(space.run(&["cache", "verify"]).code, Some(0));
    assert_eq!(files(&space.store().join("tmp")), 0, "who leaves last takes everything along");
}

#[test]
fn different_builds_at_once_lose_no_record() {
    let space = Space::new();
    space.file("shared.bin", vec![7; 500_000]);
    for round in 0..3 {
        std::thread::scope(|scope| {
            for n in 0..BUILDS {
                let space = &space;
                scope.spawn(move || {
                    let (file, kubefile) = (format!("own{n}-{round}.yaml"), format!("Kubefile.{n}"));
                    space.file(&file, format!("kind: K{n}{round}\n"));
                    let text = format!("FROM scratch\nCOPY shared.bin /\nAPP own local://{file}\n");
                    space.file(&kubefile, text);
                    let (name, kubefile) = (format!("n{n}:{round}"), format!("./{kubefile}"));
                    let run =
                        space.run(&["build", "-t", &name, "-f", &kubefile, "--build-mode", "lite", "."]);
                    assert_eq!(run.code, Some(0), "{}", run.stderr);
                });
            }
            // Readers and an `rmi` in between: they neither wait long nor disturb.
            scope.spawn(|| {
                for _ in 0..20 {
                    let start = Instant::now();
                    assert_eq!(space.run(&["images"]).code, Some(0));
                    assert!(start.elapsed() < Duration::from_secs(5), "a reader waited for a build");
                }
            });
            if round > 0 {
                let name = format!("n0:{}", round - 1);
                assert_eq!(space.run(&["rmi", &name]).code, Some(0));
            }
        });
    }
    for n in 0..BUILDS {
        let (kubefile, meta) = (format!("./Kubefile.{n}"), "../metadata.json");
        let words =
            ["build", "-t", "again:1", "-f", &kubefile, "--build-mode", "lite", "--metadata-file", meta, "."];
        assert_eq!(space.run(&words).code, Some(0));
        assert_eq!(
            space.metadata()["sealer.build"]["executed"],
            json!(0),
            "the records of build {n} are there"
        );
    }
    assert_eq!(space.run(&["cache", "verify"]).code, Some(0));
}

/// Digests of `x:1` for each content the app can have, from clean stores.
fn clean_digests(text: &str, variants: usize) -> Vec<String> {
    let digest = |n| {
        let space = killable(text, n);
        space.built(&[]);
        space.digest()
    };
    (0..variants).map(digest).collect()
}

fn killable(text: &str, variant: usize) -> Space {
    let space = Space::new();
    for n in 0..12_u8 {
        space.file(&format!("dir/{n}.bin"), vec![n; 100_000]);
    }
    vary(&space, variant);
    space.kubefile(text);
    space
}

fn vary(space: &Space, variant: usize) {
    space.file("app/a.yaml", format!("kind: A{variant}\n")).file("dir/3.bin", vec![variant as u8; 100_000]);
}

#[test]
fn builds_killed_at_any_moment_leave_a_store_that_builds() {
    let text = "FROM scratch\nCOPY dir /dir\nAPP a local://app\nLAUNCH a\n";
    let clean = clean_digests(text, 5);
    let space = killable(text, 0);
    space.built(&[]);
    let start = Instant::now();
    space.built(&[]);
    let longest = start.elapsed() * 3;
    let mut killed = 0;
    for kill in 0..KILLS {
        let variant = kill % clean.len();
        vary(&space, variant);
        // Other results than those the store has, so that there is always something to write.
        let annotation = format!("kill={kill}");
        let mut command = space.command();
        let build = ["build", "-q", "-t", "x:1", "--build-mode", "lite", "--annotation", &annotation, "."];
        let mut child: Child =
            command.args(build).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A golden ratio's multiples are spread evenly, whatever the number of kills.
        let part = (kill as f64 * 0.618_033_988_75).fract();
        std::thread::sleep(longest.mul_f64(part));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        let run = space.build(&[]);
        assert_eq!(run.code, Some(0), "after kill {kill}: {}", run.stderr);
        assert!(!run.stderr.contains("warning"), "after kill {kill}: {}", run.stderr);
        assert_eq!(space.digest(), clean[variant], "after kill {kill}");
        assert_eq!(files(&space.store().join("tmp")), 0, "after kill {kill}");
    }
    assert!(killed > KILLS / 4, "only {killed} builds did not live to see their end");
    let verified = run(space.command().args(["cache", "verify", "--json"]));
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!((&verified["damage"], &verified["records"]), (&json!([]), &json!(0)));
    let fresh = clean_digests(text, 1);
    vary(&space, 0);
    space.built(&["--no-cache"]);
    assert_eq!(space.digest(), fresh[0]);
}
