//! The only writer of standard output and standard error. Data goes to the first, everything else to the second.

use std::io::{IsTerminal, Write};

use crate::args::{Color, Global};

/// Prints data. A reader that went away is no error worth telling.
pub(crate) fn data(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a message for people.
pub(crate) fn message(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a warning.
pub(crate) fn warning(text: &str) {
    message(&format!("warning: {text}"));
}

/// Whether messages may be coloured.
pub(crate) fn coloured(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => console::colors_enabled_stderr() && std::io::stderr().is_terminal(),
    }
}

/// Says of each accepted flag that it does nothing here.
pub(crate) fn warn_of_flags_without_effect(global: &Global) {
    let given = [
        (
            "--config",
            global.config.is_some(),
            "there is no such file; flags and SEALER_* variables say everything",
        ),
        ("--debug", global.debug, "errors always carry what there is to know"),
        ("--hide-time", global.hide_time, "messages carry no time"),
        ("--hide-path", global.hide_path, "messages carry no source path"),
        (
            "--log-to-file",
            global.log_to_file == Some(true),
            "no log file is written; redirect standard error",
        ),
        ("--remote-logger-url", global.remote_logger_url.is_some(), "there is no remote logger"),
        ("--task-name", global.task_name.is_some(), "there is no remote logger"),
    ];
    for (flag, _, why) in given.into_iter().filter(|(_, given, _)| *given) {
        warning(&format!("`{flag}` has no effect: {why}"));
    }
}
