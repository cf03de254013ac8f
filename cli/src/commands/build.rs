//! `sealer build`: parse, model, resolve bases, lower, pin, plan, run, export.

mod finish;
mod options;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cache::Store;
use engine::{BuildError, BuildOptions, Built, Images, Session};
use frontend::{Diagnostic, Options, Severity};
use solver::{Base, Event, EventSink, SourceFile};

use self::finish::Finished;
use self::options::Settings;
use crate::args::{Build, Global};
use crate::interrupt::Interrupt;
use crate::progress::{self, Watcher};
use crate::report::{Failure, Page, Reporter};
use crate::settings;

/// Largest Kubefile read, in bytes.
const KUBEFILE_LIMIT: u64 = 16 << 20;

/// Builds an image and tells what it cost.
pub(crate) fn run(args: &Build, global: &Global, reporter: &Reporter, root: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    let settings = Settings::new(args)?;
    let interrupt = Interrupt::listen()?;
    let source = Arc::new(read_kubefile(args)?);
    let said = Said { source: &source, reporter };

    let parsed = frontend::parse(&source);
    let (model, wrong) = frontend::model(&parsed, &settings.frontend);
    said.check([parsed.diagnostics.as_slice(), &wrong].concat())?;

    let store = Store::open(root)?;
    let bases = resolve_bases(&model, &store, &settings.frontend, &source)?;
    let (lowered, wrong) = frontend::lower(&model, &source, &settings.frontend, &bases);
    said.check(wrong)?;
    let lowered = lowered.ok_or_else(|| Failure::usage("the Kubefile could not be lowered"))?;
    check_filter(&args.no_cache_filter, &lowered.definition)?;
    let spec = settings.complete(lowered.image);

    let watcher = progress::watcher(args.tunables.progress, global);
    let told = Told { watcher: watcher.as_ref(), reporter, source: &source };
    let options = settings.engine(args, &interrupt.cancel);
    let built = build(&store, &lowered.definition, &options, &told, settings.carries_images);
    let fail = |error: BuildError| {
        // What is finished is worth keeping; if that fails too, the build's own error says more.
        let _ = engine::keep_finished(&store);
        Failure::build(error, &source, interrupt.signal())
    };
    let (built, network) = built.map_err(|error| {
        watcher.close();
        fail(error)
    })?;
    settings.warn_of_outputs(reporter);
    let exported = reporter
        .check_strict()
        .and_then(|()| engine::export(&store, &spec, &built, &settings.export).map_err(fail));
    watcher.close();
    let exported = exported?;
    store.warnings().into_iter().for_each(|text| reporter.warn(Page::of_store(text)));
    let result = Finished { built: &built, exported: &exported, network, start, settings: &settings };
    finish::outputs(&store, &result, &interrupt, reporter)?;
    result.tell(args, global, &source)?;
    store.maintain();
    Ok(())
}

/// Builds; once more if a damaged blob was the reason that it failed, which counts as absent then.
fn build(
    store: &Store,
    definition: &solver::Definition,
    options: &BuildOptions,
    events: &dyn EventSink,
    carries_images: bool,
) -> Result<(Built, (u64, u64)), BuildError> {
    let damaged = store.blobs().damaged();
    match attempt(store, definition, options, events, carries_images) {
        Err(_) if store.blobs().damaged() > damaged => {
            events.event(Event::Warning {
                text: "a blob of the store is damaged; what needs it was made again".to_owned(),
                hint: "`sealer cache verify` looks for more".to_owned(),
                span: None,
            });
            attempt(store, definition, options, events, carries_images)
        }
        built => built,
    }
}

/// Pin, plan, run; and in mode `all` the look for container images.
fn attempt(
    store: &Store,
    definition: &solver::Definition,
    options: &BuildOptions,
    events: &dyn EventSink,
    carries_images: bool,
) -> Result<(Built, (u64, u64)), BuildError> {
    let session = Session::new(store, definition, options, events)?;
    let pins = session.pin()?;
    let plan = session.plan(&pins)?;
    let built = session.run(&pins, &plan)?;
    if carries_images {
        let discovered = session.discover(&built)?;
        if !discovered.images.is_empty() {
            return Err(BuildError::ContainerImages(discovered.images));
        }
        if discovered.has_charts {
            events.event(Event::Warning {
                text: "charts were searched line by line: images that only rendering them names are not found yet"
                    .to_owned(),
                hint: "`--build-mode lite` says that the image carries no container images".to_owned(),
                span: None,
            });
        }
    }
    let network = session.network();
    // The process ends soon, all at once; taking a hundred thousand directories apart one by one takes longer.
    std::mem::forget(session);
    Ok((built, network))
}

/// A filter that means nothing is a mistake.
fn check_filter(filter: &[String], definition: &solver::Definition) -> Result<(), Failure> {
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

/// Answers the model's questions about base images from the store.
fn resolve_bases(
    model: &frontend::Model,
    store: &Store,
    options: &Options,
    source: &Arc<SourceFile>,
) -> Result<BTreeMap<usize, Base>, Failure> {
    let images = Images::new(store);
    let mut bases = BTreeMap::new();
    let mut wrong = Vec::new();
    for request in model.bases() {
        let wanted = match &request.platform {
            Some(platform) => settings::platform(std::slice::from_ref(platform))?,
            None => options.platform.clone(),
        };
        let read = images
            .find(&request.reference)
            .and_then(|tagged| Ok((images.read(&images.for_platform(&tagged, &wanted)?)?, tagged.name)));
        let error = |message: String, hint: &str| Diagnostic {
            severity: Severity::Error,
            code: "base-image",
            message,
            labels: vec![frontend::Label { span: request.span, text: String::new() }],
            hints: vec![hint.to_owned()],
        };
        match read {
            Ok((image, name)) => {
                if image.platform() != wanted {
                    let message =
                        format!("`{}` is for {}, not for {wanted}", request.reference, image.platform());
                    wrong.push(error(message, "build for the base's platform with `--platform`"));
                    continue;
                }
                let name = name.unwrap_or_else(|| request.reference.clone());
                bases.insert(request.stage, image.as_base(&name));
            }
            Err(failure) => wrong.push(error(
                format!("failed to process from: {failure}"),
                "base images come from the local store; pulling from registries is not supported yet",
            )),
        }
    }
    if wrong.is_empty() { Ok(bases) } else { Err(Failure::diagnostics(source, wrong)) }
}

fn read_kubefile(args: &Build) -> Result<SourceFile, Failure> {
    let path = settings::kubefile(args)?;
    let fail = |error: std::io::Error| Failure::usage(format!("cannot read the Kubefile: {error}"));
    if fs_err::metadata(&path).map_err(fail)?.len() > KUBEFILE_LIMIT {
        return Err(Failure::usage(format!("`{}` is larger than {KUBEFILE_LIMIT} bytes", path.display())));
    }
    let bytes = fs_err::read(&path).map_err(fail)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::usage(format!("`{}` is not UTF-8 text: byte {at} is wrong", path.display()))
    })?;
    Ok(SourceFile { name: path.display().to_string(), text })
}

/// What is said about a text.
struct Said<'a> {
    source: &'a Arc<SourceFile>,
    reporter: &'a Reporter,
}

impl Said<'_> {
    /// Warnings are kept for the end; with an error among them, everything is the failure.
    fn check(&self, mut all: Vec<Diagnostic>) -> Result<(), Failure> {
        all.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span.start));
        if all.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(Failure::diagnostics(self.source, all));
        }
        all.into_iter().for_each(|one| self.reporter.warn(Page::of_diagnostic(self.source, one)));
        self.reporter.check_strict()
    }
}
