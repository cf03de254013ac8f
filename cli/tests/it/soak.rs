//! Random edits of a context, built again and again on one store: every result must be that of the files as they are.
//!
//! `make soak` runs all of it, `make test` two in a hundred.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use engine::{
    Bases, BuildOptions, Cancel, Contexts, Fetcher, LayerCompression, Registry, Session, TimePolicy,
};
use solver::{Event, EventSink, Platform, SourceFile};

use crate::space::{Space, say};

/// How much of it runs.
const PERCENT: &str = match option_env!("SEALER_SOAK_PERCENT") {
    Some(percent) => percent,
    None => "2",
};
/// Edits that the library sees.
const EDITS: usize = 100_000;
/// Edits that the binary sees, each held against a build on an empty store.
const EDITS_OF_BINARY: usize = 1000;
/// Edits after which a new store is begun, so that the disk holds them.
const EDITS_OF_STORE: usize = 2000;
const DIRS: usize = 4;
const KUBEFILE: &str = "FROM scratch\nCOPY tree /tree\nCOPY tree/d0 /only/\nCOPY tree/d2/keep /one/keep\nAPP a local://tree/d1\nAPPCMDS a [\"sh\"]\n";

fn share(edits: usize) -> usize {
    edits * PERCENT.parse::<usize>().unwrap() / 100
}

/// splitmix64: the same edits on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| b'a' + self.below(26) as u8).collect()
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    File(u32, Vec<u8>),
    Link(String),
    Dir(u32),
}

/// The files on disk, and what they should be.
struct Model {
    root: PathBuf,
    items: BTreeMap<String, Item>,
    random: Random,
    /// The last edit, for the message.
    last: String,
}

impl Model {
    fn new(root: PathBuf, seed: u64, large: usize) -> Self {
        let mut model = Self { root, items: BTreeMap::new(), random: Random(seed), last: String::new() };
        model.dir("tree", 0o755);
        for dir in 0..DIRS {
            model.dir(&format!("tree/d{dir}"), 0o755);
            model.dir(&format!("tree/d{dir}/sub"), 0o750);
            model.file(&format!("tree/d{dir}/keep"), 0o644, b"kept".to_vec());
            for file in 0..6 {
                let bytes = model.random.bytes(10 + 40 * file);
                model.file(&format!("tree/d{dir}/f{file}"), 0o644, bytes.clone());
                model.file(&format!("tree/d{dir}/sub/g{file}"), 0o755, bytes);
            }
            model.link(&format!("tree/d{dir}/link"), "keep");
        }
        if large > 0 {
            let bytes = model.random.bytes(large);
            model.file("tree/large", 0o644, bytes);
        }
        model
    }

    fn host(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn dir(&mut self, path: &str, mode: u32) {
        let host = self.host(path);
        fs_err::create_dir_all(&host).unwrap();
        chmod(&host, mode);
        self.items.insert(path.to_owned(), Item::Dir(mode));
    }

    fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        let host = self.host(path);
        fs_err::write(&host, &bytes).unwrap();
        chmod(&host, mode);
        self.items.insert(path.to_owned(), Item::File(mode, bytes));
    }

    fn link(&mut self, path: &str, target: &str) {
        let host = self.host(path);
        let _ = fs_err::remove_file(&host);
        symlink(target, host).unwrap();
        self.items.insert(path.to_owned(), Item::Link(target.to_owned()));
    }

    fn pick(&mut self, wanted: impl Fn(&str, &Item) -> bool) -> String {
        let paths: Vec<&String> =
            self.items.iter().filter(|(path, item)| wanted(path, item)).map(|(path, _)| path).collect();
        // A few files see most of the edits, so that many fall into one tick of the clock.
        let few = if self.random.below(3) > 0 { paths.len().min(3) } else { paths.len() };
        paths[self.random.below(few)].clone()
    }

    fn pick_file(&mut self) -> (String, u32, Vec<u8>) {
        let path = self.pick(|_, item| matches!(item, Item::File(..)));
        let Item::File(mode, bytes) = self.items[&path].clone() else { unreachable!("a file was picked") };
        (path, mode, bytes)
    }

    fn changed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        let place = self.random.below(changed.len());
        changed[place] = if changed[place] == b'X' { b'Y' } else { b'X' };
        changed
    }

    fn edit(&mut self) {
        let kind = self.random.below(11);
        let (path, mode, bytes) = self.pick_file();
        let host = self.host(&path);
        self.last = format!("edit {kind} of {path}");
        match kind {
            // In place: a byte, and then the old time, as if nothing had been.
            0..=2 if !bytes.is_empty() => {
                let time = modified(&host);
                let changed = self.changed(&bytes);
                let file = fs_err::OpenOptions::new().write(true).open(&host).unwrap();
                file.file().write_all_at(&changed, 0).unwrap();
                if kind == 1 {
                    file.file().set_modified(time).unwrap();
                }
                self.items.insert(path, Item::File(mode, changed));
            }
            // Another file of the same size and time under the same name.
            3 if !bytes.is_empty() => {
                let changed = self.changed(&bytes);
                let time = modified(&host);
                let other = self.root.join("other");
                fs_err::write(&other, &changed).unwrap();
                chmod(&other, mode);
                fs_err::File::open(&other).unwrap().file().set_modified(time).unwrap();
                fs_err::rename(other, &host).unwrap();
                self.items.insert(path, Item::File(mode, changed));
            }
            4 => {
                let more = self.random.bytes(1 + 200 * (kind % 2));
                let mut file = fs_err::OpenOptions::new().append(true).open(&host).unwrap();
                file.write_all(&more).unwrap();
                self.items.insert(path, Item::File(mode, [bytes, more].concat()));
            }
            5 => {
                let length = bytes.len() / 2;
                fs_err::OpenOptions::new().write(true).open(&host).unwrap().set_len(length as u64).unwrap();
                self.items.insert(path, Item::File(mode, bytes[..length].to_vec()));
            }
            6 => {
                let mode = if mode == 0o644 { 0o600 } else { 0o644 };
                chmod(&host, mode);
                self.items.insert(path, Item::File(mode, bytes));
            }
            7 => {
                let link = self.pick(|_, item| matches!(item, Item::Link(_)));
                let target = format!("t{}", self.random.below(4));
                self.link(&link, &target);
            }
            8 => self.come_or_go(&path),
            9 => {
                let dir = self.pick(|path, item| matches!(item, Item::Dir(_)) && path.ends_with("sub"));
                let mode = if self.items[&dir] == Item::Dir(0o750) { 0o711 } else { 0o750 };
                chmod(&self.host(&dir), mode);
                self.items.insert(dir, Item::Dir(mode));
            }
            _ => self.swap(),
        }
    }

    /// A file comes, or one goes.
    fn come_or_go(&mut self, path: &str) {
        let new = format!("tree/d{}/n{}", self.random.below(DIRS), self.random.below(5));
        if self.items.contains_key(&new) {
            fs_err::remove_file(self.host(&new)).unwrap();
            self.items.remove(&new);
        } else if !path.ends_with("keep") && !path.ends_with("large") && self.items.len() > 60 {
            fs_err::remove_file(self.host(path)).unwrap();
            self.items.remove(path);
        } else {
            let bytes = self.random.bytes(30);
            self.file(&new, 0o644, bytes);
        }
    }

    /// Two directories change places.
    fn swap(&mut self) {
        let (one, two) = (self.random.below(DIRS), self.random.below(DIRS));
        if one == two {
            return;
        }
        let (one, two) = (format!("tree/d{one}"), format!("tree/d{two}"));
        fs_err::rename(self.host(&one), self.host("swap")).unwrap();
        fs_err::rename(self.host(&two), self.host(&one)).unwrap();
        fs_err::rename(self.host("swap"), self.host(&two)).unwrap();
        let moved = |path: &str| {
            for (from, to) in [(&one, &two), (&two, &one)] {
                if let Some(rest) =
                    path.strip_prefix(from.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))
                {
                    return format!("{to}{rest}");
                }
            }
            path.to_owned()
        };
        self.items = self.items.iter().map(|(path, item)| (moved(path), item.clone())).collect();
    }

    /// What the image should hold.
    fn expected(&self) -> BTreeMap<String, Item> {
        let mut image = self.items.clone();
        let copies = [("tree/d0", "only"), ("tree/d1", "application/apps/a")];
        for (from, to) in copies {
            for (path, item) in &self.items {
                if let Some(rest) = path.strip_prefix(from).filter(|rest| rest.starts_with('/')) {
                    image.insert(format!("{to}{rest}"), item.clone());
                }
            }
        }
        for dir in ["only", "one", "application", "application/apps", "application/apps/a"] {
            image.insert(dir.to_owned(), Item::Dir(0o755));
        }
        image.insert("one/keep".to_owned(), self.items["tree/d2/keep"].clone());
        image
    }
}

fn chmod(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn modified(path: &Path) -> SystemTime {
    fs_err::metadata(path).unwrap().modified().unwrap()
}

struct Silent;

impl EventSink for Silent {
    fn event(&self, _: Event) {}
}

fn definition() -> solver::Definition {
    let source = SourceFile { name: "Kubefile".into(), text: KUBEFILE.into() };
    let options = frontend::Options {
        build_args: BTreeMap::new(),
        platform: Platform { os: "linux".into(), architecture: "amd64".into(), variant: None },
        target: None,
        allows_insecure: false,
        has_one_user: false,
        contexts: Default::default(),
    };
    let (model, _) = frontend::model(&frontend::parse(&source), &options);
    let (lowered, _) = frontend::lower(&model, &source, &options, &BTreeMap::new());
    lowered.unwrap().definition
}

/// One build by the library: what its layers hold.
fn build(store: &cache::Store, definition: &solver::Definition, context: &Path) -> BTreeMap<String, Item> {
    let options = BuildOptions {
        carries_images: false,
        exports: Vec::new(),
        jobs: 2,
        no_cache: false,
        no_cache_filter: Vec::new(),
        paranoid: false,
        times: TimePolicy::Fixed(0),
        compression: LayerCompression::default(),
        download_limit_bytes: 0,
        repository: "soak".into(),
        exec: engine::ExecOptions::default(),
        helm: None,
        explain: false,
        cancel: Cancel::new(),
    };
    let registry = Registry::anonymous(Fetcher::new(options.cancel.clone()));
    let bases = Bases::new(store, &registry);
    let contexts = Contexts::directory(store, registry.fetcher(), &options, context.to_owned());
    let session = Session::new(store, definition, &options, &bases, &contexts, &Silent).unwrap();
    let pins = session.pin().unwrap();
    let plan = session.plan(&pins).unwrap();
    let built = session.run(&pins, &plan).unwrap();
    engine::keep_finished(store).unwrap();
    let mut image = BTreeMap::new();
    for layer in &built.images[0].layers {
        let blob = store.blobs().open(&layer.blob.digest).unwrap();
        let tar = zstd::decode_all(blob).unwrap();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned();
            let mode = entry.header().mode().unwrap();
            let item = match entry.header().entry_type() {
                tar::EntryType::Directory => Item::Dir(mode),
                tar::EntryType::Symlink => {
                    Item::Link(entry.link_name().unwrap().unwrap().to_str().unwrap().to_owned())
                }
                _ => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes).unwrap();
                    Item::File(mode, bytes)
                }
            };
            image.insert(path, item);
        }
    }
    image
}

/// Edits, each followed at once by a build. The number of results that were wrong is none.
fn soak(edits: usize, large: usize) {
    let definition = definition();
    let mut done = 0;
    while done < edits {
        let dir = tempfile::tempdir().unwrap();
        let records = Box::new(cache::MemoryRecords::default());
        let store = cache::Store::open_with(&dir.path().join("store"), records).unwrap();
        let context = dir.path().join("context");
        fs_err::create_dir_all(&context).unwrap();
        let mut model = Model::new(context.clone(), 77 + done as u64, large);
        let until = edits.min(done + EDITS_OF_STORE);
        while done < until {
            let image = build(&store, &definition, &context);
            let expected = model.expected();
            let wrong = expected.iter().find(|(path, item)| image.get(*path) != Some(item));
            assert!(wrong.is_none(), "after {done} edits, {}: {}", model.last, wrong.unwrap().0);
            assert_eq!(image.len(), expected.len(), "after {done} edits, {}", model.last);
            model.edit();
            done += 1;
        }
    }
}

#[test]
fn edits_of_small_files_are_all_seen() {
    let edits = share(EDITS) * 98 / 100;
    soak(edits, 0);
    say(&format!("soak: {edits} edits of small files, 0 wrong results"));
}

#[test]
fn edits_beside_and_in_a_large_file_are_all_seen() {
    let edits = share(EDITS) * 2 / 100;
    soak(edits, 20 << 20);
    say(&format!("soak: {edits} edits with a large file, 0 wrong results"));
}

#[test]
fn the_binary_gives_what_a_clean_store_gives_after_every_edit() {
    let edits = share(EDITS_OF_BINARY);
    let space = Space::new();
    space.kubefile(KUBEFILE);
    let mut model = Model::new(space.context(), 5, 0);
    for done in 0..edits {
        space.built(&[]);
        let digest = space.digest();
        let clean = space.root().join("clean");
        space.built(&["--root", clean.to_str().unwrap()]);
        assert_eq!(space.digest(), digest, "after {done} edits, {}", model.last);
        fs_err::remove_dir_all(clean).unwrap();
        model.edit();
    }
    say(&format!("soak: {edits} edits through the binary, 0 wrong results"));
}
