//! Container images out of archives and directories that were given, found by the names they have there.
//!
//! It looks before it takes: names and manifests are read first, and blobs only when somebody knows which are wanted.
//! Equal digests are equal images, so several archives may each have a part of one, such as a platform.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cache::Store;
use serde_json::Value;
use solver::{BlobDigest, Descriptor};

use crate::cancel::Cancel;
use crate::registry::{RawManifest, Reference, Repository};
use crate::transport::TransportError;
use crate::transport::raw::RawArchive;

/// The images of all archives given, by name.
#[derive(Debug, Default)]
pub struct Archives {
    archives: Vec<RawArchive>,
    /// Every index and manifest of every archive.
    manifests: BTreeMap<BlobDigest, Archived>,
    names: BTreeMap<String, (Repository, BlobDigest)>,
    /// The images that were asked for.
    asked: Mutex<BTreeSet<BlobDigest>>,
}

/// An index or a manifest of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Byte for byte as it is there; made here for an image of a `docker save` archive, which has none.
    pub manifest: RawManifest,
    /// The archive, the first of several.
    pub archive: PathBuf,
}

impl Archives {
    /// Looks at archives and directories. No layer is read, but for compressed ones of `docker save` archives.
    ///
    /// # Errors
    /// When one is no archive of images, an image of it has no name, a manifest of it is damaged, or two images have one
    /// name.
    pub fn open(inputs: &[PathBuf], cancel: &Cancel) -> Result<Self, TransportError> {
        let mut all = Self::default();
        for input in inputs {
            let mut archive = RawArchive::open(input, cancel)?;
            for (digest, manifest) in std::mem::take(&mut archive.manifests) {
                let archived = || Archived { manifest, archive: input.clone() };
                all.manifests.entry(digest).or_insert_with(archived);
            }
            for (reference, digest) in std::mem::take(&mut archive.images) {
                let name = reference.full_name();
                let (_, known) = all.names.entry(name.clone()).or_insert((reference.repository, digest));
                if *known != digest {
                    let first = all.manifests[known].archive.clone();
                    return Err(TransportError::Ambiguous { name, first, second: input.clone() });
                }
            }
            all.archives.push(archive);
        }
        Ok(all)
    }

    /// The image of a name with a tag; or, where there is a digest, the index or manifest of that digest, if it is of an
    /// image of the same repository.
    pub fn find(&self, reference: &Reference) -> Option<&Archived> {
        let (root, found) = match reference.digest {
            None => self.names.get(&reference.full_name()).map(|(_, root)| (*root, *root))?,
            Some(digest) => {
                let mut roots = self.names.values().filter(|(of, _)| *of == reference.repository);
                let (_, root) = roots.find(|(_, root)| self.below(root).contains(&digest))?;
                (*root, digest)
            }
        };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(root);
        self.manifests.get(&found)
    }

    /// The index or manifest of a digest, such as one that the index of an image names. Not every one needs be here.
    pub fn manifest(&self, digest: &BlobDigest) -> Option<&Archived> {
        self.manifests.get(digest)
    }

    /// Brings blobs into the store as pending blobs, in one pass over each archive that has some of them. Each is checked
    /// against its digest and size; nothing else of the archives is kept. `progress` hears how many more bytes were read.
    ///
    /// # Errors
    /// When a blob is in none of the archives, before anything is read; or is not what its descriptor says.
    pub fn bring(
        &self,
        store: &Store,
        wanted: &[Descriptor],
        cancel: &Cancel,
        progress: &dyn Fn(u64),
    ) -> Result<(), TransportError> {
        let mut parts = vec![Vec::new(); self.archives.len()];
        for blob in wanted.iter().filter(|blob| !store.blobs().contains(blob)) {
            match self.archives.iter().position(|archive| archive.has(&blob.digest)) {
                Some(place) => parts[place].push(*blob),
                None => return Err(self.absent(&blob.digest)),
            }
        }
        let parts = self.archives.iter().zip(parts).filter(|(_, part)| !part.is_empty());
        for (archive, part) in parts {
            archive.bring(store, &part, cancel, progress)?;
        }
        Ok(())
    }

    /// Names of images that nobody asked for, by any of their names.
    pub fn unused(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = self.names.iter().filter(|(_, (_, root))| !asked.contains(root));
        unused.map(|(name, _)| name.clone()).collect()
    }

    /// An image and everything its index names.
    fn below(&self, root: &BlobDigest) -> BTreeSet<BlobDigest> {
        let mut found = BTreeSet::new();
        let mut left = vec![*root];
        while let Some(digest) = left.pop() {
            if let Some(archived) = self.manifests.get(&digest)
                && found.insert(digest)
            {
                left.extend(named(&archived.manifest, "manifests"));
            }
        }
        found
    }

    fn absent(&self, blob: &BlobDigest) -> TransportError {
        let has = |digest: &BlobDigest| {
            let manifest = &self.manifests.get(digest)?.manifest;
            let mut blobs = named(manifest, "layers").into_iter().chain(named(manifest, "config"));
            blobs.any(|named| named == *blob).then_some(*digest)
        };
        let mut images = self.names.iter();
        let found = images.find_map(|(name, (_, root))| Some((name, self.below(root).iter().find_map(has)?)));
        let all = || {
            self.archives.iter().map(|one| one.path.display().to_string()).collect::<Vec<_>>().join("`, `")
        };
        let (image, archive) = match found {
            Some((name, of)) => (Some(name.clone()), self.manifests[&of].archive.display().to_string()),
            None => (None, all()),
        };
        TransportError::NotArchived { blob: *blob, image, archive }
    }
}

/// The digests in a field of a manifest: of one descriptor or of several.
fn named(manifest: &RawManifest, field: &str) -> Vec<BlobDigest> {
    // It was JSON when it came in.
    let json: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
    let descriptors = match &json[field] {
        Value::Array(several) => several.as_slice(),
        one => std::slice::from_ref(one),
    };
    descriptors.iter().filter_map(|one| one["digest"].as_str()?.parse().ok()).collect()
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
