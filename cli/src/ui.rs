//! The only writer of standard output and standard error. Data goes to the first, everything else to the second.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use serde::Serialize;

use crate::args::Color;
use crate::progress::printable;
use crate::settings;

/// What became of data that could not be written; the first failure says enough.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Prints data. That it did not arrive is told in the end, by [`lost`].
pub(crate) fn data(text: &str) {
    keep(writeln!(io::stdout().lock(), "{text}"));
}

/// Prints data as sealer does: JSON, indented by four spaces.
pub(crate) fn json(value: &impl Serialize) {
    let mut out = Vec::new();
    let four_spaces = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, four_spaces);
    value.serialize(&mut serializer).expect("plain data is JSON, and memory takes it");
    data(&String::from_utf8_lossy(&out));
}

/// Prints a message for people.
pub(crate) fn message(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints data as it is, with a newline only where a person reads it.
pub(crate) fn raw_data(text: &str) {
    let end = if io::stdout().is_terminal() { "\n" } else { "" };
    keep(write!(io::stdout().lock(), "{text}{end}"));
}

/// Remembers why something did not arrive.
pub(crate) fn keep(written: io::Result<()>) {
    if let Err(error) = written {
        // Whoever comes second has nothing new to say.
        let _ = LOST.set(error);
    }
}

/// Writes out what is left of the data, and says why some of it was lost. A reader that went away wants no more.
pub(crate) fn lost() -> Option<&'static io::Error> {
    keep(io::stdout().flush());
    LOST.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// Prints rows in columns, three spaces apart; the last column is as wide as its text. What images and registries say
/// does nothing to the terminal.
pub(crate) fn table(rows: &[Vec<String>]) {
    let clean = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(clean).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| console::measure_text_width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
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
    io::stdout().is_terminal()
}

/// Whether standard input is a terminal, where nobody types archives.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Whether messages may be coloured.
pub(crate) fn coloured(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stderr().is_terminal() && settings::terminal_has_colour(),
    }
}
