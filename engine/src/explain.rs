//! Why a step ran: the first thing that differs from the last time it ran under this name.
//!
//! Each step that runs leaves its facts and its delta behind; the next run of the step of that name is held against
//! them. No key reads them.

use std::borrow::Cow;
use std::collections::HashMap;

use cache::{Store, Table};
use serde::{Deserialize, Serialize};
use solver::{Graph, Hasher, KeyFact, MissReason, Op, Span, TreeDigest, first_difference};

use crate::stamp;
use crate::tree::{Entry, Node, TreeError, Trees, push_name};

/// What a step left behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trace {
    pub(crate) facts: Vec<KeyFact>,
    pub(crate) delta: TreeDigest,
}

/// Why a step did or did not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nothing it depends on is different.
    Unchanged,
    /// Something it depends on was made again, and what the step reads of it is the same.
    SameContent,
    /// It never ran under this name.
    New,
    /// The user asked not to use the cache.
    NotAsked,
    /// Nothing differs, but the cache does not have its result any more.
    Forgotten,
    /// An argument, an input or what stands at the destination.
    Differs {
        /// What.
        name: String,
        /// Before; `None` if it is new.
        before: Option<String>,
        /// Now; `None` if it is gone.
        after: Option<String>,
    },
    /// A file it reads.
    File {
        /// Path in the image.
        path: String,
        /// What became of it.
        change: FileChange,
    },
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other bytes, or a link another target.
    Content,
    /// It has another mode, owner or attribute.
    Attributes,
}

/// What is said of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// The step as written.
    pub name: String,
    /// Where it stands in the text.
    pub spans: Vec<Span>,
    /// Whether it ran.
    pub ran: bool,
    /// Why.
    pub why: Why,
}

/// The identity of every vertex from build to build: the image's repository, the step as written, and which of those
/// that are written alike it is.
pub(crate) fn identities(graph: &Graph, image: &str) -> Vec<[u8; 32]> {
    let mut seen = HashMap::<Cow<'_, str>, u64>::new();
    let mut identities = Vec::with_capacity(graph.len());
    for index in graph.indices() {
        // Without the arguments that may change, so that a step finds its former self: an application keeps its name.
        let word = graph.metadata(index).name.split(' ').next().unwrap_or_default();
        let name = match &graph.vertex(index).op {
            Op::App(app) => Cow::from(format!("{word} {}", app.name)),
            _ => Cow::from(word),
        };
        let mut hasher = Hasher::new("step of an image");
        hasher.bytes(image.as_bytes());
        hasher.bytes(name.as_bytes());
        let number = seen.entry(name).or_default();
        hasher.number(*number);
        *number += 1;
        identities.push(hasher.finish());
    }
    identities
}

/// Why a step had to run that found no record.
pub(crate) fn why(
    store: &Store,
    trees: &Trees<'_>,
    (op, identity): (&Op, &[u8; 32]),
    miss: Option<MissReason>,
    now: &Trace,
) -> Why {
    if miss == Some(MissReason::NotAsked) {
        return Why::NotAsked;
    }
    let Some(before): Option<Trace> = stamp::get(store, Table::Traces, identity) else { return Why::New };
    let difference = first_difference(&before.facts, &now.facts);
    let is_input = difference.as_ref().is_none_or(|difference| difference.name.starts_with("input "));
    // A difference in an input shows in the delta, except that of a command, which is what it wrote.
    if is_input
        && !matches!(op, Op::Exec(_))
        && let Ok(Some((path, change))) = first_change(trees, &before.delta, &now.delta, &mut Vec::new())
    {
        return Why::File { path: String::from_utf8_lossy(&path).into_owned(), change };
    }
    match difference {
        Some(found) => Why::Differs { name: found.name, before: found.before, after: found.after },
        None => Why::Forgotten,
    }
}

/// The first path, in the order of a sorted tar, at which two trees differ.
fn first_change(
    trees: &Trees<'_>,
    before: &TreeDigest,
    after: &TreeDigest,
    path: &mut Vec<u8>,
) -> Result<Option<(Vec<u8>, FileChange)>, TreeError> {
    if before == after {
        return Ok(None);
    }
    let (before, after) = (trees.load(before)?, trees.load(after)?);
    let names: std::collections::BTreeSet<_> = before.entries.names().chain(after.entries.names()).collect();
    for name in names {
        let length = path.len();
        push_name(path, name);
        let change = match (before.entries.get(name), after.entries.get(name)) {
            (None, _) => Some(FileChange::Added),
            (_, None) => Some(FileChange::Removed),
            (Some(Entry { node: Node::Dir(old), .. }), Some(Entry { node: Node::Dir(new), .. }))
                if old != new =>
            {
                if let Some(found) = first_change(trees, old, new, path)? {
                    return Ok(Some(found));
                }
                None
            }
            (Some(old), Some(new)) if old.node != new.node => Some(FileChange::Content),
            (Some(old), Some(new)) => (old.meta != new.meta).then_some(FileChange::Attributes),
        };
        if let Some(change) = change {
            return Ok(Some((path.clone(), change)));
        }
        path.truncate(length);
    }
    Ok(None)
}
