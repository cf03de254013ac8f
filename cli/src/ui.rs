//! The only writer of standard output and standard error. Data goes to the first, everything else to the second.

use std::io::{IsTerminal, Write};

use crate::args::Color;

/// Prints data. A reader that went away is no error worth telling.
pub(crate) fn data(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a message for people.
pub(crate) fn message(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints data as it is, with a newline only where a person reads it.
pub(crate) fn raw_data(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if std::io::stdout().is_terminal() {
        let _ = out.write_all(b"\n");
    }
}

/// Prints rows in columns, three spaces apart; the last column is as wide as its text.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| console::measure_text_width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (number, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if number + 1 < row.len() {
                let padding = widths[number] - console::measure_text_width(cell) + 3;
                line.extend(std::iter::repeat_n(' ', padding));
            }
        }
        data(line.trim_end());
    }
}

/// Whether standard output is a terminal, which archives must not reach.
pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether standard input is a terminal, where nobody types archives.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether messages may be coloured.
pub(crate) fn coloured(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => console::colors_enabled_stderr() && std::io::stderr().is_terminal(),
    }
}
