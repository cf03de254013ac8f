//! The screen after events: what a person sees, line by line.

use super::*;

fn vertex(number: usize) -> VertexDigest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    VertexDigest::from_bytes(bytes)
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn start(screen: &mut Screen, number: usize, name: &str, millis: u64) {
    screen.event(Event::Started { vertex: vertex(number), name: name.to_owned() }, at(millis));
}

fn progress(screen: &mut Screen, number: usize, done_bytes: u64, total_bytes: Option<u64>) {
    screen.event(Event::Progress { vertex: vertex(number), done_bytes, total_bytes }, at(0));
}

fn finish(screen: &mut Screen, number: usize, name: &str, outcome: StepOutcome) {
    screen.event(Event::Finished { vertex: vertex(number), name: name.to_owned(), outcome }, at(0));
}

const LONG: &str = "APP monitoring local://charts/kube-prometheus-stack local://charts/values/production.yaml https://charts.example.com/extra/dashboards-1.2.3.tgz";

#[test]
fn one_step_in_80_columns() {
    let mut screen = Screen::default();
    assert_eq!(screen.lines(at(300), 80, 24), ["  0.3s looking at sources"]);
    screen.event(Event::Planned { steps: 1, cached: 0 }, at(400));
    start(&mut screen, 1, "COPY . /app", 500);
    progress(&mut screen, 1, 3 << 20, None);
    assert_eq!(
        screen.lines(at(1700), 80, 24),
        [
            "  1.2s COPY . /app                                                     3.00 MiB",
            "  1.7s 0/1 steps, 0 cached",
        ]
    );
    finish(&mut screen, 1, "COPY . /app", StepOutcome::Done);
    assert_eq!(screen.lines(at(2000), 80, 24), ["  2.0s 1/1 steps, 0 cached"]);
}

#[test]
fn long_steps_keep_both_ends_in_80_and_in_200_columns() {
    let mut screen = Screen::default();
    screen.event(Event::Planned { steps: 2, cached: 1 }, at(0));
    start(&mut screen, 1, LONG, 0);
    progress(&mut screen, 1, 1 << 20, Some(1 << 30));
    assert_eq!(
        screen.lines(at(125_000), 80, 24),
        [
            "  2m05 APP monitoring local://cha…xtra/dashboards-1.2.3.tgz 1.00 MiB / 1.00 GiB",
            "  2m05 0/2 steps, 1 cached",
        ]
    );
    let wide = screen.lines(at(125_000), 200, 24);
    assert_eq!(wide[0], format!("  2m05 {LONG}{}1.00 MiB / 1.00 GiB", " ".repeat(199 - 7 - LONG.len() - 19)));
}

#[test]
fn five_hundred_steps_stay_in_a_few_lines() {
    let mut screen = Screen::default();
    screen.event(Event::Planned { steps: 500, cached: 120 }, at(0));
    (0..120).for_each(|n| finish(&mut screen, n, "APP cached", StepOutcome::Cached));
    (120..160).for_each(|n| start(&mut screen, n, &format!("APP app{n} local://app{n}"), 1000));
    (120..125)
        .for_each(|n| finish(&mut screen, n, &format!("APP app{n} local://app{n}"), StepOutcome::Failed));
    assert_eq!(
        screen.lines(at(2500), 80, 24),
        [
            "FAILED APP app122 local://app122",
            "FAILED APP app123 local://app123",
            "FAILED APP app124 local://app124",
            "  1.5s APP app125 local://app125",
            "  1.5s APP app126 local://app126",
            "  1.5s APP app127 local://app127",
            "  1.5s APP app128 local://app128",
            "  1.5s APP app129 local://app129",
            "  1.5s APP app130 local://app130",
            "  1.5s APP app131 local://app131",
            "  1.5s APP app132 local://app132",
            "  1.5s APP app133 local://app133",
            "  1.5s APP app134 local://app134",
            "  2.5s 125/500 steps, 120 cached, 25 more running",
        ]
    );
    for (columns, rows) in [(80, 24), (200, 60), (40, 6), (20, 3), (1, 1)] {
        let lines = screen.lines(at(2500), columns, rows);
        assert!(lines.len() <= 14, "{lines:?}");
        assert!(rows < 7 || lines.len() < rows, "{columns} {rows}: {lines:?}");
        let widest = lines.iter().map(|line| console::measure_text_width(line)).max();
        assert!(widest < Some(columns.max(21)), "{lines:?}");
    }
}

#[test]
fn names_cannot_steer_the_terminal() {
    let mut screen = Screen::default();
    start(&mut screen, 1, "COPY <<EOF /x\n\u{1b}[2J\u{7}", 0);
    let lines = screen.lines(at(0), 80, 24);
    assert_eq!(lines[0], "  0.0s COPY <<EOF /x  [2J ");
}

#[test]
fn a_command_shows_its_last_lines_where_there_is_room() {
    let mut screen = Screen::default();
    screen.event(Event::Planned { steps: 2, cached: 0 }, at(0));
    start(&mut screen, 1, "RUN make", 0);
    for line in 1..=9 {
        screen.event(Event::Log { vertex: vertex(1), line: format!("line {line}\u{1b}[2J") }, at(0));
    }
    start(&mut screen, 2, "COPY . /app", 1000);
    let tall = screen.lines(at(2000), 80, 24);
    assert_eq!(
        tall,
        [
            "  2.0s RUN make",
            "       line 6 [2J",
            "       line 7 [2J",
            "       line 8 [2J",
            "       line 9 [2J",
            "  1.0s COPY . /app",
            "  2.0s 0/2 steps, 0 cached",
        ]
    );
    assert_eq!(
        screen.lines(at(2000), 80, 5),
        ["  2.0s RUN make", "       line 9 [2J", "  1.0s COPY . /app", "  2.0s 0/2 steps, 0 cached"]
    );
    finish(&mut screen, 1, "RUN make", StepOutcome::Done);
    assert_eq!(screen.lines(at(2000), 80, 24), ["  1.0s COPY . /app", "  2.0s 1/2 steps, 0 cached"]);
}
