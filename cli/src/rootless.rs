//! What has to do with files of commands, without root: this program goes on as root of a user namespace, where files of all
//! users that commands have are its own.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;

use engine::sandbox::rootless::{RootlessError, enter};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::report::{Failure, Page, Reporter};

/// Builds in a user namespace, in a process that says everything itself.
pub(crate) fn build(reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let (child, is_single) = again(root).map_err(refused)?;
    if is_single {
        let text = "this user has no subordinate ids: files of other owners in images become root's";
        reporter.warn(Page::warning(
            "single-user",
            text,
            "`apt-get install uidmap`, and as root `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`",
        ));
    }
    follow(child)
}

/// Looks after a store in a user namespace, where users need one for what commands left in it: others own it, or nobody may
/// write there. `None` where it is not needed, or not to be had.
pub(crate) fn tidy(root: &Path) -> Option<Result<(), Failure>> {
    let is_needed = !rustix::process::geteuid().is_root() && engine::gc::has_dirs(root);
    let child = is_needed.then(|| again(root).ok()).flatten();
    child.map(|(child, _)| follow(child))
}

/// This command once more. What is root's default is not the user's.
fn again(root: &Path) -> Result<(Child, bool), RootlessError> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    enter(&words, &[("SEALER_ROOT", root.into())])
}

/// Passes signals on, and ends as the other process does.
fn follow(mut child: Child) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::usage(format!("this command in a user namespace: {error}"));
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(fail)?;
    let handle = signals.handle();
    let status = std::thread::scope(|scope| {
        scope.spawn(move || {
            for signal in signals.forever() {
                // A terminal sends SIGINT to both; only what came to this one alone is passed on.
                if let (SIGTERM, Some(pid)) = (signal, pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
            }
        });
        let status = child.wait();
        handle.close();
        status
    });
    let status = status.map_err(fail)?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    if code == 0 { Ok(()) } else { Err(Failure::Told(u8::try_from(code).unwrap_or(1))) }
}

fn refused(error: RootlessError) -> Failure {
    let hint = match &error {
        RootlessError::Refused => {
            "the kernel needs CONFIG_USER_NS, /proc/sys/user/max_user_namespaces above 0 and, where they are, /proc/sys/kernel/unprivileged_userns_clone 1 and apparmor_restrict_unprivileged_userns 0; or build as root"
        }
        RootlessError::Map(_) => "see subuid(5) and newuidmap(1); or build as root",
        RootlessError::Io(_) => "or build as root",
    };
    Failure::from(Page::of("rootless", &error)).hint(hint)
}
