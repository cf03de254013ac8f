//! What is remembered of a directory, in two records: a small one that is read in every build and says whether something
//! is new, and the entries, which are read when something is, or when somebody wants to see them.

use std::sync::{Arc, OnceLock};

use cache::{Store, Table};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};
use solver::{Hasher, TreeDigest};

use super::entry::{Glance, Known, Seen, Times, What};
use crate::tree::{Directory, Xattrs};

/// Another number forgets everything.
const FORMAT: u8 = 4;
/// Bytes that are hashed at once: hashing entry by entry takes three times as long.
const GATHERED: usize = 32 * 1024;

/// Identity of a directory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DirKey([u8; 18]);

impl DirKey {
    /// With modification times the trees are others.
    pub(crate) fn new(dir: &Stat, keep_mtime: bool) -> Self {
        let mut key = [0; 18];
        key[0] = FORMAT;
        key[1] = keep_mtime.into();
        key[2..10].copy_from_slice(&dir.st_dev.to_le_bytes());
        key[10..].copy_from_slice(&dir.st_ino.to_le_bytes());
        Self(key)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether a directory is what it was, told by glances at its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// [`glances_digest`] of its entries.
    pub(crate) entries: [u8; 32],
    /// The tree of exactly these entries.
    pub(crate) tree: TreeDigest,
    /// The directory itself, if nothing but these entries is in it.
    pub(crate) itself: Option<Itself>,
}

/// What a directory was when exactly these entries were in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Itself {
    pub(crate) times: Times,
    pub(crate) xattrs: Xattrs,
    pub(crate) names: Names,
}

/// Sorted names, each with the NUL behind it that no name can have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names(Box<[u8]>);

impl Names {
    /// Names that are sorted.
    pub(crate) fn new<'n>(names: impl IntoIterator<Item = &'n [u8]>) -> Self {
        let mut all = Vec::new();
        for name in names {
            all.extend_from_slice(name);
            all.push(0);
        }
        Self(all.into())
    }

    /// The names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split_inclusive(|byte| *byte == 0).map(|name| &name[..name.len() - 1])
    }
}

/// The entries of a directory as a scan found them, sorted by name; those that were left out do not stand in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) known: Vec<Known>,
}

impl Listing {
    pub(super) fn read(store: &Store, key: &DirKey) -> Self {
        store.get(Table::Listings, key.as_bytes()).unwrap_or_default()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Known> {
        let place = self.known.binary_search_by(|known| (*known.name).cmp(name)).ok()?;
        Some(&self.known[place])
    }

    /// The directory it is in a tree.
    pub(crate) fn directory(&self, keep_mtime: bool) -> Directory {
        let entries = self.known.iter().map(|known| (known.name.clone(), known.entry(keep_mtime)));
        Directory { entries: entries.collect(), opaque: false }
    }

    /// What a later glance at exactly these entries is compared with.
    pub(crate) fn digest(&self) -> [u8; 32] {
        digest(self.known.iter().map(|known| {
            let below = match &known.what {
                What::Dir(tree) => Some((tree, &known.xattrs)),
                What::File(_) | What::Link(_) => None,
            };
            (&*known.name, &known.seen, below)
        }))
    }
}

/// A listing that may still be in the store.
#[derive(Debug)]
pub(crate) struct Listed {
    key: DirKey,
    listing: OnceLock<Arc<Listing>>,
}

impl Listed {
    /// The one that the store has of a directory.
    pub(crate) fn stored(key: DirKey) -> Self {
        Self { key, listing: OnceLock::new() }
    }

    /// One that is at hand.
    pub(crate) fn read(key: DirKey, listing: Arc<Listing>) -> Self {
        Self { key, listing: listing.into() }
    }

    /// The listing, if it is at hand.
    pub(crate) fn at_hand(&self) -> Option<&Listing> {
        self.listing.get().map(Arc::as_ref)
    }

    /// The listing.
    pub(crate) fn get(&self, store: &Store) -> &Listing {
        self.listing.get_or_init(|| Listing::read(store, &self.key).into())
    }
}

/// Everything that glances at the entries of a directory tell, hashed.
pub(crate) fn glances_digest(glances: &[Glance<'_>]) -> [u8; 32] {
    digest(glances.iter().map(|glance| {
        let below = glance.below.as_ref().map(|below| (&below.tree, &below.xattrs));
        (glance.name, &glance.seen, below)
    }))
}

/// Name, stat, and what is below it of a directory.
type Told<'e> = (&'e [u8], &'e Seen, Option<(&'e TreeDigest, &'e Xattrs)>);

fn digest<'e>(entries: impl Iterator<Item = Told<'e>>) -> [u8; 32] {
    let mut hasher = Hasher::new("listing");
    let mut gathered = Vec::new();
    for (name, seen, below) in entries {
        put_bytes(&mut gathered, name);
        seen.put(&mut gathered);
        gathered.push(below.is_some().into());
        if let Some((tree, xattrs)) = below {
            gathered.extend_from_slice(tree.as_bytes());
            put_number(&mut gathered, xattrs.len() as u64);
            for (name, value) in xattrs {
                put_bytes(&mut gathered, name);
                put_bytes(&mut gathered, value);
            }
        }
        if gathered.len() > GATHERED {
            hasher.bytes(&gathered);
            gathered.clear();
        }
    }
    hasher.bytes(&gathered);
    hasher.finish()
}

/// Appends a number, eight bytes little-endian.
pub(super) fn put_number(gathered: &mut Vec<u8>, number: u64) {
    gathered.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(gathered: &mut Vec<u8>, bytes: &[u8]) {
    put_number(gathered, bytes.len() as u64);
    gathered.extend_from_slice(bytes);
}
