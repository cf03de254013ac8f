//! Run once, others wait: equal work that meets in one process is done by whoever came first.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

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
}
