//! `sealer cache`: what is listed, what goes, what stays, and what is found to be wrong.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::server::Server;
use crate::space::{Run, Space};

/// Three builds of `x:1`, each with another app: one image with a name, two without.
fn space() -> Space {
    let space = Space::new();
    space.file("two.yaml", "kind: Two\n");
    space.kubefile("FROM scratch\nAPP one local://one.yaml\nAPP two local://two.yaml\n");
    for number in 0..3 {
        space.file("one.yaml", format!("kind: One{number}\n"));
        space.built(&[]);
    }
    space
}

fn ok(space: &Space, words: &[&str]) -> Run {
    let run = space.run(words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    run
}

fn data(space: &Space, words: &[&str]) -> Value {
    serde_json::from_str(&ok(space, words).stdout).unwrap()
}

fn blobs(space: &Space) -> BTreeSet<String> {
    let files = fs_err::read_dir(space.store().join("blobs/sha256")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn blob_path(space: &Space, digest: &str) -> PathBuf {
    space.store().join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
}

/// Digests of the layers of `x:1`.
fn layers(space: &Space) -> Vec<String> {
    let manifest = space.manifest("localhost/x:1");
    manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect()
}

/// Makes everything look as if it was used so long ago.
fn age(space: &Space, hours: u64) {
    let time = SystemTime::now() - Duration::from_secs(hours * 3600);
    for dir in ["blobs/sha256", "used"] {
        for file in fs_err::read_dir(space.store().join(dir)).unwrap() {
            fs_err::File::open(file.unwrap().path()).unwrap().file().set_modified(time).unwrap();
        }
    }
    let index = space.store().join("index.json");
    let mut json: Value = serde_json::from_slice(&fs_err::read(&index).unwrap()).unwrap();
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for line in json["manifests"].as_array_mut().unwrap() {
        line["annotations"]["sealer.created"] = json!(seconds.to_string());
    }
    fs_err::write(index, json.to_string()).unwrap();
}

#[test]
fn what_no_name_leads_to_goes_and_the_rest_is_still_a_full_hit() {
    let space = space();
    let digest = space.digest();
    let before = blobs(&space);
    // Two layers, config and manifest of the named image; a layer, config and manifest of each of the others.
    assert_eq!(before.len(), 10);
    let listed = data(&space, &["cache", "ls", "--json"]);
    let needed =
        listed.as_array().unwrap().iter().filter(|entry| entry["neededBy"] == json!(["localhost/x:1"]));
    assert_eq!(needed.count(), 4);
    let dry = data(&space, &["cache", "prune", "--dry-run", "--json"]);
    assert_eq!((dry["deleted"].as_array().unwrap().len(), &dry["images"]), (6, &json!(2)));
    assert_eq!(blobs(&space), before, "a dry run deletes nothing");

    let done = data(&space, &["cache", "prune", "--json"]);
    for key in ["deleted", "freed", "images", "records"] {
        assert_eq!(done[key], dry[key], "{key}");
    }
    assert_eq!(blobs(&space).len(), 4);
    assert_eq!(ok(&space, &["images", "-q", "-a"]).stdout.lines().count(), 1);
    let cost = space.built(&[]);
    assert_eq!((&cost["executed"], &cost["layers_made"]), (&json!(0), &json!(0)));
    assert_eq!(space.digest(), digest);
    assert_eq!(data(&space, &["cache", "prune", "--json"])["deleted"], json!([]), "nothing is left to do");

    // Without its name the image goes, and everything of it.
    ok(&space, &["rmi", "x:1"]);
    ok(&space, &["cache", "prune"]);
    assert_eq!(blobs(&space).len(), 0);
    assert_eq!(space.built(&[])["layers_made"], 2);
    assert_eq!(space.digest(), digest);
}

#[test]
fn age_size_and_filters_bound_what_goes() {
    let space = space();
    age(&space, 30);
    // A last build is newer than that.
    space.file("one.yaml", "kind: Newest\n");
    space.built(&[]);
    let dry = |words: &[&str]| {
        let all = data(&space, &[&["cache", "prune", "--dry-run", "--json"], words].concat());
        all["deleted"].as_array().unwrap().len()
    };
    // What the image without a name shares with the named one stays in any case.
    assert_eq!((dry(&[]), dry(&["--unused-for", "29h"]), dry(&["--unused-for", "2d"])), (9, 9, 0));
    assert_eq!(dry(&["--filter", "type=layer"]), 3);
    assert_eq!(dry(&["--filter", "type=source"]), 0);
    let total = data(&space, &["cache", "du", "--json"])["total"].as_u64().unwrap();
    assert_eq!(dry(&["--keep-storage", &total.to_string()]), 0);
    assert_eq!(dry(&["--keep-storage", &(total - 1).to_string()]), 1);
    assert_eq!(dry(&["--keep-storage", "0"]), 9);
    let text = ok(&space, &["cache", "prune", "--dry-run", "--filter", "type=layer"]);
    assert!(
        text.stdout.lines().all(|line| line.contains("layer") && line.contains("unused for 1 day")),
        "{}",
        text.stdout
    );
    assert!(text.stderr.contains("would free"), "{}", text.stderr);
    for (words, said) in [
        (["--unused-for", "soon"], "`soon` is not a duration"),
        (["--keep-storage", "much"], "`much` is not a size"),
        (["--filter", "type=x"], "`type=x` is not a filter"),
    ] {
        let run = space.run(&[&["cache", "prune"], &words[..]].concat());
        assert_eq!(run.code, Some(1));
        assert!(run.stderr.contains(said), "{}", run.stderr);
    }
}

#[test]
fn a_store_at_work_is_not_pruned() {
    let space = space();
    let busy = cache::Store::open(&space.store()).unwrap();
    let run = space.run(&["cache", "prune"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("1 process is at work on the store"), "{}", run.stderr);
    assert!(run.stderr.contains("--wait"), "{}", run.stderr);
    // Readers do not mind, and are not minded.
    ok(&space, &["images"]);
    ok(&space, &["inspect", "x:1"]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ok(&space, &["cache", "prune", "--wait"]));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        drop(busy);
        let waited = waiting.join().unwrap();
        assert!(waited.stderr.starts_with("1 process is at work on the store"), "{}", waited.stderr);
    });
    assert_eq!(blobs(&space).len(), 4);
}

#[test]
fn who_waits_for_a_store_can_be_stopped() {
    use rustix::process::{Pid, Signal, kill_process};
    let space = space();
    let alone = cache::Store::open_alone(&space.store(), false).unwrap();
    for words in [&["build", "-t", "x:1", "--build-mode", "lite", "."][..], &["cache", "verify", "--wait"]] {
        let mut child = space.command().args(words).stderr(Stdio::null()).spawn().unwrap();
        let waits = format!(" {} ", child.id());
        let is_waiting = |line: &str| line.contains("-> FLOCK") && line.contains(&waits);
        while !fs_err::read_to_string("/proc/locks").unwrap().lines().any(is_waiting) {
            assert_eq!(child.try_wait().unwrap(), None, "{words:?}");
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(143), "{words:?}");
    }
    drop(alone);
    ok(&space, &["cache", "verify"]);
}

#[test]
fn what_is_damaged_is_found_and_made_again() {
    let space = space();
    let (digest, layer) = (space.digest(), layers(&space)[0].clone());
    assert!(ok(&space, &["cache", "verify"]).stderr.contains("0 were damaged, 0 records forgotten"));
    let path = blob_path(&space, &layer);
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[20] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let run = space.run(&["cache", "verify"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains(&format!("blob `{layer}` was damaged, and was deleted; needed by localhost/x:1")),
        "{}",
        run.stderr
    );
    assert_eq!(space.built(&[])["layers_made"], 1);
    assert_eq!(space.digest(), digest);
    ok(&space, &["cache", "verify"]);
    fs_err::remove_file(path).unwrap();
    let found: Value = serde_json::from_str(&space.run(&["cache", "verify", "--json"]).stdout).unwrap();
    assert_eq!(found["damage"][0]["state"], "missing");
    assert_eq!(space.built(&[])["layers_made"], 1);
    ok(&space, &["cache", "verify"]);
}

/// Changes a byte of a blob.
fn damage(space: &Space, digest: &str) {
    let path = blob_path(space, digest);
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[20] ^= 1;
    fs_err::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_manifest_or_config_is_replaced_by_the_next_build() {
    let space = space();
    let digest = space.digest();
    let config = space.manifest("localhost/x:1")["config"]["digest"].as_str().unwrap().to_owned();
    for blob in [&digest, &config] {
        damage(&space, blob);
        assert_eq!(space.run(&["inspect", "x:1"]).code, Some(1));
        space.built(&[]);
        ok(&space, &["inspect", "x:1"]);
        ok(&space, &["cache", "verify"]);
    }
    assert_eq!(space.digest(), digest);
}

#[test]
fn what_was_unpacked_for_a_mount_goes_when_it_cannot_be_mounted_any_more() {
    let space = space();
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mounts = space.store().join("mounts");
    for (name, since) in [("stopped", None), ("before", Some("another start")), ("now", Some(boot.trim()))] {
        let own = mounts.join(name);
        fs_err::create_dir_all(own.join("rootfs")).unwrap();
        fs_err::write(own.join("rootfs/file"), [0; 100]).unwrap();
        since.into_iter().for_each(|since| fs_err::write(own.join("boot"), since).unwrap());
    }
    let du = data(&space, &["cache", "du", "--json"]);
    let rootfs = du["types"].as_array().unwrap().iter().find(|row| row["type"] == "rootfs").unwrap();
    assert_eq!(rootfs["count"], 2);
    ok(&space, &["cache", "prune", "--filter", "type=source"]);
    assert_eq!(fs_err::read_dir(&mounts).unwrap().count(), 3);
    ok(&space, &["cache", "prune"]);
    let left: Vec<_> = fs_err::read_dir(&mounts).unwrap().map(|own| own.unwrap().file_name()).collect();
    assert_eq!(left, ["now"]);
}

#[test]
fn what_is_left_of_a_damaged_image_without_a_name_is_forgotten() {
    let space = space();
    let dangling = || -> Vec<String> {
        let index: Value =
            serde_json::from_slice(&fs_err::read(space.store().join("index.json")).unwrap()).unwrap();
        let lines = index["manifests"].as_array().unwrap().iter();
        let lines = lines.filter(|line| line["annotations"]["org.opencontainers.image.ref.name"].is_null());
        lines.map(|line| line["digest"].as_str().unwrap().to_owned()).collect()
    };
    let [one, other] = &dangling()[..] else { panic!("two builds lost their name") };
    damage(&space, one);
    let run = space.run(&["cache", "verify"]);
    assert!(run.code == Some(1) && run.stderr.contains("needed by <none>"), "{}", run.stderr);
    ok(&space, &["cache", "verify"]);
    assert_eq!(dangling(), std::slice::from_ref(other));
    fs_err::remove_file(blob_path(&space, other)).unwrap();
    ok(&space, &["cache", "prune", "--keep-storage", "0"]);
    assert_eq!(dangling(), [""; 0]);
}

#[test]
fn a_blob_that_is_gone_or_wrong_is_a_miss() {
    let server = Server::start();
    server.file("/r.yaml", "kind: Remote\n");
    let space = Space::new();
    space.file("a", "a").file("b", "b").kubefile(&format!(
        "FROM scratch AS one\nCOPY a /out/a\nFROM scratch\nCOPY --from=one /out /x\nCOPY b /\nAPP r {}\n",
        server.url("/r.yaml")
    ));
    space.built(&[]);
    let digest = space.digest();
    let of_kind = |kind: &str| -> Vec<PathBuf> {
        let listed = data(&space, &["cache", "ls", "--json", "--filter", &format!("type={kind}")]);
        let digests =
            listed.as_array().unwrap().iter().map(|entry| entry["digest"].as_str().unwrap().to_owned());
        digests.map(|digest| blob_path(&space, &digest)).collect()
    };
    let all = [of_kind("layer"), of_kind("source"), of_kind("image")].concat();
    assert_eq!(all.len(), 6, "three layers, a download, config and manifest");
    for path in &all {
        fs_err::remove_file(path).unwrap();
        space.built(&[]);
        assert_eq!(space.digest(), digest, "{path:?} was gone");
        ok(&space, &["cache", "verify"]);
    }
    // The download is read again when its layer is made again, and is not what it was.
    let [source] = &of_kind("source")[..] else { panic!("one download") };
    let text = fs_err::read_to_string(source).unwrap();
    fs_err::write(source, text.replace("Remote", "remote")).unwrap();
    of_kind("layer").iter().for_each(|layer| fs_err::remove_file(layer).unwrap());
    let run = space.build(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("a blob of the store is damaged"), "{}", run.stderr);
    assert_eq!(space.digest(), digest);
    ok(&space, &["cache", "verify"]);
}

#[test]
fn a_database_that_cannot_be_read_is_only_time() {
    let space = space();
    let digest = space.digest();
    let db = space.store().join("db");
    for file in fs_err::read_dir(&db).unwrap() {
        let path = file.unwrap().path();
        let length = fs_err::metadata(&path).unwrap().len() as usize;
        fs_err::write(&path, vec![0x5a; length]).unwrap();
    }
    let run = space.build(&[]);
    assert_eq!((run.code, space.digest()), (Some(0), digest.clone()), "{}", run.stderr);
    assert!(run.stderr.contains("counts as empty"), "{}", run.stderr);
    let verified = ok(&space, &["cache", "verify"]);
    assert!(
        verified.stderr.contains("the database could not be read and was deleted"),
        "{}",
        verified.stderr
    );
    let run = space.build(&[]);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    assert_eq!(space.built(&[])["executed"], 0);
    assert_eq!(space.digest(), digest);
}

#[test]
fn an_image_that_cannot_be_read_stops_a_prune() {
    let space = space();
    fs_err::remove_file(blob_path(&space, &space.digest())).unwrap();
    let before = blobs(&space);
    let run = space.run(&["cache", "prune"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("what image `localhost/x:1` needs cannot be read"), "{}", run.stderr);
    assert_eq!(blobs(&space), before);
}

#[test]
fn where_there_is_no_store_there_is_nothing_to_do() {
    let space = Space::new();
    for words in [&["cache", "ls"][..], &["cache", "du"], &["cache", "prune"], &["cache", "verify"]] {
        ok(&space, words);
    }
    assert!(!space.store().exists());
}
