//! What goes first: what was not used for the longest time, weighed with what it costs to have it again.

use std::time::{Duration, SystemTime};

use super::{Entry, EntryKind, Survey};

/// What may be deleted, and how much must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Delete no more than is needed to come down to this many bytes; `None` deletes all that may be.
    pub keep_bytes: Option<u64>,
    /// Only what was not used for so long.
    pub unused_for: Duration,
    /// Only these kinds; empty for all.
    pub kinds: Vec<EntryKind>,
    /// Only what has a digest that begins with one of these hexadecimal digits; empty for all.
    pub ids: Vec<String>,
}

/// An entry that goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen<'survey> {
    /// The entry.
    pub entry: &'survey Entry,
    /// For people: since when nobody used it, and what it takes to have it again.
    pub why: String,
}

impl EntryKind {
    /// How many times longer than others it is kept.
    fn cost(self) -> u32 {
        match self {
            // The network is slow, and may not have it any more.
            Self::Source => 4,
            Self::Layer | Self::Image => 1,
            Self::Other => 1,
        }
    }

    fn how_to_have_it_again(self) -> &'static str {
        match self {
            Self::Source => "downloaded again when a build needs it",
            Self::Layer => "made again when a build needs it",
            Self::Image => "no name leads to it",
            Self::Other => "nothing refers to it",
        }
    }
}

impl Policy {
    /// Whether its kinds and ids mean an entry.
    pub fn is_about(&self, entry: &Entry) -> bool {
        let hex = entry.blob.digest.hex();
        (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && (self.ids.is_empty() || self.ids.iter().any(|id| hex.starts_with(id)))
    }

    /// What goes, in this order.
    pub fn choose<'survey>(&self, survey: &'survey Survey, now: SystemTime) -> Vec<Chosen<'survey>> {
        let age = |entry: &Entry| now.duration_since(entry.last_used).unwrap_or_default();
        let may_go = |entry: &&Entry| {
            entry.needed_by.is_empty() && age(entry) >= self.unused_for && self.is_about(entry)
        };
        let mut entries: Vec<&Entry> = survey.entries.iter().filter(may_go).collect();
        entries.sort_by_key(|entry| {
            (std::cmp::Reverse(age(entry) / entry.kind.cost()), std::cmp::Reverse(entry.blob.size))
        });
        let mut total = survey.total_bytes();
        let mut chosen = Vec::new();
        for entry in entries {
            if self.keep_bytes.is_some_and(|keep| total <= keep) {
                break;
            }
            total -= entry.blob.size;
            let why = format!("unused for {}, {}", rough(age(entry)), entry.kind.how_to_have_it_again());
            chosen.push(Chosen { entry, why });
        }
        chosen
    }
}

/// A time as people say it.
fn rough(age: Duration) -> String {
    let seconds = age.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use solver::{BlobDigest, Descriptor};

    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;

    fn survey() -> Survey {
        let entry = |byte: u8, size, kind, hours: u64, needed: &[&str]| Entry {
            blob: Descriptor { digest: BlobDigest::from_bytes([byte; 32]), size },
            kind,
            last_used: NOW - Duration::from_secs(hours * 3600),
            needed_by: needed.iter().map(|name| (*name).to_owned()).collect(),
            used_by: Vec::new(),
        };
        let entries = vec![
            entry(1, 100, EntryKind::Layer, 900, &["a:1"]),
            entry(2, 100, EntryKind::Layer, 10, &[]),
            entry(3, 100, EntryKind::Source, 30, &[]),
            entry(4, 100, EntryKind::Layer, 30, &[]),
            entry(5, 100, EntryKind::Other, 0, &[]),
            entry(6, 300, EntryKind::Layer, 10, &[]),
        ];
        Survey { entries, records_bytes: 50, dirs: Vec::new() }
    }

    fn chosen(policy: &Policy) -> Vec<u8> {
        let survey = survey();
        policy.choose(&survey, NOW).iter().map(|chosen| chosen.entry.blob.digest.as_bytes()[0]).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_what_an_image_needs_never() {
        let all = Policy::default();
        // A download counts a quarter of its age; of the equally old the larger goes first.
        assert_eq!(chosen(&all), [4, 6, 2, 3, 5]);
        let survey = survey();
        assert_eq!((survey.total_bytes(), survey.needed_bytes()), (850, 100));
        for (keep, expected) in
            [(850, vec![]), (849, vec![4]), (750, vec![4]), (749, vec![4, 6]), (0, vec![4, 6, 2, 3, 5])]
        {
            assert_eq!(chosen(&Policy { keep_bytes: Some(keep), ..all.clone() }), expected, "{keep}");
        }
    }

    #[test]
    fn age_kind_and_id_narrow_the_choice() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (policy, expected) in [
            (Policy { unused_for: hours(30), ..Policy::default() }, vec![4, 3]),
            (Policy { unused_for: hours(31), ..Policy::default() }, vec![]),
            (Policy { kinds: vec![EntryKind::Source, EntryKind::Other], ..Policy::default() }, vec![3, 5]),
            (Policy { ids: vec!["06".into(), "01".into()], ..Policy::default() }, vec![6]),
        ] {
            assert_eq!(chosen(&policy), expected, "{policy:?}");
        }
        let survey = survey();
        let why = &Policy::default().choose(&survey, NOW)[0].why;
        assert_eq!(why, "unused for 1 day, made again when a build needs it");
    }
}
