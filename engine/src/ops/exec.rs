//! RUN: what a command reads, and the run itself from state to delta.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache::Store;
use solver::{ContentRead, ExecOp, HardLinks, Hasher, Mount, MountKind, TreeDigest};
use thiserror::Error;

use crate::cache_mounts::{CacheMounts, Claim};
use crate::cancel::Cancel;
use crate::contents::Contents;
use crate::layer::TimePolicy;
use crate::ops::Input;
use crate::ops::stub::Stub;
use crate::sandbox::{self, MountSpec, Origin, SandboxError, Spec, UPPER, Watch, upper_fault};
use crate::secret::{Hidden, Secret};
use crate::snapshot::{SnapshotError, Snapshots, Wanted};
use crate::state::{Found, State};
use crate::tree::{Entry, Node, TreeError, Trees};
use crate::upper::{self, UpperError};

/// Most lower directories of an overlay mount: the kernel takes 500, and the mounts' names must fit a page.
const LOWER_LIMIT: usize = 400;
/// What every root needs, though no image has to have it.
const PLACES: [(&str, bool); 5] =
    [("proc", true), ("dev", true), ("sys", true), ("etc/resolv.conf", false), ("etc/hosts", false)];

/// A command that was not run, or not with success.
#[derive(Debug, Error)]
pub enum ExecError {
    /// The sandbox, or the command.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Making the root real.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Reading what it left.
    #[error(transparent)]
    Upper(#[from] UpperError),
    /// A directory object.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What commands are run with, the same for all of a build.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// Secrets by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of SSH agents by id.
    pub agents: BTreeMap<String, PathBuf>,
    /// Proxies, as variables; in no key.
    pub proxies: Vec<(String, String)>,
    /// An OCI runtime to use instead of the embedded one.
    pub runtime: Option<PathBuf>,
    /// Longest a command may take.
    pub timeout: Option<Duration>,
}

/// What a run needs of the build.
pub(crate) struct Machine<'a> {
    pub(crate) store: &'a Store,
    pub(crate) trees: &'a Trees<'a>,
    pub(crate) contents: &'a Contents<'a>,
    pub(crate) snapshots: &'a Snapshots<'a>,
    pub(crate) cache_mounts: &'a CacheMounts<'a>,
    pub(crate) options: &'a ExecOptions,
    pub(crate) times: TimePolicy,
    pub(crate) cancel: &'a Cancel,
    pub(crate) pool: &'a rayon::ThreadPool,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) delta: TreeDigest,
    pub(crate) links: HardLinks,
    pub(crate) sockets: Vec<String>,
}

/// Where a mount's files come from.
#[derive(Debug)]
struct Source {
    state: State,
    /// The path in it, links resolved.
    path: Vec<u8>,
    /// Identity of what is there.
    digest: [u8; 32],
}

/// A command whose inputs are found.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    op: &'a ExecOp,
    state: State,
    /// By mount; `None` for those that come from nowhere.
    sources: Vec<Option<Source>>,
}

impl<'a> Prepared<'a> {
    /// Finds what is mounted. `inputs` are the vertex's.
    pub(crate) fn new(op: &'a ExecOp, inputs: &[Input], trees: &Trees<'_>) -> Result<Self, ExecError> {
        let state = match inputs.first().filter(|_| op.below) {
            Some(input) => state_of(input),
            None => State::default(),
        };
        let source = |mount: &Mount| match &mount.kind {
            MountKind::Bind { input, source, .. }
            | MountKind::Cache { source: Some((input, source)), .. } => {
                find(&state_of(&inputs[*input]), source, trees).map(Some)
            }
            _ => Ok(None),
        };
        let sources = op.mounts.iter().map(source).collect::<Result<_, _>>()?;
        Ok(Self { op, state, sources })
    }

    /// What it reads: the whole state below, and what is mounted.
    pub(crate) fn reads(&self) -> Vec<ContentRead> {
        let below = ContentRead::Subtree {
            source: 0,
            path: b"/".to_vec(),
            digest: identity(&self.state),
            unpack: false,
        };
        let mounted =
            self.sources.iter().zip(&self.op.mounts).enumerate().filter_map(|(number, (source, mount))| {
                let digest = source.as_ref()?.digest;
                let path = mount.target.clone().into_bytes();
                Some(ContentRead::Subtree { source: number + 1, path, digest, unpack: false })
            });
        std::iter::once(below).chain(mounted).collect()
    }

    /// Runs the command; `told` hears every line it writes.
    pub(crate) fn run(&self, on: &Machine<'_>, told: &(dyn Fn(&str) + Sync)) -> Result<Ran, ExecError> {
        let dir = run_dir(on.store)?;
        if let Some(fault) = upper_fault(&dir) {
            return Err(SandboxError::StoreFileSystem(fault).into());
        }
        let mut lowers = lowers(&self.state, on)?;
        let stub = Stub { trees: on.trees, state: &self.state, root: dir.join("places") };
        let mut env = on.options.proxies.clone();
        env.extend(self.op.env.iter().cloned());
        let bound = self.bound(on)?;
        let claims = self.claims(on)?;
        let mounts = self.mounts(on, &stub, &mut env, bound, &claims)?;
        for (place, is_dir) in PLACES {
            stub.place(place.as_bytes(), is_dir)?;
        }
        stub.place(self.op.directory.as_bytes(), true)?;
        stub.settle(&lowers, on.times).map_err(SandboxError::from)?;
        lowers.insert(0, stub.root.clone());
        let upper = dir.join(UPPER);
        fs_err::create_dir(&upper).map_err(SandboxError::from)?;
        upper::plain(&upper, on.times).map_err(SandboxError::from)?;
        let spec = Spec {
            store: fs_err::canonicalize(on.store.root()).map_err(SandboxError::from)?,
            dir: dir.clone(),
            lowers,
            args: self.op.args.clone(),
            env,
            directory: self.op.directory.clone(),
            user: self.op.user.clone(),
            mounts,
            network: self.op.network,
            is_insecure: self.op.is_insecure,
            runtime: on.options.runtime.clone(),
            // A host without one has no names to look up.
            resolv_conf: fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default(),
            hosts: fs_err::read_to_string("/etc/hosts").unwrap_or_default(),
        };
        let hidden = Hidden::of(on.options.secrets.values());
        let watch = Watch { cancel: on.cancel, timeout: on.options.timeout, hidden: &hidden, told };
        sandbox::run(&spec, &watch)?;
        drop(claims);
        let left = upper::read(&upper, &self.state, on.trees, on.times)?;
        let root = on.snapshots.adopt(left.delta, &left.links, &upper)?;
        left.register(&root, on.contents);
        Ok(Ran { delta: left.delta, links: left.links, sockets: left.sockets })
    }

    /// By mount: what is bound, made real. Before anything is claimed: it waits for the pool, and what the pool does
    /// meanwhile may want the same claim.
    fn bound(&self, on: &Machine<'_>) -> Result<Vec<Option<Origin>>, ExecError> {
        let one = |(mount, source): (&Mount, &Option<Source>)| match (&mount.kind, source) {
            (MountKind::Bind { .. }, Some(source)) => source.origin(on).map(Some),
            _ => Ok(None),
        };
        self.op.mounts.iter().zip(&self.sources).map(one).collect()
    }

    /// The cache mounts by id. Of several mounts of one id the first says what a new one begins with.
    fn claims(&self, on: &Machine<'_>) -> Result<BTreeMap<&str, Claim>, ExecError> {
        let caches = || {
            self.op.mounts.iter().zip(&self.sources).filter_map(|(mount, source)| match &mount.kind {
                MountKind::Cache { id, sharing, mode, owner, .. } => {
                    Some((id.as_str(), *sharing, (*mode, *owner), source))
                }
                _ => None,
            })
        };
        let wanted = caches().map(|(id, sharing, ..)| (id, sharing));
        let claims = on.cache_mounts.claim_all(wanted, on.cancel, &mut |id, dir| {
            let first = caches().find(|cache| cache.0 == id);
            let (.., attributes, source) = first.expect("nothing is filled that is not wanted");
            source.as_ref().map_or(Ok(()), |source| source.copy_to(dir, on))?;
            Ok(attributes)
        })?;
        Ok(claims)
    }

    fn mounts(
        &self,
        on: &Machine<'_>,
        stub: &Stub<'_>,
        env: &mut Vec<(String, String)>,
        bound: Vec<Option<Origin>>,
        claims: &BTreeMap<&str, Claim>,
    ) -> Result<Vec<MountSpec>, ExecError> {
        let mut mounts = Vec::new();
        let mut agents = 0;
        for ((mount, source), bound) in self.op.mounts.iter().zip(&self.sources).zip(bound) {
            let (origin, is_readonly, is_dir, target) = match (&mount.kind, source.as_ref().zip(bound)) {
                (MountKind::Bind { is_writable, .. }, Some((source, origin))) => {
                    let is_dir = matches!(source.found(on.trees)?, Found::Dir { .. });
                    (origin, !is_writable, is_dir, mount.target.clone())
                }
                (MountKind::Cache { id, is_readonly, .. }, _) => {
                    let origin = Origin::Path(claims[id.as_str()].dir().to_owned());
                    (origin, *is_readonly, true, mount.target.clone())
                }
                (MountKind::Tmpfs { size_bytes }, _) => {
                    (Origin::Tmpfs { size_bytes: *size_bytes }, false, true, mount.target.clone())
                }
                (MountKind::Secret { id, is_required, env: name, mode, owner }, _) => {
                    let Some(secret) = on.options.secrets.get(id) else {
                        if *is_required {
                            return Err(SandboxError::MissingSecret(id.clone()).into());
                        }
                        continue;
                    };
                    env.extend(name.iter().map(|name| (name.clone(), secret.text())));
                    if mount.target.is_empty() {
                        continue;
                    }
                    let content = secret.bytes().to_vec();
                    let (uid, gid) = (owner.uid, owner.gid);
                    (Origin::File { content, mode: *mode, uid, gid }, true, false, mount.target.clone())
                }
                (MountKind::Ssh { id, is_required }, _) => {
                    let Some(socket) = on.options.agents.get(id) else {
                        if *is_required {
                            return Err(SandboxError::MissingAgent(id.clone()).into());
                        }
                        continue;
                    };
                    let target = match mount.target.as_str() {
                        "" => format!("/run/buildkit/ssh_agent.{agents}"),
                        target => target.to_owned(),
                    };
                    if agents == 0 {
                        env.push(("SSH_AUTH_SOCK".to_owned(), target.clone()));
                    }
                    agents += 1;
                    (Origin::Socket(socket.clone()), false, false, target)
                }
                (MountKind::Script { content }, _) => {
                    let content = content.clone();
                    let origin = Origin::File { content, mode: 0o755, uid: 0, gid: 0 };
                    (origin, true, false, mount.target.clone())
                }
                (MountKind::Bind { .. }, None) => unreachable!("every bind mount has a source"),
            };
            // What is below /dev is made by the runtime, in the file system that it mounts there.
            let target = match target.strip_prefix("/dev/") {
                Some(_) => target,
                None => stub.place(target.as_bytes(), is_dir)?,
            };
            mounts.push(MountSpec { target, origin, is_readonly });
        }
        Ok(mounts)
    }
}

impl Source {
    fn found(&self, trees: &Trees<'_>) -> Result<Found, TreeError> {
        self.state.look_up(trees, &self.path)
    }

    fn origin(&self, on: &Machine<'_>) -> Result<Origin, ExecError> {
        use std::os::unix::ffi::OsStrExt;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&self.path));
        Ok(Origin::Layers { lowers: lowers(&self.state, on)?, path })
    }

    /// What a cache mount starts with.
    fn copy_to(&self, dir: &Path, on: &Machine<'_>) -> Result<(), SnapshotError> {
        match self.found(on.trees)? {
            Found::Dir { parts, .. } => {
                let tree = State::merged(on.trees, &parts)?;
                let wanted = Wanted { delta: &tree, links: HardLinks::none(), times: on.times };
                crate::snapshot::extract_into(dir, on.trees, on.contents, on.store, &wanted)
            }
            Found::Absent | Found::Other(_) => Ok(()),
        }
    }
}

fn state_of(input: &Input) -> State {
    match input {
        Input::Tree(tree) | Input::Download(tree) => State::of(vec![*tree]),
        Input::State(state) => state.clone(),
    }
}

/// Finds a path of an input, links resolved inside it.
fn find(state: &State, source: &str, trees: &Trees<'_>) -> Result<Source, ExecError> {
    let resolved = state.resolve(trees, source.as_bytes())?;
    let files = match &resolved.found {
        Found::Absent => return Err(SandboxError::NoSource { path: source.to_owned() }.into()),
        Found::Dir { .. } if resolved.path.is_empty() => identity(state),
        // The command sees whose it is and who may go there.
        Found::Dir { meta, parts } => {
            Entry { meta: meta.clone(), node: Node::Dir(State::merged(trees, parts)?) }.digest()
        }
        Found::Other(entry) => entry.digest(),
    };
    let mut hasher = Hasher::new("bound files");
    hasher.bytes(&files);
    feed_links(&mut hasher, state);
    Ok(Source { state: state.clone(), path: resolved.path, digest: hasher.finish() })
}

/// A state is what its deltas make it.
fn identity(state: &State) -> [u8; 32] {
    let mut hasher = Hasher::new("state");
    state.deltas.iter().for_each(|delta| hasher.bytes(delta.as_bytes()));
    feed_links(&mut hasher, state);
    hasher.finish()
}

/// Commands see which files are one, and deltas do not tell.
fn feed_links(hasher: &mut Hasher, state: &State) {
    for (delta, links) in &state.links {
        hasher.bytes(delta.as_bytes());
        hasher.number(links.0.len() as u64);
        links.feed(hasher);
    }
}

/// The directories of a state, newest first.
fn lowers(state: &State, on: &Machine<'_>) -> Result<Vec<PathBuf>, ExecError> {
    let deltas = told_once(state, on.trees)?;
    let size = deltas.len().div_ceil(LOWER_LIMIT).max(1);
    let groups: Vec<&[TreeDigest]> = deltas.chunks(size).collect();
    let one = |group: &&[TreeDigest]| -> Result<PathBuf, ExecError> {
        let delta = match group {
            [only] => return Ok(on.snapshots.of(on.trees, on.contents, *only, state.links_of(only))?),
            several => {
                let mut root = crate::delta::OpenDir::root();
                for delta in *several {
                    root.add_all(on.trees, delta)?;
                }
                root.finish(on.trees)
            }
        };
        Ok(on.snapshots.of(on.trees, on.contents, delta, HardLinks::none())?)
    };
    use rayon::prelude::*;
    let dirs = on.pool.install(|| groups.par_iter().map(one).collect::<Result<Vec<_>, _>>())?;
    Ok(dirs.into_iter().rev().collect())
}

/// The deltas of a state, oldest first, without those that say nothing or that nothing shows of, and each where it stands last:
/// what it says there, it need not have said before. An overlay mount takes no directory twice, and its root shows what all
/// of them have, opaque or not.
fn told_once(state: &State, trees: &Trees<'_>) -> Result<Vec<TreeDigest>, TreeError> {
    let mut seen = HashSet::from([trees.empty()]);
    let mut deltas = Vec::new();
    for delta in state.deltas.iter().rev() {
        deltas.extend(seen.insert(*delta).then_some(*delta));
        if trees.load(delta)?.opaque {
            break;
        }
    }
    deltas.reverse();
    Ok(deltas)
}

/// A directory for one run.
fn run_dir(store: &Store) -> Result<PathBuf, SandboxError> {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let dir = store.tmp_dir().map_err(std::io::Error::other)?.join(format!("run-{number}"));
    fs_err::create_dir(&dir)?;
    Ok(fs_err::canonicalize(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Directory, Meta};

    #[test]
    fn a_root_is_mounted_from_what_shows_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let trees = Trees::new(&store);
        let delta = |name: &str, opaque| {
            let link = Entry { meta: Meta::with_mode(0o777), node: Node::Symlink(b"x".to_vec()) };
            let entries = [(name.as_bytes().to_vec(), link)].into_iter().collect();
            trees.add(Directory { entries, opaque })
        };
        let (a, b, c, nothing) = (delta("a", false), delta("b", true), delta("c", false), trees.empty());
        let check = |deltas: &[TreeDigest], expected: &[TreeDigest]| {
            assert_eq!(told_once(&State::of(deltas.to_vec()), &trees).unwrap(), expected);
        };
        check(&[nothing, a, nothing, c], &[a, c]);
        check(&[a, c, a], &[c, a]);
        check(&[a, b, c], &[b, c]);
        check(&[b, c, b], &[b]);
        let all_gone = trees.add(Directory { opaque: true, ..Directory::default() });
        check(&[a, all_gone], &[all_gone]);
    }
}
