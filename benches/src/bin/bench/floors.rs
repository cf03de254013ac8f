//! The physical limits: what the parts of the work cost on the same data, in the same run, one thread each; and hashing
//! and compressing on all processors at once, which is what a build can use.
//!
//! Reading and walking are those of a warm page cache, as they are for every tool. Of the hashes and the compressor only
//! their own time counts, not that of reading. `cp` leaves its copy in memory; `dd` syncs it.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// What is compressed at a time, as this sealer's frames are.
const FRAME: usize = 1 << 20;
/// Data of which gzip is measured: at its speed all of it would take longer than the builds.
const GZIP_SAMPLE: u64 = 64 << 20;

/// One measurement of each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Floors {
    /// openat, getdents and fstatat of every entry.
    pub(crate) walk: Duration,
    /// `cp -a` of the context.
    pub(crate) copy: Duration,
    /// SHA-256 of the contents, as a tar.
    pub(crate) hash: Duration,
    /// zstd -3 of the same.
    pub(crate) zstd: Duration,
    /// SHA-256 of what zstd made.
    pub(crate) hash_packed: Duration,
    /// Its length.
    pub(crate) zstd_bytes: u64,
    /// These three on every processor at once: all of their time, over the number of processors.
    pub(crate) at_once: Duration,
    /// `gzip -6` of the same, from a sample.
    pub(crate) gzip: Duration,
    /// Its length, from the sample.
    pub(crate) gzip_bytes: u64,
    /// `dd conv=fsync` of as many bytes as zstd made.
    pub(crate) sync: Duration,
    /// SHA-256 of as many bytes as the edited layer has.
    pub(crate) hash_layer: Duration,
    /// Bytes of the contents.
    pub(crate) bytes: u64,
}

impl Floors {
    /// What a cold build of this data cannot be faster than: its hashing and compressing on all processors, or writing and
    /// syncing the result, whichever is longer.
    pub(crate) fn cold(&self) -> Duration {
        self.at_once.max(self.sync)
    }
}

/// Measures all of them for a context.
///
/// # Errors
/// Those of the file system, and of `cp` and `dd`.
pub(crate) fn measure(context: &Path, work: &Path, edited_layer: u64) -> io::Result<Floors> {
    let mut floors = Floors::default();
    let mut files = Vec::new();
    list(context, &mut files)?;
    floors.walk = timed(|| benches::stat_walk(context).map(drop))?;
    let copied = work.join("copied");
    benches::settle();
    floors.copy = timed(|| succeed(Command::new("cp").arg("-a").arg(context).arg(&copied)))?;
    fs_err::remove_dir_all(&copied)?;
    let packed = work.join("packed");
    benches::settle();
    let alone = pack(&files, fs_err::File::create(&packed)?)?;
    (floors.hash, floors.zstd, floors.hash_packed) = (alone.hash, alone.zstd, alone.hash_packed);
    (floors.bytes, floors.zstd_bytes) = (alone.bytes, alone.packed_bytes);
    benches::settle();
    floors.at_once = pack_at_once(&files)?;
    gzip(&files, alone.tar_bytes, work, &mut floors)?;
    benches::settle();
    floors.sync = timed(|| {
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", packed.display())).arg(format!("of={}", copied.display()));
        succeed(dd.args(["bs=1M", "conv=fsync", "status=none"]))
    })?;
    fs_err::remove_file(&copied)?;
    fs_err::remove_file(&packed)?;
    let zeros = vec![0; FRAME];
    floors.hash_layer = timed(|| {
        let mut hasher = Sha256::new();
        (0..edited_layer / FRAME as u64).for_each(|_| hasher.update(&zeros));
        hasher.update(&zeros[..(edited_layer % FRAME as u64) as usize]);
        std::hint::black_box(hasher.finalize());
        Ok(())
    })?;
    Ok(floors)
}

/// Hashes and compresses files on every processor, each its part of them. All of that time, over the number of processors.
fn pack_at_once(files: &[PathBuf]) -> io::Result<Duration> {
    let processors = std::thread::available_parallelism()?.get();
    let next = AtomicUsize::new(0);
    let work = || {
        // Parts that are small beside the whole, so that all end at the same time.
        let parts: Vec<&[PathBuf]> = files.chunks(files.len().div_ceil(processors * 16).max(1)).collect();
        let mut time = Duration::ZERO;
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let packed = pack(part, io::sink())?;
            time += packed.hash + packed.zstd + packed.hash_packed;
        }
        Ok::<_, io::Error>(time)
    };
    let times: io::Result<Vec<Duration>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("packing does not panic")).collect()
    });
    Ok(times?.into_iter().sum::<Duration>() / processors as u32)
}

/// What packing took, by part, and gave.
#[derive(Default)]
struct Packed {
    hash: Duration,
    zstd: Duration,
    hash_packed: Duration,
    bytes: u64,
    tar_bytes: u64,
    packed_bytes: u64,
}

/// Hashes and compresses files as they would stand in a tar, on this thread.
fn pack(files: &[PathBuf], mut out: impl Write) -> io::Result<Packed> {
    let mut packed = Packed::default();
    let (mut hasher, mut packed_hasher) = (Sha256::new(), Sha256::new());
    let mut zstd = zstd::bulk::Compressor::new(3)?;
    packed.bytes = as_tar(files, &mut |frame| {
        packed.tar_bytes += frame.len() as u64;
        let start = Instant::now();
        hasher.update(frame);
        packed.hash += start.elapsed();
        let start = Instant::now();
        let bytes = zstd.compress(frame)?;
        packed.zstd += start.elapsed();
        packed.packed_bytes += bytes.len() as u64;
        let start = Instant::now();
        packed_hasher.update(&bytes);
        packed.hash_packed += start.elapsed();
        out.write_all(&bytes)?;
        Ok(true)
    })?;
    std::hint::black_box((hasher.finalize(), packed_hasher.finalize()));
    Ok(packed)
}

/// What the program makes of the first bytes, and what that says of all.
fn gzip(files: &[PathBuf], tar_bytes: u64, work: &Path, floors: &mut Floors) -> io::Result<()> {
    let (sample, zipped) = (work.join("sample"), work.join("sample.gz"));
    let (mut out, mut sampled) = (fs_err::File::create(&sample)?, 0);
    as_tar(files, &mut |frame| {
        out.write_all(frame)?;
        sampled += frame.len() as u64;
        Ok(sampled < GZIP_SAMPLE)
    })?;
    if sampled > 0 {
        let mut command = Command::new("gzip");
        command.args(["-6", "-c"]).stdin(fs_err::File::open(&sample)?.into_parts().0);
        command.stdout(fs_err::File::create(&zipped)?.into_parts().0);
        let times = tar_bytes as f64 / sampled as f64;
        floors.gzip = timed(|| succeed(&mut command))?.mul_f64(times);
        floors.gzip_bytes = (fs_err::metadata(&zipped)?.len() as f64 * times) as u64;
        fs_err::remove_file(&zipped)?;
    }
    fs_err::remove_file(&sample)
}

/// Reads files as a tar would have them, in frames, until somebody has enough. How many bytes of them.
fn as_tar(files: &[PathBuf], take: &mut dyn FnMut(&[u8]) -> io::Result<bool>) -> io::Result<u64> {
    let (mut frame, mut bytes) = (Vec::with_capacity(2 * FRAME), 0);
    for path in files {
        let mut file = fs_err::File::open(path)?;
        frame.resize(frame.len() + 512, 0);
        loop {
            let room = FRAME.saturating_sub(frame.len()) as u64;
            bytes += Read::by_ref(&mut file).take(room).read_to_end(&mut frame)? as u64;
            if frame.len() < FRAME {
                break;
            }
            if !take(&frame)? {
                return Ok(bytes);
            }
            frame.clear();
        }
        frame.resize(frame.len().next_multiple_of(512), 0);
    }
    take(&frame)?;
    Ok(bytes)
}

/// Every regular file below a directory, sorted.
fn list(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs_err::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs_err::DirEntry::file_name);
    for entry in entries {
        match entry.file_type()?.is_dir() {
            true => list(&entry.path(), files)?,
            false => files.push(entry.path()),
        }
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?}: {status}"))) }
}
