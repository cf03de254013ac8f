//! The closed set of work a build is made of.
//!
//! An op holds parameters only; what it works on are the vertex's inputs, named here by their index. Ops that later
//! features bring become variants of this enum, and the compiler's exhaustive matches lead to every place that must
//! know them.

use std::borrow::Cow;

use crate::{BlobDigest, Chmod, Chown, Descriptor, ExecOp, GitSource, ManifestDigest, Platform};

/// One kind of work with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Files of a build context.
    Local(LocalSource),
    /// A file fetched by HTTP.
    Http(HttpSource),
    /// The files of a commit.
    Git(Box<GitSource>),
    /// The layers of an image: its output is a state.
    Image(Box<ImageSource>),
    /// Bytes known by their digest, wherever they are.
    Blob(Descriptor),
    /// Copies files onto a state.
    File(Box<FileOp>),
    /// Puts an application's files under `application/apps/NAME/`.
    App(AppOp),
    /// Runs a command on a state.
    Exec(Box<ExecOp>),
    /// Puts a container image into the image, as files of a registry's store.
    ContainerImage(ContainerImageOp),
    /// The state after a step: input 0 is the step, input 1, if any, the state below it. Costs nothing.
    State,
}

/// A path set inside a build context. Output: a tree with the matches at their context-relative paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSource {
    /// Which context: [`LocalSource::OWN`], or the [`LocalSource::named`] form of another's name.
    pub context: String,
    /// Context-relative path or glob (Go's `filepath.Match` per component, plus `**`), cleaned, no leading `/`; `.`
    /// is the whole context.
    pub pattern: String,
    /// Whether the headers of the directories above a match are part of the output (`COPY --parents`); else they
    /// are plain 0755.
    pub parents: bool,
}

impl LocalSource {
    /// The build's own context.
    pub const OWN: &'static str = "context";

    /// A context that the command line gave a name.
    pub fn named(name: &str) -> String {
        format!("{}:{name}", Self::OWN)
    }

    /// A pattern as people wrote it: one path without its escapes, wildcards as they are.
    pub fn shown(pattern: &str) -> Cow<'_, str> {
        let mut path = String::with_capacity(pattern.len());
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' | '?' | '[' => return pattern.into(),
                '\\' => path.extend(chars.next()),
                c => path.push(c),
            }
        }
        path.into()
    }
}

/// A file behind an `http://` or `https://` URL. Output: a tree with that one file in its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// The URL as written, after expansion.
    pub url: String,
    /// The SHA-256 the body must have (64 lower-case hexadecimal digits), if pinned by the user.
    pub checksum: Option<String>,
    /// What the file is called where neither the URL nor the server's answer says it.
    pub file_name: Option<String>,
}

/// An image, of the store or of a registry. Output: a state, one delta a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    /// The full normalised name.
    pub reference: String,
    /// Which instance of a multi-platform image.
    pub platform: Platform,
    /// The manifest it was pinned to.
    pub digest: ManifestDigest,
}

/// Copies sources to a destination. With `below`, input 0 is the state it lands on; sources name their own inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOp {
    /// Whether input 0 is the state below. False on an empty root and for `--link`, which reads nothing below.
    pub below: bool,
    /// What is copied, in the order of the text.
    pub sources: Vec<CopySource>,
    /// Where to; relative is relative to `/`. A trailing `/` means directory.
    pub destination: String,
    /// Owner of everything copied; `None` is 0:0.
    pub chown: Option<Chown>,
    /// Permission bits of every file and directory copied; `None` keeps the source's.
    pub chmod: Option<Chmod>,
    /// Patterns of paths to leave out, relative to each source.
    pub exclude: Vec<String>,
    /// Keep the source's parent directories (`--parents`).
    pub parents: bool,
    /// Which archives are extracted (ADD).
    pub unpack: Unpack,
}

/// Which of a copy's sources are extracted where they are archives. Files of stages and images never are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Unpack {
    /// None.
    #[default]
    Nothing,
    /// Those of the build context.
    Local,
    /// Those behind URLs, too.
    Everything,
}

/// One source of a [`FileOp`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// Matches of `pattern` in the output of an input.
    Input {
        /// Index into the vertex's inputs.
        input: usize,
        /// Cleaned path or glob, no leading `/`; `.` is everything. For HTTP inputs it is `*`.
        pattern: String,
    },
    /// A file whose content stands in the text itself (heredoc).
    Inline(Inline),
}

/// A file given in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inline {
    /// File name.
    pub name: String,
    /// Content.
    pub content: Vec<u8>,
}

/// Collects an application's files (spec §1.5). Reads nothing of the state below; its delta starts at
/// `application/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppOp {
    /// The application's name; already checked to be one safe path component.
    pub name: String,
    /// Its sources, in the order of the text; source `i` is input `i` of the vertex.
    pub sources: Vec<AppSource>,
}

/// One source of an application; its position is its input index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSource {
    /// Where it comes from.
    pub kind: SourceKind,
    /// Path inside the input, cleaned (`.` is the whole context); for HTTP it is `*`.
    pub path: String,
    /// Whether the text ended in `/`: decides how launch files are spelled (spec §1.5).
    pub trailing_slash: bool,
}

/// Kinds of application source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// `local://`
    Local,
    /// `http://` or `https://`
    Remote,
}

/// The files a container image has in the store of a registry (spec §3.6); those that another image of the build has
/// already are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerImageOp {
    /// Repository and tag it has there, `library/nginx:1.25`; a digest where there is no tag.
    pub name: String,
    /// By path, ascending.
    pub files: Vec<StoreFile>,
    /// Directories that hold nothing, ascending.
    pub empty_dirs: Vec<String>,
}

impl ContainerImageOp {
    /// The inputs of its files, in their order.
    pub fn inputs(&self) -> impl Iterator<Item = usize> {
        self.files.iter().filter_map(|file| match file.content {
            StoreContent::Input(input) => Some(input),
            StoreContent::Link(_) => None,
        })
    }
}

/// A file of a registry's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFile {
    /// Path in the image, no leading `/`.
    pub path: String,
    /// What is in it.
    pub content: StoreContent,
}

/// What a file of a registry's store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreContent {
    /// The bytes of an input of the vertex, by its index.
    Input(usize),
    /// The text of a digest: a reference to a blob.
    Link(BlobDigest),
}
