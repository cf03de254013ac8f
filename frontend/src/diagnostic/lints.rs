//! Findings of the lints that only `--check` runs.

use solver::Span;

use super::Diagnostic;

pub(crate) fn nothing_launched(span: Span, apps: usize) -> Diagnostic {
    let message = match apps {
        1 => "the image declares an application, and nothing launches it".to_owned(),
        _ => format!("the image declares {apps} applications, and nothing launches them"),
    };
    Diagnostic::warning("app-not-launched", span, message, "declared here")
        .hint("end the Kubefile with `LAUNCH [\"NAME\", …]` or with CMDS")
        .hint("of an image that others start from, say so with `# check=skip=app-not-launched`")
}

pub(crate) fn app_not_launched(span: Span, launch: Span, name: &str) -> Diagnostic {
    let message = format!("application `{name}` is never launched");
    Diagnostic::warning("app-not-launched", span, message, "declared here")
        .also(launch, "does not name it")
        .hint("LAUNCH names the applications to launch, in order")
}

pub(crate) fn app_not_in_commands(span: Span, commands: Span, name: &str) -> Diagnostic {
    let message = format!("application `{name}` is never launched: no command has its name");
    Diagnostic::warning("app-not-launched", span, message, "declared here")
        .also(commands, "run instead of launching applications")
        .hint(format!("its files are in `application/apps/{name}/`; or use LAUNCH instead of commands"))
}

pub(crate) fn launched_twice(span: Span, first: Span, name: &str) -> Diagnostic {
    let message = format!("application `{name}` is launched twice");
    Diagnostic::warning("launched-twice", span, message, "again").also(first, "named here")
}

pub(crate) fn base_latest(span: Span, image: &str, is_tagged: bool) -> Diagnostic {
    let message = match is_tagged {
        true => format!("`{image}` may be another image tomorrow"),
        false => format!("`{image}` has no tag: it means `latest`, which may be another image tomorrow"),
    };
    Diagnostic::warning("base-latest", span, message, "not a version")
        .hint("name a version: `IMAGE:TAG` or `IMAGE@sha256:…`")
}

pub(crate) fn base_app_replaced(span: Span, base: Span, name: &str) -> Diagnostic {
    let message = format!("the base has an application `{name}`, whose files stay among those of this one");
    Diagnostic::warning("base-app-replaced", span, message, "replaces the base's")
        .also(base, "brings it")
        .hint("choose another name; or leave it to the base, and change it with APPCMDS and APPENV")
}

pub(crate) fn constant_platform(span: Span) -> Diagnostic {
    let message = "the base has this platform, whichever platform is built for";
    Diagnostic::warning("constant-platform", span, message, "always the same")
        .hint("leave it out, or write `--platform=$TARGETPLATFORM` or `--platform=$BUILDPLATFORM`")
}

pub(crate) fn keyword_case(span: Span, keyword: &str) -> Diagnostic {
    let message = "keywords of this Kubefile are written in different cases";
    Diagnostic::warning("keyword-case", span, message, "unlike most").hint(format!("write `{keyword}`"))
}

pub(crate) fn from_as_case(span: Span, expected: &str) -> Diagnostic {
    let message = "`as` is written in another case than FROM";
    Diagnostic::warning("from-as-case", span, message, "unlike FROM").hint(format!("write `{expected}`"))
}

pub(crate) fn stage_name_case(span: Span, name: &str) -> Diagnostic {
    let message = format!("the case of stage names does not count, and `{name}` has capital letters");
    Diagnostic::warning("stage-name-case", span, message, "not in lower case")
        .hint(format!("write `{}`", name.to_lowercase()))
}

pub(crate) fn reserved_stage_name(span: Span, name: &str) -> Diagnostic {
    let message = format!("no stage can start from this one: `FROM {name}` is the empty image");
    Diagnostic::warning("reserved-stage-name", span, message, "means something else")
        .hint("choose another name")
}

pub(crate) fn secret_variable(span: Span, keyword: &str, name: &str) -> Diagnostic {
    let message = match keyword {
        "ARG" => {
            format!("`{name}` looks like a secret, and the value of an ARG stays in what is made with it")
        }
        _ => format!("`{name}` looks like a secret, and whoever has the image can read it"),
    };
    Diagnostic::warning("secret-variable", span, message, "a secret?")
        .hint("give secrets to the cluster when the image is run, not to the image")
}

pub(crate) fn unpinned_url(span: Span, alone: bool) -> Diagnostic {
    let message = "what is behind the URL may be something else tomorrow";
    pin_hint(Diagnostic::warning("unpinned-url", span, message, "no checksum"), alone)
}

pub(crate) fn plain_http(span: Span, alone: bool) -> Diagnostic {
    let message = "whoever is on the way can change what is fetched over plain http";
    pin_hint(Diagnostic::warning("plain-http", span, message, "neither https nor a checksum"), alone)
}

fn pin_hint(diagnostic: Diagnostic, alone: bool) -> Diagnostic {
    if alone {
        diagnostic.hint("pin it with `--checksum=sha256:HEX`")
    } else {
        diagnostic
            .hint("a checksum is for the one URL of an instruction: fetch the others into the build context")
    }
}

pub(crate) fn copy_into_app(span: Span, app: Span, name: &str) -> Diagnostic {
    let message = format!("the files land among those of application `{name}`, which does not know of them");
    Diagnostic::warning("copy-into-app", span, message, "its directory")
        .also(app, "declared here")
        .hint("make them sources of the application; its type and its launch are told from those")
}

pub(crate) fn overwritten_file(span: Span, first: Span, path: &str) -> Diagnostic {
    let message = format!("`/{path}` is copied again: the file of before is lost");
    Diagnostic::warning("overwritten-file", span, message, "overwrites")
        .also(first, "is overwritten")
        .hint("remove one of them, or give them different destinations")
}

pub(crate) fn nothing_selected(span: Span, pattern: &str) -> Diagnostic {
    let message = format!("`{pattern}` selects nothing in the build context: a build fails here");
    Diagnostic::warning("nothing-selected", span, message, "not in the build context")
        .hint("sources are relative to the build context, whatever the working directory")
}

pub(crate) fn ignored_source(span: Span, pattern: &str) -> Diagnostic {
    let message = format!("an ignore file leaves out all that `{pattern}` selects");
    Diagnostic::warning("ignored-source", span, message, "ignored")
        .hint("the first of .sealerignore, .containerignore and .dockerignore in the context decides")
}

pub(crate) fn legacy_pair(span: Span, keyword: &str, name: &str) -> Diagnostic {
    let message = format!("`{keyword} NAME VALUE` is the old form, and takes one pair alone");
    Diagnostic::warning("legacy-pair", span, message, "no `=`").hint(format!("write `{keyword} {name}=…`"))
}
