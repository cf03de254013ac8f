//! A tar stream from anywhere, plain or compressed, whose files are put aside for the length of the build.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use solver::{ContentDigest, TreeDigest};

use crate::contents::{Location, content_digest, copy_hashed};
use crate::decompress::Compression;
use crate::ops::archive::{is_tar_header, spool_name};
use crate::tree::Trees;
use crate::untar::{Flavour, UntarError, read_tar};

/// Files up to this size stay in memory, in bytes: a file of its own would cost more.
const SMALL: u64 = 8 << 10;
/// Most bytes of small files kept in memory.
const SMALL_TOTAL: u64 = 64 << 20;

/// What was read.
#[derive(Debug)]
pub(crate) struct Extracted {
    pub(crate) tree: TreeDigest,
    /// Where the bytes are.
    pub(crate) locations: Vec<(ContentDigest, Location)>,
}

/// Reads an archive; `None` if it is none. Files go to `spool`.
///
/// # Errors
/// When it is broken, hostile, or expands to far more than its own size.
pub(crate) fn extract(
    mut from: impl Read,
    spool: &Path,
    trees: &Trees<'_>,
    keep_mtime: bool,
) -> Result<Option<Extracted>, UntarError> {
    let mut magic = Vec::new();
    (&mut from).take(6).read_to_end(&mut magic)?;
    let compression = Compression::of(&magic);
    let mut tar = compression.expanding(io::Cursor::new(magic).chain(from))?;
    let mut block = Vec::new();
    match (&mut tar).take(512).read_to_end(&mut block) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error.into()),
        Ok(512) if is_tar_header(&block) || block.iter().all(|&byte| byte == 0) => {}
        _ => return Ok(None),
    }
    let spool: Arc<Path> = spool.into();
    let mut locations = Vec::new();
    let mut in_memory = 0;
    let mut tar = io::Cursor::new(block).chain(tar);
    let read = read_tar(&mut tar, trees, Flavour::Files, keep_mtime, &mut |_, file| {
        let mut start = Vec::new();
        (&mut *file).take(SMALL + 1).read_to_end(&mut start)?;
        let size = start.len() as u64;
        if size <= SMALL && in_memory + size <= SMALL_TOTAL {
            in_memory += size;
            let content = content_digest(&start);
            locations.push((content, Location::Inline(start.into())));
            return Ok(content);
        }
        let name = spool_name();
        let mut out = fs_err::File::create(spool.join(&name))?;
        let content = copy_hashed(&mut io::Cursor::new(start).chain(file), &mut out)?;
        out.flush()?;
        locations.push((content, Location::Host { dir: Arc::clone(&spool), name: name.into() }));
        Ok(content)
    })?;
    Ok(Some(Extracted { tree: read.tree, locations }))
}
