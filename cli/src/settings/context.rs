//! Build contexts and the Kubefile: what the words of the command line mean here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use engine::{ContextSource, GitEnvironment, redacted};
use frontend::{NamedContext, context_name};
use solver::{GitSource, LocalSource};

use crate::args::Build;
use crate::report::Failure;
use crate::ui;

/// What git may know of the environment: programs, the way to the network, an agent that has keys.
const GIT_VARIABLES: [&str; 14] = [
    "PATH",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_PROXY_SSL_CAINFO",
];

/// The contexts of a build.
#[derive(Debug)]
pub(crate) struct BuildContexts {
    /// Where their files are, by the names [`LocalSource`] has for them.
    pub(crate) sources: BTreeMap<String, ContextSource>,
    /// What the text is told of those with a name.
    pub(crate) named: BTreeMap<String, NamedContext>,
}

impl BuildContexts {
    /// PATH and every `--build-context`.
    pub(crate) fn new(build: &Build) -> Result<Self, Failure> {
        let own = match build.path.as_os_str().to_str() {
            Some("-") if ui::stdin_is_terminal() => {
                return Err(Failure::usage("there is no build context: standard input is a terminal")
                    .hint("pipe a tar archive in, or name a directory"));
            }
            Some("-") => ContextSource::Stdin,
            _ => source(build.path.as_os_str())?,
        };
        if let ContextSource::Directory(dir) = &own {
            check_dir(dir)?;
        }
        let mut contexts =
            Self { sources: BTreeMap::from([(LocalSource::OWN.to_owned(), own)]), named: BTreeMap::new() };
        for word in &build.build_context {
            contexts.add(word)?;
        }
        Ok(contexts)
    }

    /// The build's own context.
    pub(crate) fn own(&self) -> &ContextSource {
        &self.sources[LocalSource::OWN]
    }

    fn add(&mut self, word: &str) -> Result<(), Failure> {
        let Some((name, value)) =
            word.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
        else {
            let word = redacted(word);
            return Err(Failure::usage(format!("build contexts should be name=value, not `{word}`")));
        };
        let key = context_name(name);
        let context = if let Some(reference) = value.strip_prefix("docker-image://") {
            if reference.is_empty() {
                return Err(Failure::usage(format!("the build context `{name}` names no image")));
            }
            NamedContext::Image(reference.to_owned())
        } else if value == "-" {
            return Err(Failure::usage(format!("the build context `{name}` cannot be standard input"))
                .hint("only the build's own context can: `sealer build -`"));
        } else if let Some((scheme @ ("oci-layout" | "target" | "input" | "local"), _)) =
            value.split_once(':')
        {
            return Err(Failure::usage(format!("build contexts of `{scheme}:` are not supported")).hint(
                "use a directory, a tar archive, docker-image://REFERENCE, http(s)://… or a git repository",
            ));
        } else {
            let found = source(OsStr::new(value))?;
            if let ContextSource::Directory(dir) = &found
                && !dir.is_dir()
            {
                return Err(Failure::usage(format!("the build context `{name}` is not there: `{value}`")));
            }
            self.sources.insert(LocalSource::named(&key), found);
            NamedContext::Files
        };
        if self.named.insert(key, context).is_some() {
            return Err(Failure::usage(format!("the build context `{name}` is given twice")));
        }
        Ok(())
    }
}

/// What a word for a context means, but for `-`.
fn source(word: &OsStr) -> Result<ContextSource, Failure> {
    let path = PathBuf::from(word);
    let Some(text) = word.to_str() else { return Ok(of_path(path)) };
    if GitSource::is_meant(text) {
        let source = GitSource::parse(text).map_err(|error| {
            Failure::usage(error.to_string())
                .hint("write `URL#REFERENCE:DIRECTORY`, such as `https://host/repo.git#v1.0:charts`")
        })?;
        return Ok(ContextSource::Git(source));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(ContextSource::Url(text.to_owned()));
    }
    match text.split_once("://") {
        Some((scheme, _)) if !path.exists() => {
            Err(Failure::usage(format!("build contexts of `{scheme}://` are not supported"))
                .hint("use a directory, a tar archive, http(s)://… or a git repository"))
        }
        _ => Ok(of_path(path)),
    }
}

/// Whether the context is there, before each source is looked for in it.
fn check_dir(dir: &Path) -> Result<(), Failure> {
    let reason = match fs_err::metadata(dir) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "it is neither a directory nor a file".to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no such directory".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::usage(format!("`{}` is no build context: {reason}", dir.display()))
        .hint("name a directory, a tar archive, `-`, or the URL of an archive or a git repository"))
}

fn of_path(path: PathBuf) -> ContextSource {
    if path.is_file() { ContextSource::Archive(path) } else { ContextSource::Directory(path) }
}

/// Where the Kubefile is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KubefilePlace {
    /// Standard input.
    Stdin,
    /// A file of this host.
    Host(PathBuf),
    /// A pipe or a device of this host, which is read once: `/dev/stdin`, or what a shell makes of `<(…)`.
    Stream(PathBuf),
    /// A path in the build's own context.
    Context(String),
}

/// The Kubefile: of a context that is a directory as it always was, of another one a path in it.
pub(crate) fn kubefile_place(build: &Build, own: &ContextSource) -> Result<KubefilePlace, Failure> {
    let given = build.file.as_deref().filter(|file| !file.as_os_str().is_empty());
    match (given, own) {
        (Some(file), ContextSource::Stdin) if file == Path::new("-") => {
            Err(Failure::usage("the Kubefile and the build context cannot both be standard input"))
        }
        (Some(file), _) if file == Path::new("-") => Ok(KubefilePlace::Stdin),
        (_, ContextSource::Directory(_)) => super::kubefile(build).map(of_host),
        (None, _) => Ok(KubefilePlace::Context("Kubefile".to_owned())),
        (Some(file), _) => match file.to_str() {
            Some(path) => Ok(KubefilePlace::Context(path.to_owned())),
            None => Err(Failure::usage(format!("`{}` is not a path in the build context", file.display()))),
        },
    }
}

fn of_host(path: PathBuf) -> KubefilePlace {
    let is_stream = fs_err::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    if is_stream { KubefilePlace::Stream(path) } else { KubefilePlace::Host(path) }
}

/// The environment git gets.
#[expect(clippy::disallowed_methods, reason = "this directory is where the environment is read")]
pub(crate) fn git_environment() -> GitEnvironment {
    let known = GIT_VARIABLES.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    GitEnvironment(known.collect())
}
