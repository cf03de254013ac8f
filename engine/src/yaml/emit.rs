//! Writes YAML as Go's `yaml.v2` does, which Helm's `toYaml` is: sorted keys, sequences not indented below their key,
//! the same quotes, and long lines folded at column 80.
//!
//! The text matters and not only its meaning: charts put it into block scalars, and checksums are made of it.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::scalar::{Scalar, float_text, json_float, resolve};

/// Column after which a space becomes a line break.
const BEST_WIDTH: usize = 80;
/// A longer key needs the `? ` form.
const SIMPLE_KEY_LIMIT: usize = 128;

/// A value as YAML, with a line break at its end.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut emitter = Emitter { out: String::new(), column: 0, indentation: true, whitespace: true };
    emitter.node(value, 0, Place::Root);
    emitter.out.push('\n');
    emitter.out
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    /// Behind `- `, or the `: ` of a key in a line of its own.
    Item,
    /// Behind `key:`.
    Value,
}

struct Emitter {
    out: String,
    column: usize,
    /// Only indentation, `-` and `?` stand in this line so far.
    indentation: bool,
    /// What was written last is blank.
    whitespace: bool,
}

impl Emitter {
    /// Writes a value whose lines are indented by `indent`.
    fn node(&mut self, value: &Value, indent: usize, place: Place) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                let indent = if place == Place::Root { 0 } else { indent + 2 };
                self.map(map, indent);
            }
            Value::Array(items) if !items.is_empty() => {
                // A sequence stands at the indentation of its key, but deeper than the `-` it follows.
                let indent = if place == Place::Item { indent + 2 } else { indent };
                for item in items {
                    self.line(indent);
                    self.indicator("-");
                    self.node(item, indent, Place::Item);
                }
            }
            Value::Object(_) => self.word("{}"),
            Value::Array(_) => self.word("[]"),
            Value::Null => self.word("null"),
            Value::Bool(value) => self.word(if *value { "true" } else { "false" }),
            Value::Number(number) => self.word(&number_text(number)),
            Value::String(text) => self.scalar(text, indent + 2, false),
        }
    }

    fn map(&mut self, map: &Map<String, Value>, indent: usize) {
        let mut entries: Vec<(&String, &Value)> = map.iter().collect();
        entries.sort_by(|(a, _), (b, _)| natural(a, b));
        for (key, value) in entries {
            self.line(indent);
            if key.len() > SIMPLE_KEY_LIMIT || key.contains('\n') {
                self.indicator("?");
                self.scalar(key, indent + 2, false);
                self.line(indent);
                self.indicator(":");
                self.node(value, indent, Place::Item);
            } else {
                self.scalar(key, indent, true);
                self.put(":");
                (self.indentation, self.whitespace) = (false, false);
                self.node(value, indent, Place::Value);
            }
        }
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn put_char(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    fn break_line(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    /// Begins a line of an indentation, unless this one is at it already.
    fn line(&mut self, indent: usize) {
        if !self.indentation || self.column > indent || (self.column == indent && !self.whitespace) {
            self.break_line();
        }
        while self.column < indent {
            self.put_char(' ');
        }
        (self.whitespace, self.indentation) = (true, true);
    }

    fn space(&mut self) {
        if !self.whitespace {
            self.put_char(' ');
        }
    }

    fn indicator(&mut self, text: &str) {
        self.space();
        self.put(text);
        self.whitespace = false;
        // What follows may begin in this line, as if it were indented by the indicator.
        self.put_char(' ');
        (self.whitespace, self.indentation) = (true, true);
    }

    fn word(&mut self, text: &str) {
        self.space();
        self.put(text);
        (self.whitespace, self.indentation) = (false, false);
    }

    fn scalar(&mut self, text: &str, indent: usize, is_key: bool) {
        let facts = Facts::of(text);
        let may_be_plain = resolve(text) == Scalar::Text && !is_sexagesimal(text);
        if text.contains('\n') && facts.block && !is_key {
            return self.literal(text, indent);
        }
        if text.contains('\n') || !may_be_plain {
            return self.double_quoted(text, indent, is_key);
        }
        match facts {
            Facts { plain: true, .. } => self.plain(text, indent, is_key),
            Facts { single: true, .. } => self.single_quoted(text, indent, is_key),
            _ => self.double_quoted(text, indent, is_key),
        }
    }

    /// Whether the line is folded at the space at `at`.
    fn folds(&self, text: &str, at: usize, after_space: bool, is_key: bool) -> bool {
        !is_key && !after_space && self.column > BEST_WIDTH && !text[at + 1..].starts_with(' ')
    }

    fn plain(&mut self, text: &str, indent: usize, is_key: bool) {
        self.space();
        let mut after_space = false;
        for (at, c) in text.char_indices() {
            if c == ' ' && self.folds(text, at, after_space, is_key) {
                self.line(indent);
            } else {
                self.put_char(c);
            }
            if c != ' ' {
                self.indentation = false;
            }
            after_space = c == ' ';
        }
        (self.whitespace, self.indentation) = (false, false);
    }

    fn single_quoted(&mut self, text: &str, indent: usize, is_key: bool) {
        self.space();
        self.put_char('\'');
        let mut after_space = false;
        for (at, c) in text.char_indices() {
            let is_inside = at > 0 && at + 1 < text.len();
            if c == ' ' && is_inside && self.folds(text, at, after_space, is_key) {
                self.line(indent);
            } else if c == '\'' {
                self.put("''");
            } else {
                self.put_char(c);
            }
            if c != ' ' {
                self.indentation = false;
            }
            after_space = c == ' ';
        }
        self.put_char('\'');
        (self.whitespace, self.indentation) = (false, false);
    }

    fn double_quoted(&mut self, text: &str, indent: usize, is_key: bool) {
        self.space();
        self.put_char('"');
        let mut after_space = false;
        for (at, c) in text.char_indices() {
            if let Some(escape) = escape(c) {
                self.put(&escape);
                after_space = false;
            } else if c == ' ' {
                let is_inside = at > 0 && at + 1 < text.len();
                if is_inside && !is_key && !after_space && self.column > BEST_WIDTH {
                    self.line(indent);
                    if text[at + 1..].starts_with(' ') {
                        self.put_char('\\');
                    }
                } else {
                    self.put_char(' ');
                }
                after_space = true;
            } else {
                self.put_char(c);
                after_space = false;
            }
        }
        self.put_char('"');
        (self.whitespace, self.indentation) = (false, false);
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.space();
        self.put_char('|');
        if text.starts_with([' ', '\n']) {
            self.put_char('2');
        }
        match text.strip_suffix('\n') {
            None => self.put_char('-'),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => self.put_char('+'),
            Some(_) => {}
        }
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            self.break_line();
            if !line.is_empty() {
                (0..indent).for_each(|_| self.put_char(' '));
                self.put(line);
            }
        }
        (self.whitespace, self.indentation) = (false, false);
    }
}

/// What libyaml's emitter asks about a text before it chooses a style.
struct Facts {
    plain: bool,
    single: bool,
    block: bool,
}

impl Facts {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            // Resolved to null: never written plain anyway.
            return Self { plain: false, single: true, block: false };
        }
        let is_blank = |c: char| matches!(c, ' ' | '\t');
        let is_break = |c: char| matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut breaks, mut space_break, mut break_space) = (false, false, false, false);
        let mut before = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let then_blank = chars.peek().is_none_or(|&next| is_blank(next) || is_break(next));
            let after_blank = before.is_none_or(|before| is_blank(before) || is_break(before));
            indicators |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`' => before.is_none() || (c == '#' && after_blank),
                '?' | '-' => before.is_none() && then_blank,
                ':' => then_blank,
                _ => false,
            };
            special |= !is_printable(c);
            breaks |= is_break(c);
            space_break |= is_break(c) && before == Some(' ');
            break_space |= c == ' ' && before.is_some_and(is_break);
            before = Some(c);
        }
        let edge = |c: Option<char>| c.is_some_and(|c| c == ' ' || is_break(c));
        let has_blank_edge = edge(text.chars().next()) || edge(text.chars().last());
        let is_odd = space_break || special;
        Self {
            plain: !is_odd && !indicators && !breaks && !break_space && !has_blank_edge,
            single: !is_odd && !break_space,
            block: !is_odd && !text.ends_with(' '),
        }
    }
}

/// What `yaml.v2` takes for printable: no tab, no control characters, no byte order mark, nothing above U+FFFF.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// How a character stands in double quotes, if not as it is.
fn escape(c: char) -> Option<String> {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ if is_printable(c) => return None,
        _ => {
            let code = u32::from(c);
            return Some(match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    // Unicode is written as it is: of the named ones only breaks are escaped.
    if c == '\u{a0}' { None } else { Some(format!("\\{short}")) }
}

/// `190:20:30`, a number in YAML 1.1 that Go does not read as one, but quotes.
fn is_sexagesimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let is_first = first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut rest = parts.peekable();
    let is_part = |part: &str| {
        let whole = part.split('.').next().unwrap_or_default();
        (1..=2).contains(&whole.len())
            && whole.bytes().all(|byte| byte.is_ascii_digit())
            && (whole.len() == 1 || whole.as_bytes()[0] < b'6')
    };
    is_first && rest.peek().is_some() && rest.all(is_part)
}

/// JSON's number, read as YAML and written again.
fn number_text(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(0.0) => "0".to_owned(),
        // What fits 64 bits is an integer to YAML; 2^64 does not.
        Some(float) if float.fract() == 0.0 && (-9.3e18..18_446_744_073_709_551_616.0).contains(&float) => {
            json_float(float)
        }
        Some(float) => float_text(float),
        None => number.to_string(),
    }
}

/// `yaml.v2`'s order of keys: numbers in texts count as numbers, letters come after everything else.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let digits_before = |chars: &[char], end: usize| {
        chars[..end].iter().rev().take_while(|c| c.is_ascii_digit()).any(|&c| c != '0')
    };
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    let (x, y) = (a[at], b[at]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (x_is_letter, y_is_letter) if x_is_letter || y_is_letter => {
            let after_digit = at > 0 && a[at - 1].is_ascii_digit();
            let x_first = if after_digit { x_is_letter } else { y_is_letter };
            return if x_first { Ordering::Less } else { Ordering::Greater };
        }
        _ => {}
    }
    let start = u128::from((x == '0' || y == '0') && digits_before(&a, at));
    let number = |chars: &[char]| {
        let digits: Vec<u32> = chars[at..].iter().map_while(|c| c.to_digit(10)).collect();
        let value = digits.iter().fold(start, |sum, &digit| sum.wrapping_mul(10).wrapping_add(digit.into()));
        (value, digits.len())
    };
    number(&a).cmp(&number(&b)).then(x.cmp(&y))
}
