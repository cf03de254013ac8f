//! A small HTTP/1.1 server on 127.0.0.1 whose answers, and faults, a test programs. Standard library only, so that the
//! tests of any crate can take it in by `#[path]`. It is no proxy and no TLS server, and it reads no request bodies.
//!
//! ```text
//! let server = Server::start();
//! server.file("/a.txt", b"text");                     ETag, Range, If-Range, If-None-Match, HEAD
//! server.serve_dir("/charts", dir);                   the files below a directory, read at each request
//! server.route("/busy", |request| match request.attempt {
//!     1 => Response::status(503).header("Retry-After", "0"),
//!     _ => Stored::new(b"text").answer(request).drop_after(2),
//! });
//! server.url("/a.txt");  server.requests();  server.hits("/a.txt")
//! ```
//!
//! Every connection has its own thread and may carry many requests. Paths nobody routed are answered with 404. Dropping
//! the server stops it taking connections; a thread that stalls ends when its client hangs up.

#![allow(dead_code, reason = "each crate that takes this file in uses another part of it")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

type Handler = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    routes: Mutex<BTreeMap<String, Handler>>,
    dirs: Mutex<Vec<(String, PathBuf)>>,
    log: Mutex<Vec<Request>>,
    active: AtomicUsize,
    busiest: AtomicUsize,
    stopping: AtomicBool,
}

impl Server {
    /// Starts a server on a free port.
    pub(crate) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let listening = std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if served.stopping.load(Ordering::Acquire) {
                    return;
                }
                let served = Arc::clone(&served);
                // A client that hangs up in the middle is what some tests are about.
                std::thread::spawn(move || drop(served.serve(connection)));
            }
        });
        Server { address, shared, listening: Some(listening) }
    }

    /// The URL of a path, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves fixed bytes as [`Stored::new`] would, replacing what the path had before.
    pub(crate) fn file(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let stored = Stored::new(bytes);
        self.route(path, move |request| stored.answer(request));
    }

    /// Answers a path (without query) by a function of the request, replacing what the path had before.
    pub(crate) fn route(&self, path: &str, handler: impl Fn(&Request) -> Response + Send + Sync + 'static) {
        lock(&self.shared.routes).insert(path.to_owned(), Arc::new(handler));
    }

    /// Serves the files below a directory, as they are at each request, under `prefix/`.
    pub(crate) fn serve_dir(&self, prefix: &str, dir: impl Into<PathBuf>) {
        lock(&self.shared.dirs).push((format!("{}/", prefix.trim_end_matches('/')), dir.into()));
    }

    /// All requests so far, in order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.shared.log).clone()
    }

    /// How many requests came for a path.
    pub(crate) fn hits(&self, path: &str) -> usize {
        lock(&self.shared.log).iter().filter(|request| request.path == path).count()
    }

    /// The most requests that were being answered at once.
    pub(crate) fn busiest(&self) -> usize {
        self.shared.busiest.load(Ordering::Acquire)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // The listener sleeps in `accept`, and a connection is what wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(listening) = self.listening.take() {
            drop(listening.join());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn serve(&self, connection: TcpStream) -> io::Result<()> {
        // Small answers must not wait for the client's acknowledgements.
        connection.set_nodelay(true)?;
        let mut input = BufReader::new(connection.try_clone()?);
        let mut output = connection;
        while let Some(mut request) = Request::read(&mut input)? {
            request.attempt = self.record(&request);
            let active = self.active.fetch_add(1, Ordering::AcqRel) + 1;
            self.busiest.fetch_max(active, Ordering::AcqRel);
            let response = self.answer(&request);
            std::thread::sleep(response.latency);
            // Before the answer: a client that has it may look at the counters at once.
            self.active.fetch_sub(1, Ordering::AcqRel);
            if !response.send(&request, &mut output)? {
                if response.stalls {
                    io::copy(&mut input, &mut io::sink())?;
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Logs a request and counts those of its path.
    fn record(&self, request: &Request) -> usize {
        let mut log = lock(&self.log);
        let attempt = log.iter().filter(|earlier| earlier.path == request.path).count() + 1;
        log.push(Request { attempt, ..request.clone() });
        attempt
    }

    fn answer(&self, request: &Request) -> Response {
        let handler = lock(&self.routes).get(&request.path).cloned();
        match handler {
            Some(handler) => handler(request),
            None => self.file_below(request).unwrap_or_else(|| Response::status(404)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "standard library only: not every crate has fs_err")]
    fn file_below(&self, request: &Request) -> Option<Response> {
        let (below, dir) = lock(&self.dirs)
            .iter()
            .find_map(|(prefix, dir)| Some((request.path.strip_prefix(prefix)?.to_owned(), dir.clone())))?;
        let plain = below.split('/').all(|component| !matches!(component, "" | "." | ".."));
        let bytes = std::fs::read(dir.join(plain.then_some(below)?)).ok()?;
        Some(Stored::new(bytes).answer(request))
    }
}

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// `GET`, `HEAD` …
    pub(crate) method: String,
    /// Without query, as sent: not decoded.
    pub(crate) path: String,
    /// What followed the `?`.
    pub(crate) query: Option<String>,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// Counts the requests for this path, from 1.
    pub(crate) attempt: usize,
}

impl Request {
    /// A header field, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte asked for by `Range: bytes=N-`.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }

    /// Reads one request's head; `None` at the end of the connection.
    fn read(input: &mut impl BufRead) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (target, None),
        };
        let mut request = Request { method, path, query, ..Request::default() };
        loop {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let Some((name, value)) = line.split_once(':') else { return Ok(Some(request)) };
            request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

/// An answer, with its faults.
#[derive(Debug, Clone, Default)]
pub(crate) struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    sent_bytes: Option<usize>,
    stalls: bool,
    latency: Duration,
}

/// How the client learns where the body ends.
#[derive(Debug, Clone, Copy, Default)]
enum Framing {
    #[default]
    Length,
    FalseLength(usize),
    Chunked,
    Endless,
    UntilClose,
}

impl Response {
    /// 200 with a body.
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Response {
        Response { status: 200, body: body.into(), ..Response::default() }
    }

    /// A status with a short text for its body.
    pub(crate) fn status(status: u16) -> Response {
        Response { status, body: format!("status {status}\n").into_bytes(), ..Response::default() }
    }

    /// 302 to another place, absolute or relative.
    pub(crate) fn redirect(location: &str) -> Response {
        Response::status(302).header("Location", location)
    }

    /// Adds a header field.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Response {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the status.
    pub(crate) fn with_status(mut self, status: u16) -> Response {
        self.status = status;
        self
    }

    /// Replaces a header field.
    pub(crate) fn replace_header(mut self, name: &str, value: &str) -> Response {
        self.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        self.header(name, value)
    }

    /// Cuts the body, and the length told of it, to this many bytes.
    pub(crate) fn shorten(mut self, bytes: usize) -> Response {
        self.body.truncate(bytes);
        self
    }

    /// Hangs up after this many bytes of the body.
    pub(crate) fn drop_after(mut self, bytes: usize) -> Response {
        self.sent_bytes = Some(bytes);
        self
    }

    /// Falls silent after this many bytes of the body, until the client hangs up.
    pub(crate) fn stall_after(mut self, bytes: usize) -> Response {
        self.stalls = true;
        self.drop_after(bytes)
    }

    /// Announces another length than the body has, then hangs up.
    pub(crate) fn false_length(mut self, bytes: usize) -> Response {
        self.framing = Framing::FalseLength(bytes);
        self
    }

    /// Sends the body in chunks, its length untold.
    pub(crate) fn chunked(mut self) -> Response {
        self.framing = Framing::Chunked;
        self
    }

    /// Sends the body in chunks, again and again, until the client hangs up.
    pub(crate) fn endless(mut self) -> Response {
        self.framing = Framing::Endless;
        self
    }

    /// Tells no length and ends the body by hanging up.
    pub(crate) fn until_close(mut self) -> Response {
        self.framing = Framing::UntilClose;
        self
    }

    /// Waits before answering.
    pub(crate) fn latency(mut self, latency: Duration) -> Response {
        self.latency = latency;
        self
    }

    /// Writes the answer; says whether the connection can go on.
    fn send(&self, request: &Request, output: &mut impl Write) -> io::Result<bool> {
        let mut head = format!("HTTP/1.1 {} Programmed\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("a string takes all");
        }
        head += &match self.framing {
            _ if self.status == 304 => String::new(),
            Framing::Length => format!("Content-Length: {}\r\n", self.body.len()),
            Framing::FalseLength(bytes) => format!("Content-Length: {bytes}\r\n"),
            Framing::Chunked | Framing::Endless => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::UntilClose => "Connection: close\r\n".to_owned(),
        };
        output.write_all(format!("{head}\r\n").as_bytes())?;
        if request.method == "HEAD" || self.status == 304 {
            return Ok(true);
        }
        let sent = &self.body[..self.sent_bytes.unwrap_or(usize::MAX).min(self.body.len())];
        let whole = self.sent_bytes.is_none();
        match self.framing {
            Framing::Length => output.write_all(sent)?,
            Framing::FalseLength(_) | Framing::UntilClose => {
                output.write_all(sent)?;
                return Ok(false);
            }
            Framing::Chunked => {
                write_chunk(output, sent)?;
                if whole {
                    output.write_all(b"0\r\n\r\n")?;
                }
            }
            Framing::Endless => loop {
                write_chunk(output, sent)?;
            },
        }
        Ok(whole)
    }
}

/// Writes one chunk; an empty one would end the body, so it is left out.
fn write_chunk(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    write!(output, "{:x}\r\n", bytes.len())?;
    output.write_all(bytes)?;
    output.write_all(b"\r\n")
}

/// A file with validators, served as a good server would.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The content.
    pub(crate) bytes: Vec<u8>,
    /// With its quotes, and `W/` for a weak one.
    pub(crate) etag: Option<String>,
    /// An HTTP date; sent and compared as text.
    pub(crate) last_modified: Option<String>,
    /// The `Date` of the answers.
    pub(crate) date: Option<String>,
    /// Whether `Range` is honoured.
    pub(crate) ranges: bool,
}

impl Stored {
    /// A file with a strong ETag made of its content, and ranges.
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Stored {
        let bytes = bytes.into();
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        let etag = Some(format!("\"{:016x}\"", hasher.finish()));
        Stored { bytes, etag, last_modified: None, date: None, ranges: true }
    }

    /// 200, 206, 304 or 416, by the request's conditions.
    pub(crate) fn answer(&self, request: &Request) -> Response {
        let unchanged = match request.header("if-none-match") {
            Some(tags) => self.etag.as_deref() == Some(tags),
            None => {
                let since = request.header("if-modified-since");
                since.is_some() && since == self.last_modified.as_deref()
            }
        };
        let same = request.header("if-range").is_none_or(|wanted| {
            self.etag.as_deref() == Some(wanted) || self.last_modified.as_deref() == Some(wanted)
        });
        let start = request.range_start().filter(|_| self.ranges && same);
        let mut response = match start {
            _ if unchanged => Response { body: Vec::new(), ..Response::status(304) },
            Some(start) if start >= self.bytes.len() => Response::status(416),
            Some(start) => {
                let total = self.bytes.len();
                let range = format!("bytes {start}-{}/{total}", total - 1);
                Response { status: 206, ..Response::ok(&self.bytes[start..]) }.header("Content-Range", &range)
            }
            None => Response::ok(self.bytes.as_slice()),
        };
        for (name, value) in
            [("ETag", &self.etag), ("Last-Modified", &self.last_modified), ("Date", &self.date)]
        {
            if let Some(value) = value {
                response = response.header(name, value);
            }
        }
        response
    }
}
