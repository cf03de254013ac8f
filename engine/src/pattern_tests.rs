//! Go's published cases, the dialect of ignore files, and a naive matcher to compare with.

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The facts of Go's published table for `filepath.Match`: pattern, paths that match, paths that do not.
const GO_MATCHES: &[(&str, &[&str], &[&str])] = &[
    ("abc", &["abc"], &["ab", "abcd"]),
    ("*", &["abc"], &["a/b"]),
    ("*c", &["abc"], &["ab"]),
    ("a*", &["a", "abc"], &["ab/c"]),
    ("a*/b", &["abc/b"], &["a/c/b"]),
    ("a*b*c*d*e*/f", &["axbxcxdxe/f", "axbxcxdxexxx/f"], &["axbxcxdxe/xxx/f", "axbxcxdxexxx/fff"]),
    ("a*b?c*x", &["abxbbxdbxebxczzx"], &["abxbbxdbxebxczzy"]),
    ("ab[c]", &["abc"], &["abd"]),
    ("ab[b-d]", &["abc"], &["abe"]),
    ("ab[e-g]", &[], &["abc"]),
    ("ab[^c]", &["abd"], &["abc"]),
    ("ab[^b-d]", &[], &["abc"]),
    ("ab[^e-g]", &["abc"], &[]),
    ("a\\*b", &["a*b"], &["ab"]),
    ("a?b", &["a\u{263a}b"], &["a/b"]),
    ("a[^a]b", &["a\u{263a}b"], &["a/b"]),
    ("a???b", &[], &["a\u{263a}b"]),
    ("a[^a][^a][^a]b", &[], &["a\u{263a}b"]),
    ("[a-\u{3b6}]*", &["\u{3b1}"], &[]),
    ("*[a-\u{3b6}]", &[], &["A"]),
    ("a*b", &[], &["a/b"]),
    ("[\\]a]", &["]"], &["b"]),
    ("[\\-]", &["-"], &["\\"]),
    ("[x\\-]", &["x", "-"], &["z"]),
    ("[\\-x]", &["x", "-"], &["a"]),
    ("*x", &["xxx"], &[]),
    ("[z-a]", &[], &["m"]),
];

#[test]
fn go_table_holds() {
    for (text, matching, others) in GO_MATCHES {
        let pattern = pattern(text);
        for path in *matching {
            assert!(pattern.matches(path.as_bytes()), "`{text}` should match `{path}`");
        }
        for path in *others {
            assert!(!pattern.matches(path.as_bytes()), "`{text}` should not match `{path}`");
        }
    }
}

#[test]
fn bad_patterns_are_named() {
    let bad = "[]a] [-] [x-] [-x] \\ [a-b-c] [ [^ [^bc a[ a/b[ a\\/b [a/b] [] nonexist/[]";
    for text in bad.split(' ') {
        let error = Pattern::new(text).expect_err(text);
        assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
    }
    assert_eq!(Pattern::new(&"a".repeat(4096)).unwrap_err(), PatternError::TooLong { bytes: 4096 });
    assert!(Pattern::ignore("[Local-Only]").is_err(), "moby#52203");
}

#[test]
fn double_star_spans_components() {
    let check = |text: &str, matching: &str, others: &str| {
        for path in matching.split_whitespace() {
            assert!(pattern(text).matches(path.as_bytes()), "`{text}` should match `{path}`");
        }
        for path in others.split_whitespace() {
            assert!(!pattern(text).matches(path.as_bytes()), "`{text}` should not match `{path}`");
        }
    };
    check("a/**/b", "a/b a/x/b a/x/y/b", "a ab a/xb a/b/c");
    check("**/b", "b a/b a/a/b", "ab a/ab b/a");
    check("a/**", "a/b a/b/c", "a ab");
    check("**", "a a/b", "");
    check("**/**", "a a/b a/b/c", "");
    check("a**", "a ab", "a/b");
    check("**a", "a ba", "b/a");
    check("***", "a abc", "a/b");
    check("**/a*/**/z", "a/z x/ab/z x/ay/y/z", "x/z z a/zz");
    assert!(!pattern("**").matches(b""), "`**` should not match the root");
    assert!(!pattern("*").matches(b""), "`*` should not match the root");
}

#[test]
fn root_is_matched_by_dot_alone() {
    for text in ["", "."] {
        let root = pattern(text);
        assert!(root.matches(b"") && root.is_literal() && root.literal_prefix().is_empty());
        assert!(!root.matches(b"a") && root.matches_or_parent(b"a/b") && !root.could_match_below(b""));
        assert_eq!(root.components().count(), 0);
    }
}

#[test]
fn names_need_not_be_text() {
    assert!(pattern("a?b").matches(b"a\xffb"));
    assert!(pattern("a*").matches(b"a\xff\xfe"));
    assert!(pattern("[^x]").matches(b"\xff"));
    assert!(!pattern("a?b").matches(b"a\xff\xffb"));
    assert!(!pattern("\u{fffd}").matches(b"\xff"));
}

#[test]
fn literal_parts_are_known() {
    let prefix = |text| pattern(text).literal_prefix().to_owned();
    assert_eq!(prefix("a/b/c"), "a/b/c");
    assert_eq!(prefix("a/b*/c"), "a");
    assert_eq!(prefix("*/c"), "");
    assert_eq!(prefix("a/\\*/c"), "a");
    assert!(pattern("a/b").is_literal() && !pattern("a/\\*").is_literal());
    assert_eq!(pattern("a/**/c").components().collect::<Vec<_>>(), ["a", "**", "c"]);
}

#[test]
fn walk_is_pruned_where_nothing_can_match() {
    let below = |text, dir: &str| pattern(text).could_match_below(dir.as_bytes());
    assert!(below("a/b/c", "") && below("a/b/c", "a") && below("a/b/c", "a/b"));
    assert!(
        !below("a/b/c", "a/b/c") && !below("a/b/c", "b") && !below("a/b/c", "a/bb") && !below("ab/c", "a")
    );
    assert!(below("a*/c", "ab") && !below("a*/c", "b") && !below("a*/c", "ab/c") && !below("a*/c", "ab/d"));
    assert!(below("**/c", "x/y") && below("a/**", "a") && below("a/**", "a/x") && !below("a/**", "b"));
    assert!(below("a/**/c", "a/c/c") && !below("a/?*", "a/b") && !below("*", "a"));
}

#[test]
fn long_patterns_stay_polynomial() {
    let path = "a".repeat(3000);
    assert!(!pattern(&"*a".repeat(1500)).matches(format!("{path}b").as_bytes()));
    let deep = "a/".repeat(1000);
    assert!(!pattern(&format!("{}b", "**/a/".repeat(60))).matches(format!("{deep}c").as_bytes()));
    assert!(
        pattern(&format!("{}?", "ab/".repeat(200))).matches(format!("{}c", "ab/".repeat(200)).as_bytes())
    );
    assert!(
        pattern(&format!("?{}*", "ab/".repeat(200))).matches(format!("x{}c", "ab/".repeat(200)).as_bytes())
    );
}

/// The definition, word for word, at whatever cost.
fn naive_path(pattern: &[&str], path: &[&str]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ["**"] => !path.is_empty(),
        ["**", rest @ ..] => (0..=path.len()).any(|skip| naive_path(rest, &path[skip..])),
        [first, rest @ ..] => path.split_first().is_some_and(|(name, names)| {
            naive_name(first.as_bytes(), name.as_bytes()) && naive_path(rest, names)
        }),
    }
}

fn naive_name(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|skip| naive_name(rest, &name[skip..])),
        [b'?', rest @ ..] => !name.is_empty() && naive_name(rest, &name[1..]),
        [b'[', b'^', low, b'-', high, b']', rest @ ..] => {
            !name.is_empty() && !(low..=high).contains(&&name[0]) && naive_name(rest, &name[1..])
        }
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
            name.first() == Some(byte) && naive_name(rest, &name[1..])
        }
    }
}

fn split(text: &str) -> Vec<&str> {
    text.split('/').filter(|component| !component.is_empty()).collect()
}

proptest! {
    #[test]
    fn agrees_with_the_definition(
        text in r"(\*\*|([ab*?]|\[\^a-b\]|\\\*){1,4})(/(\*\*|[ab*?]{1,3})){0,4}",
        path in "[abc*]{1,4}(/[abc]{1,3}){0,5}",
    ) {
        let compiled = pattern(&text);
        let (wanted, names) = (split(&text), split(&path));
        prop_assert_eq!(compiled.matches(path.as_bytes()), naive_path(&wanted, &names));
        let parents = (0..=names.len()).any(|depth| naive_path(&wanted, &names[..depth]));
        prop_assert_eq!(compiled.matches_or_parent(path.as_bytes()), parents);
        if compiled.matches(path.as_bytes()) {
            for dir in ancestors(path.as_bytes()) {
                prop_assert!(compiled.could_match_below(dir));
            }
            let prefix = compiled.literal_prefix();
            let below = format!("{prefix}/");
            prop_assert!(prefix.is_empty() || path == prefix || path.starts_with(&below));
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,12}", path in prop::collection::vec(any::<u8>(), 0..12)) {
        for compiled in [Pattern::new(&text), Pattern::ignore(&text)].into_iter().flatten() {
            compiled.matches_or_parent(&path);
            compiled.could_match_below(&path);
        }
    }
}
