//! Files below `tmp/`, on their way to become blobs.
//!
//! What is large goes past the page cache: nobody reads it soon, and a page for each of its bytes, found, filled and
//! written back, costs many times what the disk does. Where a file system does not do that, it goes through the cache.

use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use fs_err::File;
use rustix::fs::OFlags;

/// Bytes gathered before they are written; what is smaller goes through the page cache.
pub(super) const BUFFER: usize = 1 << 20;
/// Where writes past the page cache begin and end, in the file and in memory: as coarse as any disk wants it.
pub(super) const BLOCK: usize = 4096;
/// Bytes copied from file to file before the kernel is asked to start writing them back.
const COPY: u64 = 64 << 20;
/// Bytes written to the page cache before the same.
const WRITE_BACK: u64 = 4 << 20;

/// How bytes get to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nobody has tried.
    Untried,
    /// Past the page cache.
    Direct,
    /// Through it.
    Cached,
}

/// A file under `tmp/`, removed when dropped unless a pending blob has taken it over.
#[derive(Debug)]
pub(super) struct Unnamed {
    path: PathBuf,
    file: File,
    is_kept: bool,
    way: Way,
    /// What is gathered, behind as many bytes as it takes to begin at a block of memory.
    buffer: Vec<u8>,
    start: usize,
    /// Bytes in the file.
    written: u64,
    /// Bytes the kernel was asked to write back, or that need not be.
    on_its_way: u64,
}

impl Unnamed {
    /// A file that was just made.
    pub(super) fn new(path: PathBuf, file: File) -> Self {
        let (buffer, start) = (Vec::new(), 0);
        Self { path, file, is_kept: false, way: Way::Untried, buffer, start, written: 0, on_its_way: 0 }
    }

    /// Writes what is left and leaves the file where it is; somebody knows it now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn into_path(mut self) -> io::Result<PathBuf> {
        let gathered = self.buffer.len() - self.start;
        // Whole blocks go where the others went; the rest is the only part that never can.
        self.spill(gathered - gathered % BLOCK)?;
        self.leave_direct()?;
        self.spill(gathered % BLOCK)?;
        self.is_kept = true;
        Ok(self.path.clone())
    }

    /// Starts over: what was written is forgotten.
    ///
    /// # Errors
    /// When the file cannot be cut.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.buffer.truncate(self.start);
        (self.written, self.on_its_way) = (0, 0);
        self.file.set_len(0)
    }

    /// Begins with the first `length` bytes of another file, copied in the kernel where it can. Nothing was written
    /// before.
    ///
    /// # Errors
    /// When that is shorter, or cannot be read or written.
    pub(super) fn begin_with(&mut self, from: &File, length: u64) -> io::Result<()> {
        while self.written < length {
            let part = COPY.min(length - self.written);
            let copied = io::copy(&mut from.file().take(part), &mut self.file.file())?;
            if copied == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.written += copied;
            self.write_back();
        }
        Ok(())
    }

    /// Writes the first of the gathered bytes.
    fn spill(&mut self, length: usize) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let end = self.start + length;
        let is_whole = length.is_multiple_of(BLOCK) && self.written.is_multiple_of(BLOCK as u64);
        if is_whole && self.way == Way::Untried && length == BUFFER {
            self.way = if set_direct(&self.file, true).is_ok() { Way::Direct } else { Way::Cached };
        }
        let mut result = self.file.file().write_all_at(&self.buffer[self.start..end], self.written);
        if self.way == Way::Direct && result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::InvalidInput)
        {
            // Some say so only here.
            self.leave_direct()?;
            result = self.file.file().write_all_at(&self.buffer[self.start..end], self.written);
        }
        result?;
        self.written += length as u64;
        self.buffer.drain(self.start..end);
        if self.way == Way::Direct {
            self.on_its_way = self.written;
        } else if self.written - self.on_its_way >= WRITE_BACK {
            self.write_back();
        }
        Ok(())
    }

    fn leave_direct(&mut self) -> io::Result<()> {
        if self.way == Way::Direct {
            set_direct(&self.file, false)?;
            self.way = Way::Cached;
        }
        Ok(())
    }

    /// Has the kernel start writing to the disk what it was given, so that the commit's sync finds little left to do.
    /// The advice that says so also lets clean pages go; these are dirty, and stay.
    fn write_back(&mut self) {
        let length = NonZeroU64::new(self.written - self.on_its_way);
        // Advice: whether it is taken changes nothing but the time.
        let _ = rustix::fs::fadvise(&self.file, self.on_its_way, length, rustix::fs::Advice::DontNeed);
        self.on_its_way = self.written;
    }

    /// How many bytes are written at once: up to the next block, then many blocks.
    fn target(&self) -> usize {
        match usize::try_from(self.written % BLOCK as u64) {
            Ok(0) | Err(_) => BUFFER,
            Ok(over) => BLOCK - over,
        }
    }
}

/// Whether writes go past the page cache from here on.
fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, is_direct);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

impl Write for Unnamed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(BUFFER + BLOCK);
            self.start = self.buffer.as_ptr().align_offset(BLOCK).min(BLOCK);
            self.buffer.resize(self.start, 0);
        }
        let target = self.target();
        let gathered = self.buffer.len() - self.start;
        let taken = bytes.len().min(target - gathered);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if gathered + taken == target {
            self.spill(target)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nobody knows this file; if it cannot be removed, it goes with the directory.
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    /// Writes in pieces of a size, on a file system with direct access and on one without.
    fn check(dir: &std::path::Path, front: usize, length: usize, piece: usize) {
        let all = bytes(front + length);
        let other = dir.join("other");
        fs_err::write(&other, &all).unwrap();
        let path = dir.join("blob");
        let mut file = Unnamed::new(path.clone(), File::create(&path).unwrap());
        file.begin_with(&File::open(&other).unwrap(), front as u64).unwrap();
        all[front..].chunks(piece).for_each(|piece| file.write_all(piece).unwrap());
        assert_eq!(file.into_path().unwrap(), path);
        assert!(fs_err::read(&path).unwrap() == all, "{front} {length} {piece}");
    }

    #[test]
    fn every_length_arrives_whole() {
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        for dir in [disk.path(), memory.path()] {
            for length in [0, 1, BLOCK, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + BLOCK + 5, 3 * BUFFER] {
                for front in [0, 1, BLOCK, BUFFER + 3] {
                    check(dir, front, length, 300_000);
                }
            }
            check(dir, 0, 2 * BUFFER, 2 * BUFFER);
            check(dir, 10, 20_000, 1);
        }
    }

    #[test]
    fn what_is_begun_anew_is_forgotten() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("blob");
        let mut file = Unnamed::new(path.clone(), File::create(&path).unwrap());
        file.write_all(&bytes(2 * BUFFER + 10)).unwrap();
        file.restart().unwrap();
        file.write_all(&bytes(BUFFER + 1)).unwrap();
        file.into_path().unwrap();
        assert!(fs_err::read(&path).unwrap() == bytes(BUFFER + 1));
        let dropped = dir.path().join("dropped");
        drop(Unnamed::new(dropped.clone(), File::create(&dropped).unwrap()));
        assert!(!dropped.exists());
    }
}
