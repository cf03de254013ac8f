//! Sources: where trees come from. One file for each scheme.

pub mod http;
pub mod image;
pub mod local;
