//! `sealer cache export`, `import` and `inspect`: a cache outside of the store, by hand.

use std::collections::HashMap;
use std::path::Path;

use ::cache::Store;
use ::cache::remote::{Limits, MacKey, RemoteError, today};
use engine::upstream::{ByHandError, Cached, Listed, known_steps, list};
use engine::{Images, Registry};
use serde_json::json;
use solver::{BlobDigest, MediaType};

use super::bytes;
use crate::args::{CacheExport, CacheImport, CacheInspect, Global, RemotePlace};
use crate::commands::existing_store;
use crate::interrupt::Interrupt;
use crate::progress::{Copying, counted};
use crate::report::{Failure, Page, Reporter};
use crate::{settings, ui};

/// Digits of a key that are shown.
const SHORT_KEY: usize = 12;

/// How a cache is reached, and with which key.
struct Way {
    registry: Registry,
    key: Option<MacKey>,
}

impl Way {
    fn new(place: &RemotePlace, global: &Global, interrupt: &Interrupt) -> Result<Self, Failure> {
        let key = place.cache_sign_key.as_deref().map(settings::key_in).transpose()?;
        Ok(Self { registry: settings::registry(&place.registry, global, &interrupt.cancel)?, key })
    }

    fn to_read(&self, place: &RemotePlace, interrupt: &Interrupt) -> Result<Cached<'_>, Failure> {
        let named = settings::cache_place(&place.cache)?;
        let cached = Cached::to_read(&self.registry, &named, self.key.clone());
        if cached.is_there().map_err(|error| failure(&place.cache, &error, interrupt))? {
            return Ok(cached);
        }
        let page = Page::error("cache", format!("there is no cache at `{}`", cached.name()));
        Err(page.hint("`sealer build --cache-to` or `sealer cache export` makes one").into())
    }
}

/// Gives a cache what the store knows.
pub(super) fn export(
    args: &CacheExport,
    global: &Global,
    reporter: &Reporter,
    root: &Path,
) -> Result<(), Failure> {
    let place = settings::cache_place(&args.place.cache)?;
    let (compression, times) =
        (settings::compression(&args.compression)?, settings::times(args.timestamp.as_deref())?);
    let limits = Limits {
        max_age_days: args.max_age.as_ref().map(|age| settings::days("--max-age", age)).transpose()?,
        max_bytes: args.max_size.as_deref().map(settings::size).transpose()?,
        ..Limits::none()
    };
    let interrupt = Interrupt::listen()?;
    let way = Way::new(&args.place, global, &interrupt)?;
    let store = existing_store(root, args.image.first().map_or("", String::as_str))?;
    let images = Images::new(&store);
    let only: Vec<_> = args.image.iter().map(|name| images.find(name)).collect::<Result<_, _>>()?;
    let only = (!only.is_empty()).then_some(only);
    let shipment = known_steps(&store, only.as_deref(), compression, times)
        .map_err(|error| by_hand(&args.place.cache, error, &interrupt))?;
    if shipment.is_empty() {
        let text = "the store knows no step whose layer it has in this compression and with these times";
        return Err(Page::error("cache", text.to_owned())
            .hint("build something, or say what the builds were told: `--compression`, `--timestamp`")
            .into());
    }
    let cached = Cached::new(&way.registry, &place, way.key.clone());
    let exported = cached.export(&store, &[], &shipment, &limits);
    let exported = exported.map_err(|error| failure(&args.place.cache, &error, &interrupt))?;
    cached
        .warnings()
        .into_iter()
        .for_each(|text| reporter.warn(Page::warning("cache", text, "it was replaced")));
    if !global.quiet {
        ui::message(&format!(
            "cache {}: {}, {} new, {} expired, {} of {} sent",
            cached.name(),
            counted(exported.records, "record"),
            exported.added,
            exported.expired,
            counted(exported.objects_sent, "object"),
            bytes(exported.bytes_sent)
        ));
    }
    Ok(())
}

/// Brings what a cache has into the store.
pub(super) fn import(args: &CacheImport, global: &Global, root: &Path) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let way = Way::new(&args.place, global, &interrupt)?;
    let cached = way.to_read(&args.place, &interrupt)?;
    let store = Store::open(root)?;
    let copying = Copying::start(global.quiet, "fetched");
    let imported = engine::upstream::import(&store, &way.registry, cached, &|bytes| copying.more(bytes));
    copying.end();
    let imported = imported.map_err(|error| by_hand(&args.place.cache, error, &interrupt))?;
    if !global.quiet {
        ui::message(&format!(
            "imported {}; {} of {} fetched, {} left there",
            counted(imported.steps, "step"),
            counted(imported.layers, "layer"),
            bytes(imported.bytes),
            counted(imported.left, "record")
        ));
    }
    Ok(())
}

/// Shows what a cache has.
pub(super) fn inspect(args: &CacheInspect, global: &Global) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    let way = Way::new(&args.place, global, &interrupt)?;
    let cached = way.to_read(&args.place, &interrupt)?;
    let all = list(&cached).map_err(|error| failure(&args.place.cache, &error, &interrupt))?;
    if args.json {
        ui::data(&format!("{:#}", serde_json::Value::from_iter(all.iter().map(as_json))));
        return Ok(());
    }
    let heading = ["KEY", "LAYER", "SIZE", "LAST USED", "SIGNED", "STEP"].map(str::to_owned).to_vec();
    let row = |one: &Listed| {
        let key: String = one.key.chars().take(SHORT_KEY).collect();
        let layer = one.layer.map_or("-", word);
        let size = total(one.blobs.iter().map(|blob| blob.size));
        let signed = if one.is_signed { "yes" } else { "no" };
        let step = match one.step.as_deref() {
            None => "(of another version)",
            Some("") => "-",
            Some(step) => step,
        };
        vec![key, layer.to_owned(), bytes(size), age(one.day), signed.to_owned(), step.to_owned()]
    };
    if global.quiet {
        all.iter().for_each(|one| ui::data(&one.key));
        return Ok(());
    }
    ui::table(&std::iter::once(heading).chain(all.iter().map(row)).collect::<Vec<_>>());
    let blobs: HashMap<BlobDigest, u64> =
        all.iter().flat_map(|one| &one.blobs).map(|blob| (blob.digest, blob.size)).collect();
    ui::message(&format!(
        "{} of {}, {} of {}",
        counted(all.len(), "record"),
        bytes(total(all.iter().map(|one| one.size))),
        counted(blobs.len(), "blob"),
        bytes(total(blobs.into_values()))
    ));
    Ok(())
}

/// A sum of sizes that a cache states, whatever they are.
fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

fn as_json(one: &Listed) -> serde_json::Value {
    let blobs = one.blobs.iter().map(|blob| json!({ "digest": blob.digest.to_string(), "size": blob.size }));
    json!({
        "key": one.key,
        "step": one.step,
        "compression": one.layer.map(word),
        "blobs": blobs.collect::<Vec<_>>(),
        "size": one.size,
        "lastUsedDay": one.day,
        "isSigned": one.is_signed,
    })
}

fn word(media_type: MediaType) -> &'static str {
    match media_type {
        MediaType::Tar => "uncompressed",
        MediaType::TarGzip => "gzip",
        MediaType::TarZstd => "zstd",
    }
}

/// How long ago a day was; an image does not say.
fn age(day: u32) -> String {
    match today().saturating_sub(day) {
        _ if day == 0 => "-".to_owned(),
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

fn failure(cache: &str, error: &RemoteError, interrupt: &Interrupt) -> Failure {
    if interrupt.cancel.is_cancelled() {
        return Failure::Cancelled { signal: interrupt.signal(), what: "cancelled; the cache is as it was" };
    }
    let page = Page::error("cache", format!("cache `{cache}`: {}", cache::with_causes(error)));
    page.hint("name a cache that `--cache-to` or `sealer cache export` made").into()
}

fn by_hand(cache: &str, error: ByHandError, interrupt: &Interrupt) -> Failure {
    match error {
        ByHandError::Remote(error) => failure(cache, &error, interrupt),
        ByHandError::Registry(error) => Failure::registry(error, interrupt.signal()),
        ByHandError::Layer(error) => Page::error("cache", format!("cache `{cache}`: {error}"))
            .hint("`--cache-sign-key` believes only who has the key")
            .into(),
        ByHandError::Cache(error) => error.into(),
        ByHandError::Images(error) => error.into(),
    }
}
