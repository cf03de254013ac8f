//! The entries of a directory: a list sorted by name that takes no more memory than they need.
//!
//! Most directories are made once, in order, and only read from then on; many hold one entry.

use serde::{Deserialize, Serialize};

use super::Entry;

type Named = (Box<[u8]>, Entry);

/// Entries by name, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Named>")]
pub struct Entries(Vec<Named>);

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entry of a name.
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        Some(&self.0[self.place(name).ok()?].1)
    }

    /// Whether there is an entry of a name.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.place(name).is_ok()
    }

    /// Sets the entry of a name. In the order of names this costs nothing; otherwise all that come later move, so many are
    /// collected.
    pub fn insert(&mut self, name: impl Into<Box<[u8]>>, entry: Entry) {
        let name = name.into();
        if self.0.last().is_none_or(|(last, _)| *last < name) {
            self.0.push((name, entry));
            return;
        }
        match self.place(&name) {
            Ok(place) => self.0[place].1 = entry,
            Err(place) => self.0.insert(place, (name, entry)),
        }
    }

    /// All entries with their names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &Entry)> + ExactSizeIterator {
        self.0.iter().map(|(name, entry)| (&**name, entry))
    }

    /// All names.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// All entries.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.0.iter().map(|(_, entry)| entry)
    }

    /// All entries, to change them.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Entry> + ExactSizeIterator {
        self.0.iter_mut().map(|(_, entry)| entry)
    }

    /// Gives back the memory that more entries would have taken.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl From<Vec<Named>> for Entries {
    /// Of several entries of a name the last counts.
    fn from(mut named: Vec<Named>) -> Self {
        if !named.is_sorted_by(|(a, _), (b, _)| a < b) {
            named.sort_by(|(a, _), (b, _)| a.cmp(b));
            named.dedup_by(|later, earlier| {
                let is_same = later.0 == earlier.0;
                if is_same {
                    std::mem::swap(later, earlier);
                }
                is_same
            });
        }
        Self(named)
    }
}

impl<N: Into<Box<[u8]>>> FromIterator<(N, Entry)> for Entries {
    fn from_iter<I: IntoIterator<Item = (N, Entry)>>(entries: I) -> Self {
        entries.into_iter().map(|(name, entry)| (name.into(), entry)).collect::<Vec<Named>>().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tree::{Meta, Node};

    fn entry(mode: u32) -> Entry {
        Entry { meta: Meta::with_mode(mode), node: Node::Whiteout }
    }

    proptest! {
        #[test]
        fn they_are_a_map(given in prop::collection::vec((prop::collection::vec(0..4_u8, 0..3), 0..8_u32), 0..20)) {
            let given = || given.iter().map(|(name, mode)| (name.clone(), entry(*mode)));
            let map: BTreeMap<Vec<u8>, Entry> = given().collect();
            let collected: Entries = given().collect();
            let mut inserted = Entries::default();
            given().for_each(|(name, entry)| inserted.insert(name, entry));
            prop_assert_eq!(&collected, &inserted);
            prop_assert!(collected.iter().eq(map.iter().map(|(name, entry)| (name.as_slice(), entry))));
            for name in map.keys().cloned().chain([vec![], vec![9]]) {
                prop_assert_eq!(collected.get(&name), map.get(&name));
                prop_assert_eq!(collected.contains(&name), map.contains_key(&name));
            }
            // The bytes that digests are made of.
            let bytes = postcard::to_stdvec(&collected).unwrap();
            prop_assert_eq!(&bytes, &postcard::to_stdvec(&map).unwrap());
            prop_assert_eq!(postcard::from_bytes::<Entries>(&bytes).unwrap(), collected);
        }
    }
}
