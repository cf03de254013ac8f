//! The store as its users see it.

mod remote;

use std::io::Write;

use cache::{BlobStore, CacheError, MemoryRecords, OnceMap, Records, RocksRecords, Store, Table};
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
        fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), CacheError> {
            self.0.scan(prefix, visit)
        }
        fn forget(&self, keys: &[Vec<u8>]) -> Result<(), CacheError> {
            self.0.forget(keys)
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
fn a_blob_is_taken_out_of_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let path = dir.path().join("layer");
    fs_err::write(&path, b"some hello there").unwrap();
    let blob = store.blobs().put(b"hello").unwrap();
    store.blobs().discard(&blob.digest);
    assert!(!store.blobs().adopt_part(&path, 6, &blob), "other bytes");
    assert!(!store.blobs().adopt_part(&path, 14, &blob), "the end comes too soon");
    assert!(!store.blobs().adopt_part(&dir.path().join("gone"), 5, &blob));
    assert!(!store.blobs().has_pending());
    assert!(store.blobs().adopt_part(&path, 5, &blob));
    assert_eq!(store.blobs().read(&blob.digest, 5).unwrap(), b"hello");
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
fn bytes_that_are_stored_again_take_the_place_of_damaged_ones() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let blob = store.blobs().put(b"hello").unwrap();
    commit(&store);
    assert_eq!(store.blobs().put(b"hello").unwrap(), blob);
    assert!(!store.blobs().has_pending(), "what is there is not stored twice");
    fs_err::write(store.blobs().path(&blob.digest), b"jello").unwrap();
    assert_eq!(store.blobs().put(b"hello").unwrap(), blob);
    commit(&store);
    assert!(store.blobs().verify(&blob));
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
                store.maintain();
                assert_eq!(store.warnings(), [] as [String; 0]);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let store = Store::open(dir.path()).unwrap();
                    let _: Option<u32> = store.get(Table::Steps, &[0; 8]);
                    assert_eq!(store.warnings(), [] as [String; 0], "readers get in beside writers");
                }
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

    let blob = store.blobs().put(b"image").unwrap();
    store.put(Table::Steps, b"key", &8_u32);
    let mut is_published = false;
    let published = store.commit(|| {
        is_published = true;
        Ok::<(), CacheError>(())
    });
    published.expect("the image does not depend on the cache");
    assert!(is_published && store.blobs().path(&blob.digest).exists());
    assert!(store.warnings()[1].contains("could be put into the cache"), "{:?}", store.warnings());
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

#[test]
fn a_damaged_blob_can_be_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let blob = store.blobs().put(b"hello").unwrap();
    commit(&store);
    fs_err::write(store.blobs().path(&blob.digest), b"jello").unwrap();
    assert!(!store.blobs().verify(&blob));
    assert!(!store.blobs().contains(&blob), "what is known to be damaged is absent");
    assert_eq!(store.blobs().put(b"hello").unwrap(), blob);
    commit(&store);
    assert!(store.blobs().contains(&blob) && store.blobs().verify(&blob));
}

#[test]
fn a_blob_that_is_written_again_is_one_and_replaces_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let blob = store.blobs().put(b"hello").unwrap();
    let write = |blobs: &BlobStore| {
        let mut writer = blobs.writer().unwrap();
        writer.write_all(b"hello").unwrap();
        writer.complete().unwrap()
    };
    assert_eq!(write(store.blobs()), blob);
    assert_eq!(fs_err::read_dir(store.tmp_dir().unwrap()).unwrap().count(), 1, "one pending file");
    commit(&store);
    fs_err::write(store.blobs().path(&blob.digest), b"jello").unwrap();
    assert_eq!(write(store.blobs()), blob);
    commit(&store);
    assert!(store.blobs().verify(&blob));
}

#[test]
fn what_is_completed_during_a_commit_waits_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.blobs().put(b"before").unwrap();
    let mut late = None;
    let publish = || -> Result<(), CacheError> {
        late = Some(store.blobs().put(b"late")?);
        Ok(())
    };
    store.commit(publish).unwrap();
    let late = late.unwrap();
    assert!(store.blobs().has_pending() && !store.blobs().path(&late.digest).exists());
    commit(&store);
    assert!(!store.blobs().has_pending() && store.blobs().path(&late.digest).exists());
}

#[test]
fn records_wait_until_the_image_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put(Table::Steps, b"key", &7_u32);
    let missing = || CacheError::Version { path: "index.json".into() };
    assert!(store.commit(|| Err(missing())).is_err());
    assert!(!dir.path().join("db").exists());
    assert_eq!(store.get(Table::Steps, b"key"), Some(7_u32), "the build still has it");
    commit(&store);
    assert_eq!(store.get(Table::Steps, b"key"), Some(7_u32), "and reads it back from the database");
}

#[test]
fn starting_over_gives_the_same_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(b"a broken download").unwrap();
    writer.restart().unwrap();
    writer.write_all(b"hello").unwrap();
    let blob = writer.written();
    drop(writer);
    assert_eq!(store.blobs().put(b"hello").unwrap(), blob);
    assert_eq!(fs_err::read_dir(store.tmp_dir().unwrap()).unwrap().count(), 1);
    assert!(store.blobs().verify(&blob));
}

#[test]
fn a_look_at_a_large_blob_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let blob = store.blobs().put(&vec![7; 10 << 20]).unwrap();
    let read = std::cell::Cell::new(0);
    let look = |goes_on: bool| {
        read.set(0);
        let heard = |bytes| {
            read.set(read.get() + bytes);
            goes_on
        };
        store.blobs().is_whole(&blob, &heard).unwrap()
    };
    assert_eq!(look(false), None, "nobody knows");
    assert!(read.get() < blob.size, "{}", read.get());
    assert_eq!(look(true), Some(true));
    assert_eq!(read.get(), blob.size);
}

#[test]
fn looking_at_a_store_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    assert!(Store::open_existing(&root).unwrap().is_none());
    assert!(!root.exists());
    drop(Store::open(&root).unwrap());
    fs_err::remove_file(root.join("lock")).unwrap();
    fs_err::create_dir(root.join("tmp/1-1")).unwrap();
    let list = || {
        let mut names: Vec<_> = fs_err::read_dir(&root).unwrap().map(|file| file.unwrap().path()).collect();
        names.sort();
        names
    };
    let before = list();
    let store = Store::open_existing(&root).unwrap().expect("it is there");
    assert_eq!(store.get::<u32>(Table::Steps, b"key"), None);
    drop(store);
    assert_eq!(list(), before);
    assert!(root.join("tmp/1-1").exists());
}

#[test]
fn the_use_of_a_root_is_noted_under_its_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.touch_root("0af9");
    store.touch_root("../escaped");
    store.touch_root("");
    assert!(dir.path().join("used/0af9").exists() && !dir.path().join("escaped").exists());
}

#[test]
fn records_of_another_format_are_a_miss_and_stay() {
    use rocksdb::{DB, Options};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let other = DB::open_cf(&options, &path, ["sealer.v0"]).unwrap();
    other.put_cf(other.cf_handle("sealer.v0").unwrap(), b"\x01key", b"old").unwrap();
    drop(other);

    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.get_bytes(Table::Steps, b"key"), None);
    store.put_bytes(Table::Steps, b"key", b"new".to_vec());
    commit(&store);
    assert_eq!(store.get_bytes(Table::Steps, b"key"), Some(b"new".to_vec()));
    assert_eq!(store.warnings(), [] as [String; 0]);

    let other = DB::open_cf_for_read_only(&Options::default(), &path, ["sealer.v0"], false).unwrap();
    let old = other.get_cf(other.cf_handle("sealer.v0").unwrap(), b"\x01key").unwrap();
    assert_eq!(old.as_deref(), Some(&b"old"[..]));
}

#[test]
fn a_batch_larger_than_the_write_buffer_is_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let records = RocksRecords::new(&dir.path().join("db"));
    let batch = (0..70_u8).map(|n| (vec![2, n], vec![n; 1 << 20])).collect();
    records.commit(batch).unwrap();
    let tables = fs_err::read_dir(dir.path().join("db")).unwrap().flatten();
    let tables = tables.filter(|file| file.path().extension().is_some_and(|e| e == "sst")).count();
    assert_eq!(tables, 1, "all of a batch is seen or nothing");
}

#[test]
fn threads_may_share_a_store() {
    fn check<T: Send + Sync>() {}
    check::<Store>();
    check::<OnceMap<String, u32>>();
}
