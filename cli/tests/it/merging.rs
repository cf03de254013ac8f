//! Several images made one, compared, and mounted.

use serde_json::{Value, json};

use crate::space::{Run, Space, is_root, skipped};

fn good(space: &Space, words: &[&str]) -> String {
    let run = space.run(words);
    assert_eq!(run.code, Some(0), "{words:?}: {}", run.stderr);
    run.stdout.trim().to_owned()
}

fn bad(space: &Space, words: &[&str], wanted: &[&str]) -> Run {
    let run = space.run(words);
    assert_eq!(run.code, Some(1), "{words:?}: {}", run.stderr);
    for text in wanted {
        assert!(run.stderr.contains(text), "`{text}` is not in {}", run.stderr);
    }
    run
}

fn build(space: &Space, name: &str, kubefile: &str) {
    space.kubefile(kubefile);
    good(space, &["build", "-q", "-t", name, "--type", "app-installer", "--build-mode", "lite", "."]);
}

fn json_of(space: &Space, name: &str) -> Value {
    serde_json::from_str(&good(space, &["inspect", name])).unwrap()
}

#[test]
fn images_are_merged_to_the_union_of_what_they_hold() {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").file("b.yaml", "kind: B\n").file("both", "the same");
    build(
        &space,
        "a:1",
        "FROM scratch\nCOPY both /etc/both\nAPP a local://a.yaml\nENV X=1\nLABEL one=1\nLAUNCH a\n",
    );
    build(
        &space,
        "b:1",
        "FROM scratch\nCOPY both /etc/both\nAPP b local://b.yaml\nENV X=1\nLABEL two=2\nLAUNCH b\n",
    );
    build(&space, "c:1", "FROM scratch\nCOPY both /var/c\n");
    let merged = space.run(&["alpha", "merge", "a:1", "b:1", "c:1", "-t", "m:1", "-t", "n:1"]);
    assert_eq!(merged.code, Some(0), "{}", merged.stderr);
    let shown = json_of(&space, "m:1");
    assert_eq!(shown["launch"]["app_names"], json!(["a", "b"]));
    assert_eq!(shown["type"], "app-installer");
    let names: Vec<&Value> =
        shown["applications"].as_array().unwrap().iter().map(|app| &app["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        (&shown["labels"]["one"], &shown["labels"]["two"], &shown["env"]["X"]),
        (&json!("1"), &json!("2"), &json!("1"))
    );
    let tree = space.rootfs("localhost/m:1");
    for path in ["etc/both", "var/c", "application/apps/a/a.yaml", "application/apps/b/b.yaml"] {
        assert!(tree.contains_key(path), "{path}: {:?}", tree.keys());
    }
    // Layers are taken over as they are, each once, and the same images give the same image.
    assert_eq!(shown["manifestv1"]["layers"].as_array().unwrap().len(), 4);
    assert_eq!(json_of(&space, "n:1")["digest"], shown["digest"]);
    good(&space, &["merge", "-q", "a:1", "b:1", "c:1", "-t", "again:1"]);
    assert_eq!(json_of(&space, "again:1")["digest"], shown["digest"]);
    // It is an image as any other.
    build(&space, "child:1", "FROM m:1\nLAUNCH b a\n");
    // What several launch is launched once.
    good(&space, &["merge", "-q", "a:1", "child:1", "-t", "once:1"]);
    assert_eq!(json_of(&space, "once:1")["launch"], json!({"app_names": ["a", "b"]}));
    good(&space, &["merge", "-q", "a:1", "b:1", "-t", "given:1", "--launch", "b"]);
    assert_eq!(json_of(&space, "given:1")["launch"], json!({"app_names": ["b"]}));
    bad(
        &space,
        &["merge", "a:1", "b:1", "-t", "x:1", "--launch", "none"],
        &["application none does not exist"],
    );
    bad(&space, &["merge", "a:1", "-t", "x:1"], &["2 values required"]);
    bad(&space, &["merge", "a:1", "none:1", "-t", "x:1"], &["image not known"]);
}

#[test]
fn contradictions_are_told_with_both_sides() {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").file("b.yaml", "kind: B\n").file("other/a.yaml", "kind: other\n");
    build(
        &space,
        "a:1",
        "FROM scratch\nCOPY a.yaml /etc/x\nAPP s local://a.yaml\nENV K=1\nLABEL l=1\nLAUNCH s\n",
    );
    build(
        &space,
        "b:1",
        "FROM scratch\nCOPY b.yaml /etc/x\nCOPY --chmod=600 other /etc/y\nAPP s local://b.yaml\nENV K=2\nLABEL l=2\nCMDS [\"run\"]\n",
    );
    let run = bad(
        &space,
        &["merge", "a:1", "b:1", "-t", "m:1"],
        &["contradict each other in 5 places", "--launch"],
    );
    for (about, one, other) in [
        ("file /etc/x", "a:1: a file of 8 bytes", "b:1: a file of 8 bytes"),
        (
            "application s",
            "a:1: {\"name\":\"s\",\"type\":\"kube\",\"files\":[\"a.yaml\"]",
            "b:1: {\"name\":\"s\"",
        ),
        ("ENV K", "a:1: 1", "b:1: 2"),
        ("label l", "a:1: 1", "b:1: 2"),
    ] {
        let at = run.stderr.find(about).unwrap_or_else(|| panic!("{about}: {}", run.stderr));
        let rest = &run.stderr[at..];
        assert!(rest.contains(one) && rest.contains(other), "{about}: {rest}");
    }
    bad(&space, &["inspect", "m:1"], &["image not known"]);
    build(&space, "l:1", "FROM scratch\nAPP p local://a.yaml\nLAUNCH p\n");
    build(&space, "k:1", "FROM scratch\nAPP q local://a.yaml\nCMDS [\"run\"]\n");
    bad(
        &space,
        &["merge", "l:1", "k:1", "-t", "m:1"],
        &["launch", "k:1: runs commands", "l:1: launches applications"],
    );
    good(&space, &["merge", "-q", "l:1", "k:1", "-t", "m:1", "--launch", "p,q"]);
    space.kubefile("FROM scratch\nAPP z local://a.yaml\n");
    good(&space, &["build", "-q", "-t", "arm:1", "--platform", "linux/arm64", "--build-mode", "lite", "."]);
    bad(&space, &["merge", "l:1", "arm:1", "-t", "m:2"], &["different platforms"]);
}

#[test]
fn authors_stay_and_the_platform_of_an_index_is_told() {
    let space = Space::new();
    space.file("a.yaml", "kind: A\n").kubefile("FROM scratch\nMAINTAINER me\nCOPY a.yaml /a\n");
    let both = "linux/amd64,linux/arm64";
    good(&space, &["build", "-q", "-t", "both:1", "--platform", both, "--build-mode", "lite", "."]);
    build(&space, "other:1", "FROM scratch\nMAINTAINER you\nCOPY a.yaml /b\n");
    build(&space, "nobody:1", "FROM scratch\nCOPY a.yaml /c\n");
    good(&space, &["merge", "-q", "other:1", "nobody:1", "-t", "m:1"]);
    assert_eq!(space.config("localhost/m:1")["author"], "you");
    let host = format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    let told = space.run(&["merge", "both:1", "both:1", "-t", "m:1"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let text = format!("warning: `both:1` is for linux/amd64, linux/arm64; its image for {host} is merged");
    assert!(told.stderr.contains(&text), "{}", told.stderr);
    let chosen = space.run(&["merge", "--platform", "linux/amd64", "both:1", "both:1", "-t", "m:1"]);
    assert!(chosen.code == Some(0) && !chosen.stderr.contains("warning"), "{}", chosen.stderr);
}

#[test]
fn an_image_that_deletes_takes_nothing_from_the_others() {
    let space = Space::new();
    let deletes = |name: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        for path in [".wh.etc", "kept"] {
            let mut header = tar::Header::new_ustar();
            header.set_size(1);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, b"x".as_slice()).unwrap();
        }
        let layout = space.root().join(name);
        crate::transport::write_layout(&layout, &[tar.into_inner().unwrap()], &format!("localhost/{name}:1"))
    };
    let layout = deletes("deletes").display().to_string();
    good(&space, &["load", "-q", "-i", &layout]);
    space.file("f", "f");
    build(&space, "has:1", "FROM scratch\nCOPY f /etc/f\n");
    good(&space, &["merge", "-q", "has:1", "deletes:1", "-t", "m:1"]);
    let tree = space.rootfs("localhost/m:1");
    assert!(tree.contains_key("etc/f") && tree.contains_key("kept"), "{:?}", tree.keys());
    assert_eq!(
        json_of(&space, "m:1")["manifestv1"]["layers"].as_array().unwrap().len(),
        1,
        "it is one new layer"
    );
}

#[test]
fn two_images_are_compared_in_all_that_matters() {
    let space = Space::new();
    space.file("x", "one").file("gone", "g").file("a.yaml", "kind: A\n");
    build(&space, "a:1", "FROM scratch\nCOPY x gone /d/\nAPP s local://a.yaml\nLABEL l=1\nLAUNCH s\n");
    space.file("x", "three").file("new", "n");
    build(
        &space,
        "b:1",
        "FROM scratch\nCOPY --chmod=600 x new /d/\nAPP s local://a.yaml\nAPPCMDS s [\"go\"]\nAPP t local://a.yaml\nLABEL l=2\nLAUNCH t\n",
    );
    let text = good(&space, &["diff", "a:1", "b:1"]);
    for line in [
        "  C /d/x (3 -> 5 bytes, mode 0644 -> 0600)",
        "  D /d/gone",
        "  A /d/new",
        "  A /application/apps/t/a.yaml",
        "  C s (commands)",
        "  A t",
        "  C l (1 -> 2)",
        "  - {\"app_names\":[\"s\"]}",
        "  + {\"app_names\":[\"t\"]}",
        "layers: 1 shared",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }
    let json: Value = serde_json::from_str(&good(&space, &["diff", "--json", "a:1", "b:1"])).unwrap();
    assert_eq!(json["layers"]["shared"], 1);
    assert_eq!(json["apps"][0], json!({"name": "s", "change": "changed", "detail": "commands"}));
    let same = good(&space, &["diff", "a:1", "a:1"]);
    assert_eq!(same.lines().count(), 1, "{same}");
}

#[test]
fn root_file_systems_are_mounted_read_only() {
    if !is_root() {
        let space = Space::new();
        space.file("a", "a");
        build(&space, "a:1", "FROM scratch\nCOPY a /a\n");
        bad(&space, &["mount", "a:1"], &["needs root", "unshare"]);
        return skipped("mounting needs root");
    }
    let space = Space::new();
    space.file("a", "a").file("app.yaml", "kind: A\n");
    build(&space, "a:1", "FROM scratch\nCOPY --chmod=755 a /bin/tool\nAPP x local://app.yaml\n");
    assert_eq!(good(&space, &["mount"]).lines().count(), 1);
    let said = good(&space, &["alpha", "mount", "a:1"]);
    let path = std::path::PathBuf::from(good(&space, &["mount", "-q", "a:1"]));
    assert_eq!(said, format!("mount sealer image a:1 to {} successful", path.display()));
    assert_eq!(fs_err::read_to_string(path.join("bin/tool")).unwrap(), "a");
    let error = fs_err::write(path.join("new"), "x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let id = good(&space, &["inspect", "-f", "{{.ID}}", "a:1"]);
    let table = good(&space, &["mount"]);
    assert!(table.contains(&id[..12]) && table.contains(&path.display().to_string()), "{table}");
    // What is in use stays, and nothing of it is lost.
    let open = fs_err::File::open(path.join("bin/tool")).unwrap();
    bad(&space, &["umount", "a:1"], &["could not be unmounted"]);
    assert!(path.join("bin/tool").exists());
    drop(open);
    // An image that was removed is unmounted by its id.
    good(&space, &["rmi", "-q", "a:1"]);
    good(&space, &["umount", &id[..6], &id[..6]]);
    assert!(!path.exists());
    bad(&space, &["umount", &id[..6]], &["image not known"]);
    build(&space, "a:1", "FROM scratch\nCOPY --chmod=755 a /bin/tool\n");
    build(&space, "b:1", "FROM scratch\nCOPY a /b\n");
    good(&space, &["mount", "-q", "a:1"]);
    good(&space, &["mount", "-q", "b:1"]);
    good(&space, &["alpha", "umount", "--all"]);
    assert_eq!(good(&space, &["mount"]).lines().count(), 1);
    assert_eq!(fs_err::read_dir(space.store().join("mounts")).unwrap().count(), 0);
}
