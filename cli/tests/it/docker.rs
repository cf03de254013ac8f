//! A Docker daemon of the test's own, on a socket of its own, without network.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::space::{has_program, install, is_root, run, skipped};

pub(crate) struct Docker {
    daemon: Child,
    dir: tempfile::TempDir,
}

impl Docker {
    /// Starts a daemon; `None`, said visibly, where that is not possible.
    pub(crate) fn start() -> Option<Self> {
        if !is_root() {
            skipped("a Docker daemon needs root");
            return None;
        }
        if !has_program("dockerd") {
            install("docker.io");
        }
        if !has_program("dockerd") {
            skipped("docker.io is not installed and could not be");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let log = fs_err::File::create(dir.path().join("log")).unwrap();
        let daemon = Command::new("dockerd")
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["-H", &format!("unix://{}", at("socket")), "--storage-driver", "vfs"])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .stdout(Stdio::null())
            .stderr(log.into_parts().0)
            .spawn()
            .unwrap();
        let mut docker = Self { daemon, dir };
        let start = Instant::now();
        while docker.command(&["version"]).output().is_ok_and(|output| !output.status.success()) {
            let has_ended = docker.daemon.try_wait().unwrap().is_some();
            if has_ended || start.elapsed() > Duration::from_secs(60) {
                let log = fs_err::read_to_string(docker.dir.path().join("log")).unwrap();
                skipped(&format!(
                    "the Docker daemon did not start: {}",
                    log.lines().last().unwrap_or_default()
                ));
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(docker)
    }

    fn command(&self, words: &[&str]) -> Command {
        let socket: PathBuf = self.dir.path().join("socket");
        let mut command = Command::new("docker");
        command.args(["-H", &format!("unix://{}", socket.display())]).args(words);
        command
    }

    /// Runs a docker command that must succeed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let ended = run(&mut self.command(words));
        assert_eq!(ended.code, Some(0), "docker {words:?}: {}", ended.stderr);
        ended.stdout.trim().to_owned()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // SIGTERM lets it end its containerd too.
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let _ = self.daemon.wait();
    }
}
