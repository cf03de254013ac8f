//! The words of the command line; what they mean is for others to say.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the command line can say.
pub(crate) const USAGE: &str = "\
bench [OPTIONS]: builds every workload with this sealer and with every peer that is found
  --only NAME,..        only these workloads; --list prints their names
  --quick               small data and two rounds: whether everything works, no figures
  --rounds N            rounds of this sealer (5); with gzip, and of a peer, three at most, and fewer where it is slow
  --budget SECONDS      time after which a peer gets no further round of a workload (40)
  --timeout SECONDS     longest a single build of a peer may take (300)
  --peers none|found    whether to look for peers (found)
  --install-peers       as root: installs buildah, docker.io, docker-registry, debootstrap and busybox-static with apt
  --ours PATH           the sealer that is measured (beside this program)
  --sealer PATH         the original sealer, as a peer
  --buildkitd PATH --buildctl PATH
                        a BuildKit of one's own, as a peer
  --out DIR             where figures.md, figures.json and charts go (bench-results beside this program)";

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) only: Vec<String>,
    pub(crate) lists: bool,
    pub(crate) is_quick: bool,
    pub(crate) rounds: usize,
    pub(crate) budget: Duration,
    pub(crate) timeout: Duration,
    pub(crate) finds_peers: bool,
    pub(crate) installs_peers: bool,
    pub(crate) ours: PathBuf,
    pub(crate) sealer: Option<PathBuf>,
    pub(crate) buildkit: Option<(PathBuf, PathBuf)>,
    pub(crate) out: PathBuf,
    /// Holds everything that is made on the way, and is removed.
    pub(crate) work: PathBuf,
}

impl Options {
    /// Reads the words after the program's name.
    ///
    /// # Errors
    /// When one is not known, or lacks its value.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let ours = benches::beside_me();
        let beside = ours.parent().unwrap_or(Path::new(".")).to_owned();
        let mut options = Self {
            only: Vec::new(),
            lists: false,
            is_quick: false,
            rounds: 0,
            budget: Duration::from_secs(40),
            timeout: Duration::from_secs(300),
            finds_peers: true,
            installs_peers: false,
            sealer: None,
            buildkit: None,
            out: beside.join("bench-results"),
            work: beside.join("bench-work"),
            ours,
        };
        let (mut buildkitd, mut buildctl) = (None, None);
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| wrong(&format!("`{word}` needs a value")));
            match word.as_str() {
                "--list" => options.lists = true,
                "--quick" => options.is_quick = true,
                "--install-peers" => options.installs_peers = true,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--rounds" => options.rounds = number(&value()?)?,
                "--budget" => options.budget = Duration::from_secs(number(&value()?)?),
                "--timeout" => options.timeout = Duration::from_secs(number(&value()?)?),
                "--peers" => options.finds_peers = peers(&value()?)?,
                "--ours" => options.ours = path(&value()?)?,
                "--sealer" => options.sealer = Some(path(&value()?)?),
                "--buildkitd" => buildkitd = Some(path(&value()?)?),
                "--buildctl" => buildctl = Some(path(&value()?)?),
                "--out" => options.out = PathBuf::from(value()?),
                _ => return Err(wrong(&format!("`{word}` is not known"))),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.is_quick { 2 } else { 5 };
        }
        options.buildkit = match (buildkitd, buildctl) {
            (Some(daemon), Some(client)) => Some((daemon, client)),
            (None, None) => None,
            _ => return Err(wrong("`--buildkitd` and `--buildctl` belong together")),
        };
        Ok(options)
    }
}

fn peers(word: &str) -> io::Result<bool> {
    match word {
        "none" => Ok(false),
        "found" => Ok(true),
        _ => Err(wrong("`--peers` is `none` or `found`")),
    }
}

fn number<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse().map_err(|_| wrong(&format!("`{word}` is no number")))
}

/// An absolute path, which holds whatever the working directory of a tool is.
fn path(word: &str) -> io::Result<PathBuf> {
    fs_err::canonicalize(word)
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what}\n\n{USAGE}"))
}
