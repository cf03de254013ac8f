//! One build between its definition and its layers: pin, plan, and what both need.

mod costs;
mod sources;
mod upstream;
mod urls;
mod values;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use cache::{OnceMap, Store, Table};
use rayon::prelude::*;
use solver::{
    Activity, BlobDigest, Definition, Descriptor, Event, EventSink, Graph, HardLinks, Layer, ManifestDigest,
    Op, Pin, Span, StepOutcome, TreeDigest, VertexIndex, during,
};

use crate::bases::Bases;
use crate::cache_mounts::CacheMounts;
use crate::cancel::Cancel;
use crate::chain::{Chain, chain};
use crate::container::BlobSources;
use crate::contents::Contents;
use crate::error::{BuildError, OpError, StepError};
use crate::explain;
use crate::frames::{FrameError, LayerCompression, LayerWriter, layer_key};
use crate::group::Member;
use crate::layer::TimePolicy;
use crate::memory;
use crate::net::Fetcher;
use crate::ops::exec::ExecOptions;
use crate::ops::{Input, app};
use crate::registry::RegistryError;
use crate::snapshot::Snapshots;
use crate::source::context::Contexts;
use crate::source::git::Resolved;
use crate::source::http;
use crate::stat::StatCache;
use crate::state::State;
use crate::told::Told;
use crate::tree::Trees;
use crate::upstream::Upstream;

/// Trees are walked by recursion, and a path of 4096 bytes can be 2048 directories deep. Only what is used costs memory.
pub(crate) const STACK_SIZE: usize = 64 << 20;
/// Most downloads at once.
const DOWNLOADS: usize = 32;

/// How a build is done; none of it changes what the image holds, but for the times and the compression.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Steps and frames worked on at once.
    pub jobs: usize,
    /// Look nothing up in the cache.
    pub no_cache: bool,
    /// Applications and stages whose steps run whatever the cache holds.
    pub no_cache_filter: Vec<String>,
    /// Read every file of the context, whatever is known of it.
    pub paranoid: bool,
    /// Modification times of layers.
    pub times: TimePolicy,
    /// Compression of layers.
    pub compression: LayerCompression,
    /// Largest download, in bytes.
    pub download_limit_bytes: u64,
    /// Repository of the image, which its steps are remembered by from build to build.
    pub repository: String,
    /// Container images come after the steps, and get some of the layers an image may have.
    pub carries_images: bool,
    /// Compressions that remote caches want layers in; none where nobody wants to know anything.
    pub exports: Vec<LayerCompression>,
    /// A `helm` program, for charts that use what cannot be rendered here.
    pub helm: Option<PathBuf>,
    /// Say why each step ran.
    pub explain: bool,
    /// What commands are run with.
    pub exec: ExecOptions,
    /// Stops the build.
    pub cancel: Cancel,
}

impl BuildOptions {
    /// The same, where nothing that is known counts.
    #[must_use]
    pub fn uncached(&self) -> Self {
        Self { no_cache: true, ..self.clone() }
    }
}

/// A pinned source: its identity, and its files.
#[derive(Debug, Clone)]
struct Pinned {
    pin: Pin,
    /// Its files; `None` for images, whose layers may be elsewhere until somebody needs them.
    input: Option<Input>,
    /// What was downloaded for it, if it was.
    body: Option<Descriptor>,
    /// What its reference leads to, for git; its files are fetched when somebody needs them.
    commit: Option<Resolved>,
}

impl Pinned {
    fn new(pin: Pin, input: Option<Input>) -> Self {
        Self { pin, input, body: None, commit: None }
    }
}

/// All pins of a build.
#[derive(Debug)]
pub struct Pins(Vec<Option<Pinned>>);

impl Pins {
    /// The identity of a source.
    pub(crate) fn pin(&self, index: VertexIndex) -> Option<&Pin> {
        self.0[index.position()].as_ref().map(|pinned| &pinned.pin)
    }

    /// What `http` sources downloaded.
    pub(crate) fn bodies(&self) -> Vec<Descriptor> {
        self.0.iter().flatten().filter_map(|pinned| pinned.body).collect()
    }
}

/// A build being made.
pub struct Session<'a> {
    pub(crate) store: &'a Store,
    pub(crate) graph: Graph,
    pub(crate) trees: Trees<'a>,
    pub(crate) contents: Contents<'a>,
    pub(crate) stats: StatCache<'a>,
    pub(crate) options: &'a BuildOptions,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) pool: rayon::ThreadPool,
    /// One for each image.
    pub(crate) chains: Vec<Chain>,
    pub(crate) bases: &'a Bases<'a>,
    /// By layer key.
    layers: OnceMap<[u8; 32], Layer>,
    /// Bases whose files this build can read.
    base_states: OnceMap<ManifestDigest, State>,
    pub(crate) snapshots: Snapshots<'a>,
    pub(crate) cache_mounts: CacheMounts<'a>,
    /// Of deltas in which files have several names.
    /// Layers that this build made.
    pub(crate) layers_made: Mutex<HashSet<BlobDigest>>,
    pub(crate) fetcher: Fetcher,
    identities: OnceLock<Vec<[u8; 32]>>,
    pub(crate) contexts: &'a Contexts<'a>,
    /// Contexts whose files can be read.
    registered: OnceMap<String, ()>,
    /// By image: layers that are there before the first step's.
    pub(crate) layers_below: Vec<usize>,
    urls: urls::Urls,
    /// Held while trees are fetched that are not here, so that nobody fetches one twice.
    looking: Mutex<()>,
    /// Where blobs come from.
    pub(crate) blob_sources: BlobSources,
    /// Container images whose blobs come right into their layers.
    pub(crate) streams: HashSet<VertexIndex>,
    /// Blobs that came in this build.
    pub(crate) downloaded: Mutex<HashSet<BlobDigest>>,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("graph", &self.graph).finish_non_exhaustive()
    }
}

impl<'a> Session<'a> {
    /// Prepares a build. Nothing is read or fetched yet.
    ///
    /// # Errors
    /// When the definition is not a graph.
    pub fn new(
        store: &'a Store,
        definition: &Definition,
        options: &'a BuildOptions,
        bases: &'a Bases<'a>,
        contexts: &'a Contexts<'a>,
        events: &'a dyn EventSink,
    ) -> Result<Self, BuildError> {
        let graph = during(events, Activity::Graph, || Graph::new(definition))?;
        let chains: Vec<Chain> = graph.targets().iter().map(|target| chain(&graph, *target)).collect();
        let layers_of = |chain: &Chain| chain.base_digest(&graph).and_then(|digest| bases.get(&digest));
        let layers_below =
            chains.iter().map(|chain| layers_of(chain).map_or(0, |base| base.image.layers.len())).collect();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.jobs.max(1))
            .stack_size(STACK_SIZE)
            .start_handler(|_| memory::grow())
            .build()
            .map_err(|error| cache::CacheError::Io(std::io::Error::other(error)))?;
        Ok(Self {
            store,
            graph,
            trees: Trees::new(store),
            contents: Contents::fetching(
                store,
                options.times == TimePolicy::Keep,
                bases,
                events,
                &options.cancel,
            ),
            stats: StatCache::new(store, options.paranoid),
            options,
            events,
            pool,
            chains,
            bases,
            base_states: OnceMap::default(),
            layers: OnceMap::default(),
            snapshots: Snapshots::new(store),
            cache_mounts: CacheMounts::new(store),
            layers_made: Mutex::default(),
            fetcher: bases.registry().fetcher().clone(),
            identities: OnceLock::new(),
            contexts,
            registered: OnceMap::default(),
            layers_below,
            urls: urls::Urls::default(),
            looking: Mutex::default(),
            blob_sources: BlobSources::default(),
            streams: HashSet::new(),
            downloaded: Mutex::default(),
        })
    }

    /// What is built.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Requests sent and bytes received so far.
    pub fn network(&self) -> (u64, u64) {
        (self.fetcher.requests(), self.fetcher.bytes())
    }

    /// Gives every source its immutable identity, all at once: downloads, and the heads of caches that are wanted in any case,
    /// beside the walk of the context.
    ///
    /// # Errors
    /// Every source that has none, together.
    pub fn pin(&self) -> Result<Pins, BuildError> {
        during(self.events, Activity::Pin, || self.pin_all())
    }

    fn pin_all(&self) -> Result<Pins, BuildError> {
        let sources = |wanted: fn(&Op) -> bool| -> Vec<VertexIndex> {
            self.graph.indices().filter(|index| wanted(&self.graph.vertex(*index).op)).collect()
        };
        let downloads = sources(|op| matches!(op, Op::Http(_) | Op::Git(_)));
        let others = sources(|op| matches!(op, Op::Local(_) | Op::Image(_)));
        let next = std::sync::atomic::AtomicUsize::new(0);
        let fetch = || {
            let mut pinned = Vec::new();
            while let Some(&index) = downloads.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                pinned.push((index, self.pin_one(index)));
            }
            pinned
        };
        // What holds nothing asks the caches for everything.
        let asks_caches = !self.options.no_cache && self.store.is_blank();
        let upstream = self.bases.upstream().filter(|_| asks_caches);
        let mut results: Vec<(VertexIndex, Result<Pinned, OpError>)> = std::thread::scope(|scope| {
            for cache in upstream.map_or(&[][..], Upstream::caches) {
                scope.spawn(|| cache.prepare());
            }
            let fetchers: Vec<_> = (0..downloads.len().min(DOWNLOADS)).map(|_| scope.spawn(fetch)).collect();
            let mut results: Vec<_> =
                self.pool.install(|| others.par_iter().map(|&index| (index, self.pin_one(index))).collect());
            for fetcher in fetchers {
                results.extend(fetcher.join().expect("a fetch does not panic"));
            }
            results
        });
        self.stats.keep();
        results.sort_by_key(|(index, _)| *index);
        let mut pins: Vec<Option<Pinned>> = self.graph.indices().map(|_| None).collect();
        let mut failed = Vec::new();
        for (index, result) in results {
            match result {
                Ok(pinned) => pins[index.position()] = Some(pinned),
                Err(error) => failed.push(self.step_error(index, error)),
            }
        }
        if failed.is_empty() { Ok(Pins(pins)) } else { Err(self.failure(failed)) }
    }

    /// What the steps are remembered by from build to build.
    pub(crate) fn identity(&self, index: VertexIndex) -> &[u8; 32] {
        let make = || explain::identities(&self.graph, &self.options.repository);
        &self.identities.get_or_init(make)[index.position()]
    }

    /// The state of a base image, its layers fetched and read where nobody did before.
    pub(crate) fn base_state(&self, digest: &ManifestDigest) -> Result<State, RegistryError> {
        self.base_states.get_or_run(*digest, || {
            let base = self.bases.get(digest).expect("every base was resolved before its text was lowered");
            let told = Told::new(self.events);
            self.bases.state(&base, &self.trees, &self.contents, &|layer, bytes| told.more(layer, bytes))
        })
    }

    /// The layer of a delta, if the store or a cache has it as these options want it.
    pub(crate) fn known_layer(&self, delta: &TreeDigest, links: &HardLinks) -> Option<Layer> {
        let key = layer_key(delta, links, self.options.times, self.options.compression);
        let own =
            self.store.get(Table::Layers, &key).filter(|layer: &Layer| self.bases.can_have(&layer.blob));
        own.or_else(|| self.bases.upstream()?.layer_by(delta, &key))
    }

    /// The layer of a delta: from the store, or made now.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn layer(
        &self,
        delta: TreeDigest,
        links: &HardLinks,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Layer, FrameError> {
        let key = layer_key(&delta, links, self.options.times, self.options.compression);
        self.layers.get_or_race(key, || {
            if !self.options.no_cache
                && let Some(layer) = self.known_layer(&delta, links)
            {
                return Ok(layer);
            }
            let layer = self.write_layer(&delta, links, self.options.compression, progress)?;
            self.keep_layer(&delta, links, &layer)?;
            Ok(layer)
        })
    }

    fn write_layer(
        &self,
        delta: &TreeDigest,
        links: &HardLinks,
        compression: LayerCompression,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Layer, FrameError> {
        let writer = LayerWriter {
            store: self.store,
            trees: &self.trees,
            contents: &self.contents,
            links,
            times: self.options.times,
            compression,
            reuse: !self.options.no_cache,
            cancel: &self.options.cancel,
        };
        writer.write(delta, progress)
    }

    /// Remembers a layer that was made of a delta.
    ///
    /// # Errors
    /// When a directory is missing.
    pub(crate) fn keep_layer(
        &self,
        delta: &TreeDigest,
        links: &HardLinks,
        layer: &Layer,
    ) -> Result<(), FrameError> {
        let key = layer_key(delta, links, self.options.times, self.options.compression);
        self.layers_made.lock().unwrap_or_else(PoisonError::into_inner).insert(layer.blob.digest);
        self.trees.persist(delta)?;
        self.store.put(Table::Layers, &key, layer);
        self.store.put(Table::DeltaBlobs, delta.as_bytes(), layer);
        self.store.put(Table::LayerIndex, layer.blob.digest.as_bytes(), delta);
        Ok(())
    }

    /// What a step of the final image is called, for grouping.
    pub(crate) fn member(&self, index: VertexIndex, delta: TreeDigest) -> Member {
        match &self.graph.vertex(index).op {
            Op::App(app) => Member { delta, name: app.name.clone(), own_dir: Some(app::dir(&app.name)) },
            Op::File(file) => Member { delta, name: format!("/{}", file.destination), own_dir: None },
            Op::Exec(_) => Member { delta, name: self.graph.metadata(index).name.clone(), own_dir: None },
            Op::ContainerImage(image) => Member { delta, name: image.name.clone(), own_dir: None },
            Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Image(_) | Op::Blob(_) | Op::State => {
                Member { delta, name: String::new(), own_dir: None }
            }
        }
    }

    /// The files of a pinned source.
    pub(crate) fn input_of(pins: &Pins, index: VertexIndex) -> Option<Input> {
        pins.0[index.position()].as_ref().and_then(|pinned| pinned.input.clone())
    }

    pub(crate) fn step_error(&self, index: VertexIndex, source: OpError) -> StepError {
        let metadata = self.graph.metadata(index);
        StepError { name: metadata.name.clone(), spans: metadata.spans.clone(), source }
    }

    /// The error of a build whose steps failed: cancelled, if nothing else is wrong.
    pub(crate) fn failure(&self, mut failed: Vec<StepError>) -> BuildError {
        failed.retain(|step| !step.source.is_cancelled());
        if failed.is_empty() { BuildError::Cancelled } else { BuildError::Steps(failed) }
    }

    fn pin_one(&self, index: VertexIndex) -> Result<Pinned, OpError> {
        let vertex = self.graph.digest(index);
        match &self.graph.vertex(index).op {
            Op::Local(local) => {
                let tree = self.select(&self.asker(index), local)?;
                Ok(Pinned::new(Pin::Tree(tree), Some(Input::Tree(tree))))
            }
            Op::Http(source) => {
                let name = self.graph.metadata(index).name.clone();
                self.events.event(Event::Started { vertex, name: name.clone() });
                let mut progress = |done_bytes, total_bytes| {
                    self.events.event(Event::Progress { vertex, done_bytes, total_bytes });
                };
                let record = self.pin_url(index, source, &mut progress);
                let outcome = if record.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
                self.events.event(Event::Finished { vertex, name, outcome });
                let record = record?;
                let tree = http::tree(&record, &self.trees, &self.contents);
                let pin = Pin::Http { content: record.content, file_name: record.file_name };
                let body = Some(record.blob).filter(|body| self.store.blobs().contains(body));
                Ok(Pinned { body, ..Pinned::new(pin, Some(Input::Download(tree))) })
            }
            Op::Git(source) => {
                let resolved = self.resolve(index, source)?;
                let pinned = Pinned::new(Pin::Git(resolved.commit.clone()), None);
                Ok(Pinned { commit: Some(resolved), ..pinned })
            }
            Op::Image(source) => Ok(Pinned::new(Pin::Image(source.digest), None)),
            Op::Blob(_) | Op::File(_) | Op::App(_) | Op::Exec(_) | Op::ContainerImage(_) | Op::State => {
                unreachable!("only sources whose digest is not known are pinned")
            }
        }
    }

    pub(crate) fn warn(&self, index: VertexIndex, text: String, hint: &str) {
        self.warn_at(self.graph.metadata(index).spans.first().copied(), text, hint);
    }

    fn warn_at(&self, span: Option<Span>, text: String, hint: &str) {
        self.events.event(Event::Warning { text, hint: hint.to_owned(), span });
    }
}
