//! Sources: where trees come from. One file for each scheme.

pub mod context;
pub mod git;
pub mod http;
pub mod image;
pub mod local;
pub mod packed;
pub mod tarball;
