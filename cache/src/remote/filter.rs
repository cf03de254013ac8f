//! A Bloom filter: a certain miss costs no request. The same hashes give the same bits.

use super::format::KeyHash;

/// Bits a record; with seven probes one lookup in 120 asks in vain.
const BITS_PER_RECORD: usize = 10;
const PROBES: u64 = 7;

/// The bits of a filter for some hashes.
pub(super) fn build<'a>(hashes: impl ExactSizeIterator<Item = &'a KeyHash>) -> Vec<u8> {
    let mut bits = vec![0_u8; (hashes.len() * BITS_PER_RECORD).div_ceil(8)];
    let count = bits.len() as u64 * 8;
    for hash in hashes {
        for place in places(hash, count) {
            bits[place / 8] |= 1 << (place % 8);
        }
    }
    bits
}

/// Whether a hash may be among those of a filter.
pub(super) fn may_have(bits: &[u8], hash: &KeyHash) -> bool {
    let count = bits.len() as u64 * 8;
    count > 0 && places(hash, count).all(|place| bits[place / 8] & (1 << (place % 8)) != 0)
}

/// Where the bits of a hash are. Its first bytes chose the shard; these are others.
fn places(hash: &KeyHash, count: u64) -> impl Iterator<Item = usize> {
    let word = |at: usize| u64::from_le_bytes(*hash[at..].first_chunk().expect("a hash has 32 bytes"));
    let (first, step) = (word(16), word(24) | 1);
    (0..PROBES).map(move |n| (first.wrapping_add(n.wrapping_mul(step)) % count) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(from: u32, count: u32) -> Vec<KeyHash> {
        (from..from + count).map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect()
    }

    #[test]
    fn what_is_in_is_found_and_little_else() {
        for count in [1, 7, 1000] {
            let inside = hashes(0, count);
            let bits = build(inside.iter());
            assert!(inside.iter().all(|hash| may_have(&bits, hash)));
            let wrong = hashes(1_000_000, 10_000).iter().filter(|hash| may_have(&bits, hash)).count();
            assert!(wrong < 300, "{wrong} of 10,000 with {count} records");
        }
        assert!(!may_have(&build([].iter()), &[0; 32]));
    }
}
