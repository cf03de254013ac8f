//! Typed digests: SHA-256 where OCI says so, BLAKE3 for identities of our own.
//!
//! Two different digests can never be mixed up, because each meaning is its own type. None of them is a `String`.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not a digest.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DigestError {
    /// The part before the colon is not the algorithm this digest uses.
    #[error("digest `{text}` does not start with `{expected}:`")]
    Algorithm {
        /// The text as given.
        text: String,
        /// The algorithm that was expected.
        expected: &'static str,
    },
    /// The part after the colon is not 64 lower-case hexadecimal digits.
    #[error("digest `{text}` does not have 64 lower-case hexadecimal digits")]
    Hex {
        /// The text as given.
        text: String,
    },
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $algorithm:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the raw 32 bytes as a digest.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The raw 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The 64 hexadecimal digits without the algorithm.
            pub fn hex(&self) -> String {
                hex::encode(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", $algorithm, hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &hex::encode(self.0)[..12])
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                let digits = text
                    .strip_prefix(concat!($algorithm, ":"))
                    .ok_or_else(|| DigestError::Algorithm { text: text.to_owned(), expected: $algorithm })?;
                let wrong = || DigestError::Hex { text: text.to_owned() };
                if digits.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(wrong());
                }
                let mut bytes = [0; 32];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| wrong())?;
                Ok(Self(bytes))
            }
        }
    };
}

digest!(
    /// Identity of a blob's bytes as stored and sent: OCI descriptor digest (image-spec, descriptor, `digest`).
    BlobDigest,
    "sha256"
);
digest!(
    /// Identity of a layer's uncompressed tar (image-spec, config, `rootfs.diff_ids`).
    DiffId,
    "sha256"
);
digest!(
    /// Identity of an image manifest's bytes.
    ManifestDigest,
    "sha256"
);
digest!(
    /// Identity of a file's bytes, ours.
    ContentDigest,
    "blake3"
);
digest!(
    /// Identity of a Merkle directory. The root directory of a delta is the delta's identity.
    TreeDigest,
    "blake3"
);
digest!(
    /// Identity of a vertex: its op and its inputs' identities.
    VertexDigest,
    "blake3"
);
digest!(
    /// What a record is stored under: a definition key or a content key.
    CacheKey,
    "blake3"
);

impl From<ManifestDigest> for BlobDigest {
    fn from(digest: ManifestDigest) -> Self {
        Self(digest.0)
    }
}

impl From<BlobDigest> for ManifestDigest {
    fn from(digest: BlobDigest) -> Self {
        Self(digest.0)
    }
}

/// A map whose keys are digests: they are as good as random, so a part of one is its hash.
pub type DigestMap<K, V> = HashMap<K, V, BuildHasherDefault<DigestHasher>>;

/// Takes the first eight bytes of a digest for its hash.
#[derive(Debug, Clone, Copy, Default)]
pub struct DigestHasher(u64);

impl std::hash::Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    // The length of a digest is no news.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Feeds values to BLAKE3 so that no two different sequences of values give the same bytes: every variable-length
/// value is preceded by its length, numbers are little-endian and of fixed width.
///
/// Values are short, and BLAKE3 costs as much for each as for a hundred bytes of a longer text, so they are gathered first.
#[derive(Debug)]
pub struct Hasher {
    gathered: Vec<u8>,
    /// What no longer fitted; most hashes never need it.
    rest: Option<Box<blake3::Hasher>>,
}

impl Hasher {
    /// What most keys fit into.
    const SHORT_BYTES: usize = 384;
    /// As many chunks of BLAKE3's as it hashes at once.
    const GATHERED_BYTES: usize = 16 << 10;

    /// Starts a hash in a domain of its own; equal values in different domains never collide.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self { gathered: Vec::with_capacity(Self::SHORT_BYTES), rest: None };
        hasher.bytes(domain.as_bytes());
        hasher
    }

    /// Adds a byte string, preceded by its length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.take(bytes);
    }

    /// Adds a number, eight bytes little-endian.
    pub fn number(&mut self, number: u64) {
        self.take(&number.to_le_bytes());
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > Self::GATHERED_BYTES {
            let rest = self.rest.get_or_insert_default();
            rest.update(&self.gathered);
            self.gathered.clear();
            if bytes.len() > Self::GATHERED_BYTES {
                rest.update(bytes);
                return;
            }
        }
        self.gathered.extend_from_slice(bytes);
    }

    /// The 32 bytes of the hash.
    pub fn finish(self) -> [u8; 32] {
        *match self.rest {
            None => blake3::hash(&self.gathered),
            Some(mut rest) => rest.update(&self.gathered).finalize(),
        }
        .as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_the_algorithm_is_checked() {
        let digest = BlobDigest::from_bytes([0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!(matches!(digest.to_string().parse::<TreeDigest>(), Err(DigestError::Algorithm { .. })));
        assert!(matches!("sha256:xyz".parse::<BlobDigest>(), Err(DigestError::Hex { .. })));
        let upper = digest.to_string().replace("ab", "AB");
        assert!(matches!(upper.parse::<BlobDigest>(), Err(DigestError::Hex { .. })));
    }

    #[test]
    fn lengths_keep_neighbours_apart() {
        let hash = |parts: &[&str]| {
            let mut hasher = Hasher::new("test");
            parts.iter().for_each(|part| hasher.bytes(part.as_bytes()));
            hasher.finish()
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }

    #[test]
    fn gathered_values_hash_as_one_text() {
        const FULL: usize = Hasher::GATHERED_BYTES;
        for lengths in
            [vec![0], vec![3, 5], vec![100; 400], vec![FULL - 24, 8], vec![1, FULL, 1], vec![FULL + 1, 2]]
        {
            let (mut hasher, mut text) = (Hasher::new(""), vec![0; 8]);
            for length in lengths {
                let value = vec![length as u8; length];
                hasher.bytes(&value);
                text.extend_from_slice(&(length as u64).to_le_bytes());
                text.extend(value);
            }
            assert_eq!(hasher.finish(), *blake3::hash(&text).as_bytes());
        }
    }
}
