//! Lanes: a thread that receives a large blob has a runtime and connections of its own, so that a byte is read, hashed and
//! gathered by one core while it is near. Lanes are kept for the next blob.

use solver::LARGE_BLOB;

use super::Registry;
use super::error::RegistryError;
use super::host::{Endpoint, Host, lock};
use crate::net::{FetchError, Waiting};

/// A way to a registry, for one thread at a time.
#[derive(Debug)]
pub(super) struct Lane {
    runtime: Waiting,
    /// Its connections live on that runtime and on no other.
    endpoint: Endpoint,
}

impl Host {
    /// Waits for a blob of a size, which comes in by the way that the work is told: its own, or the one that all share.
    pub(super) fn block_on_blob<T>(
        &self,
        registry: &Registry,
        size: u64,
        work: impl AsyncFnOnce(Option<&Endpoint>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let fetcher = &registry.fetcher;
        let live = fetcher.live(&self.name)?;
        // A smaller one takes a connection that is there: a new one would cost as much as it does.
        let lane = if size >= LARGE_BLOB { self.lane(registry)? } else { None };
        let done = match &lane {
            Some(lane) => lane.runtime.block_on(fetcher.cancel(), work(Some(&lane.endpoint))),
            None => live.block_on(fetcher.cancel(), work(None)),
        };
        let done = done.unwrap_or_else(|| Err(FetchError::Cancelled { url: self.name.clone() }.into()));
        if done.is_ok() {
            // One that failed may have a body on the line that nobody reads.
            lock(&self.lanes).extend(lane);
        }
        done
    }

    /// A lane. `None` while nobody knows how the registry is reached: the first request finds it out.
    fn lane(&self, registry: &Registry) -> Result<Option<Lane>, RegistryError> {
        if let Some(lane) = lock(&self.lanes).pop() {
            return Ok(Some(lane));
        }
        let Some(Endpoint { base, peers, .. }) = self.endpoint.get() else { return Ok(None) };
        let client = peers.client(registry.fetcher.settings())?;
        let endpoint = Endpoint { base: base.clone(), client, peers: peers.clone() };
        Ok(Some(Lane { runtime: Waiting::own()?, endpoint }))
    }
}
