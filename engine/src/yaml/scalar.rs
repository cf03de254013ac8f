//! What a plain scalar stands for, and how Go writes numbers.
//!
//! The rules are those of Go's `yaml.v2`, which Helm reads and writes with: YAML 1.1 without sexagesimals.

/// The meaning of a plain scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar {
    /// `~`, `null`, nothing.
    Null,
    /// `yes`, `off`, `true` …
    Bool(bool),
    /// Every number is a 64-bit float, as JSON's are in Go.
    Number(f64),
    /// Looks like a point in time: a string, but one that is quoted when written.
    Timestamp,
    /// Anything else.
    Text,
}

/// What a plain scalar stands for.
pub(crate) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Number(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Number(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Number(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes()[0] {
        b'.' => go_float(text).map_or(Scalar::Text, Scalar::Number),
        b'+' | b'-' | b'0'..=b'9' => {
            if is_timestamp(text) {
                return Scalar::Timestamp;
            }
            let plain = text.replace('_', "");
            let number = integer(&plain).or_else(|| go_float(&plain));
            number.map_or(Scalar::Text, Scalar::Number)
        }
        _ => Scalar::Text,
    }
}

/// An integer in any of Go's notations, if it fits 64 bits.
fn integer(text: &str) -> Option<f64> {
    parse_int(text).map(|number| number as f64)
}

/// Go's `ParseInt` and `ParseUint` with base 0: signs, `0x`, `0o`, `0b` and the leading zero of octal numbers.
pub(crate) fn parse_int(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    let (base, digits) = match lower.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, base).ok()?);
    let number = if negative { -number } else { number };
    (number >= i128::from(i64::MIN)).then_some(number)
}

/// A decimal float; Rust's parser takes words and signs that YAML does not.
fn go_float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (digits, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_float = all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && all_digits(exponent));
    if is_float { text.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

/// `2001-1-2`, alone or with a time behind it.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(text[at + 1..].trim_start())),
        None => (text, None),
    };
    let number = |part: &str, longest: usize, least: u32, most: u32| {
        (1..=longest).contains(&part.len())
            && part.parse().is_ok_and(|number: u32| (least..=most).contains(&number))
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    if year.len() != 4 || !number(year, 4, 0, 9999) || !number(month, 2, 1, 12) || !number(day, 2, 1, 31) {
        return false;
    }
    let Some(time) = time else { return true };
    let clock = time.split(['Z', '+', '-']).next().unwrap_or_default();
    let clock = clock.split('.').next().unwrap_or_default();
    let parts: Vec<&str> = clock.split(':').collect();
    matches!(parts.as_slice(), [hour, minute, second]
        if number(hour, 2, 0, 23) && number(minute, 2, 0, 59) && number(second, 2, 0, 59))
}

/// The shortest digits of a positive number, and the power of ten of the first one.
fn digits(number: f64) -> (String, i32) {
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.replace(['.', '-'], ""), exponent.parse().unwrap_or(0))
}

fn scientific(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:02}", exponent.abs())
}

/// A float as Go's `%v` and `%g` write it: the shortest digits, with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let number = number.abs();
    let (digits, exponent) = digits(number);
    if number != 0.0 && !(-4..6).contains(&exponent) {
        format!("{sign}{}", scientific(&digits, exponent))
    } else {
        format!("{sign}{number}")
    }
}

/// The same with the digits of a 32-bit float.
pub(crate) fn short_float_text(number: f64) -> String {
    let short = (number as f32).to_string();
    float_text(short.parse().unwrap_or(number))
}

/// A float as Go's `encoding/json` writes it.
pub(crate) fn json_float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let sign = if number < 0.0 { "-" } else { "" };
        let (digits, exponent) = digits(size);
        // JSON in Go drops the zero of `e-09`.
        return format!("{sign}{}", scientific(&digits, exponent)).replace("e-0", "e-");
    }
    format!("{number}")
}
