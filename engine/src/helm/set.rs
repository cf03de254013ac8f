//! The language of Helm's `--set` (`strvals`): `a.b=c`, `a[0].b=1`, `a={b,c}`, pairs with commas between them.
//!
//! A `\` takes the meaning of what follows it; words are what [`typed`] makes of them. Where Helm drops what it reads
//! without a word (`=1`, `a[0]`), this is an error. Later values are put into those that are there already.

use serde_json::Value as Json;
use thiserror::Error;

use super::values::Table;

/// Largest index: Helm's own limit, since what comes before is filled up with nothing.
const INDEX_LIMIT: usize = 65_536;
/// Deepest nesting below the first part of a name: Helm's own limit, though it does not count indices.
const DEPTH_LIMIT: usize = 30;

/// A text that sets nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SetError {
    /// No `=` comes.
    #[error("`{0}` has no value")]
    NoValue(String),
    /// Nothing stands before `=`, `.` or `[`.
    #[error("a name is missing")]
    NoName,
    /// A list without its end.
    #[error("a list must end with `}}`")]
    OpenList,
    /// Something else than a number in brackets, or no end of them.
    #[error("`{0}` is no index of a list")]
    Index(String),
    /// More than there may be.
    #[error("the index {0} is larger than {INDEX_LIMIT}")]
    LargeIndex(usize),
    /// Something between `]` and what may come after it.
    #[error("`{0}` stands behind an index")]
    BehindIndex(String),
    /// A name in something that has none.
    #[error("`{0}` is no mapping")]
    NoMapping(String),
    /// An index of something that has none.
    #[error("`{0}` is no list")]
    NoList(String),
    /// A name of more parts than is reasonable.
    #[error("a name is nested deeper than {DEPTH_LIMIT} levels")]
    TooDeep,
}

/// Sets what a text says in a table.
///
/// # Errors
/// Where the text is wrong, or does not fit what is there; the table has then what came before.
pub(super) fn set(text: &str, table: &mut Table) -> Result<(), SetError> {
    let mut parser = Parser { rest: text };
    while !parser.rest.is_empty() {
        parser.name(table, 0)?;
    }
    Ok(())
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    /// Reads up to one of some characters, which is taken too; `None` if the text ends first.
    fn until(&mut self, stops: &[char]) -> (String, Option<char>) {
        let mut word = String::new();
        while let Some(c) = self.next() {
            match c {
                c if stops.contains(&c) => return (word, Some(c)),
                '\\' => word.extend(self.next()),
                c => word.push(c),
            }
        }
        (word, None)
    }

    /// One name with its value.
    fn name(&mut self, table: &mut Table, depth: usize) -> Result<(), SetError> {
        check_depth(depth)?;
        let (name, stop) = self.until(&['=', '[', ',', '.']);
        let stop = match stop {
            None | Some(',') => return Err(SetError::NoValue(name)),
            Some(_) if name.is_empty() => return Err(SetError::NoName),
            Some(stop) => stop,
        };
        if stop == '=' {
            let value = self.value()?;
            table.insert(name, value);
            return Ok(());
        }
        if stop == '[' {
            let list = table.entry(name.clone()).or_insert_with(|| Json::Array(Vec::new()));
            return self.item(list, &name, depth + 1);
        }
        // A `null` that is there already is no mapping either, for Helm.
        match table.entry(name.clone()).or_insert_with(|| Json::Object(Table::new())) {
            Json::Object(inner) => self.name(inner, depth + 1),
            _ => Err(SetError::NoMapping(name)),
        }
    }

    /// One item of a list, from its index on.
    fn item(&mut self, list: &mut Json, name: &str, depth: usize) -> Result<(), SetError> {
        check_depth(depth)?;
        let Json::Array(items) = list else {
            return Err(SetError::NoList(name.to_owned()));
        };
        let index = match self.until(&[']']) {
            (digits, Some(_)) => digits.parse::<usize>().map_err(|_| SetError::Index(digits))?,
            (digits, None) => return Err(SetError::Index(digits)),
        };
        if index > INDEX_LIMIT {
            return Err(SetError::LargeIndex(index));
        }
        let name = format!("{name}[{index}]");
        let stop = match self.until(&['[', '.', '=']) {
            (behind, _) if !behind.is_empty() => return Err(SetError::BehindIndex(behind)),
            (_, None) => return Err(SetError::NoValue(name)),
            (_, Some(stop)) => stop,
        };
        if items.len() <= index {
            items.resize(index + 1, Json::Null);
        }
        let item = &mut items[index];
        match stop {
            '=' => {
                *item = self.value()?;
                Ok(())
            }
            '[' => {
                if item.is_null() {
                    *item = Json::Array(Vec::new());
                }
                self.item(item, &name, depth + 1)
            }
            _ => {
                // Unlike under a name, what is no mapping gives way to one.
                if !item.is_object() {
                    *item = Json::Object(Table::new());
                }
                let Json::Object(inner) = item else { return Err(SetError::NoMapping(name)) };
                self.name(inner, depth + 1)
            }
        }
    }

    fn value(&mut self) -> Result<Json, SetError> {
        let Some(items) = self.rest.strip_prefix('{') else {
            return Ok(typed(self.until(&[',']).0));
        };
        self.rest = items;
        let mut list = Vec::new();
        loop {
            let (word, stop) = self.until(&[',', '}']);
            let Some(stop) = stop else { return Err(SetError::OpenList) };
            list.push(typed(word));
            if stop == '}' {
                self.rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
                return Ok(Json::Array(list));
            }
        }
    }
}

/// What a word stands for: `true`, `false` and `null` in any case, and whole numbers that begin with no zero.
fn typed(word: String) -> Json {
    if word.eq_ignore_ascii_case("true") {
        return Json::Bool(true);
    }
    if word.eq_ignore_ascii_case("false") {
        return Json::Bool(false);
    }
    if word.eq_ignore_ascii_case("null") {
        return Json::Null;
    }
    let is_number = word == "0" || !word.starts_with('0');
    match word.parse::<i64>() {
        Ok(number) if is_number => Json::from(number),
        _ => Json::String(word),
    }
}

fn check_depth(depth: usize) -> Result<(), SetError> {
    if depth > DEPTH_LIMIT { Err(SetError::TooDeep) } else { Ok(()) }
}
