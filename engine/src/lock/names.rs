//! Keys of a lock file and how people are told of them. No user name, password or query of a URL is in either.

use sha2::{Digest, Sha256};
use solver::GitSource;

use crate::net::redacted;
use crate::registry::Reference;

/// Digits that tell URLs apart whose queries are not shown.
const QUERY_DIGITS: usize = 12;

/// The normalised name of an image that a lock file may hold; `None` for names with a digest and those of this machine.
pub fn image_key(name: &str) -> Option<String> {
    let reference = Reference::parse(name).ok()?;
    let is_free = reference.digest.is_none() && reference.repository.host != "localhost";
    is_free.then(|| reference.full_name())
}

/// A URL as it may be written down: without user and password, and with a few digits of its hash for a query, which may be secret.
pub fn url_key(url: &str) -> String {
    let shown = redacted(url);
    let query = url.split('#').next().and_then(|url| url.split_once('?'));
    match query.filter(|_| shown.ends_with("?…")) {
        Some((_, query)) => {
            let digits = hex::encode(Sha256::digest(query));
            format!("{shown}{}", &digits[..QUERY_DIGITS])
        }
        None => shown,
    }
}

pub(super) fn git_key(source: &GitSource) -> (String, Option<String>) {
    (source.bare_url(), source.reference.clone())
}

pub(super) fn is_image(name: &str, key: &str) -> bool {
    name == key || image_key(name).is_some_and(|name| name == key)
}

pub(super) fn is_url(name: &str, key: &str) -> bool {
    name == key || url_key(name) == key
}

/// A URL alone means all its references.
pub(super) fn is_git(name: &str, (url, reference): &(String, Option<String>)) -> bool {
    GitSource::parse(name).is_ok_and(|named| {
        named.bare_url() == *url && (named.reference.is_none() || named.reference == *reference)
    })
}

pub(super) fn base_text(name: &str, platform: &str) -> String {
    format!("the base `{name}` for {platform}")
}

pub(super) fn http_text(url: &str) -> String {
    format!("the file `{url}`")
}

pub(super) fn git_text((url, reference): &(String, Option<String>)) -> String {
    match reference {
        Some(reference) => format!("the repository `{url}#{reference}`"),
        None => format!("the repository `{url}`"),
    }
}

pub(super) fn image_text(name: &str) -> String {
    format!("the container image `{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_urls_hold_no_secrets() {
        assert_eq!(url_key("https://me:pw@h/a#part"), "https://h/a");
        let key = url_key("https://h/a?token=x");
        assert!(key.starts_with("https://h/a?…") && key.len() == "https://h/a?…".len() + QUERY_DIGITS);
        assert_eq!(key, url_key("https://you@h/a?token=x#part"));
        assert_ne!(key, url_key("https://h/a?token=y"));
    }
}
