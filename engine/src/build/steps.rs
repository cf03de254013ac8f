//! One step: its inputs, the work itself, and what people are told of it.

use std::sync::PoisonError;
use std::time::Instant;

use crossbeam_channel::Sender;
use solver::{
    ContainerImageOp, Event, ExecOp, Facts, Op, Record, StepOutcome, TreeDigest, VertexIndex, content_key,
};

use super::{Message, Work};
use crate::chain::state_of;
use crate::error::OpError;
use crate::ops::{Input, app, exec, file};
use crate::state::State;
use crate::tree::{Entry, Node};

impl Work<'_, '_> {
    pub(super) fn step(&self, index: VertexIndex, tx: &Sender<Message>) -> Result<StepOutcome, OpError> {
        let vertex = self.session.graph.vertex(index);
        let (trees, contents) = (&self.session.trees, &self.session.contents);
        match &vertex.op {
            // The pin pass has found their files.
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
        // This thread is one of those that wait for the network; layers are made by the pool.
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
            times: session.options.times,
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

    /// Warns of what a copy did that is rarely intended.
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
        if let Some(input) = self.pins.input(index) {
            return Ok(input.clone());
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
        let result = |step| self.result(step);
        let base = |index: VertexIndex| match &session.graph.vertex(index).op {
            Op::Image(image) => session.base_state(&image.digest),
            _ => Ok(State::default()),
        };
        Ok(state_of(&session.graph, &base, &result, &mut memo, index)?)
    }

    pub(super) fn delta(&self, index: VertexIndex) -> TreeDigest {
        self.result(index).delta
    }

    pub(super) fn result(&self, index: VertexIndex) -> &Record {
        self.results[index.position()].get().expect("a state's steps are done before it is used")
    }
}
