//! Words of a line: splitting at white space, and JSON arrays of strings with the place of each element.

use std::ops::Range;

use serde_json::Value;

/// Whether quotes keep white space together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Quotes {
    /// They do; the character escapes the next one.
    Respected(char),
    /// They are ordinary characters.
    Ignored,
}

/// The ranges of the words of `text` from an offset on. A quote that never closes is an ordinary character.
pub(crate) fn split(text: &str, from: usize, quotes: Quotes) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut position = from;
    loop {
        position += text[position..].len() - text[position..].trim_start_matches(is_space).len();
        if position >= text.len() {
            return words;
        }
        let end = word_end(text, position, quotes);
        words.push(position..end);
        position = end;
    }
}

/// White space between words (`[\t\v\f\r ]`, and the line feed a heredoc-free text never has).
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{b}' | '\u{c}')
}

/// Where the word that starts at an offset ends.
pub(crate) fn first(text: &str, start: usize, quotes: Quotes) -> usize {
    word_end(text, start, quotes)
}

fn word_end(text: &str, start: usize, quotes: Quotes) -> usize {
    let mut position = start;
    while let Some(c) = text[position..].chars().next() {
        if is_space(c) {
            return position;
        }
        position += c.len_utf8();
        let Quotes::Respected(escape) = quotes else { continue };
        if c == escape {
            position += text[position..].chars().next().map_or(0, char::len_utf8);
        } else if matches!(c, '"' | '\'') {
            position = closing_quote(text, position, c, escape).unwrap_or(position);
        }
    }
    position
}

/// One past the quote that closes the one before `from`.
fn closing_quote(text: &str, from: usize, quote: char, escape: char) -> Option<usize> {
    let mut escaped = false;
    for (offset, c) in text[from..].char_indices() {
        if escaped {
            escaped = false;
        } else if c == escape && quote == '"' {
            escaped = true;
        } else if c == quote {
            return Some(from + offset + c.len_utf8());
        }
    }
    None
}

/// What a text that starts with `[` turned out to be.
#[derive(Debug)]
pub(crate) enum JsonList {
    /// An array of strings, each with its range.
    Strings(Vec<(String, Range<usize>)>),
    /// An array with something else in it: the error, in the words of Go's decoder.
    NotOnlyStrings(String),
    /// No JSON array: the error, in the words of Go's decoder.
    Invalid(String),
}

/// Reads `text[from..]` as a JSON array of strings.
pub(crate) fn json_list(text: &str, from: usize) -> JsonList {
    match serde_json::from_str::<Value>(&text[from..]) {
        Ok(Value::Array(values)) => {
            let mut strings = Vec::with_capacity(values.len());
            let mut position = from;
            for value in values {
                let Value::String(string) = value else {
                    return JsonList::NotOnlyStrings(wrong_type(&value, "string"));
                };
                let range = json_string(text, position);
                position = range.end;
                strings.push((string, range));
            }
            JsonList::Strings(strings)
        }
        Ok(value) => JsonList::Invalid(wrong_type(&value, "[]string")),
        Err(error) => JsonList::Invalid(go_error(&text[from..], &error)),
    }
}

/// Where the JSON array ends that `text[from..]` begins with, if something else follows.
pub(crate) fn json_end(text: &str, from: usize) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(&text[from..]).into_iter::<Vec<Value>>();
    values.next()?.ok()?;
    Some(from + values.byte_offset()).filter(|&end| !text[end..].trim().is_empty())
}

/// The range of the next string literal; the text is known to be valid JSON.
fn json_string(text: &str, from: usize) -> Range<usize> {
    let start = text[from..].find('"').map_or(text.len(), |offset| from + offset);
    let inside = (start + 1).min(text.len());
    start..closing_quote(text, inside, '"', '\\').unwrap_or(text.len())
}

fn wrong_type(value: &Value, wanted: &str) -> String {
    let kind = match value {
        Value::Object(_) => "object",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Array(_) => "array",
        Value::Null => "null",
    };
    format!("json: cannot unmarshal {kind} into Go value of type {wanted}")
}

/// Go's wording of a JSON syntax error, as sealer prints it.
fn go_error(text: &str, error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let offset = error.column().saturating_sub(1).min(text.len());
    let start = (0..=offset).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
    match text[start..].chars().next() {
        Some(c) => format!("invalid character {} {}", go_quote(c), go_context(&text[..start])),
        None => "unexpected end of JSON input".to_owned(),
    }
}

fn go_quote(c: char) -> String {
    if c == '\'' { r"'\''".to_owned() } else { format!("'{c}'") }
}

fn go_context(before: &str) -> &'static str {
    match before.trim_end().chars().last() {
        None | Some('[' | ',') => "looking for beginning of value",
        Some(']') => "after top-level value",
        Some('"') => "after array element",
        Some(_) => "looking for beginning of value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together_and_lone_quotes_do_not() {
        let check = |text: &str, expected: &[&str]| {
            let words: Vec<&str> =
                split(text, 0, Quotes::Respected('\\')).into_iter().map(|range| &text[range]).collect();
            assert_eq!(words, expected, "{text}");
        };
        check(r#"a "b c" d\ e 'f g'h"#, &["a", r#""b c""#, r"d\ e", "'f g'h"]);
        check("it's b", &["it's", "b"]);
        check("", &[]);
    }

    #[test]
    fn json_errors_speak_go() {
        let check = |text: &str, expected: &str| match json_list(text, 0) {
            JsonList::Invalid(error) => assert_eq!(error, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        };
        check("kubectl apply", "invalid character 'k' looking for beginning of value");
        check("['a']", r"invalid character '\'' looking for beginning of value");
        check("", "unexpected end of JSON input");
        check(r#"["a""#, "unexpected end of JSON input");
        check(r#"["a"] x"#, "invalid character 'x' after top-level value");
        check(r#"["a" "b"]"#, "invalid character '\"' after array element");
    }
}
