//! Build contexts: a directory of this host, or files that came as an archive or from a git repository.
//!
//! Each has a name, which is what keys know of it; where its files are is nobody's business but this file's. A context
//! is opened when somebody wants something of it, and once.

mod error;
mod files;
mod select;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use cache::{CacheError, OnceMap, Store};
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor, GitSource, HttpSource, LocalSource};

use self::files::Files;
use super::git::{Git, GitEnvironment};
use super::http;
use super::image::Hashed;
use super::local::Context;
use super::tarball;
use crate::cancel::Cancel;
use crate::contents::Contents;
use crate::layer::TimePolicy;
use crate::net::{Fetcher, redacted};
use crate::session::BuildOptions;
use crate::tree::Trees;
use crate::watched::Watched;

pub use self::error::ContextError;

/// Where a context is.
#[derive(Debug, Clone)]
pub enum ContextSource {
    /// A directory of this host.
    Directory(PathBuf),
    /// A tar archive on standard input.
    Stdin,
    /// A tar archive of this host.
    Archive(PathBuf),
    /// A tar archive behind an `http://` or `https://` URL.
    Url(String),
    /// A git repository.
    Git(GitSource),
}

impl ContextSource {
    /// As people may see it.
    pub fn shown(&self) -> String {
        match self {
            Self::Directory(path) | Self::Archive(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
            Self::Url(url) => redacted(url),
            Self::Git(source) => source.shown(),
        }
    }
}

/// What people should know of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What.
    pub text: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// An open context.
#[derive(Debug)]
pub(crate) enum Opened<'a> {
    Directory(Context),
    Files(Box<Files<'a>>),
}

/// The contexts of a build, by name.
#[derive(Debug)]
pub struct Contexts<'a> {
    store: &'a Store,
    fetcher: Fetcher,
    git: Git<'a>,
    limit_bytes: u64,
    keep_mtime: bool,
    cancel: Cancel,
    sources: BTreeMap<String, ContextSource>,
    /// By name, and by how many blobs were known to be damaged then.
    opened: OnceMap<(String, usize), Arc<Opened<'a>>>,
}

impl<'a> Contexts<'a> {
    /// Contexts of a build, by [`LocalSource`]'s names. Nothing is opened yet.
    pub fn new(
        store: &'a Store,
        fetcher: &Fetcher,
        environment: GitEnvironment,
        options: &BuildOptions,
        sources: BTreeMap<String, ContextSource>,
    ) -> Self {
        let (limit_bytes, cancel) = (options.download_limit_bytes, options.cancel.clone());
        Self {
            store,
            fetcher: fetcher.clone(),
            git: Git::new(store, environment, limit_bytes, fetcher.is_offline(), cancel.clone()),
            limit_bytes,
            keep_mtime: options.times == TimePolicy::Keep,
            cancel,
            sources,
            opened: OnceMap::default(),
        }
    }

    /// One directory, as the build's own context.
    pub fn directory(store: &'a Store, fetcher: &Fetcher, options: &BuildOptions, dir: PathBuf) -> Self {
        let sources = BTreeMap::from([(LocalSource::OWN.to_owned(), ContextSource::Directory(dir))]);
        Self::new(store, fetcher, GitEnvironment::default(), options, sources)
    }

    /// The way to git repositories.
    pub(crate) fn git(&self) -> &Git<'a> {
        &self.git
    }

    /// Reads a file of a context that is no directory, up to a size; what an ignore file leaves out can be read too. `None`
    /// if there is no such file. `received` hears how much of a remote context has come.
    ///
    /// # Errors
    /// When the context cannot be opened, or the file not be read.
    pub fn read(
        &self,
        name: &str,
        path: &str,
        limit: u64,
        received: &dyn Fn(u64),
    ) -> Result<Option<Vec<u8>>, ContextError> {
        let damaged = self.store.blobs().damaged();
        match self.read_once(name, path, limit, received) {
            Err(_) if self.store.blobs().damaged() > damaged => self.read_once(name, path, limit, received),
            read => read,
        }
    }

    fn read_once(
        &self,
        name: &str,
        path: &str,
        limit: u64,
        received: &dyn Fn(u64),
    ) -> Result<Option<Vec<u8>>, ContextError> {
        match &*self.open(name, received)? {
            Opened::Files(files) => files.read(self.store, path, limit),
            Opened::Directory(_) => Ok(None),
        }
    }

    /// Reads what may stay silent, as standard input and other pipes do, to its end, up to a size.
    ///
    /// # Errors
    /// When there is more, or the build is cancelled before the end.
    pub fn read_stream(
        &self,
        name: &str,
        stream: impl Read + AsFd,
        limit: u64,
    ) -> Result<Vec<u8>, ContextError> {
        let goes_on = || self.cancel.goes_on();
        let mut bytes = Vec::new();
        match Watched::new(stream, &goes_on).take(limit + 1).read_to_end(&mut bytes) {
            Err(_) if self.cancel.is_cancelled() => Err(ContextError::Cancelled),
            Err(error) => Err(error.into()),
            Ok(_) if bytes.len() as u64 > limit => {
                Err(ContextError::LargeFile { path: PathBuf::from(name), limit })
            }
            Ok(_) => Ok(bytes),
        }
    }

    /// What people should know of a context that was opened.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn notes(&self, name: &str) -> Result<Vec<Note>, ContextError> {
        Ok(match &*self.open(name, &|_| {})? {
            Opened::Files(files) => files.notes().to_vec(),
            Opened::Directory(_) => Vec::new(),
        })
    }

    /// Opens a context, if nobody has. What was kept of it and turns out to be damaged is fetched again.
    pub(crate) fn open(&self, name: &str, received: &dyn Fn(u64)) -> Result<Arc<Opened<'a>>, ContextError> {
        let source = self.sources.get(name).ok_or_else(|| ContextError::Unknown { name: name.to_owned() })?;
        let damaged = || match source {
            ContextSource::Url(_) | ContextSource::Git(_) => self.store.blobs().damaged(),
            // What was read from elsewhere is not in the store, and a pipe is read once.
            ContextSource::Directory(_) | ContextSource::Stdin | ContextSource::Archive(_) => 0,
        };
        let known = damaged();
        let open = |count: usize| {
            self.opened.get_or_run((name.to_owned(), count), || self.make(source, received).map(Arc::new))
        };
        match open(known) {
            // Whatever stopped, it was because of that.
            Err(_) if self.cancel.is_cancelled() => Err(ContextError::Cancelled),
            Err(_) if damaged() > known => open(damaged()),
            opened => opened,
        }
    }

    fn make(&self, source: &ContextSource, received: &dyn Fn(u64)) -> Result<Opened<'a>, ContextError> {
        let (shown, goes_on) = (source.shown(), || self.cancel.goes_on());
        let files = match source {
            ContextSource::Directory(dir) => return Ok(Opened::Directory(Context::open(dir)?)),
            ContextSource::Stdin => {
                let stdin = rustix::io::dup(std::io::stdin()).map_err(std::io::Error::from)?;
                self.archive(&shown, Watched::new(std::fs::File::from(stdin), &goes_on))?
            }
            ContextSource::Archive(path) => {
                let file = fs_err::File::open(path)?.into_parts().0;
                self.archive(&shown, Watched::new(file, &goes_on))?
            }
            ContextSource::Url(url) => {
                let source =
                    HttpSource { url: url.clone(), checksum: None, file_name: Some("context".to_owned()) };
                let mut progress = |bytes, _| received(bytes);
                let (fetcher, store, cancel) = (&self.fetcher, self.store, &self.cancel);
                let pinner = http::Pinner { fetcher, store, limit_bytes: self.limit_bytes, cancel };
                let record = pinner.pin(&source, None, &mut progress)?;
                let files = self.download(&shown, &record.blob)?;
                if self.fetcher.is_offline() { files.with_note(http::unasked(url)) } else { files }
            }
            ContextSource::Git(source) => {
                let trees = Trees::new(self.store);
                let resolved = self.git.resolve(source, &trees)?;
                let packed = self.git.files(source, &resolved, &trees, received)?;
                Files::of_packed(shown, trees, packed)
            }
        };
        Ok(Opened::Files(Box::new(files.with_ignore(self.store)?)))
    }

    /// An archive that was downloaded, now or earlier; nothing else knows what its files should be.
    fn download(&self, shown: &str, blob: &Descriptor) -> Result<Files<'a>, ContextError> {
        let file = self.store.blobs().open(&blob.digest)?.into_parts().0;
        let goes_on = || self.cancel.goes_on();
        let mut hashed = Hashed { inner: Watched::new(file, &goes_on), hasher: Sha256::new() };
        let files = self.archive(shown, &mut hashed);
        std::io::copy(&mut hashed, &mut std::io::sink())?;
        let found = BlobDigest::from_bytes(hashed.hasher.finalize().into());
        if found == blob.digest {
            return files;
        }
        self.store.blobs().doubt(&blob.digest);
        Err(CacheError::Digest { expected: blob.digest, found }.into())
    }

    fn archive(&self, shown: &str, from: impl Read) -> Result<Files<'a>, ContextError> {
        let trees = Trees::new(self.store);
        let dir = self.store.tmp_dir()?;
        let extracted = tarball::extract(from, &dir, &trees, self.keep_mtime);
        match extracted {
            Ok(Some(extracted)) => Ok(Files::of_archive(shown.to_owned(), trees, extracted)),
            Ok(None) => Err(ContextError::NoArchive { context: shown.to_owned() }),
            Err(source) => Err(ContextError::Archive { context: shown.to_owned(), source }),
        }
    }
}

impl Opened<'_> {
    /// Makes files that are nowhere on this host's file system readable for a build.
    pub(crate) fn register(&self, contents: &Contents<'_>) {
        if let Self::Files(files) = self {
            files.register(contents);
        }
    }
}
