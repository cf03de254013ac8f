//! Archives made by hand, as tools write them and as nobody should.

use std::io::Write;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::oci;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const NGINX: &str = "docker.io/library/nginx:1.25";

/// Files of an archive, in their order.
#[derive(Default, Clone)]
struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    fn put(&mut self, path: &str, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.0.push((path.to_owned(), bytes.into()));
        self
    }

    /// A blob, and its descriptor.
    fn blob(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Value {
        let bytes = bytes.into();
        let blob = oci::described(&bytes);
        self.put(&format!("blobs/sha256/{}", blob.digest.hex()), bytes);
        json!({ "mediaType": media_type, "digest": blob.digest.to_string(), "size": blob.size })
    }

    /// An image with one layer. White space shows that nobody writes its manifest again.
    fn image(&mut self, layer: &[u8], [manifest, config, media_type]: [&str; 3]) -> Value {
        let layer = self.blob(media_type, layer);
        let rootfs = json!({ "type": "layers", "diff_ids": [layer["digest"]] });
        let config = self.blob(config, json!({ "os": "linux", "rootfs": rootfs }).to_string());
        let text = format!(
            r#"{{  "schemaVersion":2, "mediaType":"{manifest}", "layers":[{layer}], "config":{config} }}"#
        );
        self.blob(manifest, text)
    }

    fn index(&mut self, entries: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        self.blob(INDEX, serde_json::to_vec_pretty(&index).unwrap())
    }

    /// Names descriptors in `index.json`.
    fn name(&mut self, entries: &[(&Value, Value)]) -> &mut Self {
        let entries = entries.iter().map(|(entry, annotations)| {
            let mut entry = (*entry).clone();
            entry["annotations"] = annotations.clone();
            entry
        });
        let index = json!({ "schemaVersion": 2, "manifests": entries.collect::<Vec<_>>() });
        self.put("index.json", index.to_string()).put("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
    }

    fn bytes_of(&self, digest: &Value) -> Vec<u8> {
        let path = format!("blobs/sha256/{}", digest.as_str().unwrap().strip_prefix("sha256:").unwrap());
        self.0.iter().find(|(name, _)| *name == path).unwrap().1.clone()
    }

    fn tar(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            match path.split_once(" -> ") {
                Some((path, target)) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target).unwrap();
                }
                None => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice()).unwrap();
                }
            }
        }
        tar.into_inner().unwrap()
    }

    fn write_dir(&self, dir: &Path) {
        for (path, bytes) in &self.0 {
            let path = dir.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, bytes).unwrap();
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// A store, and archives beside it.
struct Bench {
    dir: TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    fn archive(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        path
    }

    /// The files as a directory, an archive, and a compressed archive.
    fn every(&self, files: &Files) -> [PathBuf; 3] {
        let dir = self.dir.path().join("layout");
        files.write_dir(&dir);
        let tar = files.tar();
        [dir, self.archive("a.tar", &tar), self.archive("a.tar.gz", &gzip(&tar))]
    }

    fn open(&self, files: &Files) -> Result<Archives, TransportError> {
        open(self.archive("a.tar", &files.tar()))
    }

    /// What is wrong with an archive, without where it is.
    fn error(&self, error: &TransportError) -> String {
        error.to_string().replace(&format!("{}/", self.dir.path().display()), "")
    }

    fn bring(&self, archives: &Archives, wanted: &[Descriptor]) -> Result<u64, TransportError> {
        let read = std::cell::Cell::new(0);
        archives.bring(&self.store, wanted, &Cancel::new(), &|more| read.set(read.get() + more))?;
        Ok(read.get())
    }
}

fn open(input: impl AsRef<Path>) -> Result<Archives, TransportError> {
    Archives::open(&[input.as_ref().to_owned()], &Cancel::new())
}

fn find<'a>(archives: &'a Archives, name: &str) -> Option<&'a Archived> {
    archives.find(&Reference::parse(name).unwrap())
}

fn ref_name(name: &str) -> Value {
    json!({ "org.opencontainers.image.ref.name": name })
}

fn descriptors(manifest: &RawManifest) -> Vec<Descriptor> {
    let json: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    let all = json["layers"].as_array().unwrap().iter().chain([&json["config"]]);
    let read = |one: &Value| Descriptor {
        digest: one["digest"].as_str().unwrap().parse().unwrap(),
        size: one["size"].as_u64().unwrap(),
    };
    all.map(read).collect()
}

const OCI: [&str; 3] = [MANIFEST, CONFIG, LAYER];

/// An index with two platforms and a third that is not here, another image, and all their names.
fn sample() -> (Files, Value, [Value; 2]) {
    let mut files = Files::default();
    let amd64 = files.image(&[b'a'; 300_000], OCI);
    let arm64 = files.image(b"arm64", OCI);
    let absent = json!({ "mediaType": MANIFEST, "digest": format!("sha256:{}", "a".repeat(64)), "size": 7 });
    let index = files.index(&[amd64.clone(), arm64.clone(), absent]);
    let other = files.image(b"other", OCI);
    files.name(&[
        (&index, ref_name(NGINX)),
        (&index, ref_name("quay.io/copy/nginx:1.25")),
        (&other, ref_name("quay.io/team/other:2")),
    ]);
    (files, index, [amd64, arm64])
}

#[test]
fn manifests_are_found_as_they_are_by_name_and_digest() {
    let (files, index, [amd64, _]) = sample();
    let bench = Bench::new();
    for input in bench.every(&files) {
        let archives = open(&input).unwrap();
        let found = find(&archives, "nginx:1.25").unwrap();
        assert_eq!(found.manifest.bytes, files.bytes_of(&index["digest"]), "{}", input.display());
        assert_eq!(found.archive, input);
        assert_eq!(find(&archives, "quay.io/copy/nginx:1.25"), Some(found));
        let by_digest = |name: &str, of: &Value| {
            find(&archives, &format!("{name}@{}", of["digest"].as_str().unwrap())).cloned()
        };
        assert_eq!(by_digest("nginx", &index).as_ref(), Some(found));
        assert_eq!(by_digest("nginx:old", &index).as_ref(), Some(found));
        let below = by_digest("quay.io/copy/nginx", &amd64).unwrap();
        assert_eq!(below.manifest.bytes, files.bytes_of(&amd64["digest"]));
        assert_eq!(archives.manifest(&below.manifest.blob.digest), Some(&below));
        assert_eq!(by_digest("quay.io/team/other", &amd64), None);
        assert_eq!(find(&archives, "nginx:1.26"), None);
        assert_eq!(archives.unused(), ["quay.io/team/other:2"]);
    }
}

#[test]
fn only_what_is_wanted_is_brought_and_only_once() {
    let (files, _, [amd64, arm64]) = sample();
    for number in 0..3 {
        let bench = Bench::new();
        let archives = open(&bench.every(&files)[number]).unwrap();
        let blobs = |of: &Value| {
            let digest = of["digest"].as_str().unwrap().parse().unwrap();
            descriptors(&archives.manifest(&digest).unwrap().manifest)
        };
        let wanted = blobs(&amd64);
        let size: u64 = wanted.iter().map(|blob| blob.size).sum();
        assert_eq!(bench.bring(&archives, &wanted).unwrap(), size);
        assert_eq!(bench.bring(&archives, &wanted).unwrap(), 0, "they are there");
        for blob in &wanted {
            let bytes = bench.store.blobs().read(&blob.digest, 1 << 20).unwrap();
            assert_eq!(bytes, files.bytes_of(&json!(blob.digest.to_string())));
        }
        assert!(blobs(&arm64).iter().all(|blob| !bench.store.blobs().contains(blob)));
        assert!(bench.store.blobs().list().unwrap().is_empty(), "they wait for the commit");
    }
}

#[test]
fn dockers_manifests_in_an_oci_layout_stay_dockers() {
    let mut files = Files::default();
    let image = files.image(&gzip(b"layer"), [DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER]);
    files.name(&[(&image, ref_name(NGINX))]);
    let bench = Bench::new();
    let archives = bench.open(&files).unwrap();
    let found = &find(&archives, NGINX).unwrap().manifest;
    assert_eq!(found.bytes, files.bytes_of(&image["digest"]));
    assert_eq!(found.media_type.to_string(), DOCKER_MANIFEST);
    bench.bring(&archives, &descriptors(found)).unwrap();
}

#[test]
fn a_tag_alone_is_no_name() {
    let bench = Bench::new();
    let check = |annotations: Value| {
        let mut files = Files::default();
        let image = files.image(b"layer", OCI);
        files.name(&[(&image, annotations)]);
        let digest = image["digest"].as_str().unwrap().to_owned();
        match bench.open(&files) {
            Ok(archives) => archives.unused().join(" "),
            Err(error) => bench.error(&error).replace(&digest, "DIGEST"),
        }
    };
    let containerd = |name: &str, tag: &str| json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag });
    assert_eq!(check(ref_name("nginx:1.25")), NGINX);
    assert_eq!(check(ref_name("quay.io/a/b")), "quay.io/a/b:latest");
    assert_eq!(check(containerd(NGINX, "1.25")), NGINX);
    assert_eq!(check(containerd("Not/A/Name", "nginx:1.25")), NGINX);
    assert_eq!(check(ref_name("1.25")), "image `DIGEST`, with the tag `1.25` alone, in `a.tar` has no name");
    assert_eq!(check(json!({})), "image `DIGEST` in `a.tar` has no name");
}

#[test]
fn names_by_digest_are_those_of_their_images() {
    let bench = Bench::new();
    let mut files = Files::default();
    let image = files.image(b"layer", OCI);
    let named = |digest: &str| {
        let mut files = files.clone();
        files.name(&[(
            &image,
            json!({ "io.containerd.image.name": format!("docker.io/library/nginx@{digest}") }),
        )]);
        bench.open(&files)
    };
    let digest = image["digest"].as_str().unwrap();
    let archives = named(digest).unwrap();
    assert!(find(&archives, &format!("nginx@{digest}")).is_some());
    let other = format!("sha256:{}", "b".repeat(64));
    assert!(matches!(named(&other), Err(TransportError::Digest { .. })));
}

#[test]
fn a_blob_that_is_not_there_is_told_before_anything_is_read() {
    let (mut files, _, _) = sample();
    let layer = oci::described(b"arm64");
    files.0.retain(|(path, _)| !path.ends_with(&layer.digest.hex()));
    let bench = Bench::new();
    let archives = bench.open(&files).unwrap();
    let error = bench.bring(&archives, &[oci::described(&[b'a'; 300_000]), layer]).unwrap_err();
    let expected = format!("blob `{}` of `{NGINX}` is not in `a.tar`", layer.digest);
    assert_eq!(bench.error(&error), expected);
    assert!(!bench.store.blobs().has_pending());
    let unknown = oci::described(b"unknown");
    let error = bench.bring(&archives, &[unknown]).unwrap_err();
    assert_eq!(bench.error(&error), format!("blob `{}` is not in `a.tar`", unknown.digest));
}

#[test]
fn what_is_not_what_its_digest_says_is_refused() {
    let bench = Bench::new();
    let damaged = |blob: &Value, bytes: &[u8]| {
        let mut files = sample().0;
        let hex = blob["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        files.0.iter_mut().find(|(path, _)| path.ends_with(hex)).unwrap().1 = bytes.to_vec();
        bench.open(&files)
    };
    let (_, index, [amd64, _]) = sample();
    for of in [&index, &amd64] {
        let other = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(damaged(of, other), Err(TransportError::Digest { .. })));
        assert!(matches!(damaged(of, b"no JSON"), Err(TransportError::Json { .. })));
    }
    let layer = Descriptor { digest: oci::described(b"arm64").digest, size: 5 };
    let of_layer = json!({ "digest": layer.digest.to_string() });
    let archives = damaged(&of_layer, b"arm46").unwrap();
    let error = bench.bring(&archives, &[layer]).unwrap_err();
    assert!(matches!(error, TransportError::Digest { .. }), "{error}");
    let archives = damaged(&of_layer, b"longer").unwrap();
    let error = bench.bring(&archives, &[layer]).unwrap_err();
    assert!(matches!(error, TransportError::Size { expected: 5, found: 6, .. }), "{error}");
    assert!(!bench.store.blobs().has_pending());
}

#[test]
fn manifests_that_are_two_things_at_once_are_refused() {
    let mut files = Files::default();
    let text = json!({ "schemaVersion": 2, "manifests": [], "layers": [], "config": {} }).to_string();
    let image = files.blob(MANIFEST, text);
    files.name(&[(&image, ref_name(NGINX))]);
    assert!(matches!(Bench::new().open(&files), Err(TransportError::Json { .. })));
}

#[test]
fn archives_may_each_have_a_platform_but_not_another_image() {
    let (files, _, [amd64, arm64]) = sample();
    let bench = Bench::new();
    let without = |of: &Value, name: &str| {
        let mut files = files.clone();
        let hex = of["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        files.0.retain(|(path, _)| !path.ends_with(hex));
        bench.archive(name, &files.tar())
    };
    let (first, second) = (without(&amd64, "first.tar"), without(&arm64, "second.tar"));
    let archives = Archives::open(&[first.clone(), second.clone()], &Cancel::new()).unwrap();
    for (of, archive) in [(&amd64, &second), (&arm64, &first)] {
        let digest = of["digest"].as_str().unwrap();
        let found = find(&archives, &format!("nginx@{digest}")).unwrap();
        assert_eq!(found.archive, *archive);
        bench.bring(&archives, &descriptors(&found.manifest)).unwrap();
    }
    let mut other = Files::default();
    let image = other.image(b"other", OCI);
    other.name(&[(&image, ref_name(NGINX))]);
    let other = bench.archive("other.tar", &other.tar());
    let error = Archives::open(&[first, other], &Cancel::new()).unwrap_err();
    let expected = format!("`{NGINX}` is one image in `first.tar`, and another in `other.tar`");
    assert_eq!(bench.error(&error), expected);
}

/// What `docker save` writes: of two layers, the second as `second` is, in files called so.
fn docker_archive(second: &[u8], paths: [&str; 2]) -> Files {
    let diff_ids = [b"first".as_slice(), b"second"].map(|layer| oci::described(layer).digest.to_string());
    let config = json!({ "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids } }).to_string();
    let manifest = json!([{ "Config": "sha256:c", "RepoTags": ["nginx:1.25"], "Layers": paths }]);
    let mut files = Files::default();
    files.put("sha256:c", config).put("1/layer.tar", "first").put("2/layer.tar", second);
    files.put("1/json", r#"{"id":"1"}"#).put("manifest.json", manifest.to_string());
    files
}

#[test]
fn an_image_of_docker_save_gets_one_manifest_always() {
    let bench = Bench::new();
    let legacy = |target: &str| {
        let mut files = docker_archive(b"second", ["1/layer.tar", "3/layer.tar"]);
        files.put(&format!("3/layer.tar -> {target}"), "");
        bench.archive("legacy.tar", &files.tar())
    };
    let plain = docker_archive(b"second", ["1/layer.tar", "./2//layer.tar"]);
    let mut inputs = bench.every(&plain).to_vec();
    inputs.push(legacy("../2/layer.tar"));
    let digests = inputs.iter().map(|input| {
        let archives = open(input).unwrap();
        let found = find(&archives, NGINX).unwrap();
        let blobs = descriptors(&found.manifest);
        assert_eq!(blobs[..2], [oci::described(b"first"), oci::described(b"second")]);
        let bench = Bench::new();
        bench.bring(&archives, &blobs).unwrap();
        assert_eq!(bench.store.blobs().read(&blobs[1].digest, 10).unwrap(), b"second");
        found.manifest.blob.digest
    });
    let digests: BTreeSet<BlobDigest> = digests.collect();
    assert_eq!(digests.len(), 1, "{digests:?}");
    let input = crate::transport::Input::Path(inputs[1].clone());
    let load = crate::transport::Load { names: &[], now: 0, cancel: &Cancel::new(), progress: &|_| {} };
    let loaded = crate::transport::load(&bench.store, &input, &load).unwrap();
    assert!(digests.contains(&loaded[0].manifest.digest), "it is the one that `load` makes");
    let error = open(legacy("../9/layer.tar")).unwrap_err();
    assert!(matches!(error, TransportError::Missing { .. }), "{error}");
}

#[test]
fn compressed_layers_of_docker_archives_stay_as_they_are() {
    let bench = Bench::new();
    let paths = ["1/layer.tar", "2/layer.tar"];
    let layer = gzip(b"second");
    for input in bench.every(&docker_archive(&layer, paths)) {
        let archives = open(&input).unwrap();
        let found = &find(&archives, NGINX).unwrap().manifest;
        assert_eq!(descriptors(found)[1], oci::described(&layer));
        assert!(String::from_utf8_lossy(&found.bytes).contains("layer.v1.tar+gzip"));
        bench.bring(&archives, &descriptors(found)).unwrap();
    }
    let error = bench.open(&docker_archive(&gzip(b"another"), paths)).unwrap_err();
    assert!(matches!(error, TransportError::DiffId { .. }), "{error}");
    let error = bench.open(&docker_archive(&layer[..layer.len() - 9], paths)).unwrap_err();
    assert!(matches!(error, TransportError::Archive { .. }), "{error}");
    let archives = bench.open(&docker_archive(b"secnod", paths)).unwrap();
    let blobs = descriptors(&find(&archives, NGINX).unwrap().manifest);
    let error = Bench::new().bring(&archives, &blobs).unwrap_err();
    assert!(matches!(error, TransportError::Digest { .. }), "{error}");
}

#[test]
fn directories_without_names_and_paths_that_lead_out_are_refused() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("dir");
    let mut files = Files::default();
    files.put("version", "Directory Transport Version: 1.1\n");
    files.put("manifest.json", json!({ "schemaVersion": 2, "config": {}, "layers": [] }).to_string());
    files.write_dir(&dir);
    let error = open(&dir).unwrap_err();
    assert_eq!(bench.error(&error), "the image of a `dir:` directory in `dir` has no name");

    let outside = bench.dir.path().join("docker");
    docker_archive(b"second", ["1/layer.tar", "../second"]).write_dir(&outside);
    bench.archive("second", b"second");
    let error = open(&outside).unwrap_err();
    assert!(matches!(error, TransportError::Missing { .. }), "{error}");

    let pipe = outside.join("index.json");
    let made =
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0);
    made.unwrap();
    assert!(matches!(open(&outside), Err(TransportError::Missing { .. })), "nobody waits for a pipe");
    assert!(matches!(open(&pipe), Err(TransportError::Unsupported { .. })));
    let empty = bench.archive("empty.tar", &Files::default().tar());
    assert!(matches!(open(&empty), Err(TransportError::NoImage { .. })));
}

#[test]
fn what_is_said_of_images_takes_no_memory_and_too_much_json_is_refused() {
    let bench = Bench::new();
    let mut files = sample().0;
    let statement =
        format!(r#"{{"_type":"https://in-toto.io/Statement/v0.1","x":"{}"}}"#, "x".repeat(3 << 20));
    for number in 0..50 {
        files.blob("application/vnd.in-toto+json", format!("{statement}{number}"));
    }
    bench.open(&files).unwrap();
    let mut files = sample().0;
    let config = format!(r#"{{"rootfs":{{}},"x":"{}"}}"#, "x".repeat(3 << 20));
    for number in 0..50 {
        files.blob(CONFIG, format!("{config}{number}"));
    }
    let error = open(bench.archive("b.tar.gz", &gzip(&files.tar()))).unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { .. }), "{error}");
}

#[test]
fn cancelling_ends_the_look_and_the_taking() {
    let bench = Bench::new();
    let (files, _, [amd64, _]) = sample();
    let cancel = Cancel::new();
    cancel.cancel();
    for input in bench.every(&files).into_iter().skip(1) {
        assert!(matches!(
            Archives::open(std::slice::from_ref(&input), &cancel),
            Err(TransportError::Cancelled)
        ));
        let archives = open(&input).unwrap();
        let digest = amd64["digest"].as_str().unwrap().parse().unwrap();
        let wanted = descriptors(&archives.manifest(&digest).unwrap().manifest);
        let ended = archives.bring(&bench.store, &wanted, &cancel, &|_| {});
        assert!(matches!(ended, Err(TransportError::Cancelled)));
    }
}
