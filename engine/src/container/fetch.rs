//! The two steps of container images: blobs are fetched, and an image's files are put together.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache::Table;
use solver::{
    BlobDigest, ContainerImageOp, ContentDigest, ContentRead, Descriptor, Event, Hasher, Op, Step,
    StepOutcome, StoreContent, TreeDigest, VertexDigest, VertexIndex,
};

use super::archive::Archives;
use super::places::{self, Place};
use super::resolve::ResolvedImage;
use crate::build::Built;
use crate::contents::{Location, content_digest};
use crate::delta::OpenDir;
use crate::error::{BuildError, OpError};
use crate::plan::Planned;
use crate::registry::{LayerSource, Repository};
use crate::session::Session;
use crate::tree::{Entry, Meta, Node, TreeError, Trees, components};

/// What a directory of a registry's store has, and a file (spec §3.6).
const DIR_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o600;

/// Where blobs come from that the store does not have.
#[derive(Debug, Default)]
pub(crate) struct BlobSources {
    /// Manifests and indexes.
    pub(super) small: HashMap<BlobDigest, Vec<u8>>,
    /// Repositories that have a blob, best first.
    pub(super) repositories: HashMap<BlobDigest, Vec<Repository>>,
    /// Blobs of images that are in archives.
    pub(super) archived: HashSet<BlobDigest>,
}

impl BlobSources {
    /// Adds what an image is made of.
    pub(super) fn add(&mut self, image: &ResolvedImage) {
        for manifest in [&image.root, &image.manifest] {
            self.small.insert(manifest.blob.digest, manifest.bytes.clone());
        }
        if image.is_archived {
            self.archived.extend(image.blobs.iter().map(|blob| blob.digest));
        }
        for blob in &image.blobs {
            let known = self.repositories.entry(blob.digest).or_default();
            let new = image.repositories.iter().filter(|one| !known.contains(one)).cloned();
            let new: Vec<_> = new.collect();
            known.extend(new);
        }
    }
}

impl Session<'_> {
    /// The content of a blob whose bytes are at hand, readable from here on.
    pub(crate) fn blob_at_hand(&self, blob: &Descriptor) -> Option<ContentDigest> {
        if let Some(bytes) = self.blob_sources.small.get(&blob.digest) {
            let content = content_digest(bytes);
            self.contents.add(content, Location::Inline(bytes.as_slice().into()));
            return Some(content);
        }
        places::at_hand(self.store, &self.contents, blob)
    }

    /// Makes sure that a blob's bytes are at hand.
    ///
    /// # Errors
    /// When nobody has it, or what comes is something else.
    pub(crate) fn fetch_blob(&self, index: VertexIndex, blob: &Descriptor) -> Result<(), OpError> {
        if self.blob_at_hand(blob).is_some() {
            return Ok(());
        }
        let vertex = self.graph.digest(index);
        let total_bytes = Some(blob.size);
        let done = std::sync::atomic::AtomicU64::new(0);
        let progress = |more| {
            let done_bytes = done.fetch_add(more, std::sync::atomic::Ordering::Relaxed) + more;
            self.events.event(Event::Progress { vertex, done_bytes, total_bytes });
        };
        let is_at_hand = || {
            // Another build that had it may have committed it as part of a layer.
            self.store.refresh();
            self.blob_at_hand(blob).is_some()
        };
        let Some(content) = self.source_of(blob).fetch_content(blob, &progress, &is_at_hand)? else {
            return Ok(());
        };
        lock(&self.downloaded).insert(blob.digest);
        self.store.put(Table::Places, blob.digest.as_bytes(), &Place { content, layer: None });
        self.contents.add(content, places::whole(blob));
        Ok(())
    }

    /// Where a blob can be had.
    pub(super) fn source_of(&self, blob: &Descriptor) -> LayerSource<'_> {
        let repositories = self.blob_sources.repositories.get(&blob.digest).cloned().unwrap_or_default();
        LayerSource { registry: self.bases.registry(), store: self.store, repositories }
    }

    /// Brings blobs that steps will ask for out of archives, in one pass over each.
    ///
    /// # Errors
    /// When an archive lacks one, or has something else in its place.
    pub(crate) fn bring(&self, planned: &Planned, archives: &Archives) -> Result<(), BuildError> {
        let wanted = self.graph.indices().filter_map(|index| match &self.graph.vertex(index).op {
            Op::Blob(blob) if matches!(planned.plan.step(index), Step::Source) => Some(*blob),
            _ => None,
        });
        let wanted: Vec<Descriptor> = wanted
            .filter(|blob| self.blob_sources.archived.contains(&blob.digest))
            .filter(|blob| self.blob_at_hand(blob).is_none())
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut hasher = Hasher::new("images out of archives");
        wanted.iter().for_each(|blob| hasher.bytes(blob.digest.as_bytes()));
        let vertex = VertexDigest::from_bytes(hasher.finish());
        let name = "read container images out of archives".to_owned();
        self.events.event(Event::Started { vertex, name: name.clone() });
        let done = std::cell::Cell::new(0);
        let total_bytes = Some(wanted.iter().map(|blob| blob.size).fold(0, u64::saturating_add));
        let progress = |more| {
            done.set(done.get() + more);
            self.events.event(Event::Progress { vertex, done_bytes: done.get(), total_bytes });
        };
        let brought = archives.bring(self.store, &wanted, &self.options.cancel, &progress);
        let outcome = if brought.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
        self.events.event(Event::Finished { vertex, name, outcome });
        brought?;
        lock(&self.downloaded).extend(wanted.iter().map(|blob| blob.digest));
        Ok(())
    }

    /// The files of a container image, whose blobs are at hand, and what they are made of.
    ///
    /// # Errors
    /// When a blob has gone meanwhile.
    pub(crate) fn container_image(
        &self,
        index: VertexIndex,
        op: &ContainerImageOp,
    ) -> Result<(TreeDigest, Vec<ContentRead>), OpError> {
        self.files_of(index, op, &|blob| self.blob_at_hand(blob))
    }

    /// The same, where somebody else knows the contents of blobs.
    pub(super) fn files_of(
        &self,
        index: VertexIndex,
        op: &ContainerImageOp,
        content_of: &dyn Fn(&Descriptor) -> Option<ContentDigest>,
    ) -> Result<(TreeDigest, Vec<ContentRead>), OpError> {
        let (mut root, mut reads) = (OpenDir::root(), Vec::new());
        for file in &op.files {
            let (content, size) = match &file.content {
                StoreContent::Link(digest) => self.link(digest),
                StoreContent::Input(input) => {
                    let blob = self.blob_of(index, *input);
                    let content = content_of(&blob).ok_or(OpError::BlobGone { digest: blob.digest })?;
                    let path = file.path.clone().into_bytes();
                    reads.push(ContentRead::Subtree {
                        source: *input,
                        path,
                        digest: *content.as_bytes(),
                        unpack: false,
                    });
                    (content, blob.size)
                }
            };
            let entry = Entry { meta: Meta::with_mode(FILE_MODE), node: Node::File { content, size } };
            put(&mut root, &self.trees, &file.path, Some(entry))?;
        }
        for path in &op.empty_dirs {
            put(&mut root, &self.trees, path, None)?;
        }
        Ok((root.finish(&self.trees), reads))
    }

    /// Remembers where blobs stand in the layers that were made, and drops what was downloaded for them.
    ///
    /// # Errors
    /// When a directory is missing.
    pub(crate) fn settle(&self, built: &Built) -> Result<(), TreeError> {
        if built.layers_made == 0 {
            return Ok(());
        }
        let downloaded = lock(&self.downloaded);
        for layer in built.images.iter().flat_map(|image| &image.layers) {
            let delta: Option<TreeDigest> = self.store.get(Table::LayerIndex, layer.blob.digest.as_bytes());
            if let Some(delta) = delta {
                let is_dropped = |blob: &BlobDigest| downloaded.contains(blob);
                places::settle(self.store, &self.trees, &delta, layer, self.options.times, &is_dropped)?;
            }
        }
        Ok(())
    }

    /// The content and the size of a link, readable from here on.
    fn link(&self, digest: &BlobDigest) -> (ContentDigest, u64) {
        let text = digest.to_string().into_bytes();
        let (content, size) = (content_digest(&text), text.len() as u64);
        self.contents.add(content, Location::Inline(text.into()));
        (content, size)
    }

    /// Whether everything a container image is made of is at hand. What is can be read from here on, for a layer that it
    /// shares with others.
    pub(crate) fn has_blobs(&self, index: VertexIndex, op: &ContainerImageOp) -> bool {
        for file in &op.files {
            if let StoreContent::Link(digest) = &file.content {
                self.link(digest);
            }
        }
        op.inputs().all(|input| self.blob_at_hand(&self.blob_of(index, input)).is_some())
    }

    /// Fetches what was left to an image, and could not come the short way.
    ///
    /// # Errors
    /// As [`Self::fetch_blob`].
    pub(crate) fn fetch_rest(&self, index: VertexIndex, op: &ContainerImageOp) -> Result<(), OpError> {
        op.inputs().try_for_each(|input| {
            let blob = self.blob_of(index, input);
            self.fetch_blob(self.graph.inputs(index)[input], &blob)
        })
    }

    pub(super) fn blob_of(&self, index: VertexIndex, input: usize) -> Descriptor {
        self.blob(self.graph.inputs(index)[input])
    }

    /// The blob that a vertex stands for.
    pub(super) fn blob(&self, index: VertexIndex) -> Descriptor {
        match &self.graph.vertex(index).op {
            Op::Blob(blob) => *blob,
            _ => unreachable!("the inputs of a container image are blobs"),
        }
    }
}

fn lock(downloaded: &Mutex<HashSet<BlobDigest>>) -> MutexGuard<'_, HashSet<BlobDigest>> {
    // Only whole digests are put behind it.
    downloaded.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a file, or an empty directory, at a path.
fn put(root: &mut OpenDir, trees: &Trees<'_>, path: &str, file: Option<Entry>) -> Result<(), TreeError> {
    let meta = Meta::with_mode(DIR_MODE);
    let mut names: Vec<&[u8]> = components(path.as_bytes()).collect();
    let last = file.as_ref().and_then(|_| names.pop());
    let mut dir = root;
    for name in names {
        dir = dir.dir(trees, name, &meta)?;
    }
    if let (Some(name), Some(entry)) = (last, file) {
        dir.put(trees, name, entry)?;
    }
    Ok(())
}
