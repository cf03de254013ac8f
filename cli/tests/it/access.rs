//! Owners by name, symbolic modes, and which archives are extracted, seen in the built image.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::peers::listing_of_dir;
use crate::server::Server;
use crate::space::{Space, run};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nstaff:x:50:\n";

/// A space with a tree to stand below everything.
fn with_accounts() -> Space {
    let space = Space::new();
    space.file("base/etc/passwd", PASSWD).file("base/etc/group", GROUP).file("a", "a").file("d/b", "b");
    space
}

fn header(space: &Space, path: &str) -> String {
    space.rootfs("localhost/x:1")[path].header.clone()
}

fn executed(space: &Space) -> u64 {
    space.built(&[])["executed"].as_u64().unwrap()
}

#[test]
fn names_of_an_owner_are_those_of_the_files_below() {
    let space = with_accounts();
    space.kubefile(
        "FROM scratch\nARG WHO=app\nCOPY base /\nCOPY --chown=$WHO a d /to/\nCOPY --chown=app:staff a /group\n\
         COPY --chown=app:7 a /number\nCOPY --chown=7:staff a /user\nCOPY --chown=7 a /both\nADD --chown=app a /add\n",
    );
    space.built(&[]);
    for (path, expected) in [
        ("to", "d 0755 1000/1001 0"),
        ("to/a", "- 0644 1000/1001 1"),
        ("to/b", "- 0644 1000/1001 1"),
        ("group", "- 0644 1000/50 1"),
        ("number", "- 0644 1000/7 1"),
        ("user", "- 0644 7/50 1"),
        ("both", "- 0644 7/7 1"),
        ("add", "- 0644 1000/1001 1"),
    ] {
        assert_eq!(header(&space, path), expected, "{path}");
    }
}

#[test]
fn names_are_found_in_layers_of_a_base_and_of_steps_that_did_not_run() {
    let space = with_accounts();
    // Merged-usr, and a passwd that is a link.
    symlink("usr/etc", space.context().join("base/link")).unwrap();
    let tar = ["-C", "base", "-cf", "base.tar", "."];
    assert!(Command::new("tar").args(tar).current_dir(space.context()).status().unwrap().success());
    space.kubefile("FROM scratch\nCOPY base /\n");
    assert_eq!(space.run(&["build", "-t", "base:1", "--build-mode", "lite", "."]).code, Some(0));
    fs_err::remove_dir_all(space.context().join("base")).unwrap();
    for text in [
        "FROM base:1\nCOPY --chown=app a /x\n",
        "FROM scratch\nADD base.tar /\nCOPY --chown=app a /x\n",
        "FROM scratch AS s\nADD base.tar /\nFROM s\nCOPY --chown=app a /x\n",
        "FROM scratch AS s\nADD base.tar /\nCOPY --chown=app a /x\nFROM scratch\nCOPY --from=s /x /x\n",
    ] {
        space.kubefile(text);
        for content in ["one", "other"] {
            space.file("a", content).built(&[]);
            assert!(header(&space, "x").contains(" 1000/1001 "), "{text}");
        }
    }
}

#[test]
fn of_passwd_only_the_numbers_that_were_asked_for_are_in_the_key() {
    let space = with_accounts();
    space
        .kubefile("FROM scratch\nCOPY base /\nCOPY --chown=app a /x\nCOPY --chown=0:staff a /y\nCOPY a /z\n");
    assert_eq!(executed(&space), 4);
    assert_eq!(executed(&space), 0);
    space.file("base/etc/passwd", format!("new:x:5:5::/:\n{PASSWD}"));
    space.file("base/etc/group", format!("{GROUP}new:x:5:app\n"));
    assert_eq!(executed(&space), 1, "only the step that brings in passwd and group");
    space.file("base/etc/passwd", PASSWD.replace("1001", "1002"));
    assert_eq!(executed(&space), 2, "and the one whose user has another group");
    assert!(header(&space, "x").contains(" 1000/1002 "));
    space.file("base/etc/group", GROUP.replace("50", "51"));
    assert_eq!(executed(&space), 2, "and the one whose group has another number");
    assert!(header(&space, "y").contains(" 0/51 "));
    space.file("base/etc/passwd", PASSWD.replace("1001", "1003"));
    let explained = space.build(&["--explain"]);
    assert!(explained.stdout.contains("gid found"), "{}", explained.stdout);
}

/// A tree with what chmod looks at: directories, files of several modes, links.
fn tree_of_modes(dir: &Path) {
    fs_err::create_dir_all(dir.join("sub/deep")).unwrap();
    for mode in [0o000, 0o400, 0o611, 0o640, 0o644, 0o750, 0o755, 0o777] {
        for place in ["", "sub/"] {
            let path = dir.join(format!("{place}f{mode:o}"));
            fs_err::write(&path, "x").unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    for (name, mode) in [("sub", 0o751), ("sub/deep", 0o1777)] {
        fs_err::set_permissions(dir.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("f640", dir.join("link")).unwrap();
    symlink("nowhere", dir.join("sub/dangling")).unwrap();
}

#[test]
fn symbolic_modes_are_those_of_chmod() {
    let modes = [
        "u+x",
        "go-w,a+r",
        "u=rwX,go=rX",
        "+x",
        "u=g",
        "g=u",
        "o=g,u-r",
        "a=r",
        "=rw",
        "-x",
        "+X",
        "a-X",
        "u=",
        "go=",
        "u+s",
        "g+s",
        "o+s",
        "+s",
        "u+t",
        "o+t",
        "+t",
        "a=rwxst",
        "u=rwx,g=rx,o=",
        "ug+rw-x",
        "u=rwxs,g=u,o=g-w",
        "a+x,a+X",
        "a-x,a+X",
        "g=rws",
        "ugo=u",
        "u=o+x",
        "o-rwx+X",
        "a=,u+rw",
        "u=rw,+X",
        "0640",
        "2755",
        "a+rX,go-w",
    ];
    let space = Space::new();
    tree_of_modes(&space.context().join("tree"));
    let mut text = String::from("FROM scratch\n");
    for (number, mode) in modes.iter().enumerate() {
        text.push_str(&format!("COPY --chmod={mode} tree /{number}/\n"));
        let theirs = space.root().join("theirs").join(number.to_string());
        fs_err::create_dir_all(&theirs).unwrap();
        let script = format!(
            "umask 0 && cp -a tree/. {0} && chmod 755 {0} && chmod -R {mode} {0}/*",
            theirs.display()
        );
        let ended = run(Command::new("sh").args(["-c", &script]).current_dir(space.context()));
        assert_eq!(ended.code, Some(0), "{mode}: {}", ended.stderr);
    }
    space.kubefile(&text).built(&[]);
    let kind_and_mode = |header: &str| header.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let root = space.rootfs("localhost/x:1");
    let ours: BTreeMap<String, String> =
        root.iter().map(|(path, node)| (path.clone(), kind_and_mode(&node.header))).collect();
    let theirs: BTreeMap<String, String> = listing_of_dir(&space.root().join("theirs"))
        .iter()
        .map(|(path, header)| (path.clone(), kind_and_mode(header)))
        .collect();
    assert_eq!(ours.len(), theirs.len());
    let different: Vec<String> = ours
        .iter()
        .filter(|(path, mode)| theirs.get(*path) != Some(mode))
        .map(|(path, mode)| {
            let number: usize = path.split('/').next().unwrap().parse().unwrap();
            format!("{} {path}: ours {mode}, theirs {:?}", modes[number], theirs.get(path))
        })
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// `in/f` in a tar, through a program.
fn archive(space: &Space, name: &str, program: &str) {
    space.file("src/in/f", "content").file("src/in/empty", "");
    let script = format!("tar --owner=3 --group=4 --mtime=@0 -C src -cf - in | {program} > {name}");
    let ended = run(Command::new("sh").args(["-c", &script]).current_dir(space.context()));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    if name.ends_with(".zst") {
        let plain = fs_err::read(space.context().join(name)).unwrap();
        space.file(name, zstd::encode_all(plain.as_slice(), 3).unwrap());
    }
}

#[test]
fn archives_of_every_compression_are_extracted_where_that_is_asked_for() {
    for (name, program) in
        [("a.tar", "cat"), ("a.tar.gz", "gzip"), ("a.txz", "xz"), ("a.tbz2", "bzip2"), ("a.tar.zst", "cat")]
    {
        let space = Space::new();
        archive(&space, name, program);
        let server = Server::start();
        let bytes = fs_err::read(space.context().join(name)).unwrap();
        server.file(&format!("/{name}"), bytes.clone());
        let url = server.url(&format!("/{name}"));
        space.kubefile(&format!(
            "FROM scratch\nADD {name} /default/\nADD --unpack {name} /on/\nADD --unpack=false {name} /off/\n\
             ADD {url} /url/\nADD --unpack=true --chown=7:8 {url} /url-on/\nADD --unpack=false {url} /url-off/\n\
             ADD --unpack=true src/in/f {name} /mixed/\nCOPY {name} /copy/\n"
        ));
        space.built(&[]);
        let root = space.rootfs("localhost/x:1");
        for (dir, owner) in [("default", "3/4"), ("on", "3/4"), ("url-on", "7/8"), ("mixed", "3/4")] {
            assert_eq!(root[&format!("{dir}/in/f")].header, format!("- 0644 {owner} 7"), "{name} {dir}");
            assert_eq!(root[&format!("{dir}/in/f")].content, b"content");
            assert!(!root.contains_key(&format!("{dir}/{name}")));
        }
        assert_eq!(root["mixed/f"].header, "- 0644 0/0 7");
        for dir in ["off", "url", "url-off", "copy"] {
            assert_eq!(root[&format!("{dir}/{name}")].content, bytes, "{name} {dir}");
        }
    }
}

#[test]
fn a_mode_that_an_archive_does_not_take_is_told() {
    let space = Space::new();
    archive(&space, "a.tar", "cat");
    space.kubefile("FROM scratch\nADD --chmod=0711 a.tar src/in/f /d/\n");
    let run = space.build(&[]);
    assert!(
        run.stderr.contains("warning: `a.tar` was extracted, and what is in it keeps its modes"),
        "{}",
        run.stderr
    );
    assert_eq!(
        (header(&space, "d/in/f"), header(&space, "d/f")),
        ("- 0644 3/4 7".into(), "- 0711 0/0 7".into())
    );
}
