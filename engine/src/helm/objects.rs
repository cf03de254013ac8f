//! Fields and methods of the values that have some: `.Files.Get`, `.Capabilities.APIVersions.Has` and their like.

use std::cmp::Ordering;

use super::fault::{Fault, Outcome};
use super::functions::go_time;
use super::value::{Object, Value};
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
        Object::Record(record) => {
            let field = record.get(name).filter(|_| args.is_empty());
            let unknown = || format!("can't evaluate field {name} in type {}", record.type_name);
            return field.cloned().ok_or_else(|| Fault::failed(unknown()));
        }
        Object::KubeVersion(_) => None,
    };
    found.ok_or_else(|| {
        let kind = object.type_name();
        // What is not known here may well exist in Go.
        Fault::lacking(format!("`{name}` of a {kind}, with {} arguments", args.len()))
    })
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
        _ => None,
    })
}

fn time_member(seconds: i64, name: &str, args: &[Value]) -> Outcome<Option<Value>> {
    if let ("Format", [layout]) = (name, args) {
        return Ok(Some(Value::text(go_time(seconds, text(name, layout)?))));
    }
    if !args.is_empty() {
        return Ok(None);
    }
    let part = |layout: &str| go_time(seconds, layout).parse().ok().map(Value::Int);
    Ok(match name {
        "Unix" => Some(Value::Int(seconds)),
        "UnixNano" => Some(Value::Int(seconds.saturating_mul(1_000_000_000))),
        "Year" => part("2006"),
        "Month" => Some(Value::text(go_time(seconds, "January"))),
        "Day" => part("2"),
        "Hour" => part("15"),
        "Minute" => part("4"),
        "Second" => part("5"),
        "UTC" | "Local" => Some(Value::object(Object::Time(seconds))),
        "String" => Some(Value::text(go_time(seconds, "2006-01-02 15:04:05 -0700 MST"))),
        _ => None,
    })
}
