//! Texts: cutting, joining, quoting, indenting.

use std::rc::Rc;

use super::{ANY, Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::print::{print, quoted, text_of};
use crate::helm::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("trim", 1, 1, |call| call.made(call.text(0)?.trim())),
    ("trimAll", 2, 2, trim_all),
    ("trimall", 2, 2, trim_all),
    ("trimPrefix", 2, 2, |call| {
        call.made(call.text(1)?.strip_prefix(&**call.text(0)?).unwrap_or(call.text(1)?))
    }),
    ("trimSuffix", 2, 2, |call| {
        call.made(call.text(1)?.strip_suffix(&**call.text(0)?).unwrap_or(call.text(1)?))
    }),
    ("upper", 1, 1, |call| call.made(call.text(0)?.chars().map(capital).collect::<String>())),
    ("lower", 1, 1, |call| call.made(call.text(0)?.chars().map(small).collect::<String>())),
    ("contains", 2, 2, |call| Ok(Value::Bool(call.text(1)?.contains(&**call.text(0)?)))),
    ("hasPrefix", 2, 2, |call| Ok(Value::Bool(call.text(1)?.starts_with(&**call.text(0)?)))),
    ("hasSuffix", 2, 2, |call| Ok(Value::Bool(call.text(1)?.ends_with(&**call.text(0)?)))),
    ("substr", 3, 3, substr),
    ("trunc", 2, 2, trunc),
    ("repeat", 2, 2, repeat),
    ("replace", 3, 3, replace),
    ("nospace", 1, 1, |call| call.made(call.text(0)?.split_whitespace().collect::<String>())),
    ("quote", 0, ANY, |call| each(call, quoted)),
    ("squote", 0, ANY, |call| each(call, |text| format!("'{text}'"))),
    ("cat", 0, ANY, cat),
    ("indent", 2, 2, |call| call.made(indented(call)?)),
    ("nindent", 2, 2, |call| call.made(format!("\n{}", indented(call)?))),
    ("join", 2, 2, join),
    ("split", 2, 2, split),
    ("splitn", 3, 3, splitn),
    ("splitList", 2, 2, split_list),
    ("toStrings", 1, 1, |call| call.listed(call.texts(0)?.into_iter().map(Value::Text).collect())),
    ("sortAlpha", 1, 1, sort_alpha),
    ("regexQuoteMeta", 1, 1, |call| call.made(go_quote_meta(call.text(0)?))),
];

/// A letter as a capital. Go changes letter by letter: what would become two stays.
pub(super) fn capital(c: char) -> char {
    Some(c.to_uppercase()).filter(|upper| upper.len() == 1).and_then(|mut c| c.next()).unwrap_or(c)
}

/// A letter as a small one, by the same rule.
pub(super) fn small(c: char) -> char {
    Some(c.to_lowercase()).filter(|lower| lower.len() == 1).and_then(|mut c| c.next()).unwrap_or(c)
}

fn trim_all(call: &Call<'_>) -> Outcome<Value> {
    let cut: Vec<char> = call.text(0)?.chars().collect();
    call.made(call.text(1)?.trim_matches(cut.as_slice()))
}

/// A part of a text by bytes, as Go cuts; half a character is replaced.
fn part(text: &str, start: usize, end: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned()
}

fn substr(call: &Call<'_>) -> Outcome<Value> {
    let text = call.text(2)?;
    let (start, end) = (call.int(0)?, call.int(1)?);
    let out_of_range = || call.wrong(format!("slice bounds out of range [{start}:{end}]"));
    let start = usize::try_from(start).unwrap_or(0);
    let end = usize::try_from(end).unwrap_or(text.len()).min(text.len());
    if start > end {
        return Err(out_of_range());
    }
    call.made(part(text, start, end))
}

fn trunc(call: &Call<'_>) -> Outcome<Value> {
    let (count, text) = (call.int(0)?, call.text(1)?);
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    match count {
        _ if size >= text.len() => Ok(Value::Text(Rc::clone(text))),
        0.. => call.made(part(text, 0, size)),
        _ => call.made(part(text, text.len() - size, text.len())),
    }
}

fn repeat(call: &Call<'_>) -> Outcome<Value> {
    let (count, text) = (call.count(0)?, call.text(1)?);
    call.run.work.bytes(text.len().saturating_mul(count))?;
    Ok(Value::text(text.repeat(count)))
}

fn replace(call: &Call<'_>) -> Outcome<Value> {
    let (old, new, text) = (call.text(0)?, call.text(1)?, call.text(2)?);
    let places = text.matches(&**old).count();
    call.run.work.bytes(text.len().saturating_add(places.saturating_mul(new.len())))?;
    Ok(Value::text(text.replace(&**old, new)))
}

/// Every argument but nothing, changed, with spaces between.
fn each(call: &Call<'_>, change: impl Fn(&str) -> String) -> Outcome<Value> {
    let mut words = Vec::new();
    for value in call.args.iter().filter(|value| !matches!(value, Value::Nil)) {
        let text = text_of(value, &call.run.work)?;
        call.run.work.bytes(text.len())?;
        words.push(change(&text));
    }
    call.made(words.join(" "))
}

fn cat(call: &Call<'_>) -> Outcome<Value> {
    let values = call.args.iter().filter(|value| !matches!(value, Value::Nil));
    let words: Vec<String> = values.map(|value| print(value, &call.run.work)).collect::<Outcome<_>>()?;
    call.made(words.join(" "))
}

fn indented(call: &Call<'_>) -> Outcome<String> {
    let (count, text) = (call.count(0)?, call.text(1)?);
    let lines = text.matches('\n').count() + 1;
    call.run.work.bytes(text.len().saturating_add(lines.saturating_mul(count)))?;
    let pad = " ".repeat(count);
    Ok(format!("{pad}{}", text.replace('\n', &format!("\n{pad}"))))
}

fn join(call: &Call<'_>) -> Outcome<Value> {
    let (separator, words) = (call.text(0)?, call.texts(1)?);
    let size: usize = words.iter().map(|word| word.len()).sum();
    call.run.work.bytes(size.saturating_add(separator.len().saturating_mul(words.len())))?;
    Ok(Value::text(words.join(separator)))
}

/// A map `_0`, `_1` … of the parts.
fn numbered(call: &Call<'_>, parts: &[String]) -> Outcome<Value> {
    call.run.work.bytes(parts.len() * 64)?;
    let entry = |(at, part): (usize, &String)| (format!("_{at}").into(), part.as_str().into());
    Ok(Value::map_of_texts(parts.iter().enumerate().map(entry)))
}

/// Go's `SplitN`: an empty separator splits between characters, no limit is below zero.
fn parts(call: &Call<'_>, text: &str, separator: &str, limit: i64) -> Outcome<Vec<String>> {
    let most = match limit {
        0 => return Ok(Vec::new()),
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let count = text.matches(separator).count().min(most) + 1;
    call.run.work.bytes(text.len() + count * 2 * size_of::<String>())?;
    if !separator.is_empty() {
        return Ok(text.splitn(most, separator).map(str::to_owned).collect());
    }
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    if parts.len() > most {
        let rest = parts.split_off(most - 1).concat();
        parts.push(rest);
    }
    Ok(parts)
}

fn split(call: &Call<'_>) -> Outcome<Value> {
    numbered(call, &parts(call, call.text(1)?, call.text(0)?, -1)?)
}

fn splitn(call: &Call<'_>) -> Outcome<Value> {
    numbered(call, &parts(call, call.text(2)?, call.text(0)?, call.int(1)?)?)
}

fn split_list(call: &Call<'_>) -> Outcome<Value> {
    let parts = parts(call, call.text(1)?, call.text(0)?, -1)?;
    call.listed(parts.into_iter().map(Value::text).collect())
}

fn sort_alpha(call: &Call<'_>) -> Outcome<Value> {
    let mut words = call.texts(0)?;
    words.sort();
    call.listed(words.into_iter().map(Value::Text).collect())
}

/// Go escapes fewer characters than Rust's library.
fn go_quote_meta(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
