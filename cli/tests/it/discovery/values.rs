//! Values that charts are rendered with, and applications that are not looked through.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use super::{build, build_with, chart, finds, references};
use crate::space::{Run, Space, run};

/// The application `a`, a chart, declared with flags.
fn declared(space: &Space, flags: &str) {
    space.kubefile(&format!("FROM scratch\nARG TAG=set\nAPP {flags} a local://a\n"));
}

fn space_with_chart() -> Space {
    let space = Space::new();
    chart(&space, "a");
    space.file("v/site.yaml", "image: {tag: site} # ours\n");
    space.file("v/more.yaml", "image: {repository: r/more}\nidle: {use: true}\n");
    space
}

/// The images of the container that a chart of [`chart`] runs, built with flags.
fn mains(space: &Space, flags: &str) -> Vec<String> {
    declared(space, flags);
    let found = references(&build(space)).into_iter();
    found.filter(|image| image.starts_with("r/m") && !image.ends_with(":init")).collect()
}

#[test]
fn values_decide_which_images_a_chart_names() {
    let space = space_with_chart();
    for _ in 0..2 {
        // The second time all of it is known, and nothing is mixed up.
        for (flags, image) in [
            ("", "r/main:v1"),
            ("--values=v/site.yaml", "r/main:site"),
            ("--values=v/site.yaml --values v/more.yaml", "r/more:site"),
            ("--values=v/site.yaml --values=v/more.yaml --set image.tag=${TAG}", "r/more:set"),
            ("--set image.tag=1.10 --set=image.tag=2", "r/main:2"),
            // What is set is no number for its dot, as in YAML.
            ("--set 'image.repository=r\\/m,image.tag=1.10'", "r/m:1.10"),
        ] {
            assert_eq!(mains(&space, flags), [image], "{flags}");
        }
    }
    // Conditions are values too.
    let idle = |flags: &str| {
        declared(&space, flags);
        let of_idle = |find: &String| find.contains("q.io/idle:1.10");
        finds(&build(&space)).into_iter().find(of_idle).expect("it is looked at, enabled or not")
    };
    assert!(idle("").ends_with("which is not enabled)"));
    assert!(idle("--values=v/more.yaml").ends_with("chart top/charts/idle)"));
    assert!(idle("--values=v/more.yaml --set idle.use=false").ends_with("which is not enabled)"));
    // A file that changes gives other images, though the text is the same.
    assert_eq!(mains(&space, "--values=v/site.yaml"), ["r/main:site"]);
    space.file("v/site.yaml", "image: {tag: moved}\n");
    assert_eq!(mains(&space, "--values=v/site.yaml"), ["r/main:moved"]);
}

#[test]
fn values_of_one_application_are_not_those_of_another() {
    let space = space_with_chart();
    fs_err::create_dir(space.context().join("c")).unwrap();
    super::copy(&space.context().join("a"), &space.context().join("c/x"));
    space.kubefile(
        "FROM scratch\nAPP --set image.tag=one a local://a\nCSI --set image.tag=two b local://a\nAPP c local://a\n\
         COPY c charts\n",
    );
    let run = build(&space);
    for (place, image) in [
        ("application/apps/a", "r/main:one"),
        ("application/apps/b", "r/main:two"),
        ("application/apps/c", "r/main:v1"),
        ("charts/x", "r/main:v1"),
    ] {
        let of_place: Vec<String> =
            finds(&run).into_iter().filter(|find| find.starts_with(&format!("{place}: r/main:"))).collect();
        assert_eq!(of_place.len(), 2, "{of_place:#?}");
        assert!(of_place.iter().any(|find| find.contains(image)), "{place}: {of_place:#?}");
    }
    // An application put together by several instructions is rendered as a whole.
    space.kubefile(
        "FROM scratch\nAPP --set image.tag=one a local://a\nCOPY v/more.yaml application/apps/a/values.yaml\n",
    );
    assert!(references(&build(&space)).contains("r/more:one"));
    space.kubefile("FROM scratch\nAPP a local://a\nCOPY v/site.yaml application/apps/a/values.yaml\n");
    assert!(!references(&build(&space)).contains("r/more:one"));
}

#[test]
fn values_change_neither_files_nor_steps() {
    let space = space_with_chart();
    declared(&space, "");
    space.built(&[]);
    let layers = space.manifest("localhost/x:1")["layers"].clone();
    let extension = space.extension("localhost/x:1");
    declared(&space, "--values=v/site.yaml --set image.tag=x");
    let cost = space.built(&[]);
    assert_eq!((&cost["executed"], &cost["layers_made"]), (&json!(0), &json!(0)));
    assert_eq!(space.manifest("localhost/x:1")["layers"], layers);
    assert_eq!(space.extension("localhost/x:1"), extension);
}

#[test]
fn a_helm_on_the_path_gets_the_values_once() {
    let space = space_with_chart();
    space.file("a/templates/x.yaml", "pod: {{ derivePassword 1 \"long\" \"a\" \"b\" \"c\" }}\n");
    let (bin, log) = (space.root().join("bin"), space.root().join("log"));
    fs_err::create_dir(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\nsaid=\nwhile [ $# -gt 0 ]; do\n  case \"$1\" in\n    --values) read -r line < \"$2\"; said=\"$said$line;\" ;;\n    \
         --set=*) said=\"$said$1;\" ;;\n  esac\n  shift\ndone\necho \"$said\" >> {}\n\
         printf -- '---\\n# Source: top/templates/y.yaml\\nkind: Pod\\nimage: r/asked:v1\\n'\n",
        log.display()
    );
    fs_err::write(bin.join("helm"), script).unwrap();
    fs_err::set_permissions(bin.join("helm"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let mut expected = Vec::new();
    for (flags, said) in [
        (
            "--values=v/more.yaml --values=v/site.yaml --set a=1 --set 'b=x\\,y'",
            Some("image: {repository: r/more};image: {tag: site} # ours;--set=a=1;--set=b=x\\,y;"),
        ),
        ("--values=v/more.yaml --values=v/site.yaml --set a=1 --set 'b=x\\,y'", None),
        ("--set a=2", Some("--set=a=2;")),
        ("", Some("")),
        ("--set a=2", None),
        ("", None),
    ] {
        declared(&space, flags);
        let run = build_with(&space, &path);
        assert_eq!(references(&run), BTreeSet::from(["r/asked:v1".to_owned()]), "{}", run.stderr);
        expected.extend(said);
        let log = fs_err::read_to_string(&log).unwrap();
        assert_eq!(log.lines().collect::<Vec<_>>(), expected, "{flags}");
    }
    // Without one, the values are searched as they are.
    assert!(mains(&space, "--values=v/site.yaml").contains(&"r/main:site".to_owned()));
    assert!(!mains(&space, "").contains(&"r/main:site".to_owned()));
}

#[test]
fn values_that_cannot_be_had_are_told_at_their_flags() {
    let space = space_with_chart();
    space.file("v/list.yaml", "- a\n").file("v/broken.yaml", "a: [\n").file("v/ignored.yaml", "");
    space.file(".sealerignore", "v/ignored.yaml\n");
    let check = |flags: &str, expected: &[(&str, &str)]| {
        declared(&space, flags);
        let run = build(&space);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        for (place, text) in expected {
            assert!(run.stderr.contains(text) && run.stderr.contains(place), "{text}: {}", run.stderr);
        }
    };
    check(
        "--values=v/site.yaml --values=v/no.yaml",
        &[("Kubefile:3:26", "`v/no.yaml` is not in the build context")],
    );
    check("--values=v/ignored.yaml", &[("Kubefile:3:5", "an ignore file leaves it out")]);
    check("--values v", &[("Kubefile:3:5", "`v` is no file")]);
    check("--values=v/list.yaml", &[("Kubefile:3:5", "the values file `v/list.yaml` is no YAML mapping")]);
    check("--values=v/broken.yaml", &[("Kubefile:3:5", "the values file `v/broken.yaml` is no YAML: line ")]);
    check(
        "--set image.tag",
        &[("Kubefile:3:5", "`--set=image.tag`: `tag` has no value"), ("hint: ", "image.tag=v1")],
    );
    // All at once.
    check(
        "--values=v/list.yaml --set a=1 --set a.b=1",
        &[("Kubefile:3:5", "no YAML mapping"), ("Kubefile:3:36", "`a` is no mapping")],
    );
    // Whoever looks for no images needs no values.
    space.built(&[]);
    let skipping = run(space.command().args(["build", "-t", "x:1", "--offline", "--no-discover=a", "."]));
    assert_eq!(skipping.code, Some(0), "{}", skipping.stderr);
    let checked = space.run(&["build", "--check", "."]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    declared(&space, "--values=v/no.yaml");
    let checked = space.run(&["build", "--check", "."]);
    assert!(
        checked.stderr.contains("`v/no.yaml` selects nothing in the build context"),
        "{}",
        checked.stderr
    );
}

#[test]
fn values_without_a_chart_are_told_of() {
    let space = space_with_chart();
    space.file("m.yaml", "kind: A\n").kubefile("FROM scratch\nAPP --set a=1 m local://m.yaml\n");
    let run = build(&space);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("`m` has no chart that its values could be for"), "{}", run.stderr);
    assert!(run.stderr.contains("Kubefile:2:5"), "{}", run.stderr);
    declared(&space, "--set a=1");
    assert!(!build(&space).stderr.contains("has no chart"));
}

#[test]
fn values_files_come_out_of_whatever_the_context_is() {
    let space = space_with_chart();
    declared(&space, "--values=v/site.yaml");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(space.context()).arg("-czf").arg(space.root().join("ctx.tgz")).arg(".");
    assert!(tar.status().unwrap().success());
    let mut command = space.command();
    let run =
        run(command.args(["build", "-t", "x:1", "--offline", "../ctx.tgz"]).env("PATH", "/usr/bin:/bin"));
    assert!(references(&run).contains("r/main:site"), "{}", run.stderr);
}

fn build_without(space: &Space, flags: &[&str]) -> Run {
    let words = [&["build", "-t", "x:1", "--offline"][..], flags, &["."]].concat();
    run(space.command().args(words).env("PATH", "/usr/bin:/bin"))
}

#[test]
fn applications_are_left_out_of_the_look_on_demand() {
    let space = Space::new();
    for name in ["a", "b", "c"] {
        space.file(&format!("{name}.yaml"), format!("kind: Pod\nimage: r/{name}:v1\n"));
    }
    space.kubefile("FROM scratch\nAPP base local://c.yaml\n");
    assert_eq!(space.run(&["build", "-t", "base:1", "--build-mode", "lite", "."]).code, Some(0));
    space.kubefile("FROM base:1\nAPP a local://a.yaml\nAPP b local://b.yaml\nCOPY c.yaml manifests/\n");
    let found = |flags: &[&str]| references(&build_without(&space, flags)).into_iter().collect::<Vec<_>>();
    assert_eq!(found(&[]), ["r/a:v1", "r/b:v1", "r/c:v1"]);
    assert_eq!(found(&["--no-discover", "a"]), ["r/b:v1", "r/c:v1"]);
    assert_eq!(found(&["--no-discover=a,b"]), ["r/c:v1"]);
    assert_eq!(found(&["--no-discover=a", "--no-discover=base"]), ["r/b:v1", "r/c:v1"]);
    assert_eq!(found(&[]), ["r/a:v1", "r/b:v1", "r/c:v1"]);
    let unknown = build_without(&space, &["--no-discover=b,nope"]);
    assert_eq!(unknown.code, Some(1));
    for text in ["no application of the build is called `nope`", "hint: `--no-discover` takes a, b, base"] {
        assert!(unknown.stderr.contains(text), "{text}: {}", unknown.stderr);
    }
    let checked = space.run(&["build", "--check", "--no-discover=a", "."]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    space.kubefile("FROM scratch\nCOPY c.yaml manifests/\n");
    let none = build_without(&space, &["--no-discover=a"]);
    assert!(none.stderr.contains("the build has no applications"), "{}", none.stderr);
}
