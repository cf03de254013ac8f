//! The order of an image's steps: from a target down to its base, and the states in between.

use std::collections::HashMap;

use solver::{Graph, Op, TreeDigest, VertexIndex};

use crate::ops::Input;
use crate::session::{Pins, Session};
use crate::state::State;

/// The steps of the final image, oldest first, above its base.
#[derive(Debug)]
pub struct Chain {
    /// The base image's vertex, if any.
    pub base: Option<VertexIndex>,
    /// The steps.
    pub steps: Vec<VertexIndex>,
}

/// The final image from the target down to its base.
pub(crate) fn chain(graph: &Graph) -> Chain {
    let mut chain = Chain { base: None, steps: Vec::new() };
    let mut at = graph.target();
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

/// States by vertex, built once from the deltas of their steps.
pub(crate) fn state_of(
    graph: &Graph,
    pins: &Pins,
    delta: &dyn Fn(VertexIndex) -> TreeDigest,
    memo: &mut HashMap<VertexIndex, State>,
    index: VertexIndex,
) -> State {
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
                if let Some(Input::State(base)) = Session::input_of(pins, here) {
                    state = base;
                }
                break;
            }
        }
    }
    state.deltas.extend(steps.into_iter().rev().map(delta));
    memo.insert(index, state.clone());
    state
}
