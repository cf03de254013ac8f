//! Cleaning of paths and URLs as text. It never asks a file system.

use solver::GitSource;

/// A context-relative path: no leading `/`, no `.` components, `..` clamped at the root; `.` for the root itself.
pub(crate) fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    if kept.is_empty() { ".".to_owned() } else { kept.join("/") }
}

/// The longest name Linux file systems take, in bytes.
const NAME_LIMIT: usize = 255;

/// The first component of a path that no file of an image can be called: a whiteout (OCI image-spec, layer), or too long.
pub(crate) fn unfit_name(path: &str) -> Option<&str> {
    path.split('/').find(|name| is_whiteout(name) || name.len() > NAME_LIMIT)
}

/// Whether a name is a file's, as far as its ending tells: none, `conf.d` and `app-1.2` may be directories'.
pub(crate) fn has_file_ending(name: &str) -> bool {
    let ending = name.trim_matches('.').rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| ending != "d" && !ending.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a name marks a deletion in a layer.
pub(crate) fn is_whiteout(name: &str) -> bool {
    name.starts_with(".wh.")
}

/// The same of a source of `COPY --parents`, with the first `/./` kept: directories before it are left behind.
pub(crate) fn clean_with_pivot(path: &str) -> String {
    let whole = clean(path);
    match path.find("/./").map(|at| clean(&path[..at])) {
        // Where `..` goes back over it, nothing is before it any more.
        Some(before) if before != "." => match whole.strip_prefix(&format!("{before}/")) {
            Some(after) => format!("{before}/./{after}"),
            None => whole,
        },
        _ => whole,
    }
}

/// What such a source selects.
pub(crate) fn without_pivot(pattern: &str) -> String {
    pattern.replacen("/./", "/", 1)
}

/// A source of COPY and ADD as a pattern, with the pivot of `--parents`. Without wildcards it is a path, as in BuildKit: a
/// backslash is one of its characters.
pub(crate) fn source_pattern(source: &str, parents: bool) -> String {
    let cleaned = if parents { clean_with_pivot(source) } else { clean(source) };
    if cleaned.contains(['*', '?', '[']) { cleaned } else { literal_pattern(&cleaned) }
}

/// A pattern that matches a path alone, whatever characters are in it.
pub(crate) fn literal_pattern(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Whether a source is fetched by HTTP.
pub(crate) fn is_remote(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// The file name a URL ends in; `None` if its path ends in `/` or is empty.
pub(crate) fn url_file_name(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let path = rest.split(['?', '#']).next()?.split_once('/')?.1;
    path.rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."))
}

/// Whether a URL has a host.
pub(crate) fn url_has_host(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
}

/// A line as it may stand in progress, history and logs: URLs with user information or a query are shown without.
pub(crate) fn without_secrets(line: &str) -> String {
    let word = |word: &str| match word.find("http://").or_else(|| word.find("https://")) {
        Some(start) if word[start..].contains(['@', '?']) => {
            let (text, space) = word.split_at(word.trim_end().len());
            format!("{}{}{space}", &text[..start], shown_url(&text[start..]))
        }
        _ => word.to_owned(),
    };
    line.split_inclusive(char::is_whitespace).map(word).collect()
}

/// A URL as shown to people: without user information, query and fragment; what git fetches keeps its fragment.
pub(crate) fn shown_url(url: &str) -> String {
    if let Some(Ok(git)) = GitSource::is_meant(url).then(|| GitSource::parse(url)) {
        return git.shown();
    }
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pivot_is_kept() {
        for (path, cleaned) in [
            ("a/./b", "a/./b"),
            ("/a//x/././b/./c/", "a/x/./b/c"),
            ("./a/b", "a/b"),
            ("x/../a/./b", "a/./b"),
            ("a/./../b", "b"),
            ("a/./", "a"),
            ("./.", "."),
        ] {
            assert_eq!(clean_with_pivot(path), cleaned, "{path}");
        }
    }

    #[test]
    fn secrets_of_urls_do_not_stand_in_lines() {
        for (line, shown) in [
            ("APP a http://u:p@h/f.yaml local://x@y", "APP a http://h/f.yaml local://x@y"),
            ("ADD https://h/f?token=t#x /d", "ADD https://h/f /d"),
            ("ADD https://u:p@h/r.git#main:dir /d", "ADD https://h/r.git#main:dir /d"),
            ("LABEL mail=a@b.c q=what?", "LABEL mail=a@b.c q=what?"),
            ("APP  a\thttp://h/f ", "APP  a\thttp://h/f "),
        ] {
            assert_eq!(without_secrets(line), shown);
        }
    }

    #[test]
    fn paths_are_cleaned_and_clamped() {
        for (path, cleaned) in
            [("./a", "a"), ("/a//b/", "a/b"), ("../../a", "a"), ("a/../..", "."), (".", "."), ("", ".")]
        {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn a_backslash_escapes_wildcards_and_is_a_character_where_there_are_none() {
        for (source, pattern) in
            [("n/a", "n/a"), (r"n/back\slash", r"n/back\\slash"), (r"a\*b", r"a\*b"), (r"./[a]\b", r"[a]\b")]
        {
            assert_eq!(source_pattern(source, false), pattern, "{source}");
        }
    }

    #[test]
    fn whiteouts_and_long_names_are_no_names_of_files() {
        let long = "é".repeat(128);
        for (path, unfit) in [
            ("/etc/.who/x.wh.y", None),
            ("/.wh.d/f", Some(".wh.d")),
            (".wh..wh..opq", Some(".wh..wh..opq")),
            (&"f".repeat(255), None),
            (&long, Some(&*long)),
        ] {
            assert_eq!(unfit_name(path), unfit, "{path}");
        }
    }

    #[test]
    fn names_of_directories_have_dots_too() {
        assert!(["a.conf", "Chart.yaml", "a.d.sh", "..x.y"].into_iter().all(has_file_ending));
        assert!(!["conf", ".hidden", "conf.d", "app-1.2", "..", "x."].into_iter().any(has_file_ending));
    }

    #[test]
    fn wildcards_of_a_literal_path_are_escaped() {
        assert_eq!(literal_pattern("a/b.yaml"), "a/b.yaml");
        assert_eq!(literal_pattern(r"a[1]*?\b"), r"a\[1]\*\?\\b");
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        assert_eq!(shown_url("https://u:p@h:1/a.tgz?sig=1#x"), "https://h:1/a.tgz");
        assert_eq!(url_file_name("http://h/a/b.tgz?x=/y"), Some("b.tgz"));
        assert_eq!(url_file_name("http://h/"), None);
    }
}
