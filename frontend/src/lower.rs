//! Stages to vertices, and the facts of the final one to an image specification.

use std::collections::{BTreeMap, HashSet};

use solver::{
    AppOp, AppSource, AppSpec, Base, CopySource, Definition, ExecOp, FileOp, GitSource, HistoryStep,
    HttpSource, ImageSource, ImageSpec, LocalSource, Metadata, MountKind, Op, Platform, SourceFile,
    SourceKind, Span, VertexDigest,
};

use crate::Options;
use crate::diagnostic::{self, Diagnostic};
use crate::evaluate::{Evaluation, evaluate};
use crate::instruction::parse_platform;
use crate::model::{ImageKey, Model, requests};
use crate::paths;
use crate::stage::{App, AppFrom, CopyFrom, CopyWork, RunWork, Stage, StageBase, Step, Work};

/// What is to be built.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The work.
    pub definition: Definition,
    /// What the image says beside its layers.
    pub image: ImageSpec,
}

/// Checks what only the bases can answer, and lowers. `None` if there is an error.
///
/// `bases` are the images of [`Model::bases`] and [`Model::further_bases`]. Warnings that [`crate::model`] gave are not repeated.
pub fn lower(
    model: &Model,
    source: &SourceFile,
    options: &Options,
    bases: &BTreeMap<ImageKey, Base>,
) -> (Option<Lowered>, Vec<Diagnostic>) {
    let mut evaluation = evaluate(&model.file, options, Some(bases));
    let unresolved = requests(&evaluation).into_iter().filter(|request| !bases.contains_key(&request.image));
    evaluation.diagnostics.extend(unresolved.map(|request| diagnostic::base_unresolved(request.span)));
    let known: HashSet<&Diagnostic> = model.evaluation.diagnostics.iter().collect();
    let mut diagnostics = std::mem::take(&mut evaluation.diagnostics);
    diagnostics.retain(|diagnostic| diagnostic.is_error() || !known.contains(diagnostic));
    let mut diagnostics = model.file.checks.apply(diagnostics);
    let Some(target) = evaluation.target.filter(|_| !diagnostics.iter().any(Diagnostic::is_error)) else {
        if !diagnostics.iter().any(Diagnostic::is_error) {
            diagnostics.push(diagnostic::empty_file());
        }
        return (None, diagnostics);
    };
    (Some(lower_stages(&evaluation, source, options, bases, target)), diagnostics)
}

fn lower_stages(
    evaluation: &Evaluation,
    source: &SourceFile,
    options: &Options,
    bases: &BTreeMap<ImageKey, Base>,
    target: usize,
) -> Lowered {
    // A step, the state after it, and what it reads.
    let vertices = evaluation.stages.iter().map(|stage| stage.steps.len() * 3).sum();
    let mut lowering = Lowering {
        options,
        bases,
        definition: Definition::with_capacity(source.clone(), vertices),
        states: vec![None; evaluation.stages.len()],
        steps: vec![Vec::new(); evaluation.stages.len()],
    };
    for (index, is_built) in evaluation.reachable.iter().enumerate() {
        if *is_built {
            lowering.stage(index, &evaluation.stages);
        }
    }
    if let Some(state) = lowering.states[target] {
        lowering.definition.set_target(state);
    }
    let stage = &evaluation.stages[target];
    let image = ImageSpec {
        platform: stage.platform.as_ref().unwrap_or(&options.platform).clone(),
        base: stage.image.clone(),
        env: stage.env.known(),
        extension_env: stage.extension_env.clone(),
        labels: stage.labels.clone(),
        author: stage.author.clone(),
        apps: stage.apps.list.iter().map(|app| lowering.app_spec(stage, app)).collect(),
        launch: stage.launch.clone(),
        history: lowering.history(evaluation, target),
    };
    Lowered { definition: lowering.definition, image }
}

struct Lowering<'a> {
    options: &'a Options,
    bases: &'a BTreeMap<ImageKey, Base>,
    definition: Definition,
    /// The last state of each stage.
    states: Vec<Option<VertexDigest>>,
    /// The vertex of each step of each stage.
    steps: Vec<Vec<VertexDigest>>,
}

impl Lowering<'_> {
    fn stage(&mut self, index: usize, stages: &[Stage]) {
        let stage = &stages[index];
        let platform = stage.platform.as_ref().unwrap_or(&self.options.platform);
        let mut state = match &stage.base {
            StageBase::Scratch => None,
            StageBase::Stage(below) => self.states[*below],
            StageBase::Image(image) => Some(self.image(image, "FROM", stage.span)),
        };
        for step in &stage.steps {
            let vertex = match &step.work {
                Work::Copy(copy) => self.copy(stage, step, copy, state),
                Work::App { name, sources } => self.app(stage, step, name, sources),
                Work::Run(run) => self.run(stage, step, run, state, platform),
            };
            self.steps[index].push(vertex);
            let inputs = std::iter::once(vertex).chain(state).collect();
            state = Some(self.definition.add(Op::State, inputs, hidden(step.line.clone(), step.span)));
        }
        self.states[index] = state;
    }

    fn copy(
        &mut self,
        stage: &Stage,
        step: &Step,
        copy: &CopyWork,
        state: Option<VertexDigest>,
    ) -> VertexDigest {
        let mut inputs: Vec<VertexDigest> = state.filter(|_| !copy.link).into_iter().collect();
        let below = !inputs.is_empty();
        let mut sources = Vec::with_capacity(copy.sources.len());
        for source in &copy.sources {
            if let CopyFrom::Inline(inline) = source {
                sources.push(CopySource::Inline(inline.clone()));
                continue;
            }
            let (vertex, pattern) = self.source(source, copy.parents, step.span);
            sources.push(CopySource::Input { input: inputs.len(), pattern });
            inputs.push(vertex);
        }
        let op = FileOp {
            below,
            sources,
            destination: copy.destination.clone(),
            chown: copy.chown.clone(),
            chmod: copy.chmod.clone(),
            exclude: copy.exclude.clone(),
            parents: copy.parents,
            unpack: copy.unpack,
        };
        self.definition.add(Op::File(op.into()), inputs, shown(stage, step))
    }

    /// The vertex that files come from, and which of its files.
    fn source(&mut self, from: &CopyFrom, parents: bool, span: Span) -> (VertexDigest, String) {
        let (vertex, pattern) = match from {
            CopyFrom::Local { context, pattern } => {
                (Some(self.local(context, pattern, parents, span)), pattern.as_str())
            }
            CopyFrom::Image { image, pattern } => (Some(self.image(image, "--from", span)), pattern.as_str()),
            CopyFrom::Git(git) => (Some(self.git(git, span)), "."),
            CopyFrom::Remote { url, checksum, file_name } => {
                let (url, checksum, file_name) = (url.clone(), checksum.clone(), file_name.clone());
                (Some(self.http(HttpSource { url, checksum, file_name }, span)), "*")
            }
            CopyFrom::Stage { index, pattern } => (self.states[*index], pattern.as_str()),
            CopyFrom::Inline(_) => unreachable!("a file in the text is no vertex"),
        };
        let vertex = vertex.expect("a stage that is copied from is reachable, and was checked to have files");
        (vertex, pattern.to_owned())
    }

    fn run(
        &mut self,
        stage: &Stage,
        step: &Step,
        run: &RunWork,
        state: Option<VertexDigest>,
        platform: &Platform,
    ) -> VertexDigest {
        let mut inputs: Vec<VertexDigest> = state.into_iter().collect();
        let mut mounts = Vec::with_capacity(run.mounts.len());
        for mounted in &run.mounts {
            let mut mount = mounted.mount.clone();
            if !mount.target.is_empty() && !mount.target.starts_with('/') {
                let target = format!("{}/{}", stage.image.working_dir, mount.target);
                mount.target = format!("/{}", paths::clean(&target));
            }
            if let Some(from) = &mounted.from {
                let (MountKind::Bind { input, .. } | MountKind::Cache { source: Some((input, _)), .. }) =
                    &mut mount.kind
                else {
                    unreachable!("other mounts come from nowhere")
                };
                *input = inputs.len();
                inputs.push(self.source(from, false, step.span).0);
            }
            mounts.push(mount);
        }
        let op = ExecOp {
            below: state.is_some(),
            args: run.args.clone(),
            env: run.env.clone(),
            directory: stage.image.working_dir.clone(),
            user: stage.image.user.clone(),
            mounts,
            network: run.network,
            is_insecure: run.is_insecure,
            has_one_user: self.options.has_one_user,
            platform: platform.clone(),
        };
        self.definition.add(Op::Exec(op.into()), inputs, shown(stage, step))
    }

    fn app(&mut self, stage: &Stage, step: &Step, name: &str, sources: &[AppFrom]) -> VertexDigest {
        let mut inputs = Vec::with_capacity(sources.len());
        let mut listed = Vec::with_capacity(sources.len());
        for source in sources {
            let (vertex, path) = match source.kind {
                SourceKind::Local => {
                    // Sources of applications are paths, not patterns (spec §1.5).
                    let pattern = paths::literal_pattern(&source.place);
                    let vertex = self.local(LocalSource::OWN, &pattern, false, step.span);
                    (vertex, source.place.clone())
                }
                SourceKind::Remote => {
                    let (url, checksum) = (source.place.clone(), source.checksum.clone());
                    let http = HttpSource { url, checksum, file_name: None };
                    (self.http(http, step.span), "*".to_owned())
                }
            };
            inputs.push(vertex);
            listed.push(AppSource { kind: source.kind, path, trailing_slash: source.trailing_slash });
        }
        let op = Op::App(AppOp { name: name.to_owned(), sources: listed });
        self.definition.add(op, inputs, shown(stage, step))
    }

    fn local(&mut self, context: &str, pattern: &str, parents: bool, span: Span) -> VertexDigest {
        let pattern = paths::without_pivot(pattern);
        let op = LocalSource { context: context.to_owned(), pattern: pattern.clone(), parents };
        let name = format!("[{context}] {}", LocalSource::shown(&pattern));
        self.definition.add(Op::Local(op), Vec::new(), hidden(name, span))
    }

    fn image(&mut self, key: &ImageKey, how: &str, span: Span) -> VertexDigest {
        let base = self.bases.get(key).expect("lowering begins when every image is resolved");
        let platform = key.platform.as_deref().and_then(parse_platform);
        let image = ImageSource {
            reference: base.reference.clone(),
            platform: platform.unwrap_or_else(|| self.options.platform.clone()),
            digest: base.digest.expect("what is resolved is pinned"),
        };
        let name = format!("{how} {}", base.reference);
        self.definition.add(Op::Image(image.into()), Vec::new(), hidden(name, span))
    }

    fn git(&mut self, source: &GitSource, span: Span) -> VertexDigest {
        let metadata = Metadata { name: source.shown(), spans: vec![span], ..Metadata::default() };
        self.definition.add(Op::Git(source.clone().into()), Vec::new(), metadata)
    }

    fn http(&mut self, source: HttpSource, span: Span) -> VertexDigest {
        let name = paths::shown_url(&source.url);
        let metadata = Metadata { name, spans: vec![span], ..Metadata::default() };
        self.definition.add(Op::Http(source), Vec::new(), metadata)
    }

    fn app_spec(&self, stage: &Stage, app: &App) -> AppSpec {
        let overrides = stage.apps.overrides.get(app.name()).cloned().unwrap_or_default();
        match app {
            App::Inherited(application) => {
                let mut application = application.clone();
                application.env.extend(overrides.env);
                if let Some(cmds) = overrides.cmds {
                    application.cmds = cmds;
                }
                AppSpec::Inherited(application)
            }
            App::Declared(app) => AppSpec::Declared {
                name: app.name.clone(),
                vertex: app.step.map(|(stage, step)| self.steps[stage][step]),
                env: overrides.env,
                cmds: overrides.cmds,
                single_source: app.sources == 1,
                values: app.values.clone(),
                span: app.span,
            },
        }
    }

    /// The history of the stages below and of the stage itself.
    fn history(&self, evaluation: &Evaluation, target: usize) -> Vec<HistoryStep> {
        let mut chain = vec![target];
        while let Some(StageBase::Stage(below)) = chain.last().map(|&index| &evaluation.stages[index].base) {
            chain.push(*below);
        }
        let entries = chain.into_iter().rev().flat_map(|index| {
            let steps = &self.steps[index];
            evaluation.stages[index].history.iter().map(move |entry| HistoryStep {
                text: entry.text.clone(),
                vertex: entry.step.map(|step| steps[step]),
            })
        });
        entries.collect()
    }
}

fn hidden(name: String, span: Span) -> Metadata {
    Metadata { name, spans: vec![span], hidden: true, ..Metadata::default() }
}

fn shown(stage: &Stage, step: &Step) -> Metadata {
    let stages = vec![stage.name.clone()];
    Metadata { name: step.line.clone(), spans: vec![step.span], stages, hidden: false }
}
