//! The way to the network: what is asked for, with which limits, and how much has come so far.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::download::{Download, SoFar, trusting};
use super::error::FetchError;
use super::headers::Validator;
use super::proxies::Proxies;
use super::url_name::redacted;
use super::{Live, Network};
use crate::cancel::Cancel;

/// How downloads are made.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// Requests under way at once.
    pub concurrency: usize,
    /// Failures in a row after which a download is given up.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub base_delay: Duration,
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
    /// For the next byte.
    pub idle_timeout: Duration,
    /// Whether no connection may be made at all.
    pub offline: bool,
    /// Who is asked in the place of servers.
    pub proxies: Proxies,
}

impl Default for FetchSettings {
    fn default() -> FetchSettings {
        FetchSettings {
            concurrency: 32,
            attempts: 5,
            base_delay: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            offline: false,
            proxies: Proxies::default(),
        }
    }
}

/// What to download.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// An `http` or `https` URL; a user name and password in it are sent as Basic authentication.
    pub url: String,
    /// What a kept copy was answered with; with it the answer may be [`Fetched::NotModified`].
    pub validator: Option<Validator>,
    /// The most bytes the body may have.
    pub limit_bytes: u64,
}

impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest")
            .field("url", &redacted(&self.url))
            .field("validator", &self.validator)
            .field("limit_bytes", &self.limit_bytes)
            .finish()
    }
}

/// What a download tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEvent<'a> {
    /// The body begins, again after a failure: whatever was taken beyond `offset` is to be forgotten.
    Start {
        /// The length of the whole body, if the server tells it.
        total: Option<u64>,
        /// Where in the body the next chunk belongs.
        offset: u64,
    },
    /// The next bytes.
    Chunk(&'a [u8]),
}

/// How a download ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The validator still holds; the sink got nothing to keep.
    NotModified,
    /// The sink has the whole body.
    Body {
        /// Its length.
        size: u64,
        /// What pins it: a strong ETag, or a Last-Modified that had settled (RFC 9110 §8.8.2.2).
        validator: Option<Validator>,
        /// The name in `Content-Disposition`, if a plain file can have it.
        file_name: Option<String>,
        /// Where the body came from after redirects. It may hold secrets: see [`super::redacted`].
        final_url: String,
    },
}

/// The way to the network. Clones share connections, limits and counters.
#[derive(Debug, Clone)]
pub struct Fetcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    network: Network,
    settings: FetchSettings,
    cancel: Cancel,
    requests: AtomicU64,
    bytes: AtomicU64,
    sent: AtomicU64,
}

impl Fetcher {
    /// Makes a fetcher that stops when `cancel` is set. Threads, runtime and client start with the first request.
    pub fn new(cancel: Cancel) -> Fetcher {
        Fetcher::with_settings(cancel, FetchSettings::default())
    }

    /// As [`Fetcher::new`], with other limits and waits.
    pub fn with_settings(cancel: Cancel, settings: FetchSettings) -> Fetcher {
        let network = Network::new(settings.clone());
        let [requests, bytes, sent] = [0; 3].map(AtomicU64::new);
        Fetcher { shared: Arc::new(Shared { network, settings, cancel, requests, bytes, sent }) }
    }

    /// Downloads or revalidates one URL, blocking the calling thread, on which `sink` is called too.
    ///
    /// # Errors
    /// [`FetchError`], with the URL redacted: at once where trying again is of no use, else after the last attempt.
    pub fn fetch(
        &self,
        request: &FetchRequest,
        sink: &mut dyn FnMut(FetchEvent<'_>) -> io::Result<()>,
    ) -> Result<Fetched, FetchError> {
        let url = redacted(&request.url);
        let parsed = url::Url::parse(&request.url);
        let parsed = parsed.map_err(|source| FetchError::Url { url: url.clone(), source })?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(FetchError::Scheme { url });
        }
        if self.shared.cancel.is_cancelled() {
            return Err(FetchError::Cancelled { url });
        }
        let live = self.live(&url)?;
        let (client, is_open) = match parsed.scheme() {
            "https" => (trusting(live, self.settings(), &url)?, false),
            _ => (live.open(self.settings())?.clone(), true),
        };
        let mut download = Download {
            fetcher: self,
            live,
            client,
            is_open,
            request,
            sink,
            url,
            so_far: SoFar::default(),
            asked_wait: None,
        };
        let ended = live.block_on(&self.shared.cancel, download.run());
        ended.unwrap_or_else(|| Err(FetchError::Cancelled { url: download.url }))
    }

    /// The runtime, started if it is not running yet, for whoever has to ask `needed`: the one way to a connection.
    pub(crate) fn live(&self, needed: &str) -> Result<&Live, FetchError> {
        if self.is_offline() {
            return Err(FetchError::Offline { needed: needed.to_owned() });
        }
        self.shared.network.live()
    }

    /// Whether no connection may be made.
    pub fn is_offline(&self) -> bool {
        self.shared.settings.offline
    }

    pub(crate) fn settings(&self) -> &FetchSettings {
        &self.shared.settings
    }

    pub(crate) fn cancel(&self) -> &Cancel {
        &self.shared.cancel
    }

    pub(crate) fn count_request(&self) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_sent(&self, bytes: u64) {
        self.shared.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes of blobs sent so far, those of abandoned attempts included.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// The requests sent so far, retries included, redirects not.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// The bytes of bodies received so far, those of abandoned attempts included.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_is_redacted() {
        let url = "https://user:pass@h/a?token".to_owned();
        let text = format!("{:?}", FetchRequest { url, validator: None, limit_bytes: 1 });
        assert!(!text.contains("pass") && !text.contains("token"), "{text}");
    }
}
