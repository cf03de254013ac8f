//! Container images made from a seed, and the registry on loopback that serves them.

pub mod images;
pub mod registry;
