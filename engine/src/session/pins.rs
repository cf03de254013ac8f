//! The pin pass: every source gets its immutable identity before anything runs.

use cache::at_once;
use rayon::prelude::*;
use solver::{Activity, Descriptor, Event, Op, Pin, StepOutcome, VertexIndex, during};

use super::Session;
use crate::error::{BuildError, OpError};
use crate::ops::Input;
use crate::source::git::Resolved;
use crate::source::http;
use crate::upstream::Upstream;

/// Most downloads at once.
const DOWNLOADS: usize = 32;

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
    fn get(&self, index: VertexIndex) -> Option<&Pinned> {
        self.0[index.position()].as_ref()
    }

    /// The identity of a source.
    pub(crate) fn pin(&self, index: VertexIndex) -> Option<&Pin> {
        self.get(index).map(|pinned| &pinned.pin)
    }

    /// The files of a source; `None` for images and git.
    pub(crate) fn input(&self, index: VertexIndex) -> Option<&Input> {
        self.get(index)?.input.as_ref()
    }

    /// What was downloaded for a source, if it was.
    pub(super) fn body(&self, index: VertexIndex) -> Option<Descriptor> {
        self.get(index)?.body
    }

    /// What the reference of a git source leads to.
    pub(super) fn commit(&self, index: VertexIndex) -> Option<&Resolved> {
        self.get(index)?.commit.as_ref()
    }

    /// Everything that was downloaded.
    pub(crate) fn bodies(&self) -> Vec<Descriptor> {
        self.0.iter().flatten().filter_map(|pinned| pinned.body).collect()
    }
}

impl Session<'_> {
    /// Gives every source its immutable identity. Downloads, and the heads of caches that will be needed anyway, are fetched while
    /// contexts are walked.
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
        let pin = |&index: &VertexIndex| (index, self.pin_one(index));
        // An empty store will ask the caches for everything.
        let asks_caches = !self.options.no_cache && self.store.is_blank();
        let upstream = self.bases.upstream().filter(|_| asks_caches);
        let mut results: Vec<(VertexIndex, Result<Pinned, OpError>)> = std::thread::scope(|scope| {
            for cache in upstream.map_or(&[][..], Upstream::caches) {
                scope.spawn(|| cache.prepare());
            }
            let fetch = || at_once(&downloads, DOWNLOADS, pin);
            let fetching = (!downloads.is_empty()).then(|| scope.spawn(fetch));
            let mut results: Vec<_> = self.pool.install(|| others.par_iter().map(pin).collect());
            results.extend(fetching.into_iter().flat_map(|it| it.join().expect("a fetch does not panic")));
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
}
