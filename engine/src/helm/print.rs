//! Go's `fmt` for values of a rendering: `%v`, `printf` and its complaints.

use super::fault::Outcome;
use super::functions::{counted_text, go_time};
use super::value::{Object, Value, check_depth};
use super::work::Work;
use crate::yaml::float_text;

/// Width and precision beyond which Go refuses too.
const SIZE_LIMIT: usize = 1_000_000;

/// A value as `%v` prints it.
///
/// # Errors
/// When it is too much.
pub(super) fn print(value: &Value, work: &Work) -> Outcome<String> {
    let mut printer = Printer { out: String::new(), work };
    printer.value(value, 'v', &Spec::default(), 0)?;
    Ok(printer.out)
}

/// `printf`.
///
/// # Errors
/// When it is too much.
pub(super) fn printf(format: &str, args: &[Value], work: &Work) -> Outcome<String> {
    let mut printer = Printer { out: String::new(), work };
    let mut rest = format;
    let (mut next, mut reordered) = (0, false);
    loop {
        let Some(at) = rest.find('%') else {
            printer.push(rest)?;
            break;
        };
        printer.push(&rest[..at])?;
        let mut spec = Spec::default();
        let mut cursor = Cursor { args, next, reordered: false };
        rest = spec.read(&rest[at + 1..], &mut cursor);
        reordered |= cursor.reordered;
        next = cursor.next;
        let Some(verb) = rest.chars().next() else {
            printer.push("%!(NOVERB)")?;
            break;
        };
        rest = &rest[verb.len_utf8()..];
        match args.get(next) {
            _ if verb == '%' => {
                printer.push("%")?;
                continue;
            }
            Some(value) => printer.value(value, verb, &spec, 0)?,
            None => printer.push(&format!("%!{verb}(MISSING)"))?,
        }
        next += 1;
    }
    if !reordered && next < args.len() {
        let extra: Vec<String> = args[next..]
            .iter()
            .map(|arg| {
                Ok(format!("{}={}", arg.type_name(), print(arg, work)?).replace("<nil>=<nil>", "<nil>"))
            })
            .collect::<Outcome<_>>()?;
        printer.push(&format!("%!(EXTRA {})", extra.join(", ")))?;
    }
    Ok(printer.out)
}

/// Which argument is next; `*` and `[n]` move it.
struct Cursor<'a> {
    args: &'a [Value],
    next: usize,
    reordered: bool,
}

/// Flags, width and precision of a verb.
#[derive(Debug, Clone, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Spec {
    /// Reads what stands between `%` and the verb; gives what follows.
    fn read<'t>(&mut self, mut text: &'t str, cursor: &mut Cursor<'_>) -> &'t str {
        while let Some(flag) = text.chars().next() {
            match flag {
                '-' => self.minus = true,
                '+' => self.plus = true,
                '#' => self.sharp = true,
                ' ' => self.space = true,
                '0' => self.zero = true,
                _ => break,
            }
            text = &text[1..];
        }
        text = index(text, cursor);
        (self.width, text) = number(text, cursor);
        if let Some(after) = text.strip_prefix('.') {
            text = index(after, cursor);
            let (precision, after) = number(text, cursor);
            self.precision = Some(precision.unwrap_or(0));
            text = after;
        }
        index(text, cursor)
    }
}

/// `[n]`: the argument that is next.
fn index<'t>(text: &'t str, cursor: &mut Cursor<'_>) -> &'t str {
    let Some((number, after)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) else {
        return text;
    };
    match number.parse::<usize>() {
        Ok(number @ 1..) if number <= cursor.args.len() => {
            (cursor.next, cursor.reordered) = (number - 1, true);
            after
        }
        _ => text,
    }
}

fn number<'t>(text: &'t str, cursor: &mut Cursor<'_>) -> (Option<usize>, &'t str) {
    if let Some(after) = text.strip_prefix('*') {
        let given = match cursor.args.get(cursor.next) {
            Some(Value::Int(number)) => usize::try_from(*number).ok(),
            _ => None,
        };
        cursor.next += 1;
        return (given.filter(|&number| number <= SIZE_LIMIT), after);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok().filter(|&number| number <= SIZE_LIMIT);
    (number, &text[digits..])
}

struct Printer<'w> {
    out: String,
    work: &'w Work,
}

impl Printer<'_> {
    fn push(&mut self, text: &str) -> Outcome<()> {
        self.work.bytes(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn value(&mut self, value: &Value, verb: char, spec: &Spec, depth: usize) -> Outcome<()> {
        check_depth(depth)?;
        self.work.step()?;
        if verb == 'T' {
            return self.padded(value.type_name(), spec);
        }
        match value {
            // In a list or a map, nothing is the same for every verb.
            Value::Nil if verb == 'v' || depth > 0 => self.padded("<nil>", spec),
            Value::Nil => self.push(&format!("%!{verb}(<nil>)")),
            Value::Bool(truth) if matches!(verb, 'v' | 't') => {
                self.padded(if *truth { "true" } else { "false" }, spec)
            }
            Value::Int(number) => match integer(*number, verb, spec) {
                Some(text) => self.number(&text, spec),
                None => self.wrong(value, verb),
            },
            Value::Float(number) => match float(*number, verb, spec) {
                Some(text) => self.number(&text, spec),
                None => self.wrong(value, verb),
            },
            Value::Text(text) => match string(text, verb, spec) {
                Some(text) => self.padded(&text, spec),
                None => self.wrong(value, verb),
            },
            Value::Bytes(bytes) if matches!(verb, 's' | 'q' | 'x' | 'X') => {
                let text = match verb {
                    'x' | 'X' => hexadecimal(bytes, verb == 'X'),
                    _ => string(&String::from_utf8_lossy(bytes), verb, spec).unwrap_or_default(),
                };
                self.padded(&text, spec)
            }
            Value::Bytes(bytes) => {
                let numbers = bytes.iter().map(|&byte| Value::Int(byte.into())).collect();
                self.value(&Value::list(numbers), verb, spec, depth + 1)
            }
            Value::List(items) => {
                self.push("[")?;
                for (at, item) in items.iter().enumerate() {
                    self.push(if at > 0 { " " } else { "" })?;
                    self.value(item, verb, spec, depth + 1)?;
                }
                self.push("]")
            }
            Value::Map(map) => {
                self.push("map[")?;
                for (at, (key, item)) in map.entries().iter().enumerate() {
                    self.push(if at > 0 { " " } else { "" })?;
                    self.value(&Value::Text(key.clone()), verb, spec, depth + 1)?;
                    self.push(":")?;
                    self.value(item, verb, spec, depth + 1)?;
                }
                self.push("]")
            }
            Value::Object(object) => self.object(object, verb, spec, depth),
            Value::Bool(_) => self.wrong(value, verb),
        }
    }

    fn object(&mut self, object: &Object, verb: char, spec: &Spec, depth: usize) -> Outcome<()> {
        let plain = match object {
            Object::Files(files) => {
                let map = files.iter().map(|(name, bytes)| (name.into(), Value::Bytes(bytes.clone())));
                Value::map(map)
            }
            Object::ApiVersions(versions) => Value::texts(versions.iter().map(String::as_str)),
            Object::KubeVersion(version) => Value::text(format!("v{version}")),
            Object::Version(version) => Value::text(version.to_string()),
            Object::Time(seconds) => Value::text(go_time(*seconds, "2006-01-02 15:04:05 -0700 MST")),
            Object::Counted(counted, number) if matches!(verb, 'v' | 's' | 'q') => {
                Value::text(counted_text(*counted, *number))
            }
            Object::Counted(_, number) => Value::Int(*number),
            Object::Record(record) => {
                self.push("{")?;
                for (at, item) in record.values().enumerate() {
                    self.push(if at > 0 { " " } else { "" })?;
                    self.value(item, verb, spec, depth + 1)?;
                }
                return self.push("}");
            }
        };
        self.value(&plain, verb, spec, depth + 1)
    }

    /// Go's complaint about a verb that does not fit.
    fn wrong(&mut self, value: &Value, verb: char) -> Outcome<()> {
        let text = print(value, self.work)?;
        self.push(&format!("%!{verb}({}={text})", value.type_name()))
    }

    fn padded(&mut self, text: &str, spec: &Spec) -> Outcome<()> {
        let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
        self.work.bytes(missing)?;
        let fill = if spec.zero && !spec.minus { "0" } else { " " }.repeat(missing);
        if spec.minus { self.push(&format!("{text}{fill}")) } else { self.push(&format!("{fill}{text}")) }
    }

    /// Zeros go between a sign and the digits.
    fn number(&mut self, text: &str, spec: &Spec) -> Outcome<()> {
        let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-', ' '])));
        let is_finite = digits.starts_with(|c: char| c.is_ascii_alphanumeric() && c != 'I' && c != 'N');
        if spec.zero && !spec.minus && is_finite {
            self.push(sign)?;
            let width = spec.width.map(|width| width.saturating_sub(sign.len()));
            return self.padded(digits, &Spec { width, ..spec.clone() });
        }
        self.padded(text, &Spec { zero: false, ..spec.clone() })
    }
}

fn signed(digits: String, negative: bool, spec: &Spec) -> String {
    match (negative, spec) {
        (true, _) => format!("-{digits}"),
        (false, Spec { plus: true, .. }) => format!("+{digits}"),
        (false, Spec { space: true, .. }) => format!(" {digits}"),
        (false, _) => digits,
    }
}

fn integer(number: i64, verb: char, spec: &Spec) -> Option<String> {
    let size = number.unsigned_abs();
    let digits = match verb {
        'v' => return Some(number.to_string()),
        'd' => size.to_string(),
        'b' => format!("{size:b}"),
        'o' | 'O' => {
            let prefix = if verb == 'O' {
                "0o"
            } else if spec.sharp {
                "0"
            } else {
                ""
            };
            format!("{prefix}{size:o}")
        }
        'x' => format!("{}{size:x}", if spec.sharp { "0x" } else { "" }),
        'X' => format!("{}{size:X}", if spec.sharp { "0X" } else { "" }),
        'c' | 'q' => {
            let c =
                u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            return Some(if verb == 'c' { c.to_string() } else { format!("'{c}'") });
        }
        'U' => return Some(format!("U+{size:04X}")),
        // Go formats integers with `%e` and the like as a mistake.
        _ => return None,
    };
    let zeros = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    Some(signed(format!("{}{digits}", "0".repeat(zeros)), number < 0, spec))
}

fn float(number: f64, verb: char, spec: &Spec) -> Option<String> {
    if !number.is_finite() {
        return matches!(verb, 'v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G').then(|| float_text(number));
    }
    let size = number.abs();
    let exponent = |text: String| {
        let (mantissa, exponent) = text.split_once('e').map_or((text.as_str(), "0"), |parts| parts);
        let power: i32 = exponent.parse().unwrap_or(0);
        format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
    };
    let digits = match verb {
        'v' => return Some(float_text(number)),
        'f' | 'F' => format!("{size:.*}", spec.precision.unwrap_or(6)),
        'e' => exponent(format!("{size:.*e}", spec.precision.unwrap_or(6))),
        'E' => exponent(format!("{size:.*e}", spec.precision.unwrap_or(6))).to_uppercase(),
        'g' | 'G' => match spec.precision {
            None => float_text(size),
            Some(precision) => general(size, precision.max(1), exponent),
        },
        _ => return None,
    };
    let digits = if verb == 'G' { digits.to_uppercase() } else { digits };
    Some(signed(digits, number.is_sign_negative(), spec))
}

/// `%.Ng`.
fn general(size: f64, precision: usize, exponent: impl Fn(String) -> String) -> String {
    let text = format!("{size:.*e}", precision - 1);
    let power: i64 = text.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let trimmed = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if power < -4 || power >= i64::try_from(precision).unwrap_or(i64::MAX) {
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
        return exponent(format!("{}e{power}", trimmed(mantissa)));
    }
    let decimals = usize::try_from(i64::try_from(precision).unwrap_or(i64::MAX) - 1 - power).unwrap_or(0);
    trimmed(&format!("{size:.decimals$}"))
}

fn string(text: &str, verb: char, spec: &Spec) -> Option<String> {
    let cut: String = match spec.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    match verb {
        'v' if spec.sharp => Some(quoted(&cut)),
        'v' | 's' => Some(cut),
        'q' if spec.sharp && !cut.contains('`') => Some(format!("`{cut}`")),
        'q' => Some(quoted(&cut)),
        'x' | 'X' => Some(hexadecimal(cut.as_bytes(), verb == 'X')),
        _ => None,
    }
}

fn hexadecimal(bytes: &[u8], upper: bool) -> String {
    let text = hex::encode(bytes);
    if upper { text.to_uppercase() } else { text }
}

/// Go's `strconv.Quote`.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\u{0}'..='\u{1f}' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // Go prints letters, marks, numbers, symbols and the plain space; blanks and formats are escaped.
            _ if c.is_control() || (c.is_whitespace() && c != ' ') || is_format(c) => {
                let code = u32::from(c);
                out.push_str(&if code > 0xffff {
                    format!("\\U{code:08x}")
                } else {
                    format!("\\u{code:04x}")
                });
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e000}'..='\u{f8ff}')
}

/// sprig's `strval`: what a function that takes anything makes of it.
///
/// # Errors
/// When it is too much.
pub(super) fn text_of(value: &Value, work: &Work) -> Outcome<std::rc::Rc<str>> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Bytes(bytes) => {
            work.bytes(bytes.len())?;
            Ok(String::from_utf8_lossy(bytes).into())
        }
        other => print(other, work).map(Into::into),
    }
}
