//! Run once, others wait: equal work that meets in one process is done by whoever came first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// Results by key, each made at most once.
#[derive(Debug)]
pub struct OnceMap<K, V> {
    slots: Mutex<HashMap<K, Arc<Mutex<Option<V>>>>>,
}

impl<K, V> Default for OnceMap<K, V> {
    fn default() -> Self {
        Self { slots: Mutex::default() }
    }
}

impl<K: Eq + Hash, V: Clone> OnceMap<K, V> {
    /// The value of a key: made by `run` if nobody has made it. Who comes while it is made waits. After a failure the
    /// next one tries.
    ///
    /// # Errors
    /// What `run` returns.
    pub fn get_or_run<E>(&self, key: K, run: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let slot =
            Arc::clone(self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let mut value = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*value {
            return Ok(value.clone());
        }
        Ok(value.insert(run()?).clone())
    }

    /// The same, but who comes while the value is made makes one of its own: for work that hands parts of itself to a
    /// thread pool, where waiting could mean waiting for what this very thread was doing.
    ///
    /// # Errors
    /// What `run` returns.
    pub fn get_or_race<E>(&self, key: K, run: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let slot =
            Arc::clone(self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let mut value = match slot.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return run(),
        };
        if let Some(value) = &*value {
            return Ok(value.clone());
        }
        Ok(value.insert(run()?).clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn equal_work_runs_once_and_a_failure_is_tried_again() {
        let map = OnceMap::default();
        let runs = AtomicUsize::new(0);
        assert_eq!(map.get_or_run("a", || Err::<usize, _>("no")), Err("no"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let value =
                        map.get_or_run("a", || Ok::<_, &str>(runs.fetch_add(1, Ordering::SeqCst) + 40));
                    assert_eq!(value, Ok(40));
                });
            }
        });
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn work_that_meets_itself_does_not_wait() {
        let map = OnceMap::default();
        let inner = || map.get_or_race("a", || Ok::<_, ()>(1));
        assert_eq!(map.get_or_race("a", || inner().map(|one| one + 1)), Ok(2));
        assert_eq!(inner(), Ok(2));
    }
}
