//! What can stop a build, with the step it happened in.

use cache::CacheError;
use solver::{BlobDigest, GraphError, Span};
use thiserror::Error;

use crate::container::FailedImage;
use crate::contents::ContentError;
use crate::discover::ValuesError;
use crate::frames::FrameError;
use crate::group::MOST_LAYERS;
use crate::images::ImagesError;
use crate::lock::LockError;
use crate::ops::app::AppError;
use crate::ops::archive::ArchiveError;
use crate::ops::exec::ExecError;
use crate::ops::file::FileError;
use crate::registry::RegistryError;
use crate::sandbox::SandboxError;
use crate::snapshot::SnapshotError;
use crate::source::context::ContextError;
use crate::source::git::GitError;
use crate::source::http::HttpError;
use crate::source::local::LocalError;
use crate::transport::TransportError;
use crate::tree::TreeError;

/// Why one step failed.
#[derive(Debug, Error)]
pub enum OpError {
    /// A source of the context.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A download.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A git repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// What is not as the lock file has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A context that cannot be opened.
    #[error(transparent)]
    Context(ContextError),
    /// A base image.
    #[error(transparent)]
    Base(#[from] Box<RegistryError>),
    /// COPY or ADD.
    #[error(transparent)]
    File(#[from] FileError),
    /// APP.
    #[error(transparent)]
    App(#[from] AppError),
    /// A blob that was at hand, and is not any more.
    #[error("the blob {digest} has gone from the store while the build ran; build again")]
    BlobGone {
        /// It.
        digest: BlobDigest,
    },
    /// No thread to wait for the network.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
    /// RUN.
    #[error(transparent)]
    Exec(#[from] Box<ExecError>),
    /// Values for charts.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// Writing a layer.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Reading a file of the image.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A directory object.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A bug in the step; the build goes on to its end.
    #[error("the step panicked: {0}; this is a bug of sealer")]
    Panic(String),
}

/// A step that failed.
#[derive(Debug, Error)]
#[error("{name}: {source}")]
pub struct StepError {
    /// The step as written, or what it is about where it is none of the text.
    pub name: String,
    /// Where it stands in the text.
    pub spans: Vec<Span>,
    /// Why.
    pub source: OpError,
}

/// An application whose content says nothing about how it is launched (spec §1.5).
#[derive(Debug, Error)]
#[error("app {name} need to specify APPCMDS if no app type detected")]
pub struct UntypedApp {
    /// Application.
    pub name: String,
    /// Its declaration.
    pub span: Span,
    /// Whether it has several sources.
    pub several_sources: bool,
}

/// Why a build gave no image.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Steps failed; those that failed together are told together.
    #[error("{} of the build failed", if .0.len() == 1 { "a step" } else { "steps" })]
    Steps(Vec<StepError>),
    /// Applications whose content says nothing about how they are launched.
    #[error("{} without type", if .0.len() == 1 { "an application" } else { "applications" })]
    UntypedApps(Vec<UntypedApp>),
    /// Container images that cannot be had.
    #[error("{} cannot be had", if .0.len() == 1 { "a container image" } else { "container images" })]
    ContainerImages(Vec<FailedImage>),
    /// The base already has as many layers as an image may have.
    #[error("the base image has {count} layers; an image may have {}", MOST_LAYERS)]
    TooManyLayers {
        /// Layers of the base.
        count: usize,
    },
    /// Ctrl-C.
    #[error("the build was cancelled")]
    Cancelled,
    /// The graph is not one.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A directory object.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Reading a file of the image.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Writing a layer.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The index of images.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// An archive of container images.
    #[error(transparent)]
    Archive(#[from] Box<TransportError>),
    /// A base image, or a registry.
    #[error(transparent)]
    Registry(#[from] Box<RegistryError>),
    /// The store.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl From<RegistryError> for BuildError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<TransportError> for BuildError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Cancelled => Self::Cancelled,
            error => Self::Archive(Box::new(error)),
        }
    }
}

impl From<RegistryError> for OpError {
    fn from(error: RegistryError) -> Self {
        Self::Base(Box::new(error))
    }
}

impl From<ExecError> for OpError {
    fn from(error: ExecError) -> Self {
        Self::Exec(Box::new(error))
    }
}

impl OpError {
    /// Whether this only says that the build was stopped.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Local(LocalError::Cancelled)
                | Self::Http(HttpError::Fetch(crate::net::FetchError::Cancelled { .. }))
                | Self::Git(GitError::Cancelled)
                | Self::Context(ContextError::Cancelled)
                | Self::Frame(FrameError::Cancelled)
                | Self::File(FileError::Archive(ArchiveError::Cancelled))
        ) || match self {
            Self::Base(error) => error.is_cancelled(),
            Self::Content(error) | Self::Frame(FrameError::Content(error)) => error.is_cancelled(),
            Self::Exec(error) => match &**error {
                ExecError::Snapshot(SnapshotError::Content(error)) => error.is_cancelled(),
                error => matches!(error, ExecError::Sandbox(SandboxError::Cancelled)),
            },
            _ => false,
        }
    }
}
