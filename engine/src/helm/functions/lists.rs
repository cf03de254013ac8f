//! Lists. None is changed in place: Go's functions copy too.

use super::{ANY, Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("list", 0, ANY, |call| call.listed(call.args.to_vec())),
    ("tuple", 0, ANY, |call| call.listed(call.args.to_vec())),
    ("append", 2, 2, push),
    ("mustAppend", 2, 2, push),
    ("push", 2, 2, push),
    ("mustPush", 2, 2, push),
    ("prepend", 2, 2, prepend),
    ("mustPrepend", 2, 2, prepend),
    ("concat", 0, ANY, concat),
    ("first", 1, 1, |call| Ok(call.items(0)?.first().cloned().unwrap_or_default())),
    ("mustFirst", 1, 1, |call| Ok(call.items(0)?.first().cloned().unwrap_or_default())),
    ("last", 1, 1, |call| Ok(call.items(0)?.last().cloned().unwrap_or_default())),
    ("mustLast", 1, 1, |call| Ok(call.items(0)?.last().cloned().unwrap_or_default())),
    ("rest", 1, 1, |call| part(call, 1, 0)),
    ("mustRest", 1, 1, |call| part(call, 1, 0)),
    ("initial", 1, 1, |call| part(call, 0, 1)),
    ("mustInitial", 1, 1, |call| part(call, 0, 1)),
    ("reverse", 1, 1, |call| call.listed(call.items(0)?.into_iter().rev().collect())),
    ("mustReverse", 1, 1, |call| call.listed(call.items(0)?.into_iter().rev().collect())),
    ("uniq", 1, 1, uniq),
    ("mustUniq", 1, 1, uniq),
    ("without", 1, ANY, without),
    ("mustWithout", 1, ANY, without),
    ("compact", 1, 1, compact),
    ("mustCompact", 1, 1, compact),
    ("has", 2, 2, has),
    ("mustHas", 2, 2, has),
    ("slice", 1, 3, slice),
    ("mustSlice", 1, 3, slice),
    ("chunk", 2, 2, chunk),
    ("mustChunk", 2, 2, chunk),
    ("shuffle", 1, 1, |call| call.made(&**call.text(0)?)),
];

fn push(call: &Call<'_>) -> Outcome<Value> {
    let mut items = call.items(0)?;
    items.push(call.arg(1).clone());
    call.listed(items)
}

fn prepend(call: &Call<'_>) -> Outcome<Value> {
    let mut items = vec![call.arg(1).clone()];
    items.extend(call.items(0)?);
    call.listed(items)
}

fn concat(call: &Call<'_>) -> Outcome<Value> {
    let mut items = Vec::new();
    for at in 0..call.args.len() {
        items.extend(call.items(at)?);
    }
    call.listed_or_nil(items)
}

/// A list without some items at its ends.
fn part(call: &Call<'_>, from_start: usize, from_end: usize) -> Outcome<Value> {
    let items = call.items(0)?;
    if items.is_empty() {
        return Ok(Value::list_or_nil(items));
    }
    call.listed(items[from_start..items.len() - from_end].to_vec())
}

fn position(call: &Call<'_>, items: &[Value], wanted: &Value) -> Outcome<bool> {
    for item in items {
        if item.deep_equal(wanted, &call.run.work)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn uniq(call: &Call<'_>) -> Outcome<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for item in call.items(0)? {
        if !position(call, &kept, &item)? {
            kept.push(item);
        }
    }
    call.listed(kept)
}

fn without(call: &Call<'_>) -> Outcome<Value> {
    let mut kept = Vec::new();
    for item in call.items(0)? {
        if !position(call, &call.args[1..], &item)? {
            kept.push(item);
        }
    }
    call.listed(kept)
}

fn compact(call: &Call<'_>) -> Outcome<Value> {
    call.listed(call.items(0)?.into_iter().filter(Value::is_true).collect())
}

fn has(call: &Call<'_>) -> Outcome<Value> {
    match call.arg(1) {
        Value::Nil => Ok(Value::Bool(false)),
        _ => Ok(Value::Bool(position(call, &call.items(1)?, call.arg(0))?)),
    }
}

fn slice(call: &Call<'_>) -> Outcome<Value> {
    let items = call.items(0)?;
    if items.is_empty() {
        return Ok(Value::Nil);
    }
    let bound = |at: usize, default: usize| match call.args.get(at) {
        None => Ok(default),
        Some(value) => {
            let number = super::math::to_int(value);
            let inside = usize::try_from(number).ok().filter(|&number| number <= items.len());
            inside.ok_or_else(|| call.wrong(format!("slice bounds out of range: {number}")))
        }
    };
    let (start, end) = (bound(1, 0)?, bound(2, items.len())?);
    if start > end {
        return Err(call.wrong(format!("slice bounds out of range [{start}:{end}]")));
    }
    call.listed(items[start..end].to_vec())
}

fn chunk(call: &Call<'_>) -> Outcome<Value> {
    let size = call.count(0)?.max(1);
    let chunks: Vec<Value> =
        call.items(1)?.chunks(size).map(|chunk| call.listed(chunk.to_vec())).collect::<Outcome<_>>()?;
    call.listed(chunks)
}
