//! Findings as SARIF 2.1.0: one run, a rule for each lint, a result for each finding.
//!
//! Columns are counted in characters from 1, and an end is one past the last (SARIF §3.30).

use std::collections::BTreeMap;
use std::fmt::Write;

use frontend::{LINTS, Label, Lint};
use serde_json::{Value, json};
use solver::{Lines, SourceFile};

use crate::report::Page;

/// The schema that the document follows.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Where the pages of lints are read.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The document for the findings in a text.
pub(super) fn document(source: &SourceFile, pages: &[Page]) -> Value {
    let mut rules: Vec<Value> = LINTS.iter().map(lint).collect();
    let mut indices: BTreeMap<&str, usize> =
        LINTS.iter().enumerate().map(|(index, lint)| (lint.name, index)).collect();
    for page in pages {
        indices.entry(page.code).or_insert_with(|| {
            rules.push(error(page.code));
            rules.len() - 1
        });
    }
    let (lines, uri) = (source.lines(), uri(&source.name));
    let results = pages.iter().map(|page| {
        let place = |label: &Label| location(&lines, &uri, label);
        let labels = page.place.as_ref().map_or(&[][..], |(_, labels)| labels.as_slice());
        let related = labels.iter().skip(1).enumerate().map(|(number, label)| {
            let mut location = place(label);
            location["id"] = json!(number + 1);
            location["message"] = json!({ "text": label.text });
            location
        });
        json!({
            "ruleId": page.code,
            "ruleIndex": indices[page.code],
            "level": page.level(),
            "message": { "text": message(page) },
            "locations": labels.iter().take(1).map(place).collect::<Vec<_>>(),
            "relatedLocations": related.collect::<Vec<_>>(),
        })
    });
    let results: Vec<Value> = results.collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "sealer",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": REPOSITORY,
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn lint(lint: &Lint) -> Value {
    json!({
        "id": lint.name,
        "shortDescription": { "text": lint.doc },
        "helpUri": format!("{REPOSITORY}/blob/main/{}", lint.page()),
        "defaultConfiguration": { "level": "warning" },
    })
}

/// Errors have no page: their message and hints say all.
fn error(code: &str) -> Value {
    json!({
        "id": code,
        "shortDescription": { "text": "a mistake that stops the build" },
        "defaultConfiguration": { "level": "error" },
    })
}

/// What happened, and what to do, one a line.
fn message(page: &Page) -> String {
    let hints = page.hints.iter().map(|hint| format!("\nhint: {hint}"));
    format!("{}{}", page.message, hints.collect::<String>())
}

fn location(lines: &Lines<'_>, uri: &str, label: &Label) -> Value {
    let (start, end) = (lines.position(label.span.start), lines.position(label.span.end));
    json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri },
            "region": {
                "startLine": start.line,
                "startColumn": start.column,
                "endLine": end.line,
                "endColumn": end.column,
            },
        },
    })
}

/// A path as a URI: relative as it was typed, absolute behind `file://` (RFC 3986, RFC 8089).
fn uri(path: &str) -> String {
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') {
            uri.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("ctx/Kubefile"), "ctx/Kubefile");
        assert_eq!(uri("/a b/Kubefile.é:1"), "file:///a%20b/Kubefile.%C3%A9%3A1");
    }
}
