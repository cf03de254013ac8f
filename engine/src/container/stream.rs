//! The short way of a container image's blobs: from the registry right into the layer, hashed for both on the way.
//!
//! The layer's tar is known before any of its bytes are, but for our identity of the blobs: order, headers and sizes follow
//! from the manifests. So large blobs that no other image needs are never files of their own. Images that share a layer
//! wait for the first of them, which writes it. Whatever does not go smoothly is done the long way, which can do everything:
//! blobs as files, and the layer made of them.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use cache::{NEAR, PrehashedWriter, Table, WorkLock};
use solver::{
    BlobDigest, ContainerImageOp, ContentDigest, ContentRead, Descriptor, DiffId, Event, HardLinks,
    LARGE_BLOB, Layer, MediaType, Op, TreeDigest, VertexIndex,
};

use super::places::Place;
use crate::chain::Chain;
use crate::contents::copy_hashed;
use crate::error::{BuildError, OpError};
use crate::frames::FrameError;
use crate::group::{Groups, Member, groups, merged};
use crate::layer::{self, BLOCK};
use crate::plan::Planned;
use crate::registry::{claim, leave_moved};
use crate::session::Session;
use crate::sha::StreamHash;
use crate::tree::{Entry, Node};

/// A layer of several images has at most this part of all bytes to come: those of one layer come one after the other, and
/// so many connections should be busy.
const LEAST_AT_ONCE: u64 = 4;
/// A layer has at most so many blobs that come right into it: each holds a lock, which is an open file, until the layer is
/// there. Sixteen layers are written at once, and a process may have 1024 files open as a rule.
const MOST_LOCKS: usize = 32;

/// Which container images are written straight into their layers.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// By the image that writes it.
    layers: HashMap<VertexIndex, Vec<Streamed>>,
    /// All images whose blobs come this way.
    images: HashSet<VertexIndex>,
}

/// An image in a layer that is written this way.
#[derive(Debug)]
struct Streamed {
    image: VertexIndex,
    /// What it adds, where that is a hit.
    known: Option<TreeDigest>,
}

/// A blob that comes into a layer.
struct Coming {
    blob: Descriptor,
    lock: WorkLock,
    /// Where in the layer it begins, and our identity of it, once it is there.
    arrived: Option<(u64, ContentDigest)>,
}

/// A layer that is being written.
struct Sink<'s> {
    out: PrehashedWriter<'s>,
    hash: StreamHash,
}

impl Sink<'_> {
    /// Writes bytes of a blob, which are hashed for the blob too.
    fn write_blob(&mut self, bytes: &[u8], blob: &mut StreamHash) -> io::Result<()> {
        for near in bytes.chunks(NEAR) {
            self.out.write_all(near)?;
            StreamHash::update_both([(&mut self.hash, near), (blob, near)]);
        }
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        let length = self.hash.length().next_multiple_of(BLOCK) - self.hash.length();
        self.write_all(&[0; BLOCK as usize][..length as usize])
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Session<'_> {
    /// Chooses the images whose blobs come the short way, and who writes for whom.
    ///
    /// # Errors
    /// When the base has too many layers for any more.
    pub(crate) fn choose_streams(&mut self, planned: &Planned) -> Result<(), BuildError> {
        let mut streams = Streams::default();
        for (chain, budget) in self.chains.iter().zip(self.layer_budgets()?) {
            let is_missed = |image: &VertexIndex| planned.hit(*image).is_none();
            let all_missed: Vec<VertexIndex> = chain.steps.iter().copied().filter(is_missed).collect();
            if all_missed.is_empty() {
                continue;
            }
            let bytes = |images: &[VertexIndex]| {
                self.blobs_of(images).map(|blob| blob.size).fold(0, u64::saturating_add)
            };
            let most_bytes = bytes(&all_missed) / LEAST_AT_ONCE;
            // Where that cannot be known yet, the long way finds out.
            for group in self.expected_layers(planned, chain, budget).unwrap_or_default() {
                let images = || group.iter().map(|&at| chain.steps[at]);
                let missed: Vec<VertexIndex> = images().filter(is_missed).collect();
                let [first, others @ ..] = &missed[..] else { continue };
                let is_quick = others.is_empty() || bytes(&missed) <= most_bytes;
                let is_few =
                    self.blobs_of(&missed).filter(|blob| blob.size >= LARGE_BLOB).count() <= MOST_LOCKS;
                if is_quick && is_few && missed.iter().all(|image| !streams.images.contains(image)) {
                    let known = |image| planned.hit(image).map(|record| record.delta);
                    let layer = images().map(|image| Streamed { image, known: known(image) });
                    streams.layers.insert(*first, layer.collect());
                    streams.images.extend(missed);
                }
            }
        }
        self.streams = streams;
        Ok(())
    }

    fn blobs_of(&self, images: &[VertexIndex]) -> impl Iterator<Item = Descriptor> {
        images.iter().flat_map(|&image| self.graph.inputs(image)).map(|&input| self.blob(input))
    }

    /// Which of an image's container images will share a layer: that follows from their names and paths.
    fn expected_layers(&self, planned: &Planned, chain: &Chain, budget: usize) -> Result<Groups, OpError> {
        if chain.steps.len() <= budget {
            return Ok((0..chain.steps.len()).map(|at| vec![at]).collect());
        }
        let members = chain.steps.iter().map(|&step| {
            let delta = match planned.hit(step) {
                Some(record) => record.delta,
                None => self.expected(step, &|blob| Some(stand_in(&blob.digest)))?,
            };
            Ok(self.member(step, delta))
        });
        let members = members.collect::<Result<Vec<Member>, OpError>>()?;
        Ok(groups(&self.trees, &members, budget)?)
    }

    /// What an image adds, as far as somebody knows its blobs.
    fn expected(
        &self,
        index: VertexIndex,
        content_of: &dyn Fn(&Descriptor) -> Option<ContentDigest>,
    ) -> Result<TreeDigest, OpError> {
        let Op::ContainerImage(op) = &self.graph.vertex(index).op else {
            unreachable!("only container images are steps beside an image's own")
        };
        Ok(self.files_of(index, op, content_of)?.0)
    }

    /// Who waits for whom although it does not use its result: what writes a layer needs the small blobs of all its images, and
    /// those need what it writes.
    pub(crate) fn stream_order(&self) -> Vec<(VertexIndex, VertexIndex)> {
        let mut order = Vec::new();
        for (&first, layer) in &self.streams.layers {
            for other in layer.iter().map(|one| one.image).filter(|image| *image != first) {
                order.extend(self.graph.inputs(other).iter().map(|&input| (input, first)));
                order.push((first, other));
            }
        }
        order
    }

    /// Whether a blob is left to the image that needs it. Small ones come as files of their own; many are under way at once.
    pub(crate) fn is_deferred(&self, index: VertexIndex, blob: &Descriptor) -> bool {
        let is_alone = matches!(self.graph.dependents(index), [only] if self.streams.images.contains(only));
        is_alone
            && blob.size >= LARGE_BLOB
            && !self.blob_sources.archived.contains(&blob.digest)
            && self.blob_at_hand(blob).is_none()
    }

    /// Fetches the large blobs of a layer's images right into it, if the image is the one that does. `None` if that is not
    /// the way.
    ///
    /// # Errors
    /// When the build is cancelled.
    pub(crate) fn stream(
        &self,
        index: VertexIndex,
        op: &ContainerImageOp,
    ) -> Result<Option<(TreeDigest, Vec<ContentRead>)>, OpError> {
        let Some(images) = self.streams.layers.get(&index) else { return Ok(None) };
        let mut coming: HashMap<ContentDigest, Coming> = HashMap::new();
        for &input in images.iter().flat_map(|one| self.graph.inputs(one.image)) {
            let blob = self.blob(input);
            if self.is_deferred(input, &blob) {
                // Somebody else may be at it, or was: that is for the long way.
                let Some(lock) = claim(self.store, &blob.digest)? else { return Ok(None) };
                coming.insert(stand_in(&blob.digest), Coming { blob, lock, arrived: None });
            }
        }
        if coming.is_empty() {
            return Ok(None);
        }
        // Another build that had one may have committed it since, and its word with it.
        self.store.refresh();
        coming.retain(|_, coming| self.blob_at_hand(&coming.blob).is_none());
        if coming.is_empty() {
            return Ok(None);
        }
        match self.write(index, images, &mut coming) {
            Ok(layer) => {
                self.arrived(images, coming, &layer)?;
                self.container_image(index, op).map(Some)
            }
            Err(error) if error.is_cancelled() => Err(error),
            // It is tried again, and fails there if it must.
            Err(_) => Ok(None),
        }
    }

    /// What the images of a layer add together.
    fn together(
        &self,
        images: &[Streamed],
        content_of: &dyn Fn(&Descriptor) -> Option<ContentDigest>,
    ) -> Result<TreeDigest, OpError> {
        let delta = |one: &Streamed| one.known.map_or_else(|| self.expected(one.image, content_of), Ok);
        let deltas = images.iter().map(delta).collect::<Result<Vec<TreeDigest>, OpError>>()?;
        self.readable(&deltas)?;
        Ok(merged(&self.trees, &deltas)?)
    }

    /// Writes the layer, as [`LayerWriter`](crate::frames::LayerWriter) would with all blobs at hand.
    fn write(
        &self,
        index: VertexIndex,
        images: &[Streamed],
        coming: &mut HashMap<ContentDigest, Coming>,
    ) -> Result<Layer, OpError> {
        let vertex = self.graph.digest(index);
        let total_bytes = Some(coming.values().map(|coming| coming.blob.size).fold(0, u64::saturating_add));
        let mut done_bytes = 0;
        let known = |blob: &Descriptor| self.blob_at_hand(blob).or(Some(stand_in(&blob.digest)));
        let tree = self.together(images, &known)?;
        let out = self.store.blobs().prehashed_writer().map_err(FrameError::from)?;
        let mut sink = Sink { out, hash: StreamHash::default() };
        let mut header = Vec::new();
        self.trees.walk::<OpError>(&tree, &mut |path, entry: &Entry| {
            header.clear();
            layer::write_header(&mut header, path, entry, self.options.times);
            sink.write_all(&header).map_err(FrameError::from)?;
            let Node::File { content, size } = entry.node else { return Ok(()) };
            let offset = sink.hash.length();
            match coming.get_mut(&content) {
                None => {
                    let mut file = self.contents.open(&content)?;
                    let found = copy_hashed(&mut file, &mut sink).map_err(FrameError::from)?;
                    if sink.hash.length() - offset != size || found != content {
                        let path = String::from_utf8_lossy(path).into_owned();
                        return Err(FrameError::Changed { path }.into());
                    }
                }
                Some(coming) => {
                    let content = self.receive(&coming.blob, &mut sink, &mut |bytes| {
                        done_bytes += bytes;
                        self.events.event(Event::Progress { vertex, done_bytes, total_bytes });
                    })?;
                    coming.arrived = Some((offset, content));
                }
            }
            Ok(sink.pad().map_err(FrameError::from)?)
        })?;
        sink.write_all(&layer::END).map_err(FrameError::from)?;
        let size = sink.hash.length();
        let digest = sink.hash.finish();
        let blob = Descriptor { digest: BlobDigest::from_bytes(digest), size };
        sink.out.complete(blob).map_err(FrameError::from)?;
        let diff_id = DiffId::from_bytes(digest);
        Ok(Layer { diff_id, blob, media_type: MediaType::Tar, frames: Vec::new() })
    }

    /// Receives a blob and checks it; our identity of it.
    fn receive(
        &self,
        blob: &Descriptor,
        sink: &mut Sink<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<ContentDigest, OpError> {
        let (mut digest, mut content) = (StreamHash::default(), blake3::Hasher::new());
        self.source_of(blob).receive(blob, &mut |bytes| {
            sink.write_blob(bytes, &mut digest)?;
            content.update(bytes);
            progress(bytes.len() as u64);
            Ok(())
        })?;
        if BlobDigest::from_bytes(digest.finish()) != blob.digest {
            return Err(OpError::BlobGone { digest: blob.digest });
        }
        Ok(ContentDigest::from_bytes(*content.finalize().as_bytes()))
    }

    /// Remembers the layer and where the blobs are in it, and tells those who wait for one.
    fn arrived(
        &self,
        images: &[Streamed],
        coming: HashMap<ContentDigest, Coming>,
        layer: &Layer,
    ) -> Result<(), OpError> {
        for Coming { blob, mut lock, arrived } in coming.into_values() {
            let Some((offset, content)) = arrived else { continue };
            let place = Place { content, layer: Some((layer.blob, offset)) };
            self.store.put(Table::Places, blob.digest.as_bytes(), &place);
            leave_moved(self.store, &mut lock, &layer.blob.digest, offset);
        }
        let delta = self.together(images, &|blob| self.blob_at_hand(blob))?;
        Ok(self.keep_layer(&delta, HardLinks::none(), layer)?)
    }
}

/// Stands for the content of a blob that nobody has seen yet. It has the same size in a header.
fn stand_in(blob: &BlobDigest) -> ContentDigest {
    ContentDigest::from_bytes(*blob.as_bytes())
}
