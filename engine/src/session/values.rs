//! Values for charts that a text names, read out of its build context.

use std::collections::{BTreeMap, BTreeSet};

use solver::{AppSpec, ChartValues, Hasher, ImageSpec, LocalSource, Span, VertexDigest};

use super::Session;
use super::sources::Asker;
use crate::discover::{Discovered, FILE_LIMIT, Values, ValuesError};
use crate::error::{BuildError, OpError, StepError};
use crate::pattern::Pattern;
use crate::source::local::LocalError;
use crate::tree::{Node, TreeError};

impl Session<'_> {
    /// The values of the applications of an image, but for those that nobody asks for.
    ///
    /// # Errors
    /// All that cannot be read or given, together.
    pub(crate) fn chart_values(
        &self,
        spec: &ImageSpec,
        skip: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Values>, BuildError> {
        let (mut all, mut failed) = (BTreeMap::new(), Vec::new());
        for (name, given) in given(spec).filter(|(name, _)| !skip.contains(*name)) {
            let mut values = Values::default();
            let mut keep = |result: Result<(), OpError>, span: Span| {
                let step = |source| StepError { name: name.to_owned(), spans: vec![span], source };
                failed.extend(result.err().map(step));
            };
            for (file, span) in &given.files {
                let read = self.values_file(file, *span);
                keep(read.and_then(|bytes| Ok(values.add_file(&file.pattern, bytes)?)), *span);
            }
            for (text, span) in &given.set {
                keep(values.set(text).map_err(OpError::from), *span);
            }
            all.insert(name.to_owned(), values);
        }
        if failed.is_empty() { Ok(all) } else { Err(self.failure(failed)) }
    }

    /// Warns of values that no chart takes.
    pub(crate) fn warn_of_unused_values(
        &self,
        spec: &ImageSpec,
        found: &Discovered,
        skip: &BTreeSet<String>,
    ) {
        for (name, values) in given(spec).filter(|(name, _)| !skip.contains(*name)) {
            if !found.has_chart(name) {
                let mut spans = values
                    .files
                    .iter()
                    .map(|(_, span)| *span)
                    .chain(values.set.iter().map(|(_, span)| *span));
                let text = format!("`{name}` has no chart that its values could be for");
                self.warn_at(spans.next(), text, "leave `--values` and `--set` out");
            }
        }
    }

    fn values_file(&self, file: &LocalSource, span: Span) -> Result<Vec<u8>, OpError> {
        let mut hasher = Hasher::new("values file");
        hasher.bytes(file.pattern.as_bytes());
        let asker = Asker { vertex: VertexDigest::from_bytes(hasher.finish()), span: Some(span) };
        let tree = self.select(&asker, file)?;
        let pattern = Pattern::new(&file.pattern).map_err(LocalError::from)?;
        let mut found = None;
        self.trees.walk::<TreeError>(&tree, &mut |path, entry| {
            if let Node::File { content, size } = entry.node
                && pattern.matches(path)
            {
                found = Some((content, size));
            }
            Ok(())
        })?;
        let name = || file.pattern.clone();
        let (content, size) = found.ok_or_else(|| ValuesError::NoFile { file: name() })?;
        if size > FILE_LIMIT {
            return Err(ValuesError::LargeFile { file: name() }.into());
        }
        if size == 0 {
            return Ok(Vec::new());
        }
        self.contents.provide(&self.trees, &tree)?;
        Ok(self.contents.read(&content, file.pattern.as_bytes(), FILE_LIMIT)?)
    }
}

/// The applications of this text that have values.
fn given(spec: &ImageSpec) -> impl Iterator<Item = (&str, &ChartValues)> {
    spec.apps.iter().filter_map(|app| match app {
        AppSpec::Declared { name, values, .. } if !values.is_empty() => Some((name.as_str(), values)),
        AppSpec::Declared { .. } | AppSpec::Inherited(_) => None,
    })
}
