//! Remote caches of a build: asked before it, and given what it made after it.

use cache::Store;
use engine::upstream::{Cached, Inlined, StepRecord, Upstream, inline};
use engine::{Bases, Built, Export, Registry, Repository};

use super::options::Settings;
use crate::commands::images::bytes;
use crate::interrupt::Interrupt;
use crate::progress::counted;
use crate::report::{Failure, Page, Reporter};

/// What to do about a cache that is of no use.
const HINT: &str = "the build goes on without it; `--cache-required` makes this an error";

/// The caches to ask.
pub(super) fn upstream<'a>(settings: &Settings, registry: &'a Registry) -> Upstream<'a> {
    let caches = &settings.caches;
    Upstream::new(
        caches.from.iter().map(|place| Cached::to_read(registry, place, caches.key.clone())).collect(),
    )
}

/// Says all that is to be said before the export. Gives what becomes of the image, with the cache in it if it is to have
/// one.
pub(super) fn prepare(
    upstream: &Upstream<'_>,
    settings: &Settings,
    built: &Built,
    reporter: &Reporter,
) -> Result<Export, Failure> {
    check(upstream, settings, reporter)?;
    let mut export = settings.export.clone();
    if settings.caches.is_inline {
        export.inline_cache = in_image(settings, built, reporter)?;
    }
    reporter.check_strict()?;
    Ok(export)
}

/// Says which of them could not be read, and what outputs cannot hold.
pub(super) fn check(
    upstream: &Upstream<'_>,
    settings: &Settings,
    reporter: &Reporter,
) -> Result<(), Failure> {
    settings.warn_of_outputs(reporter);
    for text in upstream.caches().iter().flat_map(Cached::warnings) {
        if settings.caches.is_required {
            return Err(Page::error("cache", text).hint("`--cache-required` makes this an error").into());
        }
        reporter.warn(Page::warning("cache", text, HINT));
    }
    Ok(())
}

/// The cache that the image gets.
fn in_image(settings: &Settings, built: &Built, reporter: &Reporter) -> Result<Option<String>, Failure> {
    let (compression, is_searched) = (settings.compression, settings.is_searched);
    let image = Inlined { compression, is_searched, key: settings.caches.key.as_ref() };
    inline(&built.records, &image).or_else(|error| {
        let text = format!("the image gets no cache: {error}");
        if settings.caches.is_required {
            let hint = "keep the cache under a tag of its own: type=registry,ref=NAME";
            return Err(Page::error("cache", text).hint(hint).into());
        }
        reporter.warn(Page::warning("cache", text, HINT));
        Ok(None)
    })
}

/// Gives caches what the build made.
pub(super) fn export(
    store: &Store,
    bases: &Bases<'_>,
    settings: &Settings,
    built: &Built,
    (interrupt, reporter): (&Interrupt, &Reporter),
) -> Result<(), Failure> {
    let near: Vec<Repository> = settings.pushed.iter().map(|to| to.repository.clone()).collect();
    for target in &settings.caches.to {
        // What was read of a cache need not be read again; with warnings nobody knows how much that was.
        let read = bases.upstream().map(Upstream::caches).unwrap_or_default();
        let read = read.iter().find(|cached| *cached.place() == target.place);
        let new = Cached::new(bases.registry(), &target.place, settings.caches.key.clone());
        let cached = read.filter(|cached| cached.warnings().is_empty()).unwrap_or(&new);
        let compression = target.compression.unwrap_or(settings.compression);
        let shipment = StepRecord::choose(&built.records, target.mode, compression);
        match cached.export(store, &near, &shipment, &target.limits) {
            Ok(exported) => reporter.summary(&format!(
                "cache {}: {}, {} new, {} of {} sent",
                cached.name(),
                counted(exported.records, "record"),
                exported.added,
                counted(exported.objects_sent, "object"),
                bytes(exported.bytes_sent)
            )),
            Err(_) if interrupt.cancel.is_cancelled() => {
                let what = "cancelled; the image is built and stored, and not all caches know of it";
                return Err(Failure::Cancelled { signal: interrupt.signal(), what });
            }
            Err(error) => {
                let text =
                    format!("cache `{}` is not written: {}", cached.name(), cache::with_causes(&error));
                if settings.caches.is_required {
                    let hint = "the image is built and stored; `--cache-required` makes this an error";
                    return Err(Page::error("cache", text).hint(hint).into());
                }
                reporter.warn(Page::warning("cache", text, HINT));
            }
        }
    }
    Ok(())
}
