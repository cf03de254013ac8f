//! Sources, trees, layers and images: all the I/O and all the concurrency of a build.
//!
//! The solver says what is to be done, this crate does it. It knows no Kubefile word and prints nothing: progress
//! leaves as events, failures as values.

mod bases;
mod build;
mod cache_mounts;
mod cancel;
mod chain;
pub mod container;
pub mod contents;
pub mod decompress;
mod delta;
pub mod diff;
pub mod discover;
mod error;
mod explain;
pub mod export;
mod extension;
pub mod frames;
pub mod gc;
mod group;
pub mod helm;
pub mod history;
pub mod ignore;
mod image;
pub mod images;
pub mod inspect;
pub mod layer;
pub mod lock;
mod memory;
pub mod merge;
pub mod mounts;
mod name;
pub mod net;
pub mod oci;
pub mod ops;
mod outcome;
mod pattern;
mod pieces;
mod plan;
pub mod registry;
pub mod remote;
pub mod sandbox;
mod secret;
mod session;
mod sha;
mod snapshot;
pub mod source;
mod stamp;
mod stat;
mod state;
mod told;
pub mod transport;
pub mod tree;
pub mod untar;
mod upper;
pub mod upstream;
mod watched;
mod yaml;

pub use bases::{BaseImage, Bases, PullPolicy};
pub use build::{Built, BuiltImage};
pub use cancel::Cancel;
pub use chain::Chain;
pub use container::{Carrying, ContainerError, FailedImage, NamedBy, Wanted, carried_by, carry};
pub use contents::ContentError;
pub use discover::{
    ChartOf, Discovered, FoundBy, FoundImage, Rendering, SearchedChart, SkippedWord, ValuesError,
};
pub use error::{BuildError, OpError, StepError, UntypedApp};
pub use explain::{FileChange, StepReport, Why};
pub use export::{Export, Exported, export, gather, keep_finished};
pub use extension::Extension;
pub use frames::LayerCompression;
pub use image::{LAST_SECOND, rfc3339};
pub use images::{Images, ImagesError, ManifestKind, Removed, StoredImage, Summary, Tagged};
pub use inspect::{Inspection, inspect};
pub use layer::TimePolicy;
pub use lock::{HttpPin, Lock, LockError, LockPolicy, Locking};
pub use name::full_name;
pub use net::{
    FetchError, FetchEvent, FetchRequest, FetchSettings, Fetched, Fetcher, Proxies, RedirectError, Validator,
    file_name_of, redacted,
};
pub use ops::exec::{ExecError, ExecOptions};
pub use plan::Planned;
pub use registry::{Credentials, Reference, Registry, RegistryError, Repository, Trust};
pub use sandbox::SandboxError;
pub use secret::Secret;
pub use session::{BuildOptions, Pins, Session};
pub use source::context::{ContextError, ContextSource, Contexts, Note};
pub use source::git::{GitEnvironment, GitError};
pub use source::local::{Context, LocalError, Look};
pub use state::State;
