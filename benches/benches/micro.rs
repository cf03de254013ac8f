//! The parts of a build by themselves: text, keys, plan, walk, layers, records.

use std::sync::OnceLock;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use solver::{Definition, Event, EventSink, Graph, MissReason, Pin, Platform, TreeDigest};

fn main() {
    divan::main();
}

struct Silent;

impl EventSink for Silent {
    fn event(&self, _: Event) {}
}

fn kubefile(apps: usize) -> solver::SourceFile {
    let lines: String = (0..apps).map(|app| format!("APP a{app} local://app{app}\n")).collect();
    solver::SourceFile { name: "Kubefile".into(), text: format!("FROM scratch\n{lines}") }
}

fn definition(source: &solver::SourceFile) -> Definition {
    let options = frontend::Options {
        build_args: Default::default(),
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        target: None,
        allows_insecure: false,
        contexts: Default::default(),
    };
    let parsed = frontend::parse(source);
    let (model, _) = frontend::model(&parsed, &options);
    let (lowered, _) = frontend::lower(&model, source, &options, &Default::default());
    lowered.expect("the text is right").definition
}

#[divan::bench(args = [100, 10_000])]
fn parse_model_lower(bencher: Bencher<'_, '_>, apps: usize) {
    let source = kubefile(apps);
    bencher.counter(ItemsCount::new(apps)).bench(|| definition(&source));
}

#[divan::bench(args = [100, 10_000])]
fn graph_keys_plan(bencher: Bencher<'_, '_>, apps: usize) {
    let definition = definition(&kubefile(apps));
    bencher.counter(ItemsCount::new(apps)).bench(|| {
        let graph = Graph::new(&definition).expect("a definition is a graph");
        let keys = solver::definition_keys(&graph, |_| Pin::Tree(TreeDigest::from_bytes([7; 32])));
        let plan =
            solver::plan::<()>(&graph, |wave| wave.iter().map(|_| Err(MissReason::NoRecord)).collect());
        (keys.len(), plan.counts())
    });
}

fn tree() -> &'static std::path::Path {
    static DIR: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        benches::one_tree(dir.path(), 5000, 4096).expect("files are written");
        dir
    });
    dir.path()
}

#[divan::bench(args = [1, 2])]
fn walk_and_identify_5000_files(bencher: Bencher<'_, '_>, jobs: usize) {
    whole(bencher, jobs, false);
}

#[divan::bench(args = [1, 2])]
fn walk_identify_and_write_a_layer(bencher: Bencher<'_, '_>, jobs: usize) {
    whole(bencher, jobs, true);
}

fn whole(bencher: Bencher<'_, '_>, jobs: usize, layers: bool) {
    let source =
        solver::SourceFile { name: "Kubefile".into(), text: "FROM scratch\nCOPY tree /tree\n".into() };
    let definition = definition(&source);
    let build = engine::BuildOptions {
        jobs,
        no_cache: true,
        no_cache_filter: Vec::new(),
        paranoid: false,
        times: engine::TimePolicy::Fixed(0),
        compression: engine::LayerCompression::default(),
        download_limit_bytes: 1 << 30,
        repository: String::new(),
        carries_images: false,
        exports: false,
        exec: engine::ExecOptions::default(),
        helm: None,
        explain: false,
        cancel: engine::Cancel::new(),
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = cache::Store::open(dir.path()).expect("a store is made");
    let registry = engine::Registry::anonymous(engine::Fetcher::new(build.cancel.clone()));
    let bases = engine::Bases::new(&store, &registry);
    let contexts = engine::Contexts::directory(&store, registry.fetcher(), &build, tree().to_owned());
    bencher.counter(BytesCount::new(5000_usize * 4096)).bench(|| {
        let session = engine::Session::new(&store, &definition, &build, &bases, &contexts, &Silent)
            .expect("a session starts");
        let pins = session.pin().expect("the tree is read");
        let plan = session.plan(&pins).expect("the store is read");
        layers.then(|| session.run(&pins, &plan).expect("the layer is written").images.len())
    });
}

#[divan::bench]
fn records_of_1000_steps_read_back(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = cache::Store::open(dir.path()).expect("a store is made");
    let keys: Vec<[u8; 4]> = (0..1000_u32).map(u32::to_le_bytes).collect();
    keys.iter().for_each(|key| store.put(cache::Table::Steps, key, &[7_u64; 8]));
    store.commit::<cache::CacheError>(|| Ok(())).expect("records are written");
    let wanted: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
    bencher.counter(ItemsCount::new(1000_usize)).bench(|| {
        let store = cache::Store::open(dir.path()).expect("the store opens");
        store.get_many::<[u64; 8]>(cache::Table::Steps, &wanted).len()
    });
}
