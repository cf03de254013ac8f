//! Comments that trim what stands before them and not what stands behind (`{{- /* … */}}`), for `gotmpl`, which trims both.
//!
//! It knows of templates no more than where their actions end.

use std::borrow::Cow;

/// What Go trims.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// A template whose comments `gotmpl` reads as Go does: what one trims before it stands in it, so that all lines keep their
/// numbers.
pub(super) fn rewritten(text: &str) -> Cow<'_, str> {
    if !text.contains("/*") {
        return text.into();
    }
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(open) = text[at..].find("{{").map(|found| at + found) {
        let body = text[open + 2..].strip_prefix('-').filter(|body| body.starts_with(BLANKS));
        let (body, trims) = body.map_or((&text[open + 2..], false), |body| (body, true));
        let Some(comment) = body.trim_start().strip_prefix("/*") else {
            let Some(end) = end_of_action(body) else { break };
            at = text.len() - body.len() + end;
            continue;
        };
        let Some((_, behind)) = comment.split_once("*/") else { break };
        let Some((close, rest)) = behind.split_once("}}") else { break };
        if trims && close.trim().is_empty() {
            let kept = at + text[at..open].trim_end_matches(BLANKS).len();
            let inside = text.len() - comment.len();
            let blanks = body.len() - body.trim_start().len();
            out.extend([&text[copied..kept], "{{/*", &text[kept..open], &body[..blanks]]);
            copied = inside;
        }
        at = text.len() - rest.len();
    }
    if copied == 0 {
        return text.into();
    }
    out.push_str(&text[copied..]);
    out.into()
}

/// Where an action ends that begins with the text, quotes in it passed over.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (quote, byte) {
            (None, b'"' | b'\'' | b'`') => quote = Some(byte),
            (None, b'}') if text.as_bytes().get(at + 1) == Some(&b'}') => return Some(at + 2),
            (Some(b'"' | b'\''), b'\\') => _ = bytes.next(),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_trim_what_stands_before_them() {
        for (text, expected) in [
            ("a\n  {{- /* b */}}\nc", "a{{/*\n    b */}}\nc"),
            ("a {{- /* b\n{{ }} */ }} {{-\n/**/}} c", "a{{/*   b\n{{ }} */ }}{{/* \n*/}} c"),
            ("{{ 1 }} {{- /* b */}} {{- 2 }}", "{{ 1 }}{{/*   b */}} {{- 2 }}"),
            ("a {{- /* b */ -}} {{/* c */}} {{ /* d */ -}}", ""),
            ("{{ \"\\\"{{- /* a */}}\" }} {{ `{{- /* b */}}` }} {{ '\"' }} {{-/* c */}}", ""),
            ("a {{- /* b", ""),
            ("a {{- /* b */ c }} d", ""),
            ("{{ \"a }} {{- /* b */}}", ""),
        ] {
            let expected = if expected.is_empty() { text } else { expected };
            assert_eq!(rewritten(text), expected, "{text}");
            assert_eq!(rewritten(text).lines().count(), text.lines().count(), "{text}");
        }
    }
}
