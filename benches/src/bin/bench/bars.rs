//! What has to be reached: every bar of a speed, a size or a ratio, held against what was measured in the same run.
//!
//! A bar without its figures (a peer that is not there, a workload that was not run) is not checked, and never met.

use std::time::{Duration, Instant};

use solver::{Graph, MissReason, Pin, TreeDigest};

use crate::report::ms;
use crate::results::{Case, Column, Measured};
use crate::tools::{Family, Leaves};

/// Cold builds of large data, over their physical limit.
const OVER_FLOOR: f64 = 1.3;
/// Highest peak memory of this sealer, in KiB (10⁶ bytes a megabyte).
const PEAK_KIB: u64 = 200_000_000 / 1024;

/// One of them.
pub(crate) struct Bar {
    pub(crate) workload: String,
    pub(crate) what: String,
    pub(crate) state: State,
}

/// How it stands.
pub(crate) enum State {
    Met(Figures),
    Missed(Figures),
    NotChecked(String),
}

/// What was compared.
pub(crate) struct Figures {
    pub(crate) measured: String,
    pub(crate) allowed: String,
    /// Measured over allowed: 1 or less meets the bar. For bars that say *so many times faster*, how many times it was.
    pub(crate) ratio: f64,
}

impl State {
    pub(crate) fn figures(&self) -> Option<&Figures> {
        match self {
            Self::Met(figures) | Self::Missed(figures) => Some(figures),
            Self::NotChecked(_) => None,
        }
    }

    /// At most so long.
    fn at_most(measured: Duration, allowed: Duration) -> Self {
        let ratio = measured.as_secs_f64() / allowed.as_secs_f64();
        let figures = Figures { measured: ms(measured), allowed: ms(allowed), ratio };
        if measured <= allowed { Self::Met(figures) } else { Self::Missed(figures) }
    }
}

/// Bars of peers: workload, case, how many times faster, and than whom.
const TIMES: [(&str, Case, f64, Whom); 25] = [
    ("apps", Case::Cold, 10.0, Whom::Image),
    ("apps", Case::Cold, 10.0, Whom::Anyone),
    ("apps", Case::NoOp, 15.0, Whom::Anyone),
    ("apps", Case::Change, 20.0, Whom::Anyone),
    ("apps", Case::Change, 25.0, Whom::BuildKit),
    ("apps", Case::CacheFrom, 20.0, Whom::BuildKit),
    ("apps", Case::CacheFromLazily, 20.0, Whom::BuildKit),
    ("small", Case::Cold, 6.0, Whom::BuildKit),
    ("small", Case::NoOp, 12.0, Whom::BuildKit),
    ("small", Case::NoOp, 500.0, Whom::Original),
    ("small", Case::Change, 15.0, Whom::BuildKit),
    ("small", Case::CacheFrom, 20.0, Whom::BuildKit),
    ("small", Case::CacheFromLazily, 20.0, Whom::BuildKit),
    ("copies", Case::Cold, 8.0, Whom::Image),
    ("copies", Case::Cold, 8.0, Whom::Anyone),
    ("copies", Case::NoOp, 15.0, Whom::Anyone),
    ("copies", Case::Change, 20.0, Whom::Anyone),
    ("files", Case::Cold, 8.0, Whom::Image),
    ("files", Case::Cold, 8.0, Whom::Anyone),
    ("files", Case::NoOp, 15.0, Whom::Anyone),
    ("files", Case::Change, 20.0, Whom::Anyone),
    ("run", Case::Cold, 1.0, Whom::Anyone),
    ("run", Case::NoOp, 1.0, Whom::Anyone),
    ("example", Case::Cold, 1.0, Whom::Anyone),
    ("example", Case::NoOp, 1.0, Whom::Anyone),
];

/// Which peers a bar is about; the fastest of them counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// Whatever it leaves.
    Anyone,
    /// Those that leave a compressed image, as this sealer does.
    Image,
    BuildKit,
    Original,
}

impl Whom {
    fn has(self, column: &Column) -> bool {
        match self {
            Self::Anyone => true,
            Self::Image => column.leaves == Leaves::Image,
            Self::BuildKit => column.family == Family::BuildKit,
            Self::Original => column.family == Family::Original,
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Self::Anyone => "the best peer, whatever it leaves",
            Self::Image => "the best peer that leaves a compressed image",
            Self::BuildKit => "the best BuildKit",
            Self::Original => "the original sealer",
        }
    }
}

/// Checks all of them.
pub(crate) fn check(all: &[Measured]) -> Vec<Bar> {
    let mut bars: Vec<Bar> =
        TIMES.iter().map(|(name, case, times, whom)| faster(all, name, *case, *times, *whom)).collect();
    bars.extend(alone(all));
    bars.extend(all.iter().filter(|measured| measured.is_large).map(over_floor));
    bars.push(memory(all));
    bars.push(traffic(all));
    bars.extend(planning());
    bars
}

fn of<'a>(all: &'a [Measured], name: &str) -> Result<&'a Measured, State> {
    let found = all.iter().find(|measured| measured.name == name);
    found.ok_or_else(|| State::NotChecked("the workload was not run".into()))
}

fn time(measured: &Measured, case: Case) -> Result<Duration, State> {
    let time = measured.ours().and_then(|ours| ours.median(case));
    time.ok_or_else(|| State::NotChecked("the case was not run".into()))
}

fn named(all: &[Measured], name: &str, what: String, state: Result<State, State>) -> Bar {
    let workload = of(all, name).map_or_else(|_| name.to_owned(), |measured| measured.title.clone());
    Bar { workload, what, state: state.unwrap_or_else(|state| state) }
}

/// So many times faster than a peer.
fn faster(all: &[Measured], name: &str, case: Case, times: f64, whom: Whom) -> Bar {
    let state = || -> Result<State, State> {
        let measured = of(all, name)?;
        let ours = time(measured, case)?;
        // Peers know one way to use a cache.
        let theirs = if case == Case::CacheFromLazily { Case::CacheFrom } else { case };
        let best = measured.best(theirs, |column| whom.has(column));
        let (best, theirs) = best.ok_or_else(|| State::NotChecked("no such peer was measured".into()))?;
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        let figures = Figures {
            measured: ms(ours),
            allowed: format!("{} ({}, {})", ms(theirs.div_f64(times)), best.tool, ms(theirs)),
            ratio,
        };
        Ok(if ratio >= times { State::Met(figures) } else { State::Missed(figures) })
    };
    let how = if times > 1.0 { format!("≥ {times} × as fast as") } else { "faster than".to_owned() };
    named(all, name, format!("{}: {how} {}", case.name(), whom.shown()), state())
}

/// Bars that need no peer.
fn alone(all: &[Measured]) -> Vec<Bar> {
    let fixed = |name: &str, case: Case, allowed_ms: u64| {
        let state = of(all, name).and_then(|measured| time(measured, case));
        let allowed = Duration::from_millis(allowed_ms);
        named(
            all,
            name,
            format!("{}: ≤ {allowed_ms} ms", case.name()),
            state.map(|ours| State::at_most(ours, allowed)),
        )
    };
    let walks = |name: &str, case: Case, times: u32, more: Duration, what: &str| {
        let state = of(all, name).and_then(|measured| {
            let walk = measured.floor(|floors| floors.walk).unwrap_or_default();
            Ok(State::at_most(time(measured, case)?, walk * times + more))
        });
        named(all, name, format!("{}: ≤ {what}", case.name()), state)
    };
    let growth = |name: &str| {
        let state = of(all, name).and_then(|measured| {
            let walk = measured.floor(|floors| floors.walk).unwrap_or_default();
            let allowed = walk + Duration::from_micros(20 * measured.sources + 3 * measured.files);
            Ok(State::at_most(time(measured, Case::NoOp)?, allowed))
        });
        named(all, name, "nothing changed: ≤ stat walk + 20 µs a source + 3 µs a file".into(), state)
    };
    let hashed = |name: &str| {
        let state = of(all, name).and_then(|measured| {
            let hash = measured.floor(|floors| floors.hash_layer).unwrap_or_default();
            Ok(State::at_most(time(measured, Case::Change)?, hash * 2))
        });
        named(all, name, "one byte changed: ≤ 2 × SHA-256 of that layer".into(), state)
    };
    let more = Duration::from_millis(15);
    vec![
        fixed("example", Case::Cold, 60),
        fixed("example", Case::NoOp, 15),
        fixed("run", Case::NoOp, 30),
        walks("apps", Case::NoOp, 3, more, "3 × the stat walk + 15 ms"),
        walks("apps", Case::Launch, 3, more, "3 × the stat walk + 15 ms"),
        fixed("apps", Case::Change, 150),
        fixed("apps", Case::CacheFromLazily, 150),
        gzip(all),
        gzip_size(all),
        store_size(all),
        walks("copies", Case::NoOp, 2, Duration::ZERO, "2 × the stat walk"),
        hashed("copies"),
        walks("files", Case::NoOp, 2, Duration::ZERO, "2 × the stat walk"),
        hashed("files"),
        growth("1000"),
        growth("10000"),
    ]
}

/// The column of the other compression.
fn gzipped(measured: &Measured) -> Result<&Column, State> {
    let found =
        measured.columns.iter().find(|column| column.family == Family::Ours && column.tool.ends_with("gzip"));
    found.ok_or_else(|| State::NotChecked("gzip was not measured".into()))
}

fn gzip(all: &[Measured]) -> Bar {
    let state = || {
        let time = gzipped(of(all, "apps")?)?.median(Case::Cold);
        let time = time.ok_or_else(|| State::NotChecked("the case was not run".into()))?;
        Ok(State::at_most(time, Duration::from_secs(5)))
    };
    named(all, "apps", "cold, gzip: ≤ 5 s".into(), state())
}

fn sizes(measured: Option<u64>, allowed: Option<u64>, factor: f64) -> State {
    let (Some(measured), Some(allowed)) = (measured, allowed.filter(|size| *size > 0)) else {
        return State::NotChecked("a size is not known".into());
    };
    let ratio = measured as f64 / allowed as f64;
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let figures = Figures {
        measured: megabytes(measured),
        allowed: megabytes((allowed as f64 * factor) as u64),
        ratio,
    };
    if ratio <= factor { State::Met(figures) } else { State::Missed(figures) }
}

fn gzip_size(all: &[Measured]) -> Bar {
    let state = || {
        let measured = of(all, "apps")?;
        let gzip = measured.floors.first().map(|floors| floors.gzip_bytes);
        Ok(sizes(gzipped(measured)?.image_bytes, gzip, 1.01))
    };
    named(all, "apps", "gzip: not larger than gzip -6 (by a hundredth)".into(), state())
}

fn store_size(all: &[Measured]) -> Bar {
    let state = of(all, "apps").map(|measured| {
        let ours = measured.ours();
        sizes(ours.and_then(|ours| ours.disk_bytes), ours.and_then(|ours| ours.image_bytes), 1.05)
    });
    named(all, "apps", "the store: ≤ 1.05 × the compressed image".into(), state)
}

fn over_floor(measured: &Measured) -> Bar {
    let state = time(measured, Case::Cold).map(|ours| {
        let floor = measured.floor(|floors| floors.cold()).unwrap_or_default();
        State::at_most(ours, floor.mul_f64(OVER_FLOOR))
    });
    let what = "cold: ≤ 1.3 × the floor (hashing and compressing on all cores, or dd conv=fsync)";
    Bar { workload: measured.title.clone(), what: what.into(), state: state.unwrap_or_else(|state| state) }
}

/// The highest of all builds.
fn memory(all: &[Measured]) -> Bar {
    let ours =
        all.iter().flat_map(|measured| &measured.columns).filter(|column| column.family == Family::Ours);
    let peak = ours.flat_map(|column| column.cells.values()).map(crate::results::Cell::peak_kib).max();
    let state = match peak {
        None => State::NotChecked("nothing was run".into()),
        Some(peak) => {
            let megabytes = |kib: u64| format!("{} MB", kib * 1024 / 1_000_000);
            let ratio = peak as f64 / PEAK_KIB as f64;
            let figures = Figures { measured: megabytes(peak), allowed: megabytes(PEAK_KIB), ratio };
            if peak <= PEAK_KIB { State::Met(figures) } else { State::Missed(figures) }
        }
    };
    Bar { workload: "all".into(), what: "peak memory ≤ 200 MB".into(), state }
}

/// A full hit in a cache is records only.
fn traffic(all: &[Measured]) -> Bar {
    let state = || {
        let found = of(all, "apps")?.ours().and_then(|ours| ours.traffic.get(&Case::CacheFromLazily));
        let (requests, bytes) = *found.ok_or_else(|| State::NotChecked("no cache was measured".into()))?;
        let ratio = (requests as f64 / 6.0).max(bytes as f64 / 65536.0);
        let measured = format!("{requests} requests, {} KiB", bytes.div_ceil(1024));
        let figures = Figures { measured, allowed: "6 requests, 64 KiB".into(), ratio };
        Ok(if ratio <= 1.0 { State::Met(figures) } else { State::Missed(figures) })
    };
    named(all, "apps", "a full hit in a cache, layers left there: ≤ 6 requests and 64 KiB".into(), state())
}

/// A large graph, on this one thread, the middle of seven: its plan, and everything from its definition on.
fn planning() -> Vec<Bar> {
    let workload = "a synthetic graph of 100,000 vertices";
    let definition = benches::dag::synthetic(100_000);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..7 {
        let start = Instant::now();
        let Ok(graph) = Graph::new(&definition) else { break };
        let keys = solver::definition_keys(&graph, |_| Pin::Tree(TreeDigest::from_bytes([7; 32])));
        let planning = Instant::now();
        let plan =
            solver::plan::<()>(&graph, |wave| wave.iter().map(|_| Err(MissReason::NoRecord)).collect());
        times[0].push(planning.elapsed());
        times[1].push(start.elapsed());
        std::hint::black_box((keys.len(), plan.counts()));
    }
    let bar = |(what, mut times): (&str, Vec<Duration>)| {
        let state = match times.is_empty() {
            true => State::NotChecked("it is no graph".into()),
            false => State::at_most(benches::median(&mut times), Duration::from_millis(100)),
        };
        Bar { workload: workload.into(), what: format!("{what} in < 100 ms on one core"), state }
    };
    ["planned", "made a graph, given keys and planned"].into_iter().zip(times).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_never_met() {
        let bars = check(&[]);
        let unknown = bars.iter().filter(|bar| matches!(bar.state, State::NotChecked(_))).count();
        // Planning needs no workload.
        assert_eq!(unknown, bars.len() - 2);
    }
}
