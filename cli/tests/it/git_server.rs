//! Repositories made with the system's git, and ways to fetch them: git's own daemon, smart HTTP with or without a
//! password, and an `ssh` that goes nowhere.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::space::has_peer;

/// Name and password of the private server; the password needs escapes in a URL.
pub(crate) const USER: &str = "robot";
pub(crate) const PASSWORD: &str = "s3cr3t/pa ss";
pub(crate) const USER_INFO: &str = "robot:s3cr3t%2Fpa%20ss";

/// A directory with repositories.
pub(crate) struct Repositories {
    dir: tempfile::TempDir,
}

impl Repositories {
    /// `None`, visibly, where there is no git.
    pub(crate) fn new() -> Option<Self> {
        has_peer("git").then(|| Self { dir: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("served")
    }

    fn work(&self, name: &str) -> PathBuf {
        self.dir.path().join("work").join(name)
    }

    /// Runs git in the working directory of a repository, which is made first where it is not there.
    pub(crate) fn git(&self, name: &str, words: &[&str]) -> String {
        self.git_of(name, &[], words)
    }

    pub(crate) fn git_of(&self, name: &str, init: &[&str], words: &[&str]) -> String {
        let work = self.work(name);
        if !work.exists() {
            fs_err::create_dir_all(&work).unwrap();
            let init = [&["init", "-q", "-b", "main"], init].concat();
            git(&work, &init);
        }
        git(&work, words)
    }

    /// Writes files and commits them; gives the commit's id.
    pub(crate) fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        self.git(name, &["status"]);
        for (path, text) in files {
            let path = self.work(name).join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        self.commit_all(name)
    }

    /// Commits whatever is in the working directory, and publishes it.
    pub(crate) fn commit_all(&self, name: &str) -> String {
        self.git(name, &["add", "-A"]);
        self.git(name, &["commit", "-q", "--allow-empty", "-m", "a commit"]);
        self.publish(name);
        self.git(name, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Serves what the working repository has now.
    pub(crate) fn publish(&self, name: &str) {
        let served = self.root().join(name);
        let _ = fs_err::remove_dir_all(&served);
        fs_err::create_dir_all(self.root()).unwrap();
        let work = self.work(name);
        git(&work, &["clone", "-q", "--bare", ".", &served.display().to_string()]);
        git(&served, &["update-server-info"]);
    }

    pub(crate) fn path(&self, name: &str, path: &str) -> PathBuf {
        self.work(name).join(path)
    }
}

fn git(dir: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.test", "-c", "core.autocrlf=false"])
        .args(["-c", "protocol.file.allow=always"])
        .args(words)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", "2020-01-02T03:04:05Z")
        .env("GIT_COMMITTER_DATE", "2020-01-02T03:04:05Z")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `git daemon`; it ends with the value.
pub(crate) struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    pub(crate) fn start(root: &Path) -> Self {
        // Started by `git`, it would outlive that.
        let program = Path::new(git(root, &["--exec-path"]).trim()).join("git-daemon");
        // Another process may take the port in between.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = Command::new(&program)
                .args(["--reuseaddr", "--export-all", "--listen=127.0.0.1"])
                .arg(format!("--port={port}"))
                .arg(format!("--base-path={}", root.display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { child, port };
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("git daemon does not start");
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("git://127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the HTTP server was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) is_fetch: bool,
}

/// `git http-backend` behind a small server of its own.
pub(crate) struct Smart {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// What a smart server does before it answers.
#[derive(Default)]
pub(crate) struct Manners {
    pub(crate) is_private: bool,
    /// Requests for files are answered only when so many are there at once.
    pub(crate) meet: usize,
}

impl Smart {
    pub(crate) fn start(root: &Path, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, root) = (Arc::clone(&asked), root.to_owned());
        let meeting =
            Arc::new(Meeting { wanted: manners.meet, here: Mutex::default(), all: Default::default() });
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (log, root, meeting) = (Arc::clone(&log), root.clone(), Arc::clone(&meeting));
                let is_private = manners.is_private;
                std::thread::spawn(move || serve(connection, &root, is_private, &meeting, &log));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// With name and password.
    pub(crate) fn url_as(&self, user_info: &str, name: &str) -> String {
        format!("http://{user_info}@{}/{name}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often files were fetched.
    pub(crate) fn fetches(&self) -> usize {
        self.asked().iter().filter(|asked| asked.is_fetch).count()
    }
}

struct Meeting {
    wanted: usize,
    here: Mutex<usize>,
    all: std::sync::Condvar,
}

impl Meeting {
    /// Waits until all are here, or so long that they will not come.
    fn come(&self) {
        let mut here = self.here.lock().unwrap();
        *here += 1;
        self.all.notify_all();
        let (_here, waited) =
            self.all.wait_timeout_while(here, Duration::from_secs(20), |here| *here < self.wanted).unwrap();
        assert!(!waited.timed_out(), "nobody else came");
    }
}

fn serve(
    mut connection: TcpStream,
    root: &Path,
    is_private: bool,
    meeting: &Meeting,
    log: &Mutex<Vec<Asked>>,
) -> Option<()> {
    let mut input = BufReader::new(connection.try_clone().ok()?);
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    let [method, target, _] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        input.read_line(&mut header).ok()?;
        match header.trim().split_once(':') {
            Some((name, value)) => headers.push((name.to_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    input.read_exact(&mut body).ok()?;
    let is_fetch = body.windows(13).any(|window| window == b"command=fetch");
    let authorization = header("authorization");
    log.lock().unwrap().push(Asked { path: path.to_owned(), authorization: authorization.clone(), is_fetch });
    let expected = format!("Basic {}", base64(format!("{USER}:{PASSWORD}").as_bytes()));
    if is_private && authorization.as_deref() != Some(&expected) {
        let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return connection.write_all(answer.as_bytes()).ok();
    }
    if is_fetch {
        meeting.come();
    }
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(&body).ok()?;
    let mut answer = Vec::new();
    child.stdout.take()?.read_to_end(&mut answer).ok()?;
    child.wait().ok()?;
    let status = match answer.strip_prefix(b"Status: ") {
        Some(rest) => String::from_utf8_lossy(rest.split(|&byte| byte == b'\r').next()?).into_owned(),
        None => "200 OK".to_owned(),
    };
    connection.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n").as_bytes()).ok()?;
    connection.write_all(&answer).ok()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place > chunk.len() { '=' } else { digit.into() });
        }
    }
    text
}

/// An `ssh` that runs what it is asked for here, below `root`, and writes down its arguments.
pub(crate) fn fake_ssh(dir: &Path, root: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let bin = dir.join("bin");
    fs_err::create_dir_all(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\nfor last; do :; done\n\
         cd '{}' && eval \"exec $(printf %s \"$last\" | sed \"s#'/#'#\")\"\n",
        dir.join("ssh-words").display(),
        root.display()
    );
    fs_err::write(bin.join("ssh"), script).unwrap();
    fs_err::set_permissions(bin.join("ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    bin
}
