//! What was measured, for the report, the charts and the bars.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::floors::Floors;
use crate::measure::Sample;
use crate::tools::{Family, Leaves};

/// A kind of build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    Cold,
    NoOp,
    Change,
    Launch,
    CacheFrom,
    CacheFromLazily,
}

impl Case {
    /// Those of a round, in its order.
    pub(crate) const ROUND: [Self; 4] = [Self::Cold, Self::NoOp, Self::Change, Self::Launch];

    pub(crate) const ALL: [Self; 6] =
        [Self::Cold, Self::NoOp, Self::Change, Self::Launch, Self::CacheFrom, Self::CacheFromLazily];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::NoOp => "nothing changed",
            Self::Change => "one byte changed",
            Self::Launch => "LAUNCH changed",
            Self::CacheFrom => "cache from a registry, empty store",
            Self::CacheFromLazily => "the same, layers left there",
        }
    }
}

/// Builds of one case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub(crate) samples: Vec<Sample>,
    /// Why there are no more of them.
    pub(crate) failure: Option<String>,
}

impl Cell {
    /// The middle wall time.
    pub(crate) fn median(&self) -> Option<Duration> {
        let mut walls: Vec<Duration> = self.samples.iter().map(|sample| sample.wall).collect();
        (!walls.is_empty()).then(|| benches::median(&mut walls))
    }

    /// From the fastest to the slowest.
    pub(crate) fn spread(&self) -> Duration {
        let walls = || self.samples.iter().map(|sample| sample.wall);
        walls().max().unwrap_or_default() - walls().min().unwrap_or_default()
    }

    /// The mean: its steps of 10 ms are too coarse for a median.
    pub(crate) fn cpu(&self) -> Duration {
        let count = u32::try_from(self.samples.len()).unwrap_or(1).max(1);
        self.samples.iter().map(|sample| sample.cpu).sum::<Duration>() / count
    }

    /// The highest of all rounds.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.samples.iter().map(|sample| sample.peak_kib).max().unwrap_or(0)
    }
}

/// All that one tool did with a workload.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) tool: String,
    pub(crate) family: Family,
    pub(crate) leaves: Leaves,
    pub(crate) cells: BTreeMap<Case, Cell>,
    /// Of the compressed image after the first cold build.
    pub(crate) image_bytes: Option<u64>,
    /// On the disk after it.
    pub(crate) disk_bytes: Option<u64>,
    /// How its result differs from ours; `None` where it was not looked at.
    pub(crate) difference: Option<Option<String>>,
    /// Requests, and bytes of answers, of a build with a cache.
    pub(crate) traffic: BTreeMap<Case, (u64, u64)>,
}

impl Column {
    pub(crate) fn median(&self, case: Case) -> Option<Duration> {
        self.cells.get(&case)?.median()
    }
}

/// All that was measured of a workload.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) is_large: bool,
    pub(crate) files: u64,
    pub(crate) sources: u64,
    pub(crate) columns: Vec<Column>,
    pub(crate) floors: Vec<Floors>,
}

impl Measured {
    /// This sealer's column with its default compression.
    pub(crate) fn ours(&self) -> Option<&Column> {
        self.columns.first()
    }

    /// A middle one of the floors.
    pub(crate) fn floor(&self, of: impl Fn(&Floors) -> Duration) -> Option<Duration> {
        let mut times: Vec<Duration> = self.floors.iter().map(of).collect();
        (!times.is_empty()).then(|| benches::median(&mut times))
    }

    /// The fastest peer in a case, among those `of` names.
    pub(crate) fn best(&self, case: Case, of: impl Fn(&Column) -> bool) -> Option<(&Column, Duration)> {
        let peers = self.columns.iter().filter(|column| column.family != Family::Ours && of(column));
        peers.filter_map(|column| Some((column, column.median(case)?))).min_by_key(|(_, time)| *time)
    }
}
