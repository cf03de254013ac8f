//! ADD of a local archive: tar, plain or compressed, turned into a tree.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use solver::{ContentDigest, TreeDigest};
use thiserror::Error;

use crate::contents::{ContentError, Contents, Location, copy_hashed};
use crate::decompress::{Bounded, Compression, expansion_limit};
use crate::tree::Trees;
use crate::untar::{Flavour, UntarError, read_tar};

/// An archive that cannot be extracted.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// It is refused or broken.
    #[error("archive `{name}`: {source}")]
    Untar {
        /// Path in the context.
        name: String,
        /// Why.
        source: UntarError,
    },
    /// Its bytes cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Extracts a file if it is an archive; `None` if it is anything else. Contents go to the store's temporary directory.
///
/// # Errors
/// When it is an archive that is broken, hostile or unreasonably large.
pub fn extract(
    trees: &Trees<'_>,
    contents: &Contents<'_>,
    file: &ContentDigest,
    name: &[u8],
) -> Result<Option<TreeDigest>, ArchiveError> {
    if !is_archive(contents, file)? {
        return Ok(None);
    }
    let fail = |source| ArchiveError::Untar { name: String::from_utf8_lossy(name).into_owned(), source };
    let (mut opened, compression, size) = start(contents, file)?;
    opened.seek_to(0).map_err(ContentError::from)?;
    let dir: Arc<Path> = contents.spool_dir().map_err(ContentError::from)?.into();
    let reader = compression.reader(opened).map_err(|e| fail(e.into()))?;
    let mut reader = Bounded::new(reader, expansion_limit(size));
    let tree = read_tar(&mut reader, trees, Flavour::Archive, contents.keep_mtime(), &mut |_, file| {
        let name = spool_name();
        let mut out = fs_err::File::create(dir.join(&name))?;
        let content = copy_hashed(file, &mut out)?;
        contents.add(content, Location::Host { dir: Arc::clone(&dir), name: name.into() });
        Ok(content)
    });
    tree.map(Some).map_err(fail)
}

/// Whether the bytes are a tar archive, compressed or not.
///
/// # Errors
/// When they cannot be read.
pub fn is_archive(contents: &Contents<'_>, file: &ContentDigest) -> Result<bool, ContentError> {
    let (mut opened, compression, _) = start(contents, file)?;
    opened.seek_to(0)?;
    let mut block = Vec::new();
    // What is compressed but not a tar is an ordinary file; so is what only starts like something compressed.
    let Ok(reader) = compression.reader(opened) else { return Ok(false) };
    if reader.take(512).read_to_end(&mut block).is_err() || block.len() < 512 {
        return Ok(false);
    }
    Ok(checksum_is_right(&block))
}

/// POSIX: the sum of all header bytes, the checksum's own eight read as spaces.
fn checksum_is_right(block: &[u8]) -> bool {
    let mut header = [0; 512];
    header.copy_from_slice(block);
    let stated = tar::Header::from_byte_slice(&header).cksum().ok();
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(i, &b)| u32::from(if (148..156).contains(&i) { b' ' } else { b }))
        .sum();
    stated == Some(sum) && header[0] != 0
}

fn start(
    contents: &Contents<'_>,
    file: &ContentDigest,
) -> Result<(crate::contents::Opened, Compression, u64), ContentError> {
    let mut opened = contents.open(file)?;
    let mut magic = [0; 6];
    let mut filled = 0;
    while filled < magic.len() {
        match opened.read(&mut magic[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    let size = opened.size()?;
    Ok((opened, Compression::of(&magic[..filled]), size))
}

/// A name that nothing else in this process's temporary directory has.
fn spool_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("member-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Reads a small member of an archive without extracting it.
///
/// # Errors
/// Those of reading.
pub fn has_member(
    contents: &Contents<'_>,
    file: &ContentDigest,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<bool, ContentError> {
    let (mut opened, compression, size) = start(contents, file)?;
    opened.seek_to(0)?;
    let Ok(reader) = compression.reader(opened) else { return Ok(false) };
    let mut archive = tar::Archive::new(Bounded::new(reader, expansion_limit(size)));
    let search = || -> io::Result<bool> {
        for entry in archive.entries()? {
            let entry = entry?;
            if entry.header().entry_type().is_file() && wanted(&entry.path_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    // What does not read as a tar has no members.
    Ok({ search }().unwrap_or(false))
}
