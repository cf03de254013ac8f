//! What is kept of what is there and of what comes: a union, without what is too old or too much. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use solver::BlobDigest;

use super::format::{self, Entries, Entry, KeyHash};
use super::{Limits, MacKey, NewRecord};

/// A record that is used keeps its day for so long, so that using alone does not rewrite a cache every day.
const FRESH_DAYS: u32 = 7;

/// Records by the hash of their key.
#[derive(Debug, Default)]
pub(super) struct Union {
    entries: BTreeMap<KeyHash, Entry>,
    pub(super) added: usize,
    pub(super) expired: usize,
}

impl Union {
    /// What is there, all shards together.
    pub(super) fn of(there: Vec<Entries>, today: u32) -> Self {
        let mut entries: BTreeMap<KeyHash, Entry> = there.into_iter().flatten().collect();
        // A day to come would never be old.
        entries.values_mut().for_each(|entry| entry.day = entry.day.min(today));
        Self { entries, ..Self::default() }
    }

    /// Adds a record. It takes the place of another value, except that who signs nothing leaves what is signed: so those
    /// who have the key are not kept from their records by those who have not.
    pub(super) fn add(&mut self, record: &NewRecord, key: Option<&MacKey>, today: u32) {
        let hash = format::hash_of(&record.key);
        let NewRecord { key: full, value, blobs } = record;
        if let Some(known) = self.entries.get_mut(&hash) {
            let is_equal = known.value == *value && known.blobs == *blobs;
            let is_good = match key {
                Some(own) => own.verify(full, &known.value, &known.blobs, known.mac.as_ref()),
                None => true,
            };
            if is_equal && is_good {
                if today.saturating_sub(known.day) > FRESH_DAYS {
                    known.day = today;
                }
                return;
            }
            if key.is_none() && known.mac.is_some() {
                return;
            }
        }
        let mac = key.map(|own| own.sign(full, value, blobs));
        let entry = Entry { key: full.clone(), value: value.clone(), blobs: blobs.clone(), day: today, mac };
        self.entries.insert(hash, entry);
        self.added += 1;
    }

    /// Drops the records that need one of some blobs.
    pub(super) fn drop_needing(&mut self, blobs: &HashSet<BlobDigest>) {
        self.entries.retain(|_, entry| !entry.blobs.iter().any(|blob| blobs.contains(&blob.digest)));
    }

    /// Drops what is beyond the limits.
    pub(super) fn limit(&mut self, limits: &Limits) {
        let before = self.entries.len();
        if let Some(days) = limits.max_age_days {
            self.entries.retain(|_, entry| limits.today.saturating_sub(entry.day) <= days);
        }
        if let Some(bytes) = limits.max_bytes {
            self.shrink(bytes);
        }
        self.expired = before - self.entries.len();
    }

    /// A blob goes with all records that need it, since without it they are worth nothing, and alone they free nothing. The
    /// first to go is the one that was not used for the longest time; records without blobs go after all others.
    fn shrink(&mut self, limit: u64) {
        let mut needs: HashMap<BlobDigest, Blob> = HashMap::new();
        let limit = u128::from(limit);
        // Sizes are what a cache says of blobs that nobody has seen: together they may be more than 64 bits hold.
        let mut total = 0_u128;
        for (hash, entry) in &self.entries {
            total += u128::from(entry.size());
            for blob in &entry.blobs {
                let known = needs.entry(blob.digest).or_insert_with(|| {
                    total += u128::from(blob.size);
                    Blob { size: blob.size, day: 0, needed_by: Vec::new() }
                });
                known.day = known.day.max(entry.day);
                known.needed_by.push(*hash);
            }
        }
        let mut blobs: Vec<_> = needs.iter().map(|(digest, blob)| (blob.day, *digest)).collect();
        blobs.sort_unstable();
        let mut gone = HashSet::new();
        for (_, digest) in blobs {
            if total <= limit {
                return;
            }
            for hash in &needs[&digest].needed_by {
                let Some(entry) = self.entries.remove(hash) else { continue };
                total -= u128::from(entry.size());
                // What only this record needed goes too.
                for blob in &entry.blobs {
                    let is_free =
                        !needs[&blob.digest].needed_by.iter().any(|hash| self.entries.contains_key(hash));
                    if is_free && gone.insert(blob.digest) {
                        total -= u128::from(needs[&blob.digest].size);
                    }
                }
            }
        }
        let mut rest: Vec<_> = self.entries.iter().map(|(hash, entry)| (entry.day, *hash)).collect();
        rest.sort_unstable();
        for (_, hash) in rest {
            if total <= limit {
                return;
            }
            total -= self.entries.remove(&hash).map_or(0, |entry| entry.size().into());
        }
    }

    /// All of it, ascending by hash.
    pub(super) fn into_entries(self) -> Entries {
        self.entries.into_iter().collect()
    }
}

struct Blob {
    size: u64,
    /// When the last of the records that need it was used.
    day: u32,
    needed_by: Vec<KeyHash>,
}

#[cfg(test)]
mod tests {
    use solver::Descriptor;

    use super::*;

    #[test]
    fn blobs_that_no_disk_could_hold_are_too_much() {
        let mut union = Union::default();
        for n in 0..3 {
            let blobs = vec![Descriptor { digest: BlobDigest::from_bytes([n; 32]), size: u64::MAX }];
            union.add(&NewRecord { key: vec![n], value: vec![n], blobs }, None, 0);
        }
        union.limit(&Limits { max_bytes: Some(u64::MAX), ..Limits::none() });
        assert_eq!(union.into_entries().len(), 0);
    }
}
