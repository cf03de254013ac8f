//! Values given from outside: the language of `--set`, and which of several values win.

use serde_json::{Value as Json, json};

use super::*;

/// Texts that are set one after the other, and what comes of them.
pub(super) const SETS: &[(&[&str], &str)] = &[
    (&[""], r#"{}"#),
    (&["a=b"], r#"{"a":"b"}"#),
    (&["a=b=c"], r#"{"a":"b=c"}"#),
    (&["a="], r#"{"a":""}"#),
    (&["a=,b=1"], r#"{"a":"","b":1}"#),
    (&["a=1,"], r#"{"a":1}"#),
    (&["a=1,b=2"], r#"{"a":1,"b":2}"#),
    (&["a=1,a=2", "a=3"], r#"{"a":3}"#),
    (&[" a = b "], r#"{" a ":" b "}"#),
    (&["a.b.c=1,a.b.d=2", "a.e=3"], r#"{"a":{"b":{"c":1,"d":2},"e":3}}"#),
    (&["a={x,1,true, y}"], r#"{"a":["x",1,true," y"]}"#),
    (&["a={},b=1"], r#"{"a":[""],"b":1}"#),
    (&["a={x},b.c={y}z=1"], r#"{"a":["x"],"b":{"c":["y"]},"z":1}"#),
    (&["a={x{y}"], r#"{"a":["x{y"]}"#),
    (&["a=x{y},b=1"], r#"{"a":"x{y}","b":1}"#),
    (&["a[0].b=1,a[0].c=2"], r#"{"a":[{"b":1,"c":2}]}"#),
    (&["a[1].b=1,a[0].b=2"], r#"{"a":[{"b":2},{"b":1}]}"#),
    (&["a[2]=x"], r#"{"a":[null,null,"x"]}"#),
    (&["a[0][1]=x,a[0][0]=y"], r#"{"a":[["y","x"]]}"#),
    (&["a={null},a[0][1]=x"], r#"{"a":[[null,"x"]]}"#),
    (&["a[0]=,b=1"], r#"{"a":[""],"b":1}"#),
    (&["a[0]={1,2}"], r#"{"a":[[1,2]]}"#),
    (&["a[0].b={1},c=2"], r#"{"a":[{"b":[1]}],"c":2}"#),
    (&["a[0]=1,a[0].b=2"], r#"{"a":[{"b":2}]}"#),
    (&["a={1,2}", "a[1]=3"], r#"{"a":[1,3]}"#),
    (&["a=x\\,y,b=\\{z"], r#"{"a":"x,y","b":"{z"}"#),
    (&["a\\.b.c=1,d\\[0]=2"], r#"{"a.b":{"c":1},"d[0]":2}"#),
    (&["a=\\t\\\\,b=x\\"], r#"{"a":"t\\","b":"x"}"#),
    (&["a={x\\,y,z\\}}"], r#"{"a":["x,y","z}"]}"#),
    (&["a=\"x\""], r#"{"a":"\"x\""}"#),
    (&["a=TRUE,b=False,c=Null"], r#"{"a":true,"b":false,"c":null}"#),
    (
        &["a=0,b=007,c=+5,d=-0,e=1.5,f=1e3,g=-7,h=0x1"],
        r#"{"a":0,"b":"007","c":5,"d":0,"e":"1.5","f":"1e3","g":-7,"h":"0x1"}"#,
    ),
    (
        &["a=9223372036854775807,b=9223372036854775808"],
        r#"{"a":9223372036854775807,"b":"9223372036854775808"}"#,
    ),
    (&["a=1000000"], r#"{"a":1000000}"#),
    (&["a=ü.é,ä=1"], r#"{"a":"ü.é","ä":1}"#),
    (&["a.b=1", "a=null"], r#"{"a":null}"#),
];

fn given(files: &[&str], set: &[&str]) -> Given {
    let mut given = Given::default();
    files.iter().for_each(|file| given.add_file(file).unwrap());
    set.iter().for_each(|text| given.set(text).unwrap());
    given
}

#[test]
fn what_is_set_is_what_helm_sets() {
    for (texts, expected) in SETS {
        let expected: Json = serde_json::from_str(expected).unwrap();
        assert_eq!(given(&[], texts).to_json(), expected, "{texts:?}");
    }
}

/// Texts that are refused, and why.
pub(super) const FAULTS: &[(&str, &str)] = &[
    ("a", "`a` has no value"),
    ("a=1,b", "`b` has no value"),
    ("a,b=1", "`a` has no value"),
    (",a=1", "`` has no value"),
    ("a.", "`` has no value"),
    ("a..b=1", "a name is missing"),
    ("a.=1", "a name is missing"),
    ("a={x,y", "a list must end with `}`"),
    ("a={x,{y}}", "`}` has no value"),
    ("a[x]=1", "`x` is no index of a list"),
    ("a[-1]=1", "`-1` is no index of a list"),
    ("a[0", "`0` is no index of a list"),
    ("a[0]x=1", "`x` stands behind an index"),
    ("a=1,a.b=2", "`a` is no mapping"),
    ("a=null,a.b=2", "`a` is no mapping"),
    ("a=1,a[0]=2", "`a` is no list"),
    ("a=null,a[0]=2", "`a` is no list"),
    ("a[0]=1,a[0][1]=2", "`a[0]` is no list"),
];

/// Texts of which Helm drops something without a word.
pub(super) const DROPPED: &[(&str, &str)] =
    &[("=1", "a name is missing"), ("[0]=1", "a name is missing"), ("a[0]", "`a[0]` has no value")];

#[test]
fn texts_that_set_nothing_say_what_is_wrong() {
    let deep = format!("{}z=1", "a.".repeat(31));
    let limits = [
        ("a[65537]=1", "the index 65537 is larger than 65536"),
        (&deep, "a name is nested deeper than 30 levels"),
    ];
    for (text, error) in FAULTS.iter().chain(DROPPED).chain(&limits) {
        assert_eq!(Given::default().set(text).unwrap_err().to_string(), *error, "{text}");
    }
    assert_eq!(Given::default().set(&deep[2..]), Ok(()));
}

#[test]
fn files_that_are_no_values_say_why() {
    let error = |text: &str| Given::default().add_file(text).unwrap_err();
    assert_eq!(error("- a\n"), GivenError::NoMapping);
    assert!(error("a: 1\nb: [\n").to_string().starts_with("line 2: "));
    for nothing in ["", "# nothing\n", "null\n", "\u{feff}"] {
        assert_eq!(given(&[nothing], &[]).to_json(), json!({}), "{nothing:?}");
    }
}

/// What the given values meet: values of a parent, globals, conditions, a `null`.
pub(super) const MET: Files<'_> = &[
    (
        "Chart.yaml",
        "apiVersion: v2\nname: top\nversion: 1.0.0\ndependencies:\n- {name: mid, version: 1.0.0}\n\
         - {name: out, version: 1.0.0, condition: out.use}\n- {name: into, version: 1.0.0, condition: into.use}\n",
    ),
    (
        "values.yaml",
        "a: top\nb: top\nc: top\nt: {x: top, u: top, z: top}\nlist: [1, 2]\ngone: 1\nmid: {v: top}\nglobal: {g: top}\n\
         out: {use: false}\ninto: {use: true}\nnum: 1000000\n",
    ),
    (
        "templates/x.yaml",
        "values: {{ toYaml .Values | quote }}\nnum: {{ .Values.num }}\ni: {{ .Values.i | quote }}\n",
    ),
    ("charts/mid/Chart.yaml", "apiVersion: v2\nname: mid\nversion: 1.0.0\n"),
    ("charts/mid/values.yaml", "v: mid\nw: mid\nglobal: {g: mid, h: mid}\n"),
    ("charts/mid/templates/x.yaml", "mid: {{ .Values | toJson | quote }}\n"),
    ("charts/out/Chart.yaml", "apiVersion: v2\nname: out\nversion: 1.0.0\n"),
    ("charts/out/templates/x.yaml", "out: 1\n"),
    ("charts/into/Chart.yaml", "apiVersion: v2\nname: into\nversion: 1.0.0\n"),
    ("charts/into/templates/x.yaml", "into: 1\n"),
];

/// Values files for it.
pub(super) const MET_FILES: &[&str] = &[
    "b: first\nc: first\nt: {u: first, z: first}\nlist: [3]\ngone: null\nmid: {w: first, v: first}\nnew: {p: 1, q: [1]}\n",
    "c: second\nt: {z: second}\nmid: {v: second}\nglobal: {g: second}\nnew: {p: 2000000}\n",
];

/// And what is set for it.
pub(super) const MET_SET: &[&str] =
    &["t.z=set,i=1000000,new.q[1]=x,list[1]=4", "out.use=true,into.use=false,global.h=set", "t.n=null"];

#[test]
fn what_is_set_wins_over_files_and_those_over_the_charts() {
    let chart = Chart::load(files(MET)).unwrap();
    let rendered = render_given(&chart, &given(MET_FILES, MET_SET).to_json()).unwrap();
    let text = |path: &str| {
        let found = rendered.documents.iter().find(|document| document.path == path && document.enabled);
        found.map(|document| document.text.as_str())
    };
    let top = text("top/templates/x.yaml").unwrap();
    assert!(top.ends_with("num: 1e+06\ni: \"1000000\"\n"), "{top}");
    for line in [
        "a: top",
        "b: first",
        "c: second",
        "x: top",
        "u: first",
        "z: set",
        "q:\\n  - 1\\n  - x",
        "list:\\n- 3\\n- 4",
    ] {
        assert!(top.contains(line), "{line}: {top}");
    }
    assert!(!top.contains("gone"), "{top}");
    let mid = text("top/charts/mid/templates/x.yaml").unwrap().replace('\\', "");
    assert!(mid.contains(r#"{"global":{"g":"second","h":"set"},"v":"second","w":"first"}"#), "{mid}");
    assert_eq!(text("top/charts/out/templates/x.yaml"), Some("out: 1\n"));
    assert_eq!(text("top/charts/into/templates/x.yaml"), None);
}
