//! Names of images: how short ones are completed, and what is none.

use std::net::Ipv6Addr;

use crate::images::ImagesError;

/// Most bytes of a name without tag and digest (distribution's `NameTotalLengthMax`).
pub(crate) const NAME_LIMIT: usize = 255;

/// Docker Hub, as it is written in full names.
pub(crate) const DOCKER_HUB: &str = "docker.io";
/// Where its images are that nobody in particular makes.
const OFFICIAL: &str = "library/";

/// The full name an image is stored under: `localhost/` before short names, `:latest` where no tag is given; Docker Hub is
/// always called the same.
///
/// # Errors
/// When it is not a name by the rules of the distribution spec.
pub fn full_name(name: &str) -> Result<String, ImagesError> {
    let fail = |reason| ImagesError::Name { name: name.to_owned(), reason };
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    if name.contains('@') {
        return Err(fail("a digest cannot be given to a new image"));
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if let Some(tag) = tag
        && (tag.is_empty()
            || tag.len() > 128
            || !tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
            || !word(tag.as_bytes()[0]))
    {
        return Err(fail("the tag may have letters, digits, `_`, `.` and `-` only, 128 at most"));
    }
    let (domain, rest) = split_domain(path);
    if !domain.is_none_or(is_domain) {
        return Err(fail("what stands before the first `/` is not a host"));
    }
    if !rest.split('/').all(is_component) {
        return Err(fail(
            "each part may have lower-case letters and digits, and `.`, `_`, `__` or dashes between them, only",
        ));
    }
    let domain = match domain {
        Some("index.docker.io") => DOCKER_HUB,
        domain => domain.unwrap_or("localhost"),
    };
    let official = if domain == DOCKER_HUB && !rest.contains('/') { OFFICIAL } else { "" };
    if domain.len() + 1 + official.len() + rest.len() > NAME_LIMIT {
        return Err(fail("a name has 255 characters at most"));
    }
    Ok(format!("{domain}/{official}{rest}:{}", tag.unwrap_or("latest")))
}

/// `host[:port]`, where the host may be an address of IPv6 in brackets (distribution's grammar).
pub(crate) fn is_domain(domain: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some((address, port)) = domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_end = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_end && address.parse::<Ipv6Addr>().is_ok();
    }
    let (host, port) = domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        edge(label.bytes().next())
            && edge(label.bytes().last())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

/// Whether it can be a part of a path: letters and digits with single separators between them (distribution's grammar).
pub(crate) fn is_component(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_separator =
        |between: &str| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-');
    part.bytes().next().is_some_and(inner)
        && part.bytes().last().is_some_and(inner)
        && part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(is_separator)
}

/// The domain of a name, if its first part looks like one (distribution's rule).
pub(crate) fn split_domain(path: &str) -> (Option<&str>, &str) {
    match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, path),
    }
}

/// The full name of a name as Docker writes it: without a host it is Docker Hub's.
///
/// # Errors
/// As [`full_name`].
pub(crate) fn docker_name(name: &str) -> Result<String, ImagesError> {
    match split_domain(name) {
        (Some(_), _) => full_name(name),
        (None, path) => full_name(&format!("{DOCKER_HUB}/{path}")),
    }
}

/// Names a short name may stand for, best first.
pub(crate) fn candidates(asked: &str) -> Vec<String> {
    if asked.contains('@') {
        // Images pulled by digest have no other name.
        return crate::registry::Reference::parse(asked)
            .map(|reference| reference.full_name())
            .into_iter()
            .collect();
    }
    let Ok(local) = full_name(asked) else { return Vec::new() };
    let mut names = vec![local];
    names.extend(crate::registry::Reference::parse(asked).map(|reference| reference.full_name()));
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        for (given, full) in [
            ("app", "localhost/app:latest"),
            ("app:1.0", "localhost/app:1.0"),
            ("team/app", "localhost/team/app:latest"),
            ("quay.io/team/app:v1", "quay.io/team/app:v1"),
            ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest"),
            ("docker.io/app", "docker.io/library/app:latest"),
            ("docker.io/team/app:1", "docker.io/team/app:1"),
            ("index.docker.io/app", "docker.io/library/app:latest"),
            ("a.b/c__d/e---f_g", "a.b/c__d/e---f_g:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("[2001:db8::2]/team/app:1", "[2001:db8::2]/team/app:1"),
        ] {
            assert_eq!(full_name(given).unwrap(), full);
        }
        for wrong in [
            "",
            "App",
            "a//b",
            "a:",
            "a:b c",
            "../x",
            "a@sha256:00",
            "-a",
            "a..b",
            "a._b",
            "x/a___b",
            "a-.b",
            "[::1/a",
            "[x]/a",
            "[::1]:/a",
        ] {
            assert!(full_name(wrong).is_err(), "{wrong}");
        }
    }
}
