//! Lints: each finds what it is for, and nothing else; directives silence warnings and make them errors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use frontend::{Check, Diagnostic, ImageKey, LINTS, Selection, Severity};
use solver::{Base, SourceFile};

use crate::{base, options};

/// All that `--check` says of a text whose bases are those of `bases`; the context has what it is said to have.
fn found(text: &str, bases: &BTreeMap<ImageKey, Base>, context: &[(&str, Selection)]) -> Vec<Diagnostic> {
    let source = SourceFile { name: "Kubefile".into(), text: text.into() };
    let parsed = frontend::parse(&source);
    let (model, said) = frontend::model(&parsed, &options());
    let mut all = [parsed.diagnostics, said].concat();
    let has_errors = all.iter().any(|found| found.severity == Severity::Error);
    let check = Check::new(&model, &source, &options(), bases);
    let selections = context.iter().map(|(pattern, selection)| ((*pattern).to_owned(), *selection));
    all.extend(check.findings(&selections.collect(), has_errors));
    all
}

fn image(reference: &str) -> ImageKey {
    ImageKey { reference: reference.into(), platform: None }
}

/// `code line:column text` of each finding.
fn lines(text: &str, found: &[Diagnostic]) -> Vec<String> {
    let source = SourceFile { name: "Kubefile".into(), text: text.into() };
    let line = |one: &Diagnostic| {
        let span = one.labels[0].span;
        let place = source.position(span.start);
        format!("{} {}:{} {}", one.code, place.line, place.column, &text[span.start..span.end])
    };
    found.iter().map(line).collect()
}

fn check(text: &str, expected: &[&str]) {
    check_with(text, &[], expected);
}

fn check_with(text: &str, context: &[(&str, Selection)], expected: &[&str]) {
    assert_eq!(lines(text, &found(text, &BTreeMap::new(), context)), expected, "{text}");
}

#[test]
fn the_table_is_sorted_and_every_warning_of_the_code_is_in_it() {
    assert!(LINTS.is_sorted_by(|a, b| a.name < b.name));
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/diagnostic");
    let mut codes = Vec::new();
    for path in crate::paths_in(&directory) {
        let text = crate::read(&path).expect("a source file is text");
        let warnings = text.split("Diagnostic::warning(").skip(1);
        codes.extend(warnings.map(|rest| rest.split('"').nth(1).expect("a code comes first").to_owned()));
    }
    codes.sort();
    codes.dedup();
    let names: Vec<&str> = LINTS.iter().map(|lint| lint.name).collect();
    assert_eq!(codes, names);
}

#[test]
fn applications_that_nothing_launches_are_named() {
    check("FROM scratch\nCOPY a /\n", &[]);
    check("FROM scratch\nAPP a local://a\nAPP b local://b", &["app-not-launched 2:5 a"]);
    check("FROM scratch\nAPP a local://a\nAPP b local://b\nLAUNCH b", &["app-not-launched 2:5 a"]);
    let plugins = "FROM scratch\nCNI a local://a\nCNI b local://b\nCSI c local://c\nAPP d local://d\n";
    check(&format!("{plugins}LAUNCH b d"), &["app-not-launched 4:5 c"]);
    check(&format!("{plugins}LAUNCH c d"), &["app-not-launched 2:5 a", "app-not-launched 3:5 b"]);
    check(&format!("{plugins}CMDS [\"apply a c\"]"), &["app-not-launched 5:5 d"]);
    check(
        "FROM scratch AS x\nAPP a local://a\nFROM x\nAPP b local://b\nLAUNCH b",
        &["app-not-launched 2:5 a"],
    );
    check("FROM scratch AS x\nAPP a local://a\nFROM scratch\nCOPY --from=x / /", &[]);
    let commands =
        "FROM scratch\nAPP a local://a\nAPP b local://b\nCMDS [\"sh application/apps/b/x.sh\", \"cat aa\"]";
    check(commands, &["app-not-launched 2:5 a"]);
    // What cannot be read may be the LAUNCH.
    check("FROM scratch\nAPP a local://a\nLANCH a", &["unsupported-instruction 3:1 LANCH"]);
    check("FROM i:1\nAPP a local://a\nLAUNCH $FROM_BASE", &[]);
    check("FROM scratch\nAPP a local://a\nLAUNCH [\"a\", \"a\"]", &["launched-twice 3:14 \"a\""]);
}

#[test]
fn applications_of_the_base_are_the_bases_to_launch() {
    let text = "FROM base:1\nAPP a local://a\nLAUNCH redis a";
    let bases = BTreeMap::from([(image("base:1"), base())]);
    assert_eq!(lines(text, &found(text, &bases, &[])), Vec::<String>::new());
    let text = "FROM base:1 AS a\nAPP mysql local://a\nFROM a\nAPP b local://b\nLAUNCH mysql b";
    assert_eq!(lines(text, &found(text, &bases, &[])), ["base-app-replaced 2:1 APP mysql local://a"]);
    let text = "FROM base:1\nLAUNCH redi";
    assert_eq!(lines(text, &found(text, &bases, &[])), ["unknown-app 2:8 redi"]);
    assert_eq!(lines(text, &found(text, &BTreeMap::new(), &[])), Vec::<String>::new());
}

#[test]
fn bases_should_be_named_exactly() {
    check("FROM base", &["base-latest 1:6 base"]);
    check("FROM h:5000/base", &["base-latest 1:6 h:5000/base"]);
    check("ARG T=latest\nFROM base:$T AS a\nFROM a", &["base-latest 2:6 base:$T"]);
    check("FROM base:1", &[]);
    check(
        "FROM scratch AS tools\nCOPY a /\nFROM tool\nCOPY --from=tools /a /a",
        &["base-like-stage 3:6 tool"],
    );
    check("FROM base@sha256:0000000000000000000000000000000000000000000000000000000000000000", &[]);
    check("FROM --platform=linux/arm64 base:1", &["constant-platform 1:6 --platform=linux/arm64"]);
    check("FROM --platform=$BUILDPLATFORM base:1", &[]);
}

#[test]
fn capital_letters_are_used_alike() {
    check("FROM scratch as x\nFROM x", &["from-as-case 1:14 as"]);
    check("from scratch AS x\nfrom x", &["from-as-case 1:14 AS"]);
    check("FROM scratch of x", &["from-arguments 1:1 FROM scratch of x"]);
    check("FROM scratch AS Tools\nFROM tools", &["stage-name-case 1:17 Tools"]);
    check("FROM scratch\ncopy a /\nLABEL a=b", &["keyword-case 2:1 copy"]);
    check(
        "from scratch\nCopy a /\nLABEL a=b\nlabel b=c",
        &["keyword-case 2:1 Copy", "keyword-case 3:1 LABEL"],
    );
    check("from scratch\ncopy a /\n", &[]);
    check("FR\\\nOM scratch\n", &[]);
    check(
        "FROM i:1 AS scratch\nFROM scratch\nCOPY --from=scratch /a /a",
        &["reserved-stage-name 1:13 scratch"],
    );
}

#[test]
fn a_comment_takes_a_line_of_its_own() {
    check("FROM scratch\nARG A=1 # A=2\nLABEL a=$A", &["trailing-comment 2:9 #"]);
    check("FROM scratch\nENV A=1 \\\n # B=2\n  C=3 # D=4", &["trailing-comment 4:7 #", "no-equals 4:7 #"]);
    check("FROM scratch\nENV A 1 # B", &["trailing-comment 2:9 #", "legacy-pair 2:5 A 1 # B"]);
    check("FROM scratch\nLABEL a='#' b=\\# c=\" # \" d=x#y\nKUBEVERSION 1 # 2\nRUN a # b", &[]);
    check("FROM scratch\nCOPY a # b", &["trailing-comment 2:8 #", "destination-not-directory 2:10 b"]);
}

#[test]
fn names_of_secrets_are_found_wherever_variables_are_set() {
    check(
        "FROM scratch\nARG TOKEN A=1 DB_PASSWORD=x",
        &["secret-variable 2:5 TOKEN", "secret-variable 2:15 DB_PASSWORD=x"],
    );
    check("FROM scratch\nENV A=b apiKey=c PUBLIC_KEY=d TOKEN=\"\"", &["secret-variable 2:9 apiKey"]);
    check(
        "FROM scratch\nAPP a\nAPPCMDS a [\"x\"]\nAPPENV a SECRET=x KEY= B=c\nLAUNCH a",
        &["secret-variable 4:10 SECRET=x"],
    );
}

#[test]
fn what_is_fetched_should_be_pinned() {
    let sum = format!("--checksum=sha256:{}", "0".repeat(64));
    check("FROM scratch\nADD https://h/a /a", &["unpinned-url 2:5 https://h/a"]);
    check("FROM scratch\nADD http://h/a /a", &["plain-http 2:5 http://h/a"]);
    check(&format!("FROM scratch\nADD {sum} http://h/a /a\nADD {sum} https://h/b /b"), &[]);
    let text = "FROM scratch\nAPP a https://h/a.sh local://b.sh http://h/c.sh\nLAUNCH a";
    check(text, &["unpinned-url 2:7 https://h/a.sh", "plain-http 2:35 http://h/c.sh"]);
    let hints = |text| found(text, &BTreeMap::new(), &[])[0].hints.clone();
    assert!(hints(text)[0].contains("the one URL"));
    assert!(hints("FROM scratch\nADD https://h/a /a")[0].contains("--checksum"));
}

#[test]
fn files_that_end_where_others_are_are_named() {
    let app = "FROM scratch\nAPP a local://a\n";
    check(
        &format!("{app}COPY x /application/apps/a/\nLAUNCH a"),
        &["copy-into-app 3:8 /application/apps/a/"],
    );
    check(
        &format!("{app}ADD x application/apps/./a/b\nLAUNCH a"),
        &["copy-into-app 3:7 application/apps/./a/b"],
    );
    check(&format!("{app}COPY x application/apps/ab/\nLAUNCH a"), &[]);
    check("FROM scratch\nAPP a\nCOPY x application/apps/a/\nAPPCMDS a [\"b\"]\nLAUNCH a", &[]);

    check(
        "FROM scratch\nCOPY <<a <<b /d/\na\nb\nADD --link https://h/a?x=y#sum d/",
        &["overwritten-file 5:12 https://h/a?x=y#sum", "unpinned-url 5:12 https://h/a?x=y#sum"],
    );
    let files = [("x/f", Selection::File), ("y/f", Selection::File), ("d", Selection::Directory)];
    check_with("FROM scratch\nCOPY x/f /d/\nCOPY y/f /d/", &files, &["overwritten-file 3:6 y/f"]);
    check_with("FROM scratch\nCOPY x/f y/f /d/", &files, &["overwritten-file 2:10 y/f"]);
    check_with("FROM scratch\nCOPY x/f /etc/f\nCOPY y/f /etc/f", &files, &["overwritten-file 3:6 y/f"]);
    check_with("FROM scratch\nCOPY x/f /a.conf\nCOPY y/f /a.conf", &files, &["overwritten-file 3:6 y/f"]);
    // A directory may stand there.
    check_with("FROM scratch\nCOPY x/f /manifests\nCOPY y/f /manifests", &files, &[]);
    check_with("FROM scratch\nCOPY x/f /etc/conf.d\nCOPY y/f /etc/conf.d", &files, &[]);
    check_with("FROM scratch\nCOPY d /d\nCOPY d /d", &files, &[]);
    check_with("FROM scratch\nCOPY --parents x/f /d/\nCOPY --parents y/f /d/", &files, &[]);
    check_with(
        "FROM scratch\nCOPY x/f /d/\nFROM scratch\nCOPY y/f /d/",
        &files,
        &["unused-stage 1:1 FROM scratch"],
    );
    // What is not known is not said.
    check("FROM scratch\nCOPY x/f /d/\nCOPY y/f /d/", &[]);
}

#[test]
fn sources_that_the_context_lacks_are_named_where_they_stand() {
    let text = "FROM scratch\nARG D=dir\nCOPY a $D/b* /d/\nAPP x local://c[1].yaml\nLAUNCH x";
    let context =
        [("a", Selection::Nothing), ("dir/b*", Selection::Ignored), ("c\\[1].yaml", Selection::Nothing)];
    check_with(
        text,
        &context,
        &["nothing-selected 3:6 a", "ignored-source 3:8 $D/b*", "nothing-selected 4:7 local://c[1].yaml"],
    );
    // Of values files those count that the image's applications have in the end.
    let text = "FROM scratch AS s\nAPP --values=s.yaml s local://ok\nFROM scratch\nCOPY --from=s / /\n\
                APP --values=old.yaml x local://ok\nAPP --values=v.yaml --values i.yaml x local://ok\nLAUNCH x";
    let context = [
        ("s.yaml", Selection::Nothing),
        ("old.yaml", Selection::Nothing),
        ("v.yaml", Selection::Nothing),
        ("i.yaml", Selection::Ignored),
    ];
    let again = "app-redeclared 6:1 APP --values=v.yaml --values i.yaml x local://ok";
    let expected = [again, "nothing-selected 6:5 --values=v.yaml", "ignored-source 6:21 --values i.yaml"];
    check_with(text, &context, &expected);
    let source = SourceFile {
        name: "Kubefile".into(),
        text: "FROM scratch AS t\nCOPY no /\nFROM scratch\nCOPY yes ./yes <<h https://h/x /d/\nh\n"
            .replace("COPY yes", "ADD yes"),
    };
    let (model, _) = frontend::model(&frontend::parse(&source), &options());
    let check = Check::new(&model, &source, &options(), &BTreeMap::new());
    assert_eq!(
        check.sources().into_keys().collect::<Vec<_>>(),
        ["yes"],
        "of stages that are built, each once"
    );
}

#[test]
fn old_forms_and_lines_that_only_look_like_directives_are_named() {
    check("FROM scratch\nENV A b\nLABEL c \\\n d", &["legacy-pair 2:5 A b", "legacy-pair 3:7 c \\\n d"]);
    check("FROM scratch\nENV A=b\nENV B=\"c d\"", &[]);
    check(
        "FROM scratch\n# check=skip=all\n# note=x\n#escape=`",
        &["misplaced-directive 2:1 # check=skip=all", "misplaced-directive 4:1 #escape=`"],
    );
}

#[test]
fn directives_silence_warnings_in_every_build_and_errors_never() {
    let warned = "FROM scratch\nLABEL a=$NO\nARG TOKEN\n";
    let codes = |text: &str| -> Vec<&str> {
        found(text, &BTreeMap::new(), &[]).iter().map(|found| found.code).collect()
    };
    assert_eq!(codes(warned), ["unset-variable", "secret-variable"]);
    assert_eq!(codes(&format!("# check=skip=secret-variable\n{warned}")), ["unset-variable"]);
    assert_eq!(
        codes(&format!("#CHECK = skip = unset-variable , secret-variable\n{warned}")),
        Vec::<&str>::new()
    );
    assert_eq!(codes(&format!("# syntax=x\n# check=skip=all\n{warned}COPY a\n")), ["invalid-copy"]);
    assert_eq!(
        codes(
            "# check=skip=unset-variable\n# check=skip=blank-continuation\nFROM scratch\nLABEL a=$B \\\n\n c=d\n"
        ),
        Vec::<&str>::new()
    );

    let lowers = |text: &str| {
        let source = SourceFile { name: "Kubefile".into(), text: text.into() };
        let parsed = frontend::parse(&source);
        let (model, said) = frontend::model(&parsed, &options());
        let (lowered, more) = frontend::lower(&model, &source, &options(), &BTreeMap::new());
        (lowered.is_some(), [parsed.diagnostics, said, more].concat())
    };
    let (is_lowered, said) = lowers("# check=skip=unset-variable\nFROM scratch\nLABEL a=$NO\n");
    assert_eq!((is_lowered, said), (true, Vec::new()));
    let (_, said) = lowers("# check=error=true\nFROM scratch\nLABEL a=$NO\n");
    assert_eq!((said.len(), said[0].severity), (1, Severity::Error));
    assert!(said[0].hints.iter().any(|hint| hint.contains("error=true")), "{said:?}");
    // What only the base shows is an error too, and nothing is built.
    let (is_lowered, said) = lowers("# check=error=true\nFROM base:1\nLABEL a=$NO\n");
    assert_eq!((is_lowered, said.len()), (false, 1));
}

#[test]
fn directives_that_mean_nothing_are_warnings_at_their_place() {
    check(
        "# check=skip=unused-stag,all2\nFROM scratch",
        &["unknown-lint 1:14 unused-stag", "unknown-lint 1:26 all2"],
    );
    let found = found("#check=skip=Unused-Stage\nFROM scratch", &BTreeMap::new(), &[]);
    assert_eq!(found[0].hints, ["did you mean `unused-stage`?"]);
    check(
        "# check=skp=x;error=maybe; skip= ;é\nFROM scratch",
        &[
            "check-option 1:9 skp=x",
            "check-option 1:15 error=maybe",
            "check-option 1:28 skip=",
            "check-option 1:35 é",
        ],
    );
    check("\u{feff}  # check=;error=true\nFROM scratch", &[]);
    check("# check=skip=no-from\nCOPY a /", &["unknown-lint 1:14 no-from", "no-from 2:1 COPY a /"]);
}

#[test]
fn every_lint_takes_time_in_proportion_to_the_text() {
    let count = 10_000;
    let lines = |line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let commands: String = (0..count).map(|n| format!("\"run x{n}\",")).collect();
    for text in [
        lines(&|n| format!("APP a{n} local://f\n")),
        format!("{}CMDS [{commands}\"\"]\n", lines(&|n| format!("APP a{n} local://f\n"))),
        lines(&|n| format!("COPY <<f /d/\n{n}\nf\n")),
        lines(&|n| format!("APP a{n} local://f\nCOPY f application/apps/a{n}/\n")),
        lines(&|n| format!("FROM scratch as A{n}\n")),
        lines(&|_| "# check=skip=all\nenv TOKEN a\n".to_owned()),
        lines(&|n| format!("ADD http://h/{n} https://h/{n} /d/\n")),
        format!("LAUNCH {}\n", "a ".repeat(count)),
    ] {
        let text = format!("FROM scratch\n{text}");
        let start = Instant::now();
        let found = found(&text, &BTreeMap::new(), &[]);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?} {:?}", start.elapsed(), text.get(..60));
        assert!(!found.is_empty(), "{:?}", text.get(..60));
    }
}

#[test]
fn the_list_of_lints_is_what_the_table_says() {
    let (start, end) = ("<!-- table -->\n", "<!-- end of table -->\n");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lint/README.md");
    let page = crate::read(&path).expect("the lints have a page of their own");
    let (head, rest) = page.split_once(start).expect("it has a place for the table");
    let (_, tail) = rest.split_once(end).expect("the table ends somewhere");
    let mut table = String::from("| lint | | finds |\n|---|---|---|\n");
    for lint in LINTS {
        let mark = if lint.is_always_told() { "●" } else { "" };
        table.push_str(&format!("| [`{0}`]({0}.md) | {mark} | {1} |\n", lint.name, lint.doc));
    }
    crate::fresh(&path, &format!("{head}{start}{table}{end}{tail}"));
}
