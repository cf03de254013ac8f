//! Other tools and we through one registry: they pull what we push, and we pull what they push.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peers::{listing_of_dir, with_buildah_mount};
use crate::registry_server::Registry;
use crate::space::{Space, has_peer, is_root, run, skipped};
use crate::transport::write_layout;

fn good(space: &Space, words: &[&str]) -> String {
    let run = space.run(words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    run.stdout.trim().to_owned()
}

fn skopeo(words: &[&str]) -> String {
    let ended = run(Command::new("skopeo").arg("--insecure-policy").args(words));
    assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    ended.stdout
}

/// A registry, where this is root and has both tools.
fn registry() -> Option<Registry> {
    if !is_root() || !has_peer("buildah") || !has_peer("skopeo") {
        skipped("comparing with buildah needs root, buildah and skopeo");
        return None;
    }
    Registry::open()
}

/// The root file system as we mount it.
fn ours(space: &Space, name: &str) -> (BTreeMap<String, String>, PathBuf) {
    let path = PathBuf::from(good(space, &["mount", "-q", name]));
    (listing_of_dir(&path), path)
}

/// The same as buildah mounts it.
fn theirs(space: &Space, name: &str) -> BTreeMap<String, String> {
    let mut listing = BTreeMap::new();
    with_buildah_mount(space, &format!("docker://{name}"), |mount| listing = listing_of_dir(mount));
    listing
}

#[test]
fn peers_pull_what_we_push() {
    let Some(registry) = registry() else { return };
    for compression in ["zstd", "gzip", "uncompressed"] {
        let space = Space::new();
        space.file("dir/a", "a").file("dir/sub/b", "bb".repeat(4000)).file("chart.yaml", "kind: A\n");
        std::os::unix::fs::symlink("a", space.context().join("dir/link")).unwrap();
        space.kubefile("FROM scratch\nENV A=1\nCOPY --chown=5:6 --chmod=750 dir /d\nAPP app local://chart.yaml\nLAUNCH app\n");
        let name = registry.name(&format!("ours/{compression}:1"));
        let words =
            ["build", "-q", "-t", &name, "--build-mode", "lite", "--push", "--compression", compression, "."];
        good(&space, &words);
        let copy = space.root().join("copy");
        skopeo(&[
            "copy",
            "--src-tls-verify=false",
            &format!("docker://{name}"),
            &format!("oci:{}:x", copy.display()),
        ]);
        let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
        let own: serde_json::Value = serde_json::from_str(&raw).unwrap();
        assert_eq!(own, space.manifest(&name), "every annotation is there");
        let (listing, _) = ours(&space, &name);
        assert_eq!(listing, theirs(&space, &name), "{compression}");
        assert!(listing.len() > 5);
        good(&space, &["umount", &name]);
    }
}

fn header(path: &[u8], kind: tar::EntryType, mode: u32, size: u64) -> (tar::Header, Vec<u8>) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    (header, path.to_vec())
}

/// A layer with everything that is hard about layers.
fn hard_layers() -> Vec<Vec<u8>> {
    use tar::EntryType;
    let mut first = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: EntryType, mode: u32, body: &[u8]| {
        let (mut header, _) = header(path.as_bytes(), kind, mode, body.len() as u64);
        if kind == EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        first.append_data(&mut header, path, body).unwrap();
    };
    for dir in ["dev/", "etc/", "gone/", "long/", "opaque/"] {
        add(dir, EntryType::Directory, 0o755, b"");
    }
    add("dev/null", EntryType::Char, 0o666, b"");
    add("dev/pipe", EntryType::Fifo, 0o600, b"");
    add("etc/tool", EntryType::Regular, 0o4755, b"tool");
    add("gone/x", EntryType::Regular, 0o644, b"x");
    add("opaque/hidden", EntryType::Regular, 0o644, b"h");
    add(&format!("long/{}", "n".repeat(200)), EntryType::Regular, 0o644, b"long");
    add(&format!("long/{}/", "d".repeat(120)), EntryType::Directory, 0o700, b"");
    add(&format!("long/{0}/{0}", "d".repeat(120)), EntryType::Regular, 0o600, b"longer");
    let attributes: [(&str, &[u8]); 2] =
        [("SCHILY.xattr.user.lines", b"one\ntwo\n\0three"), ("SCHILY.xattr.user.plain", b"p")];
    first.append_pax_extensions(attributes).unwrap();
    let (mut attributed, _) = header(b"", EntryType::Regular, 0o644, 4);
    first.append_data(&mut attributed, "etc/attributed", b"attr".as_slice()).unwrap();
    let (mut link, _) = header(b"", EntryType::Link, 0o4755, 0);
    first.append_link(&mut link, "etc/alias", "etc/tool").unwrap();
    let mut second = tar::Builder::new(Vec::new());
    for (path, body) in
        [(".wh.gone", ""), ("opaque/.wh..wh..opq", ""), ("opaque/new", "n"), ("etc/late", "late")]
    {
        let (mut header, _) = header(path.as_bytes(), EntryType::Regular, 0o644, body.len() as u64);
        second.append_data(&mut header, path, body.as_bytes()).unwrap();
    }
    vec![first.into_inner().unwrap(), second.into_inner().unwrap()]
}

/// Has skopeo push a layout, and gives the digest it has then.
fn pushed_by_skopeo(layout: &Path, name: &str, format: &str) -> String {
    let (from, to) = (format!("oci:{}", layout.display()), format!("docker://{name}"));
    skopeo(&["copy", "--dest-tls-verify=false", "--format", format, &from, &to]);
    let digest = skopeo(&["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &to]);
    digest.trim().to_owned()
}

#[test]
fn we_pull_what_peers_push() {
    let Some(registry) = registry() else { return };
    let space = Space::new();
    let layout = write_layout(&space.root().join("hard"), &hard_layers(), "localhost/hard:1");
    for format in ["oci", "v2s2"] {
        let name = registry.name(&format!("theirs/{format}:1"));
        let digest = pushed_by_skopeo(&layout, &name, format);
        good(&space, &["pull", "-q", &name]);
        let shown = good(&space, &["inspect", "-f", "{{.Digest}}", &name]);
        assert_eq!(shown, digest, "a manifest is kept as it is, in whichever words");
        let config =
            skopeo(&["inspect", "--tls-verify=false", "--config", "--raw", &format!("docker://{name}")]);
        let id = good(&space, &["inspect", "-f", "{{.ID}}", &name]);
        assert_eq!(space.blob(&format!("sha256:{id}")), config.as_bytes());
        let (listing, path) = ours(&space, &name);
        assert_eq!(listing, theirs(&space, &name), "{format}");
        assert_eq!(listing["dev/null"].split(' ').next(), Some("c"), "{listing:?}");
        assert!(!listing.contains_key("gone") && !listing.contains_key("opaque/hidden"), "{listing:?}");
        let attributed = path.join("etc/attributed");
        for (attribute, wanted) in [("user.lines", b"one\ntwo\n\0three".as_slice()), ("user.plain", b"p")] {
            let mut value = [0; 100];
            let length = rustix::fs::getxattr(&attributed, attribute, &mut value[..]).unwrap();
            assert_eq!(&value[..length], wanted);
        }
        good(&space, &["umount", &name]);
        // It is a base as any other, and what is built on it is read by the others.
        let child = registry.name(&format!("ours/on-{format}:1"));
        space.file("more", "more").kubefile(&format!("FROM {name}\nCOPY more /etc/\nLABEL child=yes\n"));
        good(
            &space,
            &["build", "-q", "-t", &child, "--build-mode", "lite", "--push", "--compression", "gzip", "."],
        );
        let (listing, _) = ours(&space, &child);
        assert!(listing.contains_key("etc/more") && listing.contains_key("etc/alias"));
        assert_eq!(listing, theirs(&space, &child), "{format}");
        good(&space, &["umount", &child]);
        // And through an archive of OCI's, whatever words the manifest had.
        let archive = space.root().join(format!("{format}.tar")).display().to_string();
        good(&space, &["save", "-q", &name, "-o", &archive]);
        let other = Space::new();
        good(&other, &["load", "-q", "-i", &archive]);
        assert_eq!(good(&other, &["inspect", "-f", "{{.ID}}", &name]), id);
    }
}

#[test]
fn images_of_127_layers_travel_and_are_bases_while_there_is_room() {
    let Some(registry) = registry() else { return };
    let space = Space::new();
    let layer = |number: usize| {
        let mut tar = tar::Builder::new(Vec::new());
        let (mut header, _) = header(b"", tar::EntryType::Regular, 0o644, 3);
        tar.append_data(&mut header, format!("file{number}"), b"abc".as_slice()).unwrap();
        tar.into_inner().unwrap()
    };
    let layers: Vec<_> = (0..127).map(layer).collect();
    let layout = write_layout(&space.root().join("many"), &layers, "localhost/many:1");
    let name = registry.name("theirs/many:1");
    pushed_by_skopeo(&layout, &name, "oci");
    good(&space, &["pull", "-q", &name]);
    let (listing, _) = ours(&space, &name);
    assert_eq!(listing.len(), 127);
    good(&space, &["umount", &name]);
    let child = registry.name("ours/many:1");
    space.file("a", "").kubefile(&format!("FROM {name}\nLABEL a=b\n"));
    good(&space, &["build", "-q", "-t", &child, "--build-mode", "lite", "--push", "."]);
    assert_eq!(theirs(&space, &child).len(), 127);
    space.kubefile(&format!("FROM {name}\nCOPY a /\n"));
    let run = space.build(&[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("127 layers"), "{}", run.stderr);
}
