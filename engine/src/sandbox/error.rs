//! Why a command was not run, or did not succeed.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Parts of making a sandbox; each needs something of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetupStep {
    /// Namespaces for mounts, processes, IPC and the host name.
    Namespaces,
    /// A network namespace with loopback.
    Network,
    /// The helper's own view of the file system.
    World,
    /// A proc file system for the new process namespace.
    Proc,
    /// The overlay of layers.
    Overlay,
    /// What is mounted into the root.
    Mounts,
    /// The user the image names.
    User,
    /// The OCI runtime.
    Runtime,
    /// The command's program: all else is there.
    Program,
}

/// A command that did not succeed.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The command's own failure.
    #[error("the command {}", ended(*code, *signal))]
    Failed {
        /// Exit code.
        code: i32,
        /// The signal that ended it.
        signal: Option<i32>,
        /// Its last lines.
        log: Vec<String>,
    },
    /// It took too long.
    #[error("the command did not end within {} and was stopped", humantime::format_duration(*limit))]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// Its last lines.
        log: Vec<String>,
    },
    /// The build was stopped.
    #[error("the build was cancelled")]
    Cancelled,
    /// The host does not let a sandbox be made.
    #[error("cannot make a sandbox for the command: {message}")]
    Setup {
        /// What was being done.
        step: SetupStep,
        /// The kernel's answer.
        errno: Option<i32>,
        /// All that is known.
        message: String,
    },
    /// The sandbox is fine, and the program is not there.
    #[error("the command was not run: {0}")]
    Program(String),
    /// The helper ended without a word.
    #[error("the helper of the sandbox ended with {status}")]
    Helper {
        /// How.
        status: String,
        /// What it wrote.
        log: Vec<String>,
    },
    /// A secret that must be there was not given.
    #[error("secret `{0}` is required and was not given")]
    MissingSecret(String),
    /// An agent that must be there was not given.
    #[error("SSH agent `{0}` is required and was not given")]
    MissingAgent(String),
    /// The kernel ends texts at a NUL.
    #[error("the variable `{0}` has a NUL byte in it, which no environment can hold")]
    NulInVariable(String),
    /// A mount's source is nowhere.
    #[error("`{path}` is not in what is mounted from")]
    NoSource {
        /// The path.
        path: String,
    },
    /// The store is where overlay mounts cannot be written.
    #[error("the store is on {0}, which an overlay mount cannot be written to")]
    StoreFileSystem(&'static str),
    /// Files could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn ended(code: i32, signal: Option<i32>) -> String {
    match signal {
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("ended with exit code {code}"),
    }
}

impl SandboxError {
    /// The last lines the command wrote.
    pub fn log(&self) -> &[String] {
        match self {
            Self::Failed { log, .. } | Self::TimedOut { log, .. } | Self::Helper { log, .. } => log,
            _ => &[],
        }
    }
}
