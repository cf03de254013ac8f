//! What the helpers are told, and what they answer: JSON through a pipe, and a file in the run's own directory.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use solver::Network;

use super::SetupStep;

/// The answer, in [`Spec::dir`].
pub(super) const REPORT_FILE: &str = "report.json";
/// Where everything of the run goes that is written: the upper directory of the overlay.
pub(crate) const UPPER: &str = "upper";

/// A run. All paths of the host are absolute and below [`Spec::store`], sockets and runtimes excepted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The store; nothing else of the host's files is seen by the helper once it has its own root.
    pub(crate) store: PathBuf,
    /// A directory of the store for this run alone.
    pub(crate) dir: PathBuf,
    /// Directories that make up the root, newest first.
    pub(crate) lowers: Vec<PathBuf>,
    /// Program and arguments.
    pub(crate) args: Vec<String>,
    /// Environment, in order; later ones win.
    pub(crate) env: Vec<(String, String)>,
    /// Working directory.
    pub(crate) directory: String,
    /// `USER[:GROUP]`, names or numbers; empty is root.
    pub(crate) user: String,
    /// What is mounted over the root, in order.
    pub(crate) mounts: Vec<MountSpec>,
    /// The network.
    pub(crate) network: Network,
    /// All capabilities, nothing masked.
    pub(crate) is_insecure: bool,
    /// An OCI runtime to use; the embedded one where none is named.
    pub(crate) runtime: Option<PathBuf>,
    /// `/etc/resolv.conf`.
    pub(crate) resolv_conf: String,
    /// `/etc/hosts`.
    pub(crate) hosts: String,
}

/// Something mounted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountSpec {
    /// Where in the root: absolute, links resolved.
    pub(crate) target: String,
    /// What.
    pub(crate) origin: Origin,
    /// Whether it cannot be written.
    pub(crate) is_readonly: bool,
}

/// What is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// A directory or file of the store.
    Path(PathBuf),
    /// A path in directories put over each other, newest first; what is written there is thrown away.
    Layers {
        /// The directories.
        lowers: Vec<PathBuf>,
        /// The path in them, without a leading `/`; empty is all.
        path: PathBuf,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Most bytes in it.
        size_bytes: Option<u64>,
    },
    /// A file that exists in memory only.
    File {
        /// Content.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// A socket of the host.
    Socket(PathBuf),
}

/// How a run ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The command was run.
    Ended {
        /// Exit code.
        code: i32,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// It was not.
    Broken {
        /// What was being done.
        step: SetupStep,
        /// The kernel's answer.
        errno: Option<i32>,
        /// All that is known.
        message: String,
    },
}
