//! Who made a record: a keyed BLAKE3 over everything that it says.

use std::fmt;
use std::path::Path;

use solver::Descriptor;

use super::RemoteError;
use super::format::VERSION;

/// Shortest key taken, in bytes: 128 bits, if somebody chose them by chance.
const LEAST: usize = 16;
/// What keys are derived for (BLAKE3, key derivation); no other use has the same text.
const CONTEXT: &str = "sealer remote cache, records, version 1";

/// A MAC of a record.
pub(super) type Mac = [u8; 32];

/// The key that records are signed and checked with. Who has it is believed.
#[derive(Clone)]
pub struct MacKey([u8; 32]);

impl MacKey {
    /// A key made of secret bytes.
    ///
    /// # Errors
    /// When they are too few.
    pub fn new(secret: &[u8]) -> Result<Self, RemoteError> {
        if secret.len() < LEAST {
            return Err(RemoteError::ShortKey { found: secret.len(), least: LEAST });
        }
        Ok(Self(blake3::derive_key(CONTEXT, secret)))
    }

    /// A key made of all the bytes of a file, a newline at its end among them.
    ///
    /// # Errors
    /// When the file cannot be read, or is too short.
    pub fn read(path: &Path) -> Result<Self, RemoteError> {
        Self::new(&fs_err::read(path)?)
    }

    /// The MAC of a record: over the format version, the full key, the value and the blobs. The day is not in it: it says
    /// nothing about the result, and whoever uses a record may renew it.
    pub(super) fn sign(&self, key: &[u8], value: &[u8], blobs: &[Descriptor]) -> Mac {
        let signed = postcard::to_stdvec(&(VERSION, key, value, blobs));
        *blake3::keyed_hash(&self.0, &signed.expect("plain data always encodes")).as_bytes()
    }

    /// Whether a MAC is that of a record.
    pub(super) fn verify(&self, key: &[u8], value: &[u8], blobs: &[Descriptor], mac: Option<&Mac>) -> bool {
        // `Hash` compares in constant time.
        mac.is_some_and(|mac| blake3::Hash::from_bytes(self.sign(key, value, blobs)) == *mac)
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_of_one_key_and_one_record() {
        let (mine, other) = (MacKey::new(&[1; 16]).unwrap(), MacKey::new(&[2; 16]).unwrap());
        let blob = Descriptor { digest: solver::BlobDigest::from_bytes([3; 32]), size: 4 };
        let mac = mine.sign(b"ab", b"c", &[blob]);
        assert!(mine.verify(b"ab", b"c", &[blob], Some(&mac)));
        assert!(
            !mine.verify(b"a", b"bc", &[blob], Some(&mac)),
            "bytes do not move from one field to the next"
        );
        assert!(!mine.verify(b"ab", b"d", &[blob], Some(&mac)));
        assert!(!mine.verify(b"ab", b"c", &[], Some(&mac)));
        assert!(!mine.verify(b"ab", b"c", &[blob], None));
        assert!(!other.verify(b"ab", b"c", &[blob], Some(&mac)));
    }

    #[test]
    fn a_key_is_long_enough_and_never_shown() {
        assert!(matches!(MacKey::new(b"short"), Err(RemoteError::ShortKey { found: 5, least: 16 })));
        assert_eq!(format!("{:?}", MacKey::new(b"sixteen bytes !!").unwrap()), "MacKey(…)");
    }
}
