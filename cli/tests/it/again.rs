//! What a second build does and does not do, seen from outside: files read, files written, requests sent, steps run.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::server::{Response, Server};
use crate::space::{Space, has_peer, run};

/// Longer than the times of files are distrusted.
const SETTLED: Duration = Duration::from_millis(120);

fn sample() -> Space {
    let space = Space::new();
    for n in 0..50 {
        space.file(&format!("dir/{n}.txt"), format!("text {n}"));
    }
    space.file("one/a.yaml", "kind: A\n").file("two/b.yaml", "kind: B\n");
    space.kubefile("FROM scratch\nCOPY dir /dir\nAPP one local://one\nAPP two local://two\n");
    std::thread::sleep(SETTLED);
    space
}

/// Everything in the store with its size and time, but for what only says when something was used.
fn snapshot(space: &Space) -> BTreeMap<String, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![space.store()];
    while let Some(dir) = pending.pop() {
        for entry in fs_err::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs_err::metadata(&path).unwrap();
            if metadata.is_dir() {
                pending.push(path);
            } else if path.parent().unwrap().file_name().unwrap() != "used" {
                found.insert(path.display().to_string(), (metadata.len(), metadata.modified().unwrap()));
            }
        }
    }
    found
}

/// What strace writes of a build's calls of one kind.
fn traced(space: &Space, call: &str, words: &[&str]) -> String {
    let log = space.root().join("strace.log");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-e", &format!("trace={call}"), "-o"]).arg(&log);
    command.arg(env!("CARGO_BIN_EXE_sealer"));
    command.args(["build", "-t", "x:1", "--build-mode", "lite"]).args(words).arg(".");
    let ended = run(command.env("SEALER_ROOT", space.store()).current_dir(space.context()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    fs_err::read_to_string(log).unwrap()
}

/// Paths of the context that a build opens for reading, and those of the database that it opens for writing.
fn opened(space: &Space, words: &[&str]) -> (Vec<String>, Vec<String>) {
    let text = traced(space, "openat", words);
    let lines = || text.lines().filter(|line| !line.contains("= -1")).map(str::to_owned);
    let context = |line: &String| line.contains("context") && line.contains(".txt\"");
    let database = |line: &String| line.contains("store/db") && line.contains("O_CREAT");
    (lines().filter(context).collect(), lines().filter(database).collect())
}

#[test]
fn nothing_changed_writes_nothing() {
    let space = sample();
    space.built(&[]);
    let before = snapshot(&space);
    let digest = space.digest();
    for words in [&[][..], &["--jobs", "1"], &["--explain"]] {
        space.built(words);
        assert_eq!((snapshot(&space), space.digest()), (before.clone(), digest.clone()), "{words:?}");
    }
}

#[test]
fn unchanged_files_are_not_read_again() {
    if !has_peer("strace") {
        return;
    }
    let space = sample();
    let (read, written) = opened(&space, &[]);
    assert!(read.len() >= 50 && !written.is_empty(), "{} files read, {} written", read.len(), written.len());
    assert_eq!(opened(&space, &[]), (Vec::new(), Vec::new()), "no file is read, and no database written");
    space.file("dir/7.txt", "other text");
    std::thread::sleep(SETTLED);
    // The edited one for its identity, and what shares a frame with it for the layer.
    let (read, _) = opened(&space, &[]);
    assert!(read.iter().any(|line| line.contains("7.txt")));
    assert_eq!(opened(&space, &["--paranoid"]).0.len(), 50, "all is read on request");
}

#[test]
fn unchanged_directories_are_not_listed_again() {
    if !has_peer("strace") {
        return;
    }
    let space = sample();
    let listed = || {
        let text = traced(&space, "getdents64", &[]);
        text.lines().filter(|line| line.contains("context/")).count()
    };
    assert_ne!(listed(), 0);
    assert_eq!(listed(), 0, "nothing came or went");
    space.file("dir/new.txt", "new");
    assert_ne!(listed(), 0);
}

#[test]
fn what_comes_and_goes_is_seen_behind_a_modification_time_that_was_set_back() {
    let space = sample();
    let dir = space.context().join("dir");
    let built = || {
        std::thread::sleep(SETTLED);
        space.built(&[]);
        space.digest()
    };
    let hidden = |change: &dyn Fn()| {
        let modified = fs_err::metadata(&dir).unwrap().modified().unwrap();
        change();
        fs_err::File::open(&dir).unwrap().into_parts().0.set_modified(modified).unwrap();
        assert_eq!(fs_err::metadata(&dir).unwrap().modified().unwrap(), modified);
        built()
    };
    let first = built();
    let more = hidden(&|| fs_err::write(dir.join("new.txt"), "new").unwrap());
    let renamed = hidden(&|| fs_err::rename(dir.join("new.txt"), dir.join("other.txt")).unwrap());
    assert_eq!(BTreeSet::from([&first, &more, &renamed]).len(), 3);
    assert_eq!(hidden(&|| fs_err::remove_file(dir.join("other.txt")).unwrap()), first);
    // An ignore file that came later leaves out what was there, and gives it back when it goes.
    space.file(".dockerignore", "dir/7.txt\n");
    let less = built();
    assert_ne!(less, first);
    assert_eq!(built(), less);
    fs_err::remove_file(space.context().join(".dockerignore")).unwrap();
    assert_eq!(built(), first);
}

#[test]
fn a_file_that_no_instruction_selects_changes_nothing() {
    let space = sample();
    space.built(&[]);
    let (before, digest) = (snapshot(&space), space.digest());
    space.file("README.md", "new").file("three/c.yaml", "kind: C\n");
    let cost = space.built(&[]);
    assert_eq!((&cost["cached"], &cost["executed"]), (&json!(3), &json!(0)));
    assert_eq!((snapshot(&space), space.digest()), (before, digest));
}

#[test]
fn an_application_depends_on_neither_base_nor_neighbours() {
    let space = sample();
    space.built(&[]);
    space.kubefile(
        "FROM scratch\nAPP zero local://one\nAPP two local://two\nCOPY one /before\nAPP one local://one\n",
    );
    let cost = space.built(&[]);
    // Two steps are new; the applications that were there are where they were.
    assert_eq!((&cost["cached"], &cost["executed"]), (&json!(2), &json!(2)));
}

#[test]
fn a_url_with_the_same_bytes_changes_nothing() {
    let server = Server::start();
    let version = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let now = std::sync::Arc::clone(&version);
    server.route("/a.yaml", move |_| {
        let tag = now.load(std::sync::atomic::Ordering::SeqCst);
        Response::ok("kind: A\n").header("ETag", &format!("\"{tag}\""))
    });
    let space = Space::new();
    space.kubefile(&format!("FROM scratch\nAPP a {}\n", server.url("/a.yaml")));
    space.built(&[]);
    let digest = space.digest();
    version.store(1, std::sync::atomic::Ordering::SeqCst);
    let cost = space.built(&[]);
    assert_eq!(
        (&cost["executed"], &cost["layers_made"], &cost["http_requests"]),
        (&json!(0), &json!(0), &json!(1))
    );
    assert_eq!(space.digest(), digest);
    // With a checksum nobody is asked.
    let sum = <sha2::Sha256 as sha2::Digest>::digest(b"kind: A\n");
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    space.kubefile(&format!("FROM scratch\nADD --checksum=sha256:{sum} {} /a.yaml\n", server.url("/a.yaml")));
    space.built(&[]);
    assert_eq!(space.built(&[])["http_requests"], 0);
}

#[test]
fn one_application_or_stage_runs_on_request() {
    let space = sample();
    space.kubefile(
        "FROM scratch AS made\nCOPY dir /out\nFROM scratch\nCOPY --from=made /out /dir\nAPP one local://one\nAPP two local://two\n",
    );
    space.built(&[]);
    let digest = space.digest();
    for (filter, executed) in [("one", 1), ("made", 0), ("1", 3), ("one,two", 2)] {
        let cost = space.built(&["--no-cache-filter", filter]);
        // A stage runs only if something that needs it does.
        assert_eq!((&cost["executed"], &cost["layers_made"]), (&json!(executed), &json!(0)), "{filter}");
        assert_eq!(space.digest(), digest);
    }
    let explained = space.build(&["--no-cache-filter", "one", "--explain"]);
    assert!(explained.stdout.contains("`--no-cache-filter`"), "{}", explained.stdout);
    let run = space.build(&["--no-cache-filter", "three"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("no application and no stage of the build is called `three`"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("takes 1, made, one, two"), "{}", run.stderr);
}
