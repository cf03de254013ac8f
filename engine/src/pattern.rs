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
pub(crate) struct Pattern {
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
    pub(crate) fn new(text: &str) -> Result<Pattern, PatternError> {
        let text = if text == "." { "" } else { text };
        compile(text, Dialect::Copy)
    }

    /// Compiles one cleaned line of an ignore file as moby/patternmatcher does: `a**b` spans directories, `**x` matches
    /// any path that ends in `x`, and a class may match a slash.
    ///
    /// # Errors
    /// [`PatternError`] on what moby refuses, an inverted range such as `[z-a]` included.
    pub(crate) fn ignore(text: &str) -> Result<Pattern, PatternError> {
        compile(text, Dialect::Ignore)
    }

    /// Says whether the whole path matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
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
    pub(crate) fn matches_or_parent(&self, path: &[u8]) -> bool {
        self.matches(path) || ancestors(path).any(|dir| self.matches(dir))
    }

    /// Says whether something below this directory could match, so that a walk may leave out the others.
    pub(crate) fn could_match_below(&self, dir: &[u8]) -> bool {
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
    pub(crate) fn is_literal(&self) -> bool {
        !self.text.contains(METACHARACTERS)
    }

    /// The leading components without metacharacters, joined by `/`: all matches are at or below this path.
    pub(crate) fn literal_prefix(&self) -> &str {
        let Some(meta) = self.text.find(METACHARACTERS) else { return &self.text };
        let end = self.text[..meta].rfind('/').unwrap_or(0);
        &self.text[..end]
    }

    /// The components as written, none for the root.
    #[cfg(test)]
    pub(crate) fn components(&self) -> impl Iterator<Item = &str> {
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
#[path = "pattern_tests.rs"]
mod tests;
