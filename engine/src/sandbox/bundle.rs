//! The OCI bundle of a run (OCI runtime-spec, `config.json`), on a file system in memory: secrets can be in its environment.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::SetupStep;
use super::helper::Broken;
use super::spec::Spec;
use super::users::User;
use super::world::{Bound, Sys, World};

/// The name of the machine a command sees.
const HOST_NAME: &str = "sealer";
/// Where programs are looked for if the image does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a command may do: buildah's list. Devices are not among it.
const ALLOWED: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
/// All capabilities by their numbers (capabilities(7)).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];
/// Of `/proc` and `/sys`: what tells or does too much.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
/// Of `/proc`: what may be read only.
const READ_ONLY: [&str; 6] =
    ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Directories of a bundle.
#[derive(Debug)]
pub(super) struct Bundle {
    /// The bundle itself.
    pub(super) dir: PathBuf,
    /// Where the runtime keeps its state.
    pub(super) state: PathBuf,
}

/// Writes the bundle of a run.
pub(super) fn write(world: &World, spec: &Spec, user: &User, mounts: &[Bound]) -> Result<Bundle, Broken> {
    let fail = |error| Broken::errno(SetupStep::Runtime, "the bundle", error);
    let bundle = Bundle { dir: world.private.join("bundle"), state: world.private.join("state") };
    for dir in [&bundle.dir, &bundle.state] {
        fs_err::create_dir(dir).map_err(fail)?;
    }
    let resolv_conf = world.private.join("resolv.conf");
    let hosts = world.private.join("hosts");
    fs_err::write(&resolv_conf, &spec.resolv_conf).map_err(fail)?;
    fs_err::write(&hosts, format!("{}\n127.0.0.1 {HOST_NAME}\n", spec.hosts.trim_end())).map_err(fail)?;
    let mut all = system(spec, &world.sys);
    let file = |target: &str, source: PathBuf| Bound {
        target: target.to_owned(),
        source: Some(source),
        size_bytes: None,
        is_readonly: false,
    };
    let own = [file("/etc/resolv.conf", resolv_conf), file("/etc/hosts", hosts)];
    all.extend(own.iter().chain(mounts).map(bound));
    let config = config(world, spec, user, all);
    fs_err::write(bundle.dir.join("config.json"), config.to_string()).map_err(fail)?;
    Ok(bundle)
}

fn config(world: &World, spec: &Spec, user: &User, mounts: Vec<Value>) -> Value {
    let kinds = ["pid", "ipc", "uts", "mount"];
    let namespaces: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    let mut linux = json!({ "namespaces": namespaces });
    let allowed = capabilities(spec.is_insecure);
    if !spec.is_insecure {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    let directory = if spec.directory.is_empty() { "/" } else { &spec.directory };
    json!({
        "ociVersion": "1.0.2",
        "hostname": HOST_NAME,
        "root": { "path": world.root, "readonly": false },
        "process": {
            "terminal": false,
            "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
            "args": spec.args,
            "env": environment(spec, user),
            "cwd": directory,
            "noNewPrivileges": false,
            "capabilities": {
                "bounding": allowed,
                "effective": if user.uid == 0 { allowed.clone() } else { Vec::new() },
                "permitted": if user.uid == 0 { allowed.clone() } else { Vec::new() },
            },
        },
        "mounts": mounts,
        "linux": linux,
    })
}

/// What the command may do, of what this process may.
fn capabilities(is_insecure: bool) -> Vec<&'static str> {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bounding = bounding.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(u64::MAX);
    let is_had = |number: usize| bounding >> number & 1 == 1;
    let all = CAPABILITIES.into_iter().enumerate();
    all.filter(|(number, name)| is_had(*number) && (is_insecure || ALLOWED.contains(name)))
        .map(|(_, name)| name)
        .collect()
}

/// `NAME=VALUE`, each name once, the last value; what every program expects is there.
fn environment(spec: &Spec, user: &User) -> Vec<String> {
    let defaults = [("PATH", PATH), ("HOME", user.home.as_str())].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let all: Vec<(String, String)> = defaults.into_iter().chain(spec.env.iter().cloned()).collect();
    let is_last =
        |(at, (name, _)): &(usize, &(String, String))| all[at + 1..].iter().all(|(later, _)| later != name);
    let last = all.iter().enumerate().filter(is_last);
    last.map(|(_, (name, value))| format!("{name}={value}")).collect()
}

/// What every root has.
fn system(spec: &Spec, sys: &Sys) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    let mut options = vec!["nosuid", "noexec", "nodev"];
    if !spec.is_insecure {
        options.push("ro");
    }
    mounts.push(match sys {
        Sys::Own => mount("/sys", "sysfs", &options),
        Sys::Empty => mount("/sys", "tmpfs", &["nosuid", "noexec", "nodev", "ro", "size=4k", "mode=755"]),
        Sys::Host(path) => {
            options.push("rbind");
            json!({ "destination": "/sys", "type": "bind", "source": path, "options": options })
        }
    });
    mounts
}

fn bound(mount: &Bound) -> Value {
    let mut options: Vec<String> = vec!["nosuid".to_owned(), "nodev".to_owned()];
    if mount.is_readonly {
        options.push("ro".to_owned());
    }
    match &mount.source {
        Some(source) => {
            options.push("rbind".to_owned());
            options.push("rprivate".to_owned());
            json!({ "destination": mount.target, "type": "bind", "source": source, "options": options })
        }
        None => {
            options.push("mode=1777".to_owned());
            options.extend(mount.size_bytes.map(|size| format!("size={size}")));
            json!({ "destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options })
        }
    }
}
