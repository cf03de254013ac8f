//! The same work for many things, some at a time: work that waits for a server rather than for a processor.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Does `work` for each of `things`, at most `limit` at a time, on threads that end with it. Results are in the order of
/// `things`. A single thing is worked on right here.
pub fn at_once<T: Sync, R: Send>(things: &[T], limit: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = things.get(at) else { return done };
            done.push((at, work(thing)));
        }
    };
    let mut done = match things.len().min(limit) {
        0 | 1 => run(),
        count => thread::scope(|scope| {
            let workers: Vec<_> = (0..count).map(|_| scope.spawn(run)).collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        }),
    };
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The same for work that may fail. After a failure nothing more is begun.
///
/// # Errors
/// Of the failures the first, in the order of `things`.
pub fn try_at_once<T: Sync, R: Send, E: Send>(
    things: &[T],
    limit: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let failed = AtomicBool::new(false);
    let results = at_once(things, limit, |thing| {
        let result = (!failed.load(Ordering::Relaxed)).then(|| work(thing))?;
        Some(result.inspect_err(|_| failed.store(true, Ordering::Relaxed)))
    });
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_are_in_the_order_of_things() {
        for count in [0, 1, 2, 100] {
            let things: Vec<usize> = (0..count).collect();
            assert_eq!(at_once(&things, 8, |thing| *thing), things);
        }
    }

    #[test]
    fn things_are_worked_on_at_the_same_time() {
        let all = Barrier::new(4);
        at_once(&[(); 4], 4, |()| all.wait().is_leader());
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let begun = AtomicUsize::new(0);
        let failed: Result<Vec<()>, usize> = try_at_once(&[0, 1, 2, 3], 1, |thing| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *thing == 1 { Err(*thing) } else { Ok(()) }
        });
        assert_eq!((failed, begun.into_inner()), (Err(1), 2));
        assert_eq!(try_at_once(&[1, 2], 2, |thing| Ok::<_, ()>(thing * 2)), Ok(vec![2, 4]));
    }
}
