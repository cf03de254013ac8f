//! What differs between two images: files of the merged root file systems, applications, launch, labels, layers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use solver::{Application, TreeDigest};

use crate::extension::{Extension, StoredApplication, StoredLaunch};
use crate::images::StoredImage;
use crate::state::State;
use crate::tree::{Entry, Meta, Node, TreeError, Trees, push_name};

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The second has it alone.
    Added,
    /// The first has it alone.
    Removed,
    /// Both have it, not alike.
    Changed,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Path, application or label.
    pub name: String,
    /// How.
    pub change: Change,
    /// What exactly; empty where there is nothing to add.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What two images have in common of their layers, in numbers and bytes as stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LayerShare {
    /// Layers of both.
    pub shared: usize,
    /// Their size.
    pub shared_bytes: u64,
    /// Layers of the first alone.
    pub only_first: usize,
    /// Their size.
    pub only_first_bytes: u64,
    /// Layers of the second alone.
    pub only_second: usize,
    /// Their size.
    pub only_second_bytes: u64,
}

/// Everything that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageDiff {
    /// Files, by path.
    pub files: Vec<Difference>,
    /// Applications, by name.
    pub apps: Vec<Difference>,
    /// What is launched, of the first and of the second, where it differs.
    pub launch: Option<(StoredLaunch, StoredLaunch)>,
    /// Labels, by key.
    pub labels: Vec<Difference>,
    /// Layers.
    pub layers: LayerShare,
}

/// Compares two images whose states are known.
///
/// # Errors
/// When a directory object is missing.
pub fn diff(
    trees: &Trees<'_>,
    first: (&StoredImage, &State),
    second: (&StoredImage, &State),
) -> Result<ImageDiff, TreeError> {
    let mut files = Vec::new();
    let (before, after) = (merged(trees, first.1)?, merged(trees, second.1)?);
    dirs(trees, Some(&before), Some(&after), &mut Vec::new(), &mut files)?;
    let extension = |image: &StoredImage| image.extension.clone().unwrap_or_default();
    let (one, other) = (extension(first.0), extension(second.0));
    let launch = (one.launch != other.launch).then(|| (one.launch.clone(), other.launch.clone()));
    Ok(ImageDiff {
        files,
        apps: maps(&apps(&one), &apps(&other), &app_detail),
        launch,
        labels: maps(&first.0.labels(), &second.0.labels(), &|before, after| format!("{before} -> {after}")),
        layers: share(first.0, second.0),
    })
}

/// The root file system of a state as one tree.
pub(crate) fn merged(trees: &Trees<'_>, state: &State) -> Result<TreeDigest, TreeError> {
    State::merged(trees, &state.deltas.iter().rev().copied().collect::<Vec<_>>())
}

fn dirs(
    trees: &Trees<'_>,
    before: Option<&TreeDigest>,
    after: Option<&TreeDigest>,
    path: &mut Vec<u8>,
    found: &mut Vec<Difference>,
) -> Result<(), TreeError> {
    if before == after {
        return Ok(());
    }
    let load = |tree: Option<&TreeDigest>| tree.map(|tree| trees.load(tree)).transpose();
    let (before, after) = (load(before)?.unwrap_or_default(), load(after)?.unwrap_or_default());
    let names: BTreeSet<_> = before.entries.names().chain(after.entries.names()).collect();
    for name in names {
        let length = path.len();
        push_name(path, name);
        let (one, other) = (before.entries.get(name), after.entries.get(name));
        let shown = || String::from_utf8_lossy(path).into_owned();
        let change = match (one, other) {
            (Some(one), Some(other)) => {
                let detail = entry_detail(one, other);
                (!detail.is_empty()).then_some((Change::Changed, detail))
            }
            (None, Some(other)) => Some((Change::Added, kind(&other.node).to_owned())),
            (Some(one), None) => Some((Change::Removed, kind(&one.node).to_owned())),
            (None, None) => None,
        };
        found.extend(change.map(|(change, detail)| Difference { name: shown(), change, detail }));
        let dir = |entry: Option<&Entry>| match entry.map(|entry| &entry.node) {
            Some(Node::Dir(tree)) => Some(*tree),
            _ => None,
        };
        dirs(trees, dir(one).as_ref(), dir(other).as_ref(), path, found)?;
        path.truncate(length);
    }
    Ok(())
}

/// What differs between two entries of one name, leaving out what is below them; empty for nothing.
pub(crate) fn entry_detail(one: &Entry, other: &Entry) -> String {
    let mut details = Vec::new();
    match (&one.node, &other.node) {
        (Node::Dir(_), Node::Dir(_)) => {}
        (Node::File { content, size }, Node::File { content: new, size: new_size }) if content != new => {
            details.push(if size == new_size {
                "content".to_owned()
            } else {
                format!("{size} -> {new_size} bytes")
            });
        }
        (Node::Symlink(target), Node::Symlink(new)) if target != new => {
            details.push(format!("{} -> {}", String::from_utf8_lossy(target), String::from_utf8_lossy(new)));
        }
        (one, other) if kind(one) != kind(other) => details.push(format!("{} -> {}", kind(one), kind(other))),
        (one @ Node::Device { .. }, other @ Node::Device { .. }) if one != other => {
            details.push("device".to_owned())
        }
        _ => {}
    }
    let (Meta { mode, uid, gid, xattrs, .. }, new) = (&one.meta, &other.meta);
    if *mode != new.mode {
        details.push(format!("mode {mode:04o} -> {:04o}", new.mode));
    }
    if (uid, gid) != (&new.uid, &new.gid) {
        details.push(format!("owner {uid}:{gid} -> {}:{}", new.uid, new.gid));
    }
    if *xattrs != new.xattrs {
        details.push("extended attributes".to_owned());
    }
    details.join(", ")
}

/// What an entry is, in a word.
pub(crate) fn kind(node: &Node) -> &'static str {
    match node {
        Node::File { .. } => "file",
        Node::Dir(_) => "directory",
        Node::Symlink(_) => "link",
        Node::Device { .. } => "device",
        Node::Whiteout => "whiteout",
    }
}

fn apps(extension: &Extension) -> BTreeMap<String, Application> {
    extension.applications().into_iter().map(|app| (app.name.clone(), app)).collect()
}

fn app_detail(before: &Application, after: &Application) -> String {
    let parts = [
        ("type", before.kind != after.kind),
        ("files", before.files != after.files),
        ("commands", before.cmds != after.cmds),
        ("environment", before.env != after.env),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

fn maps<V: PartialEq>(
    before: &BTreeMap<String, V>,
    after: &BTreeMap<String, V>,
    detail: &dyn Fn(&V, &V) -> String,
) -> Vec<Difference> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let one = |name: &String| {
        let (change, detail) = match (before.get(name), after.get(name)) {
            (Some(one), Some(other)) if one != other => (Change::Changed, detail(one, other)),
            (Some(_), None) => (Change::Removed, String::new()),
            (None, Some(_)) => (Change::Added, String::new()),
            _ => return None,
        };
        Some(Difference { name: name.clone(), change, detail })
    };
    names.into_iter().filter_map(one).collect()
}

fn share(first: &StoredImage, second: &StoredImage) -> LayerShare {
    let mut share = LayerShare::default();
    let has = |image: &StoredImage, layer: &solver::Layer| {
        image.layers.iter().any(|own| own.diff_id == layer.diff_id)
    };
    for layer in &first.layers {
        let (count, bytes) = if has(second, layer) {
            (&mut share.shared, &mut share.shared_bytes)
        } else {
            (&mut share.only_first, &mut share.only_first_bytes)
        };
        *count += 1;
        *bytes = bytes.saturating_add(layer.blob.size);
    }
    for layer in second.layers.iter().filter(|layer| !has(first, layer)) {
        share.only_second += 1;
        share.only_second_bytes = share.only_second_bytes.saturating_add(layer.blob.size);
    }
    share
}

/// Whether two applications say the same.
pub(crate) fn is_same_app(one: &StoredApplication, other: &StoredApplication) -> bool {
    (&one.kind, &one.files, &one.cmds, &one.env) == (&other.kind, &other.files, &other.cmds, &other.env)
}
