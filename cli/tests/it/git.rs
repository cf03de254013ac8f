//! `ADD` of git repositories: what a commit holds, asked for no oftener than needed, and nothing of this machine in it.

use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::git_server::{Daemon, Manners, PASSWORD, Repositories, Smart, USER_INFO, fake_ssh};
use crate::space::{Run, Space, run};

/// A repository with a bit of everything, and a smart server.
fn served() -> Option<(Repositories, Smart)> {
    let repositories = Repositories::new()?;
    let files = [
        (".gitattributes", "*.txt export-ignore\nsubst export-subst\n*.bat text eol=crlf\n"),
        ("charts/a/x.yaml", "kind: A\n"),
        ("kept.txt", "in no archive, in every checkout\n"),
        ("subst", "$Format:%H$\n"),
        ("run.bat", "one\ntwo\n"),
        ("with space/-x", "-\n"),
    ];
    repositories.commit("r.git", &files);
    fs_err::write(repositories.path("r.git", "run.sh"), "#!/bin/sh\n").unwrap();
    std::process::Command::new("chmod")
        .arg("6775")
        .arg(repositories.path("r.git", "run.sh"))
        .status()
        .unwrap();
    symlink("../../outside", repositories.path("r.git", "charts/up")).unwrap();
    repositories.commit_all("r.git");
    let smart = Smart::start(&repositories.root(), Manners::default());
    Some((repositories, smart))
}

fn fails(space: &Space, words: &[&str], wanted: &[&str]) -> Run {
    let run = space.build(words);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for text in wanted {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    let tmp = fs_err::read_dir(space.store().join("tmp")).map_or(0, Iterator::count);
    assert_eq!(tmp, 0, "leftovers in tmp/");
    run
}

fn listing(space: &Space) -> Vec<String> {
    space.rootfs("localhost/x:1").iter().map(|(path, node)| format!("{path} {}", node.header)).collect()
}

#[test]
fn a_commit_is_what_a_checkout_of_it_has() {
    let Some((_repositories, smart)) = served() else { return };
    let space = Space::new();
    space.kubefile(&format!("FROM scratch\nADD {} /src\n", smart.url("r.git")));
    space.built(&[]);
    assert_eq!(
        listing(&space),
        [
            "src d 0755 0/0 0",
            "src/.gitattributes - 0644 0/0 59",
            "src/charts d 0755 0/0 0",
            "src/charts/a d 0755 0/0 0",
            "src/charts/a/x.yaml - 0644 0/0 8",
            "src/charts/up l 0777 0/0 0 -> ../../outside",
            "src/kept.txt - 0644 0/0 33",
            "src/run.bat - 0644 0/0 10",
            "src/run.sh - 0755 0/0 10",
            "src/subst - 0644 0/0 12",
            "src/with space d 0755 0/0 0",
            "src/with space/-x - 0644 0/0 2",
        ]
    );
    assert_eq!(space.rootfs("localhost/x:1")["src/subst"].content, b"$Format:%H$\n");
    assert_eq!(space.rootfs("localhost/x:1")["src/run.bat"].content, b"one\r\ntwo\r\n");
}

#[test]
fn references_are_branches_tags_commits_and_full_names() {
    let Some(repositories) = Repositories::new() else { return };
    let first = repositories.commit("r.git", &[("dir/f", "1\n")]);
    repositories.git("r.git", &["tag", "-a", "v1", "-m", "annotated"]);
    repositories.git("r.git", &["branch", "release/1"]);
    repositories.git("r.git", &["update-ref", "refs/pull/7/head", "HEAD"]);
    repositories.commit("r.git", &[("dir/f", "2\n")]);
    repositories.git("r.git", &["branch", "v1"]);
    repositories.commit("r.git", &[("dir/f", "3\n")]);
    // A bare clone has branches and tags; the rest is pushed.
    let served = repositories.root().join("r.git");
    repositories.git("r.git", &["push", "-q", &served.display().to_string(), "refs/pull/7/head"]);
    let daemon = Daemon::start(&repositories.root());
    let smart = Smart::start(&repositories.root(), Manners::default());
    for url in [daemon.url("r.git"), smart.url("r.git")] {
        let space = Space::new();
        for (fragment, found) in [
            ("", "3\n"),
            ("#main", "3\n"),
            ("#v1", "1\n"),
            ("#refs/heads/v1", "2\n"),
            ("#release/1", "1\n"),
            ("#pull/7/head", "1\n"),
            (&format!("#{first}"), "1\n"),
            (&format!("#{}:dir/", first.to_uppercase()), "1\n"),
            ("#:dir", "3\n"),
        ] {
            space.kubefile(&format!("FROM scratch\nADD {url}{fragment} /d\n"));
            space.built(&[]);
            let root = space.rootfs("localhost/x:1");
            let file = if fragment.contains(':') { "d/f" } else { "d/dir/f" };
            assert_eq!(root[file].content, found.as_bytes(), "{url}{fragment}: {:?}", root.keys());
        }
    }
}

#[test]
fn a_server_is_asked_once_a_build_and_gives_a_commit_once() {
    let Some((repositories, smart)) = served() else { return };
    let space = Space::new();
    let url = smart.url("r.git");
    space.kubefile(&format!("FROM scratch\nADD {url}#main:charts /charts\nADD {url}#main /all\n"));
    assert_eq!(space.built(&[])["executed"], 2);
    let first = space.digest();
    assert_eq!(smart.fetches(), 1, "two parts of one commit");
    assert_eq!(space.built(&[])["executed"], 0);
    assert_eq!((space.digest(), smart.fetches()), (first.clone(), 1));

    // A step that is new finds the commit in the store.
    space.kubefile(&format!("FROM scratch\nADD {url}#main:charts/a /a\nADD {url}#main:charts /charts\n"));
    space.built(&[]);
    let fetches = smart.fetches();
    space.kubefile(&format!("FROM scratch\nADD --chown=7 {url}#main:charts /charts\n"));
    assert_eq!(space.built(&[])["executed"], 1);
    assert_eq!(smart.fetches(), fetches);

    // What is named by its id is not even asked for.
    let commit = repositories.git("r.git", &["rev-parse", "HEAD"]);
    space.kubefile(&format!("FROM scratch\nADD --chown=8 {url}#{}:charts /charts\n", commit.trim()));
    let asked = smart.asked().len();
    assert_eq!(space.built(&[])["executed"], 1);
    assert_eq!(smart.asked().len(), asked);

    // A new commit that leaves the directory as it was makes no new layer.
    repositories.commit("r.git", &[("elsewhere", "new\n")]);
    space.kubefile(&format!("FROM scratch\nADD {url}#main:charts /charts\nADD {url}#main /all\n"));
    let built = space.built(&[]);
    assert_eq!((&built["executed"], &built["cached"]), (&1.into(), &1.into()), "{built}");
    assert_ne!(space.digest(), first);
    // On another machine it is the same image.
    let elsewhere = Space::new();
    elsewhere.kubefile(&format!("FROM scratch\nADD {url}#main:charts /charts\nADD {url}#main /all\n"));
    elsewhere.built(&["--jobs", "1"]);
    assert_eq!(elsewhere.digest(), space.digest());
}

#[test]
fn what_was_fetched_can_be_pruned_and_is_fetched_again() {
    let Some((_repositories, smart)) = served() else { return };
    let space = Space::new();
    space.kubefile(&format!("FROM scratch\nADD --keep-git-dir {} /src\n", smart.url("r.git")));
    space.built(&[]);
    let first = space.digest();
    let sources = |space: &Space| {
        space.run(&["cache", "ls", "--filter", "type=source", "--quiet"]).stdout.lines().count()
    };
    assert_eq!(sources(&space), 2, "the files, and the git directory");
    space.built(&["--no-cache"]);
    assert_eq!(smart.fetches(), 1);
    let run = space.run(&["cache", "prune", "--unused-for", "0s"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(sources(&space), 0);
    space.built(&[]);
    assert_eq!(smart.fetches(), 1, "the layer is there");
    space.built(&["--no-cache"]);
    assert_eq!((smart.fetches(), space.digest()), (2, first));
}

#[test]
fn a_git_directory_is_kept_when_asked_for_and_is_the_same_everywhere() {
    let Some((repositories, smart)) = served() else { return };
    let (space, other) = (Space::new(), Space::new());
    for (n, space) in [&space, &other].into_iter().enumerate() {
        space.kubefile(&format!("FROM scratch\nADD --keep-git-dir {} /src\n", smart.url("r.git")));
        space.built(&["--jobs", &(n + 1).to_string(), "-o", "type=rootfs,dest=../root"]);
        // What a server sends depends on how it keeps its objects.
        let served = repositories.root().join("r.git");
        let repack = ["-C", &served.display().to_string(), "repack", "-adfq", "--depth=1"];
        repositories.git("r.git", &repack);
    }
    assert_eq!(space.digest(), other.digest());
    let root = space.root().join("root/src");
    let git = |words: &[&str]| {
        let output = std::process::Command::new("git")
            .args(["-c", "safe.directory=*", "-C"])
            .arg(&root)
            .args(words)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(git(&["status", "--porcelain"]), "");
    assert_eq!(git(&["rev-parse", "HEAD"]), repositories.git("r.git", &["rev-parse", "HEAD"]));
    assert_eq!(git(&["rev-list", "--count", "HEAD"]), "1\n", "without its history");
    git(&["fsck", "--strict"]);
    assert!(!root.join(".git/hooks").exists());
}

#[test]
fn a_commit_can_be_pinned() {
    let Some((repositories, smart)) = served() else { return };
    let space = Space::new();
    let commit = repositories.git("r.git", &["rev-parse", "HEAD"]).trim().to_owned();
    let url = smart.url("r.git");
    space.kubefile(&format!("FROM scratch\nADD --checksum={commit} {url}#main /src\n"));
    space.built(&[]);
    let asked = smart.asked().len();
    space.built(&["--no-cache"]);
    assert_eq!(smart.asked().len(), asked, "what is pinned and known is not asked for");
    let other = "0123456789012345678901234567890123456789";
    space.kubefile(&format!("FROM scratch\nADD --checksum={other} {url}#main /src\n"));
    fails(
        &space,
        &[],
        &["Kubefile:2:", &format!("stands for the commit {commit}, not for {other}"), "hint: "],
    );
}

#[test]
fn a_reference_must_lead_to_the_commit_it_is_pinned_to() {
    let Some((repositories, smart)) = served() else { return };
    let space = Space::new();
    let first = repositories.git("r.git", &["rev-parse", "HEAD"]).trim().to_owned();
    repositories.git("r.git", &["tag", "old"]);
    let second = repositories.commit("r.git", &[("more", "2\n")]);
    let url = smart.url("r.git");
    // The files of both are known, by whatever they were asked for.
    for commit in [&first, &second] {
        space.kubefile(&format!("FROM scratch\nADD {url}#{commit} /src\n"));
        space.built(&[]);
    }
    for (reference, wrong) in [
        ("main", format!("stands for the commit {second}, not for {first}")),
        ("nope", "has no branch, tag or reference `nope`".to_owned()),
    ] {
        space.kubefile(&format!("FROM scratch\nADD --checksum={first} {url}#{reference} /src\n"));
        fails(&space, &[], &["Kubefile:2:", &wrong]);
        fails(&space, &[], &["Kubefile:2:", &wrong]);
    }
    space.kubefile(&format!("FROM scratch\nADD --checksum={first} {url}#old /src\n"));
    space.built(&[]);
    let asked = smart.asked().len();
    space.built(&["--no-cache"]);
    assert_eq!(smart.asked().len(), asked);
}

#[test]
fn what_git_cannot_give_is_told_at_its_line() {
    let Some((repositories, smart)) = served() else { return };
    let space = Space::new();
    let url = smart.url("r.git");
    let nowhere = "f".repeat(40);
    for (source, texts) in [
        (format!("{url}#nope"), ["has no branch, tag or reference `nope`", "`nope`"]),
        (format!("{url}#0123456"), ["has no branch, tag or reference", "all 40 digits"]),
        (format!("{url}#main:nope"), ["has no directory `nope`", "nope"]),
        (format!("{url}#main:kept.txt"), ["has no directory `kept.txt`", "nope"]),
        (format!("{url}#{nowhere}"), ["does not give the commit", "ffff"]),
        (smart.url("nope.git"), ["cannot be fetched", "not found"]),
        ("git://127.0.0.1:1/r.git".to_owned(), ["cannot be fetched", "onnection refused"]),
    ] {
        space.kubefile(&format!("FROM scratch\nCOPY Kubefile /k\nADD {source} /src\n"));
        fails(&space, &[], &["Kubefile:3:", texts[0], if texts[1] == "nope" { "ADD" } else { texts[1] }]);
    }
    space.kubefile(&format!("FROM scratch\nADD {url} /src\n"));
    fails(&space, &["--max-download", "100"], &["is larger than 100 bytes", "--max-download"]);

    repositories.commit("wh.git", &[("a/.wh.b", "x")]);
    space.kubefile(&format!("FROM scratch\nADD {} /src\n", smart.url("wh.git")));
    fails(&space, &[], &["Kubefile:2:", ".wh.b", "mark deletions"]);
    space.kubefile(&format!("FROM scratch\nADD {url} /src\n"));
    let run = run(space.command().env("PATH", "/nonexistent").args(["build", "-t", "x:1", "."]));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("`git` cannot be started"), "{}", run.stderr);
    assert!(run.stderr.contains("hint: install git"), "{}", run.stderr);
}

#[test]
fn submodules_are_left_out_and_it_is_said() {
    let Some((repositories, smart)) = served() else { return };
    let modules = "[submodule \"m\"]\n\tpath = m\n\turl = file:///etc\n";
    repositories.commit("s.git", &[(".gitmodules", modules), ("f", "x")]);
    let commit = repositories.git("r.git", &["rev-parse", "HEAD"]);
    let link = format!("160000,{},m", commit.trim());
    repositories.git("s.git", &["update-index", "--add", "--cacheinfo", &link]);
    repositories.git("s.git", &["commit", "-q", "-m", "module"]);
    repositories.publish("s.git");
    let space = Space::new();
    space.kubefile(&format!("FROM scratch\nADD {} /src\n", smart.url("s.git")));
    let run = space.build(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("has submodules, which are left out"), "{}", run.stderr);
    assert!(run.stderr.contains("Kubefile:2:"), "{}", run.stderr);
    assert_eq!(listing(&space)[2..], ["src/f - 0644 0/0 1", "src/m d 0755 0/0 0"]);
}

#[test]
fn credentials_reach_their_server_and_nothing_else() {
    let Some((repositories, _)) = served() else { return };
    let private = Smart::start(&repositories.root(), Manners { is_private: true, ..Manners::default() });
    let space = Space::new();
    space.kubefile(&format!("FROM scratch\nADD {} /src\n", private.url("r.git")));
    fails(&space, &[], &["Kubefile:2:", "could not read Username", "hint: a private repository needs"]);

    space.kubefile(&format!("FROM scratch\nADD {} /src\n", private.url_as("robot:wr%6fng-word", "r.git")));
    let run = fails(&space, &[], &["Authentication failed"]);
    // The lines of the Kubefile are shown as they are.
    let told = run.stderr.lines().find(|line| line.contains("Authentication failed")).unwrap();
    assert!(!told.contains("wrong-word") && !told.contains("wr%6fng"), "{told}");

    space.kubefile(
        "FROM scratch\nARG AS\nADD http://$AS/r.git#main /src\nADD --keep-git-dir http://$AS/r.git /git\n",
    );
    let address =
        private.url_as(USER_INFO, "").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let run = space.build(&["--build-arg", &format!("AS={address}"), "--progress", "plain", "--explain"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(
        private
            .asked()
            .iter()
            .all(|asked| asked.authorization.is_some() || asked.path.ends_with("info/refs"))
    );
    // Neither in what is said, nor in what is kept.
    let mut kept = vec![run.stderr.into_bytes(), run.stdout.into_bytes()];
    let mut pending = vec![space.store()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs_err::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = fs_err::read(&path).unwrap();
            kept.push(zstd::decode_all(bytes.as_slice()).unwrap_or_default());
            kept.push(bytes);
        }
    }
    for secret in [PASSWORD, USER_INFO, "s3cr3t"] {
        for bytes in &kept {
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
        }
    }
}

#[test]
fn settings_of_the_user_do_not_count() {
    let Some((_repositories, smart)) = served() else { return };
    let space = Space::new();
    let home = space.root().join("home");
    fs_err::create_dir_all(home.join("hooks")).unwrap();
    let config = "[url \"file:///nowhere/\"]\n\tinsteadOf = http://\n[core]\n\tautocrlf = true\n[tar]\n\tumask = 0077\n";
    fs_err::write(home.join(".gitconfig"), config).unwrap();
    space.kubefile(&format!("FROM scratch\nADD {} /src\n", smart.url("r.git")));
    space.built(&[]);
    let plain = space.digest();
    let other = Space::new();
    other.kubefile(&format!("FROM scratch\nADD {} /src\n", smart.url("r.git")));
    let mut command = other.command();
    command.env("HOME", &home).env("GIT_DIR", "/nowhere").env("GIT_CONFIG_GLOBAL", home.join(".gitconfig"));
    command
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "http.proxy")
        .env("GIT_CONFIG_VALUE_0", "http://127.0.0.1:1");
    command.args(["build", "-t", "x:1", "--build-mode", "lite", "--metadata-file", "../metadata.json", "."]);
    let run = run(&mut command);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(other.digest(), plain);
}

#[test]
fn ssh_is_asked_without_questions() {
    let Some((repositories, _)) = served() else { return };
    let space = Space::new();
    let bin = fake_ssh(space.root(), &repositories.root());
    let path = format!("{}:{}", bin.display(), env_path());
    for (url, wanted) in [
        ("git@host.test:r.git", "git@host.test\n"),
        ("ssh://me@host.test:2222/r.git", "-p\n2222\nme@host.test\n"),
    ] {
        space.kubefile(&format!("FROM scratch\nADD {url}#main:charts /src\n"));
        let mut command = space.command();
        command.env("PATH", &path).args(["build", "-t", "x:1", "--build-mode", "lite", "."]);
        let run = run(&mut command);
        let words = fs_err::read_to_string(space.root().join("ssh-words")).unwrap();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(space.rootfs("localhost/x:1").contains_key("src/a/x.yaml"));
        assert!(words.contains(wanted) && words.contains("BatchMode=yes"), "{words}");
    }
}

fn env_path() -> String {
    String::from_utf8(
        std::process::Command::new("sh").args(["-c", "printf %s \"$PATH\""]).output().unwrap().stdout,
    )
    .unwrap()
}

#[test]
fn repositories_of_sha256_and_of_plain_files_are_fetched_too() {
    let Some(repositories) = Repositories::new() else { return };
    repositories.git_of("new.git", &["--object-format=sha256"], &["status"]);
    let commit = repositories.commit("new.git", &[("f", "256\n")]);
    assert_eq!(commit.len(), 64);
    repositories.commit("old.git", &[("f", "first\n")]);
    let old = repositories.commit("old.git", &[("f", "dumb\n")]);
    let smart = Smart::start(&repositories.root(), Manners::default());
    let files = crate::server::Server::start();
    files.serve_dir("/", repositories.root());
    let space = Space::new();
    space.kubefile(&format!(
        "FROM scratch\nADD {0} /a\nADD {0}#{commit} /b\nADD {1} /c\nADD {1}#{old} /d\n",
        smart.url("new.git"),
        files.url("/old.git"),
    ));
    space.built(&[]);
    let root = space.rootfs("localhost/x:1");
    for (path, text) in [("a/f", "256\n"), ("b/f", "256\n"), ("c/f", "dumb\n"), ("d/f", "dumb\n")] {
        assert_eq!(root[path].content, text.as_bytes(), "{path}");
    }
}

#[test]
fn a_build_that_is_stopped_leaves_no_git_behind() {
    if Repositories::new().is_none() {
        return;
    }
    // It takes connections, and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/r.git", listener.local_addr().unwrap());
    let space = Space::new();
    space.kubefile(&format!("FROM scratch\nADD {url} /src\n"));
    let child = space
        .command()
        .args(["build", "-t", "x:1", "--build-mode", "lite", "."])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (connection, _) = listener.accept().unwrap();
    let start = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // The other end is closed: whoever held it is gone.
    connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    std::io::copy(&mut &connection, &mut std::io::sink()).unwrap();
    assert_eq!(fs_err::read_dir(space.store().join("tmp")).map_or(0, Iterator::count), 0);
}
