//! COPY and ADD: Docker's copy semantics as a function from trees to a delta.
//!
//! A directory copies its content, a file goes below a destination that is a directory, links of the destination are
//! resolved inside the tree it lands on, links inside a copied directory stay links. Directories above the
//! destination that exist keep their headers; missing ones become 0755.

mod select;
mod spread;

use std::collections::HashSet;

use solver::{ContentRead, CopySource, FileOp, HardLinks, Hasher, Owner, TreeDigest, Unpack};
use thiserror::Error;

use crate::contents::{Contents, Location, content_digest};
use crate::delta::OpenDir;
use crate::ignore::{IgnoreRules, RuleError};
use crate::ops::access::{restyle, restyle_entry, restyle_meta};
use crate::ops::{Input, accounts, archive};
use crate::pattern::PatternError;
use crate::state::{Found, Resolved, State};
use crate::tree::{Entry, Meta, Name, Node, TreeError, Trees, components, push_name};
use crate::untar::Untarred;

use self::select::{headers_above, kept, pivot, select};
use self::spread::{Implied, still_one};

/// A copy that cannot be done.
#[derive(Debug, Error)]
pub enum FileError {
    /// A source selects nothing.
    #[error("`{pattern}` is not in the stage it is copied from")]
    NotFound {
        /// As written.
        pattern: String,
    },
    /// A link that leads nowhere.
    #[error("`{pattern}` is a link to `{target}`, which is not where it is copied from")]
    Dangling {
        /// As written.
        pattern: String,
        /// Where it points.
        target: String,
    },
    /// A file beside others, one name.
    #[error(
        "`{pattern}` selects {count} files or directories, so the destination `{destination}` must end with `/`"
    )]
    NeedsDirectory {
        /// As written.
        pattern: String,
        /// How many.
        count: usize,
        /// As written.
        destination: String,
    },
    /// A file where a directory should be.
    #[error("the destination `{destination}` needs `/{path}` to be a directory, but it is a file")]
    ParentIsFile {
        /// As written.
        destination: String,
        /// The file.
        path: String,
    },
    /// A directory copied onto a file.
    #[error("a directory cannot be copied onto the file `/{path}`")]
    OntoFile {
        /// The file.
        path: String,
    },
    /// Links in a circle.
    #[error("`{path}` has too many symbolic links on its way")]
    LinkLoop {
        /// As written.
        path: String,
    },
    /// Links below the destination lead to a name that no file of a layer can have.
    #[error("`/{path}` cannot be copied to: names that start with `.wh.` mark deletions in image layers")]
    WhiteoutName {
        /// Where the destination is.
        path: String,
    },
    /// The pattern is not one.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A pattern of what is left out.
    #[error("`--exclude`: {0}")]
    Exclude(#[from] RuleError),
    /// The owner's names.
    #[error(transparent)]
    Account(#[from] accounts::AccountError),
    /// An archive to extract.
    #[error(transparent)]
    Archive(#[from] archive::ArchiveError),
    /// A directory is missing.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// One thing to copy: what it is called and what it is.
#[derive(Debug)]
struct Match {
    source: usize,
    path: Vec<u8>,
    entry: Entry,
    /// With `--parents`: headers of the directories above it that are copied too, from the top.
    parents: Vec<Meta>,
    unpack: bool,
    /// Of an archive over a state.
    implied: Implied,
    /// What is in the archive, if it was extracted to see what it implies.
    extracted: Option<Untarred>,
}

impl Match {
    fn new(source: usize, path: Vec<u8>, entry: Entry, unpack: bool) -> Self {
        Self { source, path, entry, parents: Vec::new(), unpack, implied: Implied::new(), extracted: None }
    }

    /// What of its path shows in the image: with `--parents` all that is not left behind, else the name of a file.
    fn kept_path(&self, with_parents: bool) -> Vec<u8> {
        let names: Vec<&[u8]> = components(&self.path).collect();
        let count = match self.entry.node {
            _ if with_parents => self.parents.len() + 1,
            Node::Dir(_) => 0,
            _ => 1,
        };
        names[names.len().saturating_sub(count)..].join(&b'/')
    }

    /// Identity of what is copied.
    fn digest(&self) -> [u8; 32] {
        if self.parents.is_empty() {
            return self.entry.digest();
        }
        let mut hasher = Hasher::new("entry and parents");
        for meta in &self.parents {
            hasher.number(meta.mode.into());
            hasher.number(meta.uid.into());
            hasher.number(meta.gid.into());
            hasher.bytes(&meta.others_digest());
        }
        hasher.bytes(&self.entry.digest());
        hasher.finish()
    }
}

/// What a copy came to.
#[derive(Debug)]
pub struct Copied {
    /// What it adds.
    pub delta: TreeDigest,
    /// Files of archives that have several names.
    pub links: HardLinks,
    /// Archives that were extracted though a mode was asked for, which is for files that are copied.
    pub kept_modes: Vec<String>,
}

/// A copy that has read its inputs and written nothing.
#[derive(Debug)]
pub struct Prepared<'a> {
    op: &'a FileOp,
    matches: Vec<Match>,
    exclude: IgnoreRules,
    below: State,
    destination: Resolved,
    owner: Option<Owner>,
}

impl<'a> Prepared<'a> {
    /// Finds what is copied and where to. `inputs[i]` is input `i` of the vertex.
    ///
    /// # Errors
    /// When a source selects nothing, a pattern is wrong, or a name of the owner is not known below.
    pub fn new(
        op: &'a FileOp,
        inputs: &[Input],
        trees: &Trees<'_>,
        contents: &Contents<'_>,
    ) -> Result<Self, FileError> {
        let below = match inputs.first() {
            Some(Input::State(state)) if op.below => state.clone(),
            _ => State::default(),
        };
        let destination = resolve(&below, trees, op.destination.as_bytes())?;
        if destination.is_loop() {
            return Err(FileError::LinkLoop { path: op.destination.clone() });
        }
        let owner = op.chown.as_ref().map(|chown| accounts::owner(chown, &below, trees, contents));
        let owner = owner.transpose()?;
        let mut matches = Vec::new();
        for (source, from) in op.sources.iter().enumerate() {
            match from {
                CopySource::Inline(inline) => {
                    let content = content_digest(&inline.content);
                    contents.add(content, Location::Inline(inline.content.clone().into()));
                    let node = Node::File { content, size: inline.content.len() as u64 };
                    let entry = Entry { meta: Meta::with_mode(0o644), node };
                    matches.push(Match::new(source, inline.name.clone().into(), entry, false));
                }
                CopySource::Input { input, pattern } => {
                    let found = select(trees, &inputs[*input], pattern, op.parents)?;
                    let unpack = match inputs[*input] {
                        Input::Tree(_) => op.unpack != Unpack::Nothing,
                        Input::Download(_) => op.unpack == Unpack::Everything,
                        Input::State(_) => false,
                    };
                    for (path, entry) in found {
                        let mut found = Match::new(source, path, entry, unpack);
                        if op.parents {
                            found.parents = headers_above(trees, &inputs[*input], &found.path)?;
                            found.parents.drain(..pivot(pattern).min(found.parents.len()));
                        }
                        matches.push(found);
                    }
                }
            }
        }
        for found in matches.iter_mut().filter(|found| found.unpack && !below.deltas.is_empty()) {
            if let Node::File { content, .. } = found.entry.node {
                let (dirs, extracted) = archive::implied_dirs(trees, contents, &content, &found.path)?;
                found.implied = Self::find_implied(&below, trees, &destination.path, dirs)?;
                found.extracted = extracted;
            }
        }
        let exclude = IgnoreRules::of(&op.exclude)?;
        Ok(Self { op, matches, exclude, below, destination, owner })
    }

    /// What the copy has read: its content key is made of this.
    pub fn reads(&self) -> Vec<ContentRead> {
        let subtrees = self.matches.iter().map(|found| ContentRead::Subtree {
            source: found.source,
            path: found.path.clone(),
            digest: found.digest(),
            unpack: found.unpack,
        });
        let implied = self.matches.iter().flat_map(|found| found.implied.values());
        let mut known: HashSet<&[u8]> =
            self.destination.facts.iter().map(|fact| fact.path.as_slice()).collect();
        let implied = implied.flat_map(|there| &there.facts).filter(move |fact| known.insert(&fact.path));
        let facts = self.destination.facts.iter().chain(implied).cloned().map(ContentRead::Destination);
        // An owner of numbers is a parameter, and read from nothing.
        let looked_up = self.op.chown.as_ref().is_some_and(|chown| chown.numbers().is_none());
        let owner = self.owner.filter(|_| looked_up).map(ContentRead::Owner);
        // Facts of an empty state are facts too: the same copy onto a base where nothing stands there is the same.
        owner.into_iter().chain(subtrees).chain(facts).collect()
    }

    /// Paths where a directory of the delta would land on a link or a file of the state below, and what stands there.
    /// The copy replaces it, as buildah does, which is seldom what was meant.
    ///
    /// # Errors
    /// If a directory object is missing.
    pub fn replaced(&self, trees: &Trees<'_>, delta: &TreeDigest) -> Result<Vec<(String, Entry)>, TreeError> {
        let mut replaced = Vec::new();
        let mut pending =
            vec![(Vec::new(), *delta, self.below.deltas.iter().rev().copied().collect::<Vec<_>>())];
        while let Some((path, directory, below)) = pending.pop() {
            for (name, entry) in trees.load(&directory)?.entries.iter() {
                let Node::Dir(child) = entry.node else { continue };
                let mut path = path.clone();
                push_name(&mut path, name);
                match State::child(trees, &below, name)? {
                    Found::Absent => {}
                    Found::Other(other) => replaced.push((lossy(&path), other)),
                    Found::Dir { parts, .. } => pending.push((path, child, parts)),
                }
            }
        }
        Ok(replaced)
    }

    /// Makes the delta.
    ///
    /// # Errors
    /// When the destination does not fit, or an archive cannot be extracted.
    pub fn run(&self, trees: &Trees<'_>, contents: &Contents<'_>) -> Result<Copied, FileError> {
        let lands_below = self.lands_below()?;
        let mut root = OpenDir::root();
        let (mut kept_modes, mut links) = (Vec::new(), Vec::new());
        for found in &self.matches {
            let Some(entry) = self.dressed(trees, found)? else { continue };
            let archive = match (&found.extracted, &entry.node) {
                (None, Node::File { content, .. }) if found.unpack => {
                    archive::extract(trees, contents, content, &found.path)?
                }
                _ => None,
            };
            match (found.extracted.as_ref().or(archive.as_ref()), &entry.node) {
                (Some(archive), _) => {
                    let tree = restyle(trees, &archive.tree, self.owner, None)?;
                    self.spread(&mut root, trees, (&tree, b""), &self.destination, &found.implied)?;
                    kept_modes.extend(self.op.chmod.is_some().then(|| lossy(&found.path)));
                    links.extend(archive.links.0.iter().map(|names| self.landed(names, &found.implied)));
                }
                (None, _) if self.op.parents => self.with_parents(&mut root, trees, found, entry)?,
                (None, Node::Dir(tree)) => {
                    if let Found::Other(_) = self.destination.found {
                        return Err(FileError::OntoFile { path: lossy(&self.destination.path) });
                    }
                    self.directory(&mut root, trees, &self.destination, &[], true)?.add_all(trees, tree)?;
                }
                (None, _) if lands_below => {
                    let name = base_name(&found.path).to_vec();
                    self.directory(&mut root, trees, &self.destination, &[], true)?
                        .put(trees, &name, entry)?;
                }
                // It would take the place of what the others bring.
                (None, _) if self.matches.len() > 1 => return Err(self.needs_directory()),
                (None, _) => {
                    let mut path: Vec<Name> =
                        components(&self.destination.path).map(<[u8]>::to_vec).collect();
                    let name = path.pop().unwrap_or_else(|| base_name(&found.path).to_vec());
                    self.directory(&mut root, trees, &self.destination, &[], false)?
                        .put(trees, &name, entry)?;
                }
            }
        }
        let delta = root.finish(trees);
        Ok(Copied { delta, links: still_one(trees, &delta, links)?, kept_modes })
    }

    /// Whether files go below the destination rather than become it.
    fn lands_below(&self) -> Result<bool, FileError> {
        let written = &self.op.destination;
        let last = written.rsplit('/').next().unwrap_or_default();
        let is_dir = matches!(last, "" | "." | "..") || matches!(self.destination.found, Found::Dir { .. });
        let files = self.matches.iter().filter(|found| !matches!(found.entry.node, Node::Dir(_))).count();
        if !is_dir && files > 1 && !self.op.parents {
            return Err(self.needs_directory());
        }
        Ok(is_dir)
    }

    fn needs_directory(&self) -> FileError {
        let pattern = match self.op.sources.first() {
            Some(CopySource::Input { pattern, .. }) => pattern.clone(),
            _ => String::new(),
        };
        let (count, destination) = (self.matches.len(), self.op.destination.clone());
        FileError::NeedsDirectory { pattern, count, destination }
    }

    /// The open directory at a place of the state (or above it, for a file), with more components below.
    fn directory<'r>(
        &self,
        root: &'r mut OpenDir,
        trees: &Trees<'_>,
        at: &Resolved,
        below: &[(Name, Meta)],
        whole: bool,
    ) -> Result<&'r mut OpenDir, FileError> {
        let names: Vec<&[u8]> = components(&at.path).collect();
        let depth = if whole { names.len() } else { names.len().saturating_sub(1) };
        let mut dir = root;
        let mut created = Meta::with_mode(0o755);
        if let Some(Owner { uid, gid }) = self.owner {
            created = Meta { uid, gid, ..created };
        }
        for (name, existing) in names.iter().zip(&at.parents).take(depth) {
            dir = dir.dir(trees, name, existing.as_ref().unwrap_or(&created))?;
        }
        if let Some(file) = file_in_the_way(at, depth) {
            return Err(FileError::ParentIsFile { destination: self.op.destination.clone(), path: file });
        }
        for (name, meta) in below {
            dir = dir.dir(trees, name, meta)?;
        }
        Ok(dir)
    }

    /// `--parents`: the match keeps its path; a `./` in the pattern says from where.
    fn with_parents(
        &self,
        root: &mut OpenDir,
        trees: &Trees<'_>,
        found: &Match,
        entry: Entry,
    ) -> Result<(), FileError> {
        let names: Vec<Name> = components(&found.path).map(<[u8]>::to_vec).collect();
        let Some((name, above)) = names.split_last() else {
            if let Node::Dir(tree) = &entry.node {
                self.directory(root, trees, &self.destination, &[], true)?.add_all(trees, tree)?;
            }
            return Ok(());
        };
        let above = &above[above.len() - found.parents.len()..];
        let mut parents: Vec<(Name, Meta)> = above.iter().cloned().zip(found.parents.clone()).collect();
        for (_, meta) in &mut parents {
            restyle_meta(meta, self.owner, self.op.chmod.as_ref(), true);
        }
        self.directory(root, trees, &self.destination, &parents, true)?.put(trees, name, entry)?;
        Ok(())
    }

    /// The entry as it will stand in the image: excluded parts gone, owner and mode set; `None` if all of it is excluded.
    fn dressed(&self, trees: &Trees<'_>, found: &Match) -> Result<Option<Entry>, FileError> {
        let entry = if self.exclude.is_empty() {
            Some(found.entry.clone())
        } else {
            kept(trees, &found.entry, &self.exclude, &found.kept_path(self.op.parents))?
        };
        let (owner, chmod) = (self.owner, self.op.chmod.as_ref());
        Ok(entry.map(|entry| restyle_entry(trees, &entry, owner, chmod)).transpose()?)
    }
}

/// Where a path is in a state, if files can be there.
fn resolve(below: &State, trees: &Trees<'_>, path: &[u8]) -> Result<Resolved, FileError> {
    let resolved = below.resolve(trees, path)?;
    if components(&resolved.path).any(|name| name.starts_with(b".wh.")) {
        return Err(FileError::WhiteoutName { path: lossy(&resolved.path) });
    }
    Ok(resolved)
}

fn file_in_the_way(at: &Resolved, depth: usize) -> Option<String> {
    let names: Vec<&[u8]> = components(&at.path).take(depth).collect();
    at.facts.iter().find_map(|fact| {
        let blocks = fact.header.as_ref().is_some_and(|header| !matches!(header.kind, 'd' | 'l'));
        let on_the_way = components(&fact.path).zip(&names).all(|(a, b)| a == *b)
            && components(&fact.path).count() <= names.len();
        (blocks && on_the_way).then(|| lossy(&fact.path))
    })
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
