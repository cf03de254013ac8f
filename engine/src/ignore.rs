//! Docker's rules for ignore files: which paths of the context the build does not see.
//!
//! It reads text and answers questions; which file or flag the text came from and how the walk goes is its caller's. The rules are
//! those of moby/patternmatcher (`MatchesOrParentMatches`): the last line that matches a path *or a directory above it*
//! decides, so `!a/b` brings `a/b` and all below it back, even from an ignored `a`.
//!
//! A walk of 100,000 files asks through [`Matched`]: what matched a directory matches everything below it, so each path
//! is compared only with the lines that matched nothing above it, from the last line up, until one decides.

use crate::pattern::{Pattern, PatternError};

/// The names an ignore file may have, the first that exists in the context counts.
pub fn ignore_file_names() -> [&'static str; 3] {
    [".sealerignore", ".containerignore", ".dockerignore"]
}

/// A text that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// An exception from nothing.
    #[error("`!` needs a pattern after it")]
    LoneException,
    /// A syntax error.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// A line of an ignore file that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {source}")]
pub struct IgnoreError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: RuleError,
}

/// The compiled lines of one ignore file.
#[derive(Debug, Clone, Default)]
pub struct IgnoreRules {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    /// Whether the line began with `!`.
    exception: bool,
}

/// Which rules matched a directory or one above it. Belongs to the [`IgnoreRules`] that made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matched(Vec<u64>);

impl Matched {
    fn contains(&self, rule: usize) -> bool {
        self.0.get(rule / 64).is_some_and(|word| word & (1 << (rule % 64)) != 0)
    }

    fn insert(&mut self, rule: usize) {
        if self.0.len() <= rule / 64 {
            self.0.resize(rule / 64 + 1, 0);
        }
        self.0[rule / 64] |= 1 << (rule % 64);
    }
}

impl IgnoreRules {
    /// Ignores nothing.
    pub fn none() -> IgnoreRules {
        IgnoreRules::default()
    }

    /// Reads an ignore file: `#` comments at the very start of a line, blanks trimmed, paths cleaned and relative.
    ///
    /// # Errors
    /// The first line that is no pattern.
    pub fn parse(text: &str) -> Result<IgnoreRules, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            rules.extend(Rule::new(line).map_err(|source| IgnoreError { line: index + 1, source })?);
        }
        Ok(IgnoreRules { rules })
    }

    /// The same rules, each given by itself.
    ///
    /// # Errors
    /// The first text that is no rule.
    pub fn of(texts: &[String]) -> Result<IgnoreRules, RuleError> {
        let rules = texts.iter().filter_map(|text| Rule::new(text).transpose());
        Ok(IgnoreRules { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Says whether there is no rule, so that nothing need be asked.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Says whether a path, relative to the context, is ignored. The context itself, `""`, never is.
    pub fn is_ignored(&self, path: &[u8]) -> bool {
        let last = self.rules.iter().rfind(|rule| rule.matches_or_parent(path));
        last.is_some_and(|rule| !rule.exception)
    }

    /// Says whether a walk may leave out this directory and everything below it: it is ignored, and no later exception
    /// can match below it.
    pub fn can_prune(&self, dir: &[u8]) -> bool {
        let last = self.rules.iter().rposition(|rule| rule.matches_or_parent(dir));
        last.is_some_and(|last| self.is_final_below(last, dir))
    }

    /// Adds a directory to what is known of those above it; start from `Matched::default()` at the context.
    pub fn enter(&self, parent: &Matched, dir: &[u8]) -> Matched {
        let mut matched = parent.clone();
        for (index, rule) in self.rules.iter().enumerate() {
            if !parent.contains(index) && rule.pattern.matches(dir) {
                matched.insert(index);
            }
        }
        matched
    }

    /// As [`IgnoreRules::is_ignored`], for a path whose directory `parent` describes.
    pub fn is_ignored_in(&self, parent: &Matched, path: &[u8]) -> bool {
        let mut rules = self.rules.iter().enumerate();
        let last = rules.rfind(|(index, rule)| parent.contains(*index) || rule.pattern.matches(path));
        last.is_some_and(|(_, rule)| !rule.exception)
    }

    /// As [`IgnoreRules::can_prune`], for the directory that `matched` itself describes.
    pub fn can_prune_in(&self, matched: &Matched, dir: &[u8]) -> bool {
        let last = (0..self.rules.len()).rfind(|index| matched.contains(*index));
        last.is_some_and(|last| self.is_final_below(last, dir))
    }

    fn is_final_below(&self, last: usize, dir: &[u8]) -> bool {
        let mut later = self.rules[last + 1..].iter().filter(|rule| rule.exception);
        !self.rules[last].exception && !later.any(|rule| rule.pattern.could_match_below(dir))
    }
}

impl Rule {
    /// `None` for a blank, and for what cleans to `.` or `/`: no file has that path, and Docker lets it match nothing.
    fn new(text: &str) -> Result<Option<Self>, RuleError> {
        let text = text.trim();
        let (exception, path) = match text.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
        if exception && path.is_empty() {
            return Err(RuleError::LoneException);
        }
        let Some(path) = clean(path) else { return Ok(None) };
        Ok(Some(Self { pattern: Pattern::ignore(&path)?, exception }))
    }

    fn matches_or_parent(&self, path: &[u8]) -> bool {
        self.pattern.matches_or_parent(path)
    }
}

/// Go's `filepath.Clean` without a leading slash; `None` for the context itself.
fn clean(path: &str) -> Option<String> {
    let rooted = path.starts_with('/');
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => match components.last() {
                Some(&"..") | None if !rooted => components.push(component),
                _ => drop(components.pop()),
            },
            _ => components.push(component),
        }
    }
    (!components.is_empty()).then(|| components.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> IgnoreRules {
        IgnoreRules::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// As a walk asks: directory by directory. Also proves that no pruned directory hides a path.
    fn walk_ignores(rules: &IgnoreRules, path: &str) -> bool {
        let mut matched = Matched::default();
        let mut pruned = false;
        for (slash, _) in path.match_indices('/') {
            let dir = &path.as_bytes()[..slash];
            let ignored = rules.is_ignored_in(&matched, dir);
            matched = rules.enter(&matched, dir);
            let prune = rules.can_prune_in(&matched, dir);
            assert_eq!(prune, rules.can_prune(dir), "pruning {dir:?} for {path}");
            assert!(ignored || !prune, "pruning {dir:?}, which is not ignored");
            pruned |= prune;
        }
        let ignored = rules.is_ignored_in(&matched, path.as_bytes());
        assert!(ignored || !pruned, "pruned above {path}, which is not ignored");
        ignored
    }

    fn check(text: &str, ignored: &[&str], kept: &[&str]) {
        let rules = rules(text);
        for (paths, wanted) in [(ignored, true), (kept, false)] {
            for path in paths {
                assert_eq!(rules.is_ignored(path.as_bytes()), wanted, "{text:?} on `{path}`");
                assert_eq!(walk_ignores(&rules, path), wanted, "{text:?} walking to `{path}`");
            }
        }
    }

    /// The facts of moby/patternmatcher's published table: pattern, paths it ignores, paths it keeps.
    const MOBY: &[(&str, &[&str], &[&str])] = &[
        ("**", &["file", "file/", "/", "dir/file", "dir/file/"], &[]),
        ("**/", &["file", "file/", "/", "dir/file", "dir/file/"], &[]),
        ("**/**", &["dir/file", "dir/file/"], &[]),
        ("dir/**", &["dir/file", "dir/file/", "dir/dir2/file", "dir/dir2/file/"], &["dir"]),
        ("**/dir", &["dir", "dir/file"], &["dirs"]),
        ("**/dir2/*", &["dir/dir2/file", "dir/dir2/file/"], &["dir/dir2"]),
        ("**/dir2/**", &["dir/dir2/dir3/file", "dir/dir2/dir3/file/"], &["dir/dir2"]),
        ("**file", &["file", "dir/file", "dir/dir/file", "dir/xfile"], &["file.x"]),
        ("**/file", &["dir/file", "dir/dir/file"], &["dir/xfile"]),
        ("**/file*", &["dir/dir/file", "dir/dir/file.txt"], &["dir/xfile"]),
        ("**/file*txt", &["dir/dir/file.txt"], &[]),
        ("**/file*.txt", &["dir/dir/file.txt"], &[]),
        ("**/file*.txt*", &["dir/dir/file.txt"], &[]),
        ("**/**/*.txt", &["dir/dir/file.txt", "file.txt"], &[]),
        ("**/**/*.txt2", &[], &["dir/dir/file.txt"]),
        ("**/*.txt", &["file.txt"], &[]),
        ("a**/*.txt", &["a/file.txt", "a/dir/file.txt", "a/dir/dir/file.txt"], &["b/file.txt"]),
        ("a/*.txt", &["a/file.txt"], &["a/dir/file.txt"]),
        ("a/*.txt**", &["a/file.txt"], &[]),
        ("a[b-d]e", &["ace"], &["ae", "aae"]),
        ("a[^b-d]e", &["aze"], &[]),
        (".*", &[".foo"], &["foo"]),
        ("abc.def", &["abc.def"], &["abcdef", "abcZdef"]),
        ("abc?def", &["abcZdef"], &["abcdef"]),
        ("**/foo/bar", &["foo/bar", "dir/foo/bar", "dir/dir2/foo/bar"], &["foo/x/bar"]),
        ("abc/**", &["abc/def", "abc/def/ghi"], &["abc"]),
        ("**/.foo", &[".foo"], &["bar.foo"]),
        ("a(b)c/def", &["a(b)c/def"], &["a(b)c/xyz"]),
        ("a.|)$(}+{bc", &["a.|)$(}+{bc"], &[]),
        (
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            &["dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl"],
            &[],
        ),
        ("dist/*.whl", &["dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl"], &[]),
        ("a\\\\", &["a\\"], &[]),
        ("a\\*b", &["a*b"], &["ab"]),
        ("**\n!util/docker/web", &["util/docker"], &["util/docker/web/foo"]),
        ("**\n!util/docker/web\nutil/docker/web/foo", &["util/docker/web/foo"], &["util/docker/web/bar"]),
        ("**\n!dist/*.whl", &["dist/a.txt"], &["dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl"]),
        ("*", &["fileutils.go"], &[]),
        ("*.go", &["fileutils.go"], &["", "."]),
        ("!fileutils.go\n*.go", &["fileutils.go"], &[]),
        ("*.go\n!fileutils.go", &["a.go"], &["fileutils.go"]),
        ("docs\n!docs/README.md", &["docs/a"], &["docs/README.md"]),
        ("docs/\n!docs/README.md", &["docs/a"], &["docs/README.md"]),
        ("docs/*\n!docs/README.md", &["docs/a"], &["docs/README.md", "docs"]),
        ("docs\n  !docs/README.md  ", &["docs/a"], &["docs/README.md"]),
        ("", &[], &["any/path/there"]),
    ];

    #[test]
    fn moby_table_holds() {
        for (text, ignored, kept) in MOBY {
            check(text, ignored, kept);
        }
    }

    #[test]
    fn quirks_of_double_stars_inside_a_component_are_mobys() {
        check("a**b", &["ab", "ax/b", "a/x/b"], &["axb", "a/x"]);
        check("abc**", &["abc", "abcd", "abcd/e"], &["ab"]);
        check("**file*", &["file", "dir/file.x"], &["dir/xfile"]);
        check("***", &["a", "a/b"], &[]);
        check("a[^b]c", &["axc", "a/c"], &["abc"]);
    }

    #[test]
    fn lines_are_read_as_docker_reads_them() {
        let text = "\u{feff}test1\r\n/test2\n/a/file/here\n\nlastfile\n# this is a comment\n #not/a/comment\n! /inverted/../abs/path\n";
        let read = rules(text);
        let lines: Vec<_> = read.rules.iter().map(|rule| (rule.exception, text_of(&rule.pattern))).collect();
        let wanted = ["test1", "test2", "a/file/here", "lastfile", "#not/a/comment"]
            .map(|line| (false, line.to_owned()));
        assert_eq!(lines[..5], wanted);
        assert_eq!(lines[5..], [(true, "abs/path".to_owned())]);
        assert!(rules("# only\n\n  \n.\n/\na/..\n").is_empty());
        assert!(IgnoreRules::none().is_empty() && !rules("a").is_empty());
    }

    fn text_of(pattern: &Pattern) -> String {
        pattern.components().collect::<Vec<_>>().join("/")
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, wanted) in [
            ("a\n!\n", "line 2: `!` needs a pattern after it"),
            ("a\n\n!  ", "line 3: `!` needs a pattern after it"),
            ("#\n[a-\n", "line 2: `[a-` is not a valid pattern: `[` has no `]`"),
        ] {
            assert_eq!(IgnoreRules::parse(text).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn last_match_wins_through_directories() {
        check("a/b\n!a", &[], &["a/b", "a/b/c"]);
        check("!a/b\na", &["a", "a/b", "a/b/c"], &[]);
        check("a\n!a/b\na/b/c", &["a", "a/x", "a/b/c", "a/b/c/d"], &["a/b", "a/b/x"]);
        check("*\n!*/keep\n", &["x", "x/y"], &["x/keep", "x/keep/z"]);
        check("../a\n..", &[], &["a", "b/a"]);
    }

    #[test]
    fn ignored_directories_are_pruned_unless_an_exception_can_match_below() {
        let prune = |text, dir: &str| rules(text).can_prune(dir.as_bytes());
        assert!(prune("node_modules", "node_modules") && prune("**/x", "a/x") && prune("a", "a/b"));
        assert!(!prune("a", "b") && !prune("a/*", "a"));
        assert!(!prune("a\n!a/b/c", "a") && !prune("a\n!a/b/c", "a/b") && prune("a\n!a/b/c", "a/x"));
        assert!(prune("!a/b\na", "a"), "an exception before the match cannot undo it");
        assert!(!prune("a\n!**/keep", "a/x") && prune("a\n!b/**", "a"));
        assert!(!prune("a\n!a/b", "a/b"), "kept directories are walked");
    }

    #[test]
    fn names_are_in_order() {
        assert_eq!(ignore_file_names(), [".sealerignore", ".containerignore", ".dockerignore"]);
    }
}
