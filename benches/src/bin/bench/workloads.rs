//! The workloads: what is built, how large, and which byte of it changes. The files come from a seed.

use std::io;
use std::path::Path;

use benches::Random;
use benches::container_images::images::Maker as ImageMaker;
use benches::container_images::registry::Registry;

use crate::services::files::FileServer;
use crate::spec::{Spec, Step};

/// Something to build.
pub(crate) struct Workload {
    /// How `--only` calls it.
    pub(crate) name: &'static str,
    /// What lies below.
    pub(crate) base: Base,
    /// How much of a cache is measured.
    pub(crate) caches: bool,
    /// Bars of large data hold here.
    pub(crate) is_large: bool,
    /// Writes the context.
    pub(crate) make: fn(&Maker<'_>) -> io::Result<Made>,
}

/// The image that a workload stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Scratch,
    /// A small Debian.
    Debian,
    /// A static busybox: a shell for RUN.
    Busybox,
}

/// What a workload's context is made with.
pub(crate) struct Maker<'a> {
    /// The context.
    pub(crate) dir: &'a Path,
    /// Files behind URLs, on this machine.
    pub(crate) near: &'a FileServer,
    /// The same, a network away.
    pub(crate) far: &'a FileServer,
    /// Whether everything is a tenth.
    pub(crate) is_quick: bool,
}

/// A context that was made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// What it is, with its true numbers.
    pub(crate) title: String,
    /// The base is filled in later.
    pub(crate) spec: Spec,
    /// The file whose byte 9 changes.
    pub(crate) edit: String,
    /// Files of the context.
    pub(crate) files: u64,
    /// Sources of the Kubefile.
    pub(crate) sources: u64,
    /// Bytes of the layer that the edit changes, as a tar.
    pub(crate) edited_layer: u64,
}

/// All of them, in the order in which they are run.
pub(crate) const WORKLOADS: [Workload; 9] = [
    Workload { name: "example", base: Base::Scratch, caches: false, is_large: false, make: example },
    Workload { name: "small", base: Base::Scratch, caches: true, is_large: false, make: small },
    Workload { name: "run", base: Base::Busybox, caches: false, is_large: false, make: run },
    Workload { name: "apps", base: Base::Scratch, caches: true, is_large: true, make: apps },
    Workload { name: "copies", base: Base::Debian, caches: false, is_large: true, make: copies },
    Workload { name: "files", base: Base::Scratch, caches: false, is_large: true, make: files },
    Workload { name: "1000", base: Base::Scratch, caches: false, is_large: false, make: thousand },
    Workload { name: "10000", base: Base::Scratch, caches: false, is_large: false, make: ten_thousand },
    Workload { name: "images", base: Base::Scratch, caches: false, is_large: false, make: images },
];

impl Maker<'_> {
    /// So many, or a tenth.
    fn scaled(&self, count: usize) -> usize {
        if self.is_quick { count.div_ceil(10) } else { count }
    }

    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.dir.join(path);
        fs_err::create_dir_all(path.parent().unwrap_or(self.dir))?;
        fs_err::write(path, bytes)
    }

    /// So many one-level applications below `apps/`, named alike there and in the image.
    fn apps(&self, apps: usize, files: usize, size: usize) -> io::Result<Vec<Step>> {
        let mut random = Random::new(apps as u64 ^ 0x5ea1);
        let mut steps = Vec::new();
        for app in 0..apps {
            for file in 0..files {
                self.write(&format!("apps/a{app}/file{file}.yaml"), &random.bytes(size))?;
            }
            steps.push(Step::App { name: format!("a{app}"), path: format!("apps/a{app}") });
        }
        Ok(steps)
    }
}

/// Bytes of a tar of so many files of one size.
fn tar_bytes(files: u64, size: u64) -> u64 {
    files * (512 + size.next_multiple_of(512))
}

/// `examples/application`: two packaged charts over HTTP, a manifest, a script.
fn example(maker: &Maker<'_>) -> io::Result<Made> {
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: redis\n";
    maker.write("redis.yaml", manifest.as_bytes())?;
    maker.write("install.sh", b"#!/bin/sh\necho install the business application\n")?;
    let mut steps = Vec::new();
    for chart in ["mysql", "elasticsearch"] {
        maker.near.add(&format!("{chart}.tgz"), packaged_chart(chart)?);
        let url = maker.near.url(&format!("{chart}.tgz"));
        steps.push(Step::Remote { name: chart.into(), url });
    }
    steps.push(Step::App { name: "redis".into(), path: "redis.yaml".into() });
    steps.push(Step::App { name: "businessapp".into(), path: "install.sh".into() });
    Ok(Made {
        title: "the documentation's example, 4 apps".into(),
        spec: Spec { base: None, steps },
        edit: "redis.yaml".into(),
        files: 2,
        sources: 4,
        edited_layer: 1024,
    })
}

fn packaged_chart(name: &str) -> io::Result<Vec<u8>> {
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut tar = tar::Builder::new(packed);
    let config_map = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n");
    for (file, text) in [
        ("Chart.yaml", format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n")),
        ("values.yaml", "replicas: 1\n".to_owned()),
        ("templates/config.yaml", config_map),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{name}/{file}"), text.as_bytes())?;
    }
    tar.into_inner()?.finish()
}

/// Small applications; every fifth is a file behind a URL.
fn small(maker: &Maker<'_>) -> io::Result<Made> {
    let count = maker.scaled(100);
    let mut steps = maker.apps(count * 4 / 5, 20, 6 << 10)?;
    let mut random = Random::new(20);
    let remote = count / 5;
    for app in 0..remote {
        let file = format!("remote{app}.yaml");
        maker.far.add(&file, random.bytes(6 << 10));
        steps.push(Step::Remote { name: format!("r{app}"), url: maker.far.url(&file) });
    }
    Ok(Made {
        title: format!("{count} small apps, {remote} of them over HTTP at 20 ms"),
        spec: Spec { base: None, steps },
        edit: "apps/a7/file0.yaml".into(),
        files: count as u64 * 16,
        sources: count as u64,
        edited_layer: tar_bytes(20, 6 << 10),
    })
}

fn apps(maker: &Maker<'_>) -> io::Result<Made> {
    let count = maker.scaled(100);
    let steps = maker.apps(count, 28, 224 << 10)?;
    let bytes = count * 28 * (224 << 10);
    Ok(Made {
        title: format!("{count} apps, {} files, {} MiB", count * 28, bytes >> 20),
        spec: Spec { base: None, steps },
        edit: "apps/a7/file0.yaml".into(),
        files: count as u64 * 28,
        sources: count as u64,
        edited_layer: tar_bytes(28, 224 << 10),
    })
}

fn one_file_apps(maker: &Maker<'_>, count: usize) -> io::Result<Made> {
    let count = maker.scaled(count);
    Ok(Made {
        title: format!("{count} one-file apps"),
        spec: Spec { base: None, steps: maker.apps(count, 1, 1 << 10)? },
        edit: "apps/a7/file0.yaml".into(),
        files: count as u64,
        sources: count as u64,
        edited_layer: tar_bytes(1, 1 << 10),
    })
}

fn thousand(maker: &Maker<'_>) -> io::Result<Made> {
    one_file_apps(maker, 1000)
}

fn ten_thousand(maker: &Maker<'_>) -> io::Result<Made> {
    one_file_apps(maker, 10_000)
}

/// 2 GiB in twenty directories.
fn copies(maker: &Maker<'_>) -> io::Result<Made> {
    const DIRS: usize = 20;
    const SIZE: usize = 31_124;
    let files = maker.scaled(69_000) / DIRS;
    let mut random = Random::new(69_000);
    let mut steps = Vec::new();
    for part in 0..DIRS {
        for file in 0..files {
            maker.write(&format!("part{part}/d{}/f{file}", file / 100), &random.bytes(SIZE))?;
        }
        steps.push(Step::Copy { from: format!("part{part}"), to: format!("/opt/part{part}") });
    }
    let bytes = DIRS * files * SIZE;
    Ok(Made {
        title: format!("{} MiB, {} files in {DIRS} COPY", bytes >> 20, DIRS * files),
        spec: Spec { base: None, steps },
        edit: "part7/d0/f7".into(),
        files: (DIRS * files) as u64,
        sources: DIRS as u64,
        edited_layer: tar_bytes(files as u64, SIZE as u64),
    })
}

fn files(maker: &Maker<'_>) -> io::Result<Made> {
    let count = maker.scaled(100_000);
    benches::one_tree(maker.dir, count, 1 << 10)?;
    let step = Step::Copy { from: "tree".into(), to: "/tree".into() };
    Ok(Made {
        title: format!("{count} files in one COPY"),
        spec: Spec { base: None, steps: vec![step] },
        edit: "tree/d0/e0/f7".into(),
        files: count as u64,
        sources: 1,
        edited_layer: tar_bytes(count as u64, 1 << 10),
    })
}

/// Forty container images of 20 MB that a list names, in a registry 20 ms away; four base layers are shared by ten each.
fn images(maker: &Maker<'_>) -> io::Result<Made> {
    const IMAGES: usize = 40;
    const BASES: usize = 4;
    let blobs = maker.dir.with_file_name("image-blobs");
    fs_err::create_dir_all(&blobs)?;
    let registry = Registry::start(&blobs)?;
    let layer_size = maker.scaled(10_000_000);
    let mut images = ImageMaker { blobs, layer_size, random: Random::new(40) };
    let bases = (0..BASES).map(|_| images.layer()).collect::<io::Result<Vec<_>>>()?;
    let mut list = String::new();
    for number in 0..IMAGES {
        let image = images.image(number, &bases[number % BASES], number.is_multiple_of(4))?;
        registry.add(&image);
        list.push_str(&(image.name(&registry.address) + "\n"));
    }
    maker.write("manifests/imageList", list.as_bytes())?;
    let mut steps = vec![Step::Copy { from: "manifests".into(), to: "manifests".into() }];
    for app in ["a", "b"] {
        maker.write(&format!("{app}/run.sh"), format!("#!/bin/sh\necho {app}\n").as_bytes())?;
        steps.push(Step::App { name: app.into(), path: app.into() });
    }
    Ok(Made {
        title: format!("{IMAGES} container images of {} MB in a list", layer_size * 2 / 1_000_000),
        spec: Spec { base: None, steps },
        edit: "a/run.sh".into(),
        files: 3,
        sources: 3,
        edited_layer: 1024,
    })
}

/// Five commands after each other, all of which read a file that changes.
fn run(maker: &Maker<'_>) -> io::Result<Made> {
    maker.write("input/text", &Random::new(5).bytes(100))?;
    let copy = Step::Copy { from: "input".into(), to: "/input".into() };
    let runs = (0..5).map(|number| Step::Run(format!("cat /input/text > /result{number}")));
    Ok(Made {
        title: "RUN x 5 on busybox".into(),
        spec: Spec { base: None, steps: std::iter::once(copy).chain(runs).collect() },
        edit: "input/text".into(),
        files: 1,
        sources: 1,
        edited_layer: tar_bytes(1, 100),
    })
}
