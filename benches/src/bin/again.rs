//! What a second build costs, beside what the same work costs in plain system calls: `again [--only WORD] [SEALER]`.
//!
//! Every case is a process of its own on a store that a build has filled. After every change the result is held
//! against that of an empty store. Each bar is measured in the same round as the build: a ratio of 1 or less meets it. The
//! stat walk is openat, getdents and fstatat of every entry on one thread, as a C program would do it.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::{median, stat_walk};
use sha2::{Digest, Sha256};

const ROUNDS: usize = 7;
const GIB: u64 = 1 << 30;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut words = words.iter();
    let (mut only, mut sealer) = (None, benches::beside_me());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--only" => only = words.next().cloned(),
            path => sealer = PathBuf::from(path),
        }
    }
    let work = sealer.parent().unwrap_or(Path::new(".")).join("again-work");
    println!("| workload | case | median ms | spread ms | bar ms | ratio | peak MB | what the bar is |");
    println!("|---|---|---|---|---|---|---|---|");
    let workloads: [(&str, Workload); 5] = [
        ("apps", hundred_apps),
        ("files", many_files),
        ("sources", many_sources),
        ("large", one_large_file),
        ("aged", aged_store),
    ];
    for (name, run) in workloads {
        if only.as_ref().is_none_or(|only| only == name) {
            let _ = fs_err::remove_dir_all(&work);
            run(&Bench { sealer: &sealer, work: &work })?;
        }
    }
    fs_err::remove_dir_all(&work)
}

type Workload = fn(&Bench<'_>) -> io::Result<()>;

struct Bench<'a> {
    sealer: &'a Path,
    work: &'a Path,
}

/// Builds of one case, with the bars of the same rounds.
#[derive(Default)]
struct Case {
    runs: Vec<Duration>,
    bars: Vec<Duration>,
    peak_kib: u64,
}

impl Case {
    fn print(mut self, workload: &str, case: &str, what: &str) {
        let (run, bar) = (median(&mut self.runs), median(&mut self.bars));
        let spread = self.runs[self.runs.len() - 1] - self.runs[0];
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "| {workload} | {case} | {:.1} | {:.1} | {:.1} | {:.2} | {:.0} | {what} |",
            ms(run),
            ms(spread),
            ms(bar),
            run.as_secs_f64() / bar.as_secs_f64(),
            self.peak_kib as f64 / 1024.0,
        );
    }
}

impl Bench<'_> {
    fn context(&self) -> PathBuf {
        self.work.join("context")
    }

    fn build(&self, case: &mut Case) -> io::Result<()> {
        let (wall, peak) = self.build_in(&self.work.join("store"))?;
        case.runs.push(wall);
        case.peak_kib = case.peak_kib.max(peak);
        Ok(())
    }

    fn build_in(&self, store: &Path) -> io::Result<(Duration, u64)> {
        let mut build = Command::new(self.sealer);
        build.args(["build", "-q", "-t", "bench:1", "--build-mode", "lite", "--iidfile"]);
        build.arg(self.work.join("id")).arg("--root").arg(store).arg(self.context());
        benches::measured(build.stdout(Stdio::null()))
    }

    /// What a build on an empty store gives must be what the last one gave.
    fn check(&self) -> io::Result<()> {
        let made = fs_err::read_to_string(self.work.join("id"))?;
        let clean = self.work.join("clean-store");
        self.build_in(&clean)?;
        fs_err::remove_dir_all(&clean)?;
        if fs_err::read_to_string(self.work.join("id"))? == made {
            return Ok(());
        }
        Err(io::Error::other("an incremental build differs from a clean one"))
    }

    /// Rounds of an edit, a build and a bar.
    fn rounds(
        &self,
        mut edit: impl FnMut(usize) -> io::Result<()>,
        mut bar: impl FnMut() -> io::Result<Duration>,
    ) -> io::Result<Case> {
        let mut case = Case::default();
        for round in 0..ROUNDS {
            edit(round)?;
            // What was just written is younger than a scan trusts; people are slower than that.
            std::thread::sleep(Duration::from_millis(100));
            case.bars.push(bar()?);
            // What the edit and the bar have left to write is not the build's to wait for.
            Command::new("sync").status()?;
            self.build(&mut case)?;
        }
        self.check()?;
        Ok(case)
    }

    /// So many stat walks and a time.
    fn walks(&self, count: u32, more: Duration) -> impl FnMut() -> io::Result<Duration> {
        let context = self.context();
        move || Ok(timed(|| stat_walk(&context).map(drop))? * count + more)
    }

    /// Fills the store, and lets the files come of age.
    fn start(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(100));
        self.build(&mut Case::default())?;
        self.build(&mut Case::default())
    }
}

fn hundred_apps(bench: &Bench<'_>) -> io::Result<()> {
    let name = "100 apps, 2,800 files, 612 MiB";
    benches::apps(&bench.context(), 100, 28, 224 << 10)?;
    bench.start()?;
    let (walks, what) = (|| bench.walks(3, Duration::from_millis(15)), "3 × the stat walk + 15 ms");
    bench.rounds(|_| Ok(()), walks())?.print(name, "nothing changed", what);
    let file = bench.context().join("app7/file0.yaml");
    let fixed = || Ok(Duration::from_millis(150));
    bench.rounds(|round| flip(&file, 1000, round), fixed)?.print(name, "one byte of one app", "150 ms");
    let kubefile = bench.context().join("Kubefile");
    let text = fs_err::read_to_string(&kubefile)?;
    let launch = |round| fs_err::write(&kubefile, format!("{text}LAUNCH [\"a{round}\", \"a9\"]\n"));
    bench.rounds(launch, walks())?.print(name, "LAUNCH changed", what);
    Ok(())
}

fn many_files(bench: &Bench<'_>) -> io::Result<()> {
    for kib in [1, 6] {
        let _ = fs_err::remove_dir_all(bench.work);
        let name = format!("100,000 files of {kib} KiB in one COPY");
        benches::one_tree(&bench.context(), 100_000, kib << 10)?;
        bench.start()?;
        let walks = bench.walks(2, Duration::ZERO);
        bench.rounds(|_| Ok(()), walks)?.print(&name, "nothing changed", "2 × the stat walk");
        // A header and the content of each.
        let tar = 100_000 * (512 + ((kib as u64) << 10));
        for (file, case) in
            [("tree/d0/e0/f7", "one byte of the first file"), ("tree/d99/e19/f99999", "one byte of the last")]
        {
            let file = bench.context().join(file);
            let hash = || Ok(timed(|| hash_zeros(tar))? * 2);
            let what = "2 × SHA-256 of the layer's tar";
            bench.rounds(|round| flip(&file, 7, round), hash)?.print(&name, case, what);
        }
    }
    Ok(())
}

fn many_sources(bench: &Bench<'_>) -> io::Result<()> {
    for apps in [1000, 10_000] {
        let _ = fs_err::remove_dir_all(bench.work);
        benches::apps(&bench.context(), apps, 1, 1 << 10)?;
        bench.start()?;
        let allowed = || {
            let walk = timed(|| stat_walk(&bench.context()).map(drop))?;
            Ok(walk + Duration::from_micros(23 * apps as u64))
        };
        let name = format!("{apps} one-file apps");
        let what = "stat walk + 20 µs a source + 3 µs a file";
        bench.rounds(|_| Ok(()), allowed)?.print(&name, "nothing changed", what);
        let file = bench.context().join("app7/file0.yaml");
        bench.rounds(|round| flip(&file, 7, round), allowed)?.print(&name, "one byte of one app", what);
    }
    Ok(())
}

fn one_large_file(bench: &Bench<'_>) -> io::Result<()> {
    let size = 4 * GIB;
    benches::one_file(&bench.context(), size)?;
    bench.start()?;
    let file = bench.context().join("large");
    for (offset, case) in
        [(size / 2, "one byte in its middle"), (size - 4096, "near its end"), (9, "near its start")]
    {
        let bar = || {
            let blob = largest(&bench.work.join("store/blobs/sha256"))?;
            let length = fs_err::metadata(&blob)?.len();
            // Of both streams, the tar and the blob.
            let behind = (size - offset) + (size - offset) / 4096 * length / (size / 4096);
            let read = timed(|| read_all(&file))?;
            let copy = bench.work.join("copy");
            let copied = timed(|| fs_err::copy(&blob, &copy).map(drop))?;
            fs_err::remove_file(copy)?;
            Ok((read + copied + timed(|| hash_zeros(behind))?) * 3 / 2)
        };
        let edit = |round| {
            keep_newest(&bench.work.join("store/blobs/sha256"))?;
            flip(&file, offset, round)
        };
        let what = "1.5 × (cat of the file + cp of the blob + SHA-256 of what follows)";
        bench.rounds(edit, bar)?.print("one file of 4 GiB", case, what);
    }
    Ok(())
}

/// A store after many builds that each changed something.
fn aged_store(bench: &Bench<'_>) -> io::Result<()> {
    benches::apps(&bench.context(), 100, 20, 6 << 10)?;
    bench.start()?;
    let mut first = bench.rounds(|_| Ok(()), || Ok(Duration::ZERO))?;
    let bar = median(&mut first.runs) * 6 / 5;
    for run in 0..1000 {
        flip(&bench.context().join(format!("app{}/file3.yaml", run % 100)), 3, run / 100)?;
        bench.build(&mut Case::default())?;
    }
    std::thread::sleep(Duration::from_millis(100));
    bench.build(&mut Case::default())?;
    let aged = bench.rounds(|_| Ok(()), || Ok(bar))?;
    aged.print(
        "100 apps x 20 files x 6 KiB",
        "nothing changed after 1,000 building runs",
        "1.2 × the same before them",
    );
    Ok(())
}

/// Changes one byte in place.
fn flip(file: &Path, offset: u64, round: usize) -> io::Result<()> {
    let file = fs_err::OpenOptions::new().write(true).open(file)?;
    file.file().write_all_at(&[b'a' + (round % 26) as u8], offset)
}

fn read_all(path: &Path) -> io::Result<()> {
    let mut file = fs_err::File::open(path)?;
    let mut buffer = vec![0; 1 << 17];
    while file.read(&mut buffer)? > 0 {}
    file.seek(SeekFrom::Start(0)).map(drop)
}

fn hash_zeros(length: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut hasher = Sha256::new();
    for _ in 0..length >> 20 {
        hasher.update(&zeros);
    }
    std::hint::black_box(hasher.finalize());
    Ok(())
}

fn largest(dir: &Path) -> io::Result<PathBuf> {
    let mut all = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        all.push((entry.metadata()?.len(), entry.path()));
    }
    all.into_iter().max().map(|(_, path)| path).ok_or_else(|| io::Error::other("no blob"))
}

/// Removes large blobs of older rounds, so that the disk holds all rounds.
fn keep_newest(dir: &Path) -> io::Result<()> {
    let mut all = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        if entry.metadata()?.len() > 1 << 20 {
            all.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    all.sort();
    all.pop();
    all.into_iter().try_for_each(|(_, path)| fs_err::remove_file(path))
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
