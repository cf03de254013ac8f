//! The `sealer` command: arguments in, exit code out.

mod args;
mod commands;
mod progress;
mod report;
mod settings;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::report::Failure;

fn main() -> ExitCode {
    // `alpha X` is `X`: the word stays for scripts that have it.
    let mut words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "alpha") {
        words.remove(1);
    }
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => return report::usage(&error),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report::failure(&failure, args.global.color),
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    ui::warn_of_flags_without_effect(&args.global);
    let root = settings::store_root(args.global.root.as_deref())?;
    match &args.command {
        Command::Build(build) => commands::build::run(build, &args.global, &root),
        Command::Inspect(inspect) => commands::inspect::run(inspect, &root),
        Command::Images => commands::images::run(args.global.quiet, &root),
        Command::Version(version) => commands::version::run(version),
    }
}
