//! Values that the charts of an application are rendered with, beside their own: as Helm brings them together, and as
//! they were given, for a `helm` that is asked.

use serde_json::Value as Json;
use solver::Hasher;
use thiserror::Error;

use crate::helm::{Given, GivenError, SetError};
use crate::yaml::YamlError;

/// Largest values file, in bytes: far more than people write.
pub(crate) const FILE_LIMIT: u64 = 16 << 20;

/// Values that cannot be given to a chart.
#[derive(Debug, Error)]
pub enum ValuesError {
    /// Something else than a file of the context.
    #[error("`{file}` is no file, and values are read of one")]
    NoFile {
        /// As named.
        file: String,
    },
    /// A file that is too large.
    #[error("the values file `{file}` is larger than {FILE_LIMIT} bytes")]
    LargeFile {
        /// As named.
        file: String,
    },
    /// A list or a scalar.
    #[error("the values file `{file}` is no YAML mapping")]
    NoMapping {
        /// As named.
        file: String,
    },
    /// No YAML at all.
    #[error("the values file `{file}` is no YAML: {source}")]
    Yaml {
        /// As named.
        file: String,
        /// Why.
        source: YamlError,
    },
    /// A text that sets nothing.
    #[error("`--set={text}`: {source}")]
    Set {
        /// The text.
        text: String,
        /// Why.
        source: SetError,
    },
}

/// Values for the charts of one application.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    together: Given,
    files: Vec<Vec<u8>>,
    set: Vec<String>,
}

impl Values {
    /// Puts a file over what is there.
    ///
    /// # Errors
    /// When it is no YAML mapping.
    pub(crate) fn add_file(&mut self, file: &str, bytes: Vec<u8>) -> Result<(), ValuesError> {
        self.together.add_file(&String::from_utf8_lossy(&bytes)).map_err(|error| match error {
            GivenError::NoMapping => ValuesError::NoMapping { file: file.to_owned() },
            GivenError::Yaml(source) => ValuesError::Yaml { file: file.to_owned(), source },
        })?;
        self.files.push(bytes);
        Ok(())
    }

    /// Sets what a text says.
    ///
    /// # Errors
    /// When it is not in the language of `--set`, or does not fit what is there.
    pub(crate) fn set(&mut self, text: &str) -> Result<(), ValuesError> {
        self.together.set(text).map_err(|source| ValuesError::Set { text: text.to_owned(), source })?;
        self.set.push(text.to_owned());
        Ok(())
    }

    /// Whether charts have nothing but their own values.
    pub(super) fn is_empty(&self) -> bool {
        self.together.is_empty()
    }

    /// All of them, as a chart takes them.
    pub(super) fn together(&self) -> Json {
        self.together.to_json()
    }

    /// The files as they were given, in order.
    pub(super) fn files(&self) -> &[Vec<u8>] {
        &self.files
    }

    /// The texts as they were given, in order.
    pub(super) fn texts(&self) -> &[String] {
        &self.set
    }

    /// What tells them from others, for what they lead to; none are told from none. Comments and the order of keys do
    /// not count, nor does what is given twice.
    pub(super) fn digest(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut hasher = Hasher::new("chart values");
        hasher.bytes(self.together().to_string().as_bytes());
        hasher.finish().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(files: &[&str], set: &[&str]) -> Values {
        let mut values = Values::default();
        for file in files {
            values.add_file("v.yaml", file.as_bytes().to_vec()).unwrap();
        }
        set.iter().for_each(|text| values.set(text).unwrap());
        values
    }

    #[test]
    fn values_are_told_from_others_by_what_they_say() {
        assert_eq!(values(&["# nothing\n"], &[]).digest(), values(&[], &[]).digest());
        let same = values(&["a: x\nb: y\n"], &[]).digest();
        assert_eq!(values(&["b: z # comment\n", "b: y"], &["a=x"]).digest(), same);
        // What is set is an integer, and prints as one.
        let others = [
            values(&["a: 1\n"], &[]),
            values(&[], &["a=1"]),
            values(&[], &["a=2"]),
            values(&["a: null\n"], &[]),
            values(&["a: x\nb: y\n"], &["c="]),
        ];
        let mut digests: Vec<_> = others.iter().map(Values::digest).chain([same, Vec::new()]).collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), others.len() + 2);
    }

    #[test]
    fn faulty_values_name_what_is_wrong_with_them() {
        let mut values = Values::default();
        let mut error =
            |text: &str| values.add_file("v.yaml", text.as_bytes().to_vec()).unwrap_err().to_string();
        assert_eq!(error("[1]"), "the values file `v.yaml` is no YAML mapping");
        assert!(error("a: [").starts_with("the values file `v.yaml` is no YAML: line 1"));
        assert_eq!(values.set("a").unwrap_err().to_string(), "`--set=a`: `a` has no value");
        assert!(values.is_empty() && values.files().is_empty() && values.texts().is_empty());
    }
}
