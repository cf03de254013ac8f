//! Wildcards over slash-separated paths of bytes: Go's `filepath.Match` component by component, and `**`.
//!
//! It knows no file system, no `!` and no comment; `ignore.rs` adds those. Two dialects share one matcher: the one of
//! `COPY` ([`Pattern::new`]), where `**` is special only as a whole component, and the one of ignore files
//! ([`Pattern::ignore`]), where moby/patternmatcher gives `**` a meaning inside a component as well.
//!
//! A pattern is a row of tokens, run as a nondeterministic automaton with one bit a token: the cost is at most path
//! length times pattern length, whatever the pattern. The literal bytes at both ends and the longest in between are
//! looked for first, so most paths never reach the automaton.

use std::iter::Peekable;
use std::str::Chars;

/// Linux's `PATH_MAX`; a longer pattern has no use, and the automaton's sets need some bound.
const MAX_PATTERN_BYTES: usize = 4095;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `[` without end, an empty class, a range without an end, or a `\` that escapes nothing.
    #[error("`{pattern}` is not a valid pattern: {reason}")]
    Syntax {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Longer than any path.
    #[error("a pattern of {bytes} bytes is longer than the {MAX_PATTERN_BYTES} a path can have")]
    TooLong {
        /// The length of the pattern.
        bytes: usize,
    },
}

/// A compiled pattern. Paths given to it are relative and clean: no leading, doubled or trailing slash, the root is `""`.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    /// The bytes every match begins with.
    head: Vec<u8>,
    /// The tokens after `head`; empty in a pattern that is all literal.
    tokens: Vec<Token>,
    /// The bytes every match ends with; they are among `tokens` too.
    tail: Vec<u8>,
    /// The longest literal among `tokens`: no match is without it.
    needle: Vec<u8>,
}

impl Pattern {
    /// Compiles a cleaned relative path with `*`, `?`, `[a-z]`, `[^a]`, `\` escapes and `**` components. `""` and `.`
    /// match the root alone.
    ///
    /// # Errors
    /// [`PatternError`] on what Go calls a bad pattern.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        let text = if text == "." { "" } else { text };
        compile(text, Dialect::Copy)
    }

    /// Compiles one cleaned line of an ignore file as moby/patternmatcher does: `a**b` spans directories, `**x` matches
    /// any path that ends in `x`, and a class may match a slash.
    ///
    /// # Errors
    /// [`PatternError`] on what moby refuses, an inverted range such as `[z-a]` included.
    pub fn ignore(text: &str) -> Result<Pattern, PatternError> {
        compile(text, Dialect::Ignore)
    }

    /// Says whether the whole path matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        let Some(rest) = path.strip_prefix(self.head.as_slice()) else { return false };
        if self.tokens.is_empty() {
            return rest.is_empty();
        }
        !path.is_empty()
            && rest.ends_with(&self.tail)
            && occurs(&self.needle, rest)
            && self.run(rest, End::Accepted)
    }

    /// Says whether the path or a directory above it matches, the root included.
    pub fn matches_or_parent(&self, path: &[u8]) -> bool {
        self.matches(path) || ancestors(path).any(|dir| self.matches(dir))
    }

    /// Says whether something below this directory could match, so that a walk may leave out the others.
    pub fn could_match_below(&self, dir: &[u8]) -> bool {
        if dir.is_empty() {
            return !self.text.is_empty();
        }
        match self.head.strip_prefix(dir) {
            Some([b'/', rest @ ..]) => !rest.is_empty() || !self.tokens.is_empty(),
            Some([_, ..]) => false,
            Some([]) | None => {
                let rest = dir.strip_prefix(self.head.as_slice());
                rest.is_some_and(|rest| self.run(rest, End::AliveAfterSlash))
            }
        }
    }

    /// Says whether the pattern has no metacharacter, so that it names one path.
    pub fn is_literal(&self) -> bool {
        !self.text.contains(METACHARACTERS)
    }

    /// The leading components without metacharacters, joined by `/`: all matches are at or below this path.
    pub fn literal_prefix(&self) -> &str {
        let Some(meta) = self.text.find(METACHARACTERS) else { return &self.text };
        let end = self.text[..meta].rfind('/').unwrap_or(0);
        &self.text[..end]
    }

    /// The components as written, none for the root.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.text.split('/').filter(|component| !component.is_empty())
    }

    fn run(&self, rest: &[u8], end: End) -> bool {
        // Sets of one word serve nearly every pattern and live in a register; the largest holds MAX_PATTERN_BYTES + 1.
        match self.tokens.len() {
            0..64 => Automaton::<1>::run(&self.tokens, rest, end),
            64..512 => Automaton::<8>::run(&self.tokens, rest, end),
            _ => Automaton::<65>::run(&self.tokens, rest, end),
        }
    }
}

/// The directories above a path, nearest first, the root `""` last; none for the root itself.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let root = (!path.is_empty()).then_some(0);
    slashes.chain(root).map(|end| &path[..end])
}

/// Go counts the backslash among them, so that an escaped name is matched and not looked up with its backslash.
const METACHARACTERS: [char; 4] = ['*', '?', '[', '\\'];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Copy,
    Ignore,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`: one character but a slash.
    One,
    /// `*`: any characters but slashes.
    Star,
    /// `**` at the end: anything.
    Rest,
    /// `**` before more: nothing, or what the `Inside` that always follows takes.
    Enter,
    /// Anything up to and with a slash.
    Inside,
    Class(Class),
}

impl Token {
    fn is_char(&self) -> bool {
        matches!(self, Token::Char(_))
    }
}

/// `[a-z]` or `[^a-z]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class {
    ranges: Vec<(char, char)>,
    negated: bool,
    crosses_slash: bool,
}

impl Class {
    fn contains(&self, unit: u32) -> bool {
        let listed = self.ranges.iter().any(|&(low, high)| u32::from(low) <= unit && unit <= u32::from(high));
        listed != self.negated && (self.crosses_slash || unit != SLASH)
    }
}

fn compile(text: &str, dialect: Dialect) -> Result<Pattern, PatternError> {
    if text.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLong { bytes: text.len() });
    }
    let mut tokens = Lexer { rest: text.chars().peekable(), dialect }
        .tokens(text)
        .map_err(|reason| PatternError::Syntax { pattern: text.to_owned(), reason })?;
    let literal = tokens.iter().take_while(|token| token.is_char()).count();
    let head = bytes_of(&tokens[..literal]);
    tokens.drain(..literal);
    let literals = || tokens.split(|token| !token.is_char());
    let tail = bytes_of(literals().next_back().unwrap_or_default());
    let needle = bytes_of(literals().max_by_key(|literal| literal.len()).unwrap_or_default());
    Ok(Pattern { text: text.to_owned(), head, tokens, tail, needle })
}

fn bytes_of(literal: &[Token]) -> Vec<u8> {
    let chars =
        literal.iter().filter_map(|token| if let Token::Char(char) = token { Some(*char) } else { None });
    chars.collect::<String>().into_bytes()
}

fn occurs(needle: &[u8], text: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    text.windows(needle.len()).any(|window| window[0] == *first && window == needle)
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    dialect: Dialect,
}

impl Lexer<'_> {
    fn tokens(&mut self, text: &str) -> Result<Vec<Token>, &'static str> {
        let mut tokens = Vec::new();
        if self.dialect == Dialect::Ignore && is_suffix(text) {
            tokens.push(Token::Rest);
            tokens.extend(text.chars().skip(2).map(Token::Char));
            return Ok(tokens);
        }
        while let Some(char) = self.rest.next() {
            match char {
                '*' => self.star(&mut tokens),
                '?' => tokens.push(Token::One),
                '[' => tokens.push(Token::Class(self.class()?)),
                '\\' => tokens.push(Token::Char(self.escaped()?)),
                _ => tokens.push(Token::Char(char)),
            }
        }
        Ok(tokens)
    }

    /// Reads the stars after the first one.
    fn star(&mut self, tokens: &mut Vec<Token>) {
        let doubled = match self.dialect {
            Dialect::Ignore => self.rest.next_if_eq(&'*').is_some(),
            Dialect::Copy => {
                let mut stars = 1;
                while self.rest.next_if_eq(&'*').is_some() {
                    stars += 1;
                }
                let begins = matches!(tokens.last(), None | Some(Token::Char('/') | Token::Inside));
                stars == 2 && begins && matches!(self.rest.peek(), None | Some('/'))
            }
        };
        if !doubled {
            return tokens.push(Token::Star);
        }
        if self.rest.peek().is_none() {
            return tokens.push(Token::Rest);
        }
        self.rest.next_if_eq(&'/');
        tokens.extend([Token::Enter, Token::Inside]);
    }

    /// Reads a class after its `[`.
    fn class(&mut self) -> Result<Class, &'static str> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        while ranges.is_empty() || self.rest.next_if_eq(&']').is_none() {
            let low = self.member()?;
            let high = if self.rest.next_if_eq(&'-').is_some() { self.member()? } else { low };
            if self.dialect == Dialect::Ignore && low > high {
                return Err("a range in `[…]` ends before it begins");
            }
            ranges.push((low, high));
        }
        Ok(Class { ranges, negated, crosses_slash: self.dialect == Dialect::Ignore })
    }

    fn member(&mut self) -> Result<char, &'static str> {
        match self.rest.next() {
            None => Err("`[` has no `]`"),
            Some('/') if self.dialect == Dialect::Copy => Err("`[` has no `]` before the next `/`"),
            Some('-' | ']') => {
                Err("`-` or `]` stands in `[…]` where a character is needed; escape it with `\\`")
            }
            Some('\\') => self.escaped(),
            Some(char) => Ok(char),
        }
    }

    fn escaped(&mut self) -> Result<char, &'static str> {
        match self.rest.next() {
            Some('/') if self.dialect == Dialect::Copy => Err("`\\` escapes no character of its component"),
            Some(char) => Ok(char),
            None => Err("`\\` escapes nothing"),
        }
    }
}

/// moby takes `**x` for "ends in x" where x has no metacharacter, and for "`x` at any depth" everywhere else.
fn is_suffix(text: &str) -> bool {
    let suffix = text.strip_prefix("**").unwrap_or("");
    !suffix.is_empty()
        && !suffix.starts_with('/')
        && !suffix.contains(METACHARACTERS)
        && !suffix.contains(']')
}

const SLASH: u32 = '/' as u32;

/// A byte that is no UTF-8 is one character that equals no other: above every `char`.
const INVALID: u32 = 0x11_0000;

#[derive(Debug, Clone, Copy)]
enum End {
    /// The path is the whole text.
    Accepted,
    /// The path is a directory's: is there a way on after one more slash?
    AliveAfterSlash,
}

/// The set of tokens to try next; the bit after the last token means "matched".
struct Automaton<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Automaton<WORDS> {
    fn run(tokens: &[Token], text: &[u8], end: End) -> bool {
        let mut states = Automaton([0; WORDS]);
        states.insert(tokens, 0);
        for chunk in text.utf8_chunks() {
            for char in chunk.valid().chars() {
                states = states.step(tokens, u32::from(char));
            }
            for byte in chunk.invalid() {
                states = states.step(tokens, INVALID + u32::from(*byte));
            }
            if states.0 == [0; WORDS] {
                return false;
            }
        }
        match end {
            End::Accepted => states.contains(tokens.len()),
            End::AliveAfterSlash => {
                let states = states.step(tokens, SLASH);
                (0..tokens.len()).any(|at| states.contains(at))
            }
        }
    }

    fn step(&self, tokens: &[Token], unit: u32) -> Self {
        let mut next = Automaton([0; WORDS]);
        for (index, word) in self.0.iter().enumerate() {
            let mut word = *word;
            while word != 0 {
                let at = index * 64 + word.trailing_zeros() as usize;
                word &= word - 1;
                let Some(token) = tokens.get(at) else { continue };
                let (stays, advances) = match token {
                    Token::Char(char) => (false, u32::from(*char) == unit),
                    Token::One => (false, unit != SLASH),
                    Token::Star => (unit != SLASH, false),
                    Token::Rest => (true, false),
                    Token::Enter => (false, false),
                    Token::Inside => (true, unit == SLASH),
                    Token::Class(class) => (false, class.contains(unit)),
                };
                if stays {
                    next.insert(tokens, at);
                }
                if advances {
                    next.insert(tokens, at + 1);
                }
            }
        }
        next
    }

    /// Adds a state and those reached from it without a character.
    fn insert(&mut self, tokens: &[Token], mut at: usize) {
        loop {
            self.0[at / 64] |= 1 << (at % 64);
            match tokens.get(at) {
                Some(Token::Star | Token::Rest) => at += 1,
                Some(Token::Enter) => {
                    self.0[(at + 1) / 64] |= 1 << ((at + 1) % 64);
                    at += 2;
                }
                _ => return,
            }
        }
    }

    fn contains(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The facts of Go's published table for `filepath.Match`: pattern, paths that match, paths that do not.
    const GO_MATCHES: &[(&str, &[&str], &[&str])] = &[
        ("abc", &["abc"], &["ab", "abcd"]),
        ("*", &["abc"], &["a/b"]),
        ("*c", &["abc"], &["ab"]),
        ("a*", &["a", "abc"], &["ab/c"]),
        ("a*/b", &["abc/b"], &["a/c/b"]),
        ("a*b*c*d*e*/f", &["axbxcxdxe/f", "axbxcxdxexxx/f"], &["axbxcxdxe/xxx/f", "axbxcxdxexxx/fff"]),
        ("a*b?c*x", &["abxbbxdbxebxczzx"], &["abxbbxdbxebxczzy"]),
        ("ab[c]", &["abc"], &["abd"]),
        ("ab[b-d]", &["abc"], &["abe"]),
        ("ab[e-g]", &[], &["abc"]),
        ("ab[^c]", &["abd"], &["abc"]),
        ("ab[^b-d]", &[], &["abc"]),
        ("ab[^e-g]", &["abc"], &[]),
        ("a\\*b", &["a*b"], &["ab"]),
        ("a?b", &["a\u{263a}b"], &["a/b"]),
        ("a[^a]b", &["a\u{263a}b"], &["a/b"]),
        ("a???b", &[], &["a\u{263a}b"]),
        ("a[^a][^a][^a]b", &[], &["a\u{263a}b"]),
        ("[a-\u{3b6}]*", &["\u{3b1}"], &[]),
        ("*[a-\u{3b6}]", &[], &["A"]),
        ("a*b", &[], &["a/b"]),
        ("[\\]a]", &["]"], &["b"]),
        ("[\\-]", &["-"], &["\\"]),
        ("[x\\-]", &["x", "-"], &["z"]),
        ("[\\-x]", &["x", "-"], &["a"]),
        ("*x", &["xxx"], &[]),
        ("[z-a]", &[], &["m"]),
    ];

    #[test]
    fn go_table_holds() {
        for (text, matching, others) in GO_MATCHES {
            let pattern = pattern(text);
            for path in *matching {
                assert!(pattern.matches(path.as_bytes()), "`{text}` should match `{path}`");
            }
            for path in *others {
                assert!(!pattern.matches(path.as_bytes()), "`{text}` should not match `{path}`");
            }
        }
    }

    #[test]
    fn bad_patterns_are_named() {
        let bad = "[]a] [-] [x-] [-x] \\ [a-b-c] [ [^ [^bc a[ a/b[ a\\/b [a/b] [] nonexist/[]";
        for text in bad.split(' ') {
            let error = Pattern::new(text).expect_err(text);
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
        assert_eq!(Pattern::new(&"a".repeat(4096)).unwrap_err(), PatternError::TooLong { bytes: 4096 });
        assert!(Pattern::ignore("[Local-Only]").is_err(), "moby#52203");
    }

    #[test]
    fn double_star_spans_components() {
        let check = |text: &str, matching: &str, others: &str| {
            for path in matching.split_whitespace() {
                assert!(pattern(text).matches(path.as_bytes()), "`{text}` should match `{path}`");
            }
            for path in others.split_whitespace() {
                assert!(!pattern(text).matches(path.as_bytes()), "`{text}` should not match `{path}`");
            }
        };
        check("a/**/b", "a/b a/x/b a/x/y/b", "a ab a/xb a/b/c");
        check("**/b", "b a/b a/a/b", "ab a/ab b/a");
        check("a/**", "a/b a/b/c", "a ab");
        check("**", "a a/b", "");
        check("**/**", "a a/b a/b/c", "");
        check("a**", "a ab", "a/b");
        check("**a", "a ba", "b/a");
        check("***", "a abc", "a/b");
        check("**/a*/**/z", "a/z x/ab/z x/ay/y/z", "x/z z a/zz");
        assert!(!pattern("**").matches(b""), "`**` should not match the root");
        assert!(!pattern("*").matches(b""), "`*` should not match the root");
    }

    #[test]
    fn root_is_matched_by_dot_alone() {
        for text in ["", "."] {
            let root = pattern(text);
            assert!(root.matches(b"") && root.is_literal() && root.literal_prefix().is_empty());
            assert!(!root.matches(b"a") && root.matches_or_parent(b"a/b") && !root.could_match_below(b""));
            assert_eq!(root.components().count(), 0);
        }
    }

    #[test]
    fn names_need_not_be_text() {
        assert!(pattern("a?b").matches(b"a\xffb"));
        assert!(pattern("a*").matches(b"a\xff\xfe"));
        assert!(pattern("[^x]").matches(b"\xff"));
        assert!(!pattern("a?b").matches(b"a\xff\xffb"));
        assert!(!pattern("\u{fffd}").matches(b"\xff"));
    }

    #[test]
    fn literal_parts_are_known() {
        let prefix = |text| pattern(text).literal_prefix().to_owned();
        assert_eq!(prefix("a/b/c"), "a/b/c");
        assert_eq!(prefix("a/b*/c"), "a");
        assert_eq!(prefix("*/c"), "");
        assert_eq!(prefix("a/\\*/c"), "a");
        assert!(pattern("a/b").is_literal() && !pattern("a/\\*").is_literal());
        assert_eq!(pattern("a/**/c").components().collect::<Vec<_>>(), ["a", "**", "c"]);
    }

    #[test]
    fn walk_is_pruned_where_nothing_can_match() {
        let below = |text, dir: &str| pattern(text).could_match_below(dir.as_bytes());
        assert!(below("a/b/c", "") && below("a/b/c", "a") && below("a/b/c", "a/b"));
        assert!(
            !below("a/b/c", "a/b/c")
                && !below("a/b/c", "b")
                && !below("a/b/c", "a/bb")
                && !below("ab/c", "a")
        );
        assert!(
            below("a*/c", "ab") && !below("a*/c", "b") && !below("a*/c", "ab/c") && !below("a*/c", "ab/d")
        );
        assert!(below("**/c", "x/y") && below("a/**", "a") && below("a/**", "a/x") && !below("a/**", "b"));
        assert!(below("a/**/c", "a/c/c") && !below("a/?*", "a/b") && !below("*", "a"));
    }

    #[test]
    fn long_patterns_stay_polynomial() {
        let path = "a".repeat(3000);
        assert!(!pattern(&"*a".repeat(1500)).matches(format!("{path}b").as_bytes()));
        let deep = "a/".repeat(1000);
        assert!(!pattern(&format!("{}b", "**/a/".repeat(60))).matches(format!("{deep}c").as_bytes()));
        assert!(
            pattern(&format!("{}?", "ab/".repeat(200))).matches(format!("{}c", "ab/".repeat(200)).as_bytes())
        );
        assert!(
            pattern(&format!("?{}*", "ab/".repeat(200)))
                .matches(format!("x{}c", "ab/".repeat(200)).as_bytes())
        );
    }

    /// The definition, word for word, at whatever cost.
    fn naive_path(pattern: &[&str], path: &[&str]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ["**"] => !path.is_empty(),
            ["**", rest @ ..] => (0..=path.len()).any(|skip| naive_path(rest, &path[skip..])),
            [first, rest @ ..] => path.split_first().is_some_and(|(name, names)| {
                naive_name(first.as_bytes(), name.as_bytes()) && naive_path(rest, names)
            }),
        }
    }

    fn naive_name(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|skip| naive_name(rest, &name[skip..])),
            [b'?', rest @ ..] => !name.is_empty() && naive_name(rest, &name[1..]),
            [b'[', b'^', low, b'-', high, b']', rest @ ..] => {
                !name.is_empty() && !(low..=high).contains(&&name[0]) && naive_name(rest, &name[1..])
            }
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => {
                name.first() == Some(byte) && naive_name(rest, &name[1..])
            }
        }
    }

    fn split(text: &str) -> Vec<&str> {
        text.split('/').filter(|component| !component.is_empty()).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            text in r"(\*\*|([ab*?]|\[\^a-b\]|\\\*){1,4})(/(\*\*|[ab*?]{1,3})){0,4}",
            path in "[abc*]{1,4}(/[abc]{1,3}){0,5}",
        ) {
            let compiled = pattern(&text);
            let (wanted, names) = (split(&text), split(&path));
            prop_assert_eq!(compiled.matches(path.as_bytes()), naive_path(&wanted, &names));
            let parents = (0..=names.len()).any(|depth| naive_path(&wanted, &names[..depth]));
            prop_assert_eq!(compiled.matches_or_parent(path.as_bytes()), parents);
            if compiled.matches(path.as_bytes()) {
                for dir in ancestors(path.as_bytes()) {
                    prop_assert!(compiled.could_match_below(dir));
                }
                let prefix = compiled.literal_prefix();
                let below = format!("{prefix}/");
                prop_assert!(prefix.is_empty() || path == prefix || path.starts_with(&below));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,12}", path in prop::collection::vec(any::<u8>(), 0..12)) {
            for compiled in [Pattern::new(&text), Pattern::ignore(&text)].into_iter().flatten() {
                compiled.matches_or_parent(&path);
                compiled.could_match_below(&path);
            }
        }
    }
}
