//! Who builds: this sealer, and every peer, behind one trait.

mod buildah;
mod buildkitd;
mod dockerd;
mod original;
mod ours;

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::contents::Files;
use crate::options::Options;
use crate::spec::Form;

/// One build of a tool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    /// Holds the Kubefile and the Dockerfiles.
    pub(crate) context: &'a Path,
    /// What is done with a cache in a registry.
    pub(crate) cache: Cache<'a>,
}

/// What a build does with a cache in a registry, by its repository.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cache<'a> {
    Unused,
    /// Keeps what it built there.
    Fill(&'a str),
    /// Asks there.
    Use(&'a str),
    /// Asks there, and leaves the bytes of layers where they are.
    UseLazily(&'a str),
}

/// What there is when a build has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// A compressed OCI image.
    Image,
    /// File trees; compressing them is still to do for whoever sends the image somewhere.
    Snapshots,
}

/// Somebody who builds.
pub(crate) trait Tool {
    fn name(&self) -> &str;

    /// Who made it: the configurations of one tool are one family.
    fn family(&self) -> Family;

    fn leaves(&self) -> Leaves;

    /// Empty, running, with the base at hand.
    fn start(&mut self, base: Option<&str>) -> io::Result<()>;

    /// Ends it and forgets everything.
    fn stop(&mut self) -> io::Result<()>;

    /// The commands of one build.
    fn build(&self, job: &Job<'_>) -> Vec<Command>;

    /// The process that works for the command.
    fn daemon(&self) -> Option<u32> {
        None
    }

    /// Whether it knows the use of a cache.
    fn can(&self, cache: Cache<'_>) -> bool;

    /// The files of what was built last.
    fn contents(&self, job: &Job<'_>) -> io::Result<Files>;

    /// Everything it has on the disk.
    fn dir(&self) -> &Path;

    /// Bytes of the compressed image that was built last.
    fn image_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// Tools by who made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ours,
    BuildKit,
    Buildah,
    Original,
}

/// What is there to build with: ours first, then the peers. One that leaves snapshots is made to compress them only where
/// that is most of the work; `has_two_forms` says that one COPY can stand for several.
pub(crate) fn all(
    options: &Options,
    is_carrying: bool,
    is_large: bool,
    has_two_forms: bool,
) -> Vec<Box<dyn Tool>> {
    let work = &options.work;
    let mut tools: Vec<Box<dyn Tool>> = vec![
        Box::new(ours::Ours::new(&options.ours, &work.join("ours-zstd"), "zstd", is_carrying)),
        Box::new(ours::Ours::new(&options.ours, &work.join("ours-gzip"), "gzip", is_carrying)),
    ];
    if let Some(sealer) = &options.sealer {
        tools.push(Box::new(original::Original::new(sealer, &work.join("original"), is_carrying)));
    }
    // Nobody else carries container images.
    if is_carrying || !options.finds_peers {
        return tools;
    }
    if let Some((daemon, client)) = &options.buildkit {
        let mut ways = vec![
            (Form::Each, buildkitd::Output::Nothing),
            (Form::Linked, buildkitd::Output::Nothing),
            (Form::Linked, buildkitd::Output::Archive("zstd")),
        ];
        ways.extend(has_two_forms.then_some((Form::One, buildkitd::Output::Nothing)));
        let new = |(form, output)| {
            buildkitd::BuildKitd::new([daemon, client], &work.join("buildkitd"), form, output)
        };
        tools.extend(ways.into_iter().map(|way| Box::new(new(way)) as Box<dyn Tool>));
    }
    if is_installed("dockerd") && is_installed(dockerd::CLIENT) {
        let dir = work.join("dockerd");
        tools.push(Box::new(dockerd::Dockerd::new(&dir, Form::Each, false)));
        if has_two_forms {
            tools.push(Box::new(dockerd::Dockerd::new(&dir, Form::One, false)));
        }
        if is_large && is_installed("docker-registry") {
            tools.push(Box::new(dockerd::Dockerd::new(&dir, Form::Each, true)));
        }
    }
    if is_installed("buildah") {
        // A commit for each of a hundred steps takes it three times as long.
        let form = if has_two_forms { Form::One } else { Form::Each };
        tools.push(Box::new(buildah::Buildah::new(&work.join("buildah"), form)));
    }
    tools
}

/// Whether a program can be started.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).status().is_ok()
}

/// Removes a directory with whatever is mounted in it.
fn remove(dir: &Path) -> io::Result<()> {
    let mounts = fs_err::read_to_string("/proc/self/mounts")?;
    let below =
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(dir));
    // The deepest come last.
    for at in below.collect::<Vec<_>>().into_iter().rev() {
        let _ = Command::new("umount").args(["-l", at]).stderr(Stdio::null()).status();
    }
    match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Runs a command that is not measured.
fn done(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{}: {}", command.get_program().display(), said.trim())))
}

/// A program that works for others, ended when nobody holds it any more.
#[derive(Debug)]
struct Daemon(std::process::Child);

impl Daemon {
    /// Starts one, and waits until `answers` does.
    fn start(command: &mut Command, mut answers: impl FnMut() -> io::Result<bool>) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut daemon = Self(child);
        for _ in 0..600 {
            if answers()? {
                return Ok(daemon);
            }
            if let Some(status) = daemon.0.try_wait()? {
                return Err(io::Error::other(format!("{}: {status}", command.get_program().display())));
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Err(io::Error::other(format!("{} does not answer", command.get_program().display())))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            // It ends what it started itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        for _ in 0..300 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // Half a minute was enough to end in peace.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
