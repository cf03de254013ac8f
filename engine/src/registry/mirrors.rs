//! Mirrors: other registries that are asked first for what a registry has.
//!
//! Only what is read comes from mirrors, and what has a digest is checked against it, so a mirror can withhold content and
//! not change it. What a tag leads to is believed of a mirror as it is of the registry. A mirror is somebody of its own:
//! with its own credentials, its own trust, and its own tokens.

use std::fmt;
use std::sync::Arc;

use cache::with_causes;
use thiserror::Error;

use super::Registry;
use super::error::RegistryError;
use super::host::{Host, Role};
use super::reference::{Repository, server};
use crate::name;

/// A text that says no mirror.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} is no mirror of a registry: {reason}", .given.as_ref().map_or_else(|| "a word with a password".to_owned(), |given| format!("`{given}`")))]
pub struct MirrorError {
    /// As given; `None` where it may hold a password.
    pub given: Option<String>,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A mirror of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry it stands for, as in names of images; Docker Hub is `docker.io`.
    pub registry: String,
    /// Its own host.
    pub host: String,
    /// Where below it the registry's repositories are; empty for a mirror of one registry.
    pub prefix: String,
    /// Whether it is spoken to by HTTP.
    pub is_plain: bool,
}

impl Mirror {
    /// Reads `HOST=MIRROR`, where the mirror is `[http://|https://]host[:port][/prefix]`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &str) -> Result<Self, MirrorError> {
        let wrong = |reason| {
            let given = (!text.contains('@')).then(|| text.to_owned());
            MirrorError { given, reason }
        };
        let (registry, mirror) = text.split_once('=').ok_or_else(|| wrong("it has no `=`"))?;
        if !name::is_domain(registry) {
            return Err(wrong("what stands before `=` is not the host of a registry"));
        }
        if mirror.contains('@') {
            return Err(wrong("credentials do not belong there"));
        }
        let (is_plain, bare) = match (mirror.strip_prefix("http://"), mirror.strip_prefix("https://")) {
            (Some(bare), _) => (true, bare),
            (None, bare) => (false, bare.unwrap_or(mirror)),
        };
        let bare = bare.trim_end_matches('/');
        let (host, prefix) = bare.split_once('/').unwrap_or((bare, ""));
        if !name::is_domain(host) {
            return Err(wrong("the mirror is `[http://|https://]host[:port][/prefix]`"));
        }
        if !prefix.is_empty() && !prefix.split('/').all(name::is_component) {
            return Err(wrong("the mirror's prefix is not the path of a repository"));
        }
        Ok(Self { registry: registry.to_owned(), host: host.to_owned(), prefix: prefix.to_owned(), is_plain })
    }

    /// The place of a repository, if it is mirrored here.
    fn place(&self, repository: &Repository) -> Option<Place> {
        if server(&self.registry) != server(&repository.host) {
            return None;
        }
        let joined = if self.prefix.is_empty() { "" } else { "/" };
        let path = format!("{}{joined}{}", self.prefix, repository.path);
        let role = if self.is_plain { Role::PlainMirror } else { Role::Mirror };
        Some(Place { repository: Repository { host: self.host.clone(), path }, role })
    }
}

/// Where a repository's content is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) repository: Repository,
    pub(super) role: Role,
}

impl Place {
    /// The registry itself.
    pub(super) fn itself(repository: &Repository) -> Self {
        Self { repository: repository.clone(), role: Role::Registry }
    }
}

/// A mirror that was of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The repository there.
    pub repository: String,
    /// Why it was passed over.
    pub reason: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.repository, self.reason)
    }
}

impl Registry {
    /// Gives the way mirrors, which are asked in this order.
    #[must_use]
    pub fn with_mirrors(mut self, mirrors: Vec<Mirror>) -> Self {
        self.mirrors = mirrors;
        self
    }

    /// Asks the mirrors of a repository's registry, and then the registry itself: the first good answer counts. A mirror
    /// that has not got it, refuses, lies or does not answer is passed over; one that nobody answers at is not asked again.
    ///
    /// # Errors
    /// The registry's own, with the mirrors that were tried; what is wrong on this side, at once.
    pub(super) fn read<T>(
        &self,
        repository: &Repository,
        ask: &mut dyn FnMut(&Place) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut tried = Vec::new();
        for place in self.mirrors.iter().filter_map(|mirror| mirror.place(repository)) {
            let reason = if self.host_of(&place).is_silent() {
                "it did not answer before".to_owned()
            } else {
                match ask(&place) {
                    Ok(answer) => return Ok(answer),
                    Err(error) if error.is_ours() => return Err(error),
                    Err(error) => with_causes(&error),
                }
            };
            tried.push(Tried { repository: place.repository.to_string(), reason });
        }
        ask(&Place::itself(repository)).map_err(|error| match tried.is_empty() || error.is_ours() {
            true => error,
            false => RegistryError::Mirrored { source: Box::new(error), tried },
        })
    }

    /// Who answers at a place.
    pub(super) fn host_of(&self, place: &Place) -> Arc<Host> {
        self.host_as(&place.repository.host, place.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_read() {
        let place = |text: &str, host: &str, path: &str| {
            let repository = Repository { host: host.into(), path: path.into() };
            let place = Mirror::parse(text).unwrap().place(&repository)?;
            Some((place.repository.to_string(), place.role))
        };
        let found = |place: &str, role| Some((place.to_owned(), role));
        for (text, host, path, wanted) in [
            ("quay.io=m:5000", "quay.io", "a/b", found("m:5000/a/b", Role::Mirror)),
            ("quay.io=https://m/", "quay.io", "a", found("m/a", Role::Mirror)),
            (
                "docker.io=http://m/hub/x",
                "docker.io",
                "library/a",
                found("m/hub/x/library/a", Role::PlainMirror),
            ),
            ("registry-1.docker.io=m", "docker.io", "library/a", found("m/library/a", Role::Mirror)),
            ("localhost:5000=m", "localhost:5000", "a", found("m/a", Role::Mirror)),
            ("quay.io=m", "docker.io", "a", None),
            ("quay.io=m", "quay.io:443", "a", None),
        ] {
            assert_eq!(place(text, host, path), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_mirror_is_refused_without_telling_passwords() {
        for (text, wanted) in [
            ("quay.io", "`quay.io` is no mirror of a registry: it has no `=`"),
            ("=m", "before `=`"),
            ("quay.io/a=m", "before `=`"),
            ("https://quay.io=m", "before `=`"),
            ("quay.io=", "the mirror is"),
            ("quay.io=ftp://m", "the mirror is"),
            ("quay.io=m?x", "the mirror is"),
            ("quay.io=m/a//b", "prefix"),
            ("quay.io=m/A", "prefix"),
            ("quay.io=m/a?x=y", "prefix"),
            ("quay.io=http://me:hunter2@m", "credentials do not belong there"),
        ] {
            let error = Mirror::parse(text).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
