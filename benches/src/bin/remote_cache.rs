//! What a cache in a registry costs: `remote_cache [SEALER [SCALE]]`; needs `docker-registry`.
//!
//! 100 applications of 6 MiB, built once and pushed with their cache, and then on machines whose store is empty. The
//! registry is a real one on loopback, behind a proxy that holds back every request for 20 ms and counts them. The lines with
//! `--lazy` and no push show what the cache itself costs; the others, what is sent and fetched in all. SCALE divides the sizes.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this program is for")]

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use benches::proxy::Proxy;
use benches::{DebianRegistry, measured, median, settle};

const ROUNDS: usize = 7;
const APPS: usize = 100;
const FILES: usize = 28;
const FILE_SIZE: usize = 224 << 10;

fn main() -> io::Result<()> {
    let sealer = std::env::args().nth(1).map_or_else(benches::beside_me, PathBuf::from);
    let scale = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1);
    let work = sealer.parent().unwrap_or(Path::new(".")).join("remote-cache-work");
    let _ = fs_err::remove_dir_all(&work);
    let context = work.join("context");
    benches::apps(&context, APPS, FILES, FILE_SIZE / scale)?;
    let server = DebianRegistry::start(&work.join("registry"))?;
    let proxy = Proxy::start(&server.address)?;
    let bench = Bench { sealer, context, proxy, work };
    bench.run()?;
    drop(server);
    fs_err::remove_dir_all(&bench.work)
}

struct Bench {
    sealer: PathBuf,
    context: PathBuf,
    proxy: Proxy,
    work: PathBuf,
}

/// What one case took in every round.
struct Row {
    case: &'static str,
    bar: &'static str,
    times: Vec<Duration>,
    traffic: Vec<(u64, u64, u64)>,
}

impl Row {
    fn new(case: &'static str, bar: &'static str) -> Self {
        Self { case, bar, times: Vec::new(), traffic: Vec::new() }
    }

    fn print(mut self) {
        let middle = median(&mut self.times);
        let spread = self.times[self.times.len() - 1] - self.times[0];
        // The most of any round: a bar is for all of them.
        let most = |of: fn(&(u64, u64, u64)) -> u64| self.traffic.iter().map(of).max().unwrap_or_default();
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            self.case,
            middle.as_millis(),
            spread.as_millis(),
            most(|traffic| traffic.0),
            most(|traffic| traffic.1).div_ceil(1 << 10),
            most(|traffic| traffic.2).div_ceil(1 << 10),
            self.bar,
        );
    }
}

impl Bench {
    fn run(&self) -> io::Result<()> {
        let cache = format!("{}/bench/image:cache", self.proxy.address);
        let (from, to) = (format!("--cache-from={cache}"), format!("--cache-to=type=registry,ref={cache}"));
        let (cold, image) = (self.name("1"), self.name("2"));
        let mut fill = Row::new("empty registry: built, pushed, cache written", "");
        let mut lazy = Row::new("all cached, `--lazy`: the cache alone", "6 requests, 64 KiB, no layer");
        let mut save = Row::new("`save` of that image", "every blob once");
        let mut push = Row::new("all cached, pushed to the same registry", "500 ms, no layer");
        let mut change =
            Row::new("one app changed, `--lazy`, cache written", "10 requests, layer + 64 KiB sent");
        let mut pushed = Row::new("one app changed, pushed, cache written", "that layer sent once");
        self.edit(0)?;
        self.build(&mut fill, "filled", &cold, &["--push", &to, "--cache-required"])?;
        for round in 0..ROUNDS {
            self.edit(0)?;
            self.build(&mut lazy, "lazy", "localhost/bench:1", &[&from, "--lazy", "--cache-required"])?;
            self.no_layers("lazy")?;
            self.save(&mut save)?;
            self.build(&mut push, "push", &image, &[&from, "--push", "--cache-required"])?;
            self.no_layers("push")?;
            self.edit(1 + 2 * round as u8)?;
            let words = [&from, &to, "--lazy", "--cache-required"];
            self.build(&mut change, "change", "localhost/bench:1", &words)?;
            self.edit(2 + 2 * round as u8)?;
            self.build(&mut pushed, "pushed", &image, &[&from, &to, "--push", "--cache-required"])?;
        }
        println!("| case | median ms | spread ms | requests | KiB fetched | KiB sent | bar |");
        println!("|---|---|---|---|---|---|---|");
        for row in [fill, lazy, save, push, change, pushed] {
            row.print();
        }
        Ok(())
    }

    fn name(&self, tag: &str) -> String {
        format!("{}/bench/image:{tag}", self.proxy.address)
    }

    fn command(&self, store: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.sealer);
        command.arg("--root").arg(self.work.join(store)).args(words).stdout(Stdio::null());
        command
    }

    /// A build in a store of its own, which is empty.
    fn build(&self, row: &mut Row, store: &str, name: &str, words: &[&str]) -> io::Result<()> {
        let _ = fs_err::remove_dir_all(self.work.join(store));
        let mut command = self.command(store, &["build", "-q", "--build-mode", "lite", "-t", name]);
        command.args(words).arg(&self.context);
        self.measure(row, &mut command)
    }

    fn save(&self, row: &mut Row) -> io::Result<()> {
        let archive = self.work.join("saved.tar");
        let _ = fs_err::remove_file(&archive);
        let mut command = self.command("lazy", &["save", "-q", "localhost/bench:1", "-o"]);
        self.measure(row, command.arg(archive))
    }

    fn measure(&self, row: &mut Row, command: &mut Command) -> io::Result<()> {
        settle();
        self.proxy.take();
        self.proxy.take_sent();
        let (wall, _) = measured(command)?;
        let (requests, fetched) = self.proxy.take();
        row.times.push(wall);
        row.traffic.push((requests, fetched, self.proxy.take_sent()));
        eprintln!("{}: {wall:?}, {requests} requests, {fetched} bytes", row.case);
        Ok(())
    }

    /// A store that has no more than a config and a manifest.
    fn no_layers(&self, store: &str) -> io::Result<()> {
        match fs_err::read_dir(self.work.join(store).join("blobs/sha256"))?.count() {
            2 => Ok(()),
            blobs => Err(io::Error::other(format!("{store}: {blobs} blobs instead of config and manifest"))),
        }
    }

    fn edit(&self, byte: u8) -> io::Result<()> {
        let file = fs_err::OpenOptions::new().write(true).open(self.context.join("app7/file0.yaml"))?;
        file.file().write_all_at(&[b'A' + byte], 9)
    }
}
