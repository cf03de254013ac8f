//! Goes through a place: which of its files are read.
//!
//! Symbolic links are followed, as Helm follows those of a chart, inside the place alone: what is found is remembered
//! with the place's tree, so nothing outside of it may matter. What a link leads to counts under the link's name.

use std::collections::BTreeSet;

use solver::TreeDigest;

use super::units::Unit;
use crate::tree::{Directory, Entry, Node, TreeError, Trees, components, push_name};

/// Largest file that is read, in bytes; what is larger is no manifest.
pub(super) const FILE_LIMIT: u64 = 64 << 20;
/// Largest packaged chart, in bytes; Helm's own limit for what a chart holds is a fifth of it.
const ARCHIVE_LIMIT: u64 = 25 << 20;
/// Most bytes of a chart in a directory, and of one file in it.
const CHART_LIMIT: u64 = 64 << 20;
/// Most links followed for one path, as Linux does (`MAXSYMLINKS`).
const LINK_LIMIT: usize = 40;
/// Most entries of a place that are seen through links: links that lead to directories of links multiply.
const LINKED_LIMIT: usize = 50_000;

/// Deepest nesting of directories that a link may lead to, because they are gone through by recursion.
const DEPTH_LIMIT: usize = 200;

/// Files to read: paths below the place, and what they hold.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) texts: Vec<(Vec<u8>, Entry)>,
    pub(super) archives: Vec<(Vec<u8>, Entry)>,
    pub(super) charts: Vec<ChartDir>,
    /// Links that lead out of the place, or nowhere.
    pub(super) unfollowed: BTreeSet<Vec<u8>>,
}

/// A chart in a directory.
#[derive(Debug)]
pub(super) struct ChartDir {
    /// With a `/` at its end, or empty.
    pub(super) path: Vec<u8>,
    pub(super) files: Vec<(Vec<u8>, Entry)>,
    /// Nothing was left out for its size.
    pub(super) is_whole: bool,
}

/// The files of a place that are read.
///
/// # Errors
/// If a directory object is missing.
pub(super) fn collect(trees: &Trees<'_>, unit: &Unit, tree: &TreeDigest) -> Result<Wanted, TreeError> {
    let wanted = Wanted::default();
    let mut collector = Collector { trees, unit, root: *tree, linked: 0, open: Vec::new(), wanted };
    collector.directory(&Seen::root(*tree), tree)?;
    Ok(collector.wanted)
}

/// An entry, with what it is if it is a link.
#[derive(Debug, Clone)]
struct Seen {
    /// Its name below the place.
    path: Vec<u8>,
    /// Where it really is.
    real: Vec<u8>,
    entry: Entry,
    /// Whether a link led to it.
    is_linked: bool,
}

impl Seen {
    fn root(tree: TreeDigest) -> Self {
        Self { path: Vec::new(), real: Vec::new(), entry: Entry::plain_dir(tree), is_linked: false }
    }
}

/// A way through a place.
struct Collector<'a> {
    trees: &'a Trees<'a>,
    unit: &'a Unit,
    root: TreeDigest,
    /// Entries seen through links.
    linked: usize,
    /// The directories it is in, from the outermost on.
    open: Vec<TreeDigest>,
    wanted: Wanted,
}

impl Collector<'_> {
    /// Goes through a directory. Charts are not gone into where sealer does not go into them either.
    fn directory(&mut self, at: &Seen, tree: &TreeDigest) -> Result<(), TreeError> {
        let directory = self.trees.load(tree)?;
        let is_app = matches!(self.unit, Unit::Application(_));
        let inside = is_app && self.wanted.charts.iter().any(|chart| at.path.starts_with(&chart.path));
        if *self.unit != Unit::Manifests && !inside && self.is_chart(at, &directory)? {
            let has = |name: &[u8]| directory.entries.contains(name);
            let is_sealers = at.path.is_empty() && has(b"values.yaml") && has(b"templates");
            let mut path = at.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            let mut chart = ChartDir { path, files: Vec::new(), is_whole: true };
            let mut total = 0;
            self.files_of_chart(at, tree, &mut total, &mut chart)?;
            chart.is_whole = total <= CHART_LIMIT;
            self.wanted.charts.push(chart);
            if !is_app || is_sealers {
                return Ok(());
            }
        }
        self.open.push(*tree);
        for (name, entry) in directory.entries.iter() {
            let Some(seen) = self.seen(at, name, entry)? else {
                let is_read = ends_with(name, &TEXTS) || ends_with(name, &ARCHIVES);
                self.note(at, name, entry, !is_app || is_read);
                continue;
            };
            match seen.entry.node {
                Node::Dir(child) if !self.open.contains(&child) => self.directory(&seen, &child)?,
                Node::File { size, .. } => self.file(seen, size, inside),
                _ => {}
            }
        }
        self.open.pop();
        Ok(())
    }

    fn file(&mut self, seen: Seen, size: u64, inside: bool) {
        let is_manifest = *self.unit == Unit::Manifests;
        let is_text = ends_with(&seen.path, &TEXTS) || (is_manifest && seen.path == b"imageList");
        if is_text && *self.unit != Unit::Charts && size <= FILE_LIMIT {
            self.wanted.texts.push((seen.path, seen.entry));
        } else if ends_with(&seen.path, &ARCHIVES) && size <= ARCHIVE_LIMIT && !is_manifest && !inside {
            self.wanted.archives.push((seen.path, seen.entry));
        }
    }

    fn files_of_chart(
        &mut self,
        at: &Seen,
        tree: &TreeDigest,
        total: &mut u64,
        chart: &mut ChartDir,
    ) -> Result<(), TreeError> {
        self.open.push(*tree);
        for (name, entry) in self.trees.load(tree)?.entries.iter() {
            let Some(seen) = self.seen(at, name, entry)? else {
                self.note(at, name, entry, true);
                continue;
            };
            match seen.entry.node {
                Node::Dir(child) if !self.open.contains(&child) => {
                    self.files_of_chart(&seen, &child, total, chart)?;
                }
                Node::File { size, .. } => {
                    *total += size;
                    if *total <= CHART_LIMIT {
                        chart.files.push((seen.path[chart.path.len()..].to_vec(), seen.entry));
                    }
                }
                _ => {}
            }
        }
        self.open.pop();
        Ok(())
    }

    /// Whether a directory looks like a chart: with templates, or with other charts, whose values it has then. Sealer asks for
    /// templates and `values.yaml`, Helm for neither.
    fn is_chart(&mut self, at: &Seen, directory: &Directory) -> Result<bool, TreeError> {
        let mut node = |name: &[u8]| match directory.entries.get(name) {
            Some(entry) => Ok(self.seen(at, name, entry)?.map(|seen| seen.entry.node)),
            None => Ok(None),
        };
        let is_file = matches!(node(b"Chart.yaml")?, Some(Node::File { .. }));
        let mut is_dir = |name: &[u8]| Ok(matches!(node(name)?, Some(Node::Dir(_))));
        Ok(is_file && (is_dir(b"templates")? || is_dir(b"charts")?))
    }

    /// What stands under a name in a directory; nothing if that is a link that cannot be followed.
    fn seen(&mut self, at: &Seen, name: &[u8], entry: &Entry) -> Result<Option<Seen>, TreeError> {
        let mut path = at.path.clone();
        push_name(&mut path, name);
        let Node::Symlink(target) = &entry.node else {
            self.linked += usize::from(at.is_linked);
            let mut real = at.real.clone();
            push_name(&mut real, name);
            return Ok(Some(Seen { path, real, entry: entry.clone(), is_linked: at.is_linked }));
        };
        self.linked += 1;
        if self.linked > LINKED_LIMIT || self.open.len() > DEPTH_LIMIT {
            return Ok(None);
        }
        let found = self.resolve(&at.real, target)?;
        Ok(found.map(|(real, entry)| Seen { path, real, entry, is_linked: true }))
    }

    /// Where the target of a link in a directory leads, following links on the way; nowhere if that is outside.
    fn resolve(&self, from: &[u8], target: &[u8]) -> Result<Option<(Vec<u8>, Entry)>, TreeError> {
        let reversed = |path: &[u8]| -> Vec<Vec<u8>> {
            let mut names: Vec<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
            names.reverse();
            names
        };
        let mut ahead = reversed(target);
        ahead.extend(reversed(from));
        let mut links = 1;
        let mut is_outside = target.starts_with(b"/");
        let mut at: Vec<(Vec<u8>, Entry)> = Vec::new();
        while let Some(name) = ahead.pop().filter(|_| !is_outside) {
            if name == b".." {
                is_outside = at.pop().is_none();
                continue;
            }
            let tree = match at.last().map(|(_, entry)| &entry.node) {
                None => self.root,
                Some(Node::Dir(tree)) => *tree,
                Some(_) => return Ok(None),
            };
            let Some(entry) = self.trees.load(&tree)?.entries.get(&name).cloned() else { return Ok(None) };
            match &entry.node {
                Node::Symlink(target) => {
                    links += 1;
                    is_outside = target.starts_with(b"/") || links > LINK_LIMIT;
                    ahead.extend(reversed(target));
                }
                _ => at.push((name, entry)),
            }
        }
        if is_outside {
            return Ok(None);
        }
        let mut real = Vec::new();
        at.iter().for_each(|(name, _)| push_name(&mut real, name));
        let entry = at.pop().map_or_else(|| Entry::plain_dir(self.root), |(_, entry)| entry);
        Ok(Some((real, entry)))
    }

    /// Notes a link that was not followed, if it may matter.
    fn note(&mut self, at: &Seen, name: &[u8], entry: &Entry, may_matter: bool) {
        if let (Node::Symlink(_), true) = (&entry.node, may_matter) {
            let mut path = at.path.clone();
            push_name(&mut path, name);
            self.wanted.unfollowed.insert(path);
        }
    }
}

/// What is searched by lines and fields.
const TEXTS: [&[u8]; 3] = [b".yaml", b".yml", b".tmpl"];
/// What may be a packaged chart.
const ARCHIVES: [&[u8]; 2] = [b".tgz", b".tar.gz"];

/// Whether a name ends in one of these, in whatever case.
pub(super) fn ends_with(name: &[u8], endings: &[&[u8]]) -> bool {
    let lower = name.to_ascii_lowercase();
    endings.iter().any(|ending| lower.ends_with(ending))
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
