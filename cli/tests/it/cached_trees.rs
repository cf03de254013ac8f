//! Trees in remote caches: what is looked at is not what is fetched.

use std::fmt::Write as _;
use std::path::PathBuf;

use cache::remote::{Limits, NewRecord, RemoteCache};
use engine::remote::DirectoryRemote;
use serde_json::Value;
use solver::{BlobDigest, Descriptor};

use crate::registry_server::Registry;
use crate::space::{Run, Space, run};

const FROM: [&str; 2] = ["--cache-from", "type=local,src=../cache"];
const TO: [&str; 2] = ["--cache-to", "type=local,dest=../cache"];

fn at(space: &Space, store: &str, name: &str, words: &[&str]) -> Run {
    let mut command = space.command();
    command.env("SEALER_ROOT", space.root().join(store));
    command.args(["build", "-t", name, "--build-mode", "lite", "--metadata-file", "../metadata.json"]);
    run(command.args(words).arg("."))
}

/// The digest of a build that succeeds, and what it says of itself.
fn good(space: &Space, store: &str, name: &str, words: &[&str]) -> (String, Value) {
    let run = at(space, store, name, words);
    assert_eq!(run.code, Some(0), "{store} {words:?}: {}", run.stderr);
    (space.digest(), space.metadata()["sealer.build"].clone())
}

fn executed(built: &Value) -> u64 {
    built["executed"].as_u64().unwrap()
}

/// Twenty steps; every other one copies one file, the others forty.
fn twenty(space: &Space, changed: &str) {
    let mut text = "FROM scratch\n".to_owned();
    for n in 0..20 {
        let files = if n % 2 == 0 { 1 } else { 40 };
        for file in 0..files {
            space.file(&format!("d{n}/sub/f{file}"), format!("{n} {file} {}", "x".repeat(20_000)));
        }
        writeln!(text, "COPY d{n} /top/d{n}/").unwrap();
    }
    space.file("d10/sub/f0", changed).kubefile(&text);
}

fn blobs_in(space: &Space, store: &str) -> usize {
    fs_err::read_dir(space.root().join(store).join("blobs/sha256")).unwrap().count()
}

#[test]
fn what_a_step_lands_on_is_seen_without_its_layer() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let (name, cache) = (registry.name("team/x:1"), registry.name("team/x:cache"));
    let to = format!("type=registry,ref={cache}");
    twenty(&space, "one");
    good(&space, "one", &name, &["--push", "--cache-to", &to]);
    // All of it: how the registry is reached, tag and image; the cache's manifest and head.
    let (_, all) = good(&space, "two", &name, &["--push", "--cache-from", &cache]);
    let for_all = all["http_requests"].as_u64().unwrap();
    assert_eq!((executed(&all), blobs_in(&space, "two")), (0, 2));

    twenty(&space, "two");
    let (digest, built) = good(&space, "three", &name, &["--push", "--cache-from", &cache]);
    assert_eq!(executed(&built), 1, "what is above the changed step reads what it did");
    // The layer of what ran, config and manifest.
    assert_eq!(blobs_in(&space, "three"), 3);
    // Trees of forty files are asked for, those of one stand in their records.
    let requests = built["http_requests"].as_u64().unwrap();
    // One layer, config, manifest; what the registry has is asked for once.
    let (pushed, trees) = (5, 10);
    assert!(requests <= for_all + pushed + trees, "{requests}, for all hits {for_all}");
    let fetched = |built: &Value| built["bytes_fetched"].as_u64().unwrap();
    assert!(fetched(&built) < 32 << 10, "{built}");
    assert_eq!(good(&space, "four", "x:1", &[]).0, digest);

    // A step below all of them; the changed one is not in the cache yet.
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.file("new", "new").kubefile(&text.replace("scratch\n", "scratch\nCOPY new /new\n"));
    let (digest, built) = good(&space, "five", &name, &["--push", "--cache-from", &cache]);
    assert_eq!((executed(&built), blobs_in(&space, "five")), (2, 4));
    assert_eq!(good(&space, "six", "x:1", &[]).0, digest);
    // What lands on something else is another step.
    space.kubefile(&text.replace("scratch\n", "scratch\nCOPY --chmod=700 d1 /top/\n"));
    let (digest, _) = good(&space, "seven", &name, &["--push", "--cache-from", &cache]);
    assert_eq!(good(&space, "eight", "x:1", &[]).0, digest);
}

#[test]
fn what_read_the_same_is_known_to_the_store_once_its_layer_is_there() {
    let space = Space::new();
    space.file("a", "a").file("b", "b").kubefile("FROM scratch\nCOPY a /x/a\nCOPY b /x/b\n");
    good(&space, "one", "x:1", &TO);
    space.file("a", "changed");
    let (digest, built) = good(&space, "two", "x:1", &FROM);
    assert_eq!(executed(&built), 1);
    let (again, built) = good(&space, "two", "x:1", &[]);
    assert_eq!((again, executed(&built)), (digest.clone(), 0));
    // By hand it comes too.
    let mut import = space.command();
    import.env("SEALER_ROOT", space.root().join("three"));
    let imported = run(import.args(["cache", "import", "type=local,src=../cache"]));
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    let (again, built) = good(&space, "three", "x:1", &[]);
    assert_eq!((again, executed(&built)), (digest, 1), "{}{}", imported.stdout, imported.stderr);
    let shown = space.run(&["cache", "inspect", "type=local,src=../cache"]);
    assert_eq!(shown.stdout.matches("COPY b /x/b").count(), 2, "{}", shown.stdout);
    // With --no-cache nothing is taken.
    assert_eq!(executed(&good(&space, "four", "x:1", &[&FROM[..], &["--no-cache"]].concat()).1), 2);
}

#[test]
fn a_hundred_applications_are_a_few_answers() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    let mut text = "FROM scratch\n".to_owned();
    for n in 0..100 {
        space.file(&format!("a{n}/deploy.yaml"), format!("kind: Deployment # {n}\n"));
        space.file(&format!("a{n}/service.yaml"), format!("kind: Service # {n}\n"));
        writeln!(text, "APP app{n} local://a{n}/deploy.yaml local://a{n}/service.yaml").unwrap();
    }
    space.kubefile(&text);
    let cache = registry.name("team/z:cache");
    good(&space, "one", "x:1", &["--cache-to", &format!("type=registry,ref={cache}")]);
    let (_, built) = good(&space, "two", "x:1", &["--cache-from", &cache, "--lazy"]);
    let (requests, bytes) =
        (built["http_requests"].as_u64().unwrap(), built["bytes_fetched"].as_u64().unwrap());
    assert_eq!(executed(&built), 0);
    assert!(requests <= 6 && bytes <= 64 << 10, "{built}");
}

/// The blobs of the cache that are trees.
fn trees(space: &Space) -> Vec<PathBuf> {
    let blobs = fs_err::read_dir(space.root().join("cache/blobs/sha256")).unwrap();
    let paths = blobs.map(|blob| blob.unwrap().path());
    paths.filter(|path| fs_err::read(path).unwrap().starts_with(b"sealerT")).collect()
}

#[test]
fn a_tree_that_cannot_be_had_is_read_out_of_its_layer() {
    let space = Space::new();
    for n in 0..40 {
        space.file(&format!("many/f{n}"), format!("file {n}"));
    }
    let stage = "FROM scratch AS stage\nCOPY many /many/\n";
    let text = format!("{stage}FROM scratch\nCOPY --from=stage /many/f1 /one\nCOPY many/f2 /two\n");
    space.kubefile(&text);
    good(&space, "one", "x:1", &TO);
    assert_eq!(trees(&space).len(), 0, "a stage has no layer of its own, and the rest is small");
    space.kubefile("FROM scratch\nCOPY many /many/\nCOPY many/f2 /two\n");
    good(&space, "one", "x:1", &TO);
    assert_eq!(trees(&space).len(), 1);
    // A tree that is damaged, or not there, is had from the layer.
    let tree = trees(&space).remove(0);
    space.kubefile("FROM scratch\nCOPY many /many/\nCOPY many/f3 /many/f2\n");
    let (digest, ..) = good(&space, "plain", "x:1", &[]);
    let (found, built) = good(&space, "two", "x:1", &FROM);
    assert_eq!((found, executed(&built)), (digest.clone(), 1));
    let bytes = fs_err::read(&tree).unwrap();
    fs_err::write(&tree, [&bytes[..20], &vec![0; bytes.len() - 20]].concat()).unwrap();
    let (found, built) = good(&space, "three", "x:1", &FROM);
    assert_eq!((found, executed(&built)), (digest.clone(), 1));
    fs_err::remove_file(&tree).unwrap();
    let (found, built) = good(&space, "four", "x:1", &FROM);
    assert_eq!((found, executed(&built)), (digest.clone(), 1));
    fs_err::write(&tree, &bytes).unwrap();

    // What a cache gives another one goes with the tree, if it can.
    let to = "type=local,dest=../other";
    good(&space, "five", "x:1", &[&FROM[..], &["--cache-to", to]].concat());
    let (found, built) = good(&space, "six", "x:1", &["--cache-from", "type=local,src=../other"]);
    assert_eq!((found, executed(&built)), (digest.clone(), 0));
}

#[test]
fn layers_with_times_are_what_their_records_say() {
    let space = Space::new();
    (0..40).for_each(|n| _ = space.file(&format!("d/f{n}"), "x"));
    let text = "FROM scratch\nCOPY d /d/\nCOPY d/f1 /d/f2\n";
    space.kubefile(text);
    let keep = ["--timestamp", "keep"];
    let (digest, _) = good(&space, "one", "x:1", &[&TO[..], &keep].concat());
    let (second, built) = good(&space, "two", "x:1", &[&FROM[..], &keep].concat());
    assert_eq!((second, executed(&built)), (digest, 0));
    space.kubefile(&format!("{text}COPY d/f3 /d/f4\n"));
    let (third, built) = good(&space, "three", "x:1", &[&FROM[..], &keep].concat());
    assert_eq!(executed(&built), 1);
    assert_eq!(good(&space, "four", "x:1", &keep).0, third);
}

/// An archive of thirty files in the context.
fn archive(space: &Space, name: &str) {
    let mut builder = tar::Builder::new(Vec::new());
    for n in 0..30 {
        let mut header = tar::Header::new_ustar();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, format!("{name}-{n}"), &b"abc"[..]).unwrap();
    }
    space.file(name, builder.into_inner().unwrap());
}

const STAGE: &str = "FROM scratch AS all\nADD a.tar /a/\nADD b.tar /b/\nFROM scratch\n";

#[test]
fn a_file_that_is_read_needs_its_layer_and_no_other() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    archive(&space, "a.tar");
    archive(&space, "b.tar");
    space.file("c", "c").kubefile("FROM scratch\nADD a.tar /a/\nADD b.tar /b/\nCOPY c /c\n");
    let (name, cache) = (registry.name("team/y:1"), registry.name("team/y:cache"));
    let to = format!("type=registry,ref={cache}");
    good(&space, "one", &name, &["--push", "--cache-to", &to]);
    // What was extracted is in the layer alone, although its archive is here.
    space.kubefile(&format!("{STAGE}COPY --from=all /a/a.tar-7 /seven\n"));
    let (digest, built) = good(&space, "two", &name, &["--push", "--cache-from", &cache]);
    assert_eq!(executed(&built), 1);
    assert_eq!(blobs_in(&space, "two"), 4, "one layer that is read, one that is made, config and manifest");
    assert_eq!(good(&space, "three", "y:1", &[]).0, digest);
}

/// A layer of the image: its diff id, then its descriptor, as records have them.
fn layer_of(space: &Space, at: usize) -> (Vec<u8>, Descriptor, Vec<u8>) {
    let (manifest, config) = (space.manifest("localhost/x:1"), space.config("localhost/x:1"));
    let digest: BlobDigest = manifest["layers"][at]["digest"].as_str().unwrap().parse().unwrap();
    let blob = Descriptor { digest, size: manifest["layers"][at]["size"].as_u64().unwrap() };
    let diff_id: BlobDigest = config["rootfs"]["diff_ids"][at].as_str().unwrap().parse().unwrap();
    // A number is seven bits a byte, the last without the eighth.
    let size = [(blob.size & 127 | 128) as u8, (blob.size >> 7) as u8];
    assert!((128..1 << 14).contains(&blob.size));
    (diff_id.as_bytes().to_vec(), blob, [&digest.as_bytes()[..], &size].concat())
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|part| part == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

#[test]
fn a_layer_that_is_not_what_its_tree_says_gets_into_no_image() {
    let space = Space::new();
    archive(&space, "a.tar");
    archive(&space, "b.tar");
    space.kubefile("FROM scratch\nADD a.tar /a/\nADD b.tar /b/\n");
    good(&space, "store", "x:1", &TO);
    // Whoever may write says that the first step's layer is that of the second.
    let [(own_id, own, own_blob), (other_id, other, other_blob)] = [0, 1].map(|at| layer_of(&space, at));
    let open =
        || RemoteCache::open(std::sync::Arc::new(DirectoryRemote::new(&space.root().join("cache"))), None);
    let listed = open().list().unwrap();
    let of_first = listed.iter().find(|listed| listed.record.blobs.first() == Some(&own)).unwrap();
    let value = replaced(&of_first.record.value, &own_id, &other_id);
    let value = replaced(&value, &own_blob, &other_blob);
    let blobs = [&[other], &of_first.record.blobs[1..]].concat();
    let lie = NewRecord { key: of_first.key.clone(), value, blobs };
    assert_eq!(open().export(&[lie], &Limits::none()).unwrap().added, 1);

    space.kubefile(&format!("{STAGE}COPY --from=all /a/a.tar-7 /seven\n"));
    let run = at(&space, "two", "x:1", &FROM);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("a remote cache said something that is not so"), "{}", run.stderr);
    let found = space.digest();
    assert_eq!(good(&space, "three", "x:1", &[]).0, found);
    // Its tree is right, and so is what is made of it; its layer is found out when it comes.
    space.kubefile("FROM scratch\nADD a.tar /a/\nADD b.tar /b/\nCOPY a.tar /a/a.tar-1\n");
    let run = at(&space, "four", "x:1", &FROM);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("a remote cache said something that is not so"), "{}", run.stderr);
    let found = space.digest();
    assert_eq!(good(&space, "three", "x:1", &[]).0, found);
}
