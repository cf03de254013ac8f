//! Names, lists and what is told of images.

use serde_json::Value;

use crate::server::Server;
use crate::space::{Space, run};

fn built(name: &str, words: &[&str], space: &Space) {
    let all = [&["build", "-q", "-t", name, "--build-mode", "lite"], words, &["."]].concat();
    let run = space.run(&all);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

fn space() -> Space {
    let space = Space::new();
    space
        .file("a.yaml", "kind: A\n")
        .kubefile("FROM scratch\nENV K=\"a b\"\nAPP a local://a.yaml\nCNI calico local://a.yaml\nLAUNCH a\n");
    space
}

fn ok(space: &Space, words: &[&str]) -> String {
    let run = space.run(words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    run.stdout.trim_end().to_owned()
}

fn fails(space: &Space, words: &[&str], texts: &[&str]) {
    let run = space.run(words);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{words:?}: {}", run.stderr);
    for text in texts {
        assert!(run.stderr.contains(text), "{words:?}: `{text}` is not in {}", run.stderr);
    }
}

#[test]
fn images_are_listed_in_sealers_columns() {
    let space = space();
    assert_eq!(ok(&space, &["images"]), "REPOSITORY   TAG   IMAGE ID   CREATED   SIZE");
    built("my-app:1.0", &[], &space);
    built("my-app:1.0", &["--label", "team=red"], &space);
    built("quay.io/team/other:2", &["--type", "app-installer"], &space);
    let table = ok(&space, &["images"]);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(lines[0], ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    let names: Vec<_> = lines[1..].iter().map(|line| (line[0], line[1])).collect();
    assert_eq!(names, [("quay.io/team/other", "2"), ("localhost/my-app", "1.0"), ("<none>", "<none>")]);
    assert!(lines[1..].iter().all(|line| line[2].len() == 12 && line[4].ends_with(" B")), "{table}");

    let with = |words: &[&str]| ok(&space, &[&["images"], words].concat());
    assert_eq!(with(&["-n"]).lines().count(), 3);
    assert!(with(&["--digests"]).lines().next().unwrap().contains("TAG      DIGEST"));
    assert_eq!(with(&["--digests", "-n"]).matches("sha256:").count(), 3);
    assert!(with(&["--history"]).lines().last().unwrap().ends_with("localhost/my-app:1.0"));
    // Two of the three differ in their manifests only, and have one id.
    assert_eq!(with(&["-q"]).lines().map(str::len).collect::<Vec<_>>(), [12, 12]);
    assert!(with(&["-q", "--no-trunc"]).lines().all(|id| id.len() == 71 && id.starts_with("sha256:")));
    let json: Value = serde_json::from_str(&with(&["--json"])).unwrap();
    assert_eq!(json[1]["names"], serde_json::json!(["localhost/my-app:1.0"]));
    assert_eq!(json[2]["names"], Value::Null);
    assert_eq!(json[2]["history"], serde_json::json!(["localhost/my-app:1.0"]));
    let mut keys: Vec<&String> = json[0].as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        ["created", "createdat", "createdatraw", "digest", "history", "id", "names", "readonly", "size"]
    );

    let count = |filters: &[&str]| {
        let words: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        with(&[&["-n"], words.as_slice()].concat()).lines().filter(|line| !line.is_empty()).count()
    };
    for (filters, expected) in [
        (&["dangling=true"][..], 1),
        (&["dangling=false"], 2),
        (&["label=team"], 1),
        (&["label=team=red"], 1),
        (&["label=team=blue"], 0),
        (&["type=app-installer"], 1),
        (&["type=kube-installer", "dangling=false"], 1),
    ] {
        assert_eq!(count(filters), expected, "{filters:?}");
    }
    fails(&space, &["images", "--filter", "size=1"], &["`--filter size=1`", "label=KEY"]);
}

#[test]
fn names_are_given_moved_and_taken() {
    let space = space();
    built("x:1", &[], &space);
    built("y:1", &["--label", "y=1"], &space);
    ok(&space, &["tag", "x:1", "short", "quay.io/team/full:v2"]);
    let id = ok(&space, &["inspect", "x:1", "-f", "{{.ID}}"]);
    for name in ["short", "short:latest", "localhost/short", "quay.io/team/full:v2", &id, &id[..12]] {
        assert_eq!(ok(&space, &["inspect", name, "-f", "{{.ID}}"]), id, "{name}");
    }
    // Docker Hub has one name, and so have its images.
    ok(&space, &["tag", "y:1", "docker.io/hub:1"]);
    for name in ["hub:1", "docker.io/hub:1", "docker.io/library/hub:1", "index.docker.io/hub:1"] {
        assert_eq!(ok(&space, &["inspect", name, "-f", "{{.Name}}"]), "docker.io/library/hub:1", "{name}");
    }
    assert_eq!(ok(&space, &["rmi", "hub:1"]), "untagged: docker.io/library/hub:1");
    fails(
        &space,
        &["tag", "nope:1", "z"],
        &["`nope:1`: image not known", "tried: localhost/nope:1", "docker.io/library/nope:1"],
    );
    fails(&space, &["tag", "x:1", "UPPER"], &["`UPPER` is not an image name"]);
    fails(&space, &["rmi", &id[..12]], &["has 3 names", "--force"]);
    assert_eq!(ok(&space, &["rmi", "short"]), "untagged: localhost/short:latest");
    // A name that moves leaves its old image behind, without one.
    ok(&space, &["tag", "y:1", "x:1"]);
    assert_eq!(ok(&space, &["images", "-n"]).matches("<none>").count(), 0, "it still has another name");
    let removed = ok(&space, &["rmi", "quay.io/team/full:v2"]);
    assert_eq!(removed, format!("untagged: quay.io/team/full:v2\nsha256:{id}"));
    fails(&space, &["inspect", "quay.io/team/full:v2"], &["image not known"]);

    let run = space.run(&["rmi", "nope", "x:1", "nope2"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), "untagged: localhost/x:1\n"));
    assert!(run.stderr.contains("`nope`") && run.stderr.contains("`nope2`"), "{}", run.stderr);
    built("y:1", &["--label", "y=2"], &space);
    assert_eq!(ok(&space, &["images", "-n", "--filter", "dangling=true"]).lines().count(), 1);
    assert_eq!(ok(&space, &["rmi", "-p"]).lines().count(), 1);
    let last = ok(&space, &["images", "-q"]);
    assert!(ok(&space, &["rmi", "-f", &last]).contains("untagged: localhost/y:1"));
    assert_eq!(ok(&space, &["images", "-n"]), "");
    fails(&space, &["rmi"], &["required"]);
    fails(&space, &["rmi", "-p", "y:1"], &["cannot be used with"]);
}

#[test]
fn what_another_tool_named_is_found_and_goes_though_it_cannot_be_read() {
    let space = space();
    built("x:1", &[], &space);
    let path = space.store().join("index.json");
    let mut index: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    // As skopeo writes it: a name as it was given, and nothing else.
    index["manifests"][0]["annotations"] =
        serde_json::json!({ "org.opencontainers.image.ref.name": "other:1" });
    fs_err::write(&path, index.to_string()).unwrap();
    assert_eq!(ok(&space, &["inspect", "other:1", "-f", "{{.Name}}"]), "other:1");
    let digest = index["manifests"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    fs_err::write(space.store().join("blobs/sha256").join(digest), "{").unwrap();
    let listed = space.run(&["images", "-n"]);
    assert!(listed.code == Some(0) && listed.stdout.contains(&digest[..12]), "{}", listed.stderr);
    assert!(listed.stderr.contains("hint: `sealer rmi` removes"), "{}", listed.stderr);
    assert!(ok(&space, &["rmi", "other:1"]).contains("untagged: other:1"));
    assert_eq!(ok(&space, &["images", "-n"]), "");
}

#[test]
fn launch_files_stand_as_sealer_copies_them_local_ones_first() {
    let (space, server) = (space(), Server::start());
    server.file("/z.yaml", "kind: Z\n");
    server.file("/r.sh", "echo\n");
    let (kube, shell) = (server.url("/z.yaml"), server.url("/r.sh"));
    space
        .file("l.sh", "echo\n")
        .kubefile(&format!("FROM scratch\nAPP kube {kube} local://a.yaml\nAPP shell {shell} local://l.sh\n"));
    built("x:1", &[], &space);
    let shown = ok(&space, &["inspect", "x:1", "-f", "{{range .Applications}}{{.Name}}{{.Files}} {{end}}"]);
    assert_eq!(shown, "kube[a.yaml z.yaml] shell[l.sh]");
}

#[test]
fn platforms_are_read_as_containerd_reads_them() {
    let space = space();
    for (given, platform) in [
        ("arm64", "linux/arm64"),
        ("Linux/AMD64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux", "linux/"),
    ] {
        built("x:1", &["--platform", given], &space);
        let shown = ok(&space, &["inspect", "x:1", "-f", "{{.OCIv1.OS}}/{{.OCIv1.Architecture}}"]);
        assert!(shown.starts_with(platform), "{given}: {shown}");
    }
    let words = ["build", "-t", "x:1", "--platform", "amd46", "."];
    fails(&space, &words, &["`amd46` is not a platform"]);
}

#[test]
fn inspect_speaks_go_templates() {
    let space = space();
    built("x:1", &["--label", "a.b=c<d", "--annotation", "note=n"], &space);
    for (template, expected) in [
        ("{{.Type}}", "kube-installer"),
        ("{{.ImageExtension.Type}}", "kube-installer"),
        ("{{.Name}} {{.SchemaVersion}}", "localhost/x:1 v1alpha1"),
        (
            "{{range .Applications}}{{.Name}}:{{.Type}}:{{index .Files 0}} {{end}}",
            "a:kube:a.yaml calico:kube:a.yaml ",
        ),
        ("{{.ImageExtension.Launch.AppNames}} {{len .Launch.Cmds}}", "[a] 0"),
        ("{{.Env.K}}", "a b"),
        (
            "{{index .Labels \"a.b\"}} {{index .ImageExtension.Labels \"cluster.alpha.sealer.io/kube-cni\"}}",
            "c<d [\"calico\"]",
        ),
        (
            "{{.OCIv1.OS}}/{{.OCIv1.Architecture}} {{.OCIv1.RootFS.Type}} {{.OCIv1.Author}}",
            "linux/amd64 layers ",
        ),
        ("{{.ManifestV1.Annotations.note}} {{.ManifestV1.SchemaVersion}}", "n 2"),
        ("{{.BuildClient.SealerVersion}}", env!("CARGO_PKG_VERSION")),
        ("{{len .ContainerImageList}}", "0"),
        ("{{json .Launch.AppNames}}", "[\"a\"]"),
        // What the image does not say is there and empty, as in Go's structs.
        ("{{.OCIv1.Config.User}}{{.OCIv1.Config.Cmd}}{{.OCIv1.Config.Volumes}}", "[]map[]"),
        ("{{range .OCIv1.History}}{{.EmptyLayer}}{{.Author}} {{end}}", "true false false true true "),
        ("{{range .ManifestV1.Layers}}{{.URLs}}{{.Annotations}}{{end}}", "[]map[][]map[]"),
        (
            "{{range .ImageExtension.Applications}}{{.NameVar}} {{.TypeVar}} {{.FilesVar}} {{.AppEnv}} {{.AppCMDs}};{{end}}",
            "a kube [a.yaml] map[] [];calico kube [a.yaml] map[] [];",
        ),
        ("[{{index .Labels \"nope\"}}]", "[]"),
        ("[{{.OCIv1.Config.User}}] {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Labels}}", "[] [] map[]"),
        ("{{range .OCIv1.History}}{{if not .EmptyLayer}}[{{.Author}}]{{break}}{{end}}{{end}}", "[]"),
    ] {
        let run = space.run(&["inspect", "x:1", "--format", template]);
        assert_eq!((run.stdout.as_str(), run.code), (expected, Some(0)), "{template}: {}", run.stderr);
    }
    fails(&space, &["inspect", "x:1", "-f", "foo"], &["error invalid format provided: foo"]);
    fails(&space, &["inspect", "x:1", "-f", "{{.Nope}}"], &["Nope"]);
    fails(&space, &["inspect", "x:1", "-f", "{{"], &["error invalid format provided: {{"]);
    fails(&space, &["inspect", "x:1", "-f", "{{if}}"], &["template"]);
    fails(&space, &["inspect", "a.yaml"], &["cannot be read as an archive"]);
    fails(&space, &["inspect", "/dev/null"], &["`/dev/null` is neither a file nor a directory", "load -i"]);
    fails(&space, &["inspect", "nothing"], &["`nothing`: image not known", "tried: the file `nothing`"]);
}

#[test]
fn history_tells_the_steps_with_their_layers() {
    let space = space();
    built("x:1", &[], &space);
    let table = ok(&space, &["history", "x:1"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("CREATED ") && lines[0].contains("CREATED BY") && lines[0].contains("SIZE"));
    assert_eq!(lines.len(), 6, "{table}");
    assert!(lines[1].contains("io.sealer.version") && lines[1].contains("0 B"), "{table}");
    let json: Value = serde_json::from_str(&ok(&space, &["history", "x:1", "--json"])).unwrap();
    let manifest: Value = serde_json::from_str(&ok(&space, &["inspect", "x:1"])).unwrap();
    let layers: Vec<&Value> =
        json.as_array().unwrap().iter().rev().filter_map(|step| step.get("layer")).collect();
    let expected: Vec<&Value> =
        manifest["manifestv1"]["layers"].as_array().unwrap().iter().map(|layer| &layer["digest"]).collect();
    assert_eq!(layers, expected);
    assert_eq!(json[3]["created_by"], "APP a local://a.yaml");
}

#[test]
fn history_is_that_of_the_platform_asked_for() {
    let space = Space::new();
    space.kubefile("FROM scratch\nCOPY <<f /\n$TARGETARCH\nf\n");
    built("x:1", &["--platform", "linux/s390x,linux/riscv64"], &space);
    fails(&space, &["history", "x:1"], &["has no image for", "hint: choose one with `--platform`"]);
    let layers: Vec<String> = ["linux/s390x", "linux/riscv64"]
        .iter()
        .map(|platform| ok(&space, &["history", "x:1", "--json", "--platform", platform]))
        .collect();
    assert!(layers[0] != layers[1] && layers.iter().all(|steps| steps.contains("COPY <<f /")), "{layers:?}");
    fails(&space, &["history", "x:1", "--platform", "s390"], &["`s390` is not a platform"]);
    fails(
        &space,
        &["push", "--all=false", "x:1", "localhost:1/x"],
        &["has no image for", "hint: without `--all=false` all are pushed"],
    );
}

#[test]
fn a_name_that_is_given_twice_is_one() {
    let space = space();
    built(
        "x:1",
        &["-t", "x:1", "-t", "localhost/x:1", "-o", "type=store", "-o", "type=oci-dir,dest=../layout"],
        &space,
    );
    ok(&space, &["tag", "x:1", "y:1", "localhost/y:1"]);
    ok(&space, &["load", "-i", "../layout", "-t", "z:1", "-t", "z:1"]);
    for path in [space.store(), space.root().join("layout")] {
        let text = fs_err::read_to_string(path.join("index.json")).unwrap();
        let names = ["x", "y", "z"].map(|name| text.matches(&format!("\"localhost/{name}:1\"")).count());
        assert!(names.iter().all(|count| *count <= 1) && names[0] == 1, "{text}");
    }
}

#[test]
fn an_index_takes_no_place_of_an_image() {
    let space = space();
    built("x:1", &[], &space);
    fails(&space, &["manifest", "create", "x:1"], &["`localhost/x:1` is there already", "a single image"]);
    fails(&space, &["manifest", "add", "x:1", "x:1"], &["`localhost/x:1` is a single image, not an index"]);
}

#[test]
fn what_a_name_has_in_it_does_nothing_to_a_terminal() {
    let space = space();
    let told = |words: &[&str]| {
        let run = space.run(words);
        let all = format!("{}{}", run.stdout, run.stderr);
        assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{words:?}: {all:?}");
        all
    };
    space.kubefile("FROM scratch\nLABEL a=\u{1b}[31m b=\u{9b}2J\nCOPY a.yaml /\u{1b}]0;title\u{7}/\n");
    let build = ["build", "-t", "x:1", "--build-mode", "lite", "--progress", "plain", "--explain", "."];
    assert!(told(&build).contains("#1 COPY a.yaml / ]0;title /\n"));
    assert!(told(&["history", "--no-trunc", "x:1"]).contains("LABEL a= [31m b= 2J"));
    assert!(told(&["inspect", "no\u{1b}[31m"]).contains("`no [31m`: image not known"));
    space.kubefile("FROM scratch\nAPP a\u{1b}[31m local://a.yaml\n");
    told(&build);
}

/// Says something else in the config of the one image of an OCI layout.
fn reconfigure(layout: &std::path::Path, change: impl Fn(&mut Value)) {
    let read =
        |path: &std::path::Path| -> Value { serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
    let put = |value: &Value, descriptor: &mut Value| {
        let bytes = value.to_string().into_bytes();
        descriptor["digest"] = crate::image_registry::digest(&bytes).into();
        descriptor["size"] = bytes.len().into();
        fs_err::write(blob(&descriptor["digest"]), bytes).unwrap();
    };
    let mut index = read(&layout.join("index.json"));
    let mut manifest = read(&blob(&index["manifests"][0]["digest"]));
    let mut config = read(&blob(&manifest["config"]["digest"]));
    change(&mut config);
    put(&config, &mut manifest["config"]);
    put(&manifest, &mut index["manifests"][0]);
    fs_err::write(layout.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn bases_are_found_however_their_platform_is_spelled() {
    let space = space();
    for (given, architecture, variant, wanted) in [
        // As Docker's tools write it.
        ("linux/arm64", "arm64", "v8", &["linux/arm64", "linux/arm64/v8", "Linux/AArch64"][..]),
        ("linux/arm", "arm", "v7", &["linux/arm", "linux/arm/v7", "linux/arm/7", "linux/armhf"]),
    ] {
        let layout = space.root().join(architecture);
        let output = format!("type=oci-dir,dest={}", layout.display());
        space.kubefile("FROM scratch\nAPP a local://a.yaml\n");
        built("own:1", &["--platform", given, "-o", &output], &space);
        reconfigure(&layout, |config| {
            config["architecture"] = architecture.into();
            config["variant"] = variant.into();
        });
        ok(&space, &["load", "-i", layout.to_str().unwrap(), "-t", "base:1"]);
        space.kubefile("FROM base:1\nLAUNCH a\n");
        for platform in wanted {
            built("x:1", &["--pull", "never", "--platform", platform], &space);
        }
    }
}

#[test]
fn explain_names_the_first_thing_that_differs() {
    let space = Space::new();
    space.file("conf/a", "1").file("conf/b", "2").file("a.yaml", "kind: A\n").file("b.yaml", "kind: B\n");
    let first = "FROM scratch\nCOPY conf /etc/\nAPP a local://a.yaml\nLAUNCH a\n";
    let explain = |words: &[&str]| -> Vec<(String, bool, Value)> {
        let all = [&["build", "-t", "x:1", "--build-mode", "lite", "--explain=json"], words, &["."]].concat();
        let run = space.run(&all);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let steps: Value = serde_json::from_str(&run.stdout).unwrap();
        let step = |step: &Value| {
            (step["step"].as_str().unwrap().to_owned(), step["ran"].as_bool().unwrap(), step["why"].clone())
        };
        steps.as_array().unwrap().iter().map(step).collect()
    };
    let reasons = |steps: &[(String, bool, Value)]| -> Vec<String> {
        steps.iter().map(|(_, ran, why)| format!("{ran} {}", why["reason"].as_str().unwrap())).collect()
    };
    space.kubefile(first);
    assert_eq!(reasons(&explain(&[])), ["true new", "true new"]);
    assert_eq!(reasons(&explain(&[])), ["false unchanged", "false unchanged"]);
    space.file("conf/b", "3");
    let steps = explain(&[]);
    assert_eq!(reasons(&steps), ["true file", "false unchanged"]);
    assert_eq!((&steps[0].2["path"], &steps[0].2["change"]), (&"etc/b".into(), &"content".into()));
    space.file("conf/c", "new");
    let steps = explain(&[]);
    assert_eq!((&steps[0].2["path"], &steps[0].2["change"]), (&"etc/c".into(), &"added".into()));
    fs_err::set_permissions(
        space.context().join("conf/a"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let steps = explain(&[]);
    assert_eq!((&steps[0].2["path"], &steps[0].2["change"]), (&"etc/a".into(), &"attributes".into()));
    space.kubefile(&first.replace("/etc/", "/opt/"));
    let steps = explain(&[]);
    assert_eq!(
        (&steps[0].2["what"], &steps[0].2["before"], &steps[0].2["after"]),
        (&"destination".into(), &"/etc/".into(), &"/opt/".into())
    );
    space.kubefile(&first.replace("COPY conf /etc/", "COPY --chmod=600 conf /opt/"));
    let steps = explain(&[]);
    assert_eq!((&steps[0].2["what"], &steps[0].2["before"]), (&"chmod".into(), &Value::Null));
    space.kubefile(&first.replace("local://a.yaml", "local://a.yaml local://b.yaml"));
    assert_eq!(reasons(&explain(&[]))[1], "true differs");
    assert_eq!(reasons(&explain(&["--no-cache"])), ["true no-cache", "true no-cache"]);
    let text = space.build(&["--explain"]);
    assert!(text.stdout.contains("cached line 2: COPY conf /etc/"), "{}", text.stdout);
    // What stands at the destination.
    space.kubefile("FROM scratch\nCOPY a.yaml /here/\nCOPY conf /deep/er/\n");
    explain(&[]);
    space.kubefile("FROM scratch\nCOPY a.yaml /deep/\nCOPY conf /deep/er/\n");
    let steps = explain(&[]);
    assert_eq!(reasons(&steps), ["true differs", "true differs"]);
    assert_eq!((&steps[1].2["what"], &steps[1].2["before"]), (&"destination `/deep`".into(), &"".into()));
    // An application is known by its name, whatever flags stand before it.
    space.kubefile("FROM scratch\nAPP --set a=1 one local://a.yaml\nAPP --set a=1 two local://b.yaml\n");
    explain(&[]);
    space.file("b.yaml", "kind: C\n").kubefile("FROM scratch\nAPP --set b=1 two local://b.yaml\n");
    let steps = explain(&[]);
    assert_eq!(steps[0].2["path"], "application/apps/two/b.yaml");
}

#[test]
fn settings_come_from_flags_environment_and_file_in_this_order() {
    let space = space();
    let file = space.root().join("config.toml");
    fs_err::write(&file, "compression = \"gzip\"\njobs = 3\ncolor = \"never\"\n").unwrap();
    let file = file.to_str().unwrap();
    let shown = |space: &Space, words: &[&str], variable: Option<(&str, &str)>| -> Value {
        let mut command = space.command();
        command.args([&["config", "--json", "--config", file], words].concat()).envs(variable);
        let ended = run(&mut command);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let of = |all: &Value, key: &str| {
        let found = all.as_array().unwrap().iter().find(|one| one["setting"] == key).unwrap();
        (found["value"].as_str().unwrap().to_owned(), found["from"].as_str().unwrap().to_owned())
    };
    let pair = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    let from_file = format!("file {file}");
    let plain = shown(&space, &[], None);
    assert_eq!(of(&plain, "compression"), pair("gzip", &from_file));
    assert_eq!(of(&plain, "jobs"), pair("3", &from_file));
    assert_eq!(of(&plain, "color"), pair("never", &from_file));
    assert_eq!(of(&plain, "max-download"), pair("16G", "default"));
    assert_eq!(of(&plain, "root"), pair(space.store().to_str().unwrap(), "environment SEALER_ROOT"));
    let by_environment = shown(&space, &[], Some(("SEALER_COMPRESSION", "zstd:9")));
    assert_eq!(of(&by_environment, "compression"), pair("zstd:9", "environment SEALER_COMPRESSION"));
    let by_flag = shown(&space, &["--compression", "uncompressed"], Some(("SEALER_COMPRESSION", "zstd:9")));
    assert_eq!(of(&by_flag, "compression"), pair("uncompressed", "flag --compression"));
    built("x:1", &["--config", file], &space);
    assert!(space.manifest("localhost/x:1").to_string().contains("tar+gzip"), "the build uses it");
    ok(&space, &["cache", "export", "--config", file, "type=local,dest=../exported"]);
    assert!(ok(&space, &["config"]).starts_with("SETTING"));
    for (text, said) in [
        ("compresion = 1\n", "there is no setting `compresion`"),
        ("jobs = 0\n", "jobs"),
        ("jobs = [1]\n", "`jobs` is a list"),
        ("insecure-registry = [1]\n", "`insecure-registry` is a list of more than texts"),
        ("compression = \"xz\"\n", "compression `xz` is not supported"),
        ("timestamp = \"now\"\n", "time `now`"),
        ("max-download = \"1X\"\n", "`1X` is not a size"),
        ("= 1\n", "cannot be used"),
    ] {
        fs_err::write(file, text).unwrap();
        fails(&space, &["config", "--config", file], &[said, file]);
    }
    fails(&space, &["images", "--config", "/nope/config.toml"], &["/nope/config.toml"]);
    fs_err::write(file, "root = \"sub/store\"\ninsecure-registry = [\"a:1\", \"b\"]\n").unwrap();
    let without = |space: &Space| {
        let mut command = space.command();
        command
            .args(["config", "--json", "--config", file])
            .env_remove("SEALER_ROOT")
            .env("HOME", "/home/me");
        let ended = run(&mut command);
        serde_json::from_str::<Value>(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr))
    };
    let plain = without(&space);
    let beside = space.root().join("sub/store");
    assert_eq!(of(&plain, "root"), pair(beside.to_str().unwrap(), &from_file), "wherever the command runs");
    assert_eq!(of(&plain, "insecure-registry"), pair("a:1,b", &from_file));
    fs_err::write(file, "root = \"~/store\"\n").unwrap();
    assert_eq!(of(&without(&space), "root"), pair("/home/me/store", &from_file));
}

#[test]
fn completion_and_manual_pages_are_made_from_the_commands() {
    let space = Space::new();
    for (shell, text) in [("bash", "_sealer()"), ("zsh", "#compdef sealer"), ("fish", "complete -c sealer")] {
        let script = ok(&space, &["completion", shell]);
        assert!(script.contains(text) && script.contains("insecure-registry"), "{shell}");
        assert!(script.contains("unmount") && script.contains("version"), "{shell}");
        assert!(!script.contains("hide-time") && !script.contains("tmp-dir"), "{shell}: not in the help");
    }
    ok(&space, &["man", "."]);
    for page in ["sealer.1", "sealer-build.1", "sealer-save.1", "sealer-load.1", "sealer-images.1"] {
        let text = fs_err::read_to_string(space.context().join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains("SEALER_ROOT"), "{page}");
    }
    assert_eq!(ok(&space, &["version", "--short"]), env!("CARGO_PKG_VERSION"));
    assert_eq!(ok(&space, &["alpha", "version", "--short"]), env!("CARGO_PKG_VERSION"));
}
