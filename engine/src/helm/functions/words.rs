//! Texts as words: cases, plurals, abbreviations, wrapping.

use super::strings::{capital, small};
use super::wrapping::wrapped;
use super::{Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("title", 1, 1, |call| call.made(title(call.text(0)?))),
    ("untitle", 1, 1, |call| call.made(per_word(call.text(0)?, small))),
    ("swapcase", 1, 1, |call| call.made(swapped(call.text(0)?))),
    ("snakecase", 1, 1, |call| call.made(lower_with(call.text(0)?, '_'))),
    ("kebabcase", 1, 1, |call| call.made(lower_with(call.text(0)?, '-'))),
    ("camelcase", 1, 1, |call| call.made(camel(call.text(0)?))),
    ("initials", 1, 1, |call| call.made(initials(call.text(0)?))),
    ("plural", 3, 3, |call| call.made(&**call.text(usize::from(call.int(2)? != 1))?)),
    ("abbrev", 2, 2, abbrev),
    ("abbrevboth", 3, 3, abbrevboth),
    ("wrap", 2, 2, |call| wrapped(call, call.int(0)?, "\n", call.text(1)?, false)),
    ("wrapWith", 3, 3, |call| wrapped(call, call.int(0)?, call.text(1)?, call.text(2)?, true)),
];

/// Go's `strings.Title`: what follows a separator is capital.
fn title(text: &str) -> String {
    let mut after_separator = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if after_separator {
            out.push(capital(c));
        } else {
            out.push(c);
        }
        after_separator = !(c.is_alphanumeric() || c == '_') && (c.is_ascii() || c.is_whitespace());
    }
    out
}

/// Changes the first letter of each word.
fn per_word(text: &str, change: impl Fn(char) -> char) -> String {
    let mut after_blank = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if after_blank {
            out.push(change(c));
        } else {
            out.push(c);
        }
        after_blank = c.is_whitespace();
    }
    out
}

fn swapped(text: &str) -> String {
    text.chars().map(|c| if c.is_uppercase() { small(c) } else { capital(c) }).collect()
}

fn initials(text: &str) -> String {
    text.split_whitespace().filter_map(|word| word.chars().next()).collect()
}

/// `HTTPServer2x` becomes `http_server_2x`: words begin at capitals, where an acronym ends, and at a number that
/// letters follow.
fn lower_with(text: &str, connector: char) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut has_digit = false;
    for (at, &c) in chars.iter().enumerate() {
        if matches!(c, '_' | '-' | ' ' | '.') {
            out.push(if c == '.' { '.' } else { connector });
            has_digit = false;
            continue;
        }
        let before = at.checked_sub(1).map(|at| chars[at]);
        let next_is_lower = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        let then_lower =
            || chars[at..].iter().find(|c| !c.is_numeric()).is_some_and(|next| next.is_lowercase());
        let begins = before.is_some_and(|before| {
            let at_capital =
                before.is_lowercase() || before.is_numeric() || (before.is_uppercase() && next_is_lower);
            (c.is_uppercase() && at_capital)
                || (c.is_numeric() && !has_digit && before.is_lowercase() && then_lower())
        });
        if begins {
            out.push(connector);
            has_digit = false;
        }
        has_digit |= c.is_numeric();
        out.extend(c.to_lowercase());
    }
    out
}

/// `http_server` becomes `HttpServer`; connectors at the ends stay, and all but one of several.
fn camel(text: &str) -> String {
    let is_connector = |c: char| matches!(c, '_' | '-' | ' ');
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let joins = before.is_some() && chars.peek().is_some_and(|&next| !is_connector(next));
        match before {
            _ if is_connector(c) && joins && !out.is_empty() && out.chars().any(|c| !is_connector(c)) => {}
            _ if is_connector(c) => out.push(c),
            None => out.extend(c.to_uppercase()),
            Some(before) if is_connector(before) => out.extend(c.to_uppercase()),
            Some(before) if before.is_uppercase() => out.extend(c.to_lowercase()),
            Some(_) => out.push(c),
        }
        before = Some(c);
    }
    out
}

fn abbrev(call: &Call<'_>) -> Outcome<Value> {
    let (width, text) = (call.int(0)?, call.text(1)?);
    if width < 4 {
        return call.made(&**text);
    }
    call.made(abbreviated(text, 0, width))
}

fn abbrevboth(call: &Call<'_>) -> Outcome<Value> {
    let (left, right, text) = (call.int(0)?, call.int(1)?, call.text(2)?);
    if right < 4 || (left > 0 && right < 7) {
        return call.made(&**text);
    }
    call.made(abbreviated(text, left, right))
}

/// A text cut to a width, beginning near an offset, with dots for what was cut.
fn abbreviated(text: &str, offset: i64, width: i64) -> String {
    let chars: Vec<char> = text.chars().collect();
    let width = usize::try_from(width).unwrap_or(0);
    if chars.len() <= width {
        return text.to_owned();
    }
    let offset = usize::try_from(offset).unwrap_or(0).min(chars.len());
    let room = width.saturating_sub(3);
    let offset = if chars.len() - offset < room { chars.len() - room } else { offset };
    let part = |range: &[char]| range.iter().collect::<String>();
    if offset <= 4 {
        return format!("{}...", part(&chars[..room]));
    }
    if width < 7 {
        return String::new();
    }
    if offset + room < chars.len() {
        let room = room.saturating_sub(3);
        return format!("...{}...", part(&chars[offset..offset + room]));
    }
    format!("...{}", part(&chars[chars.len() - room..]))
}
