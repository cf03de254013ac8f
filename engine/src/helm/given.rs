//! Values given to a chart from outside, brought together as Helm does: files in order, then what is set.

use serde_json::Value as Json;
use thiserror::Error;

use super::set::{SetError, set};
use super::values::Table;
use crate::yaml::{YamlError, from_yaml};

/// A text that is no values file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GivenError {
    /// It is a list or a scalar.
    #[error("no mapping")]
    NoMapping,
    /// It is no YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
}

/// Values given to a chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given(Table);

impl Given {
    /// Puts the values of a file over those that are there; mappings are united.
    ///
    /// # Errors
    /// When it is no YAML mapping. Nothing at all is an empty one.
    pub fn add_file(&mut self, text: &str) -> Result<(), GivenError> {
        match from_yaml(text.trim_start_matches('\u{feff}'))? {
            Json::Null => Ok(()),
            Json::Object(values) => {
                put_over(&mut self.0, values);
                Ok(())
            }
            _ => Err(GivenError::NoMapping),
        }
    }

    /// Sets values in the language of `--set`.
    ///
    /// # Errors
    /// When the text is wrong, or does not fit the values that are there.
    pub fn set(&mut self, text: &str) -> Result<(), SetError> {
        set(text, &mut self.0)
    }

    /// The values as [`super::render`] takes them: whole numbers that were set are integers, all others floats.
    pub fn to_json(&self) -> Json {
        Json::Object(self.0.clone())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn put_over(table: &mut Table, values: Table) {
    for (key, value) in values {
        match (table.get_mut(&key), value) {
            (Some(Json::Object(inner)), Json::Object(value)) => put_over(inner, value),
            (_, value) => _ = table.insert(key, value),
        }
    }
}
