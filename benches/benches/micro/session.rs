//! A build of one COPY in this process: the walk of the host, the stat cache, and a layer.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use cache::Store;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use engine::{BuildOptions, Session};
use solver::{Definition, Event, EventSink, SourceFile};

const FILES: usize = 5000;
const FILE_SIZE: usize = 4096;

/// Every file is read and hashed.
#[divan::bench(args = [1, 2])]
fn walk_and_identify_5000_files(bencher: Bencher<'_, '_>, jobs: usize) {
    let counter = BytesCount::new(FILES * FILE_SIZE);
    with_sessions(jobs, true, |_, new| bencher.counter(counter).bench_local(|| new().pin().is_ok()));
}

/// Every file is looked at, and found to be as it was: no content is read.
#[divan::bench(args = [1, 2])]
fn walk_5000_files_known_to_the_stat_cache(bencher: Bencher<'_, '_>, jobs: usize) {
    with_sessions(jobs, false, |store, new| {
        // Files of the last moments are never remembered.
        std::thread::sleep(Duration::from_millis(100));
        let session = new();
        let pins = session.pin().expect("the tree is read");
        let plan = session.plan(&pins).expect("the store is read");
        session.run(&pins, &plan).expect("the layer is written");
        drop(session);
        store.keep_soft();
        store.commit::<cache::CacheError>(|| Ok(())).expect("records are written");
        bencher.counter(ItemsCount::new(FILES)).bench_local(|| new().pin().is_ok());
    });
}

/// The walk, and the layer it comes to.
#[divan::bench(args = [1, 2])]
fn walk_identify_and_write_a_layer(bencher: Bencher<'_, '_>, jobs: usize) {
    let counter = BytesCount::new(FILES * FILE_SIZE);
    with_sessions(jobs, true, |_, new| {
        bencher.counter(counter).bench_local(|| {
            let session = new();
            let pins = session.pin().expect("the tree is read");
            let plan = session.plan(&pins).expect("the store is read");
            session.run(&pins, &plan).expect("the layer is written").images.len()
        });
    });
}

struct Silent;

impl EventSink for Silent {
    fn event(&self, _: Event) {}
}

/// Calls `work` with an empty store and with what starts a build on it, which may trust nothing that is remembered.
fn with_sessions(
    jobs: usize,
    is_paranoid: bool,
    work: impl for<'s> FnOnce(&'s Store, &(dyn Fn() -> Session<'s> + 's)),
) {
    let definition = copy();
    let options = options(jobs, is_paranoid);
    let (_dir, store) = super::store::empty();
    let registry = engine::Registry::anonymous(engine::Fetcher::new(options.cancel.clone()));
    let bases = engine::Bases::new(&store, &registry);
    let contexts = engine::Contexts::directory(&store, registry.fetcher(), &options, tree().to_owned());
    let new =
        || Session::new(&store, &definition, &options, &bases, &contexts, &Silent).expect("a session starts");
    work(&store, &new);
}

fn copy() -> Definition {
    let text = "FROM scratch\nCOPY tree /tree\n".into();
    super::text::definition(&SourceFile { name: "Kubefile".into(), text })
}

fn options(jobs: usize, is_paranoid: bool) -> BuildOptions {
    BuildOptions {
        jobs,
        no_cache: true,
        no_cache_filter: Vec::new(),
        paranoid: is_paranoid,
        times: engine::TimePolicy::Fixed(0),
        compression: engine::LayerCompression::default(),
        download_limit_bytes: 1 << 30,
        repository: String::new(),
        carries_images: false,
        exports: Vec::new(),
        exec: engine::ExecOptions::default(),
        helm: None,
        explain: false,
        cancel: engine::Cancel::new(),
    }
}

fn tree() -> &'static Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        benches::one_tree(dir.path(), FILES, FILE_SIZE).expect("files are written");
        dir
    });
    dir.path()
}
