//! Where files come from that are not the context's: images, git repositories, contexts with names.

use super::*;

#[test]
fn files_come_from_images_and_no_image_is_asked_for_in_vain() {
    check(
        "FROM scratch\nCOPY --from=nginx:1 /a /b",
        &["image nginx:1 linux/amd64", "file below=false 0:a > /b"],
    );
    check(
        "FROM env\nCOPY --from=$TOOLS a /\nCOPY --from=env a /",
        &["image env linux/amd64", "image tools linux/amd64", "file below=true 1:a > /"],
    );
    check(
        "FROM scratch AS builder\nCOPY a /\nFROM scratch\nCOPY --from=bulider a /",
        &["warning 4:6 `bulider` is taken as an image", "hint: did you mean `builder`?", "image bulider"],
    );
    check(
        "FROM later\nCOPY --from=Later a /\nFROM scratch AS later\nCOPY --from=0 a /",
        &["warning 1:6 `later` is taken as an image: the stage of that name", "warning 2:6 `Later` is taken"],
    );
    let own = dump("FROM x AS x\nCOPY a /\nFROM x\nCOPY --from=x a /", &options());
    assert!(!own.contains("warning"), "{own}");
    check("FROM scratch\nCOPY --from=scratch a /", &["error 2:6 `scratch` has no files"]);
    let source =
        SourceFile { name: "Kubefile".into(), text: "FROM x AS a\nCOPY --from=y a /\nFROM z".into() };
    let (model, _) = crate::model(&crate::parse(&source), &options());
    let asked: Vec<String> = model.bases().into_iter().map(|request| request.image.reference).collect();
    assert_eq!(asked, ["z"]);
}

#[test]
fn what_variables_of_a_base_name_is_used() {
    let contexts = BTreeMap::from([("tools".to_owned(), NamedContext::Files)]);
    let contexts = Options { contexts, ..options() };
    for (options, text, found) in [
        (options(), "FROM x AS tools\nFROM env\nCOPY --from=$TOOLS a /", "image x linux/amd64"),
        (options(), "FROM x AS tools\nFROM env\nRUN --mount=from=$TOOLS,target=/t a", "image x linux/amd64"),
        (options(), "FROM x AS y\nFROM env\nRUN --mount=from=y,target=/$TOOLS a", "image x linux/amd64"),
        (options(), "FROM env\nRUN --mount=from=x,target=/$TOOLS a", "image x linux/amd64"),
        (contexts, "FROM env\nRUN --mount=from=$TOOLS,target=/t a", "local context:tools"),
    ] {
        let dump = dump(text, &options);
        assert!(
            dump.contains(found) && dump.contains("exec") != dump.contains("file"),
            "{text}\n---\n{dump}"
        );
        assert!(!dump.contains("warning") && !dump.contains("error"), "{text}\n---\n{dump}");
    }
    check("FROM x AS y\nFROM env\nCOPY --from=$TOOLS a /", &["warning 1:1 stage `y` is not used"]);
}

#[test]
fn applications_of_an_image_that_files_come_from_do_not_count() {
    let source = SourceFile {
        name: "Kubefile".into(),
        text: "FROM base\nCOPY --from=other a /\nLAUNCH mine theirs".into(),
    };
    let (model, _) = crate::model(&crate::parse(&source), &options());
    let mut bases = bases(&model, &options());
    for (key, base) in &mut bases {
        let name = if key.reference == "base" { "mine" } else { "theirs" };
        let kind = Some("kube".to_owned());
        base.applications.push(solver::Application { name: name.into(), kind, ..Default::default() });
    }
    let (_, found) = crate::lower(&model, &source, &options(), &bases);
    let messages: Vec<String> = found.into_iter().map(|one| one.message).collect();
    assert_eq!(messages, ["application theirs does not exist in the image"]);
}

#[test]
fn git_repositories_are_added() {
    let commit = "A".repeat(40);
    check(
        &format!("FROM scratch\nADD --checksum={commit} https://u:p@h/r.git#v1:a/./b /d"),
        &[
            &format!("git https://h/r.git#v1:a/b keep=false Some(\"{}\")", "a".repeat(40)),
            "file below=false 0:. > /d",
        ],
    );
    check("FROM scratch\nADD --keep-git-dir git@h:r /d", &["git git@h:r keep=true None"]);
    check("FROM scratch\nADD --keep-git-dir=false git@h:r /d", &["git git@h:r keep=false None"]);
    check("FROM scratch\nADD --keep-git-dir a /d", &["warning 2:5 --keep-git-dir has no effect"]);
    check("FROM scratch\nADD --keep-git-dir git@h:r#:d /d", &["--keep-git-dir keeps a whole repository"]);
    check("FROM scratch\nADD --checksum=abc git@h:r /d", &["all digits of a commit's id"]);
    check("FROM scratch\nADD https://h/r.git#-x /d", &["error 2:5 `-x` cannot be the name of a branch"]);
    check("FROM scratch\nADD ssh://-oProxyCommand=x/r /d", &["error 2:5 the git URL has a host of other"]);
    check("FROM scratch\nCOPY git@h:r /d", &["error 2:6 COPY does not fetch URLs"]);
    check(
        "FROM scratch\nAPP a git://h/r\nAPP b https://h/r.git#x",
        &["error 2:7 APP takes files of the build context", "error 3:7 APP takes files"],
    );
}

#[test]
fn named_contexts_go_before_stages_and_images() {
    let contexts = BTreeMap::from([
        ("tools".to_owned(), NamedContext::Files),
        ("alpine".to_owned(), NamedContext::Image("mirror/alpine:3".into())),
        ("built".to_owned(), NamedContext::Image("ready:1".into())),
    ]);
    let options = Options { contexts, ..options() };
    check_with(
        &options,
        "FROM docker.io/library/alpine:latest AS Built\nCOPY a /\nFROM scratch\nCOPY --from=Tools ../a b /d/\nCOPY --from=BUILT c /c",
        &[
            "local context:tools",
            "file below=false 0:a 1:b > /d/",
            "image ready:1",
            "file below=true 1:c > /c",
        ],
    );
    check_with(
        &options,
        "FROM Built\nCOPY --from=tools . /",
        &["image ready:1", "warning 1:1 one or more build contexts were not used: `alpine`"],
    );
    check_with(
        &options,
        "FROM tools\nCOPY --from=alpine --from=built . /",
        &["error 1:6 the build context `tools` has files, and FROM needs an image", "duplicate flag"],
    );
    let dump = dump("FROM scratch AS built\nCOPY a /\nFROM alpine\nCOPY --from=built --link a /\n", &options);
    assert!(!dump.contains("is not used and is not built"), "{dump}");
    assert!(dump.contains("file below=false 0:a > /") && dump.contains("not used: `tools`"), "{dump}");
}
