//! `values.schema.json`: JSON Schema as charts use it (draft 7, with what later drafts renamed).
//!
//! Formats say nothing here, and references lead only into the same file; what is behind others is not checked.

use std::collections::HashSet;

use regex::Regex;
use serde_json::Value as Json;

use super::RenderError;
use super::chart::Chart;
use super::values::Table;

/// Deepest nesting of schemas, which may refer to themselves.
const DEPTH_LIMIT: usize = 64;
/// Most checks of one schema, and values compared by them.
const WORK_LIMIT: usize = 1_000_000;
/// Most complaints told.
const COMPLAINTS: usize = 10;

/// Checks the values of a chart, and those of the charts below it, against their schemas.
///
/// # Errors
/// With all complaints, where there are some.
pub(super) fn check(chart: &Chart, values: &Table) -> Result<(), RenderError> {
    let mut complaints = Vec::new();
    check_chart(chart, &Json::Object(values.clone()), chart.name(), &mut complaints);
    complaints.truncate(COMPLAINTS);
    if complaints.is_empty() { Ok(()) } else { Err(RenderError::Schema(complaints)) }
}

fn check_chart(chart: &Chart, values: &Json, path: &str, complaints: &mut Vec<String>) {
    if let Some(bytes) = &chart.schema {
        match serde_json::from_slice::<Json>(bytes) {
            Ok(schema) => {
                let checker = Checker { root: &schema, work: std::cell::Cell::new(WORK_LIMIT) };
                let mut found = Vec::new();
                checker.check(&schema, values, "", 0, &mut found);
                complaints.extend(found.into_iter().map(|complaint| format!("{path}: {complaint}")));
            }
            Err(error) => complaints.push(format!("{path}: the schema is not JSON: {error}")),
        }
    }
    for below in &chart.charts {
        check_chart(below, &values[below.name()], &format!("{path}/{}", below.name()), complaints);
    }
}

struct Checker<'s> {
    root: &'s Json,
    work: std::cell::Cell<usize>,
}

impl Checker<'_> {
    fn fits(&self, schema: &Json, value: &Json, depth: usize) -> bool {
        let mut found = Vec::new();
        self.check(schema, value, "", depth, &mut found);
        found.is_empty()
    }

    fn spend(&self, work: usize) {
        self.work.set(self.work.get().saturating_sub(work));
    }

    fn check(&self, schema: &Json, value: &Json, path: &str, depth: usize, found: &mut Vec<String>) {
        if depth > DEPTH_LIMIT || self.work.get() == 0 {
            return;
        }
        self.spend(1);
        let mut wrong = |reason: String| {
            let path = if path.is_empty() { "(root)" } else { path };
            found.push(format!("{path}: {reason}"));
        };
        let Json::Object(schema) = schema else {
            if *schema == Json::Bool(false) {
                wrong("nothing is allowed here".to_owned());
            }
            return;
        };
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            if let Some(target) = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) {
                self.check(target, value, path, depth + 1, found);
            }
            return;
        }
        if let Some(wanted) = schema.get("type")
            && !is_of_type(value, wanted)
        {
            let wanted = wanted.to_string().replace('"', "");
            wrong(format!("invalid type: expected {wanted}, given {}", type_of(value)));
        }
        if let Some(Json::Array(allowed)) = schema.get("enum") {
            self.spend(allowed.len());
            if !allowed.iter().any(|allowed| is_same(allowed, value)) {
                wrong(format!("must be one of {}", Json::Array(allowed.clone())));
            }
        }
        if let Some(wanted) = schema.get("const")
            && !is_same(wanted, value)
        {
            wrong(format!("must be {wanted}"));
        }
        match value {
            Json::Object(map) => self.check_map(schema, map, path, depth, found),
            Json::Array(items) => self.check_list(schema, items, path, depth, found),
            Json::String(text) => check_text(schema, text, &mut wrong),
            Json::Number(number) => check_number(schema, number.as_f64().unwrap_or_default(), &mut wrong),
            Json::Null | Json::Bool(_) => {}
        }
        self.check_combined(schema, value, path, depth, found);
    }

    fn check_combined(
        &self,
        schema: &Table,
        value: &Json,
        path: &str,
        depth: usize,
        found: &mut Vec<String>,
    ) {
        let place = if path.is_empty() { "(root)" } else { path };
        let list = |key: &str| schema.get(key).and_then(Json::as_array);
        for part in list("allOf").into_iter().flatten() {
            self.check(part, value, path, depth + 1, found);
        }
        if list("anyOf").is_some_and(|any| !any.iter().any(|part| self.fits(part, value, depth + 1))) {
            found.push(format!("{place}: must fit at least one schema (anyOf)"));
        }
        if let Some(one) = list("oneOf")
            && one.iter().filter(|part| self.fits(part, value, depth + 1)).count() != 1
        {
            found.push(format!("{place}: must fit one and only one schema (oneOf)"));
        }
        if schema.get("not").is_some_and(|part| self.fits(part, value, depth + 1)) {
            found.push(format!("{place}: must not fit the schema (not)"));
        }
        if let Some(condition) = schema.get("if") {
            let branch = if self.fits(condition, value, depth + 1) { "then" } else { "else" };
            if let Some(part) = schema.get(branch) {
                self.check(part, value, path, depth + 1, found);
            }
        }
    }

    fn check_map(&self, schema: &Table, map: &Table, path: &str, depth: usize, found: &mut Vec<String>) {
        let place = if path.is_empty() { "(root)" } else { path };
        for name in schema.get("required").and_then(Json::as_array).into_iter().flatten() {
            if name.as_str().is_some_and(|name| !map.contains_key(name)) {
                found.push(format!("{place}: {} is required", name.as_str().unwrap_or_default()));
            }
        }
        check_size(schema, map.len(), ("minProperties", "maxProperties"), &mut |reason| {
            found.push(format!("{place}: {reason}"));
        });
        let properties = schema.get("properties").and_then(Json::as_object);
        let patterns: Vec<(Regex, &Json)> = schema
            .get("patternProperties")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(pattern, part)| Some((Regex::new(pattern).ok()?, part)))
            .collect();
        for (key, value) in map {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if let Some(names) = schema.get("propertyNames")
                && !self.fits(names, &Json::String(key.clone()), depth + 1)
            {
                found.push(format!("{place}: the name {key} is not allowed"));
            }
            let named = properties.and_then(|properties| properties.get(key));
            let matching = patterns.iter().filter(|(regex, _)| regex.is_match(key)).map(|(_, part)| *part);
            let parts: Vec<&Json> = named.into_iter().chain(matching).collect();
            for part in &parts {
                self.check(part, value, &below, depth + 1, found);
            }
            match schema.get("additionalProperties") {
                Some(Json::Bool(false)) if parts.is_empty() => {
                    found.push(format!("{place}: additional property {key} is not allowed"));
                }
                Some(part) if parts.is_empty() => self.check(part, value, &below, depth + 1, found),
                _ => {}
            }
        }
        self.check_dependencies(schema, map, path, depth, found);
    }

    fn check_dependencies(
        &self,
        schema: &Table,
        map: &Table,
        path: &str,
        depth: usize,
        found: &mut Vec<String>,
    ) {
        let place = if path.is_empty() { "(root)" } else { path };
        for keyword in ["dependencies", "dependentRequired", "dependentSchemas"] {
            let dependencies = schema.get(keyword).and_then(Json::as_object).into_iter().flatten();
            for (key, wanted) in dependencies.filter(|(key, _)| map.contains_key(*key)) {
                match wanted {
                    Json::Array(names) => {
                        let missing =
                            names.iter().filter_map(Json::as_str).filter(|name| !map.contains_key(*name));
                        found.extend(missing.map(|name| format!("{place}: {key} needs {name}")));
                    }
                    part => self.check(part, &Json::Object(map.clone()), path, depth + 1, found),
                }
            }
        }
    }

    /// A value whose text is that of every value [`is_same`] finds equal.
    fn comparable(&self, value: &Json) -> Json {
        self.spend(1);
        match value {
            // Zero has no sign.
            Json::Number(number) => Json::from(number.as_f64().unwrap_or_default() + 0.0),
            Json::Array(items) => items.iter().map(|item| self.comparable(item)).collect(),
            Json::Object(map) => {
                map.iter().map(|(key, value)| (key.clone(), self.comparable(value))).collect()
            }
            other => other.clone(),
        }
    }

    fn check_list(&self, schema: &Table, items: &[Json], path: &str, depth: usize, found: &mut Vec<String>) {
        let place = if path.is_empty() { "(root)" } else { path };
        check_size(schema, items.len(), ("minItems", "maxItems"), &mut |reason| {
            found.push(format!("{place}: {reason}"));
        });
        if schema.get("uniqueItems") == Some(&Json::Bool(true)) {
            let mut known = HashSet::new();
            // Their texts are compared, each with all at once.
            if !items.iter().all(|item| known.insert(self.comparable(item).to_string())) {
                found.push(format!("{place}: the items must be unique"));
            }
        }
        let (fixed, rest) = match (schema.get("prefixItems"), schema.get("items")) {
            (Some(Json::Array(fixed)), rest) => (fixed.as_slice(), rest),
            (_, Some(Json::Array(fixed))) => (fixed.as_slice(), schema.get("additionalItems")),
            (_, rest) => (&[][..], rest),
        };
        for (at, item) in items.iter().enumerate() {
            if let Some(part) = fixed.get(at).or(rest) {
                self.check(part, item, &format!("{path}.{at}"), depth + 1, found);
            }
        }
        if let Some(part) = schema.get("contains")
            && !items.iter().any(|item| self.fits(part, item, depth + 1))
        {
            found.push(format!("{place}: no item fits (contains)"));
        }
    }
}

fn check_size(schema: &Table, size: usize, keys: (&str, &str), wrong: &mut dyn FnMut(String)) {
    let limit = |key: &str| schema.get(key).and_then(Json::as_f64);
    let size = size as f64;
    if limit(keys.0).is_some_and(|least| size < least) {
        wrong(format!("too few or too short ({})", keys.0));
    }
    if limit(keys.1).is_some_and(|most| size > most) {
        wrong(format!("too many or too long ({})", keys.1));
    }
}

fn check_text(schema: &Table, text: &str, wrong: &mut dyn FnMut(String)) {
    check_size(schema, text.chars().count(), ("minLength", "maxLength"), wrong);
    if let Some(pattern) = schema.get("pattern").and_then(Json::as_str)
        && Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
    {
        wrong(format!("does not match pattern `{pattern}`"));
    }
}

fn check_number(schema: &Table, number: f64, wrong: &mut dyn FnMut(String)) {
    let limit = |key: &str| schema.get(key).and_then(Json::as_f64);
    let is_exclusive = |key: &str| schema.get(key) == Some(&Json::Bool(true));
    let below = |least: f64| number < least || (number == least && is_exclusive("exclusiveMinimum"));
    let above = |most: f64| number > most || (number == most && is_exclusive("exclusiveMaximum"));
    if limit("minimum").is_some_and(below) || limit("exclusiveMinimum").is_some_and(|least| number <= least) {
        wrong("too small".to_owned());
    }
    if limit("maximum").is_some_and(above) || limit("exclusiveMaximum").is_some_and(|most| number >= most) {
        wrong("too large".to_owned());
    }
    if limit("multipleOf").is_some_and(|unit| unit != 0.0 && (number / unit).fract() != 0.0) {
        wrong("no multiple of what it must be".to_owned());
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => "integer",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn is_of_type(value: &Json, wanted: &Json) -> bool {
    match wanted {
        Json::Array(any) => any.iter().any(|wanted| is_of_type(value, wanted)),
        Json::String(wanted) => {
            let given = type_of(value);
            wanted == given || (wanted == "number" && given == "integer")
        }
        _ => true,
    }
}

/// Whether two values are equal; numbers are by what they count.
fn is_same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_fit(schema: &Json, value: &Json) -> (bool, usize) {
        let checker = Checker { root: schema, work: std::cell::Cell::new(WORK_LIMIT) };
        (checker.fits(schema, value, 0), WORK_LIMIT - checker.work.get())
    }

    #[test]
    fn items_are_unique_by_what_they_are() {
        let schema = json!({"uniqueItems": true});
        for (items, expected) in [
            (json!([1, "1", true, null, [1], {"a": 1}]), true),
            (json!([1, 2, 1.0]), false),
            (json!([0, -0.0]), false),
            (json!([{"a": [1], "b": 2}, {"b": 2.0, "a": [1.0]}]), false),
        ] {
            assert_eq!(is_fit(&schema, &items).0, expected, "{items}");
        }
    }

    #[test]
    fn values_that_are_compared_are_work() {
        let mut items: Vec<u32> = (0..100_000).collect();
        let (fits, work) = is_fit(&json!({"uniqueItems": true}), &json!(items));
        assert!(fits && (100_000..100_100).contains(&work), "{work}");
        items.push(7);
        assert!(!is_fit(&json!({"uniqueItems": true}), &json!(items)).0);
        assert_eq!(is_fit(&json!({"enum": [1, 2, 3]}), &json!(3)), (true, 4));
    }
}
