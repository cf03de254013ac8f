//! The one stream of progress: everything a terminal, a log or a test learns about a running build.
//!
//! Events carry no times: who shows them knows when they came.

use crate::{Graph, Plan, Record, Span, VertexDigest};

/// A part of a build that is no step. One may be inside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// The store is opened.
    Open,
    /// The text is read, and its context if it is in there.
    Read,
    /// The text is understood.
    Understand,
    /// Names of base images are led to manifests.
    Bases,
    /// Steps are put in order.
    Graph,
    /// Sources get their immutable identities.
    Pin,
    /// What must run is found out.
    Plan,
    /// Steps run.
    Run,
    /// Layers are put together of what steps made.
    Layers,
    /// The turn of container images, with what it is made of.
    ContainerImages,
    /// Files are looked through for container images.
    Search,
    /// Names of container images are led to manifests.
    Resolve,
    /// Config and manifest are written, and layers fetched that have to be here.
    Image,
    /// Everything new reaches the disk.
    Commit,
    /// The image is written to further places.
    Outputs,
    /// The image is sent to registries.
    Push,
    /// Caches are given what is new.
    Caches,
    /// The store is kept fast.
    Maintain,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepOutcome {
    /// Taken from the cache.
    Cached,
    /// Done in this build.
    Done,
    /// Failed; the error comes from the build itself.
    Failed,
    /// Never started: an input failed, or the build was stopped.
    Skipped,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The plan is made.
    Planned {
        /// Steps shown to people.
        steps: usize,
        /// How many of them are hits.
        cached: usize,
    },
    /// A step began.
    Started {
        /// Which.
        vertex: VertexDigest,
        /// Its one-line name.
        name: String,
    },
    /// A step moved on.
    Progress {
        /// Which.
        vertex: VertexDigest,
        /// Bytes so far.
        done_bytes: u64,
        /// Bytes in all, where known.
        total_bytes: Option<u64>,
    },
    /// A command said something.
    Log {
        /// Which step.
        vertex: VertexDigest,
        /// A line without its end; bytes that are no UTF-8 are replaced, and secrets are.
        line: String,
    },
    /// A step ended; comes without a `Started` for hits.
    Finished {
        /// Which.
        vertex: VertexDigest,
        /// Its one-line name.
        name: String,
        /// How.
        outcome: StepOutcome,
    },
    /// Something the user should act on.
    Warning {
        /// What.
        text: String,
        /// What to do about it.
        hint: String,
        /// The statement it is about.
        span: Option<Span>,
    },
}

/// Takes events; called from many threads at once, so it must be quick.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);

    /// An activity begins. Few want to know.
    fn began(&self, _: Activity) {}

    /// The activity that began last, of those that have not ended, ends.
    fn ended(&self, _: Activity) {}

    /// Steps are about to run: how they depend on each other, and which of them have to. Few want to know.
    fn planned(&self, _: &Graph, _: &Plan<Record>) {}
}

/// Does something and tells of it as an activity.
pub fn during<T>(events: &dyn EventSink, activity: Activity, work: impl FnOnce() -> T) -> T {
    events.began(activity);
    let result = work();
    events.ended(activity);
    result
}
