//! A chart rendered by the `helm` of the machine, for what this program lacks.
//!
//! It sees the chart and the values given to it alone: an empty environment, no configuration, no cluster, no plugins. What it prints and how long
//! it takes is bounded, because the chart decides both.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use rustix::process::{Pid, Signal, kill_process};

use super::search::Searcher;
use super::values::Values;
use crate::helm::{Capabilities, ChartFiles, Release};

/// Longest time for one chart.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Most output of one chart, in bytes.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// Most of an error message that is told, in bytes.
const MESSAGE_LIMIT: u64 = 1000;

/// Renders a chart with its own values and those that are given.
///
/// # Errors
/// What `helm` says, or why it could not be asked.
pub(super) fn template(
    helm: &Path,
    files: &ChartFiles,
    release: &Release,
    searcher: &Searcher<'_>,
) -> Result<String, String> {
    let place = searcher.contents.spool_dir().map_err(|error| error.to_string())?;
    let place = tempfile::tempdir_in(place).map_err(|error| error.to_string())?;
    write_files(&place.path().join("chart"), files).map_err(|error| error.to_string())?;
    let flags = searcher.values.map_or(Ok(Vec::new()), |values| value_flags(place.path(), values));
    run(helm, place.path(), release, flags.map_err(|error| error.to_string())?)
}

/// The flags that give values, and the files they name.
fn value_flags(place: &Path, values: &Values) -> std::io::Result<Vec<OsString>> {
    let mut flags = Vec::new();
    for (at, bytes) in values.files().iter().enumerate() {
        let file = place.join(format!("values-{at}.yaml"));
        fs_err::write(&file, bytes)?;
        flags.extend(["--values".into(), file.into()]);
    }
    flags.extend(values.texts().iter().map(|text| format!("--set={text}").into()));
    Ok(flags)
}

fn write_files(dir: &Path, files: &ChartFiles) -> std::io::Result<()> {
    for (name, bytes) in files {
        let is_plain = |part: &str| !matches!(part, "" | "." | "..");
        if !name.split('/').all(is_plain) {
            continue;
        }
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(path, bytes)?;
    }
    Ok(())
}

fn run(helm: &Path, place: &Path, release: &Release, flags: Vec<OsString>) -> Result<String, String> {
    let version = Capabilities::default().kube_version.to_string();
    let mut words: Vec<OsString> = ["template", &release.name].map(OsString::from).to_vec();
    words.push(place.join("chart").into());
    words.extend(["--namespace", &release.namespace, "--kube-version", &version].map(OsString::from));
    words.extend(flags);
    let homes = ["HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_PLUGINS"];
    let spawned = Command::new(helm)
        .args(words)
        .env_clear()
        .envs(homes.map(|name| (name, place.join("home"))))
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| format!("`{}` does not start: {error}", helm.display()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let kill = || {
        if let Some(pid) = pid {
            // Who has ended already is not there to be killed; it is waited for below either way.
            let _ = kill_process(pid, Signal::KILL);
        }
    };
    let (done, ended) = bounded::<()>(0);
    let (output, message, is_late) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let is_late = ended.recv_timeout(TIME_LIMIT) == Err(RecvTimeoutError::Timeout);
            if is_late {
                kill();
            }
            is_late
        });
        let message = scope.spawn(|| limited(stderr, MESSAGE_LIMIT));
        let output = limited(stdout, OUTPUT_LIMIT);
        if output.len() as u64 > OUTPUT_LIMIT {
            kill();
        }
        let message = message.join().unwrap_or_default();
        drop(done);
        (output, message, watch.join().unwrap_or(false))
    });
    let status = child.wait().map_err(|error| error.to_string())?;
    if is_late {
        return Err(format!("it took longer than {} seconds", TIME_LIMIT.as_secs()));
    }
    if output.len() as u64 > OUTPUT_LIMIT {
        return Err(format!("it printed more than {OUTPUT_LIMIT} bytes"));
    }
    if !status.success() {
        let message = String::from_utf8_lossy(&message);
        return Err(message
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" "));
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// What a pipe gives, up to one byte more than a limit; the rest is read to nowhere.
fn limited(pipe: Option<impl Read>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Some(pipe) = pipe else { return bytes };
    let mut head = pipe.take(limit + 1);
    // A pipe that breaks has given what it had.
    let _ = head.read_to_end(&mut bytes);
    bytes
}
