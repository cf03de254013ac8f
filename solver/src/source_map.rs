//! Where in the text something was said. Lives beside the graph, outside every digest.

/// A range of bytes in a source file: `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range `start..end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest range that covers both.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A line and a column, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// The text a definition was made of, and the name people know it by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as the user typed it; only shown, never opened.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// The line and column of a byte offset; an offset past the end is the end.
    ///
    /// The text is read up to there: for many offsets, use [`SourceFile::lines`].
    pub fn position(&self, offset: usize) -> Position {
        let offset = boundary(&self.text, offset);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        Position { line, column: column(&self.text, line_start, offset) }
    }

    /// Where its lines start, to look many positions up.
    pub fn lines(&self) -> Lines<'_> {
        let newlines = self.text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        let starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Lines { text: &self.text, starts }
    }
}

/// The lines of a text.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    text: &'a str,
    /// Where each starts; the first one at 0.
    starts: Vec<usize>,
}

impl Lines<'_> {
    /// As [`SourceFile::position`], without reading the text again.
    pub fn position(&self, offset: usize) -> Position {
        let offset = boundary(self.text, offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        Position { line, column: column(self.text, self.starts[line - 1], offset) }
    }
}

/// The offset, or the nearest before it that is between two characters of the text.
fn boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Counted in characters. A byte order mark is none: nobody sees it.
fn column(text: &str, line_start: usize, offset: usize) -> usize {
    let before = &text[line_start..offset];
    let before = if line_start == 0 { before.strip_prefix('\u{feff}').unwrap_or(before) } else { before };
    before.chars().count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let file = SourceFile { name: "Kubefile".into(), text: "FROM é\nAPP x".into() };
        assert_eq!(file.position(0), Position { line: 1, column: 1 });
        assert_eq!(file.position(7), Position { line: 1, column: 7 });
        assert_eq!(file.position(8), Position { line: 2, column: 1 });
        assert_eq!(file.position(999), Position { line: 2, column: 6 });
        let marked = SourceFile { name: "Kubefile".into(), text: "\u{feff}FROM x\r\n\n".into() };
        assert_eq!(marked.position(3), Position { line: 1, column: 1 });
        for file in [&file, &marked, &SourceFile::default()] {
            let lines = file.lines();
            (0..20).for_each(|offset| assert_eq!(lines.position(offset), file.position(offset), "{offset}"));
        }
    }
}
