//! `KEY=VALUE` words, several in one flag: a line of CSV, as sealer reads them (spec §3.1, pflag's `StringSlice`).
//!
//! Where sealer would drop the text after a line end, and refuses quotes inside of a word, they stay as they are.

use std::collections::BTreeMap;

use crate::report::Failure;

/// The pairs of all words given with a flag; a value may hold more `=`.
pub(crate) fn pairs(flag: &str, words: &[String], what: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut pairs = BTreeMap::new();
    for word in words {
        let wrong = |what: String| {
            let failure = Failure::usage(what);
            if !word.contains(',') {
                return failure;
            }
            let quoted = word.replace('"', "\"\"");
            failure.hint(format!("a comma stands between two; quotes keep it: `{flag} '\"{quoted}\"'`"))
        };
        let pieces =
            pieces(word).ok_or_else(|| wrong(format!("`{flag} {word}` has a quote without its end")))?;
        for piece in pieces {
            match piece.split_once('=') {
                Some((key, value)) if !key.is_empty() => _ = pairs.insert(key.to_owned(), value.to_owned()),
                _ => return Err(wrong(format!("{what} should be key=value, not `{piece}`"))),
            }
        }
    }
    Ok(pairs)
}

/// The pieces between commas; one in quotes may have commas in it, and a quote written twice. `None` if the quotes are not
/// around the whole piece.
fn pieces(word: &str) -> Option<Vec<String>> {
    let mut pieces = Vec::new();
    let mut rest = word;
    loop {
        let (piece, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (piece, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                (piece.to_owned(), after)
            }
        };
        pieces.push(piece);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None => return after.is_empty().then_some(pieces),
        }
    }
}

/// What stands before the closing quote, and what after it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut piece = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        piece.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                piece.push('"');
                rest = more;
            }
            None => return Some((piece, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: &[(&str, &str)]) {
        let found = pairs("--label", &[word.to_owned()], "labels").unwrap();
        let found: Vec<(&str, &str)> =
            found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, expected, "{word}");
    }

    #[test]
    fn commas_stand_between_pairs_and_quotes_keep_them() {
        check("a=1", &[("a", "1")]);
        check("a=1,b=x=y", &[("a", "1"), ("b", "x=y")]);
        check(r#""a=1,2",b=3"#, &[("a", "1,2"), ("b", "3")]);
        check(r#""a=say ""hi"",""#, &[("a", r#"say "hi","#)]);
        check("a=\"x\"\nb", &[("a", "\"x\"\nb")]);
        check("a=", &[("a", "")]);
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        for word in ["", "a", "=a", "a=1,b", "a=1,", r#""a=1"#, r#""a=1"x"#] {
            assert!(pairs("--label", &[word.to_owned()], "labels").is_err(), "{word}");
        }
    }
}
