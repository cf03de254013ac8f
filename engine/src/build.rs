//! The run loop: the one place that starts work.
//!
//! It owns the scheduler. A worker gets a vertex, does its work and reports back by messages. After the first failure nothing
//! new is started; what has finished is recorded all the same.

mod layers;
mod results;
mod steps;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};
use solver::{
    Activity, AppFacts, CacheKey, Event, Lane, Layer, Limits, ManifestDigest, Op, Plan, Record, Scheduler,
    Step, StepOutcome, TreeDigest, VertexDigest, VertexIndex, during,
};

use crate::cancel::Cancel;
use crate::container::Carried;
use crate::error::{BuildError, OpError};
use crate::explain::{StepReport, Why};
use crate::plan::Planned;
use crate::session::{Pins, STACK_SIZE, Session};
use crate::state::State;
use crate::upstream::StepRecord;

/// Downloads at once; each registry has a limit of its own.
const DOWNLOADS: usize = 16;
/// How often a waiting loop looks whether the build was cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// One for each target of the definition, in order.
    pub images: Vec<BuiltImage>,
    /// Steps shown to people.
    pub vertices: usize,
    /// Steps taken from the cache.
    pub cached: usize,
    /// Steps that ran.
    pub executed: usize,
    /// Layers made in this build.
    pub layers_made: usize,
    /// Why each step ran or not, in the order of the text; empty without `--explain`.
    pub reports: Vec<StepReport>,
    /// Records for remote caches, see [`Session::add_records`].
    pub records: Vec<StepRecord>,
    /// Steps that have a result; empty without a cache to export to.
    pub(crate) steps: Vec<KeptStep>,
}

/// A step that has a result, under its definition key.
#[derive(Debug)]
pub(crate) struct KeptStep {
    pub(crate) index: VertexIndex,
    pub(crate) key: [u8; 32],
    /// The key of what it read, if that was looked at.
    pub(crate) content: Option<[u8; 32]>,
    pub(crate) record: Record,
}

/// One image that was built.
#[derive(Debug)]
pub struct BuiltImage {
    /// The base it is on; `None` for scratch.
    pub base: Option<ManifestDigest>,
    /// Layers above the base, oldest first.
    pub layers: Vec<Layer>,
    /// For each step: whether it is the first of its layer.
    pub own_layer: Vec<bool>,
    /// Facts of the applications.
    pub facts: HashMap<VertexDigest, AppFacts>,
    /// What each step adds, oldest first.
    pub deltas: Vec<TreeDigest>,
    /// Container images it carries.
    pub carried: Carried,
}

type Results = Vec<OnceLock<Record>>;

impl Session<'_> {
    /// Runs what the plan says and makes the layers.
    ///
    /// # Errors
    /// The steps that failed.
    pub fn run(&self, pins: &Pins, planned: &Planned) -> Result<Built, BuildError> {
        let Planned { keys, plan, outcome } = planned;
        self.events.planned(&self.graph, plan);
        let results: Results = self.graph.indices().map(|_| OnceLock::new()).collect();
        for index in self.graph.indices() {
            if let Step::Hit(record) = plan.step(index) {
                results[index.position()].get_or_init(|| record.clone());
                self.finished(index, StepOutcome::Cached);
            }
        }
        let budgets = self.layer_budgets()?;
        let makes_layer = self.single_layers(&budgets);
        let work = Work {
            session: self,
            pins,
            keys,
            results: &results,
            states: Mutex::default(),
            makes_layer,
            cached_by_content: 0.into(),
            contents: Mutex::default(),
            reasons: Mutex::default(),
            plan,
            may_release: !self
                .graph
                .indices()
                .any(|index| matches!(self.graph.vertex(index).op, Op::Exec(_))),
            stop: self.options.cancel.part(),
        };
        during(self.events, Activity::Run, || work.run_all(plan))?;
        let images = match outcome {
            Some(outcome) => outcome.images.clone(),
            None => {
                let each = self.chains.iter().zip(budgets);
                let made = each.map(|(chain, budget)| self.layers_of(&work, chain, budget));
                let made = during(self.events, Activity::Layers, || made.collect::<Result<Vec<_>, _>>())?;
                self.keep_outcome(keys, pins, made.clone());
                made
            }
        };
        self.store.touch_root(&hex::encode(self.outcome_slot()));
        Ok(work.built(images))
    }

    /// Whether the run shows a vertex; downloads were shown while they were pinned.
    fn is_shown(&self, index: VertexIndex) -> bool {
        !self.graph.metadata(index).hidden && !matches!(self.graph.vertex(index).op, Op::Http(_))
    }

    fn finished(&self, index: VertexIndex, outcome: StepOutcome) {
        if self.is_shown(index) {
            let (vertex, name) = (self.graph.digest(index), self.graph.metadata(index).name.clone());
            self.events.event(Event::Finished { vertex, name, outcome });
        }
    }
}

struct Work<'s, 'a> {
    session: &'s Session<'a>,
    pins: &'s Pins,
    keys: &'s [CacheKey],
    results: &'s Results,
    states: Mutex<HashMap<VertexIndex, State>>,
    /// By position: whether a step's delta is a layer of an image by itself.
    makes_layer: Vec<bool>,
    cached_by_content: std::sync::atomic::AtomicUsize,
    /// Of copies that were not hits: the keys of what they read.
    contents: Mutex<HashMap<VertexIndex, [u8; 32]>>,
    /// Why steps ran, or did not have to after all.
    reasons: Mutex<HashMap<VertexIndex, Why>>,
    plan: &'s Plan<Record>,
    /// Whether dependents of a step may start while its layer is still being made. Not where there are commands, which need the
    /// layers themselves.
    may_release: bool,
    /// Stops commands when the build is cancelled or another step has failed.
    stop: Cancel,
}

/// What a step reports.
enum Message {
    /// Its result is there; its layer is still being made.
    Result(VertexIndex),
    /// It has ended.
    End(VertexIndex, Result<StepOutcome, OpError>),
}

impl Work<'_, '_> {
    fn run_all(&self, plan: &Plan<Record>) -> Result<(), BuildError> {
        let session = self.session;
        let jobs = session.options.jobs.max(1);
        // A worker whose step waits for a part that another worker took begins another step meanwhile. So there must be more
        // steps to begin than workers.
        let limits = Limits { cpu: if jobs == 1 { 1 } else { jobs * 2 }, net: DOWNLOADS };
        let costs = session.costs(self.pins, plan);
        let mut scheduler =
            Scheduler::in_order(&session.graph, plan, limits, &costs, &session.stream_order());
        let (tx, rx) = crossbeam_channel::unbounded::<Message>();
        let mut failed = Vec::new();
        // A step that waits for a server has a thread of its own, so that it keeps no core idle.
        std::thread::scope(|threads| {
            session.pool.in_place_scope(|scope| {
                loop {
                    while let Some(index) = scheduler.next_start() {
                        let tx = tx.clone();
                        match Lane::from(&session.graph.vertex(index).op) {
                            Lane::Net => self.waiting(threads, index, tx),
                            Lane::Cpu => scope.spawn(move |_| self.work(index, &tx)),
                        }
                    }
                    if scheduler.is_finished() {
                        break;
                    }
                    match rx.recv_timeout(CANCEL_INTERVAL) {
                        Ok(Message::Result(index)) => scheduler.release(index),
                        Ok(Message::End(index, Ok(outcome))) => {
                            scheduler.finish(index);
                            session.finished(index, outcome);
                        }
                        Ok(Message::End(index, Err(error))) => {
                            scheduler.fail(index);
                            self.stop.cancel();
                            session.finished(index, StepOutcome::Failed);
                            failed.push(session.step_error(index, error));
                        }
                        Err(RecvTimeoutError::Timeout) if session.options.cancel.is_cancelled() => {
                            scheduler.stop()
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => unreachable!("the loop itself holds a sender"),
                    }
                }
            })
        });
        if !failed.is_empty() {
            return Err(session.failure(failed));
        }
        if session.options.cancel.is_cancelled() { Err(BuildError::Cancelled) } else { Ok(()) }
    }

    /// Runs a step on a thread of its own.
    fn waiting<'t>(
        &'t self,
        threads: &'t std::thread::Scope<'t, '_>,
        index: VertexIndex,
        tx: Sender<Message>,
    ) {
        let failed = tx.clone();
        let work = move || self.work(index, &tx);
        let thread = std::thread::Builder::new().stack_size(STACK_SIZE);
        if let Err(error) = thread.spawn_scoped(threads, work) {
            // The loop listens until every step has answered.
            let _ = failed.send(Message::End(index, Err(OpError::Thread(error))));
        }
    }

    fn started(&self, index: VertexIndex) {
        let session = self.session;
        if session.is_shown(index) {
            let (vertex, name) = (session.graph.digest(index), session.graph.metadata(index).name.clone());
            session.events.event(Event::Started { vertex, name });
        }
    }

    fn work(&self, index: VertexIndex, tx: &Sender<Message>) {
        self.started(index);
        let result = catch_unwind(AssertUnwindSafe(|| self.step(index, tx))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(OpError::Panic(text.unwrap_or_default()))
        });
        // The loop outlives the scope's workers, so somebody listens.
        let _ = tx.send(Message::End(index, result));
    }
}
