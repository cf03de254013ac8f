//! The work of each op: pure functions from trees to a delta.

pub mod access;
pub mod accounts;
pub mod app;
pub mod archive;
pub mod exec;
pub mod file;
mod stub;

use solver::TreeDigest;

use crate::state::State;

/// What a vertex gives to those that use it.
#[derive(Debug, Clone)]
pub enum Input {
    /// Files of the build context; no whiteouts.
    Tree(TreeDigest),
    /// The one file behind a URL.
    Download(TreeDigest),
    /// A stage or an image.
    State(State),
}
