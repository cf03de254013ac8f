//! What a `stat` says of an entry of a directory, and what was learned of it.

use std::time::Duration;

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};
use solver::{ContentDigest, TreeDigest};

use super::listing::put_number;
use crate::tree::{Entry, Meta, Node, Xattrs};

/// A time this close to the scan may belong to a write after it: kernels stamp files with a clock that ticks every 1 to
/// 10 ms.
const TICK: Duration = Duration::from_millis(50);
/// The same where times are whole seconds, or two of them (FAT).
const COARSE_TICK: Duration = Duration::from_millis(2500);

/// When something was changed: seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Times {
    mtime: (i64, u32),
    ctime: (i64, u32),
}

impl Times {
    /// Those of a stat.
    pub(crate) fn of(stat: &Stat) -> Self {
        // Nanoseconds are below 10⁹ whatever their type.
        let time = |seconds, nanos: u64| (seconds, u32::try_from(nanos).unwrap_or(u32::MAX));
        Self {
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    #[cfg(test)]
    pub(super) fn at(mtime: (i64, u32), ctime: (i64, u32)) -> Self {
        Self { mtime, ctime }
    }

    /// Whether nothing can have been written after a scan that began then without showing.
    pub(super) fn is_settled(&self, start: Duration) -> bool {
        let is_coarse = self.mtime.1 == 0 && self.ctime.1 == 0;
        let tick = if is_coarse { COARSE_TICK } else { TICK };
        let (seconds, nanos) = self.mtime.max(self.ctime);
        let Ok(seconds) = u64::try_from(seconds) else { return false };
        Duration::new(seconds, nanos).checked_add(tick).is_some_and(|settled| settled < start)
    }
}

/// Identity of an entry as far as a `stat` can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    inode: u64,
    size: u64,
    times: Times,
    mode: u32,
}

impl Seen {
    /// What a stat says. A directory's own times say nothing of what is in it: of those only the modification time
    /// counts, and only where times are kept.
    pub(crate) fn of(stat: &Stat, keep_mtime: bool) -> Self {
        let (times, mode) = (Times::of(stat), stat.st_mode);
        if FileType::from_raw_mode(mode) == FileType::Directory {
            let mtime = if keep_mtime { (times.mtime.0, 0) } else { (0, 0) };
            return Self { inode: 0, size: 0, times: Times { mtime, ctime: (0, 0) }, mode };
        }
        Self { inode: stat.st_ino, size: stat.st_size.cast_unsigned(), times, mode }
    }

    #[cfg(test)]
    pub(super) fn at(mtime: (i64, u32), ctime: (i64, u32)) -> Self {
        Self { inode: 1, size: 1, times: Times { mtime, ctime }, mode: 0o100_644 }
    }

    /// Appends all of it to what is hashed.
    pub(super) fn put(&self, gathered: &mut Vec<u8>) {
        let Times { mtime, ctime } = self.times;
        let numbers = [self.inode, self.size, mtime.0.cast_unsigned(), ctime.0.cast_unsigned()];
        numbers.into_iter().for_each(|number| put_number(gathered, number));
        for number in [mtime.1, ctime.1, self.mode] {
            gathered.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// What it is.
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Owner is 0:0, setuid and setgid go, as in sealer.
    pub(crate) fn meta(&self, keep_mtime: bool) -> Meta {
        let mode = if self.kind() == FileType::Symlink { 0o777 } else { self.mode & 0o1777 };
        Meta { mode, mtime: keep_mtime.then_some(self.times.mtime.0), ..Meta::default() }
    }

    /// Whether nothing can have been written after a scan that began then without showing.
    pub(super) fn is_settled(&self, start: Duration) -> bool {
        self.kind() == FileType::Directory || self.times.is_settled(start)
    }
}

/// What an entry of a directory was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    File(ContentDigest),
    Link(Box<[u8]>),
    /// A subdirectory; only its own scan knows what is in it.
    Dir(TreeDigest),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) name: Box<[u8]>,
    pub(crate) seen: Seen,
    pub(crate) what: What,
    /// Extended attributes that belong into an image.
    pub(crate) xattrs: Xattrs,
}

impl Known {
    /// Whether it is what it was, by a glance.
    pub(crate) fn is(&self, glance: &Glance<'_>) -> bool {
        let below = match (&self.what, &glance.below) {
            (What::Dir(tree), Some(below)) => *tree == below.tree && self.xattrs == below.xattrs,
            (What::File(_) | What::Link(_), None) => true,
            _ => false,
        };
        below && self.seen == glance.seen
    }

    /// The entry it is in a tree.
    pub(crate) fn entry(&self, keep_mtime: bool) -> Entry {
        let node = match &self.what {
            What::File(content) => Node::File { content: *content, size: self.seen.size },
            What::Link(target) => Node::Symlink(target.to_vec()),
            What::Dir(tree) => Node::Dir(*tree),
        };
        Entry { meta: Meta { xattrs: self.xattrs.clone(), ..self.seen.meta(keep_mtime) }, node }
    }
}

/// An entry of a directory as far as it can be known without reading it.
#[derive(Debug)]
pub(crate) struct Glance<'n> {
    pub(crate) name: &'n [u8],
    pub(crate) seen: Seen,
    /// Of a directory; boxed, because most entries are none.
    pub(crate) below: Option<Box<Below>>,
}

/// A directory that was looked at with everything in it.
#[derive(Debug)]
pub(crate) struct Below {
    pub(crate) tree: TreeDigest,
    pub(crate) xattrs: Xattrs,
    /// Bytes of all files in it.
    pub(crate) bytes: u64,
}

impl Glance<'_> {
    /// Bytes of it, and of everything in it.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.below {
            Some(below) => below.bytes,
            None if self.seen.kind() == FileType::RegularFile => self.seen.size,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_around_the_scan_is_not_trusted() {
        let start = Duration::new(1000, 0);
        for (file, is_settled) in [
            (Seen::at((900, 1), (900, 1)), true),
            (Seen::at((999, 900_000_000), (999, 900_000_000)), true),
            (Seen::at((999, 960_000_000), (900, 1)), false),
            (Seen::at((900, 1), (999, 960_000_000)), false),
            (Seen::at((1001, 1), (1001, 1)), false),
            (Seen::at((998, 0), (998, 0)), false),
            (Seen::at((990, 0), (990, 0)), true),
            (Seen::at((-5, 3), (-5, 3)), false),
        ] {
            assert_eq!(file.is_settled(start), is_settled, "{file:?}");
        }
    }
}
