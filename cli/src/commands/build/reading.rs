//! From a text to what is to be done: parse, model, resolve bases, lower.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use engine::{Bases, Contexts, PullPolicy};
use frontend::{BaseRequest, Diagnostic, ImageKey, Options, Severity};
use solver::{Activity, Base, Definition, EventSink, ImageSpec, SourceFile, during};

use super::kubefile;
use super::options::Settings;
use crate::args::Build;
use crate::interrupt::Interrupt;
use crate::report::{self, Failure, Page, Reporter};
use crate::settings;

/// What a text is read and understood with.
pub(super) struct Reading<'a> {
    pub(super) args: &'a Build,
    pub(super) settings: &'a Settings,
    pub(super) contexts: &'a Contexts<'a>,
    pub(super) interrupt: &'a Interrupt,
    pub(super) reporter: &'a Reporter,
    pub(super) quiet: bool,
    /// Hears what takes its time.
    pub(super) events: &'a dyn EventSink,
}

impl Reading<'_> {
    /// The text, wherever it is.
    pub(super) fn text(&self) -> Result<Arc<SourceFile>, Failure> {
        let own = self.settings.contexts.own();
        let told = (self.quiet, self.reporter);
        let read = || kubefile::read(self.args, own, self.contexts, self.interrupt, told);
        during(self.events, Activity::Read, read).map(Arc::new)
    }

    /// What is to be done, for all platforms, and the images that come of it.
    pub(super) fn definition(
        &self,
        source: &Arc<SourceFile>,
        bases: &Bases<'_>,
    ) -> Result<(Definition, Vec<ImageSpec>), Failure> {
        let said = Said { source, reporter: self.reporter };
        let models = during(self.events, Activity::Understand, || {
            let parsed = frontend::parse(source);
            let (models, wrong): (Vec<_>, Vec<_>) =
                self.settings.frontends.iter().map(|options| frontend::model(&parsed, options)).unzip();
            said.check([parsed.diagnostics.as_slice(), &wrong.concat()].concat())?;
            Ok::<_, Failure>(models)
        })?;
        let policy = self.settings.pull;
        let events = self.events;
        Resolver { bases, policy, said: &said, interrupt: self.interrupt, events }
            .lower(&models, self.settings)
    }
}

/// Answers the model's questions about base images, from the store and from registries.
struct Resolver<'a> {
    bases: &'a Bases<'a>,
    policy: PullPolicy,
    said: &'a Said<'a>,
    interrupt: &'a Interrupt,
    events: &'a dyn EventSink,
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
            let found = during(self.events, Activity::Bases, || self.resolve(model, options))?;
            let lower = || frontend::lower(model, self.said.source, options, &found);
            let (lowered, more) = during(self.events, Activity::Understand, lower);
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
                Ok(base) if !platform.runs(&base.image.platform()) => {
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
                    for cause in cache::causes(&error) {
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
