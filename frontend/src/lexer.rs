//! Physical lines to logical lines: byte order mark, comments, directives, continuations, heredoc bodies.
//!
//! It knows keywords only as far as heredocs need: which instructions may have a body below them.

use std::collections::HashMap;
use std::ops::Range;

use solver::Span;

use crate::ast::Heredoc;
use crate::diagnostic::{self, Diagnostic};
use crate::directive::Checks;
use crate::text::Text;
use crate::words::{self, JsonList, Quotes};

/// A logical line: an instruction with everything that belongs to it.
#[derive(Debug)]
pub(crate) struct LogicalLine {
    /// The joined text, from the keyword on, without white space at the end.
    pub(crate) text: Text,
    /// Heredocs opened by it.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// What lexing found.
#[derive(Debug)]
pub(crate) struct Lexed {
    pub(crate) lines: Vec<LogicalLine>,
    pub(crate) escape: char,
    pub(crate) checks: Checks,
    /// Comments that would be directives at the top.
    pub(crate) misplaced: Vec<Span>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Splits a text into logical lines.
pub(crate) fn lex(source: &str) -> Lexed {
    let start = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut lexer = Lexer {
        source,
        position: start,
        escape: '\\',
        checks: Checks::default(),
        last_lines: None,
        diagnostics: Vec::new(),
    };
    lexer.directives();
    let mut lines = Vec::new();
    let mut misplaced = Vec::new();
    while let Some(line) = lexer.next_line() {
        let content = &source[line.start..line.end];
        if is_blank_or_comment(content) {
            let known = |directive: &Directive<'_>| directive.is("escape") || directive.is("check");
            misplaced.extend(directive(content).filter(known).map(|_| line));
            continue;
        }
        let line = lexer.logical_line(line);
        if !line.text.value.is_empty() {
            lines.push(line);
        }
    }
    let Lexer { escape, checks, diagnostics, .. } = lexer;
    Lexed { lines, escape, checks, misplaced, diagnostics }
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
    escape: char,
    checks: Checks,
    /// Where each line stands last: as it is, and without leading tabs. Made when first asked for.
    last_lines: Option<[HashMap<&'a str, usize>; 2]>,
    diagnostics: Vec<Diagnostic>,
}

/// A heredoc operator, decided.
struct Operator {
    /// The delimiter without its quotes.
    name: String,
    quoted: bool,
    strip_tabs: bool,
}

/// The lines of a heredoc.
struct Body {
    span: Span,
    content: String,
    tabs: Vec<usize>,
}

impl<'a> Lexer<'a> {
    /// The next physical line without its line end.
    fn next_line(&mut self) -> Option<Span> {
        let line = self.peek_line()?;
        self.position = match self.source[line.end..].find('\n') {
            Some(offset) => line.end + offset + 1,
            None => self.source.len(),
        };
        Some(line)
    }

    fn peek_line(&self) -> Option<Span> {
        if self.position >= self.source.len() {
            return None;
        }
        let rest = &self.source[self.position..];
        let line = rest.split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        Some(Span::new(self.position, self.position + line.len()))
    }

    /// `# name=value` comments at the very top; only `escape` and `check` mean something.
    fn directives(&mut self) {
        let mut seen = false;
        while let Some(line) = self.peek_line() {
            let Some(directive) = directive(&self.source[line.start..line.end]) else { return };
            if directive.is("check") {
                let found = self.checks.read(directive.value, line.start + directive.offset);
                self.diagnostics.extend(found);
            }
            if directive.is("escape") {
                if seen {
                    self.diagnostics.push(diagnostic::escape_twice(line));
                }
                seen = true;
                match directive.value {
                    "\\" => self.escape = '\\',
                    "`" => self.escape = '`',
                    other => self.diagnostics.push(diagnostic::invalid_escape(line, other)),
                }
            }
            self.next_line();
        }
    }

    /// Joins a first line with its continuations, then takes the bodies of its heredocs.
    fn logical_line(&mut self, first: Span) -> LogicalLine {
        let mut text = Text::default();
        let mut line = first;
        let mut blank: Option<Span> = None;
        loop {
            if text.value.is_empty() {
                line = self.without_indent(line);
            }
            let (end, continues) = self.without_continuation(line);
            text.push(self.source, line.start..end);
            if !continues {
                break;
            }
            let Some(next) = self.next_piece(&mut blank) else { break };
            line = next;
        }
        if let Some(blank) = blank {
            self.diagnostics.push(diagnostic::blank_continuation(blank));
        }
        text.trim_end();
        let heredocs = self.heredocs(&text);
        LogicalLine { text, heredocs }
    }

    /// White space before the keyword does not count.
    fn without_indent(&self, line: Span) -> Span {
        Span::new(line.end - self.source[line.start..line.end].trim_start().len(), line.end)
    }

    /// The next line of a continuation; blank and comment lines inside one do not count.
    fn next_piece(&mut self, blank: &mut Option<Span>) -> Option<Span> {
        loop {
            let line = self.next_line()?;
            let content = &self.source[line.start..line.end];
            if content.trim().is_empty() {
                blank.get_or_insert(line);
            } else if !content.trim_start().starts_with('#') {
                return Some(line);
            }
        }
    }

    /// Where a line ends without its continuation mark, and whether it has one.
    fn without_continuation(&self, line: Span) -> (usize, bool) {
        let content = self.source[line.start..line.end].trim_end_matches([' ', '\t', '\r']);
        match content.strip_suffix(self.escape) {
            Some(rest) => (line.start + rest.len(), true),
            None => (line.end, false),
        }
    }

    fn heredocs(&mut self, text: &Text) -> Vec<Heredoc> {
        if !text.value.contains("<<") {
            return Vec::new();
        }
        let keyword = text.value.split(char::is_whitespace).next().unwrap_or_default();
        let takes = ["COPY", "ADD", "RUN"].iter().any(|known| known.eq_ignore_ascii_case(keyword));
        let refuses =
            ["FROM", "APP", "CNI", "CSI", "APPENV", "APPCMDS", "LAUNCH", "CMDS", "CMD", "KUBEVERSION"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(keyword));
        let words = words::split(&text.value, keyword.len(), Quotes::Respected(self.escape));
        if !(takes || refuses) || is_array(&text.value, &words) {
            return Vec::new();
        }
        let mut heredocs = Vec::new();
        for range in words {
            let Some(operator) = operator(&text.value[range.clone()]) else { continue };
            let body = if self.may_close(&operator) { self.body(&operator) } else { None };
            match body {
                Some(body) => heredocs.push(heredoc(&operator, text.span(range), body)),
                None if takes => {
                    self.diagnostics
                        .push(diagnostic::unterminated_heredoc(text.span(range.clone()), &operator.name));
                    let rest = Body {
                        span: Span::new(self.position, self.source.len()),
                        content: self.source[self.position..].to_owned(),
                        tabs: Vec::new(),
                    };
                    self.position = self.source.len();
                    heredocs.push(heredoc(&operator, text.span(range), rest));
                }
                None => {}
            }
        }
        heredocs
    }

    /// Whether a line below may be the delimiter. Without this, a text of heredocs that never close is read to its
    /// end once for each.
    fn may_close(&mut self, operator: &Operator) -> bool {
        let source = self.source;
        let lines = self.last_lines.get_or_insert_with(|| {
            let mut lines = [HashMap::new(), HashMap::new()];
            let mut start = 0;
            for line in source.split('\n') {
                let text = line.strip_suffix('\r').unwrap_or(line);
                lines[0].insert(text, start);
                lines[1].insert(text.trim_start_matches('\t'), start);
                start += line.len() + 1;
            }
            lines
        });
        lines[usize::from(operator.strip_tabs)]
            .get(operator.name.as_str())
            .is_some_and(|&last| last >= self.position)
    }

    /// Takes the lines up to the delimiter; nothing is taken if there is none.
    fn body(&mut self, operator: &Operator) -> Option<Body> {
        let start = self.position;
        let mut content = String::new();
        let mut cut = Vec::new();
        while let Some(line) = self.next_line() {
            let tabs = |text: &str| {
                if operator.strip_tabs { text.len() - text.trim_start_matches('\t').len() } else { 0 }
            };
            let text = &self.source[line.start..line.end];
            if text[tabs(text)..] == operator.name {
                return Some(Body { span: Span::new(start, line.start), content, tabs: cut });
            }
            let whole = &self.source[line.start..self.position];
            content.push_str(&whole[tabs(whole)..]);
            if operator.strip_tabs {
                cut.push(tabs(whole));
            }
        }
        self.position = start;
        None
    }
}

fn heredoc(operator: &Operator, span: Span, body: Body) -> Heredoc {
    let (name, expand) = (operator.name.clone(), !operator.quoted);
    Heredoc { name, operator: span, expand, content: body.content, span: body.span, tabs: body.tabs }
}

/// Whether the arguments are a JSON array: what stands in its strings opens no heredoc.
fn is_array(text: &str, words: &[Range<usize>]) -> bool {
    let first = words.iter().find(|word| !text[word.start..].starts_with("--"));
    first.is_some_and(|first| {
        text[first.start..].starts_with('[')
            && matches!(words::json_list(text, first.start), JsonList::Strings(_))
    })
}

/// `<<NAME`, `<<-NAME`, `<<"NAME"`, `<<'NAME'`, `<<\NAME`, with an optional file descriptor before it.
fn operator(word: &str) -> Option<Operator> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let (name, quoted) = delimiter(rest)?;
    // A shift in a shell's arithmetic is none: `$((1 <<2))`, `$((1 <<$BITS))`.
    let plain = |name: &str| {
        name.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '.' | '/')) && !name.contains('$')
    };
    let valid = !name.is_empty() && !name.contains('<') && (quoted || plain(&name));
    valid.then_some(Operator { name, quoted, strip_tabs })
}

/// A delimiter as a shell reads it, whatever the escape directive says, and whether any of it is quoted.
fn delimiter(word: &str) -> Option<(String, bool)> {
    let mut name = String::with_capacity(word.len());
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => name.push(rest.next()?),
            '"' | '\'' => loop {
                match rest.next()? {
                    closing if closing == c => break,
                    '\\' if c == '"' => {
                        let escaped = rest.next()?;
                        if !matches!(escaped, '"' | '\\' | '$' | '`') {
                            name.push('\\');
                        }
                        name.push(escaped);
                    }
                    inside => name.push(inside),
                }
            },
            plain => name.push(plain),
        }
    }
    // Every quote takes at least its own place.
    let quoted = name.len() < word.len();
    Some((name, quoted))
}

fn is_blank_or_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// `# name=value`.
struct Directive<'a> {
    name: &'a str,
    value: &'a str,
    /// Where the value starts in the line.
    offset: usize,
}

impl Directive<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

fn directive(line: &str) -> Option<Directive<'_>> {
    let (name, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let offset = line.len() - value.trim_start().len();
    let (name, value) = (name.trim(), value.trim());
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then_some(Directive { name, value, offset })
}
