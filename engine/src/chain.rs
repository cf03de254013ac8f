//! The order of an image's steps: from a target down to its base, and the states in between.

use std::collections::HashMap;

use solver::{Graph, ManifestDigest, Op, Record, VertexIndex};

use crate::state::State;

/// The steps of an image, oldest first, above its base.
#[derive(Debug)]
pub struct Chain {
    /// The base image's vertex, if any.
    pub base: Option<VertexIndex>,
    /// The steps.
    pub steps: Vec<VertexIndex>,
}

impl Chain {
    /// The base image.
    pub(crate) fn base_digest(&self, graph: &Graph) -> Option<ManifestDigest> {
        match &graph.vertex(self.base?).op {
            Op::Image(image) => Some(image.digest),
            _ => None,
        }
    }
}

/// The image of a target, down to its base.
pub(crate) fn chain(graph: &Graph, target: Option<VertexIndex>) -> Chain {
    let mut chain = Chain { base: None, steps: Vec::new() };
    let mut at = target;
    while let Some(index) = at {
        at = match (&graph.vertex(index).op, graph.inputs(index)) {
            (Op::State, [step, below @ ..]) => {
                chain.steps.push(*step);
                below.first().copied()
            }
            _ => {
                chain.base = Some(index);
                None
            }
        };
    }
    chain.steps.reverse();
    chain
}

/// States by vertex, built once from the results of their steps.
pub(crate) fn state_of<'r, E>(
    graph: &Graph,
    base: &dyn Fn(VertexIndex) -> Result<State, E>,
    result: &dyn Fn(VertexIndex) -> &'r Record,
    memo: &mut HashMap<VertexIndex, State>,
    index: VertexIndex,
) -> Result<State, E> {
    // From the top down to something known, then up again: a loop, because stages can be thousands of steps long.
    let mut steps = Vec::new();
    let mut at = Some(index);
    let mut state = State::default();
    while let Some(here) = at {
        if let Some(known) = memo.get(&here) {
            state = known.clone();
            break;
        }
        match (&graph.vertex(here).op, graph.inputs(here)) {
            (Op::State, [step, below @ ..]) => {
                steps.push(*step);
                at = below.first().copied();
            }
            _ => {
                state = base(here)?;
                break;
            }
        }
    }
    steps.into_iter().rev().for_each(|step| state.push(result(step)));
    memo.insert(index, state.clone());
    Ok(state)
}
