//! Ctrl-C, SIGTERM and a terminal that was closed: the first asks the work to stop, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use engine::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::report::Failure;

/// Listens from its making on.
pub(crate) struct Interrupt {
    pub(crate) cancel: Cancel,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        let signal = Arc::new(AtomicUsize::new(0));
        let fail = |error: std::io::Error| Failure::usage(format!("cannot listen for signals: {error}"));
        // To who waits for the end, a closed terminal is a SIGTERM (spec §9: no other exit codes).
        let hangup = (!ignores_hangup()).then_some((SIGHUP, SIGTERM));
        for (number, told) in [(SIGINT, SIGINT), (SIGTERM, SIGTERM)].into_iter().chain(hangup) {
            // In this order: at the first signal the flag is not set yet when it is asked for.
            // The second one; and the first, while nothing is begun that could be given up.
            for condition in [&flag, cache::is_waiting()] {
                signal_hook::flag::register_conditional_shutdown(number, 128 + told, Arc::clone(condition))
                    .map_err(fail)?;
            }
            signal_hook::flag::register_usize(number, Arc::clone(&signal), told.unsigned_abs() as usize)
                .map_err(fail)?;
            signal_hook::flag::register(number, Arc::clone(&flag)).map_err(fail)?;
        }
        Ok(Self { cancel: flag.into(), signal })
    }

    /// The signal that came; 0 for none.
    pub(crate) fn signal(&self) -> u8 {
        u8::try_from(self.signal.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// Whether this was started to outlive its terminal, as by nohup(1): it is told so by a signal that is ignored (proc(5)).
fn ignores_hangup() -> bool {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}
