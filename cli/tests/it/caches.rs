//! Remote caches: what one machine built, another one finds in a registry or a directory, and fetches what it reads.

use std::path::Path;

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
    assert!(said.contains("4 new"), "{said}");

    // Another machine makes nothing and fetches nothing: the layers stay where they are.
    let (second, built, said) = good(&space, "two", &name, &["--push", "--cache-from", &cache]);
    assert_eq!(second, digest);
    assert_eq!((number(&built, "executed"), number(&built, "cached")), (0, 4), "{said}");
    assert_eq!(layers_in(&space.root().join("two")), 2, "config and manifest");
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
    for (words, wanted) in [
        (["--cache-to", "type=inline"].as_slice(), "not supported yet"),
        (&["--cache-to", "type=local"], "type=local needs dest=DIR"),
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
    good(&space, "one", "x:1", &["--cache-to", "type=local,dest=../cache"]);
    // The layers of two applications change places.
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
    let run = at(&space, "two", "x:1", &from);
    let (whole, ..) = good(&space, "three", "x:1", &[]);
    // Nothing of it gets into an image.
    if run.code == Some(0) {
        assert_eq!(space.digest(), whole);
    }
    let stored = space.root().join("two/blobs/sha256");
    for blob in fs_err::read_dir(stored).unwrap() {
        let path = blob.unwrap().path();
        let digest = crate::image_registry::digest(&fs_err::read(&path).unwrap());
        assert!(path.ends_with(&digest[7..]), "{}", path.display());
    }
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
