//! Findings about stages, launching and build arguments.

use solver::Span;

use super::{Diagnostic, listed};

pub(crate) fn empty_file() -> Diagnostic {
    Diagnostic::error(
        "empty-kubefile",
        Span::default(),
        "the Kubefile is empty: no FROM statement found",
        "nothing here",
    )
    .hint("start with `FROM scratch` or `FROM IMAGE`")
}

pub(crate) fn no_from(span: Span) -> Diagnostic {
    Diagnostic::error("no-from", span, "no FROM statement found", "the first instruction")
        .hint("start with `FROM scratch` or `FROM IMAGE`")
}

pub(crate) fn before_from(span: Span, keyword: &str) -> Diagnostic {
    let message = format!("{keyword} stands before the first FROM");
    Diagnostic::error("before-from", span, message, "belongs to no stage")
        .hint("only ARG may stand before FROM")
}

pub(crate) fn from_arguments(span: Span) -> Diagnostic {
    Diagnostic::error(
        "from-arguments",
        span,
        "FROM requires either one or three arguments",
        "expected `IMAGE [AS NAME]`",
    )
}

pub(crate) fn invalid_stage_name(span: Span, name: &str) -> Diagnostic {
    let message = format!("invalid name for build stage: `{name}`");
    Diagnostic::error("invalid-stage-name", span, message, "not a stage name")
        .hint("a name starts with a letter and goes on with letters, digits, `-`, `_` and `.`")
}

pub(crate) fn duplicate_stage(span: Span, first: Span, name: &str) -> Diagnostic {
    Diagnostic::error("duplicate-stage", span, format!("duplicate name of stage `{name}`"), "named again")
        .also(first, "first named here")
}

pub(crate) fn empty_base(span: Span) -> Diagnostic {
    Diagnostic::error("empty-base", span, "base name is blank", "nothing is left after expansion")
        .hint("only an ARG before the first FROM can be used in FROM; give it a default or a --build-arg")
}

pub(crate) fn invalid_platform(span: Span, platform: &str) -> Diagnostic {
    Diagnostic::error(
        "invalid-platform",
        span,
        format!("invalid platform `{platform}`"),
        "expected OS/ARCH[/VARIANT]",
    )
}

pub(crate) fn stage_reference_case(span: Span, stage: &str, similar: &str) -> Diagnostic {
    let message = format!("`{similar}` is taken as an image, though a stage is named `{stage}`");
    Diagnostic::warning("base-like-stage", span, message, "an image").did_you_mean(Some(stage))
}

pub(crate) fn stage_is_below(span: Span, below: Span, name: &str) -> Diagnostic {
    let message = format!("`{name}` is taken as an image: the stage of that name stands below");
    Diagnostic::warning("base-like-stage", span, message, "an image")
        .also(below, "named here")
        .hint("move the stage above what needs it")
}

pub(crate) fn unused_stage(span: Span, name: &str) -> Diagnostic {
    Diagnostic::warning(
        "unused-stage",
        span,
        format!("stage `{name}` is not used and is not built"),
        "unused",
    )
    .hint("use it with `COPY --from` or as the base of a later stage, or build it with --target")
}

pub(crate) fn unknown_target<'a>(
    span: Span,
    target: &str,
    nearest: Option<&str>,
    known: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    let known = listed(known);
    let diagnostic = Diagnostic::error(
        "unknown-target",
        span,
        format!("target stage `{target}` could not be found"),
        "the last stage",
    )
    .did_you_mean(nearest);
    if known.is_empty() {
        diagnostic.hint("no stage has a name")
    } else {
        diagnostic.hint(format!("the stages are {known}"))
    }
}

pub(crate) fn base_unresolved(span: Span) -> Diagnostic {
    Diagnostic::error("base-unresolved", span, "the image was not resolved", "this image is needed")
}

pub(crate) fn from_context_of_files(span: Span, name: &str) -> Diagnostic {
    let message = format!("the build context `{name}` has files, and FROM needs an image");
    Diagnostic::error("from-context", span, message, "a build context").hint(format!(
        "start `FROM scratch` and `COPY --from={name} . /`, or give it as docker-image://REFERENCE"
    ))
}

pub(crate) fn unused_contexts<'a>(span: Span, names: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let message = format!("one or more build contexts were not used: {}", listed(names));
    Diagnostic::warning("unused-build-context", span, message, "no FROM and no --from names them")
}

pub(crate) fn unused_build_args<'a>(span: Span, names: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let message = format!("one or more build args were not consumed: {}", listed(names));
    Diagnostic::warning("unused-build-arg", span, message, "no ARG declares them")
}

pub(crate) fn build_arg_suggestion(diagnostic: Diagnostic, name: &str) -> Diagnostic {
    diagnostic.did_you_mean(Some(name))
}

pub(crate) fn not_last(span: Span, after: Span, keyword: &str) -> Diagnostic {
    let message = format!("{} should be the last instruction", keyword.to_lowercase());
    Diagnostic::error("not-last", span, message, "not the last").also(after, "comes after it")
}

pub(crate) fn more_than_one(span: Span, first: Span, keyword: &str) -> Diagnostic {
    let message = format!("only one {} could be specified", keyword.to_lowercase());
    Diagnostic::error("more-than-one", span, message, "a second one").also(first, "the first one")
}

pub(crate) fn cmd_with_launch(span: Span, cmd: Span) -> Diagnostic {
    Diagnostic::error("cmd-with-launch", span, "cmd and launch are mutually exclusive", "LAUNCH")
        .also(cmd, "CMD")
        .hint("CMD is deprecated: put the command in APPCMDS of an application and launch that")
}

pub(crate) fn cmd_deprecated(span: Span) -> Diagnostic {
    Diagnostic::warning("cmd-deprecated", span, "CMD is deprecated", "deprecated")
        .hint("use `CMDS [\"command\", …]` as the last instruction")
}

pub(crate) fn cmd_not_final(span: Span) -> Diagnostic {
    let message = "CMD of a stage that is not the one to build has no effect";
    Diagnostic::warning("cmd-not-final", span, message, "not taken over")
        .hint("give the commands in the last stage")
}

pub(crate) fn run_insecure(span: Span) -> Diagnostic {
    let message = "RUN --security=insecure is not allowed in this build";
    Diagnostic::error("run-insecure", span, message, "asks for all rights of root")
        .hint("if you trust the command, allow it: `--allow security.insecure`")
}

pub(crate) fn mount_type(span: Span, kind: &str, nearest: Option<&str>) -> Diagnostic {
    let message = format!("unknown type of mount `{kind}`");
    Diagnostic::error("mount-type", span, message, "not a type of mount")
        .did_you_mean(nearest)
        .hint("the types are bind, cache, tmpfs, secret and ssh")
}

pub(crate) fn mount_option(span: Span, kind: &str, option: &str) -> Diagnostic {
    let message = format!("a mount of type {kind} has no option `{option}`");
    Diagnostic::error("mount-option", span, message, "not an option of this mount")
}

pub(crate) fn mount_value(span: Span, option: &str, expected: &str) -> Diagnostic {
    let message = format!("invalid `{option}` of --mount: expected {expected}");
    Diagnostic::error("mount-value", span, message, "not a value this option takes")
}

pub(crate) fn kubeversion_without_value(span: Span) -> Diagnostic {
    Diagnostic::error("missing-arguments", span, "KUBEVERSION requires one argument", "no version range")
        .hint("write `KUBEVERSION 1.18 - 1.22`")
}
