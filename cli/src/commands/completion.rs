//! `sealer completion`

use clap::CommandFactory;

use crate::args::{Args, Completion};
use crate::report::Failure;
use crate::ui;

/// Prints a shell's completion script.
pub(crate) fn run(args: &Completion) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "sealer", &mut script);
    ui::data(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
