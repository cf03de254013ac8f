//! `sealer completion`

use clap::{Command, CommandFactory};

use crate::args::{Args, Completion};
use crate::report::Failure;
use crate::ui;

/// Prints a shell's completion script.
pub(crate) fn run(args: &Completion) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(&Args::command()), "sealer", &mut script);
    ui::data(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// A command as its help shows it. What is accepted for old scripts alone is not offered to who types; `clap_complete`
/// knows no difference.
fn shown(command: &Command) -> Command {
    let args = command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned();
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set()).map(shown);
    let mut shown = Command::new(command.get_name().to_owned())
        .args(args)
        .subcommands(commands)
        .visible_aliases(command.get_visible_aliases().map(str::to_owned));
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(version.to_owned());
    }
    shown
}
