//! Buffers of frames, used again and again: fresh pages for their bytes are a thirtieth of a cold build's processor time.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers that wait for the next frame, at most.
const SPARE: usize = 64;
/// Larger ones are given back to the system, in bytes.
const LARGEST: usize = 8 << 20;
/// Room is given in steps of so many bytes, so that most buffers fit most frames. What is not touched costs nothing.
const STEP: usize = 1 << 20;

static WAITING: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// The bytes of a frame.
#[derive(Debug)]
pub(crate) struct FrameBuffer(Vec<u8>);

impl FrameBuffer {
    /// An empty one, with room for so many bytes.
    pub(crate) fn with_room(room: usize) -> Self {
        let found = {
            let mut waiting = waiting();
            let fitting = waiting.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= room);
            let smallest = fitting.min_by_key(|(_, buffer)| buffer.capacity()).map(|(at, _)| at);
            smallest.map(|at| waiting.swap_remove(at))
        };
        Self(found.unwrap_or_else(|| Vec::with_capacity(room.next_multiple_of(STEP))))
    }
}

impl From<Vec<u8>> for FrameBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for FrameBuffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for FrameBuffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for FrameBuffer {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        if (STEP..=LARGEST).contains(&buffer.capacity()) {
            let mut waiting = waiting();
            if waiting.len() < SPARE {
                waiting.push(buffer);
            }
        }
    }
}

fn waiting() -> MutexGuard<'static, Vec<Vec<u8>>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_empty_and_large_enough() {
        for room in [0, 1, STEP, STEP + 1, LARGEST, LARGEST + 1] {
            let mut buffer = FrameBuffer::with_room(room);
            assert!(buffer.is_empty() && buffer.capacity() >= room);
            buffer.resize(room, 7);
        }
        assert!(waiting().len() <= SPARE && waiting().iter().all(Vec::is_empty));
    }
}
