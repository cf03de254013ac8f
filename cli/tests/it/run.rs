//! RUN, in real sandboxes, on a root made of busybox.

mod user;

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::space::{Run, Space, has_peer, ignores, install, is_root, run, skipped};

/// The one program of the root.
const BUSYBOX: &str = "/bin/busybox";
/// What it is called there.
const PROGRAMS: [&str; 24] = [
    "sh", "ls", "cat", "echo", "mkdir", "rm", "touch", "ln", "chmod", "chown", "id", "env", "sleep", "true",
    "mknod", "mv", "cp", "dd", "stat", "ip", "seq", "grep", "pwd", "kill",
];

/// A place with a root to run commands on; nothing where sandboxes or the root cannot be had.
fn place() -> Option<Space> {
    if !is_root() {
        skipped("only root may make every kind of sandbox that is tested");
        return None;
    }
    if !std::path::Path::new(BUSYBOX).exists() {
        install("busybox-static");
    }
    if !std::path::Path::new(BUSYBOX).exists() {
        skipped("busybox-static is not installed and could not be");
        return None;
    }
    let space = Space::new();
    space.file("rootfs/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nme:x:1000:100::/home/me:/bin/sh\n");
    space.file("rootfs/bin/busybox", fs_err::read(BUSYBOX).unwrap());
    let bin = space.context().join("rootfs/bin");
    fs_err::set_permissions(bin.join("busybox"), PermissionsExt::from_mode(0o755)).unwrap();
    PROGRAMS.iter().for_each(|program| symlink("busybox", bin.join(program)).unwrap());
    Some(space)
}

const BASE: &str = "FROM scratch\nCOPY rootfs/ /\n";

fn kubefile(space: &Space, more: &str) {
    space.kubefile(&format!("{BASE}{more}"));
}

fn built(space: &Space, more: &str) -> Run {
    kubefile(space, more);
    let run = space.build(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run
}

fn failed(space: &Space, more: &str, flags: &[&str], texts: &[&str]) {
    kubefile(space, more);
    let run = space.build(flags);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for text in texts {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    assert_eq!(fs_err::read_dir(space.store().join("tmp")).map_or(0, Iterator::count), 0);
}

/// The paths of one layer, by its number; hard links as such.
fn layer(space: &Space, number: usize) -> BTreeMap<String, String> {
    let layer = space.manifest("localhost/x:1")["layers"][number].clone();
    let blob = space.blob(layer["digest"].as_str().unwrap());
    let mut archive = tar::Archive::new(zstd::Decoder::new(blob.as_slice()).unwrap());
    let mut paths = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let kind = header.entry_type().as_byte() as char;
        let link = entry.link_name().unwrap().map(|to| format!(" -> {}", to.display())).unwrap_or_default();
        let (mode, uid, gid) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        paths.insert(path, format!("{kind} {mode:04o} {uid}:{gid}{link}"));
    }
    paths
}

#[test]
fn the_callers_umask_does_not_reach_a_layer() {
    let Some(space) = place() else { return };
    kubefile(&space, "RUN mkdir d && touch d/f\n");
    for umask in ["077", "002"] {
        let shell = format!("umask {umask}; exec \"$0\" build -q -t x:1 --build-mode lite --no-cache .");
        let mut command = Command::new("sh");
        command.args(["-c", &shell, env!("CARGO_BIN_EXE_sealer")]).env("SEALER_ROOT", space.store());
        let run = run(command.current_dir(space.context()));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let made = [("d/", "5 0755 0:0"), ("d/f", "0 0644 0:0")];
        assert_eq!(layer(&space, 1), made.map(|(path, header)| (path.into(), header.into())).into());
    }
}

#[test]
fn directories_around_what_is_mounted_keep_their_attributes() {
    let Some(space) = place() else { return };
    space.file("app/d/f", "x");
    let dir = space.context().join("app/d");
    if rustix::fs::lsetxattr(&dir, "user.k", b"v", rustix::fs::XattrFlags::empty()).is_err() {
        return; // The file system has none.
    }
    built(
        &space,
        "COPY app/ /app/\nRUN --mount=type=tmpfs,target=/app/d/mnt touch /app/d/g\nRUN rm /app/d/g && chmod 755 /app/d\n",
    );
    assert_eq!(layer(&space, 2).len(), 3, "the directories, and the file in them");
    let layers = space.manifest("localhost/x:1")["layers"].clone();
    let blob = space.blob(layers[2]["digest"].as_str().unwrap());
    let mut archive = tar::Archive::new(zstd::Decoder::new(blob.as_slice()).unwrap());
    let mut entries = archive.entries().unwrap().map(|entry| entry.unwrap());
    let mut dir = entries.find(|entry| entry.path_bytes().ends_with(b"app/d/")).unwrap();
    let record = dir.pax_extensions().unwrap().unwrap().next().unwrap().unwrap();
    assert_eq!((record.key(), record.value()), (Ok("SCHILY.xattr.user.k"), Ok("v")));
}

#[test]
fn a_layer_holds_what_a_command_changed_and_nothing_else() {
    let Some(space) = place() else { return };
    built(
        &space,
        r"RUN mkdir d && echo x > d/f && ln d/f d/g && ln -s f d/h && chmod 4755 d/f && chown 1:2 d && mknod p p
RUN rm /bin/kill && rm -rf d && mkdir d && touch d/new && chmod 600 /etc/passwd && cat /etc/hosts > /dev/null
RUN touch /etc/passwd && mkdir /gone && rmdir /gone && chmod 600 /etc/passwd
",
    );
    let made = [
        ("d/", "5 0755 1:2"),
        ("d/f", "0 4755 0:0"),
        ("d/g", "1 4755 0:0 -> d/f"),
        ("d/h", "2 0777 0:0 -> f"),
        ("p", "6 0644 0:0"),
    ];
    let owned = |expected: &[(&str, &str)]| -> BTreeMap<String, String> {
        expected.iter().map(|(path, header)| ((*path).to_owned(), (*header).to_owned())).collect()
    };
    assert_eq!(layer(&space, 1), owned(&made));
    let changed = [
        ("bin/", "5 0755 0:0"),
        ("bin/.wh.kill", "0 0644 0:0"),
        ("d/", "5 0755 0:0"),
        ("d/.wh..wh..opq", "0 0644 0:0"),
        ("d/new", "0 0644 0:0"),
        ("etc/", "5 0755 0:0"),
        ("etc/passwd", "0 0600 0:0"),
    ];
    assert_eq!(layer(&space, 2), owned(&changed));
    assert_eq!(layer(&space, 3), owned(&[]), "what is the same afterwards is no change");
}

#[test]
fn commands_see_the_same_times_wherever_files_come_from() {
    let Some(space) = place() else { return };
    space.file("f", "x");
    let text = |word: &str| {
        format!(
            "{BASE}COPY f /f\nRUN mkdir d && echo > d/f && touch -d @5 d/f && ln -s f d/l && mknod d/p p\n\
             RUN --mount=type=tmpfs,target=/d/new/place stat -c '%Y %n' / etc f d d/f d/l d/p d/new > /dev/shm/times \
             && cp /dev/shm/times /times && echo {word}\n"
        )
    };
    let times = ["/", "etc", "f", "d", "d/f", "d/l", "d/p", "d/new"]
        .map(|name| format!("1700000000 {name}\n"))
        .concat();
    // Layers of a stage that is only copied from are not all made.
    for (word, last) in [("one", "FROM scratch\nCOPY --from=made /times /\n"), ("two", ""), ("three", "")] {
        space.kubefile(&format!("{}{last}", text(word).replacen("scratch", "scratch AS made", 1)));
        let built = space.build(&["--timestamp", "1700000000"]);
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        let seen = space.rootfs("localhost/x:1")["times"].content.clone();
        assert_eq!(String::from_utf8(seen).unwrap(), times, "{word}");
        // As another start of the machine would leave it.
        fs_err::remove_dir_all(space.store().join("snapshots")).unwrap();
    }
}

#[test]
fn links_and_pipes_have_one_name_each() {
    let Some(space) = place() else { return };
    let built = built(
        &space,
        "RUN ln -s x l && ln l m && mknod p p && ln p q && stat -c '%h in' l m p q\nRUN stat -c '%h out' l m p q\n",
    );
    let count = |word: &str| built.stderr.lines().filter(|line| line.ends_with(word)).count();
    assert_eq!((count("2 in"), count("1 out")), (4, 4), "{}", built.stderr);
}

#[test]
fn what_a_base_has_keeps_its_times() {
    let Some(space) = place() else { return };
    space.kubefile(BASE);
    assert_eq!(space.build(&["--timestamp", "1700000000"]).code, Some(0));
    space.kubefile("FROM localhost/x:1\nRUN stat -c %Y /etc /etc/passwd /bin/sh > /seen\n");
    let built = space.build(&[]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let seen = space.rootfs("localhost/x:1")["seen"].content.clone();
    assert_eq!(String::from_utf8(seen).unwrap(), "1700000000\n".repeat(3));
}

#[test]
fn the_header_of_what_is_bound_is_seen_and_counts() {
    let Some(space) = place() else { return };
    space.file("sub/f", "x");
    let check = |mode: &str, expected: &str| {
        space.kubefile(&format!(
            "{BASE}RUN mkdir -m {mode} /d && chown 3:4 /d && chmod 700 / && chown 5 /\n\
             FROM scratch\nCOPY rootfs/ /\n\
             RUN --mount=from=made,source=d,target=/m --mount=source=sub,target=/s --mount=from=made,target=/r \
             stat -c '%a %u:%g' /m /s /r > /seen\n"
        ).replacen("scratch", "scratch AS made", 1));
        let built = space.build(&[]);
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        let seen = space.rootfs("localhost/x:1")["seen"].content.clone();
        assert_eq!(String::from_utf8(seen).unwrap(), format!("{expected}\n755 0:0\n"));
    };
    check("700", "700 3:4\n755 0:0");
    check("711", "711 3:4\n755 0:0");
    fs_err::set_permissions(space.context().join("sub"), PermissionsExt::from_mode(0o750)).unwrap();
    check("711", "711 3:4\n750 0:0");
}

#[test]
fn commands_see_which_files_are_one_whatever_was_there_before() {
    let Some(space) = place() else { return };
    let check = |made: &str, word: &str, expected: &str| {
        let made = format!("{BASE}RUN mkdir d && echo x > d/a && {made} d/a d/b\n");
        let made = made.replacen("scratch", "scratch AS made", 1);
        let seen = "stat -c %h d/a";
        space.kubefile(&format!(
            "{made}RUN {seen} > /seen && echo {word}\n\
             FROM made\nRUN --mount=from=made,target=/m {seen} /m/d/b > /both && echo {word}\n\
             COPY --from=made /seen /seen\n"
        ));
        let built = space.build(&[]);
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        for (path, lines) in [("seen", 1), ("both", 2)] {
            let seen = space.rootfs("localhost/x:1")[path].content.clone();
            assert_eq!(String::from_utf8(seen).unwrap(), expected.repeat(lines), "{made}: {path}");
        }
    };
    check("ln", "one", "2\n");
    check("cp -p", "one", "1\n");
    check("ln", "two", "2\n");
    // As another start of the machine would leave it: layers of both kinds are there.
    fs_err::remove_dir_all(space.store().join("snapshots")).unwrap();
    check("cp -p", "three", "1\n");
    check("ln", "three", "2\n");
}

#[test]
fn what_a_command_left_as_it_was_is_nothing_to_commands_elsewhere() {
    let Some(space) = place() else { return };
    let file = |path: &str| {
        let file = space.rootfs("localhost/x:1")[path].content.clone();
        String::from_utf8(file).unwrap()
    };
    for text in ["one", "two"] {
        // What makes the first change again has the same delta, whatever the file has in it.
        space.file("app/f", text);
        built(&space, "COPY app/ /app/\nRUN chmod 644 /app/f && touch /done\nRUN cp /app/f /copy\n");
        assert_eq!(file("copy"), text);
    }
    // A new directory hides what was below it; that there was nothing is no part of the delta.
    space.kubefile(&format!(
        "{}FROM base AS one\nRUN mkdir q && echo f > q/f\nFROM base\nCOPY --from=one /q/f /first\n\
         RUN mkdir q && echo g > q/g\nRUN echo f > q/f\nRUN ls q > /list\n",
        BASE.replacen("scratch", "scratch AS base", 1)
    ));
    space.built(&[]);
    assert_eq!(file("list"), "f\ng\n");
}

#[test]
fn a_store_may_be_named_from_where_one_stands() {
    let Some(space) = place() else { return };
    kubefile(&space, "RUN touch f\n");
    let mut command = space.command();
    command.env("SEALER_ROOT", "../store").args(["build", "-q", "-t", "x:1", "--build-mode", "lite", "."]);
    let run = run(&mut command);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn a_damaged_layer_that_a_command_runs_on_is_made_again() {
    let Some(space) = place() else { return };
    let text = "RUN seq 1 100000 > /numbers\n";
    built(&space, text);
    let layer = space.manifest("localhost/x:1")["layers"][1]["digest"].as_str().unwrap().to_owned();
    let path = space.store().join("blobs/sha256").join(&layer["sha256:".len()..]);
    let mut bytes = fs_err::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(path, bytes).unwrap();
    fs_err::remove_dir_all(space.store().join("snapshots")).unwrap();
    let run = built(&space, &format!("{text}RUN grep -x 100000 /numbers\n"));
    assert!(run.stderr.contains("a blob of the store is damaged"), "{}", run.stderr);
    assert_eq!(space.run(&["cache", "verify"]).code, Some(0));
}

#[test]
fn every_form_of_a_command_runs() {
    let Some(space) = place() else { return };
    let run = built(
        &space,
        r##"ARG A=arg
ENV E="an env" A2=$A
RUN echo "$A|$E|$A2|$PWD|$HOME" && \
    echo second
RUN ["echo", "$A", "two words"]
RUN <<END
echo heredoc $E
cat > /out <<INNER
inner
INNER
END
RUN <<'SCRIPT'
#!/bin/cat
a script for cat
SCRIPT
RUN cat <<ONE - <<TWO
first
ONE
second of two
TWO
"##,
    );
    for text in [
        "arg|an env|arg|/|/root",
        "second\n",
        "$A two words",
        "heredoc an env",
        "a script for cat",
        "second of two",
    ] {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    assert_eq!(space.rootfs("localhost/x:1")["out"].content, b"inner\n");
    assert!(!space.rootfs("localhost/x:1").contains_key("dev"), "what is mounted leaves no trace");
}

#[test]
fn a_command_sees_files_that_a_layer_only_links_to() {
    let Some(space) = place() else { return };
    let layout = crate::transport::linked(&space);
    assert_eq!(space.run(&["load", "-i", layout.to_str().unwrap()]).code, Some(0));
    space.kubefile("FROM linked:1\nCOPY rootfs/ /\nRUN grep -q here /to-stays && grep -q gone /to-goes\n");
    space.built(&[]);
}

#[test]
fn a_command_runs_again_only_when_something_it_depends_on_is_different() {
    let Some(space) = place() else { return };
    space.file("a", "1");
    let text = "ARG V=1\nCOPY a /\nRUN echo $V; cat /a > /b\nRUN cat /b > /c\n";
    kubefile(&space, text);
    assert_eq!(space.built(&[])["executed"], 4);
    assert_eq!(space.built(&[])["executed"], 0);
    let proxy = ["--build-arg", "HTTP_PROXY=http://proxy"];
    assert_eq!(space.built(&proxy)["executed"], 0, "a proxy decides nothing");
    assert_eq!(space.built(&["--build-arg", "V=2"])["executed"], 2, "an ARG in scope does");
    space.file("a", "2");
    assert_eq!(space.built(&[])["executed"], 3);
    assert_eq!(space.built(&["--no-cache-filter", "0"])["executed"], 4);
    // Another text that makes the same files: what stands on them is cached by content.
    kubefile(&space, &text.replace("COPY a /", "COPY ./a /a"));
    assert_eq!(space.built(&[])["executed"], 1);
    kubefile(&space, &text.replace("RUN echo $V; cat /a > /b", "RUN cp /a /b"));
    assert_eq!(space.built(&[])["executed"], 1, "the same files from another command stop the change");
}

#[test]
fn what_a_command_wrote_is_no_reason_to_run_it() {
    let Some(space) = place() else { return };
    space.file("a", "1");
    kubefile(&space, "COPY a /\nRUN cat /a /proc/uptime > /b\n");
    let why = |words: &[&str]| {
        let built = space.build(&[&["--explain"], words].concat());
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        let mut lines = built.stdout.lines().skip_while(|line| !line.contains("RUN cat"));
        lines.nth(1).unwrap().trim().to_owned()
    };
    why(&[]);
    space.file("a", "2");
    let said = why(&[]);
    assert!(said.starts_with("input `/` was "), "{said}");
    // It writes something else each time, and its layer is gone.
    for blob in fs_err::read_dir(space.store().join("blobs/sha256")).unwrap() {
        fs_err::remove_file(blob.unwrap().path()).unwrap();
    }
    assert_eq!(why(&[]), "nothing is different, but its result is not in the cache any more");
}

#[test]
fn the_same_commands_give_the_same_image_anywhere() {
    let mut digests = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let Some(space) = place() else { return };
        built(&space, "RUN seq 1 1000 > /numbers && mkdir -p a/b && ln numbers a/b/n && rm /bin/ip\n");
        digests.insert(space.digest());
    }
    assert_eq!(digests.len(), 1);
}

#[test]
fn a_command_that_fails_is_told_with_its_line_its_code_and_its_last_words() {
    let Some(space) = place() else { return };
    failed(
        &space,
        "RUN true\nRUN seq 1 30 && exit 7\n",
        &["--progress", "quiet"],
        &["Kubefile:4:1", "ended with exit code 7", "  | 11\n", "  | 30\n"],
    );
    let run = space.build(&["--progress", "quiet"]);
    assert!(!run.stderr.contains("  | 10\n"), "twenty lines are enough:\n{}", run.stderr);
    failed(&space, "RUN sh -c 'kill -9 $$'; exit $?\n", &[], &["Kubefile:3:1", "exit code 137", "hint: "]);
    failed(
        &space,
        "RUN [\"nope\"]\n",
        &[],
        &["Kubefile:3:1", "error: the command was not run: `nope` is in no directory of PATH", "hint: "],
    );
    failed(&space, "RUN nope\n", &[], &["Kubefile:3:1", "exit code 127", "hint: "]);
    let start = Instant::now();
    failed(
        &space,
        "RUN sleep 1000 & sleep 1000\n",
        &["--run-timeout", "300ms"],
        &["Kubefile:3:1", "within 300ms"],
    );
    assert!(start.elapsed() < Duration::from_secs(60));
    kubefile(&space, "RUN true\n");
    let run = space.build(&["--run-timeout", "500000000000y"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    space.kubefile("FROM scratch\nRUN true\n");
    let run = space.build(&[]);
    assert!(run.stderr.contains("the command was not run: `/bin/sh` is not in the image"), "{}", run.stderr);
    assert!(run.stderr.contains("Kubefile:2:1"), "{}", run.stderr);
}

#[test]
fn rights_are_those_of_a_sandbox_unless_more_is_allowed() {
    let Some(space) = place() else { return };
    built(
        &space,
        "RUN ! mknod /disk b 7 0 && ! echo 1 > /proc/sys/kernel/panic && ! ip link add d0 type dummy\n",
    );
    failed(&space, "RUN --security=insecure true\n", &[], &["Kubefile:3:5", "--allow security.insecure"]);
    kubefile(&space, "RUN --security=insecure mknod /disk b 7 0\n");
    assert_eq!(space.build(&["--allow", "security.insecure"]).code, Some(0));
    // A device that a layer brings along opens nothing.
    assert_eq!(space.run(&["tag", "x:1", "devices:1"]).code, Some(0));
    space.kubefile("FROM devices:1\nRUN ls -l /disk && ! dd if=/disk of=/copy count=1\n");
    let run = space.build(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn a_command_sees_the_network_it_is_given() {
    let Some(space) = place() else { return };
    let run = built(&space, "RUN --network=none ip -o link && ip -o addr show lo | grep 127.0.0.1\n");
    assert!(!run.stderr.contains("eth0"), "{}", run.stderr);
    let host = run_text(Command::new("ip").args(["-o", "link"])).lines().count();
    let run = built(&space, "RUN ip -o link | grep -c . ; true\n");
    assert!(host == 0 || run.stderr.contains(&format!(" {host}\n")), "{}", run.stderr);
}

fn run_text(command: &mut Command) -> String {
    command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

#[test]
fn secrets_are_seen_by_the_command_and_nowhere_else() {
    let Some(space) = place() else { return };
    let secret = "hunter2-hunter2";
    fs_err::write(space.root().join("token"), secret).unwrap();
    kubefile(
        &space,
        "RUN --mount=type=secret,id=token cat /run/secrets/token > /dev/null && grep -q hunter2 /run/secrets/token
RUN --mount=type=secret,id=token,target=/t,mode=0444,uid=1000 stat -c %a:%u /t && cat /t && ! touch /t
RUN --mount=type=secret,id=key,env=KEY,required=true echo $KEY && env && test ! -e /run/secrets
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent
",
    );
    let build = |progress: &str| {
        let token = format!("id=token,src={}", space.root().join("token").display());
        let words =
            ["--secret", &token, "--secret", "id=key,env=THE_KEY", "--progress", progress, "--no-cache"];
        let mut command = space.command();
        command.env("THE_KEY", secret).args(["build", "-t", "x:1", "--build-mode", "lite"]);
        run(command.args(words).arg("."))
    };
    for progress in ["plain", "json"] {
        let run = build(progress);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains("444:1000"), "{}", run.stderr);
        assert!(!run.stderr.contains(secret) && !run.stdout.contains(secret), "{}", run.stderr);
    }
    // Records too: the database's own files, decompressed by nobody, hold small values as they are.
    let found = run_text(Command::new("grep").args(["-rl", secret]).arg(space.store()));
    assert_eq!(found, "");
    let root = space.rootfs("localhost/x:1");
    assert!(!root.keys().any(|path| path.starts_with("run") || path == "t"), "{:?}", root.keys());
    failed(
        &space,
        "RUN --mount=type=secret,id=k,required=true true\n",
        &[],
        &["Kubefile:3:1", "--secret id=k"],
    );
    failed(&space, "RUN --mount=type=ssh,required=true true\n", &[], &["Kubefile:3:1", "--ssh default"]);
}

#[test]
fn an_agent_is_reached_through_its_socket() {
    let Some(space) = place() else { return };
    let socket = space.root().join("agent");
    let agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    kubefile(&space, "RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK\n");
    let run = space.build(&["--ssh", &format!("default={}", socket.display())]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("/run/buildkit/ssh_agent.0"), "{}", run.stderr);
    drop(agent);
}

#[test]
fn cache_mounts_stay_and_are_part_of_no_layer() {
    let Some(space) = place() else { return };
    let text = |n: usize| {
        format!(
            "RUN --mount=type=cache,target=/c,id=k echo {n} >> /c/log && cat /c/log && test ! -e /c/other\n"
        )
    };
    built(&space, &text(1));
    let run = built(&space, &text(2));
    assert!(run.stderr.contains(" 1\n") && run.stderr.contains(" 2\n"), "{}", run.stderr);
    assert!(!space.rootfs("localhost/x:1").contains_key("c"));
    space.file("seed/file", "seeded");
    let seeded = "FROM scratch AS seed\nCOPY seed /s\nFROM scratch\nCOPY rootfs/ /\n\
        RUN --mount=type=cache,target=/c,id=s,from=seed,source=s,mode=0700 cat /c/file && stat -c %a /c && ! touch /c/../s\n";
    space.kubefile(&seeded.replace(" && ! touch /c/../s", ""));
    let run = space.build(&[]);
    assert!(run.stderr.contains("seeded") && run.stderr.contains("700"), "{}", run.stderr);
    built(&space, "RUN --mount=type=cache,target=/c,id=k,ro ! touch /c/x 2> /dev/null || exit 1\n");
    let twice = "RUN --mount=type=cache,target=/c,id=k,sharing=locked --mount=type=cache,target=/d,id=k \
        touch /c/both && test -e /d/both\n";
    built(&space, twice);
    let du = space.run(&["cache", "du"]);
    assert!(du.stdout.contains("mount "), "{}", du.stdout);
    assert_eq!(space.run(&["cache", "prune"]).code, Some(0));
    let run = built(&space, &text(3));
    assert!(!run.stderr.contains(" 1\n"), "pruned:\n{}", run.stderr);
}

/// Two stages that each wait for the other: they end only if they run at the same time.
fn meeting(sharing: &str) -> String {
    let stage = |own: &str, other: &str| {
        format!(
            "FROM base AS {own}\nRUN --mount=type=cache,id=meet,target=/m,sharing={sharing} \
             touch /m/{own}; for i in $(seq 1 100); do test -e /m/{other} && break; sleep 0.1; done; \
             test -e /m/{other} && echo met > /{own}\n"
        )
    };
    format!(
        "FROM scratch AS base\nCOPY rootfs/ /\n{}{}FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        stage("a", "b"),
        stage("b", "a")
    )
}

#[test]
fn independent_stages_run_at_the_same_time_and_share_what_is_shared() {
    let Some(space) = place() else { return };
    space.kubefile(&meeting("shared"));
    let run = space.build(&["--jobs", "2"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // Locked, the second one waits for the end of the first, and so the first waits in vain.
    let space = place().unwrap();
    space.kubefile(&meeting("locked").replace("seq 1 100", "seq 1 3"));
    assert_eq!(space.build(&["--jobs", "2"]).code, Some(1));
    // Private, each has one of its own.
    let space = place().unwrap();
    space.kubefile(&meeting("private").replace("seq 1 100", "seq 1 3"));
    assert_eq!(space.build(&["--jobs", "2"]).code, Some(1));
    let mounts = fs_err::read_dir(space.store().join("mounts-cache")).unwrap().count();
    assert_eq!(mounts, 2);
}

#[test]
fn a_failure_ends_the_commands_beside_it() {
    let Some(space) = place() else { return };
    let stage = |name: &str, command: &str| format!("FROM base AS {name}\nRUN {command}\n");
    space.kubefile(&format!(
        "FROM scratch AS base\nCOPY rootfs/ /\n{}{}FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        stage("a", "sleep 1234567"),
        stage("b", "sleep 0.3; exit 3")
    ));
    let start = Instant::now();
    let run = space.build(&["--jobs", "2"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("Kubefile:6:1") && !run.stderr.contains("Kubefile:4:1"), "{}", run.stderr);
    assert!(start.elapsed() < Duration::from_secs(60), "the sleeper was not waited for");
    assert!(!processes().contains("1234567"), "the sleeper is gone");
}

fn processes() -> String {
    run_text(Command::new("sh").args(["-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]))
}

#[test]
fn bound_files_are_seen_and_what_is_written_there_is_lost() {
    let Some(space) = place() else { return };
    space.file("src/file", "context").file("src/ignored", "x").file(".sealerignore", "src/ignored\n");
    let text = "FROM scratch AS tools\nCOPY rootfs/ /\nRUN mkdir /t && echo tool > /t/x && ln -s t /link\n\
        FROM scratch\nCOPY rootfs/ /\n\
        RUN --mount=type=bind,source=src,target=/src cat /src/file && ! touch /src/new && ! test -e /src/ignored\n\
        RUN --mount=source=src/file,target=/one,rw cat /one && echo changed > /one && cat /one\n\
        RUN --mount=from=tools,source=link,target=/tools,rw cat /tools/x && touch /tools/new && ls /tools\n\
        RUN --mount=from=tools,target=/all ls /all/t && ! touch /all/new && mkdir /made\n";
    space.kubefile(text);
    let run = space.build(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for text in ["context", "changed", "tool\n"] {
        assert!(run.stderr.contains(text), "`{text}` is not in:\n{}", run.stderr);
    }
    let root = space.rootfs("localhost/x:1");
    assert!(root.contains_key("made"));
    assert!(!["src", "one", "tools", "all"].iter().any(|path| root.contains_key(*path)), "{:?}", root.keys());
    assert_eq!(space.built(&[])["executed"], 0);
    space.file("src/file", "other");
    assert_eq!(space.built(&[])["executed"], 2, "what is bound counts, and nothing else changed");
    failed(&space, "RUN --mount=source=nope,target=/x true\n", &[], &["Kubefile:3:1", "`nope`"]);
    failed(&space, "RUN --mount=from=0,source=nope,target=/x true\n", &[], &["not a stage above"]);
}

#[test]
fn a_command_may_stand_on_hundreds_of_layers() {
    let Some(space) = place() else { return };
    let copies: String = (0..450).map(|n| format!("COPY <<E /n/{n}\n{n}\nE\n")).collect();
    kubefile(&space, &format!("{copies}RUN cat /n/* | grep -c . && rm /n/7 && rm -rf /bin/ip\n"));
    let run = space.build(&["--progress", "plain"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains(" 450\n"), "{}", &run.stderr[run.stderr.len() - 2000..]);
    let layers = space.manifest("localhost/x:1")["layers"].as_array().unwrap().len();
    assert!(layers <= 120, "{layers}");
}

#[test]
fn other_runtimes_run_the_same_bundle() {
    let Some(space) = place() else { return };
    if !has_peer("runc") {
        return;
    }
    let text =
        "ENV A=1\nRUN --mount=type=tmpfs,target=/t echo $A > /out && touch /t/x && id && ls /proc/self\n";
    built(&space, text);
    let embedded = space.digest();
    kubefile(&space, text);
    let run = space.build(&["--runtime", "runc", "--no-cache"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(space.digest(), embedded);
    failed(&space, "RUN exit 5\n", &["--runtime", "runc"], &["Kubefile:3:1", "exit code 5"]);
    failed(&space, "RUN true\n", &["--runtime", "no-such-runtime"], &["`no-such-runtime` is not there"]);
}

#[test]
fn where_a_command_fills_the_disk_that_is_told() {
    let Some(space) = place() else { return };
    kubefile(&space, "RUN dd if=/dev/zero of=/zeros bs=64k count=1000\n");
    let script = "mkdir -p $SEALER_ROOT && mount -t tmpfs -o size=8m tmpfs $SEALER_ROOT || exit 9
        exec $0 build -t x:1 --build-mode lite .";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_sealer")]).env("SEALER_ROOT", space.store());
    let ended = run(command.current_dir(space.context()));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for text in ["No space left on device", "hint: make room on the store's file system", "Kubefile:3:1"] {
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("helper"), "{}", ended.stderr);
}

#[test]
fn a_secret_that_no_variable_can_hold_is_told() {
    let Some(space) = place() else { return };
    fs_err::write(space.root().join("key"), "a\0b").unwrap();
    failed(
        &space,
        "RUN --mount=type=secret,id=key,env=KEY true\n",
        &["--secret", "id=key,src=../key"],
        &["the variable `KEY` has a NUL byte in it", "Kubefile:3:1", "hint: "],
    );
}

#[test]
fn a_hundred_killed_builds_leave_nothing_mounted_and_nothing_running() {
    let Some(space) = place() else { return };
    kubefile(&space, "RUN true\nRUN sleep 7654321\n");
    let mounts = || fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    use rustix::process::Signal;
    // Who runs in the background of a script ignores SIGINT until it says otherwise, and one that comes before is lost.
    let interrupt = if ignores(Signal::INT) { Signal::TERM } else { Signal::INT };
    let signals = [Signal::KILL, interrupt, Signal::TERM];
    for round in 0_u64..100 {
        let mut command = space.command();
        command.args(["build", "-t", "x:1", "--build-mode", "lite", "."]);
        let mut build = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From before the sandbox to the middle of the command.
        std::thread::sleep(Duration::from_millis(round));
        let pid = rustix::process::Pid::from_raw(build.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signals[(round % 3) as usize]).unwrap();
        build.wait().unwrap();
    }
    assert_eq!(mounts(), before);
    // The kernel ends the processes of a namespace after its first one: soon, but not at once.
    let end = Instant::now() + Duration::from_secs(10);
    while processes().contains("7654321") && Instant::now() < end {
        std::thread::yield_now();
    }
    assert!(!processes().contains("7654321"));
    built(&space, "RUN true\n");
    assert_eq!(fs_err::read_dir(space.store().join("tmp")).unwrap().count(), 0, "the next build has swept");
}

#[test]
fn layers_of_stages_are_in_caches_that_want_them() {
    let Some(space) = place() else { return };
    let text = |to: &str| {
        format!(
            "FROM scratch AS made\nCOPY rootfs/ /\nRUN echo made > /made\nFROM scratch\nCOPY --from=made /made {to}\n"
        )
    };
    space.kubefile(&text("/one"));
    let to = ["--cache-to", "type=local,dest=../max", "--cache-to", "type=local,dest=../min,mode=min"];
    let built = space.build(&to);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    space.kubefile(&text("/two"));
    for (mode, is_run_again) in [("max", false), ("min", true)] {
        let mut command = space.command();
        command.env("SEALER_ROOT", space.root().join(format!("store-{mode}")));
        command.args([
            "build",
            "-t",
            "x:1",
            "--explain",
            "--cache-from",
            &format!("type=local,src=../{mode}"),
            ".",
        ]);
        let built = run(&mut command);
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        let line = built.stdout.lines().find(|line| line.contains("RUN echo made")).unwrap();
        assert_eq!(line.starts_with("ran"), is_run_again, "{mode}: {}", built.stdout);
    }
}
