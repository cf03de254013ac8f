//! A registry on loopback that takes its time, counts what it is asked, and costs next to nothing: blobs go from the page
//! cache to the socket in the kernel. It knows as much of the protocol as pulling needs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::LATENCY;
use crate::container_images::images::{Image, Manifest, TAG};

/// Kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// HEAD of a manifest.
    Question,
    /// GET of a manifest.
    Manifest,
    /// GET of a blob, or of a part of it.
    Blob,
    /// `/v2/`, and whatever else.
    Other,
}

/// What was asked, and how often: of blobs the digest whatever the repository, else the path.
#[derive(Debug, Default, Clone)]
pub struct Requests(BTreeMap<(Kind, String), usize>);

impl Requests {
    /// How many there were of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.of(kind).map(|(_, times)| times).sum()
    }

    /// What was asked of a kind, and how often.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (&str, usize)> {
        let ours = self.0.iter().filter(move |((one, _), _)| *one == kind);
        ours.map(|((_, what), times)| (what.as_str(), *times))
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [questions, manifests, blobs, other] =
            [Kind::Question, Kind::Manifest, Kind::Blob, Kind::Other].map(|kind| self.count(kind));
        write!(f, "{questions} / {manifests} / {blobs} / {other}")
    }
}

/// The registry; it serves until the program ends.
#[derive(Debug)]
pub struct Registry {
    /// Host and port.
    pub address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    blobs: PathBuf,
    /// By path.
    manifests: Mutex<HashMap<String, Manifest>>,
    requests: Mutex<Requests>,
}

impl Registry {
    /// Serves the blobs of a directory, in every repository.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(blobs: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (manifests, requests) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { blobs: blobs.to_owned(), manifests, requests });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                // Whoever hangs up is done.
                std::thread::spawn(move || drop(served.serve(&stream)));
            }
        });
        Ok(Self { address, shared })
    }

    /// Takes an image in; its tag leads to it from now on.
    pub fn add(&self, image: &Image) {
        let mut known = lock(&self.shared.manifests);
        let path = |last: &str| format!("/v2/{}/manifests/{last}", image.repository);
        for manifest in &image.manifests {
            known.insert(path(&manifest.digest), manifest.clone());
            known.insert(path(TAG), manifest.clone());
        }
    }

    /// What was asked since the last time.
    pub fn take(&self) -> Requests {
        std::mem::take(&mut *lock(&self.shared.requests))
    }
}

impl Shared {
    /// One connection.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        while let Some(line) = lines.next() {
            let (line, mut from) = (line?, None);
            for field in lines.by_ref() {
                let field = field?.to_ascii_lowercase();
                if field.is_empty() {
                    break;
                }
                let range = field.strip_prefix("range: bytes=").and_then(|range| range.split('-').next());
                from = range.and_then(|range| range.parse().ok()).or(from);
            }
            std::thread::sleep(LATENCY);
            let mut words = line.split(' ');
            self.answer(stream, words.next() == Some("HEAD"), words.next().unwrap_or_default(), from)?;
        }
        Ok(())
    }

    fn answer(&self, stream: &TcpStream, is_head: bool, path: &str, from: Option<u64>) -> io::Result<()> {
        let count = |kind, what: &str| {
            *lock(&self.requests).0.entry((kind, what.to_owned())).or_default() += 1;
        };
        let mut stream = stream;
        if path.contains("/manifests/") {
            count(if is_head { Kind::Question } else { Kind::Manifest }, path);
            let Some(manifest) = lock(&self.manifests).get(path).cloned() else { return absent(stream) };
            let length = manifest.bytes.len() as u64;
            let mut answer = head("200 OK", length, manifest.media_type, Some(&manifest.digest)).into_bytes();
            answer.extend_from_slice(if is_head { &[] } else { &manifest.bytes });
            return stream.write_all(&answer);
        }
        if let Some((_, digest)) = path.split_once("/blobs/sha256:") {
            count(if is_head { Kind::Other } else { Kind::Blob }, &format!("sha256:{digest}"));
            let Ok(file) = fs_err::File::open(self.blobs.join(digest)) else { return absent(stream) };
            let (size, mut at) = (file.metadata()?.len(), from.unwrap_or(0));
            let range = from.map(|from| format!("\r\nContent-Range: bytes {from}-{}/{size}", size - 1));
            let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
            let what = format!("application/octet-stream{}", range.unwrap_or_default());
            stream.write_all(head(status, size.saturating_sub(at), &what, None).as_bytes())?;
            while !is_head && at < size {
                let left = (size - at) as usize;
                rustix::fs::sendfile(stream, &file, Some(&mut at), left)?;
            }
            return Ok(());
        }
        count(Kind::Other, path);
        if path == "/v2/" {
            stream.write_all(head("200 OK", 0, "text/plain", None).as_bytes())
        } else {
            absent(stream)
        }
    }
}

fn absent(mut stream: &TcpStream) -> io::Result<()> {
    stream.write_all(head("404 Not Found", 0, "text/plain", None).as_bytes())
}

fn head(status: &str, length: u64, media_type: &str, digest: Option<&str>) -> String {
    let digest = digest.map(|digest| format!("Docker-Content-Digest: {digest}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Type: {media_type}\r\n\
         Content-Length: {length}\r\n{digest}\r\n"
    )
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
