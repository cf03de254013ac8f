//! The merged root file system of an image: as a tar stream, or unpacked into a directory.
//!
//! The merged tree says what there is; each layer is then read once, and what shows through of it is passed on. So
//! nothing is held but the tree, and no copy is made on the way. Directories come first, links and devices next,
//! files layer by layer. Where the files' own times are kept the layers are read once more, before: trees do not have those
//! that other tools wrote.

pub(crate) mod dir;
mod stream;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read, Write};

use cache::Store;
use solver::{Layer, TreeDigest};

use self::dir::Dir;
use self::stream::Tar;
use super::TransportError;
use super::write::Destination;
use crate::cancel::Cancel;
use crate::contents::Contents;
use crate::images::StoredImage;
use crate::layer::{self, TimePolicy};
use crate::source::image::{self, ImageError};
use crate::state::{Found, State};
use crate::tree::{Entry, Meta, Node, Trees};
use crate::untar::mtime_of;
use crate::untar::pax::PaxTap;

/// What could not be done to the letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RootfsReport {
    /// Files whose owner could not be set, because only root may.
    pub owners_not_set: usize,
    /// Files whose capabilities and the like could not be set, because only root may.
    pub attributes_not_set: usize,
    /// Devices that could not be made, because only root may.
    pub devices_left_out: usize,
}

/// Writes the root file system as one uncompressed tar.
///
/// # Errors
/// When a layer cannot be read or the destination cannot be written; then there is none.
pub fn write_tar(
    store: &Store,
    stored: &StoredImage,
    times: TimePolicy,
    destination: &Destination,
    cancel: &Cancel,
) -> Result<(), TransportError> {
    let merged = Merged::new(store, stored, times, cancel)?;
    destination.stream(|out| {
        let mut out = io::BufWriter::with_capacity(1 << 20, out);
        let mut tar = Tar { out: &mut out, times };
        merged.pass(cancel, &mut tar)?;
        for (path, entry) in merged.entries.iter().rev() {
            tar.again(path, entry)?;
        }
        out.write_all(&layer::END)?;
        Ok(out.flush()?)
    })
}

/// Unpacks the root file system into a new directory.
///
/// # Errors
/// When a layer cannot be read or the destination is not empty or cannot be written; then there is none.
pub fn write_rootfs(
    store: &Store,
    stored: &StoredImage,
    times: TimePolicy,
    destination: &Destination,
    cancel: &Cancel,
) -> Result<RootfsReport, TransportError> {
    let merged = Merged::new(store, stored, times, cancel)?;
    destination.dir(|root| {
        let is_root = rustix::process::geteuid().is_root();
        let mut dir = Dir { root, times, is_root, report: RootfsReport::default() };
        merged.pass(cancel, &mut dir)?;
        // Directories last: a read-only one could not be filled, and filling one changes its time.
        for (path, entry) in merged.entries.iter().rev() {
            if matches!(entry.node, Node::Dir(_)) {
                dir.attributes(&dir.path(path), entry)?;
            }
        }
        Ok(dir.report)
    })
}

/// Takes a merged root file system, parents before what is in them.
pub(crate) trait Sink {
    /// A directory, link or device.
    fn other(&mut self, path: &[u8], entry: &Entry) -> Result<(), TransportError>;
    /// A file with its bytes, in place of one that was passed under the same name.
    fn file(
        &mut self,
        path: &[u8],
        entry: &Entry,
        size: u64,
        bytes: &mut dyn Read,
    ) -> Result<(), TransportError>;
    /// A further name of a file that was passed already, in place of one that was passed under that name.
    fn link(&mut self, path: &[u8], entry: &Entry, target: &[u8]) -> Result<(), TransportError>;
}

struct Merged<'a> {
    store: &'a Store,
    contents: Contents<'a>,
    deltas: Vec<TreeDigest>,
    layers: &'a [Layer],
    entries: BTreeMap<Vec<u8>, Entry>,
    /// For every file: the layer it shows through from.
    layer_of: HashMap<Vec<u8>, usize>,
}

impl<'a> Merged<'a> {
    fn new(
        store: &'a Store,
        stored: &'a StoredImage,
        times: TimePolicy,
        cancel: &Cancel,
    ) -> Result<Self, TransportError> {
        let trees = Trees::new(store);
        let contents = Contents::new(store, false);
        let state = match image::state(stored, store, &trees, &contents, cancel) {
            Err(ImageError::Cancelled) => return Err(TransportError::Cancelled),
            state => state?,
        };
        let Found::Dir { parts, .. } = state.root() else {
            unreachable!("the root of a state is a directory")
        };
        let merged = State::merged(&trees, &parts)?;
        let mut entries = BTreeMap::new();
        trees.walk::<TransportError>(&merged, &mut |path, entry| {
            entries.insert(path.to_vec(), entry.clone());
            Ok(())
        })?;
        let mut layer_of = HashMap::new();
        for (number, delta) in state.deltas.iter().enumerate() {
            files_of(&trees, delta, &mut |path| {
                if matches!(entries.get(path), Some(Entry { node: Node::File { .. }, .. })) {
                    layer_of.insert(path.to_vec(), number);
                }
            })?;
        }
        let (layers, deltas) = (&stored.layers, state.deltas);
        let mut merged = Self { store, contents, deltas, layers, entries, layer_of };
        if times == TimePolicy::Keep {
            merged.keep_times(cancel)?;
        }
        Ok(merged)
    }

    /// Every time is the one that the last layer with the entry says.
    fn keep_times(&mut self, cancel: &Cancel) -> Result<(), TransportError> {
        let mut entries = std::mem::take(&mut self.entries);
        for number in 0..self.layers.len() {
            let read = self.each_entry(number, cancel, &mut |path, Member { mtime, .. }, _| {
                if let Some(entry) = entries.get_mut(&path) {
                    entry.meta.mtime = Some(mtime);
                }
                Ok(())
            });
            read.map_err(|error| self.blamed(number, error))?;
        }
        self.entries = entries;
        Ok(())
    }

    fn pass(&self, cancel: &Cancel, sink: &mut dyn Sink) -> Result<(), TransportError> {
        let is_dir = |entry: &Entry| matches!(entry.node, Node::Dir(_));
        for wanted in [true, false] {
            for (path, entry) in &self.entries {
                if is_dir(entry) == wanted && !matches!(entry.node, Node::File { .. }) {
                    sink.other(path, entry)?;
                }
            }
        }
        for number in 0..self.layers.len() {
            if cancel.is_cancelled() {
                return Err(TransportError::Cancelled);
            }
            self.pass_layer(number, cancel, sink).map_err(|error| self.blamed(number, error))?;
        }
        Ok(())
    }

    /// Reports a damaged layer as damaged, whatever error reading it gave.
    fn blamed(&self, number: usize, error: TransportError) -> TransportError {
        let (blobs, blob) = (self.store.blobs(), self.layers[number].blob);
        if matches!(error, TransportError::Cancelled) || blobs.verify(&blob) {
            return error;
        }
        blobs.lost(&blob.digest).into()
    }

    fn shows(&self, path: &[u8], number: usize) -> bool {
        self.layer_of.get(path) == Some(&number)
    }

    /// The files that show through of one layer. A hard link whose first name is hidden by a newer layer gets the bytes
    /// in a second pass.
    fn pass_layer(&self, number: usize, cancel: &Cancel, sink: &mut dyn Sink) -> Result<(), TransportError> {
        if !self.layer_of.values().any(|of| *of == number) {
            return Ok(());
        }
        let mut passed: HashSet<Vec<u8>> = HashSet::new();
        let mut orphans: HashMap<(Vec<u8>, usize), Vec<Vec<u8>>> = HashMap::new();
        let mut times = Times::default();
        self.each_entry(number, cancel, &mut |path, Member { kind, .. }, bytes| {
            let entry = self.entries.get(&path).filter(|_| self.shows(&path, number));
            match (kind, entry) {
                (Kind::File(size), entry) => {
                    times.again(&path);
                    // Of several entries with one name the last counts.
                    passed.remove(&path);
                    let Some(entry) = entry.filter(|entry| size_of(entry) == size) else { return Ok(()) };
                    sink.file(&path, entry, size, bytes)?;
                    passed.insert(path);
                }
                (Kind::Link(target), _) if target == path => {}
                (Kind::Link(target), Some(entry))
                    if passed.contains(&target) && self.entries[&target].node == entry.node =>
                {
                    sink.link(&path, entry, &target)?;
                    passed.insert(path);
                }
                (Kind::Link(target), Some(_)) => {
                    let time = times.of(&target);
                    orphans.entry((target, time)).or_default().push(path);
                }
                (Kind::Link(_), None) | (Kind::Other, _) => {}
            }
            Ok(())
        })?;
        if !orphans.is_empty() {
            times = Times::default();
            self.each_entry(number, cancel, &mut |path, Member { kind, .. }, bytes| {
                let Kind::File(size) = kind else { return Ok(()) };
                times.again(&path);
                let time = times.of(&path);
                let names = orphans.remove(&(path, time)).unwrap_or_default().into_iter();
                let mut names =
                    names.filter(|name| !passed.contains(name) && size_of(&self.entries[name]) == size);
                let Some(first) = names.next() else { return Ok(()) };
                sink.file(&first, &self.entries[&first], size, bytes)?;
                let names: Vec<Vec<u8>> = names.collect();
                for name in &names {
                    sink.link(name, &self.entries[name], &first)?;
                }
                passed.extend(names.into_iter().chain([first]));
                Ok(())
            })?;
        }
        for ((target, _), names) in orphans {
            for name in names.into_iter().filter(|name| !passed.contains(name)).collect::<Vec<_>>() {
                self.pass_link_below((&name, &target), number, sink)?;
                passed.insert(name);
            }
        }
        let unfound = self.layer_of.iter().find(|(path, of)| **of == number && !passed.contains(*path));
        match unfound {
            None => Ok(()),
            Some((path, _)) => {
                Err(TransportError::Unfound { path: String::from_utf8_lossy(path).into_owned() })
            }
        }
    }

    /// A hard link to a file of a layer below: if that shows no more, the bytes are somewhere there all the same.
    fn pass_link_below(
        &self,
        (name, target): (&[u8], &[u8]),
        number: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), TransportError> {
        let entry = &self.entries[name];
        let Node::File { content, size } = entry.node else { return Ok(()) };
        let is_passed = self.layer_of.get(target).is_some_and(|of| *of < number);
        let same_time = |of: &Entry| Entry { meta: Meta { mtime: None, ..of.meta.clone() }, ..of.clone() };
        if is_passed && same_time(&self.entries[target]) == same_time(entry) {
            return sink.link(name, entry, target);
        }
        let wanted = std::iter::once((content, name));
        self.contents.provide_files(&Trees::new(self.store), &self.deltas[number], wanted)?;
        sink.file(name, entry, size, &mut self.contents.open(&content)?)
    }

    fn each_entry(
        &self,
        number: usize,
        cancel: &Cancel,
        visit: &mut Visit<'_>,
    ) -> Result<(), TransportError> {
        let layer = &self.layers[number];
        let blob = self.store.blobs().open(&layer.blob.digest)?;
        let tap = PaxTap::new(layer::uncompressed(blob, layer.media_type)?);
        let records = tap.records();
        let mut archive = tar::Archive::new(tap);
        for entry in archive.entries()? {
            if cancel.is_cancelled() {
                return Err(TransportError::Cancelled);
            }
            let mut entry = entry?;
            let path = normal(&records.path(&entry));
            let kind = match entry.header().entry_type() {
                kind if kind.is_file() => Kind::File(entry.size()),
                kind if kind.is_hard_link() => Kind::Link(normal(&records.link_name(&entry))),
                _ => Kind::Other,
            };
            let mtime = mtime_of(&entry, &records)?;
            visit(path, Member { kind, mtime }, &mut entry)?;
        }
        Ok(())
    }
}

/// Takes a path, what is there and, for a file, its bytes.
type Visit<'a> = dyn FnMut(Vec<u8>, Member, &mut dyn Read) -> Result<(), TransportError> + 'a;

struct Member {
    kind: Kind,
    mtime: i64,
}

enum Kind {
    /// Its size, in bytes.
    File(u64),
    Link(Vec<u8>),
    Other,
}

/// How often each path came as a file.
#[derive(Default)]
struct Times(HashMap<Vec<u8>, usize>);

impl Times {
    fn again(&mut self, path: &[u8]) {
        *self.0.entry(path.to_vec()).or_default() += 1;
    }

    fn of(&self, path: &[u8]) -> usize {
        self.0.get(path).copied().unwrap_or_default()
    }
}

fn normal(path: &[u8]) -> Vec<u8> {
    crate::tree::components(path).collect::<Vec<_>>().join(&b'/')
}

fn size_of(entry: &Entry) -> u64 {
    if let Node::File { size, .. } = entry.node { size } else { 0 }
}

fn files_of(
    trees: &Trees<'_>,
    delta: &TreeDigest,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<(), TransportError> {
    trees.walk::<TransportError>(delta, &mut |path, entry| {
        if matches!(entry.node, Node::File { .. }) {
            visit(path);
        }
        Ok(())
    })
}

/// Copies exactly the bytes the tree says a file has.
pub(crate) fn copy_exactly(
    path: &[u8],
    size: u64,
    bytes: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<(), TransportError> {
    let written = io::copy(&mut bytes.take(size.saturating_add(1)), out)?;
    if written == size {
        return Ok(());
    }
    let part = String::from_utf8_lossy(path).into_owned();
    Err(TransportError::Size { part, expected: size, found: written })
}
