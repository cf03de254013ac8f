//! `config.toml`: settings of a user or a machine. Flags and the environment are stronger.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::report::{Failure, Page};
use crate::settings;

/// What the file may hold: the flags' own names, and the variable of each.
pub(crate) const KEYS: [(&str, &str); 10] = [
    ("root", "SEALER_ROOT"),
    ("color", "SEALER_COLOR"),
    ("error-format", "SEALER_ERROR_FORMAT"),
    ("strict", "SEALER_STRICT"),
    ("progress", "SEALER_PROGRESS"),
    ("jobs", "SEALER_JOBS"),
    ("compression", "SEALER_COMPRESSION"),
    ("timestamp", "SOURCE_DATE_EPOCH"),
    ("max-download", "SEALER_MAX_DOWNLOAD"),
    ("insecure-registry", "SEALER_INSECURE_REGISTRY"),
];
/// What may be a list.
const LIST: &str = "insecure-registry";
/// Commands that take all of them.
const TUNED: [&str; 3] = ["build", "config", "graph"];
/// What `cache export` takes: it looks for layers as builds make them.
const EXPORTED: [&str; 2] = ["compression", "timestamp"];
/// Largest file read, in bytes.
const LIMIT: u64 = 1 << 20;

/// The settings of a file.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    values: BTreeMap<&'static str, OsString>,
}

impl ConfigFile {
    /// The file named, or the first of the usual ones that exists.
    pub(crate) fn find(given: Option<&Path>) -> Result<Option<Self>, Failure> {
        if let Some(path) = given {
            return Self::read(path).map(Some);
        }
        settings::config_files().iter().find(|path| path.exists()).map(|path| Self::read(path)).transpose()
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let fail = |reason: String| {
            Failure::from(Page::error(
                "config",
                format!("the settings in `{shown}` cannot be used: {reason}"),
            ))
        };
        if fs_err::metadata(path).map_err(|error| fail(error.to_string()))?.len() > LIMIT {
            return Err(fail(format!("the file is larger than {LIMIT} bytes")));
        }
        let text = fs_err::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| fail(error.to_string()))?;
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let Some((key, _)) = KEYS.iter().find(|(known, _)| *known == key) else {
                let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
                return Err(fail(format!("there is no setting `{key}`"))
                    .hint(format!("settings are {}", known.join(", "))));
            };
            let value = text_of(key, value).map_err(fail)?;
            let named = format!("`{key}` is a setting of `{shown}`");
            check(key, &value).map_err(|failure| failure.hint(named))?;
            let value = match *key {
                "root" => settings::path_in(path, &value).into_os_string(),
                _ => value.into(),
            };
            values.insert(*key, value);
        }
        Ok(Self { path: path.to_owned(), values })
    }

    /// Makes the settings the defaults of the flags, so that they are checked as flags are.
    pub(crate) fn apply(&self, mut command: Command) -> Command {
        for (key, value) in &self.values {
            let id = id(key);
            let set = |command: Command| command.mut_arg(id.as_str(), |arg| arg.default_value(value.clone()));
            if command.get_arguments().any(|arg| arg.get_id() == id.as_str()) {
                command = set(command);
                continue;
            }
            for name in TUNED {
                if command.find_subcommand(name).is_some() {
                    command = command.mut_subcommand(name, set);
                }
            }
            if EXPORTED.contains(key) && command.find_subcommand("cache").is_some() {
                command = command.mut_subcommand("cache", |cache| cache.mut_subcommand("export", set));
            }
        }
        command
    }

    /// What clap says of a wrong value, told as the file's fault.
    pub(crate) fn blame(&self, error: &clap::Error) -> Failure {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Page::error("config", format!("the settings in `{}` cannot be used: {first}", self.path.display()))
            .into()
    }
}

/// A value as its flag takes it.
fn text_of(key: &str, value: toml::Value) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("`{key}` is {what}, not a text or number"));
    match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(value) => Ok(value.to_string()),
        toml::Value::Array(all) if key == LIST => {
            let texts: Option<Vec<&str>> = all.iter().map(toml::Value::as_str).collect();
            texts.map_or_else(|| wrong("a list of more than texts"), |texts| Ok(texts.join(",")))
        }
        toml::Value::Array(_) => wrong("a list"),
        toml::Value::Table(_) => wrong("a table"),
        toml::Value::Float(_) => wrong("a fraction"),
        toml::Value::Datetime(_) => wrong("a date"),
    }
}

/// Says what clap does not find: it takes these as texts.
fn check(key: &str, value: &str) -> Result<(), Failure> {
    match key {
        "compression" => settings::compression(value).map(drop),
        "timestamp" => settings::times(Some(value)).map(drop),
        "max-download" => settings::size(value).map(drop),
        _ => Ok(()),
    }
}

/// Where a setting's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Environment(&'static str),
    File(PathBuf),
    Default,
}

/// Where the value of a key comes from, by what clap saw.
pub(crate) fn origin(key: &str, matches: &ArgMatches, file: Option<&ConfigFile>) -> Origin {
    let variable = KEYS.iter().find(|(known, _)| *known == key).map_or("", |(_, variable)| *variable);
    match matches.value_source(&id(key)) {
        Some(ValueSource::CommandLine) => Origin::Flag,
        Some(ValueSource::EnvVariable) => Origin::Environment(variable),
        _ => match file.filter(|file| file.values.contains_key(key)) {
            Some(file) => Origin::File(file.path.clone()),
            None => Origin::Default,
        },
    }
}

fn id(key: &str) -> String {
    key.replace('-', "_")
}
