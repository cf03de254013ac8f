//! The run loop: the one place that starts work.
//!
//! It owns the scheduler; workers get a vertex, do it, and send one message back. The first failure stops new starts;
//! what was finished is recorded all the same.

mod results;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cache::Table;
use crossbeam_channel::{RecvTimeoutError, Sender};
use rayon::prelude::*;
use solver::{
    Activity, AppFacts, CacheKey, ContainerImageOp, Event, ExecOp, Facts, HardLinks, Lane, Layer, Limits,
    ManifestDigest, Op, Outcome, Plan, Record, Scheduler, Step, StepOutcome, TreeDigest, VertexDigest,
    VertexIndex, content_key, during,
};

use crate::cancel::Cancel;
use crate::chain::{Chain, state_of};
use crate::container::Carried;
use crate::error::{BuildError, OpError};
use crate::explain::{StepReport, Why};
use crate::group::{LAYER_LIMIT, group_key, groups, merged};
use crate::layer::TimePolicy;
use crate::ops::{Input, app, exec, file};
use crate::outcome::ImageOutcome;
use crate::plan::Planned;
use crate::session::{Pins, STACK_SIZE, Session};
use crate::state::State;
use crate::tree::{Entry, Node};
use crate::upstream::StepRecord;

/// Layers that steps leave to the container images that come after them.
const IMAGE_LAYERS: usize = 16;
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
    /// What is said of each step, in the order of the text; empty unless it was asked for.
    pub reports: Vec<StepReport>,
    /// What remote caches may want to know of it, see [`Session::add_records`].
    pub records: Vec<StepRecord>,
    /// Steps that have a result; empty unless caches want to know of them.
    pub(crate) steps: Vec<KeptStep>,
}

/// A step that has a result, under its definition key.
#[derive(Debug)]
pub(crate) struct KeptStep {
    pub(crate) index: VertexIndex,
    pub(crate) key: [u8; 32],
    /// The key of what it read, if it was looked at.
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

    /// By position: whether a step's delta is a layer of an image by itself.
    pub(crate) fn single_layers(&self, budgets: &[usize]) -> Vec<bool> {
        let mut makes_layer = vec![false; self.graph.len()];
        for (chain, budget) in self.chains.iter().zip(budgets) {
            let is_single = chain.steps.len() <= *budget;
            chain.steps.iter().for_each(|step| makes_layer[step.position()] |= is_single);
        }
        makes_layer
    }

    /// How many layers the steps of each image may have.
    pub(crate) fn layer_budgets(&self) -> Result<Vec<usize>, BuildError> {
        let budget = |(chain, &count): (&Chain, &usize)| {
            // A base may have more, as long as nothing is put on top of it.
            let all = LAYER_LIMIT.saturating_sub(count);
            let kept = if self.options.carries_images { IMAGE_LAYERS.min(all / 2) } else { 0 };
            let budget = Some(all - kept).filter(|budget| *budget > 0 || chain.steps.is_empty());
            budget.ok_or(BuildError::TooManyLayers { count })
        };
        self.chains.iter().zip(&self.layers_below).map(budget).collect()
    }

    /// The layers of an image, and for each step whether it is the first of its layer.
    fn layers_of(
        &self,
        work: &Work<'_, '_>,
        chain: &Chain,
        budget: usize,
    ) -> Result<ImageOutcome, BuildError> {
        let members: Vec<_> = chain.steps.iter().map(|&step| self.member(step, work.delta(step))).collect();
        let groups = groups(&self.trees, &members, budget)?;
        let make = |group: &Vec<usize>| -> Result<Layer, BuildError> {
            let key = group_key(&members, group);
            // Putting a group together looks at every directory of it.
            if group.len() > 1
                && let Some(delta) = self.store.get(Table::Groups, &key)
                && let Some(layer) =
                    self.known_layer(&delta, HardLinks::none()).filter(|_| !self.options.no_cache)
            {
                return Ok(layer);
            }
            if group.len() > 1 {
                let deltas: Vec<TreeDigest> = group.iter().map(|member| members[*member].delta).collect();
                self.readable(&deltas)
                    .map_err(|error| self.failure(vec![self.step_error(chain.steps[group[0]], error)]))?;
            }
            let delta = merged(&self.trees, &members, group)?;
            if group.len() > 1 {
                self.store.put(Table::Groups, &key, &delta);
            }
            let links = match group[..] {
                [only] => work.result(chain.steps[only]).links(),
                // Layers that were put together have none.
                _ => HardLinks::none(),
            };
            let layer = self.layer(delta, links, &|_| {});
            layer.map_err(|error| self.failure(vec![self.step_error(chain.steps[group[0]], error.into())]))
        };
        let layers = self.pool.install(|| groups.par_iter().map(make).collect::<Result<Vec<_>, _>>())?;
        let mut own_layer = vec![false; members.len()];
        groups.iter().for_each(|group| own_layer[group[0]] = true);
        let records = chain.steps.iter().map(|&step| work.result(step).clone()).collect();
        Ok(ImageOutcome { records, layers, own_layer })
    }

    /// Whether people are told of a vertex here; a download was shown while it was pinned.
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
    /// Whether what follows a step may start while its layer is made: commands need the layers themselves.
    may_release: bool,
    /// Stops commands: the build is given up, or another step has failed.
    stop: Cancel,
}

/// What a step tells.
enum Message {
    /// Its result is there; it makes its layer still.
    Result(VertexIndex),
    /// It has ended.
    End(VertexIndex, Result<StepOutcome, OpError>),
}

impl Work<'_, '_> {
    fn run_all(&self, plan: &Plan<Record>) -> Result<(), BuildError> {
        let session = self.session;
        let jobs = session.options.jobs.max(1);
        // A worker that waits for a part of its step, which another one took, begins a further step meanwhile, and whoever is
        // idle then needs one more to be there.
        let limits = Limits { cpu: if jobs == 1 { 1 } else { jobs * 2 }, net: DOWNLOADS };
        let costs = session.costs(self.pins, plan);
        let mut scheduler = Scheduler::new(&session.graph, plan, limits, &costs);
        let (tx, rx) = crossbeam_channel::unbounded::<Message>();
        let mut failed = Vec::new();
        // Who waits for a server has a thread of its own, and keeps no core idle.
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
                            scheduler.finish(index, Outcome::Done);
                            session.finished(index, outcome);
                        }
                        Ok(Message::End(index, Err(error))) => {
                            scheduler.finish(index, Outcome::Failed);
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

    /// Does a step on a thread of its own.
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

    fn step(&self, index: VertexIndex, tx: &Sender<Message>) -> Result<StepOutcome, OpError> {
        let vertex = self.session.graph.vertex(index);
        let (trees, contents) = (&self.session.trees, &self.session.contents);
        match &vertex.op {
            // Pinned already: their files are known.
            Op::Local(_) | Op::Http(_) | Op::Image(_) | Op::State => Ok(StepOutcome::Done),
            Op::Git(source) => {
                let delta = self.session.fetch(index, source, self.pins)?;
                self.results[index.position()].get_or_init(|| Record { delta, facts: Facts::None });
                Ok(StepOutcome::Done)
            }
            Op::File(op) => {
                let prepared = file::Prepared::new(op, &self.inputs(index)?, trees, contents)?;
                let reads = prepared.reads();
                let key = content_key(&vertex.op, &reads);
                self.saw_content(index, &key);
                if let Some(record) = self.by_content(index, &key) {
                    return self.keep(index, None, record, tx);
                }
                if self.by_content_elsewhere(index, &key) {
                    return Ok(StepOutcome::Cached);
                }
                let copied = prepared.run(trees, contents)?;
                let (delta, facts) = (copied.delta, Facts::Links(copied.links));
                self.explain(index, &reads, delta);
                self.warn_of_copy(index, &prepared.replaced(trees, &delta)?, &copied.kept_modes);
                self.keep(index, Some(key), Record { delta, facts }, tx)
            }
            Op::App(op) => {
                let prepared = app::Prepared::new(op, &self.inputs(index)?, trees)?;
                let reads = prepared.reads();
                let key = content_key(&vertex.op, &reads);
                if let Some(record) = self.by_content(index, &key) {
                    return self.keep(index, None, record, tx);
                }
                let collected = prepared.run(trees, contents)?;
                self.explain(index, &reads, collected.delta);
                for path in collected.replaced {
                    let text =
                        format!("`{path}` replaces a file of an earlier source of application `{}`", op.name);
                    self.session.warn(index, text, "rename one of the two, or leave one out");
                }
                let record = Record { delta: collected.delta, facts: Facts::App(collected.facts) };
                self.keep(index, Some(key), record, tx)
            }
            Op::Exec(op) => self.exec(index, op, tx),
            Op::Blob(blob) if self.session.is_deferred(index, blob) => Ok(StepOutcome::Done),
            Op::Blob(blob) => self.session.fetch_blob(index, blob).map(|()| StepOutcome::Done),
            Op::ContainerImage(op) => self.container_image(index, op, tx),
        }
    }

    fn container_image(
        &self,
        index: VertexIndex,
        op: &ContainerImageOp,
        tx: &Sender<Message>,
    ) -> Result<StepOutcome, OpError> {
        let session = self.session;
        let (delta, reads) = match session.stream(index, op)? {
            Some(streamed) => streamed,
            None => {
                session.fetch_rest(index, op)?;
                session.container_image(index, op)?
            }
        };
        self.explain(index, &reads, delta);
        let key = content_key(&session.graph.vertex(index).op, &reads);
        // It waits for a network on a thread of its own; layers are made on the pool's.
        session.pool.install(|| self.keep(index, Some(key), Record { delta, facts: Facts::None }, tx))
    }

    fn exec(&self, index: VertexIndex, op: &ExecOp, tx: &Sender<Message>) -> Result<StepOutcome, OpError> {
        let session = self.session;
        let prepared = exec::Prepared::new(op, &self.inputs(index)?, &session.trees)?;
        let reads = prepared.reads();
        let key = content_key(&session.graph.vertex(index).op, &reads);
        if let Some(record) = self.by_content(index, &key) {
            return self.keep(index, None, record, tx);
        }
        let machine = exec::Machine {
            store: session.store,
            trees: &session.trees,
            contents: &session.contents,
            snapshots: &session.snapshots,
            cache_mounts: &session.cache_mounts,
            options: &session.options.exec,
            keep_mtime: session.options.times == TimePolicy::Keep,
            cancel: &self.stop,
            pool: &session.pool,
        };
        let vertex = session.graph.digest(index);
        let told = |line: &str| session.events.event(Event::Log { vertex, line: line.to_owned() });
        let start = Instant::now();
        let ran = prepared.run(&machine, &told)?;
        session.keep_took(index, start.elapsed());
        self.explain(index, &reads, ran.delta);
        for path in ran.sockets {
            let text = format!("the command left the socket `/{path}`, which an image cannot hold");
            session.warn(index, text, "remove it at the end of the command");
        }
        self.keep(index, Some(key), Record { delta: ran.delta, facts: Facts::Links(ran.links) }, tx)
    }

    /// Says what a copy did that is seldom meant.
    fn warn_of_copy(&self, index: VertexIndex, replaced: &[(String, Entry)], kept_modes: &[String]) {
        for (path, other) in replaced {
            let what = match &other.node {
                Node::Symlink(to) => format!("the link `/{path}` -> `{}`", String::from_utf8_lossy(to)),
                _ => format!("the file `/{path}`"),
            };
            let text = format!("the directory `/{path}` replaces {what} of the state below");
            self.session.warn(index, text, "copy into the directory the link points at");
        }
        for archive in kept_modes {
            let text = format!("`{archive}` was extracted, and what is in it keeps its modes");
            self.session.warn(index, text, "set the modes in the archive, or copy its files without it");
        }
    }

    fn inputs(&self, index: VertexIndex) -> Result<Vec<Input>, OpError> {
        self.session.graph.inputs(index).iter().map(|&input| self.input(input)).collect()
    }

    fn input(&self, index: VertexIndex) -> Result<Input, OpError> {
        if let Some(input) = Session::input_of(self.pins, index) {
            return Ok(input);
        }
        let session = self.session;
        if let Op::Git(_) = &session.graph.vertex(index).op {
            return Ok(Input::Tree(self.delta(index)));
        }
        let state = self.state(index)?;
        session.readable(&state.deltas)?;
        Ok(Input::State(state))
    }

    fn state(&self, index: VertexIndex) -> Result<State, OpError> {
        let session = self.session;
        let mut memo = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let delta = |step| self.delta(step);
        let base = |index: VertexIndex| match &session.graph.vertex(index).op {
            Op::Image(image) => session.base_state(&image.digest),
            _ => Ok(State::default()),
        };
        Ok(state_of(&session.graph, &base, &delta, &mut memo, index)?)
    }

    fn delta(&self, index: VertexIndex) -> TreeDigest {
        self.result(index).delta
    }

    fn result(&self, index: VertexIndex) -> &Record {
        self.results[index.position()].get().expect("a state's steps are done before it is used")
    }
}
