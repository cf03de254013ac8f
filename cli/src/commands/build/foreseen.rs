//! A build up to its plan: what would run now, and what the cache has.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

use cache::{CacheError, Store};
use engine::{Bases, BuildError, Planned, Session};
use solver::{Graph, SourceFile};

use super::lock::{self, LockFile};
use super::options::Settings;
use super::reading::Reading;
use super::{Told, caches, check_filter};
use crate::args::{Build, Global, Planning};
use crate::interrupt::Interrupt;
use crate::observe::{Observer, Places};
use crate::progress;
use crate::report::{Failure, Reporter};

/// Shows somebody what a build would do. Sources are pinned as the build pins them, since only then is it known what the
/// cache has; what comes of that is kept, and nothing gets a name.
pub(crate) fn foreseen<T>(
    planning: &Planning,
    global: &Global,
    reporter: &Reporter,
    root: &Path,
    show: impl FnOnce(&SourceFile, &Graph, &Planned) -> T,
) -> Result<T, Failure> {
    let args = &Build::planned_by(planning);
    let settings = &Settings::new(args)?;
    let lock = lock::place(args, global, settings.contexts.own())?;
    let interrupt = &Interrupt::listen()?;
    let registry = settings.registry(args, global, interrupt)?;
    let store = open(root)?;
    let options = settings.engine(args, &interrupt.cancel);
    let contexts = &settings.sources(&store, &registry, &options);
    // Nobody wants to know what takes its time.
    let observer = &Observer::new(Places::default(), Instant::now());
    let reading =
        Reading { args, settings, contexts, interrupt, reporter, quiet: global.quiet, events: observer };
    let source = reading.text()?;
    let lock = LockFile::read(lock, args, &settings.contexts, contexts, interrupt)?;
    let upstream = caches::upstream(settings, &registry);
    let bases = Bases::new(&store, &registry).locked(lock.locking()).cached(&upstream);
    let (definition, _) = reading.definition(&source, &bases)?;
    check_filter(&args.no_cache_filter, &definition)?;

    let watcher = progress::watcher(args.tunables.progress, global);
    let told = Told { watcher: watcher.as_ref(), observer, reporter, source: &source };
    let plan = || -> Result<T, BuildError> {
        let session = Session::new(&store, &definition, &options, &bases, contexts, &told)?;
        let pins = session.pin()?;
        Ok(show(&source, session.graph(), &session.foresee(&pins)))
    };
    let shown = plan();
    watcher.close();
    // What was downloaded need not come again; that it could not be kept is no reason to show nothing.
    let _ = engine::keep_finished(&store);
    let shown = shown.map_err(|error| Failure::build(error, &source, interrupt.signal()))?;
    lock.check(reporter)?;
    caches::check(&upstream, settings, reporter)?;
    Ok(shown)
}

/// The store; one that cannot be written is looked at, for what it has.
fn open(root: &Path) -> Result<Store, CacheError> {
    match Store::open(root) {
        Err(CacheError::Io(error))
            if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) =>
        {
            Store::open_existing(root)?.ok_or(CacheError::Io(error))
        }
        opened => opened,
    }
}
