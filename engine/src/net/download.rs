//! One download: conditional, retried, resumed where the server can, bounded in size.
//!
//! It does not know where the bytes go nor what they should hash to: a sink takes them, and a download that starts over
//! tells it so. Whether a file may be reused is decided by whoever keeps the [`Validator`].

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};

use super::Live;
use super::error::FetchError;
use super::fetch::{FetchEvent, FetchRequest, FetchSettings, Fetched, Fetcher};
use super::headers::{self, Validator};

/// No server may put a build to sleep for longer, whatever its `Retry-After` says.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(30);

/// A dropped download that came this much further counts as working: large files over poor lines get through, and a
/// server that gives a few bytes at a time does not keep a build for ever.
pub(crate) const PROGRESS_BYTES: u64 = 1 << 20;

/// One download across its attempts.
pub(super) struct Download<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) live: &'a Live,
    pub(super) client: reqwest::Client,
    /// Whether the client speaks plain `http` alone.
    pub(super) is_open: bool,
    pub(super) request: &'a FetchRequest,
    pub(super) sink: &'a mut dyn FnMut(FetchEvent<'_>) -> io::Result<()>,
    /// Redacted, for errors.
    pub(super) url: String,
    pub(super) so_far: SoFar,
    /// The `Retry-After` of the last answer.
    pub(super) asked_wait: Option<Duration>,
}

/// What earlier attempts brought.
#[derive(Debug, Default)]
pub(super) struct SoFar {
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
    pub(super) async fn run(&mut self) -> Result<Fetched, FetchError> {
        let settings = self.fetcher.settings();
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
        self.fetcher.count_request();
        let mut response = self.asking(&question).send().await.map_err(|error| self.failure(error))?;
        if self.is_open && response.status().is_redirection() && response.headers().contains_key(LOCATION) {
            // It leads to `https`.
            self.client = trusting(self.live, self.fetcher.settings(), &self.url)?;
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
            if self.fetcher.cancel().is_cancelled() {
                return Err(FetchError::Cancelled { url: self.url.clone() });
            }
            self.fetcher.count_bytes(chunk.len());
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
pub(super) fn trusting(
    live: &Live,
    settings: &FetchSettings,
    url: &str,
) -> Result<reqwest::Client, FetchError> {
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
}
