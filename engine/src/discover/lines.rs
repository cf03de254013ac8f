//! Sealer's line rule (spec §3.5), and which words it finds are no images.

use std::collections::BTreeSet;

/// What stands where an image could, and never is one: the types of schemas, and YAML's words.
const WORDS: [&str; 19] = [
    "array", "bool", "boolean", "false", "float", "int", "integer", "list", "map", "nil", "none", "null",
    "number", "object", "off", "on", "string", "true", "yes",
];

/// One reference a line; `#` and blank lines do not count.
pub(super) fn listed(text: &str) -> Vec<(u64, String)> {
    let lines = (1..).zip(text.lines().map(|line| line.trim().trim_matches(['\'', '"'])));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.filter(|(_, line)| is_reference(line)).map(|(number, line)| (number, line.to_owned())).collect()
}

/// The line rule: without quotes, commas and spaces, what stands left of the first colon ends in `image`.
pub(super) fn by_line(text: &str) -> Vec<(u64, String)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let bare: String = line.chars().filter(|c| !matches!(c, '"' | ',' | ' ' | '\r')).collect();
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
            ("image: nginx # comment", None),
            ("image: Upper/Case", None),
        ] {
            let found = by_line(line).into_iter().next().map(|(_, reference)| reference);
            assert_eq!(found.as_deref(), reference, "{line}");
        }
    }

    #[test]
    fn lists_have_comments_quotes_and_blanks() {
        assert_eq!(listed("# x\n\n \"nginx:1\" \nbad ref\n"), [(3, "nginx:1".to_owned())]);
    }

    #[test]
    fn types_and_truths_are_no_images() {
        assert!(WORDS.is_sorted());
        for (word, expected) in [("string", true), ("true", true), ("nginx", false), ("string:1", false)] {
            assert_eq!(is_word(word), expected, "{word}");
        }
    }
}
