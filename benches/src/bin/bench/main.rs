//! Whole builds beside every peer and beside the physical limits of the same data; `--help` says how to call it.
//!
//! The road: a workload is made from a seed, then there are rounds in which each tool starts empty and builds every case
//! (`rounds`), what it cost is measured (`measure`), what it made is compared (`contents`); then tables, pictures and bars.
//! README.md says how the figures are taken.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tables are what this program is for")]

mod bars;
mod bases;
mod charts;
mod contents;
mod floors;
mod measure;
mod options;
mod report;
mod results;
mod rounds;
mod services;
mod spec;
mod tools;
mod workloads;

use std::io;
use std::process::{Command, ExitCode};
use std::time::Duration;

use self::bases::Bases;
use self::options::{Options, USAGE};
use self::results::Measured;
use self::services::files::FileServer;
use self::workloads::WORKLOADS;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match Options::parse(words).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let is_wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    if options.lists {
        WORKLOADS.iter().for_each(|workload| println!("{}", workload.name));
        return Ok(());
    }
    if let Some(unknown) = options.only.iter().find(|only| WORKLOADS.iter().all(|known| known.name != **only))
    {
        return Err(io::Error::other(format!(
            "there is no workload `{unknown}`: --list prints those there are"
        )));
    }
    if options.installs_peers {
        install()?;
    }
    if options.finds_peers {
        say_what_is_missing(options);
    }
    let _ = fs_err::remove_dir_all(&options.work);
    fs_err::create_dir_all(&options.work)?;
    fs_err::create_dir_all(options.out.join("charts"))?;
    let (near, far) = (FileServer::start(Duration::ZERO)?, FileServer::start(benches::LATENCY)?);
    let mut bases = Bases::new(options);
    let mut all: Vec<Measured> = Vec::new();
    let mut failures = Vec::new();
    for workload in WORKLOADS.iter().filter(|workload| is_wanted(workload.name)) {
        match rounds::measure(options, workload, &mut bases, [&near, &far]) {
            Ok(measured) => {
                let picture = options.out.join(format!("charts/{}.svg", measured.name));
                fs_err::write(picture, charts::chart(&measured))?;
                all.push(measured);
                // What is known so far is not lost when the rest is.
                write(options, &all, &[])?;
            }
            Err(error) => {
                eprintln!("{}: {error}", workload.name);
                failures.push(format!("{}: {error}", workload.name));
            }
        }
    }
    drop(bases);
    let bars = bars::check(&all);
    write(options, &all, &bars)?;
    println!("{}", report::markdown(&machine(options), &all, &bars));
    fs_err::remove_dir_all(&options.work)?;
    eprintln!("written to {}", options.out.display());
    if failures.is_empty() { Ok(()) } else { Err(io::Error::other(failures.join("\n"))) }
}

fn write(options: &Options, all: &[Measured], bars: &[bars::Bar]) -> io::Result<()> {
    let machine = machine(options);
    fs_err::write(options.out.join("figures.md"), report::markdown(&machine, all, bars))?;
    let json = serde_json::to_string_pretty(&report::json(&machine, all, bars))?;
    fs_err::write(options.out.join("figures.json"), json)
}

/// What the figures were taken on.
fn machine(options: &Options) -> String {
    let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split([':', '=']).nth(1).unwrap_or_default().trim().trim_matches('"').to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let memory: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .split(' ')
        .next()
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    let scale = if options.is_quick { " `--quick`: small data, no figures to be quoted." } else { "" };
    format!(
        "{processors} processors ({}), {} GiB, {}; warm page cache.{scale}",
        field(&read("/proc/cpuinfo"), "model name"),
        memory.div_ceil(1 << 20),
        field(&read("/etc/os-release"), "PRETTY_NAME"),
    )
}

/// Debian's packages of everything that is compared with or needed.
fn install() -> io::Result<()> {
    let packages = ["buildah", "docker.io", "runc", "docker-registry", "debootstrap", "busybox-static"];
    eprintln!("installing {}", packages.join(" "));
    for words in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends"]] {
        let mut apt = Command::new("apt-get");
        apt.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        if words[0] == "install" {
            apt.args(packages);
        }
        // Its words would stand in our table.
        let output = apt.output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
    }
    Ok(())
}

fn say_what_is_missing(options: &Options) {
    for (program, what) in [
        ("dockerd", "BuildKit of docker.io is not measured"),
        ("buildah", "buildah is not measured"),
        ("docker-registry", "no cache, no base and no push is measured"),
    ] {
        if !tools::is_installed(program) {
            eprintln!("{program} is not installed: {what} (--install-peers installs it)");
        }
    }
    if options.buildkit.is_none() {
        eprintln!("no newer BuildKit: --buildkitd PATH --buildctl PATH");
    }
    if options.sealer.is_none() {
        eprintln!("no original sealer: --sealer PATH");
    }
}
