//! What names resolved to when it was written down (`Kubefile.lock`): bases, HTTP sources, git references and container images.
//!
//! A [`Lock`] is data, a [`Locking`] is its use in one build. The format of the file is not known here.
//! No user name, password or query of a URL is in either.

mod locking;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use solver::BlobDigest;
use thiserror::Error;

use crate::net::plain_name;

pub use self::locking::Locking;
use self::names::{base_text, git_text, http_text, image_text};
pub use self::names::{image_key, url_key};

/// What an HTTP source is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPin {
    /// The checksum of the body.
    pub sha256: BlobDigest,
    /// The name of the file, where the URL says none.
    pub file_name: Option<String>,
}

impl HttpPin {
    /// A pin; `None` if the name cannot be a file's.
    pub fn new(sha256: BlobDigest, file_name: Option<String>) -> Option<Self> {
        let is_plain = |name: &String| plain_name(name.clone().into_bytes()).is_some();
        file_name.as_ref().is_none_or(is_plain).then_some(Self { sha256, file_name })
    }
}

/// What names led to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// Bases by normalised name and platform: the manifest, or the index that it is chosen from.
    pub bases: BTreeMap<(String, String), BlobDigest>,
    /// HTTP sources by [`url_key`].
    pub http: BTreeMap<String, HttpPin>,
    /// Commits by URL and reference; no reference is the repository's HEAD.
    pub git: BTreeMap<(String, Option<String>), String>,
    /// Container images by normalised name: manifest or index.
    pub images: BTreeMap<String, BlobDigest>,
}

impl Lock {
    /// Everything in it, as people may call it, with what it is to be.
    fn entries(&self) -> BTreeMap<String, String> {
        let bases = self.bases.iter();
        let bases = bases.map(|((name, platform), digest)| (base_text(name, platform), digest.to_string()));
        let http = self.http.iter().map(|(url, pin)| (http_text(url), format!("{pin:?}")));
        let git = self.git.iter().map(|(key, commit)| (git_text(key), commit.clone()));
        let images = self.images.iter().map(|(name, digest)| (image_text(name), digest.to_string()));
        bases.chain(http).chain(git).chain(images).collect()
    }

    /// What the other has and this has not, in words.
    pub fn lacks(&self, other: &Self) -> Vec<String> {
        let own = self.entries();
        other.entries().into_keys().filter(|entry| !own.contains_key(entry)).collect()
    }

    /// What both have, but not with the same value, in words.
    pub fn differs(&self, other: &Self) -> Vec<String> {
        let own = self.entries();
        let is_other = |(entry, value): &(String, String)| own.get(entry).is_some_and(|own| own != value);
        other.entries().into_iter().filter(is_other).map(|(entry, _)| entry).collect()
    }
}

/// How a build uses a lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockPolicy {
    /// Its entries count; everything else is resolved.
    Use,
    /// Its entries count, and none may be missing.
    Demand,
    /// Everything is resolved again.
    RefreshAll,
    /// These images and URLs are resolved again.
    Refresh(BTreeSet<String>),
}

/// Why something is not as the lock file has it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LockError {
    /// It is not in there.
    #[error("`{file}` does not have {what}")]
    Missing {
        /// The lock file.
        file: String,
        /// What was asked for.
        what: String,
    },
    /// A URL gives something else now.
    #[error("`{url}` has the checksum sha256:{found}, not sha256:{expected} as in `{file}`")]
    Changed {
        /// The lock file.
        file: String,
        /// As it stands in there.
        url: String,
        /// In there.
        expected: String,
        /// As downloaded.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_is_no_path() {
        let pin = |name: &str| HttpPin::new(BlobDigest::from_bytes([1; 32]), Some(name.into()));
        assert!(pin("x").is_some());
        assert!(pin("../x").is_none());
    }
}
