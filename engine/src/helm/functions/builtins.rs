//! What Go's templates bring themselves: comparing, indexing, printing, escaping. `and` and `or` are the evaluator's.

use std::cmp::Ordering;

use super::{ANY, Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::print::{print, printf, text_of};
use crate::helm::value::{Object, Value};

pub(super) const TABLE: &[Entry] = &[
    ("not", 1, 1, |call| Ok(Value::Bool(!call.arg(0).is_true()))),
    ("len", 1, 1, len),
    ("index", 1, ANY, index),
    ("eq", 2, ANY, eq),
    ("ne", 2, 2, |call| Ok(Value::Bool(!equal(call, call.arg(0), call.arg(1))?))),
    ("lt", 2, 2, |call| Ok(Value::Bool(order(call)? == Ordering::Less))),
    ("le", 2, 2, |call| Ok(Value::Bool(order(call)? != Ordering::Greater))),
    ("gt", 2, 2, |call| Ok(Value::Bool(order(call)? == Ordering::Greater))),
    ("ge", 2, 2, |call| Ok(Value::Bool(order(call)? != Ordering::Less))),
    ("print", 0, ANY, |call| call.made(printed(call, call.args)?)),
    ("println", 0, ANY, println),
    ("printf", 1, ANY, |call| call.made(printf(call.text(0)?, &call.args[1..], &call.run.work)?)),
    ("html", 0, ANY, |call| call.made(gotmpl::html_escape(&joined(call)?))),
    ("js", 0, ANY, |call| call.made(gotmpl::js_escape(&joined(call)?))),
    ("urlquery", 0, ANY, |call| call.made(gotmpl::url_encode(&joined(call)?))),
    ("call", 1, ANY, |call| Err(call.wrong(format!("non-function of type {}", call.arg(0).type_name())))),
];

fn len(call: &Call<'_>) -> Outcome<Value> {
    match call.arg(0).len() {
        Some(len) => Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX))),
        None => Err(call.wrong(format!("len of type {}", call.arg(0).type_name()))),
    }
}

fn index(call: &Call<'_>) -> Outcome<Value> {
    let mut value = call.arg(0).clone();
    for key in &call.args[1..] {
        let at = |len: usize| match key {
            Value::Int(at) => {
                let inside = usize::try_from(*at).ok().filter(|&at| at < len);
                inside.ok_or_else(|| call.wrong(format!("index out of range: {at}")))
            }
            other => Err(call.wrong(format!("cannot index slice/array with type {}", other.type_name()))),
        };
        value = match (&value, key) {
            (Value::Nil, _) => return Err(call.wrong("index of untyped nil")),
            (Value::Map(map), Value::Text(key)) => map.member(key).unwrap_or_default(),
            (Value::Map(_), other) => {
                return Err(call.wrong(format!("value has type {}; should be string", other.type_name())));
            }
            (Value::List(items), _) => items[at(items.len())?].clone(),
            (Value::Text(text), _) => Value::Int(text.as_bytes()[at(text.len())?].into()),
            (Value::Bytes(bytes), _) => Value::Int(bytes[at(bytes.len())?].into()),
            (Value::Object(object), _) => match (&**object, key) {
                (Object::Files(files), Value::Text(name)) => {
                    files.get(name).map_or(Value::Nil, |bytes| Value::Bytes(bytes.clone()))
                }
                (Object::ApiVersions(versions), _) => Value::text(versions[at(versions.len())?].as_str()),
                _ => return Err(call.wrong(format!("can't index item of type {}", value.type_name()))),
            },
            _ => return Err(call.wrong(format!("can't index item of type {}", value.type_name()))),
        };
    }
    Ok(value)
}

/// Whether the first argument equals one of the others.
fn eq(call: &Call<'_>) -> Outcome<Value> {
    for other in &call.args[1..] {
        if equal(call, call.arg(0), other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(call: &Call<'_>, a: &Value, b: &Value) -> Outcome<bool> {
    Ok(match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Object(_), _) | (_, Value::Object(_)) if a.whole().is_some() && b.whole().is_some() => {
            a.whole() == b.whole()
        }
        (Value::Object(_), Value::Object(_)) => a.deep_equal(b, &call.run.work)?,
        (Value::List(_) | Value::Map(_) | Value::Bytes(_), _) => {
            return Err(call.wrong(format!("uncomparable type {}", a.type_name())));
        }
        _ => return Err(call.wrong("incompatible types for comparison")),
    })
}

fn order(call: &Call<'_>) -> Outcome<Ordering> {
    match (call.arg(0), call.arg(1)) {
        (a, b) if let (Some(a), Some(b)) = (a.whole(), b.whole()) => Ok(a.cmp(&b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b).unwrap_or(Ordering::Greater)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (
            Value::Int(_) | Value::Float(_) | Value::Text(_),
            Value::Int(_) | Value::Float(_) | Value::Text(_),
        ) => Err(call.wrong("incompatible types for comparison")),
        _ => Err(call.wrong("invalid type for comparison")),
    }
}

/// `print`: spaces only between arguments that are both no texts.
fn printed(call: &Call<'_>, values: &[Value]) -> Outcome<String> {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if at > 0 && !is_text(value) && !is_text(&values[at - 1]) {
            out.push(' ');
        }
        out.push_str(&print(value, &call.run.work)?);
    }
    Ok(out)
}

fn println(call: &Call<'_>) -> Outcome<Value> {
    let words: Vec<String> =
        call.args.iter().map(|value| print(value, &call.run.work)).collect::<Outcome<_>>()?;
    call.made(words.join(" ") + "\n")
}

/// The arguments of an escaping function, which prints nothing as `<no value>`.
fn joined(call: &Call<'_>) -> Outcome<String> {
    match call.args {
        [Value::Nil] => Ok("<no value>".to_owned()),
        [one] => text_of(one, &call.run.work).map(|text| text.to_string()),
        several => {
            let shown = |value: &Value| match value {
                Value::Nil => Value::text("<no value>"),
                other => other.clone(),
            };
            printed(call, &several.iter().map(shown).collect::<Vec<_>>())
        }
    }
}
