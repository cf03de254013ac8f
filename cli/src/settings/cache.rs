//! `--cache-from` and `--cache-to`: where caches are, and what is kept there.

use std::path::{Path, PathBuf};

use cache::remote::{Limits, MacKey};
use engine::upstream::{CachePlace, Mode};
use engine::{LayerCompression, Reference};

use crate::args::Build;
use crate::report::Failure;
use crate::settings;

/// A cache to write to.
#[derive(Debug)]
pub(crate) struct CacheTarget {
    pub(crate) place: CachePlace,
    pub(crate) limits: Limits,
    pub(crate) mode: Mode,
    /// How its layers are compressed; `None` for as those of the image.
    pub(crate) compression: Option<LayerCompression>,
}

/// The caches of a build.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(crate) from: Vec<CachePlace>,
    pub(crate) to: Vec<CacheTarget>,
    /// Whether the image itself gets one.
    pub(crate) is_inline: bool,
    /// Without them there is no build.
    pub(crate) is_required: bool,
    /// The key that records are signed with.
    pub(crate) key: Option<MacKey>,
}

impl Caches {
    pub(crate) fn new(args: &Build) -> Result<Self, Failure> {
        let from = args.cache_from.iter().map(|text| source(text)).collect::<Result<Vec<_>, _>>()?;
        let (inline, others): (Vec<&String>, Vec<&String>) =
            args.cache_to.iter().partition(|text| text.split(',').any(|pair| pair == "type=inline"));
        if let Some(text) = inline.iter().find(|text| **text != "type=inline") {
            return Err(Failure::usage(format!("`--cache-to {text}`: nothing can be said of type=inline"))
                .hint("it has the records of the image's own layers, as they are"));
        }
        let to = others.into_iter().map(|text| target(text)).collect::<Result<Vec<_>, _>>()?;
        let is_inline = !inline.is_empty();
        let required = args.cache_required.then_some("--cache-required");
        let flag = required.or(args.cache_sign_key.as_ref().map(|_| "--cache-sign-key"));
        if let Some(flag) = flag.filter(|_| from.is_empty() && args.cache_to.is_empty()) {
            return Err(Failure::usage(format!("`{flag}` says nothing without a cache"))
                .hint("name one with `--cache-from` or `--cache-to`"));
        }
        let key = args.cache_sign_key.as_deref().map(key_in).transpose()?;
        Ok(Self { from, to, is_inline, is_required: args.cache_required, key })
    }

    /// The compressions that caches want of layers, of a build that compresses them in this way.
    pub(crate) fn compressions(&self, own: LayerCompression) -> Vec<LayerCompression> {
        let mut wanted: Vec<LayerCompression> = self.is_inline.then_some(own).into_iter().collect();
        for compression in self.to.iter().map(|target| target.compression.unwrap_or(own)) {
            if !wanted.contains(&compression) {
                wanted.push(compression);
            }
        }
        wanted
    }
}

/// The key in a file. Whether it is fit to be one is told now, and not after the build.
pub(crate) fn key_in(path: &Path) -> Result<MacKey, Failure> {
    MacKey::read(path).map_err(|error| Failure::usage(format!("`--cache-sign-key`: {error}")))
}

/// A cache that a command is about.
pub(crate) fn cache_place(text: &str) -> Result<CachePlace, Failure> {
    let dir = if text.split(',').any(|pair| pair.starts_with("dest=")) { "dest" } else { "src" };
    alone("cache", text, dir)
}

/// One of `--cache-from`.
fn source(text: &str) -> Result<CachePlace, Failure> {
    alone("--cache-from", text, "src")
}

/// A place of which nothing else is said.
fn alone(flag: &str, text: &str, dir: &str) -> Result<CachePlace, Failure> {
    let (place, others) = place(flag, text, dir)?;
    match others.first() {
        None => Ok(place),
        Some((key, _)) => Err(unknown(flag, key)),
    }
}

fn target(text: &str) -> Result<CacheTarget, Failure> {
    let flag = "--cache-to";
    let (place, others) = place(flag, text, "dest")?;
    let mut target = CacheTarget { place, limits: Limits::none(), mode: Mode::default(), compression: None };
    for (key, value) in others {
        match key.as_str() {
            "mode" => {
                target.mode = match value.as_str() {
                    "min" => Mode::Min,
                    "max" => Mode::Max,
                    _ => {
                        return Err(Failure::usage(format!("`{flag}`: there is no mode `{value}`"))
                            .hint("min keeps the layers of the image, max those of its stages too"));
                    }
                };
            }
            "compression" => target.compression = Some(settings::compression(&value)?),
            "max-age" => target.limits.max_age_days = Some(days(flag, &value)?),
            "max-size" => target.limits.max_bytes = Some(settings::size(&value)?),
            key => return Err(unknown(flag, key)),
        }
    }
    Ok(target)
}

/// A duration in whole days.
pub(crate) fn days(flag: &str, value: &str) -> Result<u32, Failure> {
    let age = humantime::parse_duration(value)
        .map_err(|error| Failure::usage(format!("`{flag}`: max-age={value}: {error}")))?;
    Ok(u32::try_from(age.as_secs() / (24 * 60 * 60)).unwrap_or(u32::MAX))
}

type Pairs = Vec<(String, String)>;

/// Where a cache is, and what else is said of it. A reference stands for itself.
fn place(flag: &str, text: &str, dir: &str) -> Result<(CachePlace, Pairs), Failure> {
    if !text.contains('=') {
        // No reference starts like this, and whoever writes a path asks no registry.
        if text.starts_with(['/', '.', '~']) {
            return Err(Failure::usage(format!("`{flag}`: `{text}` is no reference of a registry"))
                .hint(format!("a directory is written as type=local,{dir}={text}")));
        }
        return Ok((CachePlace::Registry(Reference::parse(text)?), Pairs::new()));
    }
    let mut pairs = Pairs::new();
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("`{flag}`: `{pair}` is not KEY=VALUE"))
                .hint("write type=registry,ref=NAME or type=local,dest=DIR")
        })?;
        pairs.push((key.to_owned(), value.to_owned()));
    }
    let mut take = |wanted: &str| {
        let at = pairs.iter().position(|(key, _)| key == wanted)?;
        Some(pairs.remove(at).1)
    };
    let (kind, reference, path) = (take("type"), take("ref"), take(dir));
    let place = match (kind.as_deref(), reference, path) {
        // One that is read may be in an image; writing is another matter, and looked at before.
        (Some("registry" | "inline"), Some(reference), None) => {
            CachePlace::Registry(Reference::parse(&reference)?)
        }
        (Some("local"), None, Some(path)) => CachePlace::Directory(PathBuf::from(path)),
        (Some(kind @ ("registry" | "inline")), ..) => {
            return Err(Failure::usage(format!("`{flag}`: type={kind} needs ref=NAME")));
        }
        (Some("local"), ..) => return Err(Failure::usage(format!("`{flag}`: type=local needs {dir}=DIR"))),
        (kind, ..) => {
            let kind = kind.unwrap_or_default();
            return Err(Failure::usage(format!("`{flag}`: there is no cache of type `{kind}`"))
                .hint("types are registry, local and inline"));
        }
    };
    Ok((place, pairs))
}

fn unknown(flag: &str, key: &str) -> Failure {
    Failure::usage(format!("`{flag}`: `{key}` means nothing here"))
        .hint("known are type, ref, src, dest, mode, compression, max-age and max-size")
}
