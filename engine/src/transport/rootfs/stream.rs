//! Root file systems as a tar stream that anybody can unpack: who is not root could not fill a read-only directory, and filling
//! one changes its time. So directories come writable, and once more at the end where they are something else.

use std::io::{Read, Write};

use super::{Sink, copy_exactly};
use crate::layer::{self, BLOCK, TimePolicy};
use crate::transport::TransportError;
use crate::tree::{Entry, Node};

/// What fills a directory.
const OWNER: u32 = 0o700;

pub(super) struct Tar<'o, W: Write> {
    pub(super) out: &'o mut W,
    pub(super) times: TimePolicy,
}

impl<W: Write> Tar<'_, W> {
    fn header(&mut self, path: &[u8], entry: &Entry) -> Result<(), TransportError> {
        let mut header = Vec::new();
        layer::write_header(&mut header, path, entry, self.times);
        Ok(self.out.write_all(&header)?)
    }

    /// What a directory that is filled now shall be in the end, where that is not what it was made as. Those in it come first.
    pub(super) fn again(&mut self, path: &[u8], entry: &Entry) -> Result<(), TransportError> {
        let is_dir = matches!(entry.node, Node::Dir(_));
        let is_other = self.times == TimePolicy::Keep || entry.meta.mode & OWNER != OWNER;
        if is_dir && is_other { self.header(path, entry) } else { Ok(()) }
    }
}

/// A directory as its owner can fill it.
fn filled(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if matches!(entry.node, Node::Dir(_)) {
        entry.meta.mode |= OWNER;
    }
    entry
}

impl<W: Write> Sink for Tar<'_, W> {
    fn other(&mut self, path: &[u8], entry: &Entry) -> Result<(), TransportError> {
        self.header(path, &filled(entry))
    }

    fn file(
        &mut self,
        path: &[u8],
        entry: &Entry,
        size: u64,
        bytes: &mut dyn Read,
    ) -> Result<(), TransportError> {
        self.header(path, entry)?;
        copy_exactly(path, size, bytes, self.out)?;
        let padding = size.next_multiple_of(BLOCK) - size;
        Ok(self.out.write_all(&layer::END[..padding as usize])?)
    }

    fn link(&mut self, path: &[u8], entry: &Entry, target: &[u8]) -> Result<(), TransportError> {
        let mut header = Vec::new();
        layer::write_hard_link(&mut header, path, entry, target, self.times);
        Ok(self.out.write_all(&header)?)
    }
}
