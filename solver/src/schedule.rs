//! Which vertex runs next: data in, data out. The caller does the work and says how it went.
//!
//! A vertex is started once, when all its inputs have given their results, and within the limit of its lane. Of those that may
//! start, the one goes first that the costliest chain of remaining steps begins with; of two such, the costlier one.
//! After the first failure nothing new starts: what depended on the failure is `Skipped`, the rest `Cancelled`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::{Costs, Graph, Op, Plan, Step, VertexIndex};

/// What a step waits for, and so which limit it counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Processor and disk.
    Cpu,
    /// The network.
    Net,
}

/// The lane of an op.
impl From<&Op> for Lane {
    fn from(op: &Op) -> Self {
        match op {
            Op::Http(_) | Op::Git(_) | Op::Blob(_) | Op::ContainerImage(_) => Self::Net,
            Op::Local(_) | Op::Image(_) | Op::File(_) | Op::App(_) | Op::Exec(_) | Op::State => Self::Cpu,
        }
    }
}

/// How many may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps on the processor.
    pub cpu: usize,
    /// Steps on the network that keep a connection busy. Blobs below [`LARGE_BLOB`] count a quarter.
    pub net: usize,
}

/// Blobs from this size on are worth a connection of their own, in bytes; what a smaller one takes is mostly a round trip.
pub const LARGE_BLOB: u64 = 1 << 20;
/// What a step counts that is not a small blob.
const WHOLE: usize = 4;

/// What a step counts of its lane's limit, in quarters.
fn weight(op: &Op) -> usize {
    match op {
        Op::Blob(blob) if blob.size < LARGE_BLOB => 1,
        _ => WHOLE,
    }
}

/// Where a vertex stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing needs it.
    Unneeded,
    /// Inputs are missing, or others that are to come first.
    Waiting {
        /// How many.
        inputs: usize,
    },
    /// May start.
    Ready,
    /// Started.
    Running,
    /// Its result is there.
    Done,
    /// It failed.
    Failed,
    /// An input failed.
    Skipped,
    /// The build stopped before it could start.
    Cancelled,
}

/// Where a vertex stands among those that are ready: the cost of the chain it begins, its own, and the order of the text.
type Rank = (u64, u64, Reverse<VertexIndex>);

/// The state of a running build.
#[derive(Debug)]
pub struct Scheduler<'graph> {
    graph: &'graph Graph,
    phases: Vec<Phase>,
    /// By position: the cost of the vertex itself, and of the costliest chain from it to a target.
    costs: Vec<(u64, u64)>,
    ready: [BinaryHeap<Rank>; 2],
    /// The weights of what runs.
    running: [usize; 2],
    /// Vertices that run still, while what depends on them may run already.
    released: HashSet<VertexIndex>,
    /// Who waits for a vertex without using its result.
    waiting: HashMap<VertexIndex, Vec<VertexIndex>>,
    limits: Limits,
    stopped: bool,
}

impl<'graph> Scheduler<'graph> {
    /// Starts from a plan: hits are done, sources and misses are to be run.
    pub fn new<R>(graph: &'graph Graph, plan: &Plan<R>, limits: Limits, costs: &Costs) -> Self {
        Self::in_order(graph, plan, limits, costs, &[])
    }

    /// The same, where of each pair in `order` the second also waits for the first, whose result it does not use. Together
    /// with the graph's edges the pairs must not run in a circle, or what is in it never starts.
    pub fn in_order<R>(
        graph: &'graph Graph,
        plan: &Plan<R>,
        limits: Limits,
        costs: &Costs,
        order: &[(VertexIndex, VertexIndex)],
    ) -> Self {
        let mut scheduler = Self {
            graph,
            phases: vec![Phase::Unneeded; graph.len()],
            costs: chains(graph, plan, costs),
            ready: Default::default(),
            running: [0; 2],
            released: HashSet::new(),
            waiting: HashMap::new(),
            limits: Limits { cpu: limits.cpu.max(1), net: limits.net.max(1) },
            stopped: false,
        };
        for index in graph.indices() {
            let phase = match plan.step(index) {
                Step::Unneeded => Phase::Unneeded,
                Step::Hit(_) => Phase::Done,
                Step::Miss(_) | Step::Source | Step::State => scheduler.fresh(index),
            };
            scheduler.phases[index.position()] = phase;
        }
        for &(first, second) in order {
            scheduler.wait(first, second);
        }
        let is_ready = |index: &VertexIndex| scheduler.phase(*index) == Phase::Ready;
        let ready: Vec<VertexIndex> = graph.indices().filter(is_ready).collect();
        ready.into_iter().for_each(|index| scheduler.make_ready(index));
        scheduler
    }

    /// Lets a vertex wait for another one, unless that one does not run or the vertex itself does not.
    fn wait(&mut self, first: VertexIndex, second: VertexIndex) {
        let runs = |phase| matches!(phase, Phase::Ready | Phase::Waiting { .. });
        if !runs(self.phase(first)) || !runs(self.phase(second)) {
            return;
        }
        let phase = &mut self.phases[second.position()];
        *phase = match *phase {
            Phase::Waiting { inputs } => Phase::Waiting { inputs: inputs + 1 },
            _ => Phase::Waiting { inputs: 1 },
        };
        self.waiting.entry(first).or_default().push(second);
    }

    fn fresh(&self, index: VertexIndex) -> Phase {
        let mut inputs: Vec<_> = self.graph.inputs(index).to_vec();
        inputs.sort_unstable();
        inputs.dedup();
        // Inputs stand before their users, so their phases are final here.
        match inputs.iter().filter(|input| self.phases[input.position()] != Phase::Done).count() {
            0 => Phase::Ready,
            inputs => Phase::Waiting { inputs },
        }
    }

    /// The next vertex to start, or `None` when nothing may start now. The vertex counts as running from here on.
    pub fn next_start(&mut self) -> Option<VertexIndex> {
        if self.stopped {
            return None;
        }
        // Downloads first: they cost no processor and everything else waits for them.
        for (lane, limit) in [(Lane::Net, self.limits.net), (Lane::Cpu, self.limits.cpu)] {
            let slot = lane as usize;
            let Some(&(_, _, Reverse(index))) = self.ready[slot].peek() else { continue };
            let running = self.running[slot] + weight(&self.graph.vertex(index).op);
            if running <= limit * WHOLE {
                self.ready[slot].pop();
                self.running[slot] = running;
                self.phases[index.position()] = Phase::Running;
                return Some(index);
            }
        }
        None
    }

    /// Takes the result of a running vertex that has more to do, which nothing waits for: what depends on it may start.
    ///
    /// # Panics
    /// If the vertex is not running.
    pub fn release(&mut self, index: VertexIndex) {
        assert_eq!(self.phases[index.position()], Phase::Running, "only what runs has a result to give");
        if self.released.insert(index) {
            self.complete(index);
            self.phases[index.position()] = Phase::Running;
        }
    }

    /// A running vertex has ended, and its result is there.
    ///
    /// # Panics
    /// If the vertex is not running: each start has one end.
    pub fn finish(&mut self, index: VertexIndex) {
        self.end(index);
        match self.released.contains(&index) {
            true => self.phases[index.position()] = Phase::Done,
            false => self.complete(index),
        }
    }

    /// A running vertex has failed. What depends on it never runs, and nothing else is started.
    ///
    /// # Panics
    /// As [`Scheduler::finish`].
    pub fn fail(&mut self, index: VertexIndex) {
        self.end(index);
        self.phases[index.position()] = Phase::Failed;
        self.skip_dependents(index);
        self.stop();
    }

    fn end(&mut self, index: VertexIndex) {
        assert_eq!(self.phases[index.position()], Phase::Running, "only what runs can end");
        let op = &self.graph.vertex(index).op;
        self.running[Lane::from(op) as usize] -= weight(op);
    }

    /// Starts nothing any more; what runs may end. Everything that has not started is cancelled.
    pub fn stop(&mut self) {
        self.stopped = true;
        for phase in &mut self.phases {
            if matches!(phase, Phase::Ready | Phase::Waiting { .. }) {
                *phase = Phase::Cancelled;
            }
        }
        self.ready.iter_mut().for_each(BinaryHeap::clear);
    }

    /// Whether nothing runs and nothing can start.
    pub fn is_finished(&self) -> bool {
        self.running == [0; 2] && self.ready.iter().all(BinaryHeap::is_empty)
    }

    /// Where a vertex stands.
    pub fn phase(&self, index: VertexIndex) -> Phase {
        self.phases[index.position()]
    }

    fn complete(&mut self, index: VertexIndex) {
        let mut done = vec![index];
        while let Some(index) = done.pop() {
            self.phases[index.position()] = Phase::Done;
            let waiting = self.waiting.remove(&index).unwrap_or_default();
            for &dependent in self.graph.dependents(index).iter().chain(&waiting) {
                let phase = &mut self.phases[dependent.position()];
                match *phase {
                    Phase::Waiting { inputs: 1 } if self.graph.vertex(dependent).op == Op::State => {
                        done.push(dependent)
                    }
                    Phase::Waiting { inputs: 1 } => {
                        *phase = Phase::Ready;
                        self.make_ready(dependent);
                    }
                    Phase::Waiting { inputs } => *phase = Phase::Waiting { inputs: inputs - 1 },
                    _ => {}
                }
            }
        }
    }

    fn make_ready(&mut self, index: VertexIndex) {
        let op = &self.graph.vertex(index).op;
        if *op == Op::State {
            return self.complete(index);
        }
        let (own, chain) = self.costs[index.position()];
        self.ready[Lane::from(op) as usize].push((chain, own, Reverse(index)));
    }

    fn skip_dependents(&mut self, index: VertexIndex) {
        let mut failed = vec![index];
        while let Some(index) = failed.pop() {
            for &dependent in self.graph.dependents(index) {
                let phase = &mut self.phases[dependent.position()];
                if matches!(phase, Phase::Waiting { .. }) {
                    *phase = Phase::Skipped;
                    failed.push(dependent);
                }
            }
        }
    }
}

/// By position: what a vertex costs, and the costliest chain that begins with it. What does not run costs nothing.
fn chains<R>(graph: &Graph, plan: &Plan<R>, costs: &Costs) -> Vec<(u64, u64)> {
    let mut chains = vec![(0, 0); graph.len()];
    for index in graph.indices().rev() {
        if matches!(plan.step(index), Step::Unneeded | Step::Hit(_)) {
            continue;
        }
        let above = graph.dependents(index).iter().map(|above| chains[above.position()].1).max();
        let own = costs.of(index);
        chains[index.position()] = (own, own.saturating_add(above.unwrap_or(0)));
    }
    chains
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
