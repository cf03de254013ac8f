//! What is fetched with git, and how people write it: `URL#REFERENCE:DIRECTORY`.
//!
//! Everything that will stand on a command line of git is checked here: only transports that need no program of the
//! user's choosing, no word that could be taken for an option, no character that a reference cannot have.

use thiserror::Error;

/// The files of a commit. Output: a tree, owned by 0:0.
#[derive(Clone, PartialEq, Eq)]
pub struct GitSource {
    /// The URL without its fragment, as written, after expansion. It may hold credentials.
    pub url: String,
    /// A branch, a tag, a full reference or a commit's id; `None` is what the repository's HEAD points at.
    pub reference: Option<String>,
    /// Directory inside the repository, cleaned, no leading `/`; `.` is all of it.
    pub subdir: String,
    /// Whether a `.git` directory is part of the output.
    pub keep_git_dir: bool,
    /// The id the commit must have, if pinned by the user.
    pub checksum: Option<String>,
}

/// A text that names no repository that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GitUrlError {
    /// Another transport.
    #[error("git repositories are fetched by https://, http://, ssh://, git:// or USER@HOST:PATH")]
    Scheme,
    /// No usable host or path.
    #[error("the git URL has no {0}")]
    Missing(&'static str),
    /// Something that git could misunderstand.
    #[error("the git URL has a {0}")]
    Unsafe(&'static str),
    /// Credentials where none are sent.
    #[error("credentials cannot be given in a URL of {0}://")]
    Credentials(&'static str),
    /// No name of a reference.
    #[error("`{0}` cannot be the name of a branch, a tag or a commit")]
    Reference(String),
    /// Out of the repository.
    #[error("the directory `{0}` is not inside the repository")]
    Directory(String),
}

impl std::fmt::Debug for GitSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitSource")
            .field("shown", &self.shown())
            .field("keep_git_dir", &self.keep_git_dir)
            .field("checksum", &self.checksum)
            .finish()
    }
}

impl GitSource {
    /// Whether a text means a git repository rather than a file or a directory, as Docker decides.
    pub fn is_meant(text: &str) -> bool {
        let plain = text.split('#').next().unwrap_or_default();
        let is_web = plain.starts_with("http://") || plain.starts_with("https://");
        plain.starts_with("git://")
            || plain.starts_with("ssh://")
            || plain.starts_with("git@")
            || (is_web && plain.ends_with(".git"))
    }

    /// Reads `URL[#[REFERENCE][:DIRECTORY]]`.
    ///
    /// # Errors
    /// [`GitUrlError`]; it holds nothing of the URL, which may be secret.
    pub fn parse(text: &str) -> Result<Self, GitUrlError> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        check_url(url)?;
        let reference = Some(reference).filter(|reference| !reference.is_empty());
        if let Some(wrong) = reference.filter(|reference| !is_reference(reference)) {
            return Err(GitUrlError::Reference(wrong.to_owned()));
        }
        let names = || subdir.split('/').filter(|name| !matches!(*name, "" | "."));
        if names().any(|name| name == ".." || name.contains(char::is_control)) {
            return Err(GitUrlError::Directory(subdir.to_owned()));
        }
        let cleaned = names().collect::<Vec<_>>().join("/");
        Ok(Self {
            url: url.to_owned(),
            reference: reference.map(as_reference),
            subdir: if cleaned.is_empty() { ".".to_owned() } else { cleaned },
            keep_git_dir: false,
            checksum: None,
        })
    }

    /// The commit's id, where the text says it.
    pub fn commit(&self) -> Option<&str> {
        self.reference.as_deref().filter(|reference| is_commit(reference))
    }

    /// The URL without user name and password.
    pub fn bare_url(&self) -> String {
        match self.url.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => {
                let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
                format!("{scheme}://{}{path}", authority.rsplit('@').next().unwrap_or_default())
            }
            // A user name of ssh is part of the address, and nothing else can be there.
            _ => self.url.clone(),
        }
    }

    /// User name and password of the URL, percent-encoded as they stand there.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        let (scheme, rest) = self.url.split_once("://")?;
        let authority = rest.split('/').next()?;
        let (user, _) = authority.rsplit_once('@').filter(|_| matches!(scheme, "http" | "https"))?;
        Some(user.split_once(':').unwrap_or((user, "")))
    }

    /// The whole as people may see it.
    pub fn shown(&self) -> String {
        let mut shown = self.bare_url();
        if self.reference.is_some() || self.subdir != "." {
            shown.push('#');
            shown.push_str(self.reference.as_deref().unwrap_or_default());
        }
        if self.subdir != "." {
            shown.push(':');
            shown.push_str(&self.subdir);
        }
        shown
    }

    /// A whole commit id, SHA-1 or SHA-256, in lower case.
    pub fn commit_id(text: &str) -> Option<String> {
        is_commit(text).then(|| text.to_ascii_lowercase())
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Ids are written in lower case.
fn as_reference(text: &str) -> String {
    if is_commit(text) { text.to_ascii_lowercase() } else { text.to_owned() }
}

fn check_url(url: &str) -> Result<(), GitUrlError> {
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(GitUrlError::Unsafe("space or a control character"));
    }
    let at_path = |rest: &'_ str| rest.find('/').unwrap_or(rest.len());
    match url.split_once("://") {
        Some(("http" | "https", rest)) => {
            let (authority, path) = rest.split_at(at_path(rest));
            if path.contains('?') {
                return Err(GitUrlError::Unsafe("query"));
            }
            check_host(authority.rsplit('@').next().unwrap_or_default())?;
            if path.len() > 1 { Ok(()) } else { Err(GitUrlError::Missing("path")) }
        }
        Some(("ssh", rest)) => check_address("ssh", rest.split_at(at_path(rest))),
        Some(("git", rest)) => check_address("git", rest.split_at(at_path(rest))),
        None if url.starts_with("git@") => check_address("ssh", url.split_once(':').unwrap_or((url, ""))),
        Some(_) | None => Err(GitUrlError::Scheme),
    }
}

/// `[USER@]HOST` and a path, of transports that start programs of their own.
fn check_address(scheme: &'static str, (authority, path): (&str, &str)) -> Result<(), GitUrlError> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    match user {
        Some(user) if user.contains(':') || scheme == "git" => return Err(GitUrlError::Credentials(scheme)),
        Some(user) if !is_plain(user) => return Err(GitUrlError::Unsafe("user name of other characters")),
        _ => check_host(host)?,
    }
    match path.trim_start_matches('/').chars().next() {
        None => Err(GitUrlError::Missing("path")),
        Some('-') => Err(GitUrlError::Unsafe("path that starts with `-`")),
        Some(_) => Ok(()),
    }
}

/// `NAME[:PORT]`; an address of IPv6 stands in brackets.
fn check_host(host: &str) -> Result<(), GitUrlError> {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let fits = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || c == ':' && host.starts_with('[')
    };
    if name.is_empty() {
        return Err(GitUrlError::Missing("host"));
    }
    if name.starts_with('-') || !name.chars().all(fits) {
        return Err(GitUrlError::Unsafe("host of other characters"));
    }
    match port {
        Some(port) if port.parse::<u16>().is_err() => Err(GitUrlError::Unsafe("port that is no number")),
        _ => Ok(()),
    }
}

fn is_plain(user: &str) -> bool {
    !user.is_empty()
        && !user.starts_with('-')
        && user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// What git's own check of names of references lets through (`git check-ref-format`), and never an option.
fn is_reference(name: &str) -> bool {
    let is_component = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !name.starts_with('-')
        && name != "@"
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(|c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, '~' | '^' | ':' | '?' | '*' | '[' | '\\')
        })
        && name.split('/').all(is_component)
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
