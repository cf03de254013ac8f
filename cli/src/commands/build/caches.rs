//! Remote caches of a build: asked before it, and given what it made after it.

use cache::Store;
use engine::upstream::{Cached, Upstream};
use engine::{Built, Registry, Repository};

use super::options::Settings;
use crate::report::{Failure, Page, Reporter};

/// What to do about a cache that is of no use.
const HINT: &str = "the build goes on without it; `--cache-required` makes this an error";

/// The caches to ask.
pub(super) fn upstream<'a>(settings: &Settings, registry: &'a Registry) -> Upstream<'a> {
    let caches = &settings.caches;
    Upstream::new(caches.from.iter().map(|place| Cached::new(registry, place, caches.key())).collect())
}

/// Says which of them could not be read, and what outputs cannot hold: all that is to be said before the export.
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

/// Gives caches what the build made.
pub(super) fn export(
    store: &Store,
    registry: &Registry,
    settings: &Settings,
    built: &Built,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let near: Vec<Repository> = settings.pushed.iter().map(|to| to.repository.clone()).collect();
    for target in &settings.caches.to {
        let cached = Cached::new(registry, &target.place, settings.caches.key());
        match cached.export(store, &near, &built.records, &target.limits) {
            Ok(exported) => reporter.summary(&format!(
                "cache {}: {} records, {} new, {} objects of {} bytes sent",
                cached.name(),
                exported.records,
                exported.added,
                exported.objects_sent,
                exported.bytes_sent
            )),
            Err(error) => {
                let text = format!("cache `{}` is not written: {error}", cached.name());
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
