//! What scalars mean, how values are written (as Helm writes them), and that what is written is read again.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn plain_scalars_mean_what_go_reads() {
    for (text, expected) in [
        ("", json!(null)),
        ("~", json!(null)),
        ("yes", json!(true)),
        ("n", json!(false)),
        ("Off", json!(false)),
        ("0644", json!(420.0)),
        ("0o17", json!(15.0)),
        ("0x1F", json!(31.0)),
        ("0b11", json!(3.0)),
        ("08", json!(8.0)),
        ("1_000", json!(1000.0)),
        ("+1", json!(1.0)),
        ("1e3", json!(1000.0)),
        (".5", json!(0.5)),
        ("1.", json!(1.0)),
        ("1.2.3", json!("1.2.3")),
        ("v1", json!("v1")),
        ("190:20:30", json!("190:20:30")),
        ("2001-01-01", json!("2001-01-01")),
        ("1e", json!("1e")),
        ("infinity", json!("infinity")),
        ("-", json!("-")),
    ] {
        let text = if text == "-" { "'-'" } else { text };
        let read = from_yaml(&format!("a: {text}\n")).unwrap();
        assert_eq!(read["a"], expected, "{text}");
    }
    for (text, expected) in [
        ("!!str 1", json!("1")),
        ("'1'", json!("1")),
        ("!!int '1'", json!(1.0)),
        ("!!bool \"yes\"", json!(true)),
        ("!Ref 1", json!("1")),
        ("!Ref", json!("")),
        ("! ~", json!("~")),
        ("<<", json!("<<")),
    ] {
        assert_eq!(from_yaml(&format!("a: {text}\n")).unwrap()["a"], expected, "{text}");
    }
    assert!(from_yaml("a: .inf").is_err());
}

#[test]
fn keys_merges_and_aliases_are_gos() {
    for (text, expected) in [
        ("1: a\ntrue: b\n1.5: c\n", json!({"1": "a", "true": "b", "1.5": "c"})),
        (
            "0x10: a\n999999999999999999: b\n1000000.0: c\n3.14159265358979: d\n.inf: e\n",
            json!({"16": "a", "999999999999999999": "b", "1e+06": "c", "3.1415927": "d", ".inf": "e"}),
        ),
        ("a: 1\na: 2\n", json!({"a": 2.0})),
        ("a: &x {b: 1}\nc: *x\n", json!({"a": {"b": 1.0}, "c": {"b": 1.0}})),
        (
            "a: &x {b: 1, c: 1}\nd: {<<: *x, b: 2}\n",
            json!({"a": {"b": 1.0, "c": 1.0}, "d": {"b": 2.0, "c": 1.0}}),
        ),
        ("a: {<<: [{b: 1}, {b: 2, c: 2}]}\n", json!({"a": {"b": 1.0, "c": 2.0}})),
        // What is merged goes over what stands before it, and in whole: tables are not united.
        (
            "a: &x {b: 1, d: {e: 1}}\nc: {b: 2, d: {f: 2}, <<: *x, g: 3}\n",
            json!({"a": {"b": 1.0, "d": {"e": 1.0}}, "c": {"b": 1.0, "d": {"e": 1.0}, "g": 3.0}}),
        ),
        ("a: {<<: {b: 1}, b: 2, <<: {b: 3}}\n", json!({"a": {"b": 3.0}})),
        ("- a\n---\n- b\n", json!(["a"])),
        // What stands behind the first document need be none.
        ("- a\n---\n[", json!(["a"])),
        ("# nothing\n", json!(null)),
    ] {
        assert_eq!(from_yaml(text).unwrap(), expected, "{text}");
    }
    for wrong in ["~: 1\n", "[a]: 1\n", "a: *b\n", "a: &x [*x]\n", "a: {<<: 1}\n", "a: ["] {
        assert!(from_yaml(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_block_ends_with_the_text_it_is_in() {
    for (text, expected) in [
        ("a: |\n  x", "x"),
        ("a: |+\n  x", "x"),
        ("a: >\n  x\n  y", "x y"),
        ("a: |\n  x\n   ", "x\n "),
        ("a: |\n  x\n  ", "x\n"),
        ("a: |\n  x\n", "x\n"),
    ] {
        assert_eq!(from_yaml(text).unwrap()["a"], expected, "{text:?}");
    }
}

#[test]
fn what_anchors_and_aliases_copy_is_bounded() {
    let check = |text: String| {
        let (read, copied) = from_yaml_counted(&text);
        let error = read.unwrap_err();
        assert!(error.reason.starts_with("anchors and aliases copy more"), "{error}");
        assert!((COPY_LIMIT..2 * COPY_LIMIT).contains(&copied), "{copied}");
    };
    let long = "x".repeat(2 << 20);
    let anchors: String = (0..100).map(|n| format!("&a{n} [")).collect();
    check(format!("{anchors}{long}{}", "]".repeat(100)));
    check(format!("- &a {long}\n{}", "- *a\n".repeat(100)));
    assert_eq!(from_yaml_counted("[&a b, *a, c]").1, 2 * (size_of::<Node>() + 1));
}

#[test]
fn whole_numbers_are_told_from_floats_where_that_is_asked() {
    for (text, expected) in [
        ("20210101", json!(20_210_101)),
        ("1_000_000", json!(1_000_000)),
        ("07777777", json!(0o777_7777)),
        ("-5", json!(-5)),
        ("18446744073709551615", json!(u64::MAX)),
        ("99999999999999999999", json!(1e20)),
        ("20210101.0", json!(20_210_101.0)),
        ("1e6", json!(1e6)),
    ] {
        assert_eq!(from_yaml_as_written(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn nodes_know_their_lines() {
    let documents = documents("# one\na:\n  b: x\n---\nc:\n- |\n  text\n").unwrap();
    assert_eq!(documents[0].get("a").unwrap().get("b").unwrap().line, 3);
    assert_eq!(documents[1].get("c").unwrap().items()[0].text(), Some("text\n"));
}

#[test]
fn long_lines_are_folded_and_blocks_are_indented() {
    let long = "word ".repeat(30);
    let json = json!({"a": long.trim(), "b": {"c": ["x\ny\n", {"d": [], "e": {}}]}, "f": "tab\there\n"});
    let fold = "word ".repeat(15);
    assert_eq!(
        to_yaml(&json),
        format!(
            "a: {fold}word\n  {}\nb:\n  c:\n  - |\n    x\n    y\n  - d: []\n    e: {{}}\nf: \"tab\\there\\n\"\n",
            "word ".repeat(14).trim()
        )
    );
}

#[test]
fn keys_in_lines_of_their_own_are_followed_like_items() {
    let json = json!({"a\nb": ["x", {"c": [1.0]}], "<<": {"d\n": {"e": [], "f": 1.0}}});
    let text = "<<:\n  ? |\n    d\n  : e: []\n    f: 1\n? |-\n  a\n  b\n: - x\n  - c:\n    - 1\n";
    assert_eq!(to_yaml(&json), text);
}

fn scalar() -> impl Strategy<Value = serde_json::Value> {
    let texts = prop_oneof![
        "[ -~\\n\\t]{0,12}",
        "[a-z :#-]{0,120}",
        any::<String>(),
        proptest::sample::select(
            [
                "yes",
                "~",
                "1",
                "0x1",
                "1:2",
                "- a",
                "a: b",
                "---",
                "<<",
                "a #b",
                " a",
                "\n\n",
                "\u{feff}x",
                "\u{85}"
            ]
            .to_vec()
        )
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        texts.prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
        any::<i32>().prop_map(|number| serde_json::Value::from(f64::from(number))),
        any::<f64>()
            .prop_filter("JSON has no others", |number| number.is_finite())
            .prop_map(serde_json::Value::from),
    ]
}

/// A key, but for the one that is read as something else than it was written as, in Go too.
fn key() -> impl Strategy<Value = String> {
    "[ -~\\n]{0,10}".prop_filter("`<<` merges", |key| key != "<<")
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    scalar().prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(key(), inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<serde_json::Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value in value()) {
        let text = to_yaml(&value);
        let read = from_yaml(&text);
        // Zero has no sign in YAML's integers.
        let plain = |json: &serde_json::Value| json.to_string().replace("-0.0", "0.0");
        prop_assert_eq!(read.map(|read| plain(&read)), Ok(plain(&value)), "{}", text);
    }

    #[test]
    fn any_text_is_yaml_or_is_not(text in "[a-z0-9:{}\\[\\], \\n&*!|>'\"#%?-]{0,80}") {
        let _ = from_yaml(&text);
    }
}
