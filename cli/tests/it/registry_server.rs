//! Debian's `docker-registry` on loopback: open, or with a certificate of its own and a password.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::space::{has_peer, skipped};

/// Name and password of the private registry.
pub(crate) const USER: &str = "me";
pub(crate) const PASSWORD: &str = "hunter2";
/// The same as `htpasswd -Bb` writes it.
const HTPASSWD: &str = "me:$2y$04$WCCq46QzKTxUL3er.m0Wh.GWJMLcqtgGDgU0Tv21zbgqOR5mHbrkC\n";

/// A running registry; it ends with the value.
pub(crate) struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    pub(crate) address: String,
}

impl Registry {
    /// Open to everybody, without TLS. `None`, visibly, where the program cannot be had.
    pub(crate) fn open() -> Option<Self> {
        Self::start("", None)
    }

    /// As [`Self::open`], with its files in a directory that is there already.
    pub(crate) fn serving(root: &Path) -> Option<Self> {
        Self::start("", Some(root))
    }

    /// With basic authentication, and a certificate that nobody vouches for.
    pub(crate) fn private() -> Option<Self> {
        if !has_peer("openssl") {
            return None;
        }
        Self::start("tls", None)
    }

    fn start(kind: &str, root: Option<&Path>) -> Option<Self> {
        if !has_peer("docker-registry") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let data = root.map_or(path("data"), |root| root.display().to_string());
        let mut more = String::new();
        if kind == "tls" {
            let made = Command::new("openssl")
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-nodes",
                    "-days",
                    "2",
                    "-subj",
                    "/CN=localhost",
                ])
                .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
                .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            fs_err::write(path("htpasswd"), HTPASSWD).unwrap();
            more = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("htpasswd"));
        }
        // Another process may take the port in between.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let tls = match kind {
                "tls" => format!(", tls: {{certificate: {}, key: {}}}", path("cert.pem"), path("key.pem")),
                _ => String::new(),
            };
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n\
                 {more}http: {{addr: \"{address}\"{tls}}}\n"
            );
            fs_err::write(path("config.yml"), config).unwrap();
            let mut child = Command::new("docker-registry")
                .args(["serve", &path("config.yml")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none() {
                if TcpStream::connect(&address).is_ok() {
                    return Some(Self { child, dir, address });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        skipped("docker-registry does not start");
        None
    }

    /// A name in it.
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// The certificate of a private one.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// Where its blobs are.
    pub(crate) fn data(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
