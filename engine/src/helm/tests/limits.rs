//! Charts that mean harm: each ends, soon and with an error, and takes nothing down.

use proptest::prelude::*;

use super::*;

fn check_stops(template: &str, reason: &str) {
    let values = "t: '{{ tpl .Values.t . }}'\n";
    let error = shown(template, values).expect_err(template);
    assert!(error.to_string().contains(reason), "{template}: {error}");
}

#[test]
fn recursion_ends() {
    for template in [
        "{{ define \"r\" }}{{ include \"r\" . }}{{ end }}{{ include \"r\" . }}",
        "{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" . }}",
        "{{ define \"r\" }}{{ if true }}{{ with . }}{{ range list 1 }}{{ (include \"r\" (list $)) | nindent 2 }}{{ end }}\
         {{ end }}{{ end }}{{ end }}{{ include \"r\" . }}",
        "{{ tpl .Values.t . }}",
    ] {
        check_stops(template, "nested too deeply");
    }
    check_stops(&format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)), "nesting depth");
    check_stops(&"{{ if true }}".repeat(5000), "nesting depth");
    check_stops(&format!("{{{{ if false }}}}{}", "{{ else if false }}".repeat(5000)), "`else if`");
}

#[test]
fn much_text_ends() {
    for template in [
        "{{ $x := \"aaaaaaaaaaaaaaaa\" }}{{ range until 100 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}",
        "{{ repeat 1000000000 \"abc\" }}",
        "{{ until 1000000000 }}",
        "{{ range 1000000000 }}{{ end }}",
        "{{ seq 1 1000000000 }}",
        "{{ $x := \"a\\nb\" }}{{ range until 50 }}{{ $x = indent 1000000 $x }}{{ end }}",
        "{{ $s := repeat 1000000 \"a\" }}{{ replace \"a\" $s $s }}",
        "{{ join (repeat 1000000 \"x\") (until 100000) }}",
        "{{ wrapWith 1 (repeat 1000000 \"x\") (repeat 1000000 \"y\") }}",
        "{{ splitList \"\" (repeat 50000000 \"a\") }}",
        "{{ $x := dict \"a\" 1 }}{{ range until 60 }}{{ $x = dict \"a\" $x \"b\" $x }}{{ end }}{{ toYaml $x }}",
        "{{ regexReplaceAll \"\" (repeat 50000 \"a\") (repeat 50000 \"b\") }}",
    ] {
        check_stops(template, "too much text");
    }
}

#[test]
fn much_work_ends() {
    for template in [
        "{{ range until 10000 }}{{ range until 10000 }}{{ end }}{{ end }}",
        "{{ $x := list 1 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ deepEqual $x (deepCopy $x) }}",
        "{{ uniq (until 100000) }}",
        "{{ $s := repeat 1000000 \"a\" }}{{ range until 1000 }}{{ regexMatch \"(a?){50}a{50}b\" $s }}{{ end }}",
    ] {
        assert!(matches!(shown(template, ""), Err(RenderError::Limit { .. })), "{template}");
    }
    check_stops("{{ regexMatch \"(a{1000}){1000}\" \"a\" }}", "size limit");
}

#[test]
fn values_that_hold_themselves_are_noticed() {
    for use_of in ["{{ $d }}", "{{ toJson $d }}", "{{ deepCopy $d }}", "{{ toToml $d }}", "{{ $d | quote }}"]
    {
        let template = format!("{{{{ $d := dict }}}}{{{{ $_ := set $d \"d\" $d }}}}{use_of}");
        check_stops(&template, "nested too deeply");
    }
    let deep = "{{ $x := list }}{{ range until 300000 }}{{ $x = list $x }}{{ end }}{{ len $x }}";
    assert_eq!(shown(deep, "").unwrap(), "1");
}

#[test]
fn numbers_at_their_ends_are_no_trouble() {
    for template in [
        "{{ div (int64 \"-9223372036854775808\") -1 }}{{ mod (int64 \"-9223372036854775808\") -1 }}",
        "{{ add 9223372036854775807 1 }}{{ mul 9223372036854775807 2 }}{{ int 1e300 }}{{ round 1e308 400 }}",
        "{{ untilStep 0 9223372036854775807 9223372036854775807 }}{{ seq 0 9223372036854775807 9223372036854775807 }}",
        "{{ trunc -9223372036854775807 \"é\" }}{{ trunc 1 \"é\" }}{{ substr 1 2 \"é\" }}{{ wrap 1 \"é é\" }}",
        "{{ date \"2006\" 9223372036854775807 }}{{ dateModify \"999999999h\" now }}{{ ago -9223372036854775807 }}",
        "{{ duration \"9223372036854775807\" }}{{ durationRound \"-9999999999h\" }}{{ printf \"%999999999999d\" 1 }}",
        "{{ b32dec \"zzz\" }}{{ abbrevboth 5 7 \"éééééééééééééé\" }}{{ chunk 0 (list 1) }}{{ slice (list 1) 1 }}",
        "{{ printf \"%[9]d %[0]d %[x]d %*d\" 1 2 }}{{ printf \"%.*f\" 99 1.5 }}{{ printf \"%\" }}",
    ] {
        shown(template, "").unwrap_or_else(|error| panic!("{template}: {error}"));
    }
}

#[test]
fn yaml_that_grows_is_refused() {
    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
    for (from, to) in ('a'..='i').zip('b'..='j') {
        let ten = vec![format!("*{from}"); 10].join(",");
        bomb.push_str(&format!("{to}: &{to} [{ten}]\n"));
    }
    let error = Chart::load(files(&[("Chart.yaml", "name: c\n"), ("values.yaml", &bomb)])).unwrap_err();
    assert!(error.to_string().contains("nodes"), "{error}");
    let deep = format!("a: {}", "[".repeat(5000));
    assert!(Chart::load(files(&[("Chart.yaml", "name: c\n"), ("values.yaml", &deep)])).is_err());
}

#[test]
fn yaml_of_templates_is_counted_though_it_is_refused() {
    let text =
        format!("a: &a [{}]\\nb: [{}]\\nc: *none", vec!["x"; 1000].join(","), vec!["*a"; 500].join(","));
    check_stops(
        &format!("{{{{ range until 100 }}}}{{{{ fromYaml \"{text}\" }}}}{{{{ end }}}}"),
        "too much text",
    );
}

#[test]
fn archives_stay_small_and_inside() {
    let packed = |path: &str, content: &[u8]| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        tar.append(&header, content).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar.into_inner().unwrap()).unwrap();
        gzip.finish().unwrap()
    };
    for path in ["c/../../x", "c//x", "x"] {
        assert!(matches!(Chart::load_archive(&packed(path, b"")), Err(ChartError::Archive(_))), "{path}");
    }
    let bomb = packed("c/big", &vec![0; 100 << 20]);
    assert!(bomb.len() < 4 << 20);
    assert!(matches!(Chart::load_archive(&bomb), Err(ChartError::Archive(_))));
    assert!(matches!(Chart::load_archive(b"nothing"), Err(ChartError::Archive(_))));
    assert!(Chart::load_archive(&packed("c/Chart.yaml", b"name: c\n")).is_ok());
}

/// Pieces that templates are made of, put together at random.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "{{",
        "}}",
        "{{-",
        "-}}",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "break",
        "$x",
        ":=",
        "=",
        ".",
        ".Values",
        ".Values.l",
        ".a.b",
        "\"t\"",
        "`r`",
        "1",
        "-1",
        "1.5",
        "'c'",
        "nil",
        "true",
        "|",
        "(",
        ")",
        ",",
        " ",
        "\n",
        "text",
        "$",
        "{{/*",
        "*/}}",
        "{{ end }}",
        "{{ . }}",
        "{{ if . }}",
        "{{ range .Values }}",
    ];
    let names: Vec<String> = crate::helm::functions::names().into_iter().map(str::to_owned).collect();
    prop_oneof![
        3 => proptest::sample::select(words.map(str::to_owned).to_vec()),
        1 => proptest::sample::select(names),
        1 => "[ -~\\n]{0,6}",
        1 => any::<String>().prop_map(|text| text.chars().take(3).collect()),
    ]
}

/// A call with arguments that may fit.
fn call() -> impl Strategy<Value = String> {
    let names: Vec<String> = crate::helm::functions::names().into_iter().map(str::to_owned).collect();
    let arguments = [
        "1",
        "-1",
        "0",
        "3.5",
        "\"\"",
        "\"ab,c\"",
        "\"%d%s\"",
        "(list 1 \"a\" nil)",
        "(dict \"a\" (list 1))",
        "nil",
        "true",
        ".Values",
        ".",
        "\"1.2.3\"",
        "\">=1\"",
        "\"é\"",
        "now",
        "(semver \"1.2.3\")",
        "\"[a\"",
        "\"a: [1\"",
        "$.Files",
        "9223372036854775807",
        "-9223372036854775807",
        "\"2006-01-02\"",
        "\"-1.5h\"",
        "(list)",
        "(dict)",
    ];
    let arguments = proptest::collection::vec(proptest::sample::select(arguments.to_vec()), 0..5);
    (proptest::sample::select(names), arguments)
        .prop_map(|(name, arguments)| format!("{{{{ {name} {} }}}}", arguments.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_template_gives_a_text_or_an_error(pieces in proptest::collection::vec(piece(), 0..40)) {
        let _ = shown(&pieces.concat(), "l: [1, a]\n");
    }

    #[test]
    fn any_call_gives_a_text_or_an_error(calls in proptest::collection::vec(call(), 1..4)) {
        for call in calls {
            let _ = shown(&call, "l: [1, a]\n");
        }
    }

    #[test]
    fn any_values_load_or_do_not(text in "[a-z:{}\\[\\], \n&*!|>'\"#%-]{0,60}", template in "[a-z{}. ]{0,30}") {
        let chart = Chart::load(files(&[("Chart.yaml", "name: c\n"), ("values.yaml", &text), ("templates/x", &template)]));
        if let Ok(chart) = chart {
            let _ = render_chart(&chart);
        }
    }
}
