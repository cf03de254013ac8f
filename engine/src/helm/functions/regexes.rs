//! Regular expressions. Rust's library has RE2's meaning, as Go's has; what is spelled differently is translated
//! (`patterns`), what is counted differently is counted here.

use std::rc::Rc;

use regex::{Regex, RegexBuilder};

use super::patterns::translated;
use super::{Call, Entry};
use crate::helm::fault::{Fault, FaultKind, Outcome};
use crate::helm::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("regexMatch", 2, 2, is_match),
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
            let wrong = |error: String| call.wrong(format!("error parsing regexp: {error}"));
            let text = translated(pattern).map_err(wrong)?;
            let compile = |(size, cost): &(usize, usize)| {
                RegexBuilder::new(&text).size_limit(*size).build().map(|regex| (regex, *cost))
            };
            let [small, medium, large] = &SIZES;
            let compiled = compile(small).or_else(|_| compile(medium)).or_else(|_| compile(large));
            let compiled = compiled.map_err(|error| match error {
                // Helm compiles what is larger.
                regex::Error::CompiledTooBig(size) => {
                    Fault::lacking(format!("a regular expression above the size limit of {size} bytes"))
                }
                error => wrong(error.to_string()),
            })?;
            call.run.work.bytes(pattern.len() + 1024 * compiled.1)?;
            call.run.regexes.borrow_mut().insert(Rc::clone(pattern), compiled.clone());
            compiled
        }
    };
    call.run.work.steps(length.saturating_mul(cost))?;
    Ok(regex)
}

/// Whether a text matches; what is no expression matches nothing, as sprig has it.
fn is_match(call: &Call<'_>) -> Outcome<Value> {
    let (_, text) = (call.text(0)?, call.text(1)?);
    match compiled(call) {
        Err(fault) if fault.kind == FaultKind::Failed => Ok(Value::Bool(false)),
        compiled => Ok(Value::Bool(compiled?.is_match(text))),
    }
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
    call.listed_or_nil(found.collect::<Outcome<_>>()?)
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
        return Ok(Value::list_or_nil(Vec::new()));
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
