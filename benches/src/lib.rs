//! Workloads made from a seed: the same files on every machine, so figures can be compared.

pub mod container_images;
pub mod dag;
mod debian_registry;
pub mod proxy;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use debian_registry::DebianRegistry;
use rustix::fs::{AtFlags, Mode, OFlags};

/// How long the slow servers on loopback wait before they answer: a network that is near, but not here.
pub const LATENCY: Duration = Duration::from_millis(20);

/// A small fast generator (splitmix64); reproducible is all it has to be.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Bytes of which about a third is left after compression, as of mixed binaries and text.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 64);
        while bytes.len() < length {
            if self.next_u64().is_multiple_of(3) {
                (0..6).for_each(|_| bytes.extend_from_slice(&self.next_u64().to_le_bytes()));
            } else {
                let word = self.next_u64() % 512;
                bytes.extend_from_slice(format!("  key-{word}: value of {word}\n").as_bytes());
                bytes.extend_from_slice(&[0; 24]);
            }
        }
        bytes.truncate(length);
        bytes
    }
}

/// Writes `apps` directories of `files` files with `size` bytes each, and a Kubefile that packs them.
///
/// # Errors
/// Those of the file system.
pub fn apps(context: &Path, apps: usize, files: usize, size: usize) -> io::Result<()> {
    let mut random = Random::new(apps as u64 ^ 0x5ea1);
    let mut kubefile = String::from("FROM scratch\n");
    for app in 0..apps {
        let dir = context.join(format!("app{app}"));
        fs_err::create_dir_all(&dir)?;
        for file in 0..files {
            fs_err::write(dir.join(format!("file{file}.yaml")), random.bytes(size))?;
        }
        kubefile.push_str(&format!("APP a{app} local://app{app}\n"));
    }
    fs_err::write(context.join("Kubefile"), kubefile)
}

/// Writes one tree of `files` files with `size` bytes each, and a Kubefile that copies it.
///
/// # Errors
/// Those of the file system.
pub fn one_tree(context: &Path, files: usize, size: usize) -> io::Result<()> {
    let mut random = Random::new(files as u64);
    for file in 0..files {
        let dir = context.join(format!("tree/d{}/e{}", file / 1000, file / 50 % 20));
        if file % 50 == 0 {
            fs_err::create_dir_all(&dir)?;
        }
        fs_err::write(dir.join(format!("f{file}")), random.bytes(size))?;
    }
    fs_err::write(context.join("Kubefile"), "FROM scratch\nCOPY tree /tree\n")
}

/// Writes one file that hardly compresses, and a Kubefile that copies it.
///
/// # Errors
/// Those of the file system.
pub fn one_file(context: &Path, size: u64) -> io::Result<()> {
    use std::io::Write;
    fs_err::create_dir_all(context)?;
    let mut random = Random::new(size);
    let mut file = fs_err::File::create(context.join("large"))?;
    let mut written = 0;
    while written < size {
        let piece = random.bytes((1 << 20).min(size - written) as usize);
        file.write_all(&piece)?;
        written += piece.len() as u64;
    }
    fs_err::write(context.join("Kubefile"), "FROM scratch\nCOPY large /large\n")
}

/// Looks at every entry below a directory as a C program would; how many there are.
///
/// # Errors
/// Those of the file system.
pub fn stat_walk(dir: &Path) -> io::Result<u64> {
    walk_below(&rustix::fs::open(dir, DIRECTORY, Mode::empty())?)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn walk_below(dir: &OwnedFd) -> io::Result<u64> {
    let mut count = 0;
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        count += 1;
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_mode & 0o170_000 == 0o040_000 {
            count += walk_below(&rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())?)?;
        }
    }
    Ok(count)
}

/// Runs a command; its wall time and its peak memory in KiB.
///
/// # Errors
/// When it cannot be run, or fails.
pub fn measured(command: &mut Command) -> io::Result<(Duration, u64)> {
    let start = Instant::now();
    let mut child = command.spawn()?;
    let status_file = format!("/proc/{}/status", child.id());
    // VmHWM can only be read while the process lives; the last reading is within two milliseconds of the end.
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        while let Ok(text) = fs_err::read_to_string(&status_file) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            // A process that has ended, and was not waited for yet, has no such line.
            let Some(kib) = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()) else {
                break;
            };
            peak = peak.max(kib);
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    let status = child.wait()?;
    let wall = start.elapsed();
    let peak = watcher.join().unwrap_or_default();
    if status.success() { Ok((wall, peak)) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}

/// Processor time of this process, and of the commands it ran that have ended; in steps of ten milliseconds.
///
/// # Errors
/// When `/proc` is not to be read.
pub fn cpu() -> io::Result<(Duration, Duration)> {
    let text = fs_err::read_to_string("/proc/self/stat")?;
    // proc(5), `utime` and the three after it; the name of the program may have spaces, and ends with the last parenthesis.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    // Linux says hundredths of a second everywhere (USER_HZ).
    let times: Vec<u64> = fields.take(4).map_while(|ticks| Some(ticks.parse::<u64>().ok()? * 10)).collect();
    let [user, system, children_user, children_system] =
        times.try_into().map_err(|_| io::Error::other("/proc/self/stat is not as proc(5) says"))?;
    let both = |user, system| Duration::from_millis(user + system);
    Ok((both(user, system), both(children_user, children_system)))
}

/// Bytes of all files below a directory.
///
/// # Errors
/// Those of the file system.
pub fn size_of(dir: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        size += if found.is_dir() { size_of(&entry.path())? } else { found.len() };
    }
    Ok(size)
}

/// What a directory takes of its disk, in bytes; a file with several names once.
///
/// # Errors
/// When `du` cannot be run.
pub fn disk_usage(dir: &Path) -> io::Result<u64> {
    let output = Command::new("du").args(["-sx", "--block-size=1"]).arg(dir).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::other("du says nothing"))
}

/// Lets the disk come to rest: what was deleted is still being given back when `sync` returns. Then memory is used and freed: in
/// a virtual machine the host takes free memory away while nothing happens, and whoever came next, a tool or the bar it
/// is measured by, would pay for getting it back.
pub fn settle() {
    const TOUCHED: usize = 1 << 30;
    rustix::fs::sync();
    std::thread::sleep(Duration::from_millis(700));
    drop(std::hint::black_box(vec![1_u8; TOUCHED]));
}

/// The middle one; sorts.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The `sealer` beside the running program.
pub fn beside_me() -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name("sealer")
}
