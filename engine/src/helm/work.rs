//! How much a rendering may do: charts come from anywhere, and templates are programs.
//!
//! Counted is what was ever made, not what is alive, so the same chart stops at the same place on every machine.

use std::cell::Cell;

use super::fault::{Fault, Outcome};

/// Most evaluation steps of one chart: some seconds.
const STEPS: u64 = 20_000_000;
/// Most bytes made by one chart, everything that is thrown away again included.
const BYTES: u64 = 256 << 20;
/// Deepest nesting of templates, blocks and parentheses together: Helm lets a template include itself 1000 times, and
/// whoever does so does it in a block. A level takes less than 25 KiB of stack in an unoptimised build, so the whole fits
/// the stacks of the build's threads (`session::STACK_SIZE`).
const DEPTH: usize = 2010;

/// What is left to do.
#[derive(Debug)]
pub(super) struct Work {
    steps: Cell<u64>,
    bytes: Cell<u64>,
    depth: Cell<usize>,
}

impl Work {
    pub(super) fn new() -> Self {
        Self { steps: Cell::new(STEPS), bytes: Cell::new(BYTES), depth: Cell::new(0) }
    }

    /// Counts one step.
    pub(super) fn step(&self) -> Outcome<()> {
        self.steps(1)
    }

    /// Counts steps.
    pub(super) fn steps(&self, count: usize) -> Outcome<()> {
        take(&self.steps, count, "it takes too many steps")
    }

    /// Counts bytes before they are made.
    pub(super) fn bytes(&self, count: usize) -> Outcome<()> {
        take(&self.bytes, count, "it makes too much text")
    }

    /// Goes one level down; [`Work::leave`] comes back up.
    pub(super) fn enter(&self) -> Outcome<()> {
        if self.depth.get() >= DEPTH {
            return Err(Fault::limit("templates are nested too deeply"));
        }
        self.depth.set(self.depth.get() + 1);
        Ok(())
    }

    /// Comes back from a level.
    pub(super) fn leave(&self) {
        self.depth.set(self.depth.get().saturating_sub(1));
    }
}

fn take(left: &Cell<u64>, count: usize, reason: &str) -> Outcome<()> {
    match left.get().checked_sub(count as u64) {
        Some(rest) => {
            left.set(rest);
            Ok(())
        }
        None => Err(Fault::limit(reason)),
    }
}
