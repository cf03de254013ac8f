//! Layers: a delta as a deterministic tar (OCI image-spec, layer, changesets), and a tar read back.
//!
//! The tar is a function of the delta and the time policy alone: entries in tree order, numeric owners, no names of
//! users, PAX only where ustar cannot say it. Any machine, any number of threads: the same bytes.

use std::io::{self, Read};

use solver::{Hasher, MediaType};
use thiserror::Error;

use crate::decompress::Compression;
use crate::tree::{Entry, Meta, Node};
use crate::untar::pax::PaxTap;

/// Length of a tar block.
pub const BLOCK: u64 = 512;
/// A tar ends with two blocks of zeros.
pub const END: [u8; 1024] = [0; 1024];
/// Changes whenever the bytes of a layer change for the same delta; part of every layer key.
pub const LAYER_FORMAT: u64 = 1;

/// A layer blob that cannot be read.
#[derive(Debug, Error)]
pub enum LayerError {
    /// It is not what its media type says.
    #[error("layer cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Which modification times layers carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimePolicy {
    /// One time, in seconds since 1970, for everything.
    Fixed(i64),
    /// The sources' own; what has none gets 0.
    Keep,
}

impl TimePolicy {
    /// The one time of configs and of entries without their own.
    pub fn fixed(self) -> i64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::Keep => 0,
        }
    }

    pub(crate) fn of(self, meta: &Meta) -> i64 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::Keep => meta.mtime.unwrap_or(0),
        }
    }

    /// Feeds the policy to a layer key.
    pub fn feed(self, hasher: &mut Hasher) {
        hasher.number(u64::from(self == Self::Keep));
        hasher.number(self.fixed().cast_unsigned());
    }
}

/// Appends everything of an entry that comes before its content: PAX records where needed, then the header.
pub fn write_header(out: &mut Vec<u8>, path: &[u8], entry: &Entry, times: TimePolicy) {
    let mut header = tar::Header::new_ustar();
    let mut pax = Vec::new();
    let mut name = path.to_vec();
    header.set_size(0);
    match &entry.node {
        Node::File { size, .. } => {
            header.set_entry_type(tar::EntryType::Regular);
            // ustar has eleven octal digits.
            if *size < 1 << 33 {
                header.set_size(*size);
            } else {
                record(&mut pax, b"size", size.to_string().as_bytes());
            }
        }
        Node::Dir(_) => {
            header.set_entry_type(tar::EntryType::Directory);
            name.push(b'/');
        }
        Node::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            if header.set_link_name_literal(target).is_err() {
                record(&mut pax, b"linkpath", target);
            }
        }
        Node::Device { kind, major, minor } => {
            header.set_entry_type(match kind {
                'c' => tar::EntryType::Char,
                'b' => tar::EntryType::Block,
                _ => tar::EntryType::Fifo,
            });
            let numbers = header.set_device_major(*major).and_then(|()| header.set_device_minor(*minor));
            numbers.expect("a ustar header has device numbers");
        }
        Node::Whiteout => {
            header.set_entry_type(tar::EntryType::Regular);
            let start = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            name.splice(start..start, *b".wh.");
        }
    }
    set_path(&mut header, &mut pax, &name);
    finish(out, header, pax, &entry.meta, times);
}

/// Appends a further name of a file: a hard link.
pub fn write_hard_link(out: &mut Vec<u8>, path: &[u8], entry: &Entry, target: &[u8], times: TimePolicy) {
    let mut header = tar::Header::new_ustar();
    let mut pax = Vec::new();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    if header.set_link_name_literal(target).is_err() {
        record(&mut pax, b"linkpath", target);
    }
    set_path(&mut header, &mut pax, path);
    finish(out, header, pax, &entry.meta, times);
}

/// Fills in what every entry has, and appends it with the PAX records it needs.
fn finish(out: &mut Vec<u8>, mut header: tar::Header, mut pax: Vec<u8>, meta: &Meta, times: TimePolicy) {
    let mtime = times.of(meta);
    header.set_mode(meta.mode & 0o7777);
    set_id(&mut pax, b"uid", meta.uid, |id| header.set_uid(id));
    set_id(&mut pax, b"gid", meta.gid, |id| header.set_gid(id));
    match u64::try_from(mtime).ok().filter(|seconds| *seconds < 1 << 33) {
        Some(seconds) => header.set_mtime(seconds),
        None => {
            header.set_mtime(0);
            record(&mut pax, b"mtime", mtime.to_string().as_bytes());
        }
    }
    for (key, value) in &*meta.xattrs {
        record(&mut pax, &[b"SCHILY.xattr.", key.as_slice()].concat(), value);
    }
    if !pax.is_empty() {
        write_pax(out, &pax);
    }
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}

fn set_id(pax: &mut Vec<u8>, key: &[u8], id: u32, set: impl FnOnce(u64)) {
    // ustar has seven octal digits.
    if id < 1 << 21 {
        set(id.into());
    } else {
        set(0);
        record(pax, key, id.to_string().as_bytes());
    }
}

/// The name as ustar has it: 100 bytes, or 155 of prefix, a slash and 100.
fn set_path(header: &mut tar::Header, pax: &mut Vec<u8>, path: &[u8]) {
    let ustar = header.as_ustar_mut().expect("the header was made as ustar");
    if path.len() <= 100 {
        ustar.name[..path.len()].copy_from_slice(path);
        return;
    }
    let body = &path[..path.len() - 1];
    let cut = (0..body.len()).find(|&i| body[i] == b'/' && i <= 155 && path.len() - i - 1 <= 100);
    if let Some(cut) = cut.filter(|cut| *cut > 0) {
        ustar.prefix[..cut].copy_from_slice(&path[..cut]);
        ustar.name[..path.len() - cut - 1].copy_from_slice(&path[cut + 1..]);
    } else {
        ustar.name.copy_from_slice(&path[..100]);
        record(pax, b"path", path);
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself (POSIX, pax extended header).
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    pax.extend_from_slice(length.to_string().as_bytes());
    pax.push(b' ');
    pax.extend_from_slice(key);
    pax.push(b'=');
    pax.extend_from_slice(value);
    pax.push(b'\n');
}

fn write_pax(out: &mut Vec<u8>, pax: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    let name = b"PaxHeaders/entry";
    header.as_ustar_mut().expect("the header was made as ustar").name[..name.len()].copy_from_slice(name);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(pax.len() as u64);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(pax);
    pad(out);
}

/// Fills the last block with zeros.
pub fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
}

/// The uncompressed bytes of a layer blob. How one that is said to be compressed really is, its first bytes say: media types are
/// sometimes wrong, and other tools do not look at them.
///
/// # Errors
/// When the blob cannot be read, or the decoder cannot be set up.
pub fn uncompressed<'r>(mut blob: impl Read + 'r, media_type: MediaType) -> io::Result<Box<dyn Read + 'r>> {
    if media_type == MediaType::Tar {
        return Compression::None.reader(blob);
    }
    let mut start = Vec::new();
    (&mut blob).take(6).read_to_end(&mut start)?;
    Compression::of(&start).reader(io::Cursor::new(start).chain(blob))
}

/// Takes a file's path and bytes.
pub type FileVisitor<'a> = dyn FnMut(&[u8], &mut dyn Read) -> io::Result<()> + 'a;

/// Visits every regular file of a layer blob with its path, in one pass.
///
/// # Errors
/// When the blob cannot be read, or what `visit` returns.
pub fn for_each_file(
    blob: impl Read,
    media_type: MediaType,
    visit: &mut FileVisitor<'_>,
) -> Result<(), LayerError> {
    let tap = PaxTap::new(uncompressed(blob, media_type)?);
    let records = tap.records();
    let mut archive = tar::Archive::new(tap);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = crate::tree::components(&records.path(&entry)).collect::<Vec<_>>().join(&b'/');
            visit(&path, &mut entry)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    type Pax = Vec<(Vec<u8>, Vec<u8>)>;

    fn read_back(path: &[u8], entry: &Entry) -> (Vec<u8>, tar::Header, Pax) {
        let mut bytes = Vec::new();
        write_header(&mut bytes, path, entry, TimePolicy::Fixed(0));
        bytes.write_all(&END).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = archive.entries().unwrap().next().unwrap().unwrap();
        let pax = found.pax_extensions().unwrap().map_or(Vec::new(), |all| {
            all.map(|one| one.map(|one| (one.key_bytes().to_vec(), one.value_bytes().to_vec())).unwrap())
                .collect()
        });
        (found.path_bytes().into_owned(), found.header().clone(), pax)
    }

    #[test]
    fn names_of_any_length_and_any_bytes_come_back() {
        let entry = Entry { meta: Meta::with_mode(0o644), node: Node::Whiteout };
        let entry = Entry { node: Node::Symlink(b"x".to_vec()), ..entry };
        for path in [
            b"a".to_vec(),
            b"caf\xe9 \n\xff".to_vec(),
            [vec![b'd'; 120], b"/".to_vec(), vec![b'f'; 90]].concat(),
            [vec![b'd'; 200], b"/".to_vec(), vec![b'f'; 90]].concat(),
            vec![b'f'; 255],
            vec![vec![b'd'; 60]; 20].join(&b'/'),
        ] {
            assert_eq!(read_back(&path, &entry).0, path);
        }
    }

    #[test]
    fn what_ustar_cannot_say_is_said_in_pax() {
        let meta = Meta {
            uid: 3_000_000,
            mode: 0o4755,
            xattrs: [(b"user.a".to_vec(), b"\0 =".to_vec())].into(),
            ..Meta::default()
        };
        let entry = Entry { meta, node: Node::Symlink(vec![b't'; 300]) };
        let (_, header, pax) = read_back(b"x", &entry);
        assert_eq!(header.mode().unwrap(), 0o4755);
        let keys: Vec<_> = pax.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
        assert_eq!(keys, ["linkpath", "uid", "SCHILY.xattr.user.a"]);
        assert_eq!(pax[2].1, b"\0 =");
    }

    #[test]
    fn a_whiteout_keeps_its_directory() {
        let entry = Entry { meta: Meta::with_mode(0o644), node: Node::Whiteout };
        assert_eq!(read_back(b"a/b", &entry).0, b"a/.wh.b");
    }
}
