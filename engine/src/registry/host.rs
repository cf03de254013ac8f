//! One registry: how it is reached, who it is told we are, and one request at a time, tried again where that helps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode};
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use super::challenge::Challenge;
use super::error::RegistryError;
use super::lane::Lane;
use super::reference::Repository;
use super::{Registry, limited};
use crate::net::{FetchError, FetchSettings, Fetcher, Live, MAX_WAIT, Peers, backoff, redacted, retry_after};
use crate::oci::JSON_LIMIT;

/// Requests to one registry under way at once.
const CONCURRENCY: usize = 64;
/// Tries to connect.
const CONNECTS: u32 = 2;
/// Tries of a mirror: there is somebody else to ask.
const MIRROR_TRIES: u32 = 3;
/// Largest token taken, in bytes.
pub(super) const TOKEN_LIMIT: u64 = 1 << 20;
/// Most of an error's text that is shown, in characters.
const MESSAGE_LIMIT: usize = 300;

/// What a request may do to a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) repository: Repository,
    pub(super) is_push: bool,
    /// A further repository that blobs are taken from.
    pub(super) from: Option<String>,
}

impl Access {
    pub(super) fn pull(repository: &Repository) -> Self {
        Self { repository: repository.clone(), is_push: false, from: None }
    }

    pub(super) fn push(repository: &Repository) -> Self {
        Self { repository: repository.clone(), is_push: true, from: None }
    }

    /// Scopes of a token (distribution, token scope documentation); none for the registry itself.
    pub(super) fn scopes(&self) -> Vec<String> {
        let actions = if self.is_push { "pull,push" } else { "pull" };
        let path = &self.repository.path;
        let own = (!path.is_empty()).then(|| format!("repository:{path}:{actions}"));
        own.into_iter().chain(self.from.iter().map(|from| format!("repository:{from}:pull"))).collect()
    }

    pub(super) fn action(&self) -> &'static str {
        if self.is_push { "push to" } else { "pull from" }
    }
}

/// One request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// A path below the registry, or a whole URL it sent.
    pub(super) url: &'a str,
    pub(super) access: &'a Access,
    pub(super) accept: &'a str,
    /// The body, made anew for each attempt.
    pub(super) body: Option<&'a (dyn Fn() -> BodyParts + Sync)>,
    /// What is asked, for errors: `a manifest`.
    pub(super) what: &'a str,
    pub(super) range_from: u64,
    /// The way to the registry; `None` for the one that all threads share.
    pub(super) way: Option<&'a Endpoint>,
}

/// A body with its length and type.
pub(super) struct BodyParts {
    pub(super) body: Body,
    pub(super) length: u64,
    pub(super) content_type: String,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, url: &'a str, access: &'a Access, what: &'a str) -> Self {
        Self { method, url, access, accept: "*/*", body: None, what, range_from: 0, way: None }
    }
}

/// What a host is asked as. What is known of it in one role means nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// A registry that names of images name.
    Registry,
    /// A mirror of one.
    Mirror,
    /// A mirror that is spoken to by HTTP, on purpose.
    PlainMirror,
}

/// A registry that is talked to.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) role: Role,
    /// Whether a request was given up because nobody answered.
    is_silent: AtomicBool,
    pub(super) endpoint: OnceCell<Endpoint>,
    pub(super) challenge: Mutex<Option<Challenge>>,
    /// By scope. A scope begins with the repository that it is for, and a repository has one user: what one user was given
    /// is said for no repository of another.
    pub(super) tokens: Mutex<HashMap<String, HeaderValue>>,
    /// Held while a token is asked for.
    pub(super) asking: tokio::sync::Mutex<()>,
    permits: Semaphore,
    /// Lanes that nobody uses now.
    pub(super) lanes: Mutex<Vec<Lane>>,
}

/// How it is reached.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) base: Url,
    pub(super) client: reqwest::Client,
    pub(super) peers: Peers,
}

impl Endpoint {
    /// The whole URL of what the registry called `name` is asked for.
    pub(super) fn at(&self, name: &str, url: &str) -> Result<Url, RegistryError> {
        self.base.join(url).map_err(|_| RegistryError::Json {
            what: "an address in an answer",
            name: name.to_owned(),
            reason: "it is no URL".to_owned(),
        })
    }

    pub(super) fn request(&self, call: &Call<'_>, url: &Url) -> RequestBuilder {
        with_body(self.client.request(call.method.clone(), url.clone()).header(ACCEPT, call.accept), call)
    }
}

impl Host {
    pub(super) fn new(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            is_silent: AtomicBool::new(false),
            endpoint: OnceCell::new(),
            challenge: Mutex::default(),
            tokens: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            permits: Semaphore::new(CONCURRENCY),
            lanes: Mutex::default(),
        }
    }

    /// Whether nobody answered when a request was given up.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Tries before something is given up.
    pub(super) fn tries(&self, settings: &FetchSettings) -> u32 {
        if self.role == Role::Registry { settings.attempts } else { settings.attempts.min(MIRROR_TRIES) }
    }

    /// Forgets what was given to whom: somebody is somebody else from now on.
    pub(super) fn forget_tokens(&self) {
        lock(&self.tokens).clear();
    }

    /// Sends a request until it is answered: with success, or with what asking again would not change. Answers to
    /// challenges on the way.
    pub(super) async fn send(&self, registry: &Registry, call: &Call<'_>) -> Result<Response, RegistryError> {
        let answer = self.ask(registry, call).await;
        if let Err(RegistryError::Net(FetchError::Transport { .. })) = &answer {
            self.is_silent.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// The header and the whole body of a small answer; one that breaks off is asked for again.
    ///
    /// # Errors
    /// `absent` where there is nothing, and what any other refusal says.
    pub(super) async fn whole(
        &self,
        registry: &Registry,
        call: &Call<'_>,
        absent: &dyn Fn() -> RegistryError,
    ) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        let settings = registry.fetcher.settings();
        let mut failures = 0;
        loop {
            let mut response = self.send(registry, call).await?;
            match response.status() {
                status if status.is_success() => {}
                StatusCode::NOT_FOUND => return Err(absent()),
                _ => return Err(self.refused(registry, call, response).await),
            }
            let headers = std::mem::take(response.headers_mut());
            failures += 1;
            match limited(response, JSON_LIMIT).await {
                Ok(body) => return Ok((headers, body)),
                Err(RegistryError::Net(error)) if error.is_passing() && failures < self.tries(settings) => {
                    tokio::time::sleep(backoff(settings.base_delay, failures)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask(&self, registry: &Registry, call: &Call<'_>) -> Result<Response, RegistryError> {
        let live = registry.fetcher.live(&self.name)?;
        let settings = registry.fetcher.settings();
        let mut failures = 0;
        loop {
            // Held for one attempt, so that a request that waits to try again keeps no other from the line.
            let permit = self.permits.acquire().await.expect("nobody closes the semaphore");
            let answer = self.attempt(registry, live, call).await;
            drop(permit);
            failures += 1;
            let (error, asked_wait) = match answer {
                Ok(response) if !is_passing(response.status()) => return Ok(response),
                Ok(response) => {
                    let wait = retry_after(response.headers(), SystemTime::now());
                    (self.refused(registry, call, response).await, wait)
                }
                Err(RegistryError::Net(error)) if error.is_passing() => (error.into(), None),
                Err(error) => return Err(error),
            };
            // Names that lead nowhere are typed more often than registries start within seconds.
            let nobody = matches!(&error, RegistryError::Net(error) if error.is_connect());
            let tries = self.tries(settings);
            if failures >= if nobody { CONNECTS.min(tries) } else { tries } {
                return Err(error);
            }
            let wait = asked_wait.unwrap_or_else(|| backoff(settings.base_delay, failures));
            tokio::time::sleep(wait.min(MAX_WAIT)).await;
        }
    }

    /// Sends a request whose body can be read once only.
    pub(super) async fn send_once(
        &self,
        registry: &Registry,
        call: &Call<'_>,
    ) -> Result<Response, RegistryError> {
        let _permit = self.permits.acquire().await.expect("nobody closes the semaphore");
        self.attempt(registry, registry.fetcher.live(&self.name)?, call).await
    }

    /// The error of an answer that is not a success.
    pub(super) async fn refused(
        &self,
        registry: &Registry,
        call: &Call<'_>,
        response: Response,
    ) -> RegistryError {
        let status = response.status();
        let body = limited(response, TOKEN_LIMIT).await.unwrap_or_default();
        let (host, message) = (self.name.clone(), message_of(&body));
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let (path, action) = (call.access.repository.path.clone(), call.access.action());
            let is_known = self.is_told(registry, call);
            return RegistryError::Unauthorized { host, path, action, is_known, message };
        }
        RegistryError::Refused { host, what: call.what.to_owned(), status: status.as_u16(), message }
    }

    /// Whether the registry asked who we are, and there is an answer. What is wrong with a file of credentials was told when
    /// it was asked.
    fn is_told(&self, registry: &Registry, call: &Call<'_>) -> bool {
        lock(&self.challenge).is_some()
            && registry.credentials.find(&call.access.repository).is_ok_and(|found| found.is_some())
    }

    async fn attempt(
        &self,
        registry: &Registry,
        live: &Live,
        call: &Call<'_>,
    ) -> Result<Response, RegistryError> {
        let (endpoint, mut answer) = match call.way {
            Some(endpoint) => (endpoint, None),
            None => self.reached(registry, live, call).await?,
        };
        let url = endpoint.at(&self.name, call.url)?;
        // What a registry sends us to may be another server, which has no business with our tokens.
        let is_own = url.origin() == endpoint.base.origin();
        let mut known = match is_own && answer.is_none() {
            true => self.authorization(registry, endpoint, call.access, None).await?,
            false => None,
        };
        let mut has_renewed = false;
        loop {
            let response = match answer.take() {
                Some(answer) => answer,
                None => {
                    registry.fetcher.count_request();
                    let mut request = endpoint.request(call, &url);
                    if let Some(authorization) = &known {
                        request = request.header(AUTHORIZATION, authorization.clone());
                    }
                    sent(request, &url).await?
                }
            };
            if response.status() != StatusCode::UNAUTHORIZED || !is_own || has_renewed {
                return self.judged(registry, call, response, known.is_some());
            }
            has_renewed = true;
            self.learn(&response);
            let renewed = self.authorization(registry, endpoint, call.access, known.as_ref()).await?;
            if renewed.is_none() {
                return self.judged(registry, call, response, false);
            }
            known = renewed;
        }
    }

    fn judged(
        &self,
        registry: &Registry,
        call: &Call<'_>,
        response: Response,
        had_authorization: bool,
    ) -> Result<Response, RegistryError> {
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let is_known = had_authorization && registry.credentials.find(&call.access.repository)?.is_some();
        let (host, action) = (self.name.clone(), call.access.action());
        let path = call.access.repository.path.clone();
        Err(RegistryError::Unauthorized { host, path, action, is_known, message: None })
    }
}

/// Sends one request.
pub(super) async fn sent(request: RequestBuilder, url: &Url) -> Result<Response, RegistryError> {
    request.send().await.map_err(|error| FetchError::from_reqwest(redacted(url.as_str()), error).into())
}

fn with_body(request: RequestBuilder, call: &Call<'_>) -> RequestBuilder {
    let mut request = request;
    if call.range_from > 0 {
        request = request.header(reqwest::header::RANGE, format!("bytes={}-", call.range_from));
    }
    match call.body {
        None if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) => {
            request.header(reqwest::header::CONTENT_LENGTH, 0)
        }
        None => request,
        Some(body) => {
            let BodyParts { body, length, content_type } = body();
            request
                .header(reqwest::header::CONTENT_TYPE, content_type)
                .header(reqwest::header::CONTENT_LENGTH, length)
                .body(body)
        }
    }
}

/// Whether the same request might succeed a moment later.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500..=599)
}

/// What a registry says of its refusal (distribution-spec, error codes), fit for a terminal.
fn message_of(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = json.get("errors")?.get(0)?;
    let text = |key: &str| error.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let (code, message) = (text("code"), text("message"));
    let said = if message.is_empty() { code.to_owned() } else { format!("{message} ({code})") };
    let said: String = said.chars().filter(|char| !char.is_control()).take(MESSAGE_LIMIT).collect();
    (!said.is_empty()).then_some(said)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Only whole values are put behind these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for work on the network's threads, or gives it up soon after the user does.
pub(super) fn block_on<T>(
    fetcher: &Fetcher,
    host: &str,
    work: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let done = fetcher.live(host)?.block_on(fetcher.cancel(), work);
    done.unwrap_or_else(|| Err(FetchError::Cancelled { url: host.to_owned() }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_fit_for_a_terminal() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way"}]}"#;
        assert_eq!(message_of(body).as_deref(), Some("no[31m way (DENIED)"));
        assert_eq!(message_of(b"<html>"), None);
    }
}
