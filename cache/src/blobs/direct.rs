//! Reading past the page cache: of what is large and read once.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use fs_err::File;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

use super::unnamed::{BLOCK, BUFFER};

/// A part of a file, read in large pieces; past the page cache where the file system does that.
#[derive(Debug)]
pub struct PartReader {
    file: File,
    /// Where the part begins in the file, and its length.
    offset: u64,
    length: u64,
    /// Where in the part the next byte is.
    at: u64,
    /// What was read, behind as many bytes as it takes to begin at a block of memory.
    buffer: Vec<u8>,
    start: usize,
    /// Where in the file the buffer begins.
    from: u64,
}

impl PartReader {
    pub(super) fn open(path: &std::path::Path, offset: u64, length: u64) -> io::Result<Self> {
        let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let direct = fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = match direct {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => File::open(path)?,
            opened => opened?,
        };
        Ok(Self { file, offset, length, at: 0, buffer: Vec::new(), start: 0, from: 0 })
    }

    /// Length of the part, in bytes.
    pub fn size(&self) -> u64 {
        self.length
    }

    /// Moves to a byte of the part.
    pub fn seek_to(&mut self, at: u64) {
        self.at = at.min(self.length);
    }

    /// What is gathered from a byte of the file on.
    fn gathered(&self, position: u64) -> &[u8] {
        let skipped = position.checked_sub(self.from).and_then(|skipped| usize::try_from(skipped).ok());
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        skipped.and_then(|skipped| bytes.get(skipped..)).unwrap_or_default()
    }

    /// Reads the blocks around a byte of the file, no more of them than the part has.
    fn gather(&mut self, position: u64) -> io::Result<()> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(BUFFER + 2 * BLOCK);
            self.start = self.buffer.as_ptr().align_offset(BLOCK).min(BLOCK);
        }
        let block = BLOCK as u64;
        self.from = position - position % block;
        let end = (self.offset + self.length).next_multiple_of(block);
        let wanted = usize::try_from(end - self.from).unwrap_or(BUFFER).min(BUFFER);
        self.buffer.resize(self.start + wanted, 0);
        let read = match self.file.file().read_at(&mut self.buffer[self.start..], self.from) {
            // Some say so only here.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.file = File::open(self.file.path())?;
                self.file.file().read_at(&mut self.buffer[self.start..], self.from)
            }
            read => read,
        };
        self.buffer.truncate(self.start + read?);
        Ok(())
    }
}

impl Read for PartReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.length {
            return Ok(0);
        }
        let position = self.offset + self.at;
        if self.gathered(position).is_empty() {
            self.gather(position)?;
        }
        let rest = usize::try_from(self.length - self.at).unwrap_or(usize::MAX);
        let found = self.gathered(position);
        let length = found.len().min(rest).min(into.len());
        into[..length].copy_from_slice(&found[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read_as_it_is() {
        let all: Vec<u8> = (0..3 * BUFFER + 777).map(|at| (at * 3 + at / 255) as u8).collect();
        for dir in [env!("CARGO_MANIFEST_DIR"), "/dev/shm"] {
            let dir = tempfile::tempdir_in(dir).unwrap();
            let path = dir.path().join("file");
            fs_err::write(&path, &all).unwrap();
            for (offset, length, seek) in [
                (0, all.len(), 0),
                (1, BUFFER, 0),
                (BLOCK - 1, 2 * BUFFER + 2, 5),
                (BUFFER + 100, BUFFER, BUFFER - 1),
                (all.len() - 3, 3, 0),
                (all.len(), 0, 0),
            ] {
                let mut reader = PartReader::open(&path, offset as u64, length as u64).unwrap();
                reader.seek_to(seek as u64);
                let mut found = Vec::new();
                reader.read_to_end(&mut found).unwrap();
                assert!(found == all[offset + seek..offset + length], "{offset} {length} {seek}");
            }
        }
    }
}
