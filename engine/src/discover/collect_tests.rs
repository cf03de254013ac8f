//! Which files of a place are read, with links among them.

use cache::Store;

use super::*;
use crate::contents::content_digest;
use crate::delta::OpenDir;
use crate::tree::Meta;

/// Makes a place of files, and of links where there is a target, and gives what is read of it.
fn check(unit: &Unit, entries: &[(&str, Option<&str>)], read: &[&str], unfollowed: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let mut root = OpenDir::root();
    for (path, target) in entries {
        let names: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
        let (name, parents) = names.split_last().unwrap();
        let mut at = &mut root;
        for parent in parents {
            at = at.dir(&trees, parent, &Meta::with_mode(0o755)).unwrap();
        }
        let node = match target {
            Some(target) => Node::Symlink(target.as_bytes().to_vec()),
            // What is in a file says which one it is.
            None => Node::File { content: content_digest(path.as_bytes()), size: 1 },
        };
        at.put(&trees, name, Entry { meta: Meta::default(), node }).unwrap();
    }
    let wanted = collect(&trees, unit, &root.finish(&trees)).unwrap();
    let shown = |path: &[u8], entry: &Entry| {
        let path = String::from_utf8_lossy(path).into_owned();
        let is_from =
            |from: &&str| entry.node == Node::File { content: content_digest(from.as_bytes()), size: 1 };
        let from = entries.iter().map(|(path, _)| *path).find(is_from).unwrap();
        if path == from { path } else { format!("{path} from {from}") }
    };
    let charts = wanted.charts.iter().flat_map(|chart| {
        let at = |name: &[u8]| [chart.path.as_slice(), b"| ", name].concat();
        chart.files.iter().map(move |(name, entry)| (at(name), entry))
    });
    let plain = wanted.texts.iter().chain(&wanted.archives).map(|(path, entry)| (path.clone(), entry));
    let found: Vec<String> = charts.chain(plain).map(|(path, entry)| shown(&path, entry)).collect();
    assert_eq!(found, read);
    let told: Vec<_> = wanted.unfollowed.iter().map(|path| String::from_utf8_lossy(path)).collect();
    assert_eq!(told, unfollowed);
}

#[test]
fn links_in_charts_lead_to_files_directories_and_charts() {
    check(
        &Unit::Charts,
        &[
            ("shared/Chart.yaml", None),
            ("shared/templates/s.yaml", None),
            ("top/Chart.yaml", Some("files/Chart.yaml")),
            ("top/charts/sub", Some("../../shared")),
            ("top/files/Chart.yaml", None),
            ("top/files/t/t.yaml", None),
            ("top/files/v.yaml", None),
            ("top/templates", Some("files/t/")),
            ("top/values.yaml", Some("./link")),
            ("top/link", Some("files/../files/v.yaml")),
        ],
        &[
            "shared/| Chart.yaml from shared/Chart.yaml",
            "shared/| templates/s.yaml from shared/templates/s.yaml",
            "top/| Chart.yaml from top/files/Chart.yaml",
            "top/| charts/sub/Chart.yaml from shared/Chart.yaml",
            "top/| charts/sub/templates/s.yaml from shared/templates/s.yaml",
            "top/| files/Chart.yaml from top/files/Chart.yaml",
            "top/| files/t/t.yaml from top/files/t/t.yaml",
            "top/| files/v.yaml from top/files/v.yaml",
            "top/| link from top/files/v.yaml",
            "top/| templates/t.yaml from top/files/t/t.yaml",
            "top/| values.yaml from top/files/v.yaml",
        ],
        &[],
    );
}

#[test]
fn a_chart_of_charts_needs_no_templates() {
    let entries = [
        ("top/Chart.yaml", None),
        ("top/charts/packed.tgz", None),
        ("top/charts/sub/Chart.yaml", None),
        ("top/charts/sub/templates/s.yaml", None),
        ("top/values.yaml", None),
    ];
    let in_chart =
        ["Chart.yaml", "charts/packed.tgz", "charts/sub/Chart.yaml", "charts/sub/templates/s.yaml"];
    let read: Vec<String> =
        in_chart.iter().chain(&["values.yaml"]).map(|name| format!("top/| {name} from top/{name}")).collect();
    let read: Vec<&str> = read.iter().map(String::as_str).collect();
    check(&Unit::Charts, &entries, &read, &[]);
    // In an application sealer would read what is no chart to it by lines.
    let at_root: Vec<_> = entries.iter().map(|(path, _)| (&path[4..], None)).collect();
    check(
        &Unit::Application(b"a".to_vec()),
        &at_root,
        &[
            "| Chart.yaml from Chart.yaml",
            "| charts/packed.tgz from charts/packed.tgz",
            "| charts/sub/Chart.yaml from charts/sub/Chart.yaml",
            "| charts/sub/templates/s.yaml from charts/sub/templates/s.yaml",
            "| values.yaml from values.yaml",
            "Chart.yaml",
            "charts/sub/Chart.yaml",
            "charts/sub/templates/s.yaml",
            "values.yaml",
        ],
        &[],
    );
}

#[test]
fn links_that_lead_out_nowhere_or_in_circles_are_not_followed() {
    let unfollowed = ["a", "absolute", "b", "broken", "d/out"];
    check(
        &Unit::Manifests,
        &[
            ("a", Some("b")),
            ("absolute", Some("/d/m.yaml")),
            ("b", Some("a")),
            ("broken", Some("d/none")),
            ("d/m.yaml", None),
            ("d/out", Some("../../manifests/d/m.yaml")),
            // What is in a directory around the link is read anyway.
            ("d/self", Some(".")),
            ("imageList", Some("d/m.yaml")),
            ("linked.yml", Some("d/m.yaml")),
        ],
        &["d/m.yaml", "imageList from d/m.yaml", "linked.yml from d/m.yaml"],
        &unfollowed,
    );
    // In an application links may lead anywhere, unless what they are called would be read.
    check(
        &Unit::Application(b"a".to_vec()),
        &[("bin", Some("/usr/bin")), ("m.yaml", Some("../m.yaml"))],
        &[],
        &["m.yaml"],
    );
}

#[test]
fn links_multiply_no_more_than_so_far() {
    let names: Vec<(String, String)> = (0..40)
        .flat_map(|at| (0..2).map(move |n| (format!("{at:02}/{n}"), format!("../{:02}", at + 1))))
        .collect();
    let mut entries: Vec<(&str, Option<&str>)> =
        names.iter().map(|(path, target)| (path.as_str(), Some(target.as_str()))).collect();
    entries.push(("40/m.txt", None));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let trees = Trees::new(&store);
    let mut root = OpenDir::root();
    for (path, target) in &entries {
        let (parent, name) = path.split_once('/').unwrap();
        let node = match target {
            Some(target) => Node::Symlink(target.as_bytes().to_vec()),
            None => Node::File { content: content_digest(b""), size: 1 },
        };
        let at = root.dir(&trees, parent.as_bytes(), &Meta::with_mode(0o755)).unwrap();
        at.put(&trees, name.as_bytes(), Entry { meta: Meta::default(), node }).unwrap();
    }
    let wanted = collect(&trees, &Unit::Manifests, &root.finish(&trees)).unwrap();
    assert!(!wanted.unfollowed.is_empty());
}
