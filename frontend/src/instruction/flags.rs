//! Flags as the instruction table has them: what is accepted, what is suggested, what the reference says.

/// A flag that an instruction takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagSyntax {
    /// The name without dashes.
    pub name: &'static str,
    /// What its value looks like; empty for a switch, which may be given `true` or `false` all the same.
    pub value: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Whether it may be given several times.
    pub repeats: bool,
    /// Whether its value may also be the next word: `--set a=b` as well as `--set=a=b`.
    pub spaced: bool,
}

impl FlagSyntax {
    pub(super) const fn new(name: &'static str, value: &'static str, doc: &'static str) -> Self {
        Self { name, value, doc, repeats: false, spaced: false }
    }

    pub(super) const fn repeating(self) -> Self {
        Self { repeats: true, ..self }
    }

    pub(super) const fn spaced(self) -> Self {
        Self { spaced: true, ..self }
    }

    /// As it is written: `--name=VALUE`, or `--name`.
    pub fn written(&self) -> String {
        match self.value {
            "" => format!("--{}", self.name),
            value => format!("--{}={value}", self.name),
        }
    }
}

pub(super) const CHOWN: FlagSyntax = FlagSyntax::new(
    "chown",
    "USER[:GROUP]",
    "the owner of what is copied, by numbers, or by names that `/etc/passwd` and `/etc/group` of the files below have; 0:0 without it. Without GROUP it is the user's own, and that of the same number for a number",
);
pub(super) const CHMOD: FlagSyntax = FlagSyntax::new(
    "chmod",
    "MODE",
    "the mode of what is copied, octal or as changes such as `u=rwX,go-w`; the sources' own modes without it",
);
pub(super) const EXCLUDE: FlagSyntax = FlagSyntax::new(
    "exclude",
    "PATTERN",
    "leaves out what matches, by the rules of an ignore file; paths are those in the source directory, with `--parents` those that are kept",
)
.repeating();
pub(super) const PARENTS: FlagSyntax = FlagSyntax::new(
    "parents",
    "",
    "keeps the directories of the sources and their headers: `a/b.yaml` becomes `DESTINATION/a/b.yaml`, `a/./b/c.yaml` `DESTINATION/b/c.yaml`",
);
pub(super) const LINK: FlagSyntax = FlagSyntax::new(
    "link",
    "",
    "does not look at what lies below: links at the destination are not followed",
);
pub(super) const CHECKSUM: FlagSyntax = FlagSyntax::new(
    "checksum",
    "sha256:HEX",
    "what the one http(s) source must be; it is fetched again only when this changes",
);
pub(super) const VALUES: FlagSyntax = FlagSyntax::new(
    "values",
    "FILE",
    "a values file of the build context that its charts are rendered with to find container images; later ones win",
)
.repeating()
.spaced();
pub(super) const SET: FlagSyntax = FlagSyntax::new(
    "set",
    "KEY=VALUE",
    "values as in Helm's `--set`, over those of all files; `--set KEY=VALUE` is the same",
)
.repeating()
.spaced();
