//! Values of a rendering: Go's dynamic values, with maps that `set` changes in place.
//!
//! `gotmpl` has values too, but immutable ones; Helm charts share maps and write into them, so the evaluator has its
//! own. Nesting can be made as deep as a template likes, so nothing here recurses without a limit, dropping included.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

use super::fault::{Fault, Outcome};
use super::files::Files;
use super::records::Record;
use super::versions::Version;
use super::work::Work;

/// Deepest value that is printed, converted or compared.
const DEPTH_LIMIT: usize = 128;

/// Anything a pipeline can yield.
#[derive(Debug, Clone, Default)]
pub(super) enum Value {
    #[default]
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    /// `[]byte`: file contents.
    Bytes(Rc<[u8]>),
    List(Rc<List>),
    Map(Rc<Map>),
    /// Something with methods.
    Object(Rc<Object>),
}

/// Values of Go types that have methods or are printed in a way of their own.
#[derive(Debug)]
pub(super) enum Object {
    /// `.Files`
    Files(Files),
    /// `.Capabilities.APIVersions`
    ApiVersions(Vec<String>),
    /// `.Capabilities.KubeVersion`
    KubeVersion(Version),
    /// What `semver` makes.
    Version(Version),
    /// A point in time: seconds since 1970, UTC.
    Time(i64),
    /// A number with a name: a month, a day of the week, a duration in nanoseconds.
    Counted(Counted, i64),
    /// A struct: `.Chart` and what is in it.
    Record(Record),
}

/// What a number with a name counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// From January, 1.
    Month,
    /// From Sunday, 0.
    Weekday,
    /// Nanoseconds.
    Duration,
}

/// An immutable list.
#[derive(Debug, Default)]
pub(super) struct List {
    items: Vec<Value>,
    /// Nobody made it, as Go puts it: it is empty, and `null` in JSON.
    is_nil: bool,
}

/// A map that everybody who has it sees change.
#[derive(Debug, Default)]
pub(super) struct Map {
    entries: RefCell<BTreeMap<Rc<str>, Value>>,
    /// Whether it is one of strings for Go, whose value of a key that is not there is an empty one.
    is_of_texts: bool,
}

impl std::ops::Deref for List {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.items
    }
}

impl Drop for List {
    fn drop(&mut self) {
        drop_all(std::mem::take(&mut self.items));
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        drop_all(std::mem::take(self.entries.get_mut()).into_values().collect());
    }
}

/// Drops values without recursion: a template can nest a list a million deep.
fn drop_all(mut values: Vec<Value>) {
    while let Some(value) = values.pop() {
        match value {
            Value::List(list) => {
                if let Some(mut list) = Rc::into_inner(list) {
                    values.append(&mut list.items);
                }
            }
            Value::Map(map) => {
                if let Some(mut map) = Rc::into_inner(map) {
                    values.extend(std::mem::take(map.entries.get_mut()).into_values());
                }
            }
            _ => {}
        }
    }
}

impl Map {
    pub(super) fn get(&self, key: &str) -> Option<Value> {
        self.entries.borrow().get(key).cloned()
    }

    /// What a template sees under a key: nothing, or an empty text, where there is no such key.
    pub(super) fn member(&self, key: &str) -> Option<Value> {
        self.get(key).or_else(|| self.is_of_texts.then(|| Value::text("")))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.borrow().contains_key(key)
    }

    pub(super) fn set(&self, key: impl Into<Rc<str>>, value: Value) {
        // What is replaced is dropped after the borrow ends, because it may hold this map.
        let _old = self.entries.borrow_mut().insert(key.into(), value);
    }

    pub(super) fn remove(&self, key: &str) {
        let _old = self.entries.borrow_mut().remove(key);
    }

    pub(super) fn clear(&self) {
        let _old = self.entries.take();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// The entries as they are now, by key.
    pub(super) fn entries(&self) -> Vec<(Rc<str>, Value)> {
        self.entries.borrow().iter().map(|(key, value)| (Rc::clone(key), value.clone())).collect()
    }
}

impl FromIterator<(Rc<str>, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Rc<str>, Value)>>(entries: I) -> Self {
        Self { entries: RefCell::new(entries.into_iter().collect()), is_of_texts: false }
    }
}

impl Value {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(List { items, is_nil: false }))
    }

    /// A list that is `null` in JSON where it is empty: what Go's `append` gives.
    pub(super) fn list_or_nil(items: Vec<Self>) -> Self {
        Self::List(Rc::new(List { is_nil: items.is_empty(), items }))
    }

    pub(super) fn map(entries: impl IntoIterator<Item = (Rc<str>, Self)>) -> Self {
        Self::Map(Rc::new(entries.into_iter().collect()))
    }

    /// A map of strings, as Go has it.
    pub(super) fn map_of_texts(entries: impl IntoIterator<Item = (Rc<str>, Rc<str>)>) -> Self {
        let mut map: Map = entries.into_iter().map(|(key, text)| (key, Self::Text(text))).collect();
        map.is_of_texts = true;
        Self::Map(Rc::new(map))
    }

    pub(super) fn object(object: Object) -> Self {
        Self::Object(Rc::new(object))
    }

    pub(super) fn texts<T: Into<Rc<str>>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::list(items.into_iter().map(|item| Self::text(item)).collect())
    }

    /// The number of what is one in Go, with whatever name.
    pub(super) fn whole(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Object(object) => match &**object {
                Object::Counted(_, number) => Some(*number),
                _ => None,
            },
            _ => None,
        }
    }

    /// Length of what has one.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.len()),
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::List(list) => Some(list.len()),
            Self::Map(map) => Some(map.len()),
            Self::Object(object) => match &**object {
                Object::Files(files) => Some(files.len()),
                Object::ApiVersions(versions) => Some(versions.len()),
                _ => None,
            },
            Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) => None,
        }
    }

    /// Go's truth of a template, and the opposite of sprig's `empty`.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Object(object) if let Object::Counted(_, number) = &**object => *number != 0,
            _ => self.len() != Some(0),
        }
    }

    /// The Go type, for messages and `typeOf`.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Bytes(_) => "[]uint8",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Object(object) => object.type_name(),
        }
    }

    /// The Go kind, for `kindOf`.
    pub(super) fn kind_name(&self) -> &'static str {
        match self {
            Self::Nil => "invalid",
            Self::Bytes(_) | Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Object(object) => match &**object {
                Object::Files(_) => "map",
                Object::ApiVersions(_) => "slice",
                Object::Version(_) => "ptr",
                Object::Record(record) if record.type_name.starts_with('*') => "ptr",
                Object::KubeVersion(_) | Object::Time(_) | Object::Record(_) => "struct",
                Object::Counted(Counted::Duration, _) => "int64",
                Object::Counted(..) => "int",
            },
            _ => self.type_name(),
        }
    }

    /// A value of the rendering from data.
    pub(super) fn from_json(json: &Json) -> Self {
        // Go decodes every number of JSON as a float.
        Self::of_json(json, &|number| Self::Float(number.as_f64().unwrap_or_default()))
    }

    /// Values of a chart: those of YAML are floats, as all numbers of JSON are in Go, and those that were set integers.
    pub(super) fn from_values(json: &Json) -> Self {
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
    pub(super) fn to_json(&self, work: &Work) -> Outcome<Json> {
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
                Json::String(super::functions::base64(bytes))
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
    pub(super) fn deep_copy(&self, work: &Work) -> Outcome<Self> {
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
    pub(super) fn deep_equal(&self, other: &Self, work: &Work) -> Outcome<bool> {
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
    /// The Go type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Files(_) => "engine.files",
            Self::ApiVersions(_) => "chartutil.VersionSet",
            Self::KubeVersion(_) => "chartutil.KubeVersion",
            Self::Version(_) => "*semver.Version",
            Self::Time(_) => "time.Time",
            Self::Counted(Counted::Month, _) => "time.Month",
            Self::Counted(Counted::Weekday, _) => "time.Weekday",
            Self::Counted(Counted::Duration, _) => "time.Duration",
            Self::Record(record) => record.type_name,
        }
    }

    fn to_json(&self, work: &Work) -> Outcome<Json> {
        Ok(match self {
            Self::Files(files) => {
                let mut json = serde_json::Map::new();
                for (name, bytes) in files.iter() {
                    work.bytes(name.len() + bytes.len())?;
                    json.insert(name.to_owned(), Json::String(super::functions::base64(bytes)));
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
            Self::Time(seconds) => Json::String(super::functions::rfc3339(*seconds)),
            Self::Counted(_, number) => Json::from(*number),
            Self::Record(record) => record.to_json(work)?,
        })
    }
}

/// Refuses values that are nested deeper than recursion may go.
pub(super) fn check_depth(depth: usize) -> Outcome<()> {
    if depth > DEPTH_LIMIT { Err(Fault::limit("a value is nested too deeply")) } else { Ok(()) }
}
