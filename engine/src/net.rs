//! The network: one tokio runtime and one HTTP client for the whole process, used from plain threads by blocking calls, and
//! small runtimes of threads that receive much.
//!
//! Nothing outside this room is `async`. The runtime, the client and the certificate roots cost tens of milliseconds and
//! two threads, so they come into being with the first request: a build that is all cache hits never pays for them.

mod download;
mod error;
mod fetch;
mod headers;
mod proxies;
mod tls;
mod url_name;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::redirect::{Action, Attempt, Policy};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::cancel::Cancel;

pub(crate) use self::download::{MAX_WAIT, PROGRESS_BYTES, backoff};
pub(crate) use self::headers::{content_range, retry_after, unquoted};

pub use self::error::{FetchError, RedirectError};
pub use self::fetch::{FetchEvent, FetchRequest, FetchSettings, Fetched, Fetcher};
pub use self::headers::Validator;
pub use self::proxies::Proxies;
pub use self::url_name::{file_name_of, redacted};
pub(crate) use self::url_name::{percent_decoded, plain_name};

/// Enough for hyper's connection tasks: the bytes themselves are handled by the calling threads.
const RUNTIME_THREADS: usize = 2;

/// How long a cancelled request may go on; a tenth of what a person notices.
const CANCEL_POLL: Duration = Duration::from_millis(20);

/// As many as browsers and curl follow by habit; a longer chain is a loop.
const MAX_REDIRECTS: usize = 10;

/// The runtime and the client, started by whoever needs them first.
#[derive(Debug)]
struct Network {
    settings: FetchSettings,
    /// Held while starting, so that sixteen first requests do not load the certificate roots sixteen times.
    starting: Mutex<()>,
    live: OnceLock<Live>,
}

#[derive(Debug)]
pub(crate) struct Live {
    runtime: Waiting,
    system: Mutex<Option<SystemClient>>,
    open: OnceLock<reqwest::Client>,
    permits: Semaphore,
}

/// The client that trusts whom the system trusts.
#[derive(Debug, Clone)]
struct SystemClient {
    client: reqwest::Client,
    peers: Peers,
    /// Whether the system has no certificate authority, so that no `https` server can be trusted.
    rootless: bool,
}

/// Whom a client trusts. Certificates are read once for all clients.
#[derive(Debug, Clone)]
pub(crate) enum Peers {
    /// Nobody: plain `http` needs no trust.
    Nobody,
    /// Whoever answers.
    Everybody,
    /// Servers with a certificate from a trusted authority.
    Verified(Arc<ClientConfig>),
}

impl Peers {
    /// A client with connections of its own.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn client(&self, settings: &FetchSettings) -> Result<reqwest::Client, FetchError> {
        let client = client(settings);
        let client = match self {
            Self::Nobody => client.tls_certs_only([]),
            Self::Everybody => client.tls_certs_only([]).tls_danger_accept_invalid_certs(true),
            Self::Verified(config) => client.tls_backend_preconfigured(ClientConfig::clone(config)),
        };
        client.build().map_err(|source| FetchError::Client { source })
    }
}

impl Network {
    fn new(settings: FetchSettings) -> Network {
        Network { settings, starting: Mutex::new(()), live: OnceLock::new() }
    }

    fn live(&self) -> Result<&Live, FetchError> {
        let _starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.live.get() {
            Some(live) => Ok(live),
            None => {
                let live = Live::start(&self.settings)?;
                Ok(self.live.get_or_init(|| live))
            }
        }
    }
}

impl Live {
    fn start(settings: &FetchSettings) -> Result<Live, FetchError> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(RUNTIME_THREADS).thread_name("net").enable_all().build();
        let runtime = runtime.map_err(|source| FetchError::Runtime { source })?;
        // An error means that the process has a provider already, which serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let permits = Semaphore::new(settings.concurrency);
        Ok(Live { runtime: Waiting(Some(runtime)), system: Mutex::default(), open: OnceLock::new(), permits })
    }

    /// The client that trusts whom the system trusts. Reading the system's certificates takes tens of milliseconds.
    fn system(&self, settings: &FetchSettings) -> Result<SystemClient, FetchError> {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*system {
            return Ok(known.clone());
        }
        let (peers, rootless) = match tls::config(Vec::new()) {
            Ok(config) => (Peers::Verified(Arc::new(config)), false),
            // Without any root the platform's verifier does not start, and plain `http` needs none.
            Err(_) => (Peers::Nobody, true),
        };
        let made = SystemClient { client: peers.client(settings)?, peers, rootless };
        Ok(system.insert(made).clone())
    }

    /// The client for downloads by plain `http`: no certificate is read for them. An answer that leads to `https` is given
    /// back as it is, for [`Live::system`] to follow.
    fn open(&self, settings: &FetchSettings) -> Result<&reqwest::Client, FetchError> {
        if let Some(known) = self.open.get() {
            return Ok(known);
        }
        let policy = Policy::custom(|attempt| match attempt.url().scheme() {
            "https" => attempt.stop(),
            _ => redirect(attempt),
        });
        let made = client(settings).redirect(policy).tls_certs_only([]).build();
        let made = made.map_err(|source| FetchError::Client { source })?;
        Ok(self.open.get_or_init(|| made))
    }

    /// Those whom the system trusts, and the authorities in PEM files.
    ///
    /// # Errors
    /// When a file cannot be read or holds no certificate.
    pub(crate) fn trusting(
        &self,
        settings: &FetchSettings,
        authorities: &[PathBuf],
    ) -> Result<Peers, FetchError> {
        if authorities.is_empty() {
            return Ok(self.system(settings)?.peers);
        }
        let mut certificates = Vec::new();
        for path in authorities {
            let fail = |reason: String| FetchError::Certificates { path: path.clone(), reason };
            let pem = fs_err::read(path).map_err(|error| fail(error.kind().to_string()))?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            let found = found.map_err(|error| fail(error.to_string()))?;
            if found.is_empty() {
                return Err(fail("there is no PEM certificate in it".to_owned()));
            }
            certificates.extend(found);
        }
        let config = tls::config(certificates).map_err(|error| FetchError::Certificates {
            path: authorities[0].clone(),
            reason: error.to_string(),
        })?;
        Ok(Peers::Verified(Arc::new(config)))
    }

    /// Waits for the work, or gives it up soon after the flag is set: `None`.
    pub(crate) fn block_on<T>(&self, cancel: &Cancel, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(cancel, work)
    }
}

/// A runtime that threads wait for.
#[derive(Debug)]
pub(crate) struct Waiting(Option<Runtime>);

impl Waiting {
    /// One on the thread that waits for it, and on no other. What is received there is handled there, while it is near: not
    /// handed from core to core. A client whose connections it began works with no other one.
    ///
    /// # Errors
    /// When the system has no more of what it needs.
    pub(crate) fn own() -> Result<Self, FetchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self(Some(runtime.map_err(|source| FetchError::Runtime { source })?)))
    }

    /// As [`Live::block_on`].
    pub(crate) fn block_on<T>(&self, cancel: &Cancel, work: impl Future<Output = T>) -> Option<T> {
        let cancelled = async {
            while !cancel.is_cancelled() {
                tokio::time::sleep(CANCEL_POLL).await;
            }
        };
        self.0.as_ref()?.block_on(async {
            tokio::select! {
                biased;
                () = cancelled => None,
                result = work => Some(result),
            }
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A plain drop waits for name look-ups under way, which a cancelled build must not.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn client(settings: &FetchSettings) -> reqwest::ClientBuilder {
    // The library would ask the environment, and a proxy for this machine.
    let builder = reqwest::Client::builder().no_proxy();
    let builder = settings.proxies.list().into_iter().fold(builder, reqwest::ClientBuilder::proxy);
    builder
        .user_agent(concat!("sealer/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout)
        .read_timeout(settings.idle_timeout)
        .redirect(Policy::custom(redirect))
        // A query may hold a signature; the next host has no business with it.
        .referer(false)
}

fn redirect(attempt: Attempt<'_>) -> Action {
    let from = attempt.previous().last().map_or("", |url| url.scheme());
    // The first of `previous` is the request itself.
    match check_redirect(attempt.previous().len(), from, attempt.url()) {
        Ok(()) => attempt.follow(),
        Err(error) => attempt.error(error),
    }
}

/// Whether a server may lead to another URL.
pub(crate) fn check_redirect(redirects: usize, from: &str, to: &url::Url) -> Result<(), RedirectError> {
    match (from, to.scheme()) {
        _ if redirects > MAX_REDIRECTS => Err(RedirectError::TooMany { limit: MAX_REDIRECTS }),
        (_, "https") | ("http", "http") => Ok(()),
        _ => Err(RedirectError::Scheme { to: redacted(to.as_str()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_starts_before_the_first_request() {
        let network = Network::new(FetchSettings::default());
        assert!(network.live.get().is_none());
    }

    #[test]
    fn redirects_never_leave_https() {
        let check =
            |redirects, from, to: &str| check_redirect(redirects, from, &url::Url::parse(to).unwrap());
        assert!(check(1, "http", "http://h").is_ok() && check(1, "http", "https://h").is_ok());
        assert!(check(10, "https", "https://h").is_ok());
        assert!(matches!(check(11, "https", "https://h"), Err(RedirectError::TooMany { limit: 10 })));
        let error = check(1, "https", "http://user:pass@h/x?y").unwrap_err();
        assert_eq!(error.to_string(), "redirect to `http://h/x?…` leaves `https` or is no web address");
        assert!(check(1, "http", "file:///etc/passwd").is_err());
    }
}
