//! Remote caches: what one machine built, another one finds in a registry or a directory, and fetches what it reads.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use cache::remote::{Limits, NewRecord, RemoteCache};
use engine::remote::DirectoryRemote;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::image_registry::{Asked, Image, ImageRegistry};
use crate::registry_server::Registry;
use crate::space::{Run, Space, run};

/// Builds the Kubefile of the space in a store of it, as `name`.
fn at(space: &Space, store: &str, name: &str, words: &[&str]) -> Run {
    let mut command = space.command();
    command.env("SEALER_ROOT", space.root().join(store));
    command.args(["build", "-t", name, "--metadata-file", "../metadata.json"]).args(words).arg(".");
    run(&mut command)
}

/// What a build that succeeds says of itself: the digest, and `sealer.build`.
fn good(space: &Space, store: &str, name: &str, words: &[&str]) -> (String, Value, String) {
    let run = at(space, store, name, words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    (space.digest(), space.metadata()["sealer.build"].clone(), run.stderr)
}

/// Three applications and a file.
fn space() -> Space {
    let space = Space::new();
    for app in ["a", "b", "c"] {
        space.file(&format!("{app}.yaml"), format!("kind: {app}\n"));
    }
    space.file("readme", "read me").kubefile(
        "FROM scratch\nCOPY readme /doc/\nAPP a local://a.yaml\nAPP b local://b.yaml\nAPP c local://c.yaml\n",
    );
    space
}

fn number(built: &Value, key: &str) -> u64 {
    built[key].as_u64().unwrap_or_else(|| panic!("{key}: {built}"))
}

fn layers_in(dir: &Path) -> usize {
    fs_err::read_dir(dir.join("blobs/sha256")).unwrap().count()
}

#[test]
fn what_a_registry_keeps_is_not_made_again() {
    let Some(registry) = Registry::open() else { return };
    let space = space();
    let (name, cache) = (registry.name("team/x:1"), registry.name("team/x:cache"));
    let to = format!("type=registry,ref={cache}");
    let (digest, built, said) = good(&space, "one", &name, &["--push", "--cache-to", &to]);
    assert_eq!(number(&built, "executed"), 4);
    assert!(said.contains("5 new"), "each step, and the copy by what it read: {said}");

    // Another machine makes nothing and fetches nothing: the layers stay where they are.
    let (second, built, said) = good(&space, "two", &name, &["--push", "--cache-from", &cache]);
    assert_eq!(second, digest);
    assert_eq!((number(&built, "executed"), number(&built, "cached")), (0, 4), "{said}");
    assert_eq!(layers_in(&space.root().join("two")), 2, "config and manifest");
    // Under another name of the repository nothing is asked for layer by layer, and of another one all is mounted.
    for (store, other, most) in [("two2", "team/x:2", 9), ("two3", "team/y:1", 14)] {
        let other = registry.name(other);
        let (second, built, said) = good(&space, store, &other, &["--push", "--cache-from", &cache]);
        assert_eq!(second, digest);
        assert!(number(&built, "http_requests") <= most, "{other}: {built} {said}");
        assert_eq!(layers_in(&space.root().join(store)), 2, "{said}");
    }
    // One that keeps the image fetches what it needs, and with --lazy not even that.
    let (third, ..) = good(&space, "three", "x:1", &["--cache-from", &cache]);
    assert_eq!(third, digest);
    assert_eq!(layers_in(&space.root().join("three")), 6);
    let (lazy, ..) = good(&space, "four", "x:1", &["--cache-from", &cache, "--lazy"]);
    assert_eq!((lazy, layers_in(&space.root().join("four"))), (digest, 2));
    let mut save = space.command();
    save.env("SEALER_ROOT", space.root().join("four")).args(["save", "x:1", "-o", "../four.tar"]);
    let saved = run(&mut save);
    assert_eq!(saved.code, Some(0), "{}", saved.stderr);

    // Without the cache the store makes what it does not have; what it fetched, it knows.
    let (alone, built, said) = good(&space, "two", "x:1", &[]);
    assert_eq!((alone, number(&built, "executed")), (second.clone(), 4), "{said}");
    let (known, built, said) = good(&space, "three", "x:1", &[]);
    assert_eq!((known, number(&built, "executed")), (second, 0), "{said}");
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&format!("{text}COPY readme /more/\n"));
    assert_eq!(number(&good(&space, "three", "x:1", &[]).1, "executed"), 1);
    space.kubefile(&text);

    // One application changed: its layer, and nothing of the others.
    space.file("b.yaml", "kind: other\n");
    let words = ["--push", "--cache-from", &cache, "--cache-to", &to];
    let (changed, built, said) = good(&space, "five", &name, &words);
    assert_eq!((number(&built, "executed"), number(&built, "cached")), (1, 3), "{said}");
    assert_eq!(layers_in(&space.root().join("five")), 3);
    // Beside the image: how the registry is reached, manifest and head; then these again, one layer, a head, a manifest.
    assert!(number(&built, "http_requests") <= 22, "{built}");
    let (again, built, _) = good(&space, "six", &name, &["--push", "--cache-from", &cache]);
    assert_eq!((again, number(&built, "executed")), (changed, 0));
    // A file that lands on what is below reads it, and so fetches it.
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&format!("{text}COPY readme /doc/again\n"));
    let (fetched, built, said) = good(&space, "seven", &name, &["--push", "--cache-from", &cache]);
    assert_eq!(number(&built, "executed"), 1, "{said}");
    let (whole, ..) = good(&space, "eight", "x:1", &[]);
    assert_eq!(fetched, whole);
}

#[test]
fn one_step_that_changed_costs_ten_requests_beside_the_head() {
    let Some(registry) = Registry::open() else { return };
    let space = Space::new();
    // So many files that their tree is a blob of its own.
    for (app, file) in ["a", "b", "c"].into_iter().flat_map(|app| (0..28).map(move |file| (app, file))) {
        space.file(&format!("{app}/{file}.yaml"), format!("kind: {app}\n"));
    }
    space.kubefile("FROM scratch\nAPP a local://a\nAPP b local://b\nAPP c local://c\n");
    let cache = registry.name("team/x:cache");
    let to = format!("type=registry,ref={cache}");
    good(&space, "one", "x:1", &["--cache-to", &to]);
    space.file("b/0.yaml", "kind: other\n");
    let words = ["--cache-from", &cache, "--cache-to", &to, "--lazy", "--cache-required"];
    let (changed, built, said) = good(&space, "two", "x:1", &words);
    assert_eq!((number(&built, "executed"), layers_in(&space.root().join("two"))), (1, 3), "{said}");
    // Manifest and head are read; two requests for each of layer, tree and head; the tag is looked at, moved, and looked at.
    assert_eq!(number(&built, "http_requests"), 11, "{built}");
    let words = ["--cache-from", &cache, "--lazy", "--cache-required"];
    let (same, built, said) = good(&space, "three", "x:1", &words);
    assert_eq!((same, number(&built, "executed")), (changed, 0), "{said}");
    assert_eq!(number(&built, "http_requests"), 2, "{built}");
}

#[test]
fn a_directory_is_a_cache_too() {
    let space = space();
    let to = "type=local,dest=../cache";
    let (digest, ..) = good(&space, "one", "x:1", &["--cache-to", to]);
    let (second, built, said) = good(&space, "two", "x:1", &["--cache-from", "type=local,src=../cache"]);
    assert_eq!((second, number(&built, "executed")), (digest.clone(), 0), "{said}");
    // With another compression its layers are of no use.
    let words = ["--cache-from", "type=local,src=../cache", "--compression", "gzip"];
    let (_, built, _) = good(&space, "three", "x:1", &words);
    assert_eq!(number(&built, "executed"), 4);
    // A key is asked for, and nobody has it.
    space.file("../key", "a key that is long enough");
    let words = ["--cache-from", "type=local,src=../cache", "--cache-sign-key", "../key"];
    let (_, built, _) = good(&space, "four", "x:1", &words);
    assert_eq!(number(&built, "executed"), 4);
    good(&space, "four", "x:1", &["--cache-to", to, "--cache-sign-key", "../key"]);
    let (_, built, _) = good(&space, "five", "x:1", &words);
    assert_eq!(number(&built, "executed"), 0);
}

#[test]
fn a_cache_that_is_of_no_use_is_a_warning_unless_it_is_required() {
    let space = space();
    fs_err::create_dir(space.root().join("other")).unwrap();
    let (digest, ..) = good(&space, "one", "x:1", &["--cache-to", "type=local,dest=../cache"]);
    for blob in fs_err::read_dir(space.root().join("cache/blobs/sha256")).unwrap() {
        fs_err::write(blob.unwrap().path(), "something else").unwrap();
    }
    let from = ["--cache-from", "type=local,src=../cache"];
    let (second, built, said) = good(&space, "two", "x:1", &from);
    assert_eq!((second, number(&built, "executed")), (digest, 4));
    assert_eq!(said.matches("counted as not cached").count(), 1, "{said}");
    let run = at(&space, "three", "x:1", &[&from[..], &["--cache-required"]].concat());
    assert!(run.code == Some(1) && run.stderr.contains("--cache-required"), "{}", run.stderr);
    let nobody = "type=registry,ref=127.0.0.1:1/team/x:cache";
    let (_, _, said) = good(&space, "four", "x:1", &["--cache-from", nobody, "--cache-to", nobody]);
    assert!(said.contains("is not written") && said.contains("counted as not cached"), "{said}");
    assert_eq!(said.matches("Connection refused").count(), 2, "{said}");
    for (words, wanted) in [
        (["--cache-to", "type=inline,mode=max"].as_slice(), "nothing can be said of type=inline"),
        (&["--cache-to", "type=local,dest=x,mode=some"], "there is no mode `some`"),
        (&["--cache-to", "type=local,dest=x,compression=rar"], "compression `rar` is not supported"),
        (&["--cache-from", "type=inline"], "type=inline needs ref=NAME"),
        (&["--cache-to", "type=local"], "type=local needs dest=DIR"),
        (&["--cache-to", "./c"], "a directory is written as type=local,dest=./c"),
        (&["--cache-from", "/c"], "a directory is written as type=local,src=/c"),
        (&["--cache-from", "type=nfs,src=x"], "there is no cache of type `nfs`"),
        (&["--cache-to", "type=local,dest=x,color=red"], "`color` means nothing here"),
        (&["--cache-required"], "says nothing without a cache"),
    ] {
        let run = at(&space, "five", "x:1", words);
        assert_eq!(run.code, Some(1), "{words:?}");
        assert!(run.stderr.contains(wanted), "{words:?}: {}", run.stderr);
    }
}

#[test]
fn a_layer_that_is_not_what_its_record_says_is_not_believed() {
    let space = space();
    let (cache, from) = (space.root().join("cache"), ["--cache-from", "type=local,src=../cache"]);
    let to = ["--cache-to", "type=local,dest=../cache"];
    let (whole, ..) = good(&space, "one", "x:1", &to);
    // All layers are one of them.
    let layers: Vec<_> = fs_err::read_dir(cache.join("blobs/sha256"))
        .unwrap()
        .map(|blob| blob.unwrap().path())
        .filter(|path| fs_err::read(path).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]))
        .collect();
    assert!(layers.len() >= 4, "{layers:?}");
    let first = fs_err::read(&layers[0]).unwrap();
    for layer in &layers[1..] {
        fs_err::write(layer, &first).unwrap();
    }
    // What cannot be had is made here, and the cache gets it again.
    let (digest, built, said) = good(&space, "two", "x:1", &[from, to].concat());
    assert_eq!((digest, number(&built, "executed")), (whole.clone(), layers.len() as u64 - 1), "{said}");
    assert_eq!(said.matches("does not give out").count(), 1, "{said}");
    for stored in ["two/blobs/sha256", "cache/blobs/sha256"] {
        for blob in fs_err::read_dir(space.root().join(stored)).unwrap() {
            let path = blob.unwrap().path();
            let digest = crate::image_registry::digest(&fs_err::read(&path).unwrap());
            assert!(path.ends_with(&digest[7..]), "{}", path.display());
        }
    }
    assert_eq!(number(&good(&space, "three", "x:1", &from).1, "executed"), 0);
    // So it is with one that is gone, also where a step reads it.
    fs_err::remove_file(&layers[0]).unwrap();
    let (digest, built, said) = good(&space, "four", "x:1", &from);
    assert_eq!((digest, number(&built, "executed")), (whole, 1), "{said}");
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    let staged = text.replace("FROM scratch", "FROM scratch AS all");
    space.kubefile(&format!("{staged}FROM scratch\nCOPY --from=all /doc /application /\n"));
    layers[1..].iter().for_each(|layer| fs_err::remove_file(layer).unwrap());
    let (digest, ..) = good(&space, "five", "x:1", &from);
    assert_eq!(digest, good(&space, "six", "x:1", &[]).0);
}

#[test]
fn container_images_travel_too() {
    let registry = ImageRegistry::start();
    let name = registry.with("team/a", "v1", &Image::new("a"));
    let space = Space::new();
    space.file("a.yaml", format!("image: {name}\n")).kubefile("FROM scratch\nAPP a local://a.yaml\n");
    let (digest, ..) = good(&space, "one", "x:1", &["--cache-to", "type=local,dest=../cache"]);
    registry.asked();
    let (second, built, said) = good(&space, "two", "x:1", &["--cache-from", "type=local,src=../cache"]);
    assert_eq!((second, number(&built, "executed")), (digest, 0), "{said}");
    let Asked { blobs, .. } = registry.asked();
    assert!(blobs.is_empty(), "{blobs:?}");
}

#[test]
fn what_a_cache_says_of_container_images_is_not_kept() {
    let registry = ImageRegistry::start();
    let name = registry.with("team/a", "v1", &Image::new("a"));
    registry.put("team/b", "v1", &Image::new("b"));
    let space = Space::new();
    space.file("a.yaml", format!("image: {name}\n")).kubefile("FROM scratch\nAPP a local://a.yaml\n");
    let (digest, ..) = good(&space, "one", "x:1", &["--cache-to", "type=local,dest=../cache"]);
    // Whoever may write says that the file names another image.
    let open = || RemoteCache::open(Arc::new(DirectoryRemote::new(&space.root().join("cache"))), None);
    let place = |value: &[u8], word: &[u8]| value.windows(word.len()).position(|part| part == word);
    let listed = open().list().unwrap();
    let of_app = listed.iter().find(|one| place(&one.record.value, b"local://a.yaml").is_some()).unwrap();
    let mut value = of_app.record.value.clone();
    let at = place(&value, b"team/a:v1").unwrap() + "team/".len();
    value[at] = b'b';
    let lie = NewRecord { key: of_app.key.clone(), value, blobs: of_app.record.blobs.clone() };
    assert_eq!(open().export(&[lie], &Limits::none()).unwrap().added, 1);
    // Without a key a cache is believed, but only by the build that asks it.
    let (other, ..) = good(&space, "two", "x:1", &["--cache-from", "type=local,src=../cache"]);
    assert_ne!(other, digest);
    assert_eq!(good(&space, "two", "x:1", &[]).0, digest);
    let done = on(&space, "three", &["cache", "import", "type=local,src=../cache"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(good(&space, "three", "x:1", &[]).0, digest);
}

#[test]
fn an_image_can_be_its_own_cache() {
    let Some(registry) = Registry::open() else { return };
    let space = space();
    let name = registry.name("team/x:1");
    let words = ["--push", "--cache-to", "type=inline"];
    let (digest, ..) = good(&space, "one", &name, &words);
    // The text depends on nothing else than the image.
    assert_eq!(good(&space, "two", &name, &words).0, digest);
    let (again, built, said) = good(&space, "three", "x:1", &["--cache-from", &name, "--lazy"]);
    assert_eq!((number(&built, "executed"), layers_in(&space.root().join("three"))), (0, 2), "{said}");
    assert_ne!(again, digest, "without --cache-to there is no cache in it");
    // Another build changes one layer, and the image says so of its own.
    space.file("b.yaml", "kind: other\n");
    let from = format!("type=inline,ref={name}");
    let words = ["--push", "--cache-to", "type=inline", "--cache-from", &from];
    let (_, built, said) = good(&space, "four", &name, &words);
    assert_eq!((number(&built, "executed"), layers_in(&space.root().join("four"))), (1, 3), "{said}");
    let (_, built, _) = good(&space, "five", "x:1", &["--cache-from", &name]);
    assert_eq!(number(&built, "executed"), 0);
    // Who builds on it does not take its cache over.
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&format!("FROM {name}\nCOPY readme /more/\n"));
    let (_, built, _) = good(&space, "six", &registry.name("team/y:1"), &["--push"]);
    assert_eq!(number(&built, "executed"), 1);
    let (_, _, said) = good(&space, "seven", "x:1", &["--cache-from", &registry.name("team/y:1")]);
    assert!(said.contains("an image without a cache in it"), "{said}");
    // Nobody writes a cache over an image.
    space.kubefile(&text);
    let (_, _, said) = good(&space, "eight", "x:1", &["--cache-to", &name]);
    assert!(said.contains("is not written"), "{said}");
    assert_eq!(number(&good(&space, "nine", "x:1", &["--cache-from", &name]).1, "executed"), 0);
}

#[test]
fn the_cache_of_an_image_says_nothing_of_what_another_build_found() {
    let space = space();
    for words in [&["--build-mode", "lite"][..], &["--no-discover", "a"]] {
        let words = [words, &["--cache-to", "type=inline"]].concat();
        let (digest, ..) = good(&space, "one", "x:1", &words);
        good(&space, "two", "x:1", &[]);
        let (again, built, _) = good(&space, "two", "x:1", &words);
        assert_eq!((again, number(&built, "executed")), (digest, 0), "{words:?}");
    }
}

#[test]
fn images_of_several_platforms_have_one_cache() {
    let Some(registry) = Registry::open() else { return };
    let space = space();
    let name = registry.name("team/x:1");
    let platforms = ["--platform", "linux/amd64,linux/arm64"];
    good(&space, "one", &name, &[&platforms[..], &["--push", "--cache-to", "type=inline"]].concat());
    let words = [&platforms[..], &["--cache-from", &name]].concat();
    let (_, built, said) = good(&space, "two", "x:1", &words);
    assert_eq!(number(&built, "executed"), 0, "{said}");
    let (_, built, said) =
        good(&space, "three", "x:1", &["--platform", "linux/arm64", "--cache-from", &name]);
    assert_eq!(number(&built, "executed"), 0, "{said}");
}

#[test]
fn layers_that_an_image_lost_are_made_again() {
    let Some(registry) = Registry::open() else { return };
    let space = space();
    let name = registry.name("team/x:1");
    good(&space, "one", "x:1", &["--cache-to", "type=inline"]);
    // It goes there with other layers, and its annotation as it was.
    let mut save = space.command();
    save.env("SEALER_ROOT", space.root().join("one"));
    save.args(["save", "x:1", "-o", "../x.tar", "--compression", "gzip"]);
    let saved = run(&mut save);
    assert_eq!(saved.code, Some(0), "{}", saved.stderr);
    for words in [&["load", "-i", "../x.tar"][..], &["push", "x:1", &name]] {
        let mut command = space.command();
        let run = run(command.env("SEALER_ROOT", space.root().join("other")).args(words));
        assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    }
    let (_, built, said) = good(&space, "two", "x:1", &["--cache-from", &name]);
    assert_eq!(number(&built, "executed"), 4, "{said}");
}

#[test]
fn a_cache_can_have_other_layers_than_the_image() {
    let space = space();
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&format!("FROM scratch AS other\nCOPY readme /other\n{text}COPY --from=other /other /\n"));
    let to = [
        "--cache-to",
        "type=local,dest=../gzip,compression=gzip",
        "--cache-to",
        "type=local,dest=../min,mode=min",
        "--cache-to",
        "type=local,dest=../max,mode=max",
    ];
    let (digest, ..) = good(&space, "one", "x:1", &to);
    let gzip = ["--cache-from", "type=local,src=../gzip"];
    let (_, built, said) = good(&space, "two", "x:1", &[&gzip[..], &["--compression", "gzip"]].concat());
    assert_eq!(number(&built, "executed"), 0, "{said}");
    let (whole, ..) = good(&space, "three", "x:1", &["--compression", "gzip"]);
    assert_eq!(space.digest(), whole);
    assert!(number(&good(&space, "four", "x:1", &gzip).1, "executed") > 0);
    for (from, step) in [("../min", 0), ("../max", 0)] {
        let (same, built, _) =
            good(&space, from, "x:1", &["--cache-from", &format!("type=local,src={from}")]);
        assert_eq!((same, number(&built, "executed")), (digest.clone(), step));
    }
    let blobs = |dir: &str| layers_in(&space.root().join(dir));
    assert!(blobs("min") <= blobs("max"));
}

/// Runs a command on a store of the space.
fn on(space: &Space, store: &str, words: &[&str]) -> Run {
    let mut command = space.command();
    run(command.env("SEALER_ROOT", space.root().join(store)).args(words))
}

#[test]
fn caches_are_filled_looked_at_and_emptied_by_hand() {
    let Some(registry) = Registry::open() else { return };
    let space = space();
    let cache = registry.name("team/x:cache");
    let (digest, ..) = good(&space, "one", "x:1", &[]);
    space.file("b.yaml", "kind: other\n");
    good(&space, "one", "y:1", &[]);
    // Of one image, then of all of the store.
    let done = on(&space, "one", &["cache", "export", &cache, "--image", "y:1"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let (_, built, _) = good(&space, "two", "y:1", &["--cache-from", &cache]);
    assert_eq!(number(&built, "executed"), 0);
    space.file("b.yaml", "kind: b\n");
    let (_, built, _) = good(&space, "three", "x:1", &["--cache-from", &cache]);
    assert_eq!(number(&built, "executed"), 1);
    let done = on(&space, "one", &["cache", "export", &format!("type=registry,ref={cache}")]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);

    let seen = on(&space, "none", &["cache", "inspect", &cache]);
    assert_eq!(seen.code, Some(0), "{}", seen.stderr);
    for wanted in ["APP a local://a.yaml", "COPY readme /doc/", "zstd", "today", "SIGNED"] {
        assert!(seen.stdout.contains(wanted), "{wanted}: {}", seen.stdout);
    }
    let seen = on(&space, "none", &["cache", "inspect", "--json", &cache]);
    let listed: Value = serde_json::from_str(&seen.stdout).unwrap();
    let listed = listed.as_array().unwrap();
    assert!(listed.len() >= 5, "{listed:?}");
    assert!(listed.iter().all(|one| one["blobs"][0]["size"].as_u64() > Some(0) && one["isSigned"] == false));

    // What came is there without the cache, whole.
    let done = on(&space, "four", &["cache", "import", &cache]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("5 layers"), "{}", done.stderr);
    let (same, built, said) = good(&space, "four", "x:1", &[]);
    assert_eq!((same, number(&built, "executed")), (digest, 0), "{said}");
    let text = fs_err::read_to_string(space.context().join("Kubefile")).unwrap();
    space.kubefile(&format!("{text}COPY readme /doc/again\n"));
    assert_eq!(number(&good(&space, "four", "x:1", &[]).1, "executed"), 1);

    // With a key nothing of it is believed; signed by hand it is.
    space.file("../key", "a key that is long enough");
    let done = on(&space, "five", &["cache", "import", &cache, "--cache-sign-key", "../key"]);
    assert!(done.stderr.contains("imported 0 steps"), "{}", done.stderr);
    let signed = "type=local,dest=../signed";
    let done = on(&space, "one", &["cache", "export", signed, "--cache-sign-key", "../key"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let done =
        on(&space, "five", &["cache", "import", "type=local,src=../signed", "--cache-sign-key", "../key"]);
    assert!(done.stderr.contains(" 5 layers"), "{}", done.stderr);
    for (words, wanted) in [
        (["cache", "inspect", "type=local,src=../nothing"], "there is no cache at"),
        (["cache", "import", "type=local,src=."], "there is no cache at"),
        (["cache", "export", "type=tape,dest=x"], "there is no cache of type `tape`"),
    ] {
        let done = on(&space, "one", &words);
        assert!(done.code == Some(1) && done.stderr.contains(wanted), "{words:?}: {}", done.stderr);
    }
}

#[test]
fn an_import_of_what_is_not_so_keeps_nothing() {
    let space = space();
    good(&space, "one", "x:1", &["--cache-to", "type=local,dest=../cache"]);
    let blobs = space.root().join("cache/blobs/sha256");
    let sizes = fs_err::read_dir(&blobs).unwrap().map(|entry| entry.unwrap());
    let largest =
        sizes.filter(|entry| fs_err::read(entry.path()).unwrap().starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    let path = largest.map(|entry| entry.path()).next().unwrap();
    let mut bytes = fs_err::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let done = on(&space, "two", &["cache", "import", "type=local,src=../cache"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let (_, built, _) = good(&space, "two", "x:1", &[]);
    assert!(number(&built, "executed") >= 1);
}

#[test]
fn who_is_stopped_while_a_cache_is_waited_for_says_so() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /\n");
    // It takes connections, and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let cache = format!("type=registry,ref={}/x:cache", listener.local_addr().unwrap());
    let build = ["build", "-t", "x:1", "--build-mode", "lite", ".", "--cache-to"];
    for words in [&["cache", "inspect"][..], &["cache", "import"], &build, &["cache", "export"]] {
        let mut command = space.command();
        let child = command.args(words).arg(&cache).stderr(Stdio::piped()).spawn().unwrap();
        let connection = listener.accept().unwrap();
        rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(connection);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(143), "{words:?}: {text}");
        assert!(text.contains("error: cancelled; "), "{words:?}: {text}");
    }
}
