//! A remote cache in a registry: a tag, its manifest, and blobs. Nothing but the distribution-spec is asked for.
//!
//! Registries cannot be asked to replace a tag only if it is still what it was. So the tag is looked at right before and some time after: who
//! finds another manifest there than their own unites with it. Mirrors are not asked: what they know may be of yesterday.

use std::collections::HashSet;
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cache::at_once;
use cache::remote::{HEAD_LIMIT, Head, Publication, Published, Remote, RemoteError};
use solver::{BlobDigest, Descriptor};

use super::Registry;
use super::api::RawManifest;
use super::error::RegistryError;
use super::mirrors::Place;
use super::reference::{Reference, Repository};
use super::upload::{Arrival, OpenBlob};
use crate::images::ManifestKind;
use crate::net::FetchError;
use crate::oci;
use crate::remote::{Content, EMPTY, InImage, Manifest};

/// Requests for blobs at once.
const AT_ONCE: usize = 6;
/// Most images of an index that are looked at for the layers they have.
const INSTANCES: usize = 64;
/// How long another writer may take from looking at the tag to replacing it, at least and at most.
const SHORTEST_WINDOW: Duration = Duration::from_millis(50);
const LONGEST_WINDOW: Duration = Duration::from_secs(2);

/// A cache under a tag of a registry.
#[derive(Debug)]
pub struct RegistryRemote<'a> {
    registry: &'a Registry,
    reference: Reference,
    /// What the tag led to when it was last read.
    seen: Mutex<Option<Seen>>,
    /// Whether others wrote at the same time: their parts may stand where those of the manifest should.
    is_contended: AtomicBool,
    /// Whether an image under the tag is read for the cache in it.
    reads_images: bool,
}

#[derive(Debug, Clone)]
struct Seen {
    digest: BlobDigest,
    /// Whether it is an image with a cache in it.
    is_image: bool,
    manifest: Manifest,
    head: Option<Vec<u8>>,
}

impl<'a> RegistryRemote<'a> {
    /// A cache under a tag. Nothing is asked yet.
    pub fn new(registry: &'a Registry, reference: &Reference) -> Self {
        let tag = reference.tag.clone().or_else(|| Some("latest".to_owned()));
        let reference = Reference { tag, digest: None, ..reference.clone() };
        let is_contended = AtomicBool::new(false);
        Self { registry, reference, seen: Mutex::default(), is_contended, reads_images: false }
    }

    /// The same for somebody who reads: under the tag may be an image that has the cache in it.
    #[must_use]
    pub fn reading_images(self) -> Self {
        Self { reads_images: true, ..self }
    }

    /// Where its layer blobs are.
    pub fn repository(&self) -> &Repository {
        &self.reference.repository
    }

    /// Puts a layer blob there, which is not there yet, as the caller knows: nothing is sent where one of some repositories of
    /// the same registry has it.
    ///
    /// # Errors
    /// When the registry refuses, or the bytes cannot be read.
    pub fn put_blob(
        &self,
        blob: &Descriptor,
        from: &[Repository],
        open: &OpenBlob<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Arrival, RegistryError> {
        let own = self.repository();
        let near = from.iter().filter(|other| other.host == own.host && other.path != own.path);
        let near: Vec<String> = near.map(|other| other.path.clone()).collect();
        self.send_unnamed(blob, &near, open, progress)
    }

    /// The same for a blob that is hardly there: whether it is, is asked with the start of its upload, as if it were taken over from
    /// where it goes. A registry that takes nothing over gets it in any case.
    ///
    /// # Errors
    /// As [`RegistryRemote::put_blob`].
    pub fn offer_blob(
        &self,
        blob: &Descriptor,
        open: &OpenBlob<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Arrival, RegistryError> {
        self.send_unnamed(blob, std::slice::from_ref(&self.repository().path), open, progress)
    }

    /// Sends a blob that the manifest which was read last does not name; `from` are repositories that may have it.
    fn send_unnamed(
        &self,
        blob: &Descriptor,
        from: &[String],
        open: &OpenBlob<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Arrival, RegistryError> {
        if self.names(&blob.digest) {
            return Ok(Arrival::Present);
        }
        self.registry.send_new_blob(self.repository(), blob, from, open, progress)
    }

    /// Whether the manifest that was read last names a blob; then it is there.
    pub(crate) fn names(&self, digest: &BlobDigest) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().is_some_and(|seen| seen.manifest.layers.iter().any(|layer| layer.digest == *digest))
    }

    /// Whether a layer may be there that a record needs: an image has its own, and no others.
    pub(crate) fn may_have(&self, digest: &BlobDigest) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_image = seen.as_ref().is_some_and(|seen| seen.is_image);
        drop(seen);
        !is_image || self.names(digest)
    }

    /// The cache in an image, and the layers of all its instances.
    fn in_image(&self, raw: &RawManifest) -> Result<Seen, RemoteError> {
        let InImage { head, mut layers, instances } = InImage::read(&raw.bytes)?;
        for instance in instances.into_iter().take(INSTANCES) {
            let reference = Reference { digest: Some(instance), ..self.reference.clone() };
            let manifest = self.registry.manifest_at(&self.place(), &reference).map_err(remote)?;
            layers.extend(InImage::layers(&manifest.bytes)?);
        }
        let manifest = Manifest { head: oci::described(&head), layers, parts: Vec::new() };
        Ok(Seen { digest: raw.blob.digest, is_image: true, manifest, head: Some(head) })
    }

    fn place(&self) -> Place {
        Place::itself(&self.reference.repository)
    }

    /// The digest of the tag's manifest; `None` where there is none.
    fn digest(&self) -> Result<Option<BlobDigest>, RemoteError> {
        match self.registry.digest_at(&self.place(), &self.reference) {
            Ok(Some(digest)) => Ok(Some(digest)),
            // It does not say; then its bytes do.
            Ok(None) => Ok(self.read()?.map(|manifest| manifest.blob.digest)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(remote(error)),
        }
    }

    fn read(&self) -> Result<Option<RawManifest>, RemoteError> {
        match self.registry.manifest_at(&self.place(), &self.reference) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(remote(error)),
        }
    }

    fn bytes(&self, blob: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        let mut bytes = Vec::new();
        let taken = self.registry.fetch_blob(&self.place(), blob, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        });
        taken.map_err(remote)?;
        Ok(bytes)
    }

    fn head_bytes(&self, head: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        if head.size > HEAD_LIMIT {
            return Err(RemoteError::TooLarge { what: "head", size: head.size, limit: HEAD_LIMIT });
        }
        let bytes = self.bytes(head)?;
        let found = oci::described(&bytes).digest;
        let expected = head.digest;
        if found == expected { Ok(bytes) } else { Err(RemoteError::Digest { expected, found }) }
    }

    /// Sends objects that are not there.
    fn send(&self, objects: &[(Descriptor, &[u8])]) -> Result<(), RemoteError> {
        let sent = at_once(objects, AT_ONCE, |(object, bytes)| {
            let open = || Ok(Box::new(Cursor::new(bytes.to_vec())) as _);
            self.registry.send_new_blob(self.repository(), object, &[], &open, &|_| {})
        });
        sent.into_iter().try_for_each(|sent| sent.map(drop)).map_err(remote)
    }

    /// Puts the manifests of a publication there, the tag after its parts.
    fn tag(&self, content: &Content<'_>, known: &[BlobDigest]) -> Result<BlobDigest, RegistryError> {
        let (main, parts) = content.parted();
        let tag = self.reference.asked();
        let part_tag = |n: usize| format!("{tag}-part-{}", n + 1);
        let surplus = parts.len()..known.len();
        let is_contended = self.is_contended.load(Ordering::Relaxed);
        for (n, bytes) in parts.into_iter().enumerate() {
            if is_contended || known.get(n) != Some(&oci::described(&bytes).digest) {
                self.put(part_tag(n), bytes)?;
            }
        }
        let done = self.put(tag.clone(), main)?;
        for n in surplus {
            self.put(part_tag(n), crate::remote::no_part())?;
        }
        Ok(done)
    }

    fn put(&self, tag: String, bytes: Vec<u8>) -> Result<BlobDigest, RegistryError> {
        let reference = Reference { tag: Some(tag), ..self.reference.clone() };
        let manifest = RawManifest::new(&reference.to_string(), bytes, None)?;
        self.registry.put_manifest(&reference, &manifest)?;
        Ok(manifest.blob.digest)
    }

    /// The parts that the manifest read last names.
    fn parts(&self) -> Vec<BlobDigest> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map(|seen| seen.manifest.parts.clone()).unwrap_or_default()
    }

    fn conflict(&self) -> Published {
        self.is_contended.store(true, Ordering::Relaxed);
        Published::Conflict
    }

    /// Which of some blobs are really not there.
    fn missing(&self, blobs: &[Descriptor]) -> Result<Vec<BlobDigest>, RemoteError> {
        let there = at_once(blobs, AT_ONCE, |blob| self.registry.has_blob(self.repository(), &blob.digest));
        let there = there.into_iter().collect::<Result<Vec<bool>, _>>().map_err(remote)?;
        Ok(blobs.iter().zip(there).filter(|(_, is_there)| !is_there).map(|(blob, _)| blob.digest).collect())
    }
}

impl Remote for RegistryRemote<'_> {
    fn name(&self) -> String {
        self.reference.to_string()
    }

    fn head(&self) -> Result<Option<Head>, RemoteError> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Seen { digest, head: Some(bytes), .. }) = seen
            && self.digest()? == Some(digest)
        {
            return Ok(Some(Head { content: Ok(bytes), version: digest.to_string() }));
        }
        let Some(raw) = self.read()? else { return Ok(None) };
        let found = match raw.kind {
            ManifestKind::Index => Err(RemoteError::Foreign { reason: "an index of images".to_owned() }),
            ManifestKind::Image => Manifest::read(&raw.bytes),
        };
        let (content, seen) = match found {
            Err(RemoteError::Foreign { .. }) if self.reads_images => {
                let seen = self.in_image(&raw)?;
                (Ok(seen.head.clone().unwrap_or_default()), seen)
            }
            found => {
                let manifest = found?;
                let content = match self.head_bytes(&manifest.head) {
                    Err(error @ RemoteError::Transport(_)) => return Err(error),
                    content => content,
                };
                let head = content.as_ref().ok().cloned();
                (content, Seen { digest: raw.blob.digest, is_image: false, manifest, head })
            }
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(Some(Head { content, version: raw.blob.digest.to_string() }))
    }

    fn object(&self, object: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        self.bytes(object)
    }

    fn publish(&self, publication: &Publication) -> Result<Published, RemoteError> {
        if self.seen.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|seen| seen.is_image)
        {
            return Err(RemoteError::Foreign { reason: "an image".to_owned() });
        }
        let head = oci::described(&publication.head);
        let mut shards = publication.kept.clone();
        shards.extend(publication.objects.iter().map(|(object, _)| *object));
        shards.sort_by_key(|shard| shard.digest);
        let content = Content { head: &head, shards: &shards, layers: &publication.blobs };
        let known = self.parts();
        let mut objects: Vec<(Descriptor, &[u8])> =
            publication.objects.iter().map(|(object, bytes)| (*object, &bytes[..])).collect();
        objects.push((head, &publication.head));
        if content.has_parts() || !known.is_empty() {
            objects.push((oci::described(EMPTY), EMPTY));
        }
        self.send(&objects)?;
        let start = Instant::now();
        if self.digest()?.map(|digest| digest.to_string()) != publication.based_on {
            return Ok(self.conflict());
        }
        let own = match self.tag(&content, &known) {
            Ok(own) => own,
            // Perhaps a blob is not there, which is said in as many ways as there are registries.
            Err(error @ RegistryError::Refused { status: 400 | 404, .. }) => {
                let missing = self.missing(&[&publication.kept[..], &publication.blobs].concat())?;
                return if missing.is_empty() { Err(remote(error)) } else { Ok(Published::Missing(missing)) };
            }
            Err(error) => return Err(remote(error)),
        };
        // Who looked at the tag before it moved has moved it themselves by now.
        std::thread::sleep((start.elapsed() * 2).clamp(SHORTEST_WINDOW, LONGEST_WINDOW));
        if self.digest()? == Some(own) { Ok(Published::Done) } else { Ok(self.conflict()) }
    }

    fn has_blobs(&self, blobs: &[Descriptor]) -> Result<Vec<bool>, RemoteError> {
        let asked: Vec<Descriptor> = blobs.iter().filter(|blob| !self.names(&blob.digest)).copied().collect();
        let missing: HashSet<BlobDigest> = self.missing(&asked)?.into_iter().collect();
        Ok(blobs.iter().map(|blob| !missing.contains(&blob.digest)).collect())
    }
}

/// What is wrong with what is kept, or that it cannot be had.
fn remote(error: RegistryError) -> RemoteError {
    match error {
        RegistryError::BlobUnknown { digest, .. } => RemoteError::Missing { digest },
        // What is shorter than stated has no byte where the rest was asked for.
        RegistryError::Size { .. }
        | RegistryError::Net(FetchError::TooLarge { .. })
        | RegistryError::Refused { status: 416, .. } => {
            RemoteError::Damaged { what: "object", reason: "it has another size than its descriptor says" }
        }
        other => RemoteError::Transport(Box::new(other)),
    }
}
