//! The image tools beside what the same bytes cost: `images [SEALER]`.
//!
//! `save` is held against `cp` of the archive, `load` against `cp` and SHA-256 of it, each in the same round; lists and
//! single images against nothing, in a store of 1,000.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

const ROUNDS: usize = 7;
const IMAGES: usize = 1000;

fn main() -> io::Result<()> {
    let sealer = std::env::args().nth(1).map_or_else(benches::beside_me, PathBuf::from);
    let work = sealer.parent().unwrap_or(Path::new(".")).join("images-work");
    let _ = fs_err::remove_dir_all(&work);
    println!("| case | median ms | spread ms | bar ms | ratio | what the bar is |");
    println!("|---|---|---|---|---|---|");
    for (name, compression) in [("tar layers", "uncompressed"), ("zstd layers", "zstd")] {
        archives(&sealer, &work, name, compression)?;
        fs_err::remove_dir_all(&work)?;
    }
    lists(&sealer, &work)?;
    fs_err::remove_dir_all(&work)
}

/// 600 MiB in 100 applications, saved and loaded. What is compressed is noise, so that the archive is as large.
fn archives(sealer: &Path, work: &Path, name: &str, compression: &str) -> io::Result<()> {
    let (context, store) = (work.join("context"), work.join("store"));
    let mut random = benches::Random::new(600);
    let mut kubefile = String::from("FROM scratch\n");
    for app in 0..100 {
        let dir = context.join(format!("app{app}"));
        fs_err::create_dir_all(&dir)?;
        let noise: Vec<u8> = (0..(6 << 20) / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect();
        fs_err::write(dir.join("noise.yaml"), noise)?;
        kubefile.push_str(&format!("APP a{app} local://app{app}\n"));
    }
    fs_err::write(context.join("Kubefile"), kubefile)?;
    let words = ["build", "-q", "-t", "x:1", "--build-mode", "lite", "--compression", compression];
    timed(Command::new(sealer).args(words).arg("--root").arg(&store).arg(&context))?;
    let (archive, copy, loaded) = (work.join("x.tar"), work.join("copy.tar"), work.join("loaded"));
    let (mut save, mut load, mut cp, mut sum) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for path in [&archive, &copy] {
            let _ = fs_err::remove_file(path);
        }
        let _ = fs_err::remove_dir_all(&loaded);
        // What earlier rounds left to write is not this round's to wait for.
        Command::new("sync").status()?;
        save.push(timed(
            Command::new(sealer).args(["save", "-q", "x:1", "--root"]).arg(&store).arg("-o").arg(&archive),
        )?);
        cp.push(timed(Command::new("cp").arg(&archive).arg(&copy))?);
        fs_err::remove_file(&copy)?;
        Command::new("sync").status()?;
        sum.push(hash(&archive)?);
        load.push(timed(
            Command::new(sealer).args(["load", "-q", "--root"]).arg(&loaded).arg("-i").arg(&archive),
        )?);
    }
    let both: Vec<Duration> = cp.iter().zip(&sum).map(|(cp, sum)| *cp + *sum).collect();
    let megabytes = fs_err::metadata(&archive)?.len() / 1_000_000;
    row(&format!("save, {megabytes} MB, {name}"), save, Some((cp, "cp of the archive")));
    row(&format!("load, {megabytes} MB, {name}"), load, Some((both, "cp and SHA-256 of the archive")));
    Ok(())
}

/// A store of many images, listed and looked into.
fn lists(sealer: &Path, work: &Path) -> io::Result<()> {
    let (context, store) = (work.join("context"), work.join("store"));
    fs_err::create_dir_all(&context)?;
    fs_err::write(context.join("a.yaml"), "kind: A\n")?;
    fs_err::write(context.join("Kubefile"), "FROM scratch\nAPP a local://a.yaml\nLAUNCH a\n")?;
    for number in 0..IMAGES {
        let (name, label) = (format!("image{number}:1"), format!("number={number}"));
        let words = ["build", "-q", "-t", &name, "--label", &label, "--build-mode", "lite"];
        timed(Command::new(sealer).args(words).arg("--root").arg(&store).arg(&context))?;
    }
    for words in [
        &["images"][..],
        &["images", "--json"],
        &["images", "--filter", "label=number=77"],
        &["inspect", "image77:1"],
        &["inspect", "image77:1", "-f", "{{.ID}}"],
        &["history", "image77:1"],
    ] {
        let runs = (0..ROUNDS).map(|_| timed(Command::new(sealer).args(words).arg("--root").arg(&store)));
        row(&format!("`{}` of {IMAGES} images", words.join(" ")), runs.collect::<io::Result<_>>()?, None);
    }
    Ok(())
}

fn row(case: &str, runs: Vec<Duration>, bar: Option<(Vec<Duration>, &str)>) {
    let (median, spread) = (median(&runs), runs.iter().max().zip(runs.iter().min()));
    let spread = spread.map_or(Duration::ZERO, |(max, min)| *max - *min);
    let (bar, what) = bar.map_or((None, ""), |(runs, what)| (Some(self::median(&runs)), what));
    let ratio =
        bar.map_or_else(String::new, |bar| format!("{:.2}", median.as_secs_f64() / bar.as_secs_f64()));
    let bar = bar.map_or_else(String::new, millis);
    println!("| {case} | {} | {} | {bar} | {ratio} | {what} |", millis(median), millis(spread));
}

fn median(runs: &[Duration]) -> Duration {
    let mut runs = runs.to_vec();
    runs.sort();
    runs[runs.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

fn timed(command: &mut Command) -> io::Result<Duration> {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).status()?;
    if status.success() {
        Ok(start.elapsed())
    } else {
        Err(io::Error::other(format!("{command:?}: {status}")))
    }
}

/// SHA-256 of a file by one thread, as fast as this processor can.
fn hash(path: &Path) -> io::Result<Duration> {
    let start = Instant::now();
    let mut file = fs_err::File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    let mut hasher = Sha256::new();
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    std::hint::black_box(hasher.finalize());
    Ok(start.elapsed())
}
