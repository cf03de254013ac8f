//! Values walked as a whole: made of JSON and made JSON, copied, compared. What a template made is walked no deeper than
//! [`DEPTH_LIMIT`].

use std::rc::Rc;

use serde_json::Value as Json;

use super::{Object, Value};
use crate::helm::fault::{Fault, Outcome};
use crate::helm::functions;
use crate::helm::work::Work;

/// Deepest value that is printed, converted or compared.
const DEPTH_LIMIT: usize = 128;

impl Value {
    /// A value of the rendering from data.
    pub(in crate::helm) fn from_json(json: &Json) -> Self {
        // Go decodes every number of JSON as a float.
        Self::of_json(json, &|number| Self::Float(number.as_f64().unwrap_or_default()))
    }

    /// Values of a chart: those of YAML are floats, as all numbers of JSON are in Go, and those that were set integers.
    pub(in crate::helm) fn from_values(json: &Json) -> Self {
        Self::of_json(json, &|number| match number.as_i64() {
            Some(number) => Self::Int(number),
            None => Self::Float(number.as_f64().unwrap_or_default()),
        })
    }

    fn of_json(json: &Json, of_number: &dyn Fn(&serde_json::Number) -> Self) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => of_number(number),
            Json::String(text) => Self::text(text.as_str()),
            Json::Array(items) => {
                Self::list(items.iter().map(|item| Self::of_json(item, of_number)).collect())
            }
            Json::Object(map) => Self::map(
                map.iter().map(|(key, value)| (Rc::from(key.as_str()), Self::of_json(value, of_number))),
            ),
        }
    }

    /// The same as data.
    ///
    /// # Errors
    /// When it is nested too deeply, or is too much.
    pub(in crate::helm) fn to_json(&self, work: &Work) -> Outcome<Json> {
        self.json_below(work, 0)
    }

    fn json_below(&self, work: &Work, depth: usize) -> Outcome<Json> {
        check_depth(depth)?;
        // A node takes that much, and is indented by its depth where it is written.
        work.bytes(200 + 4 * depth)?;
        Ok(match self {
            Self::Nil => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(number) => Json::from(*number),
            Self::Float(number) => serde_json::Number::from_f64(*number)
                .map(Json::Number)
                .ok_or_else(|| Fault::failed("json: unsupported value: not a finite number"))?,
            Self::Text(text) => {
                work.bytes(text.len() * (1 + depth / 2))?;
                Json::String(text.to_string())
            }
            Self::Bytes(bytes) => {
                work.bytes(bytes.len())?;
                Json::String(functions::base64(bytes))
            }
            Self::List(items) if items.is_nil => Json::Null,
            Self::List(items) => Json::Array(
                items.iter().map(|item| item.json_below(work, depth + 1)).collect::<Outcome<_>>()?,
            ),
            Self::Map(map) => {
                let mut json = serde_json::Map::new();
                for (key, value) in map.entries() {
                    work.bytes(key.len())?;
                    json.insert(key.to_string(), value.json_below(work, depth + 1)?);
                }
                Json::Object(json)
            }
            Self::Object(object) => object.to_json(work)?,
        })
    }

    /// A copy that shares no map with this one.
    ///
    /// # Errors
    /// When it is nested too deeply, or is too much.
    pub(in crate::helm) fn deep_copy(&self, work: &Work) -> Outcome<Self> {
        self.copy_below(work, 0)
    }

    fn copy_below(&self, work: &Work, depth: usize) -> Outcome<Self> {
        check_depth(depth)?;
        work.bytes(32)?;
        Ok(match self {
            Self::List(items) if items.is_nil => self.clone(),
            Self::List(items) => {
                Self::list(items.iter().map(|item| item.copy_below(work, depth + 1)).collect::<Outcome<_>>()?)
            }
            Self::Map(map) => {
                let copy = |(key, value): (Rc<str>, Self)| Ok((key, value.copy_below(work, depth + 1)?));
                Self::map(map.entries().into_iter().map(copy).collect::<Outcome<Vec<_>>>()?)
            }
            other => other.clone(),
        })
    }

    /// `reflect.DeepEqual`.
    ///
    /// # Errors
    /// When it is nested too deeply, or is too much.
    pub(in crate::helm) fn deep_equal(&self, other: &Self, work: &Work) -> Outcome<bool> {
        self.equal_below(other, work, 0)
    }

    fn equal_below(&self, other: &Self, work: &Work, depth: usize) -> Outcome<bool> {
        check_depth(depth)?;
        work.step()?;
        Ok(match (self, other) {
            (Self::Nil, Self::Nil) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                if Rc::ptr_eq(a, b) {
                    return Ok(true);
                }
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    if !a.equal_below(b, work, depth + 1)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(a), Self::Map(b)) => {
                if Rc::ptr_eq(a, b) {
                    return Ok(true);
                }
                let (a, b) = (a.entries(), b.entries());
                if a.len() != b.len() {
                    return Ok(false);
                }
                for ((key, a), (other, b)) in a.iter().zip(&b) {
                    if key != other || !a.equal_below(b, work, depth + 1)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Object(a), Self::Object(b)) => Rc::ptr_eq(a, b) || a.to_json(work)? == b.to_json(work)?,
            _ => false,
        })
    }
}

impl Object {
    fn to_json(&self, work: &Work) -> Outcome<Json> {
        Ok(match self {
            Self::Files(files) => {
                let mut json = serde_json::Map::new();
                for (name, bytes) in files.iter() {
                    work.bytes(name.len() + bytes.len())?;
                    json.insert(name.to_owned(), Json::String(functions::base64(bytes)));
                }
                Json::Object(json)
            }
            Self::ApiVersions(versions) => versions.iter().map(String::as_str).collect(),
            Self::KubeVersion(version) => serde_json::json!({
                "Version": format!("v{version}"),
                "Major": version.major.to_string(),
                "Minor": version.minor.to_string(),
            }),
            Self::Version(version) => Json::String(version.to_string()),
            Self::Time(seconds) => Json::String(functions::rfc3339(*seconds)),
            Self::Counted(_, number) => Json::from(*number),
            Self::Record(record) => record.to_json(work)?,
        })
    }
}

/// Refuses values that are nested deeper than recursion may go.
pub(in crate::helm) fn check_depth(depth: usize) -> Outcome<()> {
    if depth > DEPTH_LIMIT { Err(Fault::limit("a value is nested too deeply")) } else { Ok(()) }
}
