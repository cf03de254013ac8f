//! What is known about the cost of steps: the size of what they read, and how long commands took last time.

use std::time::Duration;

use cache::Table;
use solver::{Costs, Known, Op, Pin, Plan, Record, Step, VertexIndex};

use super::{Pins, Session};
use crate::stamp;

/// Most entries of a source that are counted: one with more is large, and how large makes little difference.
const COUNTED: usize = 10_000;

impl Session<'_> {
    /// What the steps that run are expected to cost.
    pub(crate) fn costs(&self, pins: &Pins, plan: &Plan<Record>) -> Costs {
        if plan.counts().1 == 0 {
            // Nothing runs, so the order does not matter.
            return Costs::new(Vec::new());
        }
        Costs::estimate(&self.graph, |index| match (plan.step(index), &self.graph.vertex(index).op) {
            (Step::Source, _) => Known { bytes: self.bytes_of(pins, index), took: None },
            (Step::Miss(_), Op::Exec(_)) => Known { bytes: None, took: self.took(index) },
            _ => Known::default(),
        })
    }

    fn bytes_of(&self, pins: &Pins, index: VertexIndex) -> Option<u64> {
        match (pins.body(index), pins.pin(index)) {
            (Some(body), _) => Some(body.size),
            (None, Some(Pin::Tree(tree))) => Some(self.trees.bytes_below(tree, COUNTED)),
            _ => None,
        }
    }

    /// How long a command took when it last ran for this image.
    fn took(&self, index: VertexIndex) -> Option<Duration> {
        stamp::get(self.store, Table::Durations, self.identity(index)).map(Duration::from_millis)
    }

    /// Remembers how long a command took. For other steps their bytes tell enough.
    pub(crate) fn keep_took(&self, index: VertexIndex, took: Duration) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        stamp::put(self.store, Table::Durations, self.identity(index), &millis);
    }
}
