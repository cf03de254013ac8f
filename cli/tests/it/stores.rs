//! Stores in odd places: newer, read-only, full, in memory, without a home, with a name no text can say, of two users.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::space::{Run, Space, is_root, run, skipped};

fn space() -> Space {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\nLAUNCH a\n");
    space
}

const BUILD: [&str; 6] = ["build", "-t", "x:1", "--build-mode", "lite", "."];

/// Runs a script of commands with a mount of its own; `$SEALER`, `$SEALER_ROOT` and `$SPACE` are set.
fn in_own_mounts(space: &Space, script: &str) -> Run {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).current_dir(space.context());
    command.env("SEALER", env!("CARGO_BIN_EXE_sealer")).env("SEALER_ROOT", space.store());
    run(command.env("SPACE", space.root()))
}

fn can_mount() -> bool {
    let can = is_root() && run(Command::new("unshare").args(["-m", "true"])).code == Some(0);
    if !can {
        skipped("mounting needs root");
    }
    can
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let space = space();
    space.built(&[]);
    let before = fs_err::read(space.store().join("index.json")).unwrap();
    fs_err::write(space.store().join("version"), "7").unwrap();
    for words in
        [&BUILD[..], &["images"], &["inspect", "x:1"], &["rmi", "x:1"], &["save", "x:1", "-o", "../x.tar"]]
    {
        let run = space.run(words);
        assert_eq!(run.code, Some(1), "{words:?}");
        assert!(run.stderr.contains("has format 7"), "{}", run.stderr);
        assert!(run.stderr.contains("hint: use a newer sealer, or another `--root`"), "{}", run.stderr);
    }
    assert_eq!(fs_err::read(space.store().join("index.json")).unwrap(), before);
}

#[test]
fn times_that_no_clock_shows_are_listed_all_the_same() {
    let space = space();
    space.built(&[]);
    let path = space.store().join("index.json");
    for (seconds, shown) in [(i64::MAX, "9999-12-31T23:59:59Z"), (i64::MIN, "1970-01-01T00:00:00Z")] {
        let mut index: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        index["manifests"][0]["annotations"]["sealer.created"] = seconds.to_string().into();
        fs_err::write(&path, index.to_string()).unwrap();
        let run = space.run(&["images", "--json"]);
        let listed: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
        assert_eq!(listed[0]["createdatraw"], shown);
    }
}

#[test]
fn a_read_only_store_can_be_looked_at() {
    if !can_mount() {
        return;
    }
    let space = space();
    space.built(&[]);
    let script =
        "mount --bind -o ro $SEALER_ROOT $SEALER_ROOT && mount -o remount,ro,bind $SEALER_ROOT || exit 9
        $SEALER images -n && $SEALER inspect x:1 -f '{{.Name}}' && $SEALER history x:1 -n || exit 8
        $SEALER save x:1 -o $SPACE/x.tar || exit 7
        $SEALER graph --format json . || exit 4
        $SEALER build -t y:1 --build-mode lite . && exit 6
        $SEALER rmi x:1 && exit 5
        exit 0";
    let ended = in_own_mounts(&space, script);
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("localhost/x:1") && space.root().join("x.tar").exists(),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains(r#""cached": 1,"#), "{}", ended.stdout);
    assert_eq!(ended.stderr.matches("Read-only file system").count(), 2, "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("hint: the store can be looked at").count(), 2, "{}", ended.stderr);
}

#[test]
fn a_full_disk_is_told_and_the_store_stays_whole() {
    if !can_mount() {
        return;
    }
    let space = space();
    let mut noise = Vec::new();
    fs_err::File::open("/dev/urandom").unwrap().take(3_000_000).read_to_end(&mut noise).unwrap();
    space.file("big.yaml", &noise).file("small.yaml", "kind: B\n");
    space.kubefile("FROM scratch\nAPP a local://small.yaml\n");
    let script = "mkdir -p $SEALER_ROOT && mount -t tmpfs -o size=2m tmpfs $SEALER_ROOT || exit 9
        $SEALER build -q -t x:1 --build-mode lite . || exit 8
        printf 'FROM scratch\nAPP a local://big.yaml\n' > Kubefile
        $SEALER build -q -t x:1 --build-mode lite . && exit 7
        ls $SEALER_ROOT/tmp
        $SEALER inspect x:1 -f '{{.Name}} ' || exit 6
        printf 'FROM scratch\nAPP b local://small.yaml\n' > Kubefile
        $SEALER build -q -t x:2 --build-mode lite . || exit 5";
    let ended = in_own_mounts(&space, script);
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("No space left on device"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: make room on the store's file system"), "{}", ended.stderr);
    assert!(ended.stdout.contains("localhost/x:1 "), "{}", ended.stdout);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "two ids and the name in front of the second, nothing in tmp: {lines:?}");
}

#[test]
fn a_full_store_can_be_pruned() {
    if !can_mount() {
        return;
    }
    let space = space();
    let mut noise = Vec::new();
    fs_err::File::open("/dev/urandom").unwrap().take(1_000_000).read_to_end(&mut noise).unwrap();
    space.file("big.yaml", &noise).kubefile("FROM scratch\nAPP a local://big.yaml\n");
    let script = "mkdir -p $SEALER_ROOT && mount -t tmpfs -o size=8m tmpfs $SEALER_ROOT || exit 9
        $SEALER build -q -t x:1 --build-mode lite . || exit 8
        $SEALER build -q -t y:1 --build-mode lite --compression uncompressed . || exit 7
        $SEALER rmi y:1 || exit 6
        dd if=/dev/zero of=$SEALER_ROOT/fill bs=4k 2> $SPACE/dd
        $SEALER cache prune || exit 5
        $SEALER build -q -t x:1 --build-mode lite --compression gzip . || exit 4
        $SEALER cache verify || exit 3";
    let ended = in_own_mounts(&space, script);
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
}

#[test]
fn a_store_in_memory_works() {
    if !can_mount() {
        return;
    }
    let space = space();
    let script = "mkdir -p $SEALER_ROOT && mount -t tmpfs tmpfs $SEALER_ROOT || exit 9
        $SEALER build -t x:1 --build-mode lite . && $SEALER build -t x:1 --build-mode lite . && $SEALER images -n";
    let ended = in_own_mounts(&space, script);
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("1 cached") && !ended.stderr.contains("warning"), "{}", ended.stderr);
}

#[test]
fn any_path_will_do() {
    let space = space();
    for name in [&b"with space"[..], b"caf\xe9 \xff\n", "naïve ünïcode".as_bytes()] {
        let root = space.root().join(OsStr::from_bytes(name));
        for expected in ["0 cached", "1 cached"] {
            let ended = run(space.command().arg("--root").arg(&root).args(BUILD));
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            assert!(ended.stderr.contains(expected) && !ended.stderr.contains("warning"), "{}", ended.stderr);
        }
        let out = space.root().join(OsStr::from_bytes(b"out \xfe.tar"));
        let saved = run(space.command().arg("--root").arg(&root).args(["save", "x:1", "-o"]).arg(&out));
        assert_eq!(saved.code, Some(0), "{}", saved.stderr);
        let loaded = run(space.command().arg("--root").arg(&root).args(["load", "-i"]).arg(&out));
        assert_eq!(loaded.stdout, "Loaded image: localhost/x:1\n", "{}", loaded.stderr);
    }
}

/// A user that is not root, for whom everything but root's files is open.
fn other_user(space: &Space) -> Option<Command> {
    if !is_root() {
        skipped("being another user needs root");
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "12345", "--regid", "12345", "--clear-groups"]);
    // The binary's own directory may be root's alone.
    let binary = space.root().join("sealer");
    if !binary.exists() {
        fs_err::copy(env!("CARGO_BIN_EXE_sealer"), &binary).unwrap();
    }
    fs_err::set_permissions(space.root(), PermissionsExt::from_mode(0o755)).unwrap();
    command.arg(binary).current_dir(space.context()).env_clear();
    Some(command)
}

#[test]
fn without_a_home_the_error_says_what_to_do() {
    let space = space();
    let Some(mut command) = other_user(&space) else { return };
    let ended = run(command.args(BUILD));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("neither HOME nor XDG_DATA_HOME is set"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: name one with `--root DIR` or SEALER_ROOT"), "{}", ended.stderr);
    let root = space.root().join("own");
    fs_err::create_dir(&root).unwrap();
    fs_err::set_permissions(&root, PermissionsExt::from_mode(0o777)).unwrap();
    let own = run(other_user(&space).unwrap().env("SEALER_ROOT", root.join("store")).args(BUILD));
    assert_eq!(own.code, Some(0), "{}", own.stderr);
}

#[test]
fn the_store_of_another_user_is_looked_at_and_not_touched() {
    let space = space();
    space.built(&[]);
    let Some(mut command) = other_user(&space) else { return };
    command.env("SEALER_ROOT", space.store());
    let listed = run(command.args(["images", "-n"]));
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(listed.stdout.contains("localhost/x"), "{}", listed.stdout);
    // What commands ran on is nobody else's business, and not asked for.
    fs_err::create_dir(space.store().join("snapshots")).unwrap();
    fs_err::set_permissions(space.store().join("snapshots"), PermissionsExt::from_mode(0o700)).unwrap();
    let listed = run(other_user(&space).unwrap().env("SEALER_ROOT", space.store()).args(["cache", "ls"]));
    assert!(listed.code == Some(0) && listed.stdout.contains("layer"), "{}", listed.stderr);
    let built = run(other_user(&space).unwrap().env("SEALER_ROOT", space.store()).args(BUILD));
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    assert!(
        built.stderr.contains("Permission denied") || built.stderr.contains("permission denied"),
        "{}",
        built.stderr
    );
    assert!(built.stderr.contains("hint: the store belongs to another user"), "{}", built.stderr);
    // Hidden altogether.
    fs_err::set_permissions(space.store(), PermissionsExt::from_mode(0o700)).unwrap();
    let hidden = run(other_user(&space).unwrap().env("SEALER_ROOT", space.store()).args(["images"]));
    assert_eq!(hidden.code, Some(1), "{} {}", hidden.stdout, hidden.stderr);
    assert!(hidden.stderr.contains("hint: the store belongs to another user"), "{}", hidden.stderr);
}

#[test]
fn what_may_not_be_read_is_not_damaged() {
    let space = space();
    let Some(_) = other_user(&space) else { return };
    let own = space.root().join("own");
    fs_err::create_dir(&own).unwrap();
    fs_err::set_permissions(&own, PermissionsExt::from_mode(0o777)).unwrap();
    let store = own.join("store");
    let as_user = |words: &[&str]| run(other_user(&space).unwrap().env("SEALER_ROOT", &store).args(words));
    assert_eq!(as_user(&BUILD).code, Some(0));
    // As if root had been at work with a strict mask.
    for dir in ["db", "blobs/sha256"] {
        let files: Vec<_> =
            fs_err::read_dir(store.join(dir)).unwrap().map(|file| file.unwrap().path()).collect();
        let close = |mode| {
            files.iter().for_each(|file| {
                fs_err::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
            });
        };
        close(0);
        let verified = as_user(&["cache", "verify"]);
        assert_eq!(verified.code, Some(1), "{dir}: {}", verified.stderr);
        assert!(verified.stderr.contains("ermission denied"), "{dir}: {}", verified.stderr);
        assert!(files.iter().all(|file| file.exists()), "{dir}");
        close(0o644);
    }
    assert_eq!(as_user(&["cache", "verify"]).code, Some(0));
}
