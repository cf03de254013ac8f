//! Images leave the store and come back: every layout, both ways, against the tools people have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::docker::Docker;
use crate::peers::{buildah, listing_of_dir, with_buildah_mount};
use crate::space::{Node, Space, has_peer, is_root, run, skipped, tar_listing};

/// A context with every kind of entry, built as `x:1`.
pub(crate) fn sample() -> Space {
    let space = Space::new();
    space.file("dir/a", "a").file("dir/sub/b", "bb".repeat(4000)).file("chart.yaml", "kind: A\n");
    std::os::unix::fs::symlink("a", space.context().join("dir/link")).unwrap();
    space.kubefile(
        "FROM scratch\nENV A=1\nCOPY --chown=5:6 --chmod=750 dir /d\nAPP app local://chart.yaml\nLAUNCH app\n",
    );
    space.built(&[]);
    space
}

/// An image with hard links, whiteouts and an opaque directory, as only other tools make them.
fn sample_of_others(space: &Space) -> PathBuf {
    let mut first = tar::Builder::new(Vec::new());
    let mut second = tar::Builder::new(Vec::new());
    let file = |builder: &mut tar::Builder<Vec<u8>>, path: &str, content: &str, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    };
    let link = |builder: &mut tar::Builder<Vec<u8>>, path: &str, target: &str, mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        header.set_mode(mode);
        builder.append_link(&mut header, path, target).unwrap();
    };
    let dir = |builder: &mut tar::Builder<Vec<u8>>, path: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        builder.append_data(&mut header, path, std::io::empty()).unwrap();
    };
    ["bin/", "etc/", "old/", "gone/"].iter().for_each(|path| dir(&mut first, path));
    file(&mut first, "bin/tool", "tool", 0o4755);
    link(&mut first, "bin/alias", "bin/tool", 0o4755);
    file(&mut first, "etc/first", "hidden by the second layer", 0o644);
    link(&mut first, "etc/kept", "etc/first", 0o644);
    link(&mut first, "etc/kept-too", "etc/first", 0o644);
    file(&mut first, "old/x", "x", 0o644);
    file(&mut first, "gone/y", "y", 0o644);
    dir(&mut second, "etc/");
    file(&mut second, "etc/first", "new", 0o600);
    file(&mut second, ".wh.gone", "", 0o644);
    dir(&mut second, "old/");
    file(&mut second, "old/.wh..wh..opq", "", 0o644);
    file(&mut second, "old/z", "z", 0o644);
    let layers = [first.into_inner().unwrap(), second.into_inner().unwrap()];
    write_layout(&space.root().join("others"), &layers, "localhost/others:1")
}

/// An OCI layout made by hand: plain layers, no annotations but the name.
pub(crate) fn write_layout(dir: &Path, layers: &[Vec<u8>], name: &str) -> PathBuf {
    fs_err::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8]| {
        let hex = sha256(bytes);
        fs_err::write(dir.join("blobs/sha256").join(&hex), bytes).unwrap();
        (format!("sha256:{hex}"), bytes.len())
    };
    let blobs: Vec<_> = layers.iter().map(|layer| put(layer)).collect();
    let diff_ids: Vec<&String> = blobs.iter().map(|(digest, _)| digest).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let (config, config_size) = put(config.to_string().as_bytes());
    let layer = |(digest, size): &(String, usize)| serde_json::json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size });
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size },
        "layers": blobs.iter().map(layer).collect::<Vec<_>>(),
    });
    let (manifest, size) = put(manifest.to_string().as_bytes());
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": size,
        "annotations": { "org.opencontainers.image.ref.name": name },
    }]});
    fs_err::write(dir.join("index.json"), index.to_string()).unwrap();
    fs_err::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    dir.to_owned()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn ok(space: &Space, words: &[&str]) -> String {
    let run = space.run(words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    run.stdout.trim().to_owned()
}

/// Type, mode, owner and link target by path, without the directories above copied ones that nobody stated.
fn headers(tree: &BTreeMap<String, Node>) -> BTreeMap<String, String> {
    tree.iter().map(|(path, node)| (path.clone(), node.header.clone())).collect()
}

const FORMATS: [(&str, &str); 4] = [
    ("oci-archive", "oci-archive:"),
    ("oci-dir", "oci:"),
    ("docker-archive", "docker-archive:"),
    ("docker-dir", "dir:"),
];

/// What skopeo and buildah call it.
fn reference(format: &str, transport: &str, path: &Path) -> String {
    let name = if format == "oci-dir" { ":localhost/x:1" } else { "" };
    format!("{transport}{}{name}", path.display())
}

#[test]
fn every_layout_comes_back_as_it_was() {
    let space = sample();
    let id = ok(&space, &["inspect", "x:1", "-f", "{{.ID}}"]);
    let digest = ok(&space, &["inspect", "x:1", "-f", "{{.Digest}}"]);
    let expected = space.rootfs("localhost/x:1");
    for (format, _) in FORMATS {
        for compression in ["", "gzip", "zstd:7", "uncompressed"] {
            let docker = format.starts_with("docker");
            if (format == "docker-archive" && !compression.is_empty()) || (docker && compression == "zstd:7")
            {
                continue;
            }
            let out = space.root().join(format!("{format}-{compression}"));
            let mut words = vec!["save", "x:1", "--format", format, "-o", out.to_str().unwrap()];
            if !compression.is_empty() {
                words.extend(["--compression", compression]);
            }
            ok(&space, &words);
            let seen = ok(&space, &["inspect", out.to_str().unwrap(), "-f", "{{.ID}} {{.Name}}"]);
            let name = if format == "docker-dir" { "" } else { "localhost/x:1" };
            assert_eq!(seen, format!("{id} {name}").trim(), "{format} {compression}");
            let other = Space::new();
            ok(&other, &["load", "-i", out.to_str().unwrap(), "-t", "copy:2"]);
            assert_eq!(other.rootfs("localhost/copy:2"), expected, "{format} {compression}");
            assert_eq!(ok(&other, &["inspect", "copy:2", "-f", "{{.ID}}"]), id);
            if !docker {
                assert_eq!(ok(&other, &["inspect", "x:1", "-f", "{{.Type}}"]), "kube-installer");
                assert_eq!(other.extension("localhost/x:1"), space.extension("localhost/x:1"));
            }
            if compression.is_empty() && !docker {
                assert_eq!(ok(&other, &["inspect", "x:1", "-f", "{{.Digest}}"]), digest);
            }
        }
    }
}

#[test]
fn converting_gives_the_bytes_a_build_would_give() {
    let space = sample();
    let out = space.root().join("gzip.tar");
    ok(&space, &["save", "x:1", "-o", out.to_str().unwrap(), "--compression", "gzip"]);
    let built = Space::new();
    for file in ["dir/a", "dir/sub/b", "chart.yaml", "Kubefile"] {
        built.file(file, fs_err::read(space.context().join(file)).unwrap());
    }
    std::os::unix::fs::symlink("a", built.context().join("dir/link")).unwrap();
    built.built(&["--compression", "gzip"]);
    assert_eq!(ok(&space, &["inspect", out.to_str().unwrap(), "-f", "{{.Digest}}"]), built.digest());
}

#[test]
fn archives_stream_through_pipes_compressed_or_not() {
    let space = sample();
    let expected = space.rootfs("localhost/x:1");
    for compressor in ["cat", "gzip", "xz", "bzip2"] {
        for format in ["oci-archive", "docker-archive"] {
            let other = Space::new();
            let sealer = env!("CARGO_BIN_EXE_sealer");
            let script = format!(
                "set -o pipefail; {sealer} --root {} save x:1 --format {format} -o - | {compressor} | {sealer} --root {} load",
                space.store().display(),
                other.store().display()
            );
            let ended = run(Command::new("bash").args(["-c", &script]));
            assert_eq!(ended.code, Some(0), "{compressor}: {}", ended.stderr);
            assert_eq!(ended.stdout, "Loaded image: localhost/x:1\n");
            assert_eq!(other.rootfs("localhost/x:1"), expected, "{compressor}");
        }
    }
}

#[test]
fn skopeo_and_buildah_read_every_layout_and_see_the_same_files() {
    if !is_root() || !has_peer("buildah") || !has_peer("skopeo") {
        return skipped("reading with buildah needs root, buildah and skopeo");
    }
    let space = sample();
    let expected = headers(&space.rootfs("localhost/x:1"));
    for (format, transport) in FORMATS {
        for compression in ["", "gzip", "uncompressed"] {
            if format == "docker-archive" && !compression.is_empty() {
                continue;
            }
            let out = space.root().join(format!("{format}{compression}"));
            let mut words = vec!["save", "x:1", "--format", format, "-o", out.to_str().unwrap()];
            if !compression.is_empty() {
                words.extend(["--compression", compression]);
            }
            ok(&space, &words);
            let image = reference(format, transport, &out);
            let copy = format!("dir:{}", space.root().join(format!("copy-{format}-{compression}")).display());
            let copied = run(Command::new("skopeo").args(["--insecure-policy", "copy", &image, &copy]));
            assert_eq!(copied.code, Some(0), "{image}: {}", copied.stderr);
            with_buildah_mount(&space, &image, |mount| {
                assert_eq!(listing_of_dir(mount), expected, "{image}");
            });
        }
    }
}

#[test]
fn umoci_unpacks_gzip_layouts_to_the_same_files() {
    if !is_root() || !has_peer("umoci") {
        return skipped("unpacking with umoci needs root and umoci");
    }
    let space = sample();
    let (out, bundle) = (space.root().join("layout"), space.root().join("bundle"));
    let words = ["save", "x:1", "--format", "oci-dir", "--compression", "gzip", "-o", out.to_str().unwrap()];
    ok(&space, &words);
    let image = format!("{}:localhost/x:1", out.display());
    let ended = run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(listing_of_dir(&bundle.join("rootfs")), headers(&space.rootfs("localhost/x:1")));
}

#[test]
fn docker_loads_our_archives_and_we_load_its() {
    let Some(docker) = Docker::start() else { return };
    let space = sample();
    let out = space.root().join("docker.tar");
    ok(&space, &["save", "x:1", "--format", "docker-archive", "-o", out.to_str().unwrap()]);
    assert_eq!(docker.ok(&["load", "-i", out.to_str().unwrap()]), "Loaded image: localhost/x:1");
    let id = ok(&space, &["inspect", "x:1", "-f", "{{.ID}}"]);
    assert_eq!(docker.ok(&["inspect", "localhost/x:1", "-f", "{{.Id}}"]), format!("sha256:{id}"));
    let container = docker.ok(&["create", "localhost/x:1", "/none"]);
    let export = space.root().join("export.tar");
    docker.ok(&["export", &container, "-o", export.to_str().unwrap()]);
    let mut theirs = headers(&tar_listing(fs_err::File::open(&export).unwrap()));
    // What docker puts into every container.
    theirs.retain(|path, _| ["application", "d"].contains(&path.split('/').next().unwrap()));
    assert_eq!(theirs, headers(&space.rootfs("localhost/x:1")));

    let saved = space.root().join("saved.tar");
    docker.ok(&["tag", "localhost/x:1", "plain:7"]);
    docker.ok(&["save", "plain:7", "localhost/x:1", "-o", saved.to_str().unwrap()]);
    let other = Space::new();
    let loaded = ok(&other, &["load", "-i", saved.to_str().unwrap()]);
    assert!(loaded.contains("Loaded image: docker.io/library/plain:7"), "{loaded}");
    assert_eq!(ok(&other, &["inspect", "plain:7", "-f", "{{.ID}}"]), id);
    assert_eq!(other.rootfs("localhost/x:1"), space.rootfs("localhost/x:1"));
}

#[test]
fn everything_skopeo_and_buildah_write_is_loaded() {
    if !is_root() || !has_peer("buildah") || !has_peer("skopeo") {
        return skipped("writing with buildah needs root, buildah and skopeo");
    }
    let space = sample();
    // This skopeo cannot turn zstd into anything of Docker's.
    space.built(&["--compression", "gzip"]);
    let expected = space.rootfs("localhost/x:1");
    let store = format!("oci:{}:localhost/x:1", space.store().display());
    let copy = |from: &str, to: &str| {
        let ended = run(Command::new("skopeo").args(["--insecure-policy", "copy", from, to]));
        assert_eq!(ended.code, Some(0), "{to}: {}", ended.stderr);
    };
    let check = |path: &Path, what: &str| {
        let other = Space::new();
        ok(&other, &["load", "-i", path.to_str().unwrap(), "-t", "loaded:1"]);
        assert_eq!(other.rootfs("localhost/loaded:1"), expected, "{what}");
        let seen = ok(&other, &["inspect", path.to_str().unwrap(), "-f", "{{.OCIv1.OS}}"]);
        assert_eq!(seen, "linux");
    };
    for (format, transport) in FORMATS {
        let path = space.root().join(format!("skopeo-{format}"));
        let name =
            if format.starts_with("oci") || format == "docker-archive" { ":localhost/x:1" } else { "" };
        copy(&store, &format!("{transport}{}{name}", path.display()));
        check(&path, format);
    }
    let storage = space.root().join("containers");
    let container = buildah(&space, &storage, &["from", &store]);
    let image = buildah(&space, &storage, &["commit", &container]);
    for (format, transport) in FORMATS {
        let path = space.root().join(format!("buildah-{format}"));
        let name =
            if format.starts_with("oci") || format == "docker-archive" { ":localhost/x:1" } else { "" };
        buildah(&space, &storage, &["push", &image, &format!("{transport}{}{name}", path.display())]);
        check(&path, &format!("buildah {format}"));
    }
}

#[test]
fn outputs_of_a_build_hold_the_same_files() {
    let space = sample();
    let root = space.root().to_owned();
    let to = |kind: &str, name: &str| format!("type={kind},dest={}", root.join(name).display());
    let outputs = [
        to("oci-archive", "a.tar"),
        to("oci-dir", "oci"),
        to("docker-archive", "d.tar"),
        to("docker-dir", "dir"),
        to("tar", "root.tar"),
    ];
    let mut words = Vec::new();
    outputs.iter().for_each(|output| words.extend(["-o", output]));
    let before = fs_err::read(space.store().join("index.json")).unwrap();
    let built = space.build(&words);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    assert!(built.stderr.contains("warning: Docker's formats have no annotations"), "{}", built.stderr);
    assert_eq!(
        fs_err::read(space.store().join("index.json")).unwrap(),
        before,
        "only outputs asked for are made"
    );
    let expected = space.rootfs("localhost/x:1");
    assert_eq!(tar_listing(fs_err::File::open(root.join("root.tar")).unwrap()), expected);
    for path in ["a.tar", "oci", "d.tar", "dir"] {
        let other = Space::new();
        ok(&other, &["load", "-i", root.join(path).to_str().unwrap(), "-t", "o:1"]);
        assert_eq!(other.rootfs("localhost/o:1"), expected, "{path}");
    }
    let piped = space.build(&["-q", "-o", "type=tar,dest=-", "-o", "type=store"]);
    assert_eq!(piped.code, Some(0), "{}", piped.stderr);
    let again = space
        .command()
        .args(["build", "-q", "-t", "x:1", "--build-mode", "lite", "-o", "type=tar,dest=-", "."])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(tar_listing(again.stdout.as_slice()), expected);
}

#[test]
fn a_root_file_system_is_unpacked_to_the_letter() {
    if !is_root() {
        return skipped("owners are set by root only");
    }
    let space = sample();
    let dest = space.root().join("rootfs");
    let output = format!("type=rootfs,dest={}", dest.display());
    assert_eq!(space.build(&["-o", &output]).code, Some(0));
    assert_eq!(listing_of_dir(&dest), headers(&space.rootfs("localhost/x:1")));
    let again = space.build(&["-o", &output]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("exists and is not empty"), "{}", again.stderr);
}

#[test]
fn hard_links_and_whiteouts_of_other_tools_are_merged_as_buildah_merges_them() {
    if !is_root() || !has_peer("buildah") {
        return skipped("mounting with buildah needs root and buildah");
    }
    let space = Space::new();
    let layout = sample_of_others(&space);
    ok(&space, &["load", "-i", layout.to_str().unwrap()]);
    space.kubefile("FROM others:1\n");
    let (tar, dir) = (space.root().join("o.tar"), space.root().join("o"));
    let outputs = [format!("type=tar,dest={}", tar.display()), format!("type=rootfs,dest={}", dir.display())];
    space.built(&["-o", &outputs[0], "-o", &outputs[1], "-o", "type=store"]);
    let ours = listing_of_dir(&dir);
    let links = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        fs_err::metadata(dir.join(path)).unwrap().nlink()
    };
    assert_eq!((links("bin/tool"), links("etc/kept"), links("etc/first")), (2, 2, 1));
    assert_eq!(fs_err::read_to_string(dir.join("etc/kept-too")).unwrap(), "hidden by the second layer");
    with_buildah_mount(&space, &format!("oci:{}:localhost/x:1", space.store().display()), |mount| {
        assert_eq!(listing_of_dir(mount), ours);
    });
    let unpacked = space.root().join("unpacked");
    fs_err::create_dir(&unpacked).unwrap();
    let ended = run(Command::new("tar").arg("-C").arg(&unpacked).arg("-xpf").arg(&tar));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(listing_of_dir(&unpacked), ours);
}

/// An image whose second layer has hard links to files of the first, one of which it deletes.
pub(crate) fn linked(space: &Space) -> PathBuf {
    let (mut first, mut second) = (tar::Builder::new(Vec::new()), tar::Builder::new(Vec::new()));
    let header = |kind, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header
    };
    let file = |size| header(tar::EntryType::Regular, size);
    first.append_data(&mut file(4), "d/stays", &b"here"[..]).unwrap();
    first.append_data(&mut file(4), "d/goes", &b"gone"[..]).unwrap();
    for (path, target) in [("to-stays", "d/stays"), ("to-goes", "d/goes"), ("to-goes-too", "d/goes")] {
        second.append_link(&mut header(tar::EntryType::Link, 0), path, target).unwrap();
    }
    second.append_data(&mut file(0), "d/.wh.goes", std::io::empty()).unwrap();
    let layers = [first.into_inner().unwrap(), second.into_inner().unwrap()];
    write_layout(&space.root().join("linked"), &layers, "localhost/linked:1")
}

#[test]
fn hard_links_to_files_of_layers_below_are_those_files() {
    let space = Space::new();
    ok(&space, &["load", "-i", linked(&space).to_str().unwrap()]);
    space.kubefile("FROM linked:1\n");
    let (tar, dir) = (space.root().join("o.tar"), space.root().join("o"));
    let outputs = [format!("type=tar,dest={}", tar.display()), format!("type=rootfs,dest={}", dir.display())];
    space.built(&["-o", &outputs[0], "-o", &outputs[1]]);
    let unpacked = space.root().join("unpacked");
    tar::Archive::new(fs_err::File::open(&tar).unwrap()).unpack(&unpacked).unwrap();
    for dir in [&dir, &unpacked] {
        let read = |path: &str| fs_err::read_to_string(dir.join(path)).unwrap();
        assert_eq!(
            (read("to-stays"), read("to-goes"), read("to-goes-too")),
            ("here".into(), "gone".into(), "gone".into())
        );
        assert!(!dir.join("d/goes").exists());
    }
    space.kubefile("FROM linked:1 AS l\nFROM scratch\nCOPY --from=l /to-* /c/\n").built(&[]);
    assert_eq!(space.rootfs("localhost/x:1")["c/to-goes"].content, b"gone");
    // A link to nothing at all is no better than it was.
    let mut broken = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    broken.append_link(&mut header, "link", "nothing").unwrap();
    let broken = [tar::Builder::new(Vec::new()).into_inner().unwrap(), broken.into_inner().unwrap()];
    let layout = write_layout(&space.root().join("broken"), &broken, "localhost/broken:1");
    ok(&space, &["load", "-i", layout.to_str().unwrap()]);
    let run = space.kubefile("FROM broken:1 AS b\nFROM scratch\nCOPY --from=b /link /\n").build(&[]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("hard link `link` -> `nothing`"), "{}", run.stderr);
}

#[test]
fn of_several_entries_with_one_name_the_last_counts() {
    let space = Space::new();
    let mut layer = tar::Builder::new(Vec::new());
    let file = |layer: &mut tar::Builder<Vec<u8>>, path: &str, content: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        layer.append_data(&mut header, path, content.as_bytes()).unwrap();
    };
    let link = |layer: &mut tar::Builder<Vec<u8>>, path: &str, target: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        header.set_mode(0o644);
        layer.append_link(&mut header, path, target).unwrap();
    };
    file(&mut layer, "longer", "1");
    link(&mut layer, "link-to-shorter", "longer");
    file(&mut layer, "longer", "22");
    link(&mut layer, "link-to-longer", "longer");
    file(&mut layer, "same", "a");
    link(&mut layer, "link-to-first", "same");
    file(&mut layer, "same", "b");
    link(&mut layer, "now-a-link", "longer");
    link(&mut layer, "now-a-link", "same");
    let layout =
        write_layout(&space.root().join("twice"), &[layer.into_inner().unwrap()], "localhost/twice:1");
    ok(&space, &["load", "-i", layout.to_str().unwrap()]);
    space.kubefile("FROM twice:1\n");
    let (tar, dir) = (space.root().join("o.tar"), space.root().join("o"));
    let outputs = [format!("type=tar,dest={}", tar.display()), format!("type=rootfs,dest={}", dir.display())];
    space.built(&["-o", &outputs[0], "-o", &outputs[1]]);
    let unpacked = space.root().join("unpacked");
    tar::Archive::new(fs_err::File::open(&tar).unwrap()).unpack(&unpacked).unwrap();
    for (path, content) in [
        ("longer", "22"),
        ("link-to-shorter", "1"),
        ("link-to-longer", "22"),
        ("same", "b"),
        ("link-to-first", "a"),
        ("now-a-link", "b"),
    ] {
        for dir in [&dir, &unpacked] {
            assert_eq!(fs_err::read_to_string(dir.join(path)).unwrap(), content, "{path}");
        }
    }
}

/// Two platforms of one Kubefile as one layout, as other tools make it.
pub(crate) fn two_platforms(space: &Space) -> PathBuf {
    let layout = space.root().join("both");
    fs_err::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let mut entries = Vec::new();
    for arch in ["amd64", "arm64"] {
        let dir = space.root().join(arch);
        let output = format!("type=oci-dir,dest={}", dir.display());
        space.built(&["--platform", &format!("linux/{arch}"), "-o", &output]);
        for blob in fs_err::read_dir(dir.join("blobs/sha256")).unwrap() {
            let blob = blob.unwrap();
            fs_err::copy(blob.path(), layout.join("blobs/sha256").join(blob.file_name())).unwrap();
        }
        let index: Value = serde_json::from_slice(&fs_err::read(dir.join("index.json")).unwrap()).unwrap();
        let mut entry = index["manifests"][0].clone();
        entry.as_object_mut().unwrap().remove("annotations");
        entry["platform"] = serde_json::json!({ "architecture": arch, "os": "linux" });
        entries.push(entry);
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let nested =
        serde_json::json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries }).to_string();
    let hex = sha256(nested.as_bytes());
    fs_err::write(layout.join("blobs/sha256").join(&hex), &nested).unwrap();
    let top = serde_json::json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": nested.len(),
        "annotations": { "org.opencontainers.image.ref.name": "localhost/both:1" },
    }]});
    fs_err::write(layout.join("index.json"), top.to_string()).unwrap();
    fs_err::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    layout
}

#[test]
fn images_of_several_platforms_travel_as_sealers_lists_and_as_oci_indexes() {
    let space = sample();
    let layout = two_platforms(&space);
    assert_eq!(ok(&space, &["load", "-i", layout.to_str().unwrap()]), "Loaded image: localhost/both:1");
    let digest = ok(&space, &["images", "-q", "--no-trunc"]);
    assert!(ok(&space, &["inspect", "both:1", "-f", "{{.OCIv1.Architecture}}"]) == "amd64");
    let rows = |words: &[&str]| {
        ok(&space, words).lines().filter(|line| line.contains("both") || line.contains("<none>")).count()
    };
    assert_eq!((rows(&["images", "-n"]), rows(&["images", "-n", "-a"])), (1, 3));

    let list = space.root().join("list.tar");
    ok(&space, &["save", "both:1", "-o", list.to_str().unwrap()]);
    let listing = run(Command::new("tar").arg("-tf").arg(&list)).stdout;
    let names: Vec<&str> = listing.lines().collect();
    assert_eq!(names.len(), 3, "{listing}");
    assert!(
        names[0] == "Metadata" && names[1..].iter().all(|name| name.len() == 68 && name.ends_with(".tar"))
    );
    let dir = space.root().join("list");
    ok(&space, &["save", "both:1", "--format", "oci-dir", "-o", dir.to_str().unwrap()]);
    // As real sealer orders them: the list says only at its end that it is one.
    let reordered = space.root().join("reordered.tar");
    let unpacked = space.root().join("unpacked");
    fs_err::create_dir(&unpacked).unwrap();
    let script = format!(
        "tar -C {0} -xf {1} && tar -C {0} -cf {2} {3} {4} Metadata && gzip -k {2}",
        unpacked.display(),
        list.display(),
        reordered.display(),
        names[1],
        names[2]
    );
    assert_eq!(run(Command::new("sh").args(["-c", &script])).code, Some(0));
    let gzipped = space.root().join("reordered.tar.gz");
    for from in [&list, &dir, &reordered, &gzipped] {
        let other = Space::new();
        assert_eq!(ok(&other, &["load", "-i", from.to_str().unwrap()]), "Loaded image: localhost/both:1");
        assert_eq!(ok(&other, &["inspect", "both:1", "-f", "{{.OCIv1.Architecture}}"]), "amd64");
        assert_eq!(ok(&other, &["images", "-n", "-a"]).lines().count(), 3);
        assert!(ok(&other, &["inspect", from.to_str().unwrap(), "-f", "{{.Type}}"]) == "kube-installer");
        assert_eq!(fs_err::read_dir(other.store().join("tmp")).unwrap().count(), 0);
    }
    if has_peer("skopeo") {
        for name in &names[1..] {
            let image = format!("oci-archive:{}", unpacked.join(name).display());
            let seen = run(Command::new("skopeo").args(["inspect", "--raw", &image]));
            assert_eq!(seen.code, Some(0), "{}", seen.stderr);
        }
        let image = format!("oci:{}:localhost/both:1", dir.display());
        let seen = run(Command::new("skopeo").args(["inspect", "--raw", &image]));
        assert!(seen.stdout.contains("arm64"), "{} {}", seen.stdout, seen.stderr);
        let copy = format!("dir:{}", space.root().join("all").display());
        let copied = run(Command::new("skopeo").args(["--insecure-policy", "copy", "--all", &image, &copy]));
        assert_eq!(copied.code, Some(0), "{}", copied.stderr);
        let other = Space::new();
        ok(&other, &["load", "-i", space.root().join("all").to_str().unwrap(), "-t", "both:2"]);
        assert_eq!(ok(&other, &["images", "-n", "-a"]).lines().count(), 3);
    }
    assert!(!digest.is_empty());
}

#[test]
fn what_lies_is_refused_and_leaves_nothing() {
    let space = sample();
    let layout = space.root().join("layout");
    ok(
        &space,
        &["save", "x:1", "--format", "oci-dir", "--compression", "gzip", "-o", layout.to_str().unwrap()],
    );
    let manifest: Value = serde_json::from_str(&ok(&space, &["inspect", layout.to_str().unwrap()])).unwrap();
    let blob = |hex: &str| layout.join("blobs/sha256").join(hex.trim_start_matches("sha256:"));
    let layer = blob(manifest["manifestv1"]["layers"][0]["digest"].as_str().unwrap());
    let config = blob(manifest["id"].as_str().unwrap());
    let index = layout.join("index.json");
    let refuse = |text: &str| {
        let archive = space.root().join("lying.tar");
        let ended = run(Command::new("tar")
            .arg("-C")
            .arg(&layout)
            .arg("-cf")
            .arg(&archive)
            .args([".", "--sort=name"]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        for input in [&layout, &archive] {
            let other = Space::new();
            let run = other.run(&["load", "-i", input.to_str().unwrap()]);
            assert_eq!(run.code, Some(1), "{text}: {}", run.stderr);
            assert!(run.stderr.contains(text), "`{text}` is not in {}", run.stderr);
            assert!(!other.store().join("index.json").exists());
            for dir in ["blobs/sha256", "tmp"] {
                assert_eq!(fs_err::read_dir(other.store().join(dir)).unwrap().count(), 0, "{text}");
            }
        }
    };
    let with = |path: &Path, change: &dyn Fn(&mut Vec<u8>), text: &str| {
        let good = fs_err::read(path).unwrap();
        let mut bad = good.clone();
        change(&mut bad);
        fs_err::write(path, bad).unwrap();
        refuse(text);
        fs_err::write(path, good).unwrap();
    };
    with(&layer, &|bytes| bytes[20] ^= 1, "has the digest");
    with(&layer, &|bytes| bytes.truncate(bytes.len() / 2), "has the digest");
    with(&config, &|bytes| bytes.push(b' '), "has the digest");
    with(&index, &|bytes| bytes.truncate(bytes.len() / 2), "cannot be read");
    with(
        &index,
        &|bytes| *bytes = String::from_utf8_lossy(bytes).replace("\"size\":", "\"size\":1").into_bytes(),
        "its descriptor says",
    );
    let good = fs_err::read(&layer).unwrap();
    fs_err::remove_file(&layer).unwrap();
    refuse("is missing");
    fs_err::write(&layer, good).unwrap();

    // Every digest is right, and the config states another content for the layer.
    let text = String::from_utf8(fs_err::read(&config).unwrap()).unwrap();
    let diff_id =
        serde_json::from_str::<Value>(&text).unwrap()["rootfs"]["diff_ids"][0].as_str().unwrap().to_owned();
    let other = text.replace(&diff_id, &format!("sha256:{}", "5".repeat(64)));
    let path = blob(manifest["digest"].as_str().unwrap());
    let old = fs_err::read_to_string(&path).unwrap();
    let new = old.replace(manifest["id"].as_str().unwrap(), &sha256(other.as_bytes()));
    fs_err::write(blob(&sha256(other.as_bytes())), &other).unwrap();
    fs_err::write(blob(&sha256(new.as_bytes())), &new).unwrap();
    let text =
        fs_err::read_to_string(&index).unwrap().replace(&sha256(old.as_bytes()), &sha256(new.as_bytes()));
    fs_err::write(&index, text).unwrap();
    refuse("has the diff id");
}

#[test]
fn what_is_no_image_is_told_so() {
    let space = sample();
    space.file("no.tar", "this is not a tar archive, and it is longer than nothing").file("empty.tar", "");
    for (input, text) in [
        ("no.tar", "cannot be read as an archive"),
        ("empty.tar", "holds no image"),
        ("dir", "holds no image"),
        ("nope", "No such file"),
    ] {
        let run = space.run(&["load", "-i", input]);
        assert_eq!(run.code, Some(1), "{input}");
        assert!(run.stderr.contains(text), "{input}: {}", run.stderr);
    }
    let run = space.run(&["save", "x:1", "-o", "/nowhere/x.tar"]);
    assert!(run.code == Some(1) && run.stderr.contains("/nowhere/x.tar"), "{}", run.stderr);
    let run = space.run(&["save", "x:1", "-o", "dir", "--format", "oci-dir"]);
    assert!(run.code == Some(1) && run.stderr.contains("not empty"), "{}", run.stderr);
    assert!(space.run(&["save", "nope", "-o", "x.tar"]).stderr.contains("tried: localhost/nope:latest"));
    assert!(!space.context().join("x.tar").exists());
}
