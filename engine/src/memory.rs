//! Tuning of glibc's allocator by using it: there is no safe call for its settings.
//!
//! The largest block of its own mapping that was given back, up to 32 MiB, is from then on the size below which blocks come out of
//! arenas, and twice as much is what an arena keeps of freed memory (mallopt(3), `M_MMAP_THRESHOLD`).

use std::hint::black_box;
use std::sync::Once;

/// An arena grows by so many bytes at once when its thread starts.
const FIRST: usize = 8 << 20;

/// Makes arenas keep up to twice so many bytes of freed memory from now on.
pub(crate) fn keep(bytes: usize) {
    drop(black_box(Vec::<u8>::with_capacity(bytes)));
}

/// Grows the arena of a thread that just started. By itself it grows by a page at a time, each by a system call that the page
/// faults of all other threads wait for.
pub(crate) fn grow() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| keep(FIRST));
    // Not as large as the block above, so that it is taken from the arena.
    drop(black_box(Vec::<u8>::with_capacity(FIRST - (64 << 10))));
}
