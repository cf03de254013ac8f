//! What can go wrong with a remote cache.

use std::io;

use solver::BlobDigest;
use thiserror::Error;

/// A remote cache that was not of use.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// Whoever keeps it did not answer, or refused.
    #[error("{0}")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is there is something else.
    #[error("what is there is no cache: {reason}")]
    Foreign {
        /// What it is.
        reason: String,
    },
    /// A newer sealer wrote it.
    #[error("its {what} has format {found}, this sealer knows formats up to {known}")]
    Newer {
        /// `head` or `shard`.
        what: &'static str,
        /// Its format.
        found: u8,
        /// The newest format known here.
        known: u8,
    },
    /// It is not what it should be.
    #[error("its {what} is damaged: {reason}")]
    Damaged {
        /// `head`, `shard`, `manifest`.
        what: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// An object is not what its name says.
    #[error("object `{expected}` has the digest `{found}`")]
    Digest {
        /// What it should be.
        expected: BlobDigest,
        /// What it is.
        found: BlobDigest,
    },
    /// An object or a blob is named and not there.
    #[error("object `{digest}` is not there")]
    Missing {
        /// Which.
        digest: BlobDigest,
    },
    /// An object is larger than allowed.
    #[error("its {what} has {size} bytes, more than the {limit} that are read")]
    TooLarge {
        /// `head` or `shard`.
        what: &'static str,
        /// Its size in bytes, as far as it is known.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A record has no MAC of the key in use.
    #[error("it has records that are not signed with this key")]
    Unsigned,
    /// Others published each time.
    #[error("others wrote to it each of the {tries} times that it was tried")]
    Contended {
        /// How often.
        tries: u32,
    },
    /// What is to be a key is too short to be a secret.
    #[error("a key has at least {least} bytes, this one has {found}")]
    ShortKey {
        /// Length in bytes.
        found: usize,
        /// The shortest that is taken.
        least: usize,
    },
    /// The file system failed; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RemoteError {
    /// Whether it is what is kept that is wrong, and not the way to it: then replacing it helps.
    pub(super) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Digest { .. } | Self::Missing { .. } | Self::TooLarge { .. }
        )
    }

    /// What went wrong on the way there.
    pub fn transport(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Transport(Box::new(error))
    }
}
