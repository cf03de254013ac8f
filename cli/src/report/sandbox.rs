//! What to do when a command could not be run: which feature of the kernel is missing, and how to get it.

use engine::SandboxError;
use engine::sandbox::SetupStep;
use rustix::io::Errno;

/// What may help.
pub(super) fn hint(error: &SandboxError) -> Option<String> {
    let text = match error {
        SandboxError::Setup { step, errno, message } => {
            return setup(*step, errno.map(Errno::from_raw_os_error), message).map(str::to_owned);
        }
        SandboxError::Program(_) => {
            "a RUN in shell form needs `/bin/sh` in the image; one in JSON form names a program of the image"
        }
        SandboxError::Failed { code: 127, .. } => "127 is the shell's word for a program it did not find",
        SandboxError::Failed { code: 126, .. } => "126 is the shell's word for a file it could not execute",
        SandboxError::Failed { code: 137, .. } => {
            "137 is the shell's word for a program that was killed, often because memory ran out; `dmesg` knows"
        }
        SandboxError::TimedOut { .. } => "`--run-timeout` sets the limit",
        SandboxError::MissingSecret(id) => {
            return Some(format!("give it: `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"));
        }
        SandboxError::MissingAgent(id) => {
            return Some(format!("give it: `--ssh {id}` or `--ssh {id}=SOCKET`"));
        }
        SandboxError::NulInVariable(_) => {
            "it is the base image's, or a secret's: leave out `env` of the mount, and read the secret from its file"
        }
        SandboxError::StoreFileSystem(_) => {
            "put the store on ext4, xfs, btrfs or tmpfs: `--root DIR` or SEALER_ROOT; in a container, on a volume"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn setup(step: SetupStep, errno: Option<Errno>, message: &str) -> Option<&'static str> {
    let is_refused = matches!(errno, Some(Errno::PERM | Errno::ACCESS));
    Some(match step {
        SetupStep::Namespaces if is_refused => {
            "mount and process namespaces need CAP_SYS_ADMIN: run as root, or, in a container, with `--privileged`"
        }
        SetupStep::Namespaces | SetupStep::Network => {
            "the kernel needs CONFIG_PID_NS and CONFIG_NET_NS, and /proc/sys/user/max_*_namespaces above 0"
        }
        SetupStep::Proc => {
            "in a container parts of /proc are hidden, and then the kernel shows no other: run it with `--privileged` or `--security-opt systempaths=unconfined`"
        }
        SetupStep::Overlay if errno == Some(Errno::NODEV) => {
            "the kernel has no overlay file system: `modprobe overlay`, or CONFIG_OVERLAY_FS"
        }
        SetupStep::Overlay if is_refused => {
            "overlay mounts in a user namespace need Linux 5.11: use a newer kernel, or build as root"
        }
        SetupStep::Overlay if errno == Some(Errno::INVAL) => {
            "overlay mounts need Linux 5.11, and a store on ext4, xfs, btrfs or tmpfs: `--root DIR` or SEALER_ROOT"
        }
        SetupStep::Runtime if message.contains("Exec format error") => {
            "programs of another platform need its emulator: `apt-get install qemu-user-static binfmt-support`"
        }
        _ => return None,
    })
}
