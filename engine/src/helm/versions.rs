//! Versions and constraints as Helm's library (Masterminds/semver 3) reads them: `v1.2` is a version, `>=1.19-0`,
//! `^1.2`, `1.x` and `1.2 - 1.4` are constraints, and versions before a release fit only constraints that name one.

use std::cmp::Ordering;
use std::fmt;

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// First number.
    pub major: u64,
    /// Second number.
    pub minor: u64,
    /// Third number.
    pub patch: u64,
    /// What follows `-`.
    pub prerelease: String,
    /// What follows `+`.
    pub metadata: String,
    /// As it was written.
    pub original: String,
}

impl Version {
    /// Reads a version; its second and third number may be missing.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        let (bare, metadata) = bare.split_once('+').map_or((bare, None), |(bare, after)| (bare, Some(after)));
        let (bare, prerelease) =
            bare.split_once('-').map_or((bare, None), |(bare, after)| (bare, Some(after)));
        if !metadata.is_none_or(are_words) || !prerelease.is_none_or(are_words) {
            return None;
        }
        let mut numbers = [0; 3];
        let mut parts = bare.split('.');
        for (at, number) in numbers.iter_mut().enumerate() {
            match parts.next() {
                Some(part) => *number = parse_number(part)?,
                None if at > 0 => {}
                None => return None,
            }
        }
        let [major, minor, patch] = numbers;
        let (prerelease, metadata) = (prerelease.unwrap_or_default(), metadata.unwrap_or_default());
        parts.next().is_none().then(|| Self {
            major,
            minor,
            patch,
            prerelease: prerelease.to_owned(),
            metadata: metadata.to_owned(),
            original: text.to_owned(),
        })
    }

    /// The version after it, by the method of Go that makes it: a release comes after what precedes it.
    pub(super) fn next(&self, method: &str) -> Self {
        let (major, minor, patch) = match method {
            "IncMajor" => (self.major.saturating_add(1), 0, 0),
            "IncMinor" => (self.major, self.minor.saturating_add(1), 0),
            _ if self.prerelease.is_empty() => (self.major, self.minor, self.patch.saturating_add(1)),
            _ => (self.major, self.minor, self.patch),
        };
        self.changed(Self {
            major,
            minor,
            patch,
            prerelease: String::new(),
            metadata: String::new(),
            original: String::new(),
        })
    }

    /// The same with other words behind `-`, if they are such.
    pub(super) fn with_prerelease(&self, words: &str) -> Option<Self> {
        let is_right = words.is_empty() || are_words(words);
        is_right.then(|| self.changed(Self { prerelease: words.to_owned(), ..self.clone() }))
    }

    /// The same with other words behind `+`, if they are such.
    pub(super) fn with_metadata(&self, words: &str) -> Option<Self> {
        let is_right = words.is_empty() || are_words(words);
        is_right.then(|| self.changed(Self { metadata: words.to_owned(), ..self.clone() }))
    }

    /// A version made of this one is written with a `v` where this one is.
    fn changed(&self, version: Self) -> Self {
        let prefix = if self.original.starts_with('v') { "v" } else { "" };
        Self { original: format!("{prefix}{version}"), ..version }
    }

    /// The order of versions; what follows `+` has no part in it.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self)
            .cmp(&numbers(other))
            .then_with(|| compare_prerelease(&self.prerelease, &other.prerelease))
    }
}

/// Words of letters, digits and hyphens, with dots between.
fn are_words(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.split('.').all(is_word)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.prerelease.is_empty() {
            write!(f, "-{}", self.prerelease)?;
        }
        if !self.metadata.is_empty() {
            write!(f, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

fn parse_number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn compare_prerelease(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (parse_number(a), parse_number(b)) {
                (Some(a), Some(b)) => a.cmp(&b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Alternatives, each a list of conditions that must all hold.
#[derive(Debug)]
pub(super) struct Constraints(Vec<Vec<Constraint>>);

#[derive(Debug)]
struct Constraint {
    operator: Operator,
    version: Version,
    /// How many of its numbers were given.
    given: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Same,
    Not,
    Above,
    Below,
    AtLeast,
    AtMost,
    Tilde,
    Caret,
}

impl Constraints {
    /// Reads a constraint.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let alternatives = text.split("||").map(|part| {
            let part = without_ranges(part);
            let mut rest = part.trim();
            let mut all = Vec::new();
            while !rest.is_empty() {
                let (constraint, after) = Constraint::read(rest)?;
                all.push(constraint);
                rest = after.trim_start_matches([' ', '\t', ',']);
            }
            if all.is_empty() { None } else { Some(all) }
        });
        alternatives.collect::<Option<_>>().map(Self)
    }

    /// Whether a version fits.
    pub(super) fn check(&self, version: &Version) -> bool {
        self.0.iter().any(|all| all.iter().all(|constraint| constraint.check(version)))
    }
}

/// `a - b` is `>=a <=b`.
fn without_ranges(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < words.len() {
        if words.get(at + 1) == Some(&"-")
            && let Some(end) = words.get(at + 2)
        {
            out.push(format!(">={}", words[at]));
            out.push(format!("<={end}"));
            at += 3;
        } else {
            out.push(words[at].to_owned());
            at += 1;
        }
    }
    out.join(" ")
}

impl Constraint {
    fn read(text: &str) -> Option<(Self, &str)> {
        const OPERATORS: [(&str, Operator); 12] = [
            (">=", Operator::AtLeast),
            ("=>", Operator::AtLeast),
            ("<=", Operator::AtMost),
            ("=<", Operator::AtMost),
            ("!=", Operator::Not),
            ("~>", Operator::Tilde),
            ("=", Operator::Same),
            (">", Operator::Above),
            ("<", Operator::Below),
            ("~", Operator::Tilde),
            ("^", Operator::Caret),
            ("", Operator::Same),
        ];
        let (sign, operator) = OPERATORS.iter().find(|(sign, _)| text.starts_with(sign))?;
        let text = text[sign.len()..].trim_start();
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (word, after) = text.split_at(end);
        let bare = word.strip_prefix('v').unwrap_or(word);
        let (numbers, suffix) = bare.split_at(bare.find(['-', '+']).unwrap_or(bare.len()));
        let parts: Vec<&str> = numbers.split('.').collect();
        if parts.len() > 3 {
            return None;
        }
        let given = parts.iter().take_while(|part| !matches!(**part, "x" | "X" | "*")).count();
        let mut kept: Vec<&str> = parts[..given].to_vec();
        kept.resize(3, "0");
        let version = Version::parse(&format!("{}{suffix}", kept.join(".")))?;
        Some((Self { operator: *operator, version, given }, after))
    }

    fn check(&self, version: &Version) -> bool {
        let wanted = &self.version;
        if !version.prerelease.is_empty()
            && wanted.prerelease.is_empty()
            && !(self.operator == Operator::Not && self.given == 3)
        {
            return false;
        }
        let order = version.compare(wanted);
        let whole = self.given == 3;
        match self.operator {
            Operator::Same if whole => order == Ordering::Equal,
            Operator::Same | Operator::Tilde => self.is_near(version, order),
            Operator::Not if whole => order != Ordering::Equal,
            Operator::Not => match self.given {
                0 => false,
                1 => version.major != wanted.major,
                _ => (version.major, version.minor) != (wanted.major, wanted.minor),
            },
            Operator::Above => match self.given {
                3 => order == Ordering::Greater,
                2 => (version.major, version.minor) > (wanted.major, wanted.minor),
                _ => version.major > wanted.major,
            },
            Operator::Below => order == Ordering::Less,
            Operator::AtLeast => order != Ordering::Less,
            Operator::AtMost => match self.given {
                3 => order != Ordering::Greater,
                2 => (version.major, version.minor) <= (wanted.major, wanted.minor),
                _ => version.major <= wanted.major,
            },
            Operator::Caret => self.is_compatible(version, order),
        }
    }

    /// `~1.2.3`: the last number given may grow, and what follows it.
    fn is_near(&self, version: &Version, order: Ordering) -> bool {
        let wanted = &self.version;
        match self.given {
            _ if order == Ordering::Less => false,
            0 => true,
            1 => version.major == wanted.major,
            _ => (version.major, version.minor) == (wanted.major, wanted.minor),
        }
    }

    /// `^1.2.3`: everything may grow behind the first number that is not zero.
    fn is_compatible(&self, version: &Version, order: Ordering) -> bool {
        let wanted = &self.version;
        match self.given {
            _ if order == Ordering::Less => false,
            0 => true,
            _ if wanted.major > 0 || self.given == 1 => version.major == wanted.major,
            _ if wanted.minor > 0 || self.given == 2 => {
                (version.major, version.minor) == (wanted.major, wanted.minor)
            }
            _ => (version.major, version.minor, version.patch) == (0, 0, wanted.patch),
        }
    }
}

/// Whether a version fits a constraint; one that cannot be read fits nothing.
pub(super) fn is_compatible(constraint: &str, version: &str) -> bool {
    match (Constraints::parse(constraint), Version::parse(version)) {
        (Some(constraints), Some(version)) => constraints.check(&version),
        _ => false,
    }
}
