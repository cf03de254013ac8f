//! The one stream of progress: everything a terminal, a log or a test learns about a running build.
//!
//! Events carry no times: who shows them knows when they came.

use crate::{Span, VertexDigest};

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
}
