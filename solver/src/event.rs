//! The one stream of progress: everything a terminal, a log or a test learns about a running build.
//!
//! Events carry no times: whoever shows them knows when they came.

use crate::{Graph, Plan, Record, Span, VertexDigest};

/// A part of a build that is not a step. Activities nest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// The store is opened.
    Open,
    /// The text is read, and with it the context that it comes out of, if any.
    Read,
    /// The text is parsed and modelled.
    Understand,
    /// Names of base images are resolved to manifests.
    Bases,
    /// Steps are ordered.
    Graph,
    /// Sources get their immutable identities.
    Pin,
    /// It is decided what must run.
    Plan,
    /// Steps run.
    Run,
    /// The layers of the images are put together from what steps made.
    Layers,
    /// The whole second turn, for container images.
    ContainerImages,
    /// Files are searched for container images.
    Search,
    /// Names of container images are resolved to manifests.
    Resolve,
    /// Config and manifest are written, and layers fetched that must be in the store.
    Image,
    /// Everything new reaches the disk.
    Commit,
    /// The image is written to the places of `--output`.
    Outputs,
    /// The image is sent to registries.
    Push,
    /// Remote caches get what is new.
    Caches,
    /// The store is tidied so that it stays fast.
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
        /// A line without its end; secrets and bytes that are not UTF-8 are replaced.
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

    /// An activity begins. Most sinks ignore it.
    fn began(&self, _: Activity) {}

    /// The activity that began last, of those that have not ended, ends.
    fn ended(&self, _: Activity) {}

    /// Steps are about to run: how they depend on each other, and which of them must run. Most sinks ignore it.
    fn planned(&self, _: &Graph, _: &Plan<Record>) {}
}

/// Does some work and reports it as an activity.
pub fn during<T>(events: &dyn EventSink, activity: Activity, work: impl FnOnce() -> T) -> T {
    events.began(activity);
    let result = work();
    events.ended(activity);
    result
}
