//! Logical lines to statements. It never fails: what cannot be read becomes a diagnostic and is left out.

use std::ops::Range;

use solver::{SourceFile, Span};

use crate::ast::{Arguments, File, Flag, Pair, Quoting, Statement, Word};
use crate::diagnostic::{self, Diagnostic};
use crate::instruction::{self, Form, INSTRUCTIONS, Instruction};
use crate::lexer::{self, LogicalLine};
use crate::paths;
use crate::suggest::nearest;
use crate::text::Text;
use crate::words::{self, JsonList, Quotes};

/// A text as read, and what there is to say of its form.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The statements.
    pub file: File,
    /// Findings, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Whether it has commands to run.
    pub fn runs_commands(&self) -> bool {
        self.file.statements.iter().any(|statement| statement.keyword == "RUN")
    }
}

/// Reads a Kubefile.
pub fn parse(source: &SourceFile) -> Parsed {
    let lexed = lexer::lex(&source.text);
    let mut parser = Parser { escape: lexed.escape, diagnostics: lexed.diagnostics };
    let has_instructions = !lexed.lines.is_empty();
    let statements = lexed.lines.into_iter().filter_map(|line| parser.statement(line)).collect();
    let mut diagnostics = parser.diagnostics;
    // The first one is enough: the others are of the same kind, and there may be millions.
    diagnostics.extend(source.text.find('\0').map(|at| diagnostic::nul(Span::new(at, at + 1))));
    if !has_instructions {
        diagnostics.push(diagnostic::empty_file());
    }
    diagnostics.sort_by_key(Diagnostic::start);
    let diagnostics = lexed.checks.apply(diagnostics);
    let (escape, checks, misplaced) = (lexed.escape, lexed.checks, lexed.misplaced);
    Parsed { file: File { statements, escape, has_instructions, checks, misplaced }, diagnostics }
}

struct Parser {
    escape: char,
    diagnostics: Vec<Diagnostic>,
}

impl Parser {
    fn statement(&mut self, line: LogicalLine) -> Option<Statement> {
        let LogicalLine { text, heredocs } = line;
        let end = text.value.find(words::is_space).unwrap_or(text.value.len());
        let keyword_span = text.span(0..end);
        let keyword = &text.value[..end];
        let Some(instruction) = instruction::find(keyword) else {
            let known = nearest(keyword, INSTRUCTIONS.iter().map(|instruction| instruction.keyword));
            self.diagnostics.push(diagnostic::unknown_instruction(keyword_span, keyword, known));
            return None;
        };
        let (flags, rest) = self.flags(&text, end, instruction);
        self.diagnostics.extend(trailing_comment(&text, rest, instruction, self.escape));
        let arguments = self.arguments(&text, rest, instruction)?;
        self.diagnostics.extend(nul_in_json(instruction.keyword, &arguments).map(diagnostic::nul));
        if !matches!(instruction.keyword, "COPY" | "ADD" | "RUN") {
            for heredoc in &heredocs {
                self.diagnostics.push(diagnostic::heredoc_not_allowed(heredoc.operator, instruction.keyword));
            }
            if !heredocs.is_empty() {
                return None;
            }
        }
        Some(Statement {
            keyword: instruction.keyword,
            keyword_span,
            span: text.span(0..text.value.len()),
            line: paths::without_secrets(&text.on_one_line()),
            flags,
            arguments,
            heredocs,
        })
    }

    /// Leading `--name` words; unknown ones are named and left out.
    fn flags(&mut self, text: &Text, from: usize, instruction: &Instruction) -> (Vec<Flag>, usize) {
        let mut flags: Vec<Flag> = Vec::new();
        let mut position = from;
        loop {
            let start = skip_space(&text.value, position);
            if !text.value[start..].starts_with("--") {
                return (flags, start);
            }
            let end = words::first(&text.value, start, Quotes::Respected(self.escape));
            let word = &text.value[start + 2..end];
            position = end;
            if word.is_empty() {
                return (flags, skip_space(&text.value, position));
            }
            let name = word.split('=').next().unwrap_or_default();
            let value_start = start + 2 + name.len() + 1;
            let mut value = (value_start <= end).then(|| shell_word(text, value_start..end));
            if value.is_none() && instruction.flag(name).is_some_and(|known| known.spaced) {
                let next = skip_space(&text.value, end);
                let next_end = words::first(&text.value, next, Quotes::Respected(self.escape));
                if next_end > next && !text.value[next..].starts_with("--") {
                    value = Some(shell_word(text, next..next_end));
                    position = next_end;
                }
            }
            let span = text.span(start..position);
            match instruction.flag(name) {
                None => {
                    let known = nearest(name, instruction.flags.iter().map(|flag| flag.name));
                    self.diagnostics.push(diagnostic::unknown_flag(span, instruction.keyword, name, known));
                }
                Some(known) if !known.repeats && flags.iter().any(|flag| flag.name == name) => {
                    self.diagnostics.push(diagnostic::duplicate_flag(span, name));
                }
                Some(_) => flags.push(Flag { name: name.to_owned(), value, span }),
            }
        }
    }

    fn arguments(&mut self, text: &Text, from: usize, instruction: &Instruction) -> Option<Arguments> {
        let quotes = Quotes::Respected(self.escape);
        Some(match instruction.form {
            Form::WordsOrJson => Arguments::Words(self.words_or_json(text, from, quotes, instruction)?),
            Form::PlainWordsOrJson => {
                Arguments::Words(self.words_or_json(text, from, Quotes::Ignored, instruction)?)
            }
            Form::Words => Arguments::Words(split_words(text, from, quotes)),
            Form::Raw => Arguments::Raw(raw_word(text, from..text.value.len())),
            Form::Pairs => Arguments::Pairs(self.pairs(text, from, instruction.keyword)?),
            Form::Named => {
                let end = words::first(&text.value, from, quotes);
                let name = (end > from).then(|| shell_word(text, from..end));
                Arguments::Named(name, raw_word(text, skip_space(&text.value, end)..text.value.len()))
            }
        })
    }

    fn words_or_json(
        &mut self,
        text: &Text,
        from: usize,
        quotes: Quotes,
        instruction: &Instruction,
    ) -> Option<Vec<Word>> {
        if !text.value[from..].starts_with('[') {
            return Some(split_words(text, from, quotes));
        }
        let mut end = text.value.len();
        // Of its own instructions sealer takes the array, whatever follows; of others Docker takes words then.
        if !matches!(instruction.keyword, "COPY" | "ADD")
            && let Some(array) = words::json_end(&text.value, from)
        {
            self.diagnostics.push(diagnostic::json_followed(text.span(skip_space(&text.value, array)..end)));
            end = array;
        }
        let span = text.span(from..end);
        match words::json_list(&text.value[..end], from) {
            JsonList::Strings(strings) => Some(
                strings
                    .into_iter()
                    .map(|(string, range)| Word {
                        text: string,
                        span: text.span(range),
                        quoting: Quoting::Literal,
                    })
                    .collect(),
            ),
            JsonList::NotOnlyStrings(_) => {
                self.diagnostics.push(diagnostic::json_not_strings(span));
                None
            }
            JsonList::Invalid(error) => {
                // `COPY [ab]* /x` is a pattern, not a slip.
                if let Some(end) = strings_end(&text.value, from) {
                    let rest = text.span(skip_space(&text.value, end)..text.value.len());
                    self.diagnostics.push(diagnostic::json_makes_words(rest));
                } else if text.value.ends_with(']') {
                    self.diagnostics.push(diagnostic::json_invalid(span, &error));
                }
                Some(split_words(text, from, quotes))
            }
        }
    }

    /// `NAME=VALUE…`, or the old `NAME VALUE`, which the first word decides.
    fn pairs(&mut self, text: &Text, from: usize, keyword: &str) -> Option<Vec<Pair>> {
        let ranges = words::split(&text.value, from, Quotes::Respected(self.escape));
        let Some(first) = ranges.first().cloned() else {
            self.diagnostics.push(diagnostic::missing_arguments(text.span(0..text.value.len()), keyword));
            return None;
        };
        if !text.value[first.clone()].contains('=') {
            let rest = skip_space(&text.value, first.end)..text.value.len();
            let span = text.span(first.start..text.value.len());
            if rest.is_empty() {
                self.diagnostics.push(diagnostic::two_arguments(span, keyword));
                return None;
            }
            let value = Some(shell_word(text, rest));
            return Some(vec![Pair { key: shell_word(text, first), value, span }]);
        }
        let mut pairs = Vec::new();
        for range in ranges {
            let span = text.span(range.clone());
            let word = &text.value[range.clone()];
            match word.find('=') {
                None => self.diagnostics.push(diagnostic::no_equals(span, word)),
                Some(0) => self.diagnostics.push(diagnostic::blank_name(span, keyword)),
                Some(equals) => {
                    let equals = range.start + equals;
                    let key = shell_word(text, range.start..equals);
                    pairs.push(Pair { key, value: Some(shell_word(text, equals + 1..range.end)), span });
                }
            }
        }
        Some(pairs)
    }
}

/// Words of which one is `#`. In texts it is meant, and what stands behind an array is told of anyway.
fn trailing_comment(text: &Text, from: usize, instruction: &Instruction, escape: char) -> Option<Diagnostic> {
    let has_words = matches!(instruction.form, Form::Words | Form::WordsOrJson | Form::Pairs);
    if !has_words || !text.value[from..].contains('#') || words::json_end(&text.value, from).is_some() {
        return None;
    }
    let words = words::split(&text.value, from, Quotes::Respected(escape));
    let mark = words.into_iter().find(|word| &text.value[word.clone()] == "#")?;
    Some(diagnostic::trailing_comment(text.span(mark)))
}

/// Where a JSON array of strings ends, if something else follows. `[1]` is a pattern, too.
fn strings_end(text: &str, from: usize) -> Option<usize> {
    let end = words::json_end(text, from)?;
    let JsonList::Strings(strings) = words::json_list(&text[..end], from) else { return None };
    (!strings.is_empty()).then_some(end)
}

/// Where a JSON array has a NUL, which it writes as `\u0000`.
fn nul_in_json(keyword: &str, arguments: &Arguments) -> Option<Span> {
    let raw = match arguments {
        Arguments::Words(words) => {
            let has_nul = |word: &&Word| word.quoting == Quoting::Literal && word.text.contains('\0');
            return words.iter().find(has_nul).map(|word| word.span);
        }
        Arguments::Named(_, raw) => raw,
        Arguments::Raw(raw) if keyword == "RUN" => raw,
        Arguments::Raw(_) | Arguments::Pairs(_) => return None,
    };
    let JsonList::Strings(strings) = words::json_list(&raw.text, 0) else { return None };
    strings.iter().any(|(string, _)| string.contains('\0')).then_some(raw.span)
}

fn skip_space(text: &str, from: usize) -> usize {
    text.len() - text[from..].trim_start_matches(words::is_space).len()
}

fn split_words(text: &Text, from: usize, quotes: Quotes) -> Vec<Word> {
    words::split(&text.value, from, quotes).into_iter().map(|range| shell_word(text, range)).collect()
}

fn shell_word(text: &Text, range: Range<usize>) -> Word {
    Word { text: text.value[range.clone()].to_owned(), span: text.span(range), quoting: Quoting::Shell }
}

fn raw_word(text: &Text, range: Range<usize>) -> Word {
    let span = if range.is_empty() { text.span(0..text.value.len()) } else { text.span(range.clone()) };
    Word { text: text.value[range].to_owned(), span, quoting: Quoting::Literal }
}
