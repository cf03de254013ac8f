//! What names led to when somebody wrote it down (`Kubefile.lock`): bases, HTTP sources, git references and container
//! images, each with what it is to be.
//!
//! A [`Lock`] is data, a [`Locking`] is one build's dealing with it: who pins something asks it first and tells it then.
//! How the file looks is not known here. No user name, password or query of a URL is in either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use solver::{BlobDigest, GitSource, Platform};
use thiserror::Error;

use crate::net::{plain_name, redacted};
use crate::registry::Reference;

/// Digits that tell URLs apart whose queries are not shown.
const QUERY_DIGITS: usize = 12;

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

/// What a build makes of a lock file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockPolicy {
    /// What is there counts; the rest is resolved.
    Use,
    /// Nothing may be missing.
    Demand,
    /// Nothing of it counts.
    RefreshAll,
    /// These do not count: names of images, URLs.
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

/// A build's dealing with a lock file: what it has, and what the build asked for and got.
#[derive(Debug)]
pub struct Locking {
    file: String,
    old: Lock,
    policy: LockPolicy,
    /// Bases that nobody wants locked.
    free: BTreeSet<String>,
    seen: Mutex<Lock>,
}

impl Locking {
    /// What `file` has, and what is to be made of it.
    pub fn new(file: String, old: Lock, policy: LockPolicy) -> Self {
        Self { file, old, policy, free: BTreeSet::new(), seen: Mutex::default() }
    }

    /// Leaves images out that the command line named.
    pub fn without<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.free = names.into_iter().filter_map(image_key).collect();
        self
    }

    /// What the file has.
    pub fn old(&self) -> &Lock {
        &self.old
    }

    /// What the build asked for, with what it got.
    pub fn seen(&self) -> Lock {
        self.lock().clone()
    }

    /// Names to be resolved anew that nothing of the build and nothing of the file has.
    pub fn unknown(&self) -> Vec<String> {
        let LockPolicy::Refresh(names) = &self.policy else { return Vec::new() };
        let seen = self.seen();
        let is_known = |name: &str| {
            [&self.old, &seen].iter().any(|lock| {
                lock.bases.keys().any(|(base, _)| is_image(name, base))
                    || lock.images.keys().any(|image| is_image(name, image))
                    || lock.http.keys().any(|url| is_url(name, url))
                    || lock.git.keys().any(|key| is_git(name, key))
            })
        };
        names.iter().filter(|name| !is_known(name)).cloned().collect()
    }

    /// The key of a base; `None` for one that needs no entry: it has a digest, is this machine's own, or the command
    /// line's.
    pub(crate) fn base_key(&self, name: &str) -> Option<String> {
        image_key(name).filter(|key| !self.free.contains(key))
    }

    /// Whether a base is to be resolved anew.
    pub(crate) fn refreshes_base(&self, key: &str) -> bool {
        self.refreshes(|name| is_image(name, key))
    }

    /// What a base is to be, by its normalised name; `None` where it is to be resolved.
    ///
    /// # Errors
    /// When it must be there and is not.
    pub fn base(&self, key: &str, platform: &Platform) -> Result<Option<BlobDigest>, LockError> {
        let of = (key.to_owned(), platform.to_string());
        let pin = self.old.bases.get(&of).copied();
        self.answer(pin, |name| is_image(name, key), || base_text(&of.0, &of.1))
    }

    /// What a base was resolved to.
    pub fn saw_base(&self, key: &str, platform: &Platform, digest: BlobDigest) {
        self.lock().bases.insert((key.to_owned(), platform.to_string()), digest);
    }

    /// What an HTTP source is to be; `None` where the server is to be asked.
    ///
    /// # Errors
    /// When it must be there and is not.
    pub fn http(&self, url: &str) -> Result<Option<HttpPin>, LockError> {
        let key = url_key(url);
        self.answer(self.old.http.get(&key).cloned(), |name| is_url(name, &key), || http_text(&key))
    }

    /// What an HTTP source was.
    pub fn saw_http(&self, url: &str, pin: HttpPin) {
        self.lock().http.insert(url_key(url), pin);
    }

    /// The error of an HTTP source that is not what it is to be.
    pub(crate) fn changed(&self, url: &str, expected: String, found: String) -> LockError {
        LockError::Changed { file: self.file.clone(), url: url_key(url), expected, found }
    }

    /// The commit of a git source; `None` where the server is to be asked.
    ///
    /// # Errors
    /// When it must be there and is not.
    pub fn git(&self, source: &GitSource) -> Result<Option<String>, LockError> {
        let key = git_key(source);
        self.answer(self.old.git.get(&key).cloned(), |name| is_git(name, &key), || git_text(&key))
    }

    /// What the reference of a git source led to.
    pub fn saw_git(&self, source: &GitSource, commit: &str) {
        self.lock().git.insert(git_key(source), commit.to_owned());
    }

    /// What a container image is to be, by its normalised name; `None` where it is to be resolved.
    ///
    /// # Errors
    /// When it must be there and is not.
    pub fn image(&self, key: &str) -> Result<Option<BlobDigest>, LockError> {
        self.answer(self.old.images.get(key).copied(), |name| is_image(name, key), || image_text(key))
    }

    /// What a container image was resolved to.
    pub fn saw_image(&self, key: &str, digest: BlobDigest) {
        self.lock().images.insert(key.to_owned(), digest);
    }

    fn answer<T>(
        &self,
        pin: Option<T>,
        is_meant: impl Fn(&str) -> bool,
        what: impl Fn() -> String,
    ) -> Result<Option<T>, LockError> {
        match pin {
            None if self.policy == LockPolicy::Demand => {
                Err(LockError::Missing { file: self.file.clone(), what: what() })
            }
            pin => Ok(pin.filter(|_| !self.refreshes(is_meant))),
        }
    }

    fn refreshes(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        match &self.policy {
            LockPolicy::Use | LockPolicy::Demand => false,
            LockPolicy::RefreshAll => true,
            LockPolicy::Refresh(names) => names.iter().any(|name| is_meant(name)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lock> {
        // Only whole entries are put behind it.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The normalised name of an image that a lock file may hold; `None` for names with a digest and those of this machine.
pub fn image_key(name: &str) -> Option<String> {
    let reference = Reference::parse(name).ok()?;
    let is_free = reference.digest.is_none() && reference.repository.host != "localhost";
    is_free.then(|| reference.full_name())
}

/// A URL as it may be written down. Who asks makes no difference; a query does, but it may be secret, so that a few
/// digits stand for it.
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

fn git_key(source: &GitSource) -> (String, Option<String>) {
    (source.bare_url(), source.reference.clone())
}

fn is_image(name: &str, key: &str) -> bool {
    name == key || image_key(name).is_some_and(|name| name == key)
}

fn is_url(name: &str, key: &str) -> bool {
    name == key || url_key(name) == key
}

/// A URL alone means all its references.
fn is_git(name: &str, (url, reference): &(String, Option<String>)) -> bool {
    GitSource::parse(name).is_ok_and(|named| {
        named.bare_url() == *url && (named.reference.is_none() || named.reference == *reference)
    })
}

fn base_text(name: &str, platform: &str) -> String {
    format!("the base `{name}` for {platform}")
}

fn http_text(url: &str) -> String {
    format!("the file `{url}`")
}

fn git_text((url, reference): &(String, Option<String>)) -> String {
    match reference {
        Some(reference) => format!("the repository `{url}#{reference}`"),
        None => format!("the repository `{url}`"),
    }
}

fn image_text(name: &str) -> String {
    format!("the container image `{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> BlobDigest {
        BlobDigest::from_bytes([byte; 32])
    }

    fn amd64() -> Platform {
        Platform { os: "linux".into(), architecture: "amd64".into(), variant: None }
    }

    fn git(text: &str) -> GitSource {
        GitSource::parse(text).unwrap()
    }

    /// A build that sees one thing of each kind.
    fn seen(locking: &Locking) -> Lock {
        locking.saw_base("docker.io/library/a:1", &amd64(), digest(1));
        locking.saw_http("https://h/f?token=1", HttpPin::new(digest(2), None).unwrap());
        locking.saw_git(&git("https://h/r.git#main:dir"), &"a".repeat(40));
        locking.saw_image("quay.io/b:2", digest(3));
        locking.seen()
    }

    /// Whether base, file, repository and image are known.
    fn known(locking: &Locking) -> Result<[bool; 4], LockError> {
        Ok([
            locking.base("docker.io/library/a:1", &amd64())?.is_some(),
            locking.http("https://h/f?token=1")?.is_some(),
            locking.git(&git("https://h/r.git#main"))?.is_some(),
            locking.image("quay.io/b:2")?.is_some(),
        ])
    }

    fn with(policy: LockPolicy) -> Locking {
        let old = seen(&Locking::new("K.lock".into(), Lock::default(), LockPolicy::Use));
        Locking::new("K.lock".into(), old, policy)
    }

    #[test]
    fn a_policy_says_what_of_a_lock_counts() {
        let refresh = |names: &[&str]| LockPolicy::Refresh(names.iter().map(|&name| name.into()).collect());
        for (policy, wanted) in [
            (LockPolicy::Use, [true; 4]),
            (LockPolicy::Demand, [true; 4]),
            (LockPolicy::RefreshAll, [false; 4]),
            (refresh(&["a:1"]), [false, true, true, true]),
            (refresh(&["docker.io/library/a:1", "a:2"]), [false, true, true, true]),
            (refresh(&["https://me:pw@h/f?token=1"]), [true, false, true, true]),
            (refresh(&[&url_key("https://h/f?token=1")]), [true, false, true, true]),
            (refresh(&["https://h/f?token=2", "https://h/f"]), [true; 4]),
            (refresh(&["https://h/r.git"]), [true, true, false, true]),
            (refresh(&["https://h/r.git#main"]), [true, true, false, true]),
            (refresh(&["https://h/r.git#other"]), [true; 4]),
            (refresh(&["quay.io/b:2"]), [true, true, true, false]),
        ] {
            assert_eq!(known(&with(policy.clone())), Ok(wanted), "{policy:?}");
        }
        assert_eq!(with(refresh(&["a:1", "b", "https://h/r.git#v"])).unknown(), ["b", "https://h/r.git#v"]);
        assert_eq!(with(LockPolicy::RefreshAll).unknown(), [""; 0]);
    }

    #[test]
    fn what_is_demanded_and_missing_is_named() {
        let locking = Locking::new("K.lock".into(), Lock::default(), LockPolicy::Demand);
        let said = |error: LockError| error.to_string();
        assert_eq!(
            locking.base("quay.io/a:1", &amd64()).map_err(said),
            Err("`K.lock` does not have the base `quay.io/a:1` for linux/amd64".into())
        );
        assert_eq!(
            locking.git(&git("https://me:pw@h/r.git#main:x")).map_err(said),
            Err("`K.lock` does not have the repository `https://h/r.git#main`".into())
        );
        let error = locking.http("https://me:pw@h/f?token=1").unwrap_err().to_string();
        assert!(error.contains("`https://h/f?…") && !error.contains("token"), "{error}");
    }

    #[test]
    fn differences_are_told_in_words() {
        let old = with(LockPolicy::Use);
        let mut new = old.old().clone();
        new.images.insert("quay.io/c:1".into(), digest(4));
        new.bases.values_mut().for_each(|value| *value = digest(5));
        assert_eq!(old.old().lacks(&new), ["the container image `quay.io/c:1`"]);
        assert_eq!(old.old().differs(&new), ["the base `docker.io/library/a:1` for linux/amd64"]);
        assert_eq!(new.lacks(old.old()), [""; 0]);
    }

    #[test]
    fn only_names_that_may_move_are_locked() {
        let locking = with(LockPolicy::Use).without(["mirror/a:3"]);
        assert_eq!(locking.base_key("a").as_deref(), Some("docker.io/library/a:latest"));
        assert_eq!(locking.base_key("localhost:5000/a:1").as_deref(), Some("localhost:5000/a:1"));
        let pinned = format!("a@sha256:{}", "0".repeat(64));
        for free in ["localhost/a:1", "docker.io/mirror/a:3", &pinned, "A b"] {
            assert_eq!(locking.base_key(free), None, "{free}");
        }
    }

    #[test]
    fn keys_of_urls_hold_no_secrets() {
        assert_eq!(url_key("https://me:pw@h/a#part"), "https://h/a");
        let key = url_key("https://h/a?token=x");
        assert!(key.starts_with("https://h/a?…") && key.len() == "https://h/a?…".len() + QUERY_DIGITS);
        assert_eq!(key, url_key("https://you@h/a?token=x#part"));
        assert_ne!(key, url_key("https://h/a?token=y"));
        assert!(HttpPin::new(digest(1), Some("../x".into())).is_none());
    }
}
