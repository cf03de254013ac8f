//! The second build beside those of other tools: `peers [--svg FILE] [SEALER]`; needs root, buildah and docker.io.
//!
//! The same generated context, once with our Kubefile and once with a Dockerfile of one COPY an application, is built by
//! each tool in turn: on an empty store, again, and after one byte has changed. BuildKit is the one inside dockerd, with
//! the client of the same package. A tool that is not installed is left out, and that is said.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this program is for")]

use std::fmt::Write;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use benches::median;

const CASES: [&str; 3] = ["cold", "nothing changed", "one byte changed"];

struct Workload {
    name: &'static str,
    make: fn(&Path) -> io::Result<()>,
    dockerfile: fn() -> String,
    edit: &'static str,
}

const WORKLOADS: [Workload; 2] = [
    Workload {
        name: "100 apps, 2,800 files, 612 MiB",
        make: |dir| benches::apps(dir, 100, 28, 224 << 10),
        dockerfile: || {
            let copies = (0..100).map(|app| format!("COPY app{app} /application/apps/a{app}\n"));
            std::iter::once("FROM scratch\n".to_owned()).chain(copies).collect()
        },
        edit: "app7/file0.yaml",
    },
    Workload {
        name: "100,000 files in one COPY",
        make: |dir| benches::one_tree(dir, 100_000, 1 << 10),
        dockerfile: || "FROM scratch\nCOPY tree /tree\n".to_owned(),
        edit: "tree/d0/e0/f7",
    },
];

/// Somebody who builds.
trait Tool {
    fn name(&self) -> &'static str;
    /// How often each case is measured: a tool that takes minutes is measured once.
    fn rounds(&self) -> usize;
    /// Forgets everything.
    fn clear(&mut self) -> io::Result<()>;
    fn build(&self, context: &Path) -> Command;
}

struct Sealer {
    binary: PathBuf,
    store: PathBuf,
}

impl Tool for Sealer {
    fn name(&self) -> &'static str {
        "sealer"
    }

    fn rounds(&self) -> usize {
        5
    }

    fn clear(&mut self) -> io::Result<()> {
        remove(&self.store)
    }

    fn build(&self, context: &Path) -> Command {
        let mut build = Command::new(&self.binary);
        build.args(["build", "-q", "-t", "bench:1", "--build-mode", "lite", "--root"]).arg(&self.store);
        build.arg(context);
        build
    }
}

struct Buildah {
    dir: PathBuf,
}

impl Tool for Buildah {
    fn name(&self) -> &'static str {
        "buildah bud --layers"
    }

    fn rounds(&self) -> usize {
        1
    }

    fn clear(&mut self) -> io::Result<()> {
        remove(&self.dir)
    }

    fn build(&self, context: &Path) -> Command {
        let mut build = Command::new("buildah");
        build.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
        build.args(["bud", "--layers", "-q", "-t", "bench:1"]).arg(context);
        build
    }
}

struct BuildKit {
    dir: PathBuf,
    daemon: Option<Child>,
}

impl BuildKit {
    fn socket(&self) -> String {
        format!("unix://{}", self.dir.join("socket").display())
    }

    fn client(&self) -> Command {
        // The client of the daemon's own package: newer ones want a plugin.
        let mut client = Command::new("/usr/bin/docker");
        client.env("DOCKER_BUILDKIT", "1").args(["-H", &self.socket()]);
        client
    }

    fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
    }
}

impl Drop for BuildKit {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Tool for BuildKit {
    fn name(&self) -> &'static str {
        "BuildKit in docker.io"
    }

    fn rounds(&self) -> usize {
        3
    }

    fn clear(&mut self) -> io::Result<()> {
        self.stop();
        remove(&self.dir)?;
        fs_err::create_dir_all(&self.dir)?;
        let at = |name: &str| self.dir.join(name).display().to_string();
        let daemon = Command::new("dockerd")
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["-H", &self.socket(), "--iptables=false", "--ip6tables=false", "--bridge=none"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.daemon = Some(daemon);
        let start = Instant::now();
        while !self.client().arg("version").output()?.status.success() {
            if start.elapsed() > Duration::from_secs(60) {
                return Err(io::Error::other("dockerd does not start"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn build(&self, context: &Path) -> Command {
        let mut build = self.client();
        build.args(["build", "-q", "-t", "bench:1"]).arg(context);
        build
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut words = words.iter();
    let (mut svg, mut sealer) = (None, benches::beside_me());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--svg" => svg = words.next(),
            path => sealer = PathBuf::from(path),
        }
    }
    let work = sealer.parent().unwrap_or(Path::new(".")).join("peers-work");
    let mut rows: Vec<(&str, &str, &str, Duration)> = Vec::new();
    println!("| workload | case | tool | median s | rounds | times ours |");
    println!("|---|---|---|---|---|---|");
    for workload in WORKLOADS {
        remove(&work)?;
        let context = work.join("context");
        fs_err::create_dir_all(&context)?;
        (workload.make)(&context)?;
        fs_err::write(context.join("Dockerfile"), (workload.dockerfile)())?;
        let mut ours = Vec::new();
        for mut tool in tools(&sealer, &work) {
            let times = measure(tool.as_mut(), &workload, &context)?;
            for (number, (case, mut times)) in CASES.into_iter().zip(times).enumerate() {
                let (rounds, time) = (times.len(), median(&mut times));
                if ours.len() == number {
                    ours.push(time);
                }
                let ratio = time.as_secs_f64() / ours[number].as_secs_f64();
                let (name, seconds) = (tool.name(), time.as_secs_f64());
                println!("| {} | {case} | {name} | {seconds:.3} | {rounds} | {ratio:.1} |", workload.name);
                rows.push((workload.name, case, name, time));
            }
        }
    }
    let place = |case: &str| CASES.iter().position(|known| *known == case);
    let of = |workload: &str| WORKLOADS.iter().position(|known| known.name == workload);
    rows.sort_by_key(|(workload, case, ..)| (of(workload), place(case)));
    if let Some(svg) = svg {
        fs_err::write(svg, chart(&rows))?;
    }
    remove(&work)
}

/// Ours first, then those that are installed.
fn tools(sealer: &Path, work: &Path) -> Vec<Box<dyn Tool>> {
    let mut tools: Vec<Box<dyn Tool>> =
        vec![Box::new(Sealer { binary: sealer.to_owned(), store: work.join("store") })];
    let has = |program: &str| {
        let found =
            Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
        if !found {
            eprintln!("{program} is not installed: left out");
        }
        found
    };
    if has("dockerd") && has("/usr/bin/docker") {
        tools.push(Box::new(BuildKit { dir: work.join("docker"), daemon: None }));
    }
    if has("buildah") {
        tools.push(Box::new(Buildah { dir: work.join("buildah") }));
    }
    tools
}

fn measure(tool: &mut dyn Tool, workload: &Workload, context: &Path) -> io::Result<[Vec<Duration>; 3]> {
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..tool.rounds() {
        tool.clear()?;
        Command::new("sync").status()?;
        let build = || -> io::Result<Duration> {
            Ok(benches::measured(tool.build(context).stdout(Stdio::null()).stderr(Stdio::null()))?.0)
        };
        times[0].push(build()?);
        // What was written just now is younger than a scan trusts.
        std::thread::sleep(Duration::from_millis(100));
        build()?;
        times[1].push(build()?);
        let file = fs_err::OpenOptions::new().write(true).open(context.join(workload.edit))?;
        file.file().write_all_at(&[b'a' + round as u8], 9)?;
        std::thread::sleep(Duration::from_millis(100));
        times[2].push(build()?);
    }
    tool.clear()?;
    Ok(times)
}

fn remove(dir: &Path) -> io::Result<()> {
    // A storage driver may have left its own mount on its directory.
    for mount in ["root/overlay", "data/overlay2"] {
        let _ = Command::new("umount").arg(dir.join(mount)).stderr(Stdio::null()).status();
    }
    match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Bars on a scale of powers of ten, from a hundredth of a second on.
fn chart(rows: &[(&str, &str, &str, Duration)]) -> String {
    const LEFT: f64 = 190.0;
    const DECADE: f64 = 120.0;
    let width = |time: Duration| ((time.as_secs_f64() / 0.01).log10().max(0.02)) * DECADE;
    let mut body = String::new();
    let (mut y, mut group) = (20.0, "");
    let text = |body: &mut String, x: f64, y: f64, weight: &str, words: &str| {
        let _ = write!(body, "<text x=\"{x}\" y=\"{y}\" font-weight=\"{weight}\">{words}</text>");
    };
    for (workload, case, tool, time) in rows {
        let title = format!("{workload}: {case}");
        if group != *case {
            (group, y) = (case, y + 14.0);
            text(&mut body, 8.0, y, "bold", &title);
            y += 8.0;
        }
        let (colour, length) = (if *tool == "sealer" { "#2f7d4f" } else { "#9aa5b1" }, width(*time));
        let _ = write!(
            body,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"13\" fill=\"{colour}\"/>"
        );
        text(&mut body, 8.0, y + 11.0, "normal", tool);
        text(&mut body, LEFT + length + 6.0, y + 11.0, "normal", &format!("{:.3} s", time.as_secs_f64()));
        y += 18.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>{body}</svg>\n",
        y + 12.0
    )
}
