//! Sandboxes without root: this program again, as root of a user namespace of its own.
//!
//! The kernel lets root of a user namespace mount overlays and make further namespaces, so everything else works as it does
//! for root. With subordinate ids (subuid(5)) the namespace has all the users an image may name; without, it has one.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, ExitStatus};

use nix::sched::{CloneFlags, unshare};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Signal, set_parent_process_death_signal};
use thiserror::Error;

use super::SELF;

/// The first argument of the process in the namespace; two file descriptors and its real arguments follow.
pub const ROLE: &str = "sandbox-root";
/// What the two processes say to each other.
const UNSHARED: u8 = b'u';
const MAPPED: u8 = b'm';

/// Why there is no user namespace.
#[derive(Debug, Error)]
pub enum RootlessError {
    /// The kernel does not let users have them.
    #[error("commands run without root in a user namespace, and the kernel gives none")]
    Refused,
    /// Its users could not be set up.
    #[error("the users of the user namespace could not be set up: {0}")]
    Map(io::Error),
    /// Processes and pipes.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs this program as root of a new user namespace. Returns the running process, and whether it has but one user.
///
/// # Errors
/// When there is no such namespace to be had.
pub fn enter(args: &[OsString], env: &[(&str, OsString)]) -> Result<(Child, bool), RootlessError> {
    let (mut from_child, to_parent) = io::pipe()?;
    let (from_parent, mut to_child) = io::pipe()?;
    inherit(&to_parent)?;
    inherit(&from_parent)?;
    let mut child = Command::new(SELF)
        .arg(ROLE)
        .arg(to_parent.as_raw_fd().to_string())
        .arg(from_parent.as_raw_fd().to_string())
        .args(args)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .spawn()?;
    drop((to_parent, from_parent));
    let mut said = [0];
    from_child.read_exact(&mut said).ok();
    if said != [UNSHARED] {
        child.wait()?;
        return Err(RootlessError::Refused);
    }
    match map(child.id()) {
        Ok(is_single) => {
            to_child.write_all(&[MAPPED])?;
            Ok((child, is_single))
        }
        Err(error) => {
            drop(to_child);
            child.wait()?;
            Err(RootlessError::Map(error))
        }
    }
}

/// Whether commands run where there is no user but root: in this process's namespace, or in that which it would enter.
pub fn has_one_user() -> bool {
    if rustix::process::geteuid().is_root() {
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"].map(fs_err::read_to_string);
        return maps.into_iter().flatten().any(|map| is_of_one(&map));
    }
    let uid = rustix::process::getuid().as_raw();
    let name = user_name(uid);
    ["/etc/subuid", "/etc/subgid"].iter().any(|file| subordinate(file, uid, name.as_deref()).is_none())
}

/// Whether a map has but one id (user_namespaces(7)).
fn is_of_one(map: &str) -> bool {
    map.split_whitespace().skip(2).step_by(3).eq(["1"])
}

/// Lets the next process have a file descriptor: its number is handed over as an argument.
fn inherit(end: &impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfd(end, FdFlags::empty())?)
}

/// The beginning of the process in the namespace; `words` follow [`ROLE`]. Returns its real arguments, or `None` if it is to
/// end: its parent says why.
pub fn arrive(words: &[OsString]) -> Option<Vec<OsString>> {
    let [to_parent, from_parent, args @ ..] = words else { return None };
    // Whoever started the build and is gone does not want it any more.
    set_parent_process_death_signal(Some(Signal::TERM)).ok()?;
    let open = |number: &OsString| format!("/proc/self/fd/{}", number.to_string_lossy());
    let mut to_parent = fs_err::OpenOptions::new().write(true).open(open(to_parent)).ok()?;
    let mut from_parent = fs_err::File::open(open(from_parent)).ok()?;
    unshare(CloneFlags::CLONE_NEWUSER).ok()?;
    to_parent.write_all(&[UNSHARED]).ok()?;
    let mut said = [0];
    from_parent.read_exact(&mut said).ok()?;
    (said == [MAPPED]).then(|| args.to_vec())
}

/// Gives a namespace its users; whether it is only one.
fn map(pid: u32) -> io::Result<bool> {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let name = user_name(uid);
    let ranges = |file| subordinate(file, uid, name.as_deref());
    if let (Some(users), Some(groups)) = (ranges("/etc/subuid"), ranges("/etc/subgid"))
        && with_program("newuidmap", pid, uid, users)?
        && with_program("newgidmap", pid, gid, groups)?
    {
        return Ok(false);
    }
    let write = |file: &str, text: String| fs_err::write(format!("/proc/{pid}/{file}"), text);
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    Ok(true)
}

/// Maps own and subordinate ids with a set-user-id program; whether there is one and it could.
fn with_program(program: &str, pid: u32, own: u32, (first, count): (u32, u32)) -> io::Result<bool> {
    let numbers = [pid, 0, own, 1, 1, first, count].map(|number| number.to_string());
    match Command::new(program).args(numbers).status().as_ref().map(ExitStatus::success) {
        Ok(is_mapped) => Ok(is_mapped),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io::Error::new(error.kind(), format!("{program}: {error}"))),
    }
}

/// The first range of subordinate ids of a user, by name or number.
fn subordinate(file: &str, uid: u32, name: Option<&str>) -> Option<(u32, u32)> {
    let text = fs_err::read_to_string(file).ok()?;
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
        (owner == uid || Some(owner) == name).then_some((first, count))
    })
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = fs_err::read_to_string("/etc/passwd").ok()?;
    let uid = uid.to_string();
    let mut names = passwd.lines().filter(|line| line.split(':').nth(2) == Some(&uid));
    names.next()?.split(':').next().map(str::to_owned)
}
