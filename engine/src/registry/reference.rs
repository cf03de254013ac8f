//! Where an image is in a registry: host, repository, and tag or digest (distribution-spec, `<name>` and `<reference>`).

use std::fmt;

use solver::BlobDigest;

use crate::images::ImagesError;
use crate::name;

/// The name people write for the registry that is the default, and the host that serves it.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    /// `host[:port]`, as in names of images.
    pub host: String,
    /// Path in the registry, such as `library/nginx`.
    pub path: String,
}

impl Repository {
    /// The repository of a full name, with or without a tag.
    pub fn of(full: &str) -> Option<Self> {
        let (host, rest) = full.split_once('/')?;
        let rest = rest.split_once('@').map_or(rest, |(path, _)| path);
        let path = rest.rsplit_once(':').map_or(rest, |(path, _)| path);
        Some(Self { host: host.to_owned(), path: path.to_owned() })
    }
}

/// The host that answers for a registry.
pub(super) fn server(host: &str) -> &str {
    match host {
        DOCKER_HUB | "index.docker.io" => DOCKER_HUB_HOST,
        host => host,
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Where it is.
    pub repository: Repository,
    /// The tag; `None` where a digest alone names it.
    pub tag: Option<String>,
    /// The manifest it must be.
    pub digest: Option<BlobDigest>,
}

impl Reference {
    /// Reads a name as people write it: without a host it is Docker Hub's, without tag and digest it is `latest`.
    ///
    /// # Errors
    /// When it is not a name by the rules of the distribution spec.
    pub fn parse(text: &str) -> Result<Self, ImagesError> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let (plain, digest) = match text.split_once('@') {
            Some((plain, digest)) => {
                let wrong = || ImagesError::Name {
                    name: text.to_owned(),
                    reason: "what follows `@` is no SHA-256 digest",
                };
                (plain, Some(digest.parse::<BlobDigest>().map_err(|_| wrong())?))
            }
            None => (text, None),
        };
        let full = name::docker_name(plain)?;
        let mut repository = Repository::of(&full).expect("a full name has a host");
        if server(&repository.host) == DOCKER_HUB_HOST {
            let library = if repository.path.contains('/') { "" } else { "library/" };
            repository =
                Repository { host: DOCKER_HUB.to_owned(), path: format!("{library}{}", repository.path) };
        }
        let has_tag = plain.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
        let tag = full.rsplit_once(':').map(|(_, tag)| tag.to_owned());
        Ok(Self { repository, tag: tag.filter(|_| has_tag || digest.is_none()), digest })
    }

    /// What the registry is asked for.
    pub(super) fn asked(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The name it has in a store.
    pub fn full_name(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("{}@{digest}", self.repository),
            (None, Some(tag)) => format!("{}:{tag}", self.repository),
            (None, None) => format!("{}:latest", self.repository),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_hosts() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, host, path, asked) in [
            ("nginx", "registry-1.docker.io", "library/nginx", "latest"),
            ("team/a:1", "registry-1.docker.io", "team/a", "1"),
            ("docker.io/a:1", "registry-1.docker.io", "library/a", "1"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000", "a/b", "latest"),
            ("docker://quay.io/a/b:v2", "quay.io", "a/b", "v2"),
            (&format!("quay.io/a@{digest}"), "quay.io", "a", &digest),
            (&format!("quay.io/a:3@{digest}"), "quay.io", "a", &digest),
        ] {
            let reference = Reference::parse(text).unwrap();
            let found =
                (server(&reference.repository.host), reference.repository.path.as_str(), reference.asked());
            assert_eq!(found, (host, path, asked.to_owned()), "{text}");
        }
        for wrong in ["a@sha256:00", "A/b", "", "a@b@c"] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }
}
