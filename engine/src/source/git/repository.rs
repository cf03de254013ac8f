//! One commit, fetched into a repository of its own below the store's `tmp/`, and what is read out of it.
//!
//! Files come as `git archive` writes them: what a checkout would have, but for the attributes that leave files out of
//! archives or write commit ids into them, which are switched off.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use cache::Store;
use solver::{GitSource, Layer, TreeDigest};

use super::GitError;
use super::command::{Call, GitCommand};
use crate::contents::{content_digest, copy_hashed};
use crate::decompress::{Bounded, expansion_limit};
use crate::delta::OpenDir;
use crate::source::packed::{Packer, Tee, file};
use crate::state::{Found, State};
use crate::tree::{Meta, Trees};
use crate::untar::{Flavour, read_tar};

/// Where the commit is kept from git's own clean-up.
const REF: &str = "refs/sealer/fetched";
/// Switches off what only archives have, and drivers that no setting defines.
const ATTRIBUTES: &str = "* -export-ignore -export-subst\n";
/// Largest list of objects read, in bytes.
const LIST_LIMIT: u64 = 256 << 20;
/// Largest object of `--keep-git-dir`, in bytes: it is compressed in memory.
const OBJECT_LIMIT: u64 = 512 << 20;

/// What git says when a server does not give single commits, or not without their history.
const NO_SINGLE_COMMIT: [&str; 6] = [
    "not our ref",
    "unadvertised object",
    "does not support shallow",
    "dumb http transport",
    "no such remote ref",
    "couldn't find remote ref",
];

/// A repository with one commit that matters; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Repository {
    dir: PathBuf,
    commit: String,
}

impl Drop for Repository {
    fn drop(&mut self) {
        // What stays is swept with the store's temporary directory.
        let _ = fs_err::remove_dir_all(&self.dir);
    }
}

/// What is needed to read out of it.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) git: &'a GitCommand,
    pub(super) source: &'a GitSource,
    pub(super) store: &'a Store,
    pub(super) trees: &'a Trees<'a>,
}

impl Repository {
    /// Fetches a commit, without its history where the server can.
    pub(super) fn fetch(
        git: &GitCommand,
        source: &GitSource,
        commit: &str,
        reference: Option<&str>,
        dir: PathBuf,
        received: &dyn Fn(u64),
    ) -> Result<Self, GitError> {
        fs_err::create_dir_all(&dir)?;
        let repository = Self { dir, commit: commit.to_owned() };
        let dir = &repository.dir;
        let mut words = vec!["init", "--quiet", "--bare", "--template="];
        words.extend((commit.len() == 64).then_some("--object-format=sha256"));
        git.text(Call::new(source, dir, &words), 4096)?;
        fs_err::create_dir_all(dir.join("repo.git/info"))?;
        fs_err::write(dir.join("repo.git/info/attributes"), ATTRIBUTES)?;

        let url = source.bare_url();
        let fetch = |what: &[&str]| {
            let words = ["fetch", "--progress", "--no-tags", "--no-recurse-submodules"];
            let mut call = Call::new(source, dir, &[&words, what].concat());
            call.received = Some(received);
            git.text(call, 4096)?;
            // What came faster than anybody looked counts too.
            git.check_size(dir, source)
        };
        let by_name = reference.map(|name| format!("+{name}:{REF}"));
        if let Some(by_name) = &by_name {
            match fetch(&["--depth=1", "--", &url, by_name]) {
                Ok(()) if repository.has_commit(git, source)? => return Ok(repository),
                // It leads to something else by now: the commit itself is what was promised.
                Ok(()) => {}
                Err(error) if is_about_single_commits(&error) => {}
                Err(error) => return Err(error),
            }
        }
        match fetch(&["--depth=1", "--", &url, &format!("+{commit}:{REF}")]) {
            Ok(()) => {}
            Err(error) if is_about_single_commits(&error) => {
                fetch(&["--", &url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"])?;
            }
            Err(error) => return Err(error),
        }
        if repository.has_commit(git, source)? {
            Ok(repository)
        } else {
            Err(GitError::NoCommit { url, commit: commit.to_owned() })
        }
    }

    fn has_commit(&self, git: &GitCommand, source: &GitSource) -> Result<bool, GitError> {
        self.kind_of(git, source, &self.commit).map(|kind| kind.as_deref() == Some("commit"))
    }

    /// The type of an object, if it is there.
    fn kind_of(&self, git: &GitCommand, source: &GitSource, name: &str) -> Result<Option<String>, GitError> {
        match git.text(Call::new(source, &self.dir, &["cat-file", "-t", name]), 64) {
            Ok(kind) => Ok(Some(kind.trim().to_owned())),
            Err(GitError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether there are submodules, which are not fetched.
    pub(super) fn has_submodules(&self, reading: Reading<'_>) -> Result<bool, GitError> {
        let name = format!("{}:.gitmodules", self.commit);
        Ok(self.kind_of(reading.git, reading.source, &name)?.is_some())
    }

    /// The files of a directory of it, the packed tree they are in, and that.
    pub(super) fn files(&self, reading: Reading<'_>) -> Result<(TreeDigest, (TreeDigest, Layer)), GitError> {
        let Reading { git, source, store, trees } = reading;
        let subdir = source.subdir.as_str();
        let is_part = subdir != ".";
        let missing = || GitError::NoDirectory { url: source.bare_url(), subdir: subdir.to_owned() };
        if is_part {
            let name = format!("{}:{subdir}", self.commit);
            let kind = self.kind_of(git, source, &name)?;
            kind.filter(|kind| kind == "tree").ok_or_else(missing)?;
        }
        let mut words = vec!["archive", "--format=tar", &self.commit, "--"];
        words.extend(is_part.then_some(subdir));
        let mut packer = Packer::new(store)?;
        let limit = expansion_limit(super::command::size_of(&self.dir));
        let read = git.run(Call::new(source, &self.dir, &words), |tar| {
            let mut tar = Tee { inner: Bounded::new(tar, limit), copy: &mut packer };
            read_tar(&mut tar, trees, Flavour::Files, false, &mut |_, file| {
                copy_hashed(file, &mut io::sink())
            })
        })?;
        let whole = read.map_err(|error| GitError::Files { url: source.bare_url(), source: error })?.tree;
        let part = (whole, packer.complete()?);
        if !is_part {
            return Ok((whole, part));
        }
        match State::of(vec![whole]).look_up(trees, subdir.as_bytes())? {
            Found::Dir { parts, .. } => Ok((parts.first().copied().ok_or_else(missing)?, part)),
            Found::Absent | Found::Other(_) => Err(missing()),
        }
    }

    /// A `.git` directory: the commit without its history, checked out as no branch. The same for everybody who fetches
    /// the commit from that URL, whatever the server sent.
    pub(super) fn git_dir(&self, reading: Reading<'_>) -> Result<(TreeDigest, Layer), GitError> {
        let Reading { git, source, store, trees } = reading;
        let mut out = GitDir { packer: Packer::new(store)?, root: OpenDir::root(), trees };
        let commit = &self.commit;
        let (version, format) =
            if commit.len() == 64 { (1, "[extensions]\n\tobjectFormat = sha256\n") } else { (0, "") };
        let config = format!(
            "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n{format}\
             [remote \"origin\"]\n\turl = {}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
            source.bare_url()
        );
        out.dir("refs")?;
        out.file("HEAD", 0o644, format!("{commit}\n").as_bytes())?;
        out.file("config", 0o644, config.as_bytes())?;

        let index = self.dir.join("index");
        let mut call = Call::new(source, &self.dir, &["read-tree", commit]);
        call.environment.push(("GIT_INDEX_FILE", index.clone().into()));
        git.text(call, 4096)?;
        out.file("index", 0o644, &fs_err::read(&index)?)?;

        let list = git.text(
            Call::new(source, &self.dir, &["rev-list", "--objects", "--no-object-names", "-n1", commit]),
            LIST_LIMIT,
        )?;
        let mut names: Vec<&str> = list.lines().collect();
        names.sort_unstable();
        let path = self.dir.join("objects");
        fs_err::write(&path, names.join("\n") + "\n")?;
        let mut call = Call::new(source, &self.dir, &["cat-file", "--batch"]);
        call.stdin = Some(open(&path)?);
        let mut is_shallow = false;
        let limits = (names.len(), &mut is_shallow);
        git.run(call, |objects| out.objects(BufReader::new(objects), source, limits))??;
        if is_shallow {
            out.file("shallow", 0o644, format!("{commit}\n").as_bytes())?;
        }
        Ok((out.root.finish(trees), out.packer.end()?))
    }
}

fn open(path: &Path) -> io::Result<File> {
    Ok(fs_err::File::open(path)?.into_parts().0)
}

fn is_about_single_commits(error: &GitError) -> bool {
    match error {
        GitError::Failed { lines, .. } => {
            let said = lines.join("\n").to_lowercase();
            NO_SINGLE_COMMIT.iter().any(|words| said.contains(words))
        }
        _ => false,
    }
}

/// A `.git` directory being written.
struct GitDir<'a> {
    packer: Packer<'a>,
    root: OpenDir,
    trees: &'a Trees<'a>,
}

impl GitDir<'_> {
    fn dir(&mut self, name: &str) -> Result<&mut OpenDir, GitError> {
        Ok(self.root.dir(self.trees, name.as_bytes(), &Meta::with_mode(0o755))?)
    }

    fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), GitError> {
        let entry = file(mode, content_digest(bytes), bytes.len() as u64);
        self.packer.entry(path.as_bytes(), &entry, bytes)?;
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = &mut self.root;
        for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
            dir = dir.dir(self.trees, parent.as_bytes(), &Meta::with_mode(0o755))?;
        }
        dir.put(self.trees, name.as_bytes(), entry)?;
        Ok(())
    }

    /// Objects as `cat-file --batch` writes them, each compressed into a file of its own.
    fn objects(
        &mut self,
        mut from: impl BufRead,
        source: &GitSource,
        (count, is_shallow): (usize, &mut bool),
    ) -> Result<(), GitError> {
        let answer = || GitError::Answer { url: source.bare_url() };
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        for _ in 0..count {
            let mut header = String::new();
            from.read_line(&mut header)?;
            let [id, kind, size] = header.split_whitespace().collect::<Vec<_>>()[..] else {
                return Err(answer());
            };
            let size: u64 = size.parse().map_err(|_| answer())?;
            if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) || id.len() < 40 {
                return Err(answer());
            }
            if size > OBJECT_LIMIT {
                return Err(GitError::LargeObject { url: source.bare_url(), size });
            }
            let mut object = format!("{kind} {size}\0").into_bytes();
            let head = object.len();
            (&mut from).take(size).read_to_end(&mut object)?;
            let mut end = [0];
            from.read_exact(&mut end)?;
            if (object.len() - head) as u64 != size || end != *b"\n" {
                return Err(answer());
            }
            *is_shallow |= kind == "commit" && has_parent(&object[head..]);
            let mut packed = vec![0; compressor.zlib_compress_bound(object.len())];
            let length = compressor.zlib_compress(&object, &mut packed).map_err(|_| answer())?;
            self.file(&format!("objects/{}/{}", &id[..2], &id[2..]), 0o444, &packed[..length])?;
        }
        Ok(())
    }
}

fn has_parent(commit: &[u8]) -> bool {
    commit
        .split(|&byte| byte == b'\n')
        .take_while(|line| !line.is_empty())
        .any(|line| line.starts_with(b"parent "))
}
