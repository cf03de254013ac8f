//! Go's regular expressions in the spelling of Rust's library. Both mean the same by most of what they share; what
//! differs is translated: Go's `\d`, `\s`, `\w` and `\b` know ASCII alone, it has `\Q…\E`, octal escapes and no set
//! operations, and escapes no letters but its own.
//!
//! Characters of classes and escaped ones are written by their numbers, so that nothing of them means anything to
//! Rust's library.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// Names that may stand in `[:…:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];
/// Characters of the longest `[:^name:]`, and some: what is not closed by then is none.
const LONGEST_NAME: usize = 64;
/// Characters of the longest `n,m}`, and some: Go repeats a thousand times at most.
const LONGEST_COUNTS: usize = 16;

/// A pattern of Go as one of Rust's library.
///
/// # Errors
/// Where Go refuses an escape or a class; other mistakes are Rust's library's to find.
pub(super) fn translated(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.peek() {
                Some('b') => {
                    chars.next();
                    out.push_str("(?-u:\\b)");
                }
                Some('B') => {
                    chars.next();
                    out.push_str("(?-u:\\B)");
                }
                Some('A' | 'z') => {
                    out.push('\\');
                    out.extend(chars.next());
                }
                Some('Q') => {
                    chars.next();
                    literal(&mut chars, &mut out);
                }
                _ => match set(&mut chars)? {
                    Some(set) => write_all(&mut out, &["[", &set, "]"]),
                    None => number(&mut out, escaped(&mut chars)?),
                },
            },
            '[' => class(&mut chars, &mut out)?,
            // A brace that repeats nothing is one.
            '{' if !is_repetition(&chars) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn write_all(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

/// A character that means itself.
fn number(out: &mut String, c: char) {
    // Writing to a text cannot fail.
    _ = write!(out, "\\x{{{:x}}}", u32::from(c));
}

fn invalid(what: &str, shown: impl std::fmt::Display) -> String {
    format!("invalid {what}: `{shown}`")
}

/// What follows `\Q`, up to `\E` or the end.
fn literal(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next_if_eq(&'E').is_some() {
            return;
        }
        number(out, c);
    }
}

/// What an escape behind a `\` stands for if that is many characters, as items of a class.
fn set(chars: &mut Peekable<Chars<'_>>) -> Result<Option<String>, String> {
    let set = match chars.peek() {
        Some('d') => "0-9",
        Some('D') => "[^0-9]",
        Some('s') => "\\t\\n\\f\\r\\x20",
        Some('S') => "[^\\t\\n\\f\\r\\x20]",
        Some('w') => "0-9A-Za-z_",
        Some('W') => "[^0-9A-Za-z_]",
        Some('p' | 'P') => return unicode(chars).map(Some),
        _ => return Ok(None),
    };
    chars.next();
    Ok(Some(set.to_owned()))
}

/// `pL`, `p{Greek}`, `P{^Lu}`: categories and scripts, spelled as Unicode spells them.
fn unicode(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut is_negated = chars.next() == Some('P');
    let name: String = match chars.next() {
        Some('{') => {
            let name: String = chars.by_ref().take_while(|c| *c != '}').collect();
            let bare = name.strip_prefix('^');
            is_negated ^= bare.is_some();
            bare.map(str::to_owned).unwrap_or(name)
        }
        one => one.into_iter().collect(),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let property = match name.len() {
        _ if !is_name => return Err(invalid("character class range", format_args!("\\p{{{name}}}"))),
        _ if name == "Any" => "any".to_owned(),
        1 | 2 => format!("gc={name}"),
        _ => format!("sc={name}"),
    };
    Ok(format!("\\{}{{{property}}}", if is_negated { 'P' } else { 'p' }))
}

/// The character that an escape behind a `\` stands for.
fn escaped(chars: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    let wrong = |c: char| invalid("escape sequence", format_args!("\\{c}"));
    let c = chars.next().ok_or("trailing backslash at end of expression")?;
    let code = match c {
        // One digit that is not zero would be a reference back, which Go does not have.
        '0'..='7' => {
            let mut digits = String::from(c);
            while digits.len() < 3 {
                let Some(digit) = chars.next_if(|c| matches!(c, '0'..='7')) else { break };
                digits.push(digit);
            }
            let code = u32::from_str_radix(&digits, 8).ok();
            code.filter(|_| c == '0' || digits.len() > 1)
        }
        'x' => {
            let digits: String = match chars.next_if_eq(&'{') {
                Some(_) => chars.by_ref().take_while(|c| *c != '}').collect(),
                None => chars.by_ref().take(2).collect(),
            };
            u32::from_str_radix(&digits, 16).ok().filter(|_| !digits.starts_with('+'))
        }
        'a' => Some(0x07),
        'f' => Some(0x0c),
        'n' => Some(0x0a),
        'r' => Some(0x0d),
        't' => Some(0x09),
        'v' => Some(0x0b),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c.into()),
        _ => None,
    };
    code.and_then(char::from_u32).ok_or_else(|| wrong(c))
}

/// A class, up to its `]`.
fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    out.extend(chars.next_if_eq(&'^'));
    let mut is_first = true;
    while is_first || chars.peek() != Some(&']') {
        is_first = false;
        if let Some(name) = posix(chars)? {
            out.push_str(&name);
            continue;
        }
        let low = match chars.next() {
            None => return Err("missing closing ]".to_owned()),
            Some('\\') => match set(chars)? {
                Some(set) => {
                    out.push_str(&set);
                    continue;
                }
                None => escaped(chars)?,
            },
            Some(c) => c,
        };
        range(low, chars, out)?;
    }
    out.extend(chars.next());
    Ok(())
}

/// A character of a class, and the one that ends a range where a `-` follows.
fn range(low: char, chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    number(out, low);
    let mut ahead = chars.clone();
    if ahead.next() != Some('-') || ahead.peek().is_none_or(|c| *c == ']') {
        return Ok(());
    }
    *chars = ahead;
    let high = match chars.next() {
        Some('\\') => escaped(chars)?,
        Some(c) => c,
        None => return Ok(()),
    };
    if high < low {
        return Err(invalid("character class range", format_args!("{low}-{high}")));
    }
    out.push('-');
    number(out, high);
    Ok(())
}

/// `[:alpha:]`; a bracket that begins none is a plain character.
fn posix(chars: &mut Peekable<Chars<'_>>) -> Result<Option<String>, String> {
    if chars.peek() != Some(&'[') {
        return Ok(None);
    }
    let rest: String = chars.clone().take(LONGEST_NAME).collect();
    let Some((name, _)) = rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else {
        return Ok(None);
    };
    if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Err(invalid("character class range", format_args!("[:{name}:]")));
    }
    let class = format!("[:{name}:]");
    // Names are ASCII: as many characters as bytes.
    chars.by_ref().take(class.len()).for_each(drop);
    Ok(Some(class))
}

/// Whether what follows a brace makes it a repetition: `n}`, `n,}` or `n,m}`.
fn is_repetition(rest: &Peekable<Chars<'_>>) -> bool {
    let ahead: String = rest.clone().take(LONGEST_COUNTS).collect();
    let Some((inside, _)) = ahead.split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && is_number(least) && is_number(most)
}
