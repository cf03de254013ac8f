//! Findings about sources, destinations and applications.

use solver::Span;

use super::Diagnostic;
use crate::ast::Word;
use crate::paths;

pub(crate) fn invalid_copy(span: Span, keyword: &str, line: &str) -> Diagnostic {
    let message = format!("invalid {} instruction: {line}", keyword.to_lowercase());
    Diagnostic::error("invalid-copy", span, message, "needs a source and a destination")
}

pub(crate) fn destination_not_directory(span: Span, keyword: &str) -> Diagnostic {
    let message = format!(
        "when using {keyword} with more than one source file, the destination must be a directory and end with a /"
    );
    Diagnostic::error("destination-not-directory", span, message, "add a `/`")
}

pub(crate) fn empty_path(word: &Word, what: &str) -> Diagnostic {
    let message = format!("{what} is empty");
    if !word.text.contains('$') {
        return Diagnostic::error("empty-path", word.span, message, "nothing is given");
    }
    Diagnostic::error("empty-path", word.span, message, "nothing is left after expansion")
        .hint("give the variable a value, or a default: `${NAME:-value}`")
}

/// `name` is a component of a path in the image.
pub(crate) fn unfit_name(span: Span, name: &str) -> Diagnostic {
    if paths::is_whiteout(name) {
        let message =
            format!("`{name}` cannot be a file: names that start with `.wh.` mark deletions in image layers");
        return Diagnostic::error("file-name", span, message, "not the name of a file")
            .hint("use another name");
    }
    let message = format!("a name of {} bytes is too long for a file", name.len());
    Diagnostic::error("file-name", span, message, "not the name of a file")
        .hint("a name has 255 bytes at most, and each directory above it too")
}

pub(crate) fn copy_remote(span: Span) -> Diagnostic {
    Diagnostic::error("copy-remote", span, "COPY does not fetch URLs", "a remote source").hint("use ADD")
}

pub(crate) fn remote_without_file(span: Span, url: &str) -> Diagnostic {
    Diagnostic::error(
        "remote-without-file",
        span,
        format!("cannot tell a file name from `{url}`"),
        "names no file",
    )
    .hint("the path of the URL must end in the name of the file")
}

pub(crate) fn remote_without_host(span: Span, url: &str) -> Diagnostic {
    Diagnostic::error("remote-without-host", span, format!("`{url}` has no host"), "no host after `://`")
}

pub(crate) fn checksum_needs_one_remote(span: Span) -> Diagnostic {
    let message = "--checksum needs exactly one source behind http:// or https://";
    Diagnostic::error("checksum-source", span, message, "which source is meant?")
}

pub(crate) fn chown_by_name_with_link(span: Span) -> Diagnostic {
    let message = "--chown takes no names beside --link, which does not read the files below";
    Diagnostic::error("chown-name-link", span, message, "where would it be looked up?")
        .hint("use numbers: `--chown=1000:1000`, or leave --link out")
}

pub(crate) fn copy_from_scratch(span: Span) -> Diagnostic {
    let message = "`scratch` has no files to copy from";
    Diagnostic::error("copy-from-empty", span, message, "neither a stage nor an image")
}

pub(crate) fn git_url(span: Span, error: &solver::GitUrlError) -> Diagnostic {
    Diagnostic::error("git-url", span, error.to_string(), "not a repository that can be fetched")
        .hint("write `URL#REFERENCE:DIRECTORY`, such as `https://host/repo.git#v1.0:charts`")
}

pub(crate) fn git_dir_of_part(span: Span, subdir: &str) -> Diagnostic {
    let message = format!("--keep-git-dir keeps a whole repository, and only `{subdir}` of it is added");
    Diagnostic::error("keep-git-dir", span, message, "of which part?")
}

pub(crate) fn git_dir_without_git(span: Span) -> Diagnostic {
    let message = "--keep-git-dir has no effect: no source is a git repository";
    Diagnostic::warning("keep-git-dir", span, message, "leave it out")
}

pub(crate) fn copy_from_not_above(span: Span, name: &str) -> Diagnostic {
    let message = format!("`{name}` is not a stage above");
    Diagnostic::error("copy-from-not-above", span, message, "no stage above")
        .hint("a stage copies from stages above it; the first has index 0")
}

pub(crate) fn copy_from_empty(span: Span, name: &str) -> Diagnostic {
    let message = format!("stage `{name}` has no files to copy from");
    Diagnostic::error("copy-from-empty", span, message, "starts FROM scratch and copies nothing")
}

pub(crate) fn app_without_name(span: Span, syntax: &str) -> Diagnostic {
    let message = "app name should be specified in the app cmd";
    Diagnostic::error("app-without-name", span, message, "no name").hint(format!("write `{syntax}`"))
}

pub(crate) fn invalid_app_name(span: Span, name: &str) -> Diagnostic {
    let message = format!("`{name}` cannot be the name of an application");
    let diagnostic = Diagnostic::error("invalid-app-name", span, message, "becomes a directory name")
        .hint("letters, digits, `.`, `_` and `-`, not starting with `.` or `-`; 255 at most");
    if name.contains("://") { diagnostic.hint("the name comes before the sources") } else { diagnostic }
}

pub(crate) fn source_without_scheme(span: Span, keyword: &str, source: &str, path_like: bool) -> Diagnostic {
    let message = "source schema should be specified with https:// http:// local:// in APP".to_owned();
    let diagnostic =
        Diagnostic::error("source-without-scheme", span, message, &format!("a source of {keyword}"));
    if path_like {
        diagnostic.hint(format!("a file of the build context is `local://{source}`"))
    } else {
        diagnostic
    }
}

pub(crate) fn app_from_git(span: Span, keyword: &str) -> Diagnostic {
    let message = format!("{keyword} takes files of the build context and of URLs, not of git repositories");
    Diagnostic::error("app-from-git", span, message, "a git repository")
        .hint("build with the repository as the context, `sealer build URL#REFERENCE:DIRECTORY`, and use local://")
        .hint("or name the file itself by an http:// or https:// URL")
}

pub(crate) fn app_wildcard(span: Span, keyword: &str) -> Diagnostic {
    let message = format!("wildcards are not expanded in {keyword}");
    Diagnostic::warning("app-wildcard", span, message, "taken as it is written")
        .hint("name the directory: its content becomes the files of the application")
}

pub(crate) fn app_redeclared(span: Span, first: Span, name: &str) -> Diagnostic {
    let message = format!("application `{name}` is declared again; the files of both stay");
    Diagnostic::warning("app-redeclared", span, message, "replaces the declaration above")
        .also(first, "declared here")
        .hint("several sources can stand in one APP instruction")
}

pub(crate) fn same_file_name(span: Span, first: Span, name: &str) -> Diagnostic {
    let message = format!("two sources are named `{name}`: the later one overwrites the earlier");
    Diagnostic::warning("same-file-name", span, message, "overwrites").also(first, "is overwritten")
}

pub(crate) fn app_needs_commands(span: Span, name: &str) -> Diagnostic {
    let message = format!("app {name} need to specify APPCMDS if no app type detected");
    Diagnostic::error("app-needs-commands", span, message, "nothing to tell its type from")
        .hint(format!("add `APPCMDS {name} [\"command\"]`, or give it a source"))
}

pub(crate) fn inherited_app_needs_commands(span: Span, name: &str) -> Diagnostic {
    let message = format!("app {name} need to specify APPCMDS if no app type detected");
    Diagnostic::error("app-needs-commands", span, message, "the base declares it without type and commands")
        .hint(format!("add `APPCMDS {name} [\"command\"]`"))
}

pub(crate) fn unknown_app(span: Span, keyword: &str, name: &str, help: AppHelp<'_>) -> Diagnostic {
    let message = match keyword {
        "LAUNCH" => format!("application {name} does not exist in the image"),
        _ => format!("the specified app name({name}) for `{keyword}` should be exist"),
    };
    let diagnostic = Diagnostic::error("unknown-app", span, message, "no such application");
    match help {
        AppHelp::DeclaredBelow(below) => diagnostic
            .also(below, "declared here")
            .hint(format!("move {keyword} below the declaration of `{name}`")),
        AppHelp::OtherStage(stage) => diagnostic.hint(format!(
            "stage `{stage}` declares it, but only the stage to build and those it starts from count"
        )),
        AppHelp::Nearest(nearest) => diagnostic.did_you_mean(nearest),
    }
}

/// What can be said of an unknown application.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AppHelp<'a> {
    /// It is declared, but further down.
    DeclaredBelow(Span),
    /// It is declared in a stage that this one does not start from.
    OtherStage(&'a str),
    /// The nearest known name.
    Nearest(Option<&'a str>),
}

pub(crate) fn app_commands_format(span: Span, error: &str) -> Diagnostic {
    let message = format!(
        "the APPCMDS value should be format: APPCMDS appName [\"executable\",\"param1\",\"param2\",\"...\"]: {error}"
    );
    Diagnostic::error("appcmds-format", span, message, "not a JSON array of strings")
}

pub(crate) fn app_env_ignored(span: Span, text: &str) -> Diagnostic {
    let message = format!("`{text}` is not KEY=VALUE and is ignored");
    Diagnostic::warning("appenv-ignored", span, message, "ignored")
        .hint("values are split at white space: they cannot contain any")
}
