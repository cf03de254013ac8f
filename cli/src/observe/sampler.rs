//! Looks at what the process has used so far, many times a second: processor time, its commands' included, and bytes of
//! the network.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::Fetcher;
use rustix::time::{ClockId, clock_gettime};

/// Time between two looks, at first.
const INTERVAL: Duration = Duration::from_millis(20);
/// Looks kept; when there are more, every second one is dropped and looks become half as many.
const KEPT: usize = 2000;
/// Processes looked at each time: a command may start as many as it likes.
const PROCESSES: usize = 1000;
/// The kernel counts processes' time in this unit, on every machine that Linux runs on.
const TICK: Duration = Duration::from_millis(10);

/// What was used until some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Since the start of the build.
    pub(super) at: Duration,
    /// Processor time of this process and those below it.
    pub(super) cpu: Duration,
    /// Bytes of bodies that came.
    pub(super) received: u64,
    /// Bytes of blobs that went.
    pub(super) sent: u64,
}

/// A thread that looks.
#[derive(Debug)]
pub(super) struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Vec<Sample>>>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    ends: AtomicBool,
    fetcher: OnceLock<Fetcher>,
}

impl Sampler {
    pub(super) fn start(start: Instant) -> Self {
        let shared = Arc::new(Shared { start, ends: AtomicBool::new(false), fetcher: OnceLock::new() });
        let looking = Arc::clone(&shared);
        // Without it there are no curves, which is no reason not to build.
        let thread = std::thread::Builder::new().name("sampler".to_owned()).spawn(move || looking.look());
        Self { shared, thread: thread.ok() }
    }

    /// Where bytes are counted.
    pub(super) fn network(&self, fetcher: Fetcher) {
        // Said once; who says it again says the same.
        let _ = self.shared.fetcher.set(fetcher);
    }

    /// Everything seen, oldest first.
    pub(super) fn end(mut self) -> Vec<Sample> {
        self.shared.ends.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Vec::new() };
        thread.thread().unpark();
        thread.join().unwrap_or_default()
    }
}

/// Who does not want to know ends it all the same.
impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn look(&self) -> Vec<Sample> {
        let (mut samples, mut interval) = (vec![Sample::default()], INTERVAL);
        let before = self.now(Duration::ZERO);
        loop {
            let ends = self.ends.load(Ordering::Relaxed);
            let last = samples.last().copied().unwrap_or_default();
            let now = self.now(before.cpu);
            // A child that is gone before its parent has waited for it takes its time along for a moment.
            samples.push(Sample { cpu: now.cpu.max(last.cpu), ..now });
            if ends {
                return samples;
            }
            if samples.len() >= KEPT {
                let mut number = 0;
                samples.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                interval *= 2;
            }
            std::thread::park_timeout(interval);
        }
    }

    /// What has been used, but for what was before.
    fn now(&self, before: Duration) -> Sample {
        let fetcher = self.fetcher.get();
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let own = Duration::try_from(own).unwrap_or_default();
        Sample {
            at: self.start.elapsed(),
            cpu: (own + below()).saturating_sub(before),
            received: fetcher.map_or(0, Fetcher::bytes),
            sent: fetcher.map_or(0, Fetcher::sent),
        }
    }
}

/// Processor time of the processes below this one: those that have ended and were waited for, and those that live.
fn below() -> Duration {
    let mut used = Duration::ZERO;
    let mut pending = vec![std::process::id()];
    let own = pending[0];
    for _ in 0..PROCESSES {
        let Some(process) = pending.pop() else { break };
        let stat = fs_err::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        used += ticks(&stat, process != own);
        // One that has just ended has no threads, and a kernel without `children` shows commands when they have ended.
        let Ok(threads) = fs_err::read_dir(format!("/proc/{process}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs_err::read_to_string(thread.path().join("children")).unwrap_or_default();
            pending.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    used
}

/// Fields 14 to 17 of `proc_pid_stat(5)`: own user and system time, and that of children that were waited for.
fn ticks(stat: &str, with_own: bool) -> Duration {
    // The name of the program may hold blanks and parentheses.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields = fields.split_whitespace().skip(11).take(4);
    let numbers = fields.map(|field| field.parse::<u32>().unwrap_or(0));
    numbers.skip(if with_own { 0 } else { 2 }).map(|ticks| TICK * ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_children_is_read_past_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 5 0 0 0 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat, true), TICK * 127);
        assert_eq!(ticks(stat, false), TICK * 7);
        assert_eq!(ticks("", true), Duration::ZERO);
    }

    #[test]
    fn a_sampler_counts_up_and_ends_when_it_is_told() {
        let sampler = Sampler::start(Instant::now());
        let samples = sampler.end();
        assert!(samples.len() >= 2, "{samples:?}");
        assert!(
            samples.is_sorted_by_key(|sample| sample.at) && samples.is_sorted_by_key(|sample| sample.cpu)
        );
    }
}
