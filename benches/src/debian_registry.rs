//! Debian's docker-registry as a process of our own, on a free port of loopback.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running registry, ended when nobody holds it any more.
#[derive(Debug)]
pub struct DebianRegistry {
    child: Child,
    /// Host and port.
    pub address: String,
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl DebianRegistry {
    /// Starts one that keeps everything in a directory.
    ///
    /// # Errors
    /// When it is not installed, or does not answer.
    pub fn start(dir: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(dir)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            dir.join("data").display()
        );
        fs_err::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| io::Error::other(format!("docker-registry: {error}")))?;
        let registry = Self { child, address };
        for _ in 0..500 {
            if TcpStream::connect(&registry.address).is_ok() {
                return Ok(registry);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("the registry does not start"))
    }
}
