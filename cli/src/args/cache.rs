//! `sealer cache`

use std::path::PathBuf;

use clap::Subcommand;

use super::images::Listing;
use super::registry::RegistryFlags;

/// `sealer cache`
#[derive(Debug, clap::Args)]
pub(crate) struct Cache {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

/// What to do with the cache.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List what the store holds, and who needs it
    Ls(Ls),
    /// Show how much room the store takes, and how much could be freed
    Du(Du),
    /// Delete what no named image needs, least recently used first
    Prune(Prune),
    /// Read everything again, and forget what is damaged or gone
    Verify(Verify),
    /// Give a cache in a registry or a directory what the store knows of steps
    Export(CacheExport),
    /// Bring what a cache in a registry, an image or a directory has into the store
    Import(CacheImport),
    /// Show what a cache in a registry, an image or a directory has
    Inspect(CacheInspect),
}

/// A cache outside of the store.
#[derive(Debug, clap::Args)]
pub(crate) struct RemotePlace {
    /// A reference, `type=registry,ref=NAME` or `type=local,src=DIR`
    pub(crate) cache: String,
    /// Believe only records that are signed with the key in this file, and sign with it
    #[arg(long, value_name = "FILE")]
    pub(crate) cache_sign_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
}

/// `sealer cache export`
#[derive(Debug, clap::Args)]
pub(crate) struct CacheExport {
    #[command(flatten)]
    pub(crate) place: RemotePlace,
    /// Only the steps whose layers this image of the store has; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Vec<String>,
    /// Compression of the layers of interest, as the builds were told
    #[arg(long, value_name = "FORMAT[:LEVEL]", default_value = "zstd", env = "SEALER_COMPRESSION")]
    pub(crate) compression: String,
    /// Times of the layers of interest, as the builds were told [default: 0]
    #[arg(long, value_name = "SECONDS|keep", env = "SOURCE_DATE_EPOCH")]
    pub(crate) timestamp: Option<String>,
    /// Drop from the cache what was not used for so long, such as 30d
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_age: Option<String>,
    /// Drop from the cache what is more than this, in bytes or with K, M, G
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<String>,
}

/// `sealer cache import`
#[derive(Debug, clap::Args)]
pub(crate) struct CacheImport {
    #[command(flatten)]
    pub(crate) place: RemotePlace,
}

/// `sealer cache inspect`
#[derive(Debug, clap::Args)]
pub(crate) struct CacheInspect {
    #[command(flatten)]
    pub(crate) place: RemotePlace,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `sealer cache ls`
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) listing: Listing,
    /// Show only some: type=layer|source|image|other, id=DIGITS; of one key any, of two both must hold
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

/// `sealer cache du`
#[derive(Debug, clap::Args)]
pub(crate) struct Du {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `sealer cache prune`
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Delete no more than brings the store down to this size, in bytes or with K, M, G
    #[arg(long, value_name = "SIZE")]
    pub(crate) keep_storage: Option<String>,
    /// Delete only what nobody used for so long, such as 168h or 7d
    #[arg(long, value_name = "DURATION")]
    pub(crate) unused_for: Option<String>,
    /// Delete only some: type=layer|source|image|other, id=DIGITS; of one key any, of two both must hold
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Say what would go, and delete nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Wait until nobody else is at work on the store
    #[arg(long)]
    pub(crate) wait: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `sealer cache verify`
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Wait until nobody else is at work on the store
    #[arg(long)]
    pub(crate) wait: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
