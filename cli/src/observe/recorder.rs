//! Stamps events as they come. Makes nothing of them while the build runs.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use solver::{
    Activity, DigestMap, Event, Graph, Lane, Op, Plan, Record, Step, StepOutcome, VertexDigest, VertexIndex,
};

/// All that was seen of a build. Times are counted from its start.
#[derive(Debug, Default)]
pub(super) struct Recording {
    /// In the order in which they began.
    pub(super) runs: Vec<Run>,
    /// In the order in which they began.
    pub(super) spans: Vec<Span>,
    /// What was planned: the files of the image, its container images; more where something was done again.
    pub(super) turns: Vec<Turn>,
    /// When it ended.
    pub(super) wall: Duration,
}

/// Something with a beginning and an end that people know by name.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) vertex: VertexDigest,
    pub(super) name: String,
    /// The turn it belongs to; there may be none of that number, if planning was never reached.
    pub(super) turn: usize,
    pub(super) start: Duration,
    /// `None` while it runs.
    pub(super) end: Option<Duration>,
    pub(super) outcome: Option<StepOutcome>,
    pub(super) bytes: u64,
}

/// An activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) activity: Activity,
    pub(super) start: Duration,
    /// `None` while it goes on.
    pub(super) end: Option<Duration>,
    /// How many others it is inside of.
    pub(super) depth: usize,
}

/// A graph that was run.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// By position; inputs stand before their users.
    pub(super) nodes: Vec<Node>,
    pub(super) by_digest: DigestMap<VertexDigest, usize>,
}

/// A vertex.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) digest: VertexDigest,
    pub(super) name: String,
    pub(super) inputs: Vec<usize>,
    pub(super) lane: Lane,
    /// Whether it is a download, which is done before the plan is made.
    pub(super) is_download: bool,
    /// Whether people see it, and it has to run.
    pub(super) is_waited_for: bool,
}

/// The recording of a running build.
#[derive(Debug)]
pub(super) struct Recorder {
    start: Instant,
    so_far: Mutex<SoFar>,
}

#[derive(Debug, Default)]
struct SoFar {
    recording: Recording,
    running: HashMap<VertexDigest, usize>,
    open: Vec<usize>,
}

impl Recorder {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, so_far: Mutex::default() }
    }

    pub(super) fn event(&self, event: &Event) {
        let now = self.start.elapsed();
        let mut so_far = self.lock();
        match event {
            Event::Started { vertex, name } => so_far.begin(*vertex, name, now),
            Event::Progress { vertex, done_bytes, .. } => {
                let SoFar { recording, running, .. } = &mut *so_far;
                if let Some(run) = running.get(vertex) {
                    recording.runs[*run].bytes = *done_bytes;
                }
            }
            Event::Finished { vertex, name, outcome } => {
                if !so_far.running.contains_key(vertex) {
                    so_far.begin(*vertex, name, now);
                }
                let SoFar { recording, running, .. } = &mut *so_far;
                if let Some(run) = running.remove(vertex) {
                    (recording.runs[run].end, recording.runs[run].outcome) = (Some(now), Some(*outcome));
                }
            }
            Event::Planned { .. } | Event::Log { .. } | Event::Warning { .. } => {}
        }
    }

    pub(super) fn began(&self, activity: Activity) {
        let start = self.start.elapsed();
        let SoFar { recording, open, .. } = &mut *self.lock();
        let depth = open.len();
        open.push(recording.spans.len());
        recording.spans.push(Span { activity, start, end: None, depth });
    }

    pub(super) fn ended(&self, activity: Activity) {
        let now = self.start.elapsed();
        let SoFar { recording, open, .. } = &mut *self.lock();
        if let Some(span) = open.pop().and_then(|span| recording.spans.get_mut(span)) {
            debug_assert_eq!(span.activity, activity, "activities end in the order of a stack");
            span.end = Some(now);
        }
    }

    pub(super) fn planned(&self, graph: &Graph, plan: &Plan<Record>) {
        let node = |index: VertexIndex| {
            let (op, metadata) = (&graph.vertex(index).op, graph.metadata(index));
            let is_download = matches!(op, Op::Http(_));
            let is_run = matches!(plan.step(index), Step::Miss(_) | Step::Source);
            Node {
                digest: graph.digest(index),
                name: metadata.name.clone(),
                inputs: graph.inputs(index).iter().map(|input| input.position()).collect(),
                lane: op.into(),
                is_download,
                is_waited_for: is_run && !metadata.hidden && !is_download,
            }
        };
        let nodes: Vec<Node> = graph.indices().map(node).collect();
        let by_digest = nodes.iter().enumerate().map(|(position, node)| (node.digest, position)).collect();
        self.lock().recording.turns.push(Turn { nodes, by_digest });
    }

    /// What was seen.
    pub(super) fn end(self) -> Recording {
        let wall = self.start.elapsed();
        let so_far = self.so_far.into_inner().unwrap_or_else(PoisonError::into_inner);
        Recording { wall, ..so_far.recording }
    }

    fn lock(&self) -> MutexGuard<'_, SoFar> {
        // What a panic leaves behind is still what was seen.
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SoFar {
    fn begin(&mut self, vertex: VertexDigest, name: &str, start: Duration) {
        let turns = &self.recording.turns;
        let last = turns.len().wrapping_sub(1);
        let node = turns.last().and_then(|turn| Some(&turn.nodes[*turn.by_digest.get(&vertex)?]));
        // Downloads come before the plan that says what they are for.
        let turn = if node.is_some_and(|node| !node.is_download) { last } else { turns.len() };
        let name = name.to_owned();
        self.running.insert(vertex, self.recording.runs.len());
        self.recording.runs.push(Run { vertex, name, turn, start, end: None, outcome: None, bytes: 0 });
    }
}
