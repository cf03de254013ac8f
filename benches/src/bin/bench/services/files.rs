//! An HTTP/1.1 server of a few files: it can wait before each answer, and knows entity tags (RFC 9110, 13.1.2).

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A running server; it ends with the process.
#[derive(Debug, Clone)]
pub(crate) struct FileServer {
    address: String,
    latency: Duration,
    files: Arc<Mutex<HashMap<String, Arc<[u8]>>>>,
}

impl FileServer {
    /// Starts one without files, that waits so long before each answer.
    ///
    /// # Errors
    /// When no port can be had.
    pub(crate) fn start(latency: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let server = Self { address, latency, files: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                // Whoever hangs up is done.
                std::thread::spawn(move || drop(serving.serve(&stream)));
            }
        });
        Ok(server)
    }

    /// Takes a file in.
    pub(crate) fn add(&self, name: &str, bytes: Vec<u8>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(format!("/{name}"), bytes.into());
    }

    /// Where a file is.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// One connection.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        while let Some(line) = lines.next() {
            let (line, mut known) = (line?, None);
            for field in lines.by_ref() {
                let field = field?;
                if field.is_empty() {
                    break;
                }
                if let Some((name, value)) = field.split_once(':') {
                    known =
                        name.eq_ignore_ascii_case("if-none-match").then(|| value.trim().to_owned()).or(known);
                }
            }
            std::thread::sleep(self.latency);
            self.answer(stream, &line, known.as_deref())?;
        }
        Ok(())
    }

    fn answer(&self, mut stream: &TcpStream, line: &str, known: Option<&str>) -> io::Result<()> {
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let found = self.files.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        let Some(bytes) = found else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        };
        // The files of a run never change, so their names can stand for them.
        let tag = format!("\"{}\"", path.trim_start_matches('/'));
        if known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag)) {
            return stream.write_all(format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n").as_bytes());
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nETag: {tag}\r\n\r\n",
            bytes.len()
        );
        let mut answer = head.into_bytes();
        answer.extend_from_slice(if method == "HEAD" { &[] } else { &bytes });
        stream.write_all(&answer)
    }
}
