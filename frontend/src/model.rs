//! The checked text before its bases are known, and which bases it needs.

use solver::Span;

use crate::ast::File;
use crate::diagnostic::Diagnostic;
use crate::evaluate::{Evaluation, evaluate};
use crate::stage::StageBase;
use crate::{Options, Parsed};

/// A checked Kubefile whose base images are still to be resolved.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) file: File,
    pub(crate) evaluation: Evaluation,
}

/// A base image that lowering needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRequest {
    /// The stage that starts from it.
    pub stage: usize,
    /// The image as written, after expansion; never `scratch` or the name of a stage.
    pub reference: String,
    /// `--platform`; the platform built for where it is not given.
    pub platform: Option<String>,
    /// The FROM.
    pub span: Span,
}

/// Checks all that the text alone decides.
pub fn model(parsed: &Parsed, options: &Options) -> (Model, Vec<Diagnostic>) {
    let evaluation = evaluate(&parsed.file, options, None);
    let diagnostics = parsed.file.checks.apply(evaluation.diagnostics.clone());
    (Model { file: parsed.file.clone(), evaluation }, diagnostics)
}

impl Model {
    /// The images that the stages to build start from, in the order of the text.
    pub fn bases(&self) -> Vec<BaseRequest> {
        let stages = self.evaluation.stages.iter().enumerate();
        stages
            .filter(|(index, _)| self.evaluation.reachable.get(*index) == Some(&true))
            .filter_map(|(index, stage)| match &stage.base {
                StageBase::Image(reference) => Some(BaseRequest {
                    stage: index,
                    reference: reference.clone(),
                    platform: stage.platform.clone(),
                    span: stage.span,
                }),
                StageBase::Scratch | StageBase::Stage(_) => None,
            })
            .collect()
    }
}
