//! `sealer build`: parse, model, resolve bases, lower, pin, plan, run, export.

mod caches;
mod check;
mod finish;
mod kubefile;
mod lock;
mod options;
mod sarif;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cache::Store;
use engine::{Bases, BuildError, BuildOptions, Contexts, PullPolicy};
use frontend::{BaseRequest, Diagnostic, ImageKey, Options, Severity};
use solver::{AppSpec, Base, Definition, Event, EventSink, ImageSpec, SourceFile};

use self::finish::Finished;
use self::lock::LockFile;
use self::options::Settings;
use self::work::Work;
use crate::args::{Build, Global};
use crate::interrupt::Interrupt;
use crate::progress::{self, Watcher};
use crate::report::{self, Failure, Page, Reporter};
use crate::rootless;
use crate::settings;

/// Builds an image and tells what it cost.
pub(crate) fn run(args: &Build, global: &Global, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    let settings = Settings::new(args)?;
    if args.check {
        return check::run(args, &settings, global, reporter, root);
    }
    let lock = lock::place(args, global, settings.contexts.own())?;
    if kubefile::may_run_commands(args, settings.contexts.own())? && rootless::build(reporter, root)? {
        return Ok(());
    }
    let interrupt = Interrupt::listen()?;
    let registry = settings.registry(args, global, &interrupt)?;
    let archives = settings::archives(args, &interrupt)?;
    let store = Store::open(root)?;
    let options = settings.engine(args, &interrupt.cancel);
    let image_options = engine::container::options(&options);
    let uncached = [&options, &image_options].map(BuildOptions::uncached);
    let sources = settings.contexts.sources.clone();
    let contexts = Contexts::new(&store, registry.fetcher(), settings::git_environment(), &options, sources);
    let own = settings.contexts.own();
    let source = Arc::new(kubefile::read(args, own, &contexts, &interrupt, (global.quiet, reporter))?);
    let lock = LockFile::read(lock, args, &settings.contexts, &contexts, &interrupt)?;
    let parsed = frontend::parse(&source);
    let said = Said { source: &source, reporter };

    let (models, wrong): (Vec<_>, Vec<_>) =
        settings.frontends.iter().map(|options| frontend::model(&parsed, options)).unzip();
    said.check([parsed.diagnostics.as_slice(), &wrong.concat()].concat())?;

    let upstream = caches::upstream(&settings, &registry);
    let bases = Bases::new(&store, &registry).locked(lock.locking()).cached(&upstream);
    let resolver = Resolver { bases: &bases, policy: settings.pull, said: &said, interrupt: &interrupt };
    let (definition, specs) = resolver.lower(&models, &settings)?;
    let not_searched = check_names(args, &definition, &specs)?;

    let watcher = progress::watcher(args.tunables.progress, global);
    let told = Told { watcher: watcher.as_ref(), reporter, source: &source };
    let work = Work {
        store: &store,
        definition: &definition,
        specs: &specs,
        not_searched: &not_searched,
        options: &options,
        image_options: &image_options,
        bases: &bases,
        contexts: &contexts,
        events: &told,
        policy: settings.pull,
        lists: &settings.lists,
        archives: &archives,
        upstream: &upstream,
        uncached: (&uncached[0], &uncached[1]),
    };
    let built = work.build(settings.carries_images);
    let fail = |error: BuildError| {
        // What is finished is worth keeping; if that fails too, the build's own error says more.
        let _ = engine::keep_finished(&store);
        Failure::build(error, &source, interrupt.signal())
    };
    let built = built.inspect_err(|_| watcher.close()).map_err(fail)?;
    let exported = lock
        .check(reporter)
        .and_then(|()| caches::prepare(&upstream, &settings, &built, reporter))
        .and_then(|export| engine::export(&store, &specs, &built, &export, &bases, &told).map_err(fail));
    watcher.close();
    let exported = exported?;
    store.warnings().into_iter().for_each(|text| reporter.warn(Page::of_store(text)));
    let result = Finished { built: &built, exported: &exported, bases: &bases, start, settings: &settings };
    finish::deliver(&store, &result, &interrupt, (global.quiet, reporter))?;
    lock.write(reporter)?;
    result.tell(args, global, &source)?;
    store.maintain();
    Ok(())
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
    reporter: &'a Reporter,
    source: &'a Arc<SourceFile>,
}

impl EventSink for Told<'_> {
    fn event(&self, event: Event) {
        match event {
            Event::Warning { text, hint, span } => {
                let spans: Vec<_> = span.into_iter().collect();
                self.reporter.warn(Page::warning("build", text, hint).at(self.source, &spans));
            }
            other => self.watcher.event(other),
        }
    }
}

/// Answers the model's questions about base images, from the store and from registries.
struct Resolver<'a> {
    bases: &'a Bases<'a>,
    policy: PullPolicy,
    said: &'a Said<'a>,
    interrupt: &'a Interrupt,
}

impl Resolver<'_> {
    /// What is to be done, for all platforms, and the images that come of it.
    fn lower(
        &self,
        models: &[frontend::Model],
        settings: &Settings,
    ) -> Result<(Definition, Vec<ImageSpec>), Failure> {
        let (mut definitions, mut specs, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (model, options) in models.iter().zip(&settings.frontends) {
            let found = self.resolve(model, options)?;
            let (lowered, more) = frontend::lower(model, self.said.source, options, &found);
            wrong.extend(more);
            if let Some(lowered) = lowered {
                definitions.push((options.platform.to_string(), lowered.definition));
                specs.push(settings.complete(lowered.image));
            }
        }
        self.said.check(wrong)?;
        if specs.len() < models.len() {
            return Err(Failure::usage("the Kubefile could not be lowered"));
        }
        Ok((Definition::union(definitions), specs))
    }

    /// Every image the model asks for; some are named only by what others say.
    fn resolve(
        &self,
        model: &frontend::Model,
        options: &Options,
    ) -> Result<BTreeMap<ImageKey, Base>, Failure> {
        let mut found = BTreeMap::new();
        let mut wanted = model.bases();
        while !wanted.is_empty() {
            self.add(wanted, options, &mut found)?;
            wanted = model.further_bases(options, &found);
        }
        Ok(found)
    }

    fn add(
        &self,
        wanted: Vec<BaseRequest>,
        options: &Options,
        found: &mut BTreeMap<ImageKey, Base>,
    ) -> Result<(), Failure> {
        // An image that is asked for again and again is looked for once.
        let mut places: BTreeMap<ImageKey, Vec<BaseRequest>> = BTreeMap::new();
        wanted.into_iter().for_each(|one| places.entry(one.image.clone()).or_default().push(one));
        let mut wrong = Vec::new();
        for (image, requests) in places {
            let platform = match &image.platform {
                Some(platform) => settings::platform(std::slice::from_ref(platform))?,
                None => options.platform.clone(),
            };
            let label = |one: &BaseRequest| frontend::Label { span: one.span, text: String::new() };
            let diagnostic = |severity, message: String, hint: Option<String>| Diagnostic {
                severity,
                code: "base-image",
                message,
                labels: requests.iter().map(label).collect(),
                hints: hint.into_iter().collect(),
            };
            let warn = |text| {
                let hint = "`--pull always` makes this an error, `--pull missing` does not ask".to_owned();
                self.said.warn(diagnostic(Severity::Warning, text, Some(hint)));
            };
            let reference = &image.reference;
            match self.bases.resolve(reference, &platform, self.policy, settings::now(), &warn) {
                Ok(base) if base.image.platform() != platform => {
                    let of = base.image.platform();
                    let message = format!("`{reference}` is for {of}, not for {platform}");
                    let hint = "build for the base's platform with `--platform`".to_owned();
                    wrong.push(diagnostic(Severity::Error, message, Some(hint)));
                }
                Ok(base) => {
                    let name = base.reference(reference);
                    found.insert(image, base.image.as_base(&name));
                }
                Err(error) if error.is_cancelled() => {
                    return Err(Failure::registry(error, self.interrupt.signal()));
                }
                Err(error) => {
                    let is_base = requests.iter().any(|one| one.is_base);
                    let what = if is_base { "failed to process from" } else { "failed to process --from" };
                    let mut message = format!("{what}: {error}");
                    for cause in report::causes(&error) {
                        message.push_str(&format!(": {cause}"));
                    }
                    wrong.push(diagnostic(Severity::Error, message, report::hint_of_registry(&error)));
                }
            }
        }
        wrong.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span.start));
        if wrong.is_empty() { Ok(()) } else { Err(Failure::diagnostics(self.said.source, wrong)) }
    }
}

/// What is said about a text.
struct Said<'a> {
    source: &'a Arc<SourceFile>,
    reporter: &'a Reporter,
}

impl Said<'_> {
    /// Warnings are kept for the end; with an error among them, everything is the failure.
    /// What several platforms have in common is said once.
    fn check(&self, all: Vec<Diagnostic>) -> Result<(), Failure> {
        let mut seen = HashSet::new();
        let mut all: Vec<Diagnostic> = all.into_iter().filter(|one| seen.insert(one.clone())).collect();
        all.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span.start));
        if all.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(Failure::diagnostics(self.source, all));
        }
        all.into_iter().for_each(|one| self.warn(one));
        self.reporter.check_strict()
    }

    fn warn(&self, warning: Diagnostic) {
        self.reporter.warn(Page::of_diagnostic(self.source, warning));
    }
}
