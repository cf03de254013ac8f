//! What the store holds, what of it is not needed, and deleting that (design §8).
//!
//! Roots are the names in index.json, which keep what they reach; images without a name and the last outcome of each
//! repository, which say when what they reach was last used. Everything else is as old as its file. All of it can
//! be made again.

mod dirs;
mod policy;
mod sweep;
mod verify;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache::{CacheError, Store, Table};
use rustix::io::Errno;
use serde_json::Value;
use solver::{BlobDigest, Descriptor, TreeDigest};
use thiserror::Error;

pub use self::dirs::{DirKind, KeptDir, has_dirs};
pub use self::policy::{Chosen, Policy};
pub use self::verify::{Damage, Verified, verify};
use crate::container::Place;
use crate::images::{Images, ImagesError, Tagged};
use crate::oci::JSON_LIMIT;
use crate::outcome::Outcome;
use crate::source::http::HttpRecord;
use crate::source::packed::Packed;

/// Why the store cannot be tidied.
#[derive(Debug, Error)]
pub enum GcError {
    /// What a named image needs is not known, so nothing may be deleted.
    #[error("what image `{name}` needs cannot be read: {source}")]
    Unreadable {
        /// Its name.
        name: String,
        /// Why.
        source: Box<ImagesError>,
    },
    /// The list of images.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// The store.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl GcError {
    /// Whether there is no room for what has to be written.
    fn is_about_room(&self) -> bool {
        let text = self.to_string();
        // The database has nothing but the system's words for it.
        [Errno::NOSPC, Errno::DQUOT].into_iter().any(|code| {
            let words = std::io::Error::from(code).to_string();
            text.contains(words.split(" (").next().unwrap_or(&words))
        })
    }
}

/// What a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// A layer.
    Layer,
    /// What an `http` source downloaded, or the files of a git source.
    Source,
    /// A manifest, an index or a config.
    Image,
    /// Nothing that any record knows.
    Other,
}

impl EntryKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Source => "source",
            Self::Image => "image",
            Self::Other => "other",
        }
    }
}

/// A blob of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Digest and size.
    pub blob: Descriptor,
    /// What it is.
    pub kind: EntryKind,
    /// When it was last used.
    pub last_used: SystemTime,
    /// Names of the images that need it, sorted.
    pub needed_by: Vec<String>,
    /// Repositories whose last build used it, sorted.
    pub used_by: Vec<String>,
}

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Every blob, by digest.
    pub entries: Vec<Entry>,
    /// Size of the database, in bytes.
    pub records_bytes: u64,
    /// What commands keep, the longest unused first.
    pub dirs: Vec<KeptDir>,
}

impl Survey {
    /// Looks at a store. Opens no layer.
    ///
    /// # Errors
    /// When what a named image needs cannot be told.
    pub fn new(store: &Store) -> Result<Self, GcError> {
        let dirs = dirs::list(store).map_err(CacheError::from)?;
        Ok(Self { dirs, ..Self::of_blobs(store)? })
    }

    /// Looks at a store, and not at what commands keep, which may be much, and not for everybody to see.
    ///
    /// # Errors
    /// When what a named image needs cannot be told.
    pub fn of_blobs(store: &Store) -> Result<Self, GcError> {
        let mut entries: BTreeMap<BlobDigest, Entry> = BTreeMap::new();
        for (blob, written) in store.blobs().list()? {
            let (needed_by, used_by) = (Vec::new(), Vec::new());
            let kind = EntryKind::Other;
            entries.insert(blob.digest, Entry { blob, kind, last_used: written, needed_by, used_by });
        }
        mark_known(store, &mut entries)?;
        mark_outcomes(store, &mut entries)?;
        mark_images(store, &mut entries)?;
        let entries = entries.into_values().collect();
        Ok(Self { entries, records_bytes: records_bytes(store)?, dirs: Vec::new() })
    }

    /// Size of all blobs, of the database and of what commands keep, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.dirs_bytes() + self.records_bytes + self.entries.iter().map(|entry| entry.blob.size).sum::<u64>()
    }

    /// Size of what commands keep, in bytes.
    pub fn dirs_bytes(&self) -> u64 {
        self.dirs.iter().map(|dir| dir.size).sum()
    }

    /// Takes those out that a policy wants deleted: they go before any blob.
    pub fn take_dirs(&mut self, policy: &Policy, now: SystemTime) -> Vec<KeptDir> {
        if !policy.kinds.is_empty() || !policy.ids.is_empty() {
            return Vec::new();
        }
        let excess = policy.keep_bytes.map(|keep| self.total_bytes().saturating_sub(keep));
        let chosen = dirs::choose(&self.dirs, policy.unused_for, now, excess);
        self.dirs.retain(|dir| !chosen.contains(dir));
        chosen
    }

    /// Size of what named images need, in bytes.
    pub fn needed_bytes(&self) -> u64 {
        let needed = self.entries.iter().filter(|entry| !entry.needed_by.is_empty());
        needed.map(|entry| entry.blob.size).sum()
    }
}

/// Deletes what commands keep. The store is open alone.
///
/// # Errors
/// Those of the file system.
pub fn remove_dirs(dirs: &[KeptDir]) -> Result<(), GcError> {
    Ok(dirs.iter().try_for_each(dirs::remove).map_err(CacheError::from)?)
}

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records.
    pub records: usize,
    /// Images without a name that lost something.
    pub images: usize,
}

/// Deletes blobs, images without a name that are not whole any more, the records that need them, and with `unused_for`
/// those that nothing needs and that were not used for so long. The store is open alone. Wherever it is interrupted, nothing that
/// is left is trusted to lead to what is gone. With `dry_run` it only says what it would do.
///
/// # Errors
/// When the store fails.
pub fn prune(
    store: &Store,
    chosen: &[Chosen<'_>],
    unused_for: Option<Duration>,
    dry_run: bool,
) -> Result<Pruned, GcError> {
    let gone: HashSet<BlobDigest> = chosen.iter().map(|chosen| chosen.entry.blob.digest).collect();
    let images = Images::new(store);
    let kept: HashMap<BlobDigest, u64> = store
        .blobs()
        .list()?
        .into_iter()
        .filter(|(blob, _)| !gone.contains(&blob.digest))
        .map(|(blob, _)| (blob.digest, blob.size))
        .collect();
    let loses = |tagged: &Tagged| is_broken_rest(store, tagged, &kept);
    let records = sweep::find(store, &kept, unused_for)?;
    if dry_run {
        let count = images.list()?.iter().filter(|tagged| loses(tagged)).count();
        return Ok(Pruned { records: records.len(), images: count });
    }
    let mut rest = gone;
    let removed = with_room(store, &mut rest, || Ok(images.remove_where(loses)?))?;
    with_room(store, &mut rest, || Ok(store.forget(&records)?))?;
    rest.iter().try_for_each(|digest| store.blobs().remove(digest))?;
    forget_roots(store)?;
    Ok(Pruned { records: records.len(), images: removed })
}

/// Writes what leads to blobs no more before these go. Where that takes more room than there is, those go first that no image
/// needs: to whoever has a record of them, they are a miss.
fn with_room<T>(
    store: &Store,
    gone: &mut HashSet<BlobDigest>,
    write: impl Fn() -> Result<T, GcError>,
) -> Result<T, GcError> {
    let error = match write() {
        Err(error) if error.is_about_room() => error,
        written => return written,
    };
    let mut needed = HashSet::new();
    for tagged in Images::new(store).list()? {
        needed.extend(closure(store, &tagged).unwrap_or_default().into_iter().map(|(blob, _)| blob.digest));
    }
    let needless: Vec<BlobDigest> = gone.difference(&needed).copied().collect();
    if needless.is_empty() {
        return Err(error);
    }
    needless.iter().try_for_each(|digest| store.blobs().remove(digest))?;
    gone.retain(|digest| needed.contains(digest));
    write()
}

/// Whether a line of the index is of an image without a name, and not all of it is there any more: nobody can ask for it.
fn is_broken_rest(store: &Store, tagged: &Tagged, kept: &HashMap<BlobDigest, u64>) -> bool {
    let is_lost = |blob: &Descriptor| kept.get(&blob.digest) != Some(&blob.size);
    tagged.name.is_none()
        && (is_lost(&tagged.manifest)
            || match closure(store, tagged) {
                // Layers of one that is elsewhere may never have been here.
                Ok(needs) if tagged.remotes.is_empty() => needs.iter().any(|(blob, _)| is_lost(blob)),
                Ok(needs) => needs.iter().any(|(blob, kind)| *kind != EntryKind::Layer && is_lost(blob)),
                Err(ImagesError::Cache(CacheError::Io(error))) => error.kind() == ErrorKind::NotFound,
                Err(_) => true,
            })
}

/// Roots that are no more are not asked when they were used.
fn forget_roots(store: &Store) -> Result<(), GcError> {
    let mut kept: HashSet<String> =
        Images::new(store).list()?.iter().map(|tagged| tagged.manifest.digest.hex()).collect();
    store.scan(Table::Outcomes, &mut |key, _: Option<Outcome>| _ = kept.insert(hex::encode(key)))?;
    Ok(store.retain_roots(|root| kept.contains(root))?)
}

fn mark_known(store: &Store, entries: &mut BTreeMap<BlobDigest, Entry>) -> Result<(), GcError> {
    store.scan(Table::LayerIndex, &mut |key, _: Option<TreeDigest>| {
        let digest = key.try_into().map(BlobDigest::from_bytes).ok();
        if let Some(entry) = digest.and_then(|digest| entries.get_mut(&digest)) {
            entry.kind = EntryKind::Layer;
        }
    })?;
    store.scan(Table::Places, &mut |key, place: Option<Place>| {
        let digest = key.try_into().map(BlobDigest::from_bytes).ok();
        if let (Some(_), Some(entry)) = (place, digest.and_then(|digest| entries.get_mut(&digest))) {
            entry.kind = EntryKind::Source;
        }
    })?;
    store.scan(Table::Packed, &mut |_, packed: Option<Packed>| {
        for (_, layer) in packed.into_iter().flat_map(|packed| packed.parts) {
            if let Some(entry) = entries.get_mut(&layer.blob.digest) {
                entry.kind = EntryKind::Source;
            }
        }
    })?;
    store.scan(Table::Http, &mut |_, record: Option<HttpRecord>| {
        if let Some(entry) = record.and_then(|record| entries.get_mut(&record.blob.digest)) {
            entry.kind = EntryKind::Source;
        }
    })?;
    Ok(())
}

fn mark_outcomes(store: &Store, entries: &mut BTreeMap<BlobDigest, Entry>) -> Result<(), GcError> {
    store.scan(Table::Outcomes, &mut |key, outcome: Option<Outcome>| {
        let Some(outcome) = outcome else { return };
        let used = store.root_used(&hex::encode(key));
        let blobs = outcome.layers().map(|layer| &layer.blob).chain(&outcome.bodies);
        for blob in blobs {
            let Some(entry) = entries.get_mut(&blob.digest) else { continue };
            entry.last_used = used.map_or(entry.last_used, |used| used.max(entry.last_used));
            add_name(&mut entry.used_by, &outcome.repository);
        }
    })?;
    Ok(())
}

fn mark_images(store: &Store, entries: &mut BTreeMap<BlobDigest, Entry>) -> Result<(), GcError> {
    for tagged in Images::new(store).list()? {
        let needs = match (closure(store, &tagged), &tagged.name) {
            (Ok(needs), _) => needs,
            (Err(source), Some(name)) => {
                return Err(GcError::Unreadable { name: name.clone(), source: source.into() });
            }
            (Err(_), None) => Vec::new(),
        };
        let stored = UNIX_EPOCH + Duration::from_secs(tagged.stored_at.try_into().unwrap_or(0));
        let used = store.root_used(&tagged.manifest.digest.hex()).map_or(stored, |used| used.max(stored));
        for (blob, kind) in needs {
            let Some(entry) = entries.get_mut(&blob.digest) else { continue };
            entry.kind = kind;
            entry.last_used = entry.last_used.max(used);
            if let Some(name) = &tagged.name {
                add_name(&mut entry.needed_by, name);
            }
        }
    }
    Ok(())
}

fn add_name(names: &mut Vec<String>, name: &str) {
    if let Err(place) = names.binary_search_by(|other| other.as_str().cmp(name)) {
        names.insert(place, name.to_owned());
    }
}

/// Everything a line of the index needs: manifests, configs, layers.
pub(crate) fn closure(store: &Store, tagged: &Tagged) -> Result<Vec<(Descriptor, EntryKind)>, ImagesError> {
    let mut needs = Vec::new();
    let mut pending = vec![tagged.manifest];
    while let Some(manifest) = pending.pop() {
        needs.push((manifest, EntryKind::Image));
        let bytes = store.blobs().read(&manifest.digest, JSON_LIMIT)?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| ImagesError::Json {
            what: "the manifest",
            name: manifest.digest.to_string(),
            reason: error.to_string(),
        })?;
        let list =
            |key: &str| json.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(descriptor);
        pending.extend(list("manifests").filter(|blob| needs.iter().all(|(known, _)| known != blob)));
        needs.extend(json.get("config").and_then(descriptor).map(|config| (config, EntryKind::Image)));
        needs.extend(list("layers").map(|layer| (layer, EntryKind::Layer)));
    }
    Ok(needs)
}

fn descriptor(json: &Value) -> Option<Descriptor> {
    Some(Descriptor {
        digest: json.get("digest")?.as_str()?.parse().ok()?,
        size: json.get("size")?.as_u64()?,
    })
}

fn records_bytes(store: &Store) -> Result<u64, CacheError> {
    let mut bytes = 0;
    for file in dirs::there(fs_err::read_dir(store.root().join("db")))?.into_iter().flatten() {
        // Others may be compacting.
        bytes += dirs::there(file?.metadata())?.map_or(0, |file| file.len());
    }
    Ok(bytes)
}
