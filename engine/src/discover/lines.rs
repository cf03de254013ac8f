//! Sealer's line rule (spec §3.5), and which words it finds are no images.

use std::collections::BTreeSet;

/// What stands where an image could, and never is one: the types of schemas, and YAML's words.
const WORDS: [&str; 19] = [
    "array", "bool", "boolean", "false", "float", "int", "integer", "list", "map", "nil", "none", "null",
    "number", "object", "off", "on", "string", "true", "yes",
];

/// The lines of a list of images that say something, with their numbers, without quotes. Comments begin a line or follow a
/// blank.
pub(crate) fn listed(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let bare = |line| without_comment(line).trim().trim_matches(['\'', '"']).trim();
    (1..).zip(text.lines().map(bare)).filter(|(_, line)| !line.is_empty())
}

/// What stands before a `#` that begins the line or follows a blank.
fn without_comment(line: &str) -> &str {
    if !line.contains('#') {
        return line;
    }
    let mut is_after_blank = true;
    for (at, char) in line.char_indices() {
        if char == '#' && is_after_blank {
            return &line[..at];
        }
        is_after_blank = char.is_whitespace();
    }
    line
}

/// The line rule: without quotes, commas and spaces, what stands left of the first colon ends in `image`. Behind a blank and
/// a `#` is a comment, which sealer takes for a part of the reference, and then for none.
pub(super) fn by_line(text: &str) -> Vec<(u64, String)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let bare: String =
            without_comment(line).chars().filter(|c| !matches!(c, '"' | ',' | ' ' | '\r')).collect();
        let Some((left, right)) = bare.split_once(':') else { continue };
        let right = right.trim_matches(['\'', '"', '\t', ' ']);
        if left.trim_end().ends_with("image")
            && !left.contains('#')
            && is_reference(right)
            && seen.insert(right.to_owned())
        {
            found.push((number, right.to_owned()));
        }
    }
    found
}

/// Whether distribution's reference grammar accepts a text.
pub(super) fn is_reference(text: &str) -> bool {
    crate::registry::Reference::normalised(text).is_ok()
}

/// Whether a reference is a word that cannot be an image.
pub(super) fn is_word(reference: &str) -> bool {
    WORDS.binary_search(&reference).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_rule_is_sealers() {
        for (line, reference) in [
            ("image: nginx", Some("nginx")),
            ("  - image: \"quay.io/a/b:v1\"", Some("quay.io/a/b:v1")),
            ("init-image: 'a:1',", Some("a:1")),
            ("fooimage: x", Some("x")),
            ("fooImage: x", None),
            ("images: x", None),
            ("imageTag: x", None),
            ("# image: x", None),
            ("image: {{ .Values.image }}", None),
            ("image:", None),
            ("image: >-", None),
            ("image: nginx # comment", Some("nginx")),
            ("image: nginx#1", None),
            ("name: a # image: x", None),
            ("image: Upper/Case", None),
        ] {
            let found = by_line(line).into_iter().next().map(|(_, reference)| reference);
            assert_eq!(found.as_deref(), reference, "{line}");
        }
    }

    #[test]
    fn lists_have_comments_quotes_and_blanks() {
        let text = "\u{feff}# x\n\n \"nginx:1\" \nredis:2\t# a cache\n'a#b'\nbad ref";
        let found: Vec<_> = listed(text).collect();
        assert_eq!(found, [(3, "nginx:1"), (4, "redis:2"), (5, "a#b"), (6, "bad ref")]);
    }

    #[test]
    fn types_and_truths_are_no_images() {
        assert!(WORDS.is_sorted());
        for (word, expected) in [("string", true), ("true", true), ("nginx", false), ("string:1", false)] {
            assert_eq!(is_word(word), expected, "{word}");
        }
    }
}
