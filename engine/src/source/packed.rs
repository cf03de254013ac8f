//! Files that were fetched all at once, kept packed: one blob of the store that brings out whichever are wanted.

use std::io::{self, Read, Write};

use cache::{BlobWriter, CacheError, Store, Table};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use solver::{ContentDigest, DiffId, Layer, MediaType, TreeDigest};

use crate::contents::Contents;
use crate::layer::{self, TimePolicy};
use crate::tree::{Entry, Meta, Node, Trees};

/// How hard it is tried: the blob stays on this machine.
const LEVEL: i32 = 3;

/// What to do about what is noted.
pub(crate) const NOTES_HINT: &str = "add what is missing with an ADD of its own";

/// What is known of something fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Its files.
    pub tree: TreeDigest,
    /// Trees that have the same files, with the blobs they are in.
    pub parts: Vec<(TreeDigest, Layer)>,
    /// What people should know whenever it is used.
    pub notes: Vec<String>,
}

impl Packed {
    /// What an earlier build kept, if all of it is there.
    pub(crate) fn find(store: &Store, trees: &Trees<'_>, key: &[u8; 32]) -> Option<Self> {
        let known: Self = store.get(Table::Packed, key)?;
        let is_here = known
            .parts
            .iter()
            .all(|(tree, layer)| store.blobs().contains(&layer.blob) && trees.load(tree).is_ok());
        (is_here && trees.load(&known.tree).is_ok()).then_some(known)
    }

    /// Keeps it for later builds.
    pub(crate) fn keep(
        &self,
        store: &Store,
        trees: &Trees<'_>,
        key: &[u8; 32],
    ) -> Result<(), crate::tree::TreeError> {
        self.parts
            .iter()
            .map(|(tree, _)| tree)
            .chain([&self.tree])
            .try_for_each(|tree| trees.persist(tree))?;
        store.put(Table::Packed, key, self);
        Ok(())
    }

    /// Makes its files readable.
    pub(crate) fn register(&self, contents: &Contents<'_>) {
        self.parts.iter().for_each(|(tree, layer)| contents.add_image_layer(*tree, layer.clone()));
    }
}

/// A tar on its way into the store.
pub(crate) struct Packer<'store> {
    out: zstd::Encoder<'static, BlobWriter<'store>>,
    hasher: Sha256,
}

impl<'store> Packer<'store> {
    pub(crate) fn new(store: &'store Store) -> Result<Self, CacheError> {
        let out = zstd::Encoder::new(store.blobs().writer()?, LEVEL)?;
        Ok(Self { out, hasher: Sha256::new() })
    }

    /// Appends an entry; for a file the bytes follow.
    pub(crate) fn entry(&mut self, path: &[u8], entry: &Entry, bytes: &[u8]) -> io::Result<()> {
        let mut block = Vec::new();
        layer::write_header(&mut block, path, entry, TimePolicy::Fixed(0));
        block.extend_from_slice(bytes);
        block.resize(block.len().next_multiple_of(512), 0);
        self.write_all(&block)
    }

    /// Ends the tar that [`Packer::entry`] wrote.
    pub(crate) fn end(mut self) -> Result<Layer, CacheError> {
        self.write_all(&[0; 1024])?;
        self.complete()
    }

    /// Ends a tar that was passed through whole.
    pub(crate) fn complete(self) -> Result<Layer, CacheError> {
        let blob = self.out.finish()?.complete()?;
        let diff_id = DiffId::from_bytes(self.hasher.finalize().into());
        Ok(Layer { diff_id, blob, media_type: MediaType::TarZstd, frames: Vec::new() })
    }
}

impl Write for Packer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Passes on what is read.
pub(crate) struct Tee<R, W> {
    pub(crate) inner: R,
    pub(crate) copy: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.copy.write_all(&buffer[..read])?;
        Ok(read)
    }
}

/// A plain file of ours.
pub(crate) fn file(mode: u32, content: ContentDigest, size: u64) -> Entry {
    Entry { meta: Meta::with_mode(mode), node: Node::File { content, size } }
}
