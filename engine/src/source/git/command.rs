//! The system's git, kept on a short lead: nothing of the user's or the machine's settings, no prompts, no hooks, no
//! other transports, its own process group, bounded output. It ends when the build does.
//!
//! Words of users stand on its command line only after they were checked (`solver::GitSource`) and never where an
//! option could stand. Credentials are not among them: git asks for them, and only for the host they are for.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use solver::GitSource;

use super::GitError;
use crate::cancel::Cancel;
use crate::net::percent_decoded;
use crate::watched::Watched;

/// A server that sends nothing for so long has forgotten us.
const IDLE: Duration = Duration::from_secs(120);
/// What grows while a repository is fetched.
const OBJECTS: &str = "repo.git/objects";
/// Most of git's last words kept, in bytes.
const TAIL: usize = 8 << 10;
/// Most lines of them shown.
const LINES: usize = 6;
/// How often the size of what was received is looked at.
const MEASURE: Duration = Duration::from_millis(250);

/// How long git may take to end after its output was of no use.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// What git may do whatever it is asked to: no program of anybody's choosing is started, nothing is kept for later.
const SETTINGS: [&str; 17] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.attributesFile=/dev/null",
    "credential.helper=",
    "core.askPass=",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.unpackLimit=1",
    "transfer.bundleURI=false",
    "submodule.recurse=false",
    "index.version=2",
    "tar.umask=0022",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=120",
    "protocol.version=2",
];

/// Tells git what it asks for. What it tells stands in the environment, which only this user sees.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$SEALER_GIT_USER" "$SEALER_GIT_PASSWORD"; }; f"#;

/// What of the environment git gets: where programs are, how to reach the network, an agent for keys.
#[derive(Clone, Default)]
pub struct GitEnvironment(pub Vec<(OsString, OsString)>);

impl fmt::Debug for GitEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may hold a password.
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// How git is run.
#[derive(Debug, Clone)]
pub(super) struct GitCommand {
    pub(super) environment: GitEnvironment,
    pub(super) cancel: Cancel,
    pub(super) limit_bytes: u64,
    /// Whether no connection may be made.
    pub(super) offline: bool,
}

/// One run of git.
pub(super) struct Call<'a> {
    pub(super) source: &'a GitSource,
    /// Its home and working directory; the repository is `repo.git` in it.
    pub(super) dir: &'a Path,
    pub(super) words: Vec<&'a OsStr>,
    pub(super) environment: Vec<(&'a str, OsString)>,
    pub(super) stdin: Option<File>,
    /// Hears how many bytes the repository has, where that grows.
    pub(super) received: Option<&'a dyn Fn(u64)>,
}

impl<'a> Call<'a> {
    pub(super) fn new(source: &'a GitSource, dir: &'a Path, words: &[&'a str]) -> Self {
        let words = words.iter().map(|word| OsStr::new(*word)).collect();
        Self { source, dir, words, environment: Vec::new(), stdin: None, received: None }
    }
}

/// Why a run was ended before its time.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Cancelled,
    Idle,
    TooLarge,
}

impl GitCommand {
    /// Runs git, and gives what it wrote, up to a limit.
    pub(super) fn text(&self, call: Call<'_>, limit: u64) -> Result<String, GitError> {
        let url = call.source.bare_url();
        let read = |out: &mut dyn Read| -> io::Result<Vec<u8>> {
            let mut text = Vec::new();
            out.take(limit + 1).read_to_end(&mut text)?;
            Ok(text)
        };
        let text = self.run(call, read)??;
        String::from_utf8(text).ok().filter(|text| text.len() as u64 <= limit).ok_or(GitError::Answer { url })
    }

    /// Runs git; `take` gets what it writes.
    ///
    /// # Errors
    /// When git fails; what `take` says counts only if git does not.
    pub(super) fn run<T, E>(
        &self,
        call: Call<'_>,
        take: impl FnOnce(&mut dyn Read) -> Result<T, E>,
    ) -> Result<Result<T, E>, GitError> {
        if self.cancel.is_cancelled() {
            return Err(GitError::Cancelled);
        }
        let mut command = self.command(&call)?;
        command
            .stdin(call.stdin.as_ref().map_or(Ok(Stdio::null()), |file| file.try_clone().map(Stdio::from))?);
        let mut group = Group(command.spawn().map_err(GitError::NoProgram)?);
        let (Some(stdout), Some(stderr)) = (group.0.stdout.take(), group.0.stderr.take()) else {
            unreachable!("both were piped")
        };
        let (is_over, heard) = (AtomicBool::new(false), AtomicU64::new(0));
        let stop = Cell::new(None);
        let watch = Watch {
            command: self,
            call: &call,
            heard: &heard,
            seen: Cell::new((0, Instant::now())),
            measured: Cell::default(),
        };
        let goes_on = || match watch.look() {
            None => Ok(()),
            Some(reason) => {
                stop.set(Some(reason));
                Err(io::ErrorKind::TimedOut.into())
            }
        };
        let (taken, tail, failed) = std::thread::scope(|scope| {
            let tail = scope.spawn(|| listen(stderr, &is_over, &heard));
            let mut out = Heard { inner: Watched::new(stdout, &goes_on), heard: &heard };
            let taken = take(&mut out);
            // git may wait to be read to its end, or be of no use any more.
            let rest = if taken.is_ok() { io::copy(&mut out, &mut io::sink()) } else { Ok(0) };
            let code = match (&taken, rest) {
                (Ok(_), Ok(_)) => group.wait(&goes_on),
                // It may be git that failed, and be about to say so.
                (Err(_), _) if stop.get().is_none() => group.wait(&until(Instant::now() + LAST_MOMENT)),
                _ => group.end(),
            };
            is_over.store(true, Ordering::Release);
            let tail = tail.join().expect("listening does not panic");
            (taken, tail, code != Some(0) && code.is_some())
        });
        let url = call.source.bare_url();
        match stop.get() {
            Some(Stop::Cancelled) => Err(GitError::Cancelled),
            Some(Stop::Idle) => Err(GitError::Idle { url, seconds: IDLE.as_secs() }),
            Some(Stop::TooLarge) => Err(GitError::TooLarge { url, limit: self.limit_bytes }),
            None if failed => Err(GitError::Failed { url, lines: last_words(&tail, call.source) }),
            None => Ok(taken),
        }
    }

    /// Whether a repository is no larger than it may be.
    pub(super) fn check_size(&self, dir: &Path, source: &GitSource) -> Result<(), GitError> {
        if size_of(&dir.join(OBJECTS)) <= self.limit_bytes {
            return Ok(());
        }
        Err(GitError::TooLarge { url: source.bare_url(), limit: self.limit_bytes })
    }

    fn command(&self, call: &Call<'_>) -> Result<Command, GitError> {
        let mut command = Command::new("git");
        command.env_clear().envs(self.environment.0.iter().map(|(name, value)| (name, value)));
        let fixed = [
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", if self.offline { "none" } else { "http:https:ssh:git" }),
            ("GIT_LITERAL_PATHSPECS", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_SSH_VARIANT", "ssh"),
            (
                "GIT_SSH_COMMAND",
                "ssh -o BatchMode=yes -o ControlMaster=no -o ControlPath=none -o ConnectTimeout=30",
            ),
        ];
        command.envs(fixed);
        command.env("HOME", call.dir).env("GIT_DIR", call.dir.join("repo.git")).current_dir(call.dir);
        command.envs(call.environment.iter().map(|(name, value)| (name, value)));
        SETTINGS.iter().for_each(|setting| _ = command.args(["-c", setting]));
        if let Some((user, password)) = decoded(call.source)? {
            let host = call.source.bare_url();
            let host = host.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            command.args(["-c", &format!("credential.{host}.helper={HELPER}")]);
            command.env("SEALER_GIT_USER", user).env("SEALER_GIT_PASSWORD", password);
        }
        command.args(&call.words).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Ok(command)
    }
}

/// Goes on for a while.
fn until(end: Instant) -> impl Fn() -> io::Result<()> {
    move || if Instant::now() < end { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// Output that is a sign of life.
struct Heard<'a, R> {
    inner: R,
    heard: &'a AtomicU64,
}

impl<R: Read> Read for Heard<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.heard.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Looks at a run from outside.
struct Watch<'a> {
    command: &'a GitCommand,
    call: &'a Call<'a>,
    /// Bytes of output so far.
    heard: &'a AtomicU64,
    /// What was seen last, and since when.
    seen: Cell<(u64, Instant)>,
    measured: Cell<Option<(Instant, u64)>>,
}

impl Watch<'_> {
    fn look(&self) -> Option<Stop> {
        if self.command.cancel.is_cancelled() {
            return Some(Stop::Cancelled);
        }
        let Some(received) = self.call.received else { return self.idle(0) };
        let size = match self.measured.get() {
            Some((at, size)) if at.elapsed() < MEASURE => size,
            _ => {
                let size = size_of(&self.call.dir.join(OBJECTS));
                self.measured.set(Some((Instant::now(), size)));
                received(size);
                size
            }
        };
        if size > self.command.limit_bytes { Some(Stop::TooLarge) } else { self.idle(size) }
    }

    fn idle(&self, size: u64) -> Option<Stop> {
        let now = size + self.heard.load(Ordering::Relaxed);
        let (seen, since) = self.seen.get();
        if now != seen {
            self.seen.set((now, Instant::now()));
        }
        (now == seen && since.elapsed() > IDLE).then_some(Stop::Idle)
    }
}

/// A process with everything it starts; all of it ends with the value.
struct Group(Child);

impl Group {
    /// Its exit code; `None` if it had to be ended.
    fn wait(&mut self, goes_on: &dyn Fn() -> io::Result<()>) -> Option<i32> {
        while goes_on().is_ok() {
            match self.0.try_wait() {
                // A signal that was not ours is a failure like any other.
                Ok(Some(status)) => return Some(status.code().unwrap_or(-1)),
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => break,
            }
        }
        self.end()
    }

    /// Ends it; its exit code if it had ended by itself.
    fn end(&mut self) -> Option<i32> {
        let ended = self.0.try_wait().ok().flatten();
        if ended.is_none() {
            // It cannot be another's group: the process was not waited for, so its id is still taken.
            let group = Pid::from_child(&self.0);
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.0.wait();
        }
        ended.map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads standard error to its end, and keeps the end of it. What outlives git is not waited for.
fn listen(stderr: ChildStderr, is_over: &AtomicBool, heard: &AtomicU64) -> Vec<u8> {
    let over_since = Cell::new(None);
    let goes_on = || {
        let is_late = |since: Instant| since.elapsed() > LAST_MOMENT;
        if !is_over.load(Ordering::Acquire) {
            return Ok(());
        }
        // What git has said is still to be read; what it started may never close the pipe.
        let since = over_since.get().unwrap_or_else(Instant::now);
        over_since.set(Some(since));
        if is_late(since) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    };
    let mut stderr = Watched::new(stderr, &goes_on);
    let mut tail = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        heard.fetch_add(read as u64, Ordering::Relaxed);
        tail.extend_from_slice(&buffer[..read]);
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
    }
    tail
}

/// What git said last, without progress, control characters and credentials.
fn last_words(tail: &[u8], source: &GitSource) -> Vec<String> {
    let text = String::from_utf8_lossy(tail);
    let plain = |text: &str| String::from_utf8_lossy(&percent_decoded(text.as_bytes())).into_owned();
    let secrets = match source.credentials() {
        None => Vec::new(),
        // A token by itself.
        Some((user, "")) => vec![user.to_owned(), plain(user)],
        Some((user, password)) => {
            vec![format!("{user}:{password}@"), password.to_owned(), plain(password)]
        }
    };
    let shown = |line: &str| {
        let mut line: String = line.chars().filter(|c| !c.is_control()).collect();
        secrets.iter().for_each(|secret| line = line.replace(secret.as_str(), "…"));
        line.trim().to_owned()
    };
    let lines = text.split(['\n', '\r']).map(shown).filter(|line| !line.is_empty() && !line.contains("% ("));
    let mut lines: Vec<String> = lines.collect();
    let surplus = lines.len().saturating_sub(LINES);
    lines.drain(..surplus);
    if lines.is_empty() {
        lines.push("git does not say why".to_owned());
    }
    lines
}

/// User name and password as they are meant; each on one line, for so they are told.
fn decoded(source: &GitSource) -> Result<Option<(String, String)>, GitError> {
    let Some((user, password)) = source.credentials() else { return Ok(None) };
    let plain = |text: &str| {
        let text = String::from_utf8(percent_decoded(text.as_bytes())).ok();
        text.filter(|text| !text.contains(char::is_control))
            .ok_or_else(|| GitError::Credentials { url: source.bare_url() })
    };
    Ok(Some((plain(user)?, plain(password)?)))
}

/// Bytes of all files below a directory. What goes while it is looked at does not count.
pub(super) fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs_err::read_dir(dir) else { return 0 };
    let size = |entry: fs_err::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_of(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
