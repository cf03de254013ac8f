//! `sealer build`

use std::ops::Deref;
use std::path::PathBuf;

use clap::{Args, FromArgMatches, ValueEnum};

use super::{RegistryFlags, Tunables};

/// How `--explain` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Explain {
    /// For people.
    Text,
    /// One JSON array.
    Json,
}

/// How `--check` tells what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people, on standard error.
    Text,
    /// One JSON object on standard output; `docs/lint/README.md` describes it.
    Json,
    /// SARIF 2.1.0 on standard output, for code scanning.
    Sarif,
}

/// What a build is planned by, and a picture of the plan.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Planning {
    /// Build context: a directory, a tar archive, `-` for one on standard input, or the URL of an archive or a git repository
    #[arg(default_value = ".", value_name = "PATH|URL|-")]
    pub(crate) path: PathBuf,
    /// Kubefile, relative to the working directory, or to the root of a context that is no directory; `-` is standard input [default: PATH/Kubefile, else ./Kubefile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A further build context, for `COPY --from` and FROM: a directory, an archive, docker-image://REFERENCE or a URL; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_context: Vec<String>,
    /// Platform of the image, as os/arch[/variant]; several make an index of images [default: this machine's]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Build this stage instead of the last
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Values of ARGs: with commas between several, and quotes around one that has a comma in it, as '"KEY=a,b"'
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub(crate) build_arg: Vec<String>,
    /// When to ask registries for base images: always, ifnewer, missing or never
    #[arg(long, value_name = "POLICY", default_value = "ifnewer")]
    pub(crate) pull: String,
    /// Build only if `Kubefile.lock` says what every name leads to
    #[arg(long)]
    pub(crate) locked: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryFlags,
    /// Run every step, whatever the cache holds
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Run the steps of an application or a stage, whatever the cache holds; may be given several times
    #[arg(long, value_name = "APP|STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Allow what is refused otherwise: security.insecure
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// Read every file of the context again, whatever its size and times say
    #[arg(long)]
    pub(crate) paranoid: bool,
    /// A cache to ask for what the store does not know: a reference of a cache or of an image with one in it, type=registry,ref=NAME or type=local,src=DIR; may be given several times
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_from: Vec<String>,
    /// A cache that cannot be read or written is an error, and not a warning
    #[arg(long)]
    pub(crate) cache_required: bool,
    /// Believe only records of caches that are signed with the key in this file, and sign with it
    #[arg(long, value_name = "FILE")]
    pub(crate) cache_sign_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tunables: Tunables,
}

/// `sealer build`
#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pub(crate) planning: Planning,
    /// Name of the image; may be given several times
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Where the image goes; may be given several times. Types: store, oci-archive, docker-archive, oci-dir, docker-dir, rootfs, tar. `dest=-` is standard output [default: type=store]
    #[arg(short, long, value_name = "type=TYPE,dest=PATH")]
    pub(crate) output: Vec<String>,
    /// Type of the image: kube-installer or app-installer
    #[arg(long = "type", value_name = "TYPE", default_value = "kube-installer")]
    pub(crate) image_type: String,
    /// `all` looks for container images and carries them, `lite` does not
    #[arg(long, value_name = "MODE", default_value = "all")]
    pub(crate) build_mode: String,
    /// Look for no container images in an application; may be given several times
    #[arg(long, value_name = "APP", value_delimiter = ',')]
    pub(crate) no_discover: Vec<String>,
    /// Labels of the image, written as `--build-arg`; any replaces io.sealer.version, as in sealer
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub(crate) label: Vec<String>,
    /// Annotations of the manifest, written as `--build-arg`
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub(crate) annotation: Vec<String>,
    /// Write what names led to into `Kubefile.lock` next to the Kubefile; what is in there stays as it is
    #[arg(long, conflicts_with = "locked")]
    pub(crate) lock: bool,
    /// Ask anew what names lead to, and write it into `Kubefile.lock`: all, or the image or URL given; may be given several times
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "locked"
    )]
    pub(crate) update: Vec<String>,
    /// Send the image to the registries that its names say
    #[arg(long)]
    pub(crate) push: bool,
    /// A secret for RUN --mount=type=secret, as id=ID,src=FILE or id=ID,env=NAME; may be given several times
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,
    /// An SSH agent for RUN --mount=type=ssh, as `default` or ID=SOCKET; may be given several times
    #[arg(long, value_name = "AGENT")]
    pub(crate) ssh: Vec<String>,
    /// OCI runtime for RUN: runc, crun or a path [default: the one built in]
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<PathBuf>,
    /// Longest a RUN may take, as 90s or 10m [default: no limit]
    #[arg(long, value_name = "DURATION")]
    pub(crate) run_timeout: Option<String>,
    /// Say of each step whether it ran, and why
    #[arg(
        long,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text"
    )]
    pub(crate) explain: Option<Explain>,
    /// Write a page that shows where the time went to an HTML file: steps by lane, the critical path, processors and network
    #[arg(long, value_name = "FILE")]
    pub(crate) timings: Option<PathBuf>,
    /// Write the same as a trace to a JSON file, for Perfetto and chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Only look the Kubefile through, for errors and with every lint; builds, fetches and stores nothing
    #[arg(
        long,
        conflicts_with_all = ["explain", "iidfile", "metadata_file", "lock", "locked", "update", "timings", "trace", "push", "output"]
    )]
    pub(crate) check: bool,
    /// How `--check` tells what it found [default: text]
    #[arg(long, value_name = "FORMAT", requires = "check")]
    pub(crate) format: Option<CheckFormat>,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what was built, and at what cost, to a JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Container images to carry besides those that are found: a reference a line
    #[arg(long, value_name = "FILE")]
    pub(crate) image_list: Option<PathBuf>,
    /// Container images not to carry: a reference or a pattern a line
    #[arg(long, value_name = "FILE")]
    pub(crate) ignored_image_list: Option<PathBuf>,
    /// A cache to keep what was built in: a reference, type=registry,ref=NAME or type=local,dest=DIR, with mode=min|max, compression=FORMAT, max-age=30d and max-size=10G; or type=inline, in the image; may be given several times
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_to: Vec<String>,
    /// Leave layers that are in a registry there until somebody reads them
    #[arg(long)]
    pub(crate) lazy: bool,
    /// An archive or a directory that has container images: they need not come from a registry; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) image_archive: Vec<PathBuf>,
    /// Container images to carry, with who may fetch them: a YAML list of registry, username, password and images
    #[arg(long, value_name = "FILE")]
    pub(crate) image_list_with_auth: Option<PathBuf>,
}

/// What a build is planned by is asked of the build.
impl Deref for Build {
    type Target = Planning;

    fn deref(&self) -> &Planning {
        &self.planning
    }
}

impl Build {
    /// A build of which nothing but the plan is wanted.
    pub(crate) fn planned_by(planning: &Planning) -> Self {
        let command = Self::augment_args(clap::Command::new("build"));
        let matches = command.try_get_matches_from(["build", "--tag", "plan"]);
        let defaults = matches.and_then(|matches| Self::from_arg_matches(&matches));
        let defaults = defaults.expect("nothing has to be given");
        Self { planning: planning.clone(), ..defaults }
    }
}
