//! `sealer build`: parse, model, resolve bases, lower, pin, plan, run, export.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use cache::Store;
use engine::{
    BuildError, BuildOptions, Built, Cancel, Export, Exported, Images, Session, TimePolicy, full_name,
};
use frontend::{Diagnostic, Model, Options, Severity};
use solver::{Base, Event, EventSink, HistoryStep, ImageSpec, SourceFile};

use crate::args::{Build, Global};
use crate::progress::{self, Watcher};
use crate::report::{self, Failure};
use crate::{settings, ui};

/// Written into every image unless the user gives labels of their own (spec §2.6).
const VERSION_LABEL: &str = "io.sealer.version";
/// Largest Kubefile read, in bytes.
const KUBEFILE_LIMIT: u64 = 16 << 20;

/// Builds an image and tells what it cost.
pub(crate) fn run(args: &Build, global: &Global, root: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    let settings = Settings::new(args)?;
    let interrupt = Interrupt::listen()?;
    let source = read_kubefile(args)?;
    let said = Said { source: &source, global };

    let parsed = frontend::parse(&source);
    let (model, wrong) = frontend::model(&parsed, &settings.frontend);
    said.check([parsed.diagnostics.as_slice(), &wrong].concat())?;

    let store = Store::open(root)?;
    let bases = resolve_bases(&model, &store, &settings.frontend, &source)?;
    let (lowered, wrong) = frontend::lower(&model, &source, &settings.frontend, &bases);
    said.check(wrong)?;
    let lowered = lowered.ok_or_else(|| Failure::usage("the Kubefile could not be lowered"))?;
    let spec = settings.complete(lowered.image);

    let watcher = progress::watcher(args.progress, global);
    let options = settings.engine(args, &interrupt.cancel);
    let built = build(&store, &lowered.definition, &options, watcher.as_ref(), settings.carries_images);
    let (built, network) = match built {
        Ok(built) => built,
        Err(error) => {
            watcher.close();
            // What is finished is worth keeping; if that fails too, the build's own error says more.
            let _ = engine::keep_finished(&store);
            return Err(Failure::build(error, &source, interrupt.signal()));
        }
    };
    let exported = engine::export(&store, &spec, &built, &settings.export);
    watcher.close();
    let exported = exported.map_err(|error| Failure::build(error, &source, interrupt.signal()))?;
    store.warnings().iter().for_each(|warning| ui::warning(warning));
    let wall_ms = start.elapsed().as_millis();
    let result =
        Finished { built: &built, exported: &exported, network, wall_ms, names: &settings.export.names };
    result.tell(args, global)?;
    store.maintain();
    Ok(())
}

/// Pin, plan, run; and in mode `all` the look for container images.
fn build(
    store: &Store,
    definition: &solver::Definition,
    options: &BuildOptions,
    watcher: &dyn Watcher,
    carries_images: bool,
) -> Result<(Built, (u64, u64)), BuildError> {
    let events: &dyn EventSink = watcher;
    let session = Session::new(store, definition, options, events)?;
    let pins = session.pin()?;
    let (keys, plan) = session.plan(&pins);
    let built = session.run(&pins, &keys, &plan)?;
    if carries_images {
        let discovered = session.discover(&built)?;
        if !discovered.images.is_empty() {
            return Err(BuildError::ContainerImages(discovered.images));
        }
        if discovered.has_charts {
            let text =
                "charts were searched line by line: images that only rendering them names are not found yet";
            events.event(Event::Warning { text: text.to_owned(), span: None });
        }
    }
    Ok((built, session.network()))
}

/// Answers the model's questions about base images from the store.
fn resolve_bases(
    model: &Model,
    store: &Store,
    options: &Options,
    source: &SourceFile,
) -> Result<BTreeMap<usize, Base>, Failure> {
    let images = Images::new(store);
    let mut bases = BTreeMap::new();
    let mut wrong = Vec::new();
    for request in model.bases() {
        let read = images.find(&request.reference).and_then(|tagged| images.read(&tagged));
        let error = |message: String, hint: &str| Diagnostic {
            severity: Severity::Error,
            code: "base-image",
            message,
            labels: vec![frontend::Label { span: request.span, text: String::new() }],
            hints: vec![hint.to_owned()],
        };
        match read {
            Ok(image) => {
                let wanted = match &request.platform {
                    Some(platform) => settings::platform(std::slice::from_ref(platform))?,
                    None => options.platform.clone(),
                };
                if image.platform() != wanted {
                    let message =
                        format!("`{}` is for {}, not for {wanted}", request.reference, image.platform());
                    wrong.push(error(message, "build for the base's platform with `--platform`"));
                    continue;
                }
                let name = image.name.clone().unwrap_or_else(|| request.reference.clone());
                bases.insert(request.stage, image.as_base(&name));
            }
            Err(failure) => wrong.push(error(
                format!("failed to process from: {failure}"),
                "base images come from the local store; pulling from registries is not supported yet",
            )),
        }
    }
    if wrong.is_empty() { Ok(bases) } else { Err(Failure::Diagnostics(source.clone(), wrong)) }
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

/// Prints what is said about a text, once.
struct Said<'a> {
    source: &'a SourceFile,
    global: &'a Global,
}

impl Said<'_> {
    /// Warnings are printed; with an error among them, everything is the failure.
    fn check(&self, mut all: Vec<Diagnostic>) -> Result<(), Failure> {
        all.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span.start));
        if all.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(Failure::Diagnostics(self.source.clone(), all));
        }
        if !self.global.quiet {
            report::diagnostics(self.source, &all, self.global.color);
        }
        Ok(())
    }
}

/// The arguments, understood.
struct Settings {
    frontend: Options,
    export: Export,
    carries_images: bool,
    times: TimePolicy,
    compression: engine::LayerCompression,
    download_limit_bytes: u64,
    labels: BTreeMap<String, String>,
}

impl Settings {
    fn new(args: &Build) -> Result<Self, Failure> {
        refuse_unsupported(args)?;
        let times = settings::times(args.timestamp.as_deref())?;
        let names: Vec<String> = args.tag.iter().map(|tag| full_name(tag)).collect::<Result<_, _>>()?;
        Ok(Self {
            frontend: Options {
                build_args: settings::pairs(&args.build_arg, "build args")?,
                platform: settings::platform(&args.platform)?,
                target: args.target.clone(),
            },
            export: Export {
                names,
                image_type: settings::image_type(&args.image_type)?,
                annotations: settings::pairs(&args.annotation, "annotations")?,
                created: times.fixed(),
                now: settings::now(),
                sealer_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            carries_images: settings::carries_images(&args.build_mode)?,
            times,
            compression: settings::compression(&args.compression)?,
            download_limit_bytes: settings::size(&args.max_download)?,
            labels: settings::pairs(&args.label, "labels")?,
        })
    }

    fn engine(&self, args: &Build, cancel: &Cancel) -> BuildOptions {
        BuildOptions {
            context: args.path.clone(),
            jobs: settings::jobs(args.jobs),
            no_cache: args.no_cache,
            times: self.times,
            compression: self.compression,
            download_limit_bytes: self.download_limit_bytes,
            cancel: cancel.clone(),
        }
    }

    /// Labels of the command line over those of the text; without any, the version of this program.
    fn complete(&self, mut spec: ImageSpec) -> ImageSpec {
        let mut labels = self.labels.clone();
        if labels.is_empty() {
            labels.insert(VERSION_LABEL.to_owned(), self.export.sealer_version.clone());
        }
        let words: Vec<String> = labels.iter().map(|(key, value)| format!("{key:?}={value:?}")).collect();
        spec.history.push(HistoryStep { text: format!("LABEL {}", words.join(" ")), vertex: None });
        spec.labels.extend(labels);
        spec
    }
}

/// Flags of later features say so, rather than being ignored.
fn refuse_unsupported(args: &Build) -> Result<(), Failure> {
    let lists = [
        ("--image-list", &args.image_list),
        ("--ignored-image-list", &args.ignored_image_list),
        ("--image-list-with-auth", &args.image_list_with_auth),
    ];
    if let Some((flag, _)) = lists.iter().find(|(_, given)| given.is_some()) {
        return Err(Failure::usage(format!(
            "`{flag}` is not supported yet: images cannot carry container images"
        ))
        .hint("leave it out and use `--build-mode lite`"));
    }
    match args.pull.as_str() {
        "missing" | "ifnewer" | "never" | "false" => Ok(()),
        "always" | "true" => {
            Err(Failure::usage("`--pull always` is not supported yet: bases come from the local store")
                .hint("leave it out"))
        }
        other => Err(Failure::usage(format!("unsupported pull policy {other:?}"))
            .hint("use missing, ifnewer or never")),
    }
}

/// Ctrl-C and SIGTERM: the first asks the build to stop, the second ends the process.
struct Interrupt {
    cancel: Cancel,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    fn listen() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        let signal = Arc::new(AtomicUsize::new(0));
        let fail = |error: std::io::Error| Failure::usage(format!("cannot listen for signals: {error}"));
        for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // In this order: at the first signal the flag is not set yet when it is asked for.
            signal_hook::flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&flag))
                .map_err(fail)?;
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number.unsigned_abs() as usize)
                .map_err(fail)?;
            signal_hook::flag::register(number, Arc::clone(&flag)).map_err(fail)?;
        }
        Ok(Self { cancel: flag.into(), signal })
    }

    fn signal(&self) -> u8 {
        u8::try_from(self.signal.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// A build that succeeded.
struct Finished<'a> {
    built: &'a Built,
    exported: &'a Exported,
    network: (u64, u64),
    wall_ms: u128,
    names: &'a [String],
}

impl Finished<'_> {
    fn tell(&self, args: &Build, global: &Global) -> Result<(), Failure> {
        let fail =
            |error: std::io::Error| Failure::usage(format!("the image is built and stored, but {error}"));
        if let Some(file) = &args.iidfile {
            fs_err::write(file, self.exported.config.to_string()).map_err(fail)?;
        }
        if let Some(file) = &args.metadata_file {
            fs_err::write(file, format!("{:#}\n", self.metadata())).map_err(fail)?;
        }
        if global.quiet {
            ui::data(&self.exported.config.to_string());
            return Ok(());
        }
        let Built { vertices, cached, layers_made, .. } = self.built;
        ui::message(&format!(
            "built {} ({}) in {} ms: {vertices} steps, {cached} cached, {layers_made} layers made",
            self.names.join(", "),
            self.exported.manifest.digest,
            self.wall_ms,
        ));
        Ok(())
    }

    fn metadata(&self) -> serde_json::Value {
        let (requests, bytes) = self.network;
        serde_json::json!({
            "containerimage.digest": self.exported.manifest.digest.to_string(),
            "containerimage.config.digest": self.exported.config.to_string(),
            "image.name": self.names.join(","),
            "sealer.build": {
                "vertices": self.built.vertices,
                "cached": self.built.cached,
                "executed": self.built.executed,
                "layers_made": self.built.layers_made,
                "bytes_fetched": bytes,
                "http_requests": requests,
                "wall_ms": self.wall_ms,
            },
        })
    }
}
