//! Ctrl-C and SIGTERM: the first asks the work to stop, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use engine::Cancel;

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
        for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // In this order: at the first signal the flag is not set yet when it is asked for.
            signal_hook::flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&flag))
                .map_err(fail)?;
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number.unsigned_abs() as usize)
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
