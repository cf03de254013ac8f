//! What RUN costs beside the command itself: `run [SEALER]`; needs root, busybox-static, buildah and runc.
//!
//! One base, extracted before. Each round runs `true` with the bare program, with runc on an unpacked root, with
//! `buildah run` in a container that is there already, and with a whole `sealer build` of one RUN that is not cached, from the
//! process's start to its end; then five independent stages that compute, side by side and one by one.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this program is for")]

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::median;

const ROUNDS: usize = 15;
const BUSYBOX: &str = "/bin/busybox";
/// Stages side by side.
const STAGES: usize = 5;
/// What each of them does: processor time and nothing else.
const WORK: &str = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";

fn main() -> io::Result<()> {
    let sealer = std::env::args().nth(1).map_or_else(
        || std::env::current_exe().map(|own| own.with_file_name("sealer")),
        |given| Ok(PathBuf::from(given)),
    )?;
    let work = tempfile::tempdir()?;
    let place = Place { sealer: fs_err::canonicalize(sealer)?, work: work.path().to_owned() };
    place.prepare()?;
    place.overhead()?;
    place.stages()
}

struct Place {
    sealer: PathBuf,
    work: PathBuf,
}

impl Place {
    /// A root of busybox, as a base in the store and as a directory.
    fn prepare(&self) -> io::Result<()> {
        let bin = self.work.join("base/rootfs/bin");
        fs_err::create_dir_all(&bin)?;
        fs_err::copy(BUSYBOX, bin.join("busybox"))?;
        for name in ["sh", "true"] {
            fs_err::os::unix::fs::symlink("busybox", bin.join(name))?;
        }
        fs_err::write(self.work.join("base/Kubefile"), "FROM scratch\nCOPY rootfs/ /\n")?;
        done(self.build("base:1", &self.work.join("base")))
    }

    fn build(&self, tag: &str, context: &Path) -> Command {
        let mut build = Command::new(&self.sealer);
        build.args(["build", "-q", "--build-mode", "lite", "-t", tag, "--root"]).arg(self.work.join("store"));
        build.arg(context);
        build
    }

    fn overhead(&self) -> io::Result<()> {
        let context = self.work.join("one");
        fs_err::create_dir(&context)?;
        let mut ours = Vec::new();
        let (mut bare, mut runc, mut buildah) = (Vec::new(), Vec::new(), Vec::new());
        self.bundle()?;
        let container = self.container()?;
        for round in 0..=ROUNDS {
            fs_err::write(context.join("Kubefile"), format!("FROM base:1\nARG ROUND={round}\nRUN true\n"))?;
            let wall = timed(self.build("one:1", &context))?;
            // The first one extracts the base.
            if round == 0 {
                println!("first RUN on a base, extracting it: {}", ms(wall));
                continue;
            }
            ours.push(wall);
            bare.push(timed(words(&[BUSYBOX, "sh", "-c", "true"]))?);
            let mut command = words(&["runc", "--root"]);
            command.arg(self.work.join("runc")).args(["run", "--bundle"]).arg(self.work.join("bundle"));
            runc.extend(timed_if(command.arg("bench"))?);
            let mut command = self.buildah(&["run", "--isolation", "oci", "--runtime", "runc", &container]);
            buildah.extend(timed_if(command.args(["--", "sh", "-c", "true"]))?);
        }
        let bare = median(&mut bare);
        println!("the bare command: {}", ms(bare));
        let overhead = median(&mut ours).saturating_sub(bare);
        let met = if overhead < Duration::from_millis(60) { "met" } else { "NOT met" };
        println!(
            "sealer build with one RUN, whole process, over the bare command: {} (bar 60 ms: {met})",
            ms(overhead)
        );
        for (name, times) in [("runc run", &mut runc), ("buildah run", &mut buildah)] {
            match times.is_empty() {
                true => println!("{name}: did not run here"),
                false => {
                    println!("{name}, over the bare command: {}", ms(median(times).saturating_sub(bare)))
                }
            }
        }
        Ok(())
    }

    /// Five stages that compute: all at once, and with one job.
    fn stages(&self) -> io::Result<()> {
        let mut walls = Vec::new();
        for jobs in ["2", "1"] {
            let mut times = Vec::new();
            for round in 0..3 {
                let context = self.work.join("stages");
                fs_err::create_dir_all(&context)?;
                let stage =
                    |n: usize| format!("FROM base:1 AS s{n}\nRUN : {jobs}{round}; {WORK}; echo {n} > /{n}\n");
                let copies: String = (0..STAGES).map(|n| format!("COPY --from=s{n} /{n} /\n")).collect();
                let stages: String = (0..STAGES).map(stage).collect();
                fs_err::write(context.join("Kubefile"), format!("{stages}FROM scratch\n{copies}"))?;
                times.push(timed(self.build("stages:1", &context).args(["--jobs", jobs]))?);
            }
            walls.push(median(&mut times));
        }
        let ratio = walls[1].as_secs_f64() / walls[0].as_secs_f64();
        println!(
            "five independent stages: {} with two jobs, {} with one: {ratio:.2} x",
            ms(walls[0]),
            ms(walls[1])
        );
        Ok(())
    }

    fn bundle(&self) -> io::Result<()> {
        let bundle = self.work.join("bundle");
        fs_err::create_dir(&bundle)?;
        done(words(&["cp", "-a"]).arg(self.work.join("base/rootfs")).arg(&bundle))?;
        if words(&["runc", "spec"]).arg("--bundle").arg(&bundle).status().is_err() {
            return Ok(());
        }
        let file = bundle.join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs_err::read(&file)?)?;
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = serde_json::json!(["sh", "-c", "true"]);
        fs_err::write(file, config.to_string())
    }

    fn buildah(&self, arguments: &[&str]) -> Command {
        let mut command = words(&["buildah", "--root"]);
        command.arg(self.work.join("containers")).arg("--runroot").arg(self.work.join("containers-run"));
        command.args(arguments);
        command
    }

    /// A container of buildah's on the same root; empty where there is no buildah.
    fn container(&self) -> io::Result<String> {
        let made = self.buildah(&["from", "scratch"]).output();
        let Ok(made) = made else { return Ok(String::new()) };
        let name = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        let mut copy = self.buildah(&["copy", &name]);
        done(copy.arg(self.work.join("base/rootfs")).arg("/"))?;
        Ok(name)
    }
}

fn words(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

fn done(mut command: impl std::borrow::BorrowMut<Command>) -> io::Result<()> {
    timed(command.borrow_mut()).map(drop)
}

fn timed(mut command: impl std::borrow::BorrowMut<Command>) -> io::Result<Duration> {
    let command = command.borrow_mut();
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let wall = start.elapsed();
    if output.status.success() {
        return Ok(wall);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}: {text}", output.status)))
}

/// The same for a peer: one that does not run here is left out, and why is said once.
fn timed_if(command: &mut Command) -> io::Result<Option<Duration>> {
    static SAID: std::sync::Once = std::sync::Once::new();
    match timed(command) {
        Ok(wall) => Ok(Some(wall)),
        Err(error) => {
            SAID.call_once(|| eprintln!("{error}"));
            Ok(None)
        }
    }
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
