//! The commands on registries (spec §5.1).

use std::path::PathBuf;

/// How registries are reached, and as whom.
#[derive(Debug, clap::Args)]
pub(crate) struct RegistryFlags {
    /// Check the certificates of registries; `false` also allows HTTP
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    pub(crate) tls_verify: String,
    /// The same as --tls-verify=false
    #[arg(long)]
    pub(crate) skip_tls_verify: bool,
    /// File with certificates of more authorities (PEM); may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Vec<PathBuf>,
    /// File with credentials, instead of sealer's, the containers tools' and Docker's own
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub(crate) authfile: Option<PathBuf>,
}

/// `sealer pull`
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// Name with a tag or a digest
    pub(crate) name: String,
    /// Platform to take of an image for several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<String>,
    /// When to ask the registry: always, ifnewer, missing or never
    #[arg(long, value_name = "POLICY", default_value = "always")]
    pub(crate) policy: String,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
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
