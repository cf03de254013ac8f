//! The second turn of a build: what its images name is resolved, planned and run, and becomes layers.

use std::collections::{BTreeMap, BTreeSet};

use cache::Store;
use solver::{Activity, Definition, Event, EventSink, Layer, Platform, during};

use super::archive::Archives;
use super::fetch::BlobSources;
use super::lower::{BLOB, lower};
use super::resolve::{ContainerError, FailedImage, ResolvedImage, Resolver};
use super::wanted::{ContainerImage, Wanted, WantedImage};
use crate::bases::{Bases, PullPolicy};
use crate::build::Built;
use crate::error::{BuildError, StepError};
use crate::frames::LayerCompression;
use crate::session::{BuildOptions, Session};
use crate::source::context::Contexts;
use crate::upstream::StepRecord;

/// What an image carries beside the files of its own.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// Layers with the files below `registry/`.
    pub layers: Vec<Layer>,
    /// What the history says, and whether a layer begins with it.
    pub history: Vec<(String, bool)>,
    /// What the annotation lists; `None` for a build that did not look for container images.
    pub list: Option<Vec<ContainerImage>>,
}

/// What carrying needs.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a sink of events has nothing to show")]
pub struct Carrying<'a> {
    /// Records and blobs.
    pub store: &'a Store,
    /// How it is done: [`options`] of the build's own.
    pub options: &'a BuildOptions,
    /// The way to registries.
    pub bases: &'a Bases<'a>,
    /// The build's contexts.
    pub contexts: &'a Contexts<'a>,
    /// Hears what happens.
    pub events: &'a dyn EventSink,
    /// When registries are asked what a tag leads to.
    pub policy: PullPolicy,
    /// Images that are in archives.
    pub archives: &'a Archives,
}

/// How the second turn of a build is done.
pub fn options(of: &BuildOptions) -> BuildOptions {
    BuildOptions {
        // What is in these layers is compressed already.
        compression: LayerCompression::NONE,
        exports: if of.exports.is_empty() { Vec::new() } else { vec![LayerCompression::NONE] },
        repository: format!("{} container images", of.repository),
        carries_images: false,
        ..of.clone()
    }
}

/// Fetches what the images of a build want, each for its platform, and makes layers of it. What the build came to grows
/// by it.
///
/// # Errors
/// Every container image that cannot be had, together; else those of a build.
pub fn carry(
    carrying: &Carrying<'_>,
    wanted: Vec<(Platform, Wanted)>,
    built: &mut Built,
) -> Result<(), BuildError> {
    let resolved = during(carrying.events, Activity::Resolve, || carrying.resolve(&wanted))?;
    carrying.warn_of_unused();
    carrying.warn_of_replaced(&wanted);
    let mut sources = BlobSources::default();
    let (mut definitions, mut failed) = (Vec::new(), Vec::new());
    for ((platform, wanted), images) in wanted.iter().zip(&resolved) {
        images.iter().for_each(|image| sources.add(image));
        match lower(images, &wanted.present) {
            Ok(definition) => definitions.push((platform.to_string(), definition)),
            Err(collisions) => {
                failed.extend(collisions.into_iter().map(|(name, source)| wanted.failed(name, source)))
            }
        }
    }
    if !failed.is_empty() {
        return Err(BuildError::ContainerImages(failed));
    }
    let made = carrying.make(definitions, sources, built).map_err(|error| named(error, &wanted))?;
    for (((_, wanted), image), made) in wanted.into_iter().zip(&mut built.images).zip(made) {
        image.carried = Carried { list: Some(wanted.list), ..made };
    }
    Ok(())
}

impl Carrying<'_> {
    /// What each image's names lead to, sorted by name.
    fn resolve(&self, wanted: &[(Platform, Wanted)]) -> Result<Vec<Vec<ResolvedImage>>, BuildError> {
        let mut questions: BTreeMap<&String, Question<'_>> = BTreeMap::new();
        for (at, (platform, wanted)) in wanted.iter().enumerate() {
            for (name, image) in &wanted.images {
                let new = || Question { image, platforms: Vec::new(), askers: Vec::new() };
                let question = questions.entry(name).or_insert_with(new);
                question.platforms.push(platform.clone());
                question.askers.push(at);
            }
        }
        let warn = |text, hint: &str| {
            self.events.event(Event::Warning { text, hint: hint.to_owned(), span: None });
        };
        let (store, registry, policy) = (self.store, self.bases.registry(), self.policy);
        let (archives, lock) = (self.archives, self.bases.lock());
        let resolver = Resolver { store, registry, archives, lock, policy, warn: &warn };
        let asked: Vec<_> =
            questions.values().map(|one| (&one.image.reference, one.platforms.as_slice())).collect();
        let answers = resolver.resolve_all(&asked);
        let mut resolved = vec![Vec::new(); wanted.len()];
        let mut failed = Vec::new();
        for ((name, question), answer) in questions.into_iter().zip(answers) {
            match answer {
                Ok(instances) => {
                    let askers = question.askers.iter().zip(instances);
                    askers.for_each(|(at, instance)| resolved[*at].push(instance));
                }
                Err(error) if error.is_cancelled() => return Err(BuildError::Cancelled),
                Err(source) => {
                    let (_, asker) = &wanted[question.askers[0]];
                    failed.push(asker.failed(name.clone(), source));
                }
            }
        }
        if failed.is_empty() { Ok(resolved) } else { Err(BuildError::ContainerImages(failed)) }
    }

    /// An archive is given for a purpose.
    fn warn_of_unused(&self) {
        let unused = self.archives.unused();
        if !unused.is_empty() {
            let text =
                format!("images of the archives that nothing names are not carried: {}", unused.join(", "));
            let hint = "name them in `manifests/imageList` or with `--image-list`".to_owned();
            self.events.event(Event::Warning { text, hint, span: None });
        }
    }

    /// Which image a tag of the base leads to is nobody's choice where two differ in their hosts alone.
    fn warn_of_replaced(&self, wanted: &[(Platform, Wanted)]) {
        let replaced: BTreeSet<_> = wanted.iter().flat_map(|(_, wanted)| wanted.replaced()).collect();
        for (name, of_base) in replaced {
            let text = format!("`{name}` takes the place of `{of_base}`, which the base carries");
            let hint = "below `registry/` the host of a name does not count: give one of them another tag";
            self.events.event(Event::Warning { text, hint: hint.to_owned(), span: None });
        }
    }

    /// Plans and runs; the layers of each image.
    fn make(
        &self,
        definitions: Vec<(String, Definition)>,
        sources: BlobSources,
        built: &mut Built,
    ) -> Result<Vec<Carried>, BuildError> {
        let images = definitions.len();
        let definition = Definition::union(definitions);
        if definition.is_empty() {
            return Ok(vec![Carried::default(); images]);
        }
        let Self { store, options, bases, contexts, events, .. } = *self;
        let mut session = Session::new(store, &definition, options, bases, contexts, events)?;
        session.blob_sources = sources;
        for (below, image) in session.layers_below.iter_mut().zip(&built.images) {
            let base = image.base.and_then(|digest| bases.get(&digest));
            *below = base.map_or(0, |base| base.image.layers.len()) + image.layers.len();
        }
        let pins = session.pin()?;
        let plan = session.plan(&pins)?;
        session.bring(&plan, self.archives)?;
        session.choose_streams(&plan)?;
        let mut made = session.run(&pins, &plan)?;
        session.settle(&made)?;
        session.add_records(&mut made);
        built.vertices += made.vertices;
        built.cached += made.cached;
        built.executed += made.executed;
        built.layers_made += made.layers_made;
        built.reports.extend(made.reports);
        let records = std::mem::take(&mut made.records).into_iter();
        // There is no build that wants them otherwise.
        built.records.extend(records.map(|record| StepRecord { compression: None, ..record }));
        let carried = session.chains.iter().zip(made.images).map(|(chain, image)| {
            let names = chain.steps.iter().map(|&step| session.graph.metadata(step).name.clone());
            let history = names.zip(image.own_layer).collect();
            Carried { layers: image.layers, history, list: None }
        });
        let carried = carried.collect();
        std::mem::forget(session);
        Ok(carried)
    }
}

/// The error of a build whose steps are known by the images that they are of.
fn named(error: BuildError, wanted: &[(Platform, Wanted)]) -> BuildError {
    let BuildError::Steps(steps) = error else { return error };
    let of = |step: StepError| {
        let image = step.name.rsplit_once(BLOB).map_or(step.name.as_str(), |(image, _)| image);
        let image = image.rsplit_once(' ').map_or(image, |(_, image)| image).to_owned();
        let wanted =
            wanted.iter().map(|(_, wanted)| wanted).find(|wanted| wanted.images.contains_key(&image));
        let source = ContainerError::Step(step.source);
        match wanted {
            Some(wanted) => wanted.failed(image, source),
            None => FailedImage { name: step.name, named_by: Vec::new(), spans: step.spans, source },
        }
    };
    BuildError::ContainerImages(steps.into_iter().map(of).collect())
}

/// A name, and for which images of the build it is asked.
struct Question<'a> {
    image: &'a WantedImage,
    platforms: Vec<Platform>,
    askers: Vec<usize>,
}
