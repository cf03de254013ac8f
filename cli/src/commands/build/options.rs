//! What the arguments of a build mean.

use std::collections::BTreeMap;

use engine::{BuildOptions, Cancel, Export, TimePolicy, full_name};
use frontend::Options;
use solver::{HistoryStep, ImageSpec};

use crate::args::Build;
use crate::commands::save::warn_of_loss;
use crate::report::{Failure, Reporter};
use crate::settings::{self, Output, OutputType};

/// Written into every image unless the user gives labels of their own (spec §2.6).
const VERSION_LABEL: &str = "io.sealer.version";

/// The arguments, understood.
pub(super) struct Settings {
    pub(super) frontend: Options,
    pub(super) export: Export,
    pub(super) outputs: Vec<Output>,
    pub(super) carries_images: bool,
    pub(super) times: TimePolicy,
    compression: engine::LayerCompression,
    download_limit_bytes: u64,
    labels: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn new(args: &Build) -> Result<Self, Failure> {
        refuse_unsupported(args)?;
        let times = settings::times(args.tunables.timestamp.as_deref())?;
        let outputs = settings::outputs(&args.output)?;
        let names: Vec<String> = args.tag.iter().map(|tag| full_name(tag)).collect::<Result<_, _>>()?;
        Ok(Self {
            frontend: Options {
                build_args: settings::pairs(&args.build_arg, "build args")?,
                platform: settings::platform(&args.platform)?,
                target: args.target.clone(),
            },
            export: Export {
                is_stored: outputs.iter().any(|output| output.kind == OutputType::Store),
                names,
                image_type: settings::image_type(&args.image_type)?,
                annotations: settings::pairs(&args.annotation, "annotations")?,
                created: times.fixed(),
                now: settings::now(),
                sealer_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            outputs,
            carries_images: settings::carries_images(&args.build_mode)?,
            times,
            compression: settings::compression(&args.tunables.compression)?,
            download_limit_bytes: settings::size(&args.tunables.max_download)?,
            labels: settings::pairs(&args.label, "labels")?,
        })
    }

    pub(super) fn engine(&self, args: &Build, cancel: &Cancel) -> BuildOptions {
        BuildOptions {
            context: args.path.clone(),
            jobs: settings::jobs(args.tunables.jobs),
            no_cache: args.no_cache,
            no_cache_filter: args.no_cache_filter.clone(),
            paranoid: args.paranoid,
            times: self.times,
            compression: self.compression,
            download_limit_bytes: self.download_limit_bytes,
            repository: self.repository(),
            explain: args.explain.is_some(),
            cancel: cancel.clone(),
        }
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
