//! Why a context cannot be read as asked.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::ignore::IgnoreError;
use crate::pattern::PatternError;

/// Most links followed for one source path, as Linux does (`MAXSYMLINKS`).
pub(super) const LINK_LIMIT: usize = 40;

/// A context that cannot be read as asked.
#[derive(Debug, Error)]
pub enum LocalError {
    /// Nothing matches.
    #[error("`{pattern}` is not in the build context `{context}`{ignored}", ignored = if *.ignored { " (an ignore file leaves it out)" } else { "" })]
    NotFound {
        /// As written.
        pattern: String,
        /// The context.
        context: PathBuf,
        /// Whether the path exists but an ignore file leaves it out.
        ignored: bool,
    },
    /// The source itself is a link that leads nowhere.
    #[error("`{path}` is a link to `{target}`, which is not in the build context `{context}`")]
    Dangling {
        /// The source path.
        path: String,
        /// Where it points.
        target: String,
        /// The context.
        context: PathBuf,
    },
    /// A link leads out.
    #[error("`{path}` leaves the build context through the link `{link}` -> `{target}`")]
    Escapes {
        /// The source path.
        path: String,
        /// The link, relative to the context.
        link: String,
        /// Where it points.
        target: String,
    },
    /// Links in a circle.
    #[error("`{path}` has more than {LINK_LIMIT} symbolic links on its way")]
    LinkLoop {
        /// The source path.
        path: String,
    },
    /// A kind of file that does not belong in an image.
    #[error("`{path}` is a {kind}, which cannot be copied into an image")]
    Special {
        /// Host path.
        path: PathBuf,
        /// `device`, `FIFO`, or `socket`, if it is the source itself.
        kind: &'static str,
    },
    /// A name that means a deletion in a layer.
    #[error("`{path}` cannot be copied: names that start with `.wh.` mark deletions in image layers")]
    WhiteoutName {
        /// Host path.
        path: PathBuf,
    },
    /// The pattern is not one.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The ignore file is wrong.
    #[error("`{}`: {source}", path.display())]
    IgnoreFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: IgnoreError,
    },
    /// A file was written while it was read.
    #[error("`{path}` changed while the build was reading it; build again")]
    Changed {
        /// Host path.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// Host path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The build was stopped.
    #[error("the build was cancelled")]
    Cancelled,
}
