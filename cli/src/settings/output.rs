//! `--output type=…,dest=…`

use std::path::{Path, PathBuf};

use engine::transport::{Destination, Format};

use crate::report::Failure;
use crate::{files, ui};

/// What a build's result is made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputType {
    /// An image of the store.
    Store,
    /// A layout that other tools read.
    Layout(Format),
    /// The merged root file system in a directory.
    Rootfs,
    /// The merged root file system as a tar.
    Tar,
}

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) kind: OutputType,
    /// Unused for the store.
    pub(crate) destination: Destination,
}

impl Output {
    /// The file or directory it is written to.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.destination {
            Destination::Path(path) if self.kind != OutputType::Store => Some(path),
            _ => None,
        }
    }

    /// Whether it can be written, as far as can be seen before there is anything to write.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Destination::Path(path) = &self.destination else { return Ok(()) };
        match self.kind {
            OutputType::Store => Ok(()),
            OutputType::Layout(format) if format.is_dir() => files::check_dir("--output", path),
            OutputType::Rootfs => files::check_dir("--output", path),
            OutputType::Layout(_) | OutputType::Tar => files::check("--output", path),
        }
    }
}

/// Understands all `--output`; none means the store.
pub(crate) fn outputs(given: &[String]) -> Result<Vec<Output>, Failure> {
    let outputs = given.iter().map(|text| output(text)).collect::<Result<Vec<_>, _>>()?;
    if outputs.is_empty() {
        return Ok(vec![Output { kind: OutputType::Store, destination: Destination::Path(PathBuf::new()) }]);
    }
    let mut places: Vec<&Destination> = Vec::new();
    for output in outputs.iter().filter(|output| output.kind != OutputType::Store) {
        if places.contains(&&output.destination) {
            let place = match &output.destination {
                Destination::Stdout => "standard output".to_owned(),
                Destination::Path(path) => format!("`{}`", path.display()),
            };
            return Err(Failure::usage(format!("two outputs cannot both go to {place}"))
                .hint("give each `--output` a `dest` of its own"));
        }
        places.push(&output.destination);
    }
    if places.contains(&&Destination::Stdout) {
        check_stdout()?;
    }
    Ok(outputs)
}

/// An archive on a terminal helps nobody.
pub(crate) fn check_stdout() -> Result<(), Failure> {
    if ui::stdout_is_terminal() {
        return Err(Failure::usage("an archive is not written to a terminal")
            .hint("redirect standard output, or name a file"));
    }
    Ok(())
}

fn output(text: &str) -> Result<Output, Failure> {
    const TYPES: &str = "types are store, oci-archive, docker-archive, oci-dir, docker-dir, rootfs and tar, as in `--output type=oci-archive,dest=app.tar`";
    let wrong = |what: String| Failure::usage(format!("`--output {text}`: {what}")).hint(TYPES);
    let (mut kind, mut destination) = (None, None);
    for pair in text.split(',') {
        match pair.split_once('=') {
            Some(("type", value)) => kind = Some(value),
            Some(("dest", "")) => return Err(wrong("`dest` is empty".to_owned())),
            Some(("dest", value)) => destination = Some(value),
            _ => return Err(wrong(format!("`{pair}` is neither `type=…` nor `dest=…`"))),
        }
    }
    let kind = kind.ok_or_else(|| wrong("it has no `type`".to_owned()))?;
    let layout = Format::ALL.iter().find(|(name, _)| *name == kind).map(|(_, format)| *format);
    let kind = match (kind, layout) {
        (_, Some(format)) => OutputType::Layout(format),
        ("store", None) => OutputType::Store,
        ("rootfs", None) => OutputType::Rootfs,
        ("tar", None) => OutputType::Tar,
        (other, None) => return Err(wrong(format!("there is no type `{other}`"))),
    };
    let is_dir = matches!(kind, OutputType::Rootfs) || matches!(kind, OutputType::Layout(f) if f.is_dir());
    match (kind, destination) {
        (OutputType::Store, None) => Ok(Output { kind, destination: Destination::Path(PathBuf::new()) }),
        (OutputType::Store, Some(_)) => Err(wrong("the store has no `dest`; `--root` names it".to_owned())),
        (_, None) => Err(wrong("it has no `dest`".to_owned())),
        (_, Some("-")) if is_dir => Err(wrong("a directory cannot go to standard output".to_owned())),
        (_, Some("-")) => Ok(Output { kind, destination: Destination::Stdout }),
        (_, Some(path)) => Ok(Output { kind, destination: Destination::Path(path.into()) }),
    }
}
