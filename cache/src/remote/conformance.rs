//! What every [`Remote`] must do, seen through a [`RemoteCache`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use solver::Descriptor;

use super::format::{self, Body, VERSION};
use super::{
    Head, Limits, MacKey, NewRecord, Publication, Published, Remote, RemoteCache, RemoteError, RemoteRecord,
};

/// A place where one cache can be kept, and what the suite does there behind a cache's back.
pub trait Place {
    /// The place as one more machine sees it.
    fn remote(&self) -> Arc<dyn Remote + '_>;

    /// Puts a layer blob there.
    fn put_blob(&self, bytes: &[u8]) -> Descriptor;

    /// Puts other bytes where the head or an object is.
    fn replace(&self, object: &Descriptor, bytes: &[u8]);

    /// Deletes what is not needed, if that is somebody's business there.
    fn collect_garbage(&self);
}

/// Runs the whole suite; `fresh` gives a new and empty place.
///
/// # Panics
/// When the implementation does not conform.
pub fn check<P: Place>(fresh: impl Fn() -> P) {
    an_empty_place_answers(&fresh());
    what_one_puts_another_finds(&fresh());
    two_at_once_lose_nothing(&fresh());
    damage_is_a_miss_and_one_warning(&fresh());
    a_damaged_head_is_a_miss_and_replaced(&fresh());
    what_is_newer_or_foreign_is_left_alone(&fresh());
    macs_bind_records_to_a_key(&fresh());
    many_records_are_read_in_parts(&fresh());
    old_records_go(&fresh());
    what_costs_too_much_goes_oldest_first(&fresh());
    blobs_that_are_not_there_are_not_named(&fresh());
    garbage_is_what_nobody_needs(&fresh());
    equal_records_are_equal_bytes(&fresh(), &fresh());
}

/// Many export at once; for places where exactly one of several publications wins.
///
/// # Panics
/// When a record is lost.
pub fn check_crowd<P: Place + Sync>(fresh: impl Fn() -> P) {
    let place = fresh();
    let writers = 4;
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let place = &place;
            scope.spawn(move || export(&open(place), &[record(writer, &[])], 100));
        }
    });
    let found = open(&place).lookup(&(0..writers).map(key).collect::<Vec<_>>());
    assert!(found.iter().all(Option::is_some), "every writer's record is there");
}

fn open(place: &impl Place) -> RemoteCache<'_> {
    RemoteCache::open(place.remote(), None)
}

fn key(n: u32) -> Vec<u8> {
    [&[1][..], blake3::hash(&n.to_le_bytes()).as_bytes()].concat()
}

/// Half of the value is something that nothing can compress, as a digest is.
fn record(n: u32, blobs: &[Descriptor]) -> NewRecord {
    let value = [blake3::hash(&key(n)).as_bytes(), &[n as u8; 32][..]].concat();
    NewRecord { key: key(n), value, blobs: blobs.to_vec() }
}

fn records(range: std::ops::Range<u32>) -> Vec<NewRecord> {
    range.map(|n| record(n, &[])).collect()
}

fn on(today: u32) -> Limits {
    Limits { today, max_age_days: None, max_bytes: None }
}

fn export(cache: &RemoteCache<'_>, records: &[NewRecord], today: u32) -> super::Exported {
    let exported = cache.export(records, &on(today)).expect("an export succeeds");
    assert_eq!(cache.warnings(), [] as [String; 0]);
    exported
}

fn found(record: &NewRecord) -> Option<RemoteRecord> {
    Some(RemoteRecord { value: record.value.clone(), blobs: record.blobs.clone() })
}

/// How many of some records are found, by a machine that has not looked before, and what it is warned of.
fn count(place: &impl Place, range: std::ops::Range<u32>) -> (usize, Vec<String>) {
    let cache = open(place);
    let hits = cache.lookup(&range.map(key).collect::<Vec<_>>()).iter().flatten().count();
    (hits, cache.warnings())
}

fn head(place: &impl Place) -> Head {
    place.remote().head().expect("the head is read").expect("there is a head")
}

fn head_bytes(place: &impl Place) -> Vec<u8> {
    head(place).content.expect("the head is whole")
}

fn objects(place: &impl Place) -> Vec<Descriptor> {
    let shards = format::decode_head(&head_bytes(place)).expect("the head is good");
    let object = |shard: format::Shard| match shard.body {
        Body::Object { object, .. } => Some(object),
        Body::Inline(_) => None,
    };
    shards.into_iter().filter_map(object).collect()
}

fn an_empty_place_answers(place: &impl Place) {
    assert!(place.remote().head().expect("an empty place answers").is_none());
    assert_eq!(count(place, 0..3), (0, Vec::new()), "an empty cache is no failure");
    assert_eq!(open(place).list().expect("it can be listed"), []);
    assert_eq!(export(&open(place), &[], 100), super::Exported::default());
    assert!(place.remote().head().expect("it still answers").is_none(), "nothing to export makes no cache");
}

fn what_one_puts_another_finds(place: &impl Place) {
    let blob = place.put_blob(b"a layer");
    let absent = Descriptor { digest: solver::BlobDigest::from_bytes([7; 32]), size: 7 };
    assert_eq!(place.remote().has_blobs(&[blob, absent]).expect("blobs are asked for"), [true, false]);
    let all = [record(1, &[blob]), record(2, &[]), record(3, &[blob])];
    let exported = export(&open(place), &all, 100);
    assert_eq!((exported.records, exported.added, exported.objects_sent), (3, 3, 1), "all is in the head");
    let cache = open(place);
    let seen = cache.lookup(&[key(3), key(9), key(1), key(3)]);
    assert_eq!(seen, [found(&all[2]), None, found(&all[0]), found(&all[2])]);
    assert_eq!(cache.lookup(&[]), []);
    assert_eq!(cache.warnings(), [] as [String; 0]);
    let listed = cache.list().expect("it can be listed");
    assert!(listed.len() == 3 && listed.iter().all(|one| one.day == 100 && !one.is_signed));
    let version = head(place).version;
    for today in [100, 107] {
        let again = export(&open(place), &all, today);
        assert_eq!((again.records, again.added, again.objects_sent, again.bytes_sent), (3, 0, 0, 0));
    }
    assert_eq!(head(place).version, version, "what is known changes nothing");
    assert_eq!(export(&open(place), &all[..1], 108).objects_sent, 1, "but its age does, after a week");
    let newer = NewRecord { value: b"newer".to_vec(), ..record(2, &[]) };
    assert_eq!(export(&open(place), std::slice::from_ref(&newer), 108).added, 1);
    assert_eq!(open(place).lookup(&[key(2), key(1)]), [found(&newer), found(&all[0])]);
}

/// A remote in which somebody else publishes just before the first publication.
struct Meddled<'a> {
    inner: Arc<dyn Remote + 'a>,
    publications: AtomicUsize,
    objects: AtomicUsize,
    other: &'a (dyn Fn() + Sync),
}

impl std::fmt::Debug for Meddled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddled")
    }
}

impl<'a> Meddled<'a> {
    fn new(place: &'a impl Place, other: &'a (dyn Fn() + Sync)) -> Arc<Self> {
        let (publications, objects) = Default::default();
        Arc::new(Self { inner: place.remote(), publications, objects, other })
    }
}

impl Remote for Meddled<'_> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn head(&self) -> Result<Option<Head>, RemoteError> {
        self.inner.head()
    }

    fn object(&self, object: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.inner.object(object)
    }

    fn publish(&self, publication: &Publication) -> Result<Published, RemoteError> {
        if self.publications.fetch_add(1, Ordering::Relaxed) == 0 {
            (self.other)();
        }
        self.inner.publish(publication)
    }

    fn has_blobs(&self, blobs: &[Descriptor]) -> Result<Vec<bool>, RemoteError> {
        self.inner.has_blobs(blobs)
    }
}

fn two_at_once_lose_nothing(place: &impl Place) {
    for round in 0..2 {
        let from = round * 1000;
        // The first time there is no cache yet, the second time there is one.
        let mine = records(from..from + 300);
        let other = records(from + 200..from + 600);
        let others = place.remote();
        let other = || {
            export(&RemoteCache::open(Arc::clone(&others), None), &other, 100);
        };
        let run = || {
            let meddled = Meddled::new(place, &other);
            export(&RemoteCache::open(Arc::clone(&meddled) as Arc<dyn Remote + '_>, None), &mine, 100);
            meddled.publications.load(Ordering::Relaxed)
        };
        assert_eq!(run(), 2, "the second publication is the one that counts");
        assert_eq!(count(place, from..from + 600), (600, Vec::new()));
    }
    assert_eq!(count(place, 0..600).0, 600);
}

fn damage_is_a_miss_and_one_warning(place: &impl Place) {
    export(&open(place), &records(0..2000), 100);
    let objects = objects(place);
    assert!(objects.len() > 3, "2,000 records are several objects");
    let good = place.remote().object(&objects[0]).expect("an object is read");
    let other = place.remote().object(&objects[1]).expect("an object is read");
    let mut flipped = good.clone();
    flipped[20] ^= 1;
    for bad in [b"".to_vec(), good[..good.len() / 2].to_vec(), flipped, other.clone()] {
        place.replace(&objects[0], &bad);
        let (hits, warnings) = count(place, 0..2000);
        assert!(hits > 1000 && hits < 2000, "the other objects are good: {hits}");
        assert!(warnings.len() == 1 && open(place).list().is_err(), "{warnings:?}");
    }
    place.replace(&objects[1], &good);
    let (hits, warnings) = count(place, 0..2000);
    assert!(hits < 2000 && warnings.len() == 1, "two damaged objects are one warning: {warnings:?}");
    // Whoever has the records makes it whole again; whoever has others makes of it what there is.
    let exported = open(place).export(&records(0..2000), &on(109)).expect("a damaged cache is replaced");
    assert!(exported.records == 2000 && exported.added > 0);
    assert_eq!(count(place, 0..2000), (2000, Vec::new()));
}

fn a_damaged_head_is_a_miss_and_replaced(place: &impl Place) {
    for (day, cut) in [(100, 0), (101, 5), (102, 7), (103, 60)] {
        let cache = open(place);
        cache.export(&records(0..10), &on(day)).expect("a damaged head is replaced");
        assert_eq!(count(place, 0..10), (10, Vec::new()));
        let head = head_bytes(place);
        place.replace(&format::described(&head), &head[..cut]);
        let (hits, warnings) = count(place, 0..10);
        assert_eq!((hits, warnings.len()), (0, 1), "{warnings:?}");
    }
}

fn what_is_newer_or_foreign_is_left_alone(place: &impl Place) {
    export(&open(place), &records(0..10), 100);
    let publish = |bytes: &[u8]| {
        let remote = place.remote();
        let based_on = remote.head().expect("the head is read").map(|head| head.version);
        let (objects, kept, blobs) = Default::default();
        let publication = Publication { based_on, head: bytes.to_vec(), objects, kept, blobs };
        assert_eq!(remote.publish(&publication).expect("any bytes can be a head"), Published::Done);
    };
    let mut newer = head_bytes(place);
    newer[7] = VERSION + 1;
    publish(&newer);
    let (hits, warnings) = count(place, 0..10);
    assert!(hits == 0 && warnings.len() == 1 && warnings[0].contains("format"), "{warnings:?}");
    let refused = open(place).export(&records(0..10), &on(100));
    assert!(matches!(refused, Err(RemoteError::Newer { .. })), "what is newer is not replaced");
    assert_eq!(head_bytes(place), newer);
    publish(b"something else altogether");
    let (hits, warnings) = count(place, 0..10);
    assert!(hits == 0 && warnings.len() == 1, "{warnings:?}");
}

fn macs_bind_records_to_a_key(place: &impl Place) {
    let with = |secret: &[u8]| {
        RemoteCache::open(place.remote(), Some(MacKey::new(secret).expect("it is long enough")))
    };
    let (mine, other) = (b"the secret of the main branch", b"somebody else's own secret");
    export(&open(place), &records(0..3), 100);
    let cache = with(mine);
    assert_eq!(cache.lookup(&[key(0), key(1)]), [None, None], "what is unsigned is a miss");
    assert_eq!(cache.lookup(&[key(9)]), [None]);
    assert_eq!(cache.warnings().len(), 1);
    assert!(matches!(cache.failure().as_deref(), Some(RemoteError::Unsigned)));
    assert_eq!(export(&with(mine), &records(0..2), 100).added, 2, "what is unsigned is replaced");
    assert_eq!(with(mine).lookup(&[key(0), key(2)]), [found(&record(0, &[])), None]);
    assert_eq!(with(other).lookup(&[key(0)]), [None], "what others signed is a miss");
    assert_eq!(count(place, 0..3), (3, Vec::new()), "who has no key looks at no MAC");
    // Who has no key leaves what is signed.
    let forged = NewRecord { value: b"forged".to_vec(), ..record(0, &[]) };
    export(&open(place), &[forged], 100);
    assert_eq!(with(mine).lookup(&[key(0)]), [found(&record(0, &[]))]);
    assert_eq!(export(&with(mine), &records(0..2), 100).objects_sent, 0);
    let listed = with(mine).list().expect("it can be listed");
    assert_eq!(listed.iter().filter(|one| one.is_signed).count(), 2);
}

fn many_records_are_read_in_parts(place: &impl Place) {
    export(&open(place), &records(0..5000), 100);
    let shards = objects(place).len();
    assert!(shards > 8, "{shards}");
    let nobody = || {};
    let requests = |keys: &[Vec<u8>]| {
        let meddled = Meddled::new(place, &nobody);
        let cache = RemoteCache::open(Arc::clone(&meddled) as Arc<dyn Remote + '_>, None);
        let hits = cache.lookup(keys).iter().flatten().count();
        assert_eq!((cache.lookup(keys).iter().flatten().count(), cache.warnings()), (hits, Vec::new()));
        (hits, meddled.objects.load(Ordering::Relaxed))
    };
    assert_eq!(requests(&[key(17)]), (1, 1), "one record is in one object");
    let misses: Vec<_> = (10_000..10_010).map(key).collect();
    let (hits, asked) = requests(&misses);
    assert!(hits == 0 && asked <= 2, "the filter knows what is not there: {asked}");
    assert_eq!(requests(&(0..5000).map(key).collect::<Vec<_>>()), (5000, shards), "each object once");
    let one_more = export(&open(place), &records(5000..5001), 100);
    assert_eq!((one_more.records, one_more.added), (5001, 1));
    assert!(one_more.objects_sent <= 3 && one_more.bytes_sent < 64 << 10, "{one_more:?}");
    let huge = NewRecord { value: vec![1; 2 << 20], ..record(0, &[]) };
    let exported = export(&open(place), &[huge], 100);
    assert_eq!((exported.too_large, exported.added, exported.records), (1, 0, 5001));
}

fn old_records_go(place: &impl Place) {
    export(&open(place), &records(0..4), 100);
    export(&open(place), &records(4..8), 120);
    let limits = Limits { today: 130, max_age_days: Some(30), max_bytes: None };
    let exported = open(place).export(&records(0..1), &limits).expect("an export succeeds");
    assert_eq!((exported.records, exported.expired), (8, 0), "thirty days are not more than thirty");
    let limits = Limits { today: 131, ..limits };
    let exported = open(place).export(&[], &limits).expect("an export succeeds");
    assert_eq!((exported.records, exported.expired), (5, 3), "what was used again stays");
    assert_eq!((count(place, 0..1).0, count(place, 1..4).0, count(place, 4..8).0), (1, 0, 4));
}

fn what_costs_too_much_goes_oldest_first(place: &impl Place) {
    let [old, shared, new] = [1, 2, 3].map(|n| place.put_blob(&vec![n; 10_000]));
    export(&open(place), &[record(0, &[old]), record(1, &[shared]), record(2, &[])], 100);
    export(&open(place), &[record(3, &[shared]), record(4, &[new])], 110);
    let shrink = |max_bytes| {
        let limits = Limits { today: 110, max_age_days: None, max_bytes: Some(max_bytes) };
        open(place).export(&[], &limits).expect("an export succeeds").expired
    };
    assert_eq!(shrink(40_000), 0);
    assert_eq!(shrink(25_000), 1, "only one blob was not used since");
    assert_eq!((count(place, 0..1).0, count(place, 1..5).0), (0, 4));
    assert!(matches!(shrink(15_000), 1 | 2), "a blob goes with all that need it");
    assert_eq!(count(place, 2..3).0, 1, "what needs no blob stays");
    shrink(0);
    assert_eq!(count(place, 0..5), (0, Vec::new()));
}

fn blobs_that_are_not_there_are_not_named(place: &impl Place) {
    let blob = place.put_blob(b"there");
    let absent = Descriptor { digest: solver::BlobDigest::from_bytes([7; 32]), size: 7 };
    let all = [record(0, &[blob]), record(1, &[blob, absent]), record(2, &[])];
    let exported = export(&open(place), &all, 100);
    assert_eq!(exported.records, 2, "a record without its blob is worth nothing");
    assert_eq!(open(place).lookup(&[key(0), key(1)]), [found(&all[0]), None]);
}

fn garbage_is_what_nobody_needs(place: &impl Place) {
    let blobs = [1, 2, 3].map(|n| place.put_blob(&[n; 100]));
    let named = |from: u32, blob: usize| {
        (from..from + 700).map(|n| record(n, &blobs[blob..blob + 1])).collect::<Vec<_>>()
    };
    export(&open(place), &named(0, 0), 100);
    export(&open(place), &named(700, 1), 150);
    export(&open(place), &named(1400, 2), 151);
    let limits = Limits { today: 160, max_age_days: Some(30), max_bytes: None };
    assert_eq!(open(place).export(&[], &limits).expect("an export succeeds").expired, 700);
    place.collect_garbage();
    assert_eq!(count(place, 0..2100), (1400, Vec::new()));
    let there = place.remote().has_blobs(&blobs).expect("blobs are asked for");
    assert_eq!(there[1..], [true, true], "layers that are needed stay");
    assert_eq!(export(&open(place), &named(1400, 2), 160).records, 1400, "and the cache goes on");
}

fn equal_records_are_equal_bytes(one: &impl Place, two: &impl Place) {
    export(&open(one), &records(0..1500), 100);
    let mut backwards = records(500..1500);
    backwards.reverse();
    export(&open(two), &backwards, 100);
    export(&open(two), &records(0..700), 100);
    assert!(head_bytes(one) == head_bytes(two), "the same records are the same bytes");
}
