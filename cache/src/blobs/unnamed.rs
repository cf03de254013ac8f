//! Files below `tmp/`, on their way to become blobs.
//!
//! What is large goes past the page cache: nobody reads it soon, and a page for each of its bytes, found, filled and
//! written back, costs many times what the disk does. Where a file system does not do that, it goes through the cache.

use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use fs_err::File;

use super::behind::{Buffer, Progress, Spill, WriteBehind, set_direct};

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
    /// Past the page cache, by a thread that waits for the disk.
    Direct,
    /// Through it.
    Cached,
}

/// A file under `tmp/`, removed when dropped unless a pending blob has taken it over.
#[derive(Debug)]
pub(super) struct Unnamed {
    path: PathBuf,
    file: Arc<File>,
    is_kept: bool,
    way: Way,
    behind: Arc<WriteBehind>,
    progress: Arc<Progress>,
    /// What is gathered.
    buffer: Option<Buffer>,
    /// Bytes in the file, or on their way there.
    written: u64,
    /// Bytes the kernel was asked to write back, or that need not be.
    written_back: u64,
}

/// A file whose last bytes may still be on their way into it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) path: PathBuf,
    pub(super) progress: Arc<Progress>,
}

impl Unnamed {
    /// A file that was just made.
    pub(super) fn new(path: PathBuf, file: File, behind: &Arc<WriteBehind>) -> Self {
        Self {
            path,
            file: Arc::new(file),
            is_kept: false,
            way: Way::Untried,
            behind: Arc::clone(behind),
            progress: Arc::default(),
            buffer: None,
            written: 0,
            written_back: 0,
        }
    }

    /// Hands over what is left and leaves the file where it is; somebody knows it now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(mut self) -> io::Result<Kept> {
        self.spill()?;
        self.is_kept = true;
        Ok(Kept { path: self.path.clone(), progress: Arc::clone(&self.progress) })
    }

    /// Starts over: what was written is forgotten.
    ///
    /// # Errors
    /// When the file cannot be cut.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.progress.wait()?;
        self.buffer.iter_mut().for_each(Buffer::clear);
        (self.written, self.written_back) = (0, 0);
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

    /// Writes the gathered bytes.
    fn spill(&mut self) -> io::Result<()> {
        let Some(mut buffer) = self.buffer.take() else { return Ok(()) };
        let (at, length) = (self.written, buffer.bytes().len());
        self.progress.check()?;
        self.written += length as u64;
        if length == BUFFER && at.is_multiple_of(BLOCK as u64) && self.way == Way::Untried {
            self.way = if set_direct(&self.file, true).is_ok() { Way::Direct } else { Way::Cached };
        }
        if self.way == Way::Direct {
            self.written_back = self.written;
            let (file, progress) = (Arc::clone(&self.file), Arc::clone(&self.progress));
            self.behind.write(Spill { file, buffer, at, progress });
            return Ok(());
        }
        self.file.file().write_all_at(buffer.bytes(), at)?;
        buffer.clear();
        self.buffer = Some(buffer);
        if self.written - self.written_back >= WRITE_BACK {
            self.write_back();
        }
        Ok(())
    }

    /// Has the kernel start writing to the disk what it was given, so that the commit's sync finds little left to do.
    /// The advice that says so also lets clean pages go; these are dirty, and stay.
    fn write_back(&mut self) {
        let length = NonZeroU64::new(self.written - self.written_back);
        // Advice: whether it is taken changes nothing but the time.
        let _ = rustix::fs::fadvise(&*self.file, self.written_back, length, rustix::fs::Advice::DontNeed);
        self.written_back = self.written;
    }

    /// How many bytes are written at once: up to the next block, then many blocks.
    fn target(&self) -> usize {
        match usize::try_from(self.written % BLOCK as u64) {
            Ok(0) | Err(_) => BUFFER,
            Ok(over) => BLOCK - over,
        }
    }
}

impl io::Write for Unnamed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let target = self.target();
        let buffer = self.buffer.get_or_insert_with(|| self.behind.buffer());
        let taken = bytes.len().min(target - buffer.bytes().len());
        buffer.extend(&bytes[..taken]);
        if buffer.bytes().len() == target {
            self.spill()?;
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
    use std::io::Write;

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
        let mut file = Unnamed::new(path.clone(), File::create(&path).unwrap(), &Arc::default());
        file.begin_with(&File::open(&other).unwrap(), front as u64).unwrap();
        all[front..].chunks(piece).for_each(|piece| file.write_all(piece).unwrap());
        let kept = file.keep().unwrap();
        kept.progress.wait().unwrap();
        assert_eq!(kept.path, path);
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
        let mut file = Unnamed::new(path.clone(), File::create(&path).unwrap(), &Arc::default());
        file.write_all(&bytes(2 * BUFFER + 10)).unwrap();
        file.restart().unwrap();
        file.write_all(&bytes(BUFFER + 1)).unwrap();
        file.keep().unwrap().progress.wait().unwrap();
        assert!(fs_err::read(&path).unwrap() == bytes(BUFFER + 1));
        let dropped = dir.path().join("dropped");
        drop(Unnamed::new(dropped.clone(), File::create(&dropped).unwrap(), &Arc::default()));
        assert!(!dropped.exists());
    }
}
