//! `http://` and `https://` sources: pinned by checksum, by a validator the server confirms, or by downloading.

mod later;
mod travel;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use cache::{CacheError, Store, Table, WorkLock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use solver::{BlobDigest, ContentDigest, Descriptor, Hasher, HttpSource, TreeDigest};
use thiserror::Error;

pub(crate) use self::later::{Concerned, LaterBody};
pub(crate) use self::travel::{export, import, name_of, travel_key};
use crate::cancel::Cancel;
use crate::contents::{Contents, Location, copy_hashed};
use crate::lock::{HttpPin, LockError};
use crate::net::{FetchError, FetchEvent, FetchRequest, Fetched, Fetcher, Validator, file_name_of, redacted};
use crate::source::context::Note;
use crate::source::image::Hashed;
use crate::tree::{Directory, Entry, Meta, Node, Trees};

/// A download that does not give a source.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The transfer failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Not the bytes the user pinned.
    #[error("`{url}` has the checksum sha256:{found}, not sha256:{expected}")]
    Checksum {
        /// Redacted URL.
        url: String,
        /// As written.
        expected: String,
        /// As downloaded.
        found: String,
    },
    /// Nothing says what the file is called.
    #[error("`{url}` names no file, and the server's answer does not either")]
    NoName {
        /// Redacted URL.
        url: String,
    },
    /// Not what the lock file has of it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Not what a remote cache has of it.
    #[error("`{url}` gives something else than a remote cache has of it")]
    Changed {
        /// Redacted URL.
        url: String,
    },
    /// The store failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// What is known of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRecord {
    /// With it the server can say "unchanged"; `None` when it gave none that pins.
    pub validator: Option<Validator>,
    /// The body, by our identity.
    pub content: ContentDigest,
    /// The body, in the store.
    pub blob: Descriptor,
    /// The name the file gets; as it is kept, empty where neither URL nor server say one.
    pub file_name: String,
}

/// Who pins URLs, and within what limits.
#[derive(Debug, Clone, Copy)]
pub struct Pinner<'a> {
    /// The way to servers.
    pub fetcher: &'a Fetcher,
    /// Where bodies are put.
    pub store: &'a Store,
    /// Largest download, in bytes.
    pub limit_bytes: u64,
    /// Stops downloads.
    pub cancel: &'a Cancel,
}

impl Pinner<'_> {
    /// Pins a URL; the body is in the store afterwards. Only where `cached`, what a remote cache has of the URL, still counts, it
    /// is not: nobody needed it yet.
    ///
    /// # Errors
    /// [`HttpError`]. Nothing is kept of a body that is not what was asked for.
    pub fn pin(
        &self,
        source: &HttpSource,
        cached: Option<HttpRecord>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<HttpRecord, HttpError> {
        let mut record = self.find(source, cached, progress)?;
        if record.file_name.is_empty() {
            let no_name = || HttpError::NoName { url: redacted(&source.url) };
            record.file_name = source.file_name.clone().ok_or_else(no_name)?;
        }
        Ok(record)
    }

    fn find(
        &self,
        source: &HttpSource,
        cached: Option<HttpRecord>,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<HttpRecord, HttpError> {
        let Self { store, fetcher, .. } = *self;
        let key = key(&source.url);
        let look = || -> Option<HttpRecord> {
            store.get(Table::Http, &key).filter(|record: &HttpRecord| store.blobs().contains(&record.blob))
        };
        let mut own = look();
        // Of several builds that know nothing of a URL one downloads it, and the others take its file.
        let mut lock = match own {
            Some(_) => None,
            None => store.lock_work(&key, &|| self.cancel.is_cancelled())?,
        };
        if let Some(Word { record, path }) = lock.as_mut().and_then(WorkLock::word)
            && store.blobs().adopt(Path::new(OsStr::from_bytes(&path)), &record.blob)
        {
            store.put(Table::Http, &key, &record);
            own = Some(record);
        } else if lock.is_some() {
            // Whoever had the lock before may have committed since the first look.
            store.refresh();
            own = look();
        }
        if own.is_some() {
            // What is left to do is a question to the server, which all may ask at once.
            lock = None;
        }
        let cached =
            cached.filter(|cached| cached.blob.size <= self.limit_bytes && cached.is_not_excluded_by(source));
        let known = own.clone().or(cached);
        if let (Some(known), Some(checksum)) = (&known, &source.checksum)
            && known.blob.digest.hex() == *checksum
        {
            return Ok(known.clone());
        }
        // What is pinned is right or wrong; of the rest this is the best there is, and who uses it says so.
        if let (Some(known), None, true) = (&known, &source.checksum, fetcher.is_offline()) {
            return Ok(known.clone());
        }
        let validator = known.as_ref().and_then(|known| known.validator.clone());
        let request = FetchRequest { url: source.url.clone(), validator, limit_bytes: self.limit_bytes };
        let mut body = Body::new(store)?;
        let fetched = fetcher.fetch(&request, &mut |event| {
            body.take(event)?;
            progress(body.length, body.total);
            Ok(())
        })?;
        let record = match (fetched, known) {
            (Fetched::NotModified, Some(known)) => known,
            (Fetched::NotModified, None) => {
                unreachable!("a fetch without a validator is never `NotModified`")
            }
            (Fetched::Body { validator, file_name, .. }, _) => {
                check(source, &body.blob.written())?;
                let record = body.complete(&source.url, validator, file_name)?;
                if own.as_ref() != Some(&record) {
                    store.put(Table::Http, &key, &record);
                }
                if let (Some(lock), Some(path)) = (&mut lock, store.blobs().pending_path(&record.blob.digest))
                {
                    let path = path.into_os_string().into_vec();
                    store.leave_word(lock, &Word { record: record.clone(), path });
                }
                record
            }
        };
        check(source, &record.blob)?;
        Ok(record)
    }
}

impl HttpRecord {
    /// Whether the body may be what a source with a checksum wants.
    fn is_not_excluded_by(&self, source: &HttpSource) -> bool {
        source.checksum.as_ref().is_none_or(|checksum| self.blob.digest.hex() == *checksum)
    }
}

/// Whether the store has the body of a URL.
pub(crate) fn is_known(url: &str, store: &Store) -> bool {
    let known: Option<HttpRecord> = store.get(Table::Http, &key(url));
    known.is_some_and(|record| store.blobs().contains(&record.blob))
}

/// What people should know of a body that no server was asked about.
pub(crate) fn unasked(url: &str) -> Note {
    Note {
        text: format!("whether `{}` is still what the store has is not known", redacted(url)),
        hint: "it is what an earlier build downloaded; `--lock` or a --checksum pins it",
    }
}

/// What a lock file wants of a URL, if the store has it: of this URL, or of whatever gave the same bytes.
pub(crate) fn kept(source: &HttpSource, locked: &HttpPin, store: &Store) -> Option<HttpRecord> {
    let file_name = file_name_of(&source.url).or_else(|| locked.file_name.clone())?;
    let mut hasher = Hasher::new("locked url");
    hasher.bytes(source.url.as_bytes());
    hasher.bytes(locked.sha256.as_bytes());
    let own_key = hasher.finish();
    let is_it =
        |record: &HttpRecord| record.blob.digest == locked.sha256 && store.blobs().contains(&record.blob);
    let known = [key(&source.url), own_key].iter().find_map(|key| store.get(Table::Http, key).filter(is_it));
    if let Some(known) = known {
        return Some(HttpRecord { file_name, ..known });
    }
    // The URL may have given something newer since; that stays known too.
    let file = store.blobs().open(&locked.sha256).ok()?;
    let blob = Descriptor { digest: locked.sha256, size: file.metadata().ok()?.len() };
    if !store.blobs().contains(&blob) {
        return None;
    }
    let mut hashed = Hashed { inner: file, hasher: Sha256::new() };
    let content = copy_hashed(&mut hashed, &mut io::sink()).ok()?;
    if BlobDigest::from_bytes(hashed.hasher.finalize().into()) != locked.sha256 {
        store.blobs().doubt(&locked.sha256);
        return None;
    }
    let record = HttpRecord { validator: None, content, blob, file_name };
    store.put(Table::Http, &own_key, &record);
    Some(record)
}

/// What the build that downloaded a URL leaves for those that waited for it.
#[derive(Serialize, Deserialize)]
struct Word {
    record: HttpRecord,
    /// Where its body is until the commit.
    path: Vec<u8>,
}

/// URLs may hold secrets; records know them by their hash.
fn key(url: &str) -> [u8; 32] {
    let mut hasher = Hasher::new("url");
    hasher.bytes(url.as_bytes());
    hasher.finish()
}

/// The tree of a pinned URL: its one file, 0600 as sealer adds it.
pub fn tree(record: &HttpRecord, trees: &Trees<'_>, contents: &Contents<'_>) -> TreeDigest {
    contents.add(record.content, Location::Blob(record.blob.digest));
    let node = Node::File { content: record.content, size: record.blob.size };
    let mut directory = Directory::default();
    directory.entries.insert(record.file_name.as_bytes(), Entry { meta: Meta::with_mode(0o600), node });
    trees.add(directory)
}

fn check(source: &HttpSource, blob: &Descriptor) -> Result<(), HttpError> {
    match &source.checksum {
        Some(expected) if blob.digest.hex() != *expected => Err(HttpError::Checksum {
            url: redacted(&source.url),
            expected: expected.clone(),
            found: blob.digest.hex(),
        }),
        _ => Ok(()),
    }
}

struct Body<'store> {
    blob: cache::BlobWriter<'store>,
    hasher: blake3::Hasher,
    length: u64,
    total: Option<u64>,
}

impl<'store> Body<'store> {
    fn new(store: &'store Store) -> Result<Self, CacheError> {
        Ok(Self { blob: store.blobs().writer()?, hasher: blake3::Hasher::new(), length: 0, total: None })
    }

    fn complete(
        self,
        url: &str,
        validator: Option<Validator>,
        file_name: Option<String>,
    ) -> Result<HttpRecord, HttpError> {
        let content = ContentDigest::from_bytes(*self.hasher.finalize().as_bytes());
        let file_name = file_name_of(url).or(file_name).unwrap_or_default();
        Ok(HttpRecord { validator, content, blob: self.blob.complete()?, file_name })
    }

    fn take(&mut self, event: FetchEvent<'_>) -> io::Result<()> {
        match event {
            FetchEvent::Start { total, offset } => {
                self.total = total;
                if offset == 0 && self.length > 0 {
                    self.blob.restart().map_err(io::Error::other)?;
                    self.hasher.reset();
                    self.length = 0;
                }
            }
            FetchEvent::Chunk(bytes) => {
                self.blob.write_all(bytes)?;
                self.hasher.update(bytes);
                self.length += bytes.len() as u64;
            }
        }
        Ok(())
    }
}
