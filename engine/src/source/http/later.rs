//! A body that was pinned by what a remote cache has of its URL, and is downloaded if somebody reads it.
//!
//! Until then a server has confirmed the validator, or a checksum pins it; what the validator stands for is only the cache's
//! word. So the body is compared with the record, and one that is something else ends the belief in caches: the build
//! begins again without them, and with this body.

use std::sync::{Mutex, PoisonError};

use cache::Store;
use solver::{Event, EventSink, HttpSource, Span, StepOutcome, VertexDigest};

use super::{HttpError, HttpRecord, Pinner};
use crate::cancel::Cancel;
use crate::lock::Locking;
use crate::net::{Fetcher, redacted};
use crate::upstream::Upstream;

/// A body that nobody needed yet.
#[derive(Debug)]
pub(crate) struct LaterBody {
    /// As it was pinned, with the checksum it must have, if that is known from elsewhere than a cache.
    pub(crate) source: HttpSource,
    /// What a cache has of it.
    pub(crate) record: HttpRecord,
    /// Whether the checksum is that of the lock file, which knows the file's name too.
    pub(crate) is_locked: bool,
    pub(crate) fetcher: Fetcher,
    pub(crate) limit_bytes: u64,
    pub(crate) cancel: Cancel,
    /// What events are about.
    pub(crate) vertex: VertexDigest,
    pub(crate) name: String,
    pub(crate) span: Option<Span>,
    /// Held while it is downloaded.
    pub(crate) coming: Mutex<()>,
}

/// Whom it concerns beside who reads it.
#[derive(Clone, Copy)]
pub(crate) struct Concerned<'a> {
    pub(crate) upstream: &'a Upstream<'a>,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) lock: Option<&'a Locking>,
}

impl LaterBody {
    /// Makes sure that the body is in the store.
    ///
    /// # Errors
    /// When it cannot be downloaded, or is something else.
    pub(crate) fn bring(&self, store: &Store, concerned: Concerned<'_>) -> Result<(), HttpError> {
        let _one_at_a_time = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        if store.blobs().contains(&self.record.blob) {
            return Ok(());
        }
        let (vertex, name) = (self.vertex, &self.name);
        concerned.events.event(Event::Started { vertex, name: name.clone() });
        let fetched = self.fetch(store, concerned);
        let outcome = if fetched.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
        concerned.events.event(Event::Finished { vertex, name: name.clone(), outcome });
        fetched
    }

    fn fetch(&self, store: &Store, concerned: Concerned<'_>) -> Result<(), HttpError> {
        let vertex = self.vertex;
        let (fetcher, cancel, limit_bytes) = (&self.fetcher, &self.cancel, self.limit_bytes);
        let mut progress = |done_bytes, total_bytes| {
            concerned.events.event(Event::Progress { vertex, done_bytes, total_bytes });
        };
        let pinner = Pinner { fetcher, store, limit_bytes, cancel };
        let found = match (pinner.pin(&self.source, None, &mut progress), concerned.lock) {
            (Err(HttpError::Checksum { expected, found, .. }), Some(lock)) if self.is_locked => {
                return Err(lock.changed(&self.source.url, expected, found).into());
            }
            (found, _) => found?,
        };
        let is_it = found.content == self.record.content
            && found.blob == self.record.blob
            && (self.is_locked || found.file_name == self.record.file_name);
        if is_it {
            return Ok(());
        }
        concerned.upstream.distrust();
        let url = redacted(&self.source.url);
        concerned.events.event(Event::Warning {
            text: format!("`{url}` gives something else than a remote cache has of it"),
            hint: "it changed right now, or somebody wrote what is not so into the cache".to_owned(),
            span: self.span,
        });
        Err(HttpError::Changed { url })
    }
}
