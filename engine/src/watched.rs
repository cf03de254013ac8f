//! Reading from pipes that may stay silent for as long as they like: whoever waits is asked now and then whether to go on.

use std::cell::Cell;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long a silent pipe is waited for before the next question.
const INTERVAL: Duration = Duration::from_millis(20);

/// A reader that asks.
pub(crate) struct Watched<'a, F> {
    inner: F,
    /// Says with an error that nobody waits any more.
    goes_on: &'a dyn Fn() -> io::Result<()>,
    asked: Cell<Option<Instant>>,
}

impl<'a, F> Watched<'a, F> {
    pub(crate) fn new(inner: F, goes_on: &'a dyn Fn() -> io::Result<()>) -> Self {
        Self { inner, goes_on, asked: Cell::new(None) }
    }

    fn ask(&self) -> io::Result<()> {
        if self.asked.get().is_some_and(|asked| asked.elapsed() < INTERVAL) {
            return Ok(());
        }
        (self.goes_on)()?;
        self.asked.set(Some(Instant::now()));
        Ok(())
    }
}

impl<F: Read + AsFd> Read for Watched<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.ask()?;
            let timeout = Timespec { tv_sec: 0, tv_nsec: INTERVAL.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.inner, PollFlags::IN)], Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.inner.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_silent_pipe_is_left_when_nobody_waits() {
        let (reader, mut writer) = io::pipe().unwrap();
        let questions = Cell::new(0);
        let goes_on = || {
            questions.set(questions.get() + 1);
            if questions.get() > 3 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
        };
        let mut watched = Watched::new(reader, &goes_on);
        writer.write_all(b"ab").unwrap();
        let mut bytes = [0; 4];
        assert_eq!(watched.read(&mut bytes).unwrap(), 2);
        let error = watched.read(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(questions.get(), 4);
    }

    #[test]
    fn the_end_of_a_pipe_is_the_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"all").unwrap();
        drop(writer);
        let mut text = String::new();
        Watched::new(reader, &|| Ok(())).read_to_string(&mut text).unwrap();
        assert_eq!(text, "all");
    }
}
