//! One build between its definition and its layers: pin, plan, and what both need.

mod costs;
mod layers;
mod pins;
mod sources;
mod upstream;
mod urls;
mod values;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use cache::{OnceMap, Store};
use solver::{
    Activity, BlobDigest, Definition, Event, EventSink, Graph, Layer, ManifestDigest, Span, VertexIndex,
    during,
};

use crate::bases::Bases;
use crate::cache_mounts::CacheMounts;
use crate::cancel::Cancel;
use crate::chain::{Chain, chain};
use crate::container::{BlobSources, Streams};
use crate::contents::Contents;
use crate::error::{BuildError, OpError, StepError};
use crate::explain;
use crate::frames::LayerCompression;
use crate::layer::TimePolicy;
use crate::memory;
use crate::net::Fetcher;
use crate::ops::exec::ExecOptions;
use crate::registry::RegistryError;
use crate::snapshot::Snapshots;
use crate::source::context::Contexts;
use crate::stat::StatCache;
use crate::state::State;
use crate::told::Told;
use crate::tree::Trees;

pub use self::pins::Pins;

/// Trees are walked by recursion, and a path of 4096 bytes can be 2048 directories deep. Only what is used costs memory.
pub(crate) const STACK_SIZE: usize = 64 << 20;

/// How a build is done. Except for times and compression, none of it changes the image.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Steps and frames worked on at once.
    pub jobs: usize,
    /// Look nothing up in the cache.
    pub no_cache: bool,
    /// Applications and stages whose steps run whatever the cache holds.
    pub no_cache_filter: Vec<String>,
    /// Read every file of the context, whatever the stat cache knows.
    pub paranoid: bool,
    /// Modification times of layers.
    pub times: TimePolicy,
    /// Compression of layers.
    pub compression: LayerCompression,
    /// Largest download, in bytes.
    pub download_limit_bytes: u64,
    /// Repository of the image: its steps are known by it from build to build.
    pub repository: String,
    /// Container images follow the steps, so some of the layers an image may have are reserved for them.
    pub carries_images: bool,
    /// Compressions that remote caches want layers in; empty without a cache to export to.
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
    /// The same without the cache.
    #[must_use]
    pub fn uncached(&self) -> Self {
        Self { no_cache: true, ..self.clone() }
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
    /// Layers that this build made.
    pub(crate) layers_made: Mutex<HashSet<BlobDigest>>,
    pub(crate) fetcher: Fetcher,
    identities: OnceLock<Vec<[u8; 32]>>,
    pub(crate) contexts: &'a Contexts<'a>,
    /// Contexts whose files can be read.
    registered: OnceMap<String, ()>,
    /// By image: how many layers its base has.
    pub(crate) layers_below: Vec<usize>,
    urls: urls::Urls,
    /// Held while missing trees are fetched, so that none is fetched twice.
    looking: Mutex<()>,
    /// Where blobs come from.
    pub(crate) blob_sources: BlobSources,
    /// Container images whose blobs are written straight into their layers.
    pub(crate) streams: Streams,
    /// Blobs that this build downloaded.
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
            snapshots: Snapshots::new(store, options.times),
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
            streams: Streams::default(),
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

    /// What a step is known by from build to build.
    pub(crate) fn identity(&self, index: VertexIndex) -> &[u8; 32] {
        let make = || explain::identities(&self.graph, &self.options.repository);
        &self.identities.get_or_init(make)[index.position()]
    }

    /// The state of a base image. Its layers are fetched and indexed now if that has not happened yet.
    pub(crate) fn base_state(&self, digest: &ManifestDigest) -> Result<State, RegistryError> {
        self.base_states.get_or_run(*digest, || {
            let base = self.bases.get(digest).expect("every base was resolved before its text was lowered");
            let told = Told::new(self.events);
            self.bases.state(&base, &self.trees, &self.contents, &|layer, bytes| told.more(layer, bytes))
        })
    }

    pub(crate) fn step_error(&self, index: VertexIndex, source: OpError) -> StepError {
        let metadata = self.graph.metadata(index);
        StepError { name: metadata.name.clone(), spans: metadata.spans.clone(), source }
    }

    /// The error of a build with failed steps. If all of them were cancelled, the build was.
    pub(crate) fn failure(&self, mut failed: Vec<StepError>) -> BuildError {
        failed.retain(|step| !step.source.is_cancelled());
        if failed.is_empty() { BuildError::Cancelled } else { BuildError::Steps(failed) }
    }

    pub(crate) fn warn(&self, index: VertexIndex, text: String, hint: &str) {
        self.warn_at(self.graph.metadata(index).spans.first().copied(), text, hint);
    }

    fn warn_at(&self, span: Option<Span>, text: String, hint: &str) {
        self.events.event(Event::Warning { text, hint: hint.to_owned(), span });
    }
}
