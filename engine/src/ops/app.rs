//! APP, CNI and CSI: an application's files under `application/apps/NAME/`, and what they say about launching it.
//!
//! Implements spec §1.5: type detection and launch files exactly as sealer stores them, packaged charts as §9.

use solver::{AppFacts, AppKind, AppOp, ContentRead, SourceKind, TreeDigest};
use thiserror::Error;

use crate::contents::{ContentError, Contents};
use crate::delta::OpenDir;
use crate::ops::{Input, archive};
use crate::state::{Found, State};
use crate::tree::{Entry, Meta, Node, TreeError, Trees};

/// An application that cannot be collected.
#[derive(Debug, Error)]
pub enum AppError {
    /// A source that is nothing to collect.
    #[error("`{path}` is not in the source of application `{app}`")]
    NotFound {
        /// Application.
        app: String,
        /// Path.
        path: String,
    },
    /// A directory is missing.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A source cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
}

#[derive(Debug)]
struct Source<'a> {
    kind: SourceKind,
    path: &'a str,
    trailing_slash: bool,
    name: Vec<u8>,
    entry: Entry,
}

/// Where an application's files are, in the image; it writes nowhere else.
pub(crate) fn dir(name: &str) -> Vec<u8> {
    format!("application/apps/{name}").into_bytes()
}

/// What an application's result is.
#[derive(Debug)]
pub struct Collected {
    /// `application/…`
    pub delta: TreeDigest,
    /// How it launches.
    pub facts: AppFacts,
    /// Files that a later source replaced.
    pub replaced: Vec<String>,
}

/// An application whose sources are found.
#[derive(Debug)]
pub struct Prepared<'a> {
    op: &'a AppOp,
    sources: Vec<Source<'a>>,
}

impl<'a> Prepared<'a> {
    /// Finds the sources. `inputs[i]` is source `i`.
    ///
    /// # Errors
    /// When a source is not there.
    pub fn new(op: &'a AppOp, inputs: &[Input], trees: &Trees<'_>) -> Result<Self, AppError> {
        let mut sources = Vec::new();
        for (source, input) in op.sources.iter().zip(inputs) {
            let (name, entry) = match (source.kind, input) {
                (SourceKind::Remote, Input::Download(tree)) => {
                    let directory = trees.load(tree)?;
                    let (name, entry) =
                        directory.entries.iter().next().ok_or_else(|| not_found(op, &source.path))?;
                    let meta = Meta { mode: 0o644, ..entry.meta.clone() };
                    (name.to_vec(), Entry { meta, node: entry.node.clone() })
                }
                (SourceKind::Local, Input::Tree(tree)) => {
                    let state = State::of(vec![*tree]);
                    let entry = match state.look_up(trees, source.path.as_bytes())? {
                        Found::Absent => return Err(not_found(op, &source.path)),
                        Found::Other(entry) => entry,
                        Found::Dir { meta, parts } => Entry { meta, node: Node::Dir(parts[0]) },
                    };
                    let name = source.path.rsplit('/').next().unwrap_or_default();
                    (name.as_bytes().to_vec(), entry)
                }
                _ => return Err(not_found(op, &source.path)),
            };
            let (kind, path, trailing_slash) = (source.kind, source.path.as_str(), source.trailing_slash);
            sources.push(Source { kind, path, trailing_slash, name, entry });
        }
        Ok(Self { op, sources })
    }

    /// What it has read.
    pub fn reads(&self) -> Vec<ContentRead> {
        let read = |(source, found): (usize, &Source<'_>)| ContentRead::Subtree {
            source,
            path: found.name.clone(),
            digest: found.entry.digest(),
            unpack: false,
        };
        self.sources.iter().enumerate().map(read).collect()
    }

    /// The sources as sealer takes them: local ones first, then remote ones.
    fn in_order(&self) -> impl Iterator<Item = &Source<'a>> {
        let of = |kind| self.sources.iter().filter(move |source| source.kind == kind);
        of(SourceKind::Local).chain(of(SourceKind::Remote))
    }

    /// Collects the files.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn run(self, trees: &Trees<'_>, contents: &Contents<'_>) -> Result<Collected, AppError> {
        let plain = Meta::with_mode(0o755);
        let mut root = OpenDir::root();
        let mut app = &mut root;
        for name in ["application", "apps", &self.op.name] {
            app = app.dir(trees, name.as_bytes(), &plain)?;
        }
        let mut replaced = Vec::new();
        for source in self.in_order() {
            let over = match &source.entry.node {
                Node::Dir(tree) => app.add_all(trees, tree)?,
                _ => app.put(trees, &source.name, source.entry.clone())?,
            };
            if over {
                replaced.push(source.path.to_owned());
            }
        }
        let facts = self.facts(trees, contents)?;
        Ok(Collected { delta: root.finish(trees), facts, replaced })
    }

    fn facts(&self, trees: &Trees<'_>, contents: &Contents<'_>) -> Result<AppFacts, AppError> {
        let kind = self.kind(trees)?;
        let mut facts = AppFacts { kind, ..AppFacts::default() };
        match kind {
            Some(AppKind::Helm) => facts.files = vec![self.op.name.clone()],
            Some(AppKind::Shell) => facts.files = self.files(trees, 1)?,
            Some(AppKind::Kube) => facts.files = self.files(trees, usize::MAX)?,
            None => facts.packaged_chart = self.packaged_chart(contents)?,
        }
        Ok(facts)
    }

    /// The type by spec §1.5: a chart directory wins; else all files must be of one kind.
    fn kind(&self, trees: &Trees<'_>) -> Result<Option<AppKind>, AppError> {
        let mut kinds = Vec::new();
        for source in &self.sources {
            match &source.entry.node {
                Node::Dir(tree) => {
                    let top = trees.load(tree)?;
                    if [&b"Chart.yaml"[..], b"values.yaml", b"templates"]
                        .iter()
                        .all(|name| top.entries.contains(name))
                    {
                        return Ok(Some(AppKind::Helm));
                    }
                    trees.walk::<TreeError>(tree, &mut |path, entry| {
                        if !matches!(entry.node, Node::Dir(_)) {
                            kinds.push(kind_of_name(path));
                        }
                        Ok(())
                    })?;
                }
                _ => kinds.push(kind_of_name(&source.name)),
            }
        }
        let first = kinds.first().copied().flatten();
        Ok(first.filter(|first| kinds.iter().all(|kind| *kind == Some(*first))))
    }

    /// Launch files of the first `limit` sources, spelled as sealer spells them: a directory's files keep what
    /// follows the source text as written.
    fn files(&self, trees: &Trees<'_>, limit: usize) -> Result<Vec<String>, AppError> {
        let mut files = Vec::new();
        for source in self.in_order().take(limit) {
            let Node::Dir(tree) = &source.entry.node else {
                files.push(lossy(&source.name));
                continue;
            };
            // `local://yd` leaves the slash that follows it; `local://yd/` and `local://.` do not.
            let slash = if source.trailing_slash || source.path == "." { "" } else { "/" };
            trees.walk::<TreeError>(tree, &mut |path, entry| {
                if !matches!(entry.node, Node::Dir(_)) {
                    files.push(format!("{slash}{}", lossy(path)));
                }
                Ok(())
            })?;
        }
        Ok(files)
    }

    fn packaged_chart(&self, contents: &Contents<'_>) -> Result<Option<String>, AppError> {
        let [Source { name, entry: Entry { node: Node::File { content, .. }, .. }, .. }] =
            self.sources.as_slice()
        else {
            return Ok(None);
        };
        let lower = name.to_ascii_lowercase();
        if !(lower.ends_with(b".tgz") || lower.ends_with(b".tar.gz")) {
            return Ok(None);
        }
        // `NAME/Chart.yaml`, one level down, as Helm packs it.
        let is_chart = |path: &[u8]| {
            path.strip_suffix(b"/Chart.yaml").is_some_and(|dir| !dir.is_empty() && !dir.contains(&b'/'))
        };
        Ok(archive::has_member(contents, content, name, is_chart)?.then(|| lossy(name)))
    }
}

fn kind_of_name(path: &[u8]) -> Option<AppKind> {
    let lower = path.to_ascii_lowercase();
    if lower.ends_with(b".sh") {
        Some(AppKind::Shell)
    } else if lower.ends_with(b".yaml") || lower.ends_with(b".yml") {
        Some(AppKind::Kube)
    } else {
        None
    }
}

fn not_found(op: &AppOp, path: &str) -> AppError {
    AppError::NotFound { app: op.name.clone(), path: path.to_owned() }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
