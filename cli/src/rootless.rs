//! Builds that run commands, without root: the whole build goes on as root of a user namespace.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use engine::sandbox::rootless::{RootlessError, enter};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::report::{Failure, Page, Reporter};

/// Builds in a user namespace, in a process that says everything itself.
pub(crate) fn build(reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    // What is root's default is not the user's.
    let (mut child, is_single) = enter(&words, &[("SEALER_ROOT", root.into())]).map_err(refused)?;
    if is_single {
        let text = "this user has no subordinate ids: files of other owners in images become root's";
        reporter.warn(Page::warning(
            "single-user",
            text,
            "`apt-get install uidmap`, and as root `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`",
        ));
    }
    let fail = |error: std::io::Error| Failure::usage(format!("the build in a user namespace: {error}"));
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
