//! What can go wrong with a registry. No credential, token or query reaches a text in here.

use std::path::PathBuf;

use cache::CacheError;
use solver::BlobDigest;
use thiserror::Error;

use super::mirrors::Tried;
use crate::images::ImagesError;
use crate::net::FetchError;
use crate::source::image::ImageError;

/// A registry that was not of use.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The network, or an answer that is none.
    #[error(transparent)]
    Net(#[from] FetchError),
    /// The registry wants to know who asks, and what it was told is not enough.
    #[error("`{host}` refuses {}{}", refused(path, action, *is_known), said(message.as_ref()))]
    Unauthorized {
        /// The registry.
        host: String,
        /// The repository; empty for the registry itself.
        path: String,
        /// `pull` or `push`.
        action: &'static str,
        /// Whether there were credentials.
        is_known: bool,
        /// Why, if the registry says more than that it does not know who asks; shortened.
        message: Option<String>,
    },
    /// There is no such manifest.
    #[error("`{reference}` is not in the registry")]
    NotFound {
        /// As asked for.
        reference: String,
    },
    /// A blob of a manifest is not there.
    #[error("blob `{digest}` is not in `{repository}`")]
    BlobUnknown {
        /// The blob.
        digest: BlobDigest,
        /// Where it was looked for.
        repository: String,
    },
    /// Any other answer that is not a success.
    #[error("`{host}` answered {what} with status {status}{}", said(message.as_ref()))]
    Refused {
        /// The registry.
        host: String,
        /// What was asked, such as `a push of a blob`.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says, shortened.
        message: Option<String>,
    },
    /// A body is not what its digest says.
    #[error("`{what}` is not what it should be: its content has the digest `{found}`")]
    Digest {
        /// The digest asked for, with its repository.
        what: String,
        /// What came.
        found: BlobDigest,
    },
    /// A body is longer or shorter than its descriptor says.
    #[error("blob `{digest}` has {found} bytes, its descriptor says {expected}")]
    Size {
        /// The blob.
        digest: BlobDigest,
        /// By the manifest.
        expected: u64,
        /// Received; at least.
        found: u64,
    },
    /// A manifest, a token or an error that is not what it should be.
    #[error("{what} of `{name}` cannot be read: {reason}")]
    Json {
        /// `the manifest`, `the token`.
        what: &'static str,
        /// Whose.
        name: String,
        /// Why.
        reason: String,
    },
    /// The index has no image for the platform.
    #[error("`{reference}` has no image for {wanted}, only for {}", .offered.join(", "))]
    Platform {
        /// The image.
        reference: String,
        /// The platform asked for.
        wanted: String,
        /// There.
        offered: Vec<String>,
    },
    /// The registry's challenge cannot be met.
    #[error("`{host}` wants `{scheme}` authentication, which sealer does not know")]
    Scheme {
        /// The registry.
        host: String,
        /// What it asked for.
        scheme: String,
    },
    /// Tokens are to be had from somewhere nobody may send credentials to.
    #[error("`{host}` sends its users to `{realm}` for tokens, which is not safe")]
    Realm {
        /// The registry.
        host: String,
        /// Where to, redacted.
        realm: String,
    },
    /// A file with credentials cannot be read or written.
    #[error("credentials in `{}`: {reason}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why, without its content.
        reason: String,
    },
    /// A program that keeps credentials failed.
    #[error("`{helper}` did not {verb} the credentials of `{host}`")]
    Helper {
        /// Its name.
        helper: String,
        /// `give`, `keep` or `forget`.
        verb: &'static str,
        /// The registry.
        host: String,
    },
    /// A name.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// It is not as the lock file has it.
    #[error(transparent)]
    Lock(#[from] crate::lock::LockError),
    /// The store.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A layer that cannot be used.
    #[error(transparent)]
    Layer(#[from] ImageError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Neither mirrors of a registry were of use, nor the registry.
    #[error("{source}; mirrors tried before: {}", .tried.iter().map(Tried::to_string).collect::<Vec<_>>().join("; "))]
    Mirrored {
        /// What happened with the registry itself.
        source: Box<Self>,
        /// The mirrors, in the order they were asked in.
        tried: Vec<Tried>,
    },
    /// The store has the image for other platforms, and it is not to be had for this one.
    #[error("in the store {here}; {source}")]
    OtherPlatform {
        /// For which.
        here: Box<ImagesError>,
        /// Why the registry was of no use.
        source: Box<Self>,
    },
    /// What happened to one image of several, or to one part of it.
    #[error("{image}: {source}")]
    Of {
        /// The image.
        image: String,
        /// What happened.
        source: Box<Self>,
    },
}

/// The registry's own words, if there are any.
fn said(message: Option<&String>) -> String {
    message.map_or(String::new(), |text| format!(": {text}"))
}

fn refused(path: &str, action: &str, is_known: bool) -> String {
    match (path, is_known) {
        ("", true) => "this name and password".to_owned(),
        ("", false) => "to let anybody in without a name and password".to_owned(),
        (path, true) => format!("to let these credentials {action} `{path}`"),
        (path, false) => format!("to let an anonymous user {action} `{path}`"),
    }
}

impl RegistryError {
    /// Says of which image it is.
    pub(crate) fn of(self, image: &impl std::fmt::Display) -> Self {
        match self {
            Self::Of { .. } => self,
            other if other.is_cancelled() => other,
            other => Self::Of { image: image.to_string(), source: Box::new(other) },
        }
    }

    /// What happened, without of which image it is, which mirrors were tried and what the store has.
    pub fn plain(&self) -> &Self {
        match self {
            Self::Of { source, .. } | Self::Mirrored { source, .. } | Self::OtherPlatform { source, .. } => {
                source.plain()
            }
            other => other,
        }
    }

    /// Whether this only says that the user stopped it.
    pub fn is_cancelled(&self) -> bool {
        match self.plain() {
            Self::Net(error) => error.is_cancelled(),
            Self::Layer(error) => matches!(error, ImageError::Cancelled),
            _ => false,
        }
    }

    /// Whether it happened on this side, so that asking somebody else helps nothing.
    pub(super) fn is_ours(&self) -> bool {
        let is_kept_wrong =
            matches!(self.plain(), Self::Images(_) | Self::Cache(_) | Self::Layer(_) | Self::Io(_));
        is_kept_wrong || self.is_cancelled()
    }

    /// Whether the registry could not be asked, rather than that it said no.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.plain(), Self::Net(error) if !error.is_cancelled())
    }

    /// Whether the registry has no such image, or does not say so to strangers.
    pub fn is_absent(&self) -> bool {
        matches!(self.plain(), Self::NotFound { .. } | Self::Unauthorized { .. })
    }
}
