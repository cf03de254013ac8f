//! `sealer cache`

use clap::Subcommand;

use super::images::Listing;

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
