//! Where frames begin and end, and what each is known by.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;
use solver::{ContentDigest, Hasher, TreeDigest};

use super::LayerWriter;
use crate::layer::{self, LAYER_FORMAT};
use crate::pieces::{LARGE, PIECE, PieceDigest};
use crate::tree::{Entry, Node, TreeError, Trees, push_name};

/// Mean length of a frame: large enough to compress well, small enough to make again for one changed file.
const MEAN: u64 = 1 << 20;
/// Longest frame, and the largest file that shares one.
pub(super) const LONGEST: u64 = LARGE;
/// What one entry costs beside its content.
const HEADER_COST: u64 = layer::BLOCK;

/// One entry, or a piece of one too large to share a frame.
#[derive(Debug)]
pub(super) enum Part {
    Entry {
        path: Vec<u8>,
        entry: Entry,
    },
    /// A further name of a file that comes before.
    Link {
        path: Vec<u8>,
        entry: Entry,
        target: Arc<[u8]>,
    },
    Piece(Piece),
}

/// A piece of a large file.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) path: Arc<[u8]>,
    pub(super) content: ContentDigest,
    /// Of the whole file.
    pub(super) size: u64,
    pub(super) offset: u64,
    /// `None` until it is read for the first time.
    pub(super) digest: Option<PieceDigest>,
}

impl Piece {
    pub(super) fn length(&self) -> u64 {
        PIECE.min(self.size - self.offset)
    }

    pub(super) fn is_last(&self) -> bool {
        self.offset + self.length() == self.size
    }
}

/// Parts that are compressed together.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) parts: Vec<Part>,
    /// Whether the archive ends with it.
    pub(super) ends: bool,
    /// Everything its bytes depend on; `None` while a piece's digest is not known.
    pub(super) identity: Option<[u8; 32]>,
}

impl Frame {
    /// What its tar needs, in bytes, but for headers longer than one block.
    pub(super) fn room(&self) -> usize {
        let part = |part: &Part| match part {
            Part::Entry { entry: Entry { node: Node::File { size: size @ ..=LONGEST, .. }, .. }, .. } => {
                HEADER_COST + size.next_multiple_of(layer::BLOCK)
            }
            Part::Entry { .. } | Part::Link { .. } => HEADER_COST,
            Part::Piece(piece) => piece.length().next_multiple_of(layer::BLOCK),
        };
        self.parts.iter().map(part).sum::<u64>() as usize + layer::END.len()
    }

    /// The files it needs, by content and path.
    pub(super) fn files(&self) -> impl Iterator<Item = (ContentDigest, &[u8])> {
        self.parts.iter().filter_map(|part| match part {
            Part::Entry { path, entry: Entry { node: Node::File { content, size: 1..=LONGEST }, .. } } => {
                Some((*content, path.as_slice()))
            }
            Part::Entry { .. } | Part::Link { .. } => None,
            Part::Piece(piece) => Some((piece.content, &*piece.path)),
        })
    }
}

/// Cuts a delta into frames; there is always one that ends the archive.
pub(super) fn cut(writer: &LayerWriter<'_>, delta: &TreeDigest) -> Result<Vec<Frame>, TreeError> {
    let links = Links::new(&writer.links.0);
    let mut cutter = Cutter { writer, links, frames: Vec::new(), parts: Vec::new(), length: 0 };
    for entry in listed(writer.trees, b"", delta)? {
        cutter.add(entry);
    }
    let mut frames = cutter.frames;
    if !cutter.parts.is_empty() || frames.is_empty() {
        frames.push(cutter.parts);
    }
    let last = frames.len() - 1;
    let frame = |(number, parts): (usize, Vec<Part>)| {
        let ends = number == last;
        let identity = identity(writer, &parts, ends, None);
        Frame { parts, ends, identity }
    };
    Ok(frames.into_par_iter().enumerate().map(frame).collect())
}

/// An entry with its path and the hash of it.
struct Listed {
    path: Vec<u8>,
    hash: u64,
    entry: Entry,
}

impl Listed {
    fn new(path: Vec<u8>, entry: Entry) -> Self {
        Self { hash: path_hash(&path), path, entry }
    }
}

/// Everything in and below a directory, in the order of a sorted tar; subdirectories in parallel.
fn listed(trees: &Trees<'_>, path: &[u8], tree: &TreeDigest) -> Result<Vec<Listed>, TreeError> {
    let directory = trees.load(tree)?;
    let at = |name: &[u8]| {
        let mut full = Vec::with_capacity(path.len() + 1 + name.len());
        full.extend_from_slice(path);
        push_name(&mut full, name);
        full
    };
    let subdirs: Vec<(&[u8], &TreeDigest)> = directory
        .entries
        .iter()
        .filter_map(|(name, entry)| match &entry.node {
            Node::Dir(tree) => Some((name, tree)),
            _ => None,
        })
        .collect();
    let below = subdirs.into_par_iter().map(|(name, tree)| listed(trees, &at(name), tree));
    let below = below.collect::<Result<Vec<_>, _>>()?;
    let below_length: usize = below.iter().map(Vec::len).sum();
    let mut listing = Vec::with_capacity(1 + directory.entries.len() + below_length);
    if directory.opaque {
        listing.push(Listed::new(at(b".wh..wh..opq"), opaque_mark()));
    }
    let mut below = below.into_iter();
    for (name, entry) in directory.entries.iter() {
        listing.push(Listed::new(at(name), entry.clone()));
        if matches!(entry.node, Node::Dir(_)) {
            listing.append(&mut below.next().unwrap_or_default());
        }
    }
    Ok(listing)
}

/// Names of files that have several, as they come by in the order of the tar.
struct Links<'a> {
    groups: HashMap<&'a [u8], usize>,
    /// By group: the name its bytes stand under.
    first: Vec<Option<Arc<[u8]>>>,
}

impl<'a> Links<'a> {
    fn new(links: &'a [Vec<Vec<u8>>]) -> Self {
        let names = links
            .iter()
            .enumerate()
            .flat_map(|(group, paths)| paths.iter().map(move |path| (path.as_slice(), group)));
        Self { groups: names.collect(), first: vec![None; links.len()] }
    }

    /// The name that a further one is a link to.
    fn target(&mut self, path: &[u8]) -> Option<Arc<[u8]>> {
        let first = &mut self.first[*self.groups.get(path)?];
        if first.is_none() {
            *first = Some(path.into());
            return None;
        }
        first.clone()
    }
}

struct Cutter<'a> {
    writer: &'a LayerWriter<'a>,
    links: Links<'a>,
    frames: Vec<Vec<Part>>,
    parts: Vec<Part>,
    length: u64,
}

impl Cutter<'_> {
    fn add(&mut self, Listed { path, hash, entry }: Listed) {
        if let Some(target) = self.links.target(&path) {
            self.parts.push(Part::Link { path, entry, target });
            self.length += HEADER_COST;
            return;
        }
        let (size, content) = match entry.node {
            Node::File { size, content } => (size, Some(content)),
            _ => (0, None),
        };
        let cost = HEADER_COST + size.next_multiple_of(layer::BLOCK);
        if self.length > 0 && self.length + cost > LONGEST {
            self.end_frame();
        }
        let large = content.filter(|_| size > LONGEST).map(|content| (path.clone(), content));
        self.parts.push(Part::Entry { path, entry });
        self.length += cost;
        if let Some((path, content)) = large {
            self.end_frame();
            self.add_pieces(&path, content, size);
        } else if u128::from(hash) * u128::from(MEAN) < u128::from(cost) << 64 {
            self.end_frame();
        }
    }

    fn add_pieces(&mut self, path: &[u8], content: ContentDigest, size: u64) {
        let path: Arc<[u8]> = path.into();
        let known = self.writer.contents.pieces(&content, size);
        for (number, offset) in (0..size).step_by(PIECE as usize).enumerate() {
            let digest = known.as_ref().map(|pieces| pieces[number]);
            let piece = Piece { path: Arc::clone(&path), content, size, offset, digest };
            self.frames.push(vec![Part::Piece(piece)]);
        }
    }

    fn end_frame(&mut self) {
        self.frames.push(std::mem::take(&mut self.parts));
        self.length = 0;
    }
}

/// What a frame's bytes depend on. `read` is the digest of its piece where that had to be read to know it.
pub(super) fn identity(
    writer: &LayerWriter<'_>,
    parts: &[Part],
    ends: bool,
    read: Option<PieceDigest>,
) -> Option<[u8; 32]> {
    let mut hasher = Hasher::new("frame");
    hasher.number(LAYER_FORMAT);
    writer.times.feed(&mut hasher);
    writer.compression.feed(&mut hasher);
    hasher.number(ends.into());
    let mut encoded = Vec::new();
    let mut feed = |hasher: &mut Hasher, entry: &Entry| {
        entry.encode_to(&mut encoded);
        hasher.bytes(&encoded);
    };
    for part in parts {
        match part {
            Part::Entry { path, entry } => {
                hasher.bytes(path);
                match entry.node {
                    // Its pieces have frames of their own: the header knows its length only.
                    Node::File { size, .. } if size > LONGEST => {
                        let node = Node::File { content: ContentDigest::from_bytes([0; 32]), size };
                        feed(&mut hasher, &Entry { meta: entry.meta.clone(), node });
                    }
                    // What is in a directory follows it.
                    Node::Dir(_) => {
                        let node = Node::Dir(TreeDigest::from_bytes([0; 32]));
                        feed(&mut hasher, &Entry { meta: entry.meta.clone(), node });
                    }
                    _ => feed(&mut hasher, entry),
                }
            }
            Part::Link { path, entry, target } => {
                hasher.bytes(path);
                feed(&mut hasher, entry);
                hasher.bytes(b"link");
                hasher.bytes(target);
            }
            Part::Piece(piece) => {
                hasher.bytes(&piece.digest.or(read)?);
                hasher.number(piece.length());
                hasher.number(piece.is_last().into());
            }
        }
    }
    Some(hasher.finish())
}

fn opaque_mark() -> Entry {
    let content = crate::contents::content_digest(b"");
    Entry { meta: crate::tree::Meta::with_mode(0o644), node: Node::File { content, size: 0 } }
}

fn path_hash(path: &[u8]) -> u64 {
    let hash = blake3::hash(path);
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
