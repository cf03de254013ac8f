//! Remote caches in memory.

use std::sync::Arc;

use cache::remote::conformance::{self, Place};
use cache::remote::{Limits, MemoryRemote, NewRecord, Remote, RemoteCache};
use sha2::{Digest, Sha256};
use solver::{BlobDigest, Descriptor};

#[derive(Default)]
struct Memory(Arc<MemoryRemote>);

impl Place for Memory {
    fn remote(&self) -> Arc<dyn Remote + '_> {
        Arc::clone(&self.0) as Arc<dyn Remote>
    }

    fn put_blob(&self, bytes: &[u8]) -> Descriptor {
        let digest = BlobDigest::from_bytes(Sha256::digest(bytes).into());
        let blob = Descriptor { digest, size: bytes.len() as u64 };
        self.0.add_blob(&blob);
        blob
    }

    fn replace(&self, object: &Descriptor, bytes: &[u8]) {
        self.0.replace(object, bytes);
    }

    fn collect_garbage(&self) {
        self.0.collect_garbage();
    }
}

#[test]
fn memory_conforms() {
    conformance::check(Memory::default);
    conformance::check_crowd(Memory::default);
}

#[test]
fn a_hundred_thousand_records_are_as_good_as_one() {
    let remote = Arc::new(MemoryRemote::default());
    let cache = || RemoteCache::open(Arc::clone(&remote) as Arc<dyn Remote>, None);
    let key = |n: u32| [&[1][..], &n.to_le_bytes()].concat();
    let record =
        |n: u32| NewRecord { key: key(n), value: Sha256::digest(key(n)).to_vec(), blobs: Vec::new() };
    let all: Vec<_> = (0..100_000).map(record).collect();
    let limits = Limits { today: 100, max_age_days: None, max_bytes: None };
    let exported = cache().export(&all, &limits).unwrap();
    assert_eq!((exported.records, exported.added), (100_000, 100_000));
    let before = remote.requests();
    assert_eq!(cache().lookup(&[key(77_777)])[0].as_ref().unwrap().value, record(77_777).value);
    assert_eq!(remote.requests() - before, 2, "the head and one shard");
    let one_more = cache().export(&[record(100_000)], &limits).unwrap();
    assert_eq!((one_more.records, one_more.added), (100_001, 1));
    assert!(one_more.objects_sent <= 3 && one_more.bytes_sent < 256 << 10, "{one_more:?}");
}

#[test]
fn a_packed_cache_is_found_in_its_bytes_alone() {
    let record = |n: u32| NewRecord {
        key: n.to_le_bytes().to_vec(),
        value: Sha256::digest(n.to_le_bytes()).to_vec(),
        blobs: Vec::new(),
    };
    let all: Vec<_> = (0..3000).map(record).collect();
    let packed = cache::remote::pack(&all, 100, None);
    let cache = RemoteCache::open(Arc::new(MemoryRemote::holding(packed)), None);
    let found = cache.lookup(&all.iter().map(|record| record.key.clone()).collect::<Vec<_>>());
    assert!(found.iter().zip(&all).all(|(found, record)| found.as_ref().unwrap().value == record.value));
}
