//! Who runs a bundle: the embedded libcontainer, or a program that speaks the OCI runtime command line.

use std::error::Error;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::sys::wait::{WaitStatus, waitpid};

use super::SetupStep;
use super::bundle::Bundle;
use super::helper::{self, Broken};

/// What words about the program itself begin with. libcontainer gives them back as the end of its own.
const OF_PROGRAM: &str = "program: ";
/// How other runtimes say that there is none.
const NO_PROGRAM: &str = "not found in $PATH";
/// The one container of this process namespace.
const ID: &str = "run";

/// Runs a bundle with libcontainer and waits for its end.
pub(super) fn embedded(bundle: &Bundle) -> Result<ExitStatus, Broken> {
    let broken = |error: &dyn Error| {
        let cause = last_cause(error);
        match cause.split_once(OF_PROGRAM) {
            Some((_, text)) => Broken::new(SetupStep::Program, text),
            None => Broken::new(SetupStep::Runtime, cause),
        }
    };
    let nothing = fs_err::File::open("/dev/null")
        .map_err(|error| Broken::errno(SetupStep::Runtime, "standard input", error))?;
    let nothing: OwnedFd = nothing.into_parts().0.into();
    let mut container = ContainerBuilder::new(ID.to_owned(), SyscallType::default())
        .with_executor(Program)
        .with_stdin(nothing)
        .with_root_path(&bundle.state)
        .map_err(|error| broken(&error))?
        .as_init(&bundle.dir)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|error| broken(&error))?;
    let pid =
        container.pid().ok_or_else(|| Broken::new(SetupStep::Runtime, "the container has no process"))?;
    container.start().map_err(|error| broken(&error))?;
    let waiting = |error| Broken::errno(SetupStep::Runtime, "waiting", error);
    let seen = rustix::process::Pid::from_raw(pid.as_raw());
    if seen.is_some_and(|pid| helper::outlives_caller(pid).unwrap_or(false)) {
        // The end of this process, the first of its namespace, is the end of all others.
        return Err(Broken::new(SetupStep::Runtime, "nobody waits for the command any more"));
    }
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(ExitStatus::from_raw(code << 8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(ExitStatus::from_raw(signal as i32)),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(waiting(io::Error::from(error))),
        }
    }
}

/// Runs a bundle with another runtime.
pub(super) fn external(runtime: &Path, bundle: &Bundle) -> Result<ExitStatus, Broken> {
    let log = bundle.state.join("log.json");
    let status = Command::new(runtime)
        .arg("--root")
        .arg(&bundle.state)
        .arg("--log")
        .arg(&log)
        .args(["--log-format", "json", "run", "--bundle"])
        .arg(&bundle.dir)
        .arg(ID)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Broken::errno(SetupStep::Runtime, runtime.display(), error))?;
    // A command that fails writes nothing into the runtime's own log.
    let said = fs_err::read_to_string(log).unwrap_or_default();
    let mut entries = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    match entries.rfind(|entry| entry["level"] == "error") {
        Some(entry) if !status.success() => {
            let message = entry["msg"].as_str().unwrap_or_default();
            let step = if message.contains(NO_PROGRAM) { SetupStep::Program } else { SetupStep::Runtime };
            Err(Broken::new(step, format!("{}: {message}", runtime.display())))
        }
        _ => Ok(status),
    }
}

/// The innermost cause says what happened; those around it say where in the runtime.
fn last_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Finds and executes the command's program.
#[derive(Debug, Clone)]
struct Program;

impl Program {
    fn find(spec: &Spec) -> Result<(PathBuf, Vec<String>), String> {
        let process = spec.process().as_ref();
        let args = process.and_then(|process| process.args().clone()).unwrap_or_default();
        let name = args.first().ok_or("there is no command")?.clone();
        if name.contains('/') {
            return Ok((PathBuf::from(name), args));
        }
        let env = process.and_then(|process| process.env().clone()).unwrap_or_default();
        let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
        let is_program = |path: &PathBuf| {
            path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let found = path.split(':').map(|dir| Path::new(dir).join(&name)).find(is_program);
        found
            .map(|found| (found, args))
            .ok_or_else(|| format!("`{name}` is in no directory of PATH ({path})"))
    }
}

impl Executor for Program {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let invalid =
            |text: String| ExecutorValidationError::ArgValidationError(format!("{OF_PROGRAM}{text}"));
        let (path, _) = Self::find(spec).map_err(invalid)?;
        match path.symlink_metadata() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(invalid(format!("`{}` is not in the image", path.display())))
            }
            Err(error) => Err(invalid(format!("`{}` cannot be executed: {error}", path.display()))),
        }
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (path, args) = Self::find(spec).map_err(ExecutorError::Other)?;
        let error = Command::new(&path).arg0(&args[0]).args(&args[1..]).exec();
        let text = format!("`{}` cannot be executed: {error}", path.display());
        // Nobody else is left who could say it.
        let _ = writeln!(io::stderr(), "sealer: {text}");
        Err(ExecutorError::Other(text))
    }
}
