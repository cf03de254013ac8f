//! PAX records as they are, whatever is in their values (POSIX, pax extended header).
//!
//! The tar library splits records at newlines, and file capabilities and other attributes are bytes of any kind. So a
//! tap before it reads the records by their lengths, and gives the library values without newlines in their place.
//!
//! The library also reads records and long names whole, however long they are. The tap refuses those before it does, and so
//! has to see entries begin and end where the library does: its rules here are the library's.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use crate::tree::Xattrs;

const BLOCK: usize = 512;
/// Longest set of records, or name, that is read, in bytes; the kernel's attributes of a file have far less.
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

    /// A modification time that a header has no room for, or that has parts of a second; in whole ones.
    pub(crate) fn mtime(&self) -> Option<i64> {
        let value = String::from_utf8(self.value(b"mtime")?).ok()?;
        value.split('.').next()?.parse().ok()
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
    /// The length they say the entry has, as the library reads it.
    coming_size: Option<u64>,
    current: PaxRecords,
    /// Bytes that were passed on.
    position: u64,
}

impl<R: Read> PaxTap<R> {
    pub(crate) fn new(inner: R) -> Self {
        let (next, ready) = (Next::Header, io::Cursor::default());
        let (coming, current) = (Vec::new(), PaxRecords::default());
        Self { inner, next, ready, coming, coming_size: None, current, position: 0 }
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
                self.next = if block.len() == BLOCK { self.after(&block)? } else { Next::Anything };
                self.ready = io::Cursor::new(block);
            }
            Next::Records(length, padded) => {
                let mut body = self.take(padded)?;
                let end = body.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                self.coming = plain_records(&mut body[..end]);
                self.coming_size = size_of(&body[..end]);
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
    fn after(&mut self, block: &[u8]) -> io::Result<Next> {
        use tar::EntryType::{GNULongLink, GNULongName, GNUSparse, XGlobalHeader, XHeader};
        let Ok(bytes) = <&[u8; BLOCK]>::try_from(block) else { return Ok(Next::Anything) };
        if block.iter().all(|&byte| byte == 0) {
            return Ok(Next::Header);
        }
        let header = tar::Header::from_byte_slice(bytes);
        let Ok(size) = header.entry_size() else { return Ok(Next::Anything) };
        let kind = header.entry_type();
        // They belong to the header after them; in the oldest format they are entries like any other.
        let is_new = header.as_ustar().is_some() || header.as_gnu().is_some();
        if is_new && matches!(kind, XHeader | GNULongName | GNULongLink) {
            if size > RECORDS_LIMIT {
                let what = format!("an entry has {size} bytes of names or attributes; leave it out");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
            }
            let padded = size.next_multiple_of(BLOCK as u64);
            return Ok(if kind == XHeader { Next::Records(size, padded) } else { content_of(size) });
        }
        *self.current.0.borrow_mut() = std::mem::take(&mut self.coming);
        let size = match (kind, self.coming_size.take()) {
            (XHeader | XGlobalHeader | GNULongName | GNULongLink, _) | (_, None) => size,
            (_, Some(stated)) => stated,
        };
        Ok(if kind == GNUSparse && block[482] == 1 { Next::Sparse(size) } else { content_of(size) })
    }
}

fn content_of(size: u64) -> Next {
    size.checked_next_multiple_of(BLOCK as u64).map_or(Next::Anything, content_left)
}

fn content_left(left: u64) -> Next {
    if left == 0 { Next::Header } else { Next::Content(left) }
}

/// The length that records give an entry, exactly as the library reads it.
fn size_of(records: &[u8]) -> Option<u64> {
    for record in tar::PaxExtensions::new(records) {
        let record = record.ok()?;
        if record.key() == Ok("size") {
            return record.value().ok()?.parse().ok();
        }
    }
    None
}

impl<R: Read> Read for PaxTap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = loop {
            let ready = self.ready.read(buffer)?;
            if ready > 0 || buffer.is_empty() {
                break ready;
            }
            match self.next {
                Next::Content(left) => {
                    let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
                    let read = self.inner.read(&mut buffer[..most])?;
                    self.next = content_left(left - read as u64);
                    break read;
                }
                Next::Anything => break self.inner.read(buffer)?,
                Next::Header | Next::Records(..) | Next::Sparse(_) => self.look()?,
            }
        };
        self.position += read as u64;
        Ok(read)
    }
}

/// Goes forward, past what the library passes over; it asks for nothing else.
impl<R: Read + Seek> Seek for PaxTap<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Current(length) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut length = u64::try_from(length).map_err(|_| io::ErrorKind::Unsupported)?;
        // What is left of a block that was looked at.
        let ready = self.ready.get_ref().len() as u64 - self.ready.position();
        length -= io::copy(&mut Read::take(&mut *self, length.min(ready)), &mut io::sink())?;
        if let (Next::Content(left), Ok(offset)) = (self.next, i64::try_from(length))
            && length <= left
        {
            self.inner.seek_relative(offset)?;
            self.next = content_left(left - length);
            self.position += length;
        } else {
            io::copy(&mut Read::take(&mut *self, length), &mut io::sink())?;
        }
        Ok(self.position)
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

    fn header(kind: u8, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(size);
        header.set_cksum();
        header
    }

    #[test]
    fn names_and_records_without_end_are_refused_unread() {
        for kind in [b'x', b'L', b'K'] {
            let header = header(kind, RECORDS_LIMIT + 1);
            let mut rest = io::repeat(b'a').take(RECORDS_LIMIT + 1);
            let mut archive = tar::Archive::new(PaxTap::new(header.as_bytes()[..].chain(&mut rest)));
            let error = archive.entries().unwrap().next().unwrap().err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{error}");
            drop(archive);
            assert_eq!(rest.limit(), RECORDS_LIMIT + 1, "nothing of it was read");
        }
    }

    /// A tar of parts, each with its kind.
    fn tar(parts: &[(u8, &[u8])]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (kind, content) in parts {
            tar.extend_from_slice(header(*kind, content.len() as u64).as_bytes());
            tar.extend_from_slice(content);
            tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        }
        tar.resize(tar.len() + 2 * BLOCK, 0);
        tar
    }

    #[test]
    fn no_length_hides_what_follows_from_the_tap() {
        let huge = header(b'L', RECORDS_LIMIT + 1);
        let oldest = |parts: &[(u8, &[u8])]| {
            let mut tar = tar(parts);
            // Without the magic of newer formats.
            tar[257..265].fill(0);
            let sum: u32 = tar[..512]
                .iter()
                .enumerate()
                .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
                .sum();
            tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            tar
        };
        for (what, mut tar) in [
            ("the first length counts", tar(&[(b'x', b"9 size=0\n13 size=9999\n"), (b'0', b"")])),
            ("a global header has its own", tar(&[(b'x', b"13 size=9999\n"), (b'g', b"")])),
            ("in the oldest format it is an entry", oldest(&[(b'x', b"13 size=9999\n"), (b'0', b"")])),
        ] {
            tar.truncate(tar.len() - 2 * BLOCK);
            tar.extend_from_slice(huge.as_bytes());
            let mut archive = tar::Archive::new(PaxTap::new(tar.as_slice()));
            let error = archive.entries().unwrap().find_map(Result::err).unwrap();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{what}: {error}");
        }
    }

    #[test]
    fn what_nobody_reads_is_passed_over() {
        let parts = [
            (b'x', &b"13 path=long\n"[..]),
            (b'0', &[b'c'; 700][..]),
            (b'L', b"other\0"),
            (b'0', b""),
            (b'x', b"12 path=end\n"),
            (b'0', b"end"),
        ];
        let mut archive = tar::Archive::new(PaxTap::new(io::Cursor::new(tar(&parts))));
        let entries = archive.entries_with_seek().unwrap();
        let read = |entry: io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let path = entry.path_bytes().into_owned();
            let mut start = Vec::new();
            Read::by_ref(&mut entry).take(2).read_to_end(&mut start).unwrap();
            (path, start)
        };
        let found: Vec<_> = entries.map(read).collect();
        let entry = |path: &[u8], start: &[u8]| (path.to_vec(), start.to_vec());
        assert_eq!(found, [entry(b"long", b"cc"), entry(b"other", b""), entry(b"end", b"en")]);
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
