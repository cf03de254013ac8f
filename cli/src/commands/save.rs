//! `sealer save`

use std::path::Path;

use cache::Store;
use engine::transport::{Destination, Format, Save, save};
use engine::{Images, Registry, Tagged};

use super::existing_store;
use crate::args::{self, Global};
use crate::interrupt::Interrupt;
use crate::progress::Copying;
use crate::report::{Failure, Page, Reporter};
use crate::settings::{self, check_stdout};
use crate::ui;

/// Writes an image to an archive or a directory.
pub(crate) fn run(
    args: &args::Save,
    global: &Global,
    reporter: &Reporter,
    root: &Path,
) -> Result<(), Failure> {
    let quiet = global.quiet;
    let format = format(&args.format)?;
    let compression = compression(args, format)?;
    let destination = if args.output == Path::new("-") {
        if format.is_dir() {
            return Err(Failure::usage("a directory cannot go to standard output")
                .hint("choose oci-archive or docker-archive, or name a directory"));
        }
        check_stdout()?;
        Destination::Stdout
    } else {
        Destination::Path(args.output.clone())
    };
    let interrupt = Interrupt::listen()?;
    let store = existing_store(root, &args.name)?;
    let images = Images::new(&store);
    let registry = settings::registry(&args.registry, global, &interrupt.cancel)?;
    let tagged = complete(&store, &registry, images.find(&args.name)?, quiet, &interrupt)?;
    warn_of_loss(format, reporter);
    reporter.check_strict()?;
    let names: Vec<String> = tagged.name.clone().into_iter().collect();
    let copying = Copying::start(quiet, "copied");
    let progress = |bytes| copying.more(bytes);
    let options = Save { format, destination, compression, cancel: &interrupt.cancel, progress: &progress };
    let saved = save(&store, &tagged, &names, &options);
    copying.end();
    saved.map_err(|error| Failure::transport(error, interrupt.signal()))?;
    if !quiet && options.destination != Destination::Stdout {
        ui::message(&format!("saved {} to {}", args.name, args.output.display()));
    }
    Ok(())
}

/// An image whose every blob is in the store: what is still in a registry is fetched.
pub(crate) fn complete(
    store: &Store,
    registry: &Registry,
    tagged: Tagged,
    quiet: bool,
    interrupt: &Interrupt,
) -> Result<Tagged, Failure> {
    if tagged.remotes.is_empty() {
        return Ok(tagged);
    }
    let copying = Copying::start(quiet, "fetched");
    let whole = engine::registry::complete(store, registry, &tagged, &|_, bytes| copying.more(bytes));
    copying.end();
    whole.map_err(|error| Failure::registry(error, interrupt.signal()))
}

/// Docker's layouts have no place for annotations (spec §2.1).
pub(crate) fn warn_of_loss(format: Format, reporter: &Reporter) {
    if !format.keeps_annotations() {
        reporter.warn(Page::warning(
            "extension-lost",
            "Docker's formats have no annotations: what makes it a Sealer Image (applications, launch) is not in the result",
            "use oci-archive or oci-dir for images that sealer shall run or build on",
        ));
    }
}

fn format(given: &str) -> Result<Format, Failure> {
    let found = Format::ALL.iter().find(|(name, _)| *name == given);
    found.map(|(_, format)| *format).ok_or_else(|| {
        let names = Format::ALL.map(|(name, _)| name).join(", ");
        Failure::usage(format!("unsupported format `{given}`")).hint(format!("formats are {names}"))
    })
}

/// The compression wanted, and whether its level was said.
fn compression(
    args: &args::Save,
    format: Format,
) -> Result<Option<(engine::LayerCompression, bool)>, Failure> {
    if args.compress {
        if !format.is_dir() {
            return Err(Failure::usage(
                "--compress can only be set when --format is either 'oci-dir' or 'docker-dir'",
            )
            .hint("`--compression gzip` does it for oci-archive"));
        }
        return Ok(Some((engine::LayerCompression::GZIP, false)));
    }
    let Some(given) = &args.compression else { return Ok(None) };
    let compression = settings::compression(given)?;
    match (format, compression.media_type) {
        (Format::DockerArchive, solver::MediaType::Tar) => Ok(None),
        (Format::DockerArchive, _) => {
            Err(Failure::usage("layers of a docker-archive are always uncompressed")
                .hint("leave `--compression` out, or compress the archive: `sealer save … -o - | gzip`"))
        }
        (Format::DockerDir, solver::MediaType::TarZstd) => {
            Err(Failure::usage("Docker's manifest has no word for zstd layers")
                .hint("use gzip or uncompressed"))
        }
        _ => Ok(Some((compression, given.contains(':')))),
    }
}
