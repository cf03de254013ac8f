//! Every function, one expression a line with what Helm makes of it below.

use super::*;

/// An expression and what it prints.
pub(super) fn cases() -> Vec<(&'static str, String)> {
    let lines: Vec<&str> = include_str!("functions.txt").lines().collect();
    lines.chunks(2).map(|pair| (pair[0], serde_json::from_str(pair[1]).unwrap())).collect()
}

/// The chart the expressions are in.
pub(super) const CHART: Files<'_> = &[
    (
        "Chart.yaml",
        "apiVersion: v2\nname: c\nversion: 1.2.3\nappVersion: 1.10\ndescription: d\nkeywords: [k]\nannotations: {a: b}\n\
         maintainers: [{name: nn, email: e}]\n",
    ),
    (
        "values.yaml",
        "number: 3\nf: 1.5\nbig: 1000000\nt: true\nz: false\ns: chart value\ne: \"\"\nnil: ~\n\
         l: [1, \"b\", 2.5, true, null]\nm: {a: 1, b: {c: d, e: [1,2]}, z: false}\nlist: [c, a, b]\n\
         multi: |\n  one\n  two\noctal: 0644\n",
    ),
    ("conf/a.txt", "line1\nline2\n"),
    ("conf/sub/b.conf", "x=\"1\"\ty\n"),
    ("top.bin", "bin"),
    (
        "templates/_h.tpl",
        "{{ define \"ctx\" }}[{{ .s }}]{{ end }}{{ define \"rec\" }}{{ if gt (int .) 0 }}{{ . }}\
         {{ include \"rec\" (sub (int .) 1) }}{{ end }}{{ end }}",
    ),
];

#[test]
fn functions_give_what_helm_gives() {
    let cases = cases();
    assert!(cases.len() > 500);
    let names: Vec<String> = (0..cases.len()).map(|at| format!("templates/{at:04}.yaml")).collect();
    let mut chart = CHART.to_vec();
    chart.extend(names.iter().map(String::as_str).zip(cases.iter().map(|(expression, _)| *expression)));
    let documents = rendered(&chart).unwrap().documents;
    let mut wrong = Vec::new();
    for (document, (expression, expected)) in documents.iter().zip(&cases) {
        if document.text != *expected {
            wrong.push(format!("{expression}\n  is       {:?}\n  expected {expected:?}", document.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_function_has_a_case() {
    // Newer than the Helm that was asked, lacking, or with nothing to compare.
    const OTHERS: [&str; 20] = [
        "buildCustomCert",
        "call",
        "decryptAES",
        "derivePassword",
        "encryptAES",
        "env",
        "expandenv",
        "fail",
        "genCA",
        "genCAWithKey",
        "genSelfSignedCertWithKey",
        "genSignedCert",
        "genSignedCertWithKey",
        "mustToToml",
        "mustToYaml",
        "now",
        "randAlpha",
        "randAlphaNum",
        "sha512sum",
        "toYamlPretty",
    ];
    let text = include_str!("functions.txt");
    let is_used =
        |name: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
    let missing: Vec<&str> = crate::helm::functions::names()
        .into_iter()
        .filter(|name| !is_used(name) && OTHERS.binary_search(name).is_err())
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn what_helm_refuses_is_refused() {
    for (template, reason) in [
        ("{{ upper 1 }}", "wrong type for value; expected string; got int"),
        ("{{ upper .Values.none }}", "invalid value; expected string"),
        ("{{ .Values.none.foo }}", "nil pointer evaluating interface {}.foo"),
        ("{{ .Values.s.foo }}", "can't evaluate field foo in type string"),
        ("{{ eq .Values.number 3 }}", "incompatible types for comparison"),
        ("{{ index .Values.l 10 }}", "index out of range"),
        ("{{ required \"name it\" .Values.none }}", "name it"),
        ("{{ fail \"boom\" }}", "boom"),
        ("{{ div 1 0 }}", "divide by zero"),
        ("{{ include \"nope\" . }}", "no template `nope`"),
        ("{{ trunc 1 }}", "wrong number of args"),
        ("{{ $x }}", "undefined variable"),
        ("{{ if }}", "command"),
        ("{{ env \"HOME\" }}", "not defined"),
        ("{{ regexFind \"(\" \"a\" }}", "error parsing regexp"),
        ("{{ semverCompare \">>1\" \"1.0.0\" }}", "improper constraint"),
        ("{{ \"a\" 1 }}", "can't give argument to non-function"),
        ("{{ range 1.5 }}{{ end }}", "can't iterate"),
        ("{{ set .Values.none \"a\" 1 }}", "expected map"),
    ] {
        let error = shown(template, "s: x\nnumber: 3\nl: [1]\n").unwrap_err();
        assert!(matches!(error, RenderError::Template { .. }), "{template}: {error:?}");
        assert!(error.to_string().contains(reason), "{template}: {error}");
    }
}

#[test]
fn what_is_lacking_says_so_with_its_place() {
    for (template, what) in [
        ("\n{{ noSuchFunction 1 }}", "the function `noSuchFunction`"),
        ("\n{{ derivePassword 1 \"long\" \"a\" \"b\" \"c\" }}", "the function `derivePassword`"),
        ("\n{{ (now).Zone }}", "`Zone` of a time.Time"),
    ] {
        let error = shown(template, "").unwrap_err();
        assert!(matches!(error, RenderError::Lacking { .. }), "{template}: {error:?}");
        assert_eq!(error.to_string().split_once(": ").unwrap().0, "c/templates/x.yaml:2", "{error}");
        assert!(error.to_string().contains(what), "{template}: {error}");
    }
}

#[test]
fn newer_functions_and_statements_work() {
    for (template, expected) in [
        ("{{ sha512sum \"a\" | trunc 12 }}", "1f40fc92da24"),
        ("{{ mustToYaml (dict \"a\" 1) }}{{ toYamlPretty (list 1) }}", "a: 1- 1"),
        ("{{ (buildCustomCert \"YQ==\" \"Yg==\").Key }}", "b"),
        (
            "{{ range until 5 }}{{ if eq . 3 }}{{ break }}{{ end }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ with .Values.none }}a{{ else with .Values.s }}{{ . }}{{ end }}", "x"),
        ("{{ (genSignedCert \"n\" nil nil 1 (genCA \"c\" 1)).Cert | hasPrefix \"-----BEGIN\" }}", "true"),
        (
            "{{ now | date \"2006-01-02\" }} {{ randAlphaNum 4 }} {{ uuidv4 }}",
            "1970-01-01 abcd 00000000-0000-4000-8000-000000000000",
        ),
    ] {
        assert_eq!(shown(template, "s: x\n").unwrap(), expected, "{template}");
    }
}
