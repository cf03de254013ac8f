//! Whether what the store has is what its names say.

use std::collections::HashMap;

use cache::{CacheError, Store};
use rayon::prelude::*;
use solver::{BlobDigest, Descriptor};

use super::{EntryKind, GcError, closure, is_broken_rest, sweep};
use crate::cancel::Cancel;
use crate::images::Images;

/// A blob that is not there, or is something else than its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its digest, and the size it should have.
    pub blob: Descriptor,
    /// Whether there was something else.
    pub was_wrong: bool,
    /// Names of the images that need it.
    pub needed_by: Vec<String>,
}

/// What a look at everything found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blobs looked at.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// What is wrong or missing.
    pub damage: Vec<Damage>,
    /// Records that were forgotten.
    pub records: usize,
    /// Whether the database could not be read, and was deleted.
    pub healed: bool,
}

/// Hashes every blob, deletes those that are not what their names say, and forgets the records that need them or others
/// that are gone, and images without a name that do. The store is open alone. `None` when it was cancelled; nothing has changed then.
///
/// # Errors
/// When the store fails.
pub fn verify(
    store: &Store,
    cancel: &Cancel,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Option<Verified>, GcError> {
    let blobs = store.blobs().list()?;
    let check = |(blob, _): &(Descriptor, _)| -> Result<Option<(Descriptor, bool)>, CacheError> {
        if cancel.is_cancelled() {
            return Ok(None);
        }
        let read = |bytes| {
            progress(bytes);
            !cancel.is_cancelled()
        };
        Ok(store.blobs().is_whole(blob, &read)?.map(|is_right| (*blob, is_right)))
    };
    let checked: Result<Vec<_>, _> = blobs.par_iter().map(check).collect();
    let Some(checked) = checked?.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
    let mut verified = Verified { blobs: checked.len(), ..Verified::default() };
    let mut kept: HashMap<BlobDigest, u64> = HashMap::new();
    let mut wrong: Vec<Descriptor> = Vec::new();
    for (blob, is_right) in checked {
        verified.bytes += blob.size;
        if is_right {
            kept.insert(blob.digest, blob.size);
        } else {
            wrong.push(blob);
        }
    }
    verified.damage = damage(store, &kept, &wrong)?;
    wrong.iter().try_for_each(|blob| store.blobs().remove(&blob.digest))?;
    Images::new(store).remove_where(|tagged| is_broken_rest(store, tagged, &kept))?;
    verified.healed = store.heal_records()?;
    let records = sweep::find(store, &kept, None)?;
    store.forget(&records)?;
    verified.records = records.len();
    Ok(Some(verified))
}

/// What was wrong, and what images miss.
fn damage(
    store: &Store,
    kept: &HashMap<BlobDigest, u64>,
    wrong: &[Descriptor],
) -> Result<Vec<Damage>, GcError> {
    let one = |blob: &Descriptor, was_wrong| Damage { blob: *blob, was_wrong, needed_by: Vec::new() };
    let mut damage: Vec<Damage> = wrong.iter().map(|blob| one(blob, true)).collect();
    for tagged in Images::new(store).list()? {
        // An image whose manifest is gone needs at least that.
        let needs = closure(store, &tagged).unwrap_or_default();
        for (blob, kind) in needs.into_iter().chain([(tagged.manifest, EntryKind::Image)]) {
            let is_elsewhere = kind == EntryKind::Layer
                && !tagged.remotes.is_empty()
                && wrong.iter().all(|wrong| wrong.digest != blob.digest);
            if is_elsewhere || kept.get(&blob.digest) == Some(&blob.size) {
                continue;
            }
            let place = damage.iter().position(|known| known.blob.digest == blob.digest);
            let place = place.unwrap_or_else(|| {
                damage.push(one(&blob, false));
                damage.len() - 1
            });
            super::add_name(&mut damage[place].needed_by, tagged.name.as_deref().unwrap_or("<none>"));
        }
    }
    Ok(damage)
}
