//! The text of a Kubefile, wherever it is.

use std::cell::Cell;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::Path;

use engine::{ContextError, ContextSource, Contexts};
use solver::{LocalSource, SourceFile};

use crate::args::Build;
use crate::interrupt::Interrupt;
use crate::progress::Copying;
use crate::report::{Failure, Page, Reporter};
use crate::settings::{self, BuildContexts, KubefilePlace};

/// Largest Kubefile read, in bytes.
const LIMIT: u64 = 16 << 20;

/// Reads the Kubefile; a context that is no directory is fetched for it.
pub(super) fn read(
    args: &Build,
    own: &ContextSource,
    contexts: &Contexts<'_>,
    interrupt: &Interrupt,
    (quiet, reporter): (bool, &Reporter),
) -> Result<SourceFile, Failure> {
    let fail = |error: ContextError| Failure::context(error, interrupt.signal());
    let (name, bytes) = match settings::kubefile_place(args, own)? {
        KubefilePlace::Stdin => {
            // The pipe itself: what std has of it in a buffer, nobody could wait for.
            let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(unreadable)?;
            let bytes = contexts.read_stream("standard input", std::fs::File::from(stdin), LIMIT);
            ("stdin".to_owned(), bytes.map_err(fail)?)
        }
        KubefilePlace::Stream(path) => {
            let (name, stream) = (path.display().to_string(), open(&path)?);
            let bytes = contexts.read_stream(&name, stream, LIMIT).map_err(fail)?;
            (name, bytes)
        }
        KubefilePlace::Host(path) => of_host(&path)?,
        KubefilePlace::Context(path) => {
            let copying = Copying::start(quiet, "received");
            let so_far = Cell::new(0);
            let received = |bytes: u64| copying.more(bytes.saturating_sub(so_far.replace(bytes)));
            let read = contexts.read(LocalSource::OWN, &path, LIMIT, &received);
            copying.end();
            let bytes = read.map_err(fail)?.ok_or_else(|| {
                Failure::usage(format!("there is no `{path}` in the build context `{}`", own.shown()))
                    .hint("name the Kubefile with `-f FILE`, relative to the root of the context")
            })?;
            for note in contexts.notes(LocalSource::OWN).map_err(fail)? {
                reporter.warn(Page::warning("build-context", note.text, note.hint));
            }
            (path, bytes)
        }
    };
    source(name, bytes)
}

/// Reads the Kubefile without fetching anything, for who only looks at it.
pub(super) fn read_here(args: &Build, own: &ContextSource) -> Result<SourceFile, Failure> {
    let (name, bytes) = match settings::kubefile_place(args, own)? {
        KubefilePlace::Host(path) | KubefilePlace::Stream(path) => of_host(&path)?,
        KubefilePlace::Stdin => ("stdin".to_owned(), all_of(std::io::stdin(), "the Kubefile")?),
        KubefilePlace::Context(_) => {
            return Err(Failure::usage(format!("`{}` is not looked into by `--check`", own.shown()))
                .hint("name a directory, or the Kubefile with `-f FILE`"));
        }
    };
    source(name, bytes)
}

/// Whether the build has to go on in a user namespace, for its commands: as far as can be seen without fetching or using up
/// what the Kubefile comes from.
pub(super) fn needs_namespace(args: &Build) -> Result<bool, Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    let contexts = BuildContexts::new(args)?;
    match settings::kubefile_place(args, contexts.own())? {
        KubefilePlace::Host(path) => {
            let (name, bytes) = of_host(&path)?;
            Ok(frontend::parse(&source(name, bytes)?).runs_commands())
        }
        KubefilePlace::Stdin | KubefilePlace::Stream(_) | KubefilePlace::Context(_) => Ok(true),
    }
}

/// The text, if it is a file: before anything is done.
pub(super) fn early(args: &Build, own: &ContextSource) -> Result<Option<SourceFile>, Failure> {
    match settings::kubefile_place(args, own)? {
        KubefilePlace::Host(path) => {
            let (name, bytes) = of_host(&path)?;
            source(name, bytes).map(Some)
        }
        KubefilePlace::Stdin | KubefilePlace::Stream(_) | KubefilePlace::Context(_) => Ok(None),
    }
}

fn of_host(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    Ok((path.display().to_string(), all_of(open(path)?, &format!("`{}`", path.display()))?))
}

fn open(path: &Path) -> Result<fs_err::File, Failure> {
    fs_err::File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            unreadable(error).hint("`-f FILE` is relative to the working directory, not to the build context")
        }
        _ => unreadable(error),
    })
}

/// All bytes of a text. A pipe or a device does not say how many it has.
fn all_of(text: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    text.take(LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Failure::usage(format!("{name} is larger than {LIMIT} bytes")));
    }
    Ok(bytes)
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::usage(format!("cannot read the Kubefile: {error}"))
}

fn source(name: String, bytes: Vec<u8>) -> Result<SourceFile, Failure> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let (before, wrong) = error.as_bytes().split_at(at);
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let byte = wrong.first().copied().unwrap_or_default();
        Failure::usage(format!("`{name}` is not UTF-8 text: byte {byte:#04x} in line {line} is wrong"))
            .hint("save it as UTF-8; `iconv -f ENCODING -t UTF-8` converts it")
    })?;
    Ok(SourceFile { name, text })
}
