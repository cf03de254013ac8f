//! Running a command on a state: its parameters, and what is mounted into its root while it runs.
//!
//! What a run leaves in a mount is in no delta: the state below and the command alone decide what the step adds.

use serde::{Deserialize, Serialize};

use crate::{Owner, Platform};

/// Runs a command. With `below`, input 0 is the state it runs on; mounts name their own inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOp {
    /// Whether input 0 is the state below. False on an empty root.
    pub below: bool,
    /// The program and its arguments; a shell form has its shell in front.
    pub args: Vec<String>,
    /// The whole environment but for proxies and secrets, in order.
    pub env: Vec<(String, String)>,
    /// Working directory; made if it is missing.
    pub directory: String,
    /// Who runs it, as an image config says it: `USER[:GROUP]`, names or numbers; empty is root.
    pub user: String,
    /// What is mounted, in the order of the text.
    pub mounts: Vec<Mount>,
    /// The network it sees.
    pub network: Network,
    /// Whether it may do what root of the machine may.
    pub is_insecure: bool,
    /// Whether it runs where there is no user but root: what belongs to others becomes root's.
    pub has_one_user: bool,
    /// The platform its programs are for.
    pub platform: Platform,
}

/// The network of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Network {
    /// The host's, as sealer does it.
    #[default]
    Host,
    /// Loopback and nothing else.
    None,
}

/// Something mounted into the root of a command while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, absolute and cleaned.
    pub target: String,
    /// What.
    pub kind: MountKind,
}

/// Kinds of mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// Files of an input. What is written there is thrown away.
    Bind {
        /// Index into the vertex's inputs.
        input: usize,
        /// Path in the input, cleaned, no leading `/`; `.` is all of it.
        source: String,
        /// Whether it can be written.
        is_writable: bool,
    },
    /// A directory that stays from build to build.
    Cache {
        /// What it is known by.
        id: String,
        /// Who may use it at a time.
        sharing: Sharing,
        /// Whether it cannot be written.
        is_readonly: bool,
        /// What it is made with: an input and a path in it.
        source: Option<(usize, String)>,
        /// Permission bits of the directory when it is made.
        mode: u32,
        /// Owner of the directory when it is made.
        owner: Owner,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Most bytes in it.
        size_bytes: Option<u64>,
    },
    /// A secret of the command line, as a file or a variable.
    Secret {
        /// Which one.
        id: String,
        /// Whether it has to be given.
        is_required: bool,
        /// The variable it becomes; with an empty target it is no file.
        env: Option<String>,
        /// Permission bits of the file.
        mode: u32,
        /// Owner of the file.
        owner: Owner,
    },
    /// The socket of an SSH agent; `SSH_AUTH_SOCK` names the first.
    Ssh {
        /// Which one.
        id: String,
        /// Whether it has to be given.
        is_required: bool,
    },
    /// An executable file whose content stands in the text (heredoc).
    Script {
        /// Content.
        content: Vec<u8>,
    },
}

/// Who may use a cache mount at a time; the strictest is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One; who comes while it is taken gets another one.
    Private,
    /// One; the others wait.
    Locked,
}

impl Sharing {
    /// The word of the text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Locked => "locked",
        }
    }
}

impl ExecOp {
    /// The inputs that mounts use, in the order of the mounts.
    pub fn mounted_inputs(&self) -> impl Iterator<Item = (usize, &str)> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Bind { input, source, .. }
            | MountKind::Cache { source: Some((input, source)), .. } => Some((*input, source.as_str())),
            _ => None,
        })
    }
}
