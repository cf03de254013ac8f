//! The commands on registries (spec §5.1).

use std::path::PathBuf;

/// Where the flags of registries stand in a command's help.
const HEADING: &str = "Registries";

/// How registries are reached, and as whom.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RegistryFlags {
    /// Check the certificates of registries; `false` also allows HTTP
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    pub(crate) tls_verify: String,
    /// The same as --tls-verify=false
    #[arg(long, help_heading = HEADING)]
    pub(crate) skip_tls_verify: bool,
    /// File with certificates of more authorities (PEM); may be given several times
    #[arg(long, help_heading = HEADING, value_name = "FILE")]
    pub(crate) cacert: Vec<PathBuf>,
    /// File with credentials, instead of sealer's, the containers tools' and Docker's own
    #[arg(long, help_heading = HEADING, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// Registry to ask before HOST for what is read from it, as `[http://|https://]HOST[:PORT][/PREFIX]`; Docker Hub is docker.io; may be given several times
    #[arg(long, help_heading = HEADING, value_name = "HOST=MIRROR", value_delimiter = ',', env = "SEALER_REGISTRY_MIRROR")]
    pub(crate) registry_mirror: Vec<String>,
}

/// Which image of a name is meant, and how its registry is reached if its layers are still there.
#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// Platform to take of an image for several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// `sealer pull`
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// Name with a tag or a digest
    pub(crate) name: String,
    /// When to ask the registry: always, ifnewer, missing or never
    #[arg(long, value_name = "POLICY", default_value = "always")]
    pub(crate) policy: String,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// `sealer push`
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Name of an image of the store
    pub(crate) name: String,
    /// Name to give it in the registry [default: its own]
    pub(crate) destination: Option<String>,
    /// Of an image for several platforms, push all; `--all=false` pushes this machine's
    #[arg(
        short,
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    pub(crate) all: String,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// `sealer login`
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// Host of the registry, with its port if it has one
    pub(crate) host: String,
    /// User name
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// Password; others on this machine may see it there
    #[arg(short, long = "passwd", alias = "password", conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// `sealer logout`
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// Host of the registry
    #[arg(required_unless_present = "all")]
    pub(crate) host: Option<String>,
    /// Forget every registry
    #[arg(short, long, conflicts_with = "host")]
    pub(crate) all: bool,
    /// File with credentials
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub(crate) authfile: Option<PathBuf>,
}

/// `sealer search`
#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// Names of images without a tag; short ones are those of docker.io/sealerio
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}
/// `sealer manifest`
#[derive(Debug, clap::Args)]
pub(crate) struct Manifest {
    #[command(subcommand)]
    pub(crate) command: ManifestCommand,
}

/// What to do with an index of images.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ManifestCommand {
    /// Make an index, of no images or of those given
    Create(ManifestCreate),
    /// Add images to an index, which is made if there is none
    Add(ManifestAdd),
    /// Take an image out of an index
    Remove(ManifestRemove),
    /// Say of an image of an index what it is for
    Annotate(ManifestAnnotate),
    /// Print an index; of a single image, the index of one that it would be
    Inspect(ManifestInspect),
    /// Send an index and its images to a registry
    Push(ManifestPush),
    /// Remove indexes; their images stay
    #[command(visible_alias = "rm")]
    Delete(ManifestDelete),
}

/// `sealer manifest create`
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestCreate {
    /// Name of the index
    pub(crate) name: String,
    /// Images of the store to put into it
    pub(crate) images: Vec<String>,
}

/// What an entry of an index says of its image.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct EntryFlags {
    /// Operating system
    #[arg(long)]
    pub(crate) os: Option<String>,
    /// Architecture
    #[arg(long)]
    pub(crate) arch: Option<String>,
    /// Variant of the architecture
    #[arg(long)]
    pub(crate) variant: Option<String>,
    /// Version of the operating system
    #[arg(long)]
    pub(crate) os_version: Option<String>,
    /// Features the operating system must have
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub(crate) os_features: Vec<String>,
    /// Annotation of the entry
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
}

impl EntryFlags {
    /// Whether they say what an image is for.
    pub(crate) fn say_platform(&self) -> bool {
        let texts = [&self.os, &self.arch, &self.variant, &self.os_version];
        texts.into_iter().any(Option::is_some) || !self.os_features.is_empty()
    }
}

/// `sealer manifest add`
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestAdd {
    /// The index, then the images; with --target only images
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    /// Name of the index
    #[arg(short, long, value_name = "INDEX")]
    pub(crate) target: Option<String>,
    /// Accepted for sealer's scripts: of an image for several platforms all are added anyway
    #[arg(long, hide = true)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) entry: EntryFlags,
}

/// `sealer manifest remove`
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestRemove {
    /// Name of the index
    pub(crate) name: String,
    /// Digest of an image in it
    pub(crate) digest: String,
}

/// `sealer manifest annotate`
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestAnnotate {
    /// Name of the index
    pub(crate) name: String,
    /// Name or digest of an image in it
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) entry: EntryFlags,
}

/// `sealer manifest inspect`
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestInspect {
    /// Name of the index
    pub(crate) name: String,
}

/// `sealer manifest push`
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestPush {
    #[command(flatten)]
    pub(crate) push: Push,
    /// Remove the index from the store when it is pushed
    #[arg(long)]
    pub(crate) rm: bool,
    /// Form of the index: oci; v2s2, which has no place for what makes a Sealer Image, is refused
    #[arg(short, long, value_name = "FORMAT", default_value = "oci")]
    pub(crate) format: String,
    /// Directory with more authorities (`*.crt`)
    #[arg(long, value_name = "DIR")]
    pub(crate) cert_dir: Option<PathBuf>,
}

/// `sealer manifest delete`
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestDelete {
    /// Names of indexes
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}
