//! Streaming decompression by what the bytes say they are.

use std::io::{self, BufReader, Read};

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
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "it expands to far more than its own size")
        })?;
        Ok(read)
    }
}
