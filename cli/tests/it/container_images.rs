//! Container images inside the image: which files they become, whoever names them, and for which platform.

mod bases;
mod failures;
mod layers;
mod named;
mod requests;
mod served;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::image_registry::{Asked, Format, Image, ImageRegistry, layer};
use crate::space::{Node, Run, Space, has_program, run, skipped};

/// Where the store of the registry is.
const ROOT: &str = "registry/docker/registry/v2";

/// A Kubefile whose one list names images.
fn listed(space: &Space, names: &[String]) {
    space.file("manifests/imageList", names.join("\n"));
    space.kubefile("FROM scratch\nCOPY manifests manifests\n");
}

/// A Kubefile with applications, each of which names one image, in line 4 of its file.
fn apps(space: &Space, apps: &[(&str, &str)]) {
    let mut text = "FROM scratch\n".to_owned();
    for (app, image) in apps {
        space.file(&format!("{app}.yaml"), format!("kind: Pod\nspec:\n  containers:\n  - image: {image}\n"));
        text.push_str(&format!("APP {app} local://{app}.yaml\n"));
    }
    space.kubefile(&text);
}

/// Builds the Kubefile as `x:1` in mode `all`.
fn build(space: &Space, words: &[&str]) -> Run {
    let all = [&["build", "-t", "x:1", "--metadata-file", "../metadata.json"], words, &["."]].concat();
    space.run(&all)
}

/// As [`build`], and it must succeed, without a word of warning; gives the digest.
fn built(space: &Space, words: &[&str]) -> String {
    let run = build(space, words);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    space.digest()
}

/// Digests of the layers of `x:1`.
fn layers_of(space: &Space) -> Vec<String> {
    let manifest = space.manifest("localhost/x:1");
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// What `inspect` lists, as `APP IMAGE PLATFORM`.
fn carried(space: &Space, words: &[&str]) -> Vec<String> {
    let run = space.run(&[&["inspect"], words, &["x:1"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let shown: Value = serde_json::from_str(&run.stdout).unwrap();
    let line = |one: &Value| {
        let platform = &one["platform"];
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let platform = format!("{}/{}", text(&platform["os"]), text(&platform["architecture"]));
        format!("{} {} {platform}", text(&one["appName"]), text(&one["image"]))
    };
    shown["containerImageList"].as_array().map_or_else(Vec::new, |list| list.iter().map(line).collect())
}

/// The blobs below `registry/` of a merged root file system, each looked at.
fn blobs_in(rootfs: &BTreeMap<String, Node>) -> BTreeSet<String> {
    let mut blobs = BTreeSet::new();
    for (path, node) in rootfs {
        let Some(rest) = path.strip_prefix(&format!("{ROOT}/blobs/sha256/")) else { continue };
        if let Some((_, hex)) = rest.strip_suffix("/data").and_then(|rest| rest.split_once('/')) {
            let digest = format!("sha256:{hex}");
            assert_eq!(crate::image_registry::digest(&node.content), digest);
            blobs.insert(digest);
        }
    }
    blobs
}

/// What a link of the registry says; `None` if it is not there.
fn link(rootfs: &BTreeMap<String, Node>, path: &str) -> Option<String> {
    let node = rootfs.get(&format!("{ROOT}/repositories/{path}/link"))?;
    Some(String::from_utf8(node.content.clone()).unwrap())
}

/// The registry of the golden data.
struct Golden(Child);

impl Golden {
    /// On the port that its context names.
    fn start(script: &Path, log: &Path) -> Option<Self> {
        const ADDRESS: &str = "127.0.0.1:5099";
        if !has_program("python3") || TcpListener::bind(ADDRESS).is_err() {
            skipped("the golden registry needs python3 and port 5099");
            return None;
        }
        let mut command = Command::new("python3");
        command.arg(script).arg("5099").arg(log).stdout(Stdio::null()).stderr(Stdio::null());
        let golden = Self(command.spawn().unwrap());
        let start = Instant::now();
        while TcpStream::connect(ADDRESS).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "the golden registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(golden)
    }
}

impl Drop for Golden {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_files_are_those_that_sealer_makes() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden/spec-images");
    if !data.is_dir() {
        return skipped(&format!("the golden data is not at {}", data.display()));
    }
    let space = Space::new();
    let Some(_registry) = Golden::start(&data.join("registry.py"), &space.root().join("log")) else { return };
    let mut copy = Command::new("cp");
    assert_eq!(run(copy.arg("-a").arg(data.join("context/.")).arg(space.context())).code, Some(0));
    built(&space, &[]);
    let rootfs = space.rootfs("localhost/x:1");
    let below = |path: &str| path == "registry" || path.starts_with("registry/");
    let ours =
        rootfs.iter().filter(|(path, _)| below(path)).map(|(path, node)| format!("{} {path}", node.header));
    let ours: BTreeSet<String> = ours.collect();
    // `TYPE MODE OWNER SIZE PATH`; the size of a directory is the file system's.
    let line = |line: &str| {
        let [kind, mode, owner, size, path] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let path = path.strip_prefix("./").filter(|path| below(path))?;
        assert_eq!(owner, "root:root");
        let (kind, size) = if kind == "f" { ("-", size) } else { (kind, "0") };
        Some(format!("{kind} 0{mode} 0/0 {size} {path}"))
    };
    let text = fs_err::read_to_string(data.join("rootfs.txt")).unwrap();
    let theirs: BTreeSet<String> = text.lines().filter_map(line).collect();
    assert!(theirs.len() > 100, "{}", theirs.len());
    let only =
        |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect::<Vec<_>>();
    assert_eq!((only(&ours, &theirs), only(&theirs, &ours)), (Vec::new(), Vec::new()));
    for (path, node) in &rootfs {
        // A link is named as the digest that it holds, but for that of a tag, which has the same neighbour.
        if let Some(path) = path.strip_suffix("/link") {
            let text = String::from_utf8(node.content.clone()).unwrap();
            let hex = text.strip_prefix("sha256:").unwrap();
            let other = path
                .strip_suffix("current")
                .map_or(path.to_owned(), |tag| format!("{tag}index/sha256/{hex}"));
            assert!(other.ends_with(hex) && rootfs.contains_key(&other), "{path}");
        }
    }
    blobs_in(&rootfs);

    let inspected: Value = serde_json::from_slice(&fs_err::read(data.join("inspect.json")).unwrap()).unwrap();
    let line = |one: &Value| {
        format!("{} {} linux/amd64", one["appName"].as_str().unwrap_or("-"), one["image"].as_str().unwrap())
    };
    let mut theirs: BTreeSet<String> =
        inspected["containerImageList"].as_array().unwrap().iter().map(line).collect();
    // Sealer takes a comment behind a name for a part of it, and passes the line over.
    theirs.insert("- localhost:5099/team/c:v1 linux/amd64".to_owned());
    let ours = carried(&space, &[]);
    assert_eq!(ours.iter().cloned().collect::<BTreeSet<_>>(), theirs);
    assert_eq!(ours.len(), theirs.len(), "each once: {ours:?}");
    assert!(ours.is_sorted_by_key(|line| line.split(' ').nth(1).unwrap().to_owned()), "{ours:?}");
}

#[test]
fn digests_lead_to_images_with_and_without_a_tag() {
    let registry = ImageRegistry::start();
    let plain = Image::new("plain");
    let tagged = Image::new("tagged");
    let amd64 = Image::of(Format::Oci, "amd64", &[layer("amd64", 100)]);
    let arm64 = Image::of(Format::Oci, "arm64", &[layer("arm64", 100)]);
    let index = Image::index(Format::Oci, &[("arm64", arm64), ("amd64", amd64.clone())]);
    registry.put("a/plain", "other", &plain);
    registry.put("a/tagged", "other", &tagged);
    registry.put("a/index", "other", &index);
    let name = |image: &Image, rest: &str| registry.name(&format!("{rest}@{}", image.digest()));
    let names = [name(&plain, "a/plain"), name(&tagged, "a/tagged:v1"), name(&index, "a/index")];
    let space = Space::new();
    apps(&space, &[("p", &names[0]), ("t", &names[1]), ("i", &names[2])]);
    let digest = built(&space, &[]);
    let asked = registry.asked();
    assert_eq!(
        (asked.heads.len(), asked.tags.len()),
        (0, 0),
        "what a tag leads to is nobody's business: {asked:?}"
    );
    let rootfs = space.rootfs("localhost/x:1");
    let all = [&plain, &tagged, &amd64];
    let mut blobs: BTreeSet<String> = all.iter().flat_map(|image| image.blobs()).collect();
    blobs.extend([&plain, &tagged, &amd64, &index].map(Image::digest));
    assert_eq!(blobs_in(&rootfs), blobs);
    for (path, image) in
        [("a/plain", &plain), ("a/tagged", &tagged), ("a/index", &index), ("a/index", &amd64)]
    {
        let digest = image.digest();
        let revision = format!("{path}/_manifests/revisions/sha256/{}", &digest[7..]);
        assert_eq!(link(&rootfs, &revision), Some(digest));
    }
    let current = |path: &str| link(&rootfs, &format!("{path}/current"));
    assert_eq!(current("a/tagged/_manifests/tags/v1"), Some(tagged.digest()));
    assert!(
        !rootfs
            .keys()
            .any(|path| path.contains("a/plain/_manifests/tags") || path.contains("a/index/_manifests/tags"))
    );
    assert_eq!(
        carried(&space, &[]),
        [
            format!("i {} linux/amd64", names[2]),
            format!("p {} linux/amd64", names[0]),
            format!("t {} linux/amd64", names[1]),
        ]
    );
    // Nothing can have changed, so nothing is asked.
    assert_eq!(built(&space, &[]), digest);
    assert_eq!(registry.asked(), Asked::default());
}

#[test]
fn each_platform_carries_its_own_files() {
    let registry = ImageRegistry::start();
    let amd64 = Image::of(Format::Docker, "amd64", &[layer("shared", 200), layer("amd64", 100)]);
    let arm64 = Image::of(Format::Docker, "arm64", &[layer("shared", 200), layer("arm64", 100)]);
    let index = Image::index(Format::Docker, &[("amd64", amd64.clone()), ("arm64", arm64.clone())]);
    // As sealer does, an image alone is taken for any platform.
    let single = Image::new("single");
    let names = [registry.with("team/multi", "v1", &index), registry.with("team/single", "v1", &single)];
    let space = Space::new();
    listed(&space, &names);
    built(&space, &["--platform", "linux/amd64,linux/arm64"]);
    let asked = registry.asked();
    assert_eq!(asked.tags, ["team/multi:v1", "team/single:v1"], "two platforms share an index");
    let instances: BTreeSet<String> =
        [&amd64, &arm64].map(|image| format!("team/multi@{}", image.digest())).into();
    assert_eq!(asked.by_digest, instances.into_iter().collect::<Vec<_>>());
    assert_eq!(asked.blobs, crate::image_registry::blobs_of(&[&amd64, &arm64, &single]));

    for (platform, own, other) in [("linux/amd64", &amd64, &arm64), ("linux/arm64", &arm64, &amd64)] {
        let output = format!("type=rootfs,dest=../{}", &platform[6..]);
        let run = build(&space, &["--platform", platform, "-o", &output]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let blob = |digest: &str| {
            let path = format!("{ROOT}/blobs/sha256/{}/{}/data", &digest[7..9], &digest[7..]);
            space.root().join(&platform[6..]).join(path).exists()
        };
        for digest in
            [own.blobs(), single.blobs(), vec![own.digest(), index.digest(), single.digest()]].concat()
        {
            assert!(blob(&digest), "{platform}: {digest}");
        }
        assert!(!blob(&other.digest()) && !blob(&other.blobs()[2]), "{platform}");
        let expected = names.iter().map(|name| format!("- {name} {platform}"));
        built(&space, &["--platform", "linux/amd64,linux/arm64"]);
        assert_eq!(carried(&space, &["--platform", platform]), expected.collect::<Vec<_>>());
    }
    let asked = registry.asked();
    assert_eq!((&asked.tags, &asked.by_digest, &asked.blobs), (&vec![], &vec![], &vec![]), "all was known");
}

#[test]
fn mode_lite_asks_nobody_and_carries_nothing() {
    let registry = ImageRegistry::start();
    let space = Space::new();
    listed(&space, &[registry.with("team/a", "v1", &Image::new("a")), registry.name("team/none:v1")]);
    space.built(&[]);
    assert_eq!(registry.asked(), Asked::default());
    assert!(!space.rootfs("localhost/x:1").keys().any(|path| path.starts_with("registry")));
    assert_eq!(carried(&space, &[]), [""; 0]);
    assert_eq!(layers_of(&space).len(), 1);
}
