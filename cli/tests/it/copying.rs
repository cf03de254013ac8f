//! COPY, ADD and stages, seen in the built image.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::server::Server;
use crate::space::{Space, skipped};

/// Builds a Kubefile over a small context and compares the listing with what is expected, one `path header` a line.
fn check(kubefile: &str, expected: &[&str]) {
    let space = Space::new();
    space
        .file("a.txt", "a")
        .file("b.txt", "bb")
        .file("dir/c.md", "c")
        .file("dir/sub/d.txt", "d")
        .file("x y", "s");
    std::os::unix::fs::symlink("dir", space.context().join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", space.context().join("dir/dangling")).unwrap();
    space.kubefile(kubefile);
    let run = space.build(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let root = space.rootfs("localhost/x:1");
    let listing: Vec<String> = root.iter().map(|(path, node)| format!("{path} {}", node.header)).collect();
    assert_eq!(listing, expected, "{kubefile}");
}

#[test]
fn a_file_goes_to_a_name_or_below_a_directory() {
    check("FROM scratch\nCOPY a.txt /x", &["x - 0644 0/0 1"]);
    check("FROM scratch\nCOPY a.txt /x/", &["x d 0755 0/0 0", "x/a.txt - 0644 0/0 1"]);
    check("FROM scratch\nCOPY a.txt .", &["a.txt - 0644 0/0 1"]);
    check("FROM scratch\nCOPY [\"x y\", \"/z/\"]", &["z d 0755 0/0 0", "z/x y - 0644 0/0 1"]);
    check("FROM scratch\nCOPY a.txt /../../up/", &["up d 0755 0/0 0", "up/a.txt - 0644 0/0 1"]);
}

#[test]
fn a_directory_gives_its_content_and_a_link_to_it_does_too() {
    let expected = [
        "d d 0755 0/0 0",
        "d/c.md - 0644 0/0 1",
        "d/dangling l 0777 0/0 0 -> nowhere",
        "d/sub d 0755 0/0 0",
        "d/sub/d.txt - 0644 0/0 1",
    ];
    check("FROM scratch\nCOPY dir /d", &expected);
    check("FROM scratch\nCOPY link /d", &expected);
    check(
        "FROM scratch\nCOPY --exclude=sub --exclude=dangling dir /d",
        &["d d 0755 0/0 0", "d/c.md - 0644 0/0 1"],
    );
}

#[test]
fn patterns_select_and_parents_are_kept_when_asked_for() {
    check(
        "FROM scratch\nCOPY *.txt /t/",
        &["t d 0755 0/0 0", "t/a.txt - 0644 0/0 1", "t/b.txt - 0644 0/0 2"],
    );
    check("FROM scratch\nCOPY dir/**/*.txt /t/", &["t d 0755 0/0 0", "t/d.txt - 0644 0/0 1"]);
    check(
        "FROM scratch\nCOPY --parents dir/sub/d.txt /t/",
        &["t d 0755 0/0 0", "t/dir d 0755 0/0 0", "t/dir/sub d 0755 0/0 0", "t/dir/sub/d.txt - 0644 0/0 1"],
    );
}

#[test]
fn a_file_beside_others_needs_a_destination_that_is_a_directory() {
    let space = Space::new();
    space.file("da/in", "1").file("db", "2");
    for (copy, root) in [("COPY d* /x", None), ("COPY d* /x/", Some(["x", "x/db", "x/in"]))] {
        let run = space.kubefile(&format!("FROM scratch\n{copy}\n")).build(&[]);
        assert_eq!(run.code == Some(0), root.is_some(), "{copy}: {}", run.stderr);
        match root {
            Some(root) => assert!(space.rootfs("localhost/x:1").keys().eq(&root)),
            None => assert!(run.stderr.contains("selects 2 files or directories"), "{}", run.stderr),
        }
    }
}

#[test]
fn what_is_left_out_is_told_by_the_rules_of_ignore_files() {
    check(
        "FROM scratch\nCOPY --exclude=./sub/ --exclude=/dangling dir /d",
        &["d d 0755 0/0 0", "d/c.md - 0644 0/0 1"],
    );
    check(
        "FROM scratch\nCOPY --exclude=* --exclude=!sub/d.txt dir /d",
        &["d d 0755 0/0 0", "d/sub d 0755 0/0 0", "d/sub/d.txt - 0644 0/0 1"],
    );
    check("FROM scratch\nCOPY --exclude=b* *.txt /t/", &["t d 0755 0/0 0", "t/a.txt - 0644 0/0 1"]);
    check(
        "FROM scratch\nCOPY --parents --exclude=dir/sub --exclude=dangling dir a.txt /t/",
        &[
            "t d 0755 0/0 0",
            "t/a.txt - 0644 0/0 1",
            "t/dir d 0755 0/0 0",
            "t/dir/c.md - 0644 0/0 1",
            "t/dir/dangling l 0777 0/0 0 -> nowhere",
        ],
    );
    check(
        "FROM scratch\nCOPY --parents --exclude=sub/d.* dir/./sub a.txt /t/",
        &["t d 0755 0/0 0", "t/a.txt - 0644 0/0 1", "t/sub d 0755 0/0 0"],
    );
}

#[test]
fn parents_keep_their_headers_from_the_pivot_on() {
    let space = Space::new();
    space.file("a/b/c/f", "x");
    for (path, mode) in [("a", 0o700), ("a/b", 0o711), ("a/b/c", 0o750)] {
        fs_err::set_permissions(space.context().join(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    let listing = |text: &str| -> Vec<String> {
        space.kubefile(text).built(&[]);
        let root = space.rootfs("localhost/x:1");
        root.iter().map(|(path, node)| format!("{path} {}", node.header)).collect()
    };
    let whole = [
        "t d 0755 0/0 0",
        "t/a d 0700 0/0 0",
        "t/a/b d 0711 0/0 0",
        "t/a/b/c d 0750 0/0 0",
        "t/a/b/c/f - 0644 0/0 1",
    ];
    assert_eq!(listing("FROM scratch\nCOPY --parents a/b/c/f /t/"), whole);
    assert_eq!(listing("FROM scratch\nCOPY --parents ./a/*/c/f /t/"), whole);
    assert_eq!(
        listing("FROM scratch\nCOPY --parents a/./b/*/f /t/"),
        ["t d 0755 0/0 0", "t/b d 0711 0/0 0", "t/b/c d 0750 0/0 0", "t/b/c/f - 0644 0/0 1"]
    );
    assert_eq!(
        listing(
            "FROM scratch AS s\nCOPY --parents a/b/c/f /\nFROM scratch\nCOPY --from=s --parents --chown=3:4 /a/b/./c/f /t/"
        ),
        ["t d 0755 3/4 0", "t/c d 0750 3/4 0", "t/c/f - 0644 3/4 1"]
    );

    fs_err::set_permissions(space.context().join("a/b"), PermissionsExt::from_mode(0o755)).unwrap();
    let changed = listing("FROM scratch\nCOPY --parents a/b/c/f /t/");
    assert_eq!(changed[2], "t/a/b d 0755 0/0 0", "a header above is part of what is copied");
}

/// The hard links of a layer, each as `path -> target`.
fn hard_links(space: &Space, layer: usize) -> Vec<String> {
    let digest = space.manifest("localhost/x:1")["layers"][layer]["digest"].clone();
    let blob = space.blob(digest.as_str().unwrap());
    let mut archive = tar::Archive::new(zstd::Decoder::new(blob.as_slice()).unwrap());
    let shown = |entry: tar::Entry<'_, _>| {
        let target = entry.link_name().unwrap().unwrap().display().to_string();
        (entry.header().entry_type() == tar::EntryType::Link)
            .then(|| format!("{} -> {target}", entry.path().unwrap().display()))
    };
    let linked = archive.entries().unwrap().map(Result::unwrap);
    linked.filter(|entry| entry.link_name().unwrap().is_some()).filter_map(shown).collect()
}

#[test]
fn hard_links_of_an_archive_stay_what_they_are() {
    let space = Space::new();
    let mut tar = tar::Builder::new(Vec::new());
    let file = |text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        header
    };
    for (path, text) in [("bin/z", "tool"), ("lib/a", "other")] {
        tar.append_data(&mut file(text), path, text.as_bytes()).unwrap();
    }
    for (path, target) in
        [("bin/a", "bin/z"), ("bin/m", "./bin/a"), ("usr/tool", "bin/z"), ("lib/b", "lib/a")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        tar.append_link(&mut header, path, target).unwrap();
    }
    tar.append_data(&mut file("later"), "lib/b", b"later".as_slice()).unwrap();
    space.file("r.tar", tar.into_inner().unwrap());

    space.kubefile("FROM scratch\nADD r.tar /\nADD --chown=1:2 r.tar /opt/\n").built(&[]);
    assert_eq!(hard_links(&space, 0), ["bin/m -> bin/a", "bin/z -> bin/a", "usr/tool -> bin/a"]);
    let below = ["opt/bin/m -> opt/bin/a", "opt/bin/z -> opt/bin/a", "opt/usr/tool -> opt/bin/a"];
    assert_eq!(hard_links(&space, 1), below);
    let root = space.rootfs("localhost/x:1");
    assert_eq!(
        (root["lib/b"].header.as_str(), root["opt/bin/m"].header.as_str()),
        ("- 0755 0/0 5", "- 0755 1/2 0 -> opt/bin/a")
    );
    let cost = space.built(&["--no-cache"]);
    assert_eq!(space.rootfs("localhost/x:1"), root, "{cost}");

    // A directory that the archive only implies is where a link of the state below leads.
    space.file("base/usr/bin/x", "").kubefile("FROM scratch\nCOPY base /\nADD r.tar /\n");
    std::os::unix::fs::symlink("usr/bin", space.context().join("base/bin")).unwrap();
    space.built(&[]);
    let led = ["usr/bin/m -> usr/bin/a", "usr/bin/z -> usr/bin/a", "usr/tool -> usr/bin/a"];
    assert_eq!(hard_links(&space, 1), led);
}

#[test]
fn owner_and_mode_are_as_asked_for() {
    check("FROM scratch\nCOPY --chown=1:2 --chmod=600 a.txt /x", &["x - 0600 1/2 1"]);
    check("FROM scratch\nCOPY --chown=7 --link a.txt /x", &["x - 0644 7/7 1"]);
}

#[test]
fn text_of_the_kubefile_becomes_files() {
    check("FROM scratch\nARG N=1\nCOPY <<EOF /x\nn=$N\nEOF\n", &["x - 0644 0/0 4"]);
    check("FROM scratch\nCOPY <<-'EOF' /x\n\tn=$N\nEOF\n", &["x - 0644 0/0 5"]);
}

#[test]
fn stages_are_built_as_needed_and_copied_from() {
    let text = "ARG BASE=scratch\nFROM ${BASE} AS one\nCOPY dir /out/d\nFROM scratch AS two\nCOPY missing /\nFROM scratch\nCOPY --from=one /out/d/sub /s\n";
    check(text, &["s d 0755 0/0 0", "s/d.txt - 0644 0/0 1"]);
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch AS one\nCOPY a /one\nFROM scratch\nCOPY a /two\n");
    space.built(&["--target", "one"]);
    assert!(space.rootfs("localhost/x:1").contains_key("one"));
}

#[test]
fn the_first_ignore_file_decides() {
    let space = Space::new();
    space.file("keep.log", "k").file("drop.log", "d").file("sub/deep.log", "e").file("x.txt", "x");
    space.file(".dockerignore", "*.txt\n").file(".containerignore", "*\n");
    space
        .file(".sealerignore", "*.log\n!keep.log\n.*ignore\nKubefile\n")
        .kubefile("FROM scratch\nCOPY . /\n");
    space.built(&[]);
    let names: Vec<String> = space.rootfs("localhost/x:1").into_keys().collect();
    assert_eq!(names, ["keep.log", "sub", "sub/deep.log", "x.txt"]);
}

#[test]
fn archives_are_extracted_and_other_files_copied() {
    for flags in ["-cf", "-czf", "-cJf", "-cjf"] {
        let space = Space::new();
        space.file("src/in/f", "content");
        let tar = Command::new("tar")
            .args(["--owner=3", "--group=4", flags, "../a.tar", "-C", "src", "in"])
            .current_dir(space.context())
            .status();
        assert!(tar.unwrap().success());
        fs_err::copy(space.root().join("a.tar"), space.context().join("a.bin")).unwrap();
        space.kubefile("FROM scratch\nADD a.bin /d/\nADD src/in/f /e/\nCOPY a.bin /plain\n");
        space.built(&[]);
        let root = space.rootfs("localhost/x:1");
        assert_eq!(root["d/in/f"].content, b"content", "{flags}");
        assert_eq!(root["d/in/f"].header, "- 0644 3/4 7");
        assert_eq!(root["e/f"].content, b"content");
        assert!(root.contains_key("plain"), "COPY extracts nothing");
    }
}

#[test]
fn urls_are_added_with_the_mode_sealer_gives_them() {
    let space = Space::new();
    let server = Server::start();
    server.file("/f.txt", b"hello".to_vec());
    space.kubefile(&format!(
        "FROM scratch\nADD {} /d/\nAPP a {}\nAPPCMDS a [\"x\"]\n",
        server.url("/f.txt"),
        server.url("/f.txt?q=1")
    ));
    space.built(&[]);
    let root = space.rootfs("localhost/x:1");
    assert_eq!(root["d/f.txt"].header, "- 0600 0/0 5");
    assert_eq!(root["application/apps/a/f.txt"].header, "- 0644 0/0 5");
}

#[test]
fn a_destination_is_resolved_inside_the_base() {
    let space = Space::new();
    space.file("rootfs/usr/bin/old", "o").file("new", "n");
    std::os::unix::fs::symlink("usr/bin", space.context().join("rootfs/bin")).unwrap();
    space.kubefile("FROM scratch\nCOPY rootfs /\n");
    assert_eq!(space.run(&["build", "-t", "base:1", "--build-mode", "lite", "."]).code, Some(0));
    space.kubefile("FROM base:1\nCOPY new /bin/\nCOPY --from=0 /bin/old /copied\n");
    let run = space.build(&[]);
    assert_eq!(run.code, Some(1), "a stage cannot copy from itself: {}", run.stderr);
    space.kubefile("FROM base:1 AS b\nFROM base:1\nCOPY new /bin/\nCOPY --from=b /bin/old /copied\n");
    space.built(&[]);
    let root = space.rootfs("localhost/x:1");
    assert_eq!(root["usr/bin/new"].content, b"n");
    assert_eq!(root["bin"].header, "l 0777 0/0 0 -> usr/bin");
    assert_eq!(root["copied"].content, b"o");
}

#[test]
fn a_directory_that_replaces_a_link_of_the_base_is_warned_about() {
    let space = Space::new();
    space.file("rootfs/usr/lib/old", "o").file("over/lib/x", "x");
    std::os::unix::fs::symlink("usr/lib", space.context().join("rootfs/lib")).unwrap();
    space.kubefile("FROM scratch\nCOPY rootfs /\nCOPY over /\n");
    let run = space.build(&[]);
    let text = "warning: the directory `/lib` replaces the link `/lib` -> `usr/lib` of the state below";
    assert!(run.stderr.contains(text), "{}", run.stderr);
    assert!(space.rootfs("localhost/x:1")["lib"].header.starts_with('d'));
}

#[test]
fn files_of_a_step_that_did_not_run_are_copied_on() {
    let space = Space::new();
    space.file("src/f", "content");
    let tar = Command::new("tar").args(["-cf", "a.tar", "src"]).current_dir(space.context()).status();
    assert!(tar.unwrap().success());
    let text = |to: &str| {
        format!(
            "FROM scratch AS one\nADD a.tar /in\nFROM one AS two\nCOPY --from=one /in/src /{to}\nFROM scratch\nCOPY --from=two /{to}/f /f\n"
        )
    };
    for target in ["one", "two", "2"] {
        for to in ["x", "y"] {
            space.kubefile(&text(to)).built(&["--target", target]);
        }
    }
    assert_eq!(space.rootfs("localhost/x:1")["f"].content, b"content");
}

#[test]
fn directories_an_archive_only_implies_are_those_of_the_base() {
    let space = Space::new();
    space.file("one/usr/bin/old", "o").file("two/bin/old", "o").file("three/etc/x", "x");
    std::os::unix::fs::symlink("usr/bin", space.context().join("one/bin")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(3);
    header.set_mode(0o755);
    tar.append_data(&mut header, "bin/new", &b"new"[..]).unwrap();
    space.file("a.tar", tar.into_inner().unwrap());
    // One store: each base must have its own answer, however often it is asked.
    for _ in 0..2 {
        for (base, path) in [("one", "usr/bin/new"), ("two", "bin/new"), ("three", "bin/new")] {
            space.kubefile(&format!("FROM scratch\nCOPY {base} /\nADD a.tar /\n")).built(&[]);
            let root = space.rootfs("localhost/x:1");
            assert_eq!(root[path].content, b"new", "{base}");
            assert_eq!(root.contains_key("bin/new"), path == "bin/new", "{base}");
        }
    }
}

#[test]
fn capabilities_and_attributes_of_users_are_kept() {
    let space = Space::new();
    space.file("d/f", "f").file("d/sub/g", "g");
    let set = |path: &str, name: &str, value: &[u8]| {
        let path = space.context().join(path);
        rustix::fs::lsetxattr(&path, name, value, rustix::fs::XattrFlags::empty())
    };
    if let Err(error) = set("d/f", "user.note", b"a\0b") {
        skipped(&format!("attributes cannot be set here: {error}"));
        return;
    }
    let long = format!("user.{}", "n".repeat(240));
    set("d/f", &long, &[b'v'; 300]).unwrap();
    set("d/sub", "user.dir", b"yes").unwrap();
    set("d/sub/g", "user.overlay.opaque", b"y").unwrap();
    let attributes = || {
        let layer = space.manifest("localhost/x:1")["layers"][0]["digest"].as_str().unwrap().to_owned();
        let tar = zstd::decode_all(space.blob(&layer).as_slice()).unwrap();
        let mut found = Vec::new();
        let mut longs = 0;
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            for record in entry.pax_extensions().unwrap().into_iter().flatten() {
                let record = record.unwrap();
                let key = record.key().unwrap().strip_prefix("SCHILY.xattr.").unwrap().to_owned();
                match record.value_bytes() {
                    value if key == long => longs += usize::from(value == [b'v'; 300]),
                    value => found.push(format!("{path} {key} {value:?}")),
                }
            }
        }
        assert_eq!(longs, 1);
        found
    };
    space.kubefile("FROM scratch\nCOPY d /\n").built(&[]);
    let dir = "sub/ user.dir [121, 101, 115]";
    assert_eq!(attributes(), ["f user.note [97, 0, 98]", dir]);
    assert_eq!(space.built(&[])["executed"], 0);
    set("d/f", "user.note", b"c").unwrap();
    space.built(&[]);
    assert_eq!(attributes(), ["f user.note [99]", dir]);
    set("d/sub", "user.dir", b"no").unwrap();
    space.built(&[]);
    assert_eq!(attributes()[1], "sub/ user.dir [110, 111]");
}

#[test]
fn a_backslash_is_a_character_of_a_source_without_wildcards() {
    let space = Space::new();
    space.file(r"n/back\slash", "b").file("n/st*r", "s").file("n/star", "");
    space.kubefile(concat!(
        "FROM scratch\n",
        r"COPY n/back\\slash /a",
        "\n",
        r"COPY 'n/back\slash' /b",
        "\n",
        r"COPY 'n/st\*r' /c",
        "\n",
        r#"COPY ["n/st\\*r", "/d"]"#,
        "\n",
    ));
    space.built(&[]);
    let root = space.rootfs("localhost/x:1");
    let found = ["a", "b", "c", "d"].map(|path| String::from_utf8_lossy(&root[path].content).into_owned());
    assert_eq!(found, ["b", "b", "s", "s"]);
}
