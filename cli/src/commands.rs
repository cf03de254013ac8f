//! One command a file.

pub(crate) mod build;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod version;
