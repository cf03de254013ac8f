//! Findings about the form of the text.

use solver::Span;

use super::Diagnostic;
use crate::expand::ExpandError;

pub(crate) fn invalid_escape(span: Span, found: &str) -> Diagnostic {
    Diagnostic::error(
        "invalid-escape",
        span,
        format!("invalid ESCAPE '{found}'. Must be ` or \\"),
        "not an escape",
    )
}

pub(crate) fn nul(span: Span) -> Diagnostic {
    let message = "there is a NUL byte: no name, argument or variable can hold one";
    Diagnostic::error("nul-byte", span, message, "here")
        .hint("take it out; files with any bytes come in by COPY")
}

pub(crate) fn escape_twice(span: Span) -> Diagnostic {
    Diagnostic::error("escape-twice", span, "only one escape parser directive can be used", "a second one")
}

pub(crate) fn blank_continuation(span: Span) -> Diagnostic {
    Diagnostic::warning("blank-continuation", span, "blank line inside a continued instruction", "skipped")
        .hint("the line above ends in the escape character: remove it if the instruction ends there")
}

pub(crate) fn unterminated_heredoc(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("unterminated-heredoc", span, format!("unterminated heredoc `{name}`"), "opened here")
        .hint(format!("close it with a line that is exactly `{name}`"))
}

pub(crate) fn heredoc_not_allowed(span: Span, keyword: &str) -> Diagnostic {
    Diagnostic::error(
        "heredoc-not-allowed",
        span,
        format!("heredocs are not supported in {keyword}"),
        "heredoc",
    )
    .hint("`COPY <<NAME DESTINATION` writes a file from the text")
}

pub(crate) fn heredoc_name(span: Span, name: &str) -> Diagnostic {
    let message = format!("`{name}` cannot be a file name");
    Diagnostic::error("heredoc-name", span, message, "the delimiter names the file")
        .hint("use a delimiter without `/`, and give the path as the destination")
}

pub(crate) fn unknown_instruction(span: Span, keyword: &str, nearest: Option<&str>) -> Diagnostic {
    let message = format!("command {} is not supported", keyword.to_lowercase());
    let diagnostic =
        Diagnostic::error("unsupported-instruction", span, message, "not an instruction of a Kubefile");
    match instead(&keyword.to_ascii_uppercase()) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic.did_you_mean(nearest),
    }
}

/// What to use instead of a Dockerfile instruction that a Kubefile has not.
fn instead(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "WORKDIR" => "a cluster image has no working directory: use absolute destinations in COPY and ADD",
        "USER" => "a cluster image runs no process: use `COPY --chown=USER:GROUP` for the owner of files",
        "ENTRYPOINT" => "use LAUNCH to start applications or CMDS to run commands",
        "EXPOSE" => "a cluster image opens no ports: use a Service in the application's manifests",
        "VOLUME" => "a cluster image has no volumes: use a PersistentVolumeClaim in the manifests",
        "SHELL" => "RUN runs its command with `/bin/sh -c`: call another shell in it, or use the JSON form",
        "ONBUILD" => "write the instruction in the Kubefile that needs it",
        "STOPSIGNAL" | "HEALTHCHECK" => "a cluster image runs no process: use a probe in the manifests",
        _ => return None,
    })
}

pub(crate) fn unknown_flag(span: Span, keyword: &str, name: &str, nearest: Option<&str>) -> Diagnostic {
    let message = match keyword {
        "FROM" => format!("flag {name} is not available in FROM"),
        _ => format!("unknown flag --{name} in {keyword}"),
    };
    let nearest = nearest.map(|flag| format!("--{flag}"));
    Diagnostic::error("unknown-flag", span, message, "unknown flag").did_you_mean(nearest.as_deref())
}

pub(crate) fn duplicate_flag(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("duplicate-flag", span, format!("duplicate flag specified: --{name}"), "given again")
}

pub(crate) fn flag_value(span: Span, name: &str, expected: &str) -> Diagnostic {
    let message = format!("invalid value of --{name}: expected {expected}");
    Diagnostic::error("flag-value", span, message, "not a value this flag takes")
}

pub(crate) fn not_supported_yet(span: Span, what: &str, hint: &str) -> Diagnostic {
    let message = format!("{what} is not supported yet");
    Diagnostic::error("not-supported-yet", span, message, "cannot be built yet").hint(hint)
}

pub(crate) fn json_not_strings(span: Span) -> Diagnostic {
    let message = "when using JSON array syntax, arrays must be comprised of strings only";
    Diagnostic::error("json-not-strings", span, message, "not only strings")
        .hint("put each element in double quotes")
}

pub(crate) fn json_invalid(span: Span, error: &str) -> Diagnostic {
    let message = format!("read as words, because it is no JSON array: {error}");
    Diagnostic::warning("json-invalid", span, message, "looks like a JSON array")
        .hint("JSON strings take double quotes and a comma between them")
}

pub(crate) fn json_makes_words(span: Span) -> Diagnostic {
    let message = "what follows the JSON array makes words of all of it";
    Diagnostic::warning("json-invalid", span, message, "not in the array")
        .hint("a comment takes a line of its own")
}

pub(crate) fn trailing_comment(span: Span) -> Diagnostic {
    let message = "a `#` in the middle of a line starts no comment";
    Diagnostic::warning("trailing-comment", span, message, "read with the rest of the line")
        .hint("a comment takes a line of its own")
}

pub(crate) fn json_followed(span: Span) -> Diagnostic {
    Diagnostic::warning("json-invalid", span, "what follows the JSON array is ignored", "not in the array")
        .hint("a comment takes a line of its own")
}

pub(crate) fn expansion_failed(span: Span, error: ExpandError) -> Diagnostic {
    let (message, hint) = match error {
        ExpandError::Quote(quote) => (
            format!("unexpected end of statement while looking for matching {quote}"),
            "close the quote or escape it",
        ),
        ExpandError::Brace => ("missing `}` of a variable".to_owned(), "write `${NAME}`"),
        ExpandError::Name => ("bad variable name between `${` and `}`".to_owned(), "write `${NAME}`"),
        ExpandError::Modifier => {
            ("unsupported modifier in substitution".to_owned(), "`:-`, `-`, `:+` and `+` are supported")
        }
        ExpandError::TooLarge => {
            ("variables expand to too much text".to_owned(), "put large content into a file and COPY it")
        }
        ExpandError::TooDeep => {
            ("variables are nested too deeply".to_owned(), "use an ARG for the inner value")
        }
    };
    Diagnostic::error("bad-substitution", span, message, "in this word").hint(hint)
}

pub(crate) fn unset_variable(span: Span, name: &str, nearest: Option<&str>) -> Diagnostic {
    let message = format!("variable `{name}` is not set and expands to nothing");
    let diagnostic = Diagnostic::warning("unset-variable", span, message, "not set here");
    match nearest {
        Some(_) => diagnostic.did_you_mean(nearest),
        None => {
            diagnostic.hint(format!("declare it with `ARG {name}`, or give a default: `${{{name}:-value}}`"))
        }
    }
}

/// A finding about a variable in a heredoc.
pub(crate) fn or_quote_delimiter(found: &mut Diagnostic, name: &str) {
    found.hints.push(format!("to keep every `$` of the text as it is, quote the delimiter: `<<\"{name}\"`"));
}

pub(crate) fn missing_arguments(span: Span, keyword: &str) -> Diagnostic {
    Diagnostic::error(
        "missing-arguments",
        span,
        format!("{keyword} requires at least one argument"),
        "no argument",
    )
}

pub(crate) fn two_arguments(span: Span, keyword: &str) -> Diagnostic {
    Diagnostic::error("missing-value", span, format!("{keyword} must have two arguments"), "has no value")
        .hint(format!("write `{keyword} NAME=VALUE`"))
}

pub(crate) fn blank_name(span: Span, keyword: &str) -> Diagnostic {
    Diagnostic::error(
        "blank-name",
        span,
        format!("{keyword} names can not be blank"),
        "no name before the `=`",
    )
}

pub(crate) fn no_equals(span: Span, text: &str) -> Diagnostic {
    let message = format!("syntax error - can't find = in \"{text}\". Must be of the form: name=value");
    Diagnostic::error("no-equals", span, message, "no `=`").hint("quote values that have spaces")
}
