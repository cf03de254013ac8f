//! The syntax tree: statements as written, with their places. It knows nothing of meaning.

use solver::Span;

use crate::directive::Checks;

/// A parsed Kubefile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its statements, in order; those with an unknown keyword are left out (a diagnostic names them).
    pub statements: Vec<Statement>,
    /// The escape character: `\`, or `` ` `` by directive.
    pub escape: char,
    /// Whether the text has any instruction, known or not.
    pub has_instructions: bool,
    /// Which warnings its `# check=` directives want.
    pub checks: Checks,
    /// Comments that would be directives at the top, and are none where they stand.
    pub misplaced: Vec<Span>,
}

/// One instruction with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The keyword in upper case, as the instruction table spells it.
    pub keyword: &'static str,
    /// Where the keyword stands.
    pub keyword_span: Span,
    /// The whole statement, without heredoc bodies.
    pub span: Span,
    /// The statement on one line, as people read it.
    pub line: String,
    /// Leading `--name=value` words.
    pub flags: Vec<Flag>,
    /// The rest.
    pub arguments: Arguments,
    /// Heredocs, in the order of their operators.
    pub heredocs: Vec<Heredoc>,
}

/// A `--name[=value]` word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The name without dashes.
    pub name: String,
    /// What follows the `=`.
    pub value: Option<Word>,
    /// The whole word.
    pub span: Span,
}

/// The arguments of a statement, in the form its instruction takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// Words, or the elements of a JSON array.
    Words(Vec<Word>),
    /// One piece of text.
    Raw(Word),
    /// `NAME=VALUE` pairs, or one `NAME VALUE`.
    Pairs(Vec<Pair>),
    /// A name and the raw rest.
    Named(Option<Word>, Word),
}

/// A piece of text as written: quotes and variables still in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text; for an element of a JSON array, the decoded string.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// How quotes in it are read.
    pub quoting: Quoting,
}

/// How quotes and escapes are read when variables expand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// As a shell does: quotes and escapes are taken away.
    Shell,
    /// Quotes are ordinary characters; only `\$` and `\\` are escapes (JSON elements, heredocs).
    Literal,
}

/// A `NAME=VALUE` argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub key: Word,
    /// The value; `None` where no `=` and no second word stands.
    pub value: Option<Word>,
    /// Both.
    pub span: Span,
}

/// A heredoc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter word.
    pub name: String,
    /// Where the `<<NAME` stands.
    pub operator: Span,
    /// Whether variables expand: the delimiter is not quoted.
    pub expand: bool,
    /// The body, tabs stripped for `<<-`.
    pub content: String,
    /// Where the body stands.
    pub span: Span,
    /// How many tabs `<<-` took from each line; nothing for `<<`.
    pub tabs: Vec<usize>,
}
