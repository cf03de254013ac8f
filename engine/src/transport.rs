//! Images outside the store: archives and directories in OCI's, Docker's and sealer's own layouts (spec §5.1).
//!
//! Everything streams. Going out, blobs are copied from the store as they are; coming in, they become blobs of the
//! store while they are read, and what no image needs is dropped before the commit.

mod convert;
mod docker;
mod intake;
pub(crate) mod layout;
mod load;
mod pack;
mod parts;
mod peek;
pub(crate) mod raw;
pub(crate) mod rootfs;
mod unpack;
mod write;

use std::path::PathBuf;

use cache::CacheError;
use solver::{BlobDigest, DiffId};
use thiserror::Error;

pub use self::load::{Input, Load, Loaded, load};
pub use self::pack::{Save, save};
pub use self::peek::peek;
pub use self::rootfs::{RootfsReport, write_rootfs, write_tar};
pub use self::write::Destination;
use crate::contents::ContentError;
use crate::frames::FrameError;
use crate::images::ImagesError;
use crate::source::image::ImageError;
use crate::tree::TreeError;

/// How an image is laid out outside the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An OCI image layout in a tar.
    OciArchive,
    /// An OCI image layout in a directory.
    OciDir,
    /// What `docker save` writes.
    DockerArchive,
    /// The `dir:` layout of skopeo and buildah, with a Docker manifest.
    DockerDir,
}

impl Format {
    /// All of them, by the names sealer gives them.
    pub const ALL: [(&'static str, Self); 4] = [
        ("oci-archive", Self::OciArchive),
        ("oci-dir", Self::OciDir),
        ("docker-archive", Self::DockerArchive),
        ("docker-dir", Self::DockerDir),
    ];

    /// Whether the result is a directory.
    pub fn is_dir(self) -> bool {
        matches!(self, Self::OciDir | Self::DockerDir)
    }

    /// Whether it keeps annotations, and so the sealer extension (spec §2.1).
    pub fn keeps_annotations(self) -> bool {
        matches!(self, Self::OciArchive | Self::OciDir)
    }
}

/// An image that cannot be written or read.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The input is in no layout known here.
    #[error("`{input}` holds no image: there is neither an index.json nor a manifest.json in it")]
    NoImage {
        /// What was read.
        input: String,
    },
    /// A part that another part names is not there.
    #[error("`{part}` is missing, and `{named_by}` names it")]
    Missing {
        /// The missing part.
        part: String,
        /// Who names it.
        named_by: String,
    },
    /// A part is not what its name or its descriptor says.
    #[error("`{part}` has the digest `{found}`")]
    Digest {
        /// The part.
        part: String,
        /// What it really is.
        found: BlobDigest,
    },
    /// A part has another size than its descriptor says.
    #[error("`{part}` has {found} bytes, its descriptor says {expected}")]
    Size {
        /// The part.
        part: String,
        /// Stated.
        expected: u64,
        /// Real.
        found: u64,
    },
    /// A layer's content is not what the config says.
    #[error("layer `{part}` has the diff id `{found}`, the image's config says `{expected}`")]
    DiffId {
        /// The layer.
        part: String,
        /// By the config.
        expected: DiffId,
        /// Real.
        found: DiffId,
    },
    /// A container image that nothing could name.
    #[error("{what} in `{archive}` has no name")]
    Unnamed {
        /// The image.
        what: String,
        /// The archive it is in.
        archive: String,
    },
    /// Archives that do not agree.
    #[error("`{name}` is one image in `{}`, and another in `{}`", first.display(), second.display())]
    Ambiguous {
        /// The name of both.
        name: String,
        /// An archive with one of them.
        first: PathBuf,
        /// An archive with the other; it may be the same.
        second: PathBuf,
    },
    /// A blob of an image of an archive is not in it.
    #[error("blob `{blob}`{} is not in `{archive}`", image.as_ref().map_or(String::new(), |name| format!(" of `{name}`")))]
    NotArchived {
        /// The blob.
        blob: BlobDigest,
        /// The image it is of, if any.
        image: Option<String>,
        /// The archive with the image's manifest; or all archives.
        archive: String,
    },
    /// JSON that is not what it should be.
    #[error("`{part}` cannot be read: {reason}")]
    Json {
        /// The part.
        part: String,
        /// Why.
        reason: String,
    },
    /// Something this program does not read.
    #[error("`{part}` is {what}, which sealer does not read")]
    Unsupported {
        /// The part.
        part: String,
        /// What it is.
        what: String,
    },
    /// An image for several platforms, in a layout that has place for one.
    #[error("`{name}` is an image for several platforms; docker-dir holds one image")]
    Several {
        /// Its name.
        name: String,
    },
    /// An archive that grows out of all proportion.
    #[error("`{input}` holds more than {limit} bytes of {what}")]
    TooLarge {
        /// What was read.
        input: String,
        /// The limit, in bytes.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The input is no tar.
    #[error("`{input}` cannot be read as an archive: {source}")]
    Archive {
        /// What was read.
        input: String,
        /// Why.
        source: std::io::Error,
    },
    /// A directory that must not be overwritten.
    #[error("`{}` exists and is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The result would have no place.
    #[error("`{}` cannot be written: {source}", path.display())]
    Write {
        /// The destination.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the merged root file system is in no layer.
    #[error("the bytes of `/{path}` are in no layer of the image")]
    Unfound {
        /// The file.
        path: String,
    },
    /// Ctrl-C.
    #[error("cancelled")]
    Cancelled,
    /// A layer.
    #[error(transparent)]
    Layer(#[from] ImageError),
    /// A layer written again.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A file of a layer.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A directory object.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store's index.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// The store.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
