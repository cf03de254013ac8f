//! A definition as a graph: its keys, its plan, its schedule.

use divan::Bencher;
use divan::counter::ItemsCount;
use solver::{Costs, Graph, Known, Limits, MissReason, Pin, Plan, Scheduler, TreeDigest};

use benches::dag;

/// Vertices of the synthetic graphs.
const SIZES: [usize; 2] = [10_000, 100_000];

#[divan::bench(args = SIZES)]
fn make_graph(bencher: Bencher<'_, '_>, vertices: usize) {
    let definition = dag::synthetic(vertices);
    bencher.counter(ItemsCount::new(vertices)).bench(|| Graph::new(&definition));
}

#[divan::bench(args = SIZES)]
fn keys(bencher: Bencher<'_, '_>, vertices: usize) {
    let graph = graph(vertices);
    bencher
        .counter(ItemsCount::new(vertices))
        .bench(|| solver::definition_keys(&graph, |_| Pin::Tree(TreeDigest::from_bytes([7; 32]))));
}

/// Nothing is known: every step is visited. The bar of 100,000 vertices is 100 ms.
#[divan::bench(args = SIZES)]
fn plan_cold(bencher: Bencher<'_, '_>, vertices: usize) {
    let graph = graph(vertices);
    bencher.counter(ItemsCount::new(vertices)).bench(|| all_miss(&graph));
}

/// Everything is known: hits need none of their inputs.
#[divan::bench(args = SIZES)]
fn plan_no_op(bencher: Bencher<'_, '_>, vertices: usize) {
    let graph = graph(vertices);
    bencher
        .counter(ItemsCount::new(vertices))
        .bench(|| solver::plan::<()>(&graph, |wave| wave.iter().map(|_| Ok(())).collect()));
}

/// Every vertex is started and ends at once, as many under way as the limits let.
#[divan::bench(args = [10_000])]
fn schedule(bencher: Bencher<'_, '_>, vertices: usize) {
    let graph = graph(vertices);
    let plan = all_miss(&graph);
    bencher.counter(ItemsCount::new(vertices)).bench(|| {
        let mut scheduler = scheduler(&graph, &plan);
        let (mut running, mut ended) = (Vec::new(), 0);
        while !scheduler.is_finished() {
            running.extend(std::iter::from_fn(|| scheduler.next_start()));
            for index in running.drain(..) {
                scheduler.finish(index);
                ended += 1;
            }
        }
        ended
    });
}

fn graph(vertices: usize) -> Graph {
    Graph::new(&dag::synthetic(vertices)).expect("a definition is a graph")
}

fn all_miss(graph: &Graph) -> Plan<()> {
    solver::plan(graph, |wave| wave.iter().map(|_| Err(MissReason::NoRecord)).collect())
}

/// The one place that makes a scheduler.
fn scheduler<'graph>(graph: &'graph Graph, plan: &Plan<()>) -> Scheduler<'graph> {
    let costs = Costs::estimate(graph, |_| Known { bytes: Some(4096), took: None });
    Scheduler::new(graph, plan, Limits { cpu: 2, net: 8 }, &costs)
}
