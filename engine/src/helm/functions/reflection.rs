//! What a value is, and what stands in for one that is empty.

use std::rc::Rc;

use super::{ANY, Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("default", 1, ANY, default),
    ("empty", 1, 1, |call| Ok(Value::Bool(!call.arg(0).is_true()))),
    ("coalesce", 0, ANY, |call| {
        Ok(call.args.iter().find(|value| value.is_true()).cloned().unwrap_or_default())
    }),
    ("all", 0, ANY, |call| Ok(Value::Bool(call.args.iter().all(Value::is_true)))),
    ("any", 0, ANY, |call| Ok(Value::Bool(call.args.iter().any(Value::is_true)))),
    ("ternary", 3, 3, ternary),
    ("typeOf", 1, 1, |call| Ok(Value::text(call.arg(0).type_name()))),
    ("typeIs", 2, 2, |call| Ok(Value::Bool(call.arg(1).type_name() == &**call.text(0)?))),
    ("typeIsLike", 2, 2, type_is_like),
    ("kindOf", 1, 1, |call| Ok(Value::text(call.arg(0).kind_name()))),
    ("kindIs", 2, 2, kind_is),
    ("deepEqual", 2, 2, |call| Ok(Value::Bool(call.arg(0).deep_equal(call.arg(1), &call.run.work)?))),
    ("deepCopy", 1, 1, |call| call.arg(0).deep_copy(&call.run.work)),
    ("mustDeepCopy", 1, 1, |call| call.arg(0).deep_copy(&call.run.work)),
    ("toString", 1, 1, |call| Ok(Value::Text(call.any_text(0)?))),
];

fn default(call: &Call<'_>) -> Outcome<Value> {
    let given = call.arg(1);
    Ok(if given.is_true() { given.clone() } else { call.arg(0).clone() })
}

fn ternary(call: &Call<'_>) -> Outcome<Value> {
    match call.arg(2) {
        Value::Bool(true) => Ok(call.arg(0).clone()),
        Value::Bool(false) => Ok(call.arg(1).clone()),
        other => Err(call.mismatch("bool", other)),
    }
}

fn type_is_like(call: &Call<'_>) -> Outcome<Value> {
    let (wanted, found) = (call.text(0)?, call.arg(1).type_name());
    Ok(Value::Bool(&**wanted == found || format!("*{wanted}") == found))
}

fn kind_is(call: &Call<'_>) -> Outcome<Value> {
    let wanted: &Rc<str> = call.text(0)?;
    let found = call.arg(1).kind_name();
    // Results of arithmetic are 64-bit integers in Go; here they are not told from other integers.
    Ok(Value::Bool(&**wanted == found || (found == "int" && &**wanted == "int64")))
}
