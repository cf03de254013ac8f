//! Why a context cannot be used.

use std::io;
use std::path::PathBuf;

use cache::CacheError;
use thiserror::Error;

use crate::contents::ContentError;
use crate::error::OpError;
use crate::ignore::IgnoreError;
use crate::source::git::GitError;
use crate::source::http::HttpError;
use crate::source::local::LocalError;
use crate::tree::TreeError;
use crate::untar::UntarError;

/// A context that cannot be used.
#[derive(Debug, Error)]
pub enum ContextError {
    /// No context has this name.
    #[error("there is no build context `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Something of it cannot be read as asked.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// It is a git repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// It is a download.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It is no tar.
    #[error("the build context `{context}` is not a tar archive")]
    NoArchive {
        /// As shown.
        context: String,
    },
    /// It is a tar that is refused.
    #[error("the build context `{context}`: {source}")]
    Archive {
        /// As shown.
        context: String,
        /// Why.
        source: UntarError,
    },
    /// The ignore file in it is wrong.
    #[error("`{name}` of the build context `{context}`: {source}")]
    IgnoreFile {
        /// As shown.
        context: String,
        /// The file.
        name: &'static str,
        /// What is wrong with it.
        source: IgnoreError,
    },
    /// A file that is too large for what it is.
    #[error("`{}` is larger than {limit} bytes", path.display())]
    LargeFile {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The build was stopped.
    #[error("the build was cancelled")]
    Cancelled,
    /// Bytes that cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A directory is missing.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The file system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl From<ContextError> for OpError {
    fn from(error: ContextError) -> Self {
        match error {
            ContextError::Local(error) => Self::Local(error),
            ContextError::Git(error) => Self::Git(error),
            ContextError::Http(error) => Self::Http(error),
            ContextError::Content(error) => Self::Content(error),
            ContextError::Tree(error) => Self::Tree(error),
            other => Self::Context(other),
        }
    }
}
