//! Times and durations. It is always the beginning of 1970 and every zone is UTC (see `functions`).

use super::{Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::value::{Counted, Object, Value};

pub(super) const TABLE: &[Entry] = &[
    ("now", 0, 0, |_| Ok(Value::object(Object::Time(0)))),
    ("date", 2, 2, |call| call.made(go_time(seconds(call.arg(1)), call.text(0)?))),
    ("dateInZone", 3, 3, |call| call.made(go_time(seconds(call.arg(1)), call.text(0)?))),
    ("date_in_zone", 3, 3, |call| call.made(go_time(seconds(call.arg(1)), call.text(0)?))),
    ("htmlDate", 1, 1, |call| call.made(go_time(seconds(call.arg(0)), "2006-01-02"))),
    ("htmlDateInZone", 2, 2, |call| call.made(go_time(seconds(call.arg(0)), "2006-01-02"))),
    ("dateModify", 2, 2, modify),
    ("date_modify", 2, 2, modify),
    ("mustDateModify", 2, 2, modify),
    ("must_date_modify", 2, 2, modify),
    ("toDate", 2, 2, to_date),
    ("mustToDate", 2, 2, to_date),
    ("unixEpoch", 1, 1, |call| call.made(seconds(call.arg(0)).to_string())),
    ("ago", 1, 1, |call| {
        call.made(duration_text(seconds(call.arg(0)).saturating_neg().saturating_mul(SECOND)))
    }),
    ("duration", 1, 1, |call| call.made(duration_text(call.number(0).saturating_mul(SECOND)))),
    ("durationRound", 1, 1, duration_round),
];

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Seconds of what a date function takes; now for anything else.
fn seconds(value: &Value) -> i64 {
    match value {
        Value::Int(seconds) => *seconds,
        Value::Object(object) => match &**object {
            Object::Time(seconds) => *seconds,
            _ => 0,
        },
        _ => 0,
    }
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), usize::try_from(month).unwrap_or(1), day)
}

fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Most years, months or days that a date is moved by, so that no count of days overflows.
const MOVE_LIMIT: i64 = 1_000_000_000;

/// Go's `AddDate`: a day that its month does not have is one of the next.
pub(in crate::helm) fn later(seconds: i64, [years, months, days]: [i64; 3]) -> i64 {
    let [years, months, days] = [years, months, days].map(|count| count.clamp(-MOVE_LIMIT, MOVE_LIMIT));
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let months = month as i64 - 1 + months;
    let first = days_of(year + years + months.div_euclid(12), months.rem_euclid(12) + 1, 1);
    ((first + day - 1 + days) * 86_400).saturating_add(seconds.rem_euclid(86_400))
}

/// The time that Go calls zero: the beginning of year 1.
pub(in crate::helm) fn time_zero() -> i64 {
    days_of(1, 1, 1) * 86_400
}

/// The day of the year, from 1.
pub(in crate::helm) fn year_day(seconds: i64) -> i64 {
    let days = seconds.div_euclid(86_400);
    days - days_of(civil(days).0, 1, 1) + 1
}

/// The day of the week, from Sunday, 0.
pub(in crate::helm) fn weekday(seconds: i64) -> i64 {
    // 1970 began on a Thursday.
    (seconds.div_euclid(86_400) + 4).rem_euclid(7)
}

/// The name of a number.
pub(in crate::helm) fn counted_text(counted: Counted, number: i64) -> String {
    let named = |names: &[&str], from: i64| {
        let at = usize::try_from(number - from).ok();
        at.and_then(|at| names.get(at)).map_or_else(|| number.to_string(), |name| (*name).to_owned())
    };
    match counted {
        Counted::Month => named(&MONTHS, 1),
        Counted::Weekday => named(&DAYS, 0),
        Counted::Duration => duration_text(number),
    }
}

/// The parts a layout of Go can name, longest first where one begins another.
const LAYOUT: [&str; 30] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "2006",
    "MST",
    "-07:00:00",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00",
    "Z0700",
    "Z07",
    "01",
    "002",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "_2",
    "1",
    "2",
    "3",
    "4",
    "5",
    ".000",
];

/// The first part a layout names, with what stands before and behind it.
fn next_part(layout: &str) -> Option<(&str, &'static str, &str)> {
    let found = LAYOUT.iter().filter_map(|part| layout.find(part).map(|at| (at, *part)));
    let (at, part) = found.min_by_key(|(at, part)| (*at, std::cmp::Reverse(part.len())))?;
    Some((&layout[..at], part, &layout[at + part.len()..]))
}

/// A time by a layout of Go (`2006-01-02T15:04:05Z07:00`).
pub(in crate::helm) fn go_time(seconds: i64, layout: &str) -> String {
    let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let weekday = DAYS[usize::try_from(weekday(seconds)).unwrap_or(0)];
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let name = MONTHS[month - 1];
    let mut out = String::new();
    let mut rest = layout;
    while let Some((before, part, after)) = next_part(rest) {
        out.push_str(before);
        out.push_str(&match part {
            "January" => name.to_owned(),
            "Jan" => name[..3].to_owned(),
            "Monday" => weekday.to_owned(),
            "Mon" => weekday[..3].to_owned(),
            "2006" => format!("{year:04}"),
            "06" => format!("{:02}", year.rem_euclid(100)),
            "01" => format!("{month:02}"),
            "1" => month.to_string(),
            "02" => format!("{day:02}"),
            "_2" => format!("{day:2}"),
            "2" => day.to_string(),
            "002" => format!("{:03}", year_day(seconds)),
            "15" => format!("{hour:02}"),
            "03" => format!("{twelve:02}"),
            "3" => twelve.to_string(),
            "04" => format!("{minute:02}"),
            "4" => minute.to_string(),
            "05" => format!("{second:02}"),
            "5" => second.to_string(),
            "PM" => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            "pm" => if hour < 12 { "am" } else { "pm" }.to_owned(),
            "MST" => "UTC".to_owned(),
            "Z07:00" | "Z0700" | "Z07" => "Z".to_owned(),
            ".000" => ".000".to_owned(),
            zone => zone.replace('7', "0").replace('-', "+"),
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A time as JSON has it.
pub(in crate::helm) fn rfc3339(seconds: i64) -> String {
    go_time(seconds, "2006-01-02T15:04:05Z07:00")
}

/// A duration as Go prints it: `1h2m3.5s`.
fn duration_text(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    let decimal = |unit: u64| {
        let (whole, part) = (size / unit, size % unit);
        let digits = unit.ilog10() as usize;
        let part = format!("{part:0digits$}");
        let part = part.trim_end_matches('0');
        if part.is_empty() || digits == 0 { whole.to_string() } else { format!("{whole}.{part}") }
    };
    match size {
        0..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(1_000_000)),
        _ => {
            let minutes = size / 60_000_000_000;
            let rest = size % 60_000_000_000;
            let part = format!("{:09}", rest % 1_000_000_000);
            let part = part.trim_end_matches('0');
            let point = if part.is_empty() { "" } else { "." };
            let seconds = format!("{}{point}{part}s", rest / 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

/// `1h30m`, `-2.5s` in nanoseconds.
fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    let total = total as i64;
    (!text.is_empty()).then_some(if negative { -total } else { total })
}

fn modify(call: &Call<'_>) -> Outcome<Value> {
    let text = call.text(0)?;
    let now = seconds(call.arg(1));
    let moved = match parse_duration(text) {
        Some(nanos) => now.saturating_add(nanos / SECOND),
        None if call.name.starts_with("must") => return Err(call.wrong(format!("invalid duration {text}"))),
        None => now,
    };
    Ok(Value::object(Object::Time(moved)))
}

/// Reads a time by a layout of numbers; what does not fit is the zero time of Go for `toDate`.
fn to_date(call: &Call<'_>) -> Outcome<Value> {
    let (layout, text) = (call.text(0)?, call.text(1)?);
    match parse_time(layout, text) {
        Some(seconds) => Ok(Value::object(Object::Time(seconds))),
        None if call.name.starts_with("must") => {
            Err(call.wrong(format!("cannot parse `{text}` as `{layout}`")))
        }
        None => Ok(Value::object(Object::Time(time_zero()))),
    }
}

fn parse_time(layout: &str, text: &str) -> Option<i64> {
    let (mut year, mut month, mut day) = (1, 1, 1);
    let (mut clock, mut zone) = (0, 0);
    let (mut layout, mut text) = (layout, text);
    while let Some((before, part, after)) = next_part(layout) {
        text = text.strip_prefix(before)?;
        layout = after;
        if part.starts_with(['Z', '-']) || part == "MST" {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | ':'));
            let (given, rest) = text.split_at(end.unwrap_or(text.len()));
            let digits: String = given.chars().filter(char::is_ascii_digit).collect();
            let number: i64 = digits.parse().unwrap_or(0);
            let size = if digits.len() > 2 { number / 100 * 3600 + number % 100 * 60 } else { number * 3600 };
            zone = if given.starts_with('-') { -size } else { size };
            text = rest;
            continue;
        }
        if let "January" | "Jan" = part {
            let at = MONTHS
                .iter()
                .position(|name| text.starts_with(&name[..if part == "Jan" { 3 } else { name.len() }]))?;
            month = i64::try_from(at).ok()? + 1;
            text = &text[if part == "Jan" { 3 } else { MONTHS[at].len() }..];
            continue;
        }
        let longest = if part == "2006" { 4 } else { 2 };
        let end = text.bytes().take(longest).take_while(u8::is_ascii_digit).count();
        let number: i64 = text[..end].parse().ok()?;
        text = &text[end..];
        match part {
            "2006" => year = number,
            "06" => year = number + if number >= 69 { 1900 } else { 2000 },
            "01" | "1" => month = number,
            "02" | "2" | "_2" => day = number,
            "15" | "03" | "3" => clock += number * 3600,
            "04" | "4" => clock += number * 60,
            "05" | "5" => clock += number,
            _ => return None,
        }
    }
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && text == layout;
    fits.then(|| days_of(year, month, day) * 86_400 + clock - zone)
}

/// The largest unit of a duration: `3h`, `2mo`.
fn duration_round(call: &Call<'_>) -> Outcome<Value> {
    const UNITS: [(i64, &str); 6] =
        [(31_536_000, "y"), (2_592_000, "mo"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let nanos = match call.arg(0) {
        Value::Text(text) => parse_duration(text).unwrap_or(0),
        Value::Int(nanos) => *nanos,
        Value::Object(object) => match &**object {
            Object::Time(seconds) => seconds.saturating_neg().saturating_mul(SECOND),
            _ => 0,
        },
        _ => 0,
    };
    let size = nanos.saturating_abs() / SECOND;
    let sign = if nanos < 0 { "-" } else { "" };
    let unit = UNITS.iter().find(|(seconds, _)| size >= *seconds);
    call.made(
        unit.map_or_else(|| "0s".to_owned(), |(seconds, name)| format!("{sign}{}{name}", size / seconds)),
    )
}
