//! Debian's buildah, with its layer cache.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cache, Family, Job, Leaves, Tool, done, is_installed, remove};
use crate::contents::{self, Files};
use crate::spec::Form;

/// A way to use it.
#[derive(Debug)]
pub(crate) struct Buildah {
    name: String,
    dir: PathBuf,
    form: Form,
    runtime: Option<&'static str>,
}

impl Buildah {
    pub(crate) fn new(dir: &Path, form: Form) -> Self {
        // crun, its default, refuses machines with control groups of the first kind.
        let runtime = is_installed("runc").then_some("runc");
        Self { name: format!("buildah bud --layers{}", form.shown()), dir: dir.to_owned(), form, runtime }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(self.dir.join("root"))
            .arg("--runroot")
            .arg(self.dir.join("run"))
            .args(words);
        command
    }

    fn output(&self, words: &[&str]) -> io::Result<String> {
        let output = self.command(words).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Tool for Buildah {
    fn name(&self) -> &str {
        &self.name
    }

    fn family(&self) -> Family {
        Family::Buildah
    }

    fn leaves(&self) -> Leaves {
        Leaves::Snapshots
    }

    fn start(&mut self, base: Option<&str>) -> io::Result<()> {
        self.stop()?;
        base.map_or(Ok(()), |base| done(&mut self.command(&["pull", "-q", "--tls-verify=false", base])))
    }

    fn stop(&mut self) -> io::Result<()> {
        remove(&self.dir)
    }

    fn build(&self, job: &Job<'_>) -> Vec<Command> {
        // A network of its own for each RUN would cost it time that nobody asked for.
        let mut build = self.command(&["bud", "--layers", "-q", "--network", "host", "-t", "bench:1"]);
        if let Some(runtime) = self.runtime {
            build.args(["--runtime", runtime]);
        }
        build.arg("-f").arg(job.context.join(self.form.file_name())).arg(job.context);
        vec![build]
    }

    /// It has one from version 1.29 on; Debian's is 1.28.
    fn can(&self, _: Cache<'_>) -> bool {
        false
    }

    fn contents(&self, _: &Job<'_>) -> io::Result<Files> {
        let container = self.output(&["from", "--pull-never", "bench:1"])?;
        let root = self.output(&["mount", &container])?;
        let files = contents::of_command(Command::new("tar").args(["-C", &root, "-c", "."]));
        done(&mut self.command(&["rm", &container]))?;
        files
    }

    fn dir(&self) -> &Path {
        &self.dir
    }
}
