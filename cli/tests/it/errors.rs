//! What goes wrong is told with its line, ends with the right code, and leaves nothing behind.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::server::{Response, Server, Stored};
use crate::space::{Space, ignores, skipped};

/// Builds and checks that it fails with all of these texts, at this place, without a trace.
fn check(space: &Space, flags: &[&str], place: &str, texts: &[&str]) {
    let run = space.build(flags);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(run.stdout, "");
    for text in texts.iter().copied().chain([place]) {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    let tmp = fs_err::read_dir(space.store().join("tmp")).map_or(0, Iterator::count);
    assert_eq!(tmp, 0, "leftovers in tmp/");
    assert!(!space.store().join("index.json").exists(), "something was tagged");
}

fn text_error(kubefile: &str, place: &str, texts: &[&str]) {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile(kubefile);
    check(&space, &[], place, texts);
}

#[test]
fn mistakes_in_the_text_are_told_at_their_place() {
    for (kubefile, place, text) in [
        (
            "FROM scratch\nAPP redis local://a.yaml\nLAUNCH redsi\n",
            "Kubefile:3:8",
            "application redsi does not exist in the image",
        ),
        (
            "FROM scratch\nAPP a local://a.yaml\nLAUNCH a\nLAUNCH a\n",
            "Kubefile:4:1",
            "only one launch could be specified",
        ),
        (
            "FROM scratch\nAPP a ftp://x/y\n",
            "Kubefile:2:7",
            "source schema should be specified with https:// http:// local:// in APP",
        ),
        ("FROM scratch\nAPP ../../etc local://a.yaml\n", "Kubefile:2:5", "../../etc"),
        ("FROM scratch\nCOPY --chmod=u+y a.yaml /\n", "Kubefile:2:6", "invalid value of --chmod"),
        ("FROM scratch\nCOPY --chown=a:b:c a.yaml /\n", "Kubefile:2:6", "invalid value of --chown"),
        (
            "FROM scratch\nCOPY --link --chown=app a.yaml /\n",
            "Kubefile:2:13",
            "--chown takes no names beside --link",
        ),
        ("FROM scratch\nADD --unpack=perhaps a.yaml /\n", "Kubefile:2:5", "invalid value of --unpack"),
        ("FROM scratch\nADD https://h/r.git#-x /\n", "Kubefile:2:5", "`-x` cannot be the name of a branch"),
        ("FROM scratch\nCOPY --chwon=1 a.yaml /\n", "Kubefile:2:6", "--chown"),
        ("COPY a.yaml /\n", "Kubefile:", "no FROM statement found"),
    ] {
        text_error(kubefile, place, &[text]);
    }
    text_error(
        "FROM scratch\nAPP redis local://a.yaml\nLAUNCH redsi\n",
        "Kubefile:3:8",
        &["hint: ", "redis"],
    );
}

#[test]
fn owners_nobody_knows_are_told_with_those_that_are_known() {
    for copy in ["COPY --chown=app", "ADD --chown=root:root", "COPY --chown=0:wheel"] {
        text_error(
            &format!("FROM scratch\n{copy} a.yaml /\n"),
            "Kubefile:2:1",
            &["cannot be looked up: the files below have no `/etc/", "hint: use numbers"],
        );
    }
    let space = Space::new();
    space
        .file("a", "a")
        .file("etc/passwd", "root:x:0:0::/:\napp:x:1:1::/:\n")
        .file("etc/group", "staff:x:9:\n");
    for (owner, texts) in [
        ("aap", ["there is no user `aap` in `/etc/passwd`", "hint: did you mean `app`?"]),
        ("nobody", ["there is no user `nobody`", "hint: known there: `root`, `app`; or use numbers"]),
        ("app:saff", ["there is no group `saff` in `/etc/group`", "hint: did you mean `staff`?"]),
    ] {
        space.kubefile(&format!("FROM scratch\nCOPY etc /etc\n\nCOPY --chown={owner} a /\n"));
        check(&space, &[], "Kubefile:4:1", &texts);
    }
    space.file("etc/passwd", vec![b'\n'; (1 << 20) + 1]);
    space.kubefile("FROM scratch\nCOPY etc /etc\nCOPY --chown=app a /\n");
    check(&space, &[], "Kubefile:3:1", &["`/etc/passwd` has 1048577 bytes"]);
    fs_err::remove_file(space.context().join("etc/passwd")).unwrap();
    symlink("/etc/passwd", space.context().join("etc/passwd")).unwrap();
    check(&space, &[], "Kubefile:3:1", &["have no `/etc/passwd`"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "FROM scratch\nWORKDIR /x\nAPPCMDS no [\"x\"]\nCOPY a\nLAUNCH nope\n";
    text_error(
        text,
        "Kubefile:2:1",
        &["command workdir is not supported", "Kubefile:3:9", "Kubefile:4:1", "Kubefile:5:8"],
    );
    let text = "FROM scratch\nCOPY one /\nAPP a local://two\nAPP b local://a.yaml\n";
    text_error(text, "Kubefile:2:1", &["`one` is not in the build context", "Kubefile:3:1", "`two`"]);
}

#[test]
fn a_base_that_is_not_there_is_told_at_its_from() {
    text_error(
        "FROM localhost/nope:1\nAPP a local://a.yaml\n",
        "Kubefile:1:",
        &["failed to process from", "image not known"],
    );
}

#[test]
fn nothing_leaves_the_context() {
    let space = Space::new();
    fs_err::write(space.root().join("secret"), "s").unwrap();
    symlink("../secret", space.context().join("up")).unwrap();
    symlink("/etc/passwd", space.context().join("away")).unwrap();
    symlink("loop", space.context().join("loop")).unwrap();
    for (source, text) in [
        ("up", "leaves the build context"),
        ("away", "leaves the build context"),
        ("loop", "symbolic links"),
        ("../secret", "is not in the build context"),
    ] {
        space.kubefile(&format!("FROM scratch\nCOPY {source} /x\n"));
        check(&space, &[], "Kubefile:2:1", &[text]);
    }
    space.file("tree/x", "x");
    symlink("circle", space.context().join("tree/circle")).unwrap();
    for copy in ["COPY tree/x /circle/", "ADD tree/x /circle", "COPY --from=one /circle /y"] {
        space.kubefile(&format!("FROM scratch AS one\nCOPY tree /\nFROM one\n{copy}\n"));
        check(&space, &[], "Kubefile:4:1", &["has too many symbolic links on its way"]);
    }
    assert!(Command::new("mkfifo").arg(space.context().join("pipe")).status().unwrap().success());
    space.kubefile("FROM scratch\nCOPY pipe /x\n");
    check(&space, &[], "Kubefile:2:1", &["is a FIFO"]);
    space.file(".wh.x", "").kubefile("FROM scratch\nCOPY .wh.x /x\n");
    check(&space, &[], "Kubefile:2:1", &["mark deletions"]);
    symlink(".wh.d", space.context().join("tree/hidden")).unwrap();
    fs_err::remove_file(space.context().join("tree/circle")).unwrap();
    for copy in ["COPY tree/x /hidden/", "ADD tree/x /hidden"] {
        space.kubefile(&format!("FROM scratch\nCOPY tree /\n{copy}\n"));
        check(&space, &[], "Kubefile:3:1", &["/.wh.d", "cannot be copied to", "mark deletions"]);
    }
}

#[test]
fn a_source_that_gives_nothing_says_what_it_is() {
    let space = Space::new();
    let _socket = std::os::unix::net::UnixListener::bind(space.context().join("s")).unwrap();
    symlink("s", space.context().join("to-s")).unwrap();
    for source in ["s", "to-s"] {
        space.kubefile(&format!("FROM scratch\nCOPY {source} /x\n"));
        check(&space, &[], "Kubefile:2:1", &["/s` is a socket, which cannot be copied into an image"]);
    }
    symlink("nowhere", space.context().join("link")).unwrap();
    space.kubefile("FROM scratch\nCOPY link /x\n");
    check(&space, &[], "Kubefile:2:1", &["`link` is a link to `nowhere`, which is not in the build context"]);
    space.file("tree/x", "x");
    symlink("/nowhere", space.context().join("tree/link")).unwrap();
    space.kubefile("FROM scratch AS one\nCOPY tree /d\nFROM one\nCOPY --from=one /d/link /y\n");
    check(
        &space,
        &[],
        "Kubefile:4:1",
        &["`d/link` is a link to `/nowhere`, which is not where it is copied from"],
    );
}

#[test]
fn all_applications_without_type_are_told_at_once() {
    let space = Space::new();
    space.file("mix/a.sh", "").file("mix/a.yaml", "kind: A\n").file("b.txt", "").file("c.tgz", "");
    space.kubefile("FROM scratch\nAPP m local://mix local://mix/a.sh\nAPP b local://b.txt\nAPP c local://c.tgz local://b.txt\n");
    let text = "need to specify APPCMDS if no app type detected";
    let told = [format!("app m {text}"), format!("app b {text}"), "Kubefile:4:1".to_owned()];
    check(&space, &[], "Kubefile:2:1", &told.each_ref().map(String::as_str));
    let run = space.build(&[]);
    assert_eq!(run.stderr.matches("a packaged chart launches by itself").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("hint: say how it is launched: APPCMDS b ["), "{}", run.stderr);
    space.kubefile("FROM scratch\nAPP e local://*.yaml\n");
    check(&space, &[], "Kubefile:2:1", &["`*.yaml` is not in the build context"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let space = Space::new();
    space.file("locked", "x").kubefile("FROM scratch\nCOPY locked /x\n");
    let path = space.context().join("locked");
    if rustix::process::geteuid().is_root() {
        // Root reads everything but what is not there.
        fs_err::remove_file(&path).unwrap();
        symlink("gone", &path).unwrap();
        check(&space, &[], "Kubefile:2:1", &["locked"]);
    } else {
        use std::os::unix::fs::PermissionsExt;
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        check(&space, &[], "Kubefile:2:1", &["locked", "ermission denied"]);
    }
}

fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, target) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_link_name_literal(target).unwrap();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn hostile_archives_are_refused() {
    use tar::EntryType::{Link, Regular, Symlink};
    for (entries, text) in [
        (vec![("../x", Regular, "")], "leaves the archive"),
        (vec![("l", Symlink, "../../etc"), ("l/x", Regular, "")], "which the archive makes a link"),
        (vec![("l", Symlink, "/etc"), ("l/x", Regular, "")], "which the archive makes a link"),
        (vec![("h", Link, "../../etc/passwd")], "leads out of the archive"),
        (vec![("h", Link, "nothing")], "names a file the archive does not have"),
    ] {
        let space = Space::new();
        space.file("evil.tar", archive(&entries)).kubefile("FROM scratch\nADD evil.tar /d/\n");
        check(&space, &[], "Kubefile:2:1", &[text]);
    }
    // A link's own text is kept, wherever it points, as COPY keeps it; what is written through it stays in the image.
    let space = Space::new();
    space.file("up.tar", archive(&[("a/l", Symlink, "../../../up")])).file("x", "x");
    space.kubefile("FROM scratch\nADD up.tar /d/\nCOPY x /d/a/l/\n").built(&[]);
    let root = space.rootfs("localhost/x:1");
    assert!(root["d/a/l"].header.ends_with("-> ../../../up"), "{root:?}");
    assert_eq!(root["up/x"].content, b"x");
    // Two thousand directories deep is unusual, and no reason to fall over.
    let space = Space::new();
    let mut deep = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    deep.append_data(&mut header, vec!["d"; 2000].join("/"), std::io::empty()).unwrap();
    space.file("deep.tar", deep.into_inner().unwrap()).kubefile("FROM scratch\nADD deep.tar /\n");
    space.built(&[]);
    let space = Space::new();
    let mut zeros = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best()));
    let mut header = tar::Header::new_ustar();
    header.set_size(3 << 30);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_path("zeros").unwrap();
    header.set_cksum();
    zeros.append(&header, std::io::Read::take(std::io::repeat(0), 3 << 30)).unwrap();
    space
        .file("bomb.tgz", zeros.into_inner().unwrap().finish().unwrap())
        .kubefile("FROM scratch\nADD bomb.tgz /\n");
    check(&space, &[], "Kubefile:2:1", &["far more than its own size"]);
}

#[test]
fn broken_archives_are_refused() {
    let mut whole = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(40_000);
    header.set_mode(0o644);
    let noise: Vec<u8> = (0..40_000_u32).flat_map(|n| (n * n).to_le_bytes()).take(40_000).collect();
    whole.append_data(&mut header, "f", noise.as_slice()).unwrap();
    let whole = whole.into_inner().unwrap();
    for (name, program) in [
        ("a.tar", "cat"),
        ("a.tgz", "gzip"),
        ("a.tar.xz", "xz"),
        ("a.tar.bz2", "bzip2"),
        ("a.tar.zst", "cat"),
    ] {
        let space = Space::new();
        space.file("plain", &whole).kubefile(&format!("FROM scratch\nADD {name} /d/\n"));
        let script = format!("{program} < plain > {name}");
        let made = Command::new("sh").args(["-c", &script]).current_dir(space.context()).status();
        assert!(made.unwrap().success());
        if name.ends_with(".zst") {
            space.file(name, zstd::encode_all(whole.as_slice(), 3).unwrap());
        }
        let good = fs_err::read(space.context().join(name)).unwrap();
        space.file(name, &good[..good.len() / 2]);
        check(&space, &[], "Kubefile:2:1", &[&format!("archive `{name}`: cannot be read as a tar archive")]);
        // Damaged where it begins, it is not even known for a tar any more; but it is called one.
        if name != "a.tar" {
            let mut damaged = good.clone();
            damaged[10..].fill(0xff);
            space.file(name, &damaged);
            check(&space, &[], "Kubefile:2:1", &[&format!("archive `{name}`: cannot be read")]);
            fs_err::rename(space.context().join(name), space.context().join("data")).unwrap();
            space.kubefile("FROM scratch\nADD data /d/\n").built(&[]);
            assert_eq!(
                space.rootfs("localhost/x:1")["d/data"].content,
                damaged,
                "what is no archive is a file"
            );
        }
    }
}

#[test]
fn servers_that_fail_are_told_with_the_line() {
    let server = Server::start();
    server.file("/f.yaml", b"kind: A\n".to_vec());
    server.file("/big.yaml", vec![b'#'; 5000]);
    let space = Space::new();
    let sum = "0".repeat(64);
    for (source, flags, text) in [
        (format!("APP a {}", server.url("/nope.yaml")), vec![], "404"),
        (
            format!("ADD --checksum=sha256:{sum} {} /", server.url("/f.yaml")),
            vec![],
            "has the checksum sha256:",
        ),
        (format!("APP a {}", server.url("/big.yaml")), vec!["--max-download", "1K"], "--max-download"),
    ] {
        space.kubefile(&format!("FROM scratch\n{source}\n"));
        check(&space, &flags, "Kubefile:2:1", &[text]);
    }
}

#[test]
fn a_url_without_a_file_name_takes_the_destinations() {
    let server = Server::start();
    server.file("/", b"page".to_vec());
    let space = Space::new();
    let url = server.url("/");
    for name in ["x", "y"] {
        space.kubefile(&format!("FROM scratch\nADD {url} /d/{name}\n"));
        space.built(&[]);
        assert_eq!(space.rootfs("localhost/x:1")[&format!("d/{name}")].content, b"page");
    }
    space.kubefile(&format!("FROM scratch\nAPP a {url}\n"));
    fails(&space, &["build", "-t", "x:1", "."], &["Kubefile:2:1", "names no file"]);
}

/// Fails with all of these texts, whatever else the store has.
fn fails(space: &Space, words: &[&str], texts: &[&str]) {
    let run = space.run(words);
    assert_eq!(run.code, Some(1), "{words:?}: {}", run.stderr);
    for text in texts {
        assert!(run.stderr.contains(text), "{words:?}: `{text}` is not in:\n{}", run.stderr);
    }
}

#[test]
fn a_base_that_is_here_for_another_platform_is_told_so() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /\n");
    space.built(&["--platform", "linux/amd64", "-t", "one:1"]);
    space.built(&["--platform", "linux/amd64,linux/s390x", "-t", "two:1"]);
    for (base, offered) in [
        ("one:1", "linux/amd64"),
        ("localhost/one:1", "linux/amd64"),
        ("two:1", "only for linux/amd64, linux/s390x"),
        ("localhost/two:1", "only for linux/amd64, linux/s390x"),
    ] {
        space.kubefile(&format!("FROM {base}\n"));
        for policy in ["always", "ifnewer", "missing", "never"] {
            let build =
                ["build", "--offline", "--pull", policy, "--platform", "linux/arm64", "-t", "y:1", "."];
            fails(&space, &build, &["Kubefile:1:1", offered, "linux/arm64", "--platform"]);
        }
    }
}

#[test]
fn a_store_that_lost_something_says_what_and_what_to_do() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /\n");
    space.built(&["-t", "base:1"]);
    let layer = space.manifest("localhost/base:1")["layers"][0]["digest"].as_str().unwrap().to_owned();
    let path = space.store().join("blobs/sha256").join(layer.trim_start_matches("sha256:"));
    let good = fs_err::read(&path).unwrap();
    space.kubefile("FROM base:1\n");
    let shown = |what: &str| format!("`{}` is {what}", path.display());
    let tar = ["build", "-t", "y:1", "--build-mode", "lite", "-o", "type=tar,dest=o.tar", "."];
    let mut bad = good.clone();
    bad[0] ^= 1;
    fs_err::write(&path, &bad).unwrap();
    fails(&space, &tar, &[&shown("damaged"), "hint: `sealer cache verify`"]);
    fs_err::write(&path, &good[..good.len() / 2]).unwrap();
    fails(&space, &tar, &[&shown("damaged"), "hint: `sealer cache verify`"]);
    fs_err::remove_file(&path).unwrap();
    fails(&space, &tar, &[&shown("missing"), "hint: `sealer cache verify`"]);
    let index = space.store().join("index.json");
    fs_err::write(&index, "{").unwrap();
    let hint = "hint: it says which images the store has";
    for words in [&["images"][..], &["rmi", "base:1"], &tar] {
        fails(&space, words, &[&format!("`{}` cannot be read", index.display()), hint]);
    }
}

#[test]
fn what_the_system_refuses_is_told_with_its_path() {
    let space = Space::new();
    space.file("a", "a").kubefile("FROM scratch\nCOPY a /\n");
    space.built(&[]);
    for format in ["oci-archive", "docker-archive"] {
        fails(
            &space,
            &["save", "x:1", "--format", format, "-o", "/dev/full"],
            &["`/dev/full` cannot be written: No space left", "hint: make room"],
        );
    }
    fails(
        &space,
        &["build", "-t", "x:1", "--build-mode", "lite", "-o", "type=tar,dest=/dev/full", "."],
        &["`/dev/full` cannot be written: No space left"],
    );
    for words in [&["images"][..], &["cache", "verify"], &["build", "-t", "x:1", "."], &["rmi", "x:1"]] {
        fails(
            &space,
            &[&["--root", "/dev/null/x"], words].concat(),
            &["`/dev/null/x/oci-layout`", "Not a directory"],
        );
    }
}

#[test]
fn a_server_that_stumbles_is_asked_again() {
    let server = Server::start();
    server.route("/f.yaml", |request| {
        if request.attempt < 2 { Response::status(500) } else { Response::ok(b"kind: A\n".to_vec()) }
    });
    let space = Space::new();
    space.kubefile(&format!("FROM scratch\nAPP a {}\n", server.url("/f.yaml")));
    space.built(&[]);
    assert_eq!(space.rootfs("localhost/x:1")["application/apps/a/f.yaml"].content, b"kind: A\n");
}

#[test]
fn an_unchanged_url_is_asked_about_and_not_fetched_again() {
    let server = Server::start();
    server.file("/f.yaml", vec![b'#'; 100_000]);
    let space = Space::new();
    space.kubefile(&format!("FROM scratch\nAPP a {}\n", server.url("/f.yaml")));
    assert_eq!(space.built(&[])["bytes_fetched"], 100_000);
    let again = space.built(&[]);
    assert_eq!((again["bytes_fetched"].as_u64(), again["executed"].as_u64()), (Some(0), Some(0)), "{again}");
}

#[test]
fn secrets_of_a_url_are_told_to_nobody() {
    let server = Server::start();
    let space = Space::new();
    let url = server.url("/nope.yaml?token=hunter2").replace("http://", "http://user:hunter3@");
    space.kubefile(&format!("FROM scratch\nADD {url} /x\n"));
    let run = space.build(&["--progress", "json"]);
    assert_eq!(run.code, Some(1));
    // The line of the Kubefile itself is the user's own text, and is shown.
    let messages: Vec<&str> = run.stderr.lines().filter(|line| !line.contains("2 |")).collect();
    assert!(!messages.join("\n").contains("hunter"), "{}", run.stderr);
    server.file("/f.yaml", b"kind: A\n".to_vec());
    let url = server.url("/f.yaml?token=hunter2").replace("http://", "http://user:hunter3@");
    space.kubefile(&format!("FROM scratch\nADD {url} /x\nAPP a {url}\n"));
    for progress in ["json", "plain"] {
        let run = space.build(&["--progress", progress]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(!run.stderr.contains("hunter"), "{}", run.stderr);
    }
    let mut grep = Command::new("grep");
    grep.args(["-rl", "hunter"]).arg(space.store()).arg("../metadata.json");
    let found = crate::space::run(grep.current_dir(space.context()));
    assert_eq!(found.stdout, "", "in the store");
}

#[test]
fn ctrl_c_ends_with_130_and_the_next_build_succeeds() {
    stopped(Signal::INT, 130);
}

#[test]
fn a_closed_terminal_ends_a_build_as_sigterm_does() {
    if ignores(Signal::HUP) {
        return skipped("who is started by nohup outlives its terminal");
    }
    stopped(Signal::HUP, 143);
}

fn stopped(signal: Signal, code: i32) {
    let server = Server::start();
    let stored = Stored::new(b"kind: A\n".to_vec());
    server.route("/f.yaml", move |request| {
        if request.attempt == 0 { Response::ok(vec![b'#'; 9]).stall_after(4) } else { stored.answer(request) }
    });
    let space = Space::new();
    space.kubefile(&format!("FROM scratch\nAPP a {}\n", server.url("/f.yaml")));
    let build = ["build", "-t", "x:1", "--build-mode", "lite", "."];
    let mut child = space.command().args(build).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while server.requests().is_empty() && start.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, signal).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(code));
    assert_eq!(fs_err::read_dir(space.store().join("tmp")).map_or(0, Iterator::count), 0);
    space.built(&[]);
}

#[test]
fn wrong_usage_is_exit_code_1() {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nAPP a local://a.yaml\n");
    for (words, text) in [
        (&["build", "."][..], "--tag"),
        (&["build", "-t", "x", "--type", "foo", "."], "image type foo is not supported"),
        (&["build", "-t", "x", "--platform", "linux/amd64,c", "."], "not a platform"),
        (&["build", "-t", "X:Y:Z", "."], "is not an image name"),
        (&["build", "-t", "x", "--compression", "lzma", "."], "compression `lzma` is not supported"),
        (&["build", "-t", "x", "--build-arg", "A", "."], "build args should be key=value"),
        (&["build", "-t", "x", "--image-list", "l", "."], "a list of images cannot be read"),
        (&["build", "-t", "x", "nowhere"], "`nowhere` is no build context: there is no such directory"),
        (&["inspect", "nope"], "image not known"),
    ] {
        let run = space.run(words);
        assert_eq!(run.code, Some(1), "{words:?}: {}", run.stderr);
        assert!(run.stderr.contains(text), "{words:?}: {}", run.stderr);
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn images_named_in_manifests_stop_a_build_that_should_carry_them() {
    let space = Space::new();
    space.file("m.yaml", "kind: Pod\nimage: nginx:1.2\n").kubefile("FROM scratch\nAPP a local://m.yaml\n");
    let run = space.run(&["build", "-t", "x:1", "."]);
    assert_eq!(run.code, Some(1));
    for text in ["application/apps/a/m.yaml:2: nginx:1.2", "--build-mode lite"] {
        assert!(run.stderr.contains(text), "{}", run.stderr);
    }
    space.built(&[]);
}
