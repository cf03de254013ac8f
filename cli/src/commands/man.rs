//! `sealer man`: the manual pages, made from the same definitions as the help.

use clap::CommandFactory;

use crate::args::{Args, Man};
use crate::report::Failure;

/// Writes one page for sealer and one for each command.
pub(crate) fn run(args: &Man) -> Result<(), Failure> {
    clap_mangen::generate_to(Args::command(), &args.dir)
        .map_err(|error| Failure::usage(format!("cannot write into `{}`: {error}", args.dir.display())))
}
