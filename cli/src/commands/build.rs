//! `sealer build`: parse, model, resolve bases, lower, pin, plan, run, export.

mod caches;
mod check;
mod finish;
mod foreseen;
mod kubefile;
mod lock;
mod options;
mod reading;
mod sarif;
mod work;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cache::Store;
use engine::container::Archives;
use engine::{Bases, BuildError, BuildOptions, Registry};
use solver::{
    Activity, AppSpec, Definition, Event, EventSink, Graph, ImageSpec, Plan, Record, SourceFile, during,
};

use self::finish::Finished;
pub(crate) use self::foreseen::foreseen;
use self::lock::LockFile;
use self::options::Settings;
use self::reading::Reading;
use self::work::Work;
use crate::args::{Build, Global};
use crate::files;
use crate::interrupt::Interrupt;
use crate::observe::{self, Observer};
use crate::progress::{self, Watcher};
use crate::report::{Failure, Page, Reporter};
use crate::rootless;
use crate::settings::{self, KubefilePlace, Output};

/// Builds an image and tells what it cost.
pub(crate) fn run(args: &Build, global: &Global, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    // There everything is read anew, and what a pipe has can be read once: nothing is before.
    if !args.check && kubefile::needs_namespace(args)? {
        return rootless::build(reporter, root);
    }
    let settings = Settings::new(args)?;
    let places = observe::Places::new(args)?;
    let told = [("--iidfile", args.iidfile.as_deref()), ("--metadata-file", args.metadata_file.as_deref())];
    for (option, file) in told {
        file.map_or(Ok(()), |file| files::check(option, file))?;
    }
    let seen = [("--timings", args.timings.as_deref()), ("--trace", args.trace.as_deref())];
    let outputs = settings.outputs.iter().filter_map(Output::path).map(|path| ("--output", Some(path)));
    files::distinct(&outputs.chain(told).chain(seen).collect::<Vec<_>>())?;
    if args.check {
        return check::run(args, &settings, global, reporter, root);
    }
    settings.outputs.iter().try_for_each(Output::check)?;
    let lock = lock::place(args, global, settings.contexts.own())?;
    told.into_iter().filter_map(|(_, file)| file).for_each(files::discard);
    let observer = Observer::new(places, start);
    let text = during(&observer, Activity::Read, || kubefile::early(args, settings.contexts.own()))?;
    let text = text.map(Arc::new);
    let asked = Asked { args, settings: &settings, text, global, reporter, root, start };
    let result = asked.build(lock, &observer);
    observer.end(&settings.export.names, result, reporter)
}

/// What a build is asked for.
struct Asked<'a> {
    args: &'a Build,
    settings: &'a Settings,
    /// The Kubefile, unless it has yet to come from somewhere.
    text: Option<Arc<SourceFile>>,
    global: &'a Global,
    reporter: &'a Reporter,
    root: &'a Path,
    start: Instant,
}

/// What a build works with.
struct Opened {
    store: Store,
    registry: Registry,
    archives: Archives,
    interrupt: Interrupt,
}

impl Asked<'_> {
    fn build(&self, lock: Option<KubefilePlace>, observer: &Observer) -> Result<(), Failure> {
        let Self { args, settings, global, .. } = *self;
        let interrupt = Interrupt::listen()?;
        let registry = settings.registry(args, global, &interrupt)?;
        observer.network(registry.fetcher());
        let archives = settings::archives(args, &interrupt)?;
        let store = during(observer, Activity::Open, || Store::open(self.root))?;
        let opened = Opened { store, registry, archives, interrupt };
        std::thread::scope(|scope| {
            // Meanwhile the Kubefile is read and understood.
            if !opened.store.is_blank() {
                scope.spawn(|| opened.store.prepare());
            }
            self.build_with(&opened, lock, observer)
        })
    }

    fn build_with(
        &self,
        opened: &Opened,
        lock: Option<KubefilePlace>,
        observer: &Observer,
    ) -> Result<(), Failure> {
        let Self { args, settings, global, reporter, .. } = *self;
        let Opened { store, registry, archives, interrupt } = opened;
        let options = settings.engine(args, &interrupt.cancel);
        let image_options = engine::container::options(&options);
        let uncached = [&options, &image_options].map(BuildOptions::uncached);
        let contexts = settings.sources(store, registry, &options);
        let (contexts, quiet) = (&contexts, global.quiet);
        let reading = Reading { args, settings, contexts, interrupt, reporter, quiet, events: observer };
        let source = self.text.clone().map_or_else(|| reading.text(), Ok)?;
        let lock = LockFile::read(lock, args, &settings.contexts, contexts, interrupt)?;
        let upstream = caches::upstream(settings, registry);
        let bases = Bases::new(store, registry).locked(lock.locking()).cached(&upstream);
        let (definition, specs) = reading.definition(&source, &bases)?;
        let not_searched = check_names(args, &definition, &specs)?;

        let watcher = progress::watcher(args.tunables.progress, global);
        let told = Told { watcher: watcher.as_ref(), observer, reporter, source: &source };
        let work = Work {
            store,
            definition: &definition,
            specs: &specs,
            not_searched: &not_searched,
            options: &options,
            image_options: &image_options,
            bases: &bases,
            contexts,
            events: &told,
            policy: settings.pull,
            lists: &settings.lists,
            archives,
            upstream: &upstream,
            export: &settings.export,
            uncached: (&uncached[0], &uncached[1]),
        };
        let built = work.build(settings.carries_images);
        let fail = |error: BuildError| {
            // What is finished is worth keeping; if that fails too, the build's own error says more.
            let _ = during(observer, Activity::Commit, || engine::keep_finished(store));
            Failure::build(error, &source, interrupt.signal())
        };
        let built = built.inspect_err(|_| watcher.close()).map_err(fail)?;
        let exported = lock
            .check(reporter)
            .and_then(|()| caches::prepare(&upstream, settings, &built, reporter))
            .and_then(|export| engine::export(store, &specs, &built, &export, &bases, &told).map_err(fail));
        watcher.close();
        let exported = exported?;
        store.warnings().into_iter().for_each(|text| reporter.warn(Page::of_store(text)));
        let (built, exported, bases, start) = (&built, &exported, &bases, self.start);
        let result = Finished { built, exported, bases, start, settings };
        finish::deliver(store, &result, interrupt, (quiet, reporter), observer)?;
        lock.write(reporter)?;
        result.tell(args, global, &source, reporter)?;
        during(observer, Activity::Maintain, || store.maintain());
        Ok(())
    }
}

/// Names of the command line that mean nothing are mistakes. Gives the applications that are not looked through.
fn check_names(
    args: &Build,
    definition: &Definition,
    specs: &[ImageSpec],
) -> Result<BTreeSet<String>, Failure> {
    check_filter(&args.no_cache_filter, definition)?;
    not_searched(&args.no_discover, specs)
}

/// A filter that means nothing is a mistake.
fn check_filter(filter: &[String], definition: &Definition) -> Result<(), Failure> {
    if filter.is_empty() {
        return Ok(());
    }
    let mut known = std::collections::BTreeSet::new();
    for (_, vertex, metadata) in definition.iter() {
        known.extend(metadata.scopes(&vertex.op));
    }
    let Some(unknown) = filter.iter().find(|name| !known.contains(name)) else { return Ok(()) };
    let page =
        Page::error("usage", format!("no application and no stage of the build is called `{unknown}`"));
    let known: Vec<&str> = known.into_iter().map(String::as_str).take(20).collect();
    Err(page.hint(format!("`--no-cache-filter` takes {}", known.join(", "))).into())
}

/// Applications that are not looked through for container images; one that no image has is a mistake.
fn not_searched(names: &[String], specs: &[ImageSpec]) -> Result<BTreeSet<String>, Failure> {
    let known: BTreeSet<&str> = specs.iter().flat_map(|spec| &spec.apps).map(AppSpec::name).collect();
    let Some(unknown) = names.iter().find(|name| !known.contains(name.as_str())) else {
        return Ok(names.iter().cloned().collect());
    };
    let page = Page::error("usage", format!("no application of the build is called `{unknown}`"));
    let known: Vec<&str> = known.into_iter().take(20).collect();
    Err(match known.as_slice() {
        [] => page.hint("the build has no applications: leave `--no-discover` out"),
        known => page.hint(format!("`--no-discover` takes {}", known.join(", "))),
    }
    .into())
}

/// Events on their way: warnings are kept for the end, everything else is shown.
struct Told<'a> {
    watcher: &'a dyn Watcher,
    observer: &'a Observer,
    reporter: &'a Reporter,
    source: &'a Arc<SourceFile>,
}

impl EventSink for Told<'_> {
    fn event(&self, event: Event) {
        self.observer.saw(&event);
        match event {
            Event::Warning { text, hint, span } => {
                let spans: Vec<_> = span.into_iter().collect();
                self.reporter.warn(Page::warning("build", text, hint).at(self.source, &spans));
            }
            other => self.watcher.event(other),
        }
    }

    fn began(&self, activity: Activity) {
        self.observer.began(activity);
    }

    fn ended(&self, activity: Activity) {
        self.observer.ended(activity);
    }

    fn planned(&self, graph: &Graph, plan: &Plan<Record>) {
        self.observer.planned(graph, plan);
    }
}
