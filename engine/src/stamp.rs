//! Records with the day of their last use, for `prune`: most of them no image reaches.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache::{Store, Table};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A day in seconds.
const DAY: u64 = 24 * 60 * 60;
/// Age in days at which a record that is read gets a new stamp, provided that something is written anyway.
const REFRESH: u64 = 7;

/// A value and a day, counted from 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamped<T> {
    value: T,
    day: u64,
}

impl<T> Stamped<T> {
    /// How long ago the stamp was made, to a day; for a clock that went back, not at all.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_secs(today().saturating_sub(self.day) * DAY)
    }

    /// The value.
    pub(crate) fn into_value(self) -> T {
        self.value
    }
}

/// Keeps a value for the commit, with today's stamp.
pub(crate) fn put<T: Serialize>(store: &Store, table: Table, key: &[u8], value: &T) {
    store.put(table, key, &Stamped { value, day: today() });
}

/// Keeps a value for the commit, if there is one, with today's stamp.
pub(crate) fn put_soft<T: Serialize>(store: &Store, table: Table, key: &[u8], value: &T) {
    store.put_soft(table, key, &Stamped { value, day: today() });
}

/// A stamped value.
pub(crate) fn get<T: Serialize + DeserializeOwned>(store: &Store, table: Table, key: &[u8]) -> Option<T> {
    get_many(store, table, &[key]).pop().flatten()
}

/// Many stamped values; old stamps are renewed.
pub(crate) fn get_many<T: Serialize + DeserializeOwned>(
    store: &Store,
    table: Table,
    keys: &[&[u8]],
) -> Vec<Option<T>> {
    let today = today();
    let found: Vec<Option<Stamped<T>>> = store.get_many(table, keys);
    let value = |(key, found): (&&[u8], Option<Stamped<T>>)| {
        let found = found?;
        if today.saturating_sub(found.day) >= REFRESH {
            put_soft(store, table, key, &found.value);
        }
        Some(found.value)
    };
    keys.iter().zip(found).map(value).collect()
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY
}
