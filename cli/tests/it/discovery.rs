//! Container images found in what an image holds: manifests, lists, and charts rendered.

mod values;

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::space::{Run, Space, run, skipped};

fn shared(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(path);
    if !found.exists() {
        skipped(&format!("the shared data is not at {}", found.display()));
        return None;
    }
    Some(found)
}

/// A build in mode `all` without a `helm` to ask. It asks no registry: what it would fetch is told.
fn build(space: &Space) -> Run {
    build_with(space, "/usr/bin:/bin")
}

fn build_with(space: &Space, path: &str) -> Run {
    run(space.command().args(["build", "--offline", "-t", "x:1", "."]).env("PATH", path))
}

/// The lines that name finds: `PATH[:LINE]: REFERENCE (WHY)`, sorted.
fn finds(run: &Run) -> Vec<String> {
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let lines = run.stderr.lines().filter_map(|line| line.trim().strip_prefix("named by "));
    let mut finds: Vec<String> = lines
        .map(|line| match line.strip_prefix("application ") {
            Some(rest) => rest.split_once(", ").unwrap().1.to_owned(),
            None => line.to_owned(),
        })
        .collect();
    assert!(!finds.is_empty(), "no images found: {}", run.stderr);
    finds.sort();
    finds
}

fn references(run: &Run) -> BTreeSet<String> {
    let of = |line: &String| {
        let (_, rest) = line.split_once(": ").unwrap();
        rest.split_once(" (").map_or(rest, |(reference, _)| reference).to_owned()
    };
    finds(run).iter().map(of).collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn the_images_sealer_finds_are_found() {
    let Some(data) = shared("golden/spec-images") else { return };
    let space = Space::new();
    copy(&data.join("context/."), &space.context());
    let run = build(&space);
    let inspected: Value = serde_json::from_slice(&fs_err::read(data.join("inspect.json")).unwrap()).unwrap();
    let list = inspected["containerImageList"].as_array().unwrap();
    let theirs: BTreeSet<String> =
        list.iter().map(|image| image["image"].as_str().unwrap().to_owned()).collect();
    let found: BTreeSet<String> =
        references(&run).iter().map(|reference| engine::Reference::normalised(reference).unwrap()).collect();
    assert_eq!(found, theirs);
    let finds = finds(&run);
    for find in [
        "application/apps/app1/x.yaml:1: localhost:5099/team/c:v1 (image of no kind)",
        "charts/ch: localhost:5099/library/nginx (spec.image of no kind, chart ch)",
        "manifests/imageList:2: localhost:5099/team/oci:v1",
        "manifests/m.yaml:7: localhost:5099/team/b:v1 (spec.containers[1].fooimage of no kind)",
    ] {
        assert!(finds.iter().any(|line| line == find), "{find}: {finds:#?}");
    }
}

#[test]
fn the_images_of_published_charts_are_found_packed_and_in_directories() {
    let Some(charts) = shared("data/charts") else { return };
    let images: Value = serde_json::from_slice(&fs_err::read(charts.join("images.json")).unwrap()).unwrap();
    for (file, expected) in images.as_object().unwrap() {
        let expected: BTreeSet<String> =
            expected.as_array().unwrap().iter().map(|image| image.as_str().unwrap().to_owned()).collect();
        let packed = Space::new();
        fs_err::copy(charts.join(file), packed.context().join(file)).unwrap();
        packed.kubefile(&format!("FROM scratch\nAPP a local://{file}\n"));
        let unpacked = Space::new();
        fs_err::create_dir_all(unpacked.context().join("charts")).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(charts.join(file)).arg("-C").arg(unpacked.context().join("charts"));
        assert!(tar.status().unwrap().success());
        unpacked.kubefile("FROM scratch\nCOPY charts charts\n");
        for space in [packed, unpacked] {
            let run = build(&space);
            let found = references(&run);
            assert!(found.is_superset(&expected), "{file}: {expected:?} {}", run.stderr);
            let mut lines = finds(&run);
            lines.dedup();
            assert_eq!(lines, finds(&run), "{file}: no line is told twice");
            assert!(!run.stderr.contains("could not be rendered"), "{file}: {}", run.stderr);
        }
    }
}

fn chart(space: &Space, dir: &str) {
    space
        .file(
            &format!("{dir}/Chart.yaml"),
            "apiVersion: v2\nname: top\nversion: 1.0.0\ndependencies:\n- {name: idle, version: 1.0.0, condition: idle.use}\n",
        )
        .file(&format!("{dir}/values.yaml"), "image: {repository: r/main, tag: v1}\nidle: {use: false}\n")
        .file(
            &format!("{dir}/templates/d.yaml"),
            "kind: Deployment\nspec:\n  template:\n    spec:\n      initContainers:\n      - image: {{ .Values.image.repository }}:init\n\
             \x20     containers:\n      - image: \"{{ .Values.image.repository }}:{{ .Values.image.tag }}\"\n",
        )
        .file(&format!("{dir}/templates/NOTES.txt"), "image: r/notes:v1\n")
        .file(&format!("{dir}/charts/idle/Chart.yaml"), "apiVersion: v2\nname: idle\nversion: 1.0.0\n")
        .file(
            &format!("{dir}/charts/idle/templates/cr.yaml"),
            "kind: Thing\nspec:\n  image:\n    registry: q.io\n    repository: idle\n    tag: 1.10\n",
        );
}

#[test]
fn charts_of_applications_and_of_charts_are_rendered_disabled_ones_too() {
    let space = Space::new();
    chart(&space, "a");
    chart(&space, "c/deep/er");
    space.kubefile("FROM scratch\nAPP a local://a\nCOPY c charts\nAPP nested local://c\n");
    space.file("c/deep/install.sh", "");
    space.file("c/deep/loose.yaml", "image: r/loose:v1\n");
    space.kubefile(
        "FROM scratch\nAPP a local://a\nCOPY c charts\nAPP nested local://c\nAPPCMDS nested [\"true\"]\n",
    );
    let mut expected = Vec::new();
    for at in ["application/apps/a", "application/apps/nested/deep/er", "charts/deep/er"] {
        expected.extend([
            format!(
                "{at}: q.io/idle:1.10 (spec.image of Thing, chart top/charts/idle, which is not enabled)"
            ),
            format!(
                "{at}: r/main:init (spec.template.spec.initContainers[0].image of Deployment, chart top)"
            ),
            format!("{at}: r/main:v1 (spec.template.spec.containers[0].image of Deployment, chart top)"),
            format!("{at}: r/notes:v1 (chart top)"),
        ]);
    }
    // In an application files beside a chart count as well, and a chart's own are read as they are; in `charts` not.
    expected.extend([
        "application/apps/nested/deep/er/charts/idle/templates/cr.yaml:5: q.io/idle:1.10 (spec.image of Thing)"
            .to_owned(),
        "application/apps/nested/deep/er/values.yaml:1: r/main:v1 (image of no kind)".to_owned(),
        "application/apps/nested/deep/loose.yaml:1: r/loose:v1 (image of no kind)".to_owned(),
    ]);
    expected.sort();
    for _ in 0..2 {
        // The second build knows what the first one found.
        let run = build(&space);
        let mut found = finds(&run);
        found.sort();
        assert_eq!(found, expected);
        assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    }
}

#[test]
fn words_that_are_no_images_are_passed_over_with_a_warning() {
    let space = Space::new();
    space
        .file("m/crd.yaml", "kind: Doc\nspec:\n  image: string\n")
        .file("m/t.tmpl", "image: {{ .X }}\nimage: true\n");
    space.kubefile("FROM scratch\nCOPY m manifests\n");
    let run = build(&space);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = "words that cannot be container images were passed over: manifests/crd.yaml:3 (`string`), \
                manifests/t.tmpl:2 (`true`)";
    assert!(run.stderr.contains(text), "{}", run.stderr);
}

#[test]
fn a_list_has_comments_and_lines_that_are_no_references_are_told() {
    let space = Space::new();
    space.file("m/imageList", "# all\nr/a:v1  # the web\n\"r/b:v1\"\nr/c: v1\n");
    space.kubefile("FROM scratch\nCOPY m manifests\n");
    let run = build(&space);
    assert_eq!(finds(&run), ["manifests/imageList:2: r/a:v1", "manifests/imageList:3: r/b:v1"]);
    let text = "words that cannot be container images were passed over: manifests/imageList:4 (`r/c: v1`)";
    assert!(run.stderr.contains(text), "{}", run.stderr);
}

#[test]
fn what_is_no_yaml_is_searched_by_lines_and_told_of() {
    let space = Space::new();
    space.file("m/a.yaml", "kind: [\nimage: r/a:v1\n").file("m/b.tmpl", "{{ range }}\nimage: r/b:v1 # b\n");
    space.kubefile("FROM scratch\nCOPY m manifests\n");
    let run = build(&space);
    assert_eq!(finds(&run), ["manifests/a.yaml:2: r/a:v1", "manifests/b.tmpl:2: r/b:v1"]);
    let text = "not YAML, and searched for container images by lines alone: manifests/a.yaml\n";
    assert!(run.stderr.contains(text), "{}", run.stderr);
}

#[test]
fn what_several_instructions_put_together_is_searched_as_one() {
    let space = Space::new();
    chart(&space, "c");
    fs_err::rename(space.context().join("c/templates"), space.context().join("templates")).unwrap();
    space.file("v/values.yaml", "image: {repository: r/late, tag: v2}\n");
    space.kubefile("FROM scratch\nCOPY c charts/c\nCOPY templates charts/c/templates\n");
    assert!(references(&build(&space)).contains("r/main:v1"));
    space.kubefile("FROM scratch\nCOPY c charts/c\nCOPY templates charts/c/templates\nCOPY v/values.yaml charts/c/values.yaml\n");
    let run = build(&space);
    assert!(references(&run).contains("r/late:v2"), "{}", run.stderr);
    assert!(!references(&run).contains("r/main:v1"), "{}", run.stderr);
    // A base's files count, and those of the text over them.
    space.run(&["build", "-t", "base:1", "--build-mode", "lite", "."]);
    space.kubefile("FROM base:1\nCOPY v/values.yaml application/apps/x/values.yaml\n");
    assert!(references(&build(&space)).contains("r/late:v2"));
}

#[test]
fn a_chart_that_cannot_be_rendered_is_searched_as_it_is_and_the_build_says_so() {
    let space = Space::new();
    chart(&space, "a");
    space.file(
        "a/templates/x.yaml",
        "pod: {{ derivePassword 1 \"long\" \"a\" \"b\" \"c\" }}\nimage: r/plain:v1\n",
    );
    space.file("a/templates/y.yaml", "image: {{ .Values.image.repository }}:rendered\n");
    space.kubefile("FROM scratch\nAPP a local://a\n");
    let run = build(&space);
    let found: Vec<String> = references(&run).into_iter().collect();
    // What could be rendered was.
    assert_eq!(
        found,
        ["q.io/idle:1.10", "r/main:init", "r/main:rendered", "r/main:v1", "r/notes:v1", "r/plain:v1"]
    );
    for text in [
        "chart `application/apps/a` could not be rendered as a whole, its files were also searched as they are: \
         top/templates/x.yaml:1: the function `derivePassword` is not implemented",
        "manifests/imageList",
    ] {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }

    // A `helm` on the PATH is asked, also by a build whose files are known already.
    let bin = space.root().join("bin");
    fs_err::create_dir(&bin).unwrap();
    let script = "#!/bin/sh\n[ -z \"$HOME$KUBECONFIG\" ] && exit 9\n[ -f \"$3/templates/x.yaml\" ] || exit 8\n\
                  printf -- '---\\n# Source: top/templates/y.yaml\\nkind: Pod\\nimage: r/asked:%s\\n' \"$1\"\n";
    let mut file = fs_err::File::create(bin.join("helm")).unwrap();
    file.write_all(script.as_bytes()).unwrap();
    drop(file);
    fs_err::set_permissions(bin.join("helm"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let run = build_with(&space, &path);
    assert_eq!(finds(&run), ["application/apps/a: r/asked:template (image of Pod, chart top)"]);
    assert!(run.stderr.contains("was rendered by the `helm` on this machine"), "{}", run.stderr);

    // One that fails is told of.
    fs_err::write(bin.join("helm"), "#!/bin/sh\necho \"Error: boom\" >&2\nexit 1\n").unwrap();
    space.file("a/templates/y.yaml", "image: r/other:v1\n");
    let run = build_with(&space, &path);
    assert!(run.stderr.contains("; `helm` said: Error: boom"), "{}", run.stderr);
    assert!(references(&run).contains("r/other:v1"), "{}", run.stderr);
}

#[test]
fn charts_that_refuse_their_values_are_told_of() {
    let space = Space::new();
    chart(&space, "a");
    space.file("a/templates/r.yaml", "x: {{ required \"say where\" .Values.none }}\n");
    space.file("a/charts/idle/templates/r.yaml", "x: {{ .Values.a.b.c }}\n");
    space.kubefile("FROM scratch\nAPP a local://a\n");
    let run = build(&space);
    assert!(
        run.stderr.contains("top/templates/r.yaml:1: error calling required: say where"),
        "{}",
        run.stderr
    );
    fs_err::remove_file(space.context().join("a/templates/r.yaml")).unwrap();
    let run = build(&space);
    assert!(run.stderr.contains("what is not enabled in it could not all be rendered"), "{}", run.stderr);
    assert!(references(&run).contains("q.io/idle:1.10"), "{}", run.stderr);
}

#[test]
fn what_links_lead_to_counts_and_those_that_lead_out_are_told_of() {
    let space = Space::new();
    chart(&space, "c");
    let link = |target: &str, path: &str| {
        let path = space.context().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    space
        .file("c/files/t.txt", "image: {{ .Values.image.repository }}:linked\n")
        .file("m/a.txt", "image: r/text:v1\n");
    fs_err::rename(space.context().join("c/values.yaml"), space.context().join("c/files/v.yaml")).unwrap();
    link("../files/t.txt", "c/templates/t.yaml");
    link("files/v.yaml", "c/values.yaml");
    link("a.txt", "m/a.yaml");
    link("../outside.yaml", "m/out.yaml");
    space.kubefile("FROM scratch\nCOPY c charts/c\nCOPY m manifests\n");
    let run = build(&space);
    let found: Vec<String> = references(&run).into_iter().collect();
    assert_eq!(
        found,
        ["q.io/idle:1.10", "r/main:init", "r/main:linked", "r/main:v1", "r/notes:v1", "r/text:v1"]
    );
    let text = "symbolic links that lead nowhere in the directory they belong to were not followed: manifests/out.yaml";
    assert!(run.stderr.contains(text), "{}", run.stderr);
}
