//! The physical limits: what the parts of the work cost on the same data, in the same run, one thread each.
//!
//! Reading and walking are those of a warm page cache, as they are for every tool. Of the hashes and the compressor only
//! their own time counts, not that of reading. `cp` leaves its copy in memory; `dd` syncs it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
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
    /// gzip -6 of the same, from a sample.
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
    pub(crate) fn cold(&self, processors: u32) -> Duration {
        ((self.hash + self.zstd + self.hash_packed) / processors).max(self.sync)
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
    pack(&files, &packed, &mut floors)?;
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

/// Reads all files as a tar would have them, and hashes and compresses that.
fn pack(files: &[PathBuf], packed: &Path, floors: &mut Floors) -> io::Result<()> {
    let mut packer = Packer {
        hasher: Sha256::new(),
        packed_hasher: Sha256::new(),
        zstd: zstd::bulk::Compressor::new(3)?,
        out: fs_err::File::create(packed)?,
        tar_bytes: 0,
        sampled: 0,
        floors,
    };
    let mut frame = Vec::with_capacity(2 * FRAME);
    for path in files {
        let mut file = fs_err::File::open(path)?;
        frame.resize(frame.len() + 512, 0);
        loop {
            let room = FRAME.saturating_sub(frame.len()) as u64;
            let read = file.by_ref().take(room).read_to_end(&mut frame)?;
            packer.floors.bytes += read as u64;
            if frame.len() < FRAME {
                break;
            }
            packer.frame(&frame)?;
            frame.clear();
        }
        frame.resize(frame.len().next_multiple_of(512), 0);
    }
    packer.frame(&frame)?;
    packer.finish();
    Ok(())
}

struct Packer<'a> {
    hasher: Sha256,
    packed_hasher: Sha256,
    zstd: zstd::bulk::Compressor<'static>,
    out: fs_err::File,
    tar_bytes: u64,
    /// Those that gzip got.
    sampled: u64,
    floors: &'a mut Floors,
}

impl Packer<'_> {
    fn frame(&mut self, frame: &[u8]) -> io::Result<()> {
        self.tar_bytes += frame.len() as u64;
        let start = Instant::now();
        self.hasher.update(frame);
        self.floors.hash += start.elapsed();
        let start = Instant::now();
        let packed = self.zstd.compress(frame)?;
        self.floors.zstd += start.elapsed();
        self.floors.zstd_bytes += packed.len() as u64;
        let start = Instant::now();
        self.packed_hasher.update(&packed);
        self.floors.hash_packed += start.elapsed();
        io::Write::write_all(&mut self.out, &packed)?;
        if self.sampled < GZIP_SAMPLE {
            self.sampled += frame.len() as u64;
            let start = Instant::now();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            io::Write::write_all(&mut gzip, frame)?;
            self.floors.gzip_bytes += gzip.finish()?.len() as u64;
            self.floors.gzip += start.elapsed();
        }
        Ok(())
    }

    /// What the sample says of everything.
    fn finish(self) {
        if self.sampled > 0 {
            let times = self.tar_bytes as f64 / self.sampled as f64;
            self.floors.gzip = self.floors.gzip.mul_f64(times);
            self.floors.gzip_bytes = (self.floors.gzip_bytes as f64 * times) as u64;
        }
        std::hint::black_box((self.hasher.finalize(), self.packed_hasher.finalize()));
    }
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
