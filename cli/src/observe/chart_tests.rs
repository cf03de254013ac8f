//! Charts of small recordings.

use solver::{Activity, DigestMap, VertexDigest};

use super::super::recorder::Node;
use super::*;

fn digest(number: u8) -> VertexDigest {
    VertexDigest::from_bytes([number; 32])
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A graph of vertices, each with its inputs; those without a name are no steps.
fn turn(nodes: &[(&str, &[usize])]) -> Turn {
    let node = |(number, (name, inputs)): (usize, &(&str, &[usize]))| Node {
        digest: digest(u8::try_from(number).unwrap()),
        name: (*name).to_owned(),
        inputs: inputs.to_vec(),
        lane: Lane::Cpu,
        is_download: false,
        is_waited_for: !name.is_empty(),
    };
    let nodes: Vec<Node> = nodes.iter().enumerate().map(node).collect();
    let by_digest: DigestMap<_, _> = nodes.iter().enumerate().map(|(at, node)| (node.digest, at)).collect();
    Turn { nodes, by_digest }
}

fn run(number: u8, start: u64, end: u64) -> Run {
    Run {
        vertex: digest(number),
        name: format!("step {number}"),
        turn: 0,
        start: ms(start),
        end: Some(ms(end)),
        outcome: Some(StepOutcome::Done),
        bytes: 0,
    }
}

fn chart(runs: Vec<Run>, turns: Vec<Turn>, is_built: bool) -> Chart {
    let recording = Recording { runs, spans: Vec::new(), turns, wall: ms(1000) };
    Chart::new(recording, Vec::new(), "x:1".to_owned(), is_built)
}

fn names<'a>(chart: &'a Chart, steps: &[usize]) -> Vec<&'a str> {
    steps.iter().map(|step| chart.steps[*step].name.as_str()).collect()
}

#[test]
fn the_critical_path_is_the_longest_chain_and_not_the_last_to_end() {
    // 0 → 1 → 3, 2 → 3; 2 takes longer than either, and not than both.
    let turn = turn(&[("a", &[]), ("b", &[0]), ("c", &[]), ("d", &[1, 2])]);
    let runs = vec![run(0, 0, 30), run(2, 10, 60), run(1, 30, 58), run(3, 60, 70)];
    let chart = chart(runs, vec![turn], true);
    assert_eq!(names(&chart, &chart.critical), ["step 0", "step 1", "step 3"]);
    assert_eq!(chart.critical_time(), ms(68));
    assert!(chart.steps.iter().all(|step| step.is_critical == (step.name != "step 2")));
}

#[test]
fn a_step_that_overlaps_the_next_of_its_chain_counts_once() {
    // The first gave its result after 20 of 50.
    let runs = vec![run(0, 0, 50), run(1, 20, 60), run(2, 60, 65)];
    let chart = chart(runs, vec![turn(&[("a", &[]), ("b", &[0]), ("c", &[1])])], true);
    assert_eq!((chart.critical.len(), chart.critical_time()), (3, ms(65)));
}

#[test]
fn chains_go_through_what_nobody_sees() {
    // The states 1 and 3 are no steps.
    let turn = turn(&[("a", &[]), ("", &[0]), ("b", &[1]), ("", &[2, 1]), ("c", &[3])]);
    let chart = chart(vec![run(0, 0, 5), run(2, 5, 9), run(4, 9, 10)], vec![turn], true);
    assert_eq!(names(&chart, &chart.critical), ["step 0", "step 2", "step 4"]);
    // The last step reads a state of both, but the second has waited for the first already.
    assert_eq!(names(&chart, &chart.steps[2].inputs), ["step 2"]);
}

#[test]
fn the_longest_download_comes_before_every_step() {
    // 0 and 1 are downloads; 2 reads the short one, and takes longer than 3, which reads the long one.
    let mut turn = turn(&[("a", &[]), ("b", &[]), ("c", &[0]), ("d", &[1])]);
    turn.nodes[..2].iter_mut().for_each(|node| node.is_download = true);
    let runs = vec![run(0, 0, 5), run(1, 0, 30), run(2, 30, 60), run(3, 30, 40)];
    let chart = chart(runs, vec![turn], true);
    assert_eq!(names(&chart, &chart.critical), ["step 1", "step 2"]);
    assert_eq!(chart.critical_time(), ms(60));
}

#[test]
fn turns_come_one_after_the_other() {
    let second = Turn { ..turn(&[("a", &[])]) };
    let later = Run { turn: 1, ..run(0, 50, 60) };
    let chart = chart(vec![run(0, 0, 30), later], vec![turn(&[("a", &[])]), second], true);
    assert_eq!((chart.critical.len(), chart.critical_time()), (2, ms(40)));
}

#[test]
fn steps_that_overlap_have_slots_of_their_own() {
    let runs = vec![run(0, 0, 10), run(1, 5, 20), run(2, 10, 12), run(3, 30, 30)];
    let chart = chart(runs, vec![turn(&[("", &[]), ("", &[]), ("", &[]), ("", &[])])], true);
    let slots: Vec<_> = chart.steps.iter().map(|step| step.slot).collect();
    assert_eq!(slots, [Some(0), Some(1), Some(0), None]);
    assert_eq!((chart.cpu_slots, chart.net_slots), (2, 0));
}

#[test]
fn a_failed_build_has_what_it_never_reached_and_ends_for_what_it_cut_short() {
    let turn = turn(&[("a", &[]), ("b", &[0]), ("", &[1])]);
    let cut = Run { end: None, outcome: None, ..run(0, 400, 0) };
    let chart = chart(vec![cut], vec![turn], false);
    let told: Vec<_> = chart.steps.iter().map(|step| (step.name.as_str(), step.outcome, step.took)).collect();
    assert_eq!(told, [("step 0", StepOutcome::Failed, ms(600)), ("b", StepOutcome::Skipped, ms(0))]);
}

#[test]
fn time_of_no_activity_is_the_rest() {
    let span = |start, end, depth| Span { activity: Activity::Run, start: ms(start), end, depth };
    let spans = vec![span(0, Some(ms(300)), 0), span(10, Some(ms(20)), 1), span(500, None, 0)];
    let recording = Recording { spans, wall: ms(1000), ..Recording::default() };
    let chart = Chart::new(recording, Vec::new(), String::new(), true);
    assert_eq!(chart.rest(), ms(200));
    assert!(chart.spans.iter().all(|span| span.end.is_some()));
}

#[test]
fn a_hundred_thousand_steps_are_no_trouble() {
    let mut nodes = Vec::new();
    let mut by_digest = DigestMap::default();
    let mut runs = Vec::new();
    for number in 0..100_000_usize {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let digest = VertexDigest::from_bytes(bytes);
        let inputs = if number < 2 { Vec::new() } else { vec![number - 1, number - 2] };
        let is_step = number % 2 == 0;
        let node = Node {
            digest,
            name: String::new(),
            inputs,
            lane: Lane::Cpu,
            is_download: false,
            is_waited_for: is_step,
        };
        by_digest.insert(digest, number);
        nodes.push(node);
        if is_step {
            runs.push(Run { vertex: digest, ..run(0, number as u64, number as u64 + 1) });
        }
    }
    let chart = chart(runs, vec![Turn { nodes, by_digest }], true);
    assert_eq!(chart.critical.len(), 50_000);
}
