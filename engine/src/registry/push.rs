//! Pushing: blobs first, manifests after them, the tag last, so that whoever sees the tag finds everything.

use std::collections::{HashMap, HashSet};

use cache::{Store, try_at_once};
use serde_json::Value;
use solver::{BlobDigest, Descriptor};

use super::Registry;
use super::api::RawManifest;
use super::download::LayerSource;
use super::error::RegistryError;
use super::mirrors::Place;
use super::pull::repositories_of;
use super::reference::{Reference, Repository};
use super::upload::Arrival;
use crate::images::{Images, ImagesError, ManifestKind, Tagged};
use crate::oci::JSON_LIMIT;

/// Blobs worked on at once.
const AT_ONCE: usize = 6;
/// Manifests that one name may lead to.
const MANIFEST_LIMIT: usize = 1000;

/// What a push came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Blobs that were there.
    pub present: usize,
    /// Blobs taken over from other repositories of the registry.
    pub mounted: usize,
    /// Blobs sent.
    pub uploaded: usize,
}

/// Sends an image, or an index and every image in it, to a registry.
///
/// # Errors
/// When a blob cannot be read or the registry refuses; then the tag has not changed.
pub fn push(
    store: &Store,
    registry: &Registry,
    tagged: &Tagged,
    to: &Reference,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Pushed, RegistryError> {
    let push = Push { store, registry, to, progress, remotes: repositories_of(tagged) };
    push.run(tagged).map_err(|error| error.of(to))
}

struct Push<'a> {
    store: &'a Store,
    registry: &'a Registry,
    to: &'a Reference,
    progress: &'a (dyn Fn(u64) + Sync),
    /// Who has the blobs that are not in the store.
    remotes: Vec<Repository>,
}

impl Push<'_> {
    fn run(&self, tagged: &Tagged) -> Result<Pushed, RegistryError> {
        let manifests = self.manifests(tagged)?;
        let blobs = Self::blobs(&manifests);
        let there = self.there()?;
        let (known, missing): (Vec<&Descriptor>, Vec<&Descriptor>) =
            blobs.iter().partition(|blob| there.contains(&blob.digest) || self.left_there(blob));
        let mut pushed = self.send(&missing, true)?;
        pushed.present += known.len();
        match self.name(&manifests) {
            // Something was gone that had been there; then everything is asked for.
            Err(RegistryError::Refused { status: 400 | 404, .. }) if !known.is_empty() => {
                pushed = self.send(&blobs.iter().collect::<Vec<_>>(), false)?;
                self.name(&manifests)?;
            }
            named => named?,
        }
        Ok(pushed)
    }

    /// Whether a blob did not come here because the repository has it: then nobody needs to be asked.
    fn left_there(&self, blob: &Descriptor) -> bool {
        self.remotes == [self.to.repository.clone()] && !self.store.blobs().contains(blob)
    }

    /// Sees to it that blobs are in the repository. What is not in the store is in some repository, and if that is a neighbour,
    /// `mounts` has it mounted without a question.
    fn send(&self, missing: &[&Descriptor], mounts: bool) -> Result<Pushed, RegistryError> {
        let repository = &self.to.repository;
        let neighbours = if missing.is_empty() { HashMap::new() } else { self.neighbours()? };
        let send = |blob: &&Descriptor| {
            let from = neighbours.get(&blob.digest).map(Vec::as_slice).unwrap_or_default();
            let open = || self.open(blob).map(|file| Box::new(file) as _);
            let is_elsewhere = mounts && !from.is_empty() && !self.store.blobs().contains(blob);
            if is_elsewhere {
                self.registry.send_new_blob(repository, blob, from, &open, self.progress)
            } else {
                self.registry.send_blob(repository, blob, from, &open, self.progress)
            }
        };
        let mut pushed = Pushed::default();
        for arrival in try_at_once(missing, AT_ONCE, send)? {
            match arrival {
                Arrival::Present => pushed.present += 1,
                Arrival::Mounted => pushed.mounted += 1,
                Arrival::Uploaded => pushed.uploaded += 1,
            }
        }
        Ok(pushed)
    }

    /// Puts the manifests there, the tag last.
    fn name(&self, manifests: &[RawManifest]) -> Result<(), RegistryError> {
        let (last, others) = manifests.split_last().expect("an image has a manifest");
        for manifest in others {
            let reference = Reference { digest: Some(manifest.blob.digest), ..self.to.clone() };
            self.registry.put_manifest(&reference, manifest)?;
        }
        self.registry.put_manifest(self.to, last)
    }

    /// All manifests, those an index names before the index.
    fn manifests(&self, tagged: &Tagged) -> Result<Vec<RawManifest>, RegistryError> {
        let mut found = Vec::new();
        self.reach(tagged, tagged.manifest, tagged.media_type().as_ref(), &mut found)?;
        Ok(found)
    }

    fn reach(
        &self,
        tagged: &Tagged,
        blob: Descriptor,
        media_type: &str,
        found: &mut Vec<RawManifest>,
    ) -> Result<(), RegistryError> {
        if found.iter().any(|known| known.blob.digest == blob.digest) {
            return Ok(());
        }
        let bytes = self.store.blobs().read(&blob.digest, JSON_LIMIT)?;
        let manifest = RawManifest::new(&blob.digest.to_string(), bytes, Some(media_type))?;
        if manifest.kind == ManifestKind::Index {
            for (entry, media_type) in entries(&manifest.bytes, "manifests") {
                self.reach(tagged, entry, &media_type, found)?;
            }
        }
        if found.len() == MANIFEST_LIMIT {
            return Err(too_many(tagged));
        }
        found.push(manifest);
        Ok(())
    }

    /// Configs and layers of all manifests, each once.
    fn blobs(manifests: &[RawManifest]) -> Vec<Descriptor> {
        let mut seen = HashSet::new();
        let mut blobs = Vec::new();
        for manifest in manifests.iter().filter(|manifest| manifest.kind == ManifestKind::Image) {
            let named =
                entries(&manifest.bytes, "layers").into_iter().chain(entries(&manifest.bytes, "config"));
            for (blob, _) in named {
                if seen.insert(blob.digest) {
                    blobs.push(blob);
                }
            }
        }
        // The largest first, so that nobody waits for one at the end.
        blobs.sort_by_key(|blob| (std::cmp::Reverse(blob.size), blob.digest));
        blobs
    }

    /// Blobs that the tag's present image needs: they are there, and need not be asked for one by one.
    fn there(&self) -> Result<HashSet<BlobDigest>, RegistryError> {
        if self.to.tag.is_none() {
            return Ok(HashSet::new());
        }
        // A mirror says nothing of what is where this goes to.
        let place = Place::itself(&self.to.repository);
        match self.registry.manifest_at(&place, &Reference { digest: None, ..self.to.clone() }) {
            Ok(manifest) if manifest.kind == ManifestKind::Image => {
                let named =
                    entries(&manifest.bytes, "layers").into_iter().chain(entries(&manifest.bytes, "config"));
                Ok(named.map(|(blob, _)| blob.digest).collect())
            }
            // Whatever is there now is about to be replaced.
            Ok(_)
            | Err(
                RegistryError::NotFound { .. } | RegistryError::Json { .. } | RegistryError::Digest { .. },
            ) => Ok(HashSet::new()),
            // Some let people push who may not pull.
            Err(RegistryError::Unauthorized { .. }) => Ok(HashSet::new()),
            Err(error) => Err(error),
        }
    }

    /// For blobs, the repositories of the same registry that should have them: those of images this store knows.
    fn neighbours(&self) -> Result<HashMap<BlobDigest, Vec<String>>, RegistryError> {
        let own = &self.to.repository;
        let mut found: HashMap<BlobDigest, Vec<String>> = HashMap::new();
        for line in Images::new(self.store).list()? {
            let named = line.name.as_deref().filter(|_| line.origin.is_some()).and_then(Repository::of);
            let repositories: Vec<Repository> = repositories_of(&line).into_iter().chain(named).collect();
            let mut near: Vec<String> = repositories
                .into_iter()
                .filter(|other| other.host == own.host && other.path != own.path)
                .map(|other| other.path)
                .collect();
            near.dedup();
            if near.is_empty() {
                continue;
            }
            // What cannot be read helps nobody; the push does not need it.
            let manifests = self.manifests(&line).unwrap_or_default();
            for blob in Self::blobs(&manifests) {
                let known = found.entry(blob.digest).or_default();
                known.extend(near.iter().filter(|path| !known.contains(path)).cloned().collect::<Vec<_>>());
            }
        }
        Ok(found)
    }

    /// A blob's bytes, fetched first if they are elsewhere.
    fn open(&self, blob: &Descriptor) -> Result<std::fs::File, RegistryError> {
        if !self.store.blobs().contains(blob) && !self.remotes.is_empty() {
            let source = LayerSource {
                registry: self.registry,
                store: self.store,
                repositories: self.remotes.clone(),
            };
            source.fetch_blob(blob)?;
        }
        Ok(self.store.blobs().open(&blob.digest)?.into_parts().0)
    }
}

/// Descriptors under a key of a manifest, with their media types; what has no SHA-256 digest cannot be here.
fn entries(manifest: &[u8], key: &str) -> Vec<(Descriptor, String)> {
    let json: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let one = |entry: &Value| {
        let digest = entry["digest"].as_str()?.parse().ok()?;
        let media_type = entry["mediaType"].as_str().unwrap_or_default().to_owned();
        Some((Descriptor { digest, size: entry["size"].as_u64()? }, media_type))
    };
    match &json[key] {
        Value::Array(all) => all.iter().filter_map(one).collect(),
        entry => one(entry).into_iter().collect(),
    }
}

fn too_many(tagged: &Tagged) -> RegistryError {
    RegistryError::Images(ImagesError::Json {
        what: "the index",
        name: tagged.name.clone().unwrap_or_default(),
        reason: format!("it leads to more than {MANIFEST_LIMIT} manifests"),
    })
}
