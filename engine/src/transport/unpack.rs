//! An archive read once, from its first byte to its last: JSON stays in memory, all else becomes blobs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};

use solver::BlobDigest;

use super::TransportError;
use super::docker;
use super::intake::{Intake, Taken};
use super::layout::{self, METADATA};
use crate::cancel::Stopping;
use crate::decompress::{Bounded, Compression, expansion_limit};
use crate::oci::JSON_LIMIT;
use crate::untar::pax::PaxTap;
use crate::watched::Watched;

/// Most JSON kept in memory, in bytes.
const JSON_TOTAL_LIMIT: u64 = 128 << 20;
/// Links followed from one name to its bytes.
const LINK_LIMIT: usize = 4;

/// What an archive holds.
#[derive(Debug, Default)]
pub(super) struct Archive {
    pub(super) small: BTreeMap<String, Vec<u8>>,
    taken: BTreeMap<String, Taken>,
    links: BTreeMap<String, String>,
    /// Archives in the archive (sealer's list layout).
    pub(super) nested: Vec<Self>,
}

impl Archive {
    /// A part that became a blob, links followed.
    pub(super) fn taken(&self, path: &str) -> Option<&Taken> {
        self.taken.get(followed(&self.links, path))
    }
}

/// The path that links lead to.
pub(super) fn followed<'p>(links: &'p BTreeMap<String, String>, path: &'p str) -> &'p str {
    let mut path = path;
    for _ in 0..LINK_LIMIT {
        match links.get(path) {
            Some(target) => path = target,
            None => break,
        }
    }
    path
}

/// A readable archive: compression taken away, and whether it is known to be a list of archives.
pub(super) struct Opened<'r> {
    pub(super) tar: Box<dyn Read + 'r>,
    pub(super) is_list: bool,
}

/// Opens an archive file, compressed or not. A pipe that stays silent is waited for as long as it `goes_on`.
pub(super) fn open<'r>(mut file: File, goes_on: &'r dyn Fn() -> io::Result<()>) -> io::Result<Opened<'r>> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let can_seek = file.stream_position().is_ok() && file.metadata().is_ok_and(|metadata| metadata.is_file());
    let mut magic = Vec::new();
    if can_seek {
        (&mut file).take(6).read_to_end(&mut magic)?;
        let compression = Compression::of(&magic);
        file.rewind()?;
        if compression == Compression::None {
            let is_list = has_metadata(&mut file);
            file.rewind()?;
            return Ok(Opened { tar: Box::new(file), is_list });
        }
        let limit = expansion_limit(length);
        return Ok(Opened { tar: Box::new(Bounded::new(compression.reader(file)?, limit)), is_list: false });
    }
    let mut stream = Watched::new(file, goes_on);
    (&mut stream).take(6).read_to_end(&mut magic)?;
    let compression = Compression::of(&magic);
    // A stream has no length; what it may expand to grows with what has come in.
    let tar = compression.expanding(io::Cursor::new(magic).chain(stream))?;
    Ok(Opened { tar, is_list: false })
}

/// Whether this is sealer's list layout; reads headers only.
fn has_metadata(file: &mut File) -> bool {
    let mut archive = tar::Archive::new(PaxTap::new(file));
    let Ok(mut entries) = archive.entries_with_seek() else { return false };
    entries.any(|entry| entry.is_ok_and(|entry| normal(&entry.path_bytes()) == METADATA))
}

/// Reads a whole archive.
pub(super) fn unpack(
    input: &str,
    opened: Opened<'_>,
    intake: &Intake<'_>,
) -> Result<Archive, TransportError> {
    let mut archive = read(input, opened, intake, true)?;
    if archive.small.contains_key(METADATA) && archive.nested.is_empty() {
        // A stream whose list said only at its end that it is one.
        let lists = archive.taken.iter().filter(|(path, _)| is_nested(path));
        let blobs: Vec<BlobDigest> = lists.map(|(_, taken)| taken.blob.digest).collect();
        for digest in blobs {
            let tar = Box::new(intake.store.blobs().open(&digest)?);
            archive.nested.push(read(input, Opened { tar, is_list: false }, intake, false)?);
        }
    }
    Ok(archive)
}

/// Reads one archive; only the outer one may hold others.
fn read(
    input: &str,
    opened: Opened<'_>,
    intake: &Intake<'_>,
    is_outer: bool,
) -> Result<Archive, TransportError> {
    let fail = |source| TransportError::Archive { input: input.to_owned(), source };
    let mut found = Archive::default();
    let mut is_list = opened.is_list;
    let mut small_bytes = 0;
    let mut archive = tar::Archive::new(PaxTap::new(Stopping { bytes: opened.tar, cancel: intake.cancel }));
    for entry in archive.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        let path = normal(&entry.path_bytes());
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            if let Some(target) = entry.link_name_bytes() {
                let target = link_target(&path, &target, kind.is_symlink());
                found.links.insert(path, target);
            }
            continue;
        }
        if !kind.is_file() || is_needless(&path) {
            continue;
        }
        let size = entry.size();
        if is_small(&path) && size <= JSON_LIMIT {
            small_bytes += size;
            if small_bytes > JSON_TOTAL_LIMIT {
                let (input, limit) = (input.to_owned(), JSON_TOTAL_LIMIT);
                return Err(TransportError::TooLarge { input, limit, what: "JSON" });
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(fail)?;
            is_list |= path == METADATA;
            found.small.insert(path, bytes);
        } else if is_outer && is_list && is_nested(&path) {
            let inner = Opened { tar: Box::new(&mut entry), is_list: false };
            found.nested.push(read(&format!("{input}: {path}"), inner, intake, false)?);
        } else {
            let taken = intake.take(&path, &mut entry, size, layout::digest_of(&path))?;
            if taken.blob.size != size {
                return Err(TransportError::Size { part: path, expected: size, found: taken.blob.size });
            }
            found.taken.insert(path, taken);
        }
    }
    Ok(found)
}

/// A path of an archive without `./`, doubled slashes and the like. It never leads out: `..` is resolved here.
pub(super) fn normal(path: &[u8]) -> String {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in crate::tree::components(path) {
        match name {
            b".." => _ = names.pop(),
            name => names.push(name),
        }
    }
    String::from_utf8_lossy(&names.join(&b'/')).into_owned()
}

/// What a link of the archive names, as a path of the archive.
pub(super) fn link_target(path: &str, target: &[u8], is_symlink: bool) -> String {
    let mut names: Vec<&str> = if is_symlink { path.split('/').collect() } else { Vec::new() };
    names.pop();
    let target = String::from_utf8_lossy(target);
    for name in target.split('/').filter(|name| !name.is_empty() && *name != ".") {
        match name {
            ".." => _ = names.pop(),
            name => names.push(name),
        }
    }
    names.join("/")
}

pub(super) fn is_small(path: &str) -> bool {
    matches!(path, layout::LAYOUT | METADATA | docker::VERSION) || path.ends_with(".json")
}

/// What old Docker versions want beside the rest, and nobody else reads.
pub(super) fn is_needless(path: &str) -> bool {
    path == "repositories" || path.ends_with("/json") || path.ends_with("/VERSION")
}

pub(super) fn is_nested(path: &str) -> bool {
    path.strip_suffix(".tar").is_some_and(|stem| !stem.is_empty() && !stem.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_links_never_lead_out() {
        for (path, expected) in
            [("./a//b/", "a/b"), ("../../etc/passwd", "etc/passwd"), ("a/../b", "b"), ("..", "")]
        {
            assert_eq!(normal(path.as_bytes()), expected);
        }
        assert_eq!(link_target("a/b", b"../../../c", true), "c");
        let links = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("b".to_owned(), "a".to_owned())]);
        assert!(["a", "b"].contains(&followed(&links, "a")), "links in a circle end");
    }
}
