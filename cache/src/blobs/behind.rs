//! Writing behind: who has filled a buffer goes on while a thread waits for the disk.
//!
//! A write past the page cache takes as long as the disk does, and the core of a worker that waits for it stands idle.
//! A blob may be complete before its last bytes are in its file: whoever opens it, and the commit, wait for them.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use fs_err::File;
use rustix::fs::OFlags;

use super::unnamed::{BLOCK, BUFFER};

/// Most buffers that wait for the thread. Who comes when so many do writes by himself, so memory is bounded.
const WAITING: usize = 4;

/// The thread, started with the first write.
#[derive(Debug, Default)]
pub(super) struct WriteBehind {
    queue: OnceLock<Option<SyncSender<Spill>>>,
    spare: Arc<Mutex<Vec<Buffer>>>,
}

impl WriteBehind {
    /// An empty buffer.
    pub(super) fn buffer(&self) -> Buffer {
        lock(&self.spare).pop().unwrap_or_else(Buffer::new)
    }

    /// Writes a buffer soon, or now.
    pub(super) fn write(&self, write: Spill) {
        write.progress.begun();
        let rejected = match self.queue.get_or_init(|| self.start()) {
            Some(queue) => match queue.try_send(write) {
                Ok(()) => None,
                Err(TrySendError::Full(write) | TrySendError::Disconnected(write)) => Some(write),
            },
            None => Some(write),
        };
        if let Some(write) = rejected {
            write.run(&self.spare);
        }
    }

    /// `None` where no thread can be had: then everybody writes by himself.
    fn start(&self) -> Option<SyncSender<Spill>> {
        let (queue, writes) = sync_channel::<Spill>(WAITING);
        let spare = Arc::clone(&self.spare);
        let thread = std::thread::Builder::new().name("write".to_owned());
        let started = thread.spawn(move || writes.iter().for_each(|write| write.run(&spare)));
        // It ends with the queue.
        started.ok().map(|_| queue)
    }
}

/// Bytes to be written, which begin at a block of memory.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new() -> Self {
        let mut bytes = Vec::<u8>::new();
        bytes.reserve_exact(BUFFER + BLOCK);
        let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        bytes.resize(start, 0);
        Self { bytes, start }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Takes bytes in, [`BUFFER`] of them in all.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }
}

/// One write past the page cache. Only the last of a file may end within a block.
#[derive(Debug)]
pub(super) struct Spill {
    pub(super) file: Arc<File>,
    pub(super) buffer: Buffer,
    /// Where in the file, in bytes: a multiple of [`BLOCK`].
    pub(super) at: u64,
    pub(super) progress: Arc<Progress>,
}

impl Spill {
    fn run(self, spare: &Mutex<Vec<Buffer>>) {
        let written = self.written();
        let Self { mut buffer, progress, .. } = self;
        buffer.clear();
        let mut buffers = lock(spare);
        if buffers.len() < WAITING {
            buffers.push(buffer);
        }
        drop(buffers);
        progress.ended(written);
    }

    fn written(&self) -> io::Result<()> {
        let bytes = self.buffer.bytes();
        let (blocks, rest) = bytes.split_at(bytes.len() - bytes.len() % BLOCK);
        let file = self.file.file();
        match file.write_all_at(blocks, self.at) {
            // Some say so only here.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                set_direct(&self.file, false)?;
                file.write_all_at(blocks, self.at)?;
            }
            written => written?,
        }
        if !rest.is_empty() {
            // The only part that never can.
            set_direct(&self.file, false)?;
            file.write_all_at(rest, self.at + blocks.len() as u64)?;
        }
        Ok(())
    }
}

/// Whether writes go past the page cache from here on.
pub(super) fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, is_direct);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

/// How far the writes of a file are.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    failure: Option<io::Error>,
}

impl Progress {
    /// Waits until all writes are done.
    ///
    /// # Errors
    /// That of the first one that failed.
    pub(super) fn wait(&self) -> io::Result<()> {
        let state = lock(&self.state);
        let waited = self.changed.wait_while(state, |state| state.under_way > 0);
        waited.unwrap_or_else(PoisonError::into_inner).result()
    }

    /// Whether one has failed already.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub(super) fn check(&self) -> io::Result<()> {
        lock(&self.state).result()
    }

    /// One begins.
    pub(super) fn begun(&self) {
        lock(&self.state).under_way += 1;
    }

    /// One is done, or has failed.
    pub(super) fn ended(&self, written: io::Result<()>) {
        let mut state = lock(&self.state);
        state.under_way -= 1;
        if let Err(error) = written {
            state.failure.get_or_insert(error);
        }
        self.changed.notify_all();
    }
}

impl State {
    fn result(&self) -> io::Result<()> {
        match &self.failure {
            None => Ok(()),
            Some(error) => Err(match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            }),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panics holds nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_behind_is_told_to_whoever_waits() {
        let behind = WriteBehind::default();
        let progress = Arc::new(Progress::default());
        // Full whenever anybody writes.
        let full = Arc::new(fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap());
        for at in 0..10 {
            let mut buffer = behind.buffer();
            buffer.extend(&[1; BUFFER]);
            let (file, progress) = (Arc::clone(&full), Arc::clone(&progress));
            behind.write(Spill { file, buffer, at: at * BUFFER as u64, progress });
        }
        assert_eq!(progress.wait().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(progress.check().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(lock(&behind.spare).len() <= WAITING);
    }
}
