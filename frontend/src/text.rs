//! Text joined from pieces of the source, which still knows where each byte came from.
//!
//! A logical line is made of physical lines without their continuations, so an offset in it needs a map back.

use std::ops::Range;

use solver::Span;

/// Joined text with its map to the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// The text.
    pub(crate) value: String,
    /// (offset in `value`, offset in the source) where each piece starts; ascending.
    pieces: Vec<(usize, usize)>,
}

impl Text {
    /// Appends `source[range]`.
    pub(crate) fn push(&mut self, source: &str, range: Range<usize>) {
        self.pieces.push((self.value.len(), range.start));
        self.value.push_str(&source[range]);
    }

    /// Drops white space at the end.
    pub(crate) fn trim_end(&mut self) {
        self.value.truncate(self.value.trim_end().len());
    }

    /// Where a range of the text stands in the source.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let start = self.locate(range.start);
        if range.is_empty() {
            return Span::new(start, start);
        }
        let last = self.piece(range.end - 1);
        Span::new(start, last.1 + (range.end - last.0))
    }

    /// The text on one line as people read it: white space around a continuation becomes one space.
    pub(crate) fn on_one_line(&self) -> String {
        let mut line = String::with_capacity(self.value.len());
        for (index, piece) in self.pieces.iter().enumerate() {
            let end =
                self.pieces.get(index + 1).map_or(self.value.len(), |next| next.0).min(self.value.len());
            let text = &self.value[piece.0.min(end)..end];
            let trimmed = text.trim_start();
            let spaced = trimmed.len() < text.len() || line.ends_with([' ', '\t']);
            if index > 0 && spaced {
                line.truncate(line.trim_end().len());
                line.push(' ');
            }
            line.push_str(trimmed);
        }
        line.truncate(line.trim_end().len());
        line
    }

    fn locate(&self, offset: usize) -> usize {
        let piece = self.piece(offset);
        piece.1 + (offset - piece.0)
    }

    fn piece(&self, offset: usize) -> (usize, usize) {
        let after = self.pieces.partition_point(|piece| piece.0 <= offset);
        after.checked_sub(1).and_then(|index| self.pieces.get(index)).copied().unwrap_or_default()
    }
}
