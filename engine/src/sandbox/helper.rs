//! The two helper processes. They are single-threaded from their first instruction, so everything here may fork.

use std::fmt::Display;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use libcontainer::network::link::LinkClient;
use libcontainer::network::wrapper::create_network_client;
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Signal, set_parent_process_death_signal};
use solver::Network;

use super::spec::{REPORT_FILE, Report, Spec};
use super::{SELF, SetupStep, bundle, runtime, users, world};

/// The first argument that makes this program a helper.
pub const ROLE: &str = "sandbox-helper";
/// The second: who unshares.
pub(super) const OUTER: &str = "outer";
/// The second: who is process 1.
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
    let mut text = Vec::new();
    let spec = match io::stdin().take(SPEC_LIMIT).read_to_end(&mut text) {
        Ok(_) => serde_json::from_slice::<Spec>(&text).ok(),
        Err(_) => None,
    };
    // Without a spec there is not even a place for a report.
    let Some(spec) = spec else { return 2 };
    let done = match role {
        OUTER => outer(&spec, text),
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

/// Unshares what a command must not share, and becomes the parent of its process 1.
fn outer(spec: &Spec, text: Vec<u8>) -> Result<(), Broken> {
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
    let _ = io::Write::write_all(&mut stdin, &text);
    drop((stdin, text));
    let status = inner.wait().map_err(failed)?;
    if status.success() || spec.dir.join(REPORT_FILE).exists() {
        return Ok(());
    }
    Err(Broken::new(SetupStep::Namespaces, format!("process 1 of the sandbox ended with {status}")))
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
