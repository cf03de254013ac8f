//! The short way of a container image's blobs: from the registry right into the layer, hashed for both on the way.
//!
//! The layer's tar is known before any of its bytes are, but for our identity of the blobs: order, headers and sizes follow
//! from the manifest. So large blobs that no other image needs are never files of their own. Whatever does not go
//! smoothly is done the long way, which can do everything: blobs as files, and the layer made of them.

use std::collections::HashMap;
use std::io::{self, Write};

use cache::{NEAR, PrehashedWriter, Table, WorkLock};
use solver::{
    BlobDigest, ContainerImageOp, ContentDigest, ContentRead, Descriptor, DiffId, Event, HardLinks,
    LARGE_BLOB, Layer, MediaType, Op, Step, TreeDigest, VertexIndex,
};

use super::places::Place;
use crate::contents::copy_hashed;
use crate::error::{BuildError, OpError};
use crate::frames::FrameError;
use crate::layer::{self, BLOCK};
use crate::plan::Planned;
use crate::registry::{claim, leave_moved};
use crate::session::Session;
use crate::sha::StreamHash;
use crate::tree::{Entry, Node};

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
    /// Chooses the images whose blobs come the short way: each must be a layer by itself.
    ///
    /// # Errors
    /// When the base has too many layers for any more.
    pub(crate) fn choose_streams(&mut self, planned: &Planned) -> Result<(), BuildError> {
        let makes_layer = self.single_layers(&self.layer_budgets()?);
        let is_chosen = |index: &VertexIndex| {
            matches!(self.graph.vertex(*index).op, Op::ContainerImage(_))
                && matches!(planned.plan.step(*index), Step::Miss(_))
                && makes_layer[index.position()]
        };
        self.streams = self.graph.indices().filter(is_chosen).collect();
        Ok(())
    }

    /// Whether a blob is left to the image that needs it. Small ones come as files of their own; many are under way at once.
    pub(crate) fn is_deferred(&self, index: VertexIndex, blob: &Descriptor) -> bool {
        let is_alone = matches!(self.graph.dependents(index), [only] if self.streams.contains(only));
        is_alone
            && blob.size >= LARGE_BLOB
            && !self.blob_sources.archived.contains(&blob.digest)
            && self.blob_at_hand(blob).is_none()
    }

    /// Fetches an image's large blobs right into its layer. `None` if that is not the way for it.
    ///
    /// # Errors
    /// When the build is cancelled.
    pub(crate) fn stream(
        &self,
        index: VertexIndex,
        op: &ContainerImageOp,
    ) -> Result<Option<(TreeDigest, Vec<ContentRead>)>, OpError> {
        if !self.streams.contains(&index) {
            return Ok(None);
        }
        let mut coming: HashMap<ContentDigest, Coming> = HashMap::new();
        for (input, blob) in op.inputs().map(|input| (input, self.blob_of(index, input))) {
            if self.is_deferred(self.graph.inputs(index)[input], &blob) {
                // Somebody else may be at it, or was: that is for the long way.
                let Some(lock) = claim(self.store, &blob.digest)? else { return Ok(None) };
                coming.insert(stand_in(&blob.digest), Coming { blob, lock, arrived: None });
            }
        }
        if coming.is_empty() {
            return Ok(None);
        }
        match self.write(index, op, &mut coming) {
            Ok(layer) => self.arrived(index, op, coming, &layer).map(Some),
            Err(error) if error.is_cancelled() => Err(error),
            // It is tried again, and fails there if it must.
            Err(_) => Ok(None),
        }
    }

    /// Writes the layer, as [`LayerWriter`](crate::frames::LayerWriter) would with all blobs at hand.
    fn write(
        &self,
        index: VertexIndex,
        op: &ContainerImageOp,
        coming: &mut HashMap<ContentDigest, Coming>,
    ) -> Result<Layer, OpError> {
        let vertex = self.graph.digest(index);
        let total_bytes = Some(coming.values().map(|coming| coming.blob.size).fold(0, u64::saturating_add));
        let mut done_bytes = 0;
        let known = |blob: &Descriptor| self.blob_at_hand(blob).or(Some(stand_in(&blob.digest)));
        let (tree, _) = self.files_of(index, op, &known)?;
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
        index: VertexIndex,
        op: &ContainerImageOp,
        coming: HashMap<ContentDigest, Coming>,
        layer: &Layer,
    ) -> Result<(TreeDigest, Vec<ContentRead>), OpError> {
        for Coming { blob, mut lock, arrived } in coming.into_values() {
            let Some((offset, content)) = arrived else { continue };
            let place = Place { content, layer: Some((layer.blob, offset)) };
            self.store.put(Table::Places, blob.digest.as_bytes(), &place);
            leave_moved(self.store, &mut lock, &layer.blob.digest, offset);
        }
        let (delta, reads) = self.container_image(index, op)?;
        self.keep_layer(&delta, HardLinks::none(), layer)?;
        Ok((delta, reads))
    }
}

/// Stands for the content of a blob that nobody has seen yet. It has the same size in a header.
fn stand_in(blob: &BlobDigest) -> ContentDigest {
    ContentDigest::from_bytes(*blob.as_bytes())
}
