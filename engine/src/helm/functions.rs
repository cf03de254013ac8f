//! The functions of templates: Go's own, sprig's and Helm's, by family.
//!
//! Where Go gives a random or a present value, these give a fixed one: the output is looked through for container
//! images and must be the same every time. That is so for `now` (the beginning of 1970, UTC is the only zone), `rand*`,
//! `shuffle` (changes nothing), `uuidv4`, `gen*` keys and certificates, `bcrypt`, `htpasswd`; `lookup` finds nothing,
//! `getHostByName` neither. What only real cryptography answers (`derivePassword`, `encryptAES`, `decryptAES`) is
//! lacking, and says so.

mod builtins;
mod certificates;
mod data;
mod dates;
mod dicts;
mod encoding;
mod lists;
mod math;
mod merge;
mod paths;
mod patterns;
mod reflection;
mod regexes;
mod strings;
mod templates;
mod toml;
mod words;
mod wrapping;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use gotmpl::parse::Expr;

pub(super) use self::dates::{counted_text, go_time, later, rfc3339, time_zero, weekday, year_day};
pub(super) use self::encoding::base64;
use super::fault::{Fault, Outcome};
use super::print::text_of;
use super::templates::{Run, Scope};
use super::value::{Map, Object, Value};

/// A call from a template.
pub(super) struct Call<'a> {
    pub(super) run: &'a Run,
    /// The templates that `include` finds.
    pub(super) scope: &'a Scope<'a>,
    pub(super) name: &'a str,
    pub(super) args: &'a [Value],
    /// The arguments as they are written; one that is piped is not among them.
    pub(super) written: &'a [Expr],
}

/// What stands behind a name.
type Function = fn(&Call<'_>) -> Outcome<Value>;

/// Name, fewest and most arguments, function.
type Entry = (&'static str, usize, usize, Function);

/// Floats below it are integers of 64 bits, if they are whole.
const INTEGERS: f64 = 9_223_372_036_854_775_808.0;

/// As many arguments as one likes.
const ANY: usize = usize::MAX;

static TABLE: LazyLock<HashMap<&str, (usize, usize, Function)>> = LazyLock::new(|| {
    let families: [&[Entry]; 15] = [
        builtins::TABLE,
        certificates::TABLE,
        data::TABLE,
        dates::TABLE,
        dicts::TABLE,
        encoding::TABLE,
        lists::TABLE,
        math::TABLE,
        merge::TABLE,
        paths::TABLE,
        reflection::TABLE,
        regexes::TABLE,
        strings::TABLE,
        templates::TABLE,
        words::TABLE,
    ];
    let entries = families.iter().copied().flatten();
    entries.map(|&(name, fewest, most, function)| (name, (fewest, most, function))).collect()
});

/// All names, sorted.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = TABLE.keys().copied().collect();
    names.sort_unstable();
    names
}

/// Runs a function.
///
/// # Errors
/// When there is none of that name, or what it says.
pub(super) fn call(call: &Call<'_>) -> Outcome<Value> {
    let Some((fewest, most, function)) = TABLE.get(call.name) else {
        return Err(Fault::lacking(format!("the function `{}`", call.name)));
    };
    call.run.work.step()?;
    let given = call.args.len();
    if given < *fewest || given > *most {
        let wanted = match (fewest, most) {
            (fewest, &ANY) => format!("at least {fewest}"),
            (fewest, most) if fewest == most => fewest.to_string(),
            (fewest, most) => format!("{fewest} to {most}"),
        };
        return Err(call.wrong(format!("wrong number of args: want {wanted} got {given}")));
    }
    function(call)
}

impl Call<'_> {
    fn wrong(&self, reason: impl std::fmt::Display) -> Box<Fault> {
        Fault::failed(format!("error calling {}: {reason}", self.name))
    }

    fn mismatch(&self, expected: &str, got: &Value) -> Box<Fault> {
        match got {
            Value::Nil => self.wrong(format!("invalid value; expected {expected}")),
            got => self.wrong(format!("wrong type for value; expected {expected}; got {}", got.type_name())),
        }
    }

    /// An argument; nothing where there is none.
    fn arg(&self, at: usize) -> &Value {
        const NIL: &Value = &Value::Nil;
        self.args.get(at).unwrap_or(NIL)
    }

    /// An argument that Go declares a string.
    fn text(&self, at: usize) -> Outcome<&Rc<str>> {
        match self.arg(at) {
            Value::Text(text) => Ok(text),
            other => Err(self.mismatch("string", other)),
        }
    }

    /// Anything as text, as sprig's `strval` makes it.
    fn any_text(&self, at: usize) -> Outcome<Rc<str>> {
        text_of(self.arg(at), &self.run.work)
    }

    /// An argument that Go declares an integer. A constant may be written as a float if it is whole.
    fn int(&self, at: usize) -> Outcome<i64> {
        match self.arg(at) {
            Value::Int(number) => Ok(*number),
            Value::Float(number)
                if matches!(self.written.get(at), Some(Expr::Number(..)))
                    && number.fract() == 0.0
                    && number.abs() < INTEGERS =>
            {
                Ok(*number as i64)
            }
            other => Err(self.mismatch("int", other)),
        }
    }

    /// The same as a count or length that cannot be negative.
    fn count(&self, at: usize) -> Outcome<usize> {
        let number = self.int(at)?;
        usize::try_from(number).map_err(|_| self.wrong(format!("{number} is negative")))
    }

    /// Anything as an integer, zero if it looks like none.
    fn number(&self, at: usize) -> i64 {
        math::to_int(self.arg(at))
    }

    /// Anything as a float.
    fn float(&self, at: usize) -> f64 {
        math::to_float(self.arg(at))
    }

    /// An argument that Go declares a map; nothing is an empty one.
    fn map(&self, at: usize) -> Outcome<Rc<Map>> {
        match self.arg(at) {
            Value::Map(map) => Ok(Rc::clone(map)),
            Value::Nil => Ok(Rc::default()),
            other => Err(self.mismatch("map[string]interface {}", other)),
        }
    }

    /// The items of an argument that must be a list.
    fn items(&self, at: usize) -> Outcome<Vec<Value>> {
        match self.arg(at) {
            Value::List(items) => {
                self.run.work.bytes(items.len() * size_of::<Value>())?;
                Ok(items.to_vec())
            }
            Value::Bytes(bytes) => {
                self.run.work.bytes(bytes.len() * size_of::<Value>())?;
                Ok(bytes.iter().map(|&byte| Value::Int(byte.into())).collect())
            }
            Value::Object(object) if let Object::ApiVersions(versions) = &**object => {
                Ok(versions.iter().map(|version| Value::text(version.as_str())).collect())
            }
            other => Err(self.wrong(format!("not possible on type {}", other.kind_name()))),
        }
    }

    /// Items as texts, as sprig's `strslice` makes them: nothing in them is left out, what is no list is one.
    fn texts(&self, at: usize) -> Outcome<Vec<Rc<str>>> {
        let work = &self.run.work;
        match self.arg(at) {
            Value::Nil => Ok(Vec::new()),
            Value::List(_) | Value::Object(_) if let Ok(items) = self.items(at) => items
                .iter()
                .filter(|item| !matches!(item, Value::Nil))
                .map(|item| text_of(item, work))
                .collect(),
            other => Ok(vec![text_of(other, work)?]),
        }
    }

    /// A text that was made.
    fn made(&self, text: impl Into<Rc<str>>) -> Outcome<Value> {
        let text = text.into();
        self.run.work.bytes(text.len())?;
        Ok(Value::Text(text))
    }

    /// A list that was made.
    fn listed(&self, items: Vec<Value>) -> Outcome<Value> {
        self.run.work.bytes(items.len() * size_of::<Value>())?;
        Ok(Value::list(items))
    }

    /// The same of a function that gives Go's nil where nothing comes together.
    fn listed_or_nil(&self, items: Vec<Value>) -> Outcome<Value> {
        self.run.work.bytes(items.len() * size_of::<Value>())?;
        Ok(Value::list_or_nil(items))
    }
}
