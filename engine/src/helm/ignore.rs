//! `.helmignore`: which files of a directory are no part of its chart.
//!
//! Helm's own rules, that look like git's and are not: no `**`, and a pattern with a slash matches the whole path.

use crate::pattern::Pattern;

/// The rules of one file.
#[derive(Debug)]
pub(super) struct Ignored(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// None, if it is malformed: that matches nothing.
    pattern: Option<Pattern>,
    negated: bool,
    only_dirs: bool,
    /// Compared with the whole path; otherwise with its last part.
    whole: bool,
}

impl Ignored {
    /// Reads the file. Files like `templates/.x` are never part of a chart.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let given = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let given = given.filter(|line| !line.is_empty() && !line.starts_with('#') && !line.contains("**"));
        Self(given.map(Rule::of).chain([Rule::of("templates/.?*")]).collect())
    }

    /// Whether a file, or a directory it is in, is left out.
    pub(super) fn matches(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| (at, true)).chain([(path.len(), false)]);
        ends.into_iter().any(|(end, is_dir)| self.0.iter().any(|rule| rule.matches(&path[..end], is_dir)))
    }
}

impl Rule {
    fn of(line: &str) -> Self {
        let (negated, line) = line.strip_prefix('!').map_or((false, line), |line| (true, line));
        let (only_dirs, line) = line.strip_suffix('/').map_or((false, line), |line| (true, line));
        let whole = line.contains('/');
        Self { pattern: Pattern::new(line.strip_prefix('/').unwrap_or(line)).ok(), negated, only_dirs, whole }
    }

    fn matches(&self, path: &str, is_dir: bool) -> bool {
        // A negated rule leaves out whatever does not match it: that is how Helm reads it.
        if self.only_dirs && !is_dir {
            return self.negated;
        }
        let compared = if self.whole { path } else { path.rsplit('/').next().unwrap_or(path) };
        let matches = self.pattern.as_ref().is_some_and(|pattern| pattern.matches(compared.as_bytes()));
        matches != self.negated
    }
}
