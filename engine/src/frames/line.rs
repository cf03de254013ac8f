//! Things made in parallel and taken in order, without a worker that waits for another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::Scope;

/// Makes `count` things on the pool, by number, and gives them to `take` in order, one at a time. At most `window` are under way
/// or wait for their turn.
///
/// # Errors
/// The first of any; nothing is taken after it.
pub(super) fn in_order<T: Send, E: Send>(
    count: usize,
    window: usize,
    make: impl Fn(usize) -> Result<T, E> + Sync,
    take: impl FnMut(T) -> Result<(), E> + Send,
) -> Result<(), E> {
    let line = Line {
        count,
        make,
        begun: AtomicUsize::new(0),
        made: Mutex::default(),
        end: Mutex::new(End { take, taken: 0 }),
        failure: Mutex::new(None),
    };
    rayon::scope(|scope| {
        for _ in 0..window.clamp(1, count.max(1)) {
            scope.spawn(|scope| line.work(scope));
        }
    });
    line.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

struct Line<T, E, M, F> {
    count: usize,
    make: M,
    begun: AtomicUsize,
    /// What waits for its turn.
    made: Mutex<BTreeMap<usize, T>>,
    end: Mutex<End<F>>,
    failure: Mutex<Option<E>>,
}

/// Where things are taken.
struct End<F> {
    take: F,
    taken: usize,
}

impl<T: Send, E: Send, M: Fn(usize) -> Result<T, E> + Sync, F: FnMut(T) -> Result<(), E> + Send>
    Line<T, E, M, F>
{
    /// Makes the next one, and takes all whose turn has come.
    fn work<'s>(&'s self, scope: &Scope<'s>) {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        if number >= self.count || lock(&self.failure).is_some() {
            return;
        }
        let taken = (self.make)(number).and_then(|made| {
            lock(&self.made).insert(number, made);
            self.take_all(scope)
        });
        if let Err(error) = taken {
            lock(&self.failure).get_or_insert(error);
        }
    }

    /// Takes all things whose turn has come, unless another worker is doing that, which then takes these too. For each thing taken,
    /// a further one is begun.
    fn take_all<'s>(&'s self, scope: &Scope<'s>) -> Result<(), E> {
        loop {
            // Another worker is taking; or `take` has panicked, which the scope passes on.
            let Ok(mut end) = self.end.try_lock() else { return Ok(()) };
            while let Some(made) = self.at(end.taken) {
                if lock(&self.failure).is_some() {
                    return Ok(());
                }
                (end.take)(made)?;
                end.taken += 1;
                scope.spawn(|scope| self.work(scope));
            }
            let taken = end.taken;
            drop(end);
            // A worker that made the next thing before the lock was free has left it to this one.
            if !lock(&self.made).contains_key(&taken) {
                return Ok(());
            }
        }
    }

    /// The one whose turn it is, without keeping the others from coming.
    fn at(&self, number: usize) -> Option<T> {
        lock(&self.made).remove(&number)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole whenever it is free.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps for a time that differs from one number to the next.
    fn linger(number: usize) {
        std::thread::sleep(std::time::Duration::from_micros((number * 7919 % 13 * 20) as u64));
    }

    #[test]
    fn all_are_taken_in_order_and_few_are_under_way() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        for (count, window) in [(0, 3), (1, 3), (200, 1), (200, 4), (3, 50)] {
            let (begun, mut taken) = (AtomicUsize::new(0), Vec::new());
            let ended = AtomicUsize::new(0);
            let made = pool.install(|| {
                in_order(
                    count,
                    window,
                    |number| {
                        let under_way =
                            begun.fetch_add(1, Ordering::SeqCst) + 1 - ended.load(Ordering::SeqCst);
                        assert!(under_way <= window.max(1), "{under_way}");
                        linger(number);
                        Ok::<_, ()>(number)
                    },
                    |number| {
                        linger(number + 5);
                        taken.push(number);
                        ended.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    },
                )
            });
            assert_eq!((made, taken), (Ok(()), (0..count).collect()));
        }
    }

    #[test]
    fn nothing_is_taken_after_a_failure() {
        for fails_when_taken in [false, true] {
            let mut taken = Vec::new();
            let result = in_order(
                100,
                4,
                |number| if number == 30 && !fails_when_taken { Err("made") } else { Ok(number) },
                |number| {
                    if number == 30 {
                        return Err("taken");
                    }
                    taken.push(number);
                    Ok(())
                },
            );
            assert_eq!(result, Err(if fails_when_taken { "taken" } else { "made" }));
            assert!(taken.len() <= 30 && taken.iter().enumerate().all(|(at, number)| at == *number));
        }
    }
}
