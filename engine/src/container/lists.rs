//! Lists of container images given on the command line: what to carry, what not, and what to fetch as whom (spec §3.1).
//!
//! It parses texts and reads no files. Every entry knows its line, so that whatever happens to its image later can be
//! told where it was asked for.

use std::collections::{HashMap, HashSet};

use thiserror::Error;

use crate::discover::listed;
use crate::images::ImagesError;
use crate::name;
use crate::pattern::{Pattern, PatternError};
use crate::registry::{Credential, Reference};
use crate::yaml::{self, Kind, Node};

/// The registry of references without one.
const DOCKER_HUB: &str = "docker.io";
/// What makes a pattern of a line; no reference has one of them.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Why a list cannot be used. No user name and no password is in here.
#[derive(Debug, Error)]
pub enum ListError {
    /// A line or an entry that names no image.
    #[error("{file}:{line}: {source}")]
    Reference {
        /// The list.
        file: String,
        /// Line, from 1.
        line: u64,
        /// What is wrong with it.
        source: Box<ImagesError>,
    },
    /// A wildcard that is none.
    #[error("{file}:{line}: {source}")]
    Pattern {
        /// The list.
        file: String,
        /// Line, from 1.
        line: u64,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A text that is not YAML, or not such a list.
    #[error("{file}:{line}: {reason}")]
    Shape {
        /// The list.
        file: String,
        /// Line, from 1.
        line: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A key that means nothing.
    #[error("{file}:{line}: there is no key `{key}`; there are registry, username, password and images")]
    Key {
        /// The list.
        file: String,
        /// Line, from 1.
        line: u64,
        /// The key.
        key: String,
    },
    /// An entry without a user or a password.
    #[error("{file}:{line}: must set username and password at imageListWithAuth.yaml")]
    Nobody {
        /// The list.
        file: String,
        /// Line the entry begins in, from 1.
        line: u64,
    },
    /// A registry that is no host.
    #[error("{file}:{line}: registry `{registry}` is not a host, such as quay.io or localhost:5000")]
    Registry {
        /// The list.
        file: String,
        /// Line, from 1.
        line: u64,
        /// As written.
        registry: String,
    },
    /// One repository for two users.
    #[error("{file}:{line}: `{repository}` has another user or password in line {earlier}")]
    Conflict {
        /// The list.
        file: String,
        /// Line, from 1.
        line: u64,
        /// The repository.
        repository: String,
        /// Line of the image that was first.
        earlier: u64,
    },
}

/// A line of a list of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The reference as written, without quotes and comment.
    pub reference: String,
    /// Line, from 1.
    pub line: u64,
}

/// Images to carry besides those that are found (`--image-list`).
#[derive(Debug)]
pub enum ImageList {}

impl ImageList {
    /// Reads a reference a line. Blank lines do not count, nor lines that begin with `#`, nor what stands behind a blank
    /// and a `#`; quotes around a reference are taken off. `name` is what errors call the list.
    ///
    /// # Errors
    /// At the first line that is no reference.
    pub fn parse(name: &str, text: &str) -> Result<Vec<Listed>, ListError> {
        let one = |(line, text): (u64, &str)| match Reference::normalised(text) {
            Ok(_) => Ok(Listed { reference: text.to_owned(), line }),
            Err(error) => Err(no_reference(name, line, error)),
        };
        listed(text).map(one).collect()
    }
}

/// Images not to carry (`--ignored-image-list`).
///
/// What is compared is the reference as distribution normalises it ([`Reference::normalised`]): with its host, with
/// `library/`, and with no tag that was not written. A line without wildcards stands for exactly that reference in every
/// spelling: `nginx` and `docker.io/library/nginx` are the same, `nginx:1.25` and `nginx:latest` are others.
///
/// A line with `*`, `?` or `[…]` is a pattern of such references, of whole ones or of ones without digest or tag: `nginx*`
/// ignores `nginx:1.25`, and `quay.io/*/web` ignores `quay.io/team/web:2`. `*` stays within a part of the path, `**` does
/// not. A pattern without a host is Docker Hub's, as a reference is; it has one if the part before the first `/` has a
/// `.`, a `:` or a `*`, or if it begins with `**`.
#[derive(Debug, Clone, Default)]
pub struct Ignored {
    references: HashSet<String>,
    patterns: Vec<Pattern>,
}

impl Ignored {
    /// Reads a reference or a pattern a line, with comments as in [`ImageList::parse`].
    ///
    /// # Errors
    /// At the first line that is neither.
    pub fn parse(name: &str, text: &str) -> Result<Self, ListError> {
        let mut ignored = Self::default();
        for (line, text) in listed(text) {
            let fail = |error| no_reference(name, line, error);
            if !text.contains(WILDCARDS) {
                ignored.references.insert(Reference::normalised(text).map_err(fail)?);
                continue;
            }
            if text.contains(char::is_whitespace) {
                let reason = "a pattern of references has no blanks";
                return Err(fail(ImagesError::Name { name: text.to_owned(), reason }));
            }
            let pattern = Pattern::ignore(&with_host(text));
            ignored.patterns.push(pattern.map_err(|source| ListError::Pattern {
                file: name.to_owned(),
                line,
                source,
            })?);
        }
        Ok(ignored)
    }

    /// Whether an image is ignored, by its normalised reference.
    pub fn matches(&self, normalised: &str) -> bool {
        let without_digest = normalised.split_once('@').map_or(normalised, |(rest, _)| rest);
        let without_tag = match without_digest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => rest,
            _ => without_digest,
        };
        self.references.contains(normalised)
            || self.patterns.iter().any(|pattern| {
                [normalised, without_digest, without_tag]
                    .iter()
                    .any(|reference| pattern.matches(reference.as_bytes()))
            })
    }
}

/// A pattern with its host and `library/`, as references have them.
fn with_host(pattern: &str) -> String {
    let (host, path) = match pattern.split_once('/') {
        None if pattern.starts_with("**") => return pattern.to_owned(),
        Some((first, rest)) if first.contains(['.', ':', '*']) || first == "localhost" => (first, rest),
        _ => (DOCKER_HUB, pattern),
    };
    let host = if host == "index.docker.io" { DOCKER_HUB } else { host };
    let is_official = host == DOCKER_HUB && !path.contains('/') && !path.starts_with("**");
    format!("{host}/{}{path}", if is_official { "library/" } else { "" })
}

/// An image that is fetched as somebody (`--image-list-with-auth`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithAuth {
    /// The normalised reference; without a host of its own it has its entry's registry.
    pub reference: String,
    /// As written.
    pub written: String,
    /// Whom to be for its repository, and for no other.
    pub credential: Credential,
    /// Line, from 1.
    pub line: u64,
}

impl WithAuth {
    /// Reads a YAML list of `{registry, username, password, images}`. `registry` may be left out, and is Docker Hub then.
    ///
    /// # Errors
    /// When it is not such a list, an entry has no user or no password, or one repository has two.
    pub fn parse(name: &str, text: &str) -> Result<Vec<Self>, ListError> {
        let fail = |line: usize, reason: String| shape(name, line, reason);
        let documents = yaml::documents(text).map_err(|error| fail(error.line, error.reason))?;
        let mut all = Vec::new();
        let mut known: HashMap<String, (Credential, u64)> = HashMap::new();
        for document in documents {
            let entries = match &document.kind {
                Kind::List(entries) => entries,
                Kind::Scalar { .. } if document.scalar().is_none() => continue,
                _ => return Err(fail(document.line, format!("a list is wanted, of {KEYS_WANTED}"))),
            };
            for entry in entries {
                all.extend(Entry::read(name, entry)?.images(name)?);
            }
        }
        for image in &all {
            let reference = Reference::parse(&image.reference);
            let reference = reference.map_err(|error| no_reference(name, image.line, error))?;
            let repository = reference.repository.to_string();
            let (credential, earlier) =
                known.entry(repository.clone()).or_insert_with(|| (image.credential.clone(), image.line));
            if *credential != image.credential {
                let (file, line, earlier) = (name.to_owned(), image.line, *earlier);
                return Err(ListError::Conflict { file, line, repository, earlier });
            }
        }
        Ok(all)
    }
}

/// What an entry of a list with credentials is.
const KEYS_WANTED: &str = "mappings with registry, username, password and images";

/// An entry of a list with credentials.
#[derive(Default)]
struct Entry<'n> {
    registry: Option<&'n Node>,
    username: Option<&'n Node>,
    password: Option<&'n Node>,
    images: Option<&'n Node>,
    line: usize,
}

impl<'n> Entry<'n> {
    fn read(name: &str, node: &'n Node) -> Result<Self, ListError> {
        let Kind::Map(fields) = &node.kind else {
            return Err(shape(name, node.line, format!("a mapping is wanted, one of {KEYS_WANTED}")));
        };
        let mut entry = Self { line: node.line, ..Self::default() };
        for (key, value) in fields {
            let text = match &key.kind {
                Kind::Scalar { text, .. } => text.as_str(),
                _ => return Err(shape(name, key.line, format!("a key is wanted of {KEYS_WANTED}"))),
            };
            let field = match text {
                "registry" => &mut entry.registry,
                "username" => &mut entry.username,
                "password" => &mut entry.password,
                "images" => &mut entry.images,
                other => {
                    let (file, line, key) = (name.to_owned(), key.line as u64, other.to_owned());
                    return Err(ListError::Key { file, line, key });
                }
            };
            if field.replace(value).is_some() {
                return Err(shape(name, key.line, format!("`{text}` is there twice")));
            }
        }
        Ok(entry)
    }

    fn images(&self, name: &str) -> Result<Vec<WithAuth>, ListError> {
        let text = |key: &str, node: Option<&'n Node>| node.map_or(Ok(""), |node| text_of(name, key, node));
        let (user, password) = (text("`username`", self.username)?, text("`password`", self.password)?);
        if user.is_empty() || password.is_empty() {
            return Err(ListError::Nobody { file: name.to_owned(), line: self.line as u64 });
        }
        let credential = Credential::Password { user: user.to_owned(), password: password.to_owned() };
        let registry = match text("`registry`", self.registry)? {
            "" => DOCKER_HUB,
            host if name::is_domain(host) && name::split_domain(&format!("{host}/x")).0.is_some() => host,
            other => {
                let line = self.registry.map_or(self.line, |node| node.line) as u64;
                return Err(ListError::Registry { file: name.to_owned(), line, registry: other.to_owned() });
            }
        };
        let images = match self.images {
            None => &[][..],
            Some(Node { kind: Kind::List(images), .. }) => images,
            Some(node) if matches!(node.kind, Kind::Scalar { .. }) && node.scalar().is_none() => &[],
            Some(node) => return Err(shape(name, node.line, "`images` is not a list".to_owned())),
        };
        let one = |node: &Node| {
            let (line, written) = (node.line as u64, text_of(name, "an image", node)?.trim().to_owned());
            let reference = Reference::normalised_in(registry, &written);
            let reference = reference.map_err(|error| no_reference(name, line, error))?;
            Ok(WithAuth { reference, written, credential: credential.clone(), line })
        };
        images.iter().map(one).collect()
    }
}

/// What was typed, numbers and truths too; nothing for null.
fn text_of<'n>(name: &str, what: &str, node: &'n Node) -> Result<&'n str, ListError> {
    match node.kind {
        Kind::List(_) | Kind::Map(_) => Err(shape(name, node.line, format!("{what} is not a text"))),
        Kind::Scalar { .. } => Ok(node.scalar().unwrap_or_default()),
    }
}

fn no_reference(name: &str, line: u64, source: ImagesError) -> ListError {
    ListError::Reference { file: name.to_owned(), line, source: Box::new(source) }
}

fn shape(name: &str, line: usize, reason: String) -> ListError {
    ListError::Shape { file: name.to_owned(), line: line as u64, reason }
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
