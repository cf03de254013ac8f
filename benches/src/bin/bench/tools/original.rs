//! The original sealer, whose engine is buildah's: `--sealer PATH`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cache, Family, Job, Leaves, Tool, done, remove};
use crate::contents::{self, Files};

/// A store of its own for it.
#[derive(Debug)]
pub(crate) struct Original {
    binary: PathBuf,
    dir: PathBuf,
    mode: &'static str,
}

impl Original {
    pub(crate) fn new(binary: &Path, dir: &Path, is_carrying: bool) -> Self {
        let mode = if is_carrying { "all" } else { "lite" };
        Self { binary: binary.to_owned(), dir: dir.to_owned(), mode }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).env("HOME", &self.dir);
        command.env("CONTAINERS_STORAGE_CONF", self.dir.join("storage.conf"));
        command
    }
}

impl Tool for Original {
    fn name(&self) -> &str {
        "the original sealer"
    }

    fn family(&self) -> Family {
        Family::Original
    }

    fn leaves(&self) -> Leaves {
        Leaves::Snapshots
    }

    fn start(&mut self, base: Option<&str>) -> io::Result<()> {
        self.stop()?;
        fs_err::create_dir_all(&self.dir)?;
        let at = |name: &str| self.dir.join(name).display().to_string();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            at("root"),
            at("run")
        );
        fs_err::write(self.dir.join("storage.conf"), storage)?;
        base.map_or(Ok(()), |base| done(&mut self.command(&["pull", "--skip-tls-verify", base])))
    }

    fn stop(&mut self) -> io::Result<()> {
        remove(&self.dir)
    }

    fn build(&self, job: &Job<'_>) -> Vec<Command> {
        let mut build = self.command(&["build", "-t", "bench:1", "--type=app-installer"]);
        build.arg(format!("--build-mode={}", self.mode));
        build.arg("-f").arg(job.context.join("Kubefile")).arg(job.context);
        vec![build]
    }

    fn can(&self, _: Cache<'_>) -> bool {
        false
    }

    fn contents(&self, _: &Job<'_>) -> io::Result<Files> {
        // It names the place in a sentence, and logs on standard error.
        let output = self.command(&["alpha", "mount", "localhost/bench:1"]).output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let root = said.split(" to ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let root = root.ok_or_else(|| io::Error::other(said.clone()))?;
        let files = contents::of_command(Command::new("tar").args(["-C", root, "-c", "."]));
        done(&mut self.command(&["alpha", "umount", "localhost/bench:1"]))?;
        files
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}
