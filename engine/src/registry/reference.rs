//! Where an image is in a registry: host, repository, and tag or digest (distribution-spec, `<name>` and `<reference>`).

use std::fmt;

use solver::BlobDigest;

use crate::images::ImagesError;
use crate::name;

/// The name people write for the registry that is the default, and the host that serves it.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Digits of an image's id, which distribution takes for no name.
const ID_DIGITS: usize = 64;

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
        let mut reference = Self::as_written(text.strip_prefix("docker://").unwrap_or(text))?;
        if reference.digest.is_none() {
            reference.tag.get_or_insert_with(|| "latest".to_owned());
        }
        Ok(reference)
    }

    /// A reference spelled out as distribution's `ParseNormalizedNamed` does it: with its host, with `library/` where that
    /// belongs, with the tag and digest that were given and no other.
    ///
    /// # Errors
    /// When distribution would refuse it, or it has a digest that is not SHA-256.
    pub fn normalised(text: &str) -> Result<String, ImagesError> {
        Self::normalised_in(DOCKER_HUB, text)
    }

    /// The same, where a reference without a host belongs to another registry than Docker Hub.
    ///
    /// # Errors
    /// As [`Reference::normalised`].
    pub(crate) fn normalised_in(registry: &str, text: &str) -> Result<String, ImagesError> {
        let fail = |reason| ImagesError::Name { name: text.to_owned(), reason };
        if text.len() == ID_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fail("64 hexadecimal digits are the id of an image, not its name"));
        }
        let plain = text.split_once('@').map_or(text, |(plain, _)| plain);
        let full = match name::split_domain(plain) {
            (Some(_), _) => text.to_owned(),
            (None, _) => format!("{registry}/{text}"),
        };
        // What was written is what the error is about.
        let reference = Self::as_written(&full).map_err(|error| match error {
            ImagesError::Name { reason, .. } => fail(reason),
            other => other,
        })?;
        if reference.repository.to_string().len() > name::NAME_LIMIT {
            return Err(fail("a name has 255 characters at most"));
        }
        Ok(reference.to_string())
    }

    /// Reads a name, and gives it no tag that it has not.
    fn as_written(text: &str) -> Result<Self, ImagesError> {
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
        Ok(Self { repository, tag: tag.filter(|_| has_tag), digest })
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
            ("[::1]:5000/a/b", "[::1]:5000", "a/b", "latest"),
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

    #[test]
    fn references_are_normalised_as_distribution_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, wanted) in [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("docker.io/nginx", "docker.io/library/nginx"),
            ("index.docker.io/x", "docker.io/library/x"),
            ("index.docker.io/team/x:1", "docker.io/team/x:1"),
            ("team/x", "docker.io/team/x"),
            ("localhost/x", "localhost/x"),
            ("127.0.0.1:5000/a/b:V1", "127.0.0.1:5000/a/b:V1"),
            ("quay.io/a.b/c__d/e---f", "quay.io/a.b/c__d/e---f"),
            (&format!("x@{digest}"), &format!("docker.io/library/x@{digest}")),
            (&format!("quay.io/a/b:v1@{digest}"), &format!("quay.io/a/b:v1@{digest}")),
        ] {
            assert_eq!(Reference::normalised(text).unwrap(), wanted, "{text}");
            // It is a fixed point, and the same image.
            assert_eq!(Reference::normalised(wanted).unwrap(), wanted);
            assert_eq!(Reference::parse(wanted).unwrap(), Reference::parse(text).unwrap(), "{text}");
        }
        for wrong in [
            "",
            "a b",
            "Nginx",
            "docker.io/Nginx",
            "a..b",
            "a._b",
            "a___b",
            "-a",
            "a:",
            "a/",
            "docker://quay.io/a",
            "https://quay.io/a",
            "nginx@sha256:00",
            "nginx:1@",
            "{{ .Values.x }}",
            &"a".repeat(64),
            &"x/".repeat(130),
            &format!("{}x", "x/".repeat(130)),
        ] {
            let error = Reference::normalised(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{wrong}` is not an image name")), "{error}");
        }
        assert_eq!(Reference::normalised_in("quay.io", "a/b:1").unwrap(), "quay.io/a/b:1");
        assert_eq!(Reference::normalised_in("quay.io", "gcr.io/a").unwrap(), "gcr.io/a");
        assert_eq!(Reference::normalised_in("index.docker.io", "a").unwrap(), "docker.io/library/a");
    }
}
