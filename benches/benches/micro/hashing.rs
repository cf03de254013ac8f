//! The two hashes: SHA-256 names blobs (OCI image-spec, descriptor), BLAKE3 everything of our own.

use divan::Bencher;
use divan::counter::BytesCount;
use sha2::{Digest, Sha256};

/// A small file, a frame, a large file.
const SIZES: [usize; 3] = [4 << 10, 1 << 20, 16 << 20];

#[divan::bench(args = SIZES)]
fn sha256(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = benches::Random::new(1).bytes(size);
    bencher.counter(BytesCount::new(size)).bench(|| Sha256::digest(&bytes));
}

#[divan::bench(args = SIZES)]
fn blake3(bencher: Bencher<'_, '_>, size: usize) {
    let bytes = benches::Random::new(1).bytes(size);
    bencher.counter(BytesCount::new(size)).bench(|| engine::contents::content_digest(&bytes));
}
