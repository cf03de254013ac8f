//! YAML as Helm and Kubernetes' tools understand it: read into nodes that know their line, and turned into JSON by the
//! rules of YAML 1.1 that Go's libraries follow (`yes` is a boolean, `0644` is octal, numbers are 64-bit floats).
//!
//! It knows no Kubernetes kinds and no charts. Syntax is `granit-parser`'s; what a scalar means and how it is written
//! out again is ours, because no Rust library has Go's rules, and a chart's output depends on them.

mod emit;
mod scalar;

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};
use thiserror::Error;

pub(crate) use self::emit::to_yaml;
use self::scalar::{Scalar, resolve};
pub(crate) use self::scalar::{float_text, json_float, parse_int, short_float_text};

/// Most nodes of one text, aliases counted for what they stand for: more is an attack, not a manifest.
const NODE_LIMIT: usize = 1_000_000;
/// Most bytes that anchors and aliases copy: nodes are counted, and so are their texts here. Twice what so many nodes without
/// long texts take.
const COPY_LIMIT: usize = 128 << 20;
/// Deepest nesting, because nodes are walked by recursion.
const DEPTH_LIMIT: usize = 200;

/// A text that is not YAML, or is unreasonable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct YamlError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// A part of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Line it starts in, from 1.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// A scalar; only a plain one can be anything but text.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the text.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The text of a scalar that stands for a string.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, plain } if !plain || resolve(text) == Scalar::Text => Some(text),
            _ => None,
        }
    }

    /// The text of a scalar that is not null, whatever else it stands for.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, plain } if !plain || resolve(text) != Scalar::Null => Some(text),
            _ => None,
        }
    }

    /// The entries of a mapping; none of anything else.
    pub(crate) fn entries(&self) -> &[(Node, Node)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none of anything else.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The value under a key; the last one, if the key is there twice.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let is_key =
            |(name, _): &&(Node, Node)| matches!(&name.kind, Kind::Scalar { text, .. } if text == key);
        self.entries().iter().rev().find(is_key).map(|(_, value)| value)
    }

    /// The value under a key, or under that key in a mapping that `<<` names; not deeper, where texts could be made that take
    /// long to look through.
    pub(crate) fn get_merged(&self, key: &str) -> Option<&Self> {
        let merges = self.entries().iter().filter(|(name, _)| name.is_merge()).map(|(_, value)| value);
        let mut sources = merges.flat_map(|value| match &value.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        });
        self.get(key).or_else(|| sources.find_map(|source| source.get(key)))
    }

    /// The same as JSON, by Go's rules.
    ///
    /// # Errors
    /// Where JSON has no such value: infinite numbers, keys that are no scalars.
    pub(crate) fn to_json(&self) -> Result<Value, YamlError> {
        self.json(Numbers::Floats)
    }

    fn json(&self, numbers: Numbers) -> Result<Value, YamlError> {
        match &self.kind {
            Kind::Scalar { text, plain: false } => Ok(Value::String(text.clone())),
            Kind::Scalar { text, plain: true } => match resolve(text) {
                Scalar::Null => Ok(Value::Null),
                Scalar::Bool(value) => Ok(Value::Bool(value)),
                Scalar::Number(number) => numbers
                    .of(text, number)
                    .map(Value::Number)
                    .ok_or_else(|| self.wrong(format!("`{text}` is no number in JSON"))),
                Scalar::Text | Scalar::Timestamp => Ok(Value::String(text.clone())),
            },
            Kind::List(items) => items.iter().map(|item| item.json(numbers)).collect(),
            Kind::Map(entries) => {
                let mut map = Map::new();
                // In the order of the text: what `<<` brings in goes over what stands before it.
                for (key, value) in entries {
                    if key.is_merge() {
                        key.merge(value, numbers, &mut map)?;
                    } else {
                        map.insert(key.key()?, value.json(numbers)?);
                    }
                }
                Ok(Value::Object(map))
            }
        }
    }

    /// What `<<` brings in; of several mappings the first one wins.
    fn merge(&self, value: &Self, numbers: Numbers, map: &mut Map<String, Value>) -> Result<(), YamlError> {
        let sources = match &value.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        for source in sources.iter().rev() {
            match source.json(numbers)? {
                Value::Object(more) => map.extend(more),
                _ => return Err(self.wrong("`<<` needs a mapping".to_owned())),
            }
        }
        Ok(())
    }

    fn is_merge(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if text == "<<")
    }

    /// A key, spelled as Go spells what it stands for.
    fn key(&self) -> Result<String, YamlError> {
        match &self.kind {
            Kind::Scalar { text, plain: false } => Ok(text.clone()),
            Kind::Scalar { text, plain: true } => match resolve(text) {
                Scalar::Bool(value) => Ok(value.to_string()),
                Scalar::Number(number) => Ok(number_key(text, number)),
                Scalar::Null => Err(self.wrong("a key may not be null".to_owned())),
                Scalar::Text | Scalar::Timestamp => Ok(text.clone()),
            },
            _ => Err(self.wrong("a key must be a scalar".to_owned())),
        }
    }

    /// Memory that a copy takes, in bytes.
    fn bytes(&self) -> usize {
        let below = match &self.kind {
            Kind::Scalar { text, .. } => text.len(),
            Kind::List(items) => items.iter().map(Self::bytes).sum(),
            Kind::Map(entries) => entries.iter().map(|(key, value)| key.bytes() + value.bytes()).sum(),
        };
        size_of::<Self>() + below
    }

    fn wrong(&self, reason: String) -> YamlError {
        YamlError { line: self.line, reason }
    }
}

/// What numbers become.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    /// Floats, as all numbers of JSON are in Go.
    Floats,
    /// Whole numbers are told from floats, as they are before they become JSON.
    AsWritten,
}

impl Numbers {
    fn of(self, text: &str, number: f64) -> Option<serde_json::Number> {
        let whole = match self {
            Self::Floats => None,
            Self::AsWritten => parse_int(&text.replace('_', "")),
        };
        whole.and_then(serde_json::Number::from_i128).or_else(|| serde_json::Number::from_f64(number))
    }
}

/// A number as a key: whole ones as they are, others with the digits of a 32-bit float.
fn number_key(text: &str, number: f64) -> String {
    let whole = parse_int(&text.replace('_', ""));
    whole.map_or_else(|| short_float_text(number).replace("+Inf", ".inf"), |whole| whole.to_string())
}

/// All documents of a text.
///
/// # Errors
/// When it is not YAML, or expands to more than is reasonable.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut composer = Composer::default();
    composer.read(text, usize::MAX)?;
    Ok(composer.documents)
}

/// The first document of a text as JSON, as Go's `Unmarshal` reads it; null if there is none. What stands behind it is not
/// looked at, whatever it is.
///
/// # Errors
/// As [`documents`] and [`Node::to_json`].
pub(crate) fn from_yaml(text: &str) -> Result<Value, YamlError> {
    from_yaml_counted(text).0
}

/// As [`from_yaml`], with the bytes that anchors and aliases copied: a short text can have many, one that is refused in the
/// end as well.
pub(crate) fn from_yaml_counted(text: &str) -> (Result<Value, YamlError>, usize) {
    let (first, copied) = first_document(text);
    (first.and_then(|first| first.map_or(Ok(Value::Null), |first| first.to_json())), copied)
}

/// The same, with whole numbers as they are: for what Go decodes into texts, which tells `20210101` from `20210101.0`.
///
/// # Errors
/// As [`from_yaml`].
pub(crate) fn from_yaml_as_written(text: &str) -> Result<Value, YamlError> {
    let (first, _) = first_document(text);
    first?.map_or(Ok(Value::Null), |first| first.json(Numbers::AsWritten))
}

/// The first document of a text, if there is one, with the bytes that its anchors and aliases copied.
fn first_document(text: &str) -> (Result<Option<Node>, YamlError>, usize) {
    let mut composer = Composer::default();
    let read = composer.read(text, 1);
    (read.map(|()| composer.documents.pop()), composer.copied)
}

/// Makes nodes of events, with a list of open collections instead of recursion.
#[derive(Debug, Default)]
struct Composer {
    documents: Vec<Node>,
    open: Vec<Open>,
    /// By anchor: the node, its height, and how many nodes it is.
    anchors: HashMap<usize, (Node, usize, usize)>,
    nodes: usize,
    /// Bytes that anchors and aliases copied, or were to copy when it became too much.
    copied: usize,
}

#[derive(Debug)]
struct Open {
    node: Node,
    /// The key that waits for its value.
    key: Option<Node>,
    anchor: usize,
    height: usize,
    /// Nodes made before it.
    before: usize,
}

impl Composer {
    /// Reads up to so many documents.
    fn read(&mut self, text: &str, most: usize) -> Result<(), YamlError> {
        let mut options = Options::default();
        // libyaml, which Go's tools descend from, looks ahead as far, and ends a block with the text that it is in.
        options.simple_key_max_lookahead = 1024;
        options.block_scalar_eof_without_line_feed = true;
        for next in Parser::new_from_str_with_options(text, options) {
            let (event, span) =
                next.map_err(|error| YamlError { line: error.marker().line(), reason: error.info() })?;
            self.event(event, span.start.line())?;
            if self.documents.len() >= most {
                break;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = tag.map_or(style == ScalarStyle::Plain, |tag| is_resolved(&tag));
                let node = Node { line, kind: Kind::Scalar { text: text.into_owned(), plain } };
                self.keep(anchor, &node, 1, 1)?;
                self.place(node, 1, 1)
            }
            Event::SequenceStart(_, anchor, _) => self.start(Kind::List(Vec::new()), anchor, line),
            Event::MappingStart(_, anchor, _) => self.start(Kind::Map(Vec::new()), anchor, line),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let Some((node, height, count)) = self.anchors.get(&anchor) else {
                    return Err(YamlError {
                        line,
                        reason: "an alias stands inside what it names".to_owned(),
                    });
                };
                // Counted before it is copied: this is where small texts become large.
                if self.nodes + count > NODE_LIMIT {
                    return Err(too_large(line));
                }
                self.copied += node.bytes();
                if self.copied > COPY_LIMIT {
                    return Err(too_much(line));
                }
                let (node, height, count) = (Node { line, ..node.clone() }, *height, *count);
                self.place(node, height, count)
            }
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, kind: Kind, anchor: usize, line: usize) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH_LIMIT {
            return Err(YamlError { line, reason: format!("nested deeper than {DEPTH_LIMIT} levels") });
        }
        let before = self.nodes;
        self.nodes += 1;
        self.open.push(Open { node: Node { line, kind }, key: None, anchor, height: 0, before });
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlError> {
        let Some(Open { node, anchor, height, before, .. }) = self.open.pop() else { return Ok(()) };
        let (height, count) = (height + 1, self.nodes - before);
        self.keep(anchor, &node, height, count)?;
        self.place(node, height, 0)
    }

    /// Keeps a copy of what has an anchor. Anchors stand in each other: what is in many of them is copied as often.
    fn keep(&mut self, anchor: usize, node: &Node, height: usize, count: usize) -> Result<(), YamlError> {
        if anchor == 0 {
            return Ok(());
        }
        self.copied += node.bytes();
        if self.copied > COPY_LIMIT {
            return Err(too_much(node.line));
        }
        self.anchors.insert(anchor, (node.clone(), height, count));
        Ok(())
    }

    /// Puts a node where it belongs; `count` nodes of it are new.
    fn place(&mut self, node: Node, height: usize, count: usize) -> Result<(), YamlError> {
        self.nodes += count;
        if self.nodes > NODE_LIMIT {
            return Err(too_large(node.line));
        }
        if self.open.len() + height > DEPTH_LIMIT {
            return Err(node.wrong(format!("nested deeper than {DEPTH_LIMIT} levels")));
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        open.height = open.height.max(height);
        match &mut open.node.kind {
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => match open.key.take() {
                None => open.key = Some(node),
                Some(key) => entries.push((key, node)),
            },
            Kind::Scalar { .. } => {}
        }
        Ok(())
    }
}

fn too_large(line: usize) -> YamlError {
    YamlError { line, reason: format!("the text stands for more than {NODE_LIMIT} nodes") }
}

fn too_much(line: usize) -> YamlError {
    let reason = format!(
        "anchors and aliases copy more than {COPY_LIMIT} bytes; write what is large out, or leave it out"
    );
    YamlError { line, reason }
}

/// Tags of what is read as if it were plain, in quotes as well; any other makes text of whatever it looks like.
fn is_resolved(tag: &Tag) -> bool {
    ["null", "bool", "int", "float"].iter().any(|name| tag.is_yaml_core_schema_tag(name))
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
