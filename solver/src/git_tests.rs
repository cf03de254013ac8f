//! What is read out of git URLs, what is refused, and what nobody sees.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> GitSource {
    GitSource::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn urls_have_a_reference_and_a_directory() {
    for (text, url, reference, subdir) in [
        ("https://h/r.git", "https://h/r.git", None, "."),
        ("https://h:8/a/r.git#", "https://h:8/a/r.git", None, "."),
        ("https://h/r.git#main", "https://h/r.git", Some("main"), "."),
        ("https://h/r.git#v1.0:a//./b/", "https://h/r.git", Some("v1.0"), "a/b"),
        ("https://h/r.git#:/a", "https://h/r.git", None, "a"),
        ("git@h:team/r#refs/heads/x/y", "git@h:team/r", Some("refs/heads/x/y"), "."),
        ("ssh://me@h:22/r", "ssh://me@h:22/r", None, "."),
        ("git://[::1]:9418/r#pull/4/head:.", "git://[::1]:9418/r", Some("pull/4/head"), "."),
        (
            "git://h/r#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "git://h/r",
            Some("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ".",
        ),
    ] {
        assert!(GitSource::is_meant(text), "{text}");
        let source = parse(text);
        assert_eq!((source.url.as_str(), source.reference.as_deref()), (url, reference), "{text}");
        assert_eq!(source.subdir, subdir, "{text}");
    }
    assert_eq!(parse(&format!("git://h/r#{}", "0".repeat(64))).commit(), Some(&*"0".repeat(64)));
    assert_eq!(parse("git://h/r#0123456").commit(), None);
}

#[test]
fn what_docker_does_not_take_for_git_is_no_git() {
    for text in ["https://h/r.git.tgz", "https://h/r.git?x", "dir/r.git", "git", "github.com/a/b", "a@b:c"] {
        assert!(!GitSource::is_meant(text), "{text}");
    }
}

#[test]
fn what_git_could_misunderstand_is_refused() {
    let wrong = |text: &str| GitSource::parse(text).expect_err(text);
    for text in ["file:///r.git", "ext::sh -c x", "/r.git", "fd::3", "ftp://h/r.git", "-u", ""] {
        let error = wrong(text);
        assert!(matches!(error, GitUrlError::Scheme | GitUrlError::Unsafe(_)), "{text}: {error:?}");
    }
    for text in [
        "ssh://-oProxyCommand=x/r",
        "ssh://me@-oProxyCommand=x/r",
        "ssh://-l@h/r",
        "git@-h:r",
        "git@h:-r",
        "git@h:/-r",
        "git://-h/r",
        "https://-h/r.git",
        "https://h/r.git\n",
        "https://h/a b.git",
        "https://u:p/w@h/r.git",
        "https://h:x/r.git",
    ] {
        assert!(matches!(wrong(text), GitUrlError::Unsafe(_)), "{text}");
    }
    for text in ["https://h", "https://h/", "https:///r.git", "git@h", "ssh://h/", "git://:1/r"] {
        assert!(matches!(wrong(text), GitUrlError::Missing(_)), "{text}");
    }
    for text in ["ssh://u:p@h/r", "git://u@h/r"] {
        assert!(matches!(wrong(text), GitUrlError::Credentials(_)), "{text}");
    }
    for reference in [
        "-x",
        "--upload-pack=x",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "@",
        "a@{1}",
        "a*",
        "/a",
        "a/",
        "a.lock",
        ".a",
        "a.",
    ] {
        let error = wrong(&format!("https://h/r.git#{reference}"));
        assert_eq!(error, GitUrlError::Reference(reference.to_owned()));
    }
    for dir in ["..", "a/../b", "/.."] {
        assert_eq!(wrong(&format!("https://h/r.git#x:{dir}")), GitUrlError::Directory(dir.to_owned()));
    }
}

#[test]
fn credentials_stand_apart() {
    let source = parse("https://me:s%40cret@h:8/r.git#main:dir");
    assert_eq!(source.credentials(), Some(("me", "s%40cret")));
    assert_eq!(source.bare_url(), "https://h:8/r.git");
    assert_eq!(source.shown(), "https://h:8/r.git#main:dir");
    assert!(!format!("{source:?}").contains("cret"));
    assert_eq!(parse("https://token@h/r.git").credentials(), Some(("token", "")));
    assert_eq!(parse("https://h/r.git#:d").shown(), "https://h/r.git#:d");
    assert_eq!(parse("ssh://me@h/r").credentials(), None);
    assert_eq!(parse("git@h:r").shown(), "git@h:r");
}

proptest! {
    #[test]
    fn no_text_gives_git_a_word_that_could_be_an_option(
        text in "((https?|ssh|git|file|ext)://|git@)?[-a-z@:/.\\[\\]#% \\n]{0,24}(\\.git)?(#[-a-z/:.~^*@{]{0,12})?"
    ) {
        if let Ok(source) = GitSource::parse(&text) {
            let url = source.bare_url();
            let after = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let (address, path) = after.split_at(after.find(['/', ':']).expect("it has a path"));
            let host = address.rsplit('@').next().expect("there is always a last part");
            prop_assert!(!url.starts_with('-') && !address.starts_with('-') && !host.starts_with('-'), "{}", text);
            prop_assert!(url.starts_with("http") || !path.trim_start_matches(['/', ':']).starts_with('-'), "{}", text);
            prop_assert!(!url.contains([' ', '\n']) && !source.reference.is_some_and(|name| name.starts_with('-')));
            prop_assert!(!source.subdir.split('/').any(|name| name == ".."));
            prop_assert!(["http://", "https://", "ssh://", "git://", "git@"].iter().any(|start| url.starts_with(start)));
        }
    }
}
