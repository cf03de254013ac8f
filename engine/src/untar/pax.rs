//! PAX records as they are, whatever is in their values (POSIX, pax extended header).
//!
//! The tar library splits records at newlines, and file capabilities and other attributes are bytes of any kind. So a
//! tap before it reads the records by their lengths, and gives the library values without newlines in their place.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::tree::Xattrs;

const BLOCK: usize = 512;
/// Longest set of records read, in bytes; the kernel's attributes of a file have far less.
const RECORDS_LIMIT: u64 = 4 << 20;

/// One record.
type Record = (Vec<u8>, Vec<u8>);

/// The records of the entry that the library gave last.
#[derive(Debug, Clone, Default)]
pub(crate) struct PaxRecords(Rc<RefCell<Vec<Record>>>);

impl PaxRecords {
    /// The value of a key; the last one counts.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.borrow().iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    }

    /// The path of an entry.
    pub(crate) fn path<R: Read>(&self, entry: &tar::Entry<'_, R>) -> Vec<u8> {
        self.value(b"path").unwrap_or_else(|| entry.path_bytes().into_owned())
    }

    /// Where a link points.
    pub(crate) fn link_name<R: Read>(&self, entry: &tar::Entry<'_, R>) -> Vec<u8> {
        let stated = || entry.link_name_bytes().unwrap_or_default().into_owned();
        self.value(b"linkpath").unwrap_or_else(stated)
    }

    /// Extended attributes, sorted by name.
    pub(crate) fn xattrs(&self) -> Xattrs {
        let records = self.0.borrow();
        let named = records
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone())));
        // The last of a name counts.
        named.collect::<std::collections::BTreeMap<_, _>>().into_iter().collect()
    }
}

/// What comes next in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Header,
    /// So many bytes of PAX records, padding included.
    Records(u64, u64),
    /// So many bytes of content, padding included.
    Content(u64),
    /// A further block of a sparse file's map, then so many bytes of content.
    Sparse(u64),
    /// Nothing that is understood: the library shall say what is wrong with it.
    Anything,
}

/// A tar stream on its way to the library.
#[derive(Debug)]
pub(crate) struct PaxTap<R> {
    inner: R,
    next: Next,
    /// Bytes that were looked at and not passed on yet.
    ready: io::Cursor<Vec<u8>>,
    /// Records of the header to come.
    coming: Vec<Record>,
    current: PaxRecords,
}

impl<R: Read> PaxTap<R> {
    pub(crate) fn new(inner: R) -> Self {
        let (next, ready) = (Next::Header, io::Cursor::default());
        Self { inner, next, ready, coming: Vec::new(), current: PaxRecords::default() }
    }

    /// The records of whichever entry is current.
    pub(crate) fn records(&self) -> PaxRecords {
        self.current.clone()
    }

    /// Looks at what comes next and makes it ready.
    fn look(&mut self) -> io::Result<()> {
        match self.next {
            Next::Header => {
                let block = self.take(BLOCK as u64)?;
                self.next = if block.len() == BLOCK { self.after(&block) } else { Next::Anything };
                self.ready = io::Cursor::new(block);
            }
            Next::Records(length, padded) => {
                let mut body = self.take(padded)?;
                let end = body.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                self.coming = plain_records(&mut body[..end]);
                self.ready = io::Cursor::new(body);
                self.next = Next::Header;
            }
            Next::Sparse(content) => {
                let block = self.take(BLOCK as u64)?;
                self.next =
                    if block.get(504) == Some(&1) { Next::Sparse(content) } else { content_of(content) };
                self.ready = io::Cursor::new(block);
            }
            Next::Content(_) | Next::Anything => {}
        }
        Ok(())
    }

    fn take(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.inner).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What follows a header.
    fn after(&mut self, block: &[u8]) -> Next {
        let Ok(bytes) = <&[u8; BLOCK]>::try_from(block) else { return Next::Anything };
        if block.iter().all(|&byte| byte == 0) {
            return Next::Header;
        }
        let header = tar::Header::from_byte_slice(bytes);
        let Ok(size) = header.entry_size() else { return Next::Anything };
        if header.entry_type() == tar::EntryType::XHeader {
            let padded = size.next_multiple_of(BLOCK as u64);
            return if size <= RECORDS_LIMIT { Next::Records(size, padded) } else { Next::Anything };
        }
        // A long name of GNU's belongs to the header after it, as records do.
        if matches!(header.entry_type(), tar::EntryType::GNULongName | tar::EntryType::GNULongLink) {
            return content_of(size);
        }
        *self.current.0.borrow_mut() = std::mem::take(&mut self.coming);
        let stated =
            self.current.value(b"size").and_then(|size| std::str::from_utf8(&size).ok()?.parse().ok());
        let size: u64 = stated.unwrap_or(size);
        let goes_on = header.entry_type() == tar::EntryType::GNUSparse && block[482] == 1;
        if goes_on { Next::Sparse(size) } else { content_of(size) }
    }
}

fn content_of(size: u64) -> Next {
    match size.checked_next_multiple_of(BLOCK as u64) {
        Some(0) => Next::Header,
        Some(padded) => Next::Content(padded),
        None => Next::Anything,
    }
}

impl<R: Read> Read for PaxTap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let ready = self.ready.read(buffer)?;
            if ready > 0 || buffer.is_empty() {
                return Ok(ready);
            }
            match self.next {
                Next::Content(left) => {
                    let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
                    let read = self.inner.read(&mut buffer[..most])?;
                    self.next = match left - read as u64 {
                        0 => Next::Header,
                        left => Next::Content(left),
                    };
                    return Ok(read);
                }
                Next::Anything => return self.inner.read(buffer),
                Next::Header | Next::Records(..) | Next::Sparse(_) => self.look()?,
            }
        }
    }
}

/// Reads `LENGTH KEY=VALUE\n` by its length, and puts blanks in the place of newlines in values. What is not of this
/// form ends it: the library says so.
fn plain_records(body: &mut [u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some(blank) = body[at..].iter().position(|&byte| byte == b' ') {
        let length =
            std::str::from_utf8(&body[at..at + blank]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let Some(end) = length.and_then(|length| at.checked_add(length)).filter(|end| *end <= body.len())
        else {
            break;
        };
        let start = at + blank + 1;
        if start >= end || body[end - 1] != b'\n' {
            break;
        }
        let record = &mut body[start..end - 1];
        let Some(equals) = record.iter().position(|&byte| byte == b'=') else { break };
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        record.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_by_their_length() {
        let mut body = b"15 a=b\nc=\n 1\0x\n9 path=\n\n7 b=c\n".to_vec();
        let records = plain_records(&mut body);
        assert_eq!(records[0], (b"a".to_vec(), b"b\nc=\n 1\0x".to_vec()));
        assert_eq!(records[1], (b"path".to_vec(), b"\n".to_vec()));
        assert_eq!(records.len(), 2, "what has another length is not read");
        assert_eq!(body, b"15 a=b c=  1\0x\n9 path= \n7 b=c\n");
        for wrong in ["", "9", "x y=z\n", "99999999999999999999 a=b\n", "3 \n", "0 a=b\n", "6 ab\n\n"] {
            assert!(plain_records(&mut wrong.as_bytes().to_vec()).is_empty(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_tar_passes_as_it_is() {
        for length in [0, 1, 511, 512, 513, 3000] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut out = Vec::new();
            PaxTap::new(bytes.as_slice()).read_to_end(&mut out).unwrap();
            assert_eq!(out, bytes);
        }
    }
}
