//! TOML as `toToml` writes it (BurntSushi/toml): plain keys first, then tables, each level indented by two spaces.

use serde_json::{Map, Value as Json};

use crate::yaml::json_float;

/// A map as TOML; anything else has no TOML, and gives the library's complaint.
pub(super) fn to_toml(json: &Json) -> String {
    let Json::Object(map) = json else {
        return "toml: top-level values must be Go maps or structs".to_owned();
    };
    let mut out = String::new();
    if has_nothing(json) {
        return "toml: cannot encode array with nil element".to_owned();
    }
    table(map, &mut Vec::new(), &mut out);
    out
}

/// Whether a list has an item that is nothing.
fn has_nothing(json: &Json) -> bool {
    match json {
        Json::Array(items) => items.iter().any(|item| item.is_null() || has_nothing(item)),
        Json::Object(map) => map.values().any(has_nothing),
        _ => false,
    }
}

fn table<'j>(map: &'j Map<String, Json>, path: &mut Vec<&'j str>, out: &mut String) {
    let indent = "  ".repeat(path.len());
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null() && !is_table(value)) {
        out.push_str(&format!("{indent}{} = ", spelled(key)));
        inline(value, out);
        out.push('\n');
    }
    for (key, value) in map.iter().filter(|(_, value)| is_table(value)) {
        path.push(key);
        let name = path.iter().map(|key| spelled(key)).collect::<Vec<_>>().join(".");
        let tables: Vec<&Map<String, Json>> = match value {
            Json::Array(items) => items.iter().filter_map(Json::as_object).collect(),
            _ => value.as_object().into_iter().collect(),
        };
        for map in tables {
            if path.len() == 1 && !out.is_empty() {
                out.push('\n');
            }
            let header = if value.is_array() { format!("[[{name}]]") } else { format!("[{name}]") };
            out.push_str(&format!("{indent}{header}\n"));
            table(map, path, out);
        }
        path.pop();
    }
}

fn is_table(json: &Json) -> bool {
    match json {
        Json::Object(_) => true,
        Json::Array(items) => !items.is_empty() && items.iter().all(Json::is_object),
        _ => false,
    }
}

fn spelled(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { quoted(key) }
}

fn inline(json: &Json, out: &mut String) {
    match json {
        Json::String(text) => out.push_str(&quoted(text)),
        Json::Number(number) if number.is_f64() => {
            let text = json_float(number.as_f64().unwrap_or_default());
            out.push_str(&text);
            if !text.contains(['.', 'e']) {
                out.push_str(".0");
            }
        }
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                inline(item, out);
            }
            out.push(']');
        }
        Json::Object(map) => {
            out.push('{');
            for (at, (key, value)) in map.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                out.push_str(&format!("{} = ", spelled(key)));
                inline(value, out);
            }
            out.push('}');
        }
        Json::Null => out.push_str("\"\""),
        other => out.push_str(&other.to_string()),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{0}'..='\u{1f}' | '\u{7f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
