//! Fields and methods of the values that have some: `.Files.Get`, `.Capabilities.APIVersions.Has` and their like.

use std::cmp::Ordering;
use std::rc::Rc;

use super::fault::{Fault, Outcome};
use super::functions::{counted_text, go_time, later, time_zero, weekday, year_day};
use super::value::{Counted, Map, Object, Value};
use super::versions::Version;
use super::work::Work;

/// A field, or the result of a method.
///
/// # Errors
/// When there is none of that name, or its arguments are wrong.
pub(super) fn member(object: &Object, name: &str, args: &[Value], work: &Work) -> Outcome<Value> {
    work.step()?;
    let found = match object {
        Object::Files(files) => {
            let files_of = |files| Value::object(Object::Files(files));
            match (name, args) {
                ("Get", [path]) => Some(Value::text(files.text(text(name, path)?, work)?)),
                ("GetBytes", [path]) => {
                    Some(Value::Bytes(files.get(text(name, path)?).cloned().unwrap_or_else(|| [].into())))
                }
                ("Glob", [pattern]) => Some(files_of(files.glob(text(name, pattern)?, work)?)),
                ("Lines", [path]) => {
                    let content = files.text(text(name, path)?, work)?;
                    let lines = content.strip_suffix('\n').unwrap_or(&content).split('\n');
                    Some(if content.is_empty() { Value::list(Vec::new()) } else { Value::texts(lines) })
                }
                ("AsConfig", []) => Some(Value::text(files.as_config(work)?)),
                ("AsSecrets", []) => Some(Value::text(files.as_secrets(work)?)),
                // The files are a map too.
                (_, []) => Some(files.get(name).map_or(Value::Nil, |bytes| Value::Bytes(bytes.clone()))),
                _ => None,
            }
        }
        Object::ApiVersions(versions) => match (name, args) {
            ("Has", [version]) => {
                let version = text(name, version)?;
                work.steps(versions.len())?;
                Some(Value::Bool(versions.iter().any(|known| known == version)))
            }
            _ => None,
        },
        Object::KubeVersion(version) if args.is_empty() => match name {
            "Version" | "GitVersion" | "String" => Some(Value::text(format!("v{version}"))),
            "Major" => Some(Value::text(version.major.to_string())),
            "Minor" => Some(Value::text(version.minor.to_string())),
            _ => None,
        },
        Object::Version(version) => version_member(version, name, args)?,
        Object::Time(seconds) => time_member(*seconds, name, args)?,
        Object::Counted(counted, number) if args.is_empty() => counted_member(*counted, *number, name),
        Object::Record(record) => {
            let field = record.get(name).filter(|_| args.is_empty());
            let unknown = || format!("can't evaluate field {name} in type {}", record.type_name);
            return field.cloned().ok_or_else(|| Fault::failed(unknown()));
        }
        Object::KubeVersion(_) | Object::Counted(..) => None,
    };
    found.ok_or_else(|| {
        let kind = object.type_name();
        // What is not known here may well exist in Go.
        Fault::lacking(format!("`{name}` of a {kind}, with {} arguments", args.len()))
    })
}

/// The result of a method of values with arguments: what stands at a path of dots, if it is a table, or if it is none.
///
/// # Errors
/// When there is nothing of the kind, or no such method.
pub(super) fn map_member(map: &Rc<Map>, name: &str, args: &[Value]) -> Outcome<Value> {
    let ("Table" | "PathValue", [path]) = (name, args) else {
        return Err(Fault::failed(format!("{name} is not a method but has arguments")));
    };
    let mut found = Value::Map(Rc::clone(map));
    for key in text(name, path)?.split('.') {
        found = match &found {
            Value::Map(map) => map.get(key).unwrap_or_default(),
            _ => Value::Nil,
        };
    }
    match (name, &found) {
        ("Table", Value::Map(_)) => Ok(found),
        ("PathValue", Value::Map(_) | Value::Nil) => Err(Fault::failed("error calling PathValue: no value")),
        ("PathValue", _) => Ok(found),
        _ => Err(Fault::failed("error calling Table: no table")),
    }
}

fn text<'v>(method: &str, value: &'v Value) -> Outcome<&'v str> {
    match value {
        Value::Text(text) => Ok(text),
        other => {
            let kind = other.type_name();
            Err(Fault::failed(format!("{method}: wrong type for value; expected string; got {kind}")))
        }
    }
}

fn version_member(version: &Version, name: &str, args: &[Value]) -> Outcome<Option<Value>> {
    let number = |number: u64| Some(Value::Int(number as i64));
    if let ("SetPrerelease" | "SetMetadata", [words]) = (name, args) {
        let changed = match name {
            "SetPrerelease" => version.with_prerelease(text(name, words)?),
            _ => version.with_metadata(text(name, words)?),
        };
        let changed =
            changed.ok_or_else(|| Fault::failed(format!("error calling {name}: invalid string")))?;
        return Ok(Some(Value::object(Object::Version(changed))));
    }
    if let [other] = args {
        let Value::Object(other) = other else {
            return Err(Fault::failed(format!("{name}: wrong type for value; expected *semver.Version")));
        };
        let Object::Version(other) = &**other else { return Ok(None) };
        let order = version.compare(other);
        return Ok(match name {
            "Compare" => Some(Value::Int(order as i64)),
            "Equal" => Some(Value::Bool(order == Ordering::Equal)),
            "LessThan" => Some(Value::Bool(order == Ordering::Less)),
            "GreaterThan" => Some(Value::Bool(order == Ordering::Greater)),
            _ => None,
        });
    }
    if !args.is_empty() {
        return Ok(None);
    }
    Ok(match name {
        "Major" => number(version.major),
        "Minor" => number(version.minor),
        "Patch" => number(version.patch),
        "Prerelease" => Some(Value::text(version.prerelease.as_str())),
        "Metadata" => Some(Value::text(version.metadata.as_str())),
        "Original" => Some(Value::text(version.original.as_str())),
        "String" => Some(Value::text(version.to_string())),
        "IncMajor" | "IncMinor" | "IncPatch" => Some(Value::object(Object::Version(version.next(name)))),
        _ => None,
    })
}

fn counted_member(counted: Counted, number: i64, name: &str) -> Option<Value> {
    match (counted, name) {
        (_, "String") => Some(Value::text(counted_text(counted, number))),
        (Counted::Duration, "Hours") => Some(Value::Float(number as f64 / 3_600e9)),
        (Counted::Duration, "Minutes") => Some(Value::Float(number as f64 / 60e9)),
        (Counted::Duration, "Seconds") => Some(Value::Float(number as f64 / 1e9)),
        (Counted::Duration, "Milliseconds") => Some(Value::Int(number / 1_000_000)),
        (Counted::Duration, "Nanoseconds") => Some(Value::Int(number)),
        _ => None,
    }
}

fn time_member(seconds: i64, name: &str, args: &[Value]) -> Outcome<Option<Value>> {
    if let ("Format", [layout]) = (name, args) {
        return Ok(Some(Value::text(go_time(seconds, text(name, layout)?))));
    }
    if !args.is_empty() {
        return Ok(time_beside(seconds, name, args));
    }
    let part = |layout: &str| go_time(seconds, layout).parse().ok().map(Value::Int);
    let counted = |counted, number| Some(Value::object(Object::Counted(counted, number)));
    Ok(match name {
        "Unix" => Some(Value::Int(seconds)),
        "UnixMilli" => Some(Value::Int(seconds.saturating_mul(1000))),
        "UnixMicro" => Some(Value::Int(seconds.saturating_mul(1_000_000))),
        "Nanosecond" => Some(Value::Int(0)),
        "UnixNano" => Some(Value::Int(seconds.saturating_mul(1_000_000_000))),
        "Year" => part("2006"),
        "Month" => go_time(seconds, "1").parse().ok().and_then(|month| counted(Counted::Month, month)),
        "Weekday" => counted(Counted::Weekday, weekday(seconds)),
        "YearDay" => Some(Value::Int(year_day(seconds))),
        "IsZero" => Some(Value::Bool(seconds == time_zero())),
        "Day" => part("2"),
        "Hour" => part("15"),
        "Minute" => part("4"),
        "Second" => part("5"),
        "UTC" | "Local" => Some(Value::object(Object::Time(seconds))),
        "String" => Some(Value::text(go_time(seconds, "2006-01-02 15:04:05 -0700 MST"))),
        _ => None,
    })
}

/// Methods of a time that take another one, or how far to go.
fn time_beside(seconds: i64, name: &str, args: &[Value]) -> Option<Value> {
    let time = |seconds| Some(Value::object(Object::Time(seconds)));
    if let ("AddDate", [years, months, days]) = (name, args) {
        return time(later(seconds, [years.whole()?, months.whole()?, days.whole()?]));
    }
    let [other] = args else { return None };
    if name == "Add" {
        return time(seconds.saturating_add(other.whole()?.div_euclid(1_000_000_000)));
    }
    let Value::Object(other) = other else { return None };
    let Object::Time(other) = &**other else { return None };
    match name {
        "Sub" => {
            let nanoseconds = seconds.saturating_sub(*other).saturating_mul(1_000_000_000);
            Some(Value::object(Object::Counted(Counted::Duration, nanoseconds)))
        }
        "Before" => Some(Value::Bool(seconds < *other)),
        "After" => Some(Value::Bool(seconds > *other)),
        "Equal" => Some(Value::Bool(seconds == *other)),
        _ => None,
    }
}
