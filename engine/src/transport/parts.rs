//! The parts of an archive or a directory by path: what may be JSON of an image is read, of all else the header alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt;
use sha2::{Digest, Sha256};
use solver::BlobDigest;

use super::TransportError;
use super::layout::{self, METADATA};
use super::unpack::{followed, is_needless, is_nested, is_small, link_target, normal};
use crate::cancel::{Cancel, Stopping};
use crate::decompress::{Bounded, Compression, expansion_limit};
use crate::oci::JSON_LIMIT;
use crate::untar::pax::PaxTap;

/// Largest blob of an archive taken for JSON, in bytes; registries take no larger manifest.
const BLOB_LIMIT: u64 = 4 << 20;
/// Most names and JSON kept in memory, in bytes.
const TOTAL_LIMIT: u64 = 128 << 20;
/// What JSON of images has one of, and what is said about images (an SBOM, a provenance) has not.
const KEYS: [&[u8]; 2] = [b"schemaVersion", b"rootfs"];

/// Where parts are found by path.
#[derive(Debug)]
pub(super) enum Parts {
    Dir(PathBuf),
    Archive(Listing),
}

/// What an archive holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    json: BTreeMap<String, Vec<u8>>,
    files: BTreeMap<String, Part>,
    links: BTreeMap<String, String>,
}

/// A file nobody has read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) size: u64,
    pub(super) compression: Compression,
}

/// An input that was looked at.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) parts: Parts,
    /// The archives in it by their paths, in their order (sealer's list layout).
    pub(super) nested: Vec<(String, Parts)>,
}

impl Looked {
    pub(super) fn of_dir(dir: &Path) -> Self {
        Self { parts: Parts::Dir(dir.to_owned()), nested: Vec::new() }
    }

    /// Looks at an archive, compressed or not. Only the outer one may hold others.
    pub(super) fn of_file(input: &str, file: &mut File, cancel: &Cancel) -> Result<Self, TransportError> {
        let mut pass = |is_list: bool| {
            let mut found = Found { input, total: 0, outer: Listing::default(), nested: Vec::new() };
            each(input, file, is_list, cancel, &mut |member| {
                found.take(member).map(|()| ControlFlow::Continue(()))
            })?;
            Ok::<_, TransportError>(found)
        };
        let mut found = pass(false)?;
        // A list may say at its end only that it is one.
        if found.outer.json.contains_key(METADATA) {
            found = pass(true)?;
        }
        let nested = found.nested.into_iter().map(|(path, listing)| (path, Parts::Archive(listing)));
        Ok(Self { nested: nested.collect(), parts: Parts::Archive(found.outer) })
    }

    /// The name of a list; `None` where it is none.
    pub(super) fn list_name(&self) -> Option<String> {
        let Parts::Archive(listing) = &self.parts else { return None };
        let name = listing.json.get(METADATA)?;
        Some(String::from_utf8_lossy(name).trim().to_owned())
    }
}

impl Parts {
    /// A part that is JSON; `None` where it is not there, or something else.
    pub(super) fn json(&self, path: &str) -> Result<Option<Vec<u8>>, TransportError> {
        match self {
            Self::Dir(dir) => small_file(&dir.join(path)),
            Self::Archive(listing) => Ok(listing.json.get(followed(&listing.links, path)).cloned()),
        }
    }

    /// JSON that something names by digest.
    pub(super) fn blob(
        &self,
        path: &str,
        named_by: &str,
        blob: &BlobDigest,
    ) -> Result<Vec<u8>, TransportError> {
        let missing = || TransportError::Missing { part: path.to_owned(), named_by: named_by.to_owned() };
        let bytes = self.json(path)?.ok_or_else(missing)?;
        let found = BlobDigest::from_bytes(Sha256::digest(&bytes).into());
        if found == *blob { Ok(bytes) } else { Err(TransportError::Digest { part: path.to_owned(), found }) }
    }

    /// A file, links followed: the path it really has, and what is known of it.
    pub(super) fn file(&self, path: &str) -> Result<Option<(String, Part)>, TransportError> {
        match self {
            Self::Archive(listing) => {
                let path = followed(&listing.links, path);
                Ok(listing.files.get(path).map(|part| (path.to_owned(), *part)))
            }
            Self::Dir(dir) => {
                let Some(file) = open(&dir.join(path))? else { return Ok(None) };
                let size = file.metadata()?.len();
                let mut start = Vec::new();
                file.take(6).read_to_end(&mut start)?;
                Ok(Some((path.to_owned(), Part { size, compression: Compression::of(&start) })))
            }
        }
    }

    /// The blobs of an OCI layout: where they are, and their sizes.
    pub(super) fn blobs(&self) -> Result<BTreeMap<BlobDigest, (String, u64)>, TransportError> {
        let mut paths: Vec<String> = Vec::new();
        match self {
            Self::Archive(listing) => paths.extend(listing.files.keys().chain(listing.links.keys()).cloned()),
            Self::Dir(dir) => {
                let entries = match fs_err::read_dir(dir.join(layout::BLOBS)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
                    entries => entries?,
                };
                for entry in entries {
                    let name = entry?.file_name();
                    paths.push(format!("{}/{}", layout::BLOBS, name.to_string_lossy()));
                }
            }
        }
        let mut blobs = BTreeMap::new();
        for path in paths {
            if let Some(digest) = layout::digest_of(&path)
                && let Some((path, part)) = self.file(&path)?
            {
                blobs.insert(digest, (path, part.size));
            }
        }
        Ok(blobs)
    }
}

/// A regular file of a directory; `None` if there is none. Nobody waits for a pipe.
pub(super) fn open(path: &Path) -> Result<Option<fs_err::File>, TransportError> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    match fs_err::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Ok(file) if !file.metadata()?.is_file() => Ok(None),
        file => Ok(Some(file?)),
    }
}

/// A file that is JSON or a marker; `None` if it is not there.
pub(super) fn small_file(path: &Path) -> Result<Option<Vec<u8>>, TransportError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(JSON_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > JSON_LIMIT {
        let (input, limit) = (path.display().to_string(), JSON_LIMIT);
        return Err(TransportError::TooLarge { input, limit, what: "JSON" });
    }
    Ok(Some(bytes))
}

/// A file or a link of an archive.
pub(super) struct Member<'e> {
    /// The path of the archive in the archive it stands in.
    pub(super) within: Option<&'e str>,
    pub(super) path: String,
    pub(super) size: u64,
    /// What a link names.
    link: Option<String>,
    pub(super) bytes: &'e mut dyn Read,
}

impl Member<'_> {
    pub(super) fn is_file(&self) -> bool {
        self.link.is_none()
    }

    /// The path in the outermost archive.
    pub(super) fn full_path(&self) -> String {
        match self.within {
            Some(outer) => format!("{outer}/{}", self.path),
            None => self.path.clone(),
        }
    }
}

type Visit<'v> = dyn FnMut(Member<'_>) -> Result<ControlFlow<()>, TransportError> + 'v;

/// Shows every file and link of an archive, in its order, those of the archives in a list as well. Bytes nobody reads
/// are passed over.
pub(super) fn each(
    input: &str,
    file: &mut File,
    is_list: bool,
    cancel: &Cancel,
    visit: &mut Visit<'_>,
) -> Result<(), TransportError> {
    let fail = |source| TransportError::Archive { input: input.to_owned(), source };
    let walk = Walk { input, is_list, cancel };
    let mut magic = Vec::new();
    file.rewind()?;
    (&mut *file).take(6).read_to_end(&mut magic)?;
    file.rewind()?;
    let compression = Compression::of(&magic);
    let walked = if compression == Compression::None {
        walk.of(tar::Archive::new(PaxTap::new(file)).entries_with_seek().map_err(fail)?, None, visit)
    } else {
        let limit = expansion_limit(file.metadata()?.len());
        let bytes = compression.reader(Stopping { bytes: file, cancel }).map_err(fail)?;
        let tap = PaxTap::new(Bounded::new(bytes, limit));
        walk.of(tar::Archive::new(tap).entries().map_err(fail)?, None, visit)
    };
    // What a reader that was stopped says is not the archive's fault.
    if cancel.is_cancelled() { Err(TransportError::Cancelled) } else { walked.map(|_| ()) }
}

struct Walk<'a> {
    input: &'a str,
    is_list: bool,
    cancel: &'a Cancel,
}

impl Walk<'_> {
    fn of<R: Read>(
        &self,
        entries: tar::Entries<'_, R>,
        within: Option<&str>,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, TransportError> {
        let fail = |source| TransportError::Archive { input: self.input.to_owned(), source };
        for entry in entries {
            if self.cancel.is_cancelled() {
                return Err(TransportError::Cancelled);
            }
            let mut entry = entry.map_err(fail)?;
            let path = normal(&entry.path_bytes());
            let kind = entry.header().entry_type();
            let is_symlink = kind.is_symlink();
            let link = match entry.link_name_bytes() {
                Some(target) if is_symlink || kind.is_hard_link() => {
                    Some(link_target(&path, &target, is_symlink))
                }
                _ if !kind.is_file() => continue,
                _ => None,
            };
            let flow = if self.is_list && within.is_none() && is_nested(&path) {
                let mut inner = tar::Archive::new(PaxTap::new(&mut entry as &mut dyn Read));
                self.of(inner.entries().map_err(fail)?, Some(&path), visit)?
            } else {
                visit(Member { within, path, size: entry.size(), link, bytes: &mut entry })?
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What is known while an archive is looked at.
struct Found<'a> {
    input: &'a str,
    /// Bytes of names and JSON so far.
    total: u64,
    outer: Listing,
    nested: Vec<(String, Listing)>,
}

impl Found<'_> {
    /// Reads what may be JSON; everything else is passed over.
    fn take(&mut self, member: Member<'_>) -> Result<(), TransportError> {
        let fail = |source| TransportError::Archive { input: self.input.to_owned(), source };
        let (path, size) = (member.path, member.size);
        let mut kept = path.len() as u64;
        let mut start = Vec::new();
        let mut json = None;
        if member.link.is_none() {
            member.bytes.take(6).read_to_end(&mut start).map_err(fail)?;
            let is_small = is_small(&path) && size <= JSON_LIMIT;
            if is_small || (start.starts_with(b"{") && size <= BLOB_LIMIT && !is_needless(&path)) {
                let mut bytes = start.clone();
                member.bytes.read_to_end(&mut bytes).map_err(fail)?;
                json = Some(bytes).filter(|bytes| is_small || is_of_image(bytes));
                kept += json.as_ref().map_or(0, Vec::len) as u64;
            }
        }
        self.total += kept;
        if self.total > TOTAL_LIMIT {
            let (input, limit) = (self.input.to_owned(), TOTAL_LIMIT);
            return Err(TransportError::TooLarge { input, limit, what: "names and JSON" });
        }
        let listing = match (member.within, self.nested.last()) {
            (None, _) => &mut self.outer,
            (Some(outer), Some((last, _))) if outer == last => {
                &mut self.nested.last_mut().expect("it is there").1
            }
            (Some(outer), _) => {
                self.nested.push((outer.to_owned(), Listing::default()));
                &mut self.nested.last_mut().expect("it was just pushed").1
            }
        };
        if let Some(target) = member.link {
            listing.links.insert(path, target);
            return Ok(());
        }
        json.and_then(|json| listing.json.insert(path.clone(), json));
        listing.files.insert(path, Part { size, compression: Compression::of(&start) });
        Ok(())
    }
}

/// Whether JSON is a manifest, an index or a config, by what is in it; what it says is understood later.
fn is_of_image(json: &[u8]) -> bool {
    json.split(|byte| *byte == b'"').any(|word| KEYS.contains(&word))
}
