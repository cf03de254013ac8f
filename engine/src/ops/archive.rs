//! ADD of a local archive: tar, plain or compressed, turned into a tree.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use solver::ContentDigest;
use thiserror::Error;

use crate::cancel::Stopping;
use crate::contents::{Checked, ContentError, Contents, Location, copy_hashed};
use crate::decompress::{Bounded, Compression, expansion_limit};
use crate::tree::Trees;
use crate::untar::pax::PaxTap;
use crate::untar::{Flavour, UntarError, Untarred, read_tar};

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
    /// The build was given up.
    #[error("cancelled")]
    Cancelled,
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
) -> Result<Option<Untarred>, ArchiveError> {
    let fail = |source| ArchiveError::Untar { name: String::from_utf8_lossy(name).into_owned(), source };
    match first_block(contents, file)? {
        Ok(block) if is_tar_header(&block) => {}
        Err(error) if is_named_as_archive(name) => return Err(fail(error.into())),
        // What is compressed but not a tar is an ordinary file; so is what only starts like something compressed.
        Ok(_) | Err(_) => return Ok(None),
    }
    let (opened, compression, size) = start(contents, file)?;
    let dir: Arc<Path> = contents.spool_dir().map_err(ContentError::from)?.into();
    let mut checked = Checked::new(opened, *file);
    let reader = compression.reader(&mut checked).map_err(|e| fail(e.into()))?;
    let cancel = contents.cancel();
    let mut reader = Stopping { bytes: Bounded::new(reader, expansion_limit(size)), cancel };
    // Holes of sparse files take no byte of the archive, and are written out all the same.
    let mut left = expansion_limit(size);
    let tree = read_tar(&mut reader, trees, Flavour::Archive, contents.keep_mtime(), &mut |_, file| {
        let name = spool_name();
        let mut out = fs_err::File::create(dir.join(&name))?;
        let mut file = Bounded::new(file, left);
        let content = copy_hashed(&mut file, &mut out)?;
        left -= out.metadata()?.len();
        contents.add(content, Location::Host { dir: Arc::clone(&dir), name: name.into() });
        Ok(content)
    });
    drop(reader);
    // What a reader that was stopped says is not the archive's fault.
    if tree.is_err() && cancel.is_cancelled() {
        return Err(ArchiveError::Cancelled);
    }
    contents.check(checked, name)?;
    tree.map(Some).map_err(fail)
}

/// The directories that an archive only implies. What is extracted to find them is not thrown away.
///
/// # Errors
/// Those of [`extract`].
pub fn implied_dirs(
    trees: &Trees<'_>,
    contents: &Contents<'_>,
    file: &ContentDigest,
    name: &[u8],
) -> Result<(Vec<Vec<u8>>, Option<Untarred>), ArchiveError> {
    if let Some(known) = contents.implied_dirs(file) {
        return Ok((known, None));
    }
    let Some(archive) = extract(trees, contents, file, name)? else { return Ok((Vec::new(), None)) };
    contents.add_implied_dirs(file, &archive.implied);
    Ok((archive.implied.clone(), Some(archive)))
}

/// The first block behind the compression, or what the decoder says of it.
fn first_block(contents: &Contents<'_>, file: &ContentDigest) -> Result<io::Result<Vec<u8>>, ContentError> {
    let (opened, compression, _) = start(contents, file)?;
    let mut block = Vec::new();
    let read = compression.reader(opened).and_then(|reader| reader.take(512).read_to_end(&mut block));
    match read {
        // Nothing decodes what is not compressed: it is the file itself that cannot be read.
        Err(error) if compression == Compression::None => Err(error.into()),
        read => Ok(read.map(|_| block)),
    }
}

/// Whether a name promises a tar: then what does not decode is one that is broken.
fn is_named_as_archive(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let base = lower.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    base.windows(5).any(|part| part == b".tar.")
        || [&b".tgz"[..], b".tbz", b".tbz2", b".txz", b".tzst"].iter().any(|end| base.ends_with(end))
}

/// POSIX: the sum of all header bytes, the checksum's own eight read as spaces.
pub(crate) fn is_tar_header(block: &[u8]) -> bool {
    let Ok(header) = <[u8; 512]>::try_from(block) else { return false };
    let stated = tar::Header::from_byte_slice(&header).cksum().ok();
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(i, &b)| u32::from(if (148..156).contains(&i) { b' ' } else { b }))
        .sum();
    stated == Some(sum)
}

/// A file at its start, how it is compressed, and its length in bytes.
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
    opened.seek_to(0)?;
    Ok((opened, Compression::of(&magic[..filled]), size))
}

/// A name that nothing else in this process's temporary directory has.
pub(crate) fn spool_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("member-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether an archive has a member, without extracting it.
///
/// # Errors
/// Those of reading.
pub fn has_member(
    contents: &Contents<'_>,
    file: &ContentDigest,
    name: &[u8],
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<bool, ContentError> {
    let (opened, compression, size) = start(contents, file)?;
    let mut checked = Checked::new(opened, *file);
    let search = || -> io::Result<bool> {
        let reader = compression.reader(&mut checked)?;
        let mut archive = tar::Archive::new(PaxTap::new(Bounded::new(reader, expansion_limit(size))));
        for entry in archive.entries()? {
            let entry = entry?;
            if entry.header().entry_type().is_file() && wanted(&entry.path_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    // What does not read as a tar has no members.
    let has = { search }().unwrap_or(false);
    contents.check(checked, name)?;
    Ok(has)
}

#[cfg(test)]
mod tests {
    use cache::Store;

    use super::*;
    use crate::contents::content_digest;

    #[test]
    fn a_build_that_is_given_up_extracts_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (trees, contents) = (Trees::new(&store), Contents::new(&store, false));
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        tar.append_data(&mut header, "f", io::empty()).unwrap();
        let tar = tar.into_inner().unwrap();
        let content = content_digest(&tar);
        contents.add(content, Location::Inline(tar.into()));
        assert!(extract(&trees, &contents, &content, b"a.tar").unwrap().is_some());
        contents.cancel().cancel();
        let extracted = extract(&trees, &contents, &content, b"a.tar");
        assert!(matches!(extracted, Err(ArchiveError::Cancelled)));
    }
}
