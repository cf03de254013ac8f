//! A stage after evaluation: what it adds to its base, as data. It knows no digests and no diagnostics.

use std::collections::{BTreeMap, HashMap};

use solver::{
    Application, Base, ChartValues, Chmod, Chown, GitSource, Inline, Launch, Mount, Network, Platform,
    SourceKind, Span, Unpack,
};

use crate::expand::Lookup;
use crate::model::ImageKey;

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StageBase {
    Scratch,
    /// An earlier stage, by index.
    Stage(usize),
    /// An image.
    Image(ImageKey),
}

/// A stage.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// The name, as people see it: `AS name`, or the index.
    pub(crate) name: String,
    pub(crate) named: bool,
    /// Its FROM.
    pub(crate) span: Span,
    pub(crate) line: String,
    pub(crate) base: StageBase,
    /// `--platform` of the FROM below everything; the platform built for where it is not given.
    pub(crate) platform: Option<Platform>,
    /// The image below everything, once resolved.
    pub(crate) image: Base,
    /// Whether the base's environment and applications are still unknown.
    pub(crate) open: bool,
    /// Whether an application was declared under a name that is not known.
    pub(crate) apps_open: bool,
    /// Whether it has a state: an image below, or a step that makes files.
    pub(crate) has_files: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) history: Vec<History>,
    /// Stages it copies from.
    pub(crate) copies_from: Vec<usize>,
    /// Images it copies from, and where it says so.
    pub(crate) images_from: Vec<(ImageKey, Span)>,
    pub(crate) args: BTreeMap<String, Lookup>,
    pub(crate) env: Env,
    pub(crate) extension_env: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) author: Option<String>,
    pub(crate) apps: Apps,
    pub(crate) launch: Launch,
}

/// A history entry; `step` is the index of the step whose layer it made.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) text: String,
    pub(crate) step: Option<usize>,
}

/// A step that makes files.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) line: String,
    pub(crate) span: Span,
    pub(crate) work: Work,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Copy(Box<CopyWork>),
    App { name: String, sources: Vec<AppFrom> },
    Run(Box<RunWork>),
}

/// COPY and ADD.
#[derive(Debug, Clone, Default)]
pub(crate) struct CopyWork {
    pub(crate) sources: Vec<CopyFrom>,
    pub(crate) destination: String,
    pub(crate) chown: Option<Chown>,
    pub(crate) chmod: Option<Chmod>,
    pub(crate) exclude: Vec<String>,
    pub(crate) parents: bool,
    pub(crate) link: bool,
    pub(crate) unpack: Unpack,
}

/// RUN.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunWork {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) mounts: Vec<RunMount>,
    pub(crate) network: Network,
    pub(crate) is_insecure: bool,
}

/// A mount; the index of its input is known when it is lowered, and so is where a relative target is.
#[derive(Debug, Clone)]
pub(crate) struct RunMount {
    pub(crate) mount: Mount,
    pub(crate) from: Option<CopyFrom>,
}

/// Where a copied file comes from.
#[derive(Debug, Clone)]
pub(crate) enum CopyFrom {
    /// A pattern in a context, which is named as [`solver::LocalSource`] names it.
    Local {
        context: String,
        pattern: String,
    },
    Git(GitSource),
    Image {
        image: ImageKey,
        pattern: String,
    },
    Remote {
        url: String,
        checksum: Option<String>,
        /// The destination's, where the URL does not end in one.
        file_name: Option<String>,
    },
    Stage {
        index: usize,
        pattern: String,
    },
    Inline(Inline),
}

/// Where an application's file comes from: a cleaned path, or a URL.
#[derive(Debug, Clone)]
pub(crate) struct AppFrom {
    pub(crate) kind: SourceKind,
    pub(crate) place: String,
    pub(crate) checksum: Option<String>,
    pub(crate) trailing_slash: bool,
    pub(crate) span: Span,
}

/// Environment in order; a value may be unknown until the base is resolved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Env {
    variables: Vec<(String, Option<String>)>,
    index: HashMap<String, usize>,
}

impl Env {
    /// Sets a variable at its place, or at the end.
    pub(crate) fn set(&mut self, name: &str, value: Option<String>) {
        match self.index.get(name) {
            Some(&at) => self.variables[at].1 = value,
            None => {
                self.index.insert(name.to_owned(), self.variables.len());
                self.variables.push((name.to_owned(), value));
            }
        }
    }

    /// A variable; `Some(None)` is set to something unknown.
    pub(crate) fn get(&self, name: &str) -> Option<&Option<String>> {
        self.index.get(name).map(|&at| &self.variables[at].1)
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(name, _)| name.as_str())
    }

    /// Everything known, in order.
    pub(crate) fn known(&self) -> Vec<(String, String)> {
        self.variables.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
    }
}

/// Applications in order, base first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Apps {
    pub(crate) list: Vec<App>,
    index: HashMap<String, usize>,
    /// APPCMDS and APPENV, by application.
    pub(crate) overrides: HashMap<String, Overrides>,
}

/// An application of a stage.
#[derive(Debug, Clone)]
pub(crate) enum App {
    Inherited(Application),
    Declared(DeclaredApp),
}

/// An application declared in this text.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredApp {
    pub(crate) name: String,
    /// Stage and step that collect its files; `None` if it has no source, or a faulty one.
    pub(crate) step: Option<(usize, usize)>,
    /// How many sources are written, faulty ones too.
    pub(crate) sources: usize,
    pub(crate) values: ChartValues,
    pub(crate) span: Span,
}

/// What this text says of an application beside its files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cmds: Option<Vec<String>>,
}

impl App {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Inherited(application) => &application.name,
            Self::Declared(app) => &app.name,
        }
    }
}

impl Apps {
    /// Adds an application, or replaces it at its place and returns what stood there.
    pub(crate) fn put(&mut self, app: App) -> Option<App> {
        match self.index.get(app.name()) {
            Some(&at) => Some(std::mem::replace(&mut self.list[at], app)),
            None => {
                self.index.insert(app.name().to_owned(), self.list.len());
                self.list.push(app);
                None
            }
        }
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&App> {
        self.index.get(name).map(|&at| &self.list[at])
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(App::name)
    }
}
