//! The least that fetching images can take: plain requests, sixteen connections, every byte hashed.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use benches::container_images::images::{Blob, Image, TAG, shown};
use sha2::{Digest, Sha256};

/// Connections; as many requests as `sealer` has under way.
const AT_ONCE: usize = 16;

/// Asks for a name, its manifest, a config and a layer, each after the other; then for all other blobs at once. Bytes are
/// hashed once and dropped; with a directory they are hashed once more, as a layer is, and written and synced.
pub(super) fn fetch(
    address: &str,
    image: &Image,
    blobs: &[Blob],
    kept: Option<&Path>,
) -> io::Result<Duration> {
    let start = Instant::now();
    let mut first = Connection::open(address)?;
    first.request("HEAD", &format!("/v2/{}/manifests/{TAG}", image.repository), &mut |_| Ok(()))?;
    let manifest = format!("/v2/{}/manifests/{}", image.repository, image.manifests[0].digest);
    first.request("GET", &manifest, &mut |_| Ok(()))?;
    let mut file = file_of(kept, AT_ONCE)?;
    let chain = image.own();
    chain.iter().try_for_each(|blob| first.blob(image, blob, file.as_mut()))?;
    let rest: Vec<&Blob> =
        blobs.iter().filter(|blob| chain.iter().all(|done| done.digest != blob.digest)).collect();
    let next = AtomicUsize::new(0);
    let work = |worker: usize| -> io::Result<()> {
        let mut connection = Connection::open(address)?;
        let mut file = file_of(kept, worker)?;
        while let Some(blob) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
            connection.blob(image, blob, file.as_mut())?;
        }
        file.map_or(Ok(()), |file| file.sync_all())
    };
    std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..AT_ONCE).map(|worker| scope.spawn(move || work(worker))).collect();
        let ended = |worker: std::thread::ScopedJoinHandle<'_, io::Result<()>>| {
            worker.join().map_err(|_| io::Error::other("a panic"))?
        };
        workers.into_iter().try_for_each(ended)
    })?;
    file.map_or(Ok(()), |file| file.sync_all())?;
    Ok(start.elapsed())
}

/// The file of one connection; fewer files, fewer syncs.
fn file_of(dir: Option<&Path>, worker: usize) -> io::Result<Option<fs_err::File>> {
    dir.map(|dir| fs_err::File::create(dir.join(worker.to_string()))).transpose()
}

/// A connection that is kept.
struct Connection {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { address: address.to_owned(), stream: BufReader::with_capacity(256 << 10, stream) })
    }

    /// Gets a blob and checks it.
    fn blob(&mut self, image: &Image, blob: &Blob, mut file: Option<&mut fs_err::File>) -> io::Result<()> {
        let (mut own, mut layer) = (Sha256::new(), Sha256::new());
        let path = format!("/v2/{}/blobs/{}", image.repository, blob.digest);
        self.request("GET", &path, &mut |bytes| {
            own.update(bytes);
            if let Some(file) = &mut file {
                layer.update(bytes);
                file.write_all(bytes)?;
            }
            Ok(())
        })?;
        std::hint::black_box(layer.finalize());
        if let Some(file) = file {
            // The kernel begins to write what it was given, so that the sync finds little left to do.
            rustix::fs::fadvise(file.file(), 0, None, rustix::fs::Advice::DontNeed)?;
        }
        if shown(&own.finalize()) == blob.digest { Ok(()) } else { Err(io::Error::other("other bytes")) }
    }

    /// One request; the body in pieces.
    fn request(
        &mut self,
        method: &str,
        path: &str,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.get_mut().write_all(text.as_bytes())?;
        let (mut left, mut line) = (0, String::new());
        self.stream.read_line(&mut line)?;
        if !line.contains(" 200 ") {
            return Err(io::Error::other(format!("{path}: {line}")));
        }
        while line.trim_end() != "" {
            if let Some(length) = line.strip_prefix("Content-Length: ") {
                left = length.trim_end().parse().map_err(io::Error::other)?;
            }
            line.clear();
            self.stream.read_line(&mut line)?;
        }
        while method == "GET" && left > 0 {
            let bytes = self.stream.fill_buf()?;
            let taken = bytes.len().min(left);
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            sink(&bytes[..taken])?;
            self.stream.consume(taken);
            left -= taken;
        }
        Ok(())
    }
}
