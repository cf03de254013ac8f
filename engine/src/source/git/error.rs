//! Why a git repository cannot be used.

use std::io;

use cache::CacheError;
use solver::GitUrlError;
use thiserror::Error;

use crate::tree::TreeError;
use crate::untar::UntarError;

/// A git source that gives no files. URLs are shown without credentials.
#[derive(Debug, Error)]
pub enum GitError {
    /// There is no git.
    #[error("`git` cannot be started: {0}")]
    NoProgram(io::Error),
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] GitUrlError),
    /// Credentials that cannot be sent.
    #[error("the credentials in the URL of `{url}` hold control characters")]
    Credentials {
        /// Without credentials.
        url: String,
    },
    /// git says no.
    #[error("`{url}` cannot be fetched: {}", lines.join("; "))]
    Failed {
        /// Without credentials.
        url: String,
        /// Its last words.
        lines: Vec<String>,
    },
    /// The repository has no such reference.
    #[error("`{url}` has no branch, tag or reference `{reference}`")]
    NoReference {
        /// Without credentials.
        url: String,
        /// As written; `HEAD` where nothing was.
        reference: String,
    },
    /// The repository has no such commit.
    #[error("`{url}` does not give the commit `{commit}`")]
    NoCommit {
        /// Without credentials.
        url: String,
        /// Which.
        commit: String,
    },
    /// The repository has no such directory.
    #[error("`{url}` has no directory `{subdir}`")]
    NoDirectory {
        /// Without credentials.
        url: String,
        /// As written.
        subdir: String,
    },
    /// Another commit than the user pinned.
    #[error("`{url}` stands for the commit {found}, not for {expected}")]
    Checksum {
        /// With its reference.
        url: String,
        /// As written.
        expected: String,
        /// As found.
        found: String,
    },
    /// git answered something that is no answer.
    #[error("`{url}`: git's answer cannot be read")]
    Answer {
        /// Without credentials.
        url: String,
    },
    /// More than may be downloaded.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// Without credentials.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// A server that stopped talking.
    #[error("`{url}` has sent nothing for {seconds} s")]
    Idle {
        /// Without credentials.
        url: String,
        /// How long.
        seconds: u64,
    },
    /// Files that are refused.
    #[error("`{url}`: {source}")]
    Files {
        /// Without credentials.
        url: String,
        /// Why.
        source: UntarError,
    },
    /// An object that does not fit into memory.
    #[error("`{url}`: an object of {size} bytes is too large for --keep-git-dir")]
    LargeObject {
        /// Without credentials.
        url: String,
        /// Its size.
        size: u64,
    },
    /// No connection may be made.
    #[error("`{url}` would have to be asked, and `--offline` forbids it")]
    Offline {
        /// With its reference, without credentials.
        url: String,
    },
    /// The build was stopped.
    #[error("the build was cancelled")]
    Cancelled,
    /// The file system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A directory is missing.
    #[error(transparent)]
    Tree(#[from] TreeError),
}
