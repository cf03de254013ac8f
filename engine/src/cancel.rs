//! The one flag that stops a build: set by Ctrl-C or by the first failure, read by whoever waits.
//!
//! It does not know who listens. Waiters poll it, because a flag can be set from a signal handler and a channel cannot.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says whether the build is being given up. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    /// The flag of what this is a part of.
    whole: Option<Arc<AtomicBool>>,
}

impl Cancel {
    /// Makes a flag that is not set.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// A flag for a part of the work: it is set with this one, and can be set alone.
    pub(crate) fn part(&self) -> Cancel {
        Cancel { own: Arc::default(), whole: Some(Arc::clone(&self.own)) }
    }

    /// Asks everything that holds a clone to stop. There is no way back.
    pub fn cancel(&self) {
        self.own.store(true, Ordering::Release);
    }

    /// Says whether [`Cancel::cancel`] was called on any clone.
    pub fn is_cancelled(&self) -> bool {
        self.own.load(Ordering::Acquire)
            || self.whole.as_ref().is_some_and(|whole| whole.load(Ordering::Acquire))
    }

    /// Tells who waits for a pipe, with an error, that there is nothing to wait for any more.
    pub(crate) fn goes_on(&self) -> io::Result<()> {
        if self.is_cancelled() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl From<Arc<AtomicBool>> for Cancel {
    /// Listens to a flag someone else sets, such as a signal handler.
    fn from(flag: Arc<AtomicBool>) -> Cancel {
        Cancel { own: flag, whole: None }
    }
}

/// A stream that ends with an error when the work is given up.
pub(crate) struct Stopping<'a, R> {
    pub(crate) bytes: R,
    pub(crate) cancel: &'a Cancel,
}

impl<R: Read> Read for Stopping<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() { Err(io::Error::other("cancelled")) } else { self.bytes.read(buffer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_flag() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        assert!(!other.is_cancelled());
        cancel.cancel();
        assert!(other.is_cancelled());
    }

    #[test]
    fn a_part_stops_with_the_whole_and_alone() {
        let whole = Cancel::new();
        let (one, other) = (whole.part(), whole.part());
        one.cancel();
        assert!(one.is_cancelled() && !other.is_cancelled() && !whole.is_cancelled());
        whole.cancel();
        assert!(other.is_cancelled());
    }
}
