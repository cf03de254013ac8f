//! What the arguments of a build mean.

use std::collections::{BTreeMap, BTreeSet};

use cache::Store;
use engine::oci::EXTENSION;
use engine::transport::Format;
use engine::{
    BuildOptions, Cancel, Contexts, ExecOptions, Export, PullPolicy, Reference, Registry, TimePolicy,
};
use frontend::Options;
use solver::{HistoryStep, ImageSpec, Platform};

use crate::args::{Build, Global};
use crate::commands::save::warn_of_loss;
use crate::interrupt::Interrupt;
use crate::report::{Failure, Reporter};
use crate::settings::{self, BuildContexts, Caches, ImageLists, Output, OutputType};

/// Written into every image unless the user gives labels of their own (spec §2.6).
const VERSION_LABEL: &str = "io.sealer.version";

/// The arguments, understood.
pub(super) struct Settings {
    /// One for each platform.
    pub(super) frontends: Vec<Options>,
    pub(super) pull: PullPolicy,
    pub(super) contexts: BuildContexts,
    /// Where the image is sent.
    pub(super) pushed: Vec<Reference>,
    pub(super) export: Export,
    pub(super) outputs: Vec<Output>,
    pub(super) carries_images: bool,
    /// Whether everything is searched for them.
    pub(super) is_searched: bool,
    pub(super) lists: ImageLists,
    pub(super) caches: Caches,
    pub(super) times: TimePolicy,
    pub(super) compression: engine::LayerCompression,
    download_limit_bytes: u64,
    labels: BTreeMap<String, String>,
    exec: ExecOptions,
}

impl Settings {
    pub(super) fn new(args: &Build) -> Result<Self, Failure> {
        let carries_images = settings::carries_images(&args.build_mode)?;
        let times = settings::times(args.tunables.timestamp.as_deref())?;
        let outputs = settings::outputs(&args.output)?;
        if args.tag.is_empty() && !args.check {
            return Err(Failure::usage("--tag should be specified").hint("`-t NAME` names the image"));
        }
        let names = settings::names(&args.tag)?;
        let build_args = settings::pairs("--build-arg", &args.build_arg, "build args")?;
        let annotations = settings::pairs("--annotation", &args.annotation, "annotations")?;
        if annotations.contains_key(EXTENSION) {
            return Err(Failure::usage(format!(
                "the annotation `{EXTENSION}` is written by the build itself"
            ))
            .hint("what stands in it comes from the Kubefile and from `--type`"));
        }
        let platforms = settings::platforms(&args.platform)?;
        check_outputs(&outputs, platforms.len())?;
        let allows_insecure = settings::allows_insecure(&args.allow)?;
        let has_one_user = engine::sandbox::rootless::has_one_user();
        let contexts = BuildContexts::new(args)?;
        let frontend = |platform: Platform| Options {
            build_args: build_args.clone(),
            platform,
            target: args.target.clone(),
            allows_insecure,
            has_one_user,
            contexts: contexts.named.clone(),
        };
        let pushed = if args.push { destinations(&names)? } else { Vec::new() };
        let hosts: BTreeSet<&String> = pushed.iter().map(|to| &to.repository.host).collect();
        let wants_layers = outputs.iter().any(|output| output.kind != OutputType::Store);
        Ok(Self {
            frontends: platforms.into_iter().map(frontend).collect(),
            pull: settings::pull_policy(&args.pull)?,
            contexts,
            export: Export {
                is_stored: outputs.iter().any(|output| output.kind == OutputType::Store),
                // With one registry to go to, what it has already need not come here.
                pushed_to: hosts
                    .iter()
                    .next()
                    .filter(|_| hosts.len() == 1 && !wants_layers)
                    .map(|host| (*host).clone()),
                is_lazy: args.lazy,
                names,
                image_type: settings::image_type(&args.image_type)?,
                annotations,
                inline_cache: None,
                created: times.fixed(),
                now: settings::now(),
                sealer_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            outputs,
            pushed,
            carries_images,
            is_searched: carries_images && args.no_discover.is_empty(),
            lists: ImageLists::new(args, carries_images)?,
            caches: Caches::new(args)?,
            times,
            compression: settings::compression(&args.tunables.compression)?,
            download_limit_bytes: settings::size(&args.tunables.max_download)?,
            labels: settings::pairs("--label", &args.label, "labels")?,
            exec: settings::exec(args, &build_args)?,
        })
    }

    pub(super) fn engine(&self, args: &Build, cancel: &Cancel) -> BuildOptions {
        BuildOptions {
            jobs: settings::jobs(args.tunables.jobs),
            no_cache: args.no_cache,
            no_cache_filter: args.no_cache_filter.clone(),
            paranoid: args.paranoid,
            times: self.times,
            compression: self.compression,
            download_limit_bytes: self.download_limit_bytes,
            repository: self.repository(),
            carries_images: self.carries_images,
            exports: self.caches.compressions(self.compression),
            // Only a look for container images asks it.
            helm: self.carries_images.then(|| settings::program("helm")).flatten(),
            explain: args.explain.is_some(),
            exec: self.exec.clone(),
            cancel: cancel.clone(),
        }
    }

    /// The contexts, opened when somebody asks for them.
    pub(super) fn sources<'a>(
        &self,
        store: &'a Store,
        registry: &Registry,
        options: &BuildOptions,
    ) -> Contexts<'a> {
        let sources = self.contexts.sources.clone();
        Contexts::new(store, registry.fetcher(), settings::git_environment(), options, sources)
    }

    /// The way to registries, which know whom to be for the images of a list.
    pub(super) fn registry(
        &self,
        args: &Build,
        global: &Global,
        interrupt: &Interrupt,
    ) -> Result<Registry, Failure> {
        let registry = settings::registry(&args.registry, global, &interrupt.cancel)?;
        self.lists.introduce(&registry)?;
        Ok(registry)
    }

    /// The first name without its tag.
    fn repository(&self) -> String {
        let name = self.export.names.first().map(String::as_str).unwrap_or_default();
        name.rsplit_once(':').map_or(name, |(repository, _)| repository).to_owned()
    }

    /// What the outputs wanted cannot hold.
    pub(super) fn warn_of_outputs(&self, reporter: &Reporter) {
        for output in &self.outputs {
            if let OutputType::Layout(format) = output.kind {
                warn_of_loss(format, reporter);
            }
        }
    }

    /// Labels of the command line over those of the text; without any, the version of this program.
    pub(super) fn complete(&self, mut spec: ImageSpec) -> ImageSpec {
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

/// Where names say an image goes.
fn destinations(names: &[String]) -> Result<Vec<Reference>, Failure> {
    if names.is_empty() {
        return Err(
            Failure::usage("--tag should be specified").hint("`--push` sends the image where its name says")
        );
    }
    if let Some(local) = names.iter().find(|name| name.starts_with("localhost/")) {
        return Err(Failure::usage(format!("`{local}` does not say which registry it belongs to"))
            .hint("with `--push`, give names such as HOST/REPOSITORY:TAG"));
    }
    Ok(names.iter().map(|name| Reference::parse(name)).collect::<Result<_, _>>()?)
}

/// Some outputs have place for one image.
fn check_outputs(outputs: &[Output], images: usize) -> Result<(), Failure> {
    if images < 2 {
        return Ok(());
    }
    for output in outputs {
        let what = match output.kind {
            OutputType::Rootfs | OutputType::Tar => "a root file system is that of one platform",
            OutputType::Layout(Format::DockerDir) => "a docker-dir holds the image of one platform",
            OutputType::Layout(_) | OutputType::Store => continue,
        };
        return Err(Failure::usage(what).hint("choose one with `--platform`"));
    }
    Ok(())
}
