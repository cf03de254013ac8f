//! `--cache-from` and `--cache-to`: where caches are, and what is kept there.

use std::path::PathBuf;

use cache::remote::{Limits, MacKey};
use engine::Reference;
use engine::upstream::CachePlace;

use crate::args::Build;
use crate::report::Failure;
use crate::settings;

/// A cache to write to.
#[derive(Debug)]
pub(crate) struct CacheTarget {
    pub(crate) place: CachePlace,
    pub(crate) limits: Limits,
}

/// The caches of a build.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(crate) from: Vec<CachePlace>,
    pub(crate) to: Vec<CacheTarget>,
    /// Without them there is no build.
    pub(crate) is_required: bool,
    key: Option<Vec<u8>>,
}

impl Caches {
    pub(crate) fn new(args: &Build) -> Result<Self, Failure> {
        let from = args.cache_from.iter().map(|text| source(text)).collect::<Result<Vec<_>, _>>()?;
        let to = args.cache_to.iter().map(|text| target(text)).collect::<Result<Vec<_>, _>>()?;
        let required = args.cache_required.then_some("--cache-required");
        let flag = required.or(args.cache_sign_key.as_ref().map(|_| "--cache-sign-key"));
        if let Some(flag) = flag.filter(|_| from.is_empty() && to.is_empty()) {
            return Err(Failure::usage(format!("`{flag}` says nothing without a cache"))
                .hint("name one with `--cache-from` or `--cache-to`"));
        }
        let key = args.cache_sign_key.as_ref().map(|path| {
            let fail = |error: std::io::Error| Failure::usage(format!("`--cache-sign-key`: {error}"));
            let bytes = fs_err::read(path).map_err(fail)?;
            // Whether it is fit to be one is told now, and not after the build.
            MacKey::new(&bytes).map_err(|error| Failure::usage(format!("`--cache-sign-key`: {error}")))?;
            Ok::<_, Failure>(bytes)
        });
        let key = key.transpose()?;
        Ok(Self { from, to, is_required: args.cache_required, key })
    }

    /// The key that records are signed with.
    pub(crate) fn key(&self) -> Option<MacKey> {
        self.key.as_ref().and_then(|bytes| MacKey::new(bytes).ok())
    }
}

/// `type=registry,ref=…`, `type=local,src=…`, or a reference alone.
fn source(text: &str) -> Result<CachePlace, Failure> {
    if !text.contains('=') {
        return Ok(CachePlace::Registry(Reference::parse(text)?));
    }
    let (place, others) = place("--cache-from", text, "src")?;
    match others.first() {
        None => Ok(place),
        Some((key, _)) => Err(unknown("--cache-from", key)),
    }
}

fn target(text: &str) -> Result<CacheTarget, Failure> {
    let flag = "--cache-to";
    let (place, others) = place(flag, text, "dest")?;
    let mut limits = Limits::none();
    for (key, value) in others {
        match key.as_str() {
            // What is exported is every step with a layer of its own, of the image and of its stages.
            "mode" if value == "max" => {}
            "mode" => {
                return Err(Failure::usage(format!("`{flag}`: mode={value} is not supported"))
                    .hint("leave it out: every step that has a layer is kept"));
            }
            "max-age" => {
                let age = humantime::parse_duration(&value)
                    .map_err(|error| Failure::usage(format!("`{flag}`: max-age={value}: {error}")))?;
                limits.max_age_days = u32::try_from(age.as_secs() / (24 * 60 * 60)).ok();
            }
            "max-size" => limits.max_bytes = Some(settings::size(&value)?),
            key => return Err(unknown(flag, key)),
        }
    }
    Ok(CacheTarget { place, limits })
}

type Pairs = Vec<(String, String)>;

/// Where a cache is, and what else is said of it.
fn place(flag: &str, text: &str, dir: &str) -> Result<(CachePlace, Pairs), Failure> {
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
        (Some("registry"), Some(reference), None) => CachePlace::Registry(Reference::parse(&reference)?),
        (Some("local"), None, Some(path)) => CachePlace::Directory(PathBuf::from(path)),
        (Some("inline"), ..) => {
            return Err(Failure::usage(format!("`{flag}`: type=inline is not supported yet"))
                .hint("keep the cache under a tag of its own: type=registry,ref=NAME:cache"));
        }
        (Some("registry"), ..) => {
            return Err(Failure::usage(format!("`{flag}`: type=registry needs ref=NAME")));
        }
        (Some("local"), ..) => return Err(Failure::usage(format!("`{flag}`: type=local needs {dir}=DIR"))),
        (kind, ..) => {
            let kind = kind.unwrap_or_default();
            return Err(Failure::usage(format!("`{flag}`: there is no cache of type `{kind}`"))
                .hint("types are registry and local"));
        }
    };
    Ok((place, pairs))
}

fn unknown(flag: &str, key: &str) -> Failure {
    Failure::usage(format!("`{flag}`: `{key}` means nothing here"))
        .hint("known are type, ref, src, dest, mode=max, max-age and max-size")
}
