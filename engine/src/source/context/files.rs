//! The files of a context that is no directory: a tree, and where its bytes are.

use std::path::PathBuf;

use cache::Store;
use solver::{ContentDigest, Layer, TreeDigest};

use super::{ContextError, Note};
use crate::contents::{Contents, Location};
use crate::ignore::{IgnoreRules, ignore_file_names};
use crate::source::packed::{NOTES_HINT, Packed};
use crate::source::tarball::Extracted;
use crate::tree::{Entry, Name, Node, Trees, components};

/// Largest ignore file read, in bytes.
const IGNORE_LIMIT: u64 = 16 << 20;

/// Files that came all at once.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    /// What people call them.
    pub(super) shown: String,
    pub(super) root: TreeDigest,
    pub(super) trees: Trees<'a>,
    pub(super) ignore: IgnoreRules,
    locations: Vec<(ContentDigest, Location)>,
    packed: Vec<(TreeDigest, Layer)>,
    notes: Vec<Note>,
}

impl<'a> Files<'a> {
    pub(super) fn of_archive(shown: String, trees: Trees<'a>, from: Extracted) -> Self {
        let Extracted { tree: root, locations } = from;
        let ignore = IgnoreRules::none();
        Self { shown, root, trees, ignore, locations, packed: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn of_packed(shown: String, trees: Trees<'a>, from: Packed) -> Self {
        let Packed { tree: root, parts: packed, notes } = from;
        let notes = notes.into_iter().map(|text| Note { text, hint: NOTES_HINT }).collect();
        let ignore = IgnoreRules::none();
        Self { shown, root, trees, ignore, locations: Vec::new(), packed, notes }
    }

    /// Reads the ignore file among them.
    pub(super) fn with_ignore(mut self, store: &Store) -> Result<Self, ContextError> {
        for name in ignore_file_names() {
            let Some(text) = self.read(store, name, IGNORE_LIMIT)? else { continue };
            let rules = IgnoreRules::parse(&String::from_utf8_lossy(&text));
            let context = self.shown.clone();
            self.ignore = rules.map_err(|source| ContextError::IgnoreFile { context, name, source })?;
            break;
        }
        Ok(self)
    }

    /// Says something more of them.
    pub(super) fn with_note(mut self, note: Note) -> Self {
        self.notes.push(note);
        self
    }

    /// What people should know of them.
    pub(crate) fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Makes them readable.
    pub(super) fn register(&self, contents: &Contents<'_>) {
        contents.add_all(self.locations.iter().cloned());
        self.packed.iter().for_each(|(tree, layer)| contents.add_image_layer(*tree, layer.clone()));
    }

    /// A file's bytes, links followed inside the context.
    pub(super) fn read(
        &self,
        store: &Store,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, ContextError> {
        let names: Vec<Name> = components(path.as_bytes()).map(<[u8]>::to_vec).collect();
        let Some(real) = self.resolve(&names, path)? else { return Ok(None) };
        let Some(Entry { node: Node::File { content, size }, .. }) = self.at(&real)? else { return Ok(None) };
        if size > limit {
            return Err(ContextError::LargeFile { path: PathBuf::from(path), limit });
        }
        if size == 0 {
            return Ok(Some(Vec::new()));
        }
        let contents = Contents::new(store, false);
        self.register(&contents);
        contents.provide_files(&self.trees, &self.root, std::iter::once((content, path.as_bytes())))?;
        Ok(Some(contents.read(&content, path.as_bytes(), size)?))
    }
}
