//! The record store: RocksDB as the cache uses it.

use cache::{CacheError, Store, Table};
use divan::Bencher;
use divan::counter::ItemsCount;

const SIZES: [usize; 2] = [1000, 10_000];

/// A store that knows nothing, and the directory it is in.
pub(crate) fn empty() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path()).expect("a store is made");
    (dir, store)
}

fn keys(records: usize) -> Vec<[u8; 4]> {
    (0..u32::try_from(records).expect("few")).map(u32::to_le_bytes).collect()
}

fn filled(records: usize) -> (tempfile::TempDir, Store) {
    let (dir, store) = empty();
    keys(records).iter().for_each(|key| store.put(Table::Steps, key, &[7_u64; 8]));
    store.commit::<CacheError>(|| Ok(())).expect("records are written");
    (dir, store)
}

/// Opening waits until somebody asks.
#[divan::bench]
fn open_a_store_of_10000_records_and_read_one(bencher: Bencher<'_, '_>) {
    let (dir, store) = filled(10_000);
    drop(store);
    bencher.bench_local(|| {
        let store = Store::open(dir.path()).expect("the store opens");
        store.get::<[u64; 8]>(Table::Steps, &77_u32.to_le_bytes()).is_some()
    });
}

/// Asked for in one question, as a plan asks for the steps of a wave.
#[divan::bench(args = SIZES)]
fn records_read(bencher: Bencher<'_, '_>, records: usize) {
    let (_dir, store) = filled(records);
    let keys = keys(records);
    let wanted: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
    bencher
        .counter(ItemsCount::new(records))
        .bench_local(|| store.get_many::<[u64; 8]>(Table::Steps, &wanted).len());
}

/// One commit, with its sync.
#[divan::bench(args = SIZES, sample_count = 20)]
fn records_committed(bencher: Bencher<'_, '_>, records: usize) {
    let (_dir, store) = empty();
    let keys = keys(records);
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        keys.iter().for_each(|key| store.put(Table::Steps, key, &[7_u64; 8]));
        store.commit::<CacheError>(|| Ok(())).is_ok()
    });
}
