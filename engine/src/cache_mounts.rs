//! Directories that stay from build to build (`RUN --mount=type=cache`).
//!
//! ```text
//! $SEALER_ROOT/mounts-cache/ID.N/data    what the commands see
//!                               /lock    held by who uses it: shared, or alone
//! ```
//!
//! They are no part of any result: losing one costs time only. A lock file each decides between all builds on the machine.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cache::Store;
use solver::{Owner, Sharing};

use crate::cancel::Cancel;
use crate::sandbox::{self, SandboxError};
use crate::snapshot::SnapshotError;

/// Where they are, in the store.
const DIR: &str = "mounts-cache";
/// How often a waiting run looks whether it is its turn.
const INTERVAL: Duration = Duration::from_millis(50);

/// The cache mounts of a store.
#[derive(Debug)]
pub(crate) struct CacheMounts<'a> {
    store: &'a Store,
}

/// The use of a cache mount; it ends with this value.
#[derive(Debug)]
pub(crate) struct Claim {
    dir: PathBuf,
    _lock: File,
}

impl Claim {
    /// What the command sees.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Fills the directory of a new cache mount of an id, and says what mode and owner it has.
type Fill<'a> = dyn FnMut(&str, &Path) -> Result<(u32, Owner), SnapshotError> + 'a;

impl<'a> CacheMounts<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Gets the right to use cache mounts by their ids, waiting where others have them alone. New ones are filled by `fill`.
    ///
    /// An id that is wanted several times is claimed once, as the strictest wants it: a lock keeps out who holds it through
    /// another file. All claim in the order of ids, so that nobody waits for who waits for him.
    pub(crate) fn claim_all<'i>(
        &self,
        wanted: impl Iterator<Item = (&'i str, Sharing)>,
        cancel: &Cancel,
        fill: &mut Fill<'_>,
    ) -> Result<BTreeMap<&'i str, Claim>, ClaimError> {
        let mut strictest = BTreeMap::new();
        for (id, sharing) in wanted {
            strictest
                .entry(id)
                .and_modify(|known: &mut Sharing| *known = sharing.max(*known))
                .or_insert(sharing);
        }
        strictest.into_iter().map(|(id, sharing)| Ok((id, self.claim(id, sharing, cancel, fill)?))).collect()
    }

    fn claim(
        &self,
        id: &str,
        sharing: Sharing,
        cancel: &Cancel,
        fill: &mut Fill<'_>,
    ) -> Result<Claim, ClaimError> {
        let name = blake3::hash(id.as_bytes()).to_hex();
        let all = dir_in(self.store.root());
        for number in 0.. {
            let place = all.join(format!("{}.{number}", &name[..32]));
            if !place.exists() {
                fs_err::create_dir_all(&place)?;
                fs_err::set_permissions(&all, std::fs::Permissions::from_mode(0o700))?;
            }
            let lock = open(&lock_of(&place))?;
            if !acquire(&lock, sharing, cancel)? {
                continue;
            }
            // It only guides what is pruned first.
            let _ = lock.set_modified(SystemTime::now());
            let dir = place.join("data");
            if !dir.exists() {
                make(id, &place, &dir, fill)?;
            }
            return Ok(Claim { dir: fs_err::canonicalize(dir)?, _lock: lock });
        }
        unreachable!("the numbers do not end")
    }
}

/// Why a cache mount could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Fill(#[from] SnapshotError),
    #[error("the build was cancelled")]
    Cancelled,
}

impl From<ClaimError> for crate::ops::exec::ExecError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Io(error) => SandboxError::Io(error).into(),
            ClaimError::Fill(error) => error.into(),
            ClaimError::Cancelled => SandboxError::Cancelled.into(),
        }
    }
}

/// Locks; false where another one has to be tried.
fn acquire(lock: &File, sharing: Sharing, cancel: &Cancel) -> Result<bool, ClaimError> {
    loop {
        let tried = match sharing {
            Sharing::Shared => lock.try_lock_shared(),
            Sharing::Private | Sharing::Locked => lock.try_lock(),
        };
        match tried {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if sharing == Sharing::Private => return Ok(false),
            Err(TryLockError::WouldBlock) if cancel.is_cancelled() => return Err(ClaimError::Cancelled),
            Err(TryLockError::WouldBlock) => std::thread::sleep(INTERVAL),
        }
    }
}

/// Makes the directory; of several at once, one wins and the others take its.
fn make(id: &str, place: &Path, dir: &Path, fill: &mut Fill<'_>) -> Result<(), ClaimError> {
    let fresh = tempfile::Builder::new().prefix("fresh-").tempdir_in(place)?;
    let (mode, owner) = fill(id, fresh.path())?;
    sandbox::give(fresh.path(), owner.uid, owner.gid)?;
    fs_err::set_permissions(fresh.path(), std::fs::Permissions::from_mode(mode))?;
    match fs_err::rename(fresh.path(), dir) {
        Err(_) if dir.exists() => {}
        renamed => {
            renamed?;
            // It has another name now: there is nothing left to remove.
            let _ = fresh.keep();
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    let file = fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    Ok(file.into_parts().0)
}

/// Where the cache mounts of a store are.
pub(crate) fn dir_in(root: &Path) -> PathBuf {
    root.join(DIR)
}

/// The lock file of a cache mount; its modification time says when it was last used.
pub(crate) fn lock_of(place: &Path) -> PathBuf {
    place.join("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_claimed_once_and_all_in_one_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mounts = CacheMounts::new(&store);
        let ids = std::cell::RefCell::new(Vec::new());
        let mut fill = |id: &str, _: &Path| {
            ids.borrow_mut().push(id.to_owned());
            Ok((
                0o755,
                Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() },
            ))
        };
        let never = Cancel::new();
        let wanted = [("b", Sharing::Shared), ("a", Sharing::Locked), ("b", Sharing::Locked)];
        let claims = mounts.claim_all(wanted.into_iter(), &never, &mut fill).unwrap();
        assert_eq!(claims.keys().copied().collect::<Vec<_>>(), ["a", "b"]);
        // Who wants a taken one waits before the next is touched, and no longer than the build does.
        let stopped = Cancel::new();
        stopped.cancel();
        let wanted = [("c", Sharing::Shared), ("b", Sharing::Shared)];
        let waited = mounts.claim_all(wanted.into_iter(), &stopped, &mut fill);
        assert!(matches!(waited, Err(ClaimError::Cancelled)), "{waited:?}");
        drop(claims);
        mounts.claim_all(wanted.into_iter(), &never, &mut fill).unwrap();
        assert_eq!(ids.into_inner(), ["a", "b", "c"]);
    }
}
