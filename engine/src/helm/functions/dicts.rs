//! Maps: `set` and `unset` change theirs in place, and whoever shares it sees that.

use std::rc::Rc;

use super::{ANY, Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::print::text_of;
use crate::helm::value::{Map, Value};

pub(super) const TABLE: &[Entry] = &[
    ("dict", 0, ANY, dict),
    ("get", 2, 2, |call| Ok(call.map(0)?.get(call.text(1)?).unwrap_or_else(|| Value::text("")))),
    ("set", 3, 3, set),
    ("unset", 2, 2, unset),
    ("hasKey", 2, 2, |call| Ok(Value::Bool(call.map(0)?.has(call.text(1)?)))),
    ("keys", 0, ANY, keys),
    ("values", 1, 1, |call| {
        call.listed(call.map(0)?.entries().into_iter().map(|(_, value)| value).collect())
    }),
    ("pluck", 1, ANY, pluck),
    ("pick", 1, ANY, |call| filtered(call, true)),
    ("omit", 1, ANY, |call| filtered(call, false)),
    ("dig", 3, ANY, dig),
];

fn dict(call: &Call<'_>) -> Outcome<Value> {
    call.run.work.bytes(call.args.len() * 64)?;
    let map = Map::default();
    for pair in call.args.chunks(2) {
        let key = text_of(&pair[0], &call.run.work)?;
        // A key without a value has the empty one.
        map.set(key, pair.get(1).cloned().unwrap_or_else(|| Value::text("")));
    }
    Ok(Value::Map(Rc::new(map)))
}

fn set(call: &Call<'_>) -> Outcome<Value> {
    let Value::Map(map) = call.arg(0) else {
        return Err(call.mismatch("map[string]interface {}", call.arg(0)));
    };
    call.run.touch(map)?;
    call.run.work.bytes(64)?;
    map.set(Rc::clone(call.text(1)?), call.arg(2).clone());
    Ok(call.arg(0).clone())
}

fn unset(call: &Call<'_>) -> Outcome<Value> {
    let map = call.map(0)?;
    map.remove(call.text(1)?);
    Ok(Value::Map(map))
}

fn keys(call: &Call<'_>) -> Outcome<Value> {
    let mut keys = Vec::new();
    for at in 0..call.args.len() {
        keys.extend(call.map(at)?.entries().into_iter().map(|(key, _)| Value::Text(key)));
    }
    call.listed(keys)
}

fn pluck(call: &Call<'_>) -> Outcome<Value> {
    let key = call.text(0)?;
    let mut found = Vec::new();
    for at in 1..call.args.len() {
        found.extend(call.map(at)?.get(key));
    }
    call.listed(found)
}

/// The entries whose keys are among the arguments, or are not.
fn filtered(call: &Call<'_>, among: bool) -> Outcome<Value> {
    let map = call.map(0)?;
    let mut wanted = std::collections::BTreeSet::new();
    for at in 1..call.args.len() {
        wanted.insert(call.text(at)?);
    }
    call.run.work.bytes(map.len() * 64)?;
    Ok(Value::map(map.entries().into_iter().filter(|(key, _)| wanted.contains(key) == among)))
}

/// `dig "a" "b" DEFAULT DICT`
fn dig(call: &Call<'_>) -> Outcome<Value> {
    let last = call.args.len() - 1;
    let default = call.arg(last - 1);
    let mut map = call.map(last)?;
    for at in 0..last - 1 {
        match map.get(call.text(at)?) {
            None => return Ok(default.clone()),
            Some(value) if at + 2 == last => return Ok(value),
            Some(Value::Map(next)) => map = next,
            Some(_) => return Ok(default.clone()),
        }
    }
    Ok(default.clone())
}
