//! One command a file.

pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod diff;
pub(crate) mod graph;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod man;
pub(crate) mod manifest;
pub(crate) mod merge;
pub(crate) mod mount;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rmi;
pub(crate) mod save;
pub(crate) mod search;
pub(crate) mod tag;
pub(crate) mod version;

use std::path::Path;

use ::cache::Store;

use crate::report::Failure;

/// The store, which must exist: nothing is known of an image where there is none.
fn existing_store(root: &Path, asked: &str) -> Result<Store, Failure> {
    let not_found = || engine::ImagesError::NotFound { name: asked.to_owned(), tried: Vec::new() };
    Ok(Store::open_existing(root)?.ok_or_else(not_found)?)
}
