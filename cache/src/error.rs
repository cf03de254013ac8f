//! What can go wrong with a store.

use std::io;
use std::path::PathBuf;

use solver::BlobDigest;
use thiserror::Error;

/// A failure of the store.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Written by a newer sealer.
    #[error("the store `{}` has format {found}, this sealer knows formats up to {known}", path.display())]
    NewerStore {
        /// Root of the store.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// The version file is not a number.
    #[error("`{}` does not hold a store version", path.display())]
    Version {
        /// The file.
        path: PathBuf,
    },
    /// A blob is not what its name says.
    #[error("blob `{expected}` has the digest `{found}`")]
    Digest {
        /// What it should be.
        expected: BlobDigest,
        /// What it is.
        found: BlobDigest,
    },
    /// A blob has another length than stated.
    #[error("blob `{digest}` has {found} bytes instead of {expected}")]
    Size {
        /// Which.
        digest: BlobDigest,
        /// Stated length.
        expected: u64,
        /// Real length.
        found: u64,
    },
    /// A blob that had to be here, as it should be.
    #[error("`{}` is {what}", path.display())]
    Lost {
        /// Where it should be.
        path: PathBuf,
        /// `missing` or `damaged`.
        what: &'static str,
    },
    /// A blob that should be small is not.
    #[error("blob `{digest}` is larger than {limit} bytes")]
    TooLarge {
        /// Which.
        digest: BlobDigest,
        /// The limit in bytes.
        limit: u64,
    },
    /// Others are at work, and what was asked for needs the store alone.
    #[error("{count} {} at work on the store `{}`", if *.count == 1 { "process is" } else { "processes are" }, path.display())]
    Busy {
        /// Root of the store.
        path: PathBuf,
        /// How many, as far as the system tells; at least 1.
        count: usize,
    },
    /// The record store failed.
    #[error("records in `{}`: {message}", path.display())]
    Records {
        /// The database.
        path: PathBuf,
        /// What RocksDB said.
        message: String,
    },
    /// What was written could not be made durable.
    #[error("`{}` could not be synced to disk", path.display())]
    Sync {
        /// The store.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system failed; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The causes of an error, leaving out those that its own text, or another cause, already holds.
pub fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let message = error.to_string();
    let mut causes: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) && !causes.iter().any(|other| other.contains(&text)) {
            causes.push(text);
        }
        cause = error.source();
    }
    causes
}

/// What went wrong, with its causes, on one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    [vec![error.to_string()], causes(error)].concat().join(": ")
}
