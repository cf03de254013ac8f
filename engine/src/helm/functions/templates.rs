//! Functions that run templates, and those by which a chart refuses its values.

use std::rc::Rc;

use super::{Call, Entry};
use crate::helm::fault::{Fault, Outcome};
use crate::helm::templates::{Scope, Templates};
use crate::helm::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("include", 2, 2, |call| Ok(Value::text(call.scope.execute(call.run, call.text(0)?, call.arg(1))?))),
    ("tpl", 2, 2, tpl),
    ("required", 2, 2, required),
    ("fail", 1, 1, |call| Err(call.wrong(call.text(0)?))),
    ("lookup", 4, 4, |call| (0..4).try_for_each(|at| call.text(at).map(drop)).map(|()| Value::map([]))),
    ("getHostByName", 1, 1, |_| Ok(Value::text(""))),
    ("env", 1, 1, no_environment),
    ("expandenv", 1, 1, no_environment),
    ("hello", 0, 0, |_| Ok(Value::text("Hello!"))),
    ("derivePassword", 5, 5, needs_cryptography),
    ("encryptAES", 2, 2, needs_cryptography),
    ("decryptAES", 2, 2, needs_cryptography),
];

/// A text of the values that is a template itself; what it defines is known in it alone.
fn tpl(call: &Call<'_>) -> Outcome<Value> {
    let text = call.text(0)?;
    if !text.contains("{{") {
        return Ok(Value::Text(Rc::clone(text)));
    }
    call.run.work.bytes(text.len())?;
    let name: Rc<str> = "tpl".into();
    let mut own = Templates::default();
    own.parse(&name, text)?;
    let scope = Scope { own: &own, outer: Some(call.scope) };
    let out = scope.execute(call.run, &name, call.arg(1))?;
    call.made(out.replace("<no value>", ""))
}

fn required(call: &Call<'_>) -> Outcome<Value> {
    let message = call.text(0)?;
    match call.arg(1) {
        Value::Nil => Err(call.wrong(message)),
        Value::Text(text) if text.is_empty() => Err(call.wrong(message)),
        value => Ok(value.clone()),
    }
}

/// Helm removes them: a chart must not see the environment.
fn no_environment(call: &Call<'_>) -> Outcome<Value> {
    Err(call.wrong("function not defined"))
}

fn needs_cryptography(call: &Call<'_>) -> Outcome<Value> {
    Err(Fault::lacking(format!("the function `{}`", call.name)))
}
