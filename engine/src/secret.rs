//! Secrets of commands: bytes that never show.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Shorter pieces are words of every log.
const SHORTEST: usize = 4;

/// A secret. It prints as nothing but that.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Takes bytes in.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the value of a variable.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// What must not show of secrets: every line of every one.
#[derive(Default)]
pub(crate) struct Hidden(Vec<Vec<u8>>);

impl Hidden {
    pub(crate) fn of<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let mut pieces = Vec::new();
        for secret in secrets {
            // A variable may have another form of it than a file.
            for form in [secret.bytes(), secret.text().as_bytes()] {
                let lines = form.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                pieces.extend(lines.filter(|piece| piece.len() >= SHORTEST).map(<[u8]>::to_vec));
            }
        }
        pieces.sort();
        pieces.dedup();
        Self(pieces)
    }

    /// Length of the longest piece, in bytes.
    pub(crate) fn longest(&self) -> usize {
        self.0.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Where they are in some bytes, of which the first are known to be `covered`: in order, and what overlaps is one.
    pub(crate) fn places(&self, bytes: &[u8], covered: usize) -> Vec<Range<usize>> {
        let of = |piece: &Vec<u8>| {
            let places = bytes.windows(piece.len()).enumerate().filter(|(_, found)| found == piece);
            places.map(|(start, _)| start..start + piece.len()).collect::<Vec<_>>()
        };
        let mut all: Vec<Range<usize>> = self.0.iter().flat_map(of).collect();
        all.extend((covered > 0).then_some(0..covered));
        all.sort_by_key(|place| place.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for place in all {
            match merged.last_mut() {
                Some(last) if place.start < last.end => last.end = last.end.max(place.end),
                _ => merged.push(place),
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_no_debug_text() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter22".to_vec())), "Secret(…)");
    }
}
