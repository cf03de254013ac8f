//! RUN: a command in a sandbox of its own.
//!
//! ```text
//! sealer ─ spawns ─▶ outer ─ unshares namespaces, spawns ─▶ inner (process 1) ─ OCI runtime ─▶ the command
//! ```
//!
//! Both helpers are this program, executed again, so that nothing is forked from a process with threads. Everything that
//! is mounted is mounted in the helpers' own mount namespace, and every process of the command lives in a process
//! namespace whose first process is the inner helper: when a helper dies, however it dies, the kernel ends the command and
//! takes the mounts away. There is nothing to clean up, so nothing can stay.

mod bundle;
mod error;
mod helper;
mod lines;
pub mod rootless;
mod runtime;
mod spec;
mod users;
mod world;

use std::collections::VecDeque;
use std::io::{self, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

pub use self::error::{SandboxError, SetupStep};
pub use self::helper::{ROLE, run as run_helper};
use self::lines::Lines;
pub(crate) use self::spec::{MountSpec, Origin, Spec, UPPER};
use self::spec::{REPORT_FILE, Report};
pub(crate) use self::users::give;
use crate::cancel::Cancel;
use crate::secret::Hidden;

/// This program, whatever became of its file since it was started.
const SELF: &str = "/proc/self/exe";
/// How often a wait looks whether it should go on.
const INTERVAL: Duration = Duration::from_millis(50);
/// More bytes than any report has.
const REPORT_ROOM: usize = 64 << 10;
/// Lines of output that stand in an error.
const LAST_LINES: usize = 20;

/// What a run is watched with.
pub(crate) struct Watch<'a> {
    /// Stops it.
    pub(crate) cancel: &'a Cancel,
    /// Longest it may take.
    pub(crate) timeout: Option<Duration>,
    /// What is in no line.
    pub(crate) hidden: &'a Hidden,
    /// Hears every line the command writes.
    pub(crate) told: &'a (dyn Fn(&str) + Sync),
}

/// Runs a command and waits for its end.
///
/// # Errors
/// When the sandbox cannot be made, or the command fails, takes too long, or is stopped; then all of it has ended.
pub(crate) fn run(spec: &Spec, watch: &Watch<'_>) -> Result<(), SandboxError> {
    // The Kubefile has none; a base image and a secret may.
    if let Some((name, _)) =
        spec.env.iter().find(|(name, value)| [name, value].iter().any(|text| text.contains('\0')))
    {
        return Err(SandboxError::NulInVariable(name.escape_debug().to_string()));
    }
    let (reader, writer) = io::pipe()?;
    let mut helper = Command::new(SELF)
        .args([ROLE, helper::OUTER])
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    let mut stdin = helper.stdin.take().expect("standard input was asked for as a pipe");
    // Secrets pass through this pipe and are in no file.
    let text = serde_json::to_vec(spec).map_err(io::Error::other)?;
    let given = helper::send(&mut stdin, &text);
    let mut last = VecDeque::with_capacity(LAST_LINES);
    let (tx, rx) = crossbeam_channel::unbounded();
    let waited = std::thread::scope(|scope| {
        scope.spawn(move || {
            for line in Lines::new(BufReader::new(reader), watch.hidden) {
                // The loop listens until the output ends.
                let _ = tx.send(line);
            }
        });
        let waited = wait(&rx, watch, &mut last);
        if waited.is_err() {
            kill(&helper);
        }
        waited
    });
    let status = helper.wait()?;
    drop(stdin);
    waited.map_err(|stopped| stopped.into_error(watch, &last))?;
    given?;
    let report = fs_err::read(spec.dir.join(REPORT_FILE)).ok();
    match report.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        Some(Report::Ended { code: 0, signal: None }) => Ok(()),
        Some(Report::Ended { code, signal }) => {
            Err(SandboxError::Failed { code, signal, log: last.into_iter().collect() })
        }
        Some(Report::Broken { step: SetupStep::Program, message, .. }) => Err(SandboxError::Program(message)),
        Some(Report::Broken { step, errno, message }) => Err(SandboxError::Setup { step, errno, message }),
        None => {
            // Perhaps there was no room for one.
            fs_err::write(spec.dir.join(REPORT_FILE), [0; REPORT_ROOM])?;
            Err(SandboxError::Helper { status: status.to_string(), log: last.into_iter().collect() })
        }
    }
}

/// Why a wait ended before the command.
enum Stopped {
    Cancelled,
    TimedOut,
}

impl Stopped {
    fn into_error(self, watch: &Watch<'_>, last: &VecDeque<String>) -> SandboxError {
        match self {
            Self::Cancelled => SandboxError::Cancelled,
            Self::TimedOut => SandboxError::TimedOut {
                limit: watch.timeout.unwrap_or_default(),
                log: last.iter().cloned().collect(),
            },
        }
    }
}

/// Passes lines on until the output ends: the helpers hold it open as long as they live.
fn wait(rx: &Receiver<String>, watch: &Watch<'_>, last: &mut VecDeque<String>) -> Result<(), Stopped> {
    // A limit beyond all time is none.
    let end = watch.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        match rx.recv_timeout(INTERVAL) {
            Ok(line) => {
                (watch.told)(&line);
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if watch.cancel.is_cancelled() {
            return Err(Stopped::Cancelled);
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(Stopped::TimedOut);
        }
    }
}

/// Ends both helpers, and with them everything they have started.
fn kill(helper: &Child) {
    let Some(pid) = i32::try_from(helper.id()).ok().and_then(rustix::process::Pid::from_raw) else { return };
    // A group that has ended already is what is wanted.
    let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
}

/// Whether a directory can hold the writable part of an overlay mount.
pub(crate) fn upper_fault(dir: &Path) -> Option<&'static str> {
    use rustix::fs::FsWord;
    /// `overlayfs`, as statfs(2) says it.
    const OVERLAY: FsWord = 0x794c_7630;
    /// NFS.
    const NFS: FsWord = 0x6969;
    let kind = rustix::fs::statfs(dir).ok()?.f_type;
    match kind {
        OVERLAY => Some("an overlay itself"),
        NFS => Some("NFS"),
        _ => None,
    }
}
