//! A registry a network away: passes HTTP/1.1 on, holds every request back, and counts requests and answered bytes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::LATENCY;

/// A running proxy; it ends with the process.
#[derive(Debug)]
pub struct Proxy {
    /// Host and port.
    pub address: String,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    sent: AtomicU64,
}

impl Proxy {
    /// Starts one before a server.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(server: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self { address: listener.local_addr()?.to_string(), counts: Arc::default() };
        let (server, counts) = (server.to_owned(), Arc::clone(&proxy.counts));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, counts) = (server.clone(), Arc::clone(&counts));
                // Whoever hangs up is done.
                std::thread::spawn(move || drop(pass(client, &server, &counts)));
            }
        });
        Ok(proxy)
    }

    /// Bytes of requests since the last time.
    pub fn take_sent(&self) -> u64 {
        self.counts.sent.swap(0, Ordering::Relaxed)
    }

    /// Requests and bytes of answers since the last time.
    pub fn take(&self) -> (u64, u64) {
        (self.counts.requests.swap(0, Ordering::Relaxed), self.counts.bytes.swap(0, Ordering::Relaxed))
    }
}

/// One connection, until either side has enough.
fn pass(client: TcpStream, server: &str, counts: &Arc<Counts>) -> io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
    let counted = Arc::clone(counts);
    std::thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            match answers.read(&mut buffer)? {
                0 => return back.shutdown(Shutdown::Both),
                read => {
                    counted.bytes.fetch_add(read as u64, Ordering::Relaxed);
                    back.write_all(&buffer[..read])?;
                }
            }
        }
    });
    let mut client = BufReader::with_capacity(256 << 10, client);
    while let Some((head, body)) = head(&mut client)? {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(LATENCY);
        server.write_all(&head)?;
        let sent = match body {
            Body::Length(length) => io::copy(&mut client.by_ref().take(length), &mut server)?,
            Body::Chunked => chunks(&mut client, &mut server)?,
        };
        counts.sent.fetch_add(head.len() as u64 + sent, Ordering::Relaxed);
    }
    server.shutdown(Shutdown::Write)
}

enum Body {
    Length(u64),
    Chunked,
}

/// The head of the next request, if there is one.
fn head(client: &mut impl BufRead) -> io::Result<Option<(Vec<u8>, Body)>> {
    let (mut head, mut body) = (Vec::new(), Body::Length(0));
    loop {
        let start = head.len();
        if client.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&head[start..]).trim().to_ascii_lowercase();
        if line.is_empty() {
            return Ok(Some((head, body)));
        }
        if let Some(length) = line.strip_prefix("content-length:") {
            body = Body::Length(length.trim().parse().map_err(io::Error::other)?);
        } else if line.starts_with("transfer-encoding:") && line.contains("chunked") {
            body = Body::Chunked;
        }
    }
}

/// A chunked body (RFC 9112, 7.1), as it stands.
fn chunks(client: &mut impl BufRead, server: &mut TcpStream) -> io::Result<u64> {
    let mut sent = 0;
    loop {
        let mut line = Vec::new();
        client.read_until(b'\n', &mut line)?;
        server.write_all(&line)?;
        let text = String::from_utf8_lossy(&line);
        let length = text.trim().split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(length, 16).map_err(io::Error::other)?;
        // The line after the bytes; after the last chunk it is the one that ends the (empty) trailer.
        sent += line.len() as u64 + io::copy(&mut client.by_ref().take(length + 2), server)?;
        if length == 0 {
            return Ok(sent);
        }
    }
}
