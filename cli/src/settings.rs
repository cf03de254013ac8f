//! What the arguments mean here: arguments, environment and machine, checked and made absolute.
//!
//! The only place that reads the environment.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::{LayerCompression, TimePolicy, full_name};
use solver::{MediaType, Platform};

use crate::args::{Build, ErrorFormat};
use crate::report::Failure;

mod cache;
mod context;
mod exec;
mod image_lists;
mod output;
mod pairs;
mod registry;

pub(crate) use self::cache::{Caches, cache_place, days, key_in};
pub(crate) use self::context::{BuildContexts, KubefilePlace, git_environment, kubefile_place};
pub(crate) use self::exec::{allows_insecure, exec};
pub(crate) use self::image_lists::{ImageLists, archives};
pub(crate) use self::output::{Output, OutputType, check_stdout, outputs};
pub(crate) use self::pairs::pairs;
pub(crate) use self::registry::{
    boolean, certificates_of, credentials, pull_policy, registry, registry_with,
};

/// Image types sealer knows.
const IMAGE_TYPES: [&str; 2] = ["kube-installer", "app-installer"];

/// The store's directory: given, or the user's.
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
pub(crate) fn store_root(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let root = match given {
        Some(root) => root.to_owned(),
        None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/sealer/store"),
        None => {
            let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
            let data = data.or_else(home).ok_or_else(|| {
                Failure::usage("there is no place for the image store: neither HOME nor XDG_DATA_HOME is set")
                    .hint("name one with `--root DIR` or SEALER_ROOT")
            })?;
            data.join("sealer/store")
        }
    };
    std::path::absolute(&root).map_err(|error| Failure::usage(format!("`{}`: {error}", root.display())))
}

/// Where a file with settings may be, best first.
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
pub(crate) fn config_files() -> Vec<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
    let own = config.or_else(home).map(|dir| dir.join("sealer/config.toml"));
    own.into_iter().chain([PathBuf::from("/etc/sealer/config.toml")]).collect()
}

/// A path that stands in a file: relative to the directory of that, or to the user's with `~/`, as no shell reads it.
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
pub(crate) fn path_in(file: &Path, text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        _ if text.is_empty() => PathBuf::new(),
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => file.parent().unwrap_or(Path::new("")).join(text),
    }
}

/// Whether a variable is set to nothing.
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
pub(crate) fn is_empty_variable(name: &OsStr) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

/// A program on the PATH.
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let is_program = |path: &PathBuf| {
        use std::os::unix::fs::PermissionsExt;
        path.is_absolute()
            && fs_err::metadata(path)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(is_program)
}

/// Whether the terminal understands escape codes.
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
pub(crate) fn terminal_is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Whether nothing speaks against colour on a terminal. Only what is set to something does (no-color.org).
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
pub(crate) fn terminal_has_colour() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("CLICOLOR").is_some_and(|value| value == "0");
    !is_refused && !terminal_is_dumb()
}

/// How a failure is told when the command line itself is wrong, so that it was not understood.
pub(crate) fn error_format_of(words: &[OsString]) -> ErrorFormat {
    let is_json = said(words, "--error-format", "SEALER_ERROR_FORMAT").is_some_and(|format| format == "json");
    if is_json { ErrorFormat::Json } else { ErrorFormat::Text }
}

/// Where help and wrong usage may be coloured, whatever else was typed.
pub(crate) fn color_of(words: &[OsString]) -> clap::ColorChoice {
    match said(words, "--color", "SEALER_COLOR").as_deref().and_then(OsStr::to_str) {
        Some("always") => clap::ColorChoice::Always,
        Some("never") => clap::ColorChoice::Never,
        _ => clap::ColorChoice::Auto,
    }
}

/// What words that may make no sense say of an option, or else its variable.
#[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
fn said(words: &[OsString], option: &str, variable: &str) -> Option<OsString> {
    let after = words.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1].clone());
    let joined = || {
        let mut values =
            words.iter().filter_map(|word| word.to_str()?.strip_prefix(option)?.strip_prefix('='));
        values.next().map(OsString::from)
    };
    after.or_else(joined).or_else(|| std::env::var_os(variable))
}

/// The full names of images, each once.
pub(crate) fn names(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = Vec::new();
    for name in given {
        let full = full_name(name)?;
        if !names.contains(&full) {
            names.push(full);
        }
    }
    Ok(names)
}

/// What `--type` may be.
pub(crate) fn image_type(given: &str) -> Result<String, Failure> {
    if IMAGE_TYPES.contains(&given) {
        return Ok(given.to_owned());
    }
    Err(Failure::usage(format!("image type {given} is not supported"))
        .hint(format!("use one of {}", IMAGE_TYPES.join(", "))))
}

/// Whether `--build-mode` asks for container images.
pub(crate) fn carries_images(mode: &str) -> Result<bool, Failure> {
    match mode {
        "all" => Ok(true),
        "lite" => Ok(false),
        other => {
            Err(Failure::usage(format!("build mode {other} is not supported")).hint("use `all` or `lite`"))
        }
    }
}

/// The one platform meant; this machine's if none is given.
pub(crate) fn platform(given: &[String]) -> Result<Platform, Failure> {
    match platforms(given)?.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(Failure::usage("one platform is needed, not several")),
    }
}

/// The platforms to build for, each once; this machine's if none is given.
pub(crate) fn platforms(given: &[String]) -> Result<Vec<Platform>, Failure> {
    let mut platforms: Vec<Platform> = Vec::new();
    for text in given {
        let one = platform_of(text)?;
        if !platforms.contains(&one) {
            platforms.push(one);
        }
    }
    if platforms.is_empty() {
        platforms.push(host_platform());
    }
    Ok(platforms)
}

/// Architectures that a platform may be by themselves, as containerd reads it.
const ARCHITECTURES: [&str; 11] = [
    "386", "aarch64", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", "x86_64",
];

fn platform_of(text: &str) -> Result<Platform, Failure> {
    let parts: Vec<&str> = text.split('/').collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match parts.as_slice() {
        _ if !parts.iter().all(word) => {}
        ["linux"] => return Ok(host_platform()),
        [architecture] if ARCHITECTURES.contains(architecture) => {
            return Ok(Platform::new("linux", architecture, None));
        }
        [os, architecture] => return Ok(Platform::new(os, architecture, None)),
        [os, architecture, variant] => return Ok(Platform::new(os, architecture, Some(variant))),
        _ => {}
    }
    Err(Failure::usage(format!("`{text}` is not a platform"))
        .hint("write os/architecture, such as linux/arm64"))
}

/// This machine's platform; images are for Linux wherever they are built.
pub(crate) fn host_platform() -> Platform {
    Platform::new("linux", std::env::consts::ARCH, None)
}

/// `zstd`, `gzip` or `uncompressed`, with the format's own levels.
pub(crate) fn compression(given: &str) -> Result<LayerCompression, Failure> {
    let (format, level) =
        given.split_once(':').map_or((given, None), |(format, level)| (format, Some(level)));
    let (media_type, default, levels) = match format {
        "zstd" => (MediaType::TarZstd, 3, 1..=19),
        "gzip" => (MediaType::TarGzip, 6, 1..=12),
        "uncompressed" => (MediaType::Tar, 0, 0..=0),
        other => {
            return Err(Failure::usage(format!("compression `{other}` is not supported"))
                .hint("use zstd, gzip or uncompressed"));
        }
    };
    let level = match level {
        None => default,
        Some(text) => text.parse().ok().filter(|level| levels.contains(level)).ok_or_else(|| {
            Failure::usage(format!("`{text}` is not a level of {format}")).hint(format!(
                "levels are {} to {}",
                levels.start(),
                levels.end()
            ))
        })?,
    };
    Ok(LayerCompression { media_type, level })
}

/// `--timestamp`, else SOURCE_DATE_EPOCH, else 0.
pub(crate) fn times(given: Option<&str>) -> Result<TimePolicy, Failure> {
    let text = match given {
        // SOURCE_DATE_EPOCH is often set to nothing.
        None | Some("") => return Ok(TimePolicy::Fixed(0)),
        Some("keep") => return Ok(TimePolicy::Keep),
        Some(text) => text,
    };
    let in_range = |seconds: &i64| (0..=engine::LAST_SECOND).contains(seconds);
    text.parse().ok().filter(in_range).map(TimePolicy::Fixed).ok_or_else(|| {
        Failure::usage(format!("time `{text}` is not a number of seconds since 1970")).hint(
            "`--timestamp` and SOURCE_DATE_EPOCH take seconds; `--timestamp keep` keeps the files' own times",
        )
    })
}

/// A size in bytes, or with a binary unit.
pub(crate) fn size(text: &str) -> Result<u64, Failure> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => u32::MAX,
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1_u64.checked_shl(shift)?));
    bytes.ok_or_else(|| Failure::usage(format!("`{text}` is not a size")).hint("write bytes, or 500M, 2G"))
}

/// Steps at once.
pub(crate) fn jobs(given: Option<u16>) -> usize {
    given.map(usize::from).unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The Kubefile: as given, relative to the working directory; else the context's, else the working directory's.
pub(crate) fn kubefile(build: &Build) -> Result<PathBuf, Failure> {
    if let Some(file) = build.file.clone().filter(|file| !file.as_os_str().is_empty()) {
        return Ok(file);
    }
    let here = PathBuf::from("Kubefile");
    let in_context = if build.path == Path::new(".") { here.clone() } else { build.path.join("Kubefile") };
    if in_context.exists() {
        return Ok(in_context);
    }
    if here.exists() {
        return Ok(here);
    }
    const HINT: &str = "name it with `-f FILE`";
    if in_context == here {
        return Err(Failure::usage("there is no `Kubefile` in this directory").hint(HINT));
    }
    let tried = [in_context.display().to_string(), here.display().to_string()];
    Err(Failure::usage(format!("there is no Kubefile: neither `{}` nor `{}`", tried[0], tried[1]))
        .tried(tried)
        .hint(HINT))
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed())
}
