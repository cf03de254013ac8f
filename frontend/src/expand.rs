//! Expansion of `$X`, `${X}`, `${X:-d}`, `${X-d}`, `${X:+d}`, `${X+d}`, with quotes and escapes.
//!
//! A variable may be *unknown*: only the base image can say what it is. A word with one in it has no value yet, and
//! nothing is said about it until the base is resolved.

use std::ops::Range;

use crate::ast::Quoting;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// A value.
    Value(String),
    /// Nothing.
    Unset,
    /// Something only the base image knows.
    Unknown,
}

/// A word after expansion.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expansion {
    pub(crate) text: String,
    /// Whether an unknown variable took part: then `text` means nothing.
    pub(crate) unknown: bool,
    /// Names without a value and without a default, with their places in the word.
    pub(crate) unset: Vec<(String, Range<usize>)>,
}

/// What is wrong with a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpandError {
    /// A quote that never closes.
    Quote(char),
    /// `${` without its `}`.
    Brace,
    /// No name between the braces.
    Name,
    /// Something else than `:-`, `-`, `:+`, `+` after the name.
    Modifier,
    /// Defaults in defaults in defaults …
    TooDeep,
    /// More text than allowed: values made of values made of values …
    TooLarge,
}

/// Deeper nesting of defaults is an attack on the stack, not a Kubefile.
const MAX_DEPTH: usize = 32;

/// Expands a word to at most `limit` bytes; a word without variables costs nothing of it. An error comes with the place
/// of the variable in the word.
pub(crate) fn expand(
    raw: &str,
    quoting: Quoting,
    escape: char,
    limit: usize,
    lookup: &dyn Fn(&str) -> Lookup,
) -> Result<Expansion, (ExpandError, Range<usize>)> {
    if !raw.contains(['$', '\'', '"', escape]) {
        return Ok(Expansion { text: raw.to_owned(), ..Expansion::default() });
    }
    let out = Expansion::default();
    // The word itself is already paid for.
    let limit = raw.len().saturating_add(limit);
    let mut expander = Expander { raw, position: 0, variable: 0, quoting, escape, limit, lookup, out };
    match expander.run(false, 0) {
        Ok(()) => Ok(expander.out),
        Err(error) => {
            let (start, end) = (expander.variable, expander.position);
            // One that is never closed goes on to the end of the text.
            let end = raw[start..end].find('\n').map_or(end, |line| start + line);
            Err((error, start..end))
        }
    }
}

struct Expander<'a> {
    raw: &'a str,
    position: usize,
    /// Where the last variable starts.
    variable: usize,
    quoting: Quoting,
    escape: char,
    limit: usize,
    lookup: &'a dyn Fn(&str) -> Lookup,
    out: Expansion,
}

impl Expander<'_> {
    fn peek(&self) -> Option<char> {
        self.raw[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.position += c.len_utf8();
        Some(c)
    }

    /// Expands to the end, or to the `}` that closes the default being read.
    fn run(&mut self, in_braces: bool, depth: usize) -> Result<(), ExpandError> {
        let shell = self.quoting == Quoting::Shell;
        while let Some(c) = self.peek() {
            if c == '}' && in_braces {
                return Ok(());
            }
            self.position += c.len_utf8();
            match c {
                '$' => self.variable(depth)?,
                '\'' if shell => self.single_quoted()?,
                '"' if shell => self.double_quoted(depth)?,
                c if c == self.escape => self.escaped(shell),
                c => self.out.text.push(c),
            }
        }
        if in_braces { Err(ExpandError::Brace) } else { Ok(()) }
    }

    /// After the escape character: outside quotes a shell takes it away before anything.
    fn escaped(&mut self, always: bool) {
        match self.peek() {
            Some(c) if always || c == '$' || c == self.escape => {
                self.position += c.len_utf8();
                self.out.text.push(c);
            }
            _ => self.out.text.push(self.escape),
        }
    }

    fn single_quoted(&mut self) -> Result<(), ExpandError> {
        loop {
            match self.next() {
                None => return Err(ExpandError::Quote('\'')),
                Some('\'') => return Ok(()),
                Some(c) => self.out.text.push(c),
            }
        }
    }

    fn double_quoted(&mut self, depth: usize) -> Result<(), ExpandError> {
        loop {
            match self.next() {
                None => return Err(ExpandError::Quote('"')),
                Some('"') => return Ok(()),
                Some('$') => self.variable(depth)?,
                Some(c) if c == self.escape => {
                    let quote = self.peek() == Some('"');
                    self.escaped(quote);
                }
                Some(c) => self.out.text.push(c),
            }
        }
    }

    /// After a `$`.
    fn variable(&mut self, depth: usize) -> Result<(), ExpandError> {
        let start = self.position - 1;
        self.variable = start;
        if self.peek() == Some('{') {
            self.position += 1;
            return self.braced(start, depth);
        }
        let name = self.name();
        if name.is_empty() {
            self.out.text.push('$');
            return Ok(());
        }
        self.insert(name, start)
    }

    fn name(&mut self) -> String {
        let rest = &self.raw[self.position..];
        let length = if rest.starts_with(|c: char| c.is_ascii_digit()) {
            0
        } else {
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len())
        };
        self.position += length;
        rest[..length].to_owned()
    }

    fn insert(&mut self, name: String, start: usize) -> Result<(), ExpandError> {
        match (self.lookup)(&name) {
            Lookup::Value(value) => self.out.text.push_str(&value),
            Lookup::Unknown => self.out.unknown = true,
            Lookup::Unset => self.out.unset.push((name, start..self.position)),
        }
        self.within_limit()
    }

    fn within_limit(&self) -> Result<(), ExpandError> {
        if self.out.text.len() > self.limit { Err(ExpandError::TooLarge) } else { Ok(()) }
    }

    /// After a `${`.
    fn braced(&mut self, start: usize, depth: usize) -> Result<(), ExpandError> {
        if depth >= MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        let name = self.name();
        if name.is_empty() {
            return Err(if self.peek().is_none() { ExpandError::Brace } else { ExpandError::Name });
        }
        let (empty_is_unset, modifier) = match (self.next(), self.peek()) {
            (None, _) => return Err(ExpandError::Brace),
            (Some('}'), _) => {
                return self.insert(name, start);
            }
            (Some(':'), Some(modifier @ ('-' | '+'))) => {
                self.position += 1;
                (true, modifier)
            }
            (Some(modifier @ ('-' | '+')), _) => (false, modifier),
            _ => return Err(ExpandError::Modifier),
        };
        let before = std::mem::take(&mut self.out);
        if let Err(error) = self.run(true, depth + 1) {
            if error == ExpandError::Brace {
                self.variable = start;
            }
            return Err(error);
        }
        self.position += 1;
        let word = std::mem::replace(&mut self.out, before);
        self.choose(&name, modifier, empty_is_unset, word);
        self.within_limit()
    }

    fn choose(&mut self, name: &str, modifier: char, empty_is_unset: bool, word: Expansion) {
        let value = match (self.lookup)(name) {
            Lookup::Unknown => {
                self.out.unknown = true;
                return;
            }
            Lookup::Value(value) if !(value.is_empty() && empty_is_unset) => Some(value),
            Lookup::Value(_) | Lookup::Unset => None,
        };
        match (modifier, value) {
            ('-', Some(value)) => self.out.text.push_str(&value),
            ('+', None) => {}
            _ => {
                self.out.text.push_str(&word.text);
                self.out.unknown |= word.unknown;
                self.out.unset.extend(word.unset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Lookup {
        match name {
            "X" => Lookup::Value("x".into()),
            "EMPTY" => Lookup::Value(String::new()),
            "LONG" => Lookup::Value("0123456789abcdef".into()),
            "BASE" => Lookup::Unknown,
            _ => Lookup::Unset,
        }
    }

    fn check(raw: &str, expected: &str) {
        let result = match expand(raw, Quoting::Shell, '\\', 64, &lookup) {
            Err((error, _)) => format!("{error:?}"),
            Ok(expansion) if expansion.unknown => "?".to_owned(),
            Ok(expansion) => {
                let unset: Vec<&str> = expansion.unset.iter().map(|(_, range)| &raw[range.clone()]).collect();
                [expansion.text, unset.join(",")].join("|").trim_end_matches('|').to_owned()
            }
        };
        assert_eq!(result, expected, "{raw}");
    }

    #[test]
    fn variables_defaults_quotes_and_escapes() {
        for (raw, expected) in [
            ("a$X.b", "ax.b"),
            ("${X}y", "xy"),
            ("${NO:-d}${EMPTY:-e}${EMPTY-f}${NO-g}", "deg"),
            ("${X:+y}${NO:+n}${EMPTY:+n}${EMPTY+e}", "ye"),
            ("${NO:-${X}${NO:-z}}", "xz"),
            ("$NO ${NO}", " |$NO,${NO}"),
            (r#"'$X' "$X \" \$" \$X"#, r#"$X x " $ $X"#),
            ("$ $1 a$", "$ $1 a$"),
            ("$BASE", "?"),
            ("${BASE:-d}", "?"),
            ("${NO:-d}$BASE", "?"),
            ("it's", "Quote('\\'')"),
            ("\"a", "Quote('\"')"),
            ("${X", "Brace"),
            ("${", "Brace"),
            ("${X:-", "Brace"),
            ("${}", "Name"),
            ("${X:?e}", "Modifier"),
        ] {
            check(raw, expected);
        }
        check(&"${A:-".repeat(10_000), "TooDeep");
        check(&["$LONG"; 12].concat(), "TooLarge");
    }

    #[test]
    fn an_error_is_where_its_variable_is() {
        for (raw, place) in [("a $X ${X:?e} b", "${X:"), ("é${NO:-$X}${X:-$X\n", "${X:-$X"), ("$X${}", "${")]
        {
            let (_, range) = expand(raw, Quoting::Literal, '\\', 64, &lookup).expect_err("an error");
            assert_eq!(&raw[range], place, "{raw}");
        }
    }

    #[test]
    fn literal_text_keeps_quotes() {
        let expansion = expand(r#"it's "$X" \$X \n"#, Quoting::Literal, '\\', 64, &lookup).expect("no error");
        assert_eq!(expansion.text, r#"it's "x" $X \n"#);
    }
}
