//! Registries: images are pulled from them and pushed to them (OCI distribution-spec).
//!
//! Plain threads call, and block; each registry has its own limit of requests, its own way to be reached and its own
//! tokens. What comes in is checked against its digest before anything is kept; what goes out is checked there.

mod api;
mod auth;
mod challenge;
mod credentials;
mod download;
mod error;
mod host;
mod lane;
mod mirrors;
mod pull;
mod push;
mod reach;
mod reference;
mod remote;
mod tags;
mod trust;
mod upload;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Response;

pub use self::api::RawManifest;
pub use self::credentials::{Credential, Credentials};
pub use self::download::{LayerProgress, LayerSource};
pub(crate) use self::download::{claim, leave_moved, tell_moved};
pub use self::error::RegistryError;
use self::host::{Host, Role};
pub use self::mirrors::{Mirror, MirrorError, Tried};
pub use self::pull::{Pulled, Resolved, complete, look, pull_layers, resolve};
pub(crate) use self::pull::{choose, repositories_of};
pub use self::push::{Pushed, push};
pub use self::reference::{Reference, Repository};
pub use self::remote::RegistryRemote;
pub use self::trust::Trust;
pub use self::upload::{Arrival, OpenBlob};
use crate::net::{FetchError, Fetcher};

/// The way to registries. Nothing is read or started before the first request.
#[derive(Debug)]
pub struct Registry {
    fetcher: Fetcher,
    trust: Trust,
    credentials: Credentials,
    mirrors: Vec<Mirror>,
    hosts: Mutex<HashMap<(String, Role), Arc<Host>>>,
}

impl Registry {
    /// Prepares the way. Requests share the fetcher's threads, counters and cancelling.
    pub fn new(fetcher: Fetcher, trust: Trust, credentials: Credentials) -> Self {
        Self { fetcher, trust, credentials, mirrors: Vec::new(), hosts: Mutex::default() }
    }

    /// A way that trusts whom the system trusts, for somebody without credentials.
    pub fn anonymous(fetcher: Fetcher) -> Self {
        Self::new(fetcher, Trust::default(), Credentials::default())
    }

    /// Requests sent and bytes received so far, those of the fetcher included.
    pub fn network(&self) -> (u64, u64) {
        (self.fetcher.requests(), self.fetcher.bytes())
    }

    /// The fetcher underneath.
    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// The files with credentials.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Makes somebody known for one repository, whatever the files say; for no other of its registry, and for no mirror.
    pub fn assume(&self, reference: &Reference, who: Credential) {
        let repository = &reference.repository;
        self.credentials.assume(repository, who);
        self.host(&repository.host).forget_tokens();
    }

    fn host(&self, name: &str) -> Arc<Host> {
        self.host_as(name, Role::Registry)
    }

    fn host_as(&self, name: &str, role: Role) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry((name.to_owned(), role)).or_insert_with(|| Arc::new(Host::new(name, role))))
    }
}

/// A whole body, or the error that it is larger than allowed.
async fn limited(mut response: Response, limit: u64) -> Result<Vec<u8>, RegistryError> {
    let url = crate::net::redacted(response.url().as_str());
    let too_large = |url: &str| FetchError::TooLarge { url: url.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large(&url).into());
    }
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| FetchError::from_reqwest(url.clone(), error))?
    {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(too_large(&url).into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
