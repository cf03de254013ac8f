//! Whole builds with the real binary, beside the physical limits of the same data: `e2e [--large] [SEALER]`.
//!
//! Each case runs in rounds; the table has the median and the spread. Without `--large` the data stays below 100 MB.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;

struct Workload {
    name: &'static str,
    make: fn(&Path) -> io::Result<()>,
    edit: &'static str,
    large: bool,
}

const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "100 apps x 20 files x 6 KiB",
        make: |dir| benches::apps(dir, 100, 20, 6 << 10),
        edit: "app7/file0.yaml",
        large: false,
    },
    Workload {
        name: "1,000 one-file apps",
        make: |dir| benches::apps(dir, 1000, 1, 1 << 10),
        edit: "app7/file0.yaml",
        large: false,
    },
    Workload {
        name: "10,000 files in one COPY",
        make: |dir| benches::one_tree(dir, 10_000, 1 << 10),
        edit: "tree/d0/e0/f7",
        large: false,
    },
    Workload {
        name: "100 apps x 28 files, 612 MiB",
        make: |dir| benches::apps(dir, 100, 28, 224 << 10),
        edit: "app7/file0.yaml",
        large: true,
    },
    Workload {
        name: "100,000 files in one COPY",
        make: |dir| benches::one_tree(dir, 100_000, 1 << 10),
        edit: "tree/d0/e0/f7",
        large: true,
    },
];

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let large = words.iter().any(|word| word == "--large");
    let sealer =
        words.iter().find(|word| !word.starts_with("--")).map_or_else(benches::beside_me, PathBuf::from);
    let work = sealer.parent().unwrap_or(Path::new(".")).join("e2e-work");
    println!("| workload | case | median ms | spread ms | peak MB | what the same data costs |");
    println!("|---|---|---|---|---|---|");
    for workload in WORKLOADS.iter().filter(|workload| large || !workload.large) {
        let _ = fs_err::remove_dir_all(&work);
        let context = work.join("context");
        fs_err::create_dir_all(&context)?;
        (workload.make)(&context)?;
        let read = timed(|| read_all(&context))?;
        let walk = timed(|| benches::stat_walk(&context).map(drop))?;
        let limit = format!("walk {} ms, read {} ms", walk.as_millis(), read.as_millis());
        measure(workload, &sealer, &work, &limit)?;
    }
    fs_err::remove_dir_all(&work)
}

fn measure(workload: &Workload, sealer: &Path, work: &Path, limit: &str) -> io::Result<()> {
    let store = work.join("store");
    let edited = work.join("context").join(workload.edit);
    let mut cold = Vec::new();
    let mut again = Vec::new();
    let mut one = Vec::new();
    let mut launch = Vec::new();
    for round in 0..ROUNDS {
        let _ = fs_err::remove_dir_all(&store);
        cold.push(build(sealer, work)?);
        again.push(build(sealer, work)?);
        let mut bytes = fs_err::read(&edited)?;
        bytes[0] = b'a' + round as u8;
        fs_err::write(&edited, bytes)?;
        one.push(build(sealer, work)?);
        let kubefile = work.join("context/Kubefile");
        let text = fs_err::read_to_string(&kubefile)?;
        fs_err::write(&kubefile, format!("{text}CMDS [\"echo {round}\"]\n"))?;
        launch.push(build(sealer, work)?);
        fs_err::write(&kubefile, text)?;
    }
    for (case, mut runs) in
        [("cold", cold), ("nothing changed", again), ("one byte changed", one), ("CMDS changed", launch)]
    {
        runs.sort();
        let (median, peak) = runs[runs.len() / 2];
        let spread = runs[runs.len() - 1].0 - runs[0].0;
        println!(
            "| {} | {case} | {} | {} | {} | {limit} |",
            workload.name,
            median.as_millis(),
            spread.as_millis(),
            peak / 1024
        );
    }
    Ok(())
}

/// One build; wall time of the process and its peak memory in KiB.
fn build(sealer: &Path, work: &Path) -> io::Result<(Duration, u64)> {
    let mut build = Command::new(sealer);
    build.args(["build", "-q", "-t", "bench:1", "--build-mode", "lite", "--root"]);
    build.arg(work.join("store")).arg(work.join("context"));
    benches::measured(build.stdout(Stdio::null()))
}

fn timed(work: impl Fn() -> io::Result<()>) -> io::Result<Duration> {
    work()?;
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn read_all(dir: &Path) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 17];
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path)?;
        } else {
            let mut file = fs_err::File::open(path)?;
            while file.read(&mut buffer)? > 0 {}
        }
    }
    Ok(())
}
