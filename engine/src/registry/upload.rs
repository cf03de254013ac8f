//! Blobs on their way out: not sent where they are, mounted where a neighbour has them, else streamed from the store.

use std::io::Read;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};
use solver::{BlobDigest, Descriptor};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use url::Url;

use super::Registry;
use super::error::RegistryError;
use super::host::{Access, BodyParts, Call, Host, block_on};
use super::reference::Repository;
use crate::net::{FetchError, check_redirect, redacted};

/// Bytes read from a file at once.
const CHUNK: usize = 1 << 20;
/// Chunks that may wait for the network.
const WAITING: usize = 4;
const OCTETS: &str = "application/octet-stream";

/// Gives the bytes of a blob; asked again when an upload has to start over.
pub type OpenBlob<'a> = dyn Fn() -> Result<Box<dyn Read + Send>, RegistryError> + Sync + 'a;

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    Present,
    /// Taken over from another repository of the registry.
    Mounted,
    /// Sent.
    Uploaded,
}

impl Registry {
    /// Whether a repository has a blob.
    pub(super) fn has_blob(
        &self,
        repository: &Repository,
        digest: &BlobDigest,
    ) -> Result<bool, RegistryError> {
        let access = Access::push(repository);
        let url = format!("/v2/{}/blobs/{digest}", repository.path);
        let call = Call::new(Method::HEAD, &url, &access, "a question about a blob");
        let host = self.host(&repository.host);
        block_on(&self.fetcher, &repository.host, async {
            let response = host.send(self, &call).await?;
            match response.status() {
                status if status.is_success() => Ok(true),
                StatusCode::NOT_FOUND => Ok(false),
                _ => Err(host.refused(self, &call, response).await),
            }
        })
    }

    /// Makes sure a repository has a blob. `from` are repositories of the registry that may have it.
    ///
    /// # Errors
    /// When the registry refuses, or the bytes cannot be read.
    pub(super) fn send_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        from: &[String],
        open: &OpenBlob<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Arrival, RegistryError> {
        if self.has_blob(repository, &blob.digest)? {
            return Ok(Arrival::Present);
        }
        self.send_new_blob(repository, blob, from, open, progress)
    }

    /// The same for a blob that is not there, as the caller knows: nobody is asked. With the repository itself in `from`, it may be
    /// there.
    ///
    /// # Errors
    /// As [`Registry::send_blob`].
    pub(super) fn send_new_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        from: &[String],
        open: &OpenBlob<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Arrival, RegistryError> {
        let mut session = None;
        for from in from {
            match self.mount(repository, &blob.digest, from)? {
                None if *from == repository.path => return Ok(Arrival::Present),
                None => return Ok(Arrival::Mounted),
                Some(started) => session = Some(started),
            }
        }
        let settings = self.fetcher.settings();
        let mut failures = 0;
        loop {
            let at = match session.take() {
                Some(at) => at,
                None => self.start_upload(repository)?,
            };
            let error = match self.upload(repository, blob, &at, open()?, progress) {
                Ok(()) => return Ok(Arrival::Uploaded),
                Err(error) => error,
            };
            failures += 1;
            let is_passing = match &error {
                RegistryError::Net(error) => error.is_passing(),
                RegistryError::Refused { status, .. } => matches!(status, 404 | 408 | 416 | 429 | 500..=599),
                _ => false,
            };
            if !is_passing || failures >= settings.attempts {
                return Err(error);
            }
            std::thread::sleep(crate::net::backoff(settings.base_delay, failures));
        }
    }

    /// Asks for a blob of another repository. `None` when it is there now, else where it can be uploaded to.
    fn mount(
        &self,
        repository: &Repository,
        digest: &BlobDigest,
        from: &str,
    ) -> Result<Option<String>, RegistryError> {
        // Who may push to a repository may read it.
        let other = (from != repository.path).then(|| from.to_owned());
        let access = Access { from: other, ..Access::push(repository) };
        let url = format!("/v2/{}/blobs/uploads/?mount={digest}&from={from}", repository.path);
        match self.post(repository, &access, &url) {
            Ok(session) => Ok(session),
            // Somebody who may not read the other repository sends the blob.
            Err(RegistryError::Unauthorized { .. } | RegistryError::Refused { .. }) => {
                self.start_upload(repository).map(Some)
            }
            Err(error) => Err(error),
        }
    }

    fn start_upload(&self, repository: &Repository) -> Result<String, RegistryError> {
        let url = format!("/v2/{}/blobs/uploads/", repository.path);
        let session = self.post(repository, &Access::push(repository), &url)?;
        session.ok_or_else(|| RegistryError::Json {
            what: "the answer to an upload",
            name: repository.to_string(),
            reason: "it says that nothing is to be sent".to_owned(),
        })
    }

    fn post(
        &self,
        repository: &Repository,
        access: &Access,
        url: &str,
    ) -> Result<Option<String>, RegistryError> {
        let call = Call::new(Method::POST, url, access, "the start of an upload");
        let host = self.host(&repository.host);
        block_on(&self.fetcher, &repository.host, async {
            let response = host.send(self, &call).await?;
            match response.status() {
                StatusCode::CREATED => Ok(None),
                StatusCode::ACCEPTED => location(response.url(), response.headers(), repository).map(Some),
                _ => Err(host.refused(self, &call, response).await),
            }
        })
    }

    /// Sends a whole blob in one request.
    fn upload(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        at: &str,
        file: Box<dyn Read + Send>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), RegistryError> {
        let access = Access::push(repository);
        let joined = if at.contains('?') { '&' } else { '?' };
        let url = format!("{at}{joined}digest={}", blob.digest);
        let host = self.host(&repository.host);
        let size = blob.size;
        let progress = &|bytes| {
            self.fetcher.count_sent(bytes);
            progress(bytes);
        };
        std::thread::scope(|scope| {
            let file = Mutex::new(Some(file));
            let readers = Mutex::new(Vec::new());
            let body = || {
                let (to, from) = channel(WAITING);
                let taken = file.lock().unwrap_or_else(PoisonError::into_inner).take();
                // A request that has to be sent again ends early here, and is started over with a new file.
                if let Some(file) = taken {
                    let reader = scope.spawn(move || read_into(file, &to, progress));
                    readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
                }
                let body = reqwest::Body::wrap(Chunks { from, rest: size });
                BodyParts { body, length: size, content_type: OCTETS.to_owned() }
            };
            let call =
                Call { body: Some(&body), ..Call::new(Method::PUT, &url, &access, "a push of a blob") };
            let sent = block_on(&self.fetcher, &repository.host, self.put(&host, &call));
            let readers = std::mem::take(&mut *readers.lock().unwrap_or_else(PoisonError::into_inner));
            for reader in readers {
                reader.join().expect("reading a file does not panic")?;
            }
            sent
        })
    }

    async fn put(&self, host: &Host, call: &Call<'_>) -> Result<(), RegistryError> {
        let response = host.send_once(self, call).await?;
        if response.status().is_success() { Ok(()) } else { Err(host.refused(self, call, response).await) }
    }
}

/// Where an upload goes on.
fn location(asked: &Url, headers: &HeaderMap, repository: &Repository) -> Result<String, RegistryError> {
    let wrong = |reason: &str| RegistryError::Json {
        what: "the answer to an upload",
        name: repository.to_string(),
        reason: reason.to_owned(),
    };
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.ok_or_else(|| wrong("it does not say where to"))?;
    let next = next_url(asked, location).ok_or_else(|| wrong("where to is no URL"))?;
    // As for redirects: what is for this registry alone does not go on without TLS.
    check_redirect(1, asked.scheme(), &next)
        .map_err(|source| FetchError::Redirect { url: redacted(asked.as_str()), source })?;
    Ok(next.into())
}

/// The URL that an answer to a request leads to: what is not a whole URL counts from that request (RFC 9110 §10.2.2).
fn next_url(asked: &Url, location: &str) -> Option<Url> {
    let mut next = asked.join(location).ok()?;
    // What is put behind it would be a part of it, and no server sees that.
    next.set_fragment(None);
    Some(next)
}

/// Reads a file for as long as somebody wants it.
fn read_into(
    mut file: Box<dyn Read + Send>,
    to: &Sender<Bytes>,
    progress: &(dyn Fn(u64) + Sync),
) -> std::io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        (&mut file).take(CHUNK as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(());
        }
        let length = chunk.len() as u64;
        if to.blocking_send(chunk.into()).is_err() {
            return Ok(());
        }
        progress(length);
    }
}

/// Chunks of a file as the body of a request.
struct Chunks {
    from: Receiver<Bytes>,
    rest: u64,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.from.poll_recv(context).map(|chunk| match chunk {
            Some(chunk) => {
                self.rest = self.rest.saturating_sub(chunk.len() as u64);
                Some(Ok(Frame::data(chunk)))
            }
            None if self.rest > 0 => Some(Err(std::io::ErrorKind::UnexpectedEof.into())),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn an_upload_goes_on_from_where_it_was_begun() {
        let asked = Url::parse("https://r:5000/v2/a/b/blobs/uploads/").unwrap();
        for (location, next) in [
            ("id?x=a%2Fb", "https://r:5000/v2/a/b/blobs/uploads/id?x=a%2Fb"),
            ("/v2/a/b/blobs/uploads/id", "https://r:5000/v2/a/b/blobs/uploads/id"),
            ("?id=1", "https://r:5000/v2/a/b/blobs/uploads/?id=1"),
            ("https://cdn/id?x=y#z", "https://cdn/id?x=y"),
            ("//cdn/id", "https://cdn/id"),
        ] {
            assert_eq!(next_url(&asked, location).unwrap().as_str(), next, "{location}");
        }
        assert!(next_url(&asked, "https://").is_none());
    }

    #[test]
    fn an_upload_begun_with_tls_does_not_go_on_without() {
        let repository = Repository { host: "r".into(), path: "a".into() };
        let headers =
            HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("http://r/v2/a/blobs/uploads/id"))]);
        let answer = |asked: &str| location(&Url::parse(asked).unwrap(), &headers, &repository);
        assert!(answer("http://r/v2/a/blobs/uploads/").is_ok());
        let error = answer("https://r/v2/a/blobs/uploads/").unwrap_err();
        assert!(matches!(error, RegistryError::Net(FetchError::Redirect { .. })), "{error}");
    }

    #[test]
    fn a_file_that_ends_early_is_no_whole_body() {
        let (to, from) = channel(1);
        let mut chunks = Box::pin(Chunks { from, rest: 3 });
        to.try_send(Bytes::from_static(b"ab")).unwrap();
        drop(to);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut next = || http_body::Body::poll_frame(chunks.as_mut(), &mut context);
        assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(next(), Poll::Ready(Some(Err(_)))));
    }
}
