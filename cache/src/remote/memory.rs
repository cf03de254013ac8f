//! A remote in memory: the twin that keeps the trait honest.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use solver::{BlobDigest, Descriptor};

use super::format::described;
use super::{Head, Publication, Published, Remote, RemoteError};

/// A cache that ends with the process.
#[derive(Debug, Default)]
pub struct MemoryRemote {
    state: Mutex<State>,
    requests: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    head: Option<Vec<u8>>,
    version: u64,
    objects: HashMap<BlobDigest, Vec<u8>>,
    blobs: HashSet<BlobDigest>,
    /// What the last publication named.
    named: HashSet<BlobDigest>,
}

impl MemoryRemote {
    /// A cache whose head was kept elsewhere, such as one that [`pack`](super::pack) made.
    pub fn holding(head: Vec<u8>) -> Self {
        let state = State { head: Some(head), ..State::default() };
        Self { state: Mutex::new(state), requests: AtomicUsize::default() }
    }

    /// Puts a layer blob there, by name only.
    pub fn add_blob(&self, blob: &Descriptor) {
        self.lock().blobs.insert(blob.digest);
    }

    /// Deletes what the last publication does not name, as a registry's garbage collector does.
    pub fn collect_garbage(&self) {
        let state = &mut *self.lock();
        state.objects.retain(|digest, _| state.named.contains(digest));
        state.blobs.retain(|digest| state.named.contains(digest));
    }

    /// Puts other bytes in the place of an object or the head; for tests of those who read.
    pub fn replace(&self, object: &Descriptor, bytes: &[u8]) {
        let state = &mut *self.lock();
        match &mut state.head {
            Some(head) if described(head) == *object => *head = bytes.to_vec(),
            _ => drop(state.objects.insert(object.digest, bytes.to_vec())),
        }
    }

    /// How often it was asked for something.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        // Only whole values are put behind the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remote for MemoryRemote {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn head(&self) -> Result<Option<Head>, RemoteError> {
        let state = self.lock();
        let version = state.version.to_string();
        Ok(state.head.clone().map(|bytes| Head { content: Ok(bytes), version }))
    }

    fn object(&self, object: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        let digest = object.digest;
        self.lock().objects.get(&digest).cloned().ok_or(RemoteError::Missing { digest })
    }

    fn publish(&self, publication: &Publication) -> Result<Published, RemoteError> {
        let mut state = self.lock();
        let version = state.head.is_some().then(|| state.version.to_string());
        if version != publication.based_on {
            return Ok(Published::Conflict);
        }
        let named = publication.blobs.iter().map(|blob| blob.digest);
        let missing: Vec<BlobDigest> = named.filter(|digest| !state.blobs.contains(digest)).collect();
        if !missing.is_empty() {
            return Ok(Published::Missing(missing));
        }
        let objects = publication.objects.iter().map(|(object, _)| object);
        let all = objects.chain(&publication.kept).chain(&publication.blobs);
        state.named = all.map(|object| object.digest).collect();
        let new = publication.objects.iter().map(|(object, bytes)| (object.digest, bytes.clone()));
        state.objects.extend(new);
        state.head = Some(publication.head.clone());
        state.version += 1;
        Ok(Published::Done)
    }

    fn has_blobs(&self, blobs: &[Descriptor]) -> Result<Vec<bool>, RemoteError> {
        let state = self.lock();
        Ok(blobs.iter().map(|blob| state.blobs.contains(&blob.digest)).collect())
    }
}
