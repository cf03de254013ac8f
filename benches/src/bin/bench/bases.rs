//! Images that workloads stand on, in a registry that every tool pulls them from before it is measured.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use benches::{DebianRegistry, Random};

use crate::options::Options;
use crate::tools::is_installed;
use crate::workloads::Base;

const BUSYBOX: &str = "/bin/busybox";

/// A registry with what was asked for so far.
pub(crate) struct Bases<'a> {
    options: &'a Options,
    dir: PathBuf,
    registry: Option<DebianRegistry>,
}

/// A base that can be pulled.
pub(crate) struct MadeBase {
    pub(crate) reference: String,
    /// What it is, for the title of the workload.
    pub(crate) what: &'static str,
}

impl<'a> Bases<'a> {
    pub(crate) fn new(options: &'a Options) -> Self {
        Self { options, dir: options.work.join("bases"), registry: None }
    }

    /// Makes a base and pushes it.
    ///
    /// # Errors
    /// When something it needs is not installed.
    pub(crate) fn make(&mut self, base: Base) -> io::Result<Option<MadeBase>> {
        let (name, root, what) = match base {
            Base::Scratch => return Ok(None),
            Base::Busybox => ("busybox", self.busybox()?, "busybox"),
            Base::Debian => match self.debootstrap() {
                Ok(root) => ("debian", root, "a debootstrap base"),
                Err(error) => {
                    eprintln!("no debootstrap here ({error}): a generated base stands in for Debian");
                    ("generated", self.generated()?, "a GENERATED base (no debootstrap here)")
                }
            },
        };
        let address = match &self.registry {
            Some(registry) => registry.address.clone(),
            None => self.registry.insert(DebianRegistry::start(&self.dir.join("registry"))?).address.clone(),
        };
        let reference = format!("{address}/bench/{name}:1");
        let context = self.dir.join(format!("{name}-context"));
        fs_err::create_dir_all(&context)?;
        // As a tar, devices and owners stay what they are, and no name of the base matters.
        succeed(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(context.join("root.tar")).arg("."))?;
        fs_err::write(context.join("Kubefile"), "FROM scratch\nADD root.tar /\n")?;
        let mut build = Command::new(&self.options.ours);
        build.args([
            "build",
            "-q",
            "--push",
            "--build-mode",
            "lite",
            "--compression",
            "gzip",
            "-t",
            &reference,
        ]);
        succeed(build.arg("--root").arg(self.dir.join("store")).arg(&context))?;
        Ok(Some(MadeBase { reference, what }))
    }

    fn busybox(&self) -> io::Result<PathBuf> {
        let root = self.dir.join("busybox");
        fs_err::create_dir_all(root.join("bin"))?;
        fs_err::copy(BUSYBOX, root.join("bin/busybox"))?;
        for name in ["sh", "cat"] {
            fs_err::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
        }
        Ok(root)
    }

    /// The smallest Debian, from the mirror this machine uses.
    fn debootstrap(&self) -> io::Result<PathBuf> {
        if !is_installed("debootstrap") {
            return Err(io::Error::other("the program is not installed"));
        }
        let root = self.dir.join("debian");
        eprintln!("debootstrap: about a minute");
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", "bookworm"]).arg(&root).args(mirror());
        succeed(&mut command)?;
        Ok(root)
    }

    /// Files of the number and size that a small Debian has.
    fn generated(&self) -> io::Result<PathBuf> {
        let root = self.dir.join("generated");
        let mut random = Random::new(12);
        for file in 0..6000 {
            let dir = root.join(format!("usr/share/d{}", file / 60));
            if file % 60 == 0 {
                fs_err::create_dir_all(&dir)?;
            }
            let size = 1 << (8 + random.next_u64() % 10);
            fs_err::write(dir.join(format!("f{file}")), random.bytes(size))?;
        }
        Ok(root)
    }
}

/// The first one of Debian's that apt knows; others have packages of their own only.
fn mirror() -> Option<String> {
    let of = |path: &Path| -> Option<String> {
        let text = fs_err::read_to_string(path).ok()?;
        let lines = text.lines().filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
        let mut words = lines.flat_map(str::split_whitespace);
        let is_debian =
            |word: &&str| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian");
        words.find(is_debian).map(str::to_owned)
    };
    let dir = Path::new("/etc/apt");
    let more = fs_err::read_dir(dir.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    std::iter::once(dir.join("sources.list")).chain(more).find_map(|path| of(&path))
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = if said.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { said };
    let last: Vec<&str> = said.trim().lines().rev().take(2).collect();
    Err(io::Error::other(format!("{}: {}", command.get_program().display(), last.join(" "))))
}
