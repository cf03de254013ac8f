//! What was typed. Reads nothing but the command line and the variables named here; cannot fail on the environment.

mod build;
mod cache;
mod graph;
mod images;
mod registry;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as _, Parser, Subcommand, ValueEnum};

pub(crate) use self::build::{Build, CheckFormat, Explain, Planning};
pub(crate) use self::cache::{
    Cache, CacheCommand, CacheExport, CacheImport, CacheInspect, Du, Ls, Prune, RemotePlace, Verify,
};
pub(crate) use self::graph::{Graph, GraphFormat};
pub(crate) use self::images::{Diff, History, Images, Inspect, Load, Merge, Mount, Rmi, Save, Tag, Umount};
pub(crate) use self::registry::{
    EntryFlags, Login, Logout, Manifest, ManifestAdd, ManifestAnnotate, ManifestCommand, ManifestCreate,
    ManifestPush, ManifestRemove, Pull, Push, RegistryFlags, Search, Selection,
};

/// Builds Sealer Images from Kubefiles: fast, reproducible, cached.
#[derive(Debug, Parser)]
#[command(name = "sealer", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// As much of the command line as these words may need, if that is not all of it: clap makes every flag of every command
/// before it looks at the first word, a third of a short build. What this does not understand may still be right.
pub(crate) fn likely(words: &[OsString]) -> Option<clap::Command> {
    let flags = || Global::augment_args(clap::Command::new("sealer").version(env!("CARGO_PKG_VERSION")));
    match words {
        [_, word] if word == "--version" => Some(flags()),
        _ if words.iter().any(|word| word == "build") => Some(OnlyBuild::augment_subcommands(flags())),
        _ => None,
    }
}

/// The commands that are made by themselves.
#[derive(Debug, Subcommand)]
enum OnlyBuild {
    /// As in [`Command`].
    Build(Box<Build>),
}

/// Flags of every command. In its help they stand below its own, among which clap would mix them.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Directory of the image store [default: /var/lib/sealer/store for root, else ~/.local/share/sealer/store]
    #[arg(long, global = true, value_name = "DIR", env = "SEALER_ROOT")]
    pub(crate) root: Option<PathBuf>,
    /// File with settings [default: ~/.config/sealer/config.toml, else /etc/sealer/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "SEALER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "SEALER_COLOR")]
    pub(crate) color: Color,
    /// How errors and warnings are written
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", env = "SEALER_ERROR_FORMAT")]
    pub(crate) error_format: ErrorFormat,
    /// Treat warnings as errors
    #[arg(
        long,
        global = true,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_parser = clap::builder::BoolishValueParser::new(),
        env = "SEALER_STRICT"
    )]
    pub(crate) strict: bool,
    /// Make no connection: what would have to be fetched or asked for is an error
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Registry whose certificates are not checked and that may be spoken to by HTTP; may be given several times
    #[arg(long, global = true, value_name = "HOST", value_delimiter = ',', env = "SEALER_INSECURE_REGISTRY")]
    pub(crate) insecure_registry: Vec<String>,
    /// Accepted for sealer's scripts; errors always carry what there is to know
    #[arg(short, long, global = true, hide = true)]
    pub(crate) debug: bool,
    /// Accepted for sealer's scripts; messages carry no time
    #[arg(long, global = true, hide = true)]
    pub(crate) hide_time: bool,
    /// Accepted for sealer's scripts; messages carry no source path
    #[arg(long, global = true, hide = true)]
    pub(crate) hide_path: bool,
    /// Accepted for sealer's scripts; no log file is written
    #[arg(long, global = true, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub(crate) log_to_file: Option<bool>,
    /// Accepted for sealer's scripts; there is no remote logger
    #[arg(long, global = true, hide = true, value_name = "URL")]
    pub(crate) remote_logger_url: Option<String>,
    /// Accepted for sealer's scripts; there is no remote logger
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub(crate) task_name: Option<String>,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On terminals.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// How errors and warnings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ErrorFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Kubefile
    Build(Box<Build>),
    /// Draw the steps of a build, and which of them the cache has; builds nothing
    Graph(Box<Graph>),
    /// List the images of the store
    Images(Images),
    /// Show an image as JSON, or through a Go template
    Inspect(Inspect),
    /// Show the steps an image was made of
    History(History),
    /// Give an image more names
    Tag(Tag),
    /// Remove names and images
    Rmi(Rmi),
    /// Write an image to an archive or a directory
    Save(Save),
    /// Read images from an archive or a directory
    Load(Load),
    /// Show what differs between two images
    Diff(Diff),
    /// Make one image of several application images
    Merge(Merge),
    /// Mount the root file system of an image read-only, or list what is mounted
    Mount(Mount),
    /// Unmount images
    #[command(visible_alias = "unmount")]
    Umount(Umount),
    /// Bring an image of a registry into the store
    Pull(Pull),
    /// Send an image to a registry
    Push(Push),
    /// Log in to a registry
    Login(Login),
    /// Log out of a registry
    Logout(Logout),
    /// Put images for several platforms together
    Manifest(Manifest),
    /// List the tags of an image in its registry
    Search(Search),
    /// Look at the cache, tidy it, check it
    Cache(Cache),
    /// Show every setting and where it comes from
    Config(Config),
    /// Print a completion script for a shell
    Completion(Completion),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man(Man),
    /// Show the version
    Version(Version),
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// `tty` on a terminal, else `plain`.
    Auto,
    /// A few live lines.
    Tty,
    /// One line for each event, for logs.
    Plain,
    /// One JSON object for each event.
    Json,
    /// None.
    Quiet,
}

/// Settings of builds that a file or the environment may hold.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Tunables {
    /// How progress is shown
    #[arg(long, value_name = "STYLE", default_value = "auto", env = "SEALER_PROGRESS")]
    pub(crate) progress: Progress,
    /// Steps worked on at once [default: the number of cores]
    #[arg(
        short,
        long,
        value_name = "N",
        env = "SEALER_JOBS",
        value_parser = clap::value_parser!(u16).range(1..=512)
    )]
    pub(crate) jobs: Option<u16>,
    /// Compression of layers: zstd[:1-19], gzip[:1-12] or uncompressed
    #[arg(long, value_name = "FORMAT[:LEVEL]", default_value = "zstd", env = "SEALER_COMPRESSION")]
    pub(crate) compression: String,
    /// Time of files and image: seconds since 1970, or `keep` for the files' own [default: 0]
    #[arg(long, value_name = "SECONDS|keep", env = "SOURCE_DATE_EPOCH")]
    pub(crate) timestamp: Option<String>,
    /// Largest download, in bytes or with K, M, G
    #[arg(long, value_name = "SIZE", default_value = "16G", env = "SEALER_MAX_DOWNLOAD")]
    pub(crate) max_download: String,
}

/// `sealer config`
#[derive(Debug, clap::Args)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) tunables: Tunables,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `sealer completion`
#[derive(Debug, clap::Args)]
pub(crate) struct Completion {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// `sealer man`
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The directory; it must exist
    pub(crate) dir: PathBuf,
}

/// `sealer version`
#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// Print the number only
    #[arg(long)]
    pub(crate) short: bool,
}
