//! Regular expressions. Rust's library has RE2's meaning, as Go's has; what is spelled or counted differently is
//! translated: Go's `\d`, `\s`, `\w` and `\b` know ASCII alone, and it has `\Q…\E` and `\z`.

use std::rc::Rc;

use regex::{Regex, RegexBuilder};

use super::{Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("regexMatch", 2, 2, |call| Ok(Value::Bool(compiled(call)?.is_match(call.text(1)?)))),
    ("mustRegexMatch", 2, 2, |call| Ok(Value::Bool(compiled(call)?.is_match(call.text(1)?)))),
    ("regexFind", 2, 2, find),
    ("mustRegexFind", 2, 2, find),
    ("regexFindAll", 3, 3, find_all),
    ("mustRegexFindAll", 3, 3, find_all),
    ("regexReplaceAll", 3, 3, |call| replaced(call, true)),
    ("mustRegexReplaceAll", 3, 3, |call| replaced(call, true)),
    ("regexReplaceAllLiteral", 3, 3, |call| replaced(call, false)),
    ("mustRegexReplaceAllLiteral", 3, 3, |call| replaced(call, false)),
    ("regexSplit", 3, 3, split),
    ("mustRegexSplit", 3, 3, split),
];

/// Sizes of compiled expressions in bytes, and how many steps looking through a byte with one of that size costs: in
/// the worst case the time is the product of text and expression. Nothing larger is compiled.
const SIZES: [(usize, usize); 3] = [(16 << 10, 8), (256 << 10, 128), (1 << 20, 512)];

/// The expression of the first argument, to look through the second with.
fn compiled(call: &Call<'_>) -> Outcome<Regex> {
    let (pattern, length) = (call.text(0)?, call.text(1)?.len());
    let known = call.run.regexes.borrow().get(pattern).cloned();
    let (regex, cost) = match known {
        Some(known) => known,
        None => {
            // Compiling costs what its result is large, whatever the length of the text.
            call.run.work.steps(10_000)?;
            let text = translated(pattern);
            let compile = |(size, cost): &(usize, usize)| {
                RegexBuilder::new(&text).size_limit(*size).build().map(|regex| (regex, *cost))
            };
            let [small, medium, large] = &SIZES;
            let compiled = compile(small).or_else(|_| compile(medium)).or_else(|_| compile(large));
            let compiled = compiled.map_err(|error| call.wrong(format!("error parsing regexp: {error}")))?;
            call.run.work.bytes(pattern.len() + 1024 * compiled.1)?;
            call.run.regexes.borrow_mut().insert(Rc::clone(pattern), compiled.clone());
            compiled
        }
    };
    call.run.work.steps(length.saturating_mul(cost))?;
    Ok(regex)
}

fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match (chars.next(), in_class) {
                (Some('d'), false) => out.push_str("[0-9]"),
                (Some('D'), false) => out.push_str("[^0-9]"),
                (Some('s'), false) => out.push_str("[\\t\\n\\f\\r ]"),
                (Some('S'), false) => out.push_str("[^\\t\\n\\f\\r ]"),
                (Some('w'), false) => out.push_str("[0-9A-Za-z_]"),
                (Some('W'), false) => out.push_str("[^0-9A-Za-z_]"),
                (Some('d'), true) => out.push_str("0-9"),
                (Some('s'), true) => out.push_str("\\t\\n\\f\\r "),
                (Some('w'), true) => out.push_str("0-9A-Za-z_"),
                (Some('b'), false) => out.push_str("(?-u:\\b)"),
                (Some('Q'), false) => {
                    let rest: String = chars.by_ref().collect();
                    let (literal, after) = rest.split_once("\\E").unwrap_or((&rest, ""));
                    out.push_str(&regex::escape(literal));
                    out.push_str(&translated(after));
                }
                (Some(other), _) => {
                    out.push('\\');
                    out.push(other);
                }
                (None, _) => out.push('\\'),
            },
            '[' if in_class && chars.peek() == Some(&':') => {
                // `[:alpha:]`
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            // A brace that repeats nothing is one.
            '{' if !in_class && !is_repetition(&chars) => out.push_str("\\{"),
            // Set operations of Rust's library, plain characters in Go's.
            '&' | '~' if in_class => out.push_str(&format!("\\{c}")),
            c => out.push(c),
        }
    }
    out
}

/// Whether what follows a brace makes it a repetition: `n}`, `n,}` or `n,m}`.
fn is_repetition(rest: &std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    let inside: String = rest.clone().take_while(|c| *c != '}').take(16).collect();
    let closes = rest.clone().any(|c| c == '}');
    let (least, most) = inside.split_once(',').unwrap_or((&inside, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    closes && !least.is_empty() && is_number(least) && is_number(most)
}

/// How many are wanted: below zero is all.
fn limit(call: &Call<'_>) -> Outcome<usize> {
    Ok(usize::try_from(call.int(2)?).unwrap_or(usize::MAX))
}

fn find(call: &Call<'_>) -> Outcome<Value> {
    let found = compiled(call)?.find(call.text(1)?).map_or("", |found| found.as_str());
    call.made(found)
}

fn find_all(call: &Call<'_>) -> Outcome<Value> {
    let (regex, limit) = (compiled(call)?, limit(call)?);
    let found = regex.find_iter(call.text(1)?).take(limit).map(|found| call.made(found.as_str()));
    call.listed(found.collect::<Outcome<_>>()?)
}

fn replaced(call: &Call<'_>, expands: bool) -> Outcome<Value> {
    let (regex, text, by) = (compiled(call)?, call.text(1)?, call.text(2)?);
    let mut out = String::new();
    let mut last = 0;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        let before = out.len();
        out.push_str(&text[last..whole.start()]);
        if expands {
            captures.expand(by, &mut out);
        } else {
            out.push_str(by);
        }
        call.run.work.bytes(out.len() - before)?;
        last = whole.end();
    }
    out.push_str(&text[last..]);
    call.made(out)
}

fn split(call: &Call<'_>) -> Outcome<Value> {
    let (regex, text, limit) = (compiled(call)?, call.text(1)?, limit(call)?);
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    let mut parts = Vec::new();
    let (mut start, mut end) = (0, 0);
    for found in regex.find_iter(text) {
        if parts.len() + 1 >= limit {
            break;
        }
        end = found.start();
        // Go makes no part of an empty match at the very start, and none behind one at the very end.
        if found.end() != 0 {
            parts.push(call.made(&text[start..end])?);
        }
        start = found.end();
    }
    if end != text.len() || text.is_empty() {
        parts.push(call.made(&text[start..])?);
    }
    call.listed(parts)
}
