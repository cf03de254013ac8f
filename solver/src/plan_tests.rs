//! What is looked up, and what must run: the behaviours a cache is trusted for.

use crate::{AppOp, Definition, Graph, LocalSource, Metadata, Op, SourceFile, VertexDigest};

use super::*;

fn local(definition: &mut Definition, name: &str) -> VertexDigest {
    let source = LocalSource { context: "context".into(), pattern: name.into(), parents: false };
    definition.add(Op::Local(source), vec![], named(name))
}

fn named(name: &str) -> Metadata {
    Metadata { name: name.into(), ..Metadata::default() }
}

/// A step that reads other vertices.
fn step(definition: &mut Definition, name: &str, inputs: Vec<VertexDigest>) -> VertexDigest {
    definition.add(Op::App(AppOp { name: name.into(), sources: Vec::new() }), inputs, named(name))
}

fn state(definition: &mut Definition, step: VertexDigest, below: Option<VertexDigest>) -> VertexDigest {
    definition.add(Op::State, [step].into_iter().chain(below).collect(), named("state"))
}

/// Plans with a set of hits; gives the lookups, wave by wave, and what each step became.
fn check(definition: &Definition, hits: &[&str]) -> (Vec<Vec<String>>, String) {
    let graph = Graph::new(definition).unwrap();
    let name = |index: VertexIndex| graph.metadata(index).name.clone();
    let mut log = Vec::new();
    let plan = plan(&graph, |wave| {
        log.push(wave.iter().map(|&index| name(index)).collect());
        let answer = |&index: &VertexIndex| {
            if hits.contains(&name(index).as_str()) { Ok(()) } else { Err(MissReason::NoRecord) }
        };
        wave.iter().map(answer).collect()
    });
    let told = graph.indices().filter(|&index| graph.vertex(index).op != Op::State).map(|index| {
        let what = match plan.step(index) {
            Step::Unneeded => "unneeded",
            Step::Hit(()) => "hit",
            Step::Miss(_) => "miss",
            Step::Source => "source",
            Step::State => "state",
        };
        format!("{}: {what}", name(index))
    });
    let told: Vec<String> = told.collect();
    (log, told.join(", "))
}

/// Two applications side by side, and a copy out of a stage that itself has a step.
fn sample() -> Definition {
    let mut d = Definition::new(SourceFile::default());
    let (a, b, c) = (local(&mut d, "a"), local(&mut d, "b"), local(&mut d, "c"));
    let inner = step(&mut d, "inner", vec![c]);
    let stage = state(&mut d, inner, None);
    let one = step(&mut d, "one", vec![a]);
    let two = step(&mut d, "two", vec![b]);
    let copy = step(&mut d, "copy", vec![stage]);
    let first = state(&mut d, one, None);
    let second = state(&mut d, two, Some(first));
    let target = state(&mut d, copy, Some(second));
    d.set_target(target);
    d
}

#[test]
fn a_full_hit_asks_once_and_needs_no_input() {
    let (log, told) = check(&sample(), &["one", "two", "copy"]);
    assert_eq!(log, [["one", "two", "copy"]]);
    assert_eq!(told, "a: unneeded, b: unneeded, c: unneeded, inner: unneeded, one: hit, two: hit, copy: hit");
}

#[test]
fn a_miss_needs_its_own_inputs_and_no_others() {
    let (log, told) = check(&sample(), &["two", "copy"]);
    assert_eq!(log.len(), 1);
    assert_eq!(told, "a: source, b: unneeded, c: unneeded, inner: unneeded, one: miss, two: hit, copy: hit");
}

#[test]
fn a_stage_is_asked_for_only_when_something_reads_it() {
    let (log, told) = check(&sample(), &["one", "two"]);
    assert_eq!(log, [vec!["one", "two", "copy"], vec!["inner"]]);
    assert_eq!(told, "a: unneeded, b: unneeded, c: source, inner: miss, one: hit, two: hit, copy: miss");
}

#[test]
fn nothing_cached_runs_everything_once() {
    let (log, told) = check(&sample(), &[]);
    assert_eq!(log.concat().len(), 4);
    assert!(!told.contains("unneeded") && !told.contains("hit"));
}

#[test]
fn reasons_and_counts_are_kept() {
    let definition = sample();
    let graph = Graph::new(&definition).unwrap();
    let plan = plan::<()>(&graph, |wave| wave.iter().map(|_| Err(MissReason::NotAsked)).collect());
    assert_eq!(plan.counts(), (0, 4));
    let missed = graph.indices().filter(|&index| *plan.step(index) == Step::Miss(MissReason::NotAsked));
    assert_eq!(missed.count(), 4);
}

#[test]
fn an_empty_graph_has_an_empty_plan() {
    let graph = Graph::new(&Definition::new(SourceFile::default())).unwrap();
    let plan = plan::<()>(&graph, |_| unreachable!("nothing is looked up"));
    assert_eq!(plan.counts(), (0, 0));
}

#[test]
fn ten_thousand_shared_steps_are_asked_for_in_one_wave() {
    let mut d = Definition::new(SourceFile::default());
    let shared = local(&mut d, "shared");
    let mut below = None;
    for number in 0..10_000 {
        let step = step(&mut d, &format!("s{number}"), vec![shared]);
        below = Some(state(&mut d, step, below));
    }
    d.set_target(below.unwrap());
    let (log, _) = check(&d, &[]);
    assert_eq!((log.len(), log[0].len()), (1, 10_000));
}
