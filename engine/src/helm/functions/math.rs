//! Numbers, and ranges of them.

use super::{ANY, Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::value::Value;
use crate::yaml::parse_int;

pub(super) const TABLE: &[Entry] = &[
    ("int", 1, 1, |call| Ok(Value::Int(call.number(0)))),
    ("int64", 1, 1, |call| Ok(Value::Int(call.number(0)))),
    ("float64", 1, 1, |call| Ok(Value::Float(call.float(0)))),
    ("atoi", 1, 1, |call| Ok(Value::Int(call.text(0)?.parse().unwrap_or(0)))),
    ("toDecimal", 1, 1, |call| Ok(Value::Int(i64::from_str_radix(&call.any_text(0)?, 8).unwrap_or(0)))),
    ("add", 0, ANY, |call| Ok(Value::Int(numbers(call).fold(0, i64::wrapping_add)))),
    ("add1", 1, 1, |call| Ok(Value::Int(call.number(0).wrapping_add(1)))),
    ("sub", 2, 2, |call| Ok(Value::Int(call.number(0).wrapping_sub(call.number(1))))),
    ("mul", 1, ANY, |call| Ok(Value::Int(numbers(call).fold(1, i64::wrapping_mul)))),
    ("div", 2, 2, |call| divided(call, i64::wrapping_div)),
    ("mod", 2, 2, |call| divided(call, i64::wrapping_rem)),
    ("max", 1, ANY, |call| Ok(Value::Int(numbers(call).max().unwrap_or(0)))),
    ("biggest", 1, ANY, |call| Ok(Value::Int(numbers(call).max().unwrap_or(0)))),
    ("min", 1, ANY, |call| Ok(Value::Int(numbers(call).min().unwrap_or(0)))),
    ("maxf", 1, ANY, |call| Ok(Value::Float(floats(call).fold(f64::NEG_INFINITY, f64::max)))),
    ("minf", 1, ANY, |call| Ok(Value::Float(floats(call).fold(f64::INFINITY, f64::min)))),
    ("add1f", 1, 1, |call| Ok(Value::Float(decimal(call.float(0), 1.0, '+')))),
    ("addf", 0, ANY, |call| Ok(Value::Float(floats(call).fold(0.0, |a, b| decimal(a, b, '+'))))),
    ("subf", 1, ANY, |call| folded(call, '-')),
    ("mulf", 1, ANY, |call| folded(call, '*')),
    ("divf", 1, ANY, |call| folded(call, '/')),
    ("ceil", 1, 1, |call| Ok(Value::Float(call.float(0).ceil()))),
    ("floor", 1, 1, |call| Ok(Value::Float(call.float(0).floor()))),
    ("round", 2, 3, round),
    ("until", 1, 1, |call| {
        let end = call.int(0)?;
        range(call, 0, end, if end < 0 { -1 } else { 1 })
    }),
    ("untilStep", 3, 3, |call| range(call, call.int(0)?, call.int(1)?, call.int(2)?)),
    ("seq", 0, ANY, seq),
    ("randInt", 2, 2, |call| Ok(Value::Int(call.int(0)?))),
];

/// `cast.ToInt64`: what does not look like a number is zero.
pub(super) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        Value::Float(number) => *number as i64,
        Value::Bool(value) => i64::from(*value),
        Value::Text(text) => {
            let whole = match text.split_once('.') {
                // `1.0` is an integer to it, `1.5` is nothing.
                Some((whole, zeros)) if zeros.bytes().all(|byte| byte == b'0') => whole,
                _ => text,
            };
            parse_int(whole).and_then(|number| i64::try_from(number).ok()).unwrap_or(0)
        }
        Value::Nil | Value::Bytes(_) | Value::List(_) | Value::Map(_) | Value::Object(_) => 0,
    }
}

/// `cast.ToFloat64`.
pub(super) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Float(number) => *number,
        Value::Text(text) => text.parse().unwrap_or(0.0),
        other => to_int(other) as f64,
    }
}

fn numbers(call: &Call<'_>) -> impl Iterator<Item = i64> {
    call.args.iter().map(to_int)
}

fn floats(call: &Call<'_>) -> impl Iterator<Item = f64> {
    call.args.iter().map(to_float)
}

fn divided(call: &Call<'_>, operation: fn(i64, i64) -> i64) -> Outcome<Value> {
    match call.number(1) {
        0 => Err(call.wrong("runtime error: integer divide by zero")),
        divisor => Ok(Value::Int(operation(call.number(0), divisor))),
    }
}

fn folded(call: &Call<'_>, operation: char) -> Outcome<Value> {
    let first = call.float(0);
    if operation == '/' && floats(call).skip(1).any(|divisor| divisor == 0.0) {
        return Err(call.wrong("decimal division by 0"));
    }
    Ok(Value::Float(floats(call).skip(1).fold(first, |a, b| decimal(a, b, operation))))
}

/// Arithmetic on the decimal digits of floats, as sprig does it, so that 0.1 + 0.2 is 0.3.
fn decimal(a: f64, b: f64, operation: char) -> f64 {
    let plain = match operation {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        _ => a / b,
    };
    let parts = |number: f64| -> Option<(i128, i32)> {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let power = exponent.parse::<i32>().ok()? - i32::try_from(fraction).ok()?;
        Some((mantissa.replace('.', "").parse().ok()?, power))
    };
    let exact = || -> Option<f64> {
        let ((a, a_power), (b, b_power)) = (parts(a)?, parts(b)?);
        let (digits, power) = match operation {
            '*' => (a.checked_mul(b)?, a_power + b_power),
            '+' | '-' => {
                let power = a_power.min(b_power);
                let scale = |number: i128, own: i32| {
                    number.checked_mul(10_i128.checked_pow(u32::try_from(own - power).ok()?)?)
                };
                let (a, b) = (scale(a, a_power)?, scale(b, b_power)?);
                (if operation == '+' { a.checked_add(b)? } else { a.checked_sub(b)? }, power)
            }
            _ => return None,
        };
        format!("{digits}e{power}").parse().ok()
    };
    exact().unwrap_or(plain)
}

fn round(call: &Call<'_>) -> Outcome<Value> {
    let (number, places) = (call.float(0), to_float(&Value::Int(call.int(1)?)));
    let half = call.args.get(2).map_or(0.5, to_float);
    let power = 10_f64.powf(places);
    let shifted = power * number;
    let up = shifted.fract() >= half;
    Ok(Value::Float(if up { shifted.ceil() } else { shifted.floor() } / power))
}

/// How many numbers there are from `start` on, `end` excluded.
fn length(start: i64, end: i64, step: i64) -> usize {
    if step == 0 || (end < start) != (step < 0) {
        return 0;
    }
    let distance = start.abs_diff(end);
    usize::try_from(distance.div_ceil(step.unsigned_abs())).unwrap_or(usize::MAX)
}

fn range(call: &Call<'_>, start: i64, end: i64, step: i64) -> Outcome<Value> {
    let count = length(start, end, step);
    call.run.work.bytes(count.saturating_mul(size_of::<Value>()))?;
    let numbers = std::iter::successors(Some(start), |number| number.checked_add(step)).take(count);
    Ok(Value::list(numbers.map(Value::Int).collect()))
}

/// `seq FIRST INCREMENT LAST`, as the shell's.
fn seq(call: &Call<'_>) -> Outcome<Value> {
    let ints: Vec<i64> = (0..call.args.len()).map(|at| call.int(at)).collect::<Outcome<_>>()?;
    let away = |start: i64, end: i64| if end < start { -1 } else { 1 };
    let (start, step, end) = match ints.as_slice() {
        [end] => (1, away(1, *end), *end),
        [start, end] => (*start, away(*start, *end), *end),
        [start, step, end] if (*step < 0) == (end < start) => (*start, *step, *end),
        _ => return Ok(Value::text("")),
    };
    let count = length(start, end.saturating_add(step.signum()), step);
    call.run.work.bytes(count.saturating_mul(21))?;
    let numbers = std::iter::successors(Some(start), |number| number.checked_add(step)).take(count);
    call.made(numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" "))
}
