//! What glibc's allocator learns from how it is used; its settings have no safe call.
//!
//! The largest block of its own mapping that was given back, up to 32 MiB, is from then on the size below which blocks come out of
//! arenas, and twice as much is what an arena keeps of freed memory (mallopt(3), `M_MMAP_THRESHOLD`).

use std::hint::black_box;
use std::sync::Once;

/// An arena grows by so many bytes at once when its thread starts.
const FIRST: usize = 8 << 20;

/// From now on freed memory is kept, twice so many bytes of it.
pub(crate) fn keep(bytes: usize) {
    drop(black_box(Vec::<u8>::with_capacity(bytes)));
}

/// Gives the arena of a thread that just started a first piece. By itself it grows by a page at a time, each of which is a system call
/// that all other threads' page faults wait for.
pub(crate) fn grow() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| keep(FIRST));
    // Not as large as the block above, so that it is taken from the arena.
    drop(black_box(Vec::<u8>::with_capacity(FIRST - (64 << 10))));
}
