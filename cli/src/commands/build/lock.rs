//! `Kubefile.lock`: where it is, when it counts, and when it is written. What it means is the engine's business.

mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{ContextError, ContextSource, Contexts, Lock, LockPolicy, Locking};
use frontend::NamedContext;
use solver::{LocalSource, SourceFile};

use crate::args::{Build, Global};
use crate::files;
use crate::interrupt::Interrupt;
use crate::report::{Failure, Page, Reporter};
use crate::settings::{self, BuildContexts, KubefilePlace};

/// Largest lock file read, in bytes.
const LIMIT: u64 = 16 << 20;

/// Where the lock file of a Kubefile is, if there can be one.
pub(super) fn place(
    args: &Build,
    global: &Global,
    own: &ContextSource,
) -> Result<Option<KubefilePlace>, Failure> {
    let writing = if args.lock { Some("--lock") } else { (!args.update.is_empty()).then_some("--update") };
    let given = writing.or(args.locked.then_some("--locked"));
    if global.offline && !args.update.is_empty() {
        return Err(Failure::usage("`--update` asks what names lead to, which `--offline` forbids")
            .hint("leave one of them out"));
    }
    // Without a lock file to be, whether there is a Kubefile is told by whoever reads it.
    let place = match (settings::kubefile_place(args, own), given) {
        (Err(_), None) => return Ok(None),
        (place, _) => place?,
    };
    match (&place, given, writing) {
        (KubefilePlace::Stdin | KubefilePlace::Stream(_), Some(flag), _) => {
            let what =
                if matches!(place, KubefilePlace::Stdin) { "on standard input" } else { "out of a pipe" };
            Err(Failure::usage(format!("`{flag}`: a Kubefile {what} has no lock file"))
                .hint("name the Kubefile with `-f FILE`"))
        }
        (KubefilePlace::Stdin | KubefilePlace::Stream(_), None, _) => Ok(None),
        (KubefilePlace::Context(_), _, Some(flag)) => {
            Err(Failure::usage(format!("`{flag}`: nothing can be written into `{}`", own.shown()))
                .hint("build once from a directory; what it writes belongs next to the Kubefile"))
        }
        (KubefilePlace::Context(path), ..) => Ok(Some(KubefilePlace::Context(format!("{path}.lock")))),
        (KubefilePlace::Host(path), ..) => {
            let mut path = path.clone().into_os_string();
            path.push(".lock");
            Ok(Some(KubefilePlace::Host(path.into())))
        }
    }
}

/// The lock file of a build.
pub(super) struct LockFile {
    /// `None` where there is none and none is wanted.
    locking: Option<Locking>,
    /// Its name for people.
    name: String,
    /// What it held.
    before: Option<String>,
    /// Where it is to be written.
    written: Option<PathBuf>,
    /// Whether it is told what it lacks: nobody demands that, and nobody adds it.
    is_loose: bool,
}

impl LockFile {
    /// Reads what there is.
    pub(super) fn read(
        place: Option<KubefilePlace>,
        args: &Build,
        named: &BuildContexts,
        contexts: &Contexts<'_>,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let fail = |error: ContextError| Failure::context(error, interrupt.signal());
        let (name, bytes, path) = match place {
            None | Some(KubefilePlace::Stdin | KubefilePlace::Stream(_)) => (String::new(), None, None),
            Some(KubefilePlace::Host(path)) => (path.display().to_string(), of_host(&path)?, Some(path)),
            Some(KubefilePlace::Context(path)) => {
                let bytes = contexts.read(LocalSource::OWN, &path, LIMIT, &|_| {}).map_err(fail)?;
                (path, bytes, None)
            }
        };
        let before =
            bytes.map(|bytes| String::from_utf8(bytes).map_err(|_| damaged(&name, "it is not UTF-8 text")));
        let before = before.transpose()?;
        let is_writing = args.lock || !args.update.is_empty();
        let locking = if before.is_some() || is_writing || args.locked {
            let old = match &before {
                Some(text) => parse(&name, text)?,
                None => Lock::default(),
            };
            let replaced = named.named.values().filter_map(|context| match context {
                NamedContext::Image(reference) => Some(reference.as_str()),
                NamedContext::Files => None,
            });
            Some(Locking::new(name.clone(), old, policy(args)).without(replaced))
        } else {
            None
        };
        let written = path.filter(|_| is_writing);
        Ok(Self { locking, name, before, written, is_loose: !is_writing && !args.locked })
    }

    /// For whoever resolves names.
    pub(super) fn locking(&self) -> Option<&Locking> {
        self.locking.as_ref()
    }

    /// Tells what the file lacks, once everything has been resolved.
    ///
    /// # Errors
    /// When something that nobody asked for was to be resolved anew.
    pub(super) fn check(&self, reporter: &Reporter) -> Result<(), Failure> {
        let Some(locking) = &self.locking else { return Ok(()) };
        if let Some(unknown) = locking.unknown().first() {
            return Err(Failure::usage(format!("`--update={unknown}`: this build asks for nothing of that name"))
                .hint("names are those of images and URLs, as the Kubefile or the lock file has them; `--update` alone means all"));
        }
        let missing = locking.old().lacks(&locking.seen());
        if self.is_loose && !missing.is_empty() {
            let text = format!("`{}` does not have {}", self.name, missing.join(", "));
            reporter.warn(Page::warning("lock", text, "`--lock` adds what is missing"));
        }
        Ok(())
    }

    /// Writes what this build used, if that is wanted and something else than what is there.
    pub(super) fn write(&self, reporter: &Reporter) -> Result<(), Failure> {
        let (Some(path), Some(locking)) = (&self.written, &self.locking) else { return Ok(()) };
        let (old, new) = (locking.old(), locking.seen());
        let text = text::write(&new);
        if self.before.as_ref() == Some(&text) {
            return Ok(());
        }
        files::replace(path, text.as_bytes()).map_err(|error| {
            Failure::usage(format!(
                "the image is built and stored, but `{}` is not written: {error}",
                self.name
            ))
        })?;
        let (added, changed, dropped) =
            (old.lacks(&new).len(), old.differs(&new).len(), new.lacks(old).len());
        reporter.summary(&format!("{}: {added} added, {changed} changed, {dropped} dropped", self.name));
        Ok(())
    }
}

fn policy(args: &Build) -> LockPolicy {
    if args.locked {
        LockPolicy::Demand
    } else if args.update.iter().any(String::is_empty) {
        LockPolicy::RefreshAll
    } else if args.update.is_empty() {
        LockPolicy::Use
    } else {
        LockPolicy::Refresh(args.update.iter().cloned().collect())
    }
}

fn of_host(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let fail = |error: std::io::Error| Failure::usage(format!("cannot read the lock file: {error}"));
    match fs_err::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
        Ok(metadata) if metadata.len() > LIMIT => {
            Err(damaged(&path.display().to_string(), &format!("it is larger than {LIMIT} bytes")))
        }
        Ok(_) => fs_err::read(path).map(Some).map_err(fail),
    }
}

fn parse(name: &str, text: &str) -> Result<Lock, Failure> {
    text::parse(text).map_err(|wrong| {
        let source = Arc::new(SourceFile { name: name.to_owned(), text: text.to_owned() });
        let spans: Vec<_> = wrong.span.into_iter().collect();
        let page = Page::error("lock", format!("`{name}` cannot be used: {}", wrong.reason));
        page.at(&source, &spans).hint(wrong.hint).into()
    })
}

fn damaged(name: &str, reason: &str) -> Failure {
    Page::error("lock", format!("`{name}` cannot be used: {reason}")).hint(text::ANEW).into()
}
