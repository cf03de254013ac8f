//! A buildkitd of one's own, with buildctl: `--buildkitd PATH --buildctl PATH`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cache, Daemon, Family, Job, Leaves, Tool, done, remove};
use crate::contents::{self, Files};
use crate::spec::Form;

/// Where the result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// It stays in the daemon, as snapshots.
    Nothing,
    /// An OCI archive with this compression.
    Archive(&'static str),
}

/// A way to use it.
#[derive(Debug)]
pub(crate) struct BuildKitd {
    name: String,
    binary: PathBuf,
    client: PathBuf,
    dir: PathBuf,
    form: Form,
    output: Output,
    daemon: Option<Daemon>,
}

impl BuildKitd {
    pub(crate) fn new(programs: [&PathBuf; 2], dir: &Path, form: Form, output: Output) -> Self {
        let archive = match output {
            Output::Nothing => String::new(),
            Output::Archive(compression) => format!(", OCI archive, {compression}"),
        };
        let name = format!("buildkitd{}{archive}", form.shown());
        let [binary, client] = programs.map(PathBuf::to_owned);
        Self { name, binary, client, dir: dir.to_owned(), form, output, daemon: None }
    }

    fn client(&self) -> Command {
        let mut client = Command::new(&self.client);
        client.arg("--addr").arg(format!("unix://{}", self.dir.join("socket").display()));
        client
    }

    fn solve(&self, job: &Job<'_>, output: &str) -> Command {
        let mut build = self.client();
        build.args(["build", "--progress", "plain", "--frontend", "dockerfile.v0"]);
        for local in ["context", "dockerfile"] {
            build.arg("--local").arg(format!("{local}={}", job.context.display()));
        }
        build.args(["--opt", &format!("filename={}", self.form.file_name())]);
        if !output.is_empty() {
            build.args(["--output", output]);
        }
        match job.cache {
            Cache::Unused => {}
            Cache::Fill(repository) => {
                let to = format!("type=registry,ref={repository}:buildkitd,mode=max,compression=zstd");
                build.args(["--export-cache", &to]);
            }
            Cache::Use(repository) | Cache::UseLazily(repository) => {
                build.args(["--import-cache", &format!("type=registry,ref={repository}:buildkitd")]);
            }
        }
        build
    }

    fn archive(&self) -> PathBuf {
        self.dir.join("image.tar")
    }
}

impl Tool for BuildKitd {
    fn name(&self) -> &str {
        &self.name
    }

    fn family(&self) -> Family {
        Family::BuildKit
    }

    fn leaves(&self) -> Leaves {
        if self.output == Output::Nothing { Leaves::Snapshots } else { Leaves::Image }
    }

    fn start(&mut self, base: Option<&str>) -> io::Result<()> {
        self.stop()?;
        fs_err::create_dir_all(self.dir.join("base"))?;
        let mut daemon = Command::new(&self.binary);
        daemon.arg("--root").arg(self.dir.join("root"));
        daemon.arg("--addr").arg(format!("unix://{}", self.dir.join("socket").display()));
        let answers = || Ok(self.client().args(["debug", "workers"]).output()?.status.success());
        self.daemon = Some(Daemon::start(&mut daemon, answers)?);
        let Some(base) = base else { return Ok(()) };
        // It fetches and unpacks a base when a step stands on it.
        let context = self.dir.join("base");
        let text = format!("FROM {base}\nCOPY {0} /{0}\n", self.form.file_name());
        fs_err::write(context.join(self.form.file_name()), text)?;
        done(&mut self.solve(&Job { context: &context, cache: Cache::Unused }, ""))
    }

    fn stop(&mut self) -> io::Result<()> {
        self.daemon = None;
        remove(&self.dir)
    }

    fn build(&self, job: &Job<'_>) -> Vec<Command> {
        let output = match self.output {
            Output::Nothing => String::new(),
            Output::Archive(compression) => {
                format!("type=oci,dest={},compression={compression}", self.archive().display())
            }
        };
        vec![self.solve(job, &output)]
    }

    fn daemon(&self) -> Option<u32> {
        self.daemon.as_ref().map(|daemon| daemon.0.id())
    }

    fn can(&self, cache: Cache<'_>) -> bool {
        self.output == Output::Nothing && self.form != Form::One && !matches!(cache, Cache::UseLazily(_))
    }

    fn contents(&self, job: &Job<'_>) -> io::Result<Files> {
        contents::of_command(&mut self.solve(&Job { cache: Cache::Unused, ..*job }, "type=tar,dest=-"))
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn image_bytes(&self) -> io::Result<Option<u64>> {
        match self.output {
            Output::Nothing => Ok(None),
            Output::Archive(_) => Ok(Some(fs_err::metadata(self.archive())?.len())),
        }
    }
}
