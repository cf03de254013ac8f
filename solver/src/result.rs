//! What vertices yield and what the cache keeps of it.

use serde::{Deserialize, Serialize};

use crate::{BlobDigest, DiffId, Hasher, TreeDigest};

/// What the cache keeps under a key: a step's own delta and small typed facts, so that a hit answers all a run would.
/// It contains nothing of what lies below the step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Root directory of the delta: what the step adds.
    pub delta: TreeDigest,
    /// What else it found.
    pub facts: Facts,
}

impl Record {
    /// Which files of the delta are one.
    pub fn links(&self) -> &HardLinks {
        match &self.facts {
            Facts::Links(links) => links,
            Facts::None | Facts::App(_) => HardLinks::none(),
        }
    }
}

/// Small typed facts of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Facts {
    /// Nothing beside the delta.
    #[default]
    None,
    /// Of an application.
    App(AppFacts),
    /// Of what may leave files with several names: a command, an archive.
    Links(HardLinks),
}

/// Names of one file within a delta, for each file that has several; sorted paths without a leading `/`, at least two a file.
/// The delta has an entry for each; only the bytes of its layer tell that they are one file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardLinks(pub Vec<Vec<Vec<u8>>>);

impl HardLinks {
    /// Of the names of each file, in any order; those of one name do not count.
    pub fn new(files: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Self {
        let sorted = |mut names: Vec<Vec<u8>>| {
            names.sort_unstable();
            names.dedup();
            (names.len() > 1).then_some(names)
        };
        let mut links: Vec<_> = files.into_iter().filter_map(sorted).collect();
        links.sort_unstable();
        links.dedup();
        Self(links)
    }

    /// Feeds them to a key.
    pub fn feed(&self, hasher: &mut Hasher) {
        for paths in &self.0 {
            hasher.number(paths.len() as u64);
            paths.iter().for_each(|path| hasher.bytes(path));
        }
    }

    /// Every file has one name.
    pub fn none() -> &'static Self {
        static NONE: HardLinks = HardLinks(Vec::new());
        &NONE
    }
}

/// What an application's files say about how it is launched (spec §1.5, §9).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppFacts {
    /// Its type; `None` is sealer's `""`.
    pub kind: Option<AppKind>,
    /// Launch files as sealer spells them.
    pub files: Vec<String>,
    /// The file name of a packaged chart, where the application's only source is one.
    pub packaged_chart: Option<String>,
}

/// Application types (spec §1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppKind {
    /// A Helm chart directory.
    Helm,
    /// Kubernetes manifests.
    Kube,
    /// Shell scripts.
    Shell,
}

impl AppKind {
    /// The word stored in the extension.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Helm => "helm",
            Self::Kube => "kube",
            Self::Shell => "shell",
        }
    }
}

/// Media types of layers (image-spec, layer; and Docker's for layers of foreign bases).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaType {
    /// Uncompressed tar.
    Tar,
    /// gzip.
    TarGzip,
    /// zstd.
    TarZstd,
}

/// A blob by digest and size, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Descriptor {
    /// SHA-256 of the bytes as stored.
    pub digest: BlobDigest,
    /// Length in bytes.
    pub size: u64,
}

/// A delta, or a group of deltas, written as a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// SHA-256 of the uncompressed tar.
    pub diff_id: DiffId,
    /// The blob.
    pub blob: Descriptor,
    /// How the blob is compressed.
    pub media_type: MediaType,
    /// Ends of the independently compressed frames: (offset in the tar, offset in the blob), ascending.
    pub frames: Vec<(u64, u64)>,
}
