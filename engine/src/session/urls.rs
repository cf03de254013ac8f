//! URLs of a build: pinned by a lock file, the store, a remote cache or the server, and kept for the caches it exports to.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cache::remote::NewRecord;
use solver::{HttpSource, Op, VertexIndex};

use super::Session;
use crate::error::OpError;
use crate::lock::HttpPin;
use crate::net::file_name_of;
use crate::source::http::{self, HttpError, HttpRecord, LaterBody, Pinner};

impl Session<'_> {
    /// Pins a URL. An entry of the lock file counts like a checksum in the text, and like that is in no key.
    pub(super) fn pin_url(
        &self,
        index: VertexIndex,
        source: &HttpSource,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<HttpRecord, OpError> {
        let (limit_bytes, cancel) = (self.options.download_limit_bytes, &self.options.cancel);
        let pinner = Pinner { fetcher: &self.fetcher, store: self.store, limit_bytes, cancel };
        let lock = self.bases.lock().filter(|_| source.checksum.is_none());
        let locked = lock.map_or(Ok(None), |lock| lock.http(&source.url))?;
        let record = match (lock, locked) {
            (Some(lock), Some(locked)) => {
                let record = match http::kept(source, &locked, self.store) {
                    Some(kept) => kept,
                    None => {
                        let pinned = HttpSource { checksum: Some(locked.sha256.hex()), ..source.clone() };
                        let pin = pinner.pin(&pinned, self.cached_pin(&source.url), progress);
                        let record = pin.map_err(|error| match error {
                            HttpError::Checksum { expected, found, .. } => {
                                lock.changed(&source.url, expected, found).into()
                            }
                            other => OpError::from(other),
                        })?;
                        // What the server calls it today does not matter either.
                        let file_name = file_name_of(&source.url).or(locked.file_name);
                        let record =
                            HttpRecord { file_name: file_name.unwrap_or(record.file_name), ..record };
                        self.download_later(index, &pinned, &record, true);
                        record
                    }
                };
                // The name may be the lock file's alone.
                if file_name_of(&source.url).is_some() {
                    self.saw_url(&source.url, &record);
                }
                record
            }
            _ => {
                let record = pinner.pin(source, self.cached_pin(&source.url), progress)?;
                if self.fetcher.is_offline() && source.checksum.is_none() {
                    let note = http::unasked(&source.url);
                    self.warn(index, note.text, note.hint);
                }
                self.download_later(index, source, &record, false);
                // A name that the text gave is this build's alone.
                if source.file_name.is_none() && (record.validator.is_some() || source.checksum.is_some()) {
                    self.saw_url(&source.url, &record);
                }
                record
            }
        };
        if let Some(lock) = lock {
            let file_name = file_name_of(&source.url).is_none().then(|| record.file_name.clone());
            lock.saw_http(&source.url, HttpPin { sha256: record.blob.digest, file_name });
        }
        Ok(record)
    }

    /// What remote caches know of a URL that the store does not know. The first call looks up all URLs of the build.
    fn cached_pin(&self, url: &str) -> Option<HttpRecord> {
        self.urls.cached.get_or_init(|| self.cached_pins()).get(url).cloned()
    }

    fn cached_pins(&self) -> HashMap<String, HttpRecord> {
        // Where nothing that is known counts, every body is read: to ask for it once is better than twice.
        let Some(upstream) = self.bases.upstream().filter(|_| !self.options.no_cache) else {
            return HashMap::new();
        };
        let url = |index: VertexIndex| match &self.graph.vertex(index).op {
            Op::Http(source) if !http::is_known(&source.url, self.store) => {
                Some((http::travel_key(&source.url)?, source.url.as_str()))
            }
            _ => None,
        };
        let (keys, urls): (Vec<Vec<u8>>, Vec<&str>) = self.graph.indices().filter_map(url).unzip();
        let found = upstream.values(&keys, |at, _, value| http::import(urls[at], value));
        let known = urls.iter().zip(found);
        known.filter_map(|(url, record)| Some(((*url).to_owned(), record?))).collect()
    }

    /// Registers a body that is not here: it is fetched when it is read.
    fn download_later(&self, index: VertexIndex, source: &HttpSource, record: &HttpRecord, is_locked: bool) {
        if self.store.blobs().contains(&record.blob) {
            return;
        }
        let metadata = self.graph.metadata(index);
        self.contents.add_later(LaterBody {
            source: source.clone(),
            record: record.clone(),
            is_locked,
            fetcher: self.fetcher.clone(),
            limit_bytes: self.options.download_limit_bytes,
            cancel: self.options.cancel.clone(),
            vertex: self.graph.digest(index),
            name: metadata.name.clone(),
            span: metadata.spans.first().copied(),
            coming: Mutex::default(),
        });
    }

    /// Keeps what a URL gave for the caches.
    fn saw_url(&self, url: &str, record: &HttpRecord) {
        if !self.options.exports.is_empty()
            && let Some(record) = http::export(url, record)
        {
            self.urls.seen.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        }
    }

    /// The records of URLs to export.
    pub(super) fn seen_urls(&self) -> Vec<NewRecord> {
        std::mem::take(&mut self.urls.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a build knows of its URLs beside their pins.
#[derive(Debug, Default)]
pub(super) struct Urls {
    /// What remote caches have of those that the store does not know.
    cached: std::sync::OnceLock<HashMap<String, HttpRecord>>,
    /// What caches get.
    seen: Mutex<Vec<NewRecord>>,
}
