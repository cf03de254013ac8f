//! The instruction table: one row a keyword, and everything that is known of it by name.

mod app;
mod copy;
mod env;
mod flags;
mod from;
mod launch;
mod origin;
mod run;

pub use flags::FlagSyntax;
pub(crate) use from::{on_unknown, parse_platform};
pub(crate) use launch::{check_cmd, launch_rules};

use std::fmt;

use self::flags::{CHECKSUM, CHMOD, CHOWN, EXCLUDE, LINK, PARENTS, SET, VALUES};
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
    /// What the language reference says of it, as Markdown with at least one example.
    pub text: &'static str,
    /// The flags it takes.
    pub flags: &'static [FlagSyntax],
    pub(crate) form: Form,
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
        text: include_str!("instruction/text/from.md"),
        flags: &[FlagSyntax::new(
            "platform",
            "OS/ARCH[/VARIANT]",
            "the platform of the base and of what stands on it, instead of the one built for",
        )],
        form: Form::Words,
        apply: from::apply,
    },
    Instruction {
        keyword: "COPY",
        syntax: "COPY [--from=STAGE|IMAGE|CONTEXT] [--chown=USER[:GROUP]] [--chmod=MODE] [--exclude=PATTERN] [--parents] [--link] SOURCE… DESTINATION",
        doc: "copies files of the build context, of a stage or of an image",
        text: include_str!("instruction/text/copy.md"),
        flags: &[
            FlagSyntax::new(
                "from",
                "STAGE|IMAGE|CONTEXT",
                "copies from a stage above, by its name or index, from an image, or from a `--build-context`",
            ),
            CHOWN,
            CHMOD,
            EXCLUDE,
            PARENTS,
            LINK,
        ],
        form: Form::WordsOrJson,
        apply: copy::apply,
    },
    Instruction {
        keyword: "ADD",
        syntax: "ADD [--chown=USER[:GROUP]] [--chmod=MODE] [--exclude=PATTERN] [--parents] [--link] [--checksum=sha256:HEX|COMMIT] [--unpack=true|false] [--keep-git-dir] SOURCE… DESTINATION",
        doc: "copies files, fetches URLs and git repositories, and extracts local archives",
        text: include_str!("instruction/text/add.md"),
        flags: &[
            CHOWN,
            CHMOD,
            EXCLUDE,
            PARENTS,
            LINK,
            CHECKSUM,
            FlagSyntax::new(
                "unpack",
                "BOOL",
                "`true` extracts fetched archives too, `false` none; without it local ones are extracted",
            ),
            FlagSyntax::new("keep-git-dir", "BOOL", "keeps the `.git` directory of a repository"),
        ],
        form: Form::WordsOrJson,
        apply: copy::apply,
    },
    Instruction {
        keyword: "RUN",
        syntax: "RUN [--mount=type=TYPE,…] [--network=default|host|none] [--security=sandbox|insecure] COMMAND",
        doc: "runs a command on the files, in a sandbox",
        text: include_str!("instruction/text/run.md"),
        flags: &[
            FlagSyntax::new(
                "mount",
                "type=TYPE,…",
                "mounts something while the command runs: see the table above",
            )
            .repeating(),
            FlagSyntax::new("network", "MODE", "`host`, which is also `default`, or `none`: loopback alone"),
            FlagSyntax::new(
                "security",
                "MODE",
                "`sandbox`, or `insecure`: all rights of root, if `build --allow security.insecure` allows it",
            ),
            FlagSyntax::new("device", "NAME", "not supported: there are `/dev/null` and its like")
                .repeating(),
        ],
        form: Form::Raw,
        apply: run::apply,
    },
    Instruction {
        keyword: "ARG",
        syntax: "ARG NAME[=DEFAULT]…",
        doc: "declares a variable that --build-arg can set",
        text: include_str!("instruction/text/arg.md"),
        flags: &[],
        form: Form::Words,
        apply: env::arg,
    },
    Instruction {
        keyword: "ENV",
        syntax: "ENV NAME=VALUE…",
        doc: "sets environment variables of the image",
        text: include_str!("instruction/text/env.md"),
        flags: &[],
        form: Form::Pairs,
        apply: env::env,
    },
    Instruction {
        keyword: "LABEL",
        syntax: "LABEL NAME=VALUE…",
        doc: "sets labels of the image",
        text: include_str!("instruction/text/label.md"),
        flags: &[],
        form: Form::Pairs,
        apply: env::label,
    },
    Instruction {
        keyword: "MAINTAINER",
        syntax: "MAINTAINER TEXT",
        doc: "names the author of the image",
        text: include_str!("instruction/text/maintainer.md"),
        flags: &[],
        form: Form::Raw,
        apply: env::maintainer,
    },
    Instruction {
        keyword: "APP",
        syntax: "APP [--checksum=sha256:HEX] [--values=FILE] [--set=KEY=VALUE] NAME SOURCE…",
        doc: "declares an application and brings in its files",
        text: include_str!("instruction/text/app.md"),
        flags: &[CHECKSUM, VALUES, SET],
        form: Form::WordsOrJson,
        apply: app::apply,
    },
    Instruction {
        keyword: "APPCMDS",
        syntax: "APPCMDS NAME [\"command\", …]",
        doc: "sets the commands that launch an application",
        text: include_str!("instruction/text/appcmds.md"),
        flags: &[],
        form: Form::Named,
        apply: app::commands,
    },
    Instruction {
        keyword: "APPENV",
        syntax: "APPENV NAME KEY=VALUE…",
        doc: "sets environment variables of an application",
        text: include_str!("instruction/text/appenv.md"),
        flags: &[],
        form: Form::PlainWordsOrJson,
        apply: app::env,
    },
    Instruction {
        keyword: "LAUNCH",
        syntax: "LAUNCH [\"NAME\", …]",
        doc: "names the applications to launch, in order; the last instruction",
        text: include_str!("instruction/text/launch.md"),
        flags: &[],
        form: Form::WordsOrJson,
        apply: launch::launch,
    },
    Instruction {
        keyword: "CMDS",
        syntax: "CMDS [\"command\", …]",
        doc: "gives the commands to launch; the last instruction",
        text: include_str!("instruction/text/cmds.md"),
        flags: &[],
        form: Form::PlainWordsOrJson,
        apply: launch::cmds,
    },
    Instruction {
        keyword: "CMD",
        syntax: "CMD COMMAND",
        doc: "adds a launch command (deprecated: use CMDS)",
        text: include_str!("instruction/text/cmd.md"),
        flags: &[],
        form: Form::Raw,
        apply: launch::cmd,
    },
    Instruction {
        keyword: "CNI",
        syntax: "CNI [--checksum=sha256:HEX] [--values=FILE] [--set=KEY=VALUE] NAME SOURCE…",
        doc: "declares an application that is a network plugin",
        text: include_str!("instruction/text/cni.md"),
        flags: &[CHECKSUM, VALUES, SET],
        form: Form::WordsOrJson,
        apply: app::apply,
    },
    Instruction {
        keyword: "CSI",
        syntax: "CSI [--checksum=sha256:HEX] [--values=FILE] [--set=KEY=VALUE] NAME SOURCE…",
        doc: "declares an application that is a storage plugin",
        text: include_str!("instruction/text/csi.md"),
        flags: &[CHECKSUM, VALUES, SET],
        form: Form::WordsOrJson,
        apply: app::apply,
    },
    Instruction {
        keyword: "KUBEVERSION",
        syntax: "KUBEVERSION RANGE",
        doc: "says which Kubernetes versions the image supports",
        text: include_str!("instruction/text/kubeversion.md"),
        flags: &[],
        form: Form::Raw,
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

impl Instruction {
    /// The flag of a name, without dashes.
    pub(crate) fn flag(&self, name: &str) -> Option<&'static FlagSyntax> {
        self.flags.iter().find(|flag| flag.name == name)
    }
}
