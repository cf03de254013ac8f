//! What a Kubefile means and what is said of it, as text dumps: one `check` a feature.

mod origins;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;
use solver::{AppSpec, Base, CopySource, ManifestDigest, Op, Platform, SourceFile};

use crate::{BaseRequest, ImageKey, Lowered, NamedContext, Options, Severity};

/// Images that say nothing of themselves, but for `env`, which names one in a variable.
fn bases(model: &crate::Model, options: &Options) -> BTreeMap<ImageKey, Base> {
    let mut bases = BTreeMap::new();
    let mut wanted = model.bases();
    while !wanted.is_empty() {
        for BaseRequest { image, .. } in wanted {
            let env = match image.reference.as_str() {
                "env" => vec![("TOOLS".to_owned(), "tools".to_owned())],
                _ => Vec::new(),
            };
            let digest = Some(ManifestDigest::from_bytes([7; 32]));
            bases.insert(image.clone(), Base { reference: image.reference, digest, env, ..Base::default() });
        }
        wanted = model.further_bases(options, &bases);
    }
    bases
}

fn options() -> Options {
    let platform = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
    Options {
        build_args: BTreeMap::new(),
        platform,
        target: None,
        allows_insecure: false,
        has_one_user: false,
        contexts: BTreeMap::new(),
    }
}

/// Every finding, then every visible vertex and what the image says.
fn dump(text: &str, options: &Options) -> String {
    let source = SourceFile { name: "Kubefile".into(), text: text.into() };
    let parsed = crate::parse(&source);
    let (model, checked) = crate::model(&parsed, options);
    let mut all = [parsed.diagnostics, checked].concat();
    let failed = all.iter().any(|diagnostic| diagnostic.is_error());
    let lowered = (!failed).then(|| crate::lower(&model, &source, options, &bases(&model, options)));
    let mut out = String::new();
    let lowered = lowered.and_then(|(lowered, more)| {
        all.extend(more);
        lowered
    });
    for diagnostic in &all {
        let kind = if diagnostic.severity == Severity::Error { "error" } else { "warning" };
        let place = source.position(diagnostic.start());
        let _ = writeln!(out, "{kind} {}:{} {}", place.line, place.column, diagnostic.message);
        diagnostic.hints.iter().for_each(|hint| writeln!(out, "  hint: {hint}").expect("a string"));
    }
    lowered.iter().for_each(|lowered| dump_lowered(&mut out, lowered));
    out
}

fn dump_lowered(out: &mut String, Lowered { definition, image }: &Lowered) {
    for (_, vertex, _) in definition.iter() {
        let line = match &vertex.op {
            Op::Local(local) if local.context != "context" => format!("local {}", local.context),
            Op::Local(_) | Op::State | Op::Blob(_) | Op::ContainerImage(_) => continue,
            Op::Exec(exec) => format!("exec {:?}", exec.args),
            Op::Http(http) => format!("http {} {:?}", http.url, http.checksum),
            Op::Image(image) => format!("image {} {}", image.reference, image.platform),
            Op::Git(git) => format!("git {} keep={} {:?}", git.shown(), git.keep_git_dir, git.checksum),
            Op::App(app) => {
                let paths: Vec<&str> = app.sources.iter().map(|source| source.path.as_str()).collect();
                format!("app {} {}", app.name, paths.join(" "))
            }
            Op::File(file) => {
                let sources = file.sources.iter().map(|source| match source {
                    CopySource::Input { input, pattern } => format!("{input}:{pattern}"),
                    CopySource::Inline(inline) => {
                        format!("{}={:?}", inline.name, String::from_utf8_lossy(&inline.content))
                    }
                });
                let sources: Vec<String> = sources.collect();
                format!("file below={} {} > {}", file.below, sources.join(" "), file.destination)
            }
        };
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(out, "platform {}", image.platform);
    for (name, value) in image.env.iter().filter(|(name, _)| name != "PATH") {
        let _ = writeln!(out, "env {name}={value}");
    }
    for (name, value) in &image.labels {
        let _ = writeln!(out, "label {name}={value}");
    }
    for app in &image.apps {
        if let AppSpec::Declared { env, cmds, .. } = app
            && (cmds.is_some() || !env.is_empty())
        {
            let _ = writeln!(out, "override {env:?} {cmds:?}");
        }
    }
    let _ = image.author.iter().try_for_each(|author| writeln!(out, "author {author}"));
    if !image.launch.cmds.is_empty() || !image.launch.app_names.is_empty() {
        let _ = writeln!(out, "launch {:?} {:?}", image.launch.cmds, image.launch.app_names);
    }
}

/// The dump has these lines, and no error that is not among them.
fn check(text: &str, expected: &[&str]) {
    check_with(&options(), text, expected);
}

fn check_with(options: &Options, text: &str, expected: &[&str]) {
    let dump = dump(text, options);
    for line in expected {
        assert!(dump.lines().any(|known| known.contains(line)), "{text}\n---\n{dump}---\nlacks {line}");
    }
    for error in dump.lines().filter(|line| line.starts_with("error")) {
        assert!(expected.iter().any(|line| error.contains(line)), "{text}\n---\nunexpected {error}");
    }
}

#[test]
fn an_image_is_for_the_platform_of_its_last_stage() {
    let arm = |from: &str| format!("FROM --platform=linux/arm64/v8 {from}\nCOPY a /\n");
    check(&arm("scratch"), &["platform linux/arm64"]);
    check(&arm("kube"), &["platform linux/arm64"]);
    check(&(arm("scratch AS x") + "FROM --platform=linux/s390x x\n"), &["platform linux/arm64"]);
    check(&(arm("scratch AS x") + "FROM scratch\nCOPY --from=x a /"), &["platform linux/amd64"]);
}

#[test]
fn copies_lower_with_flags_stages_and_heredocs() {
    check(
        "FROM scratch\nCOPY a ./b/ /d/\nCOPY --link c .",
        &["file below=false 0:a 1:b > /d/", "below=false 0:c > ./"],
    );
    check("FROM scratch\nCOPY a /\nCOPY b /", &["file below=true 1:b > /"]);
    check("FROM scratch AS x\nCOPY a /\nFROM scratch\nCOPY --from=X /a /b", &["file below=false 0:a > /b"]);
    check("FROM scratch\nARG N=1\nCOPY <<F <<-'G' /d/\nn=$N\nF\n\t$N\nG\n", &[r#"F="n=1\n" G="$N\n" > /d/"#]);
    check("FROM scratch\nADD http://h/a.tgz /x", &["http http://h/a.tgz None", "file below=false 0:* > /x"]);
    check(
        r#"FROM scratch
COPY ["it's a", "/x y"]"#,
        &["0:it's a > /x y"],
    );
    check("FROM i\nCOPY a /", &["image i linux/amd64", "file below=true 1:a > /"]);
}

#[test]
fn heredocs_open_wherever_a_shell_would_open_one_and_not_in_arrays() {
    check(
        "FROM scratch\nRUN [ -e /x ] || cat <<E\nhi\nE\nCOPY [ab] <<E /d/\nhi\nE\nLABEL a=b",
        &[r#"[ -e /x ] || cat <<E\nhi\nE"]"#, r#"1:[ab] E="hi\n" > /d/"#, "label a=b"],
    );
    check(
        "FROM scratch\nRUN --network=none [\"cat\", \"<<E\"]\nCOPY [\"<<E\", \"/d\"]\nLABEL a=b",
        &[r#"exec ["cat", "<<E"]"#, "1:<<E > /d", "label a=b"],
    );
    check("# escape=`\nFROM scratch\nCMDS [\"\\\" <<E x\"]\n", &[r#"launch ["\" <<E x"]"#]);
    // The delimiter is the shell's word without its quotes.
    for (operator, name) in [
        ("\\E", "E"),
        ("E\"O\"F", "EOF"),
        ("-'a b'", "a b"),
        ("\"$A\"", "$A"),
        (r#""a\"\b""#, r#"a"\b"#),
        ("\"12\"", "12"),
    ] {
        check(
            &format!("FROM scratch\nCOPY <<{operator} /d/\n$X\n{name}\nLABEL a=b"),
            &[&format!(r#"{name}="$X\n" > /d/"#), "label a=b"],
        );
    }
    check("FROM scratch\nRUN a $((1 <<2)) $((1 <<$X))\nLABEL a=b", &["label a=b"]);
}

#[test]
fn what_is_wrong_in_a_heredoc_is_named_where_it_is() {
    check(
        "FROM scratch\nCOPY <<E /d/\nhost $host;\nuri ${uri%x}\nE\n",
        &[
            "error 4:5 unsupported modifier in substitution",
            "hint: to keep every `$` of the text as it is, quote the delimiter: `<<\"E\"`",
        ],
    );
    check(
        "FROM scratch\nCOPY <<E /d/\nhost $host;\nE\n",
        &["warning 3:6 variable `host` is not set", "quote the delimiter: `<<\"E\"`"],
    );
    check(
        "FROM scratch\nCOPY <<-E /d/\n\thost\n\t\t$host ${A:-\n\t$uri}\n\tE\n",
        &["warning 4:3 variable `host` is not set", "warning 5:2 variable `uri` is not set"],
    );
}

#[test]
fn an_array_of_a_command_has_strings_only() {
    check("FROM scratch\nRUN [\"a\", 1]", &["error 2:5 when using JSON array syntax"]);
    check(
        "FROM scratch AS x\nRUN [1]\nFROM scratch\nCOPY --from=x a /",
        &["error 2:5 when using JSON array"],
    );
    check("FROM scratch\nRUN [ \"a\" = \"b\" ]", &[r#""[ \"a\" = \"b\" ]"]"#]);
}

#[test]
fn options_of_mounts_have_any_case_and_the_last_one_counts() {
    check(
        "FROM scratch AS x\nCOPY a /\nFROM i\nRUN --mount=Type=CACHE,from=y,FROM=x,target=/a,dst=/b,sharing=Locked a",
        &["exec", "file below=false 0:a > /"],
    );
    check(
        "FROM i\nRUN --mount=type=tmpfs,target=/a,size=1,size=x a",
        &["error 2:5 invalid `size` of --mount"],
    );
}

#[test]
fn faulty_copies_are_named() {
    check("FROM scratch\nCOPY a", &["error 2:1 invalid copy instruction: COPY a"]);
    check("FROM scratch\nCOPY a b c", &["the destination must be a directory and end with a /"]);
    check("FROM scratch\nCOPY http://h/a /", &["error 2:6 COPY does not fetch URLs"]);
    check("FROM scratch\nCOPY --chmd=1 a /", &["error 2:6 unknown flag --chmd", "did you mean `--chmod`?"]);
    check("FROM scratch\nCOPY --chmod=u+z a /", &["error 2:6 invalid value of --chmod: expected an octal"]);
    check(
        "FROM scratch\nCOPY --chown=me: a /",
        &["error 2:6 invalid value of --chown: expected USER[:GROUP]"],
    );
    check(
        "FROM scratch\nCOPY --chown=me --link a /\nCOPY --link=0 --chown=me a /\nCOPY --chown=7:8 --link a /",
        &["error 2:6 --chown takes no names beside --link", "hint: use numbers"],
    );
    check("FROM scratch AS x\nFROM scratch\nCOPY --from=x a /", &["stage `x` has no files"]);
    check("FROM scratch AS x\nCOPY --from=x a /\nFROM scratch", &["`x` is not a stage above"]);
    check("FROM scratch\nCOPY --from=1 a /", &["`1` is not a stage above"]);
    check(
        "FROM scratch\nADD --unpack=maybe a /",
        &["error 2:5 invalid value of --unpack: expected true or false"],
    );
    check("FROM scratch\nADD --checksum=md5:1 http://h/a /", &["invalid value of --checksum"]);
    check("FROM scratch\nCOPY <<E /x\nbody", &["error 2:6 unterminated heredoc `E`"]);
    check(
        "FROM scratch\nCOPY [\"a\", \"/b\"] # c",
        &["warning 2:18 what follows the JSON array makes words of all of it", "must be a directory"],
    );
    let pattern = dump("FROM scratch\nCOPY [1] /b\nCOPY [] /b", &options());
    assert!(!pattern.contains("warning"), "{pattern}");
    check(
        "FROM scratch\nCOPY $NO /x",
        &["warning 2:6 variable `NO` is not set", "error 2:6 a source is empty"],
    );
}

#[test]
fn applications_are_checked_and_lowered() {
    check(
        "FROM scratch\nARG V=1\nAPP a$V local://./y/ https://u:p@h/$ARCH.sh?q",
        &["app a1 y *", "h/amd64.sh?q None"],
    );
    check(
        "FROM scratch\nAPP x\nAPPCMDS x [\"a\"]\nAPPENV x K=V K2=",
        &[r#"override {"K": "V", "K2": ""} Some(["a"])"#],
    );
    check("FROM scratch\nCNI c local://a.sh\nCSI d local://b.sh", &["kube-cni-c=true", "kube-csi-d=true"]);
    check("FROM scratch\nAPP ../x local://a", &["error 2:5 `../x` cannot be the name"]);
    check("FROM scratch\nAPP x local://", &["error 2:7 the path of a source is empty"]);

    check(
        "FROM scratch\nAPP mysql local://a\nLAUNCH mysq",
        &["mysq does not exist in the image", "mean `mysql`?"],
    );
    let same =
        dump("FROM scratch\nAPP x local://a/conf.d local://b/conf.d\nAPP y local://a/f.sh", &options());
    assert!(!same.contains("warning"), "{same}");
    check("FROM scratch\nAPP x <<E\nhi\nE\nLABEL a=b", &["error 2:7 heredocs are not supported in APP"]);
    check(
        "FROM scratch\nAPP x local://a\nAPP x local://b",
        &["warning 3:1 application `x` is declared again", "app x b"],
    );
}

#[test]
fn text_behind_an_array_does_not_count() {
    check(
        "FROM scratch\nCMDS [\"a b\"]  # c",
        &[r#"launch ["a b"] []"#, "warning 2:15 what follows the JSON array is ignored"],
    );
    check(
        "FROM scratch\nAPP [\"x\", \"local://a\"] # c\nAPPENV [\"x\", \"K=a b\"],\nLAUNCH [\"x\"][",
        &["app x a", r#"override {"K": "a b"} None"#, r#"launch [] ["x"]"#],
    );
    // Docker takes words then.
    check("FROM scratch\nCOPY [\"a\"]* /b", &["file below=false 0:[a]* > /b"]);
}

#[test]
fn a_nul_byte_is_one_error_wherever_it_stands() {
    let nul = "there is a NUL byte";
    check("FROM scratch\nENV A=a\0b\nLABEL x=\0\nRUN \0", &[&format!("error 2:8 {nul}")]);
    check("FROM scratch\n# \0\n", &[&format!("error 2:3 {nul}")]);
    check("FROM scratch\nCOPY <<E /\n\0\nE", &[&format!("error 3:1 {nul}")]);
    check(
        r#"FROM scratch
COPY ["a", "/a\u0000b"]
RUN ["/f", "\u0000"]
APP x local://a
APPCMDS x ["\u0000"]
CMDS ["a", "\u0000"]"#,
        &[
            &format!("error 2:12 {nul}"),
            &format!("error 3:5 {nul}"),
            &format!("error 5:11 {nul}"),
            &format!("error 6:12 {nul}"),
        ],
    );
    check(
        r#"FROM scratch
LABEL a='["\u0000"]'
RUN echo '\u0000'"#,
        &[r#"label a=["\u0000"]"#],
    );
}

#[test]
fn image_facts_come_from_env_label_arg_and_the_rest() {
    check(
        "FROM scratch\nENV A=1 B=\"$A x\"\nENV C ${A:-n} d\nenv A=2",
        &["env A=2", "env B= x", "env C=1 d"],
    );
    check("FROM scratch\nLABEL a=b c=\"d e\"\nLABEL k v w", &["label a=b", "label c=d e", "label k=v w"]);
    check("FROM scratch\nLABEL a", &["LABEL must have two arguments"]);
    check(
        "FROM scratch\nENV\nENV a=1 b\nENV =x",
        &["ENV requires at least", "can't find =", "can not be blank"],
    );
    check(
        "FROM scratch\nMAINTAINER me\nKUBEVERSION 1.18 - 1.22",
        &["author me", "supported-kube-version=1.18 - 1.22"],
    );
    check("FROM scratch\nKUBEVERSION", &["KUBEVERSION requires one argument"]);
    check(
        "ARG X=1\nFROM scratch\nLABEL a=$X\nARG X\nLABEL b=$X",
        &["warning 3:9 variable `X` is not set", "label b=1"],
    );
}

#[test]
fn an_arg_that_is_declared_again_keeps_what_it_has() {
    check(
        "FROM scratch AS b\nARG X=1\nARG X\nLABEL a=$X\nFROM b\nARG X\nLABEL b=$X\nARG X=2\nARG X\nLABEL c=$X",
        &["label a=1", "label b=1", "label c=2"],
    );
    check("ARG X=g\nARG X\nFROM scratch\nARG X=1\nARG X\nLABEL a=$X", &["label a=g"]);
    check(
        "ARG X\nFROM scratch\nARG X=1\nARG X TARGETOS=o\nARG TARGETOS\nLABEL a=$X$TARGETOS",
        &["label a=1o"],
    );
}

#[test]
fn what_cannot_be_built_yet_is_no_error_in_a_stage_that_is_not_built() {
    check("FROM scratch AS x\nRUN --security=insecure ls\nFROM scratch", &["stage `x` is not used"]);
    check(
        "FROM scratch AS x\nRUN --security=insecure ls\nFROM scratch\nCOPY --from=x a /",
        &["is not allowed in this build"],
    );
}

#[test]
fn a_stage_may_give_the_commands_of_an_application_it_takes_over() {
    check("FROM scratch AS x\nAPP a\nFROM x\nAPPCMDS a [\"b\"]", &[r#"override {} Some(["b"])"#]);
}

#[test]
fn a_faulty_source_makes_no_second_error_and_hides_none() {
    check(
        "FROM scratch\nAPP x redis.yaml\nLAUNCH x nope",
        &["source schema should be specified", "application nope does not exist"],
    );
}

#[test]
fn white_space_and_continuations_may_stand_before_a_keyword() {
    check("\\\n  FROM scratch\n\t\\\n# c\n \tCOPY a /\n\\", &["file below=false 0:a > /"]);
}

#[test]
fn stages_targets_and_form_are_checked() {
    check("", &["the Kubefile is empty"]);
    check("APP x local://a", &["no FROM statement found"]);
    check("LABEL a=b\nFROM scratch", &["error 1:1 LABEL stands before the first FROM"]);
    check("FROM a b", &["FROM requires either one or three arguments"]);
    check("FROM --x=1 scratch", &["flag x is not available in FROM"]);
    check("FROM scratch AS a\nFROM scratch AS A", &["duplicate name of stage `A`", "stage `a` is not used"]);
    check("FROM $X", &["variable `X` is not set", "base name is blank"]);
    check(
        "FROM scratch\nWORKDIR /\nAPPP x",
        &["command workdir is not supported", "command appp is", "mean `APP`?"],
    );
    check("FROM scratch\nCMDS a\nCMDS b", &["cmds should be the last", "only one cmds could be specified"]);
    check(
        "FROM scratch\nCMD [\"a\"]\ncmd ls -l",
        &[r#"launch ["[\"a\"]", "ls -l"] []"#, "CMD is deprecated"],
    );
    check(
        "# escape=`\nFROM scratch\nCMDS a `\n\n# c\n b",
        &[r#"launch ["a", "b"]"#, "warning 4:1 blank line"],
    );
    check("# escape=x\nFROM scratch", &["invalid ESCAPE 'x'"]);
    check("FROM scratch\nLAUNCH [1]", &["arrays must be comprised of strings only"]);
    let target = Options { target: Some("nope".into()), ..options() };
    assert!(dump("FROM scratch AS node", &target).contains("target stage `nope` could not be found"));
    let unused = Options { build_args: BTreeMap::from([("XX".into(), "1".into())]), ..options() };
    assert!(dump("FROM scratch\nARG XY", &unused).contains("hint: did you mean `XY`?"));
}

proptest! {
    #[test]
    fn any_text_is_survived_and_spans_are_in_range(
        lines in prop::collection::vec(
            ("(FROM|COPY|ADD|APP|APPCMDS|ENV|ARG|LABEL|LAUNCH|CMD|RUN|# ?check=(skip|error)=|é)?", "[ -~é\\\\\t\r`$\\{\\}'\"<\\[\\]]{0,24}"),
            0..12,
        )
    ) {
        let lines = lines.into_iter().map(|(keyword, rest)| format!("{keyword} {rest}\n"));
        survives(&format!("FROM scratch\n{}", lines.collect::<String>()))?;
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes))?;
    }
}

/// What lints find in it, with and without bases, if every source is a file.
fn looked_through(
    model: &crate::Model,
    source: &SourceFile,
    bases: &BTreeMap<crate::ImageKey, Base>,
) -> Vec<crate::Diagnostic> {
    let found = [&BTreeMap::new(), bases].map(|bases| {
        let check = crate::Check::new(model, source, &options(), bases);
        let selections = check.sources().into_keys().map(|pattern| (pattern, crate::Selection::File));
        check.findings(&selections.collect(), false)
    });
    found.concat()
}

/// The whole road, with and without bases; all places are in the text and between characters.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let source = SourceFile { name: String::new(), text: text.to_owned() };
    let parsed = crate::parse(&source);
    let (model, checked) = crate::model(&parsed, &options());
    let bases = bases(&model, &options());
    let (lowered, found) = crate::lower(&model, &source, &options(), &bases);
    prop_assert_eq!(lowered.is_none(), found.iter().any(|found| found.is_error()));
    let (_, unresolved) = crate::lower(&model, &source, &options(), &BTreeMap::new());
    let statements = parsed.file.statements.iter().flat_map(|statement| {
        let flags = statement.flags.iter().map(|flag| flag.span);
        flags.chain(statement.heredocs.iter().map(|heredoc| heredoc.span)).chain([statement.span])
    });
    let looked = looked_through(&model, &source, &bases);
    let found = parsed.diagnostics.iter().chain(&checked).chain(&found).chain(&unresolved).chain(&looked);
    for span in found.flat_map(|found| &found.labels).map(|label| label.span).chain(statements) {
        prop_assert!(source.text.get(span.start..span.end).is_some(), "{:?}", span);
    }
    Ok(())
}
