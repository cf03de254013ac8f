//! The store as skopeo and buildah read it, and the system calls a build makes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::space::{Run, Space, has_peer, is_root, run, say, skipped};

fn sample() -> Space {
    let space = Space::new();
    space.file("dir/a", "a").file("dir/sub/b", "bb").file("chart.yaml", "kind: A\n");
    std::os::unix::fs::symlink("a", space.context().join("dir/link")).unwrap();
    space.kubefile(
        "FROM scratch\nCOPY --chown=5:6 --chmod=750 dir /d\nAPP app local://chart.yaml\nLAUNCH app\n",
    );
    space
}

#[test]
fn skopeo_reads_the_store_as_it_lies_on_disk() {
    if !has_peer("skopeo") {
        return;
    }
    for compression in ["zstd", "gzip", "uncompressed"] {
        let space = sample();
        space.built(&["--compression", compression]);
        let image = format!("oci:{}:localhost/x:1", space.store().display());
        let seen = run(Command::new("skopeo").args(["inspect", "--raw", &image]));
        assert_eq!(seen.code, Some(0), "{}", seen.stderr);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&seen.stdout).unwrap(),
            space.manifest("localhost/x:1")
        );
        let copy = format!("dir:{}", space.root().join("copy").display());
        let copied = run(Command::new("skopeo").args(["--insecure-policy", "copy", &image, &copy]));
        assert_eq!(copied.code, Some(0), "{compression}: {}", copied.stderr);
    }
}

/// Runs buildah on a storage of the test's own; gives what it printed.
pub(crate) fn buildah(space: &Space, storage: &Path, words: &[&str]) -> String {
    let ended = buildah_ends(space, storage, words);
    assert_eq!(ended.code, Some(0), "buildah {words:?}: {}", ended.stderr);
    ended.stdout.trim().to_owned()
}

/// The same, however it ends.
pub(crate) fn buildah_ends(space: &Space, storage: &Path, words: &[&str]) -> Run {
    let policy = space.root().join("policy.json");
    fs_err::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
    let mut command = Command::new("buildah");
    command.args(["--storage-driver", "vfs", "--root"]).arg(storage);
    command.arg("--runroot").arg(space.root().join("run")).arg(words[0]);
    if ["bud", "from", "pull", "push", "commit"].contains(&words[0]) {
        command.arg("--signature-policy").arg(&policy);
    }
    if words.iter().any(|word| word.starts_with("docker://")) {
        command.arg("--tls-verify=false");
    }
    run(command.args(&words[1..]))
}

/// Has buildah take an image from somewhere and mount it, and hands the mount point over.
pub(crate) fn with_buildah_mount(space: &Space, image: &str, look: impl FnOnce(&Path)) {
    let storage = space.root().join("containers");
    let container = buildah(space, &storage, &["from", image]);
    look(Path::new(&buildah(space, &storage, &["mount", &container])));
    buildah(space, &storage, &["rm", &container]);
}

/// Everything below a directory, in the words of [`crate::space::Node`]'s headers.
pub(crate) fn listing_of_dir(dir: &Path) -> BTreeMap<String, String> {
    let listing =
        run(Command::new("find").arg(dir).args(["-mindepth", "1", "-printf", "%P\t%y %04m %U/%G %s|%l\n"]));
    let line = |line: &str| {
        let (path, header) = line.split_once('\t').unwrap();
        let (kind, rest) = header.split_at(1);
        let (rest, size) = rest.rsplit_once(' ').unwrap();
        // Of a file the size counts, of a link the target.
        let (size, target) = size.split_once('|').unwrap();
        let (kind, tail) = match kind {
            "f" => ("-", size.to_owned()),
            "l" => ("l", format!("0 -> {target}")),
            kind => (kind, "0".to_owned()),
        };
        (path.to_owned(), format!("{kind}{rest} {tail}"))
    };
    listing.stdout.lines().map(line).collect()
}

fn stored(space: &Space) -> String {
    format!("oci:{}:localhost/x:1", space.store().display())
}

#[test]
fn buildah_mounts_the_root_file_system_we_meant() {
    if !is_root() || !has_peer("buildah") {
        skipped("mounting with buildah needs root and buildah");
        return;
    }
    let space = sample();
    space.built(&[]);
    with_buildah_mount(&space, &stored(&space), |mount| {
        let listing = run(Command::new("find").arg(mount).args([
            "-mindepth",
            "1",
            "-printf",
            "%P %y %04m %U/%G %l\\n",
        ]));
        let theirs: BTreeMap<&str, &str> =
            listing.stdout.lines().filter_map(|line| line.split_once(' ')).collect();
        let expected = [
            ("application", "d 0755 0/0 "),
            ("application/apps", "d 0755 0/0 "),
            ("application/apps/app", "d 0755 0/0 "),
            ("application/apps/app/chart.yaml", "f 0644 0/0 "),
            ("d", "d 0755 5/6 "),
            ("d/a", "f 0750 5/6 "),
            ("d/link", "l 0777 5/6 a"),
            ("d/sub", "d 0750 5/6 "),
            ("d/sub/b", "f 0750 5/6 "),
        ];
        assert_eq!(theirs, expected.into());
    });
}

#[test]
fn buildah_mounts_an_image_of_1000_apps() {
    if !is_root() || !has_peer("buildah") {
        skipped("mounting with buildah needs root and buildah");
        return;
    }
    let space = Space::new();
    let mut text = String::from("FROM scratch\n");
    for n in 0..1000 {
        space.file(&format!("a{n}.yaml"), format!("kind: K{n}\n"));
        text.push_str(&format!("APP a{n} local://a{n}.yaml\n"));
    }
    space.kubefile(&text).built(&[]);
    with_buildah_mount(&space, &stored(&space), |mount| {
        let apps = fs_err::read_dir(mount.join("application/apps")).unwrap();
        assert_eq!(apps.count(), 1000);
        let file = fs_err::read_to_string(mount.join("application/apps/a77/a77.yaml")).unwrap();
        assert_eq!(file, "kind: K77\n");
    });
}

/// Calls of fsync, fdatasync and syncfs: (on files of RocksDB, all others).
fn syncs(space: &Space, words: &[&str]) -> (usize, usize) {
    let log = space.root().join("strace.log");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-qq", "-e", "trace=fsync,fdatasync,syncfs", "-o"]).arg(&log);
    command.arg(env!("CARGO_BIN_EXE_sealer")).args(words);
    let ended = run(command.env("SEALER_ROOT", space.store()).current_dir(space.context()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let text = fs_err::read_to_string(log).unwrap();
    let calls = text.lines().filter(|line| line.contains("sync(") || line.contains("syncfs("));
    let (database, others): (Vec<&str>, Vec<&str>) = calls.partition(|line| line.contains("/store/db"));
    (database.len(), others.len())
}

#[test]
fn a_build_syncs_once_however_many_apps_it_has() {
    if !has_peer("strace") {
        return;
    }
    let mut counts = Vec::new();
    for apps in [1, 60] {
        let space = Space::new();
        let mut text = String::from("FROM scratch\n");
        for n in 0..apps {
            space.file(&format!("a{n}.yaml"), format!("kind: K{n}\n"));
            text.push_str(&format!("APP a{n} local://a{n}.yaml\n"));
        }
        space.kubefile(&text);
        let build = ["build", "-t", "x:1", "--build-mode", "lite", "."];
        let fresh = syncs(&space, &build);
        let same = syncs(&space, &build);
        space.file("a0.yaml", "kind: Other\n");
        let changed = syncs(&space, &build);
        say(&format!(
            "{apps} apps: syncs on a fresh store {fresh:?}, nothing changed {same:?}, one changed {changed:?} (RocksDB's, others)"
        ));
        assert_eq!(same, (0, 0), "a build in which nothing changed makes nothing durable");
        counts.push((fresh, changed));
    }
    assert_eq!(counts[0], counts[1], "the number does not grow with the applications");
    let ((_, fresh), (database, changed)) = counts[0];
    // RocksDB's own open of an existing database makes six, the flush of the records three.
    assert!(fresh <= 5 && changed + database.saturating_sub(6) <= 8, "{counts:?}");
}
