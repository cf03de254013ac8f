//! Streaming decompression by what the bytes say they are.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

/// Compressions an archive or a layer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// gzip, any number of members.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// zstd, any number of frames.
    Zstd,
}

/// Most memory one zstd window may ask for: 2^27 bytes, what the zstd tool allows by default.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Most memory the xz decoder may use, in bytes.
const XZ_MEMORY_LIMIT: u64 = 256 << 20;

/// What anything may expand to, in bytes.
const SMALL: u64 = 1 << 30;
/// How many times its own size something larger may expand to. Text reaches 20, zeros a thousand and more.
const MOST_EXPANSION: u64 = 200;

/// What so many compressed bytes may expand to.
pub fn expansion_limit(compressed_bytes: u64) -> u64 {
    SMALL.max(compressed_bytes.saturating_mul(MOST_EXPANSION))
}

impl Compression {
    /// Recognises a compression by its first bytes.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The bytes behind the compression.
    ///
    /// # Errors
    /// When the decoder cannot be set up.
    pub fn reader<'r>(self, reader: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::None => Box::new(BufReader::with_capacity(128 * 1024, reader)),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(reader)),
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    XZ_MEMORY_LIMIT,
                    liblzma::stream::CONCATENATED,
                )?;
                Box::new(liblzma::read::XzDecoder::new_stream(reader, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }

    /// The bytes behind the compression of a stream whose length nobody knows: it fails once they are far more than what was
    /// read of the stream explains.
    ///
    /// # Errors
    /// When the decoder cannot be set up.
    pub(crate) fn expanding<'r>(self, reader: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
        let count = Rc::new(Cell::new(0));
        let inner = self.reader(Counted { inner: reader, count: Rc::clone(&count) })?;
        Ok(Box::new(Expanding { inner, read: 0, from: count }))
    }
}

/// Fails once more than a number of bytes was read: what keeps a decompression bomb small.
#[derive(Debug)]
pub struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Bounded<R> {
    /// Allows `limit` bytes.
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(bomb)?;
        Ok(read)
    }
}

fn bomb() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it expands to far more than its own size")
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

/// Fails once there is far more than what was read for it explains.
struct Expanding<R> {
    inner: R,
    read: u64,
    from: Rc<Cell<u64>>,
}

impl<R: Read> Read for Expanding<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        if self.read > expansion_limit(self.from.get()) { Err(bomb()) } else { Ok(read) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expands_without_end_is_stopped() {
        let from = Rc::new(Cell::new(1000));
        let mut tar = Expanding { inner: io::repeat(0), read: 0, from: Rc::clone(&from) };
        let error = io::copy(&mut tar, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let read = tar.read;
        assert!((expansion_limit(1000)..expansion_limit(1000) + (1 << 20)).contains(&read), "{read}");
        // What more comes of may expand to more.
        from.set(read);
        assert!(tar.read(&mut [0; 10]).is_ok());
    }
}
