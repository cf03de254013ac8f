//! What must run: keys, look-ups, and other builds that run the same.

use cache::Table;
use rayon::prelude::*;
use solver::{
    Activity, CacheKey, CopySource, Event, Layer, MissReason, Op, Plan, Record, Step, StepOutcome, Unpack,
    VertexDigest, VertexIndex, during,
};

use crate::contents::{Location, content_digest};
use crate::error::BuildError;
use crate::outcome::Outcome;
use crate::session::{Pins, Session};
use crate::stamp;

/// Steps of the last outcome that one thread looks after at least.
const STEPS_IN_A_ROW: usize = 32;

/// What is to be done, and what is known of it.
#[derive(Debug)]
pub struct Planned {
    /// The definition key of every vertex.
    pub(crate) keys: Vec<CacheKey>,
    /// One decision for every vertex.
    pub(crate) plan: Plan<Record>,
    /// The outcome, if the last build of this image had the same target.
    pub(crate) outcome: Option<Outcome>,
}

impl Planned {
    /// What is to be done with each vertex.
    pub fn plan(&self) -> &Plan<Record> {
        &self.plan
    }

    /// What is known of a step that does not have to run.
    pub(crate) fn hit(&self, index: VertexIndex) -> Option<&Record> {
        match self.plan.step(index) {
            Step::Hit(record) => Some(record),
            _ => None,
        }
    }
}

impl Session<'_> {
    /// What would have to run now. It is not announced, no other build is waited for, and nothing runs.
    pub fn foresee(&self, pins: &Pins) -> Planned {
        during(self.events, Activity::Plan, || self.planned(pins))
    }

    /// Decides what must run. Where another build is running some of it, this one waits, and what that one made is a hit.
    ///
    /// # Errors
    /// When the store fails.
    pub fn plan(&self, pins: &Pins) -> Result<Planned, BuildError> {
        let planned = during(self.events, Activity::Plan, || {
            let planned = self.planned(pins);
            let is_newer = !self.options.no_cache && self.joins_others(&planned)?;
            Ok::<_, BuildError>(if is_newer { self.planned(pins) } else { planned })
        })?;
        let (cached, misses) = planned.plan.counts();
        self.events.event(Event::Planned { steps: cached + misses, cached });
        Ok(planned)
    }

    fn planned(&self, pins: &Pins) -> Planned {
        let pin = |index| pins.pin(index).cloned().expect("every source was pinned");
        let keys = solver::definition_keys(&self.graph, pin);
        let is_asked = !self.options.no_cache && self.options.no_cache_filter.is_empty();
        let outcome = if is_asked { self.last_outcome(&keys) } else { None };
        if let Some((outcome, plan)) = outcome.and_then(|outcome| self.hits(outcome)) {
            return Planned { keys, plan, outcome: Some(outcome) };
        }
        let plan = solver::plan(&self.graph, |wave| {
            if self.options.no_cache {
                return wave.iter().map(|_| Err(MissReason::NotAsked)).collect();
            }
            let wanted: Vec<&[u8]> =
                wave.iter().map(|index| keys[index.position()].as_bytes().as_slice()).collect();
            let mut records: Vec<Option<Record>> = stamp::get_many(self.store, Table::Steps, &wanted);
            self.complete(wave, &keys, &mut records);
            let usable = |(&index, record): (&VertexIndex, Option<Record>)| {
                if self.is_forced(index) {
                    return Err(MissReason::NotAsked);
                }
                self.usable(index, record.ok_or(MissReason::NoRecord)?)
            };
            wave.iter().zip(records).map(usable).collect()
        });
        Planned { keys, plan, outcome: None }
    }

    /// Asks remote caches for the records that the store does not have.
    fn complete(&self, wave: &[VertexIndex], keys: &[CacheKey], records: &mut [Option<Record>]) {
        let is_asked = |at: &usize| records[*at].is_none() && !self.is_forced(wave[*at]);
        let missing: Vec<usize> = (0..wave.len()).filter(is_asked).collect();
        let wanted: Vec<[u8; 32]> = missing.iter().map(|at| *keys[wave[*at].position()].as_bytes()).collect();
        if !wanted.is_empty() {
            missing.into_iter().zip(self.import(&wanted)).for_each(|(at, found)| records[at] = found);
        }
    }

    /// The plan in which every step of the final image is a hit, by the outcome of an equal build.
    fn hits(&self, outcome: Outcome) -> Option<(Outcome, Plan<Record>)> {
        let chains = self.chains.iter().zip(&outcome.images);
        let steps: Vec<(&VertexIndex, &Record)> =
            chains.flat_map(|(chain, image)| chain.steps.iter().zip(&image.records)).collect();
        // Each looks whether a blob is there.
        let usable = |&(&index, record): &(&VertexIndex, &Record)| {
            self.usable(index, record.clone()).ok().map(|record| (index, record))
        };
        let usable = || steps.par_iter().with_min_len(STEPS_IN_A_ROW).map(usable).collect::<Option<Vec<_>>>();
        let mut records: Vec<Option<Record>> = vec![None; self.graph.len()];
        for (index, record) in self.pool.install(usable)? {
            records[index.position()] = Some(record);
        }
        // All steps of the final image are one wave, and no hit asks for another.
        let mut answer = |index: &VertexIndex| records[index.position()].take().ok_or(MissReason::NoRecord);
        let plan = solver::plan(&self.graph, |wave| wave.iter().map(&mut answer).collect());
        (plan.counts().1 == 0).then_some((outcome, plan))
    }

    /// Announces what must run, and waits for builds that are running some of it. Says whether there may be new records.
    fn joins_others(&self, planned: &Planned) -> Result<bool, BuildError> {
        let misses = self.graph.indices().filter(|index| matches!(planned.plan.step(*index), Step::Miss(_)));
        let keys: Vec<[u8; 32]> = misses.map(|index| *planned.keys[index.position()].as_bytes()).collect();
        if keys.is_empty() {
            return Ok(false);
        }
        let vertex = VertexDigest::from_bytes([0; 32]);
        let name = "another build that makes the same".to_owned();
        let mut has_waited = false;
        let waits = || {
            has_waited = true;
            self.events.event(Event::Started { vertex, name: name.clone() });
        };
        let is_newer = self.store.announce(&keys, waits, &|| self.options.cancel.is_cancelled())?;
        if has_waited {
            self.events.event(Event::Finished { vertex, name, outcome: StepOutcome::Done });
        }
        Ok(is_newer)
    }

    /// Whether the user wants a step to run, whatever the cache has.
    pub(crate) fn is_forced(&self, index: VertexIndex) -> bool {
        let filter = &self.options.no_cache_filter;
        let vertex = self.graph.vertex(index);
        self.options.no_cache
            || !filter.is_empty()
                && self.graph.metadata(index).scopes(&vertex.op).any(|scope| filter.contains(scope))
    }

    /// A record is a hit if its layer is there, or can be made without running the step.
    pub(crate) fn usable(&self, index: VertexIndex, record: Record) -> Result<Record, MissReason> {
        let op = &self.graph.vertex(index).op;
        if let Op::File(file) = op {
            for source in &file.sources {
                if let CopySource::Inline(inline) = source {
                    let location = Location::Inline(inline.content.clone().into());
                    self.contents.add(content_digest(&inline.content), location);
                }
            }
        }
        let readable = match op {
            Op::File(file) => {
                let states = usize::from(file.below);
                let of_state =
                    |input: &VertexIndex| !matches!(self.graph.vertex(*input).op, Op::Local(_) | Op::Http(_));
                file.unpack == Unpack::Nothing && !self.graph.inputs(index)[states..].iter().any(of_state)
            }
            Op::Exec(_) => false,
            Op::ContainerImage(image) => self.has_blobs(index, image),
            _ => true,
        };
        if readable {
            return Ok(record);
        }
        let other = || self.store.get(Table::DeltaBlobs, record.delta.as_bytes());
        let is_here = |layer: &Layer| self.store.blobs().contains(&layer.blob);
        match self.known_layer(&record.delta, record.links()).or_else(|| other().filter(is_here)) {
            Some(layer) => {
                // A step that runs may copy what only this layer has.
                self.contents.add_image_layer(record.delta, layer);
                Ok(record)
            }
            None => Err(MissReason::BlobGone),
        }
    }
}
