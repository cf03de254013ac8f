//! Errors of the engine as pages: which lines they come from, what was tried, what may help.

use std::sync::Arc;

use engine::frames::FrameError;
use engine::gc::GcError;
use engine::ops::accounts::AccountError;
use engine::ops::file::FileError;
use engine::source::http::HttpError;
use engine::transport::TransportError;
use engine::{
    BuildError, ContainerError, ContentError, ContextError, ExecError, FailedImage, FetchError, GitError,
    ImagesError, LocalError, LockError, OpError, RegistryError, UntypedApp, ValuesError,
};
use frontend::{Diagnostic, nearest};
use solver::SourceFile;

use super::Page;

/// Why a command failed, with all that is needed to say so.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What went wrong.
    Pages(Vec<Page>),
    /// Everything was said already, here or by another process; what is left is an exit code.
    Told(u8),
    /// A signal stopped it.
    Cancelled {
        /// Its number.
        signal: u8,
        /// What that means for what was done so far.
        what: &'static str,
    },
}

impl From<Page> for Failure {
    fn from(page: Page) -> Self {
        Self::Pages(vec![page])
    }
}

impl Failure {
    /// A failure of the command line or the world.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Page::error("usage", message).into()
    }

    /// What is wrong with a text; warnings may be among it.
    pub(crate) fn diagnostics(source: &Arc<SourceFile>, all: Vec<Diagnostic>) -> Self {
        Self::Pages(all.into_iter().map(|diagnostic| Page::of_diagnostic(source, diagnostic)).collect())
    }

    /// Adds what to try.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Pages(pages) = &mut self
            && let Some(page) = pages.last_mut()
        {
            page.hints.push(hint.into());
        }
        self
    }

    /// Adds what was tried.
    pub(crate) fn tried(mut self, tried: impl IntoIterator<Item = String>) -> Self {
        if let Self::Pages(pages) = &mut self
            && let Some(page) = pages.last_mut()
        {
            page.tried.extend(tried);
        }
        self
    }

    /// A failed build, told at the lines it comes from.
    pub(crate) fn build(error: BuildError, source: &Arc<SourceFile>, signal: u8) -> Self {
        match error {
            BuildError::Cancelled => {
                Self::Cancelled { signal, what: "the build was cancelled; what it finished is kept" }
            }
            BuildError::Steps(steps) => {
                Self::Pages(steps.iter().map(|step| of_step(&step.source).at(source, &step.spans)).collect())
            }
            BuildError::UntypedApps(apps) => {
                Self::Pages(apps.iter().map(|app| untyped_app(app, source)).collect())
            }
            BuildError::ContainerImages(failed) => {
                Self::Pages(failed.iter().map(|one| container_image(one).at(source, &one.spans)).collect())
                    .hint(WITHOUT_IMAGES)
            }
            BuildError::Cache(error) => error.into(),
            BuildError::Images(error) => error.into(),
            BuildError::Registry(error) => Self::registry(*error, signal),
            BuildError::Archive(error) => Self::transport(*error, signal),
            other => Page::of("build", &other).into(),
        }
    }

    /// A build context that was not of use.
    pub(crate) fn context(error: ContextError, signal: u8) -> Self {
        match OpError::from(error) {
            error if error.is_cancelled() => Self::Cancelled { signal, what: "cancelled; nothing was built" },
            OpError::Context(ContextError::Cache(error)) => error.into(),
            error => of_step(&error).into(),
        }
    }

    /// A registry that was not of use.
    pub(crate) fn registry(error: RegistryError, signal: u8) -> Self {
        if error.is_cancelled() {
            return Self::Cancelled { signal, what: "cancelled; what was received whole is kept" };
        }
        match error {
            RegistryError::Cache(error) => error.into(),
            RegistryError::Images(error) => error.into(),
            other => {
                let page = Page::of("registry", &other);
                match hint_of_registry(&other) {
                    Some(hint) => page.hint(hint).into(),
                    None => page.into(),
                }
            }
        }
    }

    /// A failed save, load or output.
    pub(crate) fn transport(error: TransportError, signal: u8) -> Self {
        match error {
            TransportError::Cancelled => Self::Cancelled { signal, what: "cancelled; nothing was written" },
            TransportError::Cache(error) => error.into(),
            TransportError::Images(error) => error.into(),
            other => {
                let page = Page::of("transport", &other);
                match hint_of_transport(&other) {
                    Some(hint) => page.hint(hint).into(),
                    None => page.into(),
                }
            }
        }
    }
}

impl From<cache::CacheError> for Failure {
    fn from(error: cache::CacheError) -> Self {
        let page = Page::of("store", &error);
        match hint_of_store(&error) {
            Some(hint) => page.hint(hint).into(),
            None => page.into(),
        }
    }
}

impl From<ImagesError> for Failure {
    fn from(error: ImagesError) -> Self {
        let mut page = Page::of("image", &error);
        match error {
            ImagesError::Cache(error) => return error.into(),
            ImagesError::NotFound { tried, .. } => {
                page.tried = tried;
                page = page.hint("`sealer images` lists what is in the store");
            }
            ImagesError::Ambiguous { .. } => page = page.hint("give more digits, or the name"),
            ImagesError::SeveralNames { .. } => {
                page = page.hint("remove the names one by one, or all at once with `--force`");
            }
            ImagesError::Platform { .. } => page = page.hint("choose one with `--platform`"),
            ImagesError::Index { .. } => page = page.hint(WITHOUT_INDEX),
            ImagesError::Json { .. } => page = page.hint(UNREADABLE),
            ImagesError::Name { .. } => {}
        }
        page.into()
    }
}

impl From<GcError> for Failure {
    fn from(error: GcError) -> Self {
        match error {
            GcError::Cache(error) => error.into(),
            GcError::Images(error) => error.into(),
            GcError::Unreadable { .. } => {
                Page::of("image", &error).hint("`sealer rmi` removes its name; build or load it again").into()
            }
        }
    }
}

fn hint_of_store(error: &cache::CacheError) -> Option<&'static str> {
    use std::io::ErrorKind;
    let io = match error {
        cache::CacheError::Io(io) => io,
        cache::CacheError::Sync { source, .. } => source,
        cache::CacheError::Busy { .. } => {
            return Some("try again when they are done, or let `--wait` do that");
        }
        cache::CacheError::Lost { .. } => {
            return Some(
                "`sealer cache verify` deletes what is damaged and says whose it is; build, load or pull these images again",
            );
        }
        cache::CacheError::NewerStore { .. } => return Some("use a newer sealer, or another `--root`"),
        cache::CacheError::Digest { .. } => {
            return Some("the disk has damaged it; `sealer build --no-cache` makes it again");
        }
        _ => return None,
    };
    Some(match io.kind() {
        ErrorKind::StorageFull => "make room on the store's file system, or name another with `--root`",
        ErrorKind::QuotaExceeded => "make room in the quota, or name another store with `--root`",
        ErrorKind::ReadOnlyFilesystem => {
            "the store can be looked at, but not changed; name another with `--root`"
        }
        ErrorKind::PermissionDenied => {
            "the store belongs to another user; name one of your own with `--root` or SEALER_ROOT"
        }
        ErrorKind::NotADirectory => "a store is a directory; name one with `--root` or SEALER_ROOT",
        _ => return None,
    })
}

fn hint_of_transport(error: &TransportError) -> Option<&'static str> {
    Some(match error {
        TransportError::NoImage { .. } => {
            "oci-archive, oci-dir, docker-archive, docker-dir and sealer's own archives can be read"
        }
        TransportError::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            "make room there, or choose another place"
        }
        TransportError::Several { .. } => "oci-dir, oci-archive and docker-archive hold several",
        TransportError::NotEmpty { .. } => "remove it, or choose another directory",
        TransportError::Digest { .. } | TransportError::DiffId { .. } | TransportError::Size { .. } => {
            "it is damaged or was tampered with; nothing of it was kept. Get it again"
        }
        TransportError::Unnamed { .. } => {
            "write it again with its full name: `skopeo copy SOURCE oci-archive:FILE:docker.io/library/nginx:1.25`, or `docker save NAME:TAG`"
        }
        TransportError::Ambiguous { .. } => "give only the archive with the image that is meant",
        TransportError::NotArchived { .. } => {
            "the archive has the image for some platforms only, or is incomplete. Save the image again, with all it needs"
        }
        TransportError::Missing { .. } => "it is incomplete; nothing of it was kept. Get it again",
        _ => return None,
    })
}

/// What may help with a registry.
pub(crate) fn hint_of_registry(error: &RegistryError) -> Option<String> {
    if let RegistryError::OtherPlatform { .. } = error {
        return Some(
            "build for a platform that the store has with `--platform`, or `sealer pull --platform` this one"
                .to_owned(),
        );
    }
    Some(match error.plain() {
        RegistryError::Cache(error) => return hint_of_store(error).map(str::to_owned),
        RegistryError::Images(ImagesError::Index { .. }) => WITHOUT_INDEX.to_owned(),
        RegistryError::Images(ImagesError::Platform { .. }) => "choose one with `--platform`".to_owned(),
        RegistryError::Lock(error) => hint_of_lock(error),
        RegistryError::Unauthorized { host, is_known: false, .. } => format!("log in: `sealer login -u NAME --password-stdin {host}`"),
        RegistryError::Unauthorized { host, .. } => {
            format!("ask for the right, or log in as somebody else: `sealer login -u NAME --password-stdin {host}`")
        }
        RegistryError::Net(error) if error.is_untrusted() => {
            "name the authority that vouches for it with `--cacert FILE`, or trust it blindly with `--tls-verify=false`".to_owned()
        }
        RegistryError::Net(FetchError::Offline { .. }) => OFFLINE.to_owned(),
        RegistryError::Net(FetchError::Transport { .. }) => {
            "look whether the registry runs and the name is right; for one without TLS use `--tls-verify=false`".to_owned()
        }
        RegistryError::NotFound { reference } if reference.contains('@') => {
            "the registry may have it no more; where a lock file names it, `--update=NAME` asks anew".to_owned()
        }
        RegistryError::NotFound { .. } => "`sealer search HOST/REPOSITORY` lists the tags there are".to_owned(),
        RegistryError::Digest { .. } | RegistryError::Size { .. } => {
            "the registry, or somebody between, sent something else; nothing of it was kept".to_owned()
        }
        RegistryError::Platform { .. } => "choose one with `--platform`".to_owned(),
        RegistryError::Images(ImagesError::NotFound { .. }) => {
            "`sealer images` lists what is in the store; names without a host that are not there are Docker Hub's".to_owned()
        }
        _ => return None,
    })
}

fn of_step(error: &OpError) -> Page {
    let mut page = Page::of("step-failed", error);
    if let OpError::Http(HttpError::Fetch(FetchError::GivenUp { attempts, .. })) = error {
        page.tried.push(format!("{attempts} times, with longer and longer waits between"));
    }
    if let OpError::Exec(error) = error
        && let ExecError::Sandbox(error) = &**error
    {
        page.log = error.log().to_vec();
    }
    match hint_of_step(error).or_else(|| hint_of_room(error)) {
        Some(hint) => page.hint(hint),
        None => page,
    }
}

/// What may help where there was no room for what a step makes: all of it goes to the store.
fn hint_of_room(error: &OpError) -> Option<String> {
    use rustix::io::Errno;
    let texts = [vec![error.to_string()], cache::causes(error)].concat();
    [Errno::NOSPC, Errno::DQUOT].into_iter().find_map(|code| {
        let io = std::io::Error::from(code);
        let is_it = texts.iter().any(|text| text.contains(&io.to_string()));
        is_it.then(|| hint_of_store(&cache::CacheError::Io(io)).map(str::to_owned)).flatten()
    })
}

fn hint_of_http(error: &HttpError) -> Option<String> {
    Some(match error {
        HttpError::Fetch(FetchError::TooLarge { .. }) => "`--max-download SIZE` allows more".to_owned(),
        HttpError::Fetch(FetchError::Offline { .. }) => OFFLINE.to_owned(),
        HttpError::Checksum { .. } => {
            "if the new content is what you want, change the checksum in the Kubefile".to_owned()
        }
        HttpError::Lock(error) => hint_of_lock(error),
        _ => return None,
    })
}

fn hint_of_step(error: &OpError) -> Option<String> {
    Some(match error {
        OpError::Local(error) => return hint_of_local(error),
        OpError::Frame(FrameError::Changed { .. } | FrameError::Content(ContentError::Changed { .. })) => {
            CHANGED.to_owned()
        }
        OpError::Http(error) => return hint_of_http(error),
        OpError::Content(ContentError::Http(error))
        | OpError::Frame(FrameError::Content(ContentError::Http(error))) => return hint_of_http(error),
        OpError::Git(error) => return hint_of_git(error),
        OpError::Context(ContextError::NoArchive { .. }) => {
            "a tar archive is wanted, plain or compressed with gzip, bzip2, xz or zstd; URLs of git repositories end in .git"
                .to_owned()
        }
        OpError::Lock(error) => hint_of_lock(error),
        OpError::Base(error) => return hint_of_registry(error),
        OpError::Exec(error) => match &**error {
            ExecError::Sandbox(error) => return super::sandbox::hint(error),
            _ => return None,
        },
        OpError::Values(ValuesError::Set { .. }) => {
            "it is what Helm's `--set` takes, such as `image.tag=v1,hosts={a,b}`; in quotes, where it has a backslash"
                .to_owned()
        }
        OpError::File(FileError::Account(error)) => return hint_of_account(error),
        _ => return None,
    })
}

/// What may help with an owner that is not known.
fn hint_of_account(error: &AccountError) -> Option<String> {
    const NUMBERS: &str = "use numbers: `--chown=1000:1000`";
    /// More names than this are a list nobody reads.
    const SHOWN: usize = 8;
    Some(match error {
        AccountError::Unknown { name, known, .. } if !known.is_empty() => {
            if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
                return Some(format!("did you mean `{near}`? If not, {NUMBERS}"));
            }
            let some: Vec<String> = known.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
            let more = if known.len() > SHOWN { ", …" } else { "" };
            format!("known there: {}{more}; or {NUMBERS}", some.join(", "))
        }
        AccountError::Unknown { .. } | AccountError::NoFile { .. } | AccountError::TooLarge { .. } => {
            NUMBERS.to_owned()
        }
        AccountError::Content(_) | AccountError::Tree(_) => return None,
    })
}

/// What may help with a build context.
pub(crate) fn hint_of_local(error: &LocalError) -> Option<String> {
    Some(match error {
        LocalError::NotFound { ignored: false, context, .. } => {
            format!(
                "sources are relative to the build context `{}`, whatever the working directory",
                context.display()
            )
        }
        LocalError::NotFound { .. } => {
            "the first of .sealerignore, .containerignore and .dockerignore in the context decides".to_owned()
        }
        LocalError::Escapes { .. } => {
            "copy the file into the context, or make the context the directory that holds both".to_owned()
        }
        LocalError::Changed { .. } => CHANGED.to_owned(),
        _ => return None,
    })
}

fn hint_of_git(error: &GitError) -> Option<String> {
    Some(match error {
        GitError::NoProgram(_) => "install git: `apt-get install git`".to_owned(),
        GitError::NoReference { reference, .. }
            if (7..40).contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            "a commit is named by all 40 digits of its id".to_owned()
        }
        GitError::Offline { .. } => OFFLINE.to_owned(),
        GitError::NoCommit { url, .. } => {
            format!("where a lock file names it, `--update={url}` asks anew what the reference leads to")
        }
        GitError::TooLarge { .. } => "`--max-download SIZE` allows more".to_owned(),
        GitError::Checksum { .. } => {
            "if the new commit is what you want, change the checksum in the Kubefile".to_owned()
        }
        GitError::Failed { lines, .. } if lines.iter().any(|line| line.contains("could not read Username")) => {
            "a private repository needs credentials: `https://$TOKEN@HOST/…` with a --build-arg, or ssh with an agent"
                .to_owned()
        }
        _ => return None,
    })
}

/// What may help where a lock file is not right.
fn hint_of_lock(error: &LockError) -> String {
    match error {
        LockError::Missing { .. } => "`--lock` adds what is missing".to_owned(),
        LockError::Changed { url, .. } => {
            format!("if the new content is what you want, `--update='{url}'` writes it down")
        }
    }
}

/// What may help where an image cannot be read.
pub(crate) const UNREADABLE: &str = "`sealer rmi` removes the image's name; load or build it again";

/// What may help where nothing is known of any image.
const WITHOUT_INDEX: &str =
    "it says which images the store has; put it back, or move it away and build or load the images again";

/// What may help where nobody may be asked.
const OFFLINE: &str = "run it once without `--offline`: what it fetches stays in the store";

/// What may help where a file is not what it was.
const CHANGED: &str =
    "if nobody writes there, `--paranoid` reads every file again, whatever its size and times say";

fn untyped_app(app: &UntypedApp, source: &Arc<SourceFile>) -> Page {
    let page = Page::of("untyped-app", app)
        .at(source, &[app.span])
        .hint(format!("say how it is launched: APPCMDS {} [\"COMMAND\"]", app.name));
    let written = source.text.get(app.span.start..app.span.end).unwrap_or_default();
    if app.several_sources && [".tgz", ".tar.gz"].iter().any(|ending| written.contains(ending)) {
        page.hint("a packaged chart launches by itself only when it is the application's one source")
    } else {
        page
    }
}

/// How many of those who name a container image are told.
const NAMERS: usize = 5;

/// A container image that cannot be had, and who names it.
fn container_image(failed: &FailedImage) -> Page {
    let mut message = format!("container image `{}` cannot be had: {}", failed.name, failed.source);
    for cause in cache::causes(&failed.source) {
        message.push_str(&format!(": {cause}"));
    }
    // Two objects of one kind in one file are told by the same words.
    let mut namers: Vec<String> = failed.named_by.iter().map(ToString::to_string).collect();
    namers.dedup();
    for named_by in namers.iter().take(NAMERS) {
        message.push_str(&format!("\n  named by {named_by}"));
    }
    if namers.len() > NAMERS {
        message.push_str(&format!("\n  and {} more", namers.len() - NAMERS));
    }
    let page = Page::error("container-image", message);
    match &failed.source {
        ContainerError::Registry(error) => match hint_of_registry(error) {
            Some(hint) => page.hint(hint),
            None => page,
        },
        ContainerError::Collision { .. } => page
            .hint("give one of them another tag or repository, or leave it out with `--ignored-image-list`"),
        ContainerError::Lock(error) => page.hint(hint_of_lock(error)),
        ContainerError::NotAsked { .. } => page.hint("give it with `--image-archive`, or let `--pull` ask"),
        _ => page,
    }
}

/// What goes for all container images that cannot be had.
const WITHOUT_IMAGES: &str =
    "`--ignored-image-list` leaves images out; `--build-mode lite` builds without container images";
