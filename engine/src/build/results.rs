//! Results of steps: recorded under their keys, explained, and collected into the result of the build.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use cache::Table;
use crossbeam_channel::Sender;
use solver::{
    CacheKey, ContentRead, Event, Facts, Op, Record, Step, StepOutcome, TreeDigest, VertexIndex, key_facts,
};

use super::{Built, BuiltImage, KeptStep, Message, Work};
use crate::chain::Chain;
use crate::container::Carried;
use crate::error::OpError;
use crate::explain::{self, StepReport, Trace, Why};
use crate::outcome::ImageOutcome;
use crate::stamp;

impl Work<'_, '_> {
    /// Records what a step read and made, for the next explanation, and explains why it ran.
    pub(super) fn explain(&self, index: VertexIndex, reads: &[ContentRead], delta: TreeDigest) {
        let session = self.session;
        let op = &session.graph.vertex(index).op;
        let facts = key_facts(op, reads);
        let trace = Trace { facts, delta };
        let identity = session.identity(index);
        if session.options.explain {
            let miss = match self.plan.step(index) {
                Step::Miss(reason) => Some(*reason),
                _ => None,
            };
            let why = explain::why(session.store, &session.trees, (op, identity), miss, &trace);
            self.reasons.lock().unwrap_or_else(PoisonError::into_inner).insert(index, why);
        }
        stamp::put(session.store, Table::Traces, identity, &trace);
    }

    fn reports(&self) -> Vec<StepReport> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let report = |index: VertexIndex| {
            let (ran, why) = match (self.plan.step(index), reasons.get(&index)) {
                (Step::Hit(_), _) => (false, Why::Unchanged),
                (Step::Miss(_), Some(why)) => (true, why.clone()),
                (Step::Miss(_), None) => (false, Why::SameContent),
                _ => return None,
            };
            let metadata = self.session.graph.metadata(index);
            Some(StepReport { name: metadata.name.clone(), spans: metadata.spans.clone(), ran, why })
        };
        let mut reports: Vec<StepReport> = self.session.graph.indices().filter_map(report).collect();
        reports.sort_by_key(|report| report.spans.first().map(|span| span.start));
        reports
    }

    pub(super) fn by_content(&self, index: VertexIndex, key: &CacheKey) -> Option<Record> {
        if self.session.is_forced(index) {
            return None;
        }
        let record: Record = stamp::get(self.session.store, Table::Steps, key.as_bytes())?;
        self.session.usable(index, record).ok()
    }

    /// Remembers what a step read, for remote caches.
    pub(super) fn saw_content(&self, index: VertexIndex, key: &CacheKey) {
        if !self.session.options.exports.is_empty() {
            let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
            contents.insert(index, *key.as_bytes());
        }
    }

    /// Takes the result of a step that read the same from a remote cache, and says whether there was one. As with other remote
    /// hits, the store learns of it once its layer is here.
    pub(super) fn by_content_elsewhere(&self, index: VertexIndex, key: &CacheKey) -> bool {
        let session = self.session;
        if session.is_forced(index) {
            return false;
        }
        let found = session.import_same(key.as_bytes(), self.keys[index.position()].as_bytes());
        let Some(record) = found.and_then(|record| session.usable(index, record).ok()) else { return false };
        self.results[index.position()].get_or_init(|| record);
        self.cached_by_content.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Hands a step's result to its dependents, makes its layer where it has one of its own, and records it under its keys.
    pub(super) fn keep(
        &self,
        index: VertexIndex,
        by_content: Option<CacheKey>,
        record: Record,
        tx: &Sender<Message>,
    ) -> Result<StepOutcome, OpError> {
        let session = self.session;
        session.trees.persist(&record.delta)?;
        self.results[index.position()].get_or_init(|| record.clone());
        if self.may_release {
            // The run loop outlives every step, so it listens.
            let _ = tx.send(Message::Result(index));
        }
        let outcome = if by_content.is_some() { StepOutcome::Done } else { StepOutcome::Cached };
        // Only running a command again could bring back what it made, so its layer is kept even where no image has it.
        let is_of_command = matches!(session.graph.vertex(index).op, Op::Exec(_));
        if is_of_command || self.makes_layer[index.position()] {
            let vertex = session.graph.digest(index);
            let done = AtomicU64::new(0);
            session.layer(record.delta, record.links(), &|bytes| {
                let done_bytes = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                session.events.event(Event::Progress { vertex, done_bytes, total_bytes: None });
            })?;
        }
        stamp::put(session.store, Table::Steps, self.keys[index.position()].as_bytes(), &record);
        match by_content {
            Some(key) => stamp::put(session.store, Table::Steps, key.as_bytes(), &record),
            None => _ = self.cached_by_content.fetch_add(1, Ordering::Relaxed),
        }
        Ok(outcome)
    }

    /// Every step that has a result.
    fn steps(&self) -> Vec<KeptStep> {
        let contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |index: VertexIndex| {
            let record = self.results[index.position()].get()?.clone();
            let is_step = !matches!(self.session.graph.vertex(index).op, Op::Git(_));
            let (key, content) = (*self.keys[index.position()].as_bytes(), contents.get(&index).copied());
            is_step.then_some(KeptStep { index, key, content, record })
        };
        self.session.graph.indices().filter_map(one).collect()
    }

    /// The result of the build.
    pub(super) fn built(&self, outcomes: Vec<ImageOutcome>) -> Built {
        let session = self.session;
        let image = |(chain, outcome): (&Chain, ImageOutcome)| {
            let facts =
                chain.steps.iter().zip(&outcome.records).filter_map(|(&step, record)| match &record.facts {
                    Facts::App(facts) => Some((session.graph.digest(step), facts.clone())),
                    Facts::None | Facts::Links(_) => None,
                });
            BuiltImage {
                base: chain.base_digest(&session.graph),
                carried: Carried::default(),
                facts: facts.collect(),
                deltas: outcome.records.iter().map(|record| record.delta).collect(),
                layers: outcome.layers,
                own_layer: outcome.own_layer,
            }
        };
        let (hits, misses) = self.plan.counts();
        let by_content = self.cached_by_content.load(Ordering::Relaxed);
        Built {
            images: session.chains.iter().zip(outcomes).map(image).collect(),
            vertices: hits + misses,
            cached: hits + by_content,
            executed: misses - by_content,
            layers_made: session.layers_made.lock().unwrap_or_else(PoisonError::into_inner).len(),
            reports: if session.options.explain { self.reports() } else { Vec::new() },
            records: Vec::new(),
            steps: if session.options.exports.is_empty() { Vec::new() } else { self.steps() },
        }
    }
}
