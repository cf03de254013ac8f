//! Pulling and pushing a gigabyte: `registries [SEALER]`; needs `docker-registry`, and skopeo to be compared with.
//!
//! A real registry on loopback serves an image of eight layers, and one of a single layer, of bytes that do not compress.
//! The floor is measured in the same rounds: as many plain connections as there are layers, six at most, that only get
//! (or put) the bytes and hash them with SHA-256. Nothing of the floor reaches a disk on our side; what we pull is synced.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this program is for")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::{DebianRegistry, Random, measured, median, settle};
use sha2::{Digest, Sha256};

const ROUNDS: usize = 7;
const BYTES: u64 = 1 << 30;
/// Connections of the floor; as many as skopeo and this program use.
const AT_ONCE: usize = 6;

fn main() -> io::Result<()> {
    let sealer = std::env::args().nth(1).map_or_else(benches::beside_me, PathBuf::from);
    let work = sealer.parent().unwrap_or(Path::new(".")).join("registries-work");
    println!("| image | case | median ms | spread ms | peak MB | floor ms | ratio | skopeo ms |");
    println!("|---|---|---|---|---|---|---|---|");
    for layers in [8, 1] {
        let _ = fs_err::remove_dir_all(&work);
        fs_err::create_dir_all(&work)?;
        let image = Image::make(&sealer, &work, layers)?;
        image.measure_push()?;
        image.measure_pull()?;
    }
    fs_err::remove_dir_all(&work)
}

/// An image of a gigabyte in a store of its own.
struct Image {
    sealer: PathBuf,
    work: PathBuf,
    layers: usize,
    blobs: Vec<PathBuf>,
}

impl Image {
    fn make(sealer: &Path, work: &Path, layers: usize) -> io::Result<Self> {
        let context = work.join("context");
        fs_err::create_dir_all(&context)?;
        let mut text = String::from("FROM scratch\n");
        for layer in 0..layers {
            let mut random = Random::new(layer as u64 + 1);
            let mut file = io::BufWriter::new(fs_err::File::create(context.join(format!("f{layer}")))?);
            for _ in 0..BYTES / layers as u64 / 8 {
                file.write_all(&random.next_u64().to_le_bytes())?;
            }
            file.flush()?;
            text.push_str(&format!("COPY f{layer} /f{layer}\n"));
        }
        fs_err::write(context.join("Kubefile"), text)?;
        let image = Self { sealer: sealer.to_owned(), work: work.to_owned(), layers, blobs: Vec::new() };
        let words = ["build", "-q", "-t", "localhost/bench:1", "--build-mode", "lite"];
        measured(image.run("store", &words).arg(&context))?;
        let mut blobs: Vec<PathBuf> = Vec::new();
        for blob in fs_err::read_dir(work.join("store/blobs/sha256"))? {
            let blob = blob?;
            blobs.extend((blob.metadata()?.len() > 1 << 20).then(|| blob.path()));
        }
        Ok(Self { blobs, ..image })
    }

    fn run(&self, store: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.sealer);
        command.args(words).arg("--root").arg(self.work.join(store)).stdout(Stdio::null());
        command
    }

    fn row(
        &self,
        case: &str,
        ours: &mut [Duration],
        peak: u64,
        floor: &mut [Duration],
        skopeo: &mut [Duration],
    ) {
        eprintln!("{case}: {ours:?}");
        let middle = median(ours);
        let spread = ours[ours.len() - 1] - ours[0];
        let floor = median(floor);
        let skopeo = if skopeo.is_empty() { "-".to_owned() } else { median(skopeo).as_millis().to_string() };
        println!(
            "| {} layers, 1 GiB | {case} | {} | {} | {} | {} | {:.2} | {skopeo} |",
            self.layers,
            middle.as_millis(),
            spread.as_millis(),
            peak >> 10,
            floor.as_millis(),
            middle.as_secs_f64() / floor.as_secs_f64(),
        );
    }

    fn measure_pull(&self) -> io::Result<()> {
        let registry = DebianRegistry::start(&self.work.join("pull"))?;
        let name = format!("{}/bench/image:1", registry.address);
        measured(&mut self.run("store", &["push", "-q", "localhost/bench:1", &name]))?;
        let (mut ours, mut floors, mut skopeos, mut bases) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut peak, mut base_peak) = (0, 0);
        let base = self.work.join("base");
        fs_err::create_dir_all(&base)?;
        fs_err::write(base.join("Kubefile"), format!("FROM {name}\nCOPY Kubefile /etc/\n"))?;
        for _ in 0..ROUNDS {
            settle();
            let start = Instant::now();
            self.get_all(&registry.address)?;
            floors.push(start.elapsed());
            settle();
            let (wall, used) = measured(&mut self.run("pulled", &["pull", "-q", &name]))?;
            ours.push(wall);
            peak = peak.max(used);
            fs_err::remove_dir_all(self.work.join("pulled"))?;
            settle();
            let words = ["build", "-q", "-t", "localhost/child:1", "--build-mode", "lite"];
            let (wall, used) = measured(self.run("based", &words).arg(&base))?;
            bases.push(wall);
            base_peak = base_peak.max(used);
            fs_err::remove_dir_all(self.work.join("based"))?;
            settle();
            let copy = self.work.join("copy");
            let (from, to) = (format!("docker://{name}"), format!("oci:{}:x", copy.display()));
            skopeos.extend(skopeo(&["--src-tls-verify=false", &from, &to]));
            let _ = fs_err::remove_dir_all(&copy);
        }
        self.row("pull", &mut ours, peak, &mut floors.clone(), &mut skopeos);
        self.row("pull as a base, indexed", &mut bases, base_peak, &mut floors, &mut Vec::new());
        Ok(())
    }

    fn measure_push(&self) -> io::Result<()> {
        let (mut ours, mut floors, mut skopeos) = (Vec::new(), Vec::new(), Vec::new());
        let mut peak = 0;
        let dir = self.work.join("push");
        for _ in 0..ROUNDS {
            // A registry that has the bytes already would take less.
            let fresh = |dir: &Path| -> io::Result<DebianRegistry> {
                let _ = fs_err::remove_dir_all(dir);
                settle();
                DebianRegistry::start(dir)
            };
            let registry = fresh(&dir)?;
            let start = Instant::now();
            self.put_all(&registry.address)?;
            floors.push(start.elapsed());
            drop(registry);
            let registry = fresh(&dir)?;
            let name = format!("{}/bench/image:1", registry.address);
            let (wall, used) = measured(&mut self.run("store", &["push", "-q", "localhost/bench:1", &name]))?;
            ours.push(wall);
            peak = peak.max(used);
            drop(registry);
            let registry = fresh(&dir)?;
            let from = format!("oci:{}:localhost/bench:1", self.work.join("store").display());
            let to = format!("docker://{}/bench/image:1", registry.address);
            skopeos.extend(skopeo(&["--dest-tls-verify=false", &from, &to]));
        }
        fs_err::remove_dir_all(&dir)?;
        self.row("push", &mut ours, peak, &mut floors, &mut skopeos);
        Ok(())
    }

    /// Gets every layer with a plain request, and hashes it.
    fn get_all(&self, address: &str) -> io::Result<()> {
        self.each_blob(&|blob| {
            let path = format!("/v2/bench/image/blobs/sha256:{}", name_of(blob));
            let mut body = request(address, &format!("GET {path}"), "", &mut io::empty())?.1;
            let mut hasher = Sha256::new();
            let mut buffer = vec![0; 256 << 10];
            loop {
                match body.read(&mut buffer)? {
                    0 => break,
                    read => hasher.update(&buffer[..read]),
                }
            }
            let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            if found == name_of(blob) { Ok(()) } else { Err(io::Error::other("other bytes")) }
        })
    }

    /// Puts every layer with plain requests, hashing it on the way.
    fn put_all(&self, address: &str) -> io::Result<()> {
        self.each_blob(&|blob| {
            let start = request(
                address,
                "POST /v2/bench/image/blobs/uploads/",
                "Content-Length: 0\r\n",
                &mut io::empty(),
            )?;
            let location =
                start.0.iter().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default();
            let path = location.split_once("/v2/").map_or(location, |(_, path)| path);
            let mut file = fs_err::File::open(blob)?;
            let length = format!("Content-Length: {}\r\n", file.metadata()?.len());
            let line = format!("PUT /v2/{path}&digest=sha256:{}", name_of(blob));
            let answer = request(address, &line, &length, &mut file)?;
            if answer.0[0].contains(" 201 ") { Ok(()) } else { Err(io::Error::other(answer.0[0].clone())) }
        })
    }

    fn each_blob(&self, work: &(dyn Fn(&Path) -> io::Result<()> + Sync)) -> io::Result<()> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let take = || -> io::Result<()> {
            while let Some(blob) = self.blobs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                work(blob)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(take)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().map_err(|_| io::Error::other("a panic"))?)
        })
    }
}

fn name_of(blob: &Path) -> String {
    blob.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// One plain HTTP/1.1 request; the lines of the answer's head, and its body.
fn request(
    address: &str,
    line: &str,
    fields: &str,
    body: &mut dyn Read,
) -> io::Result<(Vec<String>, Box<dyn Read>)> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}\r\n")?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match body.read(&mut buffer)? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                stream.write_all(&buffer[..read])?;
            }
        }
    }
    std::hint::black_box(hasher.finalize());
    let mut answer = BufReader::with_capacity(256 << 10, stream);
    let mut head = Vec::new();
    loop {
        let mut text = String::new();
        answer.read_line(&mut text)?;
        match text.trim_end() {
            "" => break,
            text => head.push(text.to_owned()),
        }
    }
    if head.is_empty() { Err(io::Error::other("no answer")) } else { Ok((head, Box::new(answer))) }
}

/// How long skopeo copies; `None`, said once a round, where it is not installed.
fn skopeo(words: &[&str]) -> Option<Duration> {
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "-q"]).args(words).stdout(Stdio::null());
    match measured(&mut command) {
        Ok((wall, _)) => Some(wall),
        Err(error) => {
            eprintln!("skopeo: {error}");
            None
        }
    }
}
