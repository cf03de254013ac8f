//! The instruction table: one row a keyword, and everything that is known of it by name.

mod app;
mod copy;
mod env;
mod from;
mod launch;
mod run;

pub(crate) use from::{on_unknown, parse_platform};
pub(crate) use launch::{check_cmd, launch_rules};

use std::fmt;

use crate::ast::Statement;
use crate::evaluate::Evaluator;

/// How the arguments of an instruction are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Words with quotes, or a JSON array.
    WordsOrJson,
    /// Words with quotes.
    Words,
    /// Words at white space alone, or a JSON array: text for a shell.
    PlainWordsOrJson,
    /// One text.
    Raw,
    /// `NAME=VALUE` pairs.
    Pairs,
    /// A name and one text.
    Named,
}

/// A row of the table.
#[derive(Clone, Copy)]
pub struct Instruction {
    /// The keyword in upper case.
    pub keyword: &'static str,
    /// How it is written.
    pub syntax: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    pub(crate) form: Form,
    pub(crate) flags: &'static [&'static str],
    pub(crate) apply: fn(&mut Evaluator<'_>, &Statement),
}

impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruction").field("keyword", &self.keyword).finish_non_exhaustive()
    }
}

/// Every instruction a Kubefile may have.
pub const INSTRUCTIONS: &[Instruction] = &[
    Instruction {
        keyword: "FROM",
        syntax: "FROM [--platform=PLATFORM] IMAGE [AS NAME]",
        doc: "starts a stage on an image, an earlier stage, or `scratch`",
        form: Form::Words,
        flags: &["platform"],
        apply: from::apply,
    },
    Instruction {
        keyword: "COPY",
        syntax: "COPY [--from=STAGE] [--chown=USER[:GROUP]] [--chmod=MODE] [--exclude=PATTERN] [--parents] [--link] SOURCE… DESTINATION",
        doc: "copies files of the build context or of a stage",
        form: Form::WordsOrJson,
        flags: &["from", "chown", "chmod", "exclude", "parents", "link"],
        apply: copy::apply,
    },
    Instruction {
        keyword: "ADD",
        syntax: "ADD [--chown=USER[:GROUP]] [--chmod=MODE] [--exclude=PATTERN] [--parents] [--link] [--unpack[=true|false]] [--checksum=sha256:HEX] SOURCE… DESTINATION",
        doc: "copies files, fetches URLs and extracts local archives",
        form: Form::WordsOrJson,
        flags: &["chown", "chmod", "exclude", "parents", "link", "checksum", "unpack", "keep-git-dir"],
        apply: copy::apply,
    },
    Instruction {
        keyword: "RUN",
        syntax: "RUN [--mount=type=TYPE,…] [--network=default|host|none] [--security=sandbox|insecure] COMMAND",
        doc: "runs a command on the files, in a sandbox",
        form: Form::Raw,
        flags: &["mount", "network", "security", "device"],
        apply: run::apply,
    },
    Instruction {
        keyword: "ARG",
        syntax: "ARG NAME[=DEFAULT]…",
        doc: "declares a variable that --build-arg can set",
        form: Form::Words,
        flags: &[],
        apply: env::arg,
    },
    Instruction {
        keyword: "ENV",
        syntax: "ENV NAME=VALUE…",
        doc: "sets environment variables of the image",
        form: Form::Pairs,
        flags: &[],
        apply: env::env,
    },
    Instruction {
        keyword: "LABEL",
        syntax: "LABEL NAME=VALUE…",
        doc: "sets labels of the image",
        form: Form::Pairs,
        flags: &[],
        apply: env::label,
    },
    Instruction {
        keyword: "MAINTAINER",
        syntax: "MAINTAINER TEXT",
        doc: "names the author of the image",
        form: Form::Raw,
        flags: &[],
        apply: env::maintainer,
    },
    Instruction {
        keyword: "APP",
        syntax: "APP [--checksum=sha256:HEX] NAME SOURCE…",
        doc: "declares an application and brings in its files",
        form: Form::WordsOrJson,
        flags: &["checksum"],
        apply: app::apply,
    },
    Instruction {
        keyword: "APPCMDS",
        syntax: "APPCMDS NAME [\"command\", …]",
        doc: "sets the commands that launch an application",
        form: Form::Named,
        flags: &[],
        apply: app::commands,
    },
    Instruction {
        keyword: "APPENV",
        syntax: "APPENV NAME KEY=VALUE…",
        doc: "sets environment variables of an application",
        form: Form::PlainWordsOrJson,
        flags: &[],
        apply: app::env,
    },
    Instruction {
        keyword: "LAUNCH",
        syntax: "LAUNCH [\"NAME\", …]",
        doc: "names the applications to launch, in order; the last instruction",
        form: Form::WordsOrJson,
        flags: &[],
        apply: launch::launch,
    },
    Instruction {
        keyword: "CMDS",
        syntax: "CMDS [\"command\", …]",
        doc: "gives the commands to launch; the last instruction",
        form: Form::PlainWordsOrJson,
        flags: &[],
        apply: launch::cmds,
    },
    Instruction {
        keyword: "CMD",
        syntax: "CMD COMMAND",
        doc: "adds a launch command (deprecated: use CMDS)",
        form: Form::Raw,
        flags: &[],
        apply: launch::cmd,
    },
    Instruction {
        keyword: "CNI",
        syntax: "CNI [--checksum=sha256:HEX] NAME SOURCE…",
        doc: "declares an application that is a network plugin",
        form: Form::WordsOrJson,
        flags: &["checksum"],
        apply: app::apply,
    },
    Instruction {
        keyword: "CSI",
        syntax: "CSI [--checksum=sha256:HEX] NAME SOURCE…",
        doc: "declares an application that is a storage plugin",
        form: Form::WordsOrJson,
        flags: &["checksum"],
        apply: app::apply,
    },
    Instruction {
        keyword: "KUBEVERSION",
        syntax: "KUBEVERSION RANGE",
        doc: "says which Kubernetes versions the image supports",
        form: Form::Raw,
        flags: &[],
        apply: env::kubeversion,
    },
];

/// How an instruction is written.
pub(crate) fn syntax(keyword: &str) -> &'static str {
    find(keyword).map_or("", |instruction| instruction.syntax)
}

/// The row of a keyword, in any case.
pub(crate) fn find(keyword: &str) -> Option<&'static Instruction> {
    INSTRUCTIONS.iter().find(|instruction| instruction.keyword.eq_ignore_ascii_case(keyword))
}
