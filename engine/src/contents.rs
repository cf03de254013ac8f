//! Where the bytes of a file can be read, for the length of one build.
//!
//! Trees name files by digest; this is the other half. Sources register what they saw, layers of images are asked
//! last: their files are brought out of the blob in one pass over it, into the store's temporary directory.

mod opened;
mod provide;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache::{CacheError, Store, Table};
use fs_err::os::unix::fs::OpenOptionsExt;
use solver::{BlobDigest, ContentDigest, DigestMap, EventSink, Layer, TreeDigest};
use thiserror::Error;

pub(crate) use self::opened::Checked;
pub use self::opened::{Opened, content_digest, copy_hashed};
use crate::bases::Bases;
use crate::cancel::Cancel;
use crate::layer;
use crate::net::FetchError;
use crate::pieces::{self, PieceDigest};
use crate::source::http::{Concerned, HttpError, LaterBody};
use crate::stamp;
use crate::stat::{Listed, What};
use crate::tree::TreeError;

/// Content that cannot be read.
#[derive(Debug, Error)]
pub enum ContentError {
    /// Nothing this build knows has these bytes.
    #[error("the bytes of `{path}` ({digest}) are in no source of this build and in no layer of the store")]
    Unknown {
        /// Path in the image.
        path: String,
        /// Content.
        digest: ContentDigest,
    },
    /// A source file is not what it was when it was identified.
    #[error("`{path}` changed while the build was reading it; build again")]
    Changed {
        /// Host path.
        path: PathBuf,
    },
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A directory is missing.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A layer that is in a registry cannot be had.
    #[error(transparent)]
    Registry(#[from] Box<crate::registry::RegistryError>),
    /// What was pinned without its bytes cannot be downloaded.
    #[error(transparent)]
    Http(#[from] Box<HttpError>),
    /// A remote cache said something of a layer that is not so.
    #[error("layer {digest} of a remote cache does not hold what its record says")]
    CacheLied {
        /// The layer.
        digest: BlobDigest,
    },
    /// A layer blob is not what it should be.
    #[error(transparent)]
    Layer(#[from] layer::LayerError),
    /// The build was stopped.
    #[error("the build was cancelled")]
    Cancelled,
}

impl ContentError {
    /// Whether this only says that the build was stopped.
    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Http(error) => matches!(**error, HttpError::Fetch(FetchError::Cancelled { .. })),
            Self::Registry(error) => error.is_cancelled(),
            _ => false,
        }
    }
}

/// A place with the bytes of one file.
#[derive(Debug, Clone)]
pub enum Location {
    /// A file of the host: `name` in a directory, so that thousands of files share their directory's path.
    Host {
        /// The directory.
        dir: Arc<Path>,
        /// Name in it.
        name: std::ffi::OsString,
    },
    /// The whole of a blob.
    Blob(BlobDigest),
    /// A part of a blob.
    Part {
        /// The blob.
        blob: BlobDigest,
        /// Where it begins, in bytes.
        offset: u64,
        /// Its length, in bytes.
        length: u64,
    },
    /// Bytes given in the text.
    Inline(Arc<[u8]>),
}

/// What is registered.
#[derive(Debug, Default)]
struct Registry {
    places: DigestMap<ContentDigest, Place>,
    dirs: Vec<(Arc<Path>, Arc<Listed>)>,
    /// Directories whose files are not among the places yet.
    waiting: Vec<usize>,
}

#[derive(Debug)]
enum Place {
    At(Location),
    /// An entry of a directory: small, because there can be a hundred thousand.
    Listed {
        dir: u32,
        entry: u32,
    },
}

impl Registry {
    /// Finds places for the files of directories whose listings are at hand; the others go on waiting.
    fn index(&mut self) {
        let (dirs, places) = (&self.dirs, &mut self.places);
        self.waiting.retain(|&dir| {
            let Some(listing) = dirs[dir].1.at_hand() else { return true };
            places.reserve(listing.known.len());
            for (entry, known) in listing.known.iter().enumerate() {
                if let (What::File(content), Ok(dir), Ok(entry)) =
                    (&known.what, u32::try_from(dir), u32::try_from(entry))
                {
                    places.entry(*content).or_insert(Place::Listed { dir, entry });
                }
            }
            false
        });
    }

    fn location(&self, content: &ContentDigest) -> Option<Location> {
        match self.places.get(content)? {
            Place::At(location) => Some(location.clone()),
            Place::Listed { dir, entry } => {
                let (dir, listed) = &self.dirs[*dir as usize];
                let name = listed.at_hand()?.known[*entry as usize].name.to_vec();
                let name = std::ffi::OsString::from_vec(name);
                Some(Location::Host { dir: Arc::clone(dir), name })
            }
        }
    }
}

/// The registry of locations.
pub struct Contents<'store> {
    store: &'store Store,
    /// They know where layers are that are not in the store.
    bases: Option<&'store Bases<'store>>,
    /// Who is told of what comes while it is read.
    events: Option<&'store dyn EventSink>,
    /// Stops what takes long.
    cancel: Cancel,
    registry: Mutex<Registry>,
    image_layers: Mutex<Vec<(TreeDigest, Layer)>>,
    /// Deltas whose layers came with times of their own.
    given: Mutex<HashSet<TreeDigest>>,
    /// Of large files read in this build.
    pieces: Mutex<HashMap<ContentDigest, Arc<[PieceDigest]>>>,
    /// What was pinned, and is downloaded when somebody reads it.
    later: Mutex<HashMap<BlobDigest, Arc<LaterBody>>>,
    spooling: Mutex<()>,
    keep_mtime: bool,
}

impl fmt::Debug for Contents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl<'store> Contents<'store> {
    /// An empty registry.
    pub fn new(store: &'store Store, keep_mtime: bool) -> Self {
        Self {
            store,
            bases: None,
            events: None,
            cancel: Cancel::new(),
            keep_mtime,
            registry: Mutex::default(),
            image_layers: Mutex::default(),
            given: Mutex::default(),
            pieces: Mutex::default(),
            later: Mutex::default(),
            spooling: Mutex::default(),
        }
    }

    /// The same, for a build whose bases may be in registries, and which can be stopped.
    pub(crate) fn fetching(
        store: &'store Store,
        keep_mtime: bool,
        bases: &'store Bases<'store>,
        events: &'store dyn EventSink,
        cancel: &Cancel,
    ) -> Self {
        let cancel = cancel.clone();
        Self { bases: Some(bases), events: Some(events), cancel, ..Self::new(store, keep_mtime) }
    }

    /// Says when the build is given up.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Registers many files at once.
    pub fn add_all(&self, locations: impl IntoIterator<Item = (ContentDigest, Location)>) {
        let locations = locations.into_iter().map(|(digest, location)| (digest, Place::At(location)));
        self.lock().places.extend(locations);
    }

    /// Registers one file.
    pub fn add(&self, digest: ContentDigest, location: Location) {
        self.lock().places.insert(digest, Place::At(location));
    }

    /// Registers the files of a directory of the host. Costs nothing until one of them, or any unknown one, is wanted.
    pub(crate) fn add_dir(&self, dir: Arc<Path>, listed: Arc<Listed>) {
        let mut registry = self.lock();
        let number = registry.dirs.len();
        registry.waiting.push(number);
        registry.dirs.push((dir, listed));
    }

    /// Registers a body that is not in the store, and is downloaded when somebody reads it.
    pub(crate) fn add_later(&self, body: LaterBody) {
        self.lock_later().insert(body.record.blob.digest, Arc::new(body));
    }

    /// Registers a layer of an image: its files can be brought out when somebody copies them.
    pub fn add_image_layer(&self, delta: TreeDigest, layer: Layer) {
        let mut layers = self.image_layers.lock().unwrap_or_else(PoisonError::into_inner);
        if !layers.iter().any(|(known, of_it)| *known == delta && of_it.blob == layer.blob) {
            layers.push((delta, layer));
        }
    }

    /// The same of an image that this build starts from or copies from: its files have the times that they were given there.
    pub(crate) fn add_given_layer(&self, delta: TreeDigest, layer: Layer) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(delta);
        self.add_image_layer(delta, layer);
    }

    /// Whether a delta came as a layer with times of its own.
    pub(crate) fn is_given(&self, delta: &TreeDigest) -> bool {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).contains(delta)
    }

    /// Where contents of archives and layers are put for the length of the build.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn spool_dir(&self) -> Result<PathBuf, CacheError> {
        self.store.tmp_dir()
    }

    /// Whether modification times of sources count.
    pub fn keep_mtime(&self) -> bool {
        self.keep_mtime
    }

    /// The bytes of a file were not what they should be: if they are in a blob, that may be damaged.
    pub(crate) fn doubt(&self, content: &ContentDigest) {
        let location = self.lock().location(content);
        if let Some(Location::Blob(blob) | Location::Part { blob, .. }) = location {
            self.store.blobs().doubt(&blob);
        }
    }

    /// Digests of the pieces of a large file, if somebody read it before.
    pub(crate) fn pieces(&self, content: &ContentDigest, size: u64) -> Option<Arc<[PieceDigest]>> {
        if let Some(pieces) = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).get(content) {
            return Some(Arc::clone(pieces));
        }
        let pieces: Vec<PieceDigest> = self.store.get(Table::Pieces, content.as_bytes())?;
        (pieces::whole(&pieces, size) == Some(*content)).then(|| pieces.into())
    }

    /// Keeps the digests of the pieces of a large file that was read.
    pub(crate) fn add_pieces(&self, content: ContentDigest, pieces: Vec<PieceDigest>) {
        self.store.put_soft(Table::Pieces, content.as_bytes(), &pieces);
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).insert(content, pieces.into());
    }

    /// Directories that an archive only implies, if somebody extracted it before.
    pub(crate) fn implied_dirs(&self, archive: &ContentDigest) -> Option<Vec<Vec<u8>>> {
        stamp::get(self.store, Table::Archives, archive.as_bytes())
    }

    /// Keeps what directories an archive only implies.
    pub(crate) fn add_implied_dirs(&self, archive: &ContentDigest, dirs: &Vec<Vec<u8>>) {
        stamp::put(self.store, Table::Archives, archive.as_bytes(), dirs);
    }

    /// Opens a file for reading. Host files are opened without following a link in their last component.
    ///
    /// # Errors
    /// [`ContentError::Unknown`], or that of the file system.
    pub fn open(&self, digest: &ContentDigest) -> Result<Opened, ContentError> {
        match self.location(digest) {
            Some(Location::Host { dir, name }) => {
                let path = dir.join(name);
                let file = fs_err::OpenOptions::new()
                    .read(true)
                    .custom_flags(
                        (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed(),
                    )
                    .open(path)?;
                Ok(Opened::File(file))
            }
            Some(Location::Blob(blob)) => {
                let later = self.lock_later().get(&blob).cloned();
                if let (Some(body), Some(concerned)) = (later, self.concerned()) {
                    body.bring(self.store, concerned).map_err(Box::new)?;
                }
                Ok(Opened::File(self.store.blobs().open(&blob)?))
            }
            Some(Location::Part { blob, offset, length }) => {
                Ok(Opened::Part(self.store.blobs().open_part(&blob, offset, length)?))
            }
            Some(Location::Inline(bytes)) => Ok(Opened::Bytes(io::Cursor::new(bytes))),
            None => Err(ContentError::Unknown { path: String::new(), digest: *digest }),
        }
    }

    fn location(&self, content: &ContentDigest) -> Option<Location> {
        let at_hand = {
            let mut registry = self.lock();
            registry.location(content).or_else(|| {
                registry.index();
                registry.location(content)
            })
        };
        at_hand.or_else(|| {
            self.read_listings();
            self.lock().location(content)
        })
    }

    /// Finds places for the files of all directories, those included that nobody looked into.
    fn read_listings(&self) {
        let waiting: Vec<Arc<Listed>> = {
            let registry = self.lock();
            registry.waiting.iter().map(|&dir| Arc::clone(&registry.dirs[dir].1)).collect()
        };
        for listed in waiting {
            listed.get(self.store);
        }
        self.lock().index();
    }

    fn concerned(&self) -> Option<Concerned<'store>> {
        let bases = self.bases?;
        Some(Concerned { upstream: bases.upstream()?, events: self.events?, lock: bases.lock() })
    }

    fn lock_later(&self) -> MutexGuard<'_, HashMap<BlobDigest, Arc<LaterBody>>> {
        // Only whole entries are put behind it.
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // A panic while holding the lock leaves only whole insertions behind.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
