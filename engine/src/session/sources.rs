//! Sources of a build: selections of contexts, commits and their files.

use std::cell::Cell;

use solver::{
    Event, GitSource, Hasher, LocalSource, Span, StepOutcome, TreeDigest, VertexDigest, VertexIndex,
};

use super::{Pins, Session};
use crate::error::OpError;
use crate::layer::TimePolicy;
use crate::source::context::Opened;
use crate::source::git::Resolved;
use crate::source::local::{Context, Scan};
use crate::source::packed::NOTES_HINT;

/// Whoever wants something from a context: events are about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) vertex: VertexDigest,
    pub(super) span: Option<Span>,
}

impl Session<'_> {
    /// A source of the graph.
    pub(super) fn asker(&self, index: VertexIndex) -> Asker {
        let span = self.graph.metadata(index).spans.first().copied();
        Asker { vertex: self.graph.digest(index), span }
    }

    /// The commit of a git source; a server that has to be asked is a step people see.
    pub(super) fn resolve(&self, index: VertexIndex, source: &GitSource) -> Result<Resolved, OpError> {
        let git = self.contexts.git();
        if source.commit().is_some() {
            return Ok(git.resolve(source, &self.trees)?);
        }
        let lock = self.bases.lock().filter(|_| source.checksum.is_none());
        if let Some(lock) = lock
            && let Some(commit) = lock.git(source)?
        {
            lock.saw_git(source, &commit);
            return Ok(Resolved::by_id(&commit));
        }
        let mut hasher = Hasher::new("resolving");
        hasher.bytes(self.graph.digest(index).as_bytes());
        let vertex = VertexDigest::from_bytes(hasher.finish());
        let name = format!("resolve {}", source.shown());
        self.events.event(Event::Started { vertex, name: name.clone() });
        let resolved = git.resolve(source, &self.trees);
        let outcome = if resolved.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
        self.events.event(Event::Finished { vertex, name, outcome });
        let resolved = resolved?;
        lock.iter().for_each(|lock| lock.saw_git(source, &resolved.commit));
        Ok(resolved)
    }

    /// What a pattern selects in its context.
    pub(super) fn select(&self, asker: &Asker, local: &LocalSource) -> Result<TreeDigest, OpError> {
        let shown = format!("build context `{}`", local.context.trim_start_matches("context:"));
        let opened = self
            .while_received(asker.vertex, &shown, |received| self.contexts.open(&local.context, received))?;
        match &*opened {
            Opened::Directory(context) => self.scan(asker, context, local),
            Opened::Files(files) => {
                self.registered.get_or_run(local.context.clone(), || {
                    opened.register(&self.contents);
                    Ok::<_, OpError>(())
                })?;
                files.notes().iter().for_each(|note| self.warn_at(asker.span, note.text.clone(), note.hint));
                Ok(files.select(local, &self.trees)?)
            }
        }
    }

    fn scan(&self, asker: &Asker, context: &Context, local: &LocalSource) -> Result<TreeDigest, OpError> {
        let scan = Scan {
            context,
            trees: &self.trees,
            contents: &self.contents,
            stats: &self.stats,
            keep_mtime: self.options.times == TimePolicy::Keep,
            cancel: &self.options.cancel,
            skipped: &|path| {
                let text = format!("`{}` is a socket and was left out", path.display());
                self.warn_at(asker.span, text, "name it in .sealerignore");
            },
        };
        Ok(scan.select(local)?)
    }

    /// The files of a commit, fetched if nobody has; readable from here on.
    pub(crate) fn fetch(
        &self,
        index: VertexIndex,
        source: &GitSource,
        pins: &Pins,
    ) -> Result<TreeDigest, OpError> {
        let vertex = self.graph.digest(index);
        let resolved = pins.commit(index).expect("every source was pinned");
        let received =
            |done_bytes| self.events.event(Event::Progress { vertex, done_bytes, total_bytes: None });
        let packed = self.contexts.git().files(source, resolved, &self.trees, &received)?;
        packed.register(&self.contents);
        packed.notes.iter().for_each(|note| self.warn(index, note.clone(), NOTES_HINT));
        Ok(packed.tree)
    }

    /// Reports bytes that arrive while something is opened as if it were a step.
    fn while_received<T, E>(
        &self,
        vertex: VertexDigest,
        name: &str,
        work: impl FnOnce(&dyn Fn(u64)) -> Result<T, E>,
    ) -> Result<T, E> {
        let is_told = Cell::new(false);
        let result = work(&|done_bytes| {
            if !is_told.replace(true) {
                self.events.event(Event::Started { vertex, name: name.to_owned() });
            }
            self.events.event(Event::Progress { vertex, done_bytes, total_bytes: None });
        });
        if is_told.get() {
            let outcome = if result.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
            self.events.event(Event::Finished { vertex, name: name.to_owned(), outcome });
        }
        result
    }
}
