//! A tar stream read into a tree. Nothing is unpacked: entries become directory objects, contents go to a sink.
//!
//! Archives are hostile: no path leaves the root, no entry is reached through a link of the archive, sizes and
//! counts are bounded. Links point wherever they like, as in a directory: their text is kept, and never followed out of the tree.

pub(crate) mod pax;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};

use solver::{ContentDigest, HardLinks, TreeDigest};
use thiserror::Error;

use self::pax::{PaxRecords, PaxTap};
use crate::delta::OpenDir;
use crate::state::{Found, State};
use crate::tree::{Entry, Meta, Name, Node, TreeError, Trees, components};

/// Most entries in one archive or layer.
const ENTRY_LIMIT: usize = 10_000_000;
/// Longest path, as Linux has it (`PATH_MAX`).
const PATH_LIMIT: usize = 4096;
/// Most memory for directories, in bytes, by what [`DIRECTORY`] and their paths come to: some 900,000 of them. A single path
/// can imply two thousand, so the number of entries does not bound them.
const DIRECTORIES_LIMIT: usize = 1 << 30;
/// What a directory takes that one entry is in, in bytes: a node of the map has room for eleven.
const DIRECTORY: usize = 1 << 10;

/// Most bytes that sparse files of one archive may come to: their holes take none of it, so nothing else bounds them.
const SPARSE_LIMIT: u64 = 64 << 30;

/// A tar that is refused.
#[derive(Debug, Error)]
pub enum UntarError {
    /// A path that climbs out.
    #[error("entry `{0}` leaves the archive with `..`")]
    Escapes(String),
    /// A hard link that climbs out.
    #[error("hard link `{path}` -> `{target}` leads out of the archive")]
    LinkEscapes {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// An entry below a link.
    #[error("entry `{path}` is below `{link}`, which the archive makes a link")]
    ThroughLink {
        /// The entry.
        path: String,
        /// The link.
        link: String,
    },
    /// A hard link to nothing: neither in the archive, nor, for a layer, in what is known of the layers below.
    #[error("hard link `{path}` -> `{target}` names a file the archive does not have")]
    LinkTarget {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// An unreasonable archive.
    #[error("the archive has {0}")]
    TooLarge(&'static str),
    /// A whiteout in an archive that is not a layer.
    #[error("entry `{0}`: names that start with `.wh.` mark deletions in image layers")]
    WhiteoutName(String),
    /// A directory is missing.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It is not a tar, or reading failed.
    #[error("cannot be read as a tar archive: {0}")]
    Io(#[from] io::Error),
}

/// How a tar is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour<'a> {
    /// An image layer on a state, to whose files hard links may be: `.wh.` names are whiteouts, and an entry below a link takes
    /// the link's place.
    Layer(&'a State),
    /// An archive to extract: directories that it only implies are listed.
    Archive,
    /// Files as they were put away.
    Files,
}

/// What a tar holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untarred {
    /// Its root directory.
    pub tree: TreeDigest,
    /// Paths of directories that have no entry of their own, in their order; for an archive only.
    pub implied: Vec<Vec<u8>>,
    /// Files that have several names; of an archive only.
    pub links: HardLinks,
}

/// Names of files that have several, as they come.
#[derive(Debug, Default)]
struct Linked {
    /// The first name of a file by each further one.
    first: HashMap<Vec<u8>, Vec<u8>>,
    further: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

impl Linked {
    fn add(&mut self, name: Vec<u8>, of: Vec<u8>) {
        let first = self.first.get(&of).cloned().unwrap_or(of);
        self.first.insert(name.clone(), first.clone());
        self.further.entry(first).or_default().push(name);
    }

    fn links(self) -> HardLinks {
        let files = self.further.into_iter();
        HardLinks::new(files.map(|(first, further)| further.into_iter().chain([first]).collect()))
    }
}

/// Takes a regular file's bytes and says what they are.
pub type FileSink<'a> = dyn FnMut(&[u8], &mut dyn Read) -> io::Result<ContentDigest> + 'a;

/// Reads a whole tar.
///
/// # Errors
/// [`UntarError`]; nothing of a refused archive is used.
pub fn read_tar(
    reader: &mut dyn Read,
    trees: &Trees<'_>,
    flavour: Flavour<'_>,
    keep_mtime: bool,
    sink: &mut FileSink<'_>,
) -> Result<Untarred, UntarError> {
    let below = if let Flavour::Layer(below) = flavour { Some(below) } else { None };
    let mut root = OpenDir::root();
    let (mut named, mut links) = (BTreeSet::new(), Linked::default());
    let (mut left, mut sparse) = (DIRECTORIES_LIMIT, 0_u64);
    let tap = PaxTap::new(&mut *reader);
    let records = tap.records();
    let mut archive = tar::Archive::new(tap);
    for (count, entry) in archive.entries()?.enumerate() {
        if count >= ENTRY_LIMIT {
            return Err(UntarError::TooLarge("more than ten million entries"));
        }
        let mut entry = entry?;
        if entry.header().entry_type() == tar::EntryType::GNUSparse {
            sparse = sparse.saturating_add(entry.size());
            if sparse > SPARSE_LIMIT {
                return Err(UntarError::TooLarge("more than 64 GiB in sparse files"));
            }
        }
        let path = safe_path(&records.path(&entry))?;
        let meta = meta_of(&entry, &records, keep_mtime)?;
        let Some((name, parents)) = path.split_last() else { continue };
        if below.is_none() {
            refuse_links_on_the_way(&root, &path)?;
        }
        if let Some(deleted) = name.strip_prefix(b".wh.") {
            if below.is_none() {
                return Err(UntarError::WhiteoutName(shown(&path)));
            }
            let dir = open(&mut root, trees, parents, &mut left)?;
            match deleted {
                b".wh..opq" => dir.set_opaque(),
                name => _ = dir.put(trees, name, Entry { meta, node: Node::Whiteout })?,
            }
            continue;
        }
        let target = records.link_name(&entry);
        if flavour == Flavour::Archive && entry.header().entry_type() == tar::EntryType::Link {
            links.add(path.join(&b'/'), components(&target).collect::<Vec<_>>().join(&b'/'));
        }
        let Some(entry) = read_entry(&mut entry, (&root, below, trees), &path, (meta, target), sink)? else {
            continue;
        };
        match entry.node {
            Node::Dir(_) => {
                open(&mut root, trees, &path, &mut left)?.set_meta(entry.meta);
                if flavour == Flavour::Archive {
                    named.insert(path.join(&b'/'));
                }
            }
            _ => _ = open(&mut root, trees, parents, &mut left)?.put(trees, name, entry)?,
        }
    }
    // The end marker may be followed by padding; a layer's digest covers it.
    io::copy(reader, &mut io::sink())?;
    let tree = root.finish(trees);
    let implied = if flavour == Flavour::Archive { unnamed(trees, &tree, &named)? } else { Vec::new() };
    Ok(Untarred { tree, implied, links: links.links() })
}

fn unnamed(
    trees: &Trees<'_>,
    tree: &TreeDigest,
    named: &BTreeSet<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, TreeError> {
    let mut unnamed = Vec::new();
    trees.walk::<TreeError>(tree, &mut |path, entry| {
        if matches!(entry.node, Node::Dir(_)) && !named.contains(path) {
            unnamed.push(path.to_vec());
        }
        Ok(())
    })?;
    Ok(unnamed)
}

fn read_entry(
    entry: &mut tar::Entry<'_, impl Read>,
    (root, below, trees): (&OpenDir, Option<&State>, &Trees<'_>),
    path: &[Name],
    (meta, target): (Meta, Vec<u8>),
    sink: &mut FileSink<'_>,
) -> Result<Option<Entry>, UntarError> {
    use tar::EntryType;
    let device = |kind, entry: &tar::Entry<'_, _>| -> Result<Node, UntarError> {
        let header = entry.header();
        // In ustar's headers and GNU's they stand in the same place; a FIFO's are often left empty.
        let major = number(&header.as_bytes()[329..337], || Ok(header.device_major()?.unwrap_or(0).into()))?;
        let minor = number(&header.as_bytes()[337..345], || Ok(header.device_minor()?.unwrap_or(0).into()))?;
        let id = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let (major, minor) = (id(major), id(minor));
        Ok(Node::Device { kind, major, minor })
    };
    let node = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let size = entry.size();
            let content = sink(&path.join(&b'/'), entry)?;
            Node::File { content, size }
        }
        // The digest is a placeholder: a directory's content comes with its own entries.
        EntryType::Directory => Node::Dir(TreeDigest::from_bytes([0; 32])),
        EntryType::Symlink => {
            return Ok(Some(Entry { meta: Meta { mode: 0o777, ..meta }, node: Node::Symlink(target) }));
        }
        EntryType::Link => {
            let parts = safe_path(&target).map_err(|_| UntarError::LinkEscapes {
                path: shown(path),
                target: String::from_utf8_lossy(&target).into_owned(),
            })?;
            let found = match (root.find(&parts), below) {
                (Some(found), _) => Some(found.clone()),
                (None, Some(below)) => match below.look_up(trees, &parts.join(&b'/'))? {
                    Found::Other(found) => Some(found),
                    Found::Absent | Found::Dir { .. } => None,
                },
                (None, None) => None,
            };
            return found.map(Some).ok_or_else(|| UntarError::LinkTarget {
                path: shown(path),
                target: String::from_utf8_lossy(&target).into_owned(),
            });
        }
        EntryType::Char => device('c', entry)?,
        EntryType::Block => device('b', entry)?,
        EntryType::Fifo => device('p', entry)?,
        _ => return Ok(None),
    };
    Ok(Some(Entry { meta, node }))
}

fn meta_of(
    entry: &tar::Entry<'_, impl Read>,
    records: &PaxRecords,
    keep_mtime: bool,
) -> Result<Meta, UntarError> {
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).unwrap_or(u32::MAX);
    let old = header.as_old();
    Ok(Meta {
        mode: u32::try_from(number(&old.mode, || header.mode().map(u64::from))?).unwrap_or(u32::MAX) & 0o7777,
        uid: id(number(&old.uid, || header.uid())?),
        gid: id(number(&old.gid, || header.gid())?),
        mtime: if keep_mtime { Some(mtime_of(entry, records)?) } else { None },
        xattrs: records.xattrs(),
    })
}

/// When an entry was modified, in whole seconds since 1970: by its record where there is one.
pub(crate) fn mtime_of(entry: &tar::Entry<'_, impl Read>, records: &PaxRecords) -> io::Result<i64> {
    let header = entry.header();
    let stated = || Ok(number(&header.as_old().mtime, || header.mtime())?.cast_signed());
    records.mtime().map_or_else(stated, Ok)
}

/// A number of a header; a field left empty is 0, as everybody else reads it.
fn number(field: &[u8], read: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Ok(0) } else { read() }
}

/// The directory at a path, made where it is missing, out of what is left of [`DIRECTORIES_LIMIT`].
fn open<'r>(
    root: &'r mut OpenDir,
    trees: &Trees<'_>,
    path: &[Name],
    left: &mut usize,
) -> Result<&'r mut OpenDir, UntarError> {
    let mut dir = root;
    let mut length = 0;
    for name in path {
        length += name.len() + 1;
        if !dir.is_open(name) {
            let rest = left.checked_sub(DIRECTORY + length);
            *left =
                rest.ok_or(UntarError::TooLarge("more directories than fit in 1 GiB; make several of it"))?;
        }
        dir = dir.dir(trees, name, &Meta::with_mode(0o755))?;
    }
    Ok(dir)
}

fn refuse_links_on_the_way(root: &OpenDir, path: &[Name]) -> Result<(), UntarError> {
    match root.first_closed(path) {
        Some((depth, Entry { node: Node::Symlink(_), .. })) if depth < path.len() => {
            Err(UntarError::ThroughLink { path: shown(path), link: shown(&path[..depth]) })
        }
        _ => Ok(()),
    }
}

fn safe_path(path: &[u8]) -> Result<Vec<Name>, UntarError> {
    if path.len() > PATH_LIMIT {
        return Err(UntarError::TooLarge("a path longer than 4096 bytes"));
    }
    let names: Vec<Name> = crate::tree::components(path).map(<[u8]>::to_vec).collect();
    if names.iter().any(|name| name == b".." || name.contains(&0)) {
        return Err(UntarError::Escapes(String::from_utf8_lossy(path).into_owned()));
    }
    Ok(names)
}

fn shown(path: &[Name]) -> String {
    String::from_utf8_lossy(&path.join(&b'/')).into_owned()
}

#[cfg(test)]
#[path = "untar_tests.rs"]
mod tests;
