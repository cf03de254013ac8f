//! The commands on images (spec §5.1).

use std::path::PathBuf;

use super::{RegistryFlags, Selection};

/// How a list is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Listing {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave the headings out
    #[arg(short, long)]
    pub(crate) noheading: bool,
    /// Show ids and texts whole
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// `sealer images`
#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    /// Show the single images of those for several platforms too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show manifest digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Show names an image had and lost
    #[arg(long)]
    pub(crate) history: bool,
    #[command(flatten)]
    pub(crate) listing: Listing,
    /// Show only some: label=KEY[=VALUE], type=TYPE, dangling=true|false; all given must hold
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

/// `sealer inspect`
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Name, short name, or the first digits of an id; or an archive or a directory, which is not loaded
    pub(crate) name: String,
    /// Print through a Go template, such as '{{.Type}}' or '{{json .Applications}}'
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
    /// Look into the registry, whatever the store has; nothing is kept
    #[arg(long)]
    pub(crate) remote: bool,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Accepted for sealer's scripts; there are only images here
    #[arg(short = 't', long = "type", value_name = "TYPE", hide = true)]
    pub(crate) kind: Option<String>,
}

/// `sealer history`
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// Name, short name, or the first digits of an id
    pub(crate) name: String,
    /// Platform to take of an image for several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<String>,
    #[command(flatten)]
    pub(crate) listing: Listing,
}

/// `sealer tag`
#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    /// Name, short name, or the first digits of an id
    pub(crate) name: String,
    /// Names to give; short ones are completed with localhost/ and :latest
    #[arg(required = true, value_name = "NEW")]
    pub(crate) new: Vec<String>,
}

/// `sealer rmi`
#[derive(Debug, clap::Args)]
pub(crate) struct Rmi {
    /// Names, short names, or first digits of ids
    #[arg(required_unless_present = "prune", conflicts_with = "prune")]
    pub(crate) names: Vec<String>,
    /// Remove an image by its id even if it has several names
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove every image without a name
    #[arg(short, long)]
    pub(crate) prune: bool,
}

/// `sealer diff`
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// An image
    pub(crate) first: String,
    /// The image to compare it with
    pub(crate) second: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// `sealer merge`
#[derive(Debug, clap::Args)]
pub(crate) struct Merge {
    /// Images to put together, in order
    #[arg(required = true, num_args = 2..)]
    pub(crate) images: Vec<String>,
    /// Name of the result; may be given several times
    #[arg(short, long = "target-image", visible_alias = "tag", value_name = "NAME", required = true)]
    pub(crate) target: Vec<String>,
    /// Applications to launch, in order [default: all that the images launch]
    #[arg(long, value_name = "APP", value_delimiter = ',')]
    pub(crate) launch: Option<Vec<String>>,
    /// Time of the image: seconds since 1970 [default: 0]
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    pub(crate) timestamp: Option<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// `sealer mount`
#[derive(Debug, clap::Args)]
pub(crate) struct Mount {
    /// Name, short name, or the first digits of an id [default: list what is mounted]
    pub(crate) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// `sealer umount`
#[derive(Debug, clap::Args)]
pub(crate) struct Umount {
    /// Names, short names, or first digits of ids
    #[arg(required_unless_present = "all")]
    pub(crate) names: Vec<String>,
    /// Unmount everything
    #[arg(short, long, conflicts_with = "names")]
    pub(crate) all: bool,
}

/// `sealer save`
#[derive(Debug, clap::Args)]
pub(crate) struct Save {
    /// Name, short name, or the first digits of an id
    pub(crate) name: String,
    /// File or directory to write; `-` is standard output
    #[arg(short, long, value_name = "PATH", required = true)]
    pub(crate) output: PathBuf,
    /// oci-archive, oci-dir, docker-archive or docker-dir
    #[arg(long, value_name = "FORMAT", default_value = "oci-archive")]
    pub(crate) format: String,
    /// Compression of layers: zstd[:1-19], gzip[:1-12] or uncompressed [default: as stored]
    #[arg(long, value_name = "FORMAT[:LEVEL]")]
    pub(crate) compression: Option<String>,
    /// The same as --compression gzip, for directories
    #[arg(long, conflicts_with = "compression")]
    pub(crate) compress: bool,
    /// Accepted for sealer's scripts; nothing is copied on the way
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) tmp_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// `sealer load`
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Archive, compressed or not, or directory to read; `-` is standard input [default: standard input]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) input: Option<PathBuf>,
    /// One more name for the image
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Accepted for sealer's scripts; nothing is copied on the way
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) tmp_dir: Option<PathBuf>,
}
