//! YAML, JSON and TOML, read and written as Helm does.

use serde_json::Value as Json;

use super::toml::to_toml;
use super::{Call, Entry};
use crate::helm::fault::{FaultKind, Outcome};
use crate::helm::value::Value;
use crate::yaml::{from_yaml_counted, json_float, to_yaml};

pub(super) const TABLE: &[Entry] = &[
    ("toYaml", 1, 1, |call| or_empty(yaml(call))),
    ("mustToYaml", 1, 1, yaml),
    ("toYamlPretty", 1, 1, |call| or_empty(yaml(call))),
    ("fromYaml", 1, 1, |call| parsed(call, from_yaml_text(call)?, false)),
    ("fromYamlArray", 1, 1, |call| parsed(call, from_yaml_text(call)?, true)),
    ("toJson", 1, 1, |call| or_empty(json(call, "", true))),
    ("mustToJson", 1, 1, |call| json(call, "", true)),
    ("toPrettyJson", 1, 1, |call| or_empty(json(call, "  ", true))),
    ("mustToPrettyJson", 1, 1, |call| json(call, "  ", true)),
    ("toRawJson", 1, 1, |call| or_empty(json(call, "", false))),
    ("mustToRawJson", 1, 1, |call| json(call, "", false)),
    ("fromJson", 1, 1, |call| parsed(call, from_json_text(call)?, false)),
    ("mustFromJson", 1, 1, must_from_json),
    ("fromJsonArray", 1, 1, |call| parsed(call, from_json_text(call)?, true)),
    ("toToml", 1, 1, |call| call.made(to_toml(&call.arg(0).to_json(&call.run.work)?))),
    ("mustToToml", 1, 1, |call| call.made(to_toml(&call.arg(0).to_json(&call.run.work)?))),
];

fn yaml(call: &Call<'_>) -> Outcome<Value> {
    let text = to_yaml(&call.arg(0).to_json(&call.run.work)?);
    call.made(text.strip_suffix('\n').unwrap_or(&text))
}

/// What cannot be written is the empty text.
fn or_empty(made: Outcome<Value>) -> Outcome<Value> {
    match made {
        Err(fault) if fault.kind == FaultKind::Failed => Ok(Value::text("")),
        made => made,
    }
}

fn from_yaml_text(call: &Call<'_>) -> Outcome<Result<Json, String>> {
    let text = call.text(0)?;
    call.run.work.bytes(4 * text.len())?;
    let (read, copied) = from_yaml_counted(text);
    // Of what is no YAML in the end as well.
    call.run.work.bytes(copied)?;
    Ok(read.map_err(|error| format!("error converting YAML to JSON: yaml: {error}")))
}

fn from_json_text(call: &Call<'_>) -> Outcome<Result<Json, String>> {
    let text = call.text(0)?;
    call.run.work.bytes(4 * text.len())?;
    Ok(serde_json::from_str(text).map_err(|error| error.to_string()))
}

/// A map or a list; the message where it is neither, in the shape of what was asked for.
fn parsed(call: &Call<'_>, json: Result<Json, String>, list: bool) -> Outcome<Value> {
    let reason = match json {
        Ok(Json::Null) => return Ok(if list { Value::list(Vec::new()) } else { Value::map([]) }),
        Ok(json) if json.is_array() == list && (list || json.is_object()) => {
            let value = Value::from_json(&json);
            // Aliases can make much of a short text.
            drop(value.to_json(&call.run.work)?);
            return Ok(value);
        }
        Ok(other) => {
            let found = match other {
                Json::Array(_) => "array",
                Json::Object(_) => "object",
                Json::String(_) => "string",
                Json::Number(_) => "number",
                Json::Bool(_) | Json::Null => "bool",
            };
            let wanted = if list { "[]interface {}" } else { "map[string]interface {}" };
            let reason = format!("json: cannot unmarshal {found} into Go value of type {wanted}");
            if call.name.contains("Yaml") {
                format!("error unmarshaling JSON: while decoding JSON: {reason}")
            } else {
                reason
            }
        }
        Err(reason) => reason,
    };
    Ok(if list {
        Value::texts([reason.as_str()])
    } else {
        Value::map([("Error".into(), Value::text(reason))])
    })
}

fn must_from_json(call: &Call<'_>) -> Outcome<Value> {
    let json = from_json_text(call)?.map_err(|reason| call.wrong(reason))?;
    Ok(Value::from_json(&json))
}

fn json(call: &Call<'_>, indent: &str, escapes_html: bool) -> Outcome<Value> {
    let mut out = String::new();
    write(&call.arg(0).to_json(&call.run.work)?, indent, escapes_html, 0, &mut out);
    call.made(out)
}

/// Go's JSON: its floats, and `<`, `>` and `&` escaped unless asked not to.
fn write(json: &Json, indent: &str, escapes_html: bool, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        if !indent.is_empty() {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    match json {
        Json::Array(items) if !items.is_empty() => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(out, depth + 1);
                write(item, indent, escapes_html, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Json::Object(map) if !map.is_empty() => {
            out.push('{');
            for (at, (key, value)) in map.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(out, depth + 1);
                write_text(key, escapes_html, out);
                out.push_str(if indent.is_empty() { ":" } else { ": " });
                write(value, indent, escapes_html, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        Json::String(text) => write_text(text, escapes_html, out),
        Json::Number(number) if number.is_f64() => {
            out.push_str(&json_float(number.as_f64().unwrap_or_default()))
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_text(text: &str, escapes_html: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' if escapes_html => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            '\u{0}'..='\u{1f}' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
