//! What was typed. Reads nothing but the command line and the variables named here; cannot fail on the environment.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Builds Sealer Images from Kubefiles: fast, reproducible, cached.
#[derive(Debug, Parser)]
#[command(name = "sealer", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Directory of the image store [default: /var/lib/sealer/store for root, else ~/.local/share/sealer/store]
    #[arg(long, global = true, value_name = "DIR", env = "SEALER_ROOT")]
    pub(crate) root: Option<PathBuf>,
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// Accepted for sealer's scripts; there is no such file here
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub(crate) config: Option<PathBuf>,
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

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Kubefile
    Build(Box<Build>),
    /// Show an image as JSON
    Inspect(Inspect),
    /// List the images of the store
    Images,
    /// Show the version
    Version(Version),
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// `tty` on a terminal, else `plain`.
    Auto,
    /// One live line for each running step.
    Tty,
    /// One line for each event, for logs.
    Plain,
    /// One JSON object for each event.
    Json,
    /// None.
    Quiet,
}

/// `sealer build`
#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// Directory of the build context
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Kubefile, relative to the working directory [default: PATH/Kubefile, else ./Kubefile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Name of the image; may be given several times
    #[arg(short, long, value_name = "NAME", required = true)]
    pub(crate) tag: Vec<String>,
    /// Type of the image: kube-installer or app-installer
    #[arg(long = "type", value_name = "TYPE", default_value = "kube-installer")]
    pub(crate) image_type: String,
    /// Platform of the image, as os/arch[/variant] [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// `all` looks for container images to carry, `lite` does not
    #[arg(long, value_name = "MODE", default_value = "all")]
    pub(crate) build_mode: String,
    /// Build this stage instead of the last
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Value of an ARG
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) build_arg: Vec<String>,
    /// Label of the image; any replaces io.sealer.version, as in sealer
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Annotation of the manifest
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
    /// When to look for newer base images: only `missing`, `ifnewer` and `never` while registries are not supported
    #[arg(long, value_name = "POLICY", default_value = "ifnewer")]
    pub(crate) pull: String,
    /// Run every step, whatever the cache holds
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Compression of layers: zstd[:1-19], gzip[:1-12] or uncompressed
    #[arg(long, value_name = "FORMAT[:LEVEL]", default_value = "zstd")]
    pub(crate) compression: String,
    /// Time of files and image: seconds since 1970, or `keep` for the files' own [default: SOURCE_DATE_EPOCH, else 0]
    #[arg(long, value_name = "SECONDS|keep")]
    pub(crate) timestamp: Option<String>,
    /// Steps worked on at once [default: the number of cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: Option<u16>,
    /// How progress is shown
    #[arg(long, value_name = "STYLE", default_value = "auto", env = "SEALER_PROGRESS")]
    pub(crate) progress: Progress,
    /// Largest download, in bytes or with K, M, G
    #[arg(long, value_name = "SIZE", default_value = "16G")]
    pub(crate) max_download: String,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what was built, and at what cost, to a JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Not supported yet
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) image_list: Option<PathBuf>,
    /// Not supported yet
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) ignored_image_list: Option<PathBuf>,
    /// Not supported yet
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) image_list_with_auth: Option<PathBuf>,
}

/// `sealer inspect`
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Name, short name, or the first digits of an id
    pub(crate) name: String,
}

/// `sealer version`
#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// Print the number only
    #[arg(long)]
    pub(crate) short: bool,
}
