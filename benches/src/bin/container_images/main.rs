//! How `sealer build` fetches and carries container images: `container_images [SEALER [SCALE]]`; skopeo is compared with
//! where it is installed. SCALE divides the sizes of layers, and three rounds will do then: a try.
//!
//! A registry of our own on loopback waits 20 ms before each answer and counts what it is asked; the program fails when
//! a build asks for too much. The floors are measured in the same rounds as the cold builds.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this program is for")]

mod floor;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::container_images::images::{Blob, Image, Maker, TAG};
use benches::container_images::registry::{Kind, Registry, Requests};
use benches::{Random, cpu, measured, median, settle};

const IMAGES: usize = 40;
/// Each is shared by as many images.
const BASES: usize = 4;
const LAYER_SIZE: usize = 10_000_000;
const CHARTS: usize = 100;
/// The image whose tag is moved.
const MOVED: usize = 5;

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let sealer = words.next().map_or_else(benches::beside_me, PathBuf::from);
    let scale: usize = words.next().map_or(Ok(1), |word| word.parse()).map_err(io::Error::other)?;
    let work = sealer.parent().unwrap_or(Path::new(".")).join("container-images-work");
    let _ = fs_err::remove_dir_all(&work);
    let bench = Bench::make(sealer, &work, scale.max(1))?;
    println!(
        "| workload | case | median ms | spread ms | peak MB | CPU s | registry CPU s | HEAD / manifests / blobs / other |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let beside = bench.listed_images()?;
    bench.charts()?;
    println!("\n{beside}");
    fs_err::remove_dir_all(&work)
}

/// Images in their registry, and a program that fetches them.
struct Bench {
    sealer: PathBuf,
    work: PathBuf,
    rounds: usize,
    registry: Registry,
    /// One more than is listed at first.
    images: Vec<Image>,
    /// What the tag of one of them leads to later.
    moved: Image,
}

/// A build after an edit, and what it may ask for.
struct Step<'a> {
    case: &'static str,
    edit: &'a dyn Fn(usize) -> io::Result<()>,
    /// Tags asked about; `None` where that is not said.
    questions: Option<usize>,
    /// Requested exactly once each, and no others.
    blobs: Vec<&'a Blob>,
}

/// Builds of one case.
#[derive(Default)]
struct Case {
    runs: Vec<Duration>,
    cpu: Vec<Duration>,
    registry_cpu: Vec<Duration>,
    peak_kib: u64,
    requests: Requests,
}

impl Case {
    fn print(&mut self, workload: &str, case: &str) {
        eprintln!("{workload}, {case}: {:?}", self.runs);
        let middle = median(&mut self.runs);
        let spread = self.runs[self.runs.len() - 1] - self.runs[0];
        println!(
            "| {workload} | {case} | {:.1} | {:.1} | {} | {:.2} | {:.2} | {} |",
            middle.as_secs_f64() * 1e3,
            spread.as_secs_f64() * 1e3,
            self.peak_kib >> 10,
            median(&mut self.cpu).as_secs_f64(),
            median(&mut self.registry_cpu).as_secs_f64(),
            self.requests
        );
    }
}

/// What is measured beside the cold builds.
#[derive(Default)]
struct Beside {
    bytes: Vec<Duration>,
    results: Vec<Duration>,
    skopeo: Vec<Duration>,
    skopeo_cpu: Vec<Duration>,
    store: u64,
}

impl Bench {
    fn make(sealer: PathBuf, work: &Path, scale: usize) -> io::Result<Self> {
        let blobs = work.join("blobs");
        fs_err::create_dir_all(&blobs)?;
        let registry = Registry::start(&blobs)?;
        let mut maker = Maker { blobs, layer_size: LAYER_SIZE / scale, random: Random::new(40) };
        let bases = (0..BASES).map(|_| maker.layer()).collect::<io::Result<Vec<_>>>()?;
        let mut make = |number: usize| maker.image(number, &bases[number % BASES], number.is_multiple_of(4));
        let images = (0..=IMAGES).map(&mut make).collect::<io::Result<Vec<_>>>()?;
        let moved = make(MOVED)?;
        images.iter().for_each(|image| registry.add(image));
        let rounds = if scale > 1 { 3 } else { 7 };
        Ok(Self { sealer, work: work.to_owned(), rounds, registry, images, moved })
    }

    /// What the images need, each blob once.
    fn blobs(&self) -> Vec<&Blob> {
        let all = self.images[..IMAGES].iter().flat_map(|image| &image.blobs);
        all.map(|blob| (&blob.digest, blob)).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// 40 images in a list.
    fn listed_images(&self) -> io::Result<String> {
        let context = self.work.join("listed");
        for dir in ["manifests", "a", "b"] {
            fs_err::create_dir_all(context.join(dir))?;
        }
        for app in ["a", "b"] {
            fs_err::write(context.join(app).join("run.sh"), format!("echo {app}\n"))?;
        }
        let write = |images: usize, launch: &str| -> io::Result<()> {
            let name = |image: &Image| image.name(&self.registry.address) + "\n";
            let list: String = self.images[..images].iter().map(name).collect();
            fs_err::write(context.join("manifests/imageList"), list)?;
            let text = "FROM scratch\nCOPY manifests manifests\nAPP a local://a\nAPP b local://b\n";
            fs_err::write(context.join("Kubefile"), format!("{text}LAUNCH [\"{launch}\"]\n"))
        };
        let reset = |_| {
            self.registry.add(&self.images[MOVED]);
            write(IMAGES, "a")
        };
        let moves = |_| {
            self.registry.add(&self.moved);
            Ok(())
        };
        let launch = |_| write(IMAGES, "b");
        let adds = |_| write(IMAGES + 1, "b");
        let step = |case, edit, questions, blobs| Step { case, edit, questions, blobs };
        let steps = [
            step("cold", &reset, None, self.blobs()),
            step("nothing changed", &unchanged, Some(IMAGES), Vec::new()),
            step("LAUNCH changed", &launch, Some(IMAGES), Vec::new()),
            step("one image added", &adds, None, self.images[IMAGES].own()),
            step("one tag moved", &moves, Some(IMAGES + 1), self.moved.own()),
        ];
        let mut beside = Beside::default();
        let mut cases =
            self.measure("40 images", ("all", &context), &steps, &mut || self.beside(&mut beside))?;
        let size: u64 = self.blobs().iter().map(|blob| blob.size).sum();
        Ok(beside.report(median(&mut cases[0].runs), size))
    }

    /// 100 charts that name the images, with them and without.
    fn charts(&self) -> io::Result<()> {
        let context = self.work.join("charts");
        let kubefile = |launch: usize| {
            let apps: String = (0..CHARTS).map(|app| format!("APP app{app} local://app{app}\n")).collect();
            let text = format!("FROM scratch\n{apps}LAUNCH [\"app{launch}\"]\n");
            fs_err::write(context.join("Kubefile"), text)
        };
        let reset = |_| {
            self.registry.add(&self.images[MOVED]);
            for app in 0..CHARTS {
                let image = &self.images[app % IMAGES];
                let repository = format!("{}/{}", self.registry.address, image.repository);
                chart(&context.join(format!("app{app}")), app, &repository)?;
            }
            kubefile(0)
        };
        let template = |round| deployment(&context.join("app7"), &format!("round {round}"));
        let launch = |round| kubefile(round + 1);
        for (mode, questions, blobs) in [("all", IMAGES, self.blobs()), ("lite", 0, Vec::new())] {
            let step = |case, edit| Step { case, edit, questions: Some(questions), blobs: Vec::new() };
            let steps = [
                Step { questions: None, blobs, ..step("cold", &reset) },
                step("nothing changed", &unchanged),
                step("one template changed", &template),
                step("LAUNCH changed", &launch),
            ];
            self.measure(&format!("100 charts, {mode}"), (mode, &context), &steps, &mut || Ok(()))?;
        }
        Ok(())
    }

    /// Rounds of all steps, each round on an empty store; `beside` runs after the first step.
    fn measure(
        &self,
        workload: &str,
        (mode, context): (&str, &Path),
        steps: &[Step<'_>],
        beside: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<Vec<Case>> {
        let mut cases: Vec<Case> = steps.iter().map(|_| Case::default()).collect();
        let (store, clean) = (self.work.join("store"), self.work.join("clean"));
        let id = || fs_err::read_to_string(self.work.join("id"));
        for round in 0..self.rounds {
            let _ = fs_err::remove_dir_all(&store);
            for (at, (step, case)) in steps.iter().zip(&mut cases).enumerate() {
                (step.edit)(round)?;
                self.build(mode, context, &store, case)?;
                step.check(case)
                    .map_err(|text| io::Error::other(format!("{workload}, {}: {text}", step.case)))?;
                if at == 0 {
                    beside()?;
                }
            }
        }
        let made = id()?;
        self.build(mode, context, &clean, &mut Case::default())?;
        fs_err::remove_dir_all(&clean)?;
        if id()? != made {
            return Err(io::Error::other(format!(
                "{workload}: an incremental build differs from a clean one"
            )));
        }
        cases.iter_mut().zip(steps).for_each(|(case, step)| case.print(workload, step.case));
        Ok(cases)
    }

    fn build(&self, mode: &str, context: &Path, store: &Path, case: &mut Case) -> io::Result<()> {
        let mut build = Command::new(&self.sealer);
        build
            .args(["build", "-q", "-t", "bench:1", "--build-mode", mode, "--iidfile"])
            .arg(self.work.join("id"));
        build.arg("--root").arg(store).arg(context).stdout(Stdio::null());
        settle();
        self.registry.take();
        let (own, children) = cpu()?;
        let (wall, peak) = measured(&mut build)?;
        let (own_after, children_after) = cpu()?;
        case.runs.push(wall);
        case.cpu.push(children_after - children);
        case.registry_cpu.push(own_after - own);
        case.peak_kib = case.peak_kib.max(peak);
        case.requests = self.registry.take();
        Ok(())
    }

    /// The floors, skopeo, and the store after a cold build.
    fn beside(&self, beside: &mut Beside) -> io::Result<()> {
        beside.store = size_of(&self.work.join("store"))?;
        let blobs: Vec<Blob> = self.blobs().into_iter().cloned().collect();
        // One that is no index.
        let chain = &self.images[1];
        settle();
        beside.bytes.push(floor::fetch(&self.registry.address, chain, &blobs, None)?);
        let kept = self.work.join("floor");
        fs_err::create_dir_all(&kept)?;
        settle();
        beside.results.push(floor::fetch(&self.registry.address, chain, &blobs, Some(&kept))?);
        fs_err::remove_dir_all(&kept)?;
        settle();
        let (start, before) = (Instant::now(), cpu()?.1);
        let copies = self.images[..IMAGES].iter().map(|image| self.skopeo(image));
        match copies.collect::<io::Result<()>>() {
            Ok(()) => {
                beside.skopeo.push(start.elapsed());
                beside.skopeo_cpu.push(cpu()?.1 - before);
            }
            Err(error) => eprintln!("skopeo: {error}"),
        }
        let _ = fs_err::remove_dir_all(self.work.join("skopeo"));
        Ok(())
    }

    fn skopeo(&self, image: &Image) -> io::Result<()> {
        let from = format!("docker://{}", image.name(&self.registry.address));
        let to = format!("oci:{}:{}", self.work.join("skopeo").display(), image.repository);
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &from, &to]);
        measured(copy.stdout(Stdio::null())).map(drop)
    }
}

impl Step<'_> {
    /// What a build asked for must be what it needs.
    fn check(&self, case: &Case) -> Result<(), String> {
        let mut wanted: BTreeMap<&str, usize> =
            self.blobs.iter().map(|blob| (blob.digest.as_str(), 1)).collect();
        for (digest, times) in case.requests.of(Kind::Blob) {
            if times != wanted.remove(digest).unwrap_or_default() {
                return Err(format!("{digest} was requested {times} times"));
            }
        }
        if let Some((digest, _)) = wanted.first_key_value() {
            return Err(format!("{digest} was not requested"));
        }
        let asked = case.requests.count(Kind::Question);
        let twice = case.requests.of(Kind::Question).find(|(_, times)| *times > 1);
        match (self.questions, twice) {
            (_, Some((tag, times))) => Err(format!("{tag} was asked about {times} times")),
            (Some(questions), None) if questions != asked => Err(format!("{asked} HEAD, not {questions}")),
            _ => Ok(()),
        }
    }
}

impl Beside {
    fn report(mut self, cold: Duration, size: u64) -> String {
        let mut text =
            String::from("| beside the cold build | median ms | spread ms | CPU s | sealer ÷ it | bar |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        let bytes = "the bytes: sixteen connections, SHA-256, after a chain of four requests";
        let result = "the same, hashed twice, written and synced";
        let peer = "skopeo copy, one image after the other, into one oci layout";
        for (what, times, bar) in [
            (bytes, &mut self.bytes, "1.5"),
            (result, &mut self.results, "1.5"),
            (peer, &mut self.skopeo, ""),
        ] {
            if times.is_empty() {
                continue;
            }
            eprintln!("{what}: {times:?}");
            let middle = median(times);
            let spread = times[times.len() - 1] - times[0];
            let cpu = if what == peer {
                median(&mut self.skopeo_cpu).as_secs_f64().to_string()
            } else {
                String::new()
            };
            text.push_str(&format!(
                "| {what} | {} | {} | {cpu} | {:.2} | {bar} |\n",
                middle.as_millis(),
                spread.as_millis(),
                cold.as_secs_f64() / middle.as_secs_f64()
            ));
        }
        let times = self.store as f64 / size as f64;
        let mb = |bytes: u64| bytes as f64 / 1e6;
        text + &format!(
            "\nThe store: {:.1} MB, {times:.3} × the unique blobs ({:.1} MB).",
            mb(self.store),
            mb(size)
        )
    }
}

fn unchanged(_round: usize) -> io::Result<()> {
    Ok(())
}

/// A small chart that names an image by repository and tag.
fn chart(dir: &Path, number: usize, repository: &str) -> io::Result<()> {
    fs_err::create_dir_all(dir.join("templates"))?;
    let text = format!("apiVersion: v2\nname: app{number}\nversion: 1.0.0\nappVersion: \"1.0\"\n");
    fs_err::write(dir.join("Chart.yaml"), text)?;
    let values = format!(
        "replicas: 2\nimage:\n  repository: {repository}\n  tag: {TAG}\n  pullPolicy: IfNotPresent\nport: {}\n",
        8000 + number
    );
    fs_err::write(dir.join("values.yaml"), values)?;
    fs_err::write(dir.join("templates/service.yaml"), include_str!("service.yaml"))?;
    deployment(dir, "none")
}

fn deployment(dir: &Path, note: &str) -> io::Result<()> {
    let text = include_str!("deployment.yaml").replace("NOTE", note);
    fs_err::write(dir.join("templates/deployment.yaml"), text)
}

/// What a directory takes on the disk, in bytes.
fn size_of(path: &Path) -> io::Result<u64> {
    let metadata = fs_err::symlink_metadata(path)?;
    // A block of `stat` has 512 bytes, whatever the file system's own have.
    let mut size = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs_err::read_dir(path)? {
            size += size_of(&entry?.path())?;
        }
    }
    Ok(size)
}
