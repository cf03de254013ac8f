//! What must run, decided from the target backwards: a hit needs none of its inputs.

use crate::{Graph, Op, VertexIndex};

/// Why a step is not a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// No record under its definition key.
    NoRecord,
    /// There is a record, but a blob it needs is gone.
    BlobGone,
    /// The user asked not to use the cache.
    NotAsked,
}

/// What the plan says about a vertex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<R> {
    /// Nothing needs it.
    Unneeded,
    /// A record answers it.
    Hit(R),
    /// It must run.
    Miss(MissReason),
    /// A source that a running step reads; its pin is known already.
    Source,
    /// A state: bookkeeping only.
    State,
}

/// One [`Step`] for each vertex.
#[derive(Debug)]
pub struct Plan<R> {
    steps: Vec<Step<R>>,
}

impl<R> Plan<R> {
    /// What is to be done with a vertex.
    pub fn step(&self, index: VertexIndex) -> &Step<R> {
        &self.steps[index.position()]
    }

    /// Numbers of hits and of misses.
    pub fn counts(&self) -> (usize, usize) {
        let hits = self.steps.iter().filter(|step| matches!(step, Step::Hit(_))).count();
        let misses = self.steps.iter().filter(|step| matches!(step, Step::Miss(_))).count();
        (hits, misses)
    }
}

/// Plans a build. `lookup` gets the steps of one wave at a time, so that a store can answer many at once; all steps
/// of the final stage are one wave.
pub fn plan<R>(
    graph: &Graph,
    mut lookup: impl FnMut(&[VertexIndex]) -> Vec<Result<R, MissReason>>,
) -> Plan<R> {
    let mut steps: Vec<Step<R>> = graph.indices().map(|_| Step::Unneeded).collect();
    let mut seen = vec![false; graph.len()];
    let mut pending: Vec<VertexIndex> = graph.targets().iter().flatten().copied().collect();
    while !pending.is_empty() {
        let mut wave = Vec::new();
        while let Some(index) = pending.pop() {
            if std::mem::replace(&mut seen[index.position()], true) {
                continue;
            }
            match graph.vertex(index).op {
                Op::State => {
                    steps[index.position()] = Step::State;
                    pending.extend(graph.inputs(index));
                }
                Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Image(_) | Op::Blob(_) => {
                    steps[index.position()] = Step::Source;
                }
                Op::File(_) | Op::App(_) | Op::Exec(_) | Op::ContainerImage(_) => wave.push(index),
            }
        }
        wave.sort_unstable();
        let answers = if wave.is_empty() { Vec::new() } else { lookup(&wave) };
        for (index, answer) in wave.into_iter().zip(answers) {
            steps[index.position()] = match answer {
                Ok(record) => Step::Hit(record),
                Err(reason) => {
                    pending.extend(graph.inputs(index));
                    Step::Miss(reason)
                }
            };
        }
    }
    Plan { steps }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
