//! A delta written into a directory: its tree says what there is, its layer, or else whoever has the files, has the bytes.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cache::Store;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};
use solver::{HardLinks, Layer, TreeDigest};

use super::SnapshotError;
use crate::cancel::{Cancel, Stopping};
use crate::contents::{ContentError, Contents, copy_hashed};
use crate::decompress::{Bounded, expansion_limit};
use crate::layer::{self, TimePolicy};
use crate::transport::RootfsReport;
use crate::transport::rootfs::Sink;
use crate::transport::rootfs::dir::Dir;
use crate::tree::{Entry, Node, Trees, components, push_name};
use crate::untar::mtime_of;
use crate::untar::pax::PaxTap;
use crate::upper::plain;

/// How overlayfs marks a directory that hides what is below it, with `userxattr`.
pub(crate) const OPAQUE: &str = "user.overlay.opaque";

/// What is extracted.
pub(crate) struct Wanted<'a> {
    pub(crate) delta: &'a TreeDigest,
    /// Which files are one; of an image's layer its tar says it.
    pub(crate) links: &'a HardLinks,
    pub(crate) times: TimePolicy,
}

/// Extracts a delta into an empty directory. What it has of an image keeps that image's times, because programs compare them;
/// all else has those of the build.
pub(crate) fn extract(
    root: &Path,
    trees: &Trees<'_>,
    contents: &Contents<'_>,
    store: &Store,
    wanted: &Wanted<'_>,
) -> Result<(), SnapshotError> {
    let is_root = rustix::process::geteuid().is_root();
    let delta = wanted.delta;
    let given = contents.is_given(delta);
    let times = if given { TimePolicy::Keep } else { wanted.times };
    let dir = Dir { root, times, is_root, report: RootfsReport::default() };
    let linked = (!given).then(|| files_of(wanted.links));
    let mut extraction = Extraction { dir, trees, linked, files: HashMap::new(), late: Vec::new() };
    extraction.skeleton(delta, &mut Vec::new())?;
    match contents.layer_of(delta)? {
        Some(layer) => {
            let cancel = contents.cancel();
            let read = match extraction.read_layer(store, &layer, cancel) {
                Err(_) if cancel.is_cancelled() => return Err(ContentError::Cancelled.into()),
                read => read,
            };
            let links = read.inspect_err(|_| store.blobs().doubt(&layer.blob.digest))?;
            // Hard links to files of layers below.
            let wanted = links.iter().filter_map(|(path, entry)| match entry.node {
                Node::File { content, size: 1.. } => Some((content, path.as_slice())),
                _ => None,
            });
            contents.provide_files(trees, delta, wanted)?;
            extraction.files = links;
            extraction.read_contents(contents)?;
        }
        None => {
            contents.provide(trees, delta)?;
            extraction.read_contents(contents)?;
        }
    }
    if !given {
        extraction.join(wanted.links)?;
    }
    extraction.finish()
}

struct Extraction<'a> {
    dir: Dir<'a>,
    trees: &'a Trees<'a>,
    /// Numbers of the files that have several names, by name; `None` where it is the layer that knows them.
    linked: Option<HashMap<&'a [u8], usize>>,
    /// Files that are not written yet.
    files: HashMap<Vec<u8>, Entry>,
    /// What is not a file, parents first: the layer may know when it was modified.
    late: Vec<(Vec<u8>, Entry)>,
}

impl Extraction<'_> {
    /// Everything but files, and but the attributes of directories.
    fn skeleton(&mut self, tree: &TreeDigest, path: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let directory = self.trees.load(tree)?;
        if directory.opaque {
            lsetxattr(self.dir.path(path), OPAQUE, b"y", XattrFlags::empty()).map_err(io::Error::from)?;
        }
        for (name, entry) in directory.entries.iter() {
            let length = path.len();
            push_name(path, name);
            match &entry.node {
                Node::File { .. } => _ = self.files.insert(path.clone(), entry.clone()),
                Node::Whiteout => {
                    let place = self.dir.path(path);
                    mknodat(CWD, place, FileType::CharacterDevice, Mode::empty(), 0)
                        .map_err(io::Error::from)?;
                }
                Node::Dir(child) => {
                    self.dir.other(path, entry)?;
                    self.late.push((path.clone(), entry.clone()));
                    self.skeleton(child, path)?;
                }
                Node::Symlink(_) | Node::Device { .. } => {
                    let left_out = self.dir.report.devices_left_out;
                    self.dir.other(path, entry)?;
                    if self.dir.report.devices_left_out == left_out {
                        self.late.push((path.clone(), entry.clone()));
                    }
                }
            }
            path.truncate(length);
        }
        Ok(())
    }

    /// Files out of the layer they are in, in one pass. Gives hard links to what the layer does not have.
    fn read_layer(
        &mut self,
        store: &Store,
        layer: &Layer,
        cancel: &Cancel,
    ) -> Result<HashMap<Vec<u8>, Entry>, SnapshotError> {
        let blob = Stopping { bytes: store.blobs().open(&layer.blob.digest)?, cancel };
        let tar =
            Bounded::new(layer::uncompressed(blob, layer.media_type)?, expansion_limit(layer.blob.size));
        let tap = PaxTap::new(tar);
        let records = tap.records();
        let mut times: HashMap<Vec<u8>, i64> = HashMap::new();
        let mut written: HashMap<Vec<u8>, Entry> = HashMap::new();
        let mut links = HashMap::new();
        let mut archive = tar::Archive::new(tap);
        for member in archive.entries()? {
            let mut member = member?;
            let path = normal(&records.path(&member));
            let mtime = mtime_of(&member, &records).unwrap_or(0);
            let kind = member.header().entry_type();
            if kind.is_dir() || kind.is_symlink() || is_special(kind) {
                times.insert(path, mtime);
            } else if kind.is_hard_link() {
                if !self.link(&path, &normal(&records.link_name(&member)), &mut written)?
                    && let Some(link) = self.files.remove_entry(&path)
                {
                    links.extend([link]);
                }
            } else if kind.is_file() {
                self.file(path, mtime, &mut member, &mut written)?;
            }
        }
        for (path, entry) in &mut self.late {
            entry.meta.mtime = times.get(path).copied();
        }
        match self.files.keys().next() {
            None => Ok(links),
            Some(path) => Err(SnapshotError::Unfound { path: String::from_utf8_lossy(path).into_owned() }),
        }
    }

    /// A file that stands in a tar twice is the later one, as in the tree.
    fn file(
        &mut self,
        path: Vec<u8>,
        mtime: i64,
        bytes: &mut dyn Read,
        written: &mut HashMap<Vec<u8>, Entry>,
    ) -> Result<(), SnapshotError> {
        let again = written.get(&path).cloned();
        let Some(mut entry) = self.files.remove(&path).or_else(|| again.clone()) else { return Ok(()) };
        if again.is_some() {
            fs_err::remove_file(self.dir.path(&path))?;
        }
        entry.meta.mtime = Some(mtime);
        let Node::File { content, size } = entry.node else { return Ok(()) };
        let place = self.dir.path(&path);
        let mut out = fs_err::File::create_new(&place)?;
        let mut bounded = bytes.take(size.saturating_add(1));
        let found = copy_hashed(&mut bounded, &mut out)?;
        drop(out);
        if found != content {
            // The bytes of a later one, then.
            fs_err::remove_file(&place)?;
            self.files.insert(path, entry);
            return Ok(());
        }
        self.dir.attributes(&place, &entry)?;
        written.insert(path, entry);
        Ok(())
    }

    /// A further name; whether the first is written already.
    fn link(
        &mut self,
        path: &[u8],
        target: &[u8],
        written: &mut HashMap<Vec<u8>, Entry>,
    ) -> Result<bool, SnapshotError> {
        let is_one = |files: &HashMap<&[u8], usize>| {
            let file = files.get(path);
            file.is_some() && file == files.get(target)
        };
        if !written.contains_key(target) || !self.linked.as_ref().is_none_or(is_one) {
            return Ok(false);
        }
        if let Some(entry) = self.files.remove(path) {
            fs_err::hard_link(self.dir.path(target), self.dir.path(path))?;
            written.insert(path.to_vec(), entry);
        }
        Ok(true)
    }

    /// Files from wherever this build can read them.
    fn read_contents(&mut self, contents: &Contents<'_>) -> Result<(), SnapshotError> {
        for (path, entry) in std::mem::take(&mut self.files) {
            let Node::File { content, size } = entry.node else { continue };
            let place = self.dir.path(&path);
            let mut out = fs_err::File::create_new(&place)?;
            if size > 0 {
                let found = copy_hashed(&mut contents.open(&content)?, &mut out)?;
                contents.confirm(&content, &found, &path)?;
            }
            drop(out);
            self.dir.attributes(&place, &entry)?;
        }
        Ok(())
    }

    /// Makes one what is one, wherever its names came from.
    fn join(&self, links: &HardLinks) -> Result<(), SnapshotError> {
        for names in &links.0 {
            let [first, further @ ..] = names.as_slice() else { continue };
            let first = self.dir.path(first);
            for name in further {
                let place = self.dir.path(name);
                if fs_err::symlink_metadata(&place)?.ino() != fs_err::symlink_metadata(&first)?.ino() {
                    fs_err::remove_file(&place)?;
                    fs_err::hard_link(&first, &place)?;
                }
            }
        }
        Ok(())
    }

    /// Headers of what is not a file. Directories last: a read-only one could not be filled, and filling one changes its time.
    fn finish(mut self) -> Result<(), SnapshotError> {
        for (path, entry) in self.late.iter().rev() {
            let place = self.dir.path(path);
            self.dir.attributes(&place, entry)?;
        }
        Ok(plain(self.dir.root, self.dir.times)?)
    }
}

fn is_special(kind: tar::EntryType) -> bool {
    kind.is_character_special() || kind.is_block_special() || kind.is_fifo()
}

fn files_of(links: &HardLinks) -> HashMap<&[u8], usize> {
    let files = links.0.iter().enumerate();
    files.flat_map(|(number, names)| names.iter().map(move |name| (name.as_slice(), number))).collect()
}

fn normal(path: &[u8]) -> Vec<u8> {
    components(path).collect::<Vec<_>>().join(&b'/')
}
