//! What a base has of container images: what it says, or, where it says nothing, the files of its registry.

use std::collections::HashSet;

use super::layout::{ROOT, revision_link, tag_link};
use crate::registry::Reference;
use crate::state::{Found, State};
use crate::tree::{Node, TreeError, Trees};

/// The files of a registry's store that are in an image already, by path.
#[derive(Debug, Clone, Default)]
pub(super) struct Present(HashSet<String>);

impl Present {
    /// Those of a state.
    ///
    /// # Errors
    /// When a directory is missing.
    pub(super) fn in_state(trees: &Trees<'_>, state: &State) -> Result<Self, TreeError> {
        let mut paths = HashSet::new();
        if let Found::Dir { parts, .. } = state.look_up(trees, ROOT.as_bytes())? {
            let tree = State::merged(trees, &parts)?;
            trees.walk::<TreeError>(&tree, &mut |path, entry| {
                if let (Node::File { .. }, Ok(path)) = (&entry.node, std::str::from_utf8(path)) {
                    paths.insert(format!("{ROOT}/{path}"));
                }
                Ok(())
            })?;
        }
        Ok(Self(paths))
    }

    /// Whether a file is there. What is at such a path follows from the path, but for what a tag leads to.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains(path)
    }

    /// Whether an image is there, whatever its host: nobody has to be asked for it.
    pub(super) fn has_image(&self, reference: &Reference) -> bool {
        let path = &reference.repository.path;
        match (&reference.digest, &reference.tag) {
            (Some(digest), _) => self.has(&revision_link(path, digest)),
            (None, Some(tag)) => self.has(&tag_link(path, tag)),
            (None, None) => false,
        }
    }
}
