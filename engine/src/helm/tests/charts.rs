//! Whole charts: which of the charts below take part, what values they see, what templates share.

use super::*;

const DUMP: &str = "chart: {{ .Chart.Name }}\nvalues:\n{{ toYaml .Values | indent 2 }}\nisRoot: {{ .Chart.IsRoot }}\n\
                    subcharts: {{ keys .Subcharts | sortAlpha | join \",\" }}\ntemplate: {{ .Template.Name }}\n";

/// Conditions, tags, aliases, a chart that is not listed, one that is hidden, one of another version, one listed without a
/// version, which is no listing.
pub(super) const CHOICE: Files<'_> = &[
    (
        "Chart.yaml",
        "apiVersion: v2\nname: top\nversion: 1.0.0\ndependencies:\n\
         - {name: a, version: 1.x, condition: a.enabled}\n\
         - {name: b, version: '>=1', condition: 'b.nothing,b.enabled', tags: [front]}\n\
         - {name: c, version: 1.0.0, tags: [back]}\n\
         - {name: d, version: ^1.0.0, tags: [back, front]}\n\
         - {name: e, version: 1.0.0, alias: first}\n\
         - {name: e, version: 1.0.0, alias: second, condition: second.enabled}\n\
         - {name: f, version: 2.0.0, condition: f.enabled}\n\
         - {name: g, alias: third}\n",
    ),
    (
        "values.yaml",
        "a: {enabled: false}\nb: {enabled: true}\ntags: {back: false, front: true}\nfirst: {x: 1}\n\
         second: {enabled: false}\nf: {enabled: false}\ng: {x: 2}\nthird: {x: 3}\n",
    ),
    ("templates/x.yaml", "on: {{ keys .Subcharts | sortAlpha | join \",\" }}\n"),
    ("charts/a/Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.5.0\n"),
    ("charts/a/templates/x.yaml", "chart: {{ .Chart.Name }}\n"),
    ("charts/a/charts/deep/Chart.yaml", "apiVersion: v2\nname: deep\nversion: 1.0.0\n"),
    ("charts/a/charts/deep/templates/x.yaml", "chart: {{ .Chart.Name }}\n"),
    ("charts/b/Chart.yaml", "apiVersion: v2\nname: b\nversion: 1.0.0\n"),
    ("charts/b/templates/x.yaml", "chart: {{ .Chart.Name }}\n"),
    ("charts/c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"),
    ("charts/c/templates/x.yaml", "chart: {{ .Chart.Name }}\n"),
    ("charts/d/Chart.yaml", "apiVersion: v2\nname: d\nversion: 1.0.0\n"),
    ("charts/d/templates/x.yaml", "chart: {{ .Chart.Name }}\n"),
    ("charts/e/Chart.yaml", "apiVersion: v2\nname: e\nversion: 1.0.0\n"),
    ("charts/e/templates/x.yaml", "chart: {{ .Chart.Name }} {{ .Values.x }}\n"),
    ("charts/f/Chart.yaml", "apiVersion: v2\nname: f\nversion: 1.0.0\n"),
    ("charts/f/templates/x.yaml", "chart: {{ .Chart.Name }}\n"),
    ("charts/g/Chart.yaml", "apiVersion: v2\nname: g\nversion: 1.0.0\n"),
    ("charts/g/templates/x.yaml", "chart: {{ .Chart.Name }} {{ .Values.x }}\n"),
    ("charts/unlisted/Chart.yaml", "apiVersion: v2\nname: unlisted\nversion: 1.0.0\n"),
    ("charts/unlisted/templates/x.yaml", "chart: {{ .Chart.Name }}\n"),
    ("charts/_hidden/Chart.yaml", "apiVersion: v2\nname: hidden\nversion: 1.0.0\n"),
    ("charts/_hidden/templates/x.yaml", "chart: {{ .Chart.Name }}\n"),
];

/// Values of parents and globals, two charts deep.
pub(super) const VALUES: Files<'_> = &[
    ("Chart.yaml", "apiVersion: v2\nname: top\nversion: 1.0.0\n"),
    ("values.yaml", "mid: {v: top, low: {w: top}}\nglobal: {g: top, t: {p: 1}}\n"),
    ("templates/x.yaml", DUMP),
    ("charts/mid/Chart.yaml", "apiVersion: v2\nname: mid\nversion: 1.0.0\n"),
    (
        "charts/mid/values.yaml",
        "v: mid\nown: mid\nlow: {w: mid, z: mid}\nglobal: {g: mid, m: mid, t: {q: 2}}\n",
    ),
    ("charts/mid/templates/x.yaml", DUMP),
    ("charts/mid/charts/low/Chart.yaml", "apiVersion: v2\nname: low\nversion: 1.0.0\n"),
    ("charts/mid/charts/low/values.yaml", "w: low\nown: low\nglobal: {g: low}\n"),
    ("charts/mid/charts/low/templates/x.yaml", DUMP),
];

/// Libraries give partials alone; the outermost definition of a name wins, but not a blank one.
pub(super) const LIBRARY: Files<'_> = &[
    (
        "Chart.yaml",
        "apiVersion: v2\nname: top\nversion: 1.0.0\ndependencies:\n- {name: common, version: 1.0.0}\n\
         - {name: below, version: 1.0.0}\n",
    ),
    ("values.yaml", "k: v\n"),
    ("templates/_h.tpl", "{{ define \"over\" }}over: top{{ end }}{{ define \"blank\" }}  {{ end }}"),
    ("templates/x.yaml", "{{ include \"common.x\" . }}\n{{ include \"over\" . }}\n"),
    ("charts/common/Chart.yaml", "apiVersion: v2\nname: common\nversion: 1.0.0\ntype: library\n"),
    (
        "charts/common/templates/_c.tpl",
        "{{ define \"common.x\" }}x: {{ .Values.k }}{{ end }}{{ define \"over\" }}over: common{{ end }}\
         {{ define \"blank\" }}blank: common{{ end }}",
    ),
    ("charts/common/templates/never.yaml", "never: 1\n"),
    ("charts/below/Chart.yaml", "apiVersion: v2\nname: below\nversion: 1.0.0\n"),
    ("charts/below/templates/x.yaml", "{{ include \"over\" . }}\n{{ include \"blank\" . }}\n"),
];

/// What a template writes into a map, later ones see: the deepest paths run first.
pub(super) const MUTATION: Files<'_> = &[
    ("Chart.yaml", "apiVersion: v2\nname: top\nversion: 1.0.0\n"),
    ("values.yaml", "below: {a: 1}\n"),
    (
        "templates/a.yaml",
        "seen: {{ .Values.seen }}\nmark: {{ .mark }}\n{{ $_ := set .Values \"seen\" \"a\" }}{{ $_ := set . \"mark\" \"a\" }}",
    ),
    (
        "templates/b.yaml",
        "seen: {{ .Values.seen }}\nmark: {{ .mark }}\nbelow: {{ .Values.below | toJson }}\n\
         sub: {{ .Subcharts.below.Values.z }}\n{{ $_ := set .Values \"seen\" \"b\" }}{{ $_ := set . \"mark\" \"b\" }}\
         {{ $_ := unset .Values.below \"a\" }}",
    ),
    ("templates/dir/c.yaml", "seen: {{ .Values.seen }}\n{{ $_ := set .Values \"seen\" \"c\" }}"),
    ("charts/below/Chart.yaml", "apiVersion: v2\nname: below\nversion: 1.0.0\n"),
    ("charts/below/templates/x.yaml", "values: {{ .Values | toJson }}\n{{ $_ := set .Values \"z\" 9 }}"),
    ("charts/below/templates/y.yaml", "values: {{ .Values | toJson }}\n"),
];

/// Hooks, tests, notes, `tpl`, files of the chart and those that are none.
pub(super) const MISC: Files<'_> = &[
    ("Chart.yaml", "apiVersion: v2\nname: top\nversion: 1.0.0\nappVersion: 1.10\n"),
    ("values.yaml", "text: '{{ .Release.Name }}-{{ .Values.u }}'\nu: U\n"),
    ("templates/NOTES.txt", "image: notes/{{ .Release.Name }}:1"),
    (
        "templates/hook.yaml",
        "kind: Job\nmetadata: {name: h, annotations: {\"helm.sh/hook\": pre-install}}\nx: {{ tpl .Values.text . }}\n",
    ),
    ("templates/tests/t.yaml", "kind: Pod\nmetadata: {name: t, annotations: {\"helm.sh/hook\": test}}\n"),
    ("templates/.hidden.yaml", "x: 1\n"),
    ("crds/c.yaml", "kind: CustomResourceDefinition\n"),
    ("conf/a.cfg", "a\n"),
    ("x.bak", ""),
    ("skip/a", ""),
    ("alone.txt", ""),
    ("dir/alone.txt", ""),
    (".helmignore", "*.bak\nskip/\n/alone.txt\n# nothing\n"),
    (
        "templates/files.yaml",
        "cfg: {{ .Files.Get \"conf/a.cfg\" | quote }}\nvalues: {{ .Files.Get \"values.yaml\" | quote }}\n\
         all: {{ range $name, $_ := .Files.Glob \"**\" }}{{ $name }},{{ end }}\n\
         app: {{ .Chart.AppVersion | quote }}\nhas: {{ .Capabilities.APIVersions.Has \"batch/v1\" }}\n\
         kube: {{ .Capabilities.KubeVersion }} {{ .Capabilities.KubeVersion.Minor }}\nrelease: {{ .Release }}\n",
    ),
];

fn texts(rendered: &Rendered) -> Vec<(&str, &str)> {
    rendered.documents.iter().map(|document| (document.path.as_str(), document.text.as_str())).collect()
}

#[test]
fn conditions_and_tags_choose_and_what_they_leave_out_is_rendered_apart() {
    let rendered = rendered(CHOICE).unwrap();
    let (on, off): (Vec<&Document>, Vec<&Document>) =
        rendered.documents.iter().partition(|document| document.enabled);
    let charts = |documents: &[&Document]| -> Vec<String> {
        documents.iter().map(|document| document.chart.replace("top/charts/", "")).collect()
    };
    assert_eq!(charts(&on), ["b", "d", "first", "g", "unlisted", "top"]);
    assert_eq!(charts(&off), ["a/charts/deep", "a", "c", "f", "second"]);
    assert_eq!(on.last().unwrap().text, "on: b,d,first,g,unlisted\n");
    assert_eq!([&on[2].text, &on[3].text], ["chart: first 1\n", "chart: g 2\n"]);
    assert!(rendered.notes.is_empty());
}

#[test]
fn values_of_parents_and_globals_win() {
    let rendered = rendered(VALUES).unwrap();
    assert_eq!(
        texts(&rendered)[0].1,
        "chart: low\nvalues:\n  global:\n    g: top\n    m: mid\n    t:\n      p: 1\n      q: 2\n  own: low\n  w: top\n  \
         z: mid\nisRoot: false\nsubcharts: \ntemplate: top/charts/mid/charts/low/templates/x.yaml\n"
    );
}

#[test]
fn null_takes_a_default_away() {
    let chart = [
        ("Chart.yaml", "apiVersion: v2\nname: top\nversion: 1.0.0\n"),
        ("values.yaml", "below: {gone: null, table: {x: null}}\nkept: null\n"),
        ("templates/x.yaml", "{{ .Values | toJson }}"),
        ("charts/below/Chart.yaml", "apiVersion: v2\nname: below\nversion: 1.0.0\n"),
        ("charts/below/values.yaml", "gone: 1\ntable: {x: 1, w: 2}\n"),
        ("charts/below/templates/x.yaml", "{{ .Values | toJson }}"),
    ];
    let rendered = rendered(&chart).unwrap();
    assert_eq!(texts(&rendered)[0].1, "{\"global\":{},\"table\":{\"w\":2}}");
    assert!(texts(&rendered)[1].1.contains("\"kept\":null"));
}

#[test]
fn values_are_imported_by_name_over_the_charts_own_and_by_path_under_them() {
    let check = |imports: &str, values: &str, expected: &str| {
        let own = format!(
            "apiVersion: v2\nname: top\nversion: 1.0.0\ndependencies:\n- name: below\n  version: 1.0.0\n  \
             import-values: {imports}\n"
        );
        let chart = [
            ("Chart.yaml", own.as_str()),
            ("values.yaml", values),
            ("templates/x.yaml", "{{ omit .Values \"below\" | toJson }}"),
            ("charts/below/Chart.yaml", "apiVersion: v2\nname: below\nversion: 1.0.0\n"),
            (
                "charts/below/values.yaml",
                "exports: {data: {a: below, d: 1}}\ninner: {part: {b: below, e: below}}\n",
            ),
        ];
        assert_eq!(texts(&rendered(&chart).unwrap())[0].1, expected, "{imports} over {values}");
    };
    check("[data]", "a: top\n", r#"{"a":"below","d":1}"#);
    let part = "[{child: inner.part, parent: here.there}, {child: no.such, parent: x}]";
    check(
        part,
        "here: {there: {b: top, c: top}}\n",
        r#"{"here":{"there":{"b":"top","c":"top","e":"below"}}}"#,
    );
    check(part, "here: {there: text}\n", r#"{"here":{"there":"text"}}"#);
    check(part, "here: {there: {b: ~}}\n", r#"{"here":{"there":{"e":"below"}}}"#);
    check("[{child: inner.part, parent: .}]", "b: top\n", r#"{"b":"top","e":"below"}"#);
    // Together with an import by path, one by name gives way too.
    check(
        "[{child: inner.part, parent: p}, data]",
        "a: top\n",
        r#"{"a":"top","d":1,"p":{"b":"below","e":"below"}}"#,
    );
}

#[test]
fn libraries_give_partials_and_the_outermost_definition_wins() {
    let rendered = rendered(LIBRARY).unwrap();
    assert_eq!(
        texts(&rendered),
        [
            ("top/charts/below/templates/x.yaml", "over: top\nblank: common\n"),
            ("top/templates/x.yaml", "x: v\nover: top\n"),
        ]
    );
}

#[test]
fn what_is_set_is_seen_by_later_templates() {
    let rendered = rendered(MUTATION).unwrap();
    assert_eq!(
        texts(&rendered),
        [
            ("top/charts/below/templates/x.yaml", "values: {\"a\":1,\"global\":{}}\n"),
            ("top/charts/below/templates/y.yaml", "values: {\"a\":1,\"global\":{}}\n"),
            ("top/templates/a.yaml", "seen: b\nmark: b\n"),
            ("top/templates/b.yaml", "seen: c\nmark: \nbelow: {\"a\":1,\"global\":{},\"z\":9}\nsub: 9\n"),
            ("top/templates/dir/c.yaml", "seen: \n"),
        ]
    );
}

#[test]
fn files_notes_hooks_and_tests_are_what_helm_makes_of_them() {
    let rendered = rendered(MISC).unwrap();
    let texts = texts(&rendered);
    let paths: Vec<&str> =
        texts.iter().map(|(path, _)| path.strip_prefix("top/templates/").unwrap()).collect();
    assert_eq!(paths, ["NOTES.txt", "files.yaml", "hook.yaml", "tests/t.yaml"]);
    assert_eq!(texts[0].1, "image: notes/dryrun:1");
    assert!(texts[2].1.ends_with("x: dryrun-U\n"));
    assert_eq!(
        texts[1].1,
        "cfg: \"a\\n\"\nvalues: \"\"\nall: .helmignore,conf/a.cfg,crds/c.yaml,dir/alone.txt,\napp: \"1.1\"\nhas: true\n\
         kube: v1.31.0 31\nrelease: map[IsInstall:true IsUpgrade:false Name:dryrun Namespace:default Revision:1 \
         Service:Helm]\n"
    );
}

#[test]
fn schemas_refuse_values_of_any_chart() {
    let schema = r##"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["image"],
        "definitions":{"port":{"type":"integer","minimum":1}},"additionalProperties":false,
        "properties":{"port":{"$ref":"#/definitions/port"},"global":{},"name":{"type":"string","pattern":"^[a-z]*$"},
        "image":{"oneOf":[{"type":"string"},{"type":"object","required":["tag"]}]},
        "list":{"type":"array","items":{"enum":["a","b"]},"uniqueItems":true}}}"##;
    let check = |values: &str, complaints: &[&str]| {
        let chart = [
            ("Chart.yaml", "apiVersion: v2\nname: top\nversion: 1.0.0\n"),
            ("charts/below/Chart.yaml", "apiVersion: v2\nname: below\nversion: 1.0.0\n"),
            ("charts/below/values.yaml", values),
            ("charts/below/values.schema.json", schema),
        ];
        match rendered(&chart) {
            Ok(_) => assert!(complaints.is_empty(), "{values}"),
            Err(RenderError::Schema(found)) => {
                assert_eq!(found.len(), complaints.len(), "{values}: {found:?}");
                for (found, complaint) in found.iter().zip(complaints) {
                    assert!(
                        found.starts_with("top/below: ") && found.contains(complaint),
                        "{values}: {found}"
                    );
                }
            }
            Err(other) => panic!("{values}: {other}"),
        }
    };
    check("image: x\nport: 80\nname: abc\nlist: [a, b]\n", &[]);
    check("image: {tag: 1}\n", &[]);
    check("port: 80\n", &["image is required"]);
    check("image: x\nport: 80.5\n", &["expected integer"]);
    check("image: x\nport: 0\n", &["too small"]);
    check("image: 1\n", &["oneOf"]);
    check("image: x\nname: A\nlist: [a, a]\nother: 1\n", &["unique", "pattern", "other is not allowed"]);
    check("image: x\nlist: [c]\n", &["list.0: must be one of"]);
}

#[test]
fn charts_below_may_be_packed_or_listed_in_a_file_of_their_own() {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in
        [("p/Chart.yaml", "name: p\nversion: 1.0.0\n"), ("p/templates/x.yaml", "p: {{ .Values.v }}")]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_cksum();
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let mut files = files(&[
        ("Chart.yaml", "name: top\nversion: 1.0.0\n"),
        ("requirements.yaml", "dependencies: [{name: p, version: 1.0.0, condition: p.use}]\n"),
        ("values.yaml", "p: {use: true, v: 5}\n"),
    ]);
    files.insert("charts/p-1.0.0.tgz".to_owned(), tar.into_inner().unwrap());
    let rendered = render_chart(&Chart::load(files).unwrap()).unwrap();
    assert_eq!(texts(&rendered), [("top/charts/p/templates/x.yaml", "p: 5")]);
}

#[test]
fn what_fails_in_a_chart_that_is_not_enabled_is_a_note() {
    let mut chart = CHOICE.to_vec();
    chart.retain(|(path, _)| *path != "charts/c/templates/x.yaml");
    chart.push(("charts/c/templates/x.yaml", "{{ required \"say it\" .Values.none }}"));
    chart.push(("charts/c/templates/y.yaml", "fine: {{ include \"broken\" . }}"));
    chart.push(("charts/c/templates/_z.tpl", "{{ define \"broken\" }}yes{{ end }}{{ if"));
    let rendered = rendered(&chart).unwrap();
    assert_eq!(rendered.notes.len(), 3, "{:?}", rendered.notes);
    assert!(rendered.notes.iter().any(|note| note.contains("say it")), "{:?}", rendered.notes);
    assert!(rendered.documents.iter().any(|document| document.chart == "top/charts/a" && !document.enabled));
}

#[test]
fn broken_charts_say_what_is_wrong() {
    for (chart, reason) in [
        (&[("values.yaml", "")][..], "`Chart.yaml` is missing"),
        (&[("Chart.yaml", "version: 1")], "has no `name`"),
        (&[("Chart.yaml", "name: [")], "`Chart.yaml`: line 1"),
        (&[("Chart.yaml", "name: a"), ("values.yaml", "- a")], "no mapping"),
        (&[("Chart.yaml", "name: a"), ("values.yaml", "a: .inf")], "no number in JSON"),
    ] {
        let error = Chart::load(files(chart)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let chart = [
        ("Chart.yaml", "name: a"),
        ("values.yaml", "b: text"),
        ("charts/b/Chart.yaml", "name: b\nversion: 1.0.0"),
    ];
    assert!(rendered(&chart).unwrap_err().to_string().contains("no table"));
    let chart = [
        (
            "Chart.yaml",
            "apiVersion: v2\nname: a\ndependencies:\n- {name: b, version: 1.0.0}\n- {name: c, version: 1.0.0, condition: c.use}\n",
        ),
        ("values.yaml", "c: {use: false}"),
    ];
    assert_eq!(rendered(&chart).unwrap_err(), RenderError::Missing(vec!["a/charts/b".to_owned()]));
}

#[test]
fn texts_of_a_chart_that_look_like_numbers_are_what_go_makes_of_them() {
    let show = "{{ .Chart.AppVersion }} {{ .Chart.Description }} {{ .Chart.Home }} {{ .Chart.Keywords }} {{ .Chart.Annotations }}";
    let chart = [
        (
            "Chart.yaml",
            "apiVersion: v2\nname: c\nversion: 1.2.3\nappVersion: 20210101\ndescription: 123456.789\nhome: 1_000_000\n\
             keywords: [07777777, 1e6, 20210101.0, 0.00001, 18446744073709551615, -5, true, 1.10]\n\
             annotations: {a: 20210101, b: 3.0}\n",
        ),
        ("templates/x.yaml", show),
    ];
    assert_eq!(
        texts(&rendered(&chart).unwrap())[0].1,
        "20210101 123456.79 1000000 [2097151 1e+06 2.02101e+07 1e-05 18446744073709551615 -5 true 1.1] map[a:20210101 b:3]"
    );
}

#[test]
fn dependencies_of_a_chart_show_where_they_come_from_and_what_they_hand_up() {
    let chart = [
        (
            "Chart.yaml",
            "apiVersion: v2\nname: c\nversion: 1.2.3\ndependencies:\n- {name: s, version: 1.0.0, alias: t, tags: [q], \
             repository: 'file://x', import-values: [data, {child: a, parent: b}]}\n",
        ),
        (
            "templates/x.yaml",
            "{{ range .Chart.Dependencies }}{{ .Repository }} {{ .ImportValues }}\n{{ toYaml . }}\n{{ . }}{{ end }}",
        ),
        ("charts/s/Chart.yaml", "apiVersion: v2\nname: s\nversion: 1.0.0\n"),
    ];
    assert_eq!(
        texts(&rendered(&chart).unwrap())[0].1,
        "file://x [map[child:exports.data parent:.] map[child:a parent:b]]\nalias: t\nenabled: true\nimport-values:\n\
         - child: exports.data\n  parent: .\n- child: a\n  parent: b\nname: t\nrepository: file://x\ntags:\n- q\n\
         version: 1.0.0\n{t 1.0.0 file://x  [q] true [map[child:exports.data parent:.] map[child:a parent:b]] t}"
    );
}

#[test]
fn charts_below_of_other_versions_are_there_under_their_own_names() {
    for dependency in ["version: 2.0.0, alias: t", "version: 2.0.0", "version: bad !, alias: t", "alias: t"] {
        let own = format!(
            "apiVersion: v2\nname: top\nversion: 1.0.0\ndependencies:\n- {{name: s, {dependency}}}\n"
        );
        let chart = [
            ("Chart.yaml", own.as_str()),
            ("values.yaml", "s: {v: 1}\nt: {v: 2}\n"),
            ("charts/s/Chart.yaml", "apiVersion: v2\nname: s\nversion: 1.5.0\n"),
            ("charts/s/templates/x.yaml", "{{ .Chart.Name }} {{ .Values.v }}"),
        ];
        assert_eq!(texts(&rendered(&chart).unwrap())[0].1, "s 1", "{dependency}");
    }
}

#[test]
fn requirements_count_beside_a_newer_chart_too() {
    let check = |own: &str, requirements: &str, expected: &[(&str, &str)]| {
        let own = format!("apiVersion: v2\nname: top\nversion: 1.0.0\n{own}");
        let chart = [
            ("Chart.yaml", own.as_str()),
            ("requirements.yaml", requirements),
            ("values.yaml", "s: {use: false}\n"),
            ("templates/x.yaml", "files: {{ len .Files }} {{ len .Chart.Dependencies }}"),
            ("charts/s/Chart.yaml", "apiVersion: v2\nname: s\nversion: 1.0.0\n"),
            ("charts/s/templates/x.yaml", "s: on"),
        ];
        let rendered = rendered(&chart).unwrap();
        let on = rendered.documents.iter().filter(|document| document.enabled);
        let on: Vec<_> = on.map(|document| (document.path.as_str(), document.text.as_str())).collect();
        assert_eq!(on, expected, "{own} with {requirements}");
    };
    let dependency = "dependencies: [{name: s, version: 1.0.0, condition: s.use}]\n";
    check("", dependency, &[("top/templates/x.yaml", "files: 0 0")]);
    check(dependency, "other: 1\n", &[("top/templates/x.yaml", "files: 0 0")]);
    check(
        dependency,
        "dependencies: [{name: s, version: 1.0.0}]\n",
        &[("top/charts/s/templates/x.yaml", "s: on"), ("top/templates/x.yaml", "files: 0 1")],
    );
}
