//! What vertices are expected to cost, so that the schedule begins with what the longest chain needs.
//!
//! These are guesses, and may be wrong: they decide the order of steps, and nothing that is built depends on that. What is
//! known of sizes and earlier runs comes in as data.

use std::time::Duration;

use crate::{CopySource, FileOp, Graph, Op, VertexIndex};

/// What any step takes: looking up, hashing, keeping a record.
const STEP: u64 = 200;
/// A round trip to a server, with what a handshake takes of it.
const ROUND_TRIP: u64 = 50_000;
/// A command of which nothing is known: most install or compile something.
const COMMAND: u64 = 2_000_000;
/// Nanoseconds that a byte takes on its way from a server, at 20 MB/s.
const RECEIVED: u64 = 50;
/// Nanoseconds that a byte takes to be read, hashed and compressed, at 200 MB/s.
const COMPRESSED: u64 = 5;
/// Nanoseconds that a byte takes to be written into a layer as it is, at 1 GB/s.
const COPIED: u64 = 1;

/// What is known of a vertex before it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Bytes of a source.
    pub bytes: Option<u64>,
    /// What it took when it last ran.
    pub took: Option<Duration>,
}

/// The expected cost of every vertex, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costs(Vec<u64>);

impl Costs {
    /// The cost of each vertex by itself, by position.
    pub fn new(micros: Vec<u64>) -> Self {
        Self(micros)
    }

    /// Costs by what is known: what a step took before, else what its kind and its bytes make likely.
    pub fn estimate(graph: &Graph, known: impl Fn(VertexIndex) -> Known) -> Self {
        let known: Vec<Known> = graph.indices().map(known).collect();
        let bytes = |input: &VertexIndex| match &graph.vertex(*input).op {
            Op::Blob(blob) => blob.size,
            _ => known[input.position()].bytes.unwrap_or(0),
        };
        let cost = |index: VertexIndex| {
            let here = known[index.position()];
            if let Some(took) = here.took {
                return u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            }
            let inputs = || graph.inputs(index).iter().map(bytes).fold(0, u64::saturating_add);
            let work = |bytes: u64, nanos: u64| STEP.saturating_add(bytes.saturating_mul(nanos) / 1000);
            match &graph.vertex(index).op {
                // Pinned before anything is scheduled.
                Op::State | Op::Local(_) | Op::Http(_) | Op::Image(_) => 0,
                Op::Git(_) => ROUND_TRIP.saturating_add(work(here.bytes.unwrap_or(0), RECEIVED)),
                Op::Blob(blob) => ROUND_TRIP.saturating_add(work(blob.size, RECEIVED)),
                Op::File(file) => work(inputs().saturating_add(inline(file)), COMPRESSED),
                Op::App(_) => work(inputs(), COMPRESSED),
                Op::ContainerImage(_) => work(inputs(), COPIED),
                Op::Exec(_) => COMMAND,
            }
        };
        Self(graph.indices().map(cost).collect())
    }

    /// What a vertex costs by itself.
    pub fn of(&self, index: VertexIndex) -> u64 {
        self.0.get(index.position()).copied().unwrap_or(0)
    }
}

fn inline(file: &FileOp) -> u64 {
    let bytes = |source: &CopySource| match source {
        CopySource::Inline(inline) => inline.content.len() as u64,
        CopySource::Input { .. } => 0,
    };
    file.sources.iter().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppOp, BlobDigest, Definition, Descriptor, HttpSource, Metadata, SourceFile, VertexDigest};

    #[test]
    fn bytes_that_are_known_make_a_step_dearer_and_what_was_measured_goes_before_them() {
        let mut definition = Definition::new(SourceFile::default());
        let mut apps = Vec::new();
        for name in ["small", "large", "measured"] {
            let op =
                Op::Http(HttpSource { url: format!("http://h/{name}"), checksum: None, file_name: None });
            let source = definition.add(op, vec![], Metadata { name: name.into(), ..Metadata::default() });
            let op = Op::App(AppOp { name: name.into(), sources: Vec::new() });
            apps.push(definition.add(op, vec![source], Metadata::default()));
        }
        let blob = Op::Blob(Descriptor { digest: BlobDigest::from_bytes([1; 32]), size: 1 << 30 });
        apps.push(definition.add(blob, vec![], Metadata::default()));
        let last = Op::App(AppOp { name: "all".into(), sources: Vec::new() });
        let target = definition.add(last, apps.clone(), Metadata::default());
        definition.set_target(target);
        let graph = Graph::new(&definition).unwrap();
        let costs = Costs::estimate(&graph, |index| {
            let took = (graph.digest(index) == apps[2]).then_some(Duration::from_secs(3));
            let bytes = if graph.metadata(index).name == "large" { 1 << 30 } else { 10 };
            Known { bytes: Some(bytes), took }
        });
        let cost = |digest: &VertexDigest| {
            costs.of(graph.indices().find(|&index| graph.digest(index) == *digest).unwrap())
        };
        let [small, large, measured, blob] = [&apps[0], &apps[1], &apps[2], &apps[3]].map(cost);
        assert!(small < measured && measured < large && large < blob, "{small} {measured} {large} {blob}");
        assert_eq!(measured, 3_000_000);
    }
}
