//! `git` sources: a reference is pinned to a commit by asking the server, and the commit's files are fetched when a step
//! reads them, if no earlier build of this store has them.

mod command;
mod error;
mod repository;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache::{OnceMap, Store};
use solver::{GitSource, Hasher, TreeDigest};

use self::command::{Call, GitCommand};
use self::repository::{Reading, Repository};
use crate::cancel::Cancel;
use crate::source::packed::Packed;
use crate::tree::{Entry, Trees};

pub use self::command::GitEnvironment;
pub use self::error::GitError;

/// Largest list of references read, in bytes: only those that were asked for are in it.
const REFERENCES_LIMIT: u64 = 1 << 20;

/// What a reference leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit.
    pub commit: String,
    /// The full name of the reference; `None` for a commit that was named by its id.
    reference: Option<String>,
}

impl Resolved {
    /// A commit that somebody named; it is believed until its files are wanted.
    pub(crate) fn by_id(commit: &str) -> Self {
        Self { commit: commit.to_owned(), reference: None }
    }
}

/// The git repositories of a build.
#[derive(Debug)]
pub struct Git<'a> {
    store: &'a Store,
    command: GitCommand,
    resolved: OnceMap<(String, Option<String>), Resolved>,
    repositories: OnceMap<(String, String), Arc<Repository>>,
}

impl<'a> Git<'a> {
    /// Repositories that are fetched into a store; none is asked for anything when `offline`.
    pub fn new(
        store: &'a Store,
        environment: GitEnvironment,
        limit_bytes: u64,
        offline: bool,
        cancel: Cancel,
    ) -> Self {
        let command = GitCommand { environment, cancel, limit_bytes, offline };
        Self { store, command, resolved: OnceMap::default(), repositories: OnceMap::default() }
    }

    /// The commit a source stands for. A commit's own id is believed until its files are wanted. A reference that once led to
    /// the commit it is pinned to is not asked for again.
    ///
    /// # Errors
    /// When the repository cannot be asked, or does not know the reference.
    pub fn resolve(&self, source: &GitSource, trees: &Trees<'_>) -> Result<Resolved, GitError> {
        let pinned = source.checksum.as_deref();
        let resolved = match (source.commit(), pinned) {
            (Some(commit), _) => Resolved::by_id(commit),
            (None, Some(pinned)) if Packed::find(self.store, trees, &led_key(source, pinned)).is_some() => {
                return Ok(Resolved::by_id(pinned));
            }
            (None, _) => {
                let wanted = (source.url.clone(), source.reference.clone());
                self.resolved.get_or_run(wanted, || self.ask(source))?
            }
        };
        match pinned {
            Some(expected) if *expected != resolved.commit => Err(GitError::Checksum {
                url: source.shown(),
                expected: expected.to_owned(),
                found: resolved.commit,
            }),
            _ => Ok(resolved),
        }
    }

    /// Asks the server for what a reference leads to, in the order of git itself: as it is, tags, branches.
    fn ask(&self, source: &GitSource) -> Result<Resolved, GitError> {
        self.check_online(source)?;
        let names: Vec<String> = match &source.reference {
            None => vec!["HEAD".to_owned()],
            Some(name) if name.starts_with("refs/") => vec![name.clone()],
            Some(name) => ["refs/tags/", "refs/heads/", "refs/"].map(|above| format!("{above}{name}")).into(),
        };
        let dir = self.store.tmp_dir()?;
        let url = source.bare_url();
        let peeled: Vec<String> = names.iter().map(|name| format!("{name}^{{}}")).collect();
        let mut words = vec!["ls-remote", "--quiet", "--", &url];
        words.extend(names.iter().chain(&peeled).map(String::as_str));
        let answer = self.command.text(Call::new(source, &dir, &words), REFERENCES_LIMIT)?;
        let lines: Vec<(&str, &str)> = answer.lines().filter_map(|line| line.split_once('\t')).collect();
        let find = |name: &str| lines.iter().find(|(_, found)| *found == name).map(|(id, _)| *id);
        let found = names
            .iter()
            .zip(&peeled)
            .find_map(|(name, peeled)| Some((find(peeled).or_else(|| find(name))?, name)));
        let Some((id, name)) = found else {
            let reference = source.reference.clone().unwrap_or_else(|| "HEAD".to_owned());
            return Err(GitError::NoReference { url, reference });
        };
        let commit = GitSource::commit_id(id).ok_or(GitError::Answer { url })?;
        Ok(Resolved { commit, reference: Some(name.clone()) })
    }

    /// The files of a commit: of an earlier build, or fetched now.
    ///
    /// # Errors
    /// When they cannot be had, or are refused.
    pub fn files(
        &self,
        source: &GitSource,
        resolved: &Resolved,
        trees: &Trees<'_>,
        received: &dyn Fn(u64),
    ) -> Result<Packed, GitError> {
        let packed = self.packed(source, resolved, trees, received)?;
        if source.checksum.is_some() && resolved.reference.is_some() {
            packed.keep(self.store, trees, &led_key(source, &resolved.commit))?;
        }
        Ok(packed)
    }

    fn packed(
        &self,
        source: &GitSource,
        resolved: &Resolved,
        trees: &Trees<'_>,
        received: &dyn Fn(u64),
    ) -> Result<Packed, GitError> {
        let key = key(source, &resolved.commit);
        if let Some(known) = Packed::find(self.store, trees, &key) {
            return Ok(known);
        }
        let repository = self.repository(source, resolved, received)?;
        let reading = Reading { git: &self.command, source, store: self.store, trees };
        let (tree, part) = repository.files(reading)?;
        let mut packed = Packed { tree, parts: vec![part], notes: Vec::new() };
        if source.keep_git_dir {
            let (git_dir, layer) = repository.git_dir(reading)?;
            packed.tree = with_git_dir(trees, &tree, git_dir)?;
            packed.parts.push((git_dir, layer));
        }
        if repository.has_submodules(reading)? {
            packed.notes.push(format!("`{}` has submodules, which are left out", source.shown()));
        }
        packed.keep(self.store, trees, &key)?;
        Ok(packed)
    }

    fn check_online(&self, source: &GitSource) -> Result<(), GitError> {
        if self.command.offline { Err(GitError::Offline { url: source.shown() }) } else { Ok(()) }
    }

    /// A commit is fetched once, whatever parts of it are wanted.
    fn repository(
        &self,
        source: &GitSource,
        resolved: &Resolved,
        received: &dyn Fn(u64),
    ) -> Result<Arc<Repository>, GitError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.check_online(source)?;
        self.repositories.get_or_run((source.url.clone(), resolved.commit.clone()), || {
            let dir = self.store.tmp_dir()?.join(format!("git-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
            let reference = resolved.reference.as_deref();
            let fetched =
                Repository::fetch(&self.command, source, &resolved.commit, reference, dir, received);
            fetched.map(Arc::new)
        })
    }
}

/// What a commit's files are known under.
fn key(source: &GitSource, commit: &str) -> [u8; 32] {
    let mut hasher = Hasher::new("git files 1");
    hasher.bytes(source.bare_url().as_bytes());
    hasher.bytes(commit.as_bytes());
    hasher.bytes(source.subdir.as_bytes());
    hasher.number(source.keep_git_dir.into());
    hasher.finish()
}

/// The same, of a commit that the source's reference led to.
fn led_key(source: &GitSource, commit: &str) -> [u8; 32] {
    let mut hasher = Hasher::new("git reference 1");
    hasher.bytes(&key(source, commit));
    hasher.bytes(source.reference.as_deref().unwrap_or("HEAD").as_bytes());
    hasher.finish()
}

fn with_git_dir(
    trees: &Trees<'_>,
    tree: &TreeDigest,
    git_dir: TreeDigest,
) -> Result<TreeDigest, crate::tree::TreeError> {
    let mut root = (*trees.load(tree)?).clone();
    root.entries.insert(*b".git", Entry::plain_dir(git_dir));
    Ok(trees.add(root))
}
