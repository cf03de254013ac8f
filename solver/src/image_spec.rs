//! What an image says about itself beside its layers: facts of the config and of the sealer extension, as plain data.
//!
//! None of it is in any key: changing it remakes a config and a manifest and nothing else (design §5).

use std::collections::BTreeMap;
use std::fmt;

use crate::{LocalSource, ManifestDigest, Span, VertexDigest};

/// Operating system and architecture (image-spec, index, `platform`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    pub variant: Option<String>,
}

impl Platform {
    /// A platform in containerd's normal form: one spelling of what runs the same.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let [os, architecture, variant] =
            [os, architecture, variant.unwrap_or_default()].map(str::to_ascii_lowercase);
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        let variant = Some(variant.to_owned()).filter(|variant| !variant.is_empty());
        Self { os, architecture: architecture.to_owned(), variant }
    }

    /// The platforms whose images run on this one, best first: its own, and those of older processors (containerd's
    /// `platforms.Only`, without 32 bits on 64).
    pub fn fitting(&self) -> Vec<Self> {
        let older: &[Option<&str>] = match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm", Some("v8")) => &[Some("v7"), Some("v6"), Some("v5")],
            ("arm", Some("v7")) => &[Some("v6"), Some("v5")],
            ("arm", Some("v6")) => &[Some("v5")],
            ("amd64", Some("v4")) => &[Some("v3"), Some("v2"), None],
            ("amd64", Some("v3")) => &[Some("v2"), None],
            ("amd64", Some("v2")) | ("arm64", Some(_)) => &[None],
            _ => &[],
        };
        let older = older.iter().map(|variant| Self { variant: variant.map(str::to_owned), ..self.clone() });
        std::iter::once(self.clone()).chain(older).collect()
    }

    /// Whether an image for a platform runs on this one.
    pub fn runs(&self, image: &Self) -> bool {
        self.fitting().contains(image)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// An application as stored in the extension (spec §2.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Application {
    /// Name; for applications of old bases it may be anything, and is never used as a path.
    pub name: String,
    /// `helm`, `kube`, `shell`; `None` is sealer's untyped.
    pub kind: Option<String>,
    /// Launch files, as sealer spells them.
    pub files: Vec<String>,
    /// Always `v1` today.
    pub version: String,
    /// APPENV.
    pub env: BTreeMap<String, String>,
    /// Launch commands; override what the type implies.
    pub cmds: Vec<String>,
}

/// What the image launches (spec §1.7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launch {
    /// Commands.
    pub cmds: Vec<String>,
    /// Applications, in order.
    pub app_names: Vec<String>,
}

/// A base image, as far as lowering needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// Full normalised name; empty for `scratch`.
    pub reference: String,
    /// The manifest it was pinned to; `None` for `scratch`.
    pub digest: Option<ManifestDigest>,
    /// Environment of its config, in order.
    pub env: Vec<(String, String)>,
    /// Working directory of its config; empty is `/`.
    pub working_dir: String,
    /// User of its config; empty is root.
    pub user: String,
    /// Labels of its config.
    pub labels: BTreeMap<String, String>,
    /// Author of its config.
    pub author: Option<String>,
    /// Applications of its extension, in order; empty for images that are not sealer's.
    pub applications: Vec<Application>,
}

/// An application of the image being built: given by this build, or inherited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppSpec {
    /// Taken over from the base as it is, except for what this build overrides.
    Inherited(Application),
    /// Declared here: kind and files come from the vertex's facts.
    Declared {
        /// Name.
        name: String,
        /// The vertex that collects its files; `None` when it ships none.
        vertex: Option<VertexDigest>,
        /// APPENV.
        env: BTreeMap<String, String>,
        /// APPCMDS; `None` when not given.
        cmds: Option<Vec<String>>,
        /// Whether it has exactly one source: only then a packaged chart launches by itself (spec §9).
        single_source: bool,
        /// What its charts are rendered with when container images are looked for.
        values: ChartValues,
        /// The declaring statement, for the one error that only its content can show.
        span: Span,
    },
}

impl AppSpec {
    /// Name.
    pub fn name(&self) -> &str {
        match self {
            Self::Inherited(application) => &application.name,
            Self::Declared { name, .. } => name,
        }
    }
}

/// Values for the charts of an application, beside their own. They decide which container images are found, and nothing
/// of the application itself: like everything here they are in no key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChartValues {
    /// Files of the build context with where they are named; later ones win.
    pub files: Vec<(LocalSource, Span)>,
    /// Texts in the language of Helm's `--set`, which win over all files; later ones over earlier ones.
    pub set: Vec<(String, Span)>,
}

impl ChartValues {
    /// Whether charts have their own values alone.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.set.is_empty()
    }
}

/// One history entry of the config (image-spec, config, `history`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryStep {
    /// The instruction as written, on one line.
    pub text: String,
    /// The vertex whose layer it made; `None` for instructions that make none.
    pub vertex: Option<VertexDigest>,
}

/// Everything the config, the manifest and the extension need beside the layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// The platform written into the config.
    pub platform: Platform,
    /// The base of the final stage; `Base::default()` for scratch.
    pub base: Base,
    /// Config environment, complete and in order.
    pub env: Vec<(String, String)>,
    /// `env` of the extension: what this text declares.
    pub extension_env: BTreeMap<String, String>,
    /// Config labels, complete.
    pub labels: BTreeMap<String, String>,
    /// Config author.
    pub author: Option<String>,
    /// Applications, base first, in order of declaration.
    pub apps: Vec<AppSpec>,
    /// What is launched.
    pub launch: Launch,
    /// History of this text; the base's comes before it.
    pub history: Vec<HistoryStep>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_one_spelling() {
        for (os, architecture, variant, shown) in [
            ("linux", "amd64", None, "linux/amd64"),
            ("Linux", "AMD64", Some(""), "linux/amd64"),
            ("linux", "x86_64", Some("v1"), "linux/amd64"),
            ("linux", "amd64", Some("v3"), "linux/amd64/v3"),
            ("linux", "i386", None, "linux/386"),
            ("linux", "aarch64", Some("8"), "linux/arm64"),
            ("linux", "arm64", Some("v9"), "linux/arm64/v9"),
            ("linux", "arm", None, "linux/arm/v7"),
            ("linux", "arm", Some("6"), "linux/arm/v6"),
            ("linux", "armhf", None, "linux/arm/v7"),
            ("linux", "armel", None, "linux/arm/v6"),
            ("linux", "riscv64", None, "linux/riscv64"),
        ] {
            let platform = Platform::new(os, architecture, variant);
            assert_eq!(platform.to_string(), shown);
            let again = Platform::new(&platform.os, &platform.architecture, platform.variant.as_deref());
            assert_eq!(again, platform);
        }
    }
}
