//! Go structs that templates see: fields under Go's names, and under other names in JSON.

use serde_json::{Map as JsonMap, Value as Json};

use super::fault::Outcome;
use super::value::{Object, Value};
use super::work::Work;

/// A struct.
#[derive(Debug)]
pub(super) struct Record {
    /// Its type in Go, with a `*` where templates get a pointer.
    pub(super) type_name: &'static str,
    fields: Vec<Field>,
}

/// A field of a struct.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    /// Its name in JSON; none, if it is a struct whose fields count as the outer one's.
    json: &'static str,
    value: Value,
    /// Whether JSON has it even if it is empty.
    keeps_empty: bool,
}

impl Field {
    pub(super) fn of(name: &'static str, json: &'static str, value: Value) -> Self {
        Self { name, json, value, keeps_empty: false }
    }

    /// The same, in JSON even if it is empty.
    pub(super) fn kept(self) -> Self {
        Self { keeps_empty: true, ..self }
    }

    /// A struct that lends its fields to the one it is in.
    pub(super) fn embedded(name: &'static str, record: Record) -> Self {
        Self::of(name, "", Value::object(Object::Record(record)))
    }

    fn inner(&self) -> Option<&Record> {
        match &self.value {
            Value::Object(object) if self.json.is_empty() => match &**object {
                Object::Record(record) => Some(record),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Record {
    pub(super) fn new(type_name: &'static str, fields: Vec<Field>) -> Self {
        Self { type_name, fields }
    }

    /// A field by its name in Go.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let own = self.fields.iter().find(|field| field.name == name).map(|field| &field.value);
        own.or_else(|| self.fields.iter().filter_map(Field::inner).find_map(|inner| inner.get(name)))
    }

    /// The values in Go's order.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.fields.iter().map(|field| &field.value)
    }

    /// As Go's `encoding/json` writes it, but for the order.
    pub(super) fn to_json(&self, work: &Work) -> Outcome<Json> {
        let mut json = JsonMap::new();
        self.add_to(&mut json, work)?;
        Ok(Json::Object(json))
    }

    fn add_to(&self, json: &mut JsonMap<String, Json>, work: &Work) -> Outcome<()> {
        for field in &self.fields {
            if let Some(inner) = field.inner() {
                inner.add_to(json, work)?;
            } else if field.keeps_empty || field.value.is_true() {
                json.insert(field.json.to_owned(), field.value.to_json(work)?);
            }
        }
        Ok(())
    }
}
