//! The same Kubefiles built by Debian's buildah: root file systems and configs must be the same, but for what a case
//! names with its reason. The cases are text files under `tests/conformance/`, one each.

mod case;
mod compare;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::case::Case;
use self::compare::{Listing, config_differences};
use crate::peers::{buildah, buildah_ends};
use crate::server::Server;
use crate::space::{Space, has_peer, install, is_root, run, say, skipped};

/// Cases compared at once. Each has its own store and its own storage of buildah's.
const WORKERS: usize = 3;

fn cases_of(dir: &str) -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(dir);
    let mut paths: Vec<PathBuf> = fs_err::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "case"));
    paths.sort();
    paths.iter().map(|path| Case::read(path)).filter(|case| case.name != "base").collect()
}

/// Whether what is compared with can be had here.
fn has_peers() -> bool {
    if !is_root() || !has_peer("buildah") {
        skipped("building the cases of tests/conformance with buildah needs root and buildah");
        return false;
    }
    // The package that is not static has the same program.
    let is_static = || run(Command::new("dpkg").args(["-s", "busybox-static"])).code == Some(0);
    if !is_static() {
        install("busybox-static");
    }
    if !is_static() {
        skipped("busybox-static is not installed and could not be");
        return false;
    }
    true
}

/// A store with the base, and a storage of buildah's with the same image.
struct Bench {
    space: Space,
    storage: PathBuf,
    server: Server,
    /// Files that are one in theirs and several in ours, or the other way round.
    apart: AtomicUsize,
}

impl Bench {
    fn new() -> Self {
        let space = Space::new();
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/base.case");
        Case::read(&base).lay_out(&space.context(), "");
        let built = space.run(&["build", "-q", "-t", "base:1", "--build-mode", "lite", "."]);
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        let storage = space.root().join("containers");
        let stored = format!("oci:{}:localhost/base:1", space.store().display());
        let id = buildah(&space, &storage, &["pull", "-q", &stored]);
        buildah(&space, &storage, &["tag", &id, "localhost/base:1"]);
        Self { space, storage, server: Server::start(), apart: 0.into() }
    }

    fn buildah(&self, words: &[&str]) -> String {
        buildah(&self.space, &self.storage, words)
    }

    /// What ours and theirs differ in.
    fn differences(&self, case: &Case) -> Vec<String> {
        let context = self.space.context();
        fs_err::remove_dir_all(&context).unwrap();
        fs_err::create_dir(&context).unwrap();
        case.served().for_each(|(path, body)| self.server.file(path, body));
        case.lay_out(&context, self.server.url("").trim_end_matches('/'));
        let flags: Vec<&str> = case.flags.iter().map(String::as_str).collect();
        let ours = self.space.build(&flags);
        let (file, context) = (context.join("Kubefile").display().to_string(), context.display().to_string());
        let bud = [
            "bud",
            "-q",
            "--isolation",
            "chroot",
            "--layers=false",
            "--pull-never",
            "-t",
            "theirs",
            "-f",
            &file,
        ];
        let theirs =
            buildah_ends(&self.space, &self.storage, &[&bud, flags.as_slice(), &[&context]].concat());
        match (ours.code, theirs.code) {
            (Some(0), Some(0)) if case.fails => {
                vec!["both build it, though the case says neither does".to_owned()]
            }
            (Some(0), Some(0)) => self.compare(case),
            (Some(1), Some(1..)) if case.fails => Vec::new(),
            (Some(1), Some(1..)) => vec![format!("neither builds it: {}\n{}", ours.stderr, theirs.stderr)],
            (Some(0), _) => vec![format!("only ours is built: {}", theirs.stderr)],
            _ => vec![format!("only theirs is built: {}", ours.stderr)],
        }
    }

    /// Both images as buildah mounts them.
    fn compare(&self, case: &Case) -> Vec<String> {
        let stored = format!("oci:{}:localhost/x:1", self.space.store().display());
        let mounted = |name: &str, image: &str| {
            self.buildah(&["from", "-q", "--pull-never", "--name", name, image]);
            Listing::of(Path::new(&self.buildah(&["mount", name])))
        };
        let id = self.buildah(&["pull", "-q", &stored]);
        let (ours, theirs) = (mounted("of-ours", &id), mounted("of-theirs", "localhost/theirs"));
        assert!(ours.len() > 1, "{}: an image without files", case.name);
        let files = ours.differences(&theirs);
        self.apart.fetch_add(ours.links_apart(&theirs), Ordering::Relaxed);
        let inspected = self.buildah(&["inspect", "--type", "image", "localhost/theirs"]);
        let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
        let config = config_differences(&self.space.config("localhost/x:1"), &inspected["OCIv1"]);
        self.buildah(&["rm", "of-ours", "of-theirs"]);
        self.buildah(&["rmi", &id, "localhost/theirs"]);
        [files, config].concat()
    }

    /// What is wrong with a case: differences nobody named, and named ones that are none.
    fn check(&self, case: &Case) -> Vec<String> {
        let found = self.differences(case);
        let is_named =
            |difference: &&String| case.differs.iter().any(|named| difference.starts_with(&named.text));
        let unnamed = found.iter().filter(|difference| !is_named(difference)).cloned();
        let idle =
            case.differs.iter().filter(|named| !found.iter().any(|found| found.starts_with(&named.text)));
        let idle = idle.map(|named| format!("`{}` is no difference any more ({})", named.text, named.reason));
        unnamed.chain(idle).collect()
    }
}

fn check_all(cases: &[Case]) {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let apart = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let bench = Bench::new();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let differences = bench.check(case);
                    let lines = differences.iter().map(|difference| format!("{}: {difference}", case.name));
                    wrong.lock().unwrap().extend(lines);
                }
                apart.fetch_add(bench.apart.into_inner(), Ordering::Relaxed);
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let named: usize = cases.iter().map(|case| case.differs.len()).sum();
    let apart = apart.into_inner();
    say(&format!(
        "{} images are those of buildah, but for {named} differences that are meant; {apart} sets of hard links differ",
        cases.len()
    ));
}

#[test]
fn images_are_those_of_buildah() {
    let cases = cases_of("");
    assert!(cases.len() >= 140, "{}", cases.len());
    if has_peers() {
        check_all(&cases);
    }
}

#[test]
fn images_of_run_are_those_of_buildah() {
    let cases = cases_of("run");
    assert!(cases.len() >= 30, "{}", cases.len());
    if has_peers() {
        check_all(&cases);
    }
}
