//! The text of a Kubefile, wherever it is.

use std::cell::Cell;
use std::io::Read;
use std::path::Path;

use engine::{ContextError, ContextSource, Contexts};
use solver::{LocalSource, SourceFile};

use crate::args::Build;
use crate::interrupt::Interrupt;
use crate::progress::Copying;
use crate::report::{Failure, Page, Reporter};
use crate::settings::{self, KubefilePlace};

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
        KubefilePlace::Stdin => ("stdin".to_owned(), contexts.read_stdin(LIMIT).map_err(fail)?),
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
        KubefilePlace::Host(path) => of_host(&path)?,
        KubefilePlace::Stdin => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().take(LIMIT + 1).read_to_end(&mut bytes);
            read.map_err(|error| Failure::usage(format!("cannot read the Kubefile: {error}")))?;
            if bytes.len() as u64 > LIMIT {
                return Err(Failure::usage(format!("the Kubefile is larger than {LIMIT} bytes")));
            }
            ("stdin".to_owned(), bytes)
        }
        KubefilePlace::Context(_) => {
            return Err(Failure::usage(format!("`{}` is not looked into by `--check`", own.shown()))
                .hint("name a directory, or the Kubefile with `-f FILE`"));
        }
    };
    source(name, bytes)
}

/// Whether the Kubefile has commands that need a user namespace, as far as can be seen without fetching or using up what it comes
/// from.
pub(super) fn may_need_namespace(args: &Build, own: &ContextSource) -> Result<bool, Failure> {
    let is_user = !rustix::process::geteuid().is_root();
    match settings::kubefile_place(args, own)? {
        KubefilePlace::Host(path) => {
            let (name, bytes) = of_host(&path)?;
            let source = source(name, bytes)?;
            Ok(is_user && frontend::parse(&source).runs_commands())
        }
        KubefilePlace::Stdin | KubefilePlace::Context(_) => Ok(is_user),
    }
}

fn of_host(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let fail = |error: std::io::Error| Failure::usage(format!("cannot read the Kubefile: {error}"));
    if fs_err::metadata(path).map_err(fail)?.len() > LIMIT {
        return Err(Failure::usage(format!("`{}` is larger than {LIMIT} bytes", path.display())));
    }
    Ok((path.display().to_string(), fs_err::read(path).map_err(fail)?))
}

fn source(name: String, bytes: Vec<u8>) -> Result<SourceFile, Failure> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format!("`{name}` is not UTF-8 text: byte {at} is wrong"))
    })?;
    Ok(SourceFile { name, text })
}
