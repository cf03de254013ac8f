//! One download: conditional, retried, resumed where the server can, bounded in size.
//!
//! It does not know where the bytes go nor what they should hash to: a sink takes them, and a download that starts over
//! tells it so. Whether a file may be reused is decided by whoever keeps the [`Validator`].

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};

use super::error::FetchError;
use super::headers::{self, Validator};
use super::url_name::redacted;
use super::{Live, Network};
use crate::cancel::Cancel;

/// No server may put a build to sleep for longer, whatever its `Retry-After` says.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(30);

/// A dropped download that came this much further counts as working: large files over poor lines get through, and a
/// server that gives a few bytes at a time does not keep a build for ever.
pub(crate) const PROGRESS_BYTES: u64 = 1 << 20;

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
        let shared = &*self.shared;
        let (client, is_open) = match parsed.scheme() {
            "https" => (trusting(live, &shared.settings, &url)?, false),
            _ => (live.open(&shared.settings)?.clone(), true),
        };
        let mut download = Download {
            shared,
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

/// One download across its attempts.
struct Download<'a> {
    shared: &'a Shared,
    live: &'a Live,
    client: reqwest::Client,
    /// Whether the client speaks plain `http` alone.
    is_open: bool,
    request: &'a FetchRequest,
    sink: &'a mut dyn FnMut(FetchEvent<'_>) -> io::Result<()>,
    /// Redacted, for errors.
    url: String,
    so_far: SoFar,
    /// The `Retry-After` of the last answer.
    asked_wait: Option<Duration>,
}

/// What earlier attempts brought.
#[derive(Debug, Default)]
struct SoFar {
    /// How many bytes the sink took.
    offset: u64,
    total: Option<u64>,
    validator: Option<Validator>,
    file_name: Option<String>,
}

/// What an attempt asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Whole,
    IfChanged(Validator),
    Rest(Validator),
}

impl Download<'_> {
    async fn run(&mut self) -> Result<Fetched, FetchError> {
        let settings = &self.shared.settings;
        let (mut failures, mut attempts) = (0, 0);
        let mut furthest = 0;
        loop {
            attempts += 1;
            let error = match self.attempt().await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => error,
            };
            if self.so_far.offset >= furthest + PROGRESS_BYTES {
                furthest = self.so_far.offset;
                failures = 0;
            }
            failures += 1;
            if !error.is_passing() || failures >= settings.attempts {
                let source = Box::new(error);
                return Err(if attempts > 1 { FetchError::GivenUp { attempts, source } } else { *source });
            }
            let wait = self.asked_wait.take().unwrap_or_else(|| backoff(settings.base_delay, failures));
            tokio::time::sleep(wait.min(MAX_WAIT)).await;
        }
    }

    async fn attempt(&mut self) -> Result<Fetched, FetchError> {
        // Held for one attempt, so that a download that waits to try again keeps no other from the line.
        let _permit = self.live.permits.acquire().await.expect("nobody closes the semaphore");
        let question = self.question();
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let mut response = self.asking(&question).send().await.map_err(|error| self.failure(error))?;
        if self.is_open && response.status().is_redirection() && response.headers().contains_key(LOCATION) {
            // It leads to `https`.
            self.client = trusting(self.live, &self.shared.settings, &self.url)?;
            self.is_open = false;
            response = self.asking(&question).send().await.map_err(|error| self.failure(error))?;
        }
        match (response.status(), &question) {
            (StatusCode::NOT_MODIFIED, Question::IfChanged(_)) => return Ok(Fetched::NotModified),
            (StatusCode::PARTIAL_CONTENT, Question::Rest(validator)) => {
                if !self.continues(&response, validator) {
                    return Err(self.wrong_range());
                }
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Question::Rest(_)) => return Err(self.wrong_range()),
            (status, _) if !status.is_success() || status == StatusCode::PARTIAL_CONTENT => {
                self.asked_wait = headers::retry_after(response.headers(), SystemTime::now());
                return Err(FetchError::Status { url: self.url.clone(), status: status.as_u16() });
            }
            _ => self.so_far = SoFar::of(&response),
        }
        let final_url = response.url().as_str().to_owned();
        self.receive(response).await?;
        let SoFar { offset: size, validator, file_name, .. } = std::mem::take(&mut self.so_far);
        Ok(Fetched::Body { size, validator, file_name, final_url })
    }

    fn question(&self) -> Question {
        match (&self.so_far.validator, &self.request.validator) {
            (Some(validator), _) if self.so_far.offset > 0 => Question::Rest(validator.clone()),
            (_, Some(validator)) => Question::IfChanged(validator.clone()),
            _ => Question::Whole,
        }
    }

    fn asking(&self, question: &Question) -> RequestBuilder {
        // The bytes as they are stored: a digest or a range of anything else would be of no use.
        let get = self.client.get(&self.request.url).header(ACCEPT_ENCODING, "identity");
        match question {
            Question::Whole => get,
            Question::IfChanged(Validator::StrongEtag(etag)) => get.header(IF_NONE_MATCH, etag),
            Question::IfChanged(Validator::LastModified(date)) => get.header(IF_MODIFIED_SINCE, date),
            Question::Rest(validator) => {
                let range = format!("bytes={}-", self.so_far.offset);
                get.header(RANGE, range).header(IF_RANGE, validator.as_str())
            }
        }
    }

    /// Says whether a partial answer is the rest of what came before.
    fn continues(&self, response: &Response, validator: &Validator) -> bool {
        let Some((first, total)) = headers::content_range(response.headers()) else { return false };
        first == self.so_far.offset
            && self.so_far.total.is_none_or(|known| known == total)
            && !headers::contradicts(response.headers(), validator)
    }

    /// Forgets what came before, so that the next attempt asks for the whole.
    fn wrong_range(&mut self) -> FetchError {
        let offset = std::mem::take(&mut self.so_far).offset;
        FetchError::Range { url: self.url.clone(), offset }
    }

    async fn receive(&mut self, mut response: Response) -> Result<(), FetchError> {
        let SoFar { offset, total, .. } = self.so_far;
        let limit = self.request.limit_bytes;
        if total.is_some_and(|total| total > limit) {
            return Err(FetchError::TooLarge { url: self.url.clone(), limit });
        }
        self.tell(FetchEvent::Start { total, offset })?;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(error))? {
            // A fast server may never let the future pause, and only in a pause is the flag seen elsewhere.
            if self.shared.cancel.is_cancelled() {
                return Err(FetchError::Cancelled { url: self.url.clone() });
            }
            self.shared.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if self.so_far.offset + chunk.len() as u64 > limit {
                return Err(FetchError::TooLarge { url: self.url.clone(), limit });
            }
            self.tell(FetchEvent::Chunk(&chunk))?;
            self.so_far.offset += chunk.len() as u64;
        }
        match total {
            Some(expected) if expected != self.so_far.offset => {
                Err(FetchError::Length { url: self.url.clone(), expected, actual: self.so_far.offset })
            }
            _ => Ok(()),
        }
    }

    fn tell(&mut self, event: FetchEvent<'_>) -> Result<(), FetchError> {
        (self.sink)(event).map_err(|source| FetchError::Sink { url: self.url.clone(), source })
    }

    fn failure(&self, error: reqwest::Error) -> FetchError {
        FetchError::from_reqwest(self.url.clone(), error)
    }
}

/// The client for `https`, or an error where no certificate could be trusted.
fn trusting(live: &Live, settings: &FetchSettings, url: &str) -> Result<reqwest::Client, FetchError> {
    let system = live.system(settings)?;
    if system.rootless { Err(FetchError::NoAuthorities { url: url.to_owned() }) } else { Ok(system.client) }
}

impl SoFar {
    /// What a whole answer says of itself, before its first byte.
    fn of(response: &Response) -> SoFar {
        SoFar {
            offset: 0,
            total: response.content_length(),
            validator: headers::validator(response.headers()),
            file_name: headers::file_name(response.headers()),
        }
    }
}

/// Doubles with each failure, and varies so that many clients do not come back at the same moment: half to all of it.
pub(crate) fn backoff(base: Duration, failures: u32) -> Duration {
    let full = base.saturating_mul(1 << (failures - 1).min(16)).min(MAX_WAIT);
    // The standard library's only source of chance; nothing here needs a better one.
    let chance = RandomState::new().build_hasher().finish() % 1024;
    full / 2 + full.mul_f64(chance as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_bounds() {
        let base = Duration::from_millis(100);
        for (failures, full) in [(1, 100), (2, 200), (5, 1600), (60, 30_000)] {
            let full = Duration::from_millis(full);
            let wait = backoff(base, failures);
            assert!(full / 2 <= wait && wait <= full, "{failures}: {wait:?}");
        }
        assert_eq!(backoff(Duration::ZERO, 3), Duration::ZERO);
    }

    #[test]
    fn debug_output_is_redacted() {
        let url = "https://user:pass@h/a?token".to_owned();
        let text = format!("{:?}", FetchRequest { url, validator: None, limit_bytes: 1 });
        assert!(!text.contains("pass") && !text.contains("token"), "{text}");
    }
}
