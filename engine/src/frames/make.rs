//! A frame's bytes: tar, then compressed, the same wherever it is made.

use std::io;

use solver::{ContentDigest, MediaType};

use super::buffers::FrameBuffer;
use super::cut::{Frame, LONGEST, Part, Piece, identity};
use super::{FrameError, LayerCompression, LayerWriter, changed};
use crate::layer;
use crate::pieces::{PieceDigest, piece_digest};
use crate::tree::Node;

/// What a frame became.
pub(crate) struct Made {
    pub(super) tar: FrameBuffer,
    /// `None` where the tar is the blob.
    pub(super) blob: Option<FrameBuffer>,
    pub(super) identity: Option<[u8; 32]>,
    /// A piece that was read for the first time: only all of them together show that the file is what it was.
    pub(super) read: Option<(Piece, PieceDigest)>,
}

/// Says whether bytes are a content.
type Check<'a> = &'a dyn Fn(&[u8]) -> bool;

impl LayerWriter<'_> {
    /// Makes a frame from the files it is of.
    pub(super) fn made(&self, frame: &Frame) -> Result<Made, FrameError> {
        let mut tar = FrameBuffer::with_room(frame.room());
        let mut read = None;
        for part in &frame.parts {
            match part {
                Part::Entry { path, entry } => {
                    layer::write_header(&mut tar, path, entry, self.times);
                    if let Node::File { content, size } = entry.node
                        && size <= LONGEST
                    {
                        let start = tar.len();
                        self.append(&mut tar, &content, path, 0, size)?;
                        if *blake3::hash(&tar[start..]).as_bytes() != *content.as_bytes() {
                            return Err(self.not_as_known(&content, path));
                        }
                        layer::pad(&mut tar);
                    }
                }
                Part::Link { path, entry, target } => {
                    layer::write_hard_link(&mut tar, path, entry, target, self.times);
                }
                Part::Piece(piece) => {
                    let start = tar.len();
                    self.append(&mut tar, &piece.content, &piece.path, piece.offset, piece.length())?;
                    let found = piece_digest(piece.offset, &tar[start..]);
                    match piece.digest {
                        Some(digest) if digest != found => {
                            return Err(self.not_as_known(&piece.content, &piece.path));
                        }
                        Some(_) => {}
                        None => read = Some((piece.clone(), found)),
                    }
                    if piece.is_last() {
                        layer::pad(&mut tar);
                    }
                }
            }
        }
        if frame.ends {
            tar.extend_from_slice(&layer::END);
        }
        let found = read.as_ref().map(|(_, digest)| *digest);
        let identity = frame.identity.or_else(|| identity(self, &frame.parts, frame.ends, found));
        Ok(Made { identity, read, ..compressed(tar, self.compression)? })
    }

    fn not_as_known(&self, content: &ContentDigest, path: &[u8]) -> FrameError {
        self.contents.doubt(content);
        changed(path)
    }

    /// Whether bytes are a frame's tar: headers, contents and padding.
    pub(super) fn is_tar_of(&self, frame: &Frame, tar: &[u8]) -> bool {
        let mut rest = tar;
        let mut take = |length: usize| -> Option<&[u8]> {
            let (front, behind) = rest.split_at_checked(length)?;
            rest = behind;
            Some(front)
        };
        for part in &frame.parts {
            let mut header = Vec::new();
            let (length, is_content, is_padded): (u64, Check<'_>, bool) = match part {
                Part::Entry { path, entry } => {
                    layer::write_header(&mut header, path, entry, self.times);
                    match &entry.node {
                        Node::File { content, size } if *size <= LONGEST => {
                            (*size, &|bytes| *blake3::hash(bytes).as_bytes() == *content.as_bytes(), true)
                        }
                        _ => (0, &|_| true, false),
                    }
                }
                Part::Link { path, entry, target } => {
                    layer::write_hard_link(&mut header, path, entry, target, self.times);
                    (0, &|_| true, false)
                }
                Part::Piece(piece) => (
                    piece.length(),
                    &|bytes| Some(piece_digest(piece.offset, bytes)) == piece.digest,
                    piece.is_last(),
                ),
            };
            if take(header.len()) != Some(&header) || !take(length as usize).is_some_and(is_content) {
                return false;
            }
            let padding = if is_padded { length.next_multiple_of(layer::BLOCK) - length } else { 0 };
            if !take(padding as usize).is_some_and(|zeros| zeros.iter().all(|byte| *byte == 0)) {
                return false;
            }
        }
        let end: &[u8] = if frame.ends { &layer::END } else { &[] };
        rest == end
    }

    /// Appends exactly `length` bytes of a file; one more or less means it changed.
    fn append(
        &self,
        tar: &mut Vec<u8>,
        content: &ContentDigest,
        path: &[u8],
        offset: u64,
        length: u64,
    ) -> Result<(), FrameError> {
        if length == 0 {
            return Ok(());
        }
        let mut file = self.contents.open(content)?;
        if offset > 0 {
            file.seek_to(offset)?;
        }
        if file.append_to(tar, length as usize)? as u64 == length {
            Ok(())
        } else {
            Err(self.not_as_known(content, path))
        }
    }
}

/// One frame of a tar that is there already.
pub(crate) fn compressed(tar: FrameBuffer, compression: LayerCompression) -> Result<Made, FrameError> {
    let blob = match compression.media_type {
        MediaType::Tar => None,
        MediaType::TarGzip => Some(gzip(&tar, compression.level)?),
        MediaType::TarZstd => Some(zstd_frame(&tar, compression.level)?),
    };
    Ok(Made { tar, blob, identity: None, read: None })
}

/// One complete zstd frame with a checksum, made by one thread: the same bytes wherever it is made.
fn zstd_frame(tar: &[u8], level: u32) -> io::Result<FrameBuffer> {
    thread_local! {
        static COMPRESSOR: std::cell::RefCell<Option<(u32, zstd::bulk::Compressor<'static>)>> =
            const { std::cell::RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some((made_for, compressor)) if *made_for == level => compressor,
            _ => {
                let mut compressor = zstd::bulk::Compressor::new(level.try_into().unwrap_or(i32::MAX))?;
                compressor.include_checksum(true)?;
                &mut slot.insert((level, compressor)).1
            }
        };
        let mut out = FrameBuffer::with_room(zstd::zstd_safe::compress_bound(tar.len()));
        compressor.compress_to_buffer(tar, &mut *out)?;
        Ok(out)
    })
}

/// One gzip member (RFC 1952 allows any number in a file), without name or time.
fn gzip(tar: &[u8], level: u32) -> io::Result<FrameBuffer> {
    thread_local! {
        static COMPRESSOR: std::cell::RefCell<Option<(u32, libdeflater::Compressor)>> =
            const { std::cell::RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some((made_for, compressor)) if *made_for == level => compressor,
            _ => {
                let wanted = libdeflater::CompressionLvl::new(level.try_into().unwrap_or(i32::MAX))
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no such gzip level"))?;
                &mut slot.insert((level, libdeflater::Compressor::new(wanted))).1
            }
        };
        let bound = compressor.gzip_compress_bound(tar.len());
        let mut out = FrameBuffer::with_room(bound);
        out.resize(bound, 0);
        let length =
            compressor.gzip_compress(tar, &mut out).map_err(|error| io::Error::other(error.to_string()))?;
        out.truncate(length);
        Ok(out)
    })
}
