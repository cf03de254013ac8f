//! A lock file in one build: whoever pins something asks it first, and reports the result to it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use solver::{BlobDigest, GitSource, Platform};

use super::names::{
    base_text, git_key, git_text, http_text, image_key, image_text, is_git, is_image, is_url, url_key,
};
use super::{HttpPin, Lock, LockError, LockPolicy};

/// A lock file in one build: what the file has, and what the build asked for and got.
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
    /// The contents of `file`, and how they are used.
    pub fn new(file: String, old: Lock, policy: LockPolicy) -> Self {
        Self { file, old, policy, free: BTreeSet::new(), seen: Mutex::default() }
    }

    /// Leaves out images that the command line replaces.
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
        // A panic leaves only whole entries behind.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
}
