//! Paths, as Go's `path` and `filepath` on Linux see them, versions, and URLs.

use super::{Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::value::{Object, Value};
use crate::helm::versions::{Constraints, Version};

pub(super) const TABLE: &[Entry] = &[
    ("base", 1, 1, |call| call.made(base(call.text(0)?))),
    ("osBase", 1, 1, |call| call.made(base(call.text(0)?))),
    ("dir", 1, 1, |call| call.made(dir(call.text(0)?))),
    ("osDir", 1, 1, |call| call.made(dir(call.text(0)?))),
    ("clean", 1, 1, |call| call.made(clean(call.text(0)?))),
    ("osClean", 1, 1, |call| call.made(clean(call.text(0)?))),
    ("ext", 1, 1, |call| call.made(extension(call.text(0)?))),
    ("osExt", 1, 1, |call| call.made(extension(call.text(0)?))),
    ("isAbs", 1, 1, |call| Ok(Value::Bool(call.text(0)?.starts_with('/')))),
    ("osIsAbs", 1, 1, |call| Ok(Value::Bool(call.text(0)?.starts_with('/')))),
    ("semver", 1, 1, semver),
    ("semverCompare", 2, 2, semver_compare),
    ("urlParse", 1, 1, url_parse),
    ("urlJoin", 1, 1, url_join),
];

fn base(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".".to_owned(),
        "" => "/".to_owned(),
        path => path.rsplit('/').next().unwrap_or(path).to_owned(),
    }
}

fn dir(path: &str) -> String {
    clean(path.rsplit_once('/').map_or("", |(dir, _)| if dir.is_empty() { "/" } else { dir }))
}

pub(super) fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            ".." if is_absolute => {}
            part => parts.push(part),
        }
    }
    match (is_absolute, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').map_or_else(String::new, |at| name[at..].to_owned())
}

fn version(call: &Call<'_>, at: usize) -> Outcome<Version> {
    let text = call.text(at)?;
    Version::parse(text).ok_or_else(|| call.wrong(format!("Invalid Semantic Version: {text}")))
}

fn semver(call: &Call<'_>) -> Outcome<Value> {
    Ok(Value::object(Object::Version(version(call, 0)?)))
}

fn semver_compare(call: &Call<'_>) -> Outcome<Value> {
    let text = call.text(0)?;
    call.run.work.steps(text.len())?;
    let constraints = Constraints::parse(text);
    let constraints = constraints.ok_or_else(|| call.wrong(format!("improper constraint: {text}")))?;
    Ok(Value::Bool(constraints.check(&version(call, 1)?)))
}

fn url_parse(call: &Call<'_>) -> Outcome<Value> {
    let text = call.text(0)?;
    call.run.work.bytes(2 * text.len() + 256)?;
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), rest),
    };
    let (mut userinfo, mut host, mut path, mut opaque) = ("", "", rest, "");
    if let Some(after) = rest.strip_prefix("//") {
        let (authority, after) = after.split_at(after.find('/').unwrap_or(after.len()));
        path = after;
        (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    } else if !scheme.is_empty() && !rest.starts_with('/') {
        (path, opaque) = ("", rest);
    }
    let hostname = match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let decoded =
        percent_decoded(path).ok_or_else(|| call.wrong(format!("parse `{text}`: invalid URL escape")))?;
    let parts = [
        ("scheme", scheme.as_str()),
        ("userinfo", userinfo),
        ("host", host),
        ("hostname", hostname),
        ("path", &decoded),
        ("query", query),
        ("opaque", opaque),
        ("fragment", fragment),
    ];
    Ok(Value::map(parts.map(|(key, value)| (key.into(), Value::text(value)))))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let code = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&code).ok()?, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn url_join(call: &Call<'_>) -> Outcome<Value> {
    let map = call.map(0)?;
    let part = |key: &str| match map.get(key) {
        None => Ok(String::new()),
        Some(Value::Text(text)) => Ok(text.to_string()),
        Some(other) => Err(call.mismatch("string", &other)),
    };
    let (scheme, opaque, host, path) = (part("scheme")?, part("opaque")?, part("host")?, part("path")?);
    let (query, fragment, userinfo) = (part("query")?, part("fragment")?, part("userinfo")?);
    let mut url = String::new();
    if !scheme.is_empty() {
        url.push_str(&format!("{scheme}:"));
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !host.is_empty() || !userinfo.is_empty() {
            if !host.is_empty() || !path.is_empty() || !userinfo.is_empty() {
                url.push_str("//");
            }
            if !userinfo.is_empty() {
                url.push_str(&format!("{userinfo}@"));
            }
            url.push_str(&host);
        }
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            url.push('/');
        }
        url.push_str(&path);
    } else {
        url.push_str(&opaque);
    }
    if !query.is_empty() {
        url.push_str(&format!("?{query}"));
    }
    if !fragment.is_empty() {
        url.push_str(&format!("#{fragment}"));
    }
    call.made(url)
}
