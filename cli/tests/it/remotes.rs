//! Remote caches in directories and in a real registry, whose own garbage collector does them no harm.

use std::borrow::Borrow;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cache::remote::conformance::{self, Place};
use cache::remote::{Limits, NewRecord, Remote, RemoteCache, RemoteError};
use engine::net::FetchSettings;
use engine::registry::Arrival;
use engine::remote::{DirectoryRemote, RegistryRemote};
use engine::{Cancel, Credentials, Fetcher, Reference, Trust};
use serde_json::Value;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

use crate::registry_server::Registry;
use crate::space::{has_peer, run};

const TODAY: Limits = Limits { today: 100, max_age_days: None, max_bytes: None };

fn described(bytes: &[u8]) -> Descriptor {
    Descriptor { digest: BlobDigest::from_bytes(Sha256::digest(bytes).into()), size: bytes.len() as u64 }
}

fn record(n: u32, blobs: &[Descriptor]) -> NewRecord {
    let key = [&[1][..], &n.to_le_bytes()].concat();
    NewRecord { value: Sha256::digest(&key).to_vec(), key, blobs: blobs.to_vec() }
}

/// A cache in a directory.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> DirectoryRemote {
        DirectoryRemote::new(&self.0.path().join("cache"))
    }
}

impl Place for Directory {
    fn remote(&self) -> Arc<dyn Remote + '_> {
        Arc::new(self.open())
    }

    fn put_blob(&self, bytes: &[u8]) -> Descriptor {
        let blob = described(bytes);
        self.open().put_blob(&blob, &mut &bytes[..]).unwrap();
        blob
    }

    fn replace(&self, object: &Descriptor, bytes: &[u8]) {
        let path = self.0.path().join("cache/blobs/sha256").join(object.digest.hex());
        assert!(path.exists());
        fs_err::write(path, bytes).unwrap();
    }

    fn collect_garbage(&self) {
        let count = || fs_err::read_dir(self.0.path().join("cache/blobs/sha256")).unwrap().count();
        let before = count();
        self.open().sweep(Duration::from_secs(60)).unwrap();
        assert_eq!(count(), before, "what is new stays");
        self.open().sweep(Duration::ZERO).unwrap();
        assert!(count() < before, "what nobody needs goes");
    }
}

/// A way to the registry that does not wait long before it asks again.
fn way() -> engine::Registry {
    let settings =
        FetchSettings { attempts: 2, base_delay: Duration::from_millis(1), ..FetchSettings::default() };
    let fetcher = Fetcher::with_settings(Cancel::new(), settings);
    engine::Registry::new(fetcher, Trust::default(), Credentials::default())
}

/// A cache in a repository.
struct Tag<R> {
    server: R,
    way: engine::Registry,
    reference: Reference,
}

impl<R: Borrow<Registry>> Tag<R> {
    fn new(server: R, path: &str) -> Self {
        let reference = Reference::parse(&server.borrow().name(path)).unwrap();
        Self { server, way: way(), reference }
    }

    fn open(&self) -> RegistryRemote<'_> {
        RegistryRemote::new(&self.way, &self.reference)
    }

    fn put(&self, bytes: &[u8]) -> Arrival {
        let open = || Ok(Box::new(std::io::Cursor::new(bytes.to_vec())) as _);
        self.open().put_blob(&described(bytes), &[], &open, &|_| {}).unwrap()
    }
}

impl<R: Borrow<Registry>> Place for Tag<R> {
    fn remote(&self) -> Arc<dyn Remote + '_> {
        Arc::new(self.open())
    }

    fn put_blob(&self, bytes: &[u8]) -> Descriptor {
        self.put(bytes);
        described(bytes)
    }

    fn replace(&self, object: &Descriptor, bytes: &[u8]) {
        let path = blob_path(self.server.borrow(), object);
        assert!(path.exists());
        fs_err::write(path, bytes).unwrap();
    }

    fn collect_garbage(&self) {
        collect(self.server.borrow());
    }
}

fn blob_path(server: &Registry, blob: &Descriptor) -> std::path::PathBuf {
    let hex = blob.digest.hex();
    let blobs = server.data().join("data/docker/registry/v2/blobs/sha256");
    blobs.join(&hex[..2]).join(hex).join("data")
}

/// Deletes all that no tag leads to; the manifests of tags that have moved among it.
fn collect(server: &Registry) {
    let mut command = Command::new("docker-registry");
    command.args(["garbage-collect", "--delete-untagged"]).arg(server.data().join("config.yml"));
    let done = run(&mut command);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("eligible for deletion"), "{}{}", done.stdout, done.stderr);
}

#[test]
fn a_directory_conforms() {
    conformance::check(Directory::new);
    conformance::check_crowd(Directory::new);
}

#[test]
fn a_registry_conforms() {
    if !has_peer("docker-registry") {
        return;
    }
    // Repositories of one registry share their blobs, damaged ones too.
    let fresh = || Tag::new(Registry::open().expect("it has started before"), "team/cache:main");
    conformance::check(fresh);
}

#[test]
fn a_directory_is_an_image_layout_and_nothing_else_is_taken_for_one() {
    let place = Directory::new();
    let blob = place.put_blob(b"a layer");
    let cache = RemoteCache::open(place.remote(), None);
    cache.export(&[record(1, &[blob])], &TODAY).unwrap();
    let dir = place.0.path().join("cache");
    if has_peer("skopeo") {
        let mut command = Command::new("skopeo");
        command.arg("inspect").arg("--raw").arg(format!("oci:{}:cache", dir.display()));
        let shown = run(&mut command);
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        let manifest: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(manifest["layers"][0]["digest"], blob.digest.to_string());
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.sealer.cache.head.v1");
    }
    // A directory with somebody's files stays as it is.
    let home = tempfile::tempdir().unwrap();
    fs_err::write(home.path().join("letter"), "dear").unwrap();
    let cache = RemoteCache::open(Arc::new(DirectoryRemote::new(home.path())), None);
    assert!(matches!(cache.export(&[record(1, &[])], &TODAY), Err(RemoteError::Foreign { .. })));
    assert_eq!(fs_err::read_dir(home.path()).unwrap().count(), 1);
    assert_eq!((cache.lookup(&[record(1, &[]).key]), cache.warnings()), (vec![None], Vec::new()));
}

#[test]
fn a_registry_is_asked_little() {
    let Some(server) = Registry::open() else { return };
    let writer = Tag::new(&server, "team/app:cache");
    let layers = [b"one".as_slice(), b"two"].map(|bytes| {
        assert_eq!(writer.put(bytes), Arrival::Uploaded);
        described(bytes)
    });
    let records: Vec<_> = (0..100).map(|n| record(n, &layers[n as usize % 2..][..1])).collect();
    let cache = RemoteCache::open(writer.remote(), None);
    assert_eq!(cache.export(&records, &TODAY).unwrap().objects_sent, 1);
    // Another machine: the manifest, which tells how the registry is reached too, and the head.
    let reader = Tag::new(&server, "team/app:cache");
    let cache = RemoteCache::open(reader.remote(), None);
    let keys: Vec<_> = records.iter().map(|record| record.key.clone()).collect();
    assert!(cache.lookup(&keys).iter().all(Option::is_some));
    assert_eq!(reader.way.fetcher().requests(), 2);
    assert!(reader.way.fetcher().bytes() < 16 << 10);
    // It has read all; the head twice, the tag, its manifest, the tag.
    assert_eq!(cache.export(&[record(100, &layers[..1])], &TODAY).unwrap().added, 1);
    assert_eq!(reader.way.fetcher().requests() - 2, 5);
    // A neighbour's layers are not sent.
    let neighbour = Tag::new(&server, "team/other:cache");
    let never = || panic!("nothing is read");
    let from = [writer.reference.repository.clone()];
    let arrived = neighbour.open().put_blob(&layers[0], &from, &never, &|_| {}).unwrap();
    assert_eq!(arrived, Arrival::Mounted);
    // What is hardly there is sent without a question, and not sent if it is there after all.
    let offer = |bytes: &'static [u8], open: &engine::registry::OpenBlob<'_>| {
        let machine = Tag::new(&server, "team/app:cache");
        machine.way.manifest(&machine.reference).unwrap();
        let arrived = machine.open().offer_blob(&described(bytes), open, &|_| {}).unwrap();
        (arrived, machine.way.fetcher().requests() - 1)
    };
    assert_eq!(offer(b"three", &|| Ok(Box::new(&b"three"[..]))), (Arrival::Uploaded, 2));
    assert_eq!(offer(b"three", &never), (Arrival::Present, 1));
}

#[test]
fn an_image_is_no_cache_and_stays() {
    let Some(server) = Registry::open() else { return };
    let place = Tag::new(&server, "team/app:1");
    let space = crate::space::Space::new();
    space.file("a", "x").kubefile("FROM scratch\nCOPY a /\n");
    let name = server.name("team/app:1");
    let built = run(space.command().args(["build", "--build-mode", "lite", "-t", &name, "--push", "."]));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let before = place.way.digest_of(&place.reference).unwrap();
    let cache = RemoteCache::open(place.remote(), None);
    assert_eq!(cache.lookup(&[record(1, &[]).key]), [None]);
    assert!(cache.warnings()[0].contains("no cache"), "{:?}", cache.warnings());
    assert!(matches!(cache.export(&[record(1, &[])], &TODAY), Err(RemoteError::Foreign { .. })));
    assert_eq!(place.way.digest_of(&place.reference).unwrap(), before);
}

#[test]
fn a_cache_with_more_layers_than_a_manifest_holds_is_kept_whole() {
    let Some(server) = Registry::open() else { return };
    let place = Tag::new(&server, "team/app:cache");
    // As if each had been sent, which takes half a minute.
    let repository = server.data().join("data/docker/registry/v2/repositories/team/app/_layers/sha256");
    let put = |n: u32| {
        let (bytes, blob) = (n.to_le_bytes(), described(&n.to_le_bytes()));
        let (data, link) = (blob_path(&server, &blob), repository.join(blob.digest.hex()).join("link"));
        for (path, content) in [(data, &bytes[..]), (link, blob.digest.to_string().as_bytes())] {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        record(n, &[blob])
    };
    let records: Vec<_> = (0..1100).map(put).collect();
    let export = |records: &[NewRecord], limits: &Limits| {
        RemoteCache::open(place.remote(), None).export(records, limits).unwrap().records
    };
    assert_eq!(export(&records, &TODAY), 1100);
    let one_more = record(1100, &[place.put_blob(b"one more")]);
    assert_eq!(export(std::slice::from_ref(&one_more), &Limits { today: 120, ..TODAY }), 1101);
    collect(&server);
    let there = |blobs: &[Descriptor]| {
        // By a machine that has not read the manifest.
        let there = Tag::new(&server, "team/app:cache").open().has_blobs(blobs).unwrap();
        there.into_iter().filter(|is_there| *is_there).count()
    };
    let blobs: Vec<_> = records.iter().chain([&one_more]).map(|record| record.blobs[0]).collect();
    assert_eq!(there(&blobs), 1101);
    // When it is small again, nothing keeps what is not needed.
    assert_eq!(export(&[], &Limits { today: 140, max_age_days: Some(30), ..TODAY }), 1);
    collect(&server);
    assert_eq!(there(&blobs), 1);
    let found = RemoteCache::open(place.remote(), None).lookup(std::slice::from_ref(&one_more.key));
    assert_eq!(found[0].as_ref().unwrap().blobs, one_more.blobs);
}
