//! `sealer graph`: what a build would do, as a picture.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::server::{Response, Server};
use crate::space::{Space, has_program, run};

fn space() -> Space {
    let space = Space::new();
    space.file("web/web.yaml", "kind: B\n").file("files/a", "a").kubefile(
        "FROM scratch AS one\nCOPY files /files\nFROM scratch\nCOPY --from=one /files /etc\nAPP web local://web\nLABEL a=b\n",
    );
    space
}

fn text(space: &Space, words: &[&str]) -> String {
    let run = space.run(&[&["graph"], words, &["."]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run.stdout
}

fn json(space: &Space, words: &[&str]) -> Value {
    serde_json::from_str(&text(space, &[&["--format", "json"], words].concat())).unwrap()
}

/// Every vertex with what a build would do with it.
fn plans(graph: &Value) -> BTreeMap<String, String> {
    let plan = |vertex: &Value| {
        assert_eq!(vertex["cached"], vertex["plan"] == "cached", "{vertex}");
        let text = |key: &str| vertex[key].as_str().unwrap_or_default().to_owned();
        (text("name"), text("plan"))
    };
    graph["vertices"].as_array().unwrap().iter().map(plan).collect()
}

fn told(plans: &[(&str, &str)]) -> BTreeMap<String, String> {
    plans.iter().map(|(name, plan)| ((*name).to_owned(), (*plan).to_owned())).collect()
}

#[test]
fn vertices_are_those_of_a_build_and_cached_after_it() {
    let space = space();
    let before = json(&space, &[]);
    assert_eq!((&before["version"], &before["steps"], &before["cached"]), (&1.into(), &3.into(), &0.into()));
    let expected = [
        ("[context] files", "read"),
        ("COPY files /files", "runs"),
        ("COPY --from=one /files /etc", "runs"),
        ("[context] web", "read"),
        ("APP web local://web", "runs"),
        ("image", ""),
    ];
    assert_eq!(plans(&before), told(&expected));
    assert_eq!(json(&space, &[]), before, "nothing was built, and nothing is different");

    space.built(&[]);
    let after = json(&space, &[]);
    let expected = [
        ("[context] files", "unneeded"),
        ("COPY files /files", "unneeded"),
        ("COPY --from=one /files /etc", "cached"),
        ("[context] web", "unneeded"),
        ("APP web local://web", "cached"),
        ("image", ""),
    ];
    assert_eq!(plans(&after), told(&expected));

    space.file("web/web.yaml", "kind: C\n");
    let changed = plans(&json(&space, &[]));
    assert_eq!(changed["APP web local://web"], "runs");
    assert_eq!(changed["COPY --from=one /files /etc"], "cached");
    let all = plans(&json(&space, &["--no-cache"]));
    assert!(all.values().all(|plan| plan != "cached"), "{all:?}");
    assert_eq!(plans(&json(&space, &["--no-cache-filter", "one"]))["COPY --from=one /files /etc"], "cached");
    assert!(!space.run(&["images"]).stdout.contains("plan"), "nothing has a name of it");
}

#[test]
fn inputs_are_vertices_that_stand_before_their_users() {
    let graph = json(&space(), &[]);
    let mut seen = BTreeSet::new();
    for vertex in graph["vertices"].as_array().unwrap() {
        for input in vertex["inputs"].as_array().unwrap() {
            assert!(seen.contains(input.as_str().unwrap()), "{vertex}");
        }
        assert!(seen.insert(vertex["id"].as_str().unwrap()), "{vertex}");
    }
    let lines: Vec<&Value> = graph["vertices"].as_array().unwrap().iter().map(|one| &one["lines"]).collect();
    assert_eq!(lines[1], &serde_json::json!([2]));
}

#[test]
fn a_target_and_arguments_make_another_graph() {
    let space = space();
    assert_eq!(plans(&json(&space, &["--target", "one"])).len(), 3);
    space.kubefile("ARG FROM=web\nFROM scratch\nARG DIR=web\nAPP web local://${DIR}\n");
    let graph = plans(&json(&space, &["--build-arg", "DIR=files"]));
    assert!(graph.contains_key("[context] files"), "{graph:?}");
    let two = json(&space, &["--platform", "linux/amd64,linux/arm64"]);
    let images =
        two["vertices"].as_array().unwrap().iter().filter(|vertex| vertex["kind"] == "image").count();
    assert_eq!(images, 2);
}

#[test]
fn dot_is_what_graphviz_reads() {
    let space = Space::new();
    space
        .file("a", "a")
        .kubefile("FROM scratch\nCOPY a \"/x\\\\\\\"];}->&lt;\"\nCOPY <<EOF /y\nsome text\nEOF\n");
    let dot = text(&space, &["--format", "dot"]);
    let lines: Vec<&str> = dot.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("digraph \"Kubefile\" {") && lines.last() == Some(&"}"), "{dot}");
    let nodes = lines.iter().filter(|line| line.starts_with('n') && line.contains(" [id=")).count();
    let edges: Vec<&&str> =
        lines.iter().filter(|line| line.contains(" -> ") && !line.contains('[')).collect();
    assert_eq!((nodes, edges.len()), (4, 3), "{dot}");
    // Outside of quotes there is nothing of a name.
    for line in lines.iter().filter(|line| line.contains(" [id=")) {
        let bare: String = line.replace("\\\\", "").replace("\\\"", "").split('"').step_by(2).collect();
        assert!(!bare.contains(['&', '>', '}']), "{line}");
    }
    if has_program("dot") {
        let path = space.root().join("g.dot");
        fs_err::write(&path, &dot).unwrap();
        let drawn = run(Command::new("dot").args(["-Tsvg".as_ref(), path.as_os_str()]));
        assert_eq!((drawn.code, drawn.stderr.as_str()), (Some(0), ""));
        assert!(drawn.stdout.contains("[context] a"), "{}", drawn.stdout);
    }
}

/// Whether tags are closed in order, and everything else is escaped.
fn check_xml(text: &str) {
    let mut open = Vec::new();
    for tag in text.split('<').skip(1) {
        let (tag, content) = tag.split_once('>').unwrap_or_else(|| panic!("a tag that does not end: {tag}"));
        let name = tag.split_whitespace().next().unwrap_or_default();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{tag}"),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        for entity in content.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
            assert!(known.iter().any(|known| entity.starts_with(known)), "{content}");
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn an_svg_is_well_formed_needs_nothing_and_is_always_the_same() {
    let space = space();
    space.file("</svg><script>", "a").kubefile(
        "FROM scratch\nCOPY files /files\nCOPY [\"</svg><script>\", \"/</script><script>alert(1)&'\"]\nAPP web local://web\n",
    );
    let svg = text(&space, &["--format", "svg"]);
    check_xml(&svg);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(svg.contains("COPY files /files") && svg.contains("▶ "), "{svg}");
    for word in ["<script", "href", "url(", "@import", "src="] {
        assert!(!svg.contains(word), "{word}");
    }
    assert_eq!(svg.matches("http").count(), 1, "the name of the language");
    assert_eq!(text(&space, &["--format", "svg"]), svg);
    space.built(&[]);
    assert!(text(&space, &["--format", "svg"]).contains("✓ "));
}

#[test]
fn a_thousand_steps_are_drawn() {
    let space = Space::new();
    let mut text_of = String::from("FROM scratch AS one\n");
    for number in 0..500 {
        space.file(&format!("f{number}"), "a");
        text_of.push_str(&format!("APP a{number} local://f{number}\n"));
    }
    text_of.push_str("FROM scratch\n");
    for number in 0..500 {
        text_of.push_str(&format!("COPY --from=one /application/apps/a{number} /x{number}\n"));
    }
    space.kubefile(&text_of);
    let svg = text(&space, &["--format", "svg"]);
    check_xml(&svg);
    assert_eq!(svg.matches("<title>APP").count(), 500);
    assert!(svg.len() < 4 << 20, "{}", svg.len());
}

#[test]
fn a_file_is_replaced_whole_and_its_name_says_what_it_is() {
    let space = space();
    for (name, start) in [("g.svg", "<svg "), ("g.json", "{"), ("g.dot", "digraph "), ("g", "digraph ")] {
        let path = format!("../{name}");
        assert_eq!(text(&space, &["-o", &path]), "");
        assert!(fs_err::read_to_string(space.root().join(name)).unwrap().starts_with(start), "{name}");
    }
    let run = space.run(&["graph", "-o", "../nowhere/g.svg", "."]);
    assert!(run.stderr.contains("`--output ../nowhere/g.svg` cannot be written"), "{}", run.stderr);
}

#[test]
fn a_download_is_asked_for_as_a_build_does_and_offline_not_at_all() {
    let server = Server::start();
    server.route("/x.yaml", |_| Response::ok("kind: A\n"));
    let space = Space::new();
    let url = server.url("/x.yaml");
    space.kubefile(&format!(
        "FROM scratch\nAPP x {}?token=geheim\n",
        url.replace("http://", "http://u:hunter2@")
    ));
    let run = space.run(&["graph", "--offline", "."]);
    assert!(run.code == Some(1) && run.stdout.is_empty(), "{}", run.stderr);
    let graph = json(&space, &[]);
    assert_eq!(plans(&graph)[&url], "read");
    let told = graph.to_string();
    assert!(!told.contains("hunter2") && !told.contains("geheim"), "{told}");
    // What came is kept.
    assert_eq!(plans(&json(&space, &["--offline"]))[&url], "read");
    let wrong = space.kubefile("FROM scratch\nCOPI x /\n").run(&["graph", "."]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("Kubefile:2:1"), "{}", wrong.stderr);
}
