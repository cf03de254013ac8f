//! What a recording comes to: slots of lanes, the critical path, what was never reached. A pure function of what was seen.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use solver::{Lane, StepOutcome};

use super::recorder::{Recording, Run, Span, Turn};
use super::sampler::Sample;

/// Inputs told of one step.
const INPUTS: usize = 32;
/// Vertices that people do not see, gone through on the way to the inputs of one step.
const HIDDEN: usize = 1000;

/// A build that has ended, ready to be drawn.
#[derive(Debug, Default)]
pub(super) struct Chart {
    /// Names of the image.
    pub(super) title: String,
    pub(super) is_built: bool,
    pub(super) wall: Duration,
    /// In the order in which they began; those that never did come last.
    pub(super) steps: Vec<Step>,
    /// In the order in which they began; all have an end.
    pub(super) spans: Vec<Span>,
    pub(super) samples: Vec<Sample>,
    /// Steps of the critical path, in the order in which they ran.
    pub(super) critical: Vec<usize>,
    /// Slots of each lane that were ever used.
    pub(super) cpu_slots: usize,
    pub(super) net_slots: usize,
}

/// A step or a download.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Its vertex.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) lane: Lane,
    /// Which of the lane's slots it had, from 0; `None` if it took no time.
    pub(super) slot: Option<usize>,
    pub(super) start: Duration,
    pub(super) took: Duration,
    pub(super) bytes: u64,
    pub(super) outcome: StepOutcome,
    pub(super) is_critical: bool,
    /// Steps it waited for, the first few.
    pub(super) inputs: Vec<usize>,
}

impl Step {
    pub(super) fn end(&self) -> Duration {
        self.start + self.took
    }

    /// Whether it took any time: what the cache answered did not, and what was skipped neither.
    pub(super) fn ran(&self) -> bool {
        self.slot.is_some()
    }
}

impl Chart {
    pub(super) fn new(seen: Recording, samples: Vec<Sample>, title: String, is_built: bool) -> Self {
        let Recording { runs, spans, turns, wall } = seen;
        let mut steps: Vec<Step> = runs.iter().map(|run| step(run, &turns, wall)).collect();
        let by_vertex: HashMap<_, usize> =
            runs.iter().enumerate().map(|(number, run)| ((run.turn, run.vertex), number)).collect();
        let of_node =
            |turn: usize, node: usize| by_vertex.get(&(turn, turns[turn].nodes[node].digest)).copied();
        for (number, run) in runs.iter().enumerate() {
            let Some(turn) = turns.get(run.turn) else { continue };
            if let Some(node) = turn.by_digest.get(&run.vertex) {
                let inputs = inputs(turn, *node, &|node| of_node(run.turn, node));
                steps[number].inputs = inputs;
            }
        }
        let critical = critical(&turns, &steps, &of_node);
        critical.iter().for_each(|step| steps[*step].is_critical = true);
        if !is_built {
            steps.extend(skipped(&turns, &of_node, wall));
        }
        let [cpu_slots, net_slots] = [Lane::Cpu, Lane::Net].map(|lane| give_slots(&mut steps, lane));
        let end = |span: Span| Span { end: Some(span.end.unwrap_or(wall)), ..span };
        let spans = spans.into_iter().map(end).collect();
        Self { title, is_built, wall, steps, spans, samples, critical, cpu_slots, net_slots }
    }

    /// What the steps of the critical path took. One that gave its result to the next before it had ended counts until the
    /// next began.
    pub(super) fn critical_time(&self) -> Duration {
        let until_next = |pair: &[usize]| {
            let (step, next) = (&self.steps[pair[0]], &self.steps[pair[1]]);
            step.end().min(next.start).saturating_sub(step.start)
        };
        let last = self.critical.last().map_or(Duration::ZERO, |step| self.steps[*step].took);
        self.critical.windows(2).map(until_next).sum::<Duration>() + last
    }

    /// Wall time that belongs to no activity.
    pub(super) fn rest(&self) -> Duration {
        let known: Duration =
            self.spans.iter().filter(|span| span.depth == 0).map(|span| took(span, self.wall)).sum();
        self.wall.saturating_sub(known)
    }

    /// How many steps ended in some way.
    pub(super) fn count(&self, outcome: StepOutcome) -> usize {
        self.steps.iter().filter(|step| step.outcome == outcome).count()
    }
}

/// How long an activity went on.
pub(super) fn took(span: &Span, wall: Duration) -> Duration {
    span.end.unwrap_or(wall).saturating_sub(span.start)
}

fn step(run: &Run, turns: &[Turn], wall: Duration) -> Step {
    let node = turns.get(run.turn).and_then(|turn| Some(&turn.nodes[*turn.by_digest.get(&run.vertex)?]));
    Step {
        key: run.vertex.to_string(),
        name: run.name.clone(),
        // What no graph has was fetched, or waited for.
        lane: node.map_or(Lane::Net, |node| node.lane),
        slot: None,
        start: run.start,
        took: run.end.unwrap_or(wall).saturating_sub(run.start),
        bytes: run.bytes,
        // What had no end when the build had one did not come to its own.
        outcome: run.outcome.unwrap_or(StepOutcome::Failed),
        is_critical: false,
        inputs: Vec::new(),
    }
}

/// The steps a vertex waited for, past what people do not see.
fn inputs(turn: &Turn, node: usize, of_node: &dyn Fn(usize) -> Option<usize>) -> Vec<usize> {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut pending = turn.nodes[node].inputs.clone();
    while let Some(input) = pending.pop() {
        if found.len() == INPUTS || seen.len() == HIDDEN {
            break;
        }
        if let Some(step) = of_node(input) {
            found.insert(step);
        } else if seen.insert(input) {
            pending.extend(below(turn, input));
        }
    }
    found.into_iter().collect()
}

/// What a state consists of, but for what its own step has waited for already.
fn below(turn: &Turn, state: usize) -> impl Iterator<Item = usize> {
    let inputs = &turn.nodes[state].inputs;
    let own = inputs.first().map_or(&[][..], |step| turn.nodes[*step].inputs.as_slice());
    inputs.iter().copied().filter(move |input| !own.contains(input))
}

/// The steps that the wall time could not do without, however many cores and connections there are: the longest download,
/// since the plan waits for all of them, and the longest chain of steps, each an input of the next. Turns come one after
/// the other, and so do their paths.
fn critical(turns: &[Turn], steps: &[Step], of_node: &dyn Fn(usize, usize) -> Option<usize>) -> Vec<usize> {
    let mut path = Vec::new();
    for (number, turn) in turns.iter().enumerate() {
        let took = |position| of_node(number, position).map_or(Duration::ZERO, |step| steps[step].took);
        let downloads = (0..turn.nodes.len()).filter(|position| turn.nodes[*position].is_download);
        let longest = downloads.max_by_key(|position| took(*position));
        path.extend(longest.and_then(|position| of_node(number, position)));
        // By position: what the longest chain up to here took, and the input it came by.
        let mut chains: Vec<(Duration, Option<usize>)> = Vec::with_capacity(turn.nodes.len());
        for (position, node) in turn.nodes.iter().enumerate() {
            let own = if node.is_download { Duration::ZERO } else { took(position) };
            let before = node.inputs.iter().map(|input| (chains[*input].0, *input)).max();
            chains.push((before.map_or(own, |(before, _)| before + own), before.map(|(_, input)| input)));
        }
        let last = chains.iter().enumerate().map(|(position, (took, _))| (*took, position)).max();
        let mut at = last.map(|(_, position)| position);
        let start = path.len();
        while let Some(position) = at {
            path.extend(of_node(number, position).filter(|_| !turn.nodes[position].is_download));
            at = chains[position].1;
        }
        path[start..].reverse();
    }
    path.retain(|step| !steps[*step].took.is_zero());
    path
}

/// Steps that had to run and never began: something failed before.
fn skipped<'a>(
    turns: &'a [Turn],
    of_node: &'a dyn Fn(usize, usize) -> Option<usize>,
    wall: Duration,
) -> impl Iterator<Item = Step> + 'a {
    let last = turns.len().saturating_sub(1);
    let nodes = turns.last().into_iter().flat_map(|turn| turn.nodes.iter().enumerate());
    let missing =
        nodes.filter(move |(position, node)| node.is_waited_for && of_node(last, *position).is_none());
    missing.map(move |(_, node)| Step {
        key: node.digest.to_string(),
        name: node.name.clone(),
        lane: node.lane,
        slot: None,
        start: wall,
        took: Duration::ZERO,
        bytes: 0,
        outcome: StepOutcome::Skipped,
        is_critical: false,
        inputs: Vec::new(),
    })
}

/// Gives each step of a lane the first slot that is free when it begins; how many there are.
fn give_slots(steps: &mut [Step], lane: Lane) -> usize {
    let is_of_lane = |step: &&mut Step| step.lane == lane && !step.took.is_zero();
    let mut of_lane: Vec<&mut Step> = steps.iter_mut().filter(is_of_lane).collect();
    of_lane.sort_by_key(|step| step.start);
    let mut busy: Vec<Duration> = Vec::new();
    for step in of_lane {
        let slot = busy.iter().position(|until| *until <= step.start).unwrap_or(busy.len());
        if slot == busy.len() {
            busy.push(Duration::ZERO);
        }
        busy[slot] = step.end();
        step.slot = Some(slot);
    }
    busy.len()
}

#[cfg(test)]
#[path = "chart_tests.rs"]
mod tests;
