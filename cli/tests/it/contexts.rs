//! Build contexts of every kind: the same files are the same image, wherever they came from, by the same rules.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::git_server::{Daemon, Repositories};
use crate::server::Server;
use crate::space::{Run, Space, has_program, run, skipped};

/// A context with a bit of everything.
fn filled() -> Space {
    let space = Space::new();
    space
        .file("app/a.yaml", "kind: A\n")
        .file("app/deep/er/b.yaml", "kind: B\n")
        .file("app/large", vec![7; 200_000])
        .file("notes/one.md", "1")
        .file("notes/two.md", "2")
        .file("secret", "s")
        .file(".dockerignore", "secret\nnotes/*\n!notes/two.md\n");
    fs_err::set_permissions(space.context().join("app/a.yaml"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    symlink("deep/er/b.yaml", space.context().join("app/link")).unwrap();
    symlink("app/deep", space.context().join("way")).unwrap();
    space.kubefile("FROM scratch\nCOPY . /all/\nCOPY way/er/*.yaml app/lin* /picked/\nAPP a local://app\nAPPCMDS a [\"kubectl apply -f .\"]\n");
    space
}

/// A tar of a context, as `tar` writes it.
fn tar(space: &Space, words: &[&str]) -> Vec<u8> {
    let output =
        Command::new("tar").args(words).arg("-C").arg(space.context()).args(["-cf", "-", "."]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn through(program: &str, words: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

/// Builds a context by the word for it, in a store, with bytes on standard input.
fn build(space: &Space, store: &str, context: &str, words: &[&str], stdin: &[u8]) -> Run {
    let mut command = space.command();
    command.env("SEALER_ROOT", space.root().join(store)).current_dir(space.root());
    command.args(["build", "-t", "x:1", "--build-mode", "lite", "--metadata-file", "metadata.json"]);
    command.args(words).arg(context).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It need not be read to its end, or at all.
    let mut pipe = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || pipe.write_all(stdin));
        child.wait_with_output().unwrap()
    });
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn digest(space: &Space, store: &str, context: &str, words: &[&str], stdin: &[u8]) -> String {
    let run = build(space, store, context, words, stdin);
    assert_eq!(run.code, Some(0), "{context}: {}", run.stderr);
    assert_eq!(leftovers(space, store), 0, "leftovers in tmp/");
    space.digest()
}

fn leftovers(space: &Space, store: &str) -> usize {
    fs_err::read_dir(space.root().join(store).join("tmp")).map_or(0, Iterator::count)
}

fn fails(space: &Space, context: &str, words: &[&str], stdin: &[u8], texts: &[&str]) {
    let run = build(space, "store", context, words, stdin);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for text in texts {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    assert_eq!(leftovers(space, "store"), 0, "leftovers in tmp/");
}

#[test]
fn the_same_files_are_the_same_image_wherever_they_come_from() {
    let space = filled();
    let wanted = digest(&space, "plain", "context", &[], b"");
    let plain = tar(&space, &["--owner=1234", "--group=99"]);
    for (program, words) in
        [("cat", &[][..]), ("gzip", &["-c"]), ("bzip2", &["-c"]), ("xz", &["-c"]), ("zstd", &["-c"])]
    {
        if has_program(program) {
            let packed = through(program, words, &plain);
            assert_eq!(digest(&space, "piped", "-", &[], &packed), wanted, "{program}");
        }
    }
    assert_eq!(space.metadata()["sealer.build"]["executed"], 0, "one store has made it once");
    fs_err::write(space.root().join("ctx.tar.gz"), through("gzip", &["-c"], &plain)).unwrap();
    assert_eq!(digest(&space, "archive", "ctx.tar.gz", &[], b""), wanted);

    let server = Server::start();
    server.file("/ctx.tgz", fs_err::read(space.root().join("ctx.tar.gz")).unwrap());
    for executed in [3, 0] {
        assert_eq!(digest(&space, "web", &server.url("/ctx.tgz?token=1"), &[], b""), wanted);
        assert_eq!(space.metadata()["sealer.build"]["executed"], executed);
    }
    let bodies = server.requests().iter().filter(|one| one.header("if-none-match").is_none()).count();
    assert_eq!(bodies, 1, "what has not changed is not downloaded again");
    // From one kind to another nothing is made again.
    assert_eq!(digest(&space, "web", "context", &[], b""), wanted);
    assert_eq!(space.metadata()["sealer.build"]["executed"], 0);
}

#[test]
fn a_git_repository_is_a_context() {
    let space = filled();
    let wanted = digest(&space, "plain", "context", &[], b"");
    let Some(repositories) = Repositories::new() else { return };
    repositories.git("r.git", &["status"]);
    let copy =
        format!("cp -a '{}/.' '{}'", space.context().display(), repositories.path("r.git", "sub").display());
    fs_err::create_dir_all(repositories.path("r.git", "sub")).unwrap();
    assert!(Command::new("sh").args(["-c", &copy]).status().unwrap().success());
    repositories.commit_all("r.git");
    let daemon = Daemon::start(&repositories.root());
    let url = daemon.url("r.git");
    for executed in [3, 0] {
        assert_eq!(digest(&space, "git", &format!("{url}#main:sub"), &[], b""), wanted);
        assert_eq!(space.metadata()["sealer.build"]["executed"], executed);
    }
    fails(
        &space,
        &url,
        &[],
        b"",
        &["there is no `Kubefile` in the build context `git://127.0.0.1", "hint: "],
    );
    fails(&space, &format!("{url}#nope"), &[], b"", &["has no branch, tag or reference `nope`"]);
    fails(&space, &format!("{url}#-x"), &[], b"", &["`-x` cannot be the name of a branch"]);
    let other = ["-f", "sub/../sub/Kubefile"];
    fails(&space, &url, &other, b"", &["is not in the build context"]);
}

#[test]
fn patterns_links_and_ignore_files_mean_the_same_in_every_kind() {
    let space = filled();
    space.file("d/.sealerignore", "*.log\n!keep.log\n").file("d/x.log", "x").file("d/keep.log", "k");
    space.file("d/y/z/deep.log", "d").file("d/y/z/f", "f").file("star*", "s").file("d/w [1]", "w");
    symlink("/etc", space.context().join("abs")).unwrap();
    symlink("loop", space.context().join("loop")).unwrap();
    symlink("nowhere", space.context().join("lost")).unwrap();
    symlink("app", space.context().join("unseen")).unwrap();
    symlink("/etc", space.context().join("hidden")).unwrap();
    symlink("hidden/passwd", space.context().join("behind")).unwrap();
    space.file(".dockerignore", "secret\nnotes/*\n!notes/two.md\nunseen\nhidden\n");
    symlink("../..", space.context().join("app/up")).unwrap();
    for (copy, says) in [
        ("COPY --parents app/deep/er/b.yaml way/er /x/", None),
        ("COPY --parents **/*.yaml /x/", None),
        ("COPY app/*/er /x/", None),
        ("COPY d /x/", None),
        ("COPY **/f **/keep.log /x/", None),
        (r#"COPY ["star\\*", "d/w \\[1]", "/x/"]"#, None),
        ("COPY notes /x/", None),
        ("COPY way /x", None),
        ("COPY app/link /x", None),
        ("COPY app /x", None),
        ("COPY ../../app /x", None),
        ("COPY secret /x", Some("(an ignore file leaves it out)")),
        ("COPY notes/one.md /x", Some("(an ignore file leaves it out)")),
        ("COPY unseen /x", Some("(an ignore file leaves it out)")),
        ("COPY unseen/deep/er/b.yaml /x", Some("is not in the build context")),
        ("COPY behind /x", Some("(an ignore file leaves it out)")),
        ("COPY behin? d /x/", Some("is not in the build context")),
        ("COPY nope* /x", Some("is not in the build context")),
        ("COPY app/a.yaml/b /x", Some("is not in the build context")),
        ("COPY abs/passwd /x", Some("leaves the build context through the link `abs`")),
        ("COPY app/up/x /x", Some("leaves the build context through the link `app/up`")),
        ("COPY loop /x", Some("symbolic links on its way")),
        ("COPY --parents los? d /x/", None),
        ("COPY los? d /x/", Some("`lost` is a link to `nowhere`")),
    ] {
        space.kubefile(&format!("FROM scratch\n{copy}\n"));
        let mut runs = Vec::new();
        let packed = tar(&space, &["--sort=name"]);
        for (store, context, stdin) in [("a", "context", &b""[..]), ("b", "-", &packed)] {
            let _ = fs_err::remove_file(space.root().join("metadata.json"));
            let run = build(&space, store, context, &[], stdin);
            let made = if run.code == Some(0) { space.digest() } else { String::new() };
            if let Some(says) = says {
                assert!(run.stderr.contains(says), "{copy}: {}", run.stderr);
            }
            runs.push((run.code, made));
        }
        assert_eq!(runs[0], runs[1], "{copy}");
        assert_eq!(runs[0].0, Some(i32::from(says.is_some())), "{copy}");
    }
}

#[test]
fn attributes_of_an_archive_are_those_of_its_files() {
    let space = Space::new();
    space.file("d/f", "f").file("g", "g").kubefile("FROM scratch\nCOPY . /all/\n");
    let bare = digest(&space, "a", "context", &[], b"");
    let set = |path: &str, name: &str| {
        let path = space.context().join(path);
        rustix::fs::lsetxattr(&path, name, b"a\0\nb", rustix::fs::XattrFlags::empty())
    };
    if let Err(error) = set("d/f", "user.note").and_then(|()| set("d", "user.overlay.opaque")) {
        return skipped(&format!("attributes cannot be set here: {error}"));
    }
    set("d", "user.dir").unwrap();
    let packed = tar(&space, &["--format=posix", "--xattrs", "--xattrs-include=*"]);
    let attributed = digest(&space, "a", "context", &[], b"");
    assert_ne!(attributed, bare);
    assert_eq!(digest(&space, "b", "-", &[], &packed), attributed);
}

#[test]
fn times_of_an_archive_are_kept_when_asked_for() {
    let space = filled();
    let packed = tar(&space, &["--mtime=2001-02-03T04:05:06Z"]);
    let touch = "find . -exec touch -h -d 2001-02-03T04:05:06Z {} +";
    assert!(Command::new("sh").args(["-c", touch]).current_dir(space.context()).status().unwrap().success());
    let kept = digest(&space, "a", "-", &["--timestamp", "keep"], &packed);
    assert_eq!(digest(&space, "b", "context", &["--timestamp", "keep"], b""), kept);
    assert_ne!(digest(&space, "a", "-", &[], &packed), kept);
}

#[test]
fn a_kubefile_may_come_by_itself() {
    let space = filled();
    let text = b"FROM scratch\nCOPY app/a.yaml /only\n";
    let run = build(&space, "store", "context", &["-f", "-"], text);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(space.rootfs("localhost/x:1").len(), 1);
    let piped = space.digest();
    space.file("other/K", text);
    assert_eq!(digest(&space, "store", "-", &["-f", "other/K"], &tar(&space, &[])), piped);
    assert_eq!(digest(&space, "store", "-", &["-f", "./way/../../other/K"], &tar(&space, &[])), piped);
    // A pipe gives what it has once.
    assert_eq!(digest(&space, "store", "context", &["-f", "/dev/stdin"], text), piped);
    let locked = ["-f", "/dev/stdin", "--lock"];
    fails(&space, "context", &locked, text, &["a Kubefile out of a pipe has no lock file"]);
    fails(&space, "context", &["-f", "/dev/zero"], b"", &["`/dev/zero` is larger than"]);
    fails(&space, "context", &["-f", "nope"], b"", &["open file `nope`", "hint: `-f FILE` is relative to"]);
    fails(&space, "-", &["-f", "-"], text, &["cannot both be standard input"]);
    fails(&space, "context", &["-f", "-"], b"FROM scratch\nCOPY nope /\n", &["stdin:2:1", "`nope`"]);
    fails(
        &space,
        "-",
        &["-f", "nope"],
        &tar(&space, &[]),
        &["there is no `nope` in the build context `standard input`"],
    );
}

#[test]
fn what_is_no_archive_or_a_hostile_one_is_refused() {
    let space = filled();
    fails(
        &space,
        "-",
        &[],
        b"FROM scratch\n",
        &["the build context `standard input` is not a tar archive", "hint: "],
    );
    fails(&space, "-", &[], b"", &["is not a tar archive"]);
    fails(&space, "-", &[], &through("gzip", &["-c"], &[0x41; 4096]), &["is not a tar archive"]);
    let cut = tar(&space, &[]);
    fails(&space, "-", &[], &cut[..cut.len() / 2], &["standard input", "tar archive"]);

    let archive = |entries: &[(&str, tar::EntryType, &str)]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, target) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_size(if *kind == tar::EntryType::Regular { target.len() as u64 } else { 0 });
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if *kind != tar::EntryType::Regular {
                header.set_link_name_literal(target).unwrap();
            }
            header.set_cksum();
            let body = if *kind == tar::EntryType::Regular { target.as_bytes() } else { b"" };
            builder.append(&header, body).unwrap();
        }
        builder.into_inner().unwrap()
    };
    use tar::EntryType::{Fifo, Link, Regular, Symlink};
    let kubefile = ("Kubefile", Regular, "FROM scratch\nCOPY . /\n");
    for (entry, says) in [
        (("../up", Regular, "x"), "leaves the archive"),
        (("/../up", Regular, "x"), "leaves the archive"),
        (("hard", Link, "../../etc/passwd"), "leads out of the archive"),
        (("hard", Link, "nothing"), "does not have"),
        ((".wh.x", Regular, "x"), "mark deletions"),
    ] {
        fails(&space, "-", &[], &archive(&[kubefile, entry]), &[says, "standard input"]);
    }
    let through_link = [kubefile, ("dir", Symlink, "/tmp"), ("dir/x", Regular, "x")];
    fails(&space, "-", &[], &archive(&through_link), &["which the archive makes a link"]);
    fails(&space, "-", &[], &archive(&[kubefile, ("pipe", Fifo, "")]), &["Kubefile:2:1", "is a FIFO"]);
    let outside = [("Kubefile", Symlink, "/etc/passwd")];
    fails(&space, "-", &[], &archive(&outside), &["leaves the build context through the link `Kubefile`"]);
}

#[test]
fn named_contexts_are_directories_archives_urls_and_repositories() {
    let space = filled();
    fs_err::create_dir_all(space.root().join("extra")).unwrap();
    fs_err::write(space.root().join("extra/f"), "f\n").unwrap();
    fs_err::write(space.root().join("extra/.sealerignore"), "hidden\n").unwrap();
    fs_err::write(space.root().join("extra/hidden"), "h").unwrap();
    let packed =
        Command::new("tar").arg("-C").arg(space.root().join("extra")).args(["-czf", "-", "."]).output();
    let packed = packed.unwrap().stdout;
    fs_err::write(space.root().join("extra.tgz"), &packed).unwrap();
    let server = Server::start();
    server.file("/extra.tgz", packed);
    let Some(repositories) = Repositories::new() else { return };
    repositories.commit("r.git", &[("f", "f\n"), (".sealerignore", "hidden\n"), ("hidden", "h")]);
    let daemon = Daemon::start(&repositories.root());

    space.kubefile(
        "FROM scratch\nCOPY --from=extra . /x/\nCOPY --from=extra --chown=5 f* /y/\nCOPY app/a.yaml /a\n",
    );
    let mut digests = Vec::new();
    for value in
        ["extra".to_owned(), "extra.tgz".to_owned(), server.url("/extra.tgz"), daemon.url("r.git#main")]
    {
        let given = format!("Extra={value}");
        for store in ["first", "second"] {
            digests.push(digest(&space, store, "context", &["--build-context", &given], b""));
        }
        if digests.len() > 2 {
            assert_eq!(space.metadata()["sealer.build"]["executed"], 0, "{value}");
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "where files come from is in no key");
    let run = build(&space, "store", "context", &["--build-context", "extra=extra"], b"");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let paths: Vec<String> = space.rootfs("localhost/x:1").into_keys().collect();
    assert_eq!(paths, ["a", "x", "x/.sealerignore", "x/f", "y", "y/f"]);
    let run = build(&space, "store", "-", &["--build-context", "extra=extra"], &tar(&space, &[]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    fails(
        &space,
        "context",
        &["--build-context", "extra=nope"],
        b"",
        &["the build context `extra` is not there"],
    );
    fails(&space, "context", &["--build-context", "extra"], b"", &["should be name=value"]);
    fails(&space, "context", &["--build-context", "extra=docker-image://"], b"", &["names no image"]);
    fails(&space, "context", &["--build-context", "=x"], b"", &["should be name=value"]);
    fails(&space, "context", &["--build-context", "extra=-"], b"", &["cannot be standard input"]);
    fails(
        &space,
        "context",
        &["--build-context", "extra=oci-layout://x"],
        b"",
        &["`oci-layout:` are not supported"],
    );
    fails(&space, "context", &["--build-context", "extra=ftp://x"], b"", &["`ftp://` are not supported"]);
    let twice = ["--build-context", "extra=extra", "--build-context", "docker.io/library/extra:latest=extra"];
    fails(&space, "context", &twice, b"", &["given twice"]);
    space.kubefile("FROM scratch\nCOPY --from=extra nope /x\n");
    let missing = ["Kubefile:2:1", "`nope` is not in the build context", "extra"];
    fails(&space, "context", &["--build-context", "extra=extra.tgz"], b"", &missing);
    fails(&space, "context", &["--build-context", "extra=extra"], b"", &missing);
}

#[test]
fn named_contexts_stand_in_for_stages_and_images() {
    let space = filled();
    space.kubefile("FROM scratch\nCOPY app/a.yaml /ready\nLABEL is=ready\n");
    let run = build(&space, "store", "context", &["-t", "ready:1"], b"");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = "FROM scratch AS build\nCOPY nope /made\nFROM alpine:3.20\nCOPY --from=build /ready /copied\n";
    space.kubefile(text);
    let given = [
        "--build-context",
        "build=docker-image://ready:1",
        "--build-context",
        "alpine:3.20=docker-image://localhost/ready:1",
    ];
    let run = build(&space, "store", "context", &given, b"");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    let paths: Vec<String> = space.rootfs("localhost/x:1").into_keys().collect();
    assert_eq!(paths, ["copied", "ready"]);
    assert_eq!(space.config("localhost/x:1")["config"]["Labels"]["is"], "ready");
    // Without it the stage is built.
    let run = build(&space, "store", "context", &given[2..], b"");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("Kubefile:2:1"), "{}", run.stderr);

    space.kubefile("FROM scratch\nCOPY app /app\n");
    let run = build(&space, "store", "context", &["--build-context", "b=context"], b"");
    assert!(run.stderr.contains("build contexts were not used: `b`"), "{}", run.stderr);
    let run = build(&space, "store", "context", &["--strict", "--build-context", "b=context"], b"");
    assert_eq!(run.code, Some(1), "{}", run.stderr);
}

#[test]
fn what_was_kept_of_a_context_and_is_damaged_is_fetched_again() {
    let space = filled();
    let wanted = digest(&space, "plain", "context", &[], b"");
    let server = Server::start();
    server.file("/ctx.tgz", through("gzip", &["-c"], &tar(&space, &[])));
    let Some(repositories) = Repositories::new() else { return };
    repositories.git("r.git", &["status"]);
    let copy = format!("cp -a '{}/.' .", space.context().display());
    let copied = Command::new("sh").args(["-c", &copy]).current_dir(repositories.path("r.git", "")).status();
    assert!(copied.unwrap().success());
    repositories.commit_all("r.git");
    let daemon = Daemon::start(&repositories.root());
    for (store, url) in [("web", server.url("/ctx.tgz")), ("git", daemon.url("r.git"))] {
        assert_eq!(digest(&space, store, &url, &[], b""), wanted);
        let sources = run(space.command().env("SEALER_ROOT", space.root().join(store)).args([
            "cache",
            "ls",
            "--json",
            "--filter",
            "type=source",
        ]));
        let sources: serde_json::Value = serde_json::from_str(&sources.stdout).unwrap();
        let name = sources[0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let blob = space.root().join(store).join("blobs/sha256").join(name);
        let mut bytes = fs_err::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs_err::set_permissions(&blob, std::fs::Permissions::from_mode(0o644)).unwrap();
        fs_err::write(&blob, bytes).unwrap();
        for words in [&["--no-cache"][..], &[]] {
            assert_eq!(digest(&space, store, &url, words, b""), wanted, "{url}");
        }
    }
    let bodies = server.requests().iter().filter(|one| one.header("if-none-match").is_none()).count();
    assert_eq!(bodies, 2);
}

#[test]
fn where_a_context_is_stands_in_nothing_that_is_kept() {
    let space = filled();
    digest(&space, "store", "-", &["--explain=json"], &tar(&space, &[]));
    let mut pending = vec![space.root().join("store")];
    let needle = b"sealer-test-";
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs_err::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        // The database's own logs say where it is.
        } else if !path.file_name().unwrap().to_string_lossy().contains("LOG")
            && !path.file_name().unwrap().to_string_lossy().starts_with("OPTIONS")
        {
            let bytes = fs_err::read(&path).unwrap();
            for bytes in [zstd::decode_all(bytes.as_slice()).unwrap_or_default(), bytes] {
                assert!(!bytes.windows(needle.len()).any(|part| part == needle), "{}", path.display());
            }
        }
    }
}

#[test]
fn who_waits_for_standard_input_can_be_stopped() {
    for words in [
        &["build", "-t", "x:1", "-"][..],
        &["build", "-t", "x:1", "-f", "-", "context"],
        &["build", "-t", "x:1", "-f", "/dev/stdin", "context"],
        &["load"],
    ] {
        let space = filled();
        let mut child = space
            .command()
            .current_dir(space.root())
            .args(words)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&tar(&space, &[])[..4096]).unwrap();
        wait_for_store(&space.store());
        let start = Instant::now();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(leftovers(&space, "store"), 0, "leftovers in tmp/");
        drop(stdin);
    }
}

/// The handler of signals is there before the store is.
fn wait_for_store(store: &Path) {
    let start = Instant::now();
    while !store.join("oci-layout").exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "there is no store");
        std::thread::yield_now();
    }
}

#[test]
fn a_terminal_is_no_context() {
    let space = filled();
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = fs_err::File::open(path).unwrap().into_parts().0;
    let run = run(space.command().args(["build", "-t", "x:1", "-"]).stdin(theirs));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("standard input is a terminal"), "{}", run.stderr);
}
