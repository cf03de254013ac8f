//! What a build costs: wall time, processor time, peak memory; of the command, and of the daemon that works for it.
//!
//! A command's processor time is the kernel's, of it and of all that it waited for (proc(5), `cutime`), in steps of 10 ms.
//! Its peak memory is VmHWM of the one process that was started. A daemon counts with its descendants that live: their
//! times, those of children they waited for, and the sum of their VmHWM, which is reset before each build.

use std::io::{self, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// One build.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) peak_kib: u64,
}

/// Runs commands after each other as one build.
///
/// # Errors
/// When one fails (with the end of what it said), or all together take longer than `timeout`.
pub(crate) fn run(commands: Vec<Command>, daemon: Option<u32>, timeout: Duration) -> io::Result<Sample> {
    let family = daemon.map(family).unwrap_or_default();
    family.iter().for_each(|pid| reset_peak(*pid));
    let before = (benches::cpu()?.1, family_cpu(daemon));
    let start = Instant::now();
    let mut peak_kib = 0;
    for command in commands {
        peak_kib = peak_kib.max(one(command, timeout.saturating_sub(start.elapsed()))?);
    }
    let wall = start.elapsed();
    let cpu = (benches::cpu()?.1.saturating_sub(before.0)) + family_cpu(daemon).saturating_sub(before.1);
    let of_daemon: u64 = daemon.map(self::family).unwrap_or_default().into_iter().filter_map(peak_of).sum();
    Ok(Sample { wall, cpu, peak_kib: peak_kib + of_daemon })
}

/// One command, in a process group of its own; its peak memory in KiB.
fn one(mut command: Command, timeout: Duration) -> io::Result<u64> {
    // A file, and no pipe: what stays behind of a tool may hold on to it.
    let mut said = tempfile::tempfile()?;
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .spawn()
        .map_err(|error| io::Error::other(format!("{}: {error}", command.get_program().display())))?;
    let pid = child.id();
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    // VmHWM can only be read while the process lives; the last reading is within two milliseconds of the end.
    let watcher = std::thread::spawn(move || {
        let (start, mut peak, mut is_late) = (Instant::now(), 0, false);
        while is_over.recv_timeout(Duration::from_millis(2))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            peak = peak.max(peak_of(pid).unwrap_or(0));
            if start.elapsed() > timeout && !is_late {
                is_late = true;
                if let Some(group) = Pid::from_raw(pid.cast_signed()) {
                    // It may have ended just now.
                    let _ = rustix::process::kill_process_group(group, Signal::KILL);
                }
            }
        }
        (peak, is_late)
    });
    let status = child.wait();
    drop(over);
    let (peak, is_late) = watcher.join().map_err(|_| io::Error::other("a panic"))?;
    if is_late {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("longer than {} s", timeout.as_secs())));
    }
    if status?.success() {
        return Ok(peak);
    }
    said.rewind()?;
    let said = io::read_to_string(said)?;
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    Err(io::Error::other(lines[lines.len().saturating_sub(2)..].join(" ")))
}

/// A process and its living descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let parents: Vec<(u32, u32)> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut at = 0;
    while let Some(&one) = all.get(at) {
        all.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(pid, _)| *pid));
        at += 1;
    }
    all
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
}

/// Fields of `/proc/PID/stat` after the name.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.rsplit(')').next()?.split_whitespace().skip(1);
    Some(fields.map(|field| field.parse().unwrap_or(0)).collect())
}

fn parent(pid: u32) -> Option<u32> {
    u32::try_from(*stat(pid)?.first()?).ok()
}

/// Processor time of a daemon; hundredths of a second everywhere on Linux (USER_HZ).
fn family_cpu(daemon: Option<u32>) -> Duration {
    let of = |pid: u32| -> Option<u64> { Some(stat(pid)?.get(10..14)?.iter().sum()) };
    let ticks: u64 = daemon.map(family).unwrap_or_default().into_iter().filter_map(of).sum();
    Duration::from_millis(ticks * 10)
}

fn peak_of(pid: u32) -> Option<u64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// proc(5), `clear_refs`: 5 makes the peak what is resident now.
fn reset_peak(pid: u32) {
    let _ = fs_err::write(format!("/proc/{pid}/clear_refs"), "5");
}
