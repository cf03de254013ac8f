//! The two keys of a vertex: what a record is stored under.
//!
//! | value | vertex digest | definition key | content key |
//! |---|---|---|---|
//! | op parameters (patterns, destination, owner, mode, app name, expanded text) | yes | yes | yes |
//! | which input plays which part | yes | yes | – |
//! | identities of the inputs | yes | – | – |
//! | definition keys of the inputs | – | yes | – |
//! | pin of a source (context selection, HTTP body and file name, commit, manifest) | – | yes | – |
//! | digest of a blob; paths and links of a container image's files | yes | yes | yes |
//! | digests of the selected subtrees of the inputs | – | through pins | yes |
//! | destination facts (what stands where a File op lands) | – | through the state's key | yes |
//! | platform | Image and Exec | Image and Exec | Exec |
//! | command, environment in scope, working directory, user, mounts, network mode | yes | yes | yes |
//! | whether a command runs where there is no user but root | yes | yes | yes |
//! | the whole state below (Exec) | – | through the state's key | yes, as its list of deltas |
//! | proxies, secrets, what cache mounts hold, the host's network | – | – | – |
//! | numbers that the names of an owner stand for below a File op; nothing else of passwd and group | – | through the state's key | yes |
//! | modification times | – | only with `--timestamp=keep`, through the pin | same, through the subtrees |
//! | labels, env, launch, annotations, image type, history, spans, names for people | – | – | – |
//! | host paths, inode numbers, compression, timestamps of layers | – | – | – |
//!
//! One function, [`walk_op`], decides what of an op counts. A change here changes every key: bump [`KEY_VERSION`].

use crate::{
    Account, CacheKey, Chmod, Chown, ContainerImageOp, ContentDigest, CopySource, ExecOp, Graph, Hasher,
    ManifestDigest, Mount, MountKind, Network, Op, Owner, SourceKind, StoreContent, TreeDigest, Unpack,
    VertexIndex,
};

/// Part of every hash; a new number makes every old record a miss.
pub const KEY_VERSION: u64 = 4;

/// The immutable identity of a source: no definition key without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// What a context pattern selects.
    Tree(TreeDigest),
    /// Body and file name of a URL.
    Http {
        /// The body.
        content: ContentDigest,
        /// The name the file gets.
        file_name: String,
    },
    /// The commit a git source stands for, as hexadecimal digits.
    Git(String),
    /// The manifest an image name stands for.
    Image(ManifestDigest),
}

/// Header of a directory entry, as far as a step can see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `d`, `f`, `l` or another type letter.
    pub kind: char,
    /// Permission bits.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Where a symbolic link points; empty for others.
    pub target: Vec<u8>,
    /// Hash of extended attributes, and of the modification time where it counts; empty where there are none.
    pub others: Vec<u8>,
}

/// What stands at a path of the state below, where a step looked. Absence is a fact too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationFact {
    /// The path, without a leading `/`.
    pub path: Vec<u8>,
    /// What is there.
    pub header: Option<Header>,
}

/// One thing a step really reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentRead {
    /// A match of one of its sources.
    Subtree {
        /// Index of the source within the op.
        source: usize,
        /// Path of the match within the source; decides file names.
        path: Vec<u8>,
        /// Digest of what is there, and of the headers above it that are copied with it.
        digest: [u8; 32],
        /// Whether it is extracted if it is an archive.
        unpack: bool,
    },
    /// What the names of its owner stand for below it.
    Owner(Owner),
    /// Something below it.
    Destination(DestinationFact),
}

/// Takes the named values of a walk: the hash of a key, or the text of an explanation.
pub(crate) trait Walk {
    fn bytes(&mut self, name: &'static str, value: &[u8]);
    fn number(&mut self, name: &'static str, value: u64);
}

/// Feeds named values of a walk to the hash.
#[derive(Debug)]
pub(crate) struct KeyHasher(Hasher);

impl KeyHasher {
    pub(crate) fn new(domain: &str) -> Self {
        let mut hasher = Hasher::new(domain);
        hasher.number(KEY_VERSION);
        Self(hasher)
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finish()
    }
}

impl Walk for KeyHasher {
    fn bytes(&mut self, name: &'static str, value: &[u8]) {
        self.0.bytes(name.as_bytes());
        self.0.bytes(value);
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.0.bytes(name.as_bytes());
        self.0.number(value);
    }
}

/// Writes every parameter of an op that counts. Absent options write nothing, present ones their name first, so no
/// two ops write the same.
pub(crate) fn walk_op(op: &Op, to: &mut dyn Walk) {
    match op {
        Op::Local(local) => {
            to.bytes("op", b"local");
            to.bytes("context", local.context.as_bytes());
            to.bytes("pattern", local.pattern.as_bytes());
            to.number("parents", local.parents.into());
        }
        Op::Http(http) => {
            to.bytes("op", b"http");
            to.bytes("url", http.url.as_bytes());
            http.checksum.iter().for_each(|checksum| to.bytes("checksum", checksum.as_bytes()));
            http.file_name.iter().for_each(|name| to.bytes("file name", name.as_bytes()));
        }
        Op::Git(git) => walk_git(git, to),
        Op::Image(image) => {
            to.bytes("op", b"image");
            to.bytes("reference", image.reference.as_bytes());
            to.bytes("platform", image.platform.to_string().as_bytes());
        }
        Op::Blob(blob) => {
            to.bytes("op", b"blob");
            to.bytes("digest", blob.digest.as_bytes());
            to.number("size", blob.size);
        }
        Op::File(file) => walk_file(file, to),
        Op::App(app) => {
            to.bytes("op", b"app");
            to.bytes("name", app.name.as_bytes());
            for source in &app.sources {
                to.bytes("kind", if source.kind == SourceKind::Local { b"local" } else { b"remote" });
                to.bytes("path", source.path.as_bytes());
                to.number("trailing slash", source.trailing_slash.into());
            }
        }
        Op::Exec(exec) => walk_exec(exec, to),
        Op::ContainerImage(image) => walk_container_image(image, to),
        Op::State => to.bytes("op", b"state"),
    }
}

/// Writes which input plays which part. Content keys leave it out: a COPY that lands on nothing has one input less
/// than one that lands on a base where nothing stands in its way, and does the same.
pub(crate) fn walk_wiring(op: &Op, to: &mut dyn Walk) {
    if let Op::File(file) = op {
        to.number("below", file.below.into());
        for source in &file.sources {
            if let CopySource::Input { input, .. } = source {
                to.number("input", *input as u64);
            }
        }
    }
    if let Op::ContainerImage(image) = op {
        image.inputs().for_each(|input| to.number("input", input as u64));
    }
    if let Op::Exec(exec) = op {
        to.number("below", exec.below.into());
        exec.mounted_inputs().for_each(|(input, _)| to.number("input", input as u64));
    }
}

fn walk_container_image(image: &ContainerImageOp, to: &mut dyn Walk) {
    to.bytes("op", b"container image");
    to.bytes("name", image.name.as_bytes());
    for file in &image.files {
        to.bytes("path", file.path.as_bytes());
        match file.content {
            StoreContent::Input(_) => to.bytes("blob", b""),
            StoreContent::Link(digest) => to.bytes("link", digest.as_bytes()),
        }
    }
    image.empty_dirs.iter().for_each(|path| to.bytes("directory", path.as_bytes()));
}

fn walk_exec(exec: &ExecOp, to: &mut dyn Walk) {
    to.bytes("op", b"exec");
    exec.args.iter().for_each(|arg| to.bytes("argument", arg.as_bytes()));
    for (name, value) in &exec.env {
        // Explanations are kept, and values may be no one's business.
        to.bytes("variable", format!("{name}={}", blake3::hash(value.as_bytes()).to_hex()).as_bytes());
    }
    to.bytes("directory", exec.directory.as_bytes());
    to.bytes("user", exec.user.as_bytes());
    exec.mounts.iter().for_each(|mount| walk_mount(mount, to));
    to.bytes("network", if exec.network == Network::Host { b"host" } else { b"none" });
    to.number("insecure", exec.is_insecure.into());
    to.number("one user", exec.has_one_user.into());
    to.bytes("platform", exec.platform.to_string().as_bytes());
}

fn walk_mount(mount: &Mount, to: &mut dyn Walk) {
    to.bytes("mount", mount.target.as_bytes());
    let made = |to: &mut dyn Walk, mode: u32, owner: &Owner| {
        to.number("mode", mode.into());
        to.number("uid", owner.uid.into());
        to.number("gid", owner.gid.into());
    };
    match &mount.kind {
        MountKind::Bind { source, is_writable, .. } => {
            to.bytes("bind", source.as_bytes());
            to.number("writable", (*is_writable).into());
        }
        MountKind::Cache { id, sharing, is_readonly, source, mode, owner } => {
            to.bytes("cache", id.as_bytes());
            to.bytes("sharing", sharing.as_str().as_bytes());
            to.number("readonly", (*is_readonly).into());
            source.iter().for_each(|(_, source)| to.bytes("source", source.as_bytes()));
            made(to, *mode, owner);
        }
        MountKind::Tmpfs { size_bytes } => to.number("tmpfs", size_bytes.unwrap_or(u64::MAX)),
        MountKind::Secret { id, is_required, env, mode, owner } => {
            to.bytes("secret", id.as_bytes());
            to.number("required", (*is_required).into());
            env.iter().for_each(|name| to.bytes("variable", name.as_bytes()));
            made(to, *mode, owner);
        }
        MountKind::Ssh { id, is_required } => {
            to.bytes("ssh", id.as_bytes());
            to.number("required", (*is_required).into());
        }
        MountKind::Script { content } => to.bytes("script", content),
    }
}

fn walk_git(git: &crate::GitSource, to: &mut dyn Walk) {
    to.bytes("op", b"git");
    to.bytes("url", git.url.as_bytes());
    git.reference.iter().for_each(|reference| to.bytes("reference", reference.as_bytes()));
    to.bytes("subdirectory", git.subdir.as_bytes());
    to.number("git directory", git.keep_git_dir.into());
    git.checksum.iter().for_each(|commit| to.bytes("checksum", commit.as_bytes()));
}

fn walk_file(file: &crate::FileOp, to: &mut dyn Walk) {
    to.bytes("op", b"file");
    for source in &file.sources {
        match source {
            CopySource::Input { pattern, .. } => to.bytes("pattern", pattern.as_bytes()),
            CopySource::Inline(inline) => {
                to.bytes("inline", inline.name.as_bytes());
                to.bytes("content", &inline.content);
            }
        }
    }
    to.bytes("destination", file.destination.as_bytes());
    file.chown.iter().for_each(|chown| walk_chown(chown, to));
    match &file.chmod {
        None => {}
        Some(Chmod::Bits(bits)) => to.number("chmod", (*bits).into()),
        Some(changes) => to.bytes("chmod", changes.to_string().as_bytes()),
    }
    file.exclude.iter().for_each(|pattern| to.bytes("exclude", pattern.as_bytes()));
    to.number("parents", file.parents.into());
    let unpack = match file.unpack {
        Unpack::Nothing => 0,
        Unpack::Everything => 1,
        Unpack::Local => 2,
    };
    to.number("unpack", unpack);
}

fn walk_chown(chown: &Chown, to: &mut dyn Walk) {
    if let Some(owner) = chown.numbers() {
        to.number("uid", owner.uid.into());
        to.number("gid", owner.gid.into());
        return;
    }
    let mut walk_account = |name, id, account: &Account| match account {
        Account::Name(text) => to.bytes(name, text.as_bytes()),
        Account::Id(number) => to.number(id, (*number).into()),
    };
    walk_account("user", "uid", &chown.user);
    chown.group.iter().for_each(|group| walk_account("group", "gid", group));
}

/// The definition key of every vertex, in one pass over the graph.
///
/// `pin` is asked for every source (Local, Http, Git, Image) and for nothing else.
pub fn definition_keys(graph: &Graph, mut pin: impl FnMut(VertexIndex) -> Pin) -> Vec<CacheKey> {
    let mut keys: Vec<CacheKey> = Vec::with_capacity(graph.len());
    for index in graph.indices() {
        let vertex = graph.vertex(index);
        let mut hasher = KeyHasher::new("definition key");
        walk_op(&vertex.op, &mut hasher);
        walk_wiring(&vertex.op, &mut hasher);
        match vertex.op {
            Op::Local(_) | Op::Http(_) | Op::Git(_) | Op::Image(_) => match pin(index) {
                Pin::Tree(tree) => hasher.bytes("tree", tree.as_bytes()),
                Pin::Http { content, file_name } => {
                    hasher.bytes("body", content.as_bytes());
                    hasher.bytes("file name", file_name.as_bytes());
                }
                Pin::Git(commit) => hasher.bytes("commit", commit.as_bytes()),
                Pin::Image(manifest) => hasher.bytes("manifest", manifest.as_bytes()),
            },
            // The digest is a parameter.
            Op::Blob(_) => {}
            Op::File(_) | Op::App(_) | Op::Exec(_) | Op::ContainerImage(_) | Op::State => {}
        }
        graph.inputs(index).iter().for_each(|input| hasher.bytes("input", keys[input.position()].as_bytes()));
        keys.push(CacheKey::from_bytes(hasher.finish()));
    }
    keys
}

/// The content key of a step that has read its inputs.
pub fn content_key(op: &Op, reads: &[ContentRead]) -> CacheKey {
    let mut hasher = KeyHasher::new("content key");
    walk_content(op, reads, &mut hasher);
    CacheKey::from_bytes(hasher.finish())
}

/// Everything a content key is made of, in its order.
pub(crate) fn walk_content(op: &Op, reads: &[ContentRead], to: &mut dyn Walk) {
    walk_op(op, to);
    for read in reads {
        match read {
            ContentRead::Subtree { source, path, digest, unpack } => {
                to.number("source", *source as u64);
                to.bytes("path", path);
                to.bytes("digest", digest);
                if *unpack {
                    to.number("unpacked", 1);
                }
            }
            ContentRead::Owner(owner) => {
                to.number("uid found", owner.uid.into());
                to.number("gid found", owner.gid.into());
            }
            ContentRead::Destination(fact) => {
                to.bytes("destination fact", &fact.path);
                if let Some(header) = &fact.header {
                    to.number("kind", header.kind as u64);
                    to.number("mode", header.mode.into());
                    to.number("uid", header.uid.into());
                    to.number("gid", header.gid.into());
                    to.bytes("target", &header.target);
                    if !header.others.is_empty() {
                        to.bytes("attributes", &header.others);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
