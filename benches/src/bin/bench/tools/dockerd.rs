//! BuildKit inside Debian's docker.io: a dockerd of our own, with the client of the same package.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use benches::DebianRegistry;

use super::{Cache, Daemon, Family, Job, Leaves, Tool, done, remove};
use crate::contents::{self, Files};
use crate::spec::Form;

/// The client of the daemon's own package: newer ones want a plugin.
pub(crate) const CLIENT: &str = "/usr/bin/docker";

/// A way to use it.
#[derive(Debug)]
pub(crate) struct Dockerd {
    name: String,
    dir: PathBuf,
    form: Form,
    /// Sends what was built to a registry of its own: only then is it compressed.
    pushes: bool,
    daemon: Option<Daemon>,
    registry: Option<DebianRegistry>,
}

impl Dockerd {
    pub(crate) fn new(dir: &Path, form: Form, pushes: bool) -> Self {
        let push = if pushes { ", pushed" } else { "" };
        let name = format!("BuildKit of docker.io{}{push}", form.shown());
        Self { name, dir: dir.to_owned(), form, pushes, daemon: None, registry: None }
    }

    fn client(&self) -> Command {
        let mut client = Command::new(CLIENT);
        client.env("DOCKER_BUILDKIT", "1").env("DOCKER_CONFIG", self.dir.join("config"));
        client.args(["-H", &self.socket()]);
        client
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.dir.join("socket").display())
    }

    fn tag(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{}/bench/image:1", registry.address),
            None => "bench:1".to_owned(),
        }
    }
}

impl Tool for Dockerd {
    fn name(&self) -> &str {
        &self.name
    }

    fn family(&self) -> Family {
        Family::BuildKit
    }

    fn leaves(&self) -> Leaves {
        if self.pushes { Leaves::Image } else { Leaves::Snapshots }
    }

    fn start(&mut self, base: Option<&str>) -> io::Result<()> {
        self.stop()?;
        fs_err::create_dir_all(&self.dir)?;
        let at = |name: &str| self.dir.join(name).display().to_string();
        let mut daemon = Command::new("dockerd");
        daemon.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
        daemon.args(["-H", &self.socket(), "--iptables=false", "--ip6tables=false", "--bridge=none"]);
        let answers = || Ok(self.client().arg("version").output()?.status.success());
        self.daemon = Some(Daemon::start(&mut daemon, answers)?);
        if self.pushes {
            self.registry = Some(DebianRegistry::start(&self.dir.join("registry"))?);
        }
        base.map_or(Ok(()), |base| done(self.client().args(["pull", "-q", base])))
    }

    fn stop(&mut self) -> io::Result<()> {
        self.daemon = None;
        self.registry = None;
        remove(&self.dir)
    }

    fn build(&self, job: &Job<'_>) -> Vec<Command> {
        let (mut build, mut tag) = (self.client(), self.tag());
        build.args(["build", "-q", "--network", "host", "-f"]).arg(job.context.join(self.form.file_name()));
        let mut more = Vec::new();
        match job.cache {
            Cache::Unused => {}
            Cache::Fill(repository) => {
                tag = format!("{repository}:docker");
                build.args(["--build-arg", "BUILDKIT_INLINE_CACHE=1"]);
                let mut push = self.client();
                push.args(["push", "-q", &tag]);
                more.push(push);
            }
            Cache::Use(repository) | Cache::UseLazily(repository) => {
                build.args(["--cache-from", &format!("{repository}:docker")]);
            }
        }
        if let (Some(_), Cache::Unused) = (&self.registry, job.cache) {
            let mut push = self.client();
            push.args(["push", "-q", &tag]);
            more.push(push);
        }
        build.args(["-t", &tag]).arg(job.context);
        std::iter::once(build).chain(more).collect()
    }

    fn daemon(&self) -> Option<u32> {
        self.daemon.as_ref().map(|daemon| daemon.0.id())
    }

    /// The package's version keeps a cache inside of an image, and none beside it.
    fn can(&self, cache: Cache<'_>) -> bool {
        !self.pushes && self.form == Form::Each && !matches!(cache, Cache::UseLazily(_))
    }

    fn contents(&self, _: &Job<'_>) -> io::Result<Files> {
        let made = self.client().args(["create", &self.tag(), "none"]).output()?;
        let container = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        let files = contents::of_command(self.client().args(["export", &container]));
        done(self.client().args(["rm", &container]))?;
        files
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn image_bytes(&self) -> io::Result<Option<u64>> {
        let blobs = self.dir.join("registry/data");
        if self.pushes { benches::size_of(&blobs).map(Some) } else { Ok(None) }
    }
}
