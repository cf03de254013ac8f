//! Values of a rendering: Go's dynamic values, with maps that `set` changes in place.
//!
//! `gotmpl` has values too, but immutable ones; Helm charts share maps and write into them, so the evaluator has its
//! own. Nesting can be made as deep as a template likes, so nothing here recurses without a limit, dropping included.

mod walk;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::files::Files;
use super::records::Record;
use super::versions::Version;

pub(super) use self::walk::check_depth;

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
}
