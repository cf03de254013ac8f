//! Searches one place: what of its files is read by which rule.
//!
//! Spec §3.5, and more: packaged charts, charts deeper down in an application, and fields of parsed YAML.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use solver::TreeDigest;

use super::Scan;
use super::charts::{self, Searched};
use super::collect::{ChartDir, FILE_LIMIT, Wanted, collect, ends_with};
use super::documents::named;
use super::found::{ChartOf, FoundBy, Rendering};
use super::lines::{by_line, is_reference, is_word, listed};
use super::units::{Part, Unit};
use super::values::Values;
use crate::contents::Contents;
use crate::delta::OpenDir;
use crate::error::BuildError;
use crate::helm::{Chart, ChartError, ChartFiles};
use crate::tree::{Entry, Meta, Node, Trees, components};
use crate::upstream::Upstream;

/// Most of a line that is told: a file may be called a list and be none.
const SHOWN: usize = 80;

/// What the files of one place name; paths are those below the place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Search {
    pub(super) finds: Vec<Find>,
    /// Path, line or 0, word.
    pub(super) skipped: BTreeSet<(String, u64, String)>,
    pub(super) charts: Vec<Searched>,
    pub(super) unparsed: Vec<String>,
    /// Links that lead out of the place, or nowhere.
    pub(super) unfollowed: Vec<String>,
}

/// A reference and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Find {
    pub(super) path: String,
    /// From 1; 0 is none.
    pub(super) line: u64,
    pub(super) reference: String,
    pub(super) by: FoundBy,
    pub(super) chart: Option<ChartOf>,
}

impl Search {
    /// Whether somebody with a `helm` would find something else.
    pub(super) fn wants_helm(&self) -> bool {
        self.charts.iter().any(|chart| matches!(&chart.rendering, Rendering::Static { helm: None, .. }))
    }

    /// Searches a text by lines, and by its fields if it should be YAML. Tells whether it is.
    pub(super) fn text(&mut self, path: &str, text: &str, is_yaml: bool, chart: Option<&ChartOf>) -> bool {
        let (fields, parsed) = if is_yaml { named(text) } else { (Vec::new(), true) };
        // Lines of what was rendered are in no file.
        let line_of = |line| if chart.is_none() { line } else { 0 };
        let mut known = BTreeSet::new();
        for field in fields {
            known.insert((field.line, field.reference.clone()));
            let by = FoundBy::Field { kind: field.kind, field: field.field };
            self.add(path, line_of(field.line), field.reference, by, chart);
        }
        for (line, reference) in by_line(text) {
            if !known.contains(&(line, reference.clone())) {
                self.add(path, line_of(line), reference, FoundBy::Line, chart);
            }
        }
        parsed
    }

    /// Searches a text that should be YAML by its fields alone. Tells whether it is.
    pub(super) fn fields(&mut self, path: &str, text: &str) -> bool {
        let (fields, parsed) = named(text);
        for field in fields {
            let by = FoundBy::Field { kind: field.kind, field: field.field };
            self.add(path, field.line, field.reference, by, None);
        }
        parsed
    }

    /// Searches YAML that is in no file by its fields.
    pub(super) fn made(&mut self, path: &str, text: &str) {
        for field in named(text).0 {
            let by = FoundBy::Field { kind: field.kind, field: field.field };
            self.add(path, 0, field.reference, by, None);
        }
    }

    fn add(&mut self, path: &str, line: u64, reference: String, by: FoundBy, chart: Option<&ChartOf>) {
        let path = path.to_owned();
        if is_word(&reference) {
            self.skipped.insert((path, line, reference));
        } else {
            self.finds.push(Find { path, line, reference, by, chart: chart.cloned() });
        }
    }
}

/// What searching needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Searcher<'a> {
    /// Directories.
    pub(crate) trees: &'a Trees<'a>,
    /// Bytes of files.
    pub(crate) contents: &'a Contents<'a>,
    /// A program to ask for what cannot be rendered here.
    pub(crate) helm: Option<&'a std::path::Path>,
    /// What the charts of the place are rendered with, beside their own values.
    pub(crate) values: Option<&'a Values>,
    /// Who may know what is in a delta.
    pub(crate) upstream: Option<&'a Upstream<'a>>,
}

impl Searcher<'_> {
    /// Whether a place need not be searched again. With a `helm` at hand, what could not be rendered is tried again.
    pub(super) fn is_content_with(&self, search: &Search) -> bool {
        self.helm.is_none() || !search.wants_helm()
    }

    /// What a remote cache says of the places of a delta, if there is nothing left to look for: what is found here is kept,
    /// and must not stand beside what nobody looked at.
    pub(crate) fn taken(&self, delta: &TreeDigest) -> Option<Vec<Part>> {
        let Scan::Delta(parts) = self.upstream?.scan_of(delta)? else { return None };
        let is_done = |part: &Part| {
            part.is_searched() && part.search.as_ref().is_none_or(|search| self.is_content_with(search))
        };
        parts.iter().all(is_done).then_some(parts)
    }
}

impl Searcher<'_> {
    /// Searches a place whose files are a tree.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn search(&self, unit: &Unit, tree: &TreeDigest) -> Result<Search, BuildError> {
        let wanted = collect(self.trees, unit, tree)?;
        self.provide(&wanted)?;
        let unfollowed = wanted.unfollowed.iter().map(|path| lossy(path)).collect();
        let mut search = Search { unfollowed, ..Search::default() };
        for (path, entry) in &wanted.texts {
            self.search_text(unit, path, entry, &wanted, &mut search)?;
        }
        for ChartDir { path, files, is_whole } in &wanted.charts {
            let mut chart = ChartFiles::new();
            for (name, entry) in files {
                chart.insert(lossy(name), self.read(&[path.as_slice(), name].concat(), entry)?);
            }
            let loaded = if *is_whole { Chart::load(chart.clone()) } else { Err(ChartError::TooLarge) };
            charts::search_chart(lossy(path).trim_end_matches('/'), loaded, self, &mut search, || chart);
        }
        for (path, entry) in &wanted.archives {
            charts::search_archive(&lossy(path), &self.read(path, entry)?, self, &mut search);
        }
        search.finds.sort();
        search.finds.dedup();
        Ok(search)
    }

    fn search_text(
        &self,
        unit: &Unit,
        path: &[u8],
        entry: &Entry,
        wanted: &Wanted,
        search: &mut Search,
    ) -> Result<(), BuildError> {
        let bytes = self.read(path, entry)?;
        let (text, path_text) = (String::from_utf8_lossy(&bytes), lossy(path));
        if *unit == Unit::Manifests && path == b"imageList" {
            for (line, entry) in listed(&text) {
                if is_reference(entry) {
                    search.add(&path_text, line, entry.to_owned(), FoundBy::List, None);
                } else {
                    let shown = entry.chars().take(SHOWN).collect();
                    search.skipped.insert((path_text.clone(), line, shown));
                }
            }
            return Ok(());
        }
        let is_yaml = ends_with(path, &[b".yaml", b".yml"]);
        let parsed = search.text(&path_text, &text, is_yaml, None);
        // Templates of charts are not meant to be YAML.
        let in_chart = wanted.charts.iter().any(|chart| path.starts_with(&chart.path));
        if !parsed && !in_chart {
            search.unparsed.push(path_text);
        }
        Ok(())
    }

    /// Makes sure that the files can be opened, and nothing else is brought out of a layer for that.
    fn provide(&self, wanted: &Wanted) -> Result<(), BuildError> {
        let mut only = OpenDir::root();
        let in_charts = wanted.charts.iter().flat_map(|chart| {
            chart.files.iter().map(|(name, entry)| ([chart.path.as_slice(), name].concat(), entry))
        });
        let others = wanted.texts.iter().chain(&wanted.archives).map(|(path, entry)| (path.clone(), entry));
        for (path, entry) in in_charts.chain(others) {
            let names: Vec<&[u8]> = components(&path).collect();
            let Some((name, parents)) = names.split_last() else { continue };
            let mut dir = &mut only;
            for parent in parents {
                dir = dir.dir(self.trees, parent, &Meta::with_mode(0o755))?;
            }
            dir.put(self.trees, name, entry.clone())?;
        }
        Ok(self.contents.provide(self.trees, &only.finish(self.trees))?)
    }

    /// The bytes of a file. What is found in them is remembered with the tree, so they must be what the tree says.
    fn read(&self, path: &[u8], entry: &Entry) -> Result<Vec<u8>, BuildError> {
        match entry.node {
            Node::File { content, size: 1.. } => Ok(self.contents.read(&content, path, FILE_LIMIT)?),
            _ => Ok(Vec::new()),
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
