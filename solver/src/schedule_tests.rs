//! The scheduler driven by a simulated world: random graphs, random ends.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    AppOp, BlobDigest, Definition, Descriptor, HttpSource, Metadata, MissReason, SourceFile, VertexDigest,
    plan,
};

/// A graph from a list of picks: vertex `n` reads some earlier ones; every fifth is a download, every seventh a state.
fn graph(picks: &[Vec<prop::sample::Index>]) -> Graph {
    let mut definition = Definition::new(SourceFile::default());
    let mut all: Vec<VertexDigest> = Vec::new();
    for (number, picks) in picks.iter().enumerate() {
        let mut inputs: Vec<VertexDigest> =
            if all.is_empty() { Vec::new() } else { picks.iter().map(|pick| *pick.get(&all)).collect() };
        let op = match number {
            n if n % 5 == 0 => {
                inputs.clear();
                Op::Http(HttpSource { url: format!("http://h/{n}"), checksum: None, file_name: None })
            }
            n if n % 7 == 0 && !inputs.is_empty() => Op::State,
            n => Op::App(AppOp { name: format!("a{n}"), sources: Vec::new() }),
        };
        all.push(definition.add(op, inputs, Metadata::default()));
    }
    let used: BTreeSet<VertexDigest> = all
        .iter()
        .filter_map(|one| definition.get(one))
        .flat_map(|(vertex, _)| vertex.inputs.clone())
        .collect();
    let loose = all.iter().copied().filter(|one| !used.contains(one)).collect::<BTreeSet<_>>();
    let target = definition.add(
        Op::App(AppOp { name: "target".into(), sources: Vec::new() }),
        loose.into_iter().collect(),
        Metadata::default(),
    );
    definition.set_target(target);
    Graph::new(&definition).unwrap()
}

fn equal(graph: &Graph) -> Costs {
    Costs::new(vec![1; graph.len()])
}

fn all_miss(graph: &Graph) -> Plan<()> {
    plan(graph, |wave| wave.iter().map(|_| Err(MissReason::NoRecord)).collect())
}

/// Runs a scheduler to its end: `choose` says which of the running ends next, `fails` which fail. Checks on the way
/// that inputs come first, nothing starts twice, and no limit is passed.
fn drive(
    graph: &Graph,
    limits: Limits,
    mut choose: impl FnMut(usize) -> usize,
    fails: impl Fn(usize) -> bool,
) -> Vec<Phase> {
    let plan = all_miss(graph);
    let mut scheduler = Scheduler::new(graph, &plan, limits, &equal(graph));
    let mut running: Vec<VertexIndex> = Vec::new();
    let mut started = BTreeSet::new();
    for _ in 0..=graph.len() {
        while let Some(index) = scheduler.next_start() {
            assert!(started.insert(index), "started twice");
            assert!(
                graph.inputs(index).iter().all(|input| scheduler.phase(*input) == Phase::Done),
                "inputs first"
            );
            running.push(index);
        }
        let in_lane = |lane| running.iter().filter(|&&i| Lane::from(&graph.vertex(i).op) == lane).count();
        assert!(in_lane(Lane::Cpu) <= limits.cpu && in_lane(Lane::Net) <= limits.net);
        assert_eq!(scheduler.is_finished(), running.is_empty());
        if running.is_empty() {
            return graph.indices().map(|index| scheduler.phase(index)).collect();
        }
        let index = running.swap_remove(choose(running.len()));
        if fails(index.position()) { scheduler.fail(index) } else { scheduler.finish(index) }
    }
    panic!("the scheduler does not end");
}

/// The order in which everything starts when one step runs at a time, oldest start first.
fn order(graph: &Graph, costs: &Costs) -> Vec<VertexIndex> {
    let plan = all_miss(graph);
    let mut scheduler = Scheduler::new(graph, &plan, Limits { cpu: 1, net: 1 }, costs);
    let mut order = Vec::new();
    let mut running = std::collections::VecDeque::new();
    loop {
        while let Some(index) = scheduler.next_start() {
            order.push(index);
            running.push_back(index);
        }
        let Some(index) = running.pop_front() else { return order };
        scheduler.finish(index);
    }
}

/// What the costliest way from each vertex to a target takes, computed as it is defined.
fn longest(graph: &Graph, costs: &Costs) -> Vec<u64> {
    let mut longest = vec![0; graph.len()];
    for index in graph.indices().rev() {
        let above = graph.dependents(index).iter().map(|above| longest[above.position()]).max();
        longest[index.position()] = costs.of(index) + above.unwrap_or(0);
    }
    longest
}

fn names(graph: &Graph, order: &[VertexIndex]) -> Vec<String> {
    order.iter().map(|index| graph.metadata(*index).name.clone()).collect()
}

/// Applications with what each costs and reads; the last is the target.
fn apps(steps: &[(&str, u64, &[&str])]) -> (Graph, Costs) {
    let mut definition = Definition::new(SourceFile::default());
    let mut known = std::collections::BTreeMap::new();
    for (name, _, inputs) in steps {
        let op = Op::App(AppOp { name: (*name).into(), sources: Vec::new() });
        let inputs = inputs.iter().map(|input| known[input]).collect();
        let metadata = Metadata { name: (*name).into(), ..Metadata::default() };
        let vertex = definition.add(op, inputs, metadata);
        known.insert(*name, vertex);
        definition.set_target(vertex);
    }
    (Graph::new(&definition).unwrap(), Costs::new(steps.iter().map(|(_, cost, _)| *cost).collect()))
}

fn picks() -> impl Strategy<Value = Vec<Vec<prop::sample::Index>>> {
    prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..60)
}

proptest! {
    #[test]
    fn everything_runs_once_after_its_inputs_within_the_limits(
        picks in picks(), cpu in 1_usize..4, net in 1_usize..4, seed: u64
    ) {
        let graph = graph(&picks);
        let mut random = seed;
        let phases = drive(&graph, Limits { cpu, net }, |running| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % running
        }, |_| false);
        prop_assert!(phases.iter().all(|phase| *phase == Phase::Done));
    }

    #[test]
    fn what_starts_heads_the_costliest_chain_of_those_that_are_ready(
        picks in picks(), weights in prop::collection::vec(0_u64..5, 61)
    ) {
        let graph = graph(&picks);
        let costs = Costs::new(weights);
        let order = order(&graph, &costs);
        prop_assert_eq!(&order, &super::tests::order(&graph, &costs), "the same every time");
        let real = |index: &VertexIndex| graph.vertex(*index).op != Op::State;
        let all: BTreeSet<VertexIndex> = graph.indices().filter(real).collect();
        prop_assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), all, "everything is started");
        prop_assert_eq!(order.len(), graph.indices().filter(real).count(), "and once");
        let longest = longest(&graph, &costs);
        for (place, started) in order.iter().enumerate() {
            let lane = |index: &VertexIndex| Lane::from(&graph.vertex(*index).op);
            // One that starts later in the same lane and needs nothing was ready all the time.
            let free = order[place..].iter().filter(|index| graph.inputs(**index).is_empty());
            for other in free.filter(|other| lane(other) == lane(started)) {
                prop_assert!(longest[started.position()] >= longest[other.position()]);
            }
        }
    }

    #[test]
    fn of_a_pair_the_second_starts_when_the_first_has_ended(
        picks in picks(), pairs in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 0..8), cpu in 1_usize..4
    ) {
        let graph = graph(&picks);
        // As the edges go, so that nothing runs in a circle.
        let pair = |[one, other]: &[prop::sample::Index; 2]| {
            let [one, other] = [one, other].map(|at| graph.indices().nth(at.index(graph.len())).unwrap());
            (one < other).then_some((one, other))
        };
        let order: Vec<_> = pairs.iter().filter_map(pair).collect();
        let plan = all_miss(&graph);
        let limits = Limits { cpu, net: 2 };
        let mut scheduler = Scheduler::in_order(&graph, &plan, limits, &equal(&graph), &order);
        let mut running = Vec::new();
        while !scheduler.is_finished() {
            while let Some(index) = scheduler.next_start() {
                for (first, second) in &order {
                    prop_assert!(*second != index || scheduler.phase(*first) == Phase::Done);
                }
                running.push(index);
            }
            scheduler.finish(running.swap_remove(0));
        }
        prop_assert!(graph.indices().all(|index| scheduler.phase(index) == Phase::Done));
    }

    #[test]
    fn a_failure_skips_its_dependents_and_cancels_what_had_not_started(
        picks in picks(), bad: prop::sample::Index, cpu in 1_usize..4
    ) {
        let graph = graph(&picks);
        let bad = bad.index(graph.len());
        prop_assume!(graph.vertex(graph.indices().nth(bad).unwrap()).op != Op::State);
        let phases = drive(&graph, Limits { cpu, net: 1 }, |_| 0, |position| position == bad);
        let mut below = vec![false; graph.len()];
        below[bad] = true;
        for index in graph.indices() {
            let depends = graph.inputs(index).iter().any(|input| below[input.position()]);
            below[index.position()] |= depends;
            let phase = phases[index.position()];
            if index.position() == bad {
                prop_assert_eq!(phase, Phase::Failed);
            } else if depends {
                prop_assert_eq!(phase, Phase::Skipped);
            } else {
                prop_assert!(matches!(phase, Phase::Done | Phase::Cancelled), "{:?}", phase);
            }
        }
    }
}

#[test]
fn the_longest_remaining_chain_starts_first() {
    let mut definition = Definition::new(SourceFile::default());
    let mut add = |name: &str, inputs: Vec<VertexDigest>| {
        let op = Op::App(AppOp { name: name.into(), sources: Vec::new() });
        definition.add(op, inputs, Metadata { name: name.into(), ..Metadata::default() })
    };
    let short = add("short", vec![]);
    let long = add("long", vec![]);
    let middle = add("middle", vec![long]);
    let target = add("target", vec![middle, short]);
    definition.set_target(target);
    let graph = Graph::new(&definition).unwrap();
    let plan = all_miss(&graph);
    let mut scheduler = Scheduler::new(&graph, &plan, Limits { cpu: 1, net: 1 }, &equal(&graph));
    assert_eq!(graph.metadata(scheduler.next_start().unwrap()).name, "long");
    assert_eq!(scheduler.next_start(), None, "one at a time");
}

#[test]
fn a_short_chain_that_costs_more_starts_before_a_long_one() {
    let (graph, costs) = apps(&[
        ("a", 10, &[]),
        ("b", 10, &["a"]),
        ("c", 10, &["b"]),
        ("heavy", 1000, &[]),
        ("target", 1, &["c", "heavy"]),
    ]);
    assert_eq!(names(&graph, &order(&graph, &costs)), ["heavy", "a", "b", "c", "target"]);
}

#[test]
fn of_steps_that_lead_to_the_same_the_largest_starts_first_and_equals_go_by_the_text() {
    let (graph, costs) = apps(&[
        ("small", 1, &[]),
        ("large", 9, &[]),
        ("also small", 1, &[]),
        ("middle", 5, &[]),
        ("target", 1, &["small", "large", "also small", "middle"]),
    ]);
    assert_eq!(names(&graph, &order(&graph, &costs)), ["large", "middle", "small", "also small", "target"]);
}

#[test]
fn of_chains_that_cost_the_same_the_one_with_the_larger_head_starts_first() {
    let (graph, costs) = apps(&[
        ("light", 1, &[]),
        ("after light", 9, &["light"]),
        ("large", 9, &[]),
        ("after large", 1, &["large"]),
        ("target", 1, &["after light", "after large"]),
    ]);
    let order = names(&graph, &order(&graph, &costs));
    assert_eq!(order, ["large", "light", "after light", "after large", "target"]);
}

#[test]
fn what_does_not_run_makes_no_chain_longer() {
    let (graph, costs) = apps(&[
        ("shared", 1, &[]),
        ("other", 2, &[]),
        ("cached", 1000, &["shared"]),
        ("target", 1, &["cached", "shared", "other"]),
    ]);
    let is_cached = |index: &VertexIndex| graph.metadata(*index).name == "cached";
    let plan = plan(&graph, |wave| {
        wave.iter().map(|index| if is_cached(index) { Ok(()) } else { Err(MissReason::NoRecord) }).collect()
    });
    let mut scheduler = Scheduler::new(&graph, &plan, Limits { cpu: 1, net: 1 }, &costs);
    assert_eq!(graph.metadata(scheduler.next_start().unwrap()).name, "other");
}

#[test]
fn a_stopped_build_starts_nothing_and_ends_with_what_runs() {
    let graph = graph(&vec![Vec::new(); 9]);
    let plan = all_miss(&graph);
    let mut scheduler = Scheduler::new(&graph, &plan, Limits { cpu: 2, net: 2 }, &equal(&graph));
    let first = scheduler.next_start().unwrap();
    scheduler.stop();
    assert_eq!(scheduler.next_start(), None);
    assert!(!scheduler.is_finished());
    scheduler.finish(first);
    assert!(scheduler.is_finished());
    assert_eq!(scheduler.phase(graph.target().unwrap()), Phase::Cancelled);
}

#[test]
fn a_chain_of_100000_vertices_needs_no_stack() {
    let mut definition = Definition::new(SourceFile::default());
    let mut below: Option<VertexDigest> = None;
    for number in 0..50_000 {
        let op = Op::App(AppOp { name: format!("{number}"), sources: Vec::new() });
        let step = definition.add(op, vec![], Metadata::default());
        below =
            Some(definition.add(Op::State, [step].into_iter().chain(below).collect(), Metadata::default()));
    }
    definition.set_target(below.unwrap());
    let graph = Graph::new(&definition).unwrap();
    let phases = drive(&graph, Limits { cpu: 8, net: 1 }, |_| 0, |_| false);
    assert!(phases.iter().all(|phase| *phase == Phase::Done));
}

#[test]
fn what_depends_on_a_result_may_start_while_its_vertex_runs() {
    let (graph, costs) = apps(&[("a", 10, &[]), ("b", 10, &["a"]), ("c", 10, &["b"])]);
    let plan = all_miss(&graph);
    let start = || {
        let mut scheduler = Scheduler::new(&graph, &plan, Limits { cpu: 2, net: 1 }, &costs);
        let a = scheduler.next_start().unwrap();
        assert_eq!(scheduler.next_start(), None);
        scheduler.release(a);
        scheduler.release(a);
        let b = scheduler.next_start().unwrap();
        assert_eq!((scheduler.phase(a), scheduler.phase(b)), (Phase::Running, Phase::Running));
        scheduler.release(b);
        assert_eq!(scheduler.next_start(), None, "both have their places still");
        (scheduler, a, b)
    };
    let (mut scheduler, a, b) = start();
    scheduler.finish(b);
    let c = scheduler.next_start().unwrap();
    scheduler.finish(c);
    assert!(!scheduler.is_finished());
    scheduler.finish(a);
    assert!(scheduler.is_finished() && [a, b, c].map(|index| scheduler.phase(index)) == [Phase::Done; 3]);

    let (mut scheduler, a, b) = start();
    scheduler.fail(a);
    assert_eq!((scheduler.next_start(), scheduler.is_finished()), (None, false));
    scheduler.finish(b);
    assert!(scheduler.is_finished());
    assert_eq!(
        (scheduler.phase(a), scheduler.phase(graph.target().unwrap())),
        (Phase::Failed, Phase::Cancelled)
    );
}

#[test]
fn small_blobs_count_a_quarter_of_a_download() {
    let blobs = |sizes: &[u64]| {
        let mut definition = Definition::new(SourceFile::default());
        let all = sizes.iter().zip(1..).map(|(&size, number)| {
            let digest = BlobDigest::from_bytes([number; 32]);
            definition.add(Op::Blob(Descriptor { digest, size }), Vec::new(), Metadata::default())
        });
        let inputs = all.collect();
        let target = Op::App(AppOp { name: "target".into(), sources: Vec::new() });
        let target = definition.add(target, inputs, Metadata::default());
        definition.set_target(target);
        Graph::new(&definition).unwrap()
    };
    let at_once = |graph: &Graph, net| {
        let plan = all_miss(graph);
        // The large ones first.
        let size = |index: VertexIndex| match &graph.vertex(index).op {
            Op::Blob(blob) => blob.size,
            _ => 0,
        };
        let costs = Costs::new(graph.indices().map(size).collect());
        let mut scheduler = Scheduler::new(graph, &plan, Limits { cpu: 1, net }, &costs);
        std::iter::from_fn(|| scheduler.next_start()).count()
    };
    let (small, large) = (LARGE_BLOB - 1, LARGE_BLOB);
    assert_eq!(at_once(&blobs(&[small; 20]), 2), 8);
    assert_eq!(at_once(&blobs(&[large; 20]), 2), 2);
    assert_eq!(at_once(&blobs(&[large, small, small, small, small, small]), 2), 5);
    assert_eq!(at_once(&blobs(&[large, large, small]), 2), 2);
}
