//! What the store keeps between builds: records, blobs, and the rules under which many builds share them.
//!
//! ```text
//! $SEALER_ROOT
//! ├── oci-layout, index.json, blobs/sha256/   a valid OCI image layout (index.json is written by the engine)
//! ├── version                                 the store's format
//! ├── db/                                     RocksDB: everything in it is derived
//! ├── used/                                   empty files whose mtime is the last use of a root
//! ├── tmp/PID-N/                              what one open store is writing; swept when nobody is at work
//! ├── lazy.json, snapshots/, mounts/, mounts-cache/   the engine's: layers that are elsewhere, what commands ran on
//! └── lock, index.lock, flight.lock
//! ```
//!
//! Roots of what is kept are the names in index.json and the files in `used/`; nothing is deleted here. Every process
//! holds `lock` shared while it works; equal work of several is done by one (`flight`). Blobs and records become visible only at [`Store::commit`]: one
//! `syncfs`, renames, the caller's index, then records. The crate knows neither OCI image building nor Kubefiles.

mod at_once;
mod blobs;
mod codec;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
mod flight;
mod lock;
mod once;
mod records;
pub mod remote;
mod store;
mod tmp;

pub use at_once::{at_once, try_at_once};
pub use blobs::{BlobStore, BlobWriter, NEAR, PartReader, PrehashedWriter};
pub use error::{CacheError, causes, with_causes};
use flight::Flight;
pub use flight::WorkLock;
pub use lock::{IndexLock, is_waiting};
pub use once::OnceMap;
pub use records::{Batch, MemoryRecords, Records, RocksRecords, Table};
pub use store::Store;
