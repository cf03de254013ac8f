//! Large files in pieces: hashed on several threads, and known piece by piece, so that a change stays where it is.
//!
//! A piece's digest is the BLAKE3 chaining value of the subtree it makes up in its file (the BLAKE3 paper, §2.1): the
//! pieces of a file together give the digest of the whole, and prove what each of them holds.

use blake3::hazmat::{HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use solver::ContentDigest;

/// Length of a piece in bytes: a power of two, so that each is a whole subtree.
pub(crate) const PIECE: u64 = 1 << 20;
/// Files larger than this are known by their pieces, in bytes.
pub(crate) const LARGE: u64 = 4 << 20;

/// Digest of one piece at its place in its file.
pub(crate) type PieceDigest = [u8; 32];

/// Digest of the piece that starts at `offset`, a multiple of [`PIECE`].
pub(crate) fn piece_digest(offset: u64, bytes: &[u8]) -> PieceDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset).update(bytes);
    hasher.finalize_non_root()
}

/// Digest of a file of `size` bytes, more than one piece; `None` if these are not its pieces by their number.
pub(crate) fn whole(pieces: &[PieceDigest], size: u64) -> Option<ContentDigest> {
    if pieces.len() < 2 || pieces.len() as u64 != size.div_ceil(PIECE) {
        return None;
    }
    let (left, right) = halves(pieces, size);
    Some(ContentDigest::from_bytes(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()))
}

fn halves(pieces: &[PieceDigest], size: u64) -> (PieceDigest, PieceDigest) {
    let left = left_subtree_len(size);
    let (first, second) = pieces.split_at((left / PIECE) as usize);
    (subtree(first, left), subtree(second, size - left))
}

fn subtree(pieces: &[PieceDigest], size: u64) -> PieceDigest {
    if let [piece] = pieces {
        return *piece;
    }
    let (left, right) = halves(pieces, size);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_digest_of_the_whole() {
        for size in
            [PIECE + 1, 2 * PIECE - 1, 2 * PIECE, 3 * PIECE + 7, 5 * PIECE, 8 * PIECE + 1023, 13 * PIECE]
        {
            let bytes: Vec<u8> = (0..size).map(|i| (i * i / 7 + i) as u8).collect();
            let pieces: Vec<PieceDigest> = bytes
                .chunks(PIECE as usize)
                .enumerate()
                .map(|(n, piece)| piece_digest(n as u64 * PIECE, piece))
                .collect();
            let expected = ContentDigest::from_bytes(*blake3::hash(&bytes).as_bytes());
            assert_eq!(whole(&pieces, size), Some(expected), "{size}");
            assert_eq!(whole(&pieces[1..], size), None);
        }
        assert_eq!(whole(&[], 0), None);
        assert_eq!(whole(&[[0; 32]], 5), None);
    }
}
