//! The two helper processes. They are single-threaded from their first instruction, so everything here may fork.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use libcontainer::network::link::LinkClient;
use libcontainer::network::wrapper::create_network_client;
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};
use solver::Network;

use super::spec::{REPORT_FILE, Report, Spec};
use super::{SELF, SetupStep, bundle, runtime, users, world};

/// The first argument that makes this program a helper.
pub const ROLE: &str = "sandbox-helper";
/// The second argument of the helper that unshares namespaces.
pub(super) const OUTER: &str = "outer";
/// The second argument of the helper that is process 1.
const INNER: &str = "inner";
/// Largest spec that is read, in bytes: secrets and scripts are in it.
const SPEC_LIMIT: u64 = 256 << 20;
/// Index of the loopback interface in a new network namespace.
const LOOPBACK: u32 = 1;

/// A part of the sandbox that could not be made.
#[derive(Debug)]
pub(super) struct Broken {
    step: SetupStep,
    errno: Option<i32>,
    message: String,
}

impl Broken {
    pub(super) fn new(step: SetupStep, message: impl Display) -> Self {
        Self { step, errno: None, message: message.to_string() }
    }

    /// What the kernel answered.
    pub(super) fn errno(step: SetupStep, what: impl Display, error: io::Error) -> Self {
        Self { step, errno: error.raw_os_error(), message: format!("{what}: {error}") }
    }
}

/// Runs a helper; `role` is the word after [`ROLE`]. Returns this process's exit code.
pub fn run(role: &str) -> u8 {
    // A helper without its parent has nobody to report to.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // Without a spec there is not even a place for a report.
    let Some((spec, text)) = receive() else { return 2 };
    let done = match role {
        OUTER => outer(&spec, &text),
        INNER => inner(&spec),
        _ => return 2,
    };
    match done {
        Ok(()) => 0,
        Err(Broken { step, errno, message }) => {
            report(&spec.dir, &Report::Broken { step, errno, message });
            1
        }
    }
}

/// Hands a spec to a helper. The pipe stays open as long as the caller lives: that it is closed tells of a death that came
/// before the kernel was asked to tell.
pub(super) fn send(to: &mut impl Write, text: &[u8]) -> io::Result<()> {
    to.write_all(&(text.len() as u64).to_le_bytes())?;
    match to.write_all(text) {
        // It has ended already, and its report says why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Takes a spec.
fn receive() -> Option<(Spec, Vec<u8>)> {
    let mut stdin = io::stdin().lock();
    let mut length = [0; 8];
    stdin.read_exact(&mut length).ok()?;
    let length = Some(u64::from_le_bytes(length)).filter(|length| *length <= SPEC_LIMIT)?;
    let mut text = vec![0; usize::try_from(length).ok()?];
    stdin.read_exact(&mut text).ok()?;
    Some((serde_json::from_slice(&text).ok()?, text))
}

/// Waits for a child to end, or for whoever started this helper: then there is no use in going on.
pub(super) fn outlives_caller(child: Pid) -> io::Result<bool> {
    let child = pidfd_open(child, PidfdFlags::empty())?;
    let stdin = io::stdin();
    loop {
        let mut fds = [PollFd::new(&child, PollFlags::IN), PollFd::new(&stdin, PollFlags::empty())];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        if !fds[0].revents().is_empty() {
            return Ok(false);
        }
        if fds[1].revents().contains(PollFlags::HUP) {
            return Ok(true);
        }
    }
}

/// Unshares what a command must not share, and becomes the parent of its process 1.
fn outer(spec: &Spec, text: &[u8]) -> Result<(), Broken> {
    // What the caller has as its own would show in the modes of what a command makes.
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if spec.network == Network::None {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    unshare(flags)
        .map_err(|error| Broken::errno(SetupStep::Namespaces, "new namespaces", io::Error::from(error)))?;
    if spec.network == Network::None {
        raise_loopback()?;
    }
    let failed = |error| Broken::errno(SetupStep::Namespaces, "a process in the new namespaces", error);
    let mut inner = Command::new(SELF).args([ROLE, INNER]).stdin(Stdio::piped()).spawn().map_err(failed)?;
    let mut stdin = inner.stdin.take().expect("standard input was asked for as a pipe");
    // If it has ended already, its exit says more.
    let _ = send(&mut stdin, text);
    let pid = pid_of(&inner);
    if outlives_caller(pid).map_err(failed)? {
        // Process 1 goes, and everything with it.
        let _ = inner.kill();
    }
    let status = inner.wait().map_err(failed)?;
    drop(stdin);
    if status.success() || spec.dir.join(REPORT_FILE).exists() {
        return Ok(());
    }
    Err(Broken::new(SetupStep::Namespaces, format!("process 1 of the sandbox ended with {status}")))
}

fn pid_of(child: &Child) -> Pid {
    let id = i32::try_from(child.id()).expect("process ids are positive numbers of 32 bits");
    Pid::from_raw(id).expect("a child is not process 0")
}

fn raise_loopback() -> Result<(), Broken> {
    let raised = LinkClient::new(create_network_client()).and_then(|mut links| links.set_up(LOOPBACK));
    raised.map_err(|error| Broken::new(SetupStep::Network, format!("loopback: {error}")))
}

/// Makes the root, has a runtime run the command in it, and waits.
fn inner(spec: &Spec) -> Result<(), Broken> {
    let mut world = world::enter(spec)?;
    let user = users::resolve(&world.root, &spec.user)?;
    let mounts = world.mounts(spec)?;
    let bundle = bundle::write(&world, spec, &user, &mounts)?;
    let status = match &spec.runtime {
        Some(runtime) => runtime::external(runtime, &bundle)?,
        None => runtime::embedded(&bundle)?,
    };
    report(&spec.dir, &ended(status));
    Ok(())
}

fn ended(status: ExitStatus) -> Report {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) => Report::Ended { code: 128 + signal, signal: Some(signal) },
        None => Report::Ended { code: status.code().unwrap_or(1), signal: None },
    }
}

/// A report that cannot be written shows as a helper that ended without a word.
fn report(dir: &Path, report: &Report) {
    if let Ok(bytes) = serde_json::to_vec(report) {
        let _ = fs_err::write(dir.join(REPORT_FILE), bytes);
    }
}
