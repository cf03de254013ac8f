//! What the allocator does with memory that is given back.

/// The largest buffer that stays, in bytes: a frame is shorter. Twice as much is kept of each thread.
const KEPT: usize = 5 << 20;

/// From here on large buffers that are freed stay with the process: chunks and frames come and go on several threads, and
/// a fresh page for each of their bytes costs a tenth of the time.
///
/// glibc keeps blocks as large as the largest that it gave back to the system once (`mallopt(3)`, `M_MMAP_THRESHOLD`).
pub(crate) fn keep() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT))));
}
