//! Secrets of commands: bytes that never show.

use std::fmt;
use std::sync::Arc;

/// Shorter pieces are words of every log.
const SHORTEST: usize = 4;
/// What stands in the place of a secret.
const HIDDEN: &str = "***";

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

    /// A line with every line of every secret taken out.
    pub(crate) fn hide(secrets: &[&Self], line: &str) -> String {
        let mut shown = line.to_owned();
        for secret in secrets {
            let text = secret.text();
            let pieces = text.lines().map(str::trim).filter(|piece| piece.len() >= SHORTEST);
            for piece in pieces.filter(|piece| line.contains(piece)) {
                shown = shown.replace(piece, HIDDEN);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_secret_is_shown() {
        let (one, other) =
            (Secret::new(b"hunter22\nsecond line\n\nab".to_vec()), Secret::new(b"xyzzy".to_vec()));
        let hide = |line| Secret::hide(&[&one, &other], line);
        assert_eq!(hide("a hunter22 b second line c xyzzyxyzzy ab"), "a *** b *** c ****** ab");
        assert_eq!(format!("{one:?}"), "Secret(…)");
    }
}
