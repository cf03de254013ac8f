//! What lists may hold, and what is said of what they may not.

use super::*;

fn said<T: std::fmt::Debug>(result: Result<T, ListError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_list_has_a_reference_a_line() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let text = format!(
        "\u{feff}# all of them\r\n\n  nginx  \n\"quay.io/a/b:v1\" # the web\n'localhost:5000/x'\t#\n   \t# no\nx:1@{digest}\n\"\"\n"
    );
    let listed: Vec<(u64, String)> =
        ImageList::parse("l", &text).unwrap().into_iter().map(|one| (one.line, one.reference)).collect();
    let wanted =
        [(3, "nginx"), (4, "quay.io/a/b:v1"), (5, "localhost:5000/x"), (7, &format!("x:1@{digest}"))];
    assert_eq!(listed, wanted.map(|(line, text)| (line, text.to_owned())));
    assert!(ImageList::parse("l", "").unwrap().is_empty());
}

#[test]
fn a_line_that_is_no_reference_is_told_with_its_place() {
    for (text, wanted) in [
        ("nginx\n\n{{ .Values.image }}\n", "images.txt:3: `{{ .Values.image }}` is not an image name"),
        ("nginx#1\n", "images.txt:1: `nginx#1` is not an image name"),
        ("- nginx\n", "images.txt:1: `- nginx` is not an image name"),
        ("Upper/case", "images.txt:1: `Upper/case` is not an image name"),
        ("quay.io/team/*", "images.txt:1: `quay.io/team/*` is not an image name"),
    ] {
        let error = said(ImageList::parse("images.txt", text));
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn what_is_ignored_is_ignored_in_every_spelling() {
    let ignores = |list: &str, image: &str| {
        Ignored::parse("l", list).unwrap().matches(&Reference::normalised(image).unwrap())
    };
    let digest = format!("@sha256:{}", "a".repeat(64));
    for (list, image, expected) in [
        ("nginx", "nginx", true),
        ("nginx", "docker.io/library/nginx", true),
        ("index.docker.io/nginx", "docker.io/nginx", true),
        ("nginx", "nginx:1.25", false),
        ("nginx", "nginx:latest", false),
        ("nginx:latest", "nginx", false),
        ("nginx", "quay.io/library/nginx", false),
        ("'nginx:1.25' # old", "docker.io/nginx:1.25", true),
        ("nginx:1.25", &format!("nginx:1.25{digest}"), false),
        (&format!("nginx{digest}"), &format!("docker.io/nginx{digest}"), true),
        ("nginx*", "nginx", true),
        ("nginx*", "nginx:1.25", true),
        ("nginx*", "nginx-unprivileged:1", true),
        ("nginx:*", "nginx:1.25", true),
        ("nginx:*", "nginx", false),
        ("nginx:1.*", &format!("nginx:1.25{digest}"), true),
        ("ngin?", "nginx:1", true),
        ("team/*", "team/x:1", true),
        ("team/*", "quay.io/team/x:1", false),
        ("quay.io/team/*", "quay.io/team/x:1", true),
        ("quay.io/team/*", "quay.io/team/deep/x:1", false),
        ("quay.io/team/**", "quay.io/team/deep/x:1", true),
        ("quay.io/*/web", "quay.io/team/web:2", true),
        ("quay.io/te[a-c]m/x", "quay.io/team/x", true),
        ("*/team/x", "quay.io/team/x:1", true),
        ("**/nginx", "nginx:1", true),
        ("*", "nginx:1", true),
        ("*", "team/x", false),
        ("docker.io/*", "nginx", true),
        ("docker.io/**", "team/x", true),
        ("**", "localhost:5000/x", true),
        ("localhost:5000/*", "localhost:5000/x", true),
        ("# nginx", "nginx", false),
    ] {
        assert_eq!(ignores(list, image), expected, "{list} {image}");
    }
    assert!(!Ignored::default().matches("docker.io/library/nginx"));
}

#[test]
fn patterns_that_are_none_are_told_with_their_place() {
    let error = said(Ignored::parse("ignored", "nginx\nquay.io/[z-a]\n"));
    assert!(error.starts_with("ignored:2: `quay.io/[z-a]` is not a valid pattern"), "{error}");
    let error = said(Ignored::parse("ignored", "a b*\n"));
    assert!(error.starts_with("ignored:1: `a b*` is not an image name"), "{error}");
    let error = said(Ignored::parse("ignored", "quay.io/team/\n"));
    assert!(error.starts_with("ignored:1: `quay.io/team/` is not an image name"), "{error}");
}

const ENTRIES: &str = "\
# whom to be
- registry: quay.io
  username: alice
  password: hunter2
  images:
    - team/a:1
    - \"gcr.io/team/b\"
- username: bob
  password: 012345
  images: [nginx, index.docker.io/team/x:2]
- registry: localhost:5000
  username: carol
  password: \"true\"
";

#[test]
fn entries_say_who_fetches_what() {
    let all = WithAuth::parse("auth.yaml", ENTRIES).unwrap();
    let found: Vec<_> = all
        .iter()
        .map(|image| {
            let Credential::Password { user, password } = &image.credential else { unreachable!() };
            let who = format!("{user}:{password}");
            (image.line, image.written.as_str(), image.reference.as_str(), who)
        })
        .collect();
    let wanted = [
        (6, "team/a:1", "quay.io/team/a:1", "alice:hunter2".to_owned()),
        (7, "gcr.io/team/b", "gcr.io/team/b", "alice:hunter2".to_owned()),
        (10, "nginx", "docker.io/library/nginx", "bob:012345".to_owned()),
        (10, "index.docker.io/team/x:2", "docker.io/team/x:2", "bob:012345".to_owned()),
    ];
    assert_eq!(found, wanted);
    let shown = format!("{all:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("012345") && !shown.contains("alice"), "{shown}");
    for nothing in ["", "# nothing\n", "---\n", "[]", "~"] {
        assert!(WithAuth::parse("auth.yaml", nothing).unwrap().is_empty(), "{nothing}");
    }
}

#[test]
fn what_is_wrong_with_an_entry_is_told_without_its_password() {
    let entry = |more: &str| format!("\n- username: alice\n  password: hunter2\n  {more}\n");
    let nobody = "must set username and password at imageListWithAuth.yaml";
    for (text, wanted) in [
        ("- username: alice\n  images: [a]\n", format!("auth.yaml:1: {nobody}")),
        ("[]\n---\n- {username: '', password: hunter2}\n", format!("auth.yaml:3: {nobody}")),
        ("- {username: alice, password: ~}\n", format!("auth.yaml:1: {nobody}")),
        (&entry("passwd: hunter2"), "auth.yaml:4: there is no key `passwd`".to_owned()),
        (&entry("password: hunter2"), "auth.yaml:4: `password` is there twice".to_owned()),
        (&entry("registry: [quay.io]"), "auth.yaml:4: `registry` is not a text".to_owned()),
        (&entry("registry: https://quay.io"), "auth.yaml:4: registry `https://quay.io`".to_owned()),
        (&entry("registry: harbor"), "auth.yaml:4: registry `harbor` is not a host".to_owned()),
        (&entry("images: nginx"), "auth.yaml:4: `images` is not a list".to_owned()),
        (&entry("images: {a: b}"), "auth.yaml:4: `images` is not a list".to_owned()),
        (&entry("images: [a, ~]"), "auth.yaml:4: `` is not an image name".to_owned()),
        (&entry("images: [A]"), "auth.yaml:4: `A` is not an image name".to_owned()),
        (&entry("images: [[a]]"), "auth.yaml:4: an image is not a text".to_owned()),
        ("username: alice\npassword: hunter2\n", "auth.yaml:1: a list is wanted".to_owned()),
        ("- hunter2\n", "auth.yaml:1: a mapping is wanted".to_owned()),
        ("- {username: alice, password: *hunter2}\n", "auth.yaml:1: ".to_owned()),
        ("- username: alice\n  password: \"hunter2\n", "auth.yaml:".to_owned()),
    ] {
        let error = WithAuth::parse("auth.yaml", text).unwrap_err();
        let (shown, whole) = (error.to_string(), format!("{error:?}"));
        assert!(shown.starts_with(&wanted), "{shown}, not {wanted}");
        assert!(!shown.contains("hunter2") && !whole.contains("hunter2"), "{shown} {whole}");
    }
}

#[test]
fn one_repository_has_one_user() {
    let other = "- {username: bob, password: x, images: [quay.io/team/a:2]}\n";
    let error = said(WithAuth::parse("auth.yaml", &format!("{ENTRIES}{other}")));
    assert_eq!(error, "auth.yaml:14: `quay.io/team/a` has another user or password in line 6");
    let same = "- {username: alice, password: hunter2, images: [quay.io/team/a:2]}\n";
    assert_eq!(WithAuth::parse("auth.yaml", &format!("{ENTRIES}{same}")).unwrap().len(), 5);
}
