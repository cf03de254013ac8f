//! The store as its users see it.

use std::io::Write;

use cache::{CacheError, MemoryRecords, Records, RocksRecords, Store, Table};
use solver::{BlobDigest, Descriptor};

fn commit(store: &Store) {
    store.commit(|| Ok::<(), CacheError>(())).expect("the commit succeeds");
}

#[test]
fn rocks_conforms() {
    let dir = tempfile::tempdir().unwrap();
    cache::conformance::check(|| RocksRecords::new(&dir.path().join("db")));
}

#[test]
fn memory_conforms() {
    #[derive(Debug)]
    struct Shared(&'static MemoryRecords);
    impl Records for Shared {
        fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, CacheError> {
            self.0.get_many(keys)
        }
        fn commit(&self, batch: cache::Batch) -> Result<(), CacheError> {
            self.0.commit(batch)
        }
    }
    let records: &'static MemoryRecords = Box::leak(Box::default());
    cache::conformance::check(|| Shared(records));
}

#[test]
fn nothing_is_visible_before_the_commit_and_all_after() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let blob = store.blobs().put(b"hello").unwrap();
    store.put(Table::Steps, b"key", &7_u32);
    assert_eq!(store.get(Table::Steps, b"key"), Some(7_u32), "a build sees its own records");
    assert_eq!(store.blobs().read(&blob.digest, 100).unwrap(), b"hello", "and its own blobs");
    assert!(!store.blobs().path(&blob.digest).exists());
    commit(&store);
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.blobs().contains(&blob) && store.blobs().verify(&blob));
    assert_eq!(store.get(Table::Steps, b"key"), Some(7_u32));
    assert_eq!(fs_err::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn an_empty_commit_creates_no_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.get::<u32>(Table::Steps, b"key"), None);
    commit(&store);
    assert!(!dir.path().join("db").exists());
}

#[test]
fn a_blob_that_is_not_what_was_expected_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let expected = Descriptor { digest: BlobDigest::from_bytes([1; 32]), size: 5 };
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(b"hello").unwrap();
    assert!(matches!(writer.complete_verified(&expected), Err(CacheError::Digest { .. })));
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(b"hello!").unwrap();
    assert!(matches!(writer.complete_verified(&expected), Err(CacheError::Size { found: 6, .. })));
    drop(store.blobs().writer().unwrap());
    assert!(!store.blobs().has_pending());
    assert_eq!(fs_err::read_dir(store.tmp_dir().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_damaged_blob_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let blob = store.blobs().put(b"hello").unwrap();
    commit(&store);
    fs_err::write(store.blobs().path(&blob.digest), b"jello").unwrap();
    assert!(store.blobs().contains(&blob), "the size alone does not tell");
    assert!(!store.blobs().verify(&blob));
    assert!(matches!(store.blobs().read(&blob.digest, 100), Err(CacheError::Digest { .. })));
    assert!(matches!(store.blobs().read(&blob.digest, 3), Err(CacheError::TooLarge { limit: 3, .. })));
}

#[test]
fn builds_that_commit_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..6_u32 {
            let root = dir.path();
            scope.spawn(move || {
                let store = Store::open(root).unwrap();
                for n in 0..3_u32 {
                    store.put(Table::Steps, &[writer.to_be_bytes(), n.to_be_bytes()].concat(), &n);
                    commit(&store);
                }
                assert_eq!(store.warnings(), [] as [String; 0]);
            });
        }
    });
    let store = Store::open(dir.path()).unwrap();
    for writer in 0..6_u32 {
        for n in 0..3_u32 {
            let key = [writer.to_be_bytes(), n.to_be_bytes()].concat();
            assert_eq!(store.get(Table::Steps, &key), Some(n), "writer {writer}, value {n}");
        }
    }
}

#[test]
fn a_broken_database_counts_as_empty_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put(Table::Steps, b"key", &7_u32);
    commit(&store);
    drop(store);
    fs_err::write(dir.path().join("db/CURRENT"), b"MANIFEST-nonsense\n").unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.get::<u32>(Table::Steps, b"key"), None);
    assert!(store.warnings()[0].contains("counts as empty"), "{:?}", store.warnings());
}

#[test]
fn many_commits_are_compacted_after_the_result() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..12_u32 {
        let store = Store::open(dir.path()).unwrap();
        store.put(Table::Steps, &n.to_be_bytes(), &n);
        commit(&store);
        store.maintain();
    }
    let tables = fs_err::read_dir(dir.path().join("db")).unwrap();
    let tables = tables.flatten().filter(|file| file.path().extension().is_some_and(|e| e == "sst")).count();
    assert!(tables <= 9, "{tables} tables are left");
    let store = Store::open(dir.path()).unwrap();
    assert!((0..12_u32).all(|n| store.get(Table::Steps, &n.to_be_bytes()) == Some(n)));
}

#[test]
fn a_newer_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    fs_err::write(dir.path().join("version"), "99").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, CacheError::NewerStore { found: 99, .. }), "{error}");
}

#[test]
fn leftovers_are_swept_only_by_who_is_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let leftover = dir.path().join("tmp/1-1");
    fs_err::create_dir_all(&leftover).unwrap();
    let second = Store::open(dir.path()).unwrap();
    assert!(leftover.exists(), "somebody is at work");
    drop((first, second));
    drop(Store::open(dir.path()).unwrap());
    assert!(!leftover.exists());
}
