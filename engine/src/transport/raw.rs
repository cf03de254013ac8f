//! Archives whose images stay what they are: indexes and manifests byte for byte, blobs one by one and unopened.
//!
//! Only a `docker save` archive has no manifest to keep. One is made of it, the same one that `load` makes.

mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cache::Store;
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor, DiffId};

use self::reader::{Hashed, Reader, compressed_layers};
use super::TransportError;
use super::intake::Intake;
use super::parts::{self, Looked, Parts, each};
use crate::cancel::{Cancel, Stopping};
use crate::decompress::{Bounded, Compression, expansion_limit};
use crate::registry::{RawManifest, Reference};

/// An archive or a directory that was looked at.
#[derive(Debug)]
pub(crate) struct RawArchive {
    pub(crate) path: PathBuf,
    /// The images by their names.
    pub(crate) images: Vec<(Reference, BlobDigest)>,
    /// Every index and manifest that is reached from them and is here.
    pub(crate) manifests: BTreeMap<BlobDigest, RawManifest>,
    is_list: bool,
    blobs: Places,
}

/// Where blobs are, and their sizes.
type Places = BTreeMap<BlobDigest, (String, u64)>;

impl RawArchive {
    /// Looks at an archive. Layers are read only where nothing says what they are: compressed ones of Docker's archives.
    pub(crate) fn open(path: &Path, cancel: &Cancel) -> Result<Self, TransportError> {
        let shown = path.display().to_string();
        let looked = if fs_err::metadata(path)?.is_dir() {
            Looked::of_dir(path)
        } else {
            Looked::of_file(&shown, &mut file(path)?, cancel)?
        };
        let list = looked.list_name();
        let scopes: Vec<(String, &Parts)> = match list {
            None => vec![(String::new(), &looked.parts)],
            Some(_) => looked.nested.iter().map(|(path, parts)| (format!("{path}/"), parts)).collect(),
        };
        let mut unknown = BTreeMap::new();
        for (prefix, parts) in &scopes {
            for (path, part) in compressed_layers(&shown, parts)? {
                unknown.insert(format!("{prefix}{path}"), part);
            }
        }
        let mut hashed = Hashed::new();
        let paths = unknown.keys().map(String::as_str).collect();
        read(path, list.is_some(), paths, cancel, &mut |path, bytes| {
            let (part, bytes) = (unknown[path], &mut Stopping { bytes, cancel });
            let known = content(bytes, part.compression, part.size);
            let fail = |source| TransportError::Archive { input: format!("{shown}: {path}"), source };
            let known =
                known.map_err(
                    |error| if cancel.is_cancelled() { TransportError::Cancelled } else { fail(error) },
                )?;
            hashed.insert(path.to_owned(), known);
            Ok(())
        })?;
        let mut reader = Reader::new(&shown, &hashed);
        for (prefix, parts) in &scopes {
            reader.images(prefix, parts)?;
        }
        if let Some(name) = &list {
            reader.join(name)?;
        }
        let images = reader.named()?;
        let (manifests, blobs) = (reader.manifests, reader.blobs);
        Ok(Self { path: path.to_owned(), images, manifests, is_list: list.is_some(), blobs })
    }

    /// Whether a blob is here.
    pub(crate) fn has(&self, blob: &BlobDigest) -> bool {
        self.blobs.contains_key(blob)
    }

    /// Makes blobs of this archive pending blobs of a store, in one pass; each is what its digest says.
    pub(crate) fn bring(
        &self,
        store: &Store,
        wanted: &[Descriptor],
        cancel: &Cancel,
        progress: &dyn Fn(u64),
    ) -> Result<(), TransportError> {
        let shown = self.path.display();
        let mut by_path: BTreeMap<&str, Descriptor> = BTreeMap::new();
        for blob in wanted {
            let (part, named_by) = (blob.digest.to_string(), shown.to_string());
            let (path, size) =
                self.blobs.get(&blob.digest).ok_or(TransportError::Missing { part, named_by })?;
            if *size != blob.size {
                let part = format!("{shown}: {path}");
                return Err(TransportError::Size { part, expected: blob.size, found: *size });
            }
            by_path.insert(path, *blob);
        }
        let intake = Intake::of_blobs(store, cancel, progress);
        let paths = by_path.keys().copied().collect();
        read(&self.path, self.is_list, paths, cancel, &mut |path, bytes| {
            let blob = by_path[path];
            intake.take(&format!("{shown}: {path}"), bytes, blob.size, Some(blob.digest))?;
            Ok(())
        })
    }
}

/// An archive's file. It is read more than once, which a pipe cannot be.
fn file(path: &Path) -> Result<std::fs::File, TransportError> {
    let unsupported = || TransportError::Unsupported {
        part: path.display().to_string(),
        what: "neither a file nor a directory".to_owned(),
    };
    Ok(parts::open(path)?.ok_or_else(unsupported)?.into_parts().0)
}

/// Reads some files of an archive or a directory, each once, in one pass that ends with the last of them.
fn read(
    path: &Path,
    is_list: bool,
    mut wanted: BTreeSet<&str>,
    cancel: &Cancel,
    visit: &mut dyn FnMut(&str, &mut dyn Read) -> Result<(), TransportError>,
) -> Result<(), TransportError> {
    let shown = path.display().to_string();
    // They were there when the archive was looked at.
    let missing = |part: &str| TransportError::Missing { part: part.to_owned(), named_by: shown.clone() };
    if path.is_dir() {
        for part in wanted {
            if cancel.is_cancelled() {
                return Err(TransportError::Cancelled);
            }
            visit(part, &mut parts::open(&path.join(part))?.ok_or_else(|| missing(part))?)?;
        }
        return Ok(());
    }
    if wanted.is_empty() {
        return Ok(());
    }
    each(&shown, &mut file(path)?, is_list, cancel, &mut |member| {
        let path = member.full_path();
        if member.is_file() && wanted.remove(path.as_str()) {
            visit(&path, member.bytes)?;
        }
        Ok(if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    wanted.first().map_or(Ok(()), |part| Err(missing(part)))
}

/// What a compressed layer is, and what is in it.
fn content(bytes: &mut dyn Read, compression: Compression, size: u64) -> io::Result<(Descriptor, DiffId)> {
    let mut outer = Hashing { bytes, hasher: Sha256::new(), size: 0 };
    let diff_id = {
        let bytes = Bounded::new(compression.reader(&mut outer)?, expansion_limit(size));
        let mut inner = Hashing { bytes, hasher: Sha256::new(), size: 0 };
        io::copy(&mut inner, &mut io::sink())?;
        DiffId::from_bytes(inner.hasher.finalize().into())
    };
    // A decoder may end before its file does.
    io::copy(&mut outer, &mut io::sink())?;
    let digest = BlobDigest::from_bytes(outer.hasher.finalize().into());
    Ok((Descriptor { digest, size: outer.size }, diff_id))
}

/// Hashes what passes.
struct Hashing<R> {
    bytes: R,
    hasher: Sha256,
    size: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.size += read as u64;
        Ok(read)
    }
}
