//! `.Files`: the files of a chart that are neither templates nor its own papers.

use std::collections::BTreeMap;
use std::rc::Rc;

use regex::Regex;
use serde_json::{Map as JsonMap, Value as Json};

use super::fault::Outcome;
use super::functions::base64;
use super::work::Work;
use crate::yaml::to_yaml;

/// Files by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(BTreeMap<String, Rc<[u8]>>);

impl FromIterator<(String, Rc<[u8]>)> for Files {
    fn from_iter<I: IntoIterator<Item = (String, Rc<[u8]>)>>(files: I) -> Self {
        Self(files.into_iter().collect())
    }
}

impl Files {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Rc<[u8]>)> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Rc<[u8]>> {
        self.0.get(name)
    }

    /// A file as text; nothing is the empty text.
    pub(super) fn text(&self, name: &str, work: &Work) -> Outcome<String> {
        let Some(bytes) = self.0.get(name) else { return Ok(String::new()) };
        work.bytes(bytes.len())?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The files whose names match; all of them, if the pattern is none.
    pub(super) fn glob(&self, pattern: &str, work: &Work) -> Outcome<Self> {
        work.steps(self.0.len())?;
        let Some(regex) = glob(pattern) else { return Ok(self.clone()) };
        let matching = self.0.iter().filter(|(name, _)| regex.is_match(name));
        Ok(matching.map(|(name, bytes)| (name.clone(), Rc::clone(bytes))).collect())
    }

    /// YAML of base name and content, for a `ConfigMap`.
    pub(super) fn as_config(&self, work: &Work) -> Outcome<String> {
        self.as_map(work, |bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// YAML of base name and encoded content, for a `Secret`.
    pub(super) fn as_secrets(&self, work: &Work) -> Outcome<String> {
        self.as_map(work, base64)
    }

    fn as_map(&self, work: &Work, content: impl Fn(&[u8]) -> String) -> Outcome<String> {
        let mut map = JsonMap::new();
        for (name, bytes) in &self.0 {
            work.bytes(3 * bytes.len() + name.len())?;
            let name = name.rsplit('/').next().unwrap_or(name);
            map.insert(name.to_owned(), Json::String(content(bytes)));
        }
        Ok(to_yaml(&Json::Object(map)).trim_end_matches('\n').to_owned())
    }
}

/// A pattern of `gobwas/glob` with `/` between parts: `*`, `**`, `?`, `[a-z]`, `[!a-z]`, `{a,b}`, `\` before any of
/// them.
fn glob(pattern: &str) -> Option<Regex> {
    let mut regex = String::from("(?s)^");
    let mut chars = pattern.chars().peekable();
    let mut braces = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => regex.push_str(".*"),
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '{' => {
                braces += 1;
                regex.push_str("(?:");
            }
            '}' => {
                braces = braces.checked_sub(1)?;
                regex.push(')');
            }
            ',' if braces > 0 => regex.push('|'),
            '[' => {
                regex.push('[');
                if chars.next_if_eq(&'!').is_some() {
                    regex.push('^');
                }
                loop {
                    match chars.next()? {
                        ']' => break,
                        '-' => regex.push('-'),
                        c => regex.push_str(&regex::escape(&c.to_string())),
                    }
                }
                regex.push(']');
            }
            '\\' => regex.push_str(&regex::escape(&chars.next()?.to_string())),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    Regex::new(&regex).ok()
}
