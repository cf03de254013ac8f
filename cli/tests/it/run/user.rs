//! RUN without rights: the same image as root's, and nobody's way.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::{BASE, built, place};
use crate::space::{Run, Space, has_program, run, skipped};

/// A user without rights, with a store and a copy of a space's context of his own.
struct User(tempfile::TempDir);

impl User {
    fn new(space: &Space) -> Option<Self> {
        if !has_program("setpriv") {
            skipped("setpriv is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs_err::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        // The program may be where others cannot reach it.
        fs_err::copy(env!("CARGO_BIN_EXE_sealer"), dir.path().join("sealer")).unwrap();
        let copied = Command::new("cp").arg("-a").arg(space.context()).arg(dir.path()).status().unwrap();
        assert!(copied.success());
        Some(Self(dir))
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn run(&self, words: &[&str]) -> Run {
        self.run_with("", words)
    }

    /// The same with a pipe of the user's own as standard input.
    fn run_with(&self, given: &str, words: &[&str]) -> Run {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c"]);
        command.arg("printf %s \"$GIVEN\" | \"$0\" \"$@\"").arg(self.0.path().join("sealer"));
        command.env("SEALER_ROOT", self.store()).env("HOME", self.0.path()).current_dir(self.0.path());
        run(command.env("GIVEN", given).args(words))
    }

    /// The digest of what a Kubefile makes; nothing where users have no namespaces.
    fn build(&self, more: &str, words: &[&str]) -> Option<String> {
        fs_err::write(self.0.path().join("context/Kubefile"), format!("{BASE}{more}")).unwrap();
        let all =
            ["build", "-t", "x:1", "--build-mode", "lite", "--metadata-file", "metadata.json", "context"];
        let ended = self.run(&[&all, words].concat());
        if ended.stderr.contains("the kernel gives none") {
            skipped("this kernel gives users no user namespaces");
            return None;
        }
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let metadata = fs_err::read(self.0.path().join("metadata.json")).unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
        Some(metadata["containerimage.digest"].as_str().unwrap().to_owned())
    }
}

#[test]
fn a_user_without_rights_builds_the_same_image() {
    let Some(space) = place() else { return };
    let text =
        "RUN seq 1 10 > /n && mkdir d && chmod 700 d && rm /bin/ip && ls -l /dev/null && id -u | grep -x 0\n";
    built(&space, text);
    let Some(user) = User::new(&space) else { return };
    let Some(digest) = user.build(text, &[]) else { return };
    assert_eq!(digest, space.digest());
}

#[test]
fn what_a_user_gives_through_a_pipe_arrives() {
    let Some(space) = place() else { return };
    let Some(user) = User::new(&space) else { return };
    let text = "RUN --mount=type=secret,id=token grep -x hunter2 /run/secrets/token\n";
    if user.build("RUN true\n", &[]).is_none() {
        return;
    }
    let text = format!("{BASE}{text}");
    fs_err::write(user.0.path().join("context/Kubefile"), &text).unwrap();
    fs_err::write(user.0.path().join("token"), "hunter2").unwrap();
    for (words, given) in [
        (["--secret", "id=token,src=/dev/stdin", "-f", "context/Kubefile"], "hunter2"),
        (["--secret", "id=token,src=token", "-f", "/dev/stdin"], &text),
    ] {
        let all = ["build", "-t", "x:1", "--build-mode", "lite", "context"];
        let ended = user.run_with(given, &[&all[..], &words].concat());
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn a_user_looks_after_what_commands_left() {
    let Some(space) = place() else { return };
    let Some(user) = User::new(&space) else { return };
    // Not even its owner may delete what is in such a directory.
    let text = "RUN --mount=type=cache,target=/c mkdir d /c/d && touch d/f /c/d/f && chmod 555 d /c/d\n";
    if user.build(text, &[]).is_none() {
        return;
    }
    for words in [&["cache", "ls"][..], &["cache", "du"], &["cache", "prune"]] {
        let ended = user.run(words);
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    }
    let du = user.run(&["cache", "du"]);
    let is_empty = |kind: &str| du.stdout.lines().any(|line| line.starts_with(kind) && line.contains(" 0 B"));
    assert!(is_empty("snapshot") && is_empty("mount"), "{}", du.stdout);
}

#[test]
fn owners_that_a_user_cannot_give_are_no_failure_and_no_hit_of_others() {
    let Some(space) = place() else { return };
    space.file("data/f", "data").file("secret", "hidden");
    let Some(user) = User::new(&space) else { return };
    let base = "COPY --chown=5:6 data /data\n";
    let mounts = "--mount=type=bind,source=data,target=/data/new/place --mount=type=cache,target=/c,uid=5 \
        --mount=type=secret,id=s,uid=5";
    let text = format!("{base}RUN {mounts} cat /run/secrets/s && echo more >> /data/f\n");
    if user.build(&text, &["--secret", "id=s,src=context/secret"]).is_none() {
        return;
    }
    // Root finds the user's store, and neither his result nor the owners that his files have here.
    for command in ["echo more >> /data/f", "stat -c '%u %g %n' /data/f /bin > /owners"] {
        let text = format!("{base}RUN {command}\n");
        user.build(&text, &[]).unwrap();
        built(&space, &text);
        let own = space.digest();
        let shared = space.build(&["--root", user.store().to_str().unwrap()]);
        assert_eq!(shared.code, Some(0), "{}", shared.stderr);
        assert_eq!(space.digest(), own, "{command}");
    }
}

#[test]
fn a_root_file_system_is_written_without_the_capabilities_that_a_user_cannot_give() {
    let Some(space) = place() else { return };
    let Some(user) = User::new(&space) else { return };
    let context = user.0.path().join("context");
    fs_err::write(context.join("f"), "x").unwrap();
    let set = |name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(context.join("f"), name, value, rustix::fs::XattrFlags::empty())
    };
    let capability = [0x0200_0001_u32, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat();
    if set("user.k", b"v").and_then(|()| set("security.capability", &capability)).is_err() {
        return skipped("attributes cannot be set here");
    }
    fs_err::write(context.join("Kubefile"), "FROM scratch\nCOPY f /f\n").unwrap();
    let words = ["build", "-t", "x:1", "--build-mode", "lite", "-o", "type=rootfs,dest=root", "context"];
    let ended = user.run(&words);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("rootfs: 1 files lack capabilities"), "{}", ended.stderr);
    let written = user.0.path().join("root/f");
    assert_eq!(fs_err::read(&written).unwrap(), b"x");
    let mut value = [0; 8];
    assert_eq!(rustix::fs::lgetxattr(&written, "user.k", &mut value[..]), Ok(1));
}
