//! A temporary place with a context and a store, and what a built image looks like from outside.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A context and a store.
pub(crate) struct Space {
    dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// One path of an image: `TYPE MODE UID/GID SIZE|-> TARGET`, and a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) header: String,
    pub(crate) content: Vec<u8>,
}

impl Space {
    pub(crate) fn new() -> Self {
        // Lower case only: buildah takes other paths for names.
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("sealer-test-{}-{number}", std::process::id());
        let dir = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap();
        fs_err::create_dir(dir.path().join("context")).unwrap();
        Self { dir }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.context().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
        self
    }

    pub(crate) fn kubefile(&self, text: &str) -> &Self {
        self.file("Kubefile", text)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealer"));
        command.env("SEALER_ROOT", self.store()).env_remove("SOURCE_DATE_EPOCH").env("NO_COLOR", "1");
        command.current_dir(self.context());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Run {
        run(self.command().args(words))
    }

    /// Builds the Kubefile as `x:1` in mode lite.
    pub(crate) fn build(&self, words: &[&str]) -> Run {
        let all =
            [&["build", "-t", "x:1", "--build-mode", "lite", "--metadata-file", "../metadata.json"], words]
                .concat();
        self.run(&[all.as_slice(), &["."]].concat())
    }

    /// As [`Space::build`], and it must succeed; gives `sealer.build` of the metadata.
    pub(crate) fn built(&self, words: &[&str]) -> Value {
        let run = self.build(words);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        self.metadata()["sealer.build"].clone()
    }

    pub(crate) fn metadata(&self) -> Value {
        serde_json::from_slice(&fs_err::read(self.dir.path().join("metadata.json")).unwrap()).unwrap()
    }

    pub(crate) fn digest(&self) -> String {
        self.metadata()["containerimage.digest"].as_str().unwrap().to_owned()
    }

    pub(crate) fn blob(&self, digest: &str) -> Vec<u8> {
        fs_err::read(self.store().join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())).unwrap()
    }

    pub(crate) fn json(&self, digest: &str) -> Value {
        serde_json::from_slice(&self.blob(digest)).unwrap()
    }

    /// Manifest of a tagged image.
    pub(crate) fn manifest(&self, name: &str) -> Value {
        let index: Value =
            serde_json::from_slice(&fs_err::read(self.store().join("index.json")).unwrap()).unwrap();
        let named = |one: &&Value| one["annotations"]["org.opencontainers.image.ref.name"] == name;
        let found = index["manifests"].as_array().unwrap().iter().find(named);
        self.json(found.unwrap_or_else(|| panic!("{name} is in {index}"))["digest"].as_str().unwrap())
    }

    pub(crate) fn config(&self, name: &str) -> Value {
        self.json(self.manifest(name)["config"]["digest"].as_str().unwrap())
    }

    pub(crate) fn extension(&self, name: &str) -> Value {
        serde_json::from_str(self.manifest(name)["annotations"]["sealer.image.extension"].as_str().unwrap())
            .unwrap()
    }

    /// The merged root file system.
    pub(crate) fn rootfs(&self, name: &str) -> BTreeMap<String, Node> {
        let mut root = BTreeMap::new();
        for layer in self.manifest(name)["layers"].as_array().unwrap() {
            let blob = self.blob(layer["digest"].as_str().unwrap());
            let tar: Box<dyn Read> = match layer["mediaType"].as_str().unwrap().rsplit('+').next().unwrap() {
                "zstd" => Box::new(zstd::Decoder::new(blob.as_slice()).unwrap()),
                "gzip" => Box::new(flate2::read::MultiGzDecoder::new(blob.as_slice())),
                _ => Box::new(blob.as_slice()),
            };
            merge(&mut root, tar);
        }
        root
    }
}

/// The paths of a tar, later ones over earlier ones; a hard link is the file it names.
pub(crate) fn tar_listing(tar: impl Read) -> BTreeMap<String, Node> {
    let mut root = BTreeMap::new();
    merge(&mut root, tar);
    root
}

fn merge(root: &mut BTreeMap<String, Node>, tar: impl Read) {
    for entry in tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned();
        let header = entry.header().clone();
        let kind = match header.entry_type() {
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            _ => '-',
        };
        let size = if kind == '-' { header.size().unwrap() } else { 0 };
        let target =
            entry.link_name().unwrap().map(|target| format!(" -> {}", target.display())).unwrap_or_default();
        let (mode, uid, gid) =
            (header.mode().unwrap() & 0o7777, header.uid().unwrap(), header.gid().unwrap());
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if kind != 'd' {
            root.retain(|other, _| !other.starts_with(&format!("{path}/")));
        }
        root.insert(path, Node { header: format!("{kind} {mode:04o} {uid}/{gid} {size}{target}"), content });
    }
}

pub(crate) fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Says that a test did not run; past the test harness, which shows nothing of tests that pass.
pub(crate) fn skipped(why: &str) {
    say(&format!("SKIPPED: {why}"));
}

/// Writes past the harness.
pub(crate) fn say(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a signal is ignored here, and so by every program that starts from here.
pub(crate) fn ignores(signal: rustix::process::Signal) -> bool {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (signal.as_raw() - 1)) != 0
}

pub(crate) fn has_program(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
}

/// Installs a package of Debian, one at a time.
pub(crate) fn install(package: &str) {
    static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = INSTALLING.lock();
    let install = "apt-get install -y -qq --no-install-recommends";
    let script = format!(
        "export DEBIAN_FRONTEND=noninteractive; {install} {package} || (apt-get update -qq && {install} {package})"
    );
    let _ = Command::new("sh").args(["-c", &script]).output();
}

/// Whether a peer can be run; installed when this is root, and said visibly when it cannot be had.
pub(crate) fn has_peer(program: &str) -> bool {
    if !has_program(program) && is_root() {
        install(program);
    }
    let found = has_program(program);
    if !found {
        skipped(&format!("{program} is not installed and could not be"));
    }
    found
}
