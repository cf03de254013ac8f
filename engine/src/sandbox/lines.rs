//! Lines of a command's output, without secrets.
//!
//! The writer of a long line decides where it is cut, so the cut may go through a secret: a secret that begins before a cut is
//! recognised across it.

use std::io::{BufRead, Read};
use std::ops::Range;

use crate::secret::Hidden;

/// Longest line that is passed on whole, in bytes.
const LIMIT: usize = 16 << 10;
/// What stands in the place of a secret.
const STARS: &[u8] = b"***";

/// The lines of an output without their ends; longer ones come in pieces.
pub(super) struct Lines<'s, R> {
    output: R,
    hidden: &'s Hidden,
    /// What was read and not yet passed on.
    rest: Vec<u8>,
    /// How many bytes of it belong to a secret that began in what was passed on.
    covered: usize,
}

impl<'s, R: BufRead> Lines<'s, R> {
    pub(super) fn new(output: R, hidden: &'s Hidden) -> Self {
        Self { output, hidden, rest: Vec::new(), covered: 0 }
    }
}

impl<R: BufRead> Iterator for Lines<'_, R> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if !self.rest.ends_with(b"\n") {
            let room = (LIMIT + self.hidden.longest()).saturating_sub(self.rest.len());
            // An output that cannot be read has ended.
            let _ = self.output.by_ref().take(room as u64).read_until(b'\n', &mut self.rest);
        }
        if self.rest.is_empty() {
            return None;
        }
        let cut = self.rest.len().min(LIMIT);
        let mut line = Vec::with_capacity(cut);
        let mut told = 0;
        for Range { start, end } in self.hidden.places(&self.rest, self.covered) {
            if start >= cut {
                break;
            }
            line.extend_from_slice(&self.rest[told..start]);
            line.extend_from_slice(STARS);
            told = end;
        }
        line.extend_from_slice(&self.rest[told.min(cut)..cut]);
        self.covered = told.saturating_sub(cut);
        self.rest.drain(..cut);
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn lines(secrets: &[&str], output: &str) -> Vec<String> {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new((*text).into())).collect();
        Lines::new(output.as_bytes(), &Hidden::of(&secrets)).collect()
    }

    #[test]
    fn no_line_of_a_secret_is_shown() {
        let secrets = ["hunter22\nsecond line\n\nab", "xyzzy"];
        let shown = lines(&secrets, "a hunter22 b second line c\r\n\nxyzzyxyzzy ab");
        assert_eq!(shown, ["a *** b *** c", "", "****** ab"]);
    }

    #[test]
    fn secrets_that_overlap_leave_nothing_of_each_other() {
        for secrets in [["pass", "password"], ["password", "pass"]] {
            assert_eq!(lines(&secrets, "pass password pass\n"), ["*** *** ***"]);
        }
        assert_eq!(lines(&["left-mid", "mid-right"], "a left-mid-right b\n"), ["a *** b"]);
        assert_eq!(lines(&["abab"], "xababab"), ["x***"]);
    }

    #[test]
    fn a_secret_across_a_cut_is_hidden_on_both_sides() {
        let secret = "hunter22hunter23";
        for before in LIMIT - secret.len()..=LIMIT {
            let output = format!("{}{secret}-\nnext\n", "-".repeat(before));
            let shown = lines(&["22hun", secret], &output);
            assert!(
                shown
                    .iter()
                    .all(|line| line.trim_matches('-').trim_matches('*').is_empty() || line == "next")
            );
            assert_eq!(shown.last().unwrap(), "next");
        }
        // One without an end is one secret.
        let shown = lines(&["abab"], &"ab".repeat(LIMIT + 1));
        assert_eq!(shown, ["***"; 3]);
        assert_eq!(lines(&[], &"-".repeat(LIMIT + 1)), ["-".repeat(LIMIT), "-".to_owned()]);
    }
}
