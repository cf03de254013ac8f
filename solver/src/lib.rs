//! The waist: what a build *is*, as data.
//!
//! A frontend lowers text to a [`Definition`] of [`Op`]s addressed by digest; this crate gives every vertex its keys,
//! decides what must run and in which order; the engine does the work. Nothing here opens a file or a socket, reads
//! a clock, or knows OCI JSON or a Kubefile word.

mod access;
mod cost;
mod definition;
mod digest;
mod error;
mod event;
mod exec;
mod explain;
mod git;
mod graph;
mod image_spec;
mod key;
mod op;
mod plan;
mod result;
mod schedule;
mod source_map;

pub use access::{Account, Chmod, Chown, Class, ModeChange, ModeOperator, Owner, Permission, Permissions};
pub use cost::{Costs, Known};
pub use definition::{Definition, Metadata, Vertex};
pub use digest::{
    BlobDigest, CacheKey, ContentDigest, DiffId, DigestError, DigestHasher, DigestMap, Hasher,
    ManifestDigest, TreeDigest, VertexDigest,
};
pub use error::GraphError;
pub use event::{Activity, Event, EventSink, StepOutcome, during};
pub use exec::{ExecOp, Mount, MountKind, Network, Sharing};
pub use explain::{Difference, KeyFact, first_difference, key_facts};
pub use git::{GitSource, GitUrlError};
pub use graph::{Graph, VertexIndex};
pub use image_spec::{AppSpec, Application, Base, ChartValues, HistoryStep, ImageSpec, Launch, Platform};
pub use key::{ContentRead, DestinationFact, Header, KEY_VERSION, Pin, content_key, definition_keys};
pub use op::{
    AppOp, AppSource, ContainerImageOp, CopySource, FileOp, HttpSource, ImageSource, Inline, LocalSource, Op,
    SourceKind, StoreContent, StoreFile, Unpack,
};
pub use plan::{MissReason, Plan, Step, plan};
pub use result::{AppFacts, AppKind, Descriptor, Facts, HardLinks, Layer, MediaType, Record};
pub use schedule::{LARGE_BLOB, Lane, Limits, Phase, Scheduler};
pub use source_map::{Lines, Position, SourceFile, Span};
