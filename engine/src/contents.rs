//! Where the bytes of a file can be read, for the length of one build.
//!
//! Trees name files by digest; this is the other half. Sources register what they saw, layers of images are asked
//! last: their files are brought out of the blob in one pass over it, into the store's temporary directory.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache::{CacheError, PartReader, Store, Table};
use fs_err::os::unix::fs::OpenOptionsExt;
use solver::{BlobDigest, ContentDigest, EventSink, Layer, TreeDigest};
use thiserror::Error;

use crate::bases::Bases;
use crate::layer;
use crate::net::FetchError;
use crate::pieces::{self, PieceDigest};
use crate::source::http::{Concerned, HttpError, LaterBody};
use crate::stamp;
use crate::stat::{Listing, What};
use crate::tree::{Node, TreeError, Trees};

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
    /// A layer blob is not what it should be.
    #[error(transparent)]
    Layer(#[from] layer::LayerError),
}

impl ContentError {
    /// Whether this only says that the build was stopped.
    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Http(error) => matches!(**error, HttpError::Fetch(FetchError::Cancelled { .. })),
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
    places: HashMap<ContentDigest, Place>,
    dirs: Vec<(Arc<Path>, Arc<Listing>)>,
    /// Directories whose files are among the places; the others' were never asked for.
    indexed: usize,
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
    fn index(&mut self) {
        let waiting = self.dirs.get(self.indexed..).unwrap_or_default();
        self.places.reserve(waiting.iter().map(|(_, listing)| listing.known.len()).sum());
        for (dir, (_, listing)) in (self.indexed..).zip(waiting) {
            for (entry, known) in listing.known.iter().enumerate() {
                if let (What::File(content), Ok(dir), Ok(entry)) =
                    (&known.what, u32::try_from(dir), u32::try_from(entry))
                {
                    self.places.entry(*content).or_insert(Place::Listed { dir, entry });
                }
            }
        }
        self.indexed = self.dirs.len();
    }

    fn location(&self, content: &ContentDigest) -> Option<Location> {
        match self.places.get(content)? {
            Place::At(location) => Some(location.clone()),
            Place::Listed { dir, entry } => {
                let (dir, listing) = &self.dirs[*dir as usize];
                let name = std::ffi::OsString::from_vec(listing.known[*entry as usize].name.clone());
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
    registry: Mutex<Registry>,
    image_layers: Mutex<Vec<(TreeDigest, Layer)>>,
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
            keep_mtime,
            registry: Mutex::default(),
            image_layers: Mutex::default(),
            pieces: Mutex::default(),
            later: Mutex::default(),
            spooling: Mutex::default(),
        }
    }

    /// The same, for a build whose bases may be in registries.
    pub(crate) fn fetching(
        store: &'store Store,
        keep_mtime: bool,
        bases: &'store Bases<'store>,
        events: &'store dyn EventSink,
    ) -> Self {
        Self { bases: Some(bases), events: Some(events), ..Self::new(store, keep_mtime) }
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
    pub(crate) fn add_dir(&self, dir: Arc<Path>, listing: Arc<Listing>) {
        self.lock().dirs.push((dir, listing));
    }

    /// Registers a body that is not in the store, and is downloaded when somebody reads it.
    pub(crate) fn add_later(&self, body: LaterBody) {
        self.lock_later().insert(body.record.blob.digest, Arc::new(body));
    }

    /// Registers a layer of an image: its files can be brought out when somebody copies them.
    pub fn add_image_layer(&self, delta: TreeDigest, layer: Layer) {
        self.image_layers.lock().unwrap_or_else(PoisonError::into_inner).push((delta, layer));
    }

    /// The layer that holds a delta's files, brought into the store where it is elsewhere; `None` where the delta is no
    /// layer.
    ///
    /// # Errors
    /// When it is in a registry and cannot be had.
    pub(crate) fn layer_of(&self, delta: &TreeDigest) -> Result<Option<Layer>, ContentError> {
        let of_images = self.image_layers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_image = of_images.iter().find(|(tree, _)| tree == delta).map(|(_, layer)| layer.clone());
        drop(of_images);
        let own = || self.store.get::<Layer>(Table::DeltaBlobs, delta.as_bytes());
        let Some(layer) = of_image.or_else(own) else { return Ok(None) };
        if let Some(bases) = self.bases.filter(|_| !self.store.blobs().contains(&layer.blob)) {
            bases.fetch_layer(&layer).map_err(Box::new)?;
        }
        Ok(self.store.blobs().contains(&layer.blob).then_some(layer))
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

    /// Makes sure that every file of a delta can be opened, bringing files out of layers where needed.
    ///
    /// # Errors
    /// [`ContentError::Unknown`] with the first path whose bytes are nowhere.
    pub fn provide(&self, trees: &Trees<'_>, delta: &TreeDigest) -> Result<(), ContentError> {
        let mut files = Vec::new();
        trees.walk::<TreeError>(delta, &mut |path, entry| {
            if let Node::File { content, size: 1.. } = entry.node {
                files.push((content, path.to_vec()));
            }
            Ok(())
        })?;
        self.provide_files(trees, delta, files.iter().map(|(content, path)| (*content, path.as_slice())))
    }

    /// The same for some files of a delta, by content and path.
    ///
    /// # Errors
    /// [`ContentError::Unknown`] with the first path whose bytes are nowhere.
    pub fn provide_files<'f>(
        &self,
        trees: &Trees<'_>,
        delta: &TreeDigest,
        files: impl Iterator<Item = (ContentDigest, &'f [u8])>,
    ) -> Result<(), ContentError> {
        let mut missing: HashMap<ContentDigest, String> = {
            let mut registry = self.lock();
            registry.index();
            let missing = files.filter(|(content, _)| !registry.places.contains_key(content));
            missing.map(|(content, path)| (content, String::from_utf8_lossy(path).into_owned())).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let _one_at_a_time = self.spooling.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = self.image_layers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = self.store.get::<Layer>(Table::DeltaBlobs, delta.as_bytes()).map(|layer| (*delta, layer));
        for (tree, layer) in own.iter().chain(&layers) {
            let wanted = self.wanted_of(trees, tree, &missing)?;
            if wanted.is_empty() {
                continue;
            }
            if let Some(bases) = self.bases.filter(|_| !self.store.blobs().contains(&layer.blob)) {
                bases.fetch_layer(layer).map_err(Box::new)?;
            }
            if self.store.blobs().contains(&layer.blob) {
                let brought = self.bring_out(trees, tree, layer, &wanted);
                let is_known = |digest: &ContentDigest| self.lock().places.contains_key(digest);
                if brought.is_err() || !wanted.iter().all(is_known) {
                    self.store.blobs().doubt(&layer.blob.digest);
                }
                brought?;
                missing.retain(|digest, _| !is_known(digest));
            }
        }
        match missing.into_iter().next() {
            None => Ok(()),
            Some((digest, path)) => Err(ContentError::Unknown { path, digest }),
        }
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
        let location = {
            let mut registry = self.lock();
            registry.location(digest).or_else(|| {
                registry.index();
                registry.location(digest)
            })
        };
        match location {
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

    fn wanted_of(
        &self,
        trees: &Trees<'_>,
        tree: &TreeDigest,
        missing: &HashMap<ContentDigest, String>,
    ) -> Result<HashSet<ContentDigest>, TreeError> {
        let mut wanted = HashSet::new();
        trees.walk::<TreeError>(tree, &mut |_, entry| {
            if let Node::File { content, .. } = entry.node
                && missing.contains_key(&content)
            {
                wanted.insert(content);
            }
            Ok(())
        })?;
        Ok(wanted)
    }

    /// One pass over a layer's tar: files whose path stands in its tree with a wanted digest are written out and
    /// checked against it.
    fn bring_out(
        &self,
        trees: &Trees<'_>,
        tree: &TreeDigest,
        layer: &Layer,
        wanted: &HashSet<ContentDigest>,
    ) -> Result<(), ContentError> {
        let dir: Arc<Path> = self.store.tmp_dir()?.into();
        let mut by_path = HashMap::new();
        trees.walk::<TreeError>(tree, &mut |path, entry| {
            if let Node::File { content, .. } = entry.node
                && wanted.contains(&content)
            {
                by_path.insert(path.to_vec(), content);
            }
            Ok(())
        })?;
        let blob = self.store.blobs().open(&layer.blob.digest)?;
        layer::for_each_file(blob, layer.media_type, &mut |path, reader| {
            let Some(content) = by_path.get(path) else { return Ok(()) };
            // The same bytes under another path: whoever reads those that are there must not lose them.
            if self.lock().places.contains_key(content) {
                return Ok(());
            }
            let name = content.hex();
            let mut out = fs_err::File::create(dir.join(&name))?;
            let found = copy_hashed(reader, &mut out)?;
            if found == *content {
                self.add(found, Location::Host { dir: Arc::clone(&dir), name: name.into() });
            }
            Ok(())
        })?;
        Ok(())
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

/// An open file, wherever its bytes are.
#[derive(Debug)]
pub enum Opened {
    /// A file of the host or the store.
    File(fs_err::File),
    /// A part of a blob.
    Part(PartReader),
    /// Bytes in memory.
    Bytes(io::Cursor<Arc<[u8]>>),
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Part(part) => part.read(buffer),
            Self::Bytes(bytes) => bytes.read(buffer),
        }
    }
}

impl Opened {
    /// Length in bytes.
    ///
    /// # Errors
    /// That of the file system.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Part(part) => Ok(part.size()),
            Self::Bytes(bytes) => Ok(bytes.get_ref().len() as u64),
        }
    }

    /// Moves to a byte offset from the start.
    ///
    /// # Errors
    /// That of the file system.
    pub fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        use io::Seek;
        match self {
            Self::File(file) => file.seek(io::SeekFrom::Start(offset)).map(drop),
            Self::Part(part) => {
                part.seek_to(offset);
                Ok(())
            }
            Self::Bytes(bytes) => bytes.seek(io::SeekFrom::Start(offset)).map(drop),
        }
    }
}

/// Copies a stream and identifies it on the way.
///
/// # Errors
/// Those of reading and writing.
pub fn copy_hashed(reader: &mut dyn Read, writer: &mut dyn io::Write) -> io::Result<ContentDigest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(ContentDigest::from_bytes(*hasher.finalize().as_bytes())),
            read => {
                hasher.update(&buffer[..read]);
                writer.write_all(&buffer[..read])?;
            }
        }
    }
}

/// Identity of bytes in memory.
pub fn content_digest(bytes: &[u8]) -> ContentDigest {
    ContentDigest::from_bytes(*blake3::hash(bytes).as_bytes())
}
